"""Machine code of kernels, kept from one process to the next in JAX's folder of compiled programs."""

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxloss.engine.native.program import Item, Kind, Loop, Value

DIGEST = 32


def fingerprint(items: Iterable[Item], given: Sequence[Value], outputs: Sequence[Value]) -> str:
    """What tells a kernel from all others: equations, loops, and what goes in and comes out.

    Args:
      items: the equations and loops.
      given: what the kernel is given, in order.
      outputs: what it returns.

    Returns:
      A digest.
    """
    parts: list[str] = [_environment()]
    numbers: dict[Value, str] = {}

    def names(values: Iterable[Value]) -> str:
        return ",".join(map(name, values))

    def name(value: Value) -> str:
        if value not in numbers:
            constant, type_ = value.constant, f"{value.aval.dtype}{value.aval.shape}"
            if constant is None:
                numbers[value] = str(len(numbers))
                parts.append(f"{numbers[value]} is {type_} {Kind(value.kind).name}")
            else:
                numbers[value] = f"{type_}{np.asarray(constant).tobytes().hex()}"
        return numbers[value]

    def walk(items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item, Loop):
                parts.append(f"loop {names(item.before)} {names(item.carry)}")
                walk(item.test)
                parts.append(f"while {name(item.goes_on)}")
                walk(item.body)
                parts.append(f"end {names(item.after)} {names(item.outputs)}")
            else:
                operands = names(item.inputs)
                parts.append(f"{item.eqn.primitive.name} {item.eqn.params} {operands} {names(item.outputs)}")

    parts.append(f"given {names(given)}")
    walk(items)
    parts.append(f"returns {names(outputs)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def _environment() -> str:
    """What machine code depends on besides the program: the processor, the compiler, and how kernels are written."""
    import llvmlite.binding as llvm

    here = Path(__file__).parent
    sources = hashlib.sha256()
    for file in sorted([*here.glob("*.py"), here.parent / "elementary.py"]):
        sources.update(file.read_bytes())
    features = llvm.get_host_cpu_features().flatten()
    return f"{sources.hexdigest()} {version('llvmlite')} {jax.__version__} {llvm.get_host_cpu_name()} {features}"


def kept(name: str, make: Callable[[], bytes]) -> bytes:
    """What has been kept under a name, or is made and kept now; it is only made where JAX keeps no programs.

    Args:
      name: of the file.
      make: makes it.

    Returns:
      The bytes.
    """
    folder: Any = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    file = Path(folder) / name if folder else None
    if file is not None:
        with suppress(OSError):
            found = file.read_bytes()
            if hashlib.sha256(found[DIGEST:]).digest() == found[:DIGEST]:
                return found[DIGEST:]
    made = make()
    if file is not None:
        with suppress(OSError):
            _write_whole(file, hashlib.sha256(made).digest() + made)
    return made


def _write_whole(file: Path, content: bytes) -> None:
    """Nobody ever sees a part of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(part, file)
    except BaseException:
        os.unlink(part)
        raise
