"""The composition: run every trajectory, find what there is to end at, label every end, as one dataset."""

import functools
import importlib.metadata
import json
import math
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil
import xarray as xr

from jaxloss import outcomes, timing
from jaxloss.critical_points.polish import map_points
from jaxloss.engine import check_once, compiling, computing_in
from jaxloss.errors import InputError, unknown
from jaxloss.evidence import Findings, gather
from jaxloss.grids import LEARNING_RATE, BoundGrid, Grid
from jaxloss.optimizers import Optimizer, resolve
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure
from jaxloss.runs import Ends, RunOptions, run_grid, run_paths

# Names of dimensions and variables of every result; no parameter may bear one.
RESERVED = frozenset(
    (
        "outcome",
        "attractor",
        "loss",
        "gradient_norm",
        "num_steps",
        "period",
        "end_point",
        "initial_loss",
        "initial_gradient",
        "location",
        "critical_point_loss",
        "kind",
        "eigenvalues",
        "certified",
        "parameter",
        "critical_point",
        "eigenvalue",
        "start",
        "learning_rate",
        "path_step",
        "trajectory",
        "path",
        "path_loss",
        "path_gradient_norm",
        "path_outcome",
        "path_attractor",
        "path_learning_rate",
    )
)

__all__ = ["RunOptions", "memory_estimate", "sweep", "validate"]


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
    check_once(jax.devices()[0])
    ends, layout = run_grid(problem, bound, options, progress)
    with timing.phase("labels"), compiling(layout.compilation), computing_in("float64", problem):
        findings, evidence = gather(
            problem,
            ends,
            bound.initial_bounds(),
            gradient_tolerance=options.gradient_tolerance,
            seed=options.seed,
        )
    with timing.phase("labels"), compiling(layout.compilation):
        labels = outcomes.classify(evidence, findings.table.kind, findings.solves)
        return _to_dataset(problem, bound, options, ends, findings, labels).assign_attrs(layout._asdict())


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
    taken = RESERVED.union(allowed, names).intersection(problem.parameter_names)
    if taken:
        raise InputError(f"params: {min(taken)!r} is a name that results use; give the parameter another")
    if options.batch_size is not None:
        rows = {len(leaf) for leaf in jax.tree.leaves(problem.data)}
        if not rows:
            raise InputError(f"batch_size needs a problem with data, and {problem.name} has none")
        if options.batch_size > min(rows):
            raise InputError(f"batch_size must be at most the number of samples, {min(rows)}")
    needed, available = memory_estimate(problem, grid, options), psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"the grid of {grid.size:,} trajectories needs about {needed / 2**30:.1f} GiB of memory, and "
            f"{available / 2**30:.1f} GiB are available: use fewer points along an axis"
        )
    largest = max((np.abs(leaf).max(initial=0) for leaf in jax.tree.leaves(problem.data)), default=0)
    if largest > 0.1 * np.finfo(options.precision).max:
        raise InputError(f"the data reach {largest:g}, which is too large for precision {options.precision}")
    return BoundGrid(grid, problem, names, options.key("starts"))


def memory_estimate(problem: Problem, grid: Grid, options: RunOptions) -> int:
    """Bytes that a sweep needs at its peak, for the results and their classification.

    Args:
      problem: gives the number of parameters.
      grid: gives the number of trajectories.
      options: gives the precision.

    Returns:
      The estimate.
    """
    size = 8 if options.precision == "float64" else 4
    parameters = problem.num_parameters
    # Kept: two points, three losses, labels and evidence; while classifying, float64 copies of the points.
    each = (4 * size + 24) * parameters + 6 * size + 80
    return grid.size * each + 2**28


def _contrasting(bound: BoundGrid, labels: outcomes.Labels, num: int) -> np.ndarray:
    """Numbers of the trajectories whose paths are kept, all at the learning rate with the most varied fates.

    Of each frequent fate (outcome and attractor) it takes the start nearest to the mean of those that share it;
    if there are fewer fates than paths, further starts spread over the grid.
    """
    numbers = np.arange(bound.grid.size)
    points, hyper = bound.trajectories_at(numbers)
    fates = labels.outcome.astype(np.int64) * 2**32 + labels.attractor
    rates, rate_of = np.unique(hyper[LEARNING_RATE], return_inverse=True)
    # Where all trajectories are unstable, their paths cover the picture.
    stable = ~np.isin(labels.outcome, list(outcomes.UNSTABLE))
    variety = [len(np.unique(fates[stable & (rate_of == i)])) for i in range(len(rates))]
    solved = [np.isin(labels.outcome[rate_of == i], list(outcomes.SOLVED)).mean() for i in range(len(rates))]
    here = numbers[rate_of == np.lexsort((solved, variety))[-1]]
    values, counts = np.unique(fates[here], return_counts=True)
    chosen = []
    for value in values[np.argsort(-counts, kind="stable")][:num]:
        alike = here[fates[here] == value]
        apart = np.linalg.norm(points[alike] - points[alike].mean(axis=0), axis=1)
        chosen.append(alike[np.argmin(apart)])
    # Low-discrepancy picks: a plain stride would walk along one axis.
    others = here[(np.arange(1, 4 * num) * 0.618034 % 1 * len(here)).astype(int)]
    return np.array(list(dict.fromkeys([*chosen, *others]))[:num])


def _path_variables(
    problem: Problem, bound: BoundGrid, options: RunOptions, labels: outcomes.Labels
) -> dict[str, Any]:
    which = _contrasting(bound, labels, options.num_paths)
    paths = run_paths(problem, bound, options, which)
    shape = paths.position.shape
    flat = paths.position.reshape(-1, shape[-1]).astype(np.float64)
    finite = np.logical_and.reduce(np.isfinite(flat), axis=1)
    loss, gradient = map_points(_loss_and_gradient, problem, np.where(finite[:, None], flat, 0.0), tile_size=1024)
    norm = np.linalg.norm(gradient, axis=1)
    dims = ("path_step", "trajectory")
    return {
        "path_step": ("path_step", paths.step),
        "path": ((*dims, "parameter"), paths.position),
        "path_loss": (dims, np.where(finite, loss, np.inf).reshape(shape[:2])),
        "path_gradient_norm": (dims, np.where(finite, norm, np.inf).reshape(shape[:2])),
        "path_outcome": ("trajectory", labels.outcome[which]),
        "path_attractor": ("trajectory", labels.attractor[which]),
        "path_learning_rate": ("trajectory", bound.trajectories_at(which)[1][LEARNING_RATE]),
    }


def _to_dataset(
    problem: Problem, bound: BoundGrid, options: RunOptions, ends: Ends, findings: Findings, labels: outcomes.Labels
) -> xr.Dataset:
    table = findings.table
    axes, initial = tuple(bound.grid.axes), bound.initial_axes
    columns = {
        "outcome": labels.outcome,
        "attractor": labels.attractor,
        "loss": ends.loss,
        "gradient_norm": ends.gradient_norm,
        "num_steps": ends.num_steps,
        "period": ends.period,
    }
    variables: dict[str, Any] = {name: (axes, bound.to_grid_order(column)) for name, column in columns.items()}
    variables["end_point"] = ((*axes, "parameter"), bound.to_grid_order(ends.point))
    loss, gradient = _initial_surface(problem, bound)
    variables["initial_loss"] = (initial, loss)
    variables["initial_gradient"] = ((*initial, "parameter"), gradient)
    variables |= {
        "location": (("critical_point", "parameter"), table.location),
        "critical_point_loss": ("critical_point", table.loss),
        "kind": ("critical_point", table.kind),
        "eigenvalues": (("critical_point", "eigenvalue"), table.eigenvalues),
        "certified": ("critical_point", table.certified),
    }
    if options.num_paths:
        variables |= _path_variables(problem, bound, options, labels)
    attrs = {
        "name": problem.name,
        "citation": problem.citation,
        "spec": json.dumps(_describe(bound, options)),
        "seed": options.seed,
        "versions": json.dumps(versions()),
        "infimum": findings.infimum,
        "infimum_source": findings.infimum_source,
        "complete": int(table.complete),
        "outcomes": json.dumps(outcomes.OUTCOMES),
    }
    if options.learning_rate is not None and LEARNING_RATE not in axes:
        attrs[LEARNING_RATE] = float(options.learning_rate)
    coordinates = {**bound.grid.coordinates, "parameter": list(problem.parameter_names)}
    return xr.Dataset(variables, coords=coordinates, attrs=attrs)


def _initial_surface(problem: Problem, bound: BoundGrid) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient at every initial point, float64 rounded to float32, shaped like the initial axes."""
    shape = tuple(len(bound.grid.axes[name]) for name in bound.initial_axes)
    num = math.prod(shape)
    indices = np.unravel_index(np.arange(num), shape) if shape else ()
    columns = {
        name: bound.grid.coordinates[name][index] for name, index in zip(bound.initial_axes, indices, strict=True)
    }
    points = bound.initial_points(columns, num)
    loss, gradient = map_points(_rounded_surface, problem, points, tile_size=16_384, evaluates=True)
    return loss.reshape(shape), gradient.reshape(*shape, -1)


def _loss_and_gradient(objective, structure: Structure, data, point: jax.Array):
    return jax.value_and_grad(lambda point: objective(structure.unravel(point), data))(point)


def _rounded_surface(objective, structure: Structure, data, point: jax.Array):
    return jax.tree.map(jnp.float32, _loss_and_gradient(objective, structure, data, point))


def _describe(bound: BoundGrid, options: RunOptions) -> dict[str, Any]:
    """The run as plain values, so that a stored result explains itself."""
    return {
        "axes": {name: len(axis) for name, axis in bound.grid.axes.items()},
        "run": options.described(),
    }


@functools.cache
def versions() -> dict[str, str]:
    """What a result was computed with."""
    names = ("jaxloss", "jax", "jaxlib", "numpy", "optax")
    found = {name: importlib.metadata.version(name) for name in names}
    return {**found, "python": platform.python_version(), "device": jax.devices()[0].device_kind}
