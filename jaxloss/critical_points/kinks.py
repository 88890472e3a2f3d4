"""Critical points on a kink, where the Hessian speaks for one side only."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points.polish import map_points
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

RADIUS = 1e-4
NUM_PROBES = 128


def is_refuted(problem: Problem, points: np.ndarray) -> np.ndarray:
    r"""Whether the surroundings of each point refute the strict minimum that its Hessian claims.

    Around a strict minimum c with smallest eigenvalue :math:`\lambda` the loss rises by about
    :math:`\lambda r^2 / 2` at distance r. On a kink (a preactivation of exactly zero) the Hessian belongs to one
    side, and on another the loss may stay level or fall. So the loss is measured on a small sphere, and a little
    further down the gradient from there.

    Args:
      problem: the objective; one without pieces has no kinks.
      points: critical points, shape ``[point, parameter]``.

    Returns:
      Booleans ``[point]``.

    Examples:
      >>> from jaxloss.problems import neuron_problem
      >>> inputs, targets = [[-2.0], [-1.5], [-0.5], [0.0], [1.5]], [1, 0, 1, 0, 1]
      >>> relu = neuron_problem("relu", "mse", inputs, targets)
      >>> is_refuted(relu, np.array([[8 / 15, 4 / 15]])).tolist()
      [True]
    """
    if not problem.piecewise:
        return np.zeros(len(points), bool)
    return map_points(_is_refuted, problem, points, tile_size=256)


def _is_refuted(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    def loss_at(point):
        return objective(structure.unravel(point), data)

    radius = RADIUS * (1 + jnp.linalg.norm(point))
    directions = jax.random.normal(jax.random.key(0), (NUM_PROBES, point.size), point.dtype)
    probes = point[None] + radius * directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    losses, slopes = jax.vmap(jax.value_and_grad(loss_at))(probes)
    steepness = jnp.linalg.norm(slopes, axis=1, keepdims=True)
    further = jax.vmap(loss_at)(probes - radius * slopes / jnp.where(steepness > 0, steepness, 1.0))
    here = loss_at(point)
    smallest = jnp.linalg.eigvalsh(jax.hessian(loss_at)(point))[0]
    rounding = 1e-14 * (1 + jnp.abs(here))
    level = jnp.min(losses) - here < smallest * radius**2 / 8
    return level | (jnp.min(further) < here - rounding)
