"""Results on disk: the only module that knows how they lie there.

A result is one zarr (version 3) store: one checksummed array for each variable, everything else as attributes
of the group, which xarray opens as it is. An output folder holds

===================  =====================================================
``spec.json``        the spec, written first
``<label>.zarr``     one result for each objective
``summary.json``     what is known of all of them, written last
``*.png``            figures, drawn from the above and from nothing else
===================  =====================================================

Every entry is written under a hidden name, flushed to the disk and renamed: what has its name is whole.
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from jaxloss.errors import InputError

SPEC, SUMMARY, BASINS, SUFFIX = "spec.json", "summary.json", "basins.png", ".zarr"
CHUNK_BYTES = 2**24
_OURS = ("jaxloss_variables", "jaxloss_strings", "jaxloss_coordinates", "jaxloss_done")


class Stored(NamedTuple):
    """What an output folder already holds of one spec.

    Attributes:
      summary: the summary if everything is there, else `None`.
      labels: the objectives whose results are there.
    """

    summary: dict[str, Any] | None
    labels: tuple[str, ...]


class _Damaged(Exception):
    """The variable of this name cannot be read."""


def write_result(result: xr.Dataset, path: str | os.PathLike) -> None:
    """Writes one dataset to a new zarr store; an interrupted write leaves nothing behind.

    Args:
      result: variables of numbers, booleans or strings; attributes that JSON can express.
      path: the store, which must not exist.

    Raises:
      InputError: the path exists, or cannot be written.

    Examples:
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_result(xr.Dataset({"loss": ("w", [0.5, 0.25])}), f"{folder}/a.zarr")
      ...     read_result(f"{folder}/a.zarr").loss.values
      array([0.5 , 0.25])
    """
    with _whole(Path(path)) as partial:
        group = zarr.create_group(partial, zarr_format=3)
        strings = {}
        for name, variable in result.variables.items():
            if variable.dtype.kind in "OUT":
                values = variable.values.astype(object).tolist()
                strings[name] = {
                    "dims": variable.dims,
                    "values": values,
                    "attributes": _plain(variable.attrs),
                }
            else:
                _write_array(group, str(name), variable)
        _flush(partial)
        own = (list(map(str, result.variables)), strings, list(map(str, result.coords)), True)
        group.attrs.update({**_plain(result.attrs), **dict(zip(_OURS, own, strict=True))})


def read_result(path: str | os.PathLike) -> xr.Dataset:
    """A dataset that `write_result` wrote, in memory and identical to what was written.

    Args:
      path: the store.

    Returns:
      The dataset.

    Raises:
      InputError: there is no such store, it is not a result, or a part of it is missing or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no result {str(path)!r}")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{str(path)!r} is not a zarr store") from None
    attributes: dict[str, Any] = dict(group.attrs)
    names, strings, coordinates, done = (attributes.pop(name, None) for name in _OURS)
    if not done:
        raise InputError(f"{str(path)!r} is incomplete, or not a result of jaxloss")
    try:
        variables = {name: _read_variable(group, strings, name) for name in names}
    except _Damaged as error:
        raise InputError(f"{str(path)!r} is damaged: {str(error)!r} cannot be read") from None
    data = {name: variable for name, variable in variables.items() if name not in coordinates}
    return xr.Dataset(data, {name: variables[name] for name in coordinates}, attributes)


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
        entries = [entry for entry in _entries(folder) if not entry.name.endswith(".partial")]
        if not entries:
            _check_writable(folder)
            return Stored(None, ())
        stored = _read_json(folder / SPEC)
        if stored is None:
            raise InputError(f"{shown} holds other files: choose a new one with --out")
        if json.dumps(stored) != json.dumps(spec):  # The order of the axes counts.
            raise InputError(f"{shown} holds another result: choose a new one with --out")
        labels = tuple(sorted(entry.stem for entry in entries if entry.suffix == SUFFIX))
        summary = _read_json(folder / SUMMARY)
        if summary is not None and set(summary["objectives"]) <= set(labels):
            return Stored(summary, labels)
        _check_writable(folder)
        return Stored(None, labels)
    except OSError as error:
        raise InputError(f"cannot write {shown}: {error.strerror or error}") from None


def write_folder(
    folder: str | os.PathLike,
    spec: Mapping[str, Any],
    results: Mapping[str, xr.Dataset],
    summary: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Adds results to an output folder, and with a summary completes it.

    Args:
      folder: an output folder that `check_folder` passed; made if it does not exist.
      spec: the spec of all results.
      results: label -> result.
      summary: the summary of all results, JSON with ``objectives`` by label.

    Returns:
      The paths that were written.

    Raises:
      InputError: something cannot be written.
    """
    folder = Path(folder)
    made, written = not folder.exists(), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / SPEC).exists():
            _write_json(folder / SPEC, spec)
        for label, result in results.items():
            write_result(result, folder / f"{label}{SUFFIX}")
            written.append(folder / f"{label}{SUFFIX}")
        if summary is not None:
            _write_json(folder / SUMMARY, summary)
            written.append(folder / SUMMARY)
    except OSError as error:
        raise InputError(f"output folder {str(folder)!r} cannot be written: {error.strerror or error}") from None
    finally:
        if made and not written:
            with suppress(OSError):
                (folder / SPEC).unlink(missing_ok=True)
                folder.rmdir()
    return written


def read_folder(folder: str | os.PathLike) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """The results and the summary of a complete output folder.

    Args:
      folder: an output folder.

    Returns:
      label -> result in the spec's order, and the summary.

    Raises:
      InputError: there is no such folder, it holds no complete result, or a result is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r}")
    summary = _read_json(folder / SUMMARY)
    if summary is None or _read_json(folder / SPEC) is None:
        raise InputError(f"folder {str(folder)!r} holds no complete result of jaxloss")
    return {label: read_result(folder / f"{label}{SUFFIX}") for label in summary["objectives"]}, summary


def read_partial(folder: str | os.PathLike, label: str) -> xr.Dataset:
    """The result of one objective, whether or not the folder is complete.

    Args:
      folder: an output folder.
      label: one of `Stored.labels`.

    Returns:
      The result.

    Raises:
      InputError: as for `read_result`.
    """
    return read_result(Path(folder) / f"{label}{SUFFIX}")


def _write_array(group: zarr.Group, name: str, variable: xr.Variable) -> None:
    row = max(1, math.prod(variable.shape[1:]) * variable.dtype.itemsize)
    chunks = tuple(max(1, size) for size in variable.shape)
    array = group.create_array(
        name,
        shape=variable.shape,
        dtype=variable.dtype,
        chunks=(min(chunks[0], max(1, CHUNK_BYTES // row)), *chunks[1:]) if chunks else (),
        compressors=[ZstdCodec(level=5), Crc32cCodec()],
        dimension_names=[str(dim) for dim in variable.dims],
        attributes=_plain(variable.attrs),
        config={"write_empty_chunks": True},
    )
    array[...] = variable.values


def _read_variable(group: zarr.Group, strings: Mapping[str, Any], name: str) -> xr.Variable:
    if name in strings:
        record = strings[name]
        return xr.Variable(record["dims"], np.array(record["values"], dtype=str), record["attributes"])
    try:
        array = group[name]
        # A chunk that is not there would read as zeros.
        if not isinstance(array, zarr.Array) or array.nchunks_initialized != array.nchunks:
            raise _Damaged(name)
        values = np.asarray(array[...])
    except (OSError, ValueError, RuntimeError, KeyError):
        raise _Damaged(name) from None
    dims = array.metadata.dimension_names or ()  # pyright: ignore[reportAttributeAccessIssue]
    return xr.Variable(dims, values, dict(array.attrs))


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes without NumPy's scalars, which JSON does not know."""
    items = attributes.items()
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in items}


@contextmanager
def _whole(path: Path):
    """A hidden path beside ``path``, which gets the name ``path`` once it is complete and on the disk."""
    if path.is_dir():
        raise InputError(f"{str(path)!r} exists already")
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent, deep=False)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    finally:
        _remove(partial)


def _flush(path: Path, *, deep: bool = True) -> None:
    for entry in [path, *(path.rglob("*") if deep and path.is_dir() else ())]:
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _check_writable(folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryDirectory(prefix=".", suffix=".partial", dir=folder):
        pass


def _read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, allow_nan=False)
    with _whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
