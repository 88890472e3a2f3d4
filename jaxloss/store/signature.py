"""How a zarr store is known to be whole: the attribute ``jaxloss`` of its root, and what it says of every file.

``format``       of the store, see `FORMAT`
``done``         whether everything is there
``key``          what the digests of this sweep depend on besides the files
``files``        path -> digest of every file that does not belong to a block
``digest``       of the root's own metadata, this entry apart
``variables``    names in order; ``coordinates``: those that are coordinates
``strings``      variables of strings, which zarr's third version has no lasting type for
``parts``        what is written block by block, see `jaxloss.store.block_store`
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxloss.errors import InputError
from jaxloss.store.files import Damage, canonical, content_of, digest, flush, read_json, write_text

ROOT = "zarr.json"
OURS = "jaxloss"
FORMAT = 1
"""Of the stores that this version writes, and the only one that it reads."""

# Nothing else is written; a store from elsewhere must not choose what code reads it.
CODECS = frozenset({"bytes", "zstd", "crc32c"})


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes without NumPy's scalars, which JSON does not know."""
    items = attributes.items()
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in items}


def sign(path: Path, covered: Iterable[Path], **facts: Any) -> None:
    """Writes the attribute ``jaxloss`` of a store, last of all.

    Args:
      path: the store.
      covered: files that do not belong to a block, without the root's own.
      **facts: further entries.
    """
    ours: dict[str, Any] = {"format": FORMAT, **facts}
    key = bytes.fromhex(ours.get("key", ""))
    names = sorted(file.relative_to(path).as_posix() for file in covered)
    ours["files"] = {name: digest((path / name).read_bytes(), name, key).hex() for name in names}
    root = json.loads((path / ROOT).read_bytes())
    root["attributes"][OURS] = ours
    root["attributes"][OURS] = {**ours, "digest": _own_digest(root)}
    write_text(path / ROOT, json.dumps(root, indent=1))
    flush(path, deep=False)


def read_root(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes of a store, without ``jaxloss``, and those of ``jaxloss``, checked against their own digest.

    Raises:
      InputError: there is no such store, it is another's, or its root is damaged.
    """
    shown = repr(str(path))
    if not path.exists():
        raise InputError(f"no result {shown}")
    if not (path / ROOT).is_file():
        raise InputError(f"{shown} is not a zarr store: it has no {ROOT}")
    root = read_json(path / ROOT)
    if root is None:
        raise InputError(f"{shown} is damaged: {ROOT} is not JSON")
    attributes = root.get("attributes")
    ours = attributes.get(OURS) if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or not isinstance(ours, dict):
        raise InputError(f"{shown} is not a result of jaxloss: {ROOT} has no attribute {OURS!r}")
    if ours.get("format") != FORMAT:
        version = ours.get("format")
        raise InputError(f"{shown} was written by another version of jaxloss: format {version}, and not {FORMAT}")
    if _own_digest(root) != ours.get("digest"):
        raise InputError(f"{shown} is damaged: {ROOT} is not what was written")
    return {name: value for name, value in attributes.items() if name != OURS}, ours


def damaged_files(path: Path, ours: dict[str, Any]) -> list[Damage]:
    """What is wrong with the files that belong to no block."""
    key, found = bytes.fromhex(ours.get("key", "")), []
    for name, expected in ours["files"].items():
        content = content_of(path / name)
        if content is None:
            found.append(Damage(name, "is missing"))
        elif digest(content, name, key).hex() != expected:
            found.append(Damage(name, "is not what was written"))
        elif name.endswith(ROOT) and (foreign := _codecs(json.loads(content)) - CODECS):
            found.append(Damage(name, f"uses the codec {min(foreign)!r}, which jaxloss never does"))
    return found


def _codecs(metadata: dict[str, Any]) -> set[str]:
    return {str(codec.get("name")) for codec in metadata.get("codecs", ())}


def _own_digest(root: dict[str, Any]) -> str:
    ours = {name: value for name, value in root["attributes"][OURS].items() if name != "digest"}
    return digest(canonical({**root, "attributes": {**root["attributes"], OURS: ours}}), ROOT).hex()
