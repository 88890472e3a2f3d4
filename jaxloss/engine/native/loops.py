"""Replaces loops over steps by native code."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn, Literal

from jaxloss.engine.native import library
from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.kernel import Layout, write
from jaxloss.engine.native.program import Kind, Value, evaluate, flat, look, needed

# Steps for which what depends on the step alone is computed beforehand.
STEPS = 64


def run(
    eqn: JaxprEqn, consts: Sequence[Any], carry: Sequence[Any], varying: tuple[Sequence[bool], Sequence[bool]], num: int
) -> list[Any]:
    """A ``fori_loop`` of one lane's program over arrays with lanes.

    What is the same for all lanes and steps is computed before the loop, what depends on the step alone (a
    counter and what follows from it) for `STEPS` steps at a time; the rest is the kernel.

    Args:
      eqn: the while loop to which JAX makes it.
      consts: the constants of its body, ``[*shape, lane]`` where they vary.
      carry: what the loop carries, likewise.
      varying: which of the constants and of the carried arrays differ between lanes.
      num: of lanes.

    Returns:
      The carried arrays after the loop.

    Raises:
      Unsupported: the loop is of another kind.
    """
    body, num_consts = eqn.params["body_jaxpr"], eqn.params["body_nconsts"]
    if not _counts(eqn):
        raise Unsupported("a loop that does not count")
    args = [
        Value(var.aval, Kind.LANE if varies else Kind.STEP if i >= num_consts else Kind.FIXED)
        for i, (var, varies) in enumerate(zip(body.jaxpr.invars, [*varying[0], *varying[1]], strict=True))
    ]
    ops, outs = flat(body.jaxpr, body.consts, args)
    carried = args[num_consts:]
    state, state_after = _only(Kind.LANE, carried, outs)
    clock, clock_after = _only(Kind.STEP, carried, outs)
    arrays = dict(zip(args, [*consts, *carry], strict=True))

    steps = needed([op for op in ops if op.kind == Kind.LANE], state_after)
    given = list(dict.fromkeys([value for op in steps for value in op.inputs] + state_after))
    layout = Layout(
        fixed=[value for value in given if value.kind == Kind.FIXED and value.constant is None],
        rows=[value for value in given if value.kind == Kind.STEP],
        own=[value for value in args[:num_consts] if value.kind == Kind.LANE and value in given],
        state=state,
    )
    kernel = write(steps, layout, state_after, library.register_bytes())

    before = needed([op for op in ops if op.kind == Kind.FIXED], [*layout.fixed, *_fixed_inputs(ops, outs)])
    evaluate(before, arrays)
    inputs = [jnp.asarray(look(value, arrays)) for value in layout.fixed]
    own = [_padded(arrays[value], kernel.lanes) for value in layout.own]
    moving = [_padded(arrays[value], kernel.lanes) for value in state]
    ticks = needed([op for op in ops if op.kind == Kind.STEP], [*layout.rows, *clock_after])

    def tick(now: list, _: None) -> tuple[list, list]:
        found = arrays | dict(zip(clock, now, strict=True))
        evaluate(ticks, found)
        going = now[0] < now[1]
        after = [
            jnp.where(going, look(value, found), old) for value, old in zip(clock_after, now, strict=True)
        ]
        return after, [look(value, found) for value in layout.rows]

    def some_steps(carry):
        now, moving = carry
        then, rows = lax.scan(tick, now, None, length=STEPS)
        return then, library.call(kernel, then[0] - now[0], [*inputs, *rows, *own], moving)

    now = [jnp.asarray(arrays[value]) for value in clock]
    if layout.rows or clock_after[1:] != clock[1:]:
        now, moving = lax.while_loop(lambda carry: carry[0][0] < carry[0][1], some_steps, (now, moving))
    else:
        first, last = now[:2]
        moving = library.call(kernel, last - first, [*inputs, *own], moving)
        now = [jnp.maximum(first, last), *now[1:]]
    found = dict(zip(clock, now, strict=True)) | dict(zip(state, moving, strict=True))
    return [found[value][..., :num] if value.kind == Kind.LANE else found[value] for value in carried]


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


def _only(kind: Kind, values: Sequence[Value], after: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    pairs = [(value, then) for value, then in zip(values, after, strict=True) if value.kind == kind]
    return [value for value, _ in pairs], [then for _, then in pairs]


def _fixed_inputs(ops, outs) -> list[Value]:
    """What equations that depend on the step need of those that do not."""
    return [value for op in ops if op.kind == Kind.STEP for value in op.inputs if value.kind == Kind.FIXED] + [
        value for value in outs if value.kind == Kind.FIXED
    ]


def _padded(array: jax.Array, multiple: int) -> jax.Array:
    """The array with its last lane repeated, to whole multiples of lanes."""
    missing = -array.shape[-1] % multiple
    return jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], mode="edge") if missing else array
