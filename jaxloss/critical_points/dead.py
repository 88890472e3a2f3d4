"""Dead regions: open sets on which the gradient is exactly zero."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points.polish import map_points
from jaxloss.critical_points.table import CAPTURE_RADIUS
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Probes around a point, at this distance relative to 1 + its size.
RADIUS = 1e-6
NUM_PROBES = 8
# Directions in which a dead region is looked for: at a corner it may be a narrow cone.
NUM_DIRECTIONS = 64


def is_dead(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Whether each point lies in a dead region, or within the capture radius of one.

    In a dead region the gradient vanishes exactly, in float64, at a point and at probes all around it. Gradient
    descent may also creep towards the border of such a region without ever crossing it (the last active unit fades
    geometrically), or start on the border, so the flattest of a few points one capture radius away is examined as
    well, one of them down the gradient.

    An analytic objective has no such set: its gradient can only underflow. So only objectives that are
    made of pieces are examined.

    Args:
      problem: the objective.
      points: shape ``[point, parameter]``.

    Returns:
      Booleans ``[point]``.

    Examples:
      >>> from jaxloss.problems import load_problem
      >>> is_dead(load_problem("single-relu"), np.array([[-2.0, 1.0], [0.0, 1.0]])).tolist()
      [True, False]
    """
    if not problem.piecewise:
        return np.zeros(len(points), bool)
    return map_points(_is_dead, problem, points, tile_size=1024)


def _is_dead(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    gradient = jax.grad(lambda point: objective(structure.unravel(point), data))
    directions = jax.random.normal(jax.random.key(0), (NUM_DIRECTIONS, point.size), point.dtype)
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    size = 1 + jnp.linalg.norm(point)

    def flat_around(centre):
        probes = jnp.concatenate([centre[None], centre[None] + RADIUS * size * directions[:NUM_PROBES]])
        return jnp.all(jax.vmap(gradient)(probes) == 0)

    slope = gradient(point)
    steepness = jnp.linalg.norm(slope)
    downhill = jnp.where(steepness > 0, -slope / jnp.where(steepness > 0, steepness, 1.0), directions[0])
    nearby = point[None] + CAPTURE_RADIUS * size * jnp.concatenate([downhill[None], directions])
    flattest = nearby[jnp.argmin(jnp.linalg.norm(jax.vmap(gradient)(nearby), axis=1))]
    return flat_around(point) | flat_around(flattest)
