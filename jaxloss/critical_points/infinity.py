"""Behaviour at infinity: does the loss fall along a ray, and to what?"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points.polish import map_points
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Distances along a ray, in units of 1 + the size of the end point: 1e-3 to 1e6.
DISTANCES = np.geomspace(1e-3, 1e6, 37)
# A ray must descend at least this far out; further on, rounding in its direction may turn the loss up again.
FAR = 1e2
# It may end sooner where the loss overflows.
NEAR = 0.3


def descending_limit(problem: Problem, points: np.ndarray, midpoints: np.ndarray) -> np.ndarray:
    """The limit of the loss along a descending ray to infinity.

    Three rays leave each end point: away from the origin, along the drift since ``midpoints``, and down the
    gradient. A ray counts only if the loss never rises along it until far out, or until it can no longer be
    evaluated; its limit is the loss as far as it descends. On separable data the first ray is the classical
    argument: scaling separating weights sends cross-entropy to zero. The others serve where only some directions
    separate. Where the loss has underflowed, a level ray counts as well if the objective is analytic and larger at
    the origin: an analytic function is not level on a ray, so it is falling beyond what float64 resolves.

    Args:
      problem: the objective.
      points: end points, shape ``[point, parameter]``.
      midpoints: where the same trajectories were half-way.

    Returns:
      The lowest limit of the three, infinity where none descends, ``[point]`` in float64.

    References:
      Soudry, Hoffer, Nacson, Gunasekar and Srebro, *The implicit bias of gradient descent on separable data*,
      2018.
    """
    if not len(points):
        return np.zeros(0)
    pairs = np.stack([points, midpoints], axis=1)
    return map_points(_descending_limit, problem, pairs, tile_size=8192, static=(not problem.piecewise,))


def _descending_limit(objective, structure: Structure, analytic: bool, data, pair: jax.Array) -> jax.Array:
    point, midpoint = pair

    def loss_at(point):
        return objective(structure.unravel(point), data)

    here = loss_at(point)
    size = 1 + jnp.linalg.norm(point)
    underflown = analytic & (loss_at(jnp.zeros_like(point)) > here + 1e-9 * (1 + jnp.abs(here)))

    def limit(direction):
        length = jnp.linalg.norm(direction)
        unit = direction / jnp.where(length > 0, length, 1.0)
        losses = jax.vmap(lambda distance: loss_at(point + distance * size * unit))(jnp.asarray(DISTANCES))
        rounding = 1e-12 * (1 + jnp.abs(here))
        # A loss that is not a number ends the ray, like one that rises.
        falls = losses <= jnp.concatenate([here[None], losses[:-1]]) + rounding
        reached = jnp.sum(jnp.cumprod(falls))
        last = losses[jnp.maximum(reached - 1, 0)]
        ends = ~jnp.isfinite(losses[jnp.minimum(reached, len(DISTANCES) - 1)])
        far_enough = reached >= jnp.where(ends, np.searchsorted(DISTANCES, NEAR), np.searchsorted(DISTANCES, FAR))
        return jnp.where(far_enough & ((last < here) | underflown) & (length > 0), last, jnp.inf)

    return jnp.minimum(jnp.minimum(limit(point), limit(point - midpoint)), limit(-jax.grad(loss_at)(point)))
