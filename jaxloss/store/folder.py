"""The output folder of a spec.

===================  =====================================================
``spec.json``        the spec, written first
``data/``            a copy of the spec's data file, if it has one
``<label>.zarr``     one result for each objective
``summary.json``     what is known of all of them, written last
``*.png``            figures, drawn from the above and from nothing else
===================  =====================================================
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from jaxloss.errors import InputError
from jaxloss.store.files import PARTIAL, differing, read_signed, signed, whole, write_json
from jaxloss.store.result import open_result

SPEC, SUMMARY, BASINS, DATA, SUFFIX = "spec.json", "summary.json", "basins.png", "data", ".zarr"


class Stored(NamedTuple):
    """What an output folder already holds of one spec.

    Attributes:
      summary: the summary if everything is there, else `None`.
      labels: the objectives that have a store, finished or not.
    """

    summary: dict[str, Any] | None
    labels: tuple[str, ...]


def check_folder(folder: str | os.PathLike, spec: Mapping[str, Any]) -> Stored:
    """Whether the results of a spec may be written to a folder, and what it holds of them; writes nothing.

    Args:
      folder: the output folder; it need not exist.
      spec: the spec as `jaxloss.spec.Spec.to_json` gives it.

    Returns:
      What is already there.

    Raises:
      InputError: the folder holds another result or other files, or cannot be written.
    """
    folder = Path(folder)
    shown = f"output folder {str(folder)!r}"
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{shown} is a file")
        entries = [entry for entry in _entries(folder) if not entry.name.endswith(PARTIAL)]
        if not entries:
            _check_writable(folder)
            return Stored(None, ())
        labels = tuple(sorted(entry.stem for entry in entries if entry.suffix == SUFFIX))
        stored = read_signed(folder / SPEC)
        if stored is None and not (labels and (folder / SPEC).exists()):
            raise InputError(f"{shown} holds other files: choose a new one with --out")
        if stored is not None and (different := differing(spec, stored)):
            raise InputError(f"{shown} holds another result ({different}): choose a new one with --out")
        summary = read_signed(folder / SUMMARY)
        if (
            stored is not None
            and summary is not None
            and _fits(summary, spec)
            and set(summary["objectives"]) <= set(labels)
        ):
            return Stored(summary, labels)
        _check_writable(folder)
        return Stored(None, labels)
    except OSError as error:
        raise InputError(f"cannot write {shown}: {error.strerror or error}") from None


def begin_folder(folder: str | os.PathLike, spec: Mapping[str, Any], data_file: Path | None = None) -> None:
    """Makes an output folder, if need be, and says in it of which spec it is.

    Args:
      folder: an output folder that `check_folder` passed.
      spec: the spec of all results.
      data_file: the file that the spec takes its data from; a copy is kept.

    Raises:
      InputError: something cannot be written.
    """
    folder = Path(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if data_file is not None and data_file.parent != folder / DATA:
            (folder / DATA).mkdir(exist_ok=True)
            with whole(folder / DATA / data_file.name) as partial:
                shutil.copyfile(data_file, partial)
        if read_signed(folder / SPEC) is None:
            write_json(folder / SPEC, signed(spec))
    except (OSError, InputError) as error:
        if made:
            with suppress(OSError):
                shutil.rmtree(folder)
        if isinstance(error, InputError):
            raise
        raise InputError(f"output folder {str(folder)!r} cannot be written: {error.strerror or error}") from None


def finish_folder(folder: str | os.PathLike, summary: Mapping[str, Any]) -> Path:
    """Writes the summary of all results, JSON with ``objectives`` by label, and returns its path.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(folder) / SUMMARY
    write_json(path, signed(summary))
    return path


def open_folder(folder: str | os.PathLike) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """The results and the summary of a complete output folder; arrays are read when they are asked for.

    Args:
      folder: an output folder.

    Returns:
      label -> result in the spec's order, and the summary.

    Raises:
      InputError: there is no such folder, it holds no complete result, or a result is damaged.
    """
    folder = Path(folder)
    spec, summary = read_spec(folder), read_signed(folder / SUMMARY)
    if summary is None or not _fits(summary, spec):
        raise InputError(f"folder {str(folder)!r} holds no complete result of jaxloss: jaxloss resume completes it")
    return {label: open_result(folder / f"{label}{SUFFIX}") for label in summary["objectives"]}, summary


def read_spec(folder: str | os.PathLike) -> dict[str, Any]:
    """The spec of an output folder, as `jaxloss.spec.Spec.to_json` gave it.

    Raises:
      InputError: there is no such folder, or no spec in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r}")
    spec = read_signed(folder / SPEC)
    if spec is None:
        raise InputError(f"folder {str(folder)!r} holds no result of jaxloss: its {SPEC} is missing or damaged")
    return spec


def _fits(summary: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    return json.dumps(summary.get("spec")) == json.dumps(spec) and isinstance(summary.get("objectives"), dict)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _check_writable(folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryDirectory(prefix=".", suffix=PARTIAL, dir=folder):
        pass
