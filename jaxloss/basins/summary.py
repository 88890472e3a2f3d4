"""All measures of a map, and of every map of a result: what applies, what does not and why."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxloss.basins.boxes import SLIDING, check_placement, check_size, check_sizes
from jaxloss.basins.control import smooth_control
from jaxloss.basins.dimension import box_counting_dimension
from jaxloss.basins.entropy import basin_entropy
from jaxloss.basins.fractality import is_boundary_fractal
from jaxloss.basins.fractions import wilson_interval
from jaxloss.basins.labels import LABELLINGS, boundary_of, outcome_codes, read_map, split_axes
from jaxloss.basins.resampling import check_resampling
from jaxloss.basins.times import convergence_times
from jaxloss.basins.uncertainty import uncertainty_exponent
from jaxloss.basins.wada import is_wada
from jaxloss.checks import whole
from jaxloss.errors import InputError, unknown
from jaxloss.grids import LEARNING_RATE, START
from jaxloss.outcomes import OUTCOMES, SOLVED, TRAPPED, UNSTABLE

UNFINISHED = "unfinished"
ALL = "all"
GROUPS = {"solved": SOLVED, "trapped": TRAPPED, "unstable": UNSTABLE, UNFINISHED: frozenset({OUTCOMES[UNFINISHED]})}
"""Outcomes of a sweep taken together."""

# The box of basin entropy in the paper that defined it; the range of the power law; the radii as shares of the side.
_BOX_SIZE, _WIDEST, _FEWEST_SIZES = 5, 6, 3
_BALL, _SMALLEST_BALL, _LARGEST_BALL = 32, 3, 5
_WADA = 64


class Scales(NamedTuple):
    """The sizes at which a map is measured, in cells; None where the map is too small for any.

    Attributes:
      box_size: of the basin entropy.
      box_sizes: of the uncertainty exponent and of the box-counting dimension.
      boxes: ``"sliding"`` or ``"tiled"``, of those.
      ball_radius: of the random balls.
      wada_radius: how far apart two boundaries may lie that count as one.
    """

    box_size: int | None
    box_sizes: tuple[int, ...] | None
    boxes: str
    ball_radius: int | None
    wada_radius: int | None


class Resampling(NamedTuple):
    """How the intervals of the measures come about."""

    confidence: float = 0.95
    num_resamples: int = 1000
    seed: int = 0


class Measure(NamedTuple):
    """One measure of a map.

    Attributes:
      scale: the field of `Scales` that it needs.
      least: cells along the shortest side of a map below which it has no default scale.
      headline: the field of its result that is NaN where it does not apply.
      run: from labels, scales and resampling to its result.
    """

    scale: str
    least: int
    headline: str
    run: Callable[[np.ndarray, Scales, Resampling], Any]


class Measured(NamedTuple):
    """What a measure says of a map.

    Attributes:
      result: as the measure returns it; None where it does not apply.
      control: the same of the smooth control; None where there is none.
      reason: why the result is None, or a number in it NaN; else empty.
    """

    result: Any
    control: Any
    reason: str


class MapMeasures(NamedTuple):
    """Every measure of one map.

    Attributes:
      axes: name -> values of each axis of the map; of a plain array, the numbers of its cells.
      fixed: the values at which the map slices the other initial axes.
      labels: one integer for each cell; None where the starts lie on no grid.
      boundary: the cells that share a face with another label; None likewise.
      scales: at which it was measured; None likewise.
      measures: what each of `MEASURES` says.
    """

    axes: dict[str, np.ndarray]
    fixed: dict[str, float]
    labels: np.ndarray | None
    boundary: np.ndarray | None
    scales: Scales | None
    measures: dict[str, Measured]


class Share(NamedTuple):
    """How many of all trajectories, their share and its Wilson interval."""

    number: int
    fraction: float
    low: float
    high: float


class Steps(NamedTuple):
    """The steps that some trajectories took, see `convergence_times`.

    Attributes:
      number: of trajectories.
      num_stopped: of them within the budget.
      mean: of those that stopped, with its bounds; NaN if none did.
      mean_low: its lower bound.
      mean_high: its upper bound.
      quantiles: level -> steps, infinite beyond the budget.
    """

    number: int
    num_stopped: int
    mean: float
    mean_low: float
    mean_high: float
    quantiles: dict[float, float]


class Summary(NamedTuple):
    """All that is measured at one combination of hyperparameters.

    Attributes:
      hyperparameters: by name; empty where they are the axes of the map.
      num_trajectories: all of them, whatever slice of them a map shows.
      outcomes: name -> how often.
      totals: solved, trapped, unstable, unfinished; None for a map's orbits, which have no loss.
      num_steps: of all trajectories, of each group and of each outcome that occurs; empty where the result does not
        tell its budget.
      maps: one for each pair of initial axes, the others at their middle values.
    """

    hyperparameters: dict[str, float]
    num_trajectories: int
    outcomes: dict[str, Share]
    totals: dict[str, Share] | None
    num_steps: dict[str, Steps]
    maps: list[MapMeasures]


def _entropy(labels: np.ndarray, scales: Scales, resampling: Resampling) -> Any:
    assert scales.box_size is not None
    return basin_entropy(labels, scales.box_size, **resampling._asdict())


def _exponent(labels: np.ndarray, scales: Scales, resampling: Resampling) -> Any:
    assert scales.box_sizes is not None
    return uncertainty_exponent(labels, scales.box_sizes, boxes=scales.boxes, **resampling._asdict())


def _dimension(labels: np.ndarray, scales: Scales, resampling: Resampling) -> Any:
    assert scales.box_sizes is not None
    return box_counting_dimension(labels, scales.box_sizes, boxes=scales.boxes, **resampling._asdict())


def _fractality(labels: np.ndarray, scales: Scales, resampling: Resampling) -> Any:
    assert scales.ball_radius is not None
    confidence, _, seed = resampling
    return is_boundary_fractal(labels, radius=scales.ball_radius, confidence=confidence, seed=seed)


def _wada(labels: np.ndarray, scales: Scales, resampling: Resampling) -> Any:
    assert scales.wada_radius is not None
    return is_wada(labels, scales.wada_radius, confidence=resampling.confidence)


MEASURES: dict[str, Measure] = {
    "basin_entropy": Measure("box_size", 2 * _BOX_SIZE, "entropy", _entropy),
    "uncertainty_exponent": Measure("box_sizes", 5 * _WIDEST, "exponent", _exponent),
    "box_counting_dimension": Measure("box_sizes", 5 * _WIDEST, "dimension", _dimension),
    "is_boundary_fractal": Measure("ball_radius", 4 * _SMALLEST_BALL + 1, "entropy", _fractality),
    "is_wada": Measure("wada_radius", 4, "share", _wada),
}
"""Every measure of a map by name."""


def default_scales(shape: tuple[int, ...]) -> Scales:
    """The sizes at which a map of some shape is measured unless others are given.

    Boxes of 5 cells for the basin entropy. For the power laws sides of 2, 3, 5, 9, ... cells, whose outermost cells
    are 1, 2, 4, 8, ... apart, up to a sixth of the map's shortest side, and three of them at least. Balls of 3 to 5
    cells; for Wada a sixty-fourth of the side.

    Args:
      shape: of the map, in cells.

    Returns:
      The sizes, None where the map is too small.

    Examples:
      >>> default_scales((256, 300))
      Scales(box_size=5, box_sizes=(2, 3, 5, 9, 17, 33), boxes='sliding', ball_radius=5, wada_radius=4)
      >>> default_scales((16, 16)).box_sizes is None
      True
    """
    side = min(shape)
    sizes = tuple(size for size in (2**k + 1 for k in range(30)) if size <= side / _WIDEST)
    fits = {name: side >= measure.least for name, measure in MEASURES.items()}
    radius = int(np.clip(side // _BALL, _SMALLEST_BALL, _LARGEST_BALL))
    return Scales(
        box_size=_BOX_SIZE if fits["basin_entropy"] else None,
        box_sizes=sizes if len(sizes) >= _FEWEST_SIZES else None,
        boxes=SLIDING,
        ball_radius=radius if fits["is_boundary_fractal"] else None,
        wada_radius=max(1, side // _WADA) if fits["is_wada"] else None,
    )


def measure_map(
    labels: Any,
    *,
    box_size: int | None = None,
    box_sizes: Sequence[int] | None = None,
    boxes: str = SLIDING,
    ball_radius: int | None = None,
    wada_radius: int | None = None,
    labelling: str = "both",
    axes: Sequence[str] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> MapMeasures:
    """Every measure of one map, each beside that of its smooth control.

    Args:
      labels: integers, any dimension, or a sweep's result over a full grid.
      box_size: of the basin entropy, in cells; default, as of all sizes, `default_scales`.
      box_sizes: of the uncertainty exponent and the box-counting dimension, ascending.
      boxes: ``"sliding"`` or ``"tiled"``, of those two.
      ball_radius: of the random balls.
      wada_radius: of the merging test.
      labelling: of a result, what a basin is: an ``"outcome"``, an ``"attractor"`` or ``"both"``, the pair of them.
      axes: of a result, the names of the map's axes.
      confidence: of the intervals.
      num_resamples: of the bootstrap.
      seed: of the bootstrap and of the balls.

    Returns:
      The measures, None with the reason for each that does not apply.

    Raises:
      InputError: no full grid of integers, or a size that was given does not fit into the map.

    Examples:
      >>> stripes = np.tile(np.arange(96) // 48, (96, 1))
      >>> found = measure_map(stripes).measures
      >>> round(found["uncertainty_exponent"].result.exponent, 2), found["is_wada"].reason
      (1.04, 'Wada basins are three or more, and the map has 2')
    """
    resampling = Resampling(confidence, num_resamples, seed)
    check_resampling(*resampling)
    array = read_map(labels, labelling=labelling, axes=axes)
    scales = _scales(array.shape, box_size, box_sizes, boxes, ball_radius, wada_radius)
    control = smooth_control(array) if array.min() < array.max() else None
    return MapMeasures(
        axes=_coordinates(labels, array, axes),
        fixed={},
        labels=array,
        boundary=boundary_of(array),
        scales=scales,
        measures={name: _apply(measure, array, control, scales, resampling) for name, measure in MEASURES.items()},
    )


def measure_result(result: xr.Dataset, *, labelling: str = "both", **options: Any) -> list[Summary]:
    """Everything there is to measure in a result: shares, steps, and each map's measures.

    There is one summary for each combination of hyperparameters, and in it one map for each pair of initial axes, the
    others at their middle values (a single initial axis is a map of one dimension). Where nothing but hyperparameters
    varies, they are the axes of the map, whose boundary is that of trainability and no basin's.

    Args:
      result: what `jaxloss.sweep` or `jaxloss.sweep_map` returned.
      labelling: what a basin is, see `measure_map`.
      options: of `measure_map`.

    Returns:
      The summaries, in grid order.

    Raises:
      InputError: it is no such result, or a size that was given does not fit into a map.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> grid = Grid({"x": Axis.linear(-3, 3, 61), "learning_rate": Axis.of([0.5, 1.0])})
      >>> first, second = measure_result(sweep(load_problem("cubic-map"), grid, num_steps=200))
      >>> first.outcomes["diverged"].number, second.outcomes["diverged"].number
      (16, 26)
    """
    if not isinstance(result, xr.Dataset) or not {"outcome", "attractor", "num_steps"} <= set(result.data_vars):
        raise InputError("result must be the dataset of jaxloss.sweep or jaxloss.sweep_map")
    if labelling not in LABELLINGS:
        raise unknown("labelling", labelling, LABELLINGS)
    check_resampling(*Resampling(**{name: options[name] for name in Resampling._fields if name in options}))
    initial, hyper = split_axes(result)
    varying = [name for name in initial if result.sizes[name] > 1]
    if not varying and any(result.sizes[name] > 1 for name in hyper):
        wide = [name for name in hyper if result.sizes[name] > 1]
        return [_summarise(result, {}, wide, labelling, options)]
    told = {} if LEARNING_RATE in hyper else _told(result)
    summaries = []
    for index in itertools.product(*(range(result.sizes[name]) for name in hyper)):
        part = result.isel(dict(zip(hyper, index, strict=True)))
        values = {name: float(part[name]) for name in hyper if name in part.coords}
        summaries.append(_summarise(part, told | values, varying, labelling, options))
    return summaries


def _told(result: xr.Dataset) -> dict[str, float]:
    """The learning rate where it is no axis, if the result says it."""
    return {LEARNING_RATE: float(result.attrs[LEARNING_RATE])} if LEARNING_RATE in result.attrs else {}


def _summarise(
    part: xr.Dataset, hyperparameters: dict[str, float], varying: list[str], labelling: str, options: dict[str, Any]
) -> Summary:
    codes, outcome = outcome_codes(part), part["outcome"].values.reshape(-1)
    confidence = options.get("confidence", Resampling().confidence)
    outcomes = {name: frozenset({code}) for name, code in codes.items()}
    # Whether an orbit of a map is solved or trapped no loss says.
    groups = GROUPS if "global_minimum" in codes else {}
    return Summary(
        hyperparameters=hyperparameters,
        num_trajectories=outcome.size,
        outcomes={name: _share(outcome, code, confidence) for name, code in outcomes.items()},
        totals={name: _share(outcome, group, confidence) for name, group in groups.items()} if groups else None,
        num_steps=_num_steps(part, {ALL: frozenset(codes.values())} | groups | outcomes, confidence),
        maps=[_measure_plane(part, plane, labelling, options) for plane in _planes(varying)],
    )


def _planes(varying: list[str]) -> list[list[str]]:
    return [varying] if len(varying) <= 2 else [list(pair) for pair in itertools.combinations(varying, 2)]


def _measure_plane(part: xr.Dataset, plane: list[str], labelling: str, options: dict[str, Any]) -> MapMeasures:
    others = [str(name) for name in part["outcome"].dims if name not in plane]
    view = part.isel({name: part.sizes[name] // 2 for name in others})
    try:
        read_map(view, labelling=labelling, axes=plane or None, field="the map")
    except InputError as error:
        nothing = {name: Measured(None, None, str(error)) for name in MEASURES}
        return MapMeasures({}, {}, None, None, None, nothing)
    found = measure_map(view, labelling=labelling, axes=plane, **options)
    return found._replace(fixed={name: float(view[name]) for name in others if name in view.coords})


def _share(outcome: np.ndarray, codes: frozenset[int], confidence: float) -> Share:
    number = int(np.isin(outcome, list(codes)).sum())
    low, high = wilson_interval(number, outcome.size, confidence=confidence)
    return Share(number, number / outcome.size, float(low), float(high))


def _num_steps(part: xr.Dataset, groups: Mapping[str, frozenset[int]], confidence: float) -> dict[str, Steps]:
    if "spec" not in part.attrs:
        return {}
    outcome, num_steps = (part[name].values.reshape(-1) for name in ("outcome", "num_steps"))
    attrs = {"spec": part.attrs["spec"], "outcomes": json.dumps({ALL: 0})}
    found = {}
    for name, codes in groups.items():
        steps = num_steps[np.isin(outcome, list(codes))]
        if steps.size:
            dims = {"outcome": (START, np.zeros(steps.size, np.int8)), "num_steps": (START, steps)}
            found[name] = _steps(convergence_times(xr.Dataset(dims, attrs=attrs), confidence=confidence))
    return found


def _steps(times: xr.Dataset) -> Steps:
    one = times.isel(outcome_name=0)
    quantiles = dict(zip(one["quantile"].values.tolist(), one["quantile_time"].values.tolist(), strict=True))
    mean, low, high = (float(one[name]) for name in ("mean", "mean_low", "mean_high"))
    return Steps(int(one["count"]), int(one["num_stopped"]), mean, low, high, quantiles)


def _scales(
    shape: tuple[int, ...],
    box_size: int | None,
    box_sizes: Sequence[int] | None,
    boxes: str,
    ball_radius: int | None,
    wada_radius: int | None,
) -> Scales:
    """The sizes that were given, checked, and defaults for the others."""
    scales = default_scales(shape)._replace(boxes=check_placement(boxes))
    if box_size is not None:
        scales = scales._replace(box_size=check_size("box_size", box_size, shape, 2))
    if box_sizes is not None:
        scales = scales._replace(box_sizes=tuple(check_sizes(box_sizes, shape, 2).tolist()))
    if ball_radius is not None:
        scales = scales._replace(ball_radius=whole("ball_radius", ball_radius, 1, (min(shape) - 1) // 4))
    if wada_radius is not None:
        scales = scales._replace(wada_radius=whole("wada_radius", wada_radius, 1, min(shape)))
    return scales


def _apply(
    measure: Measure, array: np.ndarray, control: np.ndarray | None, scales: Scales, resampling: Resampling
) -> Measured:
    if getattr(scales, measure.scale) is None:
        side = min(array.shape)
        return Measured(None, None, f"the map is {side} cells wide, and {measure.least} are needed")
    found = measure.run(array, scales, resampling)
    if np.isnan(getattr(found, measure.headline)):
        return Measured(None, None, found.reason)
    smooth = None if control is None else measure.run(control, scales, resampling)
    if smooth is not None and np.isnan(getattr(smooth, measure.headline)):
        smooth = None
    return Measured(found, smooth, found.reason)


def _coordinates(labels: Any, array: np.ndarray, axes: Sequence[str] | None) -> dict[str, np.ndarray]:
    if not isinstance(labels, xr.Dataset | xr.DataArray):
        return {f"axis {i}": np.arange(n) for i, n in enumerate(array.shape)}
    sizes: Mapping[Any, int] = (labels["outcome"] if isinstance(labels, xr.Dataset) else labels).sizes
    names = axes or [name for name, size in sizes.items() if size > 1]
    return {str(name): np.asarray(labels[name].values, np.float64) for name in names}
