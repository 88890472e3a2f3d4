"""Loss and gradient along the recorded paths."""

import os

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jaxloss.errors import InputError
from jaxloss.figures import reading, style
from jaxloss.outcomes import OUTCOMES, SOLVED, UNSTABLE

_DASHES = ["solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5))]


@style.styled
def plot_learning_curves(result: xr.Dataset, *, path: str | os.PathLike | None = None) -> Figure:
    """Loss above the infimum, and norm of the gradient, against the step, for every recorded path.

    Both on log scales, coloured by what the path ends as: a plateau is the stretch where the loss stays and the
    gradient does not vanish; at a minimum the gradient falls to the tolerance. Dotted levels are the losses of the
    spurious minima that paths end at.

    Args:
      result: what `jaxloss.sweep` returned with ``num_paths``.
      path: a PNG to write, of 200 dots per inch.

    Returns:
      The figure.

    Raises:
      InputError: the result holds no recorded path, or ``path`` cannot be written.

    Examples:
      >>> from jaxloss import Axis, Grid, load_problem, sweep
      >>> grid = Grid({"x": Axis.linear(-2, 2, 16), "learning_rate": Axis.of([0.1])})
      >>> figure = plot_learning_curves(sweep(load_problem("cubic-map"), grid, num_steps=50, num_paths=2))
      >>> [ax.get_ylabel() for ax in figure.axes]
      ['loss above the infimum', 'norm of the gradient']
    """
    result = reading.shown(result)
    if "path_loss" not in result or not result.sizes["trajectory"]:
        raise InputError("result holds no recorded paths: run jaxloss.sweep(..., num_paths=6)")
    known = reading.fates(result)
    fate = known.of(result["path_outcome"].values, result["path_attractor"].values)
    order = np.argsort(fate, kind="stable")
    rates = result["path_learning_rate"].values if "path_learning_rate" in result else np.full(len(fate), np.nan)
    steps = result["path_step"].values.astype(np.float64)
    infimum = float(result.attrs.get("infimum", 0.0))
    gap = result["path_loss"].transpose("trajectory", "path_step").values - infimum
    norm = result["path_gradient_norm"].transpose("trajectory", "path_step").values
    one_rate = len(np.unique(rates)) == 1
    parts = [f"{len(fate)} recorded {'paths' if len(fate) > 1 else 'path'}"]
    if one_rate and np.isfinite(rates[0]):
        parts[0] += f" at learning rate {reading.number(rates[0])}"
    parts.append(f"infimum {reading.number(infimum)} ({result.attrs.get('infimum_source', 'source not stated')})")
    # Plateaus and spurious minima lie within a decade or two of each other: solved paths may leave below.
    unsolved = ~np.isin(result["path_outcome"].values, [*SOLVED, *UNSTABLE])
    ends = gap[unsolved, -1]
    floor = 1e-2 * float(ends[ends > 0].min()) if np.any(ends > 0) else 0.0
    if np.any((gap[~unsolved] < floor) & (gap[~unsolved] > 0)):
        parts.append("loss curves that leave below go on towards it")
    figure, body = style.new_figure(
        f"{reading.title(str(result.attrs.get('name', 'objective')))}: learning curves", "; ".join(parts), width=9.4
    )
    panels = body.subplots(1, 2, sharex=True)
    outcomes, seen = [], dict.fromkeys(fate.tolist(), 0)
    for i in order:
        entry = known.entries[fate[i]]
        tone = style.line_colour(entry)
        dash = _DASHES[seen[fate[i]] % len(_DASHES)]
        for ax, values in zip(panels, (gap[i], norm[i]), strict=True):
            good = np.isfinite(values) & (values > 0)
            noisy = entry.outcome in (7, 8)
            ax.plot(
                steps,
                np.where(good, values, np.nan),
                color=tone,
                linestyle=dash,
                linewidth=0.9 if noisy else 1.7,
                label=entry.label,
            )
        seen[fate[i]] += 1
        if seen[fate[i]] == 1:
            number = int((fate == fate[i]).sum())
            times = "" if number == 1 else f", {number} paths"
            outcomes.append((Line2D([], [], color=tone, linewidth=2.2), f"{entry.label}{times}"))
    _scales(panels[0], steps, gap, start=gap[:, 0], floor=floor)
    _scales(panels[1], steps, norm, start=norm[:, 0])
    panels[0].set_ylabel("loss above the infimum")
    panels[1].set_ylabel("norm of the gradient")
    others = _levels(panels[0], result, infimum) + _tolerance(panels[1], result)
    return style.finish(figure, 3.7, outcomes, path, others=others)


def _scales(ax: Axes, steps: np.ndarray, values: np.ndarray, start: np.ndarray, floor: float = 0.0) -> None:
    """Log axes; step 0 has its own place; what diverges leaves through the top, what is below ``floor`` below."""
    last = max(float(steps[-1]), 1.0)
    ax.set_xscale("symlog", linthresh=1.0, linscale=0.4)
    ax.set_xlim(-0.12, last * 1.08)
    ticks = [0.0, *(10.0 ** np.arange(0, np.floor(np.log10(last)) + 1))]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(
        FixedLocator([m * t for t in ticks[1:] for m in range(2, 10) if m * t <= last]) if last > 1 else NullLocator()
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlabel("step")
    good = values[np.isfinite(values) & (values > 0)]
    ax.set_yscale("log")
    if good.size:
        first = start[np.isfinite(start) & (start > 0)]
        high = min(float(good.max()), 1e3 * float(first.max() if first.size else good.max()))
        low = max(float(good.min()), 1e-14 * high, floor)
        if high / low < 10:
            low, high = low / 2, high * 2
        margin = (high / low) ** 0.04
        ax.set_ylim(low / margin, high * margin)
        style.log_ticks(ax.yaxis, low, high, most=7)
    ax.grid(color="#eceef0", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _levels(ax: Axes, result: xr.Dataset, infimum: float) -> list:
    """Dotted levels at the losses of the spurious minima that paths end at."""
    spurious = result["path_outcome"].values == OUTCOMES["spurious_minimum"]
    ends = np.unique(result["path_attractor"].values[spurious])
    levels = [float(result["critical_point_loss"].values[i]) - infimum for i in ends if i >= 0]
    levels = [level for level in levels if level > 0]
    for level in levels:
        ax.axhline(level, **_LEVEL)
    return [(Line2D([], [], **_LEVEL), "loss of the spurious minimum")] if levels else []


def _tolerance(ax: Axes, result: xr.Dataset) -> list:
    """A dashed level at the gradient tolerance, where the panel reaches it."""
    tolerance = reading.run_options(result).get("gradient_tolerance")
    low, high = ax.get_ylim()
    if not isinstance(tolerance, float) or not low <= tolerance <= high:
        return []
    ax.axhline(tolerance, **_TOLERANCE)
    return [(Line2D([], [], **_TOLERANCE), f"gradient tolerance {reading.number(tolerance)}")]


_LEVEL = {"color": style.INK, "linewidth": 0.9, "linestyle": (0, (1, 2)), "zorder": 1}
_TOLERANCE = {"color": style.MUTED, "linewidth": 0.9, "linestyle": (0, (4, 2.5)), "zorder": 1}
