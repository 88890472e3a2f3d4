"""Refined outcome maps with their cells, and what they cost."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jaxloss.errors import InputError
from jaxloss.figures import reading, style
from jaxloss.refinement import cost_exponent

# Okabe and Ito's colours, and a dash of its own for each line.
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#22262b")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = "osD^vX*"
# Cells narrower than so many points are not drawn: their borders would hide them.
_NARROWEST = 2


@style.styled
def plot_refined_map(result: xr.Dataset, *, path: str | os.PathLike | None = None) -> Figure:
    """A refined outcome map: hue for the outcome and its attractor, and the cells that tell where trajectories ran.

    Inside a cell no trajectory was run, and the label is that of its corners; where no cell is drawn, all were run.

    Args:
      result: what `jaxloss.refine` returned for a problem, over two axes.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: something else, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem
      >>> from jaxloss.refinement import refine
      >>> grid = Grid({"x": Axis.linear(-3, 3, 65), "learning_rate": Axis.linear(0.1, 0.9, 65)})
      >>> figure = plot_refined_map(refine(load_problem("cubic-map"), grid, coarse=8, num_steps=200))
      >>> figure.axes[0].get_xlabel()
      'x'
    """
    result = reading.checked(result)
    names = [str(dim) for dim in result["outcome"].dims if result.sizes[dim] > 1]
    if "level" not in result or "critical_point" not in result.dims or len(names) != 2:
        raise InputError("result must be what jaxloss.refine returned for a problem, over two axes")
    result = result.squeeze([dim for dim in result["outcome"].dims if dim not in names])
    known = reading.fates(result)
    index = known.of(result["outcome"].values, result["attractor"].values)
    title = f"{reading.title(str(result.attrs.get('name', 'objective')))}: a map refined near its boundaries"
    sizes = " x ".join(f"{result.sizes[name]:,}" for name in names)
    rate = result.attrs.get("learning_rate")
    parts = [
        f"{result.attrs['trajectories']:,} trajectories for {sizes} points ({result.attrs['share']:.1%})",
        "between the cells and the boundary all were run",
        *([f"learning rate {reading.number(rate)}"] if rate is not None else []),
    ]
    figure, body = style.new_figure(title, "; ".join(parts), width=7.4)
    ax = body.subplots()
    x, y = (np.asarray(result[name].values, np.float64) for name in names)
    colours = style.image_of(index, np.ones(index.shape), known.entries, None)
    ax.pcolormesh(x, y, np.swapaxes(colours, 0, 1), shading="nearest", rasterized=True)
    ax.add_collection(
        LineCollection(_borders(result["level"].values, x, y), colors=style.INK, linewidths=0.3, alpha=0.6)
    )
    for which, name, values in (("x", names[0], x), ("y", names[1], y)):
        style.scale_axis(ax, which, values)
        (ax.set_xlabel if which == "x" else ax.set_ylabel)(name.replace("_", " "))
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    outcomes = style.fate_entries(known.entries, index.ravel())
    outcomes.append((Line2D([], [], color=style.INK, linewidth=0.6, alpha=0.6), "cell: its corners alone were run"))
    return style.finish(figure, 5.9, outcomes, path, headings=("Outcome, with its share of the points", None))


def _borders(level: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The borders of all cells that are wide enough, each drawn once."""
    deepest, lines = int(level.max()), []
    for depth in range(deepest + 1):
        side = 2 ** (deepest - depth)
        if side < _NARROWEST:
            break
        nodes = [np.unique(np.append(np.arange(0, num, side), num - 1)) for num in level.shape]
        middle = [(axis[:-1] + axis[1:]) // 2 for axis in nodes]
        for i, j in np.argwhere(level[np.ix_(*middle)] == depth):
            left, right, low, high = x[nodes[0][i]], x[nodes[0][i + 1]], y[nodes[1][j]], y[nodes[1][j + 1]]
            lines.append(np.array([(left, low), (right, low), (right, high), (left, high), (left, low)]))
    return lines


@style.styled
def plot_refinement_cost(results: Mapping[str, xr.Dataset], *, path: str | os.PathLike | None = None) -> Figure:
    """How many trajectories refined maps took at each resolution, on logarithmic axes, beside the whole grid.

    Args:
      results: label -> what `jaxloss.refine` returned.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure; the legend gives each exponent, fitted to the trajectories that the last four levels added.

    Raises:
      InputError: there is no result, or ``path`` cannot be written.

    Examples:
      >>> counts = {"resolution": ("refinement", [65, 129, 257]), "num_trajectories": ("refinement", [9, 109, 309])}
      >>> plot_refinement_cost({"map": xr.Dataset(counts)}).axes[0].get_xlabel()
      'resolution: points along each axis'
    """
    if not results:
        raise InputError("results must hold at least one result of jaxloss.refine, and it is empty")
    figure, body = style.new_figure(
        "A refined map costs as much as its boundary is long",
        "Trajectories that were run for a map of each resolution; the exponent is that of the trajectories which the "
        "last four halvings added, with its standard error",
        width=7.8,
    )
    ax = body.subplots()
    entries: list[tuple[Any, str]] = []
    everything = np.unique(np.concatenate([result["resolution"].values for result in results.values()]))
    for i, (label, result) in enumerate(results.items()):
        look: dict[str, Any] = {
            "color": _LINES[i % len(_LINES)],
            "linestyle": _DASHES[i % len(_DASHES)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "markersize": 4.5,
        }
        ax.plot(result["resolution"].values, result["num_trajectories"].values, **look)
        fit = cost_exponent(result)
        told = "no boundary" if np.isnan(fit.exponent) else f"exponent {fit.exponent:.3f}"
        if np.isfinite(fit.standard_error):
            told += f" ± {fit.standard_error:.3f}"
        entries.append((Line2D([], [], **look), f"{label}: {told}"))
    whole: dict[str, Any] = {"color": style.MUTED, "linewidth": 1.0}
    ax.plot(everything, everything.astype(float) ** 2, **whole)
    entries.append((Line2D([], [], **whole), "the whole grid: exponent 2"))
    share: dict[str, Any] = {"color": style.MUTED, "linewidth": 1.0, "linestyle": (0, (1, 2))}
    ax.plot(everything, 0.05 * everything.astype(float) ** 2, **share)
    entries.append((Line2D([], [], **share), "5 % of the whole grid"))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator([2**k for k in range(1, 20)]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    low, high = float(everything.min()), float(everything.max())
    ax.set_xlim(low / 1.1, high * 1.1)
    style.log_ticks(ax.yaxis, *map(float, ax.get_ylim()))
    ax.set_xlabel("resolution: points along each axis")
    ax.set_ylabel("trajectories")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return style.finish(figure, 4.6, entries, path)
