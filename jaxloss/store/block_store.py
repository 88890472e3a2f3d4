"""A result that is written block by block, by any number of processes, and survives any of them being killed.

Each block of each array is one chunk, one file. When the files of a block are on the disk, their digests are written
to the array ``blocks/<part>``: a block is done if and only if they are there and agree. Whoever opens the store finds
fill values (NaN, -1) where no block has been written.
"""

import functools
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr

from jaxloss.blocks import Blocking
from jaxloss.errors import InputError
from jaxloss.store.files import DIGEST_SIZE, PARTIAL, Damage, content_of, digest, flush, remove
from jaxloss.store.result import COMPRESSORS, WRITTEN, consolidate, described, small_files, write_variables
from jaxloss.store.signature import ROOT, damaged_files, plain, read_root, sign

BLOCKS, DATA = "blocks", "data"


class Field(NamedTuple):
    """One array of a part.

    Attributes:
      dtype: of NumPy, by name.
      fill: what stands where no block has been written.
      trailing: further dimensions, name and size of each.
    """

    dtype: str
    fill: float
    trailing: tuple[tuple[str, int], ...] = ()


class Part(NamedTuple):
    """Arrays that are written together, block by block.

    Attributes:
      dims: the axes, in grid order.
      blocking: of the axes.
      fields: name -> array.
    """

    dims: tuple[str, ...]
    blocking: Blocking
    fields: dict[str, Field]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        fields = {name: list(field) for name, field in self.fields.items()}
        return {"dims": list(self.dims), "blocking": self.blocking._asdict(), "fields": fields}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Part":
        """The inverse of `to_json`."""
        blocking = Blocking(*(tuple(value["blocking"][name]) for name in Blocking._fields))
        fields = {
            name: Field(dtype, fill, tuple((dim, size) for dim, size in trailing))
            for name, (dtype, fill, trailing) in value["fields"].items()
        }
        return cls(tuple(value["dims"]), blocking, fields)

    @property
    def nbytes(self) -> int:
        """Of all arrays, before compression."""
        each = (np.dtype(f.dtype).itemsize * int(np.prod([n for _, n in f.trailing])) for f in self.fields.values())
        return sum(each) * int(np.prod(self.blocking.shape, dtype=np.int64))


class BlockStore:
    """A store that exists; see `prepare` and `open_store`.

    Args:
      path: of the store.
      parts: name -> what is written together.
      key: what digests depend on besides the files.
    """

    def __init__(self, path: Path, parts: Mapping[str, Part], key: bytes):
        self.path, self.parts, self.key = path, dict(parts), key
        self._group = zarr.open_group(path, mode="r+", zarr_format=3, use_consolidated=False)
        fields = [name for part in parts.values() for name in part.fields]
        # An array remembers how it was opened. Blocks of nothing but the fill value must be files as well.
        with zarr.config.set({"array.write_empty_chunks": True}):
            self._arrays: dict[str, Any] = {
                name: self._group[name] for name in [*fields, *(f"{BLOCKS}/{part}" for part in parts)]
            }

    def write(self, part: str, block: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes one block of a part; it is done once this returns.

        Args:
          part: its name.
          block: its number.
          arrays: of each field, over the block's box with the axes in grid order.
        """
        box, fields = self.parts[part].blocking.box(block), self.parts[part].fields

        def write_field(name: str) -> bytes:
            self._arrays[name][box] = arrays[name]
            return self._flushed(self._chunk(part, block, name))

        # Compression, digests and the disk wait for one another less in threads.
        record = np.frombuffer(b"".join(_threads().map(write_field, fields)), np.uint8)
        self._arrays[f"{BLOCKS}/{part}"][block] = record.reshape(len(fields), DIGEST_SIZE)
        self._flushed(f"{BLOCKS}/{part}/c/{block}/0/0")

    def read(self, part: str, block: int, name: str) -> np.ndarray:
        """One array of a block that is done, over its box with the axes in grid order.

        Raises:
          InputError: its file is missing or damaged.
        """
        found = self._damage(part, block, [name])
        if found is None or found:
            what = found[0] if found else f"block {block} of {name} has not been written"
            raise InputError(f"{str(self.path)!r} is damaged: {what}")
        return np.asarray(self._arrays[name][self.parts[part].blocking.box(block)])

    def read_flat(self, part: str, block: int, name: str) -> np.ndarray:
        """`read`, in the order of work: ``[trajectory, ...]``."""
        return self.parts[part].blocking.from_box(self.read(part, block, name))

    def damage(self, part: str, block: int) -> list[Damage] | None:
        """What is wrong with a block, None if it has not been written."""
        return self._damage(part, block, list(self.parts[part].fields))

    def done(self, part: str) -> np.ndarray:
        """Whether each block of a part has been written and is whole, bool ``[block]``."""
        return np.array([self.damage(part, block) == [] for block in range(self.parts[part].blocking.num_blocks)])

    def finish(self, small: xr.Dataset, attributes: Mapping[str, Any]) -> None:
        """Adds what is known once all blocks are done, and marks the store as done.

        Args:
          small: variables that belong to no block.
          attributes: of the result, those that `prepare` had been given among them.
        """
        _, ours = read_root(self.path)
        for name in [*small.variables, *self.path.rglob(f"*{PARTIAL}")]:
            remove(self.path / str(name))  # of attempts that were cut short
        strings = {**ours["strings"], **write_variables(self._group, small.variables)}
        self._group.attrs.put(plain(attributes))
        for name in small.variables:
            if (self.path / str(name)).is_dir():
                flush(self.path / str(name))
        consolidate(self.path)
        names, coordinates = (
            list(dict.fromkeys([*ours[kind], *map(str, more)]))
            for kind, more in (("variables", small.variables), ("coordinates", small.coords))
        )
        facts = described(names, coordinates, strings)
        sign(self.path, self._small_files(), done=True, key=ours["key"], parts=ours["parts"], **facts)

    def _chunk(self, part: str, block: int, name: str) -> str:
        place = "/".join(map(str, self.parts[part].blocking.place(block)))
        return f"{name}/c/{place}" + "/0" * len(self.parts[part].fields[name].trailing)

    def _flushed(self, name: str) -> bytes:
        """Has the disk keep a file, and returns its digest."""
        file = self.path / name
        content = file.read_bytes()
        flush(file)
        # A new file is found again only if its folders are kept as well.
        for folder in file.parents[: len(Path(name).parts)]:
            flush(folder, deep=False)
        return digest(content, name, self.key)

    def _damage(self, part: str, block: int, names: list[str]) -> list[Damage] | None:
        record = self._record(part, block)
        if record is None:
            return None
        found = []
        for name, expected in zip(self.parts[part].fields, record, strict=True):
            if name not in names:
                continue
            path = self._chunk(part, block, name)
            content = content_of(self.path / path)
            if content is None:
                found.append(Damage(path, "is missing", block))
            elif digest(content, path, self.key) != expected.tobytes():
                found.append(Damage(path, "is not what was written", block))
        return found

    def _record(self, part: str, block: int) -> np.ndarray | None:
        """The digests of a block's files, None where they are not there or cannot be read."""
        if not (self.path / BLOCKS / part / "c" / str(block)).exists():
            return None
        try:
            record = np.asarray(self._arrays[f"{BLOCKS}/{part}"][block])
        except Exception:  # each codec has its own way to find fault with a damaged chunk
            return None
        return record if record.any() else None

    def _small_files(self) -> list[Path]:
        chunked = {self.path / name / "c" for part in self.parts.values() for name in part.fields}
        chunked |= {self.path / BLOCKS / part / "c" for part in self.parts}
        return [file for file in small_files(self.path) if not chunked.intersection(file.parents)]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="jaxloss-store")


def prepare(
    path: Path,
    parts: Mapping[str, Part],
    *,
    key: bytes,
    small: xr.Dataset,
    data: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
) -> BlockStore:
    """The store of a result, made if it is not there, and mended where files that belong to no block are damaged.

    Blocks that are there stay there.

    Args:
      path: of the store.
      parts: name -> what is written together.
      key: of at most 64 bytes; a store with another key is another's, and its blocks do not count.
      small: coordinates, and other variables that are known before.
      data: what the result was computed from, for the group `DATA`.
      attributes: of the result.

    Returns:
      The store.
    """
    skeleton = path.with_name(f".{path.name}{PARTIAL}")
    remove(skeleton)
    try:
        _write_skeleton(skeleton, parts, key, small, data, attributes)
        if path.exists():
            _mend(path, skeleton, key)
        else:
            os.replace(skeleton, path)
        flush(path.parent, deep=False)
    finally:
        remove(skeleton)
    return BlockStore(path, parts, key)


def open_store(path: Path) -> tuple[BlockStore, dict[str, Any], dict[str, Any]]:
    """A store of blocks, finished or not, with its attributes and those of ``jaxloss``.

    Raises:
      InputError: there is none, or its root is damaged.
    """
    attributes, ours = read_root(path)
    if "parts" not in ours:
        raise InputError(f"{str(path)!r} is not a sweep in blocks")
    parts = {name: Part.from_json(part) for name, part in ours["parts"].items()}
    return BlockStore(path, parts, bytes.fromhex(ours["key"])), attributes, ours


def num_recorded(path: Path, part: str) -> int:
    """How many blocks of a part have been written, whole or not."""
    folder = path / BLOCKS / part / "c"
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def is_done(path: Path) -> bool:
    """Whether a store says of itself that it is done, and the files that belong to no block are whole."""
    try:
        _, ours = read_root(path)
    except InputError:
        return False
    return bool(ours["done"]) and not damaged_files(path, ours)


def check_blocks(path: Path, ours: Mapping[str, Any], *, finished: bool = True) -> list[Damage]:
    """What is wrong with the blocks of a store, if it has any; of one that is finished none may be missing."""
    if "parts" not in ours:
        return []
    store, _, _ = open_store(path)
    found = []
    for part, what in store.parts.items():
        for block in range(what.blocking.num_blocks):
            damage = store.damage(part, block)
            record = f"{BLOCKS}/{part}/c/{block}/0/0"
            if damage is not None:
                found += damage
            elif finished or (path / record).exists():
                found.append(Damage(record, "is missing or damaged", block))
    return found


def _write_skeleton(
    path: Path,
    parts: Mapping[str, Part],
    key: bytes,
    small: xr.Dataset,
    data: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
) -> None:
    """A store without any block: all its metadata, and what is small."""
    group = zarr.create_group(path, zarr_format=3)
    strings = write_variables(group, small.variables)
    if data:
        columns: Any = {name: xr.Variable([f"{name}_{i}" for i in range(a.ndim)], a) for name, a in data.items()}
        write_variables(group.create_group(DATA), columns)
    records = group.create_group(BLOCKS)
    variables = list(map(str, small.variables))
    for part, (dims, blocking, fields) in parts.items():
        variables += fields
        for name, (dtype, fill, trailing) in fields.items():
            sizes = tuple(size for _, size in trailing)
            group.create_array(
                name,
                shape=blocking.shape + sizes,
                dtype=dtype,
                chunks=blocking.chunk + sizes,
                compressors=COMPRESSORS,
                fill_value=fill,
                dimension_names=[*dims, *(dim for dim, _ in trailing)],
                config=WRITTEN,
            )
        records.create_array(
            part,
            shape=(blocking.num_blocks, len(fields), DIGEST_SIZE),
            dtype="uint8",
            chunks=(1, len(fields), DIGEST_SIZE),
            compressors=COMPRESSORS,
            fill_value=0,
            dimension_names=["block", "variable", "byte"],
            config=WRITTEN,
        )
    group.attrs.update(plain(attributes))
    flush(path)
    facts = described(variables, small.coords, strings)
    written = {name: part.to_json() for name, part in parts.items()}
    sign(path, small_files(path), done=False, key=key.hex(), parts=written, **facts)


def _mend(path: Path, skeleton: Path, key: bytes) -> None:
    """Takes from a skeleton what is damaged or missing in a store."""
    try:
        _, ours = read_root(path)
        sound = ours.get("key") == key.hex() and not damaged_files(path, ours)
    except InputError:
        sound = False
    if sound:
        return
    for file in small_files(skeleton):
        target = path / file.relative_to(skeleton)
        if content_of(target) != file.read_bytes():
            remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    os.replace(skeleton / ROOT, path / ROOT)
    flush(path)


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a store, as they are: whatever can be read of them."""
    try:
        return dict(json.loads((path / ROOT).read_bytes())["attributes"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
