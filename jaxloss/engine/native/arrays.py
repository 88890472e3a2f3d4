"""A program for one lane, as a kernel on arrays with lanes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn

from jaxloss.engine.native import library
from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.kernel import MOST_NUMBERS, Kernel, Layout
from jaxloss.engine.native.primitives import RULES
from jaxloss.engine.native.program import (
    Item,
    Kind,
    Loop,
    Program,
    Value,
    evaluate,
    flat,
    flat_equation,
    inputs_of,
    look,
    needed,
)

_used: ContextVar[Any] = ContextVar("_used", default=None)


@contextmanager
def allowed(used: Any | None) -> Iterator[None]:
    """What this thread traces inside may become native code, for so many lanes from the first on; not so for None."""
    token = _used.set(used)
    try:
        yield
    finally:
        _used.reset(token)


def _lanes_used() -> Any:
    used = _used.get()
    if used is None or jax.default_backend() != "cpu":
        raise Unsupported("XLA is asked for")
    return used


Outputs = tuple[list[Any], list[bool]]
"""Arrays, ``[*shape, lane]`` where they differ between lanes, and whether each does."""


def apply(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], varying: Sequence[bool], num: int) -> Outputs:
    """A one-lane program on arrays with lanes.

    Args:
      jaxpr: the program.
      consts: its constants.
      args: its inputs, ``[*shape, lane]`` where they differ between lanes.
      varying: which do.
      num: of lanes.

    Returns:
      Its outputs.

    Raises:
      Unsupported: it cannot be written as native code.
    """
    used, values = _lanes_used(), _values(jaxpr.invars, varying)
    return _run(flat(jaxpr, consts, values), dict(zip(values, args, strict=True)), num, used)


def apply_equation(eqn: JaxprEqn, args: Sequence[Any], varying: Sequence[bool], num: int) -> Outputs:
    """The same for one equation."""
    used, values = _lanes_used(), _values(eqn.invars, varying)
    return _run(flat_equation(eqn, values), dict(zip(values, args, strict=True)), num, used)


def _values(atoms: Sequence[Any], varying: Sequence[bool]) -> list[Value]:
    return [
        Value(atom.aval, Kind.LANE if varies else Kind.FIXED) for atom, varies in zip(atoms, varying, strict=True)
    ]


def _run(program: Program, arrays: dict[Value, Any], num: int, used: Any) -> Outputs:
    outputs = program.outputs
    moving = list(dict.fromkeys(out for out in outputs if out.kind > Kind.FIXED and out not in arrays))
    items = needed(program.items, moving)
    read = dict.fromkeys([*inputs_of(items), *moving])
    fixed = [value for value in read if value.kind == Kind.FIXED and value.constant is None]
    evaluate(needed(program.fixed, [*fixed, *outputs]), arrays)
    if moving:
        own = [value for value in arrays if value.kind == Kind.LANE and value in read]
        kernel = Kernel.of(items, Layout(fixed, own), moving, library.register_bytes())
        padded = num + -num % kernel.lanes
        given = [jnp.asarray(look(value, arrays)) for value in fixed]
        given += [_padded(arrays[value], kernel.lanes) for value in own]
        lanes = {Kind.LANE: (padded,), Kind.STEP: ()}
        shapes = [jax.ShapeDtypeStruct((*v.aval.shape, *lanes[v.kind]), v.aval.dtype) for v in moving]
        in_place = _in_place(given, len(fixed), shapes)
        found = library.call(kernel, (padded, used), given, shapes, in_place)
        arrays |= {
            value: array[..., :num] if value.kind == Kind.LANE else array
            for value, array in zip(moving, found, strict=True)
        }
    return [look(value, arrays) for value in outputs], [value.kind == Kind.LANE for value in outputs]


def has_rules(jaxpr: Jaxpr, varying: Sequence[bool]) -> bool:
    """Whether a kernel can most likely be written: it is small, and there is a rule for each equation on lanes.

    Args:
      jaxpr: a one-lane program.
      varying: which of its inputs differ between lanes.
    """
    try:
        library.register_bytes()
    except Unsupported:
        return False
    values = _values(jaxpr.invars, varying)
    items = flat(jaxpr, [None] * len(jaxpr.constvars), values).items
    kept = sum(math.prod(value.aval.shape) for value in values if value.kind == Kind.LANE)
    return kept <= MOST_NUMBERS and _have_rules(items)


def _have_rules(items: Sequence[Item]) -> bool:
    return all(
        _have_rules([*item.test, *item.body])
        if isinstance(item, Loop)
        else item.kind < Kind.LANE or item.eqn.primitive.name in RULES
        for item in items
    )


def _in_place(given: Sequence[Any], num_fixed: int, shapes: Sequence[Any]) -> dict[int, int]:
    """For each output the first input of its shape, as in functions that begin with what they change.

    What all lanes share is no such input, whatever its shape: later lanes still read it.
    """
    found: dict[int, int] = {}
    for k, shape in enumerate(shapes):
        own = range(num_fixed, len(given))
        alike = (i for i in own if (given[i].shape, given[i].dtype) == (shape.shape, shape.dtype) and i not in found)
        if (i := next(alike, None)) is not None:
            found[i] = k
    return found


def _padded(array: jax.Array, multiple: int) -> jax.Array:
    """The array with its last lane repeated, to whole multiples of lanes."""
    missing = -array.shape[-1] % multiple
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], mode="edge") if missing else array
