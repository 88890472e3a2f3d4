"""Dead regions: open sets on which the gradient is exactly zero."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxloss.critical_points.kinks import unit_vectors
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
    dead = map_points(_is_flat_around, problem, points, tile_size=4096, evaluates=True)
    left = np.flatnonzero(~dead)
    flattest = map_points(_flattest_nearby, problem, points[left], tile_size=1024, evaluates=True)
    dead[left] = map_points(_is_flat_around, problem, flattest, tile_size=4096, evaluates=True)
    return dead


def _is_flat_around(objective, structure: Structure, data, centre: jax.Array) -> jax.Array:
    gradient = jax.grad(lambda point: objective(structure.unravel(point), data))
    radius = RADIUS * (1 + jnp.linalg.norm(centre))
    probes = jnp.concatenate([centre[None], centre[None] + radius * unit_vectors(NUM_PROBES, centre.size)])
    return jnp.all(jax.vmap(gradient)(probes) == 0)


def _flattest_nearby(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    gradient = jax.grad(lambda point: objective(structure.unravel(point), data))
    directions, slope = jnp.asarray(unit_vectors(NUM_DIRECTIONS, point.size)), gradient(point)
    steepness = jnp.linalg.norm(slope)
    downhill = jnp.where(steepness > 0, -slope / jnp.where(steepness > 0, steepness, 1.0), directions[0])
    reach = CAPTURE_RADIUS * (1 + jnp.linalg.norm(point))

    def flatter(k, best):
        found, least = best
        nearby = point + reach * lax.dynamic_index_in_dim(directions, k, keepdims=False)
        steepness = jnp.linalg.norm(gradient(nearby))
        return jnp.where(steepness < least, nearby, found), jnp.minimum(steepness, least)

    first = point + reach * downhill
    return lax.fori_loop(0, NUM_DIRECTIONS, flatter, (first, jnp.linalg.norm(gradient(first))))[0]
