"""Runs cases one after the other, keeps each that is done, and goes on where it was interrupted.

A folder holds ``cases/<case>.json`` with the rows, ``cases/<case>.zarr`` with what the figure shows, and, once every
case asked for is done, ``reproduced.json`` and ``reproduced.md`` with the whole table.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxloss import __version__, store
from jaxloss.checks import whole
from jaxloss.errors import InputError, unknown
from jaxloss.reproduce.case import EFFORTS, Reproduced, Settings
from jaxloss.reproduce.registry import CASES
from jaxloss.reproduce.rows import Row
from jaxloss.store.files import write_text

TABLE, PAGE, PARTS = "reproduced.json", "reproduced.md", "cases"


class Done(NamedTuple):
    """A case that is done.

    Attributes:
      name: of the case.
      reproduced: what it yields.
      fresh: whether it ran now; else it was read from the folder.
    """

    name: str
    reproduced: Reproduced
    fresh: bool


def reproduce(
    names: Sequence[str] = (), *, effort: str = "default", seed: int = 0, progress: bool = False
) -> tuple[Row, ...]:
    """The published numbers beside ours.

    Args:
      names: of the cases; all by default.
      effort: ``quick``, ``default`` or ``full``.
      seed: of everything that is drawn.
      progress: show progress bars.

    Returns:
      One row for each number.

    Raises:
      InputError: an unknown case or effort.

    Examples:
      >>> rows = reproduce(["cubic-map"], effort="quick")
      >>> {row.verdict for row in rows}
      {'inside'}
    """
    settings = _settings(effort, seed, progress)
    return tuple(row for name in chosen(names) for row in CASES[name].run(settings).rows)


def run_cases(
    names: Sequence[str], folder: Path, *, effort: str = "default", seed: int = 0, progress: bool = False
) -> Iterator[Done]:
    """Each case as it is done; one that the folder holds (same effort, seed and version) is read instead.

    Args:
      names: of the cases; all if there are none.
      folder: where the results go.
      effort: ``quick``, ``default`` or ``full``.
      seed: of everything that is drawn.
      progress: show progress bars.

    Returns:
      The cases, in the order of the registry, each run when it is asked for.

    Raises:
      InputError: an unknown case or effort, or a folder that cannot be written.
    """
    settings, wanted = _settings(effort, seed, progress), chosen(names)
    parts = folder / PARTS
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write output folder {str(folder)!r}: {error.strerror or error}") from None
    return _run(wanted, parts, settings)


def _run(wanted: Sequence[str], parts: Path, settings: Settings) -> Iterator[Done]:
    document = {"version": __version__, "effort": settings.effort, "seed": settings.seed}
    for name in wanted:
        stored = _read(parts, name, document)
        if stored is not None:
            yield Done(name, stored, False)
            continue
        reproduced = CASES[name].run(settings)
        _write(parts, name, document, reproduced)
        yield Done(name, reproduced, True)


def write_table(folder: Path, done: Sequence[Done]) -> list[Path]:
    """The table of all cases, as JSON and as a page of Markdown.

    Args:
      folder: where it goes.
      done: the cases.

    Returns:
      The files.
    """
    rows = [row for case in done for row in case.reproduced.rows]
    write_text(folder / TABLE, json.dumps([row._asdict() for row in rows], indent=1, allow_nan=False) + "\n")
    write_text(folder / PAGE, _page(done))
    return [folder / TABLE, folder / PAGE]


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The cases asked for, in the order of the registry; all if none is named."""
    for name in names:
        if name not in CASES:
            raise unknown("case", name, CASES)
    return tuple(name for name in CASES if not names or name in names)


def shown(value: float | None) -> str:
    """A number of the table, to as many digits as one reads."""
    return "-" if value is None else f"{value:.6g}"


def _settings(effort: str, seed: int, progress: bool) -> Settings:
    if effort not in EFFORTS:
        raise unknown("effort", effort, EFFORTS)
    return Settings(effort, whole("seed", seed, 0, 2**63 - 1), progress)


def _page(done: Sequence[Done]) -> str:
    lines = [
        "| case | quantity | published | ours | agrees if published in | runs | verdict | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in done:
        for row in case.reproduced.rows:
            cells = [
                row.case,
                row.quantity,
                shown(row.published),
                shown(row.ours),
                f"[{shown(row.low)}, {shown(row.high)}]",
                f"{row.num_runs:,}",
                row.verdict,
                row.source,
            ]
            lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _read(parts: Path, name: str, document: dict[str, Any]) -> Reproduced | None:
    """A stored case, if it is whole and was run like this."""
    try:
        stored = json.loads((parts / f"{name}.json").read_text())
        if any(stored.get(key) != value for key, value in document.items()):
            return None
        rows = tuple(Row(**row) for row in stored["rows"])
        return Reproduced(rows, store.read_result(parts / f"{name}.zarr"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError):
        return None


def _write(parts: Path, name: str, document: dict[str, Any], reproduced: Reproduced) -> None:
    """The rows are written last: where they are, the data are too."""
    rows, data = parts / f"{name}.json", parts / f"{name}.zarr"
    rows.unlink(missing_ok=True)
    if data.exists():
        shutil.rmtree(data)
    store.write_result(reproduced.data, data)
    table = [row._asdict() for row in reproduced.rows]
    write_text(rows, json.dumps({**document, "rows": table}, indent=1, allow_nan=False) + "\n")
