"""Behaviour at infinity: does the loss fall along a ray, and to what?"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxloss.critical_points.polish import losses, map_points
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Distances along a ray, in units of 1 + the size of the end point: 1e-3 to 1e6.
DISTANCES = np.geomspace(1e-3, 1e6, 37)
# A ray must descend at least this far out; further on, rounding in its direction may turn the loss up again.
FAR = 1e2
# It may end sooner where the loss overflows.
NEAR = 0.3
# Most rays rise: two probes tell, the first of them just short of FAR.
PROBES = DISTANCES[[np.searchsorted(DISTANCES, FAR) - 1, -1]]
# What falls may rise by rounding at each distance, relative to 1 + its size.
ROUNDING = 1e-12


def descending_limit(
    problem: Problem, points: np.ndarray, midpoints: np.ndarray, *, highest: float = np.inf
) -> np.ndarray:
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
      highest: limits above it are of no interest, and may be left out.

    Returns:
      The lowest limit of the three, infinity where none descends, ``[point]`` in float64.

    References:
      Soudry, Hoffer, Nacson, Gunasekar and Srebro, *The implicit bias of gradient descent on separable data*,
      2018.
    """
    limit = np.full(len(points), np.inf)
    if not len(points):
        return limit
    starts = (points, midpoints, np.full(len(points), highest))
    loss, slope, may_descend = map_points(_probe, problem, starts, tile_size=16_384, evaluates=True)
    point, ray = np.nonzero(may_descend)
    if not len(point):
        return limit
    start, midpoint, down, here = (
        np.take(array, point, axis=0).astype(np.float64) for array in (points, midpoints, -slope, loss)
    )
    direction = np.where((ray == 0)[:, None], start, np.where((ray == 1)[:, None], start - midpoint, down))
    last, descends = map_points(_march, problem, (start, direction, here), tile_size=4096, evaluates=True)
    origin = losses(problem, np.zeros((1, problem.num_parameters)))
    underflown = (origin > here + 1e-9 * (1 + np.abs(here))) & (not problem.piecewise)
    descends &= ((last < here) | underflown) & direction.any(axis=1)
    np.minimum.at(limit, point[descends], last[descends])
    return limit


def _probe(objective, structure: Structure, data, start) -> tuple[jax.Array, ...]:
    """Loss and slope, and which of the three rays two probes do not rule out.

    They do where the loss has risen, and where it does not fall low enough.
    """
    point, midpoint, highest = start

    def loss_at(point):
        return objective(structure.unravel(point), data)

    here, slope = jax.value_and_grad(loss_at)(point)
    directions = jnp.stack([point, point - midpoint, -slope])
    probe = jax.vmap(lambda direction, distance: loss_at(_on_ray(point, direction, distance)), (0, None))
    far, last = jax.vmap(lambda distance: probe(directions, distance))(jnp.asarray(PROBES))
    rises = jnp.isfinite(far) & (far > here + len(DISTANCES) * ROUNDING * (1 + jnp.abs(here)))
    return here, slope, ~rises & ~((last > highest) & (last <= far))


def _march(objective, structure: Structure, data, ray) -> tuple[jax.Array, jax.Array]:
    """How low the loss falls along a ray until it first rises, and whether it falls far enough out."""
    point, direction, here = ray
    distances = jnp.asarray(DISTANCES)
    rounding = ROUNDING * (1 + jnp.abs(here))

    def step(k, state):
        descends, last, reached, overflows = state
        distance = lax.dynamic_index_in_dim(distances, k, keepdims=False)
        loss = objective(structure.unravel(_on_ray(point, direction, distance)), data)
        # A loss that is not a number ends the ray, like one that rises.
        falls = descends & (loss <= last + rounding)
        overflows |= descends & ~falls & ~jnp.isfinite(loss)
        return falls, jnp.where(falls, loss, last), reached + falls, overflows

    no = jnp.zeros((), bool)
    begin = (~no, here, jnp.zeros((), int), no)
    _, last, reached, overflows = lax.fori_loop(0, len(DISTANCES), step, begin)
    return last, reached >= jnp.where(overflows, np.searchsorted(DISTANCES, NEAR), np.searchsorted(DISTANCES, FAR))


def _on_ray(point: jax.Array, direction: jax.Array, distance) -> jax.Array:
    length = jnp.linalg.norm(direction)
    unit = direction / jnp.where(length > 0, length, 1.0)
    return point + distance * (1 + jnp.linalg.norm(point)) * unit
