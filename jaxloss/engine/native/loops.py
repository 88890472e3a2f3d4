"""Parts of a one-lane program run as native code on arrays with lanes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from jaxloss.engine.native import library
from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.kernel import MOST_NUMBERS, Layout, write
from jaxloss.engine.native.primitives import RULES
from jaxloss.engine.native.program import Kind, Op, Value, evaluate, flat, look, needed

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


def loop(
    eqn: JaxprEqn,
    consts: Sequence[Any],
    carry: Sequence[Any],
    varying: tuple[Sequence[bool], Sequence[bool]],
    num: int,
) -> list[Any]:
    """A ``fori_loop`` of a one-lane program.

    Args:
      eqn: the while loop to which JAX makes it.
      consts: the constants of its body, ``[*shape, lane]`` where they differ between lanes.
      carry: what the loop carries, likewise.
      varying: which of the constants and of the carried arrays differ between lanes.
      num: of lanes.

    Returns:
      The carried arrays after the loop.

    Raises:
      Unsupported: it cannot be written as native code.
    """
    used = _lanes_used()
    body, num_consts = eqn.params["body_jaxpr"], eqn.params["body_nconsts"]
    if not _counts(eqn):
        raise Unsupported("a loop that does not count")
    args = [
        Value(var.aval, Kind.LANE if varies else Kind.STEP if i >= num_consts else Kind.FIXED)
        for i, (var, varies) in enumerate(zip(body.jaxpr.invars, [*varying[0], *varying[1]], strict=True))
    ]
    ops, outs = flat(body.jaxpr, body.consts, args)
    after = dict(zip(args[num_consts:], outs, strict=True))
    clock = [value for value in after if value.kind == Kind.STEP]
    state = [value for value in after if value.kind == Kind.LANE]
    arrays = dict(zip(args, [*consts, *carry], strict=True))
    # The counter and its end alone need no clock.
    steps = needed(ops, [after[value] for value in state])
    if all(after[value] is value for value in clock[1:]) and not _uses(steps, after, state, clock):
        clock = []
    moving = [*clock, *state]
    results = [after[value] for value in moving]
    ops = needed(ops, results)
    layout = _layout(ops, results, args[:num_consts], clock, state)
    kernel = write(ops, layout, results, library.register_bytes())
    given, padded = _given(ops, layout, arrays, num, kernel.lanes)
    held = [jnp.asarray(arrays[value]) for value in clock] + [_padded(arrays[value], kernel.lanes) for value in state]
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in held]

    def some_steps(carry: tuple) -> tuple:
        now, last, held = carry
        count = last - now if kernel.steps is None else jnp.minimum(last - now, kernel.steps)
        in_place = {len(given) + i: i for i in range(len(held))}
        return now + count, last, library.call(kernel, (padded, used, count), [*given, *held], shapes, in_place)

    counter, end = [value for value in after if value.kind != Kind.LANE][:2]
    first, last = jnp.asarray(arrays[counter]), jnp.asarray(arrays[end])
    if kernel.steps is None:
        arrays[counter], _, held = some_steps((first, jnp.maximum(first, last), held))
    else:
        arrays[counter], _, held = lax.while_loop(lambda carry: carry[0] < carry[1], some_steps, (first, last, held))
    arrays |= dict(zip(moving, held, strict=True))
    return [arrays[value][..., :num] if value.kind == Kind.LANE else arrays[value] for value in after]


def apply(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], varying: Sequence[bool], num: int) -> list[Any]:
    """A one-lane program on arrays with lanes.

    Args:
      jaxpr: the program.
      consts: its constants.
      args: its inputs, ``[*shape, lane]`` where they differ between lanes.
      varying: which do.
      num: of lanes.

    Returns:
      Its outputs, ``[*shape, lane]`` but where none of the inputs that they depend on differs.

    Raises:
      Unsupported: it cannot be written as native code.
    """
    used = _lanes_used()
    kinds = (Kind.LANE if varies else Kind.FIXED for varies in varying)
    values = [Value(var.aval, kind) for var, kind in zip(jaxpr.invars, kinds, strict=True)]
    ops, outs = flat(jaxpr, consts, values)
    arrays = dict(zip(values, args, strict=True))
    moving = list(dict.fromkeys(out for out in outs if out.kind == Kind.LANE and out not in arrays))
    evaluate(needed([op for op in ops if op.kind == Kind.FIXED], outs), arrays)
    ops = needed(ops, moving)
    layout = _layout(ops, moving, values, [], [])
    kernel = write(ops, layout, moving, library.register_bytes())
    given, padded = _given(ops, layout, arrays, num, kernel.lanes)
    shapes = [jax.ShapeDtypeStruct((*value.aval.shape, padded), value.aval.dtype) for value in moving]
    found = library.call(kernel, (padded, used, 1), given, shapes, _in_place(given, len(layout.fixed), shapes))
    arrays |= {value: array[..., :num] for value, array in zip(moving, found, strict=True)}
    return [look(value, arrays) for value in outs]


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
    kinds = (Kind.LANE if varies else Kind.FIXED for varies in varying)
    values = [Value(var.aval, kind) for var, kind in zip(jaxpr.invars, kinds, strict=True)]
    ops, _ = flat(jaxpr, [None] * len(jaxpr.constvars), values)
    kept = sum(math.prod(value.aval.shape) for value in values if value.kind == Kind.LANE)
    return kept <= MOST_NUMBERS and all(op.eqn.primitive.name in RULES for op in ops if op.kind == Kind.LANE)


def _layout(
    ops: Sequence[Op], after: Sequence[Value], inputs: Sequence[Value], clock: list[Value], state: list[Value]
) -> Layout:
    used = dict.fromkeys([value for op in ops if op.kind > Kind.FIXED for value in op.inputs] + [*after])
    fixed = [value for value in used if value.kind == Kind.FIXED and value.constant is None]
    own = [value for value in inputs if value.kind == Kind.LANE and value in used]
    return Layout(fixed, own, clock, state)


def _given(
    ops: Sequence[Op], layout: Layout, arrays: dict[Value, Any], num: int, lanes: int
) -> tuple[list[jax.Array], int]:
    """What a kernel is given, and of how many lanes."""
    evaluate(needed([op for op in ops if op.kind == Kind.FIXED], layout.fixed), arrays)
    given = [jnp.asarray(look(value, arrays)) for value in layout.fixed]
    return given + [_padded(arrays[value], lanes) for value in layout.own], num + -num % lanes


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


def _uses(steps: Sequence[Op], after: dict[Value, Value], state: Iterable[Value], clock: Sequence[Value]) -> bool:
    used = {value for op in steps for value in op.inputs} | {after[value] for value in state}
    return any(value in used for value in clock)


def _counts(eqn: JaxprEqn) -> bool:
    """Whether a loop goes on while the first number that it carries, a counter, is less than the second."""
    condition, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    first, last = body.invars[eqn.params["body_nconsts"] :][:2] if len(body.outvars) > 1 else (None, None)
    test = condition.eqns[0] if len(condition.eqns) == 1 else None
    if test is None or test.primitive.name != "lt" or test.invars != condition.invars[:2] or first is None:
        return False
    counted = next((step for step in body.eqns if body.outvars[0] in step.outvars), None)
    return (
        body.outvars[1] is last
        and counted is not None
        and counted.primitive.name == "add"
        and counted.invars[0] is first
        and isinstance(counted.invars[1], Literal)
        and counted.invars[1].val == 1
    )


def _padded(array: jax.Array, multiple: int) -> jax.Array:
    """The array with its last lane repeated, to whole multiples of lanes."""
    missing = -array.shape[-1] % multiple
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], mode="edge") if missing else array
