"""How often each outcome occurs, against the learning rate."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from jaxloss.basins import outcome_fractions
from jaxloss.critical_points.kinds import STRICT_MINIMUM
from jaxloss.figures import reading, style
from jaxloss.maps import MAP_OUTCOMES
from jaxloss.outcomes import OUTCOMES

# The rule learning rate < 2/sharpness is that of these alone.
_PLAIN = ("sgd",)
_MOST_LIMITS = 4


class _Limit(NamedTuple):
    """The learning rate above which a strict minimum repels gradient descent."""

    value: float
    kind: str


@style.styled
def plot_outcome_fractions(
    results: Mapping[str, xr.Dataset] | Sequence[xr.Dataset] | xr.Dataset,
    *,
    path: str | os.PathLike | None = None,
) -> Figure:
    r"""The fraction of initial points with each outcome, against the learning rate, with Wilson 95 % intervals.

    Under plain gradient descent, a vertical line stands at the limit :math:`2/\lambda_{\max}` of each strict
    minimum: at a larger learning rate it repels. A single learning rate gives bars instead. One panel for each
    objective; only outcomes that occur are drawn.

    Args:
      results: label -> result of `jaxloss.sweep`, or results, labelled by their names.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: there is no result, or ``path`` cannot be written.

    Examples:
      >>> dims = ("x", "learning_rate")
      >>> labels = {"outcome": (dims, np.array([[1, 9], [3, 9]])), "attractor": (dims, np.array([[0, -1], [1, -1]]))}
      >>> result = xr.Dataset(labels, coords={"learning_rate": [0.1, 1.0]})
      >>> plot_outcome_fractions(result).axes[0].get_xlabel()
      'learning rate'
    """
    labelled = reading.named(results)
    tables = {label: outcome_fractions(result) for label, result in labelled.items()}
    columns = min(len(labelled), 3)
    rows = -(-len(labelled) // columns)
    width = {1: 7.0, 2: 9.0}.get(columns, style.WIDTH)
    figure, body = style.new_figure(_title(labelled), "; ".join(_subtitle(tables, labelled)), width=width)
    single = any(table.sizes["learning_rate"] == 1 for table in tables.values())
    grid = body.subplots(rows, columns, squeeze=False, sharey=not single)
    drawn: list[_Limit] = []
    occurring: set[int] = set()
    lines = False
    for i, ax in enumerate(grid.flat):
        if i >= len(labelled):
            ax.remove()
            continue
        label = list(labelled)[i]
        table, result = tables[label], labelled[label]
        counted = table["count"].sum("learning_rate").to_series()
        present = [code for code in _ORDER if counted.get(_NAMES[code], 0)]
        occurring.update(present)
        if table.sizes["learning_rate"] == 1:
            _bars(ax, table, present)
        else:
            lines = True
            drawn += _curves(ax, table, present, _limits(result), inches=width / columns - 0.5)
            if i % columns == 0 or single:
                ax.set_ylabel("fraction of initial points")
        if len(labelled) > 1:
            ax.set_title(reading.title(label), fontweight="bold", loc="left", pad=22 if lines else 6)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    outcomes: list[tuple[Artist, str]] = []
    if lines:
        outcomes = [
            (Line2D([], [], linewidth=2.2, **_line(code)), _NAMES[code].replace("_", " "))
            for code in _ORDER
            if code in occurring
        ]
        outcomes.append((Patch(facecolor=style.FAINT, linewidth=0), "Wilson 95 % interval"))
    others = []
    if drawn:
        kinds = {limit.kind for limit in drawn}
        others = [(Line2D([], [], **_LIMIT_LINE), "gradient descent limit 2/sharpness")]
        others += [(handle, f"of the {name}") for handle, name in style.kind_entries(kinds)]
    height = rows * (3.0 if columns > 1 else 3.6)
    return style.finish(figure, height, outcomes, path, others=others)


_NAMES = {code: name for name, code in (OUTCOMES | MAP_OUTCOMES).items()}
# A map's own first, unfinished last.
_ORDER = sorted(_NAMES, key=lambda code: reading.display_order(code, 0))
_LIMIT_LINE = {"color": style.MUTED, "linewidth": 1.0, "linestyle": (0, (4, 2.5))}


def _line(code: int) -> dict[str, Any]:
    """Colour and dashes of an outcome's line."""
    tone = style.line_colour(reading.Fate(code, 0, ""))
    return {"color": tone, "linestyle": (0, (1, 1.2)) if code == OUTCOMES["unfinished"] else "solid"}


def _title(labelled: Mapping[str, xr.Dataset]) -> str:
    what = "How often each outcome occurs"
    return f"{reading.title(next(iter(labelled)))}: {what[0].lower()}{what[1:]}" if len(labelled) == 1 else what


def _subtitle(tables: Mapping[str, xr.Dataset], labelled: Mapping[str, xr.Dataset]) -> list[str]:
    totals = {int(table.attrs["total"]) for table in tables.values()}
    number = f"{totals.pop():,}" if len(totals) == 1 else f"{min(totals):,} to {max(totals):,}"
    parts = [f"Each learning rate from {number} initial points"]
    rates = {float(reading.rates(result)[0]) for result in labelled.values() if len(reading.rates(result)) == 1}
    if len(rates) == 1 and all(len(reading.rates(result)) == 1 for result in labelled.values()):
        rate = rates.pop()
        parts = [f"{number} initial points"]
        if np.isfinite(rate):
            parts.append(f"learning rate {reading.number(rate)}")
        parts.append("whiskers: Wilson 95 % interval")
    return parts


def _limits(result: xr.Dataset) -> list[_Limit]:
    """Of each strict minimum, those that trajectories reach first; none where another optimiser moved the points."""
    options = reading.run_options(result)
    if options.get("optimizer", "sgd") not in _PLAIN:
        return []
    points = reading.critical_points(result)
    reached = np.bincount(result["attractor"].values[result["attractor"].values >= 0], minlength=len(points))
    kinds = result["kind"].values if points else []
    minima = [i for i, kind in enumerate(kinds) if kind == STRICT_MINIMUM and points[i].sharpness > 0]
    often = sorted(minima, key=lambda i: -reached[i])[:_MOST_LIMITS]
    return sorted(_Limit(2 / points[i].sharpness, points[i].kind) for i in often)


def _curves(
    ax: Axes, table: xr.Dataset, present: Sequence[int], limits: Sequence[_Limit], *, inches: float
) -> list[_Limit]:
    """Lines with bands; returns the limits that lie inside the panel."""
    rates = table["learning_rate"].values
    order = np.argsort(rates)
    rates = rates[order]
    low, high = float(rates[0]), float(rates[-1])
    pad = (high / low) ** 0.03
    ax.set_xscale("log")
    ax.set_xlim(low / pad, high * pad)
    style.log_ticks(ax.xaxis, low, high)
    # The rare ones last: they would hide under the others.
    for code in sorted(present, key=lambda code: -float(table["fraction"].sel(outcome_name=_NAMES[code]).mean())):
        row = table.sel(outcome_name=_NAMES[code])
        shares = _until_zero(row["fraction"].values[order])
        low_band, high_band = (row[bound].values[order] for bound in ("low", "high"))
        shown, tone = ~np.isnan(shares), _line(code)["color"]
        ax.fill_between(rates, low_band, high_band, where=shown, color=tone, alpha=0.22, linewidth=0)
        ax.plot(
            rates,
            shares,
            linewidth=1.6,
            **_line(code),
            marker="o",
            markersize=3.2 if len(rates) <= 24 else 0,
            markeredgewidth=0,
            label=_NAMES[code],
        )
    ax.set_ylim(-0.02, 1.02)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    ax.grid(axis="y", color="#eceef0", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.set_xlabel("learning rate")
    inside = [limit for limit in limits if low <= limit.value <= high]
    last = -np.inf
    for limit in inside:
        ax.axvline(limit.value, zorder=1, **_LIMIT_LINE)
        marker = style.marker_style(limit.kind)
        marker["markersize"] *= 0.85
        ax.plot(limit.value, 1.02, clip_on=False, zorder=6, **marker)
        place = np.log(limit.value / low) / np.log(high / low)
        # Labels of neighbours would run into each other: those too near are left to the line and its marker.
        if place - last > 0.3 / inches:
            ax.annotate(
                reading.number(limit.value),
                xy=(limit.value, 1.02),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=style.MUTED,
            )
            last = place
    return inside


def _until_zero(shares: np.ndarray) -> np.ndarray:
    """The shares, without the stretches at zero: there the lines of many outcomes would lie on one another."""
    positive = np.concatenate([[False], shares > 0, [False]])
    return np.where(positive[:-2] | positive[1:-1] | positive[2:], shares, np.nan)


def _bars(ax: Axes, table: xr.Dataset, present: Sequence[int]) -> None:
    """One bar for each outcome, its interval as a whisker and its share beside it."""
    row = table.isel(learning_rate=0)
    names = [_NAMES[code] for code in present]
    shares = row["fraction"].sel(outcome_name=names).values
    low, high = (row[bound].sel(outcome_name=names).values for bound in ("low", "high"))
    place = np.arange(len(present))[::-1]
    ax.barh(place, shares, 0.62, color=[style.colour(reading.Fate(code, 0, "")) for code in present])
    reach = np.maximum([shares - low, high - shares], 0)
    ax.errorbar(shares, place, xerr=reach, fmt="none", ecolor=style.INK, elinewidth=1.0, capsize=2.5)
    for share, bound, y in zip(shares, high, place, strict=True):
        ax.annotate(
            reading.percent(float(share)),
            (bound, y),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.0,
            color=style.MUTED,
        )
    ax.set_yticks(place, [name.replace("_", " ") for name in names])
    ax.tick_params(axis="y", length=0, labelleft=True)
    ax.set_ylim(-0.6, len(present) - 0.4)
    # Room for the text beside the longest bar.
    ax.set_xlim(0, 1.16)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    ax.set_xlabel("fraction of initial points")
