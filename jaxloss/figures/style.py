"""The look of every figure: colours, type, legend, and how a figure is saved."""

import os
from collections.abc import Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerBase
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrow, Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from jaxloss.critical_points.kinds import DEGENERATE, MAXIMUM, STRICT_SADDLE
from jaxloss.errors import InputError
from jaxloss.figures.reading import GLOBAL, KIND_ORDER, SPURIOUS, Fate, is_log, number, percent

DPI = 200
WIDTH = 10.0  # inches of a full figure

# Okabe and Ito's colours for the common outcomes; the rest fitted so that every pair, the attractors included, keeps
# apart for readers without red or green cones: CIELAB distance 12 or more in full colour, also when shaded.
COLOURS: dict[int, str] = {
    0: "#dadade",  # unfinished: light grey
    1: "#0072b2",  # global minimum: blue
    2: "#009e73",  # infimum at infinity: green
    3: "#d55e00",  # spurious minimum: vermilion
    4: "#f2a900",  # plateau: amber
    5: "#f0e442",  # dead: yellow
    6: "#624c2d",  # saddle: brown
    7: "#cc79a7",  # cycle: pink
    8: "#4b1d6b",  # chaotic: purple
    9: "#2a3339",  # diverged: near black
}
# Further attractors of the same outcome; the last entry is for all the others together.
_FURTHER = {
    1: ["#56b4e9", "#1b2a6b", "#a3c9f0", "#8fa3b5"],
    3: ["#940008", "#ff9e7a", "#7a4a2b", "#c9a08e"],
    6: ["#a98f6a", "#3d2b12", "#c9b79c", "#b5a893"],
}
# What orbits of a map end on. A map has no minima and no plateaus, whose hues tell its attractors apart.
FIXED_POINT = 10
_OF_MAPS = {
    FIXED_POINT: ["#0072b2", "#d55e00", "#009e73", "#f0e442", "#8fa3b5"],
    7: ["#cc79a7", "#8c2d62", "#f0c3dc", "#624c2d", "#b5a893"],
    8: ["#4b1d6b", "#9a6cc0", "#cfb5e6", "#2d4a8a", "#a7a0c0"],
}
_SETTLED = [1, 3, 6, FIXED_POINT]
# The fewest steps are drawn with this share of white, the most with none.
MAX_TINT = 0.4

UNFINISHED_LINE = "#9a9fa6"
HEADINGS = ("Outcome, with its share of the trajectories shown", "Critical points")
INK, MUTED, FAINT = "#22262b", "#5b626b", "#c9cdd2"

_MARKERS: dict[str, dict[str, Any]] = {
    GLOBAL: {"marker": "*", "markersize": 11, "markerfacecolor": "white", "markeredgecolor": INK},
    SPURIOUS: {"marker": "o", "markersize": 6, "markerfacecolor": "white", "markeredgecolor": INK},
    STRICT_SADDLE: {"marker": "X", "markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": INK},
    MAXIMUM: {"marker": "^", "markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": INK},
    DEGENERATE: {"marker": "D", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": INK},
}
KIND_NAMES = {STRICT_SADDLE: "saddle", MAXIMUM: "maximum", DEGENERATE: "degenerate critical point"}

_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.titlesize": 9.0,
    "axes.titleweight": "normal",
    "axes.titlepad": 5.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#80868e",
    "axes.linewidth": 0.7,
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "figure.titlesize": 11.5,
    "figure.titleweight": "bold",
    "lines.linewidth": 1.5,
}


def styled(function):
    """Draws with the package's settings, whatever the caller's are, and leaves those alone."""

    @wraps(function)
    def draw(*args, **kwargs):
        with mpl.rc_context():
            mpl.rcdefaults()
            settings: Any = _RC
            mpl.rcParams.update(settings)
            return function(*args, **kwargs)

    return draw


def new_figure(title: str, subtitle: str = "", *, width: float = WIDTH) -> tuple[Figure, SubFigure]:
    """A figure that no global state knows of, with its title in bold and a quieter line below.

    Args:
      title: what the figure shows.
      subtitle: what is fixed, and how to read it.
      width: inches.

    Returns:
      The figure, and the part of it for the panels. `finish` sets its height.
    """
    figure = Figure(figsize=(width, width), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.06, h_pad=0.05, wspace=0.02, hspace=0.02)
    body = figure.add_subfigure(GridSpec(1, 1, figure=figure)[0])
    left = 0.1 / width
    figure.suptitle(_wrapped(figure, title, 11.5, "bold"), x=left, ha="left", fontsize=11.5, fontweight="bold")
    if subtitle:
        text = _wrapped(figure, subtitle, 8.5, "normal")
        body.suptitle(text, x=left, ha="left", fontsize=8.5, fontweight="normal", color=MUTED)
    return figure, body


def _wrapped(figure: Figure, text: str, size: float, weight: str) -> str:
    """The text, in lines that fit the width of the figure."""
    probe = figure.text(0, 0, text, fontsize=size, fontweight=weight)
    renderer: Any = FigureCanvasAgg(figure).get_renderer()
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            probe.set_text(longer)
            if line and probe.get_window_extent(renderer).width > 0.96 * figure.bbox.width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    probe.remove()
    return "\n".join(lines)


def finish(
    figure: Figure,
    height: float,
    outcomes: Sequence[tuple[Artist, str]],
    path: str | os.PathLike | None,
    *,
    others: Sequence[tuple[Artist, str]] = (),
    headings: tuple[str | None, str | None] = (None, None),
) -> Figure:
    """Adds the legend, makes room for it, and saves or lays out the figure.

    Args:
      figure: what `new_figure` returned.
      height: inches for the panels with their labels.
      outcomes: handles and labels of the legend on the left.
      path: see `save`.
      others: those of the legend on the right.
      headings: of both.

    Returns:
      The figure.

    Raises:
      InputError: see `save`.
    """
    renderer: Any = FigureCanvasAgg(figure).get_renderer()
    drawn = legend(figure, outcomes, others, headings)
    texts = [figure.get_suptitle(), *(part.get_suptitle() for part in figure.subfigs)]
    lines = sum(text.count("\n") + 1 for text in texts if text)
    below = max((entry.get_window_extent(renderer).height / figure.dpi + 0.1 for entry in drawn), default=0.0)
    figure.set_size_inches(figure.get_figwidth(), height + 0.1 + 0.18 * lines + below)
    if path is not None:
        return save(figure, path)
    # Ticks are made when first drawn: now, while the package's settings hold.
    figure.draw_without_rendering()
    return figure


def save(figure: Figure, path: str | os.PathLike) -> Figure:
    """Writes a PNG of `DPI` dots per inch, whole or not at all: the same figure gives the same bytes.

    Args:
      figure: what to write.
      path: where to.

    Returns:
      The figure.

    Raises:
      InputError: the name does not end in ``.png``, or the folder does not exist or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"path must end in .png, not {path.name!r}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # As `savefig` does, without its rehearsal of the layout.
        FigureCanvasAgg(figure).print_png(partial, metadata={"Software": None})
        partial.replace(path)
    except OSError as error:
        raise InputError(f"figure {str(path)!r} cannot be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return figure


def colour(fate: Fate) -> str:
    """The colour of a fate: that of its outcome, or a relative of it for its further attractors."""
    tones = _OF_MAPS.get(fate.outcome) or [COLOURS[fate.outcome], *_FURTHER.get(fate.outcome, [])]
    return tones[fate.rank] if fate.rank < len(tones) else tones[0]


def line_colour(fate: Fate) -> str:
    """The colour of a fate as a line: light grey would be too faint."""
    return UNFINISHED_LINE if fate.outcome == 0 else colour(fate)


def shade_scale(num_steps: Iterable[np.ndarray], outcomes: Iterable[np.ndarray]) -> tuple[int, int] | None:
    """The steps that the shade runs from and to; None where all trajectories took equally many.

    It starts where the fastest 1 % of those that ended at a critical point did: those that diverge at once would
    leave no shade for the rest.

    Args:
      num_steps: of each panel of a figure.
      outcomes: the codes of each panel, same shapes.

    Returns:
      Few steps and many steps.
    """
    steps = np.concatenate([np.ravel(array) for array in num_steps])
    codes = np.concatenate([np.ravel(array) for array in outcomes])
    settled = steps[np.isin(codes, _SETTLED)]
    low = int(np.quantile(settled if len(settled) else steps, 0.01, method="lower"))
    low, high = max(low, 1), int(steps.max())
    return (low, high) if high > low else None


def shade(colours: np.ndarray, num_steps: np.ndarray, scale: tuple[int, int] | None) -> np.ndarray:
    """Tints colours towards white where few steps were taken, on a log scale.

    Args:
      colours: shape ``[..., 3]``.
      num_steps: shape ``[...]``.
      scale: from `shade_scale`; None leaves the colours.

    Returns:
      Colours, shape ``[..., 3]``.

    Examples:
      >>> shade(np.zeros((2, 3)), np.array([1, 100]), (1, 100))[:, 0].tolist()
      [0.4, 0.0]
    """
    late = lateness(num_steps, scale)[..., None]
    return colours + (1 - colours) * MAX_TINT * (1 - late)


def lateness(num_steps: np.ndarray, scale: tuple[int, int] | None) -> np.ndarray:
    """Where steps lie on a log scale, from 0 for few to 1 for many; 1 without a scale."""
    if scale is None:
        return np.ones(np.shape(num_steps))
    low, high = np.log(scale)
    return np.clip((np.log(np.maximum(num_steps, 1)) - low) / (high - low), 0, 1)


def image_of(index: np.ndarray, num_steps: np.ndarray, entries: Sequence[Fate], scale) -> np.ndarray:
    """The picture of a map: hue for the fate, shade for the steps.

    Args:
      index: of each trajectory's fate in ``entries``, shape ``[row, column]``.
      num_steps: same shape.
      entries: the fates.
      scale: from `shade_scale`.

    Returns:
      Colours, shape ``[row, column, 3]``.
    """
    palette = np.array([to_rgb(colour(fate)) for fate in entries])
    return shade(palette[index], num_steps, scale)


def marker_style(kind: str) -> dict[str, Any]:
    """How a critical point of this kind is drawn."""
    return {**_MARKERS[kind], "markeredgewidth": 0.9, "linestyle": "none"}


def mark(ax: Axes, points: Iterable[tuple[np.ndarray, str]], *, size: float = 1.0) -> None:
    """Draws critical points; minima come out on top.

    Args:
      ax: where.
      points: position in the axes' units, and kind.
      size: relative to the usual size.
    """
    for position, kind in sorted(points, key=lambda point: -KIND_ORDER.index(point[1])):
        style = marker_style(kind)
        style["markersize"] *= size
        ax.plot(*position, zorder=5 + len(KIND_ORDER) - KIND_ORDER.index(kind), clip_on=False, **style)


class Ramp(Patch):
    """A legend's patch with the shades that occur, from few steps on its left to many on its right."""

    def __init__(self, tone: str, low: float = 0.0, high: float = 1.0):
        super().__init__(facecolor=tone)
        self.tone, self.low, self.high = tone, low, high


class _RampHandler(HandlerBase):
    CELLS = 24

    def create_artists(self, legend, orig_handle, xdescent, ydescent, width, height, fontsize, trans):
        ramp: Any = orig_handle
        tone = np.array(to_rgb(ramp.tone))
        late = np.linspace(ramp.low, ramp.high, self.CELLS)[:, None]
        faces = tone + (1 - tone) * MAX_TINT * (1 - late)
        cell = width / self.CELLS
        cells: list[Artist] = []
        for i, face in enumerate(faces):
            # The overlap hides the seams between cells.
            overlap = 1.1 if i + 1 < self.CELLS else 1.0
            corner = (i * cell - xdescent, -ydescent)
            cells.append(
                Rectangle(corner, overlap * cell, height, facecolor=tuple(face), linewidth=0, transform=trans)
            )
        return cells


class Arrow(Patch):
    """Stands for a field of arrows in a legend."""


class _ArrowHandler(HandlerBase):
    def create_artists(self, legend, orig_handle, xdescent, ydescent, width, height, fontsize, trans):
        y, head = height / 2 - ydescent, 0.35 * width
        arrow: Any = orig_handle
        return [
            FancyArrow(
                0.1 * width - xdescent,
                y,
                0.8 * width,
                0.0,
                width=0.06 * width,
                head_width=0.26 * width,
                head_length=head,
                length_includes_head=True,
                facecolor=arrow.get_facecolor(),
                linewidth=0,
                transform=trans,
            )
        ]


def shade_entry(scale: tuple[int, int] | None) -> list[tuple[Artist, str]]:
    """The legend's key to the shade."""
    if scale is None:
        return []
    grey = "#4d535b"
    low = f"≤{scale[0]:,}" if scale[0] > 1 else "1"
    return [(Ramp(grey), f"lighter: fewer steps ({low} to {scale[1]:,}, log)")]


def fate_entries(
    entries: Sequence[Fate],
    index: np.ndarray,
    num_steps: np.ndarray | None = None,
    scale: tuple[int, int] | None = None,
) -> list[tuple[Artist, str]]:
    """The legend's patches of what occurs, with its share and in its shades.

    Args:
      entries: the fates.
      index: of each trajectory's fate in ``entries``, shape ``[trajectory]``.
      num_steps: same shape, if the figure shows them by its shade.
      scale: from `shade_scale`.

    Returns:
      Handles and labels.
    """
    handles = []
    for i, fate in enumerate(entries):
        here = index == i
        if not here.any():
            continue
        late = lateness(np.ones(1) if num_steps is None else num_steps[here], None if num_steps is None else scale)
        ramp = Ramp(colour(fate), float(np.quantile(late, 0.02)), float(np.quantile(late, 0.98)))
        handles.append((ramp, f"{fate.label}: {percent(float(here.mean()))}"))
    return handles


def kind_entries(kinds: Iterable[str]) -> list[tuple[Artist, str]]:
    """The legend's markers of the kinds of critical points that are drawn."""
    present = set(kinds)
    return [
        (Line2D([], [], **marker_style(kind)), KIND_NAMES.get(kind, kind)) for kind in KIND_ORDER if kind in present
    ]


def legend(
    figure: Figure,
    outcomes: Sequence[tuple[Artist, str]],
    others: Sequence[tuple[Artist, str]] = (),
    headings: tuple[str | None, str | None] = (None, None),
) -> list[Legend]:
    """The legends below all panels: outcomes on the left in as many columns as fit, the rest on the right.

    Args:
      figure: whose.
      outcomes: handles and labels.
      others: handles and labels.
      headings: a quiet line above each.

    Returns:
      Those drawn.
    """
    renderer: Any = FigureCanvasAgg(figure).get_renderer()

    def draw(entries, columns: int, heading: str | None, where: Any) -> tuple[Legend, float]:
        drawn = figure.legend(
            [handle for handle, _ in entries],
            [label for _, label in entries],
            loc=where,
            ncols=columns,
            title=heading,
            alignment="left",
            handler_map={Ramp: _RampHandler(), Arrow: _ArrowHandler()},
            handlelength=1.6,
            handleheight=0.9,
            columnspacing=1.5,
            handletextpad=0.6,
            labelspacing=0.45,
            borderaxespad=0.2,
        )
        drawn.get_title().set(fontsize=8.5, color=MUTED)
        return drawn, drawn.get_window_extent(renderer).width

    room, drawn = figure.bbox.width * 0.97, []
    if others:
        columns = 1 if len(others) <= 4 else 2
        right, width = draw(others, columns, headings[1], "outside lower right" if outcomes else "outside lower left")
        drawn, room = [right], room - width
    if outcomes:
        # Fewest rows first, but no fewer than beside it; then the fewest columns: equally long columns look calm.
        fewest = min(max(-(-len(others) // (1 if len(others) <= 4 else 2)), 1), len(outcomes))
        tried = dict.fromkeys(-(-len(outcomes) // rows) for rows in range(fewest, len(outcomes) + 1))
        for columns in tried:
            left, width = draw(outcomes, columns, headings[0], "outside lower left")
            if columns == 1 or width <= room:
                drawn.append(left)
                break
            left.remove()
    return drawn


def scale_axis(ax: Axes, which: str, values: np.ndarray) -> None:
    """Gives an axis the scale, the limits and the ticks that fit the values of a grid axis.

    Args:
      ax: the axes.
      which: ``"x"`` or ``"y"``.
      values: of the grid axis.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    if len(values) == 1:
        axis.set_major_locator(FixedLocator([float(values[0])]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        return
    if is_log(values):
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        log_ticks(axis, float(values.min()), float(values.max()))
    else:
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))


def log_ticks(axis: Any, low: float, high: float, *, most: int = 6) -> None:
    """Ticks at decades, or finer where there are few, labelled as plain numbers.

    Args:
      axis: of an axes, on a log scale.
      low: lowest value shown.
      high: highest value shown.
      most: about how many labels fit.
    """
    decades = np.log10(high / low)
    if decades < 1.5:
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(LogLocator(base=10, subs=tuple(np.arange(1.0, 10.0))))
    else:
        axis.set_major_locator(LogLocator(base=10, numticks=max(2, most)))
        axis.set_minor_locator(
            LogLocator(base=10, subs=tuple(np.arange(2.0, 10.0)), numticks=100) if decades <= 6 else NullLocator()
        )
    axis.set_major_formatter(FuncFormatter(_log_label))
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _log_label(value: float, _position: int | None = None) -> str:
    if value <= 0:
        return "0" if value == 0 else ""
    exponent = np.log10(value)
    if 1e-3 <= value < 1e5:
        return f"{value:,.0f}" if value >= 1000 else number(value)
    if abs(exponent - round(exponent)) < 1e-6:
        return f"10{str(round(exponent)).translate(_SUPERSCRIPT)}"
    return number(value)
