"""Behaviour at infinity: does the loss fall along a ray, and to what?"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points.polish import map_points
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Distances along a ray, in units of 1 + the size of the end point: 1e-3 to 1e6.
DISTANCES = np.geomspace(1e-3, 1e6, 37)


def descending_limit(problem: Problem, points: np.ndarray, midpoints: np.ndarray) -> np.ndarray:
    """The limit of the loss along a descending ray to infinity.

    Two rays leave each end point: away from the origin, and along the drift since ``midpoints``. A ray counts
    only if the loss never rises along it. On separable data the first is the classical argument: scaling
    separating weights sends cross-entropy to zero.

    Args:
      problem: the objective.
      points: end points, shape ``[point, parameter]``.
      midpoints: where the same trajectories were half-way.

    Returns:
      The lower limit of the two, infinity where neither descends, ``[point]`` in float64.

    References:
      Soudry, Hoffer, Nacson, Gunasekar and Srebro, *The implicit bias of gradient descent on separable data*,
      2018.
    """
    if not len(points):
        return np.zeros(0)
    pairs = np.stack([points, midpoints], axis=1)
    return map_points(_descending_limit, problem, pairs, tile_size=8192)


def _descending_limit(objective, structure: Structure, data, pair: jax.Array) -> jax.Array:
    point, midpoint = pair

    def loss_at(point):
        return objective(structure.unravel(point), data)

    here = loss_at(point)
    size = 1 + jnp.linalg.norm(point)

    def limit(direction):
        length = jnp.linalg.norm(direction)
        unit = direction / jnp.where(length > 0, length, 1.0)
        losses = jax.vmap(lambda distance: loss_at(point + distance * size * unit))(jnp.asarray(DISTANCES))
        losses = jnp.concatenate([here[None], losses])
        rounding = 1e-12 * (1 + jnp.abs(here))
        descends = jnp.all(losses[1:] <= losses[:-1] + rounding) & (losses[-1] < here) & (length > 0)
        return jnp.where(descends, losses[-1], jnp.inf)

    return jnp.minimum(limit(point), limit(point - midpoint))
