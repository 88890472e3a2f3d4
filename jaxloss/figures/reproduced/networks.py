"""Small networks: trapped students of a teacher, XOR, and networks that are dead at birth."""

import os
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from jaxloss.basins import wilson_interval
from jaxloss.figures import style
from jaxloss.outcomes import NAMES, SOLVED
from jaxloss.reproduce import Reproduced

_PUBLISHED: dict[str, Any] = {
    "marker": "D",
    "markersize": 6,
    "markerfacecolor": "white",
    "markeredgecolor": style.INK,
}
_NEVER = style.INK
# One colour and one marker for each line of a panel.
_LINES = tuple(zip(("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#4b1d6b", "#f2a900"), "os^vDP", strict=True))


@style.styled
def plot_safran_shamir(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """The share of trapped students by their size, and the spurious minima that they are trapped at.

    Args:
      reproduced: the case safran-shamir.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data = reproduced.data
    figure, body = style.new_figure(
        "Spurious minima of a ReLU layer that is taught by another one",
        "Orthonormal teachers, normal inputs, starts N(0, 1/k), learning rate 0.1; trapped: a loss of 0.001 or more "
        "at the end. Published: Safran and Shamir 2018, 1,000 runs each",
        width=9.0,
    )
    left, right = body.subplots(1, 2)
    size, trapped, total = (data[name].values for name in ("size", "trapped", "num_runs"))
    low, high = wilson_interval(trapped, total)
    share, colour = trapped / total, style.COLOURS[3]
    left.errorbar(
        size, share, np.clip([share - low, high - share], 0, None), fmt="o", color=colour, markersize=5, capsize=3
    )
    left.plot(size, data["published"].values, linestyle="none", **_PUBLISHED, zorder=3)
    left.set_ylabel("share of runs that are trapped")
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_ylim(bottom=0)
    where, loss = data["family_size"].values, data["loss"].values
    members = data["members"].values / np.array([trapped[size == n].sum() for n in where])
    right.scatter(where, loss, s=20 + 180 * members, color=colour, alpha=0.75, linewidth=0)
    for n, value, eigenvalue, part in zip(where, loss, data["eigenvalue"].values, members, strict=True):
        if part > 0.2:
            right.annotate(
                f"{eigenvalue:.4f}",
                (n, value),
                (0, 11),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=style.MUTED,
            )
    for row in reproduced.rows:
        if row.quantity.endswith(": loss"):
            n = int(row.quantity.split("= ")[-1].split(":")[0])
            right.plot(n, row.published, **_PUBLISHED, zorder=3)
    right.set_ylabel("loss at the spurious minima")
    right.set_ylim(0, 1.15 * max(loss.max(initial=0.03), 0.03))
    for ax in (left, right):
        ax.set_xticks(size)
        ax.set_xlim(size.min() - 0.6, size.max() + 0.6)
        ax.set_xlabel("hidden units n of the student = units k of the teacher")
        _open(ax)
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": colour}
    entries = [
        (Line2D([], [], **dot, markersize=5), f"ours, {int(total[0]):,} runs each, 95 % interval"),
        (
            Line2D([], [], **dot, markersize=8, alpha=0.75),
            "a family of minima: area by share; number: least eigenvalue",
        ),
        (Line2D([], [], linestyle="none", **_PUBLISHED), "published"),
    ]
    return style.finish(figure, 3.3, entries, path)


@style.styled
def plot_xor_221(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """How often XOR is not learned, by the range of the starts, and slices through the space of initial weights.

    Args:
      reproduced: the case xor-221.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data, num = reproduced.data, int(reproduced.data.attrs["num_runs"])
    rates, momenta, limit = data["learning_rate"].values, data["momentum"].values, int(data.attrs["limit"])
    figure, body = style.new_figure(
        "XOR by two hidden units: the start decides whether, and when, it is learned",
        f"Gradient descent on the mean squared error of four patterns. Left: {num:,} uniform starts on [-rho, rho] "
        "for each point, 50,000 epochs, 95 % intervals. Right: one slice through the nine initial weights, coloured "
        f"by the epochs until the sum of squared errors is below 0.04, {limit:,} at most",
        width=12.0,
    )
    parts: Any = body.subfigures(1, 2, width_ratios=(1.0, 1.9))
    curves, maps = parts
    _plot_missed(curves.subplots(), reproduced, num)
    panels = maps.subplots(len(rates), len(momenta), sharex=True, sharey=True, squeeze=False)
    epochs = data["epochs"].values
    learned = epochs[epochs > 0]
    fastest = float(max(learned.min(initial=limit), 1))
    norm = LogNorm(fastest, limit)
    colours = colormaps["viridis_r"].with_extremes(bad=_NEVER)
    first, second = data["first"].values, data["second"].values
    image = None
    for i, rate in enumerate(rates):
        for j, momentum in enumerate(momenta):
            ax = panels[i, j]
            shown = np.ma.masked_less(epochs[i, j].T, 1)
            extent = (first[0], first[-1], second[0], second[-1])
            image = ax.imshow(
                shown, origin="lower", extent=extent, norm=norm, cmap=colours, interpolation="nearest", aspect="auto"
            )
            never = float(np.mean(epochs[i, j] < 0))
            ax.set_title(f"rate {rate:g}, momentum {momentum:g}\n{100 * never:.0f} % not learned", fontsize=8)
    names = [f"initial weight, {_weight(axis)}" for axis in data.attrs["axes"]]
    maps.supxlabel(names[0], fontsize=9)
    maps.supylabel(names[1], fontsize=9)
    bar = maps.colorbar(image, ax=panels, shrink=0.9, pad=0.02)
    bar.set_label("epochs until XOR is learned")
    style.log_ticks(bar.ax.yaxis, fastest, float(limit))
    marks = [
        (Patch(facecolor=_NEVER), f"right: not learned within {limit:,} epochs"),
        (
            Line2D([], [], linestyle="none", **_PUBLISHED),
            "left: recomputed earlier, 400 starts (rate 1, no momentum)",
        ),
    ]
    return style.finish(figure, 5.2, marks, path)


def _plot_missed(ax: Axes, reproduced: Reproduced, num: int) -> None:
    data = reproduced.data
    rho = data["rho"].values
    lines = iter(_LINES)
    for i, rate in enumerate(data["learning_rate"].values):
        for j, momentum in enumerate(data["momentum"].values):
            colour, marker = next(lines)
            missed = data["missed"].values[:, i, j]
            low, high = wilson_interval(missed, num)
            ax.fill_between(rho, low, high, color=colour, alpha=0.12, linewidth=0)
            ax.plot(
                rho,
                missed / num,
                marker=marker,
                markersize=4,
                linewidth=1,
                color=colour,
                label=f"rate {rate:g}, momentum {momentum:g}",
            )
    known = [
        (float(row.quantity.split("rho = ")[1].split(",")[0]), row.published)
        for row in reproduced.rows
        if row.quantity.startswith("not learned") and row.published is not None
    ]
    ax.plot(*zip(*known, strict=True), linestyle="none", **_PUBLISHED, zorder=3)
    ax.set_xlabel("range of the initial weights, rho")
    ax.set_ylabel("share of starts that do not learn XOR")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_ylim(0, 1)
    ax.set_xlim(0, rho.max() * 1.04)
    ax.legend(loc="upper left", fontsize=7.5)
    _open(ax)


def _weight(axis: str) -> str:
    """The weight between an input and a hidden unit, in words."""
    unit, feature = (int(number) + 1 for number in axis.split("[")[1].rstrip("]").split(","))
    return f"input {feature} to hidden unit {unit}"


@style.styled
def plot_relu_xor_sum(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """Which starts learn XOR, by the directions of the two units' weights.

    Args:
      reproduced: the case relu-xor-sum.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data = reproduced.data
    angle, outcomes, loss = data["angle"].values, data["outcome"].values, data["loss"].values
    figure, body = style.new_figure(
        "XOR by the sum of two ReLU units: the directions of the first weights decide",
        "Each point is one start, weights N(0, 0.5²), biases zero. On the dashed lines a unit is active on neither "
        "sample of class 1; only where the two units are active on different ones can both be learned",
        width=9.0,
    )
    panels = body.subplots(1, len(outcomes), sharey=True)
    border, kinds = (-135, 45), []
    for ax, name, outcome, end, solved in zip(
        panels, data["optimizer"].values, outcomes, loss, data["solved"].values, strict=True
    ):
        for code in np.unique(outcome):
            # A trap at 1/4 has lost one sample of class 1, one at 1/2 both.
            for both in (False, True):
                here = (outcome == code) & ((end > 0.4) == both)
                if here.any():
                    kind = (int(code), both)
                    kinds.append(kind)
                    ax.plot(*angle[here].T, **_dot(*kind), zorder=2 + both)
        for position in border:
            ax.axvline(position, color=style.INK, linewidth=0.8, linestyle="--")
            ax.axhline(position, color=style.INK, linewidth=0.8, linestyle="--")
        ax.set_title(f"{name}: {100 * float(solved):.1f} % solved")
        ax.set_xlabel("direction of the weights of unit 1 in degrees")
        ax.set_xlim(-180, 180)
        ax.set_ylim(-180, 180)
        ax.set_xticks(range(-180, 181, 90))
        ax.set_yticks(range(-180, 181, 90))
        ax.set_aspect("equal")
    panels[0].set_ylabel("direction of the weights of unit 2 in degrees")
    entries = [
        (
            Line2D([], [], **{**_dot(code, both), "markersize": 6}),
            NAMES[code].replace("_", " ") + ("" if code in SOLVED else f", loss 1/{2 if both else 4}"),
        )
        for code, both in sorted(set(kinds))
    ]
    return style.finish(figure, 4.7, entries, path)


def _dot(code: int, both: bool) -> dict[str, Any]:
    look: dict[str, Any] = {"linestyle": "none", "color": style.COLOURS[code]}
    if both:
        return look | {"marker": "X", "markersize": 6, "markeredgecolor": style.INK, "markeredgewidth": 0.7}
    return look | {"marker": "o", "markersize": 2, "markeredgewidth": 0}


@style.styled
def plot_dead_at_birth(reproduced: Reproduced, *, path: str | os.PathLike | None = None) -> Figure:
    """The share of networks that are dead at birth against their depth, between the bounds.

    Args:
      reproduced: the case dead-at-birth.
      path: a PNG to write.

    Returns:
      The figure.
    """
    data = reproduced.data
    few, many = (int(data.attrs[name]) for name in ("num_runs", "num_runs_exact"))
    depth, widths = data["depth"].values, data["width"].values
    figure, body = style.new_figure(
        "ReLU networks that are dead at birth: the deeper and the narrower, the more",
        f"One input, no biases, normal weights; {few:,} draws for each point, {many:,} where the probability is "
        "known (depth 3 and width 1); 95 % intervals are smaller than the markers. Bands: from the lower bound of Lu "
        "et al. 2020 to the upper bound",
        width=8.0,
    )
    ax = body.subplots()
    entries = []
    for i, (width, (colour, marker)) in enumerate(zip(widths, _LINES, strict=False)):
        ax.fill_between(
            depth, data["lower"].values[i], data["upper"].values[i], color=colour, alpha=0.25, linewidth=0
        )
        ax.plot(depth, data["dead"].values[i], marker=marker, markersize=4.5, linewidth=0.8, color=colour)
        entries.append((Line2D([], [], marker=marker, markersize=4.5, linewidth=0.8, color=colour), f"width {width}"))
    entries.append((Patch(facecolor=style.MUTED, alpha=0.25), "between the bounds"))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(depth)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(value) for value in depth])
    ax.set_xlabel("depth: layers of weights, the output included (log scale)")
    ax.set_ylabel("share of networks that are dead at birth")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_ylim(0, 1.02)
    _open(ax)
    return style.finish(figure, 3.8, entries, path)


def _open(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
