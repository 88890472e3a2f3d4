"""What the learning rate does: basins along it, orbits in the long run, and the gradient flow beside descent."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jaxloss.checks import whole
from jaxloss.errors import InputError, unknown
from jaxloss.figures import reading, style
from jaxloss.grids import LEARNING_RATE, START
from jaxloss.outcomes import OUTCOMES

# Attractors of a map have no loss to colour them by; none of these is the colour of divergence or of the unfinished.
_ATTRACTORS = ["#0072b2", "#d55e00", "#009e73", "#f2a900", "#56b4e9", "#cc79a7", "#624c2d", "#940008"]
_OTHERS = "#8fa3b5"
_EDGE = {"color": style.MUTED, "linewidth": 1.0, "linestyle": (0, (4, 2.5)), "zorder": 4}
_HATCHES = {OUTCOMES["cycle"]: ("////", "cycle"), OUTCOMES["chaotic"]: ("....", "chaotic")}
_AT_REST, _CYCLE, _CHAOTIC, _UNCLEAR = (style.COLOURS[code] for code in (1, 7, 8, 0))
_MOTIONS = (("at rest", _AT_REST), ("cycle", _CYCLE), ("chaotic", _CHAOTIC), ("no period seen", "#9a9fa6"))
_CHAOS = 2
_CHANGED = style.COLOURS[OUTCOMES["spurious_minimum"]]
_DECIDED = {"color": style.MUTED, "linewidth": 1.0, "linestyle": (0, (1, 1.5))}
_FRAME_DPI = 80


@style.styled
def plot_continuation(
    continued: xr.Dataset, *, edges: Sequence[float] | None = None, path: str | os.PathLike | None = None
) -> Figure:
    """The fraction of starts in each basin along a hyperparameter, stacked; one colour for one attractor throughout.

    Hatched where the attractor is a cycle, dotted where it is chaotic. Dashed lines stand at the edge 2/sharpness of
    each minimum.

    Args:
      continued: what `jaxloss.basins.continue_attractors` returned.
      edges: values at which to draw lines, in place of those that ``continued`` knows.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: something else, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> from jaxloss.basins.continuation import continue_attractors
      >>> grid = Grid({"x": Axis.linear(-2, 2, 16), "learning_rate": Axis.log(0.1, 2, 4)})
      >>> figure = plot_continuation(continue_attractors(sweep(load_problem("cubic-map"), grid, num_steps=50)))
      >>> figure.axes[0].get_ylabel()
      'fraction of starts'
    """
    along = _continued(continued)
    widest = float((continued["high"] - continued["low"]).max()) / 2
    figure, body = style.new_figure(
        f"{reading.title(str(continued.attrs['name']))}: basins along the {_words(along)}",
        f"Each {_words(along)} from {int(continued.attrs['total']):,} starts; Wilson 95 % intervals "
        f"of at most ±{100 * widest:.2g} percentage points",
        width=8.0,
    )
    ax = body.subplots()
    drawn = _stacked(ax, continued, along)
    lines = _edge_lines(ax, continued["edge"].values if edges is None else np.asarray(edges, np.float64))
    return style.finish(figure, 3.6, _fate_handles(continued), path, others=[*drawn, *lines])


@style.styled
def plot_bifurcation(found: xr.Dataset, *, show: str | None = None, path: str | os.PathLike | None = None) -> Figure:
    r"""The positions of orbits in the long run along a hyperparameter, and their largest Lyapunov exponents below.

    One point for each kept position of each orbit, coloured by what the orbit does; below, one point for each orbit
    with its standard error. Dashed lines stand at the edge 2/sharpness of each minimum.

    Args:
      found: what `jaxloss.bifurcation.bifurcation_diagram` returned, with one hyperparameter of several values.
      show: the parameter whose positions are drawn, default the first; or ``"loss"``.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: something else, several hyperparameters, no such parameter, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem
      >>> from jaxloss.bifurcation import bifurcation_diagram
      >>> grid = Grid({"x": Axis.of([0.5]), "learning_rate": Axis.linear(0.5, 1.9, 8)})
      >>> figure = plot_bifurcation(bifurcation_diagram(load_problem("cubic-map"), grid, num_steps=100))
      >>> [ax.get_ylabel() for ax in figure.axes]
      ['x', 'Lyapunov exponent\n(nats per step)']
    """
    along = _bifurcation_axis(found)
    names = [str(name) for name in found["parameter"].values]
    show = names[0] if show is None else show
    if show not in [*names, *(["loss"] if "orbit_loss" in found else [])]:
        raise unknown("parameter to show", show, [*names, "loss"])
    positions = found["orbit_loss"] if show == "loss" else found["orbit"].isel(parameter=names.index(show))
    values = found[along].values
    positions = positions.transpose(along, ..., "orbit_point").values.reshape(
        len(values), -1, found.sizes["orbit_point"]
    )
    flat = {
        name: found[name].transpose(along, ...).values.reshape(len(values), -1)
        for name in ("period", "chaotic", "diverged", "lyapunov_exponent", "lyapunov_error")
    }
    motion = np.select([flat["period"] == 1, flat["period"] > 1, flat["chaotic"]], [0, 1, 2], 3)
    motion = np.where(flat["diverged"], -1, motion)
    num = motion.shape[1]
    figure, body = style.new_figure(
        f"{reading.title(str(found.attrs['name']))}: orbits in the long run",
        f"Each {_words(along)} from {num:,} start{'s' if num > 1 else ''}; after {_dropped(found):,} steps, "
        f"{found.sizes['orbit_point']:,} positions of each orbit (above) and how fast a small difference grows "
        "(below: the largest Lyapunov exponent). Where nothing is drawn the orbits diverge.",
        width=8.0,
    )
    upper, lower = body.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.2, 1.0]})
    for kind, (_, tone) in enumerate(_MOTIONS):
        here = motion == kind
        if not here.any():
            continue
        across = np.broadcast_to(values[:, None], here.shape)[here]
        upper.plot(
            np.repeat(across, positions.shape[2]),
            positions[here].ravel(),
            linestyle="none",
            marker=".",
            markersize=2.6 if kind != _CHAOS else 1.2,
            markeredgewidth=0,
            color=tone,
            rasterized=True,
        )
        exponent, error = flat["lyapunov_exponent"][here], flat["lyapunov_error"][here]
        lower.errorbar(
            across,
            np.where(np.isfinite(exponent), exponent, np.nan),
            yerr=np.nan_to_num(error, posinf=0.0),
            fmt=".",
            markersize=2.5,
            markeredgewidth=0,
            elinewidth=0.5,
            color=tone,
        )
    lower.axhline(0, color=style.INK, linewidth=0.7)
    _clip_low(lower, flat["lyapunov_exponent"])
    upper.set_ylabel(show)
    lower.set_ylabel("Lyapunov exponent\n(nats per step)")
    lower.set_xlabel(_words(along))
    style.scale_axis(lower, "x", np.sort(values))
    lines = _edge_lines(lower, found["edge"].values if "edge" in found else np.zeros(0))
    _edge_lines(upper, found["edge"].values if "edge" in found else np.zeros(0))
    for ax in (upper, lower):
        _calm(ax)
    handles: list[tuple[Artist, str]] = [
        (Line2D([], [], linestyle="none", marker="o", markersize=5, markeredgewidth=0, color=tone), label)
        for kind, (label, tone) in enumerate(_MOTIONS)
        if np.any(motion == kind)
    ]
    return style.finish(figure, 5.4, handles, path, others=lines)


@style.styled
def plot_flow_comparison(
    result: xr.Dataset, comparison: xr.Dataset, *, max_rates: int = 3, path: str | os.PathLike | None = None
) -> Figure:
    """The basins of the gradient flow beside those of gradient descent, and the share of fates that the step changes.

    Starts on two axes give one map for the flow and one for each of a few learning rates; starts on one axis give one
    map with the learning rate upwards, above a strip for the flow.

    Args:
      result: of `jaxloss.sweep`, its starts on one or two axes.
      comparison: what `jaxloss.flow.compare_with_flow` returned for it.
      max_rates: maps of at most so many learning rates.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: sampled starts, more than two axes, one learning rate only, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> from jaxloss.flow import compare_with_flow, sweep_flow
      >>> problem, x = load_problem("cubic-map"), Axis.linear(-2, 2, 16)
      >>> result = sweep(problem, Grid({"x": x, "learning_rate": Axis.log(0.1, 1, 3)}), precision="float64")
      >>> figure = plot_flow_comparison(result, compare_with_flow(result, sweep_flow(problem, Grid({"x": x}))))
      >>> len(figure.axes)
      3
    """
    result = reading.checked(result)
    starts = _flow_starts(comparison)
    max_rates = whole("max_rates", max_rates, 1)
    comparison = comparison.sortby(LEARNING_RATE)
    known, of_flow, of_descent = _joint_fates(result, comparison, starts)
    shown = reading.evenly(comparison.sizes[LEARNING_RATE], max_rates)
    columns = 1 if len(starts) == 1 else 1 + len(shown)
    figure, body = style.new_figure(
        f"{reading.title(str(result.attrs.get('name', 'objective')))}: gradient flow and gradient descent",
        "The flow is descent with infinitely small steps, followed by Runge-Kutta steps; a second run with another "
        f"tolerance agrees on {reading.percent(float(comparison.attrs['agreement']))} of the starts.",
        width=7.4 if columns == 1 else min(style.WIDTH, 1.0 + 2.5 * columns),
    )
    if columns == 1:
        share, height = _flow_strips(body, comparison, starts[0], (of_flow, of_descent), _colours(known))
    else:
        images = (of_flow, of_descent[shown])
        share, height = _flow_maps(body, comparison, starts, shown, images, _colours(known))
    _share_panel(share, comparison)
    handles = style.fate_entries(known.entries, np.concatenate([of_flow.ravel(), of_descent.ravel()]))
    others = [
        (Line2D([], [], color=_CHANGED, marker="o", markersize=3.5), "changed by the step size"),
        (Patch(facecolor=_CHANGED, alpha=0.25, linewidth=0), "Wilson 95 % interval"),
        (Line2D([], [], **_DECIDED), "decided, of all starts"),
    ]
    headings = ("Outcome, with its share of all maps", None)
    return style.finish(figure, height, handles, path, others=others, headings=headings)


@style.styled
def plot_tipping(found: xr.Dataset, *, path: str | os.PathLike | None = None) -> Figure:
    """The probabilities that starts of one basin belong to each basin at another value of the hyperparameter.

    Args:
      found: what `jaxloss.basins.tipping_probabilities` returned.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure: one row for each fate before, one column for each after; in each cell the probability in percent and
      its Wilson 95 % interval.

    Raises:
      InputError: something else, or ``path`` cannot be written.

    Examples:
      >>> dims = ("before", "after")
      >>> variables = {name: (dims, [[1.0]]) for name in ("probability", "low", "high")}
      >>> table = xr.Dataset({**variables, "total": ("before", [7])}, {"before": ["a"], "after": ["a"]})
      >>> table.attrs |= {"name": "p", "along": "r", "value_before": 0.0, "value_after": 1.0}
      >>> plot_tipping(table).axes[0].texts[0].get_text()
      '100 %'
    """
    if not isinstance(found, xr.Dataset) or "probability" not in found:
        raise InputError("found must be what jaxloss.basins.tipping_probabilities returned")
    rows = np.flatnonzero(found["total"].values > 0)
    columns = np.flatnonzero((found["probability"].fillna(0) > 0).any("before").values)
    table = found.isel(before=rows, after=columns)
    along = _words(str(found.attrs["along"]))
    before, after = (reading.number(float(found.attrs[f"value_{name}"])) for name in ("before", "after"))
    figure, body = style.new_figure(
        f"{reading.title(str(found.attrs['name']))}: where starts tip to",
        f"Of the starts of each basin at {along} {before} (rows), the share that belongs to each basin at {along} "
        f"{after} (columns), with Wilson's 95 % interval",
        width=max(5.4, 2.0 + 1.25 * len(columns)),
    )
    ax = body.subplots()
    shares = table["probability"].values
    ramp = ListedColormap(np.linspace([1, 1, 1], [0, 0.45, 0.70], 101))
    ax.imshow(shares, cmap=ramp, vmin=0, vmax=1, aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        tone = "white" if share > 0.6 else style.INK
        low, high = (reading.percent(float(table[name].values[i, j])) for name in ("low", "high"))
        ax.text(j, i - 0.12, reading.percent(float(share)), ha="center", va="center", fontsize=9.5, color=tone)
        ax.text(j, i + 0.25, f"{low} to {high}", ha="center", va="center", fontsize=6.5, color=tone)
    counts = [
        f"{name}\n({int(total):,} start{'s' if total > 1 else ''})"
        for name, total in zip(table["before"].values, table["total"].values, strict=True)
    ]
    ax.set_yticks(range(len(rows)), counts)
    ax.set_xticks(range(len(columns)), [str(name).replace(" ", "\n", 1) for name in table["after"].values])
    ax.set_ylabel(f"at {along} {before}")
    ax.set_xlabel(f"at {along} {after}")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return style.finish(figure, 0.9 + 0.62 * len(rows), [], path)


@style.styled
def animate_basins(continued: xr.Dataset, path: str | os.PathLike, *, frames_per_second: int = 6) -> Path:
    """The basins over two initial axes as a hyperparameter grows: one frame for each of its values, as a GIF.

    Beside the map stand the fractions of all basins, with a line at the value shown.

    Args:
      continued: what `jaxloss.basins.continue_attractors` returned, of starts on two axes.
      path: the GIF to write.
      frames_per_second: of the animation.

    Returns:
      The path.

    Raises:
      InputError: starts that are sampled or not on two axes, a name that does not end in ``.gif``, or a folder that
        cannot be written.
    """
    along = _continued(continued)
    path, rate = Path(path), whole("frames_per_second", frames_per_second, 1, 50)
    starts = [str(name) for name in continued["fate_index"].dims if name != along]
    if START in starts or len(starts) != 2:
        raise InputError(f"continued must have its starts on two axes to be animated as a map, not on {starts}")
    if path.suffix.lower() != ".gif":
        raise InputError(f"path must end in .gif, not {path.name!r}")
    figure, body = style.new_figure(
        f"{reading.title(str(continued.attrs['name']))}: basins as the {_words(along)} grows", width=7.6
    )
    panel, shares = body.subplots(1, 2, width_ratios=[1.0, 1.15])
    index = continued["fate_index"].transpose(along, starts[1], starts[0]).values
    x, y = (continued[name].values for name in starts)
    colours = ListedColormap(_palette(continued))
    scale = {"cmap": colours, "vmin": -0.5, "vmax": colours.N - 0.5}
    image = panel.pcolormesh(reading.edges(x), reading.edges(y), index[0], **scale)
    panel.set_xlabel(starts[0])
    panel.set_ylabel(starts[1])
    values = continued[along].values
    title = panel.set_title(f"{_words(along)} {reading.number(float(values[-1]))}")
    drawn = _stacked(shares, continued, along)
    lines = _edge_lines(shares, continued["edge"].values)
    cursor = shares.axvline(values[0], color=style.INK, linewidth=1.6, zorder=6)
    style.finish(figure, 3.3, _fate_handles(continued), None, others=[*drawn, *lines])

    def show(k: int) -> tuple[Artist, ...]:
        image.set_array(index[k])
        title.set_text(f"{_words(along)} {reading.number(float(values[k]))}")
        cursor.set_xdata([values[k], values[k]])
        return image, title, cursor

    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        # The last frame stays for a second.
        frames = [*range(len(values)), *[len(values) - 1] * rate]
        animation = FuncAnimation(figure, show, frames=frames, init_func=lambda: ())
        animation.save(partial, writer=PillowWriter(fps=rate), dpi=_FRAME_DPI)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"animation {str(path)!r} cannot be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _continued(continued: Any) -> str:
    if not isinstance(continued, xr.Dataset) or "fate_index" not in continued:
        raise InputError("continued must be what jaxloss.basins.continue_attractors returned")
    return str(continued.attrs["along"])


def _bifurcation_axis(found: Any) -> str:
    if not isinstance(found, xr.Dataset) or "lyapunov_exponent" not in found:
        raise InputError("found must be what jaxloss.bifurcation.bifurcation_diagram returned")
    axes = [str(name) for name in found["chaotic_fraction"].dims if found.sizes[name] > 1]
    if len(axes) != 1:
        raise InputError(f"found must have one hyperparameter with several values, not {axes}: select, as in isel")
    return axes[0]


def _dropped(found: xr.Dataset) -> int:
    return int(reading.run_options(found).get("num_steps", 0))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _palette(continued: xr.Dataset) -> list[str]:
    """One colour for each fate, whatever it becomes along the axis."""
    attractors = continued["is_attractor"].values
    outcome = continued["outcome"].values
    first = [int(column[np.argmax(column >= 0)]) for column in outcome.T]
    # Minima are coloured as in every other figure; the attractors of a map by their order.
    of_map = "fixed_point" in continued.attrs["outcomes"]
    ranks: dict[int, int] = {}
    tones = []
    for i, code in enumerate(first):
        if attractors[i] and of_map:
            tones.append(_ATTRACTORS[i] if i < len(_ATTRACTORS) else _OTHERS)
        elif attractors[i]:
            rank = ranks.setdefault(code, 0)
            ranks[code] += 1
            tones.append(style.colour(reading.Fate(code, min(rank, reading.MAX_ATTRACTORS), "")))
        else:
            tones.append(style.COLOURS[code])
    return tones


def _fate_handles(continued: xr.Dataset) -> list[tuple[Artist, str]]:
    return [
        (Patch(facecolor=tone, linewidth=0), str(name))
        for tone, name in zip(_palette(continued), continued["fate"].values, strict=True)
    ]


def _stacked(ax: Axes, continued: xr.Dataset, along: str) -> list[tuple[Artist, str]]:
    """The fractions on top of each other; returns the keys to the hatches that occur."""
    values, tones = continued[along].values, _palette(continued)
    # Every value fills its cell: lines between the values would claim what was not computed.
    x = np.repeat(reading.edges(values), 2)[1:-1]
    tops = np.repeat(np.cumsum(continued["fraction"].transpose(along, "fate").values, axis=1), 2, axis=0)
    bottoms = np.column_stack([np.zeros(len(x)), tops[:, :-1]])
    outcome, occurs = np.repeat(continued["outcome"].transpose(along, "fate").values, 2, axis=0), set()
    for i, tone in enumerate(tones):
        layer = (x, bottoms[:, i], tops[:, i])
        ax.fill_between(*layer, color=tone, linewidth=0)
        for code, (hatch, _) in _HATCHES.items():
            here = outcome[:, i] == code
            if continued["is_attractor"].values[i] and here.any():
                occurs.add(code)
                # White lines on any colour.
                ax.fill_between(*layer, where=here, facecolor="none", edgecolor="white", hatch=hatch, linewidth=0)
    for top in tops.T[:-1]:
        ax.plot(x, top, color="white", linewidth=0.6)
    style.scale_axis(ax, "x", values)
    ax.set_xlim(*reading.window(values))
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    ax.set_xlabel(_words(along))
    ax.set_ylabel("fraction of starts")
    return [
        (
            Patch(facecolor="#80868e", edgecolor="white", hatch=hatch, linewidth=0),
            f"attractor is {'a ' if code == 7 else ''}{word}",
        )
        for code, (hatch, word) in _HATCHES.items()
        if code in occurs
    ]


def _edge_lines(ax: Axes, edges: np.ndarray) -> list[tuple[Artist, str]]:
    """Dashed lines at the edges inside the axes, equal ones once; returns their key."""
    low, high = ax.get_xlim()
    edges = np.unique(np.round(edges[np.isfinite(edges)], 9))
    inside = edges[(edges >= low) & (edges <= high)]
    for edge in inside:
        ax.axvline(edge, **_EDGE)
    style_of = {name: value for name, value in _EDGE.items() if name != "zorder"}
    return [(Line2D([], [], **style_of), "2/sharpness of a minimum")] if len(inside) else []


def _clip_low(ax: Axes, exponents: np.ndarray) -> None:
    """Superstable orbits have exponents near minus infinity: they leave below."""
    known = exponents[np.isfinite(exponents)]
    if not known.size:
        return
    high = max(float(known.max()), 0.0)
    low = max(float(known.min()), -2.0 * max(high, 0.5))
    margin = 0.06 * (high - low + 1e-9)
    ax.set_ylim(low - margin, high + margin)


def _calm(ax: Axes) -> None:
    ax.grid(color="#eceef0", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _flow_starts(comparison: Any) -> list[str]:
    """The axes of the starts, one or two."""
    if not isinstance(comparison, xr.Dataset) or "flow_outcome" not in comparison:
        raise InputError("comparison must be what jaxloss.flow.compare_with_flow returned")
    starts = [str(name) for name in comparison["flow_outcome"].dims]
    if START in starts or not 1 <= len(starts) <= 2:
        raise InputError(f"result must have its starts on one or two axes to be drawn as a map, not on {starts}")
    if comparison["share"].dims != (LEARNING_RATE,) or comparison["share"].size < 2:
        raise InputError("result must have an axis 'learning_rate' with two or more values, and no other beside it")
    return starts


def _joint_fates(
    result: xr.Dataset, comparison: xr.Dataset, starts: list[str]
) -> tuple[reading.Fates, np.ndarray, np.ndarray]:
    """The fates of both in one list; the index of each start's, for the flow and for descent at each learning rate.

    The first axis of the starts comes last: it is the horizontal one.
    """
    across = starts[::-1]
    descent = [result[name].transpose(LEARNING_RATE, *across).values for name in ("outcome", "attractor")]
    flow = [comparison[f"flow_{name}"].transpose(*across).values for name in ("outcome", "attractor")]
    outcome, attractor = (np.concatenate([b.ravel(), a.ravel()]) for a, b in zip(descent, flow, strict=True))
    both = xr.Dataset({"outcome": (START, outcome), "attractor": (START, attractor)})
    if "critical_point_loss" in result:
        both["critical_point_loss"] = result["critical_point_loss"]
    known = reading.fates(both)
    index = known.of(outcome, attractor)
    num = flow[0].size
    return known, index[:num].reshape(flow[0].shape), index[num:].reshape(descent[0].shape)


def _colours(known: reading.Fates) -> ListedColormap:
    return ListedColormap([style.colour(entry) for entry in known.entries])


def _draw_map(ax: Axes, image: np.ndarray, x: np.ndarray, y: np.ndarray, colours: ListedColormap) -> None:
    scale = {"cmap": colours, "vmin": -0.5, "vmax": colours.N - 0.5, "rasterized": True}
    ax.pcolormesh(reading.edges(x), reading.edges(y), image, **scale)
    ax.set_xlim(*reading.window(x))
    ax.set_ylim(*reading.window(y))


def _flow_strips(
    body: Any, comparison: xr.Dataset, start: str, images: tuple[np.ndarray, np.ndarray], colours: ListedColormap
) -> tuple[Axes, float]:
    """Starts on one axis: a strip for the flow, a map for descent; the axes left for the share, and the height."""
    strip, below, share = body.subplots(3, 1, height_ratios=[0.25, 2.2, 1.2])
    x, rates = comparison[start].values, comparison[LEARNING_RATE].values
    _draw_map(strip, images[0][None, :], x, np.array([0.5]), colours)
    strip.set_yticks([])
    strip.tick_params(labelbottom=False)
    strip.set_title("gradient flow", loc="left", fontweight="bold")
    _draw_map(below, images[1], x, rates, colours)
    below.set_title("gradient descent", loc="left", fontweight="bold")
    style.scale_axis(below, "y", rates)
    below.set_ylabel("learning rate")
    below.set_xlabel(f"start {start}")
    return share, 6.2


def _flow_maps(
    body: Any,
    comparison: xr.Dataset,
    starts: list[str],
    shown: np.ndarray,
    images: tuple[np.ndarray, np.ndarray],
    colours: ListedColormap,
) -> tuple[Axes, float]:
    """Starts on two axes: a map for the flow and for some rates; the axes left for the share, and the height."""
    grid = body.add_gridspec(2, 1 + len(shown), height_ratios=[1.6, 1.0])
    labels = [
        "gradient flow",
        *(f"learning rate {reading.number(rate)}" for rate in comparison[LEARNING_RATE].values[shown]),
    ]
    x, y = (comparison[name].values for name in starts)
    for j, (label, image) in enumerate(zip(labels, [images[0], *images[1]], strict=True)):
        ax = body.add_subplot(grid[0, j])
        _draw_map(ax, image, x, y, colours)
        ax.set_title(label, fontweight="normal" if j else "bold")
        ax.set_xlabel(starts[0])
        ax.tick_params(labelleft=j == 0)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        if j == 0:
            ax.set_ylabel(starts[1])
    return body.add_subplot(grid[1, :]), 5.2


def _share_panel(ax: Axes, comparison: xr.Dataset) -> None:
    rates = comparison[LEARNING_RATE].values
    ax.fill_between(
        rates, comparison["low"].values, comparison["high"].values, color=_CHANGED, alpha=0.25, linewidth=0
    )
    size = 3.2 if len(rates) <= 40 else 0
    ax.plot(rates, comparison["share"].values, color=_CHANGED, marker="o", markersize=size, markeredgewidth=0)
    ax.plot(rates, comparison["num_decided"].values / comparison["flow_outcome"].size, **_DECIDED)
    style.scale_axis(ax, "x", rates)
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    ax.set_xlabel("learning rate")
    ax.set_ylabel("starts whose fate\nthe step changes")
    _calm(ax)
