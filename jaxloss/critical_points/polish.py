"""Newton polishing in float64: from near a critical point onto it, with the spectrum of its Hessian."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points.kinds import ZERO_EIGENVALUE
from jaxloss.engine import batched, computing_in, map_in_tiles
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Beyond this many parameters the dense Hessian of every end point is too much.
MAX_PARAMETERS = 256
NUM_MINIMISING_STEPS = 80
# A polished point must be a root up to this Newton step, relative to 1 + its size.
ROOT_STEP = 1e-9


class Spectrum(NamedTuple):
    """The second-order picture at points, float64.

    Attributes:
      loss: shape ``[point]``.
      gradient_norm: shape ``[point]``.
      eigenvalues: of the Hessian, ascending, ``[point, parameter]``.
      newton_step: length of the Newton step over all directions that are not flat, ``[point]``.
      one_sided: along the flattest direction the loss stays level on one side only, far out: a point that
        runs to infinity, and no critical point.
    """

    loss: np.ndarray
    gradient_norm: np.ndarray
    eigenvalues: np.ndarray
    newton_step: np.ndarray
    one_sided: np.ndarray

    @property
    def degenerate(self) -> np.ndarray:
        """Whether an eigenvalue is zero to rounding."""
        size = np.abs(self.eigenvalues)
        return size.min(axis=1) <= ZERO_EIGENVALUE * size.max(axis=1)


class Polished(NamedTuple):
    """Where polishing ended.

    Attributes:
      location: shape ``[point, parameter]``.
      spectrum: there.
      converged: whether a critical point was reached.
    """

    location: np.ndarray
    spectrum: Spectrum
    converged: np.ndarray


def spectrum(problem: Problem, points: np.ndarray) -> Spectrum:
    """Loss, gradient and Hessian spectrum at points, in float64.

    Args:
      problem: the objective.
      points: shape ``[point, parameter]``.

    Returns:
      The spectra.
    """
    return Spectrum(*map_points(_spectrum_at, problem, points, tile_size=1024))


def losses(problem: Problem, points: np.ndarray) -> np.ndarray:
    """The objective at points ``[point, parameter]``, in float64: single precision would blur the infimum."""
    return map_points(_loss_of, problem, points, tile_size=4096)


def polish(problem: Problem, points: np.ndarray) -> Polished:
    """Solves gradient = 0 from each point by Levenberg-Marquardt, then by Newton, in float64.

    A root counts only if the Newton step there is negligible: on a saturating slope the gradient vanishes
    too, but the step does not.

    Args:
      problem: the objective.
      points: shape ``[point, parameter]``.

    Returns:
      The end of each search, and whether it is a critical point.
    """
    location = map_points(_polish_one, problem, points, tile_size=256)
    found = spectrum(problem, location)
    with np.errstate(invalid="ignore", over="ignore"):
        size = 1 + np.linalg.norm(location, axis=1)
    # Far out on a saturating slope the curvature is lost in the rounding of the loss, and with it the step.
    curved = np.abs(found.eigenvalues).max(axis=1) > 1e-13 * np.abs(found.loss)
    with np.errstate(invalid="ignore"):
        converged = np.isfinite(location).all(axis=1) & (found.newton_step <= ROOT_STEP * size) & curved
    # An analytic function that is flat on one side of a point only is not flat there: it levels off at infinity.
    levels_off = found.degenerate & found.one_sided & (not problem.piecewise)
    return Polished(location, found, converged & ~levels_off)


def minimise(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Runs down from each point to near a minimum, in float64: what root finding from afar would miss.

    Newton's method with the absolute eigenvalues of the Hessian, which repel it from saddles, inside a trust
    region that shrinks whenever the loss does not fall.

    Args:
      problem: the objective.
      points: shape ``[point, parameter]``.

    Returns:
      Points of lower or equal loss, to be polished, ``[point, parameter]``.

    References:
      Dauphin et al., *Identifying and attacking the saddle point problem in high-dimensional non-convex
      optimization*, 2014.
    """
    return map_points(_minimise_one, problem, points, tile_size=256)


def joined(first: Polished, second: Polished) -> Polished:
    """Both sets of polished points as one."""
    return jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)


def map_points(function, problem: Problem, points: np.ndarray, *, tile_size: int, static: tuple = ()) -> Any:
    """A function of (objective, structure, *static, data, point) over points in float64, tile by tile."""
    with computing_in("float64", problem):
        # A fresh copy: JAX remembers in which precision it has seen an array before.
        data = jax.tree.map(np.array, problem.data)
        compiled = batched(function, (problem.batch_objective, problem.structure, *static), (None, 0))
        points = np.asarray(points, dtype=np.float64)
        if not len(points):
            points, rows = np.zeros((1, *points.shape[1:])), 0
        else:
            rows = len(points)
        tile_size = max(16, tile_size // max(1, problem.num_parameters // 4))
        found = map_in_tiles(functools.partial(compiled, data), points, tile_size)
        return jax.tree.map(lambda array: array[:rows], found)


def gradient_norms(problem: Problem, points: np.ndarray) -> np.ndarray:
    """The Euclidean norm of the gradient at points ``[point, parameter]``, in float64."""
    return map_points(_gradient_norm_of, problem, points, tile_size=4096)


def _gradient_norm_of(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    return jnp.linalg.norm(jax.grad(lambda point: objective(structure.unravel(point), data))(point))


def _loss_of(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    return objective(structure.unravel(point), data)


def _spectrum_at(objective, structure: Structure, data, point: jax.Array):
    def loss_at(point):
        return objective(structure.unravel(point), data)

    loss, gradient = jax.value_and_grad(loss_at)(point)
    eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(loss_at)(point))
    along = vectors.T @ gradient
    size = jnp.abs(eigenvalues)
    # A direction is flat where neither gradient nor curvature exceeds rounding.
    rounding = 1e-14 * (jnp.max(size) + jnp.abs(loss))
    flat = (size <= rounding) & (jnp.abs(along) <= rounding)
    step = jnp.where(flat, 0.0, along / jnp.where(size > 0, eigenvalues, 1e-300))
    flattest = vectors[:, jnp.argmin(size)]
    far = 1e3 * (1 + jnp.linalg.norm(point)) * flattest
    level = 1e-9 * (1 + jnp.abs(loss))
    one_sided = (jnp.abs(loss_at(point + far) - loss) <= level) ^ (jnp.abs(loss_at(point - far) - loss) <= level)
    return loss, jnp.linalg.norm(gradient), eigenvalues, jnp.linalg.norm(step), one_sided


def _minimise_one(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    def loss_at(point):
        return objective(structure.unravel(point), data)

    def step(_, state):
        point, loss, radius = state
        eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(loss_at)(point))
        size = jnp.abs(eigenvalues)
        floor = jnp.maximum(ZERO_EIGENVALUE * jnp.max(size), 1e-300)
        move = -vectors @ ((vectors.T @ jax.grad(loss_at)(point)) / jnp.maximum(size, floor))
        length = jnp.linalg.norm(move) + 1e-300
        moved = point + move * jnp.minimum(1.0, radius / length)
        new = loss_at(moved)
        better = new <= loss
        radius = jnp.where(
            better, jnp.minimum(2 * radius, 1 + jnp.linalg.norm(point)), 0.25 * jnp.minimum(radius, length)
        )
        return jnp.where(better, moved, point), jnp.where(better, new, loss), radius

    return jax.lax.fori_loop(0, NUM_MINIMISING_STEPS, step, (point, loss_at(point), jnp.ones(())))[0]


def _polish_one(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    import optimistix  # a slow import, which only polishing needs

    gradient = jax.grad(lambda point: objective(structure.unravel(point), data))
    solution = optimistix.least_squares(
        lambda point, _: gradient(point),
        optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-14),
        point,
        max_steps=64,
        throw=False,
    )

    def newton(_, point):
        eigenvalues, vectors = jnp.linalg.eigh(jax.jacfwd(gradient)(point))
        size = jnp.abs(eigenvalues)
        inverse = jnp.where(size > ZERO_EIGENVALUE * jnp.max(size), 1 / jnp.where(size > 0, eigenvalues, 1.0), 0.0)
        stepped = point - vectors @ (inverse * (vectors.T @ gradient(point)))
        better = jnp.linalg.norm(gradient(stepped)) < jnp.linalg.norm(gradient(point))
        return jnp.where(better, stepped, point)

    return jax.lax.fori_loop(0, 6, newton, solution.value)
