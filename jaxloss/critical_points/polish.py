"""Newton polishing in float64: from near a critical point onto it, with the spectrum of its Hessian."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.critical_points import eigen
from jaxloss.critical_points.kinds import ZERO_EIGENVALUE
from jaxloss.engine import batched, computing_in, in_lanes, map_in_tiles, map_lanes
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Beyond this many parameters the dense Hessian of every end point is too much.
MAX_PARAMETERS = 256
# How many steps each stage of a search makes at most: down to near a minimum, damped, and plain Newton.
DOWN, DAMPED, PLAIN = 80, 63, 6
# Steps between two looks at which searches still go on.
AT_ONCE = 16
# A polished point must be a root up to this Newton step, relative to 1 + its size.
ROOT_STEP = 1e-9


# Samples and parameters of all points that are examined at once, at most.
MAX_VALUES = 2**20
# Points that are evaluated together in lanes, at most: few calls, and short enough tiles where XLA runs them.
LANES = 2**14


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
    return _search(problem, points, 0, 0, 0)[1]


def losses(problem: Problem, points: np.ndarray) -> np.ndarray:
    """The objective at points ``[point, parameter]``, in float64: single precision would blur the infimum."""
    return map_points(_loss_of, problem, points, tile_size=65_536, evaluates=True)


def polish(problem: Problem, points: np.ndarray, *, descend: bool = False) -> Polished:
    """Solves gradient = 0 from each point by Levenberg-Marquardt, then by Newton, in float64.

    A root counts only if the Newton step there is negligible: on a saturating slope the gradient vanishes
    too, but the step does not.

    Args:
      problem: the objective.
      points: shape ``[point, parameter]``.
      descend: run down to near a minimum first, which root finding from afar would miss. Newton's method with the
        absolute eigenvalues of the Hessian, which repel it from saddles, inside a trust region that shrinks whenever
        the loss does not fall.

    Returns:
      The end of each search, and whether it is a critical point.

    References:
      Marquardt, *An algorithm for least-squares estimation of nonlinear parameters*, 1963. Dauphin et al.,
      *Identifying and attacking the saddle point problem in high-dimensional non-convex optimization*, 2014.
    """
    location, found = _search(problem, points, DOWN if descend else 0, DAMPED, PLAIN)
    with np.errstate(invalid="ignore", over="ignore"):
        size = 1 + np.linalg.norm(location, axis=1)
    # Far out on a saturating slope the curvature is lost in the rounding of the loss, and with it the step.
    curved = np.abs(found.eigenvalues).max(axis=1) > 1e-13 * np.abs(found.loss)
    with np.errstate(invalid="ignore"):
        converged = np.isfinite(location).all(axis=1) & (found.newton_step <= ROOT_STEP * size) & curved
    # An analytic function that is flat on one side of a point only is not flat there: it levels off at infinity.
    levels_off = found.degenerate & found.one_sided & (not problem.piecewise)
    return Polished(location, found, converged & ~levels_off)


def _search(problem: Problem, points: np.ndarray, *budget: int) -> tuple[np.ndarray, Spectrum]:
    """Where a search with these budgets of steps ends, and the spectrum there."""
    state = (points, np.ones(len(points)), np.tile(np.array(budget, np.float64), (len(points), 1)))
    # Factorisations gain nothing in lanes.
    how: dict[str, Any] = {"tile_size": 256, "evaluates": problem.num_parameters <= eigen.LARGEST}
    ended = map_points(_search_on, problem, state, **how)
    # A few steps at a time: the many searches that end soon do not wait for those that run away.
    while len(going := np.flatnonzero((ended[0][2] > 0).any(axis=1))):
        rows = [column[going] for column in ended[0]]
        moved = map_points(_search_on, problem, tuple(rows), **how)
        for column, update in zip(jax.tree.leaves(ended), jax.tree.leaves(moved), strict=True):
            column[going] = update
    (location, _, _), found = ended
    return location, Spectrum(*found)


def joined(first: Polished, second: Polished) -> Polished:
    """Both sets of polished points as one."""
    return jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)


def map_points(
    function, problem: Problem, points: Any, *, tile_size: int, static: tuple = (), evaluates: bool = False
) -> Any:
    """A function of ``(objective, structure, *static, data, point)`` over points in float64, tile by tile.

    Args:
      function: written for one point.
      problem: gives the objective and the data.
      points: an array ``[point, ...]``, or a tuple of arrays that share this axis.
      tile_size: points of one compiled call, fewer where there are many parameters or samples; in lanes `LANES`.
      static: further arguments that are fixed at compilation.
      evaluates: the function does little more than evaluate the objective: it runs in lanes, on all devices. Programs
        with factorisations gain nothing from that.

    Returns:
      Host arrays ``[point, ...]``.
    """
    with computing_in("float64", problem):
        # A fresh copy: JAX remembers in which precision it has seen an array before.
        data = jax.tree.map(np.array, problem.data)
        fixed = (problem.batch_objective, problem.structure, *static)
        compiled = batched(function, fixed, (None, 0))
        if not len(jax.tree.leaves(points)[0]):  # nothing to compute, so nothing to compile
            one = jax.tree.map(lambda array: np.zeros((1, *array.shape[1:])), points)
            found = jax.eval_shape(compiled, data, one)
            return jax.tree.map(lambda out: np.zeros((0, *out.shape[1:]), out.dtype), found)
        parameters = problem.num_parameters
        samples = max((len(leaf) for leaf in jax.tree.leaves(data)), default=1)
        most = MAX_VALUES // (samples + parameters)
        if evaluates:
            columns = jax.tree.map(lambda array: np.ascontiguousarray(np.moveaxis(array, 0, -1)), points)
            program = in_lanes(_in_float64, (function, *fixed), (None, -1))
            found = map_lanes(program, (data,), (columns,), max(16, min(LANES, most)))
            return jax.tree.map(lambda array: np.moveaxis(array, -1, 0), found)
        tile_size = max(16, min(tile_size // max(1, parameters // 4), most))
        return map_in_tiles(lambda tile: compiled(data, _as_float64(tile)), points, tile_size)


def _as_float64(tile: Any) -> Any:
    return jax.tree.map(lambda array: np.asarray(array, dtype=np.float64), tile)


def _in_float64(function, objective, structure, *rest):
    *static, data, point = rest
    return function(objective, structure, *static, data, jax.tree.map(lambda array: array.astype(np.float64), point))


def gradient_norms(problem: Problem, points: np.ndarray) -> np.ndarray:
    """The Euclidean norm of the gradient at points ``[point, parameter]``, in float64."""
    return map_points(_gradient_norm_of, problem, points, tile_size=65_536, evaluates=True)


def _gradient_norm_of(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    return jnp.linalg.norm(jax.grad(lambda point: objective(structure.unravel(point), data))(point))


def _loss_of(objective, structure: Structure, data, point: jax.Array) -> jax.Array:
    return objective(structure.unravel(point), data)


class _View(NamedTuple):
    """The second-order picture at one point."""

    point: jax.Array
    loss: jax.Array
    slope: jax.Array
    eigenvalues: jax.Array
    vectors: jax.Array

    @property
    def along(self) -> jax.Array:
        """The slope along each eigenvector."""
        return self.vectors.T @ self.slope


def _search_on(objective, structure: Structure, data, search):
    """A few steps of a search, in one loop for every kind of them, so that the Hessian is compiled once."""
    start, trust, left = search

    def loss_at(point):
        return objective(structure.unravel(point), data)

    def slope_at(point):
        loss, slope = jax.value_and_grad(loss_at)(point)
        return slope, (loss, slope)

    def view_from(point):
        hessian, (loss, slope) = jax.jacfwd(slope_at, has_aux=True)(point)
        return _View(point, loss, slope, *eigen.eigh(hessian))

    def step(state):
        view, trust, left, num_steps = state
        begins, down, damped = num_steps == 0, left[0] > 0, left[1] > 0
        move, predicted = _move(view, trust, down, damped)
        new = view_from(jnp.where(begins, start, view.point + move))
        accepted, judged = _judged(view, new, move, predicted, trust, down, damped)
        # A stage ends early where nothing changes any more; the next one begins with a trust of 1.
        still = _close(move, new.point) & (down | ~accepted | _close(new.slope - view.slope, new.slope))
        stage = jnp.stack([down, damped & ~down, ~damped & ~down])
        spent = jnp.where(still & (down | damped), 0.0, left - 1)
        ends = jnp.any(stage & (spent <= 0))
        view = jax.tree.map(lambda new, old: jnp.where(begins | accepted, new, old), new, view)
        trust = jnp.where(begins, trust, jnp.where(ends, 1.0, judged))
        return view, trust, jnp.where(stage & ~begins, spent, left), num_steps + 1

    def goes_on(state):
        _, _, left, num_steps = state
        return (num_steps == 0) | ((num_steps <= AT_ONCE) & jnp.any(left > 0))

    nothing = _View(start, jnp.zeros(()), start, start, jnp.zeros((start.size, start.size)))
    view, trust, left, _ = jax.lax.while_loop(goes_on, step, (nothing, trust, left, jnp.zeros((), int)))
    return (view.point, trust, left), _spectrum_of(view, loss_at)


def _move(view: _View, trust, down, damped) -> tuple[jax.Array, jax.Array]:
    """The next step of the stage; and how a damped one should change the square of the slope."""
    size, along = jnp.abs(view.eigenvalues), view.along
    largest = jnp.max(size)
    downhill = along / jnp.maximum(size, jnp.maximum(ZERO_EIGENVALUE * largest, 1e-300))
    downhill *= jnp.minimum(1.0, trust / (jnp.linalg.norm(downhill) + 1e-300))
    damping = view.eigenvalues * along / (view.eigenvalues**2 + 1 / trust)
    regular = size > ZERO_EIGENVALUE * largest
    newton = jnp.where(regular, along / jnp.where(size > 0, view.eigenvalues, 1.0), 0.0)
    move = jnp.where(down, downhill, jnp.where(damped, damping, newton))
    return -view.vectors @ move, jnp.sum((along - view.eigenvalues * damping) ** 2) - jnp.sum(along**2)


def _judged(view: _View, new: _View, move, predicted, trust, down, damped) -> tuple[jax.Array, jax.Array]:
    """Whether to make the step, and how far to trust the next one."""
    falls = new.loss <= view.loss
    length = jnp.linalg.norm(move)
    wider = jnp.minimum(2 * trust, 1 + jnp.linalg.norm(view.point))
    radius = jnp.where(falls, wider, 0.25 * jnp.minimum(trust, length))
    change = jnp.sum(new.slope**2) - jnp.sum(view.slope**2)
    flatter = change <= 0.01 * predicted
    factor = jnp.where(flatter, jnp.where(change < 0.99 * predicted, 3.5, 1.0), 0.25)
    accepted = jnp.where(down, falls, jnp.where(damped, flatter, change < 0))
    return accepted, jnp.where(down, radius, jnp.clip(factor * trust, 1e-15, 1e300))


def _close(change: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.all(jnp.abs(change) < 1e-14 + 1e-12 * jnp.abs(value))


def _spectrum_of(view: _View, loss_at) -> tuple[jax.Array, ...]:
    size = jnp.abs(view.eigenvalues)
    # A direction is flat where neither gradient nor curvature exceeds rounding.
    rounding = 1e-14 * (jnp.max(size) + jnp.abs(view.loss))
    flat = (size <= rounding) & (jnp.abs(view.along) <= rounding)
    step = jnp.where(flat, 0.0, view.along / jnp.where(size > 0, view.eigenvalues, 1e-300))
    flattest = eigen.smallest(size, view.vectors)
    far = 1e3 * (1 + jnp.linalg.norm(view.point)) * flattest
    both_sides = jax.vmap(loss_at)(view.point[None] + jnp.stack([far, -far]))
    level = jnp.abs(both_sides - view.loss) <= 1e-9 * (1 + jnp.abs(view.loss))
    return view.loss, jnp.linalg.norm(view.slope), view.eigenvalues, jnp.linalg.norm(step), level[0] ^ level[1]
