"""Files that are whole or not there, and that are known again."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxloss.errors import InputError

DIGEST_SIZE = 16
PARTIAL = ".partial"


class Damage(NamedTuple):
    """Something of a store that is not what was written.

    Attributes:
      path: of the file, relative to the store.
      what: went wrong, a phrase.
      block: which block it belongs to, None for what belongs to all.
    """

    path: str
    what: str
    block: int | None = None

    def __str__(self) -> str:
        return f"{self.path} {self.what}" + ("" if self.block is None else f" (block {self.block})")


def digest(content: bytes, path: str, key: bytes = b"") -> bytes:
    """What tells a file from every other: it depends on the content, the place in the store, and the sweep.

    Examples:
      >>> digest(b"1", "loss/c/0") == digest(b"1", "loss/c/1")
      False
    """
    return hashlib.blake2b(path.encode() + b"\0" + content, digest_size=DIGEST_SIZE, key=key).digest()


def content_of(path: Path) -> bytes | None:
    """The bytes of a file, None where there is none that can be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden path beside ``path``, which gets the name ``path`` once it is complete and on the disk.

    Raises:
      InputError: there is a folder of that name, or it cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} exists already")
    partial = path.with_name(f".{path.name}{PARTIAL}")
    try:
        remove(partial)
        yield partial
        flush(partial)
        os.replace(partial, path)
        flush(path.parent, deep=False)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    finally:
        remove(partial)


def write_text(path: Path, text: str) -> None:
    """Writes a file at once; one of that name is replaced.

    Raises:
      InputError: it cannot be written.
    """
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file at once; one of that name is replaced.

    Raises:
      InputError: it cannot be written.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none."""
    content = content_of(path)
    try:
        value = json.loads(content) if content is not None else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def signed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its own digest as the last entry."""
    return {**value, "digest": _digest_of(value)}


def is_signed(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object has its own digest.

    Examples:
      >>> is_signed(signed({"a": 1})), is_signed({**signed({"a": 1}), "a": 2}), is_signed({"a": 1})
      (True, False, False)
    """
    return value.get("digest") == _digest_of({name: entry for name, entry in value.items() if name != "digest"})


def read_signed(path: Path) -> dict[str, Any] | None:
    """The JSON object that was `signed`, without its digest; None where there is none, or it is damaged."""
    value = read_json(path)
    if value is None or not is_signed(value):
        return None
    return {name: entry for name, entry in value.items() if name != "digest"}


def canonical(value: Any) -> bytes:
    """JSON in which equal values look alike."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def flush(path: Path, *, deep: bool = True) -> None:
    """Has the disk keep a file, or a folder with all that it holds."""
    for entry in [path, *(path.rglob("*") if deep and path.is_dir() else ())]:
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other process writes to the folder meanwhile; a process that is killed leaves no lock behind.

    Raises:
      InputError: another process writes to it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"output folder {str(folder)!r} is being written to by another process") from None
    finally:
        os.close(descriptor)


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any], at: str = "") -> str:
    """The first entry in which two JSON documents differ, and how, as a phrase; empty where they do not.

    Examples:
      >>> differing({"run": {"num_steps": 10}}, {"run": {"num_steps": 20}})
      'run.num_steps is 20 there and 10 here'
      >>> differing({"a": 1, "b": 2}, {"b": 2, "a": 1})
      'the order of its entries is another'
    """
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = (document.get(name) for document in (ours, theirs))
        if here == there and (name in ours) == (name in theirs):
            continue
        if isinstance(here, dict) and isinstance(there, dict) and (within := differing(here, there, f"{at}{name}.")):
            return within
        shown = [_short(document, name) for document in (theirs, ours)]
        return f"{at}{name} is {shown[0]} there and {shown[1]} here"
    for name, value in ours.items():
        if isinstance(value, dict) and (within := differing(value, theirs[name], f"{at}{name}.")):
            return within
    return f"the order of {at.rstrip('.') or 'its entries'} is another" if list(ours) != list(theirs) else ""


def _short(document: Mapping[str, Any], name: str) -> str:
    text = json.dumps(document[name]) if name in document else "missing"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest_of(value: Mapping[str, Any]) -> str:
    # The order of entries counts: that of a grid's axes is the order of the result's.
    return digest(json.dumps(value).encode(), "").hex()
