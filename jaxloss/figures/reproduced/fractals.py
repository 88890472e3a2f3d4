"""Fractal borders of trainability."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from jaxloss.figures import style
from jaxloss.figures.reading import edges, number
from jaxloss.reproduce import Reproduced
from jaxloss.reproduce.rows import Row

_CONVERGED, _DIVERGED, _DIFFERS = style.COLOURS[1], style.COLOURS[5], style.COLOURS[3]
_KEY = [(Patch(facecolor=_CONVERGED), "converged"), (Patch(facecolor=_DIVERGED), "diverged")]
_AXES = {
    "learning_rate": "input layer's learning rate",
    "output_learning_rate": "output layer's learning rate",
    "offset": "offset of the input weights",
}
_COLUMNS = 4
# The six conditions, in the order of the published dimensions.
_DASHES = ((0, (1, 1)), (0, (3, 1)), (0, (5, 1, 1, 1)), (0, (2, 2)), "solid", (0, (6, 2)))
# Of a zoom, as many as leave room for what is measured on them.
_FRAMES = 9


@style.styled
def plot_trainability(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """The maps of all conditions, the smooth control, and where single precision differs.

    Args:
      reproduced: the case trainability-fractal.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data = reproduced.data
    num, steps = data.sizes["across"], data.attrs["num_steps"]
    figure, body = style.new_figure(
        "Which pairs of learning rates train a small network, and how rough the border is",
        f"{num} x {num} runs each: 16 hidden units, {steps} steps of gradient descent. D is the box-counting "
        "dimension of the border in this map, 1 if it is smooth, then the same by the paper's estimator. The "
        "published dimensions are medians over zooms into such borders",
        width=10.5,
    )
    names = [str(name) for name in data["condition"].values]
    panels = len(names) + 2
    columns = min(_COLUMNS, panels)
    grid = body.subplots(-(-panels // columns), columns, squeeze=False).ravel()
    across, up = edges(data["across"].values), edges(data["up"].values)
    for ax, name in zip(grid, names, strict=False):
        _map(ax, across, up, data["converged"].sel(condition=name).values)
        ours, theirs = (_row(reproduced, f"{name}: dimension, {by}") for by in ("sliding", "their"))
        _title(ax, name, f"D {ours.ours:.2f}; by their estimator {theirs.ours:.2f}")
        first, second = (str(axis) for axis in data["axis_name"].sel(condition=name).values)
        _log_axes(ax, _AXES[first], _AXES[second] if first != "offset" else "learning rate of both layers")
    control, differs = grid[len(names)], grid[len(names) + 1]
    _map(control, across, up, data["control"].values)
    ours, theirs = (_row(reproduced, f"smooth control: dimension, {by}") for by in ("sliding", "their"))
    _title(
        control, "control: a quadratic loss", f"D {ours.ours:.2f}; by their estimator {theirs.ours:.2f}; exactly 1"
    )
    _log_axes(control, "first block's learning rate", "second block's learning rate")
    compared = data.attrs["compared"]
    _map(differs, across, up, data["converged"].sel(condition=compared).values, faint=True)
    places = np.nonzero(data["differs"].values)
    differs.scatter(
        data["across"].values[places[0]], data["up"].values[places[1]], s=1.5, color=_DIFFERS, linewidths=0, zorder=3
    )
    share = float(data["differs"].values.mean())
    _title(differs, f"{compared}, in float32", f"{100 * share:.2g} % of the labels differ")
    _log_axes(differs, _AXES["learning_rate"], _AXES["output_learning_rate"])
    for ax in grid[panels:]:
        ax.set_axis_off()
    others = [
        (Line2D([], [], marker="o", color=_DIFFERS, linestyle="none", markersize=3), "last panel: differs in float32")
    ]
    return style.finish(figure, 3.05 * (-(-panels // columns)), _KEY, path, others=others)


@style.styled
def plot_zoom(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """The frames of a zoom, the dimension in each, and what one unit in the last place changes.

    Args:
      reproduced: the case trainability-zoom.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data, shown = reproduced.data, reproduced.data.attrs["shown"]
    # Two or three panels follow, in rows of four.
    num, frames = data.sizes["across"], min(data.sizes["frame"], _FRAMES)
    medians = [row for row in reproduced.rows if ": dimension, their median" in row.quantity]
    figure, body = style.new_figure(
        "Closer and closer to the border of trainability, until float64 runs out",
        f"{shown}; each frame of {num} x {num} runs magnifies the box in the one before. Width: of the frame, in "
        "decades of either learning rate. D: box-counting dimension of the border, 1 if smooth. Ulp: the learning "
        "rates moved by one unit in the last place",
        width=10.5,
    )
    panels = frames + 2 + (len(medians) > 1)
    columns = min(_COLUMNS, panels)
    height = -(-panels // columns)
    grid = body.subplots(height, columns, squeeze=False).ravel()
    width, centre = data["width"].values, data["centre"].values
    rows = [row for row in reproduced.rows if ", frame " in row.quantity]
    for k, (ax, row) in enumerate(zip(grid[:frames], rows, strict=False)):
        ends = np.linspace(-0.5, 0.5, num + 1)
        _map(ax, ends, ends, data["converged"].isel(frame=k).values)
        _title(ax, f"{k + 1}: width {number(width[k])}", f"D {row.ours:.2f}")
        ax.set_xticks([])
        ax.set_yticks([])
        if k + 1 < len(width):
            size = width[k + 1] / width[k]
            middle = np.clip((centre[k + 1] - centre[k]) / width[k], -0.5, 0.5)
            box: Any = tuple(middle - size / 2)
            ax.add_patch(Rectangle(box, size, size, fill=False, edgecolor=style.INK, linewidth=1.2, zorder=3))
    grid[0].set_xlabel(f"{_AXES['learning_rate']}, log scale", fontsize=8)
    grid[0].set_ylabel(f"{_AXES['output_learning_rate']}, log scale", fontsize=8)
    slope, rounding = grid[frames : frames + 2]
    ours = np.array([row.ours for row in rows])
    bars = np.array([[row.ours - row.low, row.high - row.ours] for row in rows]).T
    look: dict[str, Any] = {"marker": "o", "markersize": 4, "color": style.INK, "linewidth": 1.0}
    slope.errorbar(width, ours, bars, elinewidth=0.8, **look)
    slope.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 2.5)))
    slope.set_ylim(0.4, 2.1)
    _title(slope, "dimension D of each frame", "")
    slope.set_ylabel("D, with 95 % interval")
    _plot_rounding(rounding, data, look)
    for ax in (slope, rounding):
        ax.set_xscale("log")
        style.log_ticks(ax.xaxis, float(width.min()), float(width.max()), most=5)
        ax.invert_xaxis()
        ax.set_xlabel("width of the frame, decades")
        _open(ax)
    if len(medians) > 1:
        _plot_medians(grid[frames + 2], medians)
    for ax in grid[panels:]:
        ax.set_axis_off()
    dashed = (0, (4, 2.5))
    others = [
        (Line2D([], [], color=style.MUTED, linewidth=0.8, linestyle=dashed), "D of a smooth border"),
        (Line2D([], [], color=_DIFFERS, linewidth=0.8, linestyle=dashed), "beyond: float64 has run out"),
    ]
    if len(medians) > 1:
        others.append((Line2D([], [], marker="D", color=_DIFFERS, linestyle="none", markersize=5), "published"))
    return style.finish(figure, 2.85 * height, _KEY, path, others=others)


def _plot_rounding(ax: Axes, data: xr.Dataset, look: Mapping[str, Any]) -> None:
    """How many labels one unit in the last place of the learning rates changes, condition by condition."""
    for name, dashes in zip(data["condition"].values, _DASHES, strict=False):
        line = {
            **look,
            "linestyle": dashes,
            "markersize": 4 if name == data.attrs["shown"] else 0,
            "label": str(name),
        }
        ax.plot(data["zoom_width"].values, 100 * data["changed_by_ulp"].sel(condition=name).values, **line)
    if data.sizes["condition"] > 1:
        # Room for the names above the lines.
        ax.set_ylim(top=1.9 * 100 * float(np.nanmax(data["changed_by_ulp"].values)))
        ax.legend(fontsize=6.5, handlelength=3, loc="upper left")
    ax.axhline(100 * data.attrs["resolved"], color=_DIFFERS, linewidth=0.8, linestyle=(0, (4, 2.5)))
    _title(ax, "labels that rounding changes: one ulp", "")
    ax.set_ylabel("per cent")


def _plot_medians(ax: Axes, rows: Sequence[Row]) -> None:
    """The dimension of each condition, the median over its own zoom, beside the published one."""
    places = np.arange(len(rows))
    ours = np.array([row.ours for row in rows])
    bars = np.array([[row.ours - row.low, row.high - row.ours] for row in rows]).T
    ax.errorbar(ours, places, xerr=bars, fmt="o", markersize=4, color=style.INK, elinewidth=0.8)
    ax.scatter([row.published or np.nan for row in rows], places, marker="D", s=22, color=_DIFFERS, zorder=3)
    ax.axvline(1, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 2.5)))
    ax.set_yticks(places, [row.quantity.split(":")[0] for row in rows], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("D, their median")
    ax.set_xlim(0, 2.1)
    _title(ax, "all six conditions", "")
    _open(ax)


@style.styled
def plot_cosine(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """Which learning rates converge on four rippled bowls, and the dimension of the border against the roughness.

    Args:
      reproduced: the case cosine-roughness.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data = reproduced.data
    figure, body = style.new_figure(
        "A rippled bowl: beyond some roughness, the border of divergence is a fractal",
        "Gradient descent on x² + ε cos(2πx/λ) from x = 5, 1,000 steps. Left: the learning rates that keep it "
        "bounded. Middle: the dimension of their border for 100 pairs of ε and λ. Right: how it is counted",
        width=10.5,
    )
    strips, middle, right = body.subplots(1, 3)
    rates = data["rate"].values
    for place, row in enumerate(data["diverged"].values):
        ends = np.array([place - 0.38, place + 0.38])
        _map(strips, edges(rates), ends, 1 - row[:, None])
    strips.set_aspect("auto")
    strips.set_yticks(range(data.sizes["shown"]), [f"{value:.3f}" for value in data["shown_roughness"].values])
    strips.set_ylim(data.sizes["shown"] - 0.5, -0.5)
    strips.set_ylabel("roughness ε/λ²")
    strips.set_xlabel("learning rate")
    blue = style.COLOURS[1]
    order = np.argsort(data["roughness"].values)
    roughness, dimension, half_width = (data[name].values[order] for name in ("roughness", "dimension", "half_width"))
    middle.errorbar(roughness, dimension, half_width, linestyle="none", elinewidth=0.5, ecolor=style.FAINT)
    middle.plot(roughness, dimension, "o", markersize=3, color=blue, zorder=3)
    middle.axvline(data.attrs["critical"], color=style.INK, linewidth=1.0, linestyle=(0, (4, 2.5)))
    middle.set_xscale("log")
    style.log_ticks(middle.xaxis, float(roughness.min()), float(roughness.max()))
    middle.set_ylim(-0.1, 1.6)
    middle.set_xlabel("roughness ε/λ²")
    middle.set_ylabel("dimension of the border")
    level = data["level"].values
    for k, (colour, marker) in enumerate(((style.COLOURS[4], "s"), (blue, "o"))):
        changes, slope = data["changes"].values[k], float(data["slope"].values[k])
        value = float(data["beside_roughness"].values[k])
        label = f"ε/λ² = {value:.3f}: D {slope:.2f}"
        right.plot(2.0**level, np.maximum(changes, 0.6), marker, color=colour, markersize=4, label=label)
        if slope:
            right.plot(2.0**level, 2 ** (data["intercept"].values[k] + slope * level), color=colour, linewidth=1.0)
    right.set_xscale("log")
    right.set_yscale("log")
    style.log_ticks(right.xaxis, 1.0, float(2.0 ** level.max()))
    style.log_ticks(right.yaxis, 0.5, float(max(data["changes"].values.max(), 8)) * 1.5)
    right.set_ylim(0.5, float(max(data["changes"].values.max(), 8)) * 1.5)
    right.set_xlabel("segments that the range is cut into")
    right.set_ylabel("segments whose ends differ")
    right.legend(loc="upper left", handletextpad=0.3, fontsize=8)
    for ax in (middle, right):
        _open(ax)
    others = [
        (
            Line2D([], [], marker="o", markersize=3, color=style.FAINT, markerfacecolor=blue, markeredgecolor=blue),
            "middle: dimension, 95 % interval",
        ),
        (
            Line2D([], [], color=style.INK, linewidth=1.0, linestyle=(0, (4, 2.5))),
            f"1/(2π²) = {data.attrs['critical']:.4f}: the loss ceases to be convex",
        ),
    ]
    key = [(Patch(facecolor=_CONVERGED), "stays bounded"), (Patch(facecolor=_DIVERGED), "diverges")]
    return style.finish(figure, 3.5, key, path, others=others)


def _map(ax: Axes, across: np.ndarray, up: np.ndarray, converged: np.ndarray, *, faint: bool = False) -> None:
    """Which cells converged, ``[across, up]``."""
    shades = ListedColormap([_DIVERGED, _CONVERGED])
    alpha = 0.3 if faint else 1.0
    ax.pcolormesh(
        across, up, converged.T, cmap=shades, vmin=-0.5, vmax=1.5, rasterized=True, alpha=alpha, linewidth=0
    )
    ax.set_aspect("equal")


def _title(ax: Axes, name: str, detail: str) -> None:
    ax.set_title(f"{name}\n{detail}" if detail else name, loc="left", fontsize=8.5)


def _log_axes(ax: Axes, across: str, up: str) -> None:
    """Ticks at powers of ten: the axes hold their exponents."""
    ticks = [-3, 0, 3, 6]
    for set_ticks in (ax.set_xticks, ax.set_yticks):
        set_ticks(ticks, ["10⁻³", "1", "10³", "10⁶"])
    ax.set_xlabel(across, fontsize=8)
    ax.set_ylabel(up, fontsize=8)


def _row(reproduced: Reproduced, start: str) -> Row:
    return next(row for row in reproduced.rows if row.quantity.startswith(start))


def _open(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
