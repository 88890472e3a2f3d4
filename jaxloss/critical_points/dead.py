"""Dead regions: open sets on which the gradient is exactly zero."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points.polish import map_points
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Probes around a point, at this distance relative to 1 + its size.
RADIUS = 1e-6
NUM_PROBES = 16


def is_dead(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Whether the gradient vanishes exactly, in float64, at each point and at probes all around it.

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
    return map_points(_is_dead, problem, points, tile_size=4096)


def _is_dead(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    gradient = jax.grad(lambda point: objective(structure.unravel(point), data))
    directions = jax.random.normal(jax.random.key(0), (NUM_PROBES, point.size), point.dtype)
    unit = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    probes = point + RADIUS * (1 + jnp.linalg.norm(point)) * unit
    return jnp.all(gradient(point) == 0) & jnp.all(jax.vmap(gradient)(probes) == 0)
