"""One dataset as one zarr (version 3) store: an array for each variable, everything else as attributes of the group.

xarray opens a store as it is. Strings alone are attributes.
"""

import math
import os
import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from jaxloss.errors import InputError
from jaxloss.store.files import flush, whole
from jaxloss.store.signature import ROOT, damaged_files, plain, read_root, sign

CHUNK_BYTES = 2**24
# Floating-point noise hardly gets smaller, and the rest does at the first level.
COMPRESSORS = (ZstdCodec(level=1), Crc32cCodec())
# All chunks are written, also those that hold the fill value: a file that is missing is a loss.
WRITTEN: Any = {"write_empty_chunks": True}


def write_result(result: xr.Dataset, path: str | os.PathLike) -> None:
    """Writes one dataset to a new zarr store; an interrupted write leaves nothing behind.

    Args:
      result: variables of numbers, booleans or strings; attributes that JSON can express.
      path: the store, which must not exist.

    Raises:
      InputError: the path exists, or cannot be written.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_result(xr.Dataset({"loss": ("w", [0.5, 0.25])}), f"{folder}/a.zarr")
      ...     read_result(f"{folder}/a.zarr").loss.values
      array([0.5 , 0.25])
    """
    with whole(Path(path)) as partial:
        group = zarr.create_group(partial, zarr_format=3)
        strings = write_variables(group, result.variables)
        group.attrs.update(plain(result.attrs))
        flush(partial)
        consolidate(partial)
        sign(partial, small_files(partial), done=True, **described(result.variables, result.coords, strings))


def read_result(path: str | os.PathLike) -> xr.Dataset:
    """The dataset of a store that is complete, in memory and identical to what was written.

    Args:
      path: the store.

    Returns:
      The dataset.

    Raises:
      InputError: there is no such store, it is not a result, or a part of it is missing or damaged.
    """
    with open_result(path) as result:
        return result.load()


def open_result(path: str | os.PathLike, *, check: bool = True) -> xr.Dataset:
    """The dataset of a store that is complete; its arrays are read when they are asked for.

    Args:
      path: the store.
      check: look at every file before, so that nothing is read as data that was not written as such.

    Returns:
      The dataset.

    Raises:
      InputError: there is no such store, it is not a result, or a part of it is missing or damaged.
    """
    from jaxloss.store.block_store import check_blocks

    path = Path(path)
    attributes, ours = read_root(path)
    if not ours.get("done"):
        raise InputError(f"{str(path)!r} is unfinished: jaxloss resume goes on with it")
    if check and (found := damaged_files(path, ours) or check_blocks(path, ours)):
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise InputError(f"{str(path)!r} is damaged: {found[0]}{more}")
    opened = xr.open_zarr(path, consolidated=True, chunks=None, zarr_format=3, decode_cf=False)
    variables = {name: opened.variables[name] for name in ours["variables"] if name not in ours["strings"]}
    for name, record in ours["strings"].items():
        variables[name] = xr.Variable(record["dims"], np.array(record["values"], dtype=str), record["attributes"])
    coordinates = ours["coordinates"]
    data = {name: variables[name] for name in ours["variables"] if name not in coordinates}
    result = xr.Dataset(data, {name: variables[name] for name in coordinates}, attributes)
    result.set_close(opened.close)
    return result


def write_variables(group: zarr.Group, variables: Mapping[Hashable, xr.Variable]) -> dict[str, Any]:
    """Writes variables to a group, those of strings apart, which it returns as JSON."""
    strings = {}
    for name, variable in variables.items():
        if variable.dtype.kind in "OUT":
            values = variable.values.astype(object).tolist()
            strings[str(name)] = {
                "dims": list(variable.dims),
                "values": values,
                "attributes": plain(variable.attrs),
            }
        else:
            _write_array(group, str(name), variable)
    return strings


def described(variables: Any, coordinates: Any, strings: Mapping[str, Any]) -> dict[str, Any]:
    """What the attribute ``jaxloss`` says of the variables."""
    names = {"variables": list(map(str, variables)), "coordinates": list(map(str, coordinates))}
    return {**names, "strings": dict(strings)}


def small_files(path: Path) -> list[Path]:
    """Every file of a store that has no blocks, without its root."""
    return [file for file in path.rglob("*") if file.is_file() and file != path / ROOT]


def consolidate(path: Path) -> None:
    """Collects the metadata of all arrays in the root, which readers find faster."""
    with warnings.catch_warnings():
        # The convention is older than its place in the specification.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(path)


def _write_array(group: zarr.Group, name: str, variable: xr.Variable) -> None:
    row = max(1, math.prod(variable.shape[1:]) * variable.dtype.itemsize)
    chunks = tuple(max(1, size) for size in variable.shape)
    array = group.create_array(
        name,
        shape=variable.shape,
        dtype=variable.dtype,
        chunks=(min(chunks[0], max(1, CHUNK_BYTES // row)), *chunks[1:]) if chunks else (),
        compressors=COMPRESSORS,
        dimension_names=[str(dim) for dim in variable.dims],
        attributes=plain(variable.attrs),
        config=WRITTEN,
    )
    array[...] = variable.values
