"""The gradient flow beside gradient descent: which fates does the step size change?"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from jaxloss import checks
from jaxloss.basins.along import check_result, step_budget
from jaxloss.basins.fractions import wilson_interval
from jaxloss.basins.labels import split_axes
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE, Grid
from jaxloss.optimizers import Optimizer
from jaxloss.outcomes import OUTCOMES, SOLVED
from jaxloss.problems import Problem
from jaxloss.sweeps import sweep

# The step size is multiplied by a factor between these, and aims at a little less than the tolerance allows.
SHRINK, GROW, SAFETY = 0.2, 4.0, 0.9
# A step moves no parameter by more than this, relative to 1 + the size of the parameters: else a flat stretch, where
# the error is small at any step size, might be left across a basin.
LARGEST_MOTION = 0.1
# Nor may the local error exceed this share of the motion: near a critical point, where the motion is small, the step
# would else grow beyond what is stable, and the trajectory would hover about the point at the size of the tolerance.
ERROR_SHARE = 0.05
# Time steps stay between these; the smallest is taken whatever its error, as at a kink.
SMALLEST, LARGEST = 1e-12, 1e30
FIRST_STEP = 1e-3
# Two entries of two tables are one critical point if so near, relative to 1 + size; or, as mirror images that the
# model's outputs cannot tell apart, if their losses and eigenvalues agree so well.
SAME_PLACE, SAME_KIND = 1e-3, 1e-6


def sweep_flow(
    problem: Problem,
    grid: Grid,
    *,
    tolerance: float = 1e-5,
    refinement: float = 10.0,
    num_steps: int = 10_000,
    gradient_tolerance: float = 1e-6,
    divergence_bound: float = 1e6,
    precision: str = "float64",
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    r"""Where each start ends under the gradient flow, which is gradient descent with infinitely small steps.

    .. math:: \dot\theta = -\nabla L(\theta)

    The flow is followed by an explicit Runge-Kutta pair of orders 3 and 2 whose step size keeps the local error of
    each step within ``tolerance`` of 1 + the size of the parameters, and within 5 % of the motion; no step moves a
    parameter by more than a tenth of that size. It is an optimiser like any other to the sweep, which labels the
    ends as it labels those of gradient descent. Nothing here is proven: that the step size does not decide is
    measured, by a second run whose tolerance is smaller by ``refinement``. The result is that of the second run;
    ``agrees`` says where both come to one fate.

    Args:
      problem: the objective. At a kink (ReLU) the pair loses its order: then the smallest steps are taken there.
      grid: the starts, without an axis for a hyperparameter.
      tolerance: local error of a step of the first run, relative to 1 + the size of the parameters.
      refinement: how much smaller it is in the second run.
      num_steps: the budget of steps of each trajectory, rejected ones included.
      gradient_tolerance: settled once the norm of the gradient is at most this.
      divergence_bound: diverged once a parameter exceeds this in size.
      precision: ``"float64"`` or ``"float32"``; the latter needs a tolerance of 1e-4 or more.
      seed: of random starts.
      progress: show a progress bar.

    Returns:
      A dataset like that of `jaxloss.sweep`, without a learning rate, and the variable ``agrees``. The attributes
      ``agreement`` (the share of starts where both runs agree), ``tolerance`` and ``refinement``.

    Raises:
      InputError: an option out of range, or a hyperparameter among the axes.

    References:
      Bogacki and Shampine, *A 3(2) pair of Runge-Kutta formulas*, 1989.
      Elkabetz and Cohen, *Continuous vs. discrete optimization of deep neural networks*, 2021.

    Examples:
      >>> from jaxloss import Axis, load_problem
      >>> found = sweep_flow(load_problem("cubic-map"), Grid({"x": Axis.linear(-3, 2, 6)}))
      >>> found.end_point.values[:, 0].round(6).tolist(), found.attrs["agreement"]
      ([-1.0, -1.0, -1.0, 0.0, 1.0, 1.0], 1.0)
    """
    checks.check_instance("problem", problem, Problem)
    checks.check_instance("grid", grid, Grid)
    checks.real_array("tolerance", tolerance)
    if not 0 < checks.number("tolerance", tolerance) <= 0.1:
        raise InputError(f"tolerance must be > 0 and at most 0.1, not {tolerance:g}")
    if checks.number("refinement", refinement) <= 1:
        raise InputError(f"refinement must be > 1, not {refinement:g}")
    if LEARNING_RATE in grid.axes:
        raise InputError("grid must have no axis 'learning_rate': the gradient flow has no step size")
    if precision == "float32" and tolerance / refinement < 10 * np.finfo(np.float32).eps:
        raise InputError("tolerance / refinement must be above 1e-6 in float32: rounding would decide")

    def run(error: float) -> xr.Dataset:
        return sweep(
            problem,
            grid,
            optimizer=Optimizer(_factory_of(problem), {"error": error}, f"gradient flow, error {error:g}"),
            learning_rate=FIRST_STEP,
            num_steps=num_steps,
            gradient_tolerance=gradient_tolerance,
            divergence_bound=divergence_bound,
            precision=precision,
            seed=seed,
            progress=progress,
        )

    coarse, fine = run(tolerance), run(tolerance / refinement)
    agrees = same_fate(coarse, fine)
    fine["agrees"] = (fine["outcome"].dims, agrees)
    del fine.attrs[LEARNING_RATE]
    found = fine.attrs
    found |= {"tolerance": tolerance / refinement, "refinement": refinement, "agreement": float(agrees.mean())}
    return fine


def gradient_flow(gradient: Callable[[Any], Any]) -> Callable[..., optax.GradientTransformation]:
    r"""Steps along the gradient flow, of a size that keeps the local error small.

    .. math::
        k_2 = g(\theta - \tfrac12 h k_1), \quad k_3 = g(\theta - \tfrac34 h k_2), \quad
        \theta' = \theta - h (\tfrac29 k_1 + \tfrac13 k_2 + \tfrac49 k_3), \quad k_4 = g(\theta')

    with :math:`k_1 = g(\theta)` the gradient. The embedded formula of order 2 estimates the local error
    :math:`e = h (-\tfrac5{72} k_1 + \tfrac1{12} k_2 + \tfrac19 k_3 - \tfrac18 k_4)`. A step whose error is too large
    is not made, and tried anew with a smaller h at the next update. Allowed is ``error`` times 1 + the size of the
    parameters, and 5 % of the motion, so that steps stay stable near a critical point.

    Args:
      gradient: ``params -> gradient`` of the full objective.

    Returns:
      A factory ``(learning_rate, error=1e-6)`` of an optax transform: the first step in time, and the largest local
        error relative to 1 + the size of the parameters.

    References:
      Bogacki and Shampine, *A 3(2) pair of Runge-Kutta formulas*, 1989.

    Examples:
      >>> transform = gradient_flow(lambda x: x)(0.1, error=1e-4)
      >>> update, state = transform.update(jnp.array(1.0), transform.init(jnp.array(1.0)), jnp.array(1.0))
      >>> bool(abs(1 + update - jnp.exp(-0.1)) < 1e-5), bool(state > 0.1)
      (True, True)
    """

    def factory(learning_rate: Any, error: Any = 1e-6) -> optax.GradientTransformation:
        def init(params):
            dtype = jnp.result_type(*jax.tree.leaves(params))
            return jnp.asarray(learning_rate, dtype)

        def update(updates, state, params=None):
            first, step = updates, state
            size = 1 + _largest(params)
            # Not further than the cap on the motion allows.
            step = jnp.minimum(step, LARGEST_MOTION * size / jnp.maximum(_largest(first), 1 / LARGEST))

            def at(*terms):
                moved = _combined(step, terms)
                return gradient(jax.tree.map(jnp.add, params, moved))

            second = at((-1 / 2, first))
            third = at((-3 / 4, second))
            motion = _combined(step, ((-2 / 9, first), (-1 / 3, second), (-4 / 9, third)))
            fourth = gradient(jax.tree.map(jnp.add, params, motion))
            local = _combined(step, ((-5 / 72, first), (1 / 12, second), (1 / 9, third), (-1 / 8, fourth)))
            allowed = jnp.minimum(error * size, ERROR_SHARE * _largest(motion))
            wrong = _largest(local)
            ratio = jnp.where(wrong == 0, 0.0, wrong / allowed)
            # Written so that a NaN counts as too large.
            accepted = (ratio <= 1) | (step <= SMALLEST)
            factor = jnp.clip(SAFETY * jnp.maximum(ratio, 1e-6) ** (-1 / 3), SHRINK, GROW)
            factor = jnp.where(jnp.isfinite(ratio), factor, SHRINK)
            motion = jax.tree.map(lambda leaf: jnp.where(accepted, leaf, jnp.zeros_like(leaf)), motion)
            return motion, jnp.clip(step * factor, SMALLEST, LARGEST).astype(state.dtype)

        return optax.GradientTransformation(init, update)

    return factory


def compare_with_flow(result: xr.Dataset, flow: xr.Dataset, *, confidence: float = 0.95) -> xr.Dataset:
    """The share of starts whose fate the step size changes: gradient descent against the gradient flow.

    A start counts as changed if both are decided and end as different outcomes, or at different critical points.
    Decided means that neither has spent its budget on its way or on a plateau, which more steps of the same size
    might leave, and that the flow's two runs agree. Give both the same ``gradient_tolerance``.

    Args:
      result: of `jaxloss.sweep`, with or without axes for hyperparameters.
      flow: of `sweep_flow`, from the same starts.
      confidence: of Wilson's interval, which takes the starts for independent draws.

    Returns:
      ``changed`` and ``decided`` over the axes of ``result``; over its hyperparameters ``share`` (of the decided
      starts, NaN without any), ``low``, ``high``, ``num_changed``, ``num_decided``, and ``lost`` and ``won``: of the
      decided starts those that the flow solves and descent does not, and the reverse. Over the starts alone
      ``flow_outcome`` and ``flow_attractor``, the latter as an index into the table of ``result`` (-1 for none).

    Raises:
      InputError: results of two problems, of different starts, or a ``flow`` that is not from `sweep_flow`.

    Examples:
      >>> from jaxloss import Axis, load_problem
      >>> problem, x = load_problem("cubic-map"), Axis.of([-2.0, -0.5, 0.5, 1.9])
      >>> descent = sweep(problem, Grid({"x": x, "learning_rate": Axis.of([0.01, 0.5])}), precision="float64")
      >>> found = compare_with_flow(descent, sweep_flow(problem, Grid({"x": x})))
      >>> found.share.values.tolist(), found.changed.values[:, 1].tolist()
      ([0.0, 0.5], [True, False, False, True])
    """
    check_result(result)
    check_result(flow)
    if "agrees" not in flow:
        raise InputError("flow must be what jaxloss.flow.sweep_flow returned: it has no variable 'agrees'")
    if not 0 < checks.number("confidence", confidence) < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
    hyper = split_axes(result)[1]
    starts = tuple(str(name) for name in result["outcome"].dims if name not in hyper)
    _check_same_starts(result, flow, starts)
    order = (*hyper, *starts)
    ours = result.transpose(*order, ...)
    theirs = flow.transpose(*starts, ...)
    outcome, reference = ours["outcome"].values, theirs["outcome"].values
    decided = _decided(ours) & _decided(theirs) & theirs["agrees"].values
    changed = decided & ~same_fate(ours, theirs)
    solved, solved_by_flow = (np.isin(codes, list(SOLVED)) for codes in (outcome, reference))
    counts = {
        "num_decided": decided,
        "num_changed": changed,
        "lost": changed & solved_by_flow & ~solved,
        "won": changed & solved & ~solved_by_flow,
    }
    counted = {name: flags.reshape(*flags.shape[: len(hyper)], -1).sum(axis=-1) for name, flags in counts.items()}
    low, high = wilson_interval(counted["num_changed"], counted["num_decided"], confidence=confidence)
    with np.errstate(invalid="ignore"):
        share = counted["num_changed"] / counted["num_decided"]
    found = xr.Dataset(
        {
            "changed": (order, changed),
            "decided": (order, decided),
            "share": (hyper, share),
            "low": (hyper, low),
            "high": (hyper, high),
            **{name: (hyper, count) for name, count in counted.items()},
            "flow_outcome": (starts, reference),
            "flow_attractor": (starts, np.maximum(_renumbered(theirs, ours), -1).astype(np.int32)),
        },
        coords={name: result[name].values for name in order if name in result.coords},
        attrs={"name": str(result.attrs.get("name", "")), "agreement": flow.attrs["agreement"]},
    )
    return found.transpose(*map(str, result["outcome"].dims), ...)


def same_fate(first: xr.Dataset, second: xr.Dataset) -> np.ndarray:
    """Whether trajectories of two sweeps of one problem end as the same outcome and at the same critical point.

    Their tables of critical points may be numbered differently, and hold different ones of mirror images.

    Args:
      first: of `jaxloss.sweep`, any axes.
      second: likewise, its axes the last ones of ``first``.

    Returns:
      Booleans over the axes of ``first``.
    """
    same_attractor = _renumbered(first, second) == second["attractor"].values
    return (first["outcome"].values == second["outcome"].values) & same_attractor


def _decided(result: xr.Dataset) -> np.ndarray:
    """Whether trajectories are neither on their way nor on a plateau when their budget is spent."""
    spent = result["num_steps"].values >= step_budget(result)
    outcome = result["outcome"].values
    return (outcome != OUTCOMES["unfinished"]) & ~((outcome == OUTCOMES["plateau"]) & spent)


def _renumbered(first: xr.Dataset, second: xr.Dataset) -> np.ndarray:
    """The attractors of one result as indices into the table of another: -1 for none, -2 for one that it lacks."""
    return np.append(_same_entries(first, second), -1)[first["attractor"].values]


def _same_entries(first: xr.Dataset, second: xr.Dataset) -> np.ndarray:
    """For each critical point of one table its index in another: by place, else by loss and curvature; else -2."""
    here, there = (np.asarray(table["location"].values, np.float64) for table in (first, second))
    found = np.full(len(here), -2)
    if not len(there):
        return found
    size = 1 + np.linalg.norm(here, axis=1)
    for i, point in enumerate(here):
        apart = np.linalg.norm(there - point, axis=1)
        if apart.min() <= SAME_PLACE * size[i]:
            found[i] = int(apart.argmin())
    # Mirror images have the same loss and eigenvalues; only what has no partner by its place may have one so.
    kinds = [
        np.column_stack([table["critical_point_loss"].values, table["eigenvalues"].values])
        for table in (first, second)
    ]
    free = np.setdiff1d(np.arange(len(there)), found)
    for i in np.flatnonzero(found == -2):
        scale = 1 + np.abs(kinds[0][i]).max()
        alike = free[np.abs(kinds[1][free] - kinds[0][i]).max(axis=1, initial=0) <= SAME_KIND * scale]
        if len(alike) == 1:
            found[i] = int(alike[0])
    return found


def _check_same_starts(result: xr.Dataset, flow: xr.Dataset, starts: tuple[str, ...]) -> None:
    if result.attrs.get("name") != flow.attrs.get("name"):
        names = result.attrs.get("name"), flow.attrs.get("name")
        raise InputError(f"result and flow must be of one problem, not of {names[0]!r} and {names[1]!r}")
    if set(starts) != set(map(str, flow["outcome"].dims)):
        raise InputError(
            f"flow must have the starts of result, over {starts}, not over {tuple(flow['outcome'].dims)}"
        )
    for name in starts:
        if not np.array_equal(result[name].values, flow[name].values):
            raise InputError(f"flow must have the starts of result, but their axis {name!r} differs")
    seeds = result.attrs.get("seed"), flow.attrs.get("seed")
    if "start" in starts and seeds[0] != seeds[1]:
        raise InputError(f"flow must have the starts of result, but the seeds differ: {seeds[0]} and {seeds[1]}")


@functools.lru_cache(maxsize=64)
def _factory_of(problem: Problem) -> Callable[..., optax.GradientTransformation]:
    """One factory for each problem, so that it compiles once."""
    assert problem.batch_objective is not None
    objective = problem.batch_objective

    def gradient(params):
        # Fresh copies: JAX would remember in which precision it first saw an array.
        data = jax.tree.map(np.copy, problem.data)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return jax.grad(objective)(params, jax.tree.map(lambda column: _cast(column, dtype), data))

    return gradient_flow(gradient)


def _cast(column: np.ndarray, dtype: Any) -> np.ndarray:
    return column.astype(dtype) if np.issubdtype(column.dtype, np.floating) else column


def _combined(step: Any, terms: tuple[tuple[float, Any], ...]) -> Any:
    """``step`` times the sum of weights times trees."""
    weights = [weight for weight, _ in terms]
    trees = [tree for _, tree in terms]
    return jax.tree.map(lambda *leaves: step * sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)), *trees)


def _largest(tree: Any) -> jax.Array:
    """The largest absolute value, NaN if any is NaN."""
    return functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)])
