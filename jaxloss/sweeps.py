"""The composition: run every trajectory, find what there is to end at, label every end, as one dataset."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
import psutil
import xarray as xr

from jaxloss import outcomes, results, timing
from jaxloss.engine import check_once, compiling, computing_in
from jaxloss.errors import InputError, unknown
from jaxloss.evidence import Findings, gather
from jaxloss.grids import LEARNING_RATE, BoundGrid, Grid
from jaxloss.optimizers import Optimizer, resolve
from jaxloss.problems import Problem
from jaxloss.runs import Ends, RunOptions, run_grid

__all__ = ["RunOptions", "check_memory", "memory_estimate", "sweep", "validate"]


def sweep(
    problem: Problem,
    grid: Grid,
    *,
    optimizer: str | Callable[..., optax.GradientTransformation] | Optimizer = "sgd",
    num_steps: int = 10_000,
    gradient_tolerance: float = 1e-6,
    divergence_bound: float = 1e6,
    precision: str = "float32",
    seed: int = 0,
    learning_rate: float | None = None,
    hyperparameters: Mapping[str, float] | None = None,
    batch_size: int | None = None,
    replacement: bool = False,
    gradient_noise: float = 0.0,
    shared_draws: bool = True,
    tile_size: int | None = None,
    num_paths: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Runs every trajectory of a grid and says what each end point is.

    Args:
      problem: the objective.
      grid: the initial points and hyperparameters.
      optimizer: a name, or a factory ``learning_rate -> optax transform``.
      num_steps: the budget of updates of each trajectory.
      gradient_tolerance: settled once the Euclidean norm of the full gradient is at most this.
      divergence_bound: diverged once a parameter exceeds this in size.
      precision: ``"float32"`` or ``"float64"``.
      seed: of everything that is drawn.
      learning_rate: where the grid has no such axis.
      hyperparameters: further hyperparameters of the optimiser by name, for all trajectories.
      batch_size: rows of the data in each minibatch; None for the full gradient.
      replacement: draw minibatches with replacement, else walk through a permutation each epoch.
      gradient_noise: standard deviation of Gaussian noise on each component of the gradient.
      shared_draws: the same minibatches and noise for every trajectory.
      tile_size: trajectories of one compiled call; the result does not depend on it.
      num_paths: how many trajectories of contrasting starts are kept step by step, as ``path``.
      progress: show a progress bar.

    Returns:
      A dataset whose dimensions are the axes in grid order. Variables: ``outcome`` (int8, see
      `jaxloss.outcomes`), ``attractor`` (int32, index into the table below, -1 for none), ``loss``,
      ``gradient_norm``, ``num_steps``, ``period``, ``end_point`` (by ``parameter``); over the initial axes
      alone ``initial_loss`` and ``initial_gradient``; and the table of critical points: ``location``,
      ``critical_point_loss``, ``eigenvalues``, ``kind``, ``certified``. Attributes: the spec, seed, versions,
      the infimum and where it came from, the tile size, which changes nothing but the speed, and the compilation.

    Raises:
      InputError: an option or an axis that does not fit, or a request too large for the memory.
      WrongSumsError: the installed jaxlib computes wrong sums.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem
      >>> grid = Grid({"x": Axis.linear(-2, 2, 5), "learning_rate": Axis.of([0.5])})
      >>> sweep(load_problem("cubic-map"), grid).outcome.values[:, 0].tolist()
      [1, 1, 6, 1, 1]
    """
    options = RunOptions(
        optimizer=optimizer,
        num_steps=num_steps,
        gradient_tolerance=gradient_tolerance,
        divergence_bound=divergence_bound,
        precision=precision,
        seed=seed,
        learning_rate=learning_rate,
        hyperparameters=hyperparameters,
        batch_size=batch_size,
        replacement=replacement,
        gradient_noise=gradient_noise,
        shared_draws=shared_draws,
        tile_size=tile_size,
        num_paths=num_paths,
    )
    bound = validate(problem, grid, options)
    check_memory(
        memory_estimate(problem, grid.size, options),
        f"the grid of {grid.size:,} trajectories",
        "use fewer points along an axis, or jaxloss.sweep_to_store, which holds one block of them at a time",
    )
    check_once(jax.devices()[0])
    ends, layout = run_grid(problem, bound, options, progress)
    with timing.phase("labels"), compiling(layout.compilation):
        with computing_in("float64", problem):
            findings, evidence = gather(
                problem,
                ends,
                bound.initial_bounds(),
                gradient_tolerance=options.gradient_tolerance,
                seed=options.seed,
            )
        labels = outcomes.classify(evidence, findings.table.kind, findings.solves)
        return _to_dataset(problem, bound, options, ends, findings, labels).assign_attrs(layout.attributes)


def validate(problem: Problem, grid: Grid, options: RunOptions) -> BoundGrid:
    """Everything that can be wrong with a sweep, checked before it runs.

    Args:
      problem: the objective.
      grid: the axes.
      options: the run.

    Returns:
      The grid, its axes resolved.

    Raises:
      InputError: the sentence names the field.
    """
    if not isinstance(problem, Problem):
        raise InputError(f"problem must be a jaxloss.Problem, not {type(problem).__name__}")
    if not isinstance(grid, Grid):
        raise InputError(f"grid must be a jaxloss.Grid, not {type(grid).__name__}")
    allowed = resolve(options.optimizer).hyperparameters
    given = dict(options.hyperparameters or {})
    for name in given:
        if name not in allowed:
            if not allowed:
                raise InputError(f"optimizer {options.optimizer!r} has no hyperparameter {name!r}, nor any other")
            raise unknown(f"hyperparameter of {options.optimizer!r}:", name, allowed)
    names = {LEARNING_RATE: options.learning_rate, **given}
    names |= {name: value for name, value in allowed.items() if name in grid.axes}
    if not isinstance(resolve(options.optimizer).factory(0.1), optax.GradientTransformation):
        raise InputError("optimizer must return an optax.GradientTransformation for a learning rate")
    taken = results.RESERVED.union(allowed, names).intersection(problem.parameter_names)
    if taken:
        raise InputError(f"params: {min(taken)!r} is a name that results use; give the parameter another")
    if options.batch_size is not None:
        rows = {len(leaf) for leaf in jax.tree.leaves(problem.data)}
        if not rows:
            raise InputError(f"batch_size needs a problem with data, and {problem.name} has none")
        if options.batch_size > min(rows):
            raise InputError(f"batch_size must be at most the number of samples, {min(rows)}")
    largest = max((np.abs(leaf).max(initial=0) for leaf in jax.tree.leaves(problem.data)), default=0)
    if largest > 0.1 * np.finfo(options.precision).max:
        raise InputError(f"the data reach {largest:g}, which is too large for precision {options.precision}")
    return BoundGrid(grid, problem, names, options.key("starts"))


def check_memory(needed: int, what: str, advice: str) -> None:
    """Raises if there is less memory than is needed.

    Args:
      needed: bytes.
      what: needs them.
      advice: how to need fewer.

    Raises:
      InputError: there is less.
    """
    available = psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are available: "
            f"{advice}"
        )


def memory_estimate(problem: Problem, num: int, options: RunOptions) -> int:
    """Bytes that a sweep needs at its peak, for the results and their classification.

    Args:
      problem: gives the number of parameters.
      num: how many trajectories are held at once.
      options: gives the precision.

    Returns:
      The estimate.
    """
    size = 8 if options.precision == "float64" else 4
    parameters = problem.num_parameters
    # Kept: two points, three losses, labels and evidence; while classifying, float64 copies of the points.
    each = (4 * size + 24) * parameters + 6 * size + 80
    return num * each + 2**28


def _to_dataset(
    problem: Problem, bound: BoundGrid, options: RunOptions, ends: Ends, findings: Findings, labels: outcomes.Labels
) -> xr.Dataset:
    axes = tuple(bound.grid.axes)
    variables: dict[str, Any] = {
        name: ((*axes, "parameter")[: len(axes) + column.ndim - 1], bound.to_grid_order(column))
        for name, column in {**labels._asdict(), **results.end_columns(ends)}.items()
    }
    variables |= results.surface_variables(problem, bound)
    variables |= results.table_variables(findings.table)
    if options.num_paths:
        sample = results.path_sample(bound)
        variables |= results.path_variables(
            problem, bound, options, sample, outcomes.Labels(*(column[sample] for column in labels))
        )
    attrs = results.attributes(problem, bound, options) | results.finding_attributes(findings)
    return xr.Dataset(variables, coords=results.coordinates(problem, bound), attrs=attrs)
