"""All reproduced numbers at one glance: where each published one lies in the interval of ours."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from jaxloss.figures import style
from jaxloss.figures.reading import number
from jaxloss.reproduce.rows import INSIDE, OUTSIDE, Row

_BAND = "#cfe3f2"
_COLOURS = {INSIDE: style.COLOURS[1], OUTSIDE: style.COLOURS[3]}
# A published number further out than so many intervals is drawn as an arrow at the border.
_REACH = 3.0
# Of the height of a line, what its marks take.
_SPREAD = 0.7


@style.styled
def plot_agreement(rows: Sequence[Row], *, path: str | os.PathLike | None = None) -> Figure:
    """Each published number against the interval of ours, which is stretched from -1 to 1, one line for each case.

    Args:
      rows: the table; rows without a published number are left out.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: ``path`` cannot be written.
    """
    shown = [row for row in rows if row.published is not None]
    cases = list(dict.fromkeys(row.case for row in shown))
    outside = [row for row in shown if row.verdict == OUTSIDE]
    figure, body = style.new_figure(
        f"Published numbers against ours: {len(shown) - len(outside)} of {len(shown)} inside the interval",
        "Each mark is one number; published numbers in the shaded band agree with ours at 95 % confidence, and of "
        "twenty measured ones about one lies outside by chance. Those outside are named",
        width=9.5,
    )
    ax = body.subplots()
    ax.axvspan(-1, 1, color=_BAND, linewidth=0, zorder=0)
    tops = {}
    top = 0.0
    for case in cases:
        tops[case] = top
        here = [row for row in shown if row.case == case]
        for line, row in enumerate(here):
            place = position(row)
            marker = ("<" if place < 0 else ">") if abs(place) > _REACH else "D"
            # The marks of one case are spread over the height of its line.
            at = top + _SPREAD * ((line + 0.5) / len(here) - 0.5)
            colour = _COLOURS[row.verdict]
            ax.plot(np.clip(place, -_REACH, _REACH), at, marker=marker, color=colour, markersize=4, zorder=3)
        top += 1.0
        for row in outside:
            if row.case == case:
                ax.annotate(f"{row.quantity}: {number(row.ours)}, published {number(row.published or 0.0)}",
                            (-_REACH, top - 0.35), fontsize=7, color=_COLOURS[OUTSIDE], va="center")  # fmt: skip
                top += 0.5
    ax.set_yticks(list(tops.values()), [f"{case} ({sum(row.case == case for row in shown)})" for case in cases])
    ax.tick_params(axis="y", labelsize=8, length=0)
    ax.set_ylim(top - 0.3, -0.7)
    ax.set_xlim(-1.08 * _REACH, 1.08 * _REACH)
    ax.set_xlabel("published number, in units of the half-width of our interval; 0 is its middle")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    marker = {"marker": "D", "linestyle": "none", "markersize": 5}
    entries = [(Patch(facecolor=_BAND), "our interval")]
    entries += [
        (Line2D([], [], color=_COLOURS[verdict], **marker), f"published, {verdict}")
        for verdict in (INSIDE, OUTSIDE)
        if any(row.verdict == verdict for row in shown)
    ]
    if any(abs(position(row)) > _REACH for row in shown):
        entries.append((Line2D([], [], color=style.MUTED, **{**marker, "marker": ">"}), "beyond the panel"))
    return style.finish(figure, 0.9 + 0.34 * max(top, 3), entries, path)


def position(row: Row) -> float:
    """Where the published number lies in our interval: from -1 to 1 inside."""
    assert row.published is not None
    half = 0.5 * (row.high - row.low)
    offset = row.published - 0.5 * (row.high + row.low)
    if half == 0:
        return 0.0 if offset == 0 else float(np.sign(offset) * 2 * _REACH)
    return float(offset / half)
