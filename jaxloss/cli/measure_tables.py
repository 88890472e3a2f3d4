"""What the command measure prints."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxloss.cli.output import aligned, print_wrapped

if TYPE_CHECKING:
    from jaxloss.basins import Interval
    from jaxloss.basins.summary import MapMeasures, Measured, Share, Steps, Summary

_TOO_COARSE = "even straight boundaries look fractal at this resolution, and the verdict on the map says little"
_TOO_NEAR = "so would be parallel strips with the same shares, and the verdict says little"
_READING = "brackets: intervals; more: beyond the budget; what is unfinished is a basin of its own"

Notes = dict[str, str]
"""Reason -> the letter that stands for it in a table, in the order in which they come up."""


def print_tables(label: str, summaries: Sequence["Summary"]) -> None:
    """Prints what was measured of one result as tables of at most 100 columns, what does not apply below them.

    Args:
      label: of the result.
      summaries: as `jaxloss.basins.summary.measure_result` gives them.
    """
    print(label)
    _print_shares(summaries)
    notes: Notes = {}
    for maps in zip(*(summary.maps for summary in summaries), strict=True):
        _print_maps(summaries, maps, notes)
    print_wrapped(_READING)
    for reason, letter in notes.items():
        print_wrapped(f"{letter}: {reason}")
    print()


def _print_shares(summaries: Sequence["Summary"]) -> None:
    """Percentages, and median steps, one line for each combination of hyperparameters."""
    shares = [summary.totals or summary.outcomes for summary in summaries]
    names = [name for name in shares[0] if summaries[0].totals or any(each[name].number for each in shares)]
    _print_lines(
        summaries, [f"{_words(name)}\n%" for name in names], [[_percent(s[n]) for n in names] for s in shares]
    )
    timed = [name for name in ("all", *names) if any(name in summary.num_steps for summary in summaries)]
    timed = [name for name in timed if name != "unfinished"]
    if timed:
        headings = [f"steps, {_words(name)}\nmedian [5 %, 95 %]" for name in timed]
        _print_lines(summaries, headings, [[_times(s.num_steps.get(name)) for name in timed] for s in summaries])


def _print_maps(summaries: Sequence["Summary"], maps: Sequence["MapMeasures"], notes: Notes) -> None:
    """The measures of the maps over one pair of axes, one line for each combination of hyperparameters."""
    if maps[0].labels is None:
        return print_wrapped(f"no map: {maps[0].measures['basin_entropy'].reason}")
    print_wrapped(_about(maps[0]))
    headings = ["basin entropy\nof boxes, nats", "smooth\ncontrol", "on the boundary\nnats", "smooth\ncontrol"]
    _print_lines(summaries, headings, [_entropies(each.measures["basin_entropy"], notes) for each in maps])
    headings = ["uncertainty\nexponent", "smooth\ncontrol", "box-counting\ndimension"]
    headings += ["random\nballs", "smooth\ncontrol", "Wada\n(radius)"]
    lines = [
        [
            *_estimates(each.measures["uncertainty_exponent"], "exponent", notes),
            _estimates(each.measures["box_counting_dimension"], "dimension", notes)[0],
            *_fractality(each.measures["is_boundary_fractal"], notes),
            _wada(each.measures["is_wada"], notes),
        ]
        for each in maps
    ]
    return _print_lines(summaries, headings, lines)


def _about(each: "MapMeasures") -> str:
    """The map, and at which sizes it was measured."""
    assert each.scales is not None
    size, sizes, boxes, ball, wada = each.scales
    parts = [
        " x ".join(f"{len(values)} {_words(name)}" for name, values in each.axes.items()),
        "at " + ", ".join(f"{name} = {value:.4g}" for name, value in each.fixed.items()) if each.fixed else "",
        f"boxes of {size} for the entropy" if size else "",
        f"{boxes} boxes of {', '.join(map(str, sizes))} for exponent and dimension" if sizes else "",
        f"balls of radius {ball}" if ball else "",
        f"Wada within {wada} (in brackets: the least radius for a yes)" if wada else "",
    ]
    return "; ".join(filter(None, parts))


def _print_lines(summaries: Sequence["Summary"], headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table whose first column is the hyperparameters."""
    names = [_words(name) for name in summaries[0].hyperparameters]
    first = "\n".join(names if len(names) > 1 else "".join(names).split(" "))
    values = [", ".join(f"{value:.4g}" for value in summary.hyperparameters.values()) for summary in summaries]
    rows = [[value, *line] for value, line in zip(values, lines, strict=True)]
    print("\n".join(aligned([first, *headings], rows)) + "\n")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _percent(share: "Share") -> str:
    return f"{100 * share.fraction:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _times(steps: "Steps | None") -> str:
    if steps is None:
        return "-"
    low, median, high = (
        f"{steps.quantiles[level]:,.0f}" if math.isfinite(steps.quantiles[level]) else "more"
        for level in (0.05, 0.5, 0.95)
    )
    return f"{median} [{low}, {high}]"


def _estimate(value: float, interval: "Interval | None", digits: int) -> str:
    if not math.isfinite(value):
        return "-"
    if interval is None or not math.isfinite(interval.low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _marked(text: str, reason: str, notes: Notes) -> str:
    """The text, with the letter of a reason."""
    letters = len(notes)
    return (
        f"{text} {notes.setdefault(reason, chr(ord('a') + letters % 26) * (1 + letters // 26))}" if reason else text
    )


def _estimates(measured: "Measured", field: str, notes: Notes) -> list[str]:
    """The estimate with its interval, and that of the control."""
    found, control, reason = measured
    own = "-" if found is None else _estimate(getattr(found, field), found.interval, 2)
    return [_marked(own, reason, notes), "-" if control is None else _estimate(getattr(control, field), None, 2)]


def _entropies(measured: "Measured", notes: Notes) -> list[str]:
    found, control, reason = measured
    if found is None:
        return [_marked("-", reason, notes), "-", "-", "-"]
    everywhere, boundary = (math.nan, math.nan) if control is None else (control.entropy, control.boundary_entropy)
    return [
        _estimate(found.entropy, found.interval, 3),
        _estimate(everywhere, None, 3),
        _marked(_estimate(found.boundary_entropy, found.boundary_interval, 3), reason, notes),
        _estimate(boundary, None, 3),
    ]


def _fractality(measured: "Measured", notes: Notes) -> list[str]:
    found, control, reason = measured
    own, smooth = ("-" if each is None else "fractal" if each else "smooth" for each in (found, control))
    return [_marked(own, reason, notes), _marked(smooth, _TOO_COARSE if control else "", notes)]


def _wada(measured: "Measured", notes: Notes) -> str:
    found, control, reason = measured
    if found is None:
        return _marked("-", reason, notes)
    return _marked(f"{'yes' if found else 'no'} ({found.distance})", _TOO_NEAR if found and control else "", notes)
