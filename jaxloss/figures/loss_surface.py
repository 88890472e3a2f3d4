"""The loss over two initial axes: its contours and gradient, what trajectories do there, and where they end."""

import os
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from jaxloss.errors import InputError
from jaxloss.figures import reading, style
from jaxloss.figures.outcome_maps import axis_label
from jaxloss.grids import LEARNING_RATE, START

# Light to dark: the valley is white, and the outcomes' colours stand out on it.
_GREYS = LinearSegmentedColormap.from_list("loss", ["#ffffff", "#e4e8ec", "#b9c1c9", "#868f99"])
_LEVELS = 14


@style.styled
def plot_loss_surface(result: xr.Dataset, *, path: str | os.PathLike | None = None) -> Figure:
    """Contours of the loss over two initial axes, the downhill field, the critical points and the recorded paths.

    Arrows show the direction of the negative gradient, not its size. Paths are coloured by their outcome, from a
    dot at the start to a square at the end; they are drawn where the two axes are all the parameters there are.
    On a plane of directions there is neither field nor path.

    Args:
      result: what `jaxloss.sweep` returned, with two initial axes or more: it is sliced at the middle of the others.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: the result has no two initial axes of two values or more, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> axes = {"x": Axis.linear(-2, 2, 8), "y": Axis.linear(-2, 2, 8), "learning_rate": Axis.of([0.1])}
      >>> result = sweep(load_problem("quadratic"), Grid(axes), num_steps=50, num_paths=2)
      >>> plot_loss_surface(result).axes[0].get_xlabel()
      'x'
    """
    result = reading.shown(result)
    axes = _two_axes(result)
    view, fixed = reading.sliced(result, (*axes, LEARNING_RATE))
    figure, body = style.new_figure(
        f"{reading.title(str(result.attrs.get('name', 'objective')))}: the loss and the way down",
        _subtitle(result, axes, {name: fixed[name] for name in fixed if name in reading.initial_axes(result)}),
        width=7.6,
    )
    ax = body.subplots()
    mappable = contours(ax, *_initial_losses(view, axes), _infimum(result))
    colour_bar(body, ax, mappable, _known(result))
    entries: list = []
    if _field(ax, view, axes):
        entries.append((style.Arrow(facecolor=_ARROW), "downhill direction"))
    outcomes = _paths(ax, result, axes)
    points = reading.placed(result, axes, fixed)
    style.mark(ax, points)
    style_axes(ax, view, axes)
    entries += style.kind_entries(kind for _, kind in points)
    if outcomes:
        dot = {"color": style.INK, "linestyle": "none", "markersize": 5}
        entries.append((Line2D([], [], marker="o", markerfacecolor="white", **dot), "path starts"))
        entries.append((Line2D([], [], marker="s", **dot), "path ends"))
    else:
        outcomes, entries = entries, []
    return style.finish(figure, 5.2, outcomes, path, others=entries)


@style.styled
def plot_plane(
    result: xr.Dataset, *, learning_rate: float | None = None, path: str | os.PathLike | None = None
) -> Figure:
    """The loss over a plane through many parameters as filled contours, with the borders between outcomes on top.

    Each region is tinted and outlined in the colour of its outcome.

    Args:
      result: what `jaxloss.sweep` returned over ``direction[0]`` and ``direction[1]``, or over any two initial axes.
      learning_rate: draw the panel whose rate is nearest; by default up to four, evenly picked.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: the result has no two initial axes of two values or more, ``learning_rate`` is not positive, or
        ``path`` cannot be written.

    Examples:
      >>> import numpy as np
      >>> from jaxloss import Axis, Grid, Problem, sweep
      >>> bowl = Problem(name="bowl", objective=lambda p: p @ p, params=np.zeros(3), infimum=0.0)
      >>> axes = {"direction[0]": Axis.linear(-1, 1, 5), "direction[1]": Axis.linear(-1, 1, 5)}
      >>> grid = Grid(axes, directions=[np.array([1.0, 0, 0]), np.array([0, 1.0, 0])])
      >>> plot_plane(sweep(bowl, grid, learning_rate=0.1, num_steps=50)).axes[0].get_xlabel()
      'step along direction[0]'
    """
    result = reading.shown(result)
    axes = _two_axes(result)
    if learning_rate is not None and not (np.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"learning_rate must be positive and finite, not {learning_rate}")
    known = reading.fates(result)
    rates = reading.rates(result)
    picked = reading.evenly(len(rates), 4)
    if learning_rate is not None:
        picked = np.array([np.argmin(np.abs(np.log(rates / learning_rate)))]) if len(rates) > 1 else picked
    view, fixed = reading.sliced(result, (*axes, LEARNING_RATE))
    parts = [f"slice at {name} = {reading.number(value)}" for name, value in fixed.items()]
    if len(picked) == 1 and np.isfinite(rates[picked[0]]):
        parts.append(f"learning rate {reading.number(rates[picked[0]])}")
    elif len(picked) < len(rates):
        parts.append(f"{len(picked)} of {len(rates)} learning rates shown")
    parts.insert(0, "Contours: the loss at each initial point; colour: what its trajectory ends as")
    width = {1: 7.2, 2: 9.0}.get(len(picked), style.WIDTH)
    name = reading.title(str(result.attrs.get("name", "objective")))
    figure, body = style.new_figure(f"{name}: the loss over a plane, and its outcomes", "; ".join(parts), width=width)
    panels = body.subplots(1, len(picked), squeeze=False, sharex=True, sharey=True)[0]
    shown = []
    mappable: Any = None
    for i, (ax, pick) in enumerate(zip(panels, picked, strict=True)):
        at_rate = view.isel({LEARNING_RATE: int(pick)}) if LEARNING_RATE in view["outcome"].dims else view
        mappable = contours(ax, *_initial_losses(view, axes), _infimum(result))
        index = known.of(*(at_rate[name].transpose(axes[1], axes[0]).values for name in ("outcome", "attractor")))
        _regions(ax, view, axes, index, known)
        shown.append(index.ravel())
        style_axes(ax, view, axes)
        if i:
            ax.set_ylabel("")
        if len(picked) > 1:
            ax.set_title(f"learning rate {reading.number(rates[pick])}")
    colour_bar(body, panels, mappable, _known(result))
    outcomes = style.fate_entries(known.entries, np.concatenate(shown))
    side = (width - 1.6) / len(picked)
    return style.finish(
        figure,
        side * 0.95 + 0.75,
        outcomes,
        path,
        headings=style.HEADINGS,
    )


_ARROW = "#4d535b"


def _two_axes(result: xr.Dataset) -> tuple[str, str]:
    if START in reading.initial_axes(result):
        raise InputError("result has random starts, which lie on no axes: use jaxloss.figures.plot_outcome_fractions")
    if "initial_loss" not in result:
        raise InputError("result must hold initial_loss, as jaxloss.sweep stores it")
    spatial = reading.spatial_axes(result)
    long = [name for name in spatial if result.sizes[name] > 1]
    if len(long) < 2:
        raise InputError(
            "a surface needs two initial axes of at least two values each, and the result has "
            f"{', '.join(long) if long else 'none'}"
        )
    return long[0], long[1]


def _subtitle(result: xr.Dataset, axes: tuple[str, str], fixed: dict[str, float]) -> str:
    parts = []
    if fixed:
        parts.append("slice at " + ", ".join(f"{name} = {reading.number(value)}" for name, value in fixed.items()))
    if _placeable(result, axes):
        rates = np.unique(result["path_learning_rate"].values)
        parts.append("paths at learning rate " + ", ".join(reading.number(rate) for rate in rates))
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def style_axes(ax: Axes, view: xr.Dataset, axes: tuple[str, str]) -> None:
    """Scales, limits and names of the two axes; the window is that of the initial points."""
    x, y = (view[name].values for name in axes)
    style.scale_axis(ax, "x", x)
    style.scale_axis(ax, "y", y)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.set_xlabel(axis_label(axes[0]) if axes[0].startswith("direction[") else axes[0])
    ax.set_ylabel(axis_label(axes[1]) if axes[1].startswith("direction[") else axes[1])


def _initial_losses(view: xr.Dataset, axes: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = (view[name].values for name in axes)
    return x, y, view["initial_loss"].transpose(axes[1], axes[0]).values.astype(np.float64)


def _infimum(result: xr.Dataset) -> float:
    return float(result.attrs.get("infimum", np.nan))


def _known(result: xr.Dataset) -> str:
    infimum = _infimum(result)
    return f"the infimum {reading.number(infimum)}" if np.isfinite(infimum) else "the lowest seen"


def contours(ax: Axes, x: np.ndarray, y: np.ndarray, loss: np.ndarray, infimum: float) -> ScalarMappable:
    """Filled contours of the loss above its infimum.

    Args:
      ax: where.
      x: shape ``[column]``.
      y: shape ``[row]``.
      loss: shape ``[row, column]``.
      infimum: of the loss, where it is known; else not finite, and the lowest value seen takes its place.

    Returns:
      What the colour bar needs.
    """
    lowest = float(loss.min(initial=np.inf, where=np.isfinite(loss)))
    with np.errstate(invalid="ignore"):
        gap = loss - (min(infimum, lowest) if np.isfinite(infimum) else lowest)
    positive = gap[np.isfinite(gap) & (gap > 0)]
    norm: Normalize
    if not positive.size:
        norm, levels = Normalize(0, 1), np.linspace(0, 1, 3)
    else:
        high = float(positive.max())
        # Half a per cent of the cells may lie below the lowest level: a valley floor has no lower end on a log scale.
        low = max(float(np.quantile(positive, 0.005)), 1e-8 * high)
        if high / low > 30:
            norm, levels = LogNorm(low, high), np.geomspace(low, high, _LEVELS)
        else:
            norm, levels = Normalize(0, high), np.linspace(0, high, _LEVELS)
    filled = np.clip(np.where(np.isfinite(gap), gap, levels[-1]), levels[0], levels[-1])
    ax.contourf(x, y, filled, levels, norm=norm, cmap=_GREYS)
    if np.ptp(filled) > 0:
        ax.contour(x, y, filled, levels[1:-1], colors="#5b626b", linewidths=0.45, alpha=0.6)
    return ScalarMappable(norm, _GREYS)


def colour_bar(body: Any, ax: Any, mappable: ScalarMappable, lowest: str) -> None:
    """The bar beside the panels that says what the shades of `contours` are, and above which value."""
    bar = body.colorbar(mappable, ax=ax, pad=0.015, aspect=30, shrink=0.9)
    bar.outline.set_visible(False)
    bar.set_label(f"loss above {lowest}")
    if isinstance(mappable.norm, LogNorm):
        style.log_ticks(bar.ax.yaxis, float(mappable.norm.vmin or 1), float(mappable.norm.vmax or 1))


def _field(ax: Axes, view: xr.Dataset, axes: tuple[str, str]) -> bool:
    """Unit arrows down the gradient at about 18 x 18 places; False where its components are not stored."""
    names = [str(name) for name in view["parameter"].values] if "parameter" in view.coords else []
    if "initial_gradient" not in view or not set(axes) <= set(names):
        return False
    gradient = view["initial_gradient"].transpose(axes[1], axes[0], "parameter").values
    u, v = (-gradient[..., names.index(axis)].astype(np.float64) for axis in axes)
    x, y = (view[name].values for name in axes)
    columns, rows = (np.unique(np.linspace(0, n - 1, min(n, 20)).round().astype(int))[1:-1] for n in (len(x), len(y)))
    if not (len(columns) and len(rows)):
        return False
    u, v = u[np.ix_(rows, columns)], v[np.ix_(rows, columns)]
    size = np.hypot(u, v)
    # Without a direction there is no arrow: at critical points, and where the gradient is zero on an open set.
    moves = np.isfinite(size) & (size > 1e-12)
    along, up = np.meshgrid(x[columns], y[rows])
    ax.quiver(
        along[moves],
        up[moves],
        u[moves] / size[moves],
        v[moves] / size[moves],
        color=_ARROW,
        alpha=0.75,
        angles="xy",
        pivot="mid",
        units="width",
        scale_units="width",
        scale=34,
        width=0.0019,
        headwidth=4.2,
        headlength=4.5,
        headaxislength=4,
        zorder=2,
    )
    return bool(moves.any())


def _placeable(result: xr.Dataset, axes: tuple[str, str]) -> bool:
    """Whether there are paths, and their positions are the two axes and nothing else."""
    if "path" not in result or not result.sizes["trajectory"]:
        return False
    return set(axes) == {str(name) for name in result["parameter"].values}


def _paths(ax: Axes, result: xr.Dataset, axes: tuple[str, str]) -> list:
    """The recorded paths in the colours of their fates; returns their legend entries."""
    if not _placeable(result, axes):
        return []
    known = reading.fates(result)
    names = [str(name) for name in result["parameter"].values]
    path = result["path"].transpose("trajectory", "path_step", "parameter").values.astype(np.float64)
    path = path[..., [names.index(axis) for axis in axes]]
    fate = known.of(result["path_outcome"].values, result["path_attractor"].values)
    seen: dict[int, Line2D] = {}
    for recorded, index in zip(path, fate, strict=True):
        entry = known.entries[index]
        tone = style.line_colour(entry)
        # The rasteriser takes no coordinates beyond about 1e9 pixels.
        place = np.clip(recorded[np.isfinite(recorded).all(axis=1)], -1e6, 1e6)
        bounded = entry.outcome in (7, 8)
        outline = [Stroke(linewidth=3.0, foreground="white", alpha=0.9), Normal()]
        line = ax.plot(
            *place.T,
            color=tone,
            linewidth=0.7 if bounded else 1.7,
            alpha=0.8 if bounded else 1.0,
            path_effects=None if bounded else outline,
            zorder=3,
        )[0]
        ax.plot(*place[:1].T, "o", ms=5.5, mfc="white", mec=tone, mew=1.6, zorder=4)
        ax.plot(*place[-1:].T, "s", ms=5.5, mfc=tone, mec="white", mew=0.9, zorder=4)
        seen.setdefault(int(index), line)
    return [
        (Line2D([], [], color=style.line_colour(known.entries[i]), linewidth=2.2), known.entries[i].label)
        for i in sorted(seen)
    ]


def _regions(ax: Axes, view: xr.Dataset, axes: tuple[str, str], index: np.ndarray, known: reading.Fates) -> None:
    """Tints each region with the colour of its fate and draws its border."""
    x, y = (view[name].values for name in axes)
    palette = np.array([to_rgba(style.colour(fate), 0.5) for fate in known.entries])
    ax.pcolormesh(reading.edges(x), reading.edges(y), palette[index], rasterized=True, zorder=1.5)
    borders: Any = _borders(reading.edges(x), reading.edges(y), index)
    ax.add_collection(LineCollection(borders, zorder=2.5, **_BORDER))


_BORDER: dict[str, Any] = {"colors": style.INK, "linewidths": 0.8, "capstyle": "projecting"}


def _borders(x: np.ndarray, y: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The sides of cells between different fates, shape ``[side, 2, 2]``.

    Examples:
      >>> _borders(np.arange(3.0), np.arange(2.0), np.array([[0, 1]])).tolist()
      [[[1.0, 0.0], [1.0, 1.0]]]
    """
    row, column = np.nonzero(index[:, 1:] != index[:, :-1])
    upright = np.stack([[x[column + 1], y[row]], [x[column + 1], y[row + 1]]]).transpose(2, 0, 1)
    row, column = np.nonzero(index[1:] != index[:-1])
    level = np.stack([[x[column], y[row + 1]], [x[column + 1], y[row + 1]]]).transpose(2, 0, 1)
    return np.concatenate([upright, level])
