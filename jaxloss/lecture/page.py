"""The page of the lecture: what each stop claims, measures and finds, as Markdown and as JSON."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

from jaxloss import __version__
from jaxloss.errors import InputError
from jaxloss.lecture.stop import VERDICTS, Measured, Number
from jaxloss.lecture.words import amount, interval, percent, written
from jaxloss.store.files import write_text

PAGE, TABLE = "lecture.md", "lecture.json"

_INTRODUCTION = """\
# The lecture, tested

Which loss goes with which output activation, and why? A lecture on loss functions answers it in {sections} sections.
Here each of its claims is put to the test: what the lecture says, the formula, what was measured, and the verdict
that follows from the numbers. Where the lecture's notes have a slip, the corrected form is tested and the slip is
named.

A neuron computes $z = w \\cdot x + b$ and answers $y = h(z)$; $t$ is the answer that it should give, and $n$ (or $m$)
the number of samples. The *cost* is the loss averaged over the samples. *Gradient descent* repeats
$W \\leftarrow W - \\eta \\, \\nabla L(W)$ with the *learning rate* $\\eta$.

What a run ends as: it reaches the *global minimum*, or, where the cost falls to its lowest value at infinity, runs
there (*infimum at infinity*). It is *trapped* at a *spurious minimum* (a local minimum above the lowest), on a
*plateau* (stalled with no critical point near), *dead* (a ReLU that no sample activates) or at a *saddle*. It is a
*cycle*, *chaotic* or *diverged* where the learning rate is too large, and *unfinished* where it is still descending
when its steps are used up. *Certified* means proven, not only found. Numbers in brackets are 95 % intervals; those of
fractions of runs are Wilson's.
"""


def write_page(folder: str | os.PathLike, stops: Sequence[Measured], *, figures: bool = True) -> list[Path]:
    """Writes ``lecture.md`` and ``lecture.json``.

    Args:
      folder: where they go; it is made if it is not there.
      stops: what `jaxloss.lecture.run_stops` yields, in its order.
      figures: link each stop's figure, ``<name>.png`` beside the page, which `jaxloss.figures` draws.

    Returns:
      The files.

    Raises:
      InputError: there is no stop, or the folder cannot be written.
    """
    if not stops:
        raise InputError("stops must hold at least one measured stop of the lecture, and it is empty")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in ((PAGE, page(stops, figures=figures)), (TABLE, table(stops))):
            write_text(folder / name, text)
    except OSError as error:
        raise InputError(f"cannot write output folder {str(folder)!r}: {error.strerror or error}") from None
    return [folder / PAGE, folder / TABLE]


def page(stops: Sequence[Measured], *, figures: bool = True) -> str:
    """The page as Markdown.

    Args:
      stops: the measured stops.
      figures: whether to link their figures.

    Returns:
      The text.
    """
    verdicts = [measured.findings.verdict for measured in stops]
    counts = ", ".join(f"{verdict} in {verdicts.count(verdict)}" for verdict in VERDICTS if verdict in verdicts)
    slips = sum(bool(measured.findings.correction) for measured in stops)
    sections = sorted({section for measured in stops for section in measured.stop.sections})
    settings = stops[0].settings
    parts = [
        _INTRODUCTION.format(sections=len(sections)),
        f"The claim {counts} of {len(stops)} stops; {slips} correct the notes. Computed by jaxloss {__version__}, "
        f"effort `{settings.effort}`, seed {settings.seed}, with `jaxloss lecture`; every number also stands in "
        f"[`{TABLE}`]({TABLE}).\n",
        _contents(stops),
        *(_section(number, measured, figures) for number, measured in enumerate(stops, start=1)),
    ]
    return "\n".join(parts)


def table(stops: Sequence[Measured]) -> str:
    """The stops as JSON; a number that is infinite is written as a string.

    Args:
      stops: the measured stops.

    Returns:
      The text.
    """
    settings = stops[0].settings
    entries = []
    for name, stop, _, findings in stops:
        entries.append(
            {
                "name": name,
                "title": stop.title,
                "sections": list(stop.sections),
                "claim": stop.claim,
                "formula": stop.formula,
                "how": stop.how,
                "verdict": findings.verdict,
                "because": findings.because,
                "correction": findings.correction,
                "numbers": [{key: _plain(value) for key, value in n._asdict().items()} for n in findings.numbers],
            }
        )
    document = {"version": __version__, "effort": settings.effort, "seed": settings.seed, "stops": entries}
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value):
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, int):
        return value
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _contents(stops: Sequence[Measured]) -> str:
    lines = ["| stop | lecture, section | verdict | correction |", "|---|---|---|---|"]
    for number, measured in enumerate(stops, start=1):
        stop, findings = measured.stop, measured.findings
        slip = "yes" if findings.correction else ""
        lines.append(f"| {number}. {stop.title} | {_sections(stop.sections)} | {findings.verdict} | {slip} |")
    return "\n".join(lines) + "\n"


def _sections(sections: Sequence[int]) -> str:
    return " and ".join(str(section) for section in sections)


def _section(number: int, measured: Measured, figures: bool) -> str:
    stop, findings = measured.stop, measured.findings
    which = "section" if len(stop.sections) == 1 else "sections"
    parts = [
        f"## {number}. {stop.title}",
        f"> {stop.claim}\n>\n> *The lecture, {which} {_sections(stop.sections)}.*",
        f"$$\n{stop.formula}\n$$",
        f"**What is measured.** {stop.how}",
    ]
    if figures and stop.plot:
        parts.append(f"![{stop.caption}]({measured.name}.png)")
        parts.append(f"*{stop.caption}.*")
    parts += [_numbers(findings.numbers), f"**Verdict: {findings.verdict}.** {findings.because}"]
    if findings.correction:
        parts.append(f"**Correction.** {findings.correction}")
    return "\n\n".join(parts) + "\n"


def _numbers(numbers: Sequence[Number]) -> str:
    """The table of a stop, without the columns that none of its numbers has."""
    columns = {
        "measured": [number.quantity for number in numbers],
        "value": [amount(number) for number in numbers],
        "expected": ["" if number.expected is None else _expected(number) for number in numbers],
        "95 % interval": [interval(number) for number in numbers],
        "runs": ["" if number.num_runs is None else f"{number.num_runs:,}" for number in numbers],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [
        list(kept),
        ["---"] + ["---:"] * (len(kept) - 1),
        *(list(row) for row in zip(*kept.values(), strict=True)),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def _expected(number: Number) -> str:
    assert number.expected is not None
    return written(number.expected) if number.num_runs is None else percent(number.expected)
