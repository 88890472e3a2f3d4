"""Measures of maps: basins with their times, the entropy of each box, and how a boundary scales."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from jaxloss.basins.boxes import SLIDING
from jaxloss.basins.entropy import box_entropies
from jaxloss.basins.summary import MapMeasures, Scales
from jaxloss.basins.uncertainty import UncertaintyExponent
from jaxloss.errors import InputError
from jaxloss.figures import reading, style
from jaxloss.figures.outcome_maps import (
    Panel,
    at_rate,
    axis_label,
    check_map,
    draw_image,
    draw_panel,
    label_panel,
    panels_of,
    shade_of,
)
from jaxloss.grids import LEARNING_RATE

MAX_COLUMNS = 5
EXPONENT = "uncertainty_exponent"
_WIDTHS = {1: 7.4, 2: 8.2, 3: 9.0}
_FIT, _CONTROL = "#0072b2", "#8a9099"
# White for boxes of one basin, in one hue to the most entropy: lightness alone tells the values.
_ENTROPY = LinearSegmentedColormap.from_list("entropy", ["#ffffff", "#a6cee3", "#3a87bd", "#14497d", "#041b36"])


@style.styled
def plot_basin_times(
    result: xr.Dataset,
    *,
    learning_rate: float | None = None,
    max_columns: int = MAX_COLUMNS,
    path: str | os.PathLike | None = None,
) -> Figure:
    """Basins by hue and the steps to their ends by shade; below, how soon the trajectories of each basin stop.

    The curve of a basin is the share of its trajectories that have stopped by so many steps, within the budget: most
    plateaus, and all cycles and chaos, last beyond it. With a single initial axis the map has the learning rate as
    its second axis.

    Args:
      result: what `jaxloss.sweep` or `jaxloss.sweep_map` returned.
      learning_rate: draw only the rate nearest, on a log scale.
      max_columns: at most so many learning rates, evenly picked.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: the initial points lie on no axes that a map could have, ``learning_rate`` is not positive or is
        itself an axis of the map, ``max_columns`` is not positive, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> axes = {"x": Axis.linear(-2, 2, 8), "y": Axis.linear(-2, 2, 8), "learning_rate": Axis.of([0.1, 1.0])}
      >>> figure = plot_basin_times(sweep(load_problem("quadratic"), Grid(axes), num_steps=50))
      >>> figure.axes[2].get_ylabel()
      'share that has stopped'
    """
    result = reading.checked(result)
    if max_columns < 1:
        raise InputError(f"max_columns must be at least 1, not {max_columns}")
    check_map(result)
    known = reading.fates(result)
    strip = len(reading.spatial_axes(result)) == 1
    result, omitted = _picked(at_rate(result, learning_rate, strip), max_columns, strip)
    rates, panels, fixed = panels_of(result, known)
    columns = len(panels)
    width = _WIDTHS.get(columns, style.WIDTH)
    side = (width - 1.0) / columns - 0.05
    pooled = ["the curves are of all values along the first axis together"] if strip else []
    figure, body = style.new_figure(
        f"{_name(result)}: basins, and how soon they are reached",
        _sentence([*_rates(rates, strip, omitted), *_slice(fixed), *pooled]),
        width=width,
    )
    scale = shade_of(panels)
    across = side * (0.8 if columns == 1 else 1.0)
    grid = body.subplots(2, columns, squeeze=False, height_ratios=[across, 1.5])
    longest = max(int(panel.num_steps.max()) for panel in panels)
    budget = int(reading.run_options(result).get("num_steps", longest + 1))
    for i, (panel, (top, below)) in enumerate(zip(panels, grid.T, strict=True)):
        draw_panel(top, panel, known, scale)
        if columns > 1:
            top.set_title(f"learning rate {reading.number(rates[i])}")
        top.tick_params(labelleft=i == 0)
        label_panel(top, panel, x=True, y=i == 0, side=side)
        _draw_times(below, panel, known, budget)
        below.tick_params(labelleft=i == 0)
        if i == 0:
            below.set_ylabel("share that has stopped")
    index = np.concatenate([panel.fate.ravel() for panel in panels])
    num_steps = np.concatenate([panel.num_steps.ravel() for panel in panels])
    outcomes = style.fate_entries(known.entries, index, num_steps, scale) + style.shade_entry(scale)
    others = style.kind_entries(kind for panel in panels for _, kind in panel.points)
    return style.finish(figure, across + 2.6, outcomes, path, others=others, headings=style.HEADINGS)


@style.styled
def plot_basin_entropy(
    result: xr.Dataset,
    *,
    box_size: int = 5,
    labelling: str = "both",
    learning_rate: float | None = None,
    max_columns: int = MAX_COLUMNS,
    path: str | os.PathLike | None = None,
) -> Figure:
    """The entropy of the basins in each box of a map, whose mean is the basin entropy.

    White is a box of one basin. More than log 2 takes three basins in one box. With a single initial axis there is
    one row of boxes for each learning rate.

    Args:
      result: what `jaxloss.sweep` or `jaxloss.sweep_map` returned.
      box_size: side of a box, in cells.
      labelling: what a basin is: an ``"outcome"``, an ``"attractor"`` or ``"both"``, the pair of them.
      learning_rate: draw only the rate nearest, on a log scale.
      max_columns: at most so many learning rates, evenly picked.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: the initial points lie on no axes that a map could have or on an axis that is not equally spaced, a
        box does not fit, ``learning_rate`` is not positive or is itself an axis of the map, ``max_columns`` is not
        positive, or ``path`` cannot be written.

    References:
      Daza, Wagemakers, Georgeot, Guéry-Odelin & Sanjuán, *Basin entropy: a new tool to analyze uncertainty in
      dynamical systems*, 2016.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> axes = {"x": Axis.linear(-2, 2, 20), "y": Axis.linear(-2, 2, 20), "learning_rate": Axis.of([0.1, 1.0])}
      >>> figure = plot_basin_entropy(sweep(load_problem("quadratic"), Grid(axes), num_steps=50))
      >>> figure.axes[0].get_xlabel()
      'initial x'
    """
    result = reading.checked(result)
    if max_columns < 1:
        raise InputError(f"max_columns must be at least 1, not {max_columns}")
    check_map(result)
    strip = len(reading.spatial_axes(result)) == 1
    result, omitted = _picked(at_rate(result, learning_rate, strip), max_columns, strip)
    rates, panels, fixed = _boxed_strip(result, box_size, labelling) if strip else _boxed(result, box_size, labelling)
    columns = len(panels)
    width = _WIDTHS.get(columns, style.WIDTH)
    side = (width - 1.6) / columns - 0.05
    size = f"boxes of {box_size} initial points"
    size += "" if strip else "; mean: the basin entropy; boundary: that of boxes with several basins"
    figure, body = style.new_figure(
        f"{_name(result)}: where the basin is uncertain",
        _sentence([*_rates(rates, strip, omitted), size, *_slice(fixed)]),
        width=width,
    )
    highest = max(np.log(2), *(float(panel.entropies.max()) for panel in panels))
    norm = Normalize(0, highest)
    grid = body.subplots(1, columns, squeeze=False)[0]
    for i, (ax, panel) in enumerate(zip(grid, panels, strict=True)):
        _draw_entropies(ax, panel, norm)
        lines = [f"learning rate {reading.number(rates[i])}"] if columns > 1 else []
        lines += [] if strip else _means(panel.entropies)
        ax.set_title(", ".join(lines) if columns == 1 else "\n".join(lines))
        ax.set_xlabel(panel.labels[0])
        ax.tick_params(labelleft=i == 0)
        if i == 0:
            ax.set_ylabel(panel.labels[1])
    bar = body.colorbar(ScalarMappable(norm, _ENTROPY), ax=list(grid), fraction=0.05, pad=0.015, aspect=18)
    bar.set_label("entropy of a box, nats")
    bar.ax.axhline(np.log(2), color=style.INK, linewidth=1.0)
    bar.set_ticks([0, np.log(2)] + [x for x in np.arange(0.2, highest, 0.2) if abs(x - np.log(2)) > 0.12])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_entropy_label))
    others = [(Patch(facecolor="white", edgecolor=style.FAINT), "one basin")]
    if any(panel.has_rest for panel in panels):
        others.append((Patch(facecolor=style.FAINT), "in no whole box"))
    height = side * (0.8 if columns == 1 else 1.0) + (0.6 if columns == 1 else 1.1)
    return style.finish(figure, height, [], path, others=others)


@style.styled
def plot_boundary_scaling(
    measured: MapMeasures | Mapping[str, MapMeasures],
    *,
    name: str = "",
    max_columns: int = MAX_COLUMNS,
    path: str | os.PathLike | None = None,
) -> Figure:
    r"""The boundary of each map, the log-log fit of its uncertainty exponent with the interval, and the local slopes.

    The fraction of boxes with two basins or more grows as :math:`\epsilon^\alpha` with their side; the dimension of
    the boundary is that of the map minus :math:`\alpha`. The band is the interval of :math:`\alpha`, drawn about the
    middle of the fit. Grey is a map with the same fractions and straight boundaries.

    Args:
      measured: what `measure_map` returned, or label -> that.
      name: of the objective or the map, for the title.
      max_columns: at most so many of them, evenly picked.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: no map has an exponent; the sentence says why. Or ``max_columns`` is not positive, or ``path``
        cannot be written.

    References:
      Grebogi, McDonald, Ott & Yorke, *Final state sensitivity: an obstruction to predictability*, 1983.

    Examples:
      >>> from jaxloss.basins.summary import measure_map
      >>> x, y = np.indices((96, 96))
      >>> figure = plot_boundary_scaling(measure_map(x + 0.4 * y < 60))
      >>> figure.axes[1].get_xlabel()
      'side of a box, cells'
    """
    labelled = {"": measured} if isinstance(measured, MapMeasures) else dict(measured)
    if not labelled:
        raise InputError("measured must hold at least one map")
    if max_columns < 1:
        raise InputError(f"max_columns must be at least 1, not {max_columns}")
    fitted = {label: each for label, each in labelled.items() if each.measures[EXPONENT].result is not None}
    if not fitted:
        raise InputError(f"measured must hold a map with an exponent: {_reasons(labelled)}")
    picked = reading.evenly(len(fitted), max_columns)
    shown = {label: fitted[label] for label in np.array(list(fitted), object)[picked]}
    columns = len(shown)
    width = _WIDTHS.get(columns, style.WIDTH)
    side = (width - 1.1) / columns - 0.05
    across = min(side, 3.4) * (0.8 if columns == 1 else 1.0)
    parts = [f"{len(shown)} of {len(labelled)} maps shown"] if len(shown) < len(labelled) else []
    figure, body = style.new_figure(
        f"{reading.title(name)}: how the boundary scales" if name else "How the boundary scales",
        _sentence([*parts, "an exponent of 1 is a smooth boundary, 0 one that fills the map"]),
        width=width,
    )
    grid = body.subplots(3, columns, squeeze=False, height_ratios=[across, 2.0, 1.4])
    first = next(iter(shown.values())).axes
    alike = all(list(each.axes) == list(first) for each in shown.values())
    for i, ((label, each), (top, middle, bottom)) in enumerate(zip(shown.items(), grid.T, strict=True)):
        _draw_boundary(top, each, named=i == 0 or not alike)
        top.set_title(label)
        _draw_fit(middle, each)
        _draw_slopes(bottom, each)
        for ax in (middle, bottom):
            ax.tick_params(labelleft=i == 0)
        if i == 0:
            middle.set_ylabel("uncertain boxes")
            bottom.set_ylabel("local slope")
    for row in grid[1:]:
        limits = np.array([ax.get_ylim() for ax in row])
        for ax in row:
            ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    entries = [
        (Line2D([], [], color=_FIT, marker="o", markersize=4.5, markerfacecolor="white"), "the map, with its fit"),
        (Patch(facecolor=_FIT, alpha=0.2, linewidth=0), "interval of the exponent α"),
        (
            Line2D([], [], color=_CONTROL, marker="s", markersize=3.5, markerfacecolor="white", linestyle="--"),
            "smooth control, with its fit",
        ),
    ]
    return style.finish(figure, across + 5.7, entries, path)


class _Boxed(NamedTuple):
    """A map of boxes; rows are along its second axis."""

    entropies: np.ndarray
    labels: tuple[str, str]
    values: tuple[np.ndarray, np.ndarray]
    edges: tuple[np.ndarray, np.ndarray]
    has_rest: bool


def _boxed(result: xr.Dataset, box_size: int, labelling: str) -> tuple[np.ndarray, list[_Boxed], dict[str, float]]:
    """One map of boxes for each learning rate, over the first two initial axes."""
    axes = reading.spatial_axes(result)[:2]
    view, fixed = reading.sliced(result, (*axes, LEARNING_RATE))
    rates = reading.rates(view)
    slices = [view.isel({LEARNING_RATE: i}) for i in range(len(rates))] if LEARNING_RATE in view.dims else [view]
    values = (view[axes[0]].values.astype(float), view[axes[1]].values.astype(float))
    edges = (_box_edges(values[0], box_size), _box_edges(values[1], box_size))
    labels = (axis_label(axes[0]), axis_label(axes[1]))
    found = [box_entropies(each, box_size, labelling=labelling, axes=axes).T for each in slices]
    rest = any(len(along) % box_size for along in values)
    return rates, [_Boxed(entropies, labels, values, edges, rest) for entropies in found], fixed


def _boxed_strip(
    result: xr.Dataset, box_size: int, labelling: str
) -> tuple[np.ndarray, list[_Boxed], dict[str, float]]:
    """The boxes of the only initial axis, for each value of the first hyperparameter."""
    axis, across = reading.spatial_axes(result)[0], reading.hyperparameter_axes(result)[0]
    view, fixed = reading.sliced(result, (axis, across))
    columns = [
        box_entropies(view.isel({across: i}), box_size, labelling=labelling, axes=[axis])
        for i in range(view.sizes[across])
    ]
    values = (view[across].values.astype(float), view[axis].values.astype(float))
    edges = (reading.edges(values[0]), _box_edges(values[1], box_size))
    labels = (axis_label(across, [across]), axis_label(axis))
    rest = len(values[1]) % box_size > 0
    return reading.rates(result), [_Boxed(np.stack(columns, axis=1), labels, values, edges, rest)], fixed


def _box_edges(values: np.ndarray, box_size: int) -> np.ndarray:
    return reading.edges(values)[:: max(box_size, 1)]


def _picked(result: xr.Dataset, most: int, strip: bool) -> tuple[xr.Dataset, int]:
    """At most so many learning rates, and how many are left out."""
    if strip or LEARNING_RATE not in result["outcome"].dims:
        return result, 0
    rates = result.sizes[LEARNING_RATE]
    picked = reading.evenly(rates, most)
    return result.isel({LEARNING_RATE: picked}), rates - len(picked)


def _name(result: xr.Dataset) -> str:
    return reading.title(str(result.attrs.get("name", "objective")))


def _rates(rates: np.ndarray, strip: bool, omitted: int) -> list[str]:
    if omitted:
        return [f"{len(rates)} of {len(rates) + omitted} learning rates shown"]
    if not strip and len(rates) == 1 and np.isfinite(rates[0]):
        return [f"learning rate {reading.number(rates[0])}"]
    return []


def _slice(fixed: Mapping[str, float]) -> list[str]:
    return ["slice at " + ", ".join(f"{name} = {reading.number(v)}" for name, v in fixed.items())] if fixed else []


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _draw_times(ax: Axes, panel: Panel, known: reading.Fates, budget: int) -> None:
    """The cumulative share of each basin's trajectories, by the steps after which they stopped.

    Later curves are thinner: where two coincide, both show.
    """
    for i, fate in enumerate(known.entries):
        steps = np.sort(panel.num_steps[panel.fate == i])
        stopped = steps[steps < budget]
        if not stopped.size:
            continue
        share = np.arange(1, stopped.size + 1) / steps.size
        line = {"color": style.line_colour(fate), "linewidth": max(2.8 - 0.5 * i, 1.0)}
        places = np.maximum([stopped[0], *stopped, budget], 1)
        ax.step(places, [0, *share, share[-1]], where="post", label=fate.label, **line)
    if not ax.get_lines():
        told = f"none within\n{budget:,} steps"
        ax.text(0.5, 0.5, told, transform=ax.transAxes, ha="center", va="center", color=style.MUTED, fontsize=8.0)
    ax.set_xscale("log")
    ax.set_xlim(0.8, max(budget, 2))
    style.log_ticks(ax.xaxis, 1, max(budget, 2), most=4)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    ax.set_xlabel("steps")
    _open(ax)


def _draw_entropies(ax: Axes, panel: _Boxed, norm: Normalize) -> None:
    ax.set_facecolor(style.FAINT)
    style.scale_axis(ax, "x", panel.values[0])
    style.scale_axis(ax, "y", panel.values[1])
    rows, columns = panel.entropies.shape
    x, y = panel.edges[0][: columns + 1], panel.edges[1][: rows + 1]
    ax.pcolormesh(x, y, panel.entropies, cmap=_ENTROPY, norm=norm, rasterized=True)
    ax.set_xlim(*reading.window(panel.values[0]))
    ax.set_ylim(*reading.window(panel.values[1]))


def _means(entropies: np.ndarray) -> list[str]:
    """Basin entropy and boundary basin entropy, in words."""
    mixed = entropies[entropies > 0]
    return [f"mean {entropies.mean():.3f}", f"boundary {mixed.mean():.3f}" if mixed.size else "no boundary"]


def _entropy_label(value: float, _position: int | None = None) -> str:
    return "log 2" if abs(value - np.log(2)) < 1e-9 else f"{value:.1f}"


def _sides(scales: Scales) -> np.ndarray:
    """The lengths that boxes stand for in the fit."""
    return np.array(scales.box_sizes) - (scales.boxes == SLIDING)


def _shares(found: UncertaintyExponent, each: MapMeasures) -> np.ndarray:
    """What was fitted: the fraction of sliding boxes, or the share of the map that tiled ones cover."""
    assert each.scales is not None
    assert each.labels is not None
    if each.scales.boxes == SLIDING:
        return found.fractions
    return found.counts * found.box_sizes.astype(float) ** each.labels.ndim / each.labels.size


def _draw_boundary(ax: Axes, each: MapMeasures, *, named: bool) -> None:
    """The cells of the boundary; of a map of one dimension, upright lines."""
    assert each.boundary is not None
    ink, paper = np.array(style.to_rgb(style.INK)), np.ones(3)
    names, values = list(each.axes), list(each.axes.values())
    cells = each.boundary if each.boundary.ndim == 2 else each.boundary[:, None]
    if each.boundary.ndim == 1:
        values.append(np.array([0.0]))
    draw_image(ax, values[0], values[1], np.where(cells.T[..., None], ink, paper))
    ax.set_xlabel(names[0].replace("_", " "))
    if each.boundary.ndim == 1:
        ax.yaxis.set_major_locator(NullLocator())
    elif named:
        ax.set_ylabel(names[1].replace("_", " "))
    ax.tick_params(labelleft=named)


def _draw_fit(ax: Axes, each: MapMeasures) -> None:
    assert each.scales is not None
    found, control, _ = each.measures[EXPONENT]
    sides = _sides(each.scales)
    if control is not None:
        _line(ax, sides, _shares(control, each), control, _CONTROL, "s", 3.5, "--")
    _line(ax, sides, _shares(found, each), found, _FIT, "o", 4.5, "-")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    _size_axis(ax, sides)
    assert each.boundary is not None
    lines = [f"α = {_with_interval(found)}", f"dimension {each.boundary.ndim - found.exponent:.2f}"]
    lines += [] if control is None else [f"smooth control α = {control.exponent:.2f}"]
    ax.set_title("\n".join(lines), loc="left", fontsize=8.0)


def _size_axis(ax: Axes, sides: np.ndarray) -> None:
    ax.set_xscale("log")
    ax.set_xlim(sides[0] / 1.25, sides[-1] * 1.25)
    ax.xaxis.set_major_locator(FixedLocator(sides.tolist()))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: reading.number(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("side of a box, cells")
    _open(ax)


def _line(ax: Axes, sides: np.ndarray, shares: np.ndarray, found: UncertaintyExponent, tone: str, *look: Any) -> None:
    """Points, the least-squares line through their middle and, of the map, the fan of slopes in the interval."""
    marker, size, dashes = look
    used = shares > 0
    x, y = np.log(sides[used]), np.log(shares[used])
    away = x - x.mean()
    ax.plot(sides[used], np.exp(y.mean() + found.exponent * away), color=tone, linewidth=1.3, linestyle=dashes)
    if tone == _FIT and np.isfinite(found.interval.low):
        fan = [np.exp(y.mean() + slope * away) for slope in found.interval]
        ax.fill_between(sides[used], np.minimum(*fan), np.maximum(*fan), color=tone, alpha=0.2, linewidth=0)
    ax.plot(sides[used], shares[used], marker, markersize=size, color=tone, markerfacecolor="white")


def _draw_slopes(ax: Axes, each: MapMeasures) -> None:
    assert each.scales is not None
    found, control, _ = each.measures[EXPONENT]
    sides = _sides(each.scales)
    between = np.sqrt(sides[1:] * sides[:-1])
    if np.isfinite(found.interval.low):
        ax.axhspan(*found.interval, color=_FIT, alpha=0.2, linewidth=0)
    ax.axhline(found.exponent, color=_FIT, linewidth=1.3)
    if control is not None:
        ax.plot(between, control.local_slopes, "s", markersize=3.5, color=_CONTROL, markerfacecolor="white")
    ax.plot(between, found.local_slopes, "o", markersize=4.5, color=_FIT, markerfacecolor="white")
    ax.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    ax.set_ylim(min(-0.05, *ax.get_ylim()), max(1.3, *ax.get_ylim()))
    _size_axis(ax, sides)


def _with_interval(found: UncertaintyExponent) -> str:
    low, high = found.interval
    return f"{found.exponent:.2f}" + (f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else "")


def _reasons(labelled: Mapping[str, MapMeasures]) -> str:
    return "; ".join(dict.fromkeys(each.measures[EXPONENT].reason for each in labelled.values()))


def _open(ax: Axes) -> None:
    ax.grid(axis="y", color="#eceef0", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
