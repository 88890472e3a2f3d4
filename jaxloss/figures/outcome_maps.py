"""Outcome maps: where each initial point ends up, for one objective or for several side by side."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxloss.errors import InputError
from jaxloss.figures import reading, style
from jaxloss.grids import LEARNING_RATE, START


class Panel(NamedTuple):
    """One map: its data, and what of its critical points it shows."""

    fate: np.ndarray
    outcome: np.ndarray
    num_steps: np.ndarray
    axes: tuple[str, str]
    labels: tuple[str, str]
    values: tuple[np.ndarray, np.ndarray]
    points: list
    trapped: float


@style.styled
def plot_outcome_map(
    result: xr.Dataset, *, learning_rate: float | None = None, path: str | os.PathLike | None = None
) -> Figure:
    """Where each initial point of one objective ends up: hue for the outcome and its attractor, shade for the steps.

    One panel for each learning rate. With a single initial axis the map has the learning rate as its second axis.
    With more than two, it is the slice at the middle values of the others, and the title says so. Critical points
    inside the window are marked by their kind.

    Args:
      result: what `jaxloss.sweep` returned.
      learning_rate: draw only the panel whose rate is nearest, on a log scale.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: the initial points lie on no axes that a map could have, ``learning_rate`` is not positive or is
        itself an axis of the map, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> axes = {"x": Axis.linear(-2, 2, 8), "y": Axis.linear(-2, 2, 8), "learning_rate": Axis.of([0.1, 1.0])}
      >>> figure = plot_outcome_map(sweep(load_problem("quadratic"), Grid(axes), num_steps=50))
      >>> len(figure.axes)
      2
    """
    result = reading.shown(result)
    check_map(result)
    known = reading.fates(result)
    strip = len(reading.spatial_axes(result)) == 1
    result = at_rate(result, learning_rate, strip)
    shown, panels, fixed = panels_of(result, known)
    columns = len(panels) if len(panels) <= 4 else min(6, -(-len(panels) // 2))
    rows = -(-len(panels) // columns)
    width = {1: 7.4, 2: 8.2}.get(columns, style.WIDTH)
    figure, body = style.new_figure(
        f"{reading.title(str(result.attrs.get('name', 'objective')))}: where each initial point ends up",
        _subtitle(result, fixed, one_rate=not strip and len(panels) == 1),
        width=width,
    )
    scale = shade_of(panels)
    side = (width - 1.0) / columns - 0.05
    grid = body.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for i, ax in enumerate(grid.flat):
        if i >= len(panels):
            ax.remove()
            continue
        draw_panel(ax, panels[i], known, scale)
        if len(panels) > 1:
            ax.set_title(f"learning rate {reading.number(shown[i])}")
        below = i + columns >= len(panels)
        ax.tick_params(labelbottom=below, left=i % columns == 0)
        named = below and _names_axis(panels[i].labels[0], i % columns, columns, side)
        label_panel(ax, panels[i], x=named, y=i % columns == 0, side=side)
    index = np.concatenate([panel.fate.ravel() for panel in panels])
    num_steps = np.concatenate([panel.num_steps.ravel() for panel in panels])
    outcomes = style.fate_entries(known.entries, index, num_steps, scale) + style.shade_entry(scale)
    others = style.kind_entries(kind for panel in panels for _, kind in panel.points)
    height = rows * (side * (0.8 if columns == 1 else 1.0) + 0.25) + 0.45 + 0.35 * (rows * columns > len(panels))
    return style.finish(figure, height, outcomes, path, others=others, headings=style.HEADINGS)


@style.styled
def plot_comparison(
    results: Mapping[str, xr.Dataset] | Sequence[xr.Dataset],
    *,
    path: str | os.PathLike | None = None,
    max_columns: int = 6,
) -> Figure:
    """The outcome maps of several objectives: one row each, one column for each learning rate.

    An objective with one initial axis gets one wide map, with the learning rate as its second axis; one whose
    starts lie on no axis, stacked shares of the outcomes against the learning rate.

    Args:
      results: label -> result of `jaxloss.sweep`, or the results, labelled by their names.
      path: a PNG to write, of 200 dots per inch.
      max_columns: at most so many learning rates, evenly picked.

    Returns:
      The figure.

    Raises:
      InputError: there is no result, ``max_columns`` is not positive, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> grid = Grid({"x": Axis.linear(-2, 2, 16), "learning_rate": Axis.log(0.1, 2, 8)})
      >>> figure = plot_comparison([sweep(load_problem("cubic-map"), grid, num_steps=50)])
      >>> len(figure.axes)
      1
    """
    if max_columns < 1:
        raise InputError(f"max_columns must be at least 1, not {max_columns}")
    labelled = reading.named(results)
    rows = [_row(label, result, max_columns) for label, result in labelled.items()]
    columns = max(len(row.panels) or 1 for row in rows)
    width = {1: 7.4, 2: 8.2, 3: 9.0}.get(columns, style.WIDTH) if any(row.is_map for row in rows) else 8.6
    about = f"{reading.title(rows[0].label)}: where" if len(rows) == 1 else "Where"
    figure, body = style.new_figure(f"{about} each initial point ends up", _comparison_subtitle(rows), width=width)
    scale = shade_of([panel for row in rows for panel in row.panels])
    side = (width - (2.3 if len(rows) > 1 else 1.2)) / columns
    maps = [row for row in rows if row.is_map]
    heights = [side * (0.8 if columns == 1 else 1.0) + 0.2 if row.is_map else 2.3 for row in rows]
    space = body.add_gridspec(len(rows), columns, height_ratios=heights)
    for i, row in enumerate(rows):
        # Rows that share their learning rates or their window say so once.
        headed = row.is_map and (row is maps[0] or len({tuple(other.rates) for other in maps}) > 1)
        below = not row.is_map or row is maps[-1] or len({other.window for other in maps}) > 1
        if row.is_map:
            axes = _map_cells(body, [space[i, j] for j in range(len(row.panels))], row, scale, side, headed, below)
        else:
            axes = [_wide_cell(body.add_subplot(space[i, :]), row, scale)]
        if len(rows) > 1:
            _row_header(axes[0], row.label)
    others = style.kind_entries(kind for row in rows for panel in row.panels for _, kind in panel.points)
    return style.finish(
        figure, sum(heights) + 0.75, _comparison_legend(rows, scale), path, others=others, headings=style.HEADINGS
    )


def _map_cells(body: Any, cells: Sequence, row: "_Row", scale, side: float, headed: bool, below: bool) -> list[Axes]:
    """The maps of one objective, one for each learning rate.

    Args:
      body: the figure's part for the panels.
      cells: of its grid, one for each map.
      row: what to draw.
      scale: of the shade.
      side: about the width of one map, inches.
      headed: write the learning rates above.
      below: write the first axis below.

    Returns:
      The axes.
    """
    # Narrow maps leave no room for words above each: they stand at the left, once.
    narrow = side < 1.25
    axes: list[Axes] = []
    for j, (cell, panel) in enumerate(zip(cells, row.panels, strict=True)):
        ax = body.add_subplot(cell, sharex=axes[0] if axes else None, sharey=axes[0] if axes else None)
        axes.append(ax)
        draw_panel(ax, panel, row.known, scale, size=0.85 if side < 3 else 1.0)
        ax.tick_params(labelbottom=below, labelleft=j == 0, left=j == 0)
        label_panel(ax, panel, x=below and _names_axis(panel.labels[0], j, len(cells), side), y=j == 0, side=side)
        if not reading.is_map(row.result):
            trapped = reading.percent(panel.trapped)
            ax.set_title(trapped if narrow else f"{trapped} trapped", loc="left", **_QUIET)
        rate = reading.number(row.rates[j])
        if headed and np.isfinite(row.rates[j]):
            _above(ax, rate if narrow else f"learning rate {rate}", 17, x=0.5, ha="center", **_LOUD)
    if narrow:
        if not reading.is_map(row.result):
            _above(axes[0], "trapped", 3.5, x=0, ha="right", fontsize=8.0, color=style.MUTED)
        if headed and np.isfinite(row.rates[0]):
            _above(axes[0], "learning rate", 17, x=0, ha="right", **_LOUD)
    return axes


def _wide_cell(ax: Axes, row: "_Row", scale) -> Axes:
    """One panel across all columns, with the learning rate as an axis."""
    if row.panels:
        panel = row.panels[0]
        draw_panel(ax, panel, row.known, scale, size=0.85)
        label_panel(ax, panel, x=True, y=True, side=2.0)
    else:
        _stack(ax, row.result, row.known)
    if not reading.is_map(row.result):
        trapped = row.panels[0].trapped if row.panels else reading.trapped_share(row.result)
        ax.set_title(f"{reading.percent(trapped)} trapped", loc="left", **_QUIET)
    return ax


_QUIET: dict[str, Any] = {"fontsize": 8.0, "color": style.MUTED, "pad": 3.5}
_LOUD: dict[str, Any] = {"fontsize": 9.0, "fontweight": "bold"}


def _above(ax: Axes, text: str, points: float, *, x: float, ha: str, **options: Any) -> None:
    """Text above a panel; what stands to its left keeps clear of it."""
    offset = (-5 if ha == "right" else 0, points)
    where: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": ha, "va": "bottom"}
    ax.annotate(text, xy=(x, 1.0), xytext=offset, **where, **options)


class _Row(NamedTuple):
    """One objective of the comparison. Without panels, its shares are stacked."""

    label: str
    result: xr.Dataset
    known: reading.Fates
    panels: list[Panel]
    rates: np.ndarray
    is_map: bool
    window: tuple
    omitted: int
    fixed: dict[str, float]


def _row(label: str, result: xr.Dataset, max_columns: int) -> _Row:
    known = reading.fates(result)
    spatial = reading.spatial_axes(result)
    drawable = len(spatial) >= 2 or (len(spatial) == 1 and reading.hyperparameter_axes(result))
    if START in reading.initial_axes(result) or not drawable:
        return _Row(label, result, known, [], reading.rates(result), False, (), 0, {})
    is_map = len(spatial) >= 2
    total = len(reading.rates(result))
    if is_map and LEARNING_RATE in result["outcome"].dims:
        result = result.isel({LEARNING_RATE: reading.evenly(total, max_columns)})
    rates, panels, fixed = panels_of(result, known)
    low_high = tuple((axis, reading.window(v)) for axis, v in zip(panels[0].axes, panels[0].values, strict=True))
    omitted = total - len(panels) if is_map else 0
    return _Row(label, result, known, panels, rates, is_map, low_high, omitted, fixed)


def _comparison_subtitle(rows: Sequence[_Row]) -> str:
    parts = []
    maps = [row for row in rows if row.panels]
    if maps:
        optimizers = {str(reading.run_options(row.result).get("optimizer", "")) for row in rows}
        name = optimizers.pop() if len(optimizers) == 1 else ""
        how = {"": "", "sgd": " by gradient descent"}.get(name, f" by {name}" if len(name) < 20 else "")
        parts.append(f"each pixel is one initial point, trained{how} and coloured by its outcome")
    thinned = {str(row.result.attrs[reading.THINNED]) for row in rows if reading.THINNED in row.result.attrs}
    parts.extend(f"drawn: {words}" for words in sorted(thinned))
    omitted = max((row.omitted for row in rows), default=0)
    if omitted:
        kept = max(len(row.panels) for row in rows)
        parts.append(f"{kept} of {kept + omitted} learning rates shown")
    fixed = {f"{name} = {reading.number(value)}" for row in rows for name, value in row.fixed.items()}
    parts.extend(sorted(fixed))
    rates = {float(row.rates[0]) for row in rows if len(row.rates) == 1}
    if not maps and len(rates) == 1 and np.isfinite(next(iter(rates))):
        parts.append(f"learning rate {reading.number(rates.pop())}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _comparison_legend(rows: Sequence[_Row], scale) -> list:
    """One entry for each outcome and rank of attractor: the letters stand for different points in each row."""
    keys: list[tuple[int, int]] = []
    steps: list[np.ndarray] = []
    found: list[np.ndarray] = []
    for row in rows:
        if row.panels:
            index = np.concatenate([panel.fate.ravel() for panel in row.panels])
            steps.extend(panel.num_steps.ravel() for panel in row.panels)
        else:
            index = row.known.of(row.result["outcome"].values, row.result["attractor"].values).ravel()
            # Stacked shares have no shade.
            steps.append(np.full(len(index), scale[1] if scale else 1))
        here = [(fate.outcome, fate.rank) for fate in row.known.entries]
        keys.extend(key for key in here if key not in keys)
        found.append(np.array([keys.index(key) for key in here])[index])
    index = np.concatenate(found)
    occurring = [keys[i] for i in np.unique(index)]
    several = {outcome for outcome, rank in occurring if rank}
    names = {code: name for row in rows for code, name in reading.outcome_names(row.result).items()}
    order = sorted(range(len(keys)), key=lambda i: reading.display_order(*keys[i]))
    entries = []
    for outcome, rank in (keys[i] for i in order):
        name = names[outcome]
        if outcome in several:
            name += ", others" if rank == reading.MAX_ATTRACTORS else f" {'ABCDEFGH'[rank]}"
        entries.append(reading.Fate(outcome, rank, name))
    legend = style.fate_entries(entries, np.argsort(order)[index], np.concatenate(steps), scale)
    return legend + (style.shade_entry(scale) if any(row.panels for row in rows) else [])


def _row_header(ax: Axes, label: str) -> None:
    ax.annotate(
        _broken(reading.title(label)),
        xy=(0, 0.5),
        xycoords=ax.yaxis.label,
        xytext=(-8, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=9.5,
        fontweight="bold",
        linespacing=1.25,
    )


def _broken(text: str, limit: int = 14) -> str:
    """A row's name in short lines, broken after spaces, dashes and underscores, else where it must."""
    pieces, word = [], ""
    for letter in text:
        word += letter
        if letter in " -_/,":
            pieces.append(word)
            word = ""
    pieces.append(word)
    pieces = [piece[i : i + limit] for piece in pieces for i in range(0, max(len(piece), 1), limit)]
    lines = [""]
    for piece in pieces:
        if lines[-1] and len((lines[-1] + piece).rstrip()) > limit:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def shade_of(panels: Sequence[Panel]) -> tuple[int, int] | None:
    """The steps that the shade runs from and to in all panels."""
    if not panels:
        return None
    return style.shade_scale([panel.num_steps for panel in panels], [panel.outcome for panel in panels])


def check_map(result: xr.Dataset) -> None:
    """Raises unless the initial points lie on axes that a map could have."""
    initial, spatial = reading.initial_axes(result), reading.spatial_axes(result)
    if START in initial:
        raise InputError("result has random starts, which lie on no axes: use jaxloss.figures.plot_outcome_fractions")
    if len(spatial) == 0:
        raise InputError("result has no initial axes, and an outcome map needs two: add them to the grid")
    if len(spatial) == 1 and not reading.hyperparameter_axes(result):
        raise InputError(
            f"result has one initial axis, {spatial[0]}, and an outcome map needs two axes: add a second initial "
            "axis or a learning_rate axis to the grid"
        )


def at_rate(result: xr.Dataset, learning_rate: float | None, strip: bool) -> xr.Dataset:
    """The result at the rate nearest to that asked for, the axis kept. A strip has the rate as its own axis."""
    if learning_rate is None:
        return result
    try:
        wanted = float(learning_rate)
    except (TypeError, ValueError):
        raise InputError(f"learning_rate must be a number, not {learning_rate!r}") from None
    if not (np.isfinite(wanted) and wanted > 0):
        raise InputError(f"learning_rate must be positive and finite, not {learning_rate}")
    if LEARNING_RATE not in result["outcome"].dims:
        return result
    if strip:
        raise InputError("learning_rate is itself an axis of the map where there is one initial axis: leave it out")
    nearest = int(np.argmin(np.abs(np.log(reading.rates(result) / wanted))))
    return result.isel({LEARNING_RATE: [nearest]})


def panels_of(result: xr.Dataset, known: reading.Fates) -> tuple[np.ndarray, list[Panel], dict[str, float]]:
    """The learning rates, one map for each, and the values at which they slice the other axes."""
    spatial = reading.spatial_axes(result)
    if len(spatial) == 1:
        across = reading.hyperparameter_axes(result)[0]
        view, fixed = reading.sliced(result, (spatial[0], across))
        axes = (across, spatial[0])
        return reading.rates(result), [_panel(view, axes, known, _on_strip(result, view, spatial[0], across))], fixed
    axes = (spatial[0], spatial[1])
    view, fixed = reading.sliced(result, (*axes, LEARNING_RATE))
    points = reading.placed(result, axes, fixed)
    if LEARNING_RATE not in view["outcome"].dims:
        return reading.rates(view), [_panel(view, axes, known, points)], fixed
    rates = reading.rates(view)
    return rates, [_panel(view.isel({LEARNING_RATE: i}), axes, known, points) for i in range(len(rates))], fixed


def _on_strip(result: xr.Dataset, view: xr.Dataset, initial: str, across: str) -> list:
    """Critical points on the left edge of a map whose first axis is no parameter."""
    left = reading.window(view[across].values)[0]
    fixed = {name: 0.0 for name in reading.hyperparameter_axes(result)}
    return [(np.array([left, position[0]]), kind) for position, kind in reading.placed(result, [initial], fixed)]


def _panel(view: xr.Dataset, axes: tuple[str, str], known: reading.Fates, points: list) -> Panel:
    outcome, attractor, num_steps = (
        view[name].transpose(axes[1], axes[0]).values for name in ("outcome", "attractor", "num_steps")
    )
    hyper = reading.hyperparameter_axes(view)
    labels = (axis_label(axes[0], hyper), axis_label(axes[1], hyper))
    values = (view[axes[0]].values.astype(float), view[axes[1]].values.astype(float))
    trapped = reading.trapped_share(view)
    return Panel(known.of(outcome, attractor), outcome, num_steps, axes, labels, values, points, trapped)


def draw_panel(ax: Axes, panel: Panel, known: reading.Fates, scale, *, size: float = 1.0) -> None:
    """The map of one panel; its columns are the first axis, its rows the second."""
    picture = style.image_of(panel.fate, panel.num_steps, known.entries, scale)
    across, up = panel.values
    draw_image(ax, across, up, picture)
    style.mark(ax, panel.points, size=size)


def draw_image(ax: Axes, across: np.ndarray, up: np.ndarray, picture: np.ndarray, **options: Any) -> None:
    """Draws one colour for each cell, whatever the spacing of the axes."""
    x, y = reading.edges(across), reading.edges(up)
    style.scale_axis(ax, "x", across)
    style.scale_axis(ax, "y", up)
    if all(np.allclose(np.diff(e), e[1] - e[0], rtol=1e-6) for e in (x, y)):
        extent = (x[0], x[-1], y[0], y[-1])
        ax.imshow(picture, origin="lower", extent=extent, aspect="auto", interpolation="nearest", **options)
    else:
        ax.pcolormesh(x, y, picture, rasterized=True, **options)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])


def axis_label(name: str, hyperparameters: Sequence[str] = ()) -> str:
    """What stands at an axis of a map."""
    if name in hyperparameters:
        return name.replace("_", " ")
    if name.startswith("direction["):
        return f"step along {name}"
    return f"initial {name}"


def _names_axis(name: str, column: int, columns: int, side: float) -> bool:
    """Whether the panel of this column names its first axis: each, if there is room, else the middle one."""
    return len(name) * _LETTER < side or column == (columns - 1) // 2


def label_panel(ax: Axes, panel: Panel, *, x: bool, y: bool, side: float) -> None:
    """Names the axes; a name longer than a side of the panel goes on a second line."""
    if x:
        ax.set_xlabel(panel.labels[0])
    if y:
        name = panel.labels[1]
        ax.set_ylabel(name if len(name) * _LETTER < side else "\n".join(name.rsplit(" ", 1)))


# Inches, about, of a letter of an axis label.
_LETTER = 0.07


def _subtitle(result: xr.Dataset, fixed: dict[str, float], *, one_rate: bool) -> str:
    parts = []
    rates = reading.rates(result)
    if one_rate and np.isfinite(rates[0]):
        parts.append(f"learning rate {reading.number(rates[0])}")
    if reading.THINNED in result.attrs:
        parts.append(f"drawn: {result.attrs[reading.THINNED]}")
    if fixed:
        parts.append("slice at " + ", ".join(f"{name} = {reading.number(v)}" for name, v in fixed.items()))
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _stack(ax: Axes, result: xr.Dataset, known: reading.Fates) -> None:
    """Shares of the outcomes, stacked, against the learning rate."""
    index = known.of(result["outcome"].values, result["attractor"].values)
    dims = list(result["outcome"].dims)
    if LEARNING_RATE in dims:
        index = np.moveaxis(index, dims.index(LEARNING_RATE), 0)
        rates = reading.rates(result)
    else:
        index, rates = index[None], np.array([1.0])
    table = index.reshape(len(rates), -1)
    shares = np.stack([(table == i).mean(axis=1) for i in range(len(known.entries))])
    position = np.arange(len(rates))
    bottom = np.zeros(len(rates))
    for fate, share in zip(known.entries, shares, strict=True):
        ax.bar(position, share, 0.82, bottom=bottom, color=style.colour(fate), edgecolor="white", linewidth=0.6)
        bottom += share
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    ax.set_ylabel("share of starts")
    picked = reading.evenly(len(rates), 9)
    known_rates = LEARNING_RATE in dims
    ax.set_xticks(position[picked], [reading.number(rates[i]) if known_rates else "" for i in picked])
    ax.set_xlim(-0.6, len(rates) - 0.4)
    if known_rates:
        ax.set_xlabel("learning rate")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
