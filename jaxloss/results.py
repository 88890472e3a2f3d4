"""What a result of a sweep holds: its variables, coordinates and attributes, and what each is computed from."""

import functools
import importlib.metadata
import json
import math
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss import outcomes
from jaxloss.critical_points.polish import map_points
from jaxloss.critical_points.table import CriticalPoints
from jaxloss.evidence import Findings
from jaxloss.grids import LEARNING_RATE, BoundGrid
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure
from jaxloss.runs import Ends, RunOptions, run_paths

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

# Of larger grids, the trajectories among which those with paths are chosen.
PATH_SAMPLE = 2**20


def end_columns(ends: Ends) -> dict[str, np.ndarray]:
    """What a result keeps of the ends, ``[trajectory, ...]`` in the order of work."""
    return {
        "loss": ends.loss,
        "gradient_norm": ends.gradient_norm,
        "num_steps": ends.num_steps,
        "period": ends.period,
        "end_point": ends.point,
    }


def surface_variables(problem: Problem, bound: BoundGrid) -> dict[str, Any]:
    """Loss and gradient at every initial point, over the initial axes."""
    initial = bound.initial_axes
    shape = tuple(len(bound.grid.axes[name]) for name in initial)
    loss, gradient = surface(problem, bound, 0, math.prod(shape))
    return {
        "initial_loss": (initial, loss.reshape(shape)),
        "initial_gradient": ((*initial, "parameter"), gradient.reshape(*shape, -1)),
    }


def surface(problem: Problem, bound: BoundGrid, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient at initial points, float64 rounded to float32.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      first: number of the first initial point, in the order of the initial axes.
      last: number after the last.

    Returns:
      Arrays ``[point]`` and ``[point, parameter]``.
    """
    points = bound.initial_points_at(np.arange(first, last))
    return map_points(_rounded_surface, problem, points, tile_size=16_384, evaluates=True)


def table_variables(table: CriticalPoints) -> dict[str, Any]:
    """The table of critical points, as `xarray.Dataset` takes it."""
    return {
        "location": (("critical_point", "parameter"), table.location),
        "critical_point_loss": ("critical_point", table.loss),
        "kind": ("critical_point", table.kind),
        "eigenvalues": (("critical_point", "eigenvalue"), table.eigenvalues),
        "certified": ("critical_point", table.certified),
    }


def coordinates(problem: Problem, bound: BoundGrid) -> dict[str, Any]:
    """The values of the axes, and the names of the parameters."""
    return {**bound.grid.coordinates, "parameter": list(problem.parameter_names)}


def attributes(problem: Problem, bound: BoundGrid, options: RunOptions) -> dict[str, Any]:
    """What is known of a result before it is run."""
    axes = {name: len(axis) for name, axis in bound.grid.axes.items()}
    attrs = {
        "name": problem.name,
        "citation": problem.citation,
        # The run as plain values, so that a stored result explains itself.
        "spec": json.dumps({"axes": axes, "run": options.described()}),
        "seed": options.seed,
        "versions": json.dumps(versions()),
        "outcomes": json.dumps(outcomes.OUTCOMES),
    }
    if options.learning_rate is not None and LEARNING_RATE not in axes:
        attrs[LEARNING_RATE] = float(options.learning_rate)
    return attrs


def finding_attributes(findings: Findings) -> dict[str, Any]:
    """What all trajectories together show."""
    return {
        "infimum": findings.infimum,
        "infimum_source": findings.infimum_source,
        "complete": int(findings.table.complete),
    }


def path_sample(bound: BoundGrid) -> np.ndarray:
    """Numbers of the trajectories, in the order of work, among which those with paths are chosen."""
    size = bound.grid.size
    if size <= PATH_SAMPLE:
        return np.arange(size)
    return np.linspace(0, size - 1, PATH_SAMPLE).round().astype(np.int64)


def path_variables(
    problem: Problem, bound: BoundGrid, options: RunOptions, sample: np.ndarray, labels: outcomes.Labels
) -> dict[str, Any]:
    """A few trajectories of contrasting starts, step by step.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      sample: of `path_sample`.
      labels: of the sample.

    Returns:
      Variables as `xarray.Dataset` takes them.
    """
    chosen = _contrasting(bound, sample, labels, options.num_paths)
    which = sample[chosen]
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
        "path_outcome": ("trajectory", labels.outcome[chosen]),
        "path_attractor": ("trajectory", labels.attractor[chosen]),
        "path_learning_rate": ("trajectory", bound.trajectories_at(which)[1][LEARNING_RATE]),
    }


def _contrasting(bound: BoundGrid, sample: np.ndarray, labels: outcomes.Labels, num: int) -> np.ndarray:
    """Places in the sample whose paths are kept, all at the learning rate with the most varied fates.

    Of each frequent fate (outcome and attractor) it takes the start nearest to the mean of those that share it;
    if there are fewer fates than paths, further starts spread over the grid.
    """
    points, hyper = bound.trajectories_at(sample)
    fates = labels.outcome.astype(np.int64) * 2**32 + labels.attractor
    rates, rate_of = np.unique(hyper[LEARNING_RATE], return_inverse=True)
    # Where all trajectories are unstable, their paths cover the picture.
    stable = ~np.isin(labels.outcome, list(outcomes.UNSTABLE))
    variety = [len(np.unique(fates[stable & (rate_of == i)])) for i in range(len(rates))]
    solved = [np.isin(labels.outcome[rate_of == i], list(outcomes.SOLVED)).mean() for i in range(len(rates))]
    here = np.flatnonzero(rate_of == np.lexsort((solved, variety))[-1])
    values, counts = np.unique(fates[here], return_counts=True)
    chosen = []
    for value in values[np.argsort(-counts, kind="stable")][:num]:
        alike = here[fates[here] == value]
        apart = np.linalg.norm(points[alike] - points[alike].mean(axis=0), axis=1)
        chosen.append(alike[np.argmin(apart)])
    # Low-discrepancy picks: a plain stride would walk along one axis.
    others = here[(np.arange(1, 4 * num) * 0.618034 % 1 * len(here)).astype(int)]
    return np.array(list(dict.fromkeys([*chosen, *others]))[:num])


def _loss_and_gradient(objective, structure: Structure, data, point: jax.Array):
    return jax.value_and_grad(lambda point: objective(structure.unravel(point), data))(point)


def _rounded_surface(objective, structure: Structure, data, point: jax.Array):
    return jax.tree.map(jnp.float32, _loss_and_gradient(objective, structure, data, point))


@functools.cache
def versions() -> dict[str, str]:
    """What a result was computed with."""
    names = ("jaxloss", "jax", "jaxlib", "llvmlite", "numpy", "optax")
    found = {name: _version(name) for name in names}
    return {**found, "python": platform.python_version(), "device": jax.devices()[0].device_kind}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # without llvmlite XLA runs everything
        return "not installed"
