"""Outcome maps that are fine near a boundary only, and deep zooms about a point."""

import functools
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import psutil
import xarray as xr
from scipy.ndimage import binary_dilation

from jaxloss import outcomes
from jaxloss.basins.fractions import wilson_interval
from jaxloss.checks import number, show, whole
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE, START, Axis, Grid, Starts
from jaxloss.labellers import Labelled, Ledger, Runner, runner_of
from jaxloss.maps import MAP_OUTCOMES
from jaxloss.problems import Problem
from jaxloss.problems.maps import Map
from jaxloss.results import versions

# Bytes for each point of the fine lattice at the peak: where its label comes from, its label, how deep, and masks.
BYTES_PER_POINT = 32
MAX_AXES = 3
# What the audit and the nudges of a zoom are drawn for, so that they differ from everything else that is drawn.
AUDIT, NUDGE = 1, 2


def refine(
    problem: Problem | Map | Callable[..., Any],
    grid: Grid,
    *,
    coarse: int = 64,
    margin: int = 1,
    audit: int = 1000,
    confidence: float = 0.95,
    **options: Any,
) -> xr.Dataset:
    r"""An outcome map at the resolution of a grid, whose trajectories are run near its boundaries only.

    A lattice of about ``coarse`` cells a side is labelled, and every cell whose corners differ, in outcome or
    attractor, is halved, with ``margin`` cells about it; and so on, until cells are as small as those of the grid. A
    boundary that leaves the halved cells is followed: at every level all cells whose corners differ, and their
    margins, have labels of their own at every corner. All other points get the label of the corners about them. The
    number of trajectories grows as the boundary does,

    .. math:: n(N) \sim N^D,

    D being its box-counting dimension (1 for a smooth curve in a plane), where the whole grid grows like
    :math:`N^d`.

    What a coarse cell hides, such as an island between four corners of one label, is missed. So the points that were
    filled in are audited: a random sample of them is run, and the share that was wrong is reported with Wilson's
    interval. The audit corrects nothing.

    A trajectory that is run is that of the whole grid, bit for bit: the same start, the same program, labelled by one
    table of critical points for all. Only where that table is not complete can it differ from the table of the whole
    grid, in what is found from ends.

    Args:
      problem: a problem, a map of `jaxloss.problems.maps`, or the step of a map.
      grid: one to three axes with more than one value: the map at full resolution. Initial parameters, directions or
        hyperparameters, not ``start``.
      coarse: at most so many cells along the longest axis of the first lattice.
      margin: how many cells about each that is mixed are halved as well.
      audit: how many of the points that were filled in are run after all; 0 for none.
      confidence: of the audit's interval.
      **options: of `jaxloss.sweep`; for a map, of `jaxloss.sweep_map`.

    Returns:
      A dataset whose dimensions are the axes in grid order. Variables: ``outcome`` (int8), ``attractor`` (int32,
      index into the table that follows, -1 for none), ``computed`` (whether that trajectory was run, else the label
      is filled in), ``level`` (int8: how often the cell about a point was halved), ``resolution`` and
      ``num_trajectories`` by ``refinement`` (points along the longest axis at each level, and how many trajectories
      a map of that resolution took), and the table of a sweep. Attributes: ``trajectories`` in all, without the
      audit, and their ``share`` of the grid; ``audited``, ``audit_wrong`` and ``audit_share`` with ``audit_low`` and
      ``audit_high``, NaN where nothing was audited; and ``reason``, not empty where there was nothing to refine.

    Raises:
      InputError: an option or an axis that does not fit, or a map too large for the memory.

    References:
      Datseris and Wagemakers, *Effortless estimation of basins of attraction*, 2022, for basins by cells; Samet, *The
      quadtree and related hierarchical data structures*, 1984.

    Examples:
      >>> from jaxloss.problems import load_problem
      >>> grid = Grid({"x": Axis.linear(-3, 3, 1001), "learning_rate": Axis.of([0.5])})
      >>> found = refine(load_problem("cubic-map"), grid, coarse=50, audit=100)
      >>> found.attrs["trajectories"] < 200, found.attrs["audit_wrong"]
      (True, 0)
    """
    coarse, margin = whole("coarse", coarse, 1), whole("margin", margin, 0)
    audit = whole("audit", audit, 0)
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence must be between 0 and 1, not {confidence}")
    runner = runner_of(problem, grid, **options)
    lattice = _Lattice(runner, _long_axes(grid))
    needed, available = BYTES_PER_POINT * math.prod(lattice.shape), psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"the map of {math.prod(lattice.shape):,} points needs about {needed / 2**30:.1f} GiB of memory, and "
            f"{available / 2**30:.1f} GiB are available: use fewer points along an axis"
        )
    longest = max(lattice.shape) - 1
    levels = max(0, math.ceil(math.log2(max(longest, 1) / coarse)))
    rows = []
    marked: np.ndarray | None = None
    depth = np.zeros((1,) * len(lattice.shape), np.int8)
    for level in range(levels + 1):
        nodes = lattice.subdivide(2 ** (levels - level), marked)
        marked = lattice.follow(nodes, margin)
        inherited = depth if level == 0 else depth[np.ix_(*lattice.parents)]
        depth = np.where(marked, level + 1, inherited).astype(np.int8)
        rows.append((max(map(len, nodes)), lattice.num))
    return _to_dataset(lattice, depth, levels, rows, _audited(lattice, audit, confidence))


class CostExponent(NamedTuple):
    """How the cost of a refined map grows.

    Attributes:
      exponent: of the trajectories added at each level, against the resolution: least squares in the logarithm; NaN
        with fewer than two levels that added any.
      standard_error: of that fit; NaN with fewer than three.
      local_slopes: between successive levels.
      resolutions: at the levels that were fitted.
      added: trajectories, at those levels.
    """

    exponent: float
    standard_error: float
    local_slopes: np.ndarray
    resolutions: np.ndarray
    added: np.ndarray


def cost_exponent(result: xr.Dataset, *, num_levels: int = 4) -> CostExponent:
    r"""The exponent D of :math:`n(N) \sim N^D`, from the trajectories that each level of a refined map added.

    The first lattice, which knows nothing of the boundary yet, is left out.

    Args:
      result: of `refine`.
      num_levels: the last so many levels are fitted.

    Returns:
      The exponent, and what it was fitted to.

    Raises:
      InputError: no result of `refine`.

    Examples:
      >>> counts = {"resolution": ("refinement", [65, 129, 257]), "num_trajectories": ("refinement", [9, 109, 309])}
      >>> round(cost_exponent(xr.Dataset(counts)).exponent, 2)
      1.01
    """
    if not isinstance(result, xr.Dataset) or "num_trajectories" not in result:
        raise InputError("result must be what jaxloss.refine returned")
    added = np.diff(result["num_trajectories"].values)
    resolution = result["resolution"].values[1:]
    kept = np.flatnonzero(added > 0)[-whole("num_levels", num_levels, 2) :]
    x, y = np.log(resolution[kept]), np.log(added[kept])
    if len(kept) < 2:
        return CostExponent(np.nan, np.nan, np.zeros(0), resolution[kept], added[kept])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = math.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)) if len(x) > 2 else np.nan
    return CostExponent(slope, error, np.diff(y) / np.diff(x), resolution[kept], added[kept])


class _Lattice:
    """The fine lattice: which of its points have been run, and where the others have their label from.

    Args:
      runner: runs trajectories.
      names: the axes of the map.
    """

    def __init__(self, runner: Runner, names: Sequence[str]):
        self.runner, self.names = runner, names
        self.values = [runner.bound.grid.axes[name].values for name in names]  # pyright: ignore
        self.shape = tuple(map(len, self.values))
        self.ledger, self.num = Ledger(runner), 0
        # Of each point the number of the trajectory whose label it has; labels may change as the table grows.
        self.source = np.full(self.shape, -1, np.int32)
        self.computed = np.zeros(self.shape, bool)
        self.codes = np.zeros(0, np.int32)
        self.nodes: list[np.ndarray] = []
        self.parents: list[np.ndarray] = []

    def run(self, indices: np.ndarray) -> None:
        """Runs the trajectories of some points, given by their flat indices, and labels all anew."""
        self.source.reshape(-1)[indices] = np.arange(self.num, self.num + len(indices))
        self.computed.reshape(-1)[indices] = True
        self.num += len(indices)
        self.ledger.add(*self.trajectories(indices))
        labels = self.ledger.labels()
        self.codes = np.unique(labels.keys, return_inverse=True)[1].astype(np.int32)

    def trajectories(self, indices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Initial points and hyperparameters of some points of the lattice."""
        bound = self.runner.bound
        places = dict(zip(self.names, np.unravel_index(indices, self.shape), strict=True))
        columns = {
            name: axis.values[places.get(name, np.zeros(len(indices), int))]
            for name, axis in bound.grid.axes.items()
            if isinstance(axis, Axis)
        }
        return bound.trajectories_of(columns, len(indices))

    def subdivide(self, stride: int, marked: np.ndarray | None) -> list[np.ndarray]:
        """Goes on to cells of side ``stride``: labels at all corners of the marked ones, the others filled in."""
        nodes = [np.unique(np.append(np.arange(0, num, stride), num - 1)) for num in self.shape]
        if marked is None:
            self._run_nodes(nodes, np.ones([len(n) for n in nodes], bool))
        else:
            self.parents = [
                np.searchsorted(old, new[:-1], side="right") - 1 for old, new in zip(self.nodes, nodes, strict=True)
            ]
            self._run_nodes(nodes, _corners_of(marked[np.ix_(*self.parents)]))
            lower = [old[np.searchsorted(old, new, "right") - 1] for old, new in zip(self.nodes, nodes, strict=True)]
            here, filled = np.ix_(*nodes), self.source[np.ix_(*lower)]
            self.source[here] = np.where(self.computed[here], self.source[here], filled)
        self.nodes = nodes
        return nodes

    def follow(self, nodes: list[np.ndarray], margin: int) -> np.ndarray:
        """Runs what it takes until all mixed cells and their margins have labels of their own at their corners.

        Returns:
          Those cells, booleans.
        """
        while True:
            marked = _mixed(self.codes[self.source[np.ix_(*nodes)]])
            if margin and marked.any():
                marked = binary_dilation(marked, np.ones((3,) * marked.ndim, bool), iterations=margin)
            if not self._run_nodes(nodes, _corners_of(marked)):
                return marked

    def _run_nodes(self, nodes: list[np.ndarray], wanted: np.ndarray) -> bool:
        """Runs those of the wanted nodes that have not been run; whether there were any."""
        places = np.nonzero(wanted & ~self.computed[np.ix_(*nodes)])
        if not len(places[0]):
            return False
        fine = tuple(axis[place] for axis, place in zip(nodes, places, strict=True))
        self.run(np.ravel_multi_index(fine, self.shape))
        return True


class _Audit(NamedTuple):
    """What running some of the points that were filled in has shown."""

    labels: Labelled
    num: int
    wrong: int
    low: float
    high: float


def _audited(lattice: _Lattice, num: int, confidence: float) -> _Audit:
    """Runs a random sample of the points that were filled in, and labels everything by one table."""
    left = lattice.computed.size - int(np.count_nonzero(lattice.computed))
    num = int(min(num, left))
    if not num:
        return _Audit(lattice.ledger.labels(), 0, 0, np.nan, np.nan)
    filled = np.flatnonzero(~lattice.computed)
    draws = np.random.default_rng([lattice.runner.options.seed, AUDIT])
    indices = np.sort(draws.choice(filled, num, replace=False))
    lattice.ledger.add(*lattice.trajectories(indices))
    labels = lattice.ledger.labels()
    keys = labels.keys
    wrong = int(np.count_nonzero(keys[lattice.num :] != keys[lattice.source.reshape(-1)[indices]]))
    low, high = wilson_interval(wrong, num, confidence=confidence)
    kept = labels._replace(outcome=labels.outcome[: lattice.num], attractor=labels.attractor[: lattice.num])
    return _Audit(kept, num, wrong, float(low), float(high))


def _to_dataset(
    lattice: _Lattice, depth: np.ndarray, levels: int, rows: list[tuple[int, int]], audit: _Audit
) -> xr.Dataset:
    runner, labels = lattice.runner, audit.labels
    grid, names = runner.bound.grid, tuple(runner.bound.grid.axes)
    shape = grid.shape
    # A point has the depth of the deepest cell that it is a corner of.
    level = np.zeros(lattice.shape, np.int8)
    for corner in itertools.product((slice(None, -1), slice(1, None)), repeat=depth.ndim):
        part = level[_where_long(corner, lattice.shape)]
        np.maximum(part, depth, out=part)
    variables: dict[str, Any] = {
        "outcome": (names, labels.outcome[lattice.source].reshape(shape)),
        "attractor": (names, labels.attractor[lattice.source].reshape(shape)),
        "computed": (names, lattice.computed.reshape(shape)),
        "level": (names, np.minimum(level, levels).reshape(shape)),
        "resolution": ("refinement", np.array([row[0] for row in rows])),
        "num_trajectories": ("refinement", np.array([row[1] for row in rows])),
        **labels.variables,
    }
    is_map = isinstance(runner.space, Map)
    one = len(np.unique(labels.keys)) == 1
    attrs = {
        "name": runner.space.name,
        "citation": runner.space.citation,
        "seed": runner.options.seed,
        "versions": json.dumps(versions()),
        "outcomes": json.dumps(MAP_OUTCOMES if is_map else outcomes.OUTCOMES),
        "trajectories": lattice.num,
        "share": lattice.num / lattice.computed.size,
        "audited": audit.num,
        "audit_wrong": audit.wrong,
        "audit_share": audit.wrong / audit.num if audit.num else np.nan,
        "audit_low": audit.low,
        "audit_high": audit.high,
        "reason": f"every trajectory of the coarse lattice has one and the same end, so nothing was refined (at "
        f"{rows[0][0]} points along the longest axis)"
        if one
        else "",
        **labels.attrs,
    }
    if getattr(runner.options, "learning_rate", None) is not None:
        attrs["learning_rate"] = float(runner.options.learning_rate)
    coordinates = {**grid.coordinates, "parameter": list(runner.space.parameter_names)}
    return xr.Dataset(variables, coords=coordinates, attrs=attrs)


def _where_long(corner: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(part if num > 1 else slice(None) for part, num in zip(corner, shape, strict=True))


def _long_axes(grid: Grid) -> list[str]:
    """The axes of the map."""
    if any(isinstance(axis, Starts) for axis in grid.axes.values()):
        raise InputError(f"grid must have named axes, but its starts are sampled (axis {START!r})")
    names = [name for name, axis in grid.axes.items() if len(axis) > 1]
    if not 1 <= len(names) <= MAX_AXES:
        raise InputError(
            f"grid must have one to {MAX_AXES} axes with more than one value, not {len(names)}: give the others one"
        )
    for name in names:
        steps = np.diff(grid.coordinates[name])
        if not (np.all(steps > 0) or np.all(steps < 0)):
            raise InputError(f"axis {name!r} must have values in order, so that neighbours are neighbours")
    return names


def _mixed(codes: np.ndarray) -> np.ndarray:
    """Cells whose corners differ."""
    corners = [codes[corner] for corner in itertools.product((slice(None, -1), slice(1, None)), repeat=codes.ndim)]
    return functools.reduce(np.logical_or, [corner != corners[0] for corner in corners[1:]])


def _corners_of(cells: np.ndarray) -> np.ndarray:
    """The nodes that are corners of some cell among those given."""
    nodes = np.zeros([num + 1 for num in cells.shape], bool)
    for corner in itertools.product((slice(None, -1), slice(1, None)), repeat=cells.ndim):
        nodes[corner] |= cells
    return nodes


def zoom(
    problem: Problem | Map | Callable[..., Any],
    grid: Grid,
    centre: Mapping[str, float],
    *,
    factor: float = 4.0,
    num_zooms: int = 30,
    threshold: float = 0.01,
    **options: Any,
) -> xr.Dataset:
    r"""A sequence of outcome maps about a point, each narrower by a factor, until the numbers run out of digits.

    Map k has the coordinates :math:`c + (x - \tfrac12(x_1 + x_n))/f^k` for the values x of the grid's axes. It stops
    before a map that cannot be trusted, for a stated reason:

    ``coordinates``: two neighbouring starts, rounded to the precision of the run, are the same number.

    ``rounding``: the map depends on rounding. Each start is run a second time, moved along each axis of the map by
    one unit of rounding of the run's precision, up or down at random: :math:`\epsilon \max_i |x_i|` for initial
    points (rounding within a step is as large as the largest number in it, not as the one that is zoomed into),
    :math:`\epsilon \eta` for a hyperparameter :math:`\eta`. More than the share ``threshold`` of the labels changed.
    Errors of later steps are of the same size, and grow for fewer steps. On a boundary of uncertainty exponent
    :math:`\alpha` the share is expected to grow like :math:`(\epsilon/h)^\alpha` as the spacing h shrinks.

    Args:
      problem: a problem, a map of `jaxloss.problems.maps`, or the step of a map.
      grid: the first window: one to three linear axes with more than one value.
      centre: the point, by the name of each of these axes.
      factor: between the widths of successive maps, above 1.
      num_zooms: how many maps at most.
      threshold: the largest share of labels that rounding may change.
      **options: of `jaxloss.sweep`; for a map, of `jaxloss.sweep_map`. The precision is float64 unless given.

    Returns:
      A dataset by ``zoom`` and the axes, whose coordinates are those of the first window relative to its middle:
      ``outcome`` and ``attractor``; ``coordinate`` by ``zoom``, ``window_axis`` and ``place`` (NaN beyond the end of
      a shorter axis); ``width`` by ``zoom`` and ``window_axis``; ``changed``, the share of labels that one rounding
      changed, with its Wilson interval ``changed_low``, ``changed_high``, by ``zoom``; and the table of a sweep.
      Attributes: ``reason`` (``coordinates``, ``rounding``, or ``finished``: all maps were made), ``stopped``, a
      sentence, and ``last_changed``, the share of the map that was rejected (NaN for none).

    Raises:
      InputError: an option or an axis that does not fit, or not even the first map can be trusted.

    Examples:
      >>> from jaxloss.problems import load_problem
      >>> grid = Grid({"x": Axis.linear(-1, 1, 20)})
      >>> found = zoom(load_problem("cubic-map"), grid, {"x": 0.0}, factor=1000.0, num_zooms=3, learning_rate=0.5)
      >>> found.attrs["reason"], found.width.values[:, 0].tolist()
      ('finished', [2.0, 0.002, 2e-06])
    """
    if number("factor", factor) <= 1:
        raise InputError(f"factor must be above 1, not {show(factor)}")
    num_zooms = whole("num_zooms", num_zooms, 1)
    if not 0 <= number("threshold", threshold) <= 1:
        raise InputError(f"threshold must be a share from 0 to 1, not {show(threshold)}")
    runner = runner_of(problem, grid, **{"precision": "float64", **options})
    names = _long_axes(grid)
    middle = _centre(grid, names, centre)
    offsets = {name: _offsets(grid, name) for name in names}
    draws = np.random.default_rng([runner.options.seed, NUDGE])
    ledger = Ledger(runner)
    if LEARNING_RATE in middle and middle[LEARNING_RATE] <= np.ptp(offsets[LEARNING_RATE]) / 2:
        raise InputError("centre: learning_rate must be more than half the width of the grid above 0")
    windows: list[dict[str, np.ndarray]] = []
    changes: list[tuple[int, int]] = []
    reason, stopped, last = "finished", f"all {num_zooms} maps were made", np.nan
    for k in range(num_zooms):
        window = {name: middle[name] + offsets[name] / factor**k for name in names}
        same = _indistinct(window, runner.options.precision)
        if same:
            reason, stopped = "coordinates", f"neighbouring values of {same} are the same {runner.options.precision}"
            break
        points, hyper = _product(runner, window)
        nudged = _nudged(runner, window, draws)
        trial = Ledger(runner)
        trial.add(points, hyper)
        trial.add(*nudged)
        keys = trial.labels().keys.reshape(2, -1)
        changed = int(np.count_nonzero(keys[0] != keys[1]))
        if changed > threshold * len(points):
            reason, last = "rounding", changed / len(points)
            stopped = f"one rounding of the starts changes {last:.2%} of the labels, more than {threshold:.2%}"
            break
        ledger.add(points, hyper)
        windows.append(window)
        changes.append((changed, len(points)))
    if not windows:
        raise InputError(f"grid must be a window that {runner.options.precision} can resolve: {stopped}")
    attrs = {"reason": reason, "stopped": stopped, "last_changed": last, "factor": float(factor)}
    return _zoomed(runner, names, offsets, windows, changes, ledger.labels(), middle, attrs)


def _centre(grid: Grid, names: Sequence[str], centre: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(centre, Mapping) or set(centre) != set(names):
        raise InputError(f"centre must give a number for each of the axes {', '.join(names)}, not {show(centre)}")
    for name in names:
        if grid.axes[name].spacing != "linear":  # pyright: ignore
            raise InputError(f"axis {name!r} must be linear, Axis.linear(start, stop, num), to be zoomed into")
    return {name: number(f"centre: {name}", centre[name]) for name in names}


def _offsets(grid: Grid, name: str) -> np.ndarray:
    values = grid.coordinates[name]
    return np.linspace(-0.5, 0.5, len(values)) * (values[-1] - values[0])


def _indistinct(window: Mapping[str, np.ndarray], precision: str) -> str:
    """The first axis on which two neighbours are the same number."""
    for name, values in window.items():
        if np.unique(values.astype(precision)).size < len(values):
            return name
    return ""


def _product(
    runner: Runner, window: Mapping[str, np.ndarray], shift: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The trajectories of a window, in grid order."""
    mesh = np.meshgrid(*window.values(), indexing="ij")
    columns = dict(zip(window, (part.reshape(-1) for part in mesh), strict=True))
    num = mesh[0].size
    for name, axis in runner.bound.grid.axes.items():
        if name not in columns:
            columns[name] = np.full(num, axis.values[0])  # pyright: ignore
    columns |= {name: columns[name] + by for name, by in (shift or {}).items()}
    return runner.bound.trajectories_of(columns, num)


def _nudged(
    runner: Runner, window: Mapping[str, np.ndarray], draws: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The trajectories of a window, moved by one rounding along each of its axes."""
    eps = np.finfo(runner.options.precision).eps
    points, hyper = _product(runner, window)
    scale, shift = np.abs(points).max(axis=1), {}
    initial = [name for name in window if name not in hyper]
    for name in window:
        sign = draws.choice([-1.0, 1.0], len(points))
        if name not in initial:
            shift[name] = sign * eps * np.abs(hyper[name])
            continue
        # How far the point moves for one unit along this axis: 1 but for a direction.
        unit = runner.bound.trajectories_of(
            {other: np.array([0.0, float(other == name)]) for other in runner.bound.grid.axes}, 2
        )[0]
        shift[name] = sign * eps * scale / np.abs(unit[1] - unit[0]).max()
    return _product(runner, window, shift)


def _zoomed(
    runner: Runner,
    names: Sequence[str],
    offsets: Mapping[str, np.ndarray],
    windows: Sequence[Mapping[str, np.ndarray]],
    changes: Sequence[tuple[int, int]],
    labels: Labelled,
    middle: Mapping[str, float],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    shape = (len(windows), *(len(offsets[name]) for name in names))
    dims = ("zoom", *names)
    coordinate = np.full((len(windows), len(names), max(shape[1:])), np.nan)
    for k, window in enumerate(windows):
        for i, name in enumerate(names):
            coordinate[k, i, : len(window[name])] = window[name]
    count, total = np.array(changes, np.float64).T
    low, high = wilson_interval(count, total)
    width = np.array([[np.ptp(window[name]) for name in names] for window in windows])
    variables: dict[str, Any] = {
        "outcome": (dims, labels.outcome.reshape(shape)),
        "attractor": (dims, labels.attractor.reshape(shape)),
        "coordinate": (("zoom", "window_axis", "place"), coordinate),
        "width": (("zoom", "window_axis"), width),
        "changed": ("zoom", count / total),
        "changed_low": ("zoom", low),
        "changed_high": ("zoom", high),
        **labels.variables,
    }
    is_map = isinstance(runner.space, Map)
    about = {
        "name": runner.space.name,
        "citation": runner.space.citation,
        "seed": runner.options.seed,
        "precision": runner.options.precision,
        "versions": json.dumps(versions()),
        "outcomes": json.dumps(MAP_OUTCOMES if is_map else outcomes.OUTCOMES),
        "centre": json.dumps(dict(middle)),
        **labels.attrs,
        **attrs,
    }
    coordinates = {
        **{name: offsets[name] for name in names},
        "window_axis": list(names),
        "parameter": list(runner.space.parameter_names),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=about)
