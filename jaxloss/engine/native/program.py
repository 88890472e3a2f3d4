"""A loop's body as a flat list of equations, sorted by what they depend on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from jaxloss.engine.native.primitives import called


class Kind(IntEnum):
    """What a value depends on: nothing that changes in the loop, the step, or the lane."""

    FIXED = 0
    STEP = 1
    LANE = 2


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a program.

    Attributes:
      aval: its shape and dtype, for one lane.
      kind: what it depends on.
      known: the array, if it is known now.
    """

    aval: Any
    kind: Kind
    known: Any = None

    @property
    def constant(self) -> Any:
        """The number that it is made of, if it is known now and is the same everywhere, else None."""
        if self.known is None or isinstance(self.known, Tracer) or not isinstance(self.aval.dtype, np.dtype):
            return None  # or it is no number, but a random key
        if not np.size(self.known):
            return None
        array = np.asarray(self.known)
        first = array.reshape(-1)[0]
        return first if np.all(array == first) and (first != 0 or not np.any(np.signbit(array))) else None


class Op(NamedTuple):
    """One equation."""

    eqn: JaxprEqn
    inputs: list[Value]
    outputs: list[Value]

    @property
    def kind(self) -> Kind:
        """What the results depend on."""
        return max((value.kind for value in self.inputs), default=Kind.FIXED)


def flat(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Value]) -> tuple[list[Op], list[Value]]:
    """The equations of a jaxpr, those of the functions that it calls in their places; and its outputs.

    What follows from numbers in the program itself is computed at once.
    """
    ops: list[Op] = []

    def walk(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Value]) -> list[Value]:
        values = dict(zip(jaxpr.invars, args, strict=True))
        values |= {v: Value(v.aval, Kind.FIXED, const) for v, const in zip(jaxpr.constvars, consts, strict=True)}

        def read(atom) -> Value:
            return Value(atom.aval, Kind.FIXED, atom.val) if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            op = Op(eqn, [read(atom) for atom in eqn.invars], [])
            if op.kind > Kind.FIXED and (body := called(eqn)):
                outputs = walk(*body, op.inputs)
            elif all(value.constant is not None for value in op.inputs) and not eqn.effects:
                outputs = [Value(v.aval, Kind.FIXED, out) for v, out in zip(eqn.outvars, computed(op), strict=True)]
            else:
                outputs = [Value(var.aval, op.kind) for var in eqn.outvars]
                ops.append(op._replace(outputs=outputs))
            values.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    return ops, walk(jaxpr, consts, args)


def computed(op: Op) -> list[Any]:
    """The outputs of an equation whose inputs are known."""
    with jax.ensure_compile_time_eval():
        return bind(op.eqn, [value.known for value in op.inputs])


def bind(eqn: JaxprEqn, args: Sequence[Any]) -> list[Any]:
    """One equation applied to arrays."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)
    outs = eqn.primitive.bind(*functions, *args, **params)
    return [*outs] if eqn.primitive.multiple_results else [outs]


def needed(ops: Sequence[Op], outputs: Iterable[Value]) -> list[Op]:
    """The equations that some values depend on."""
    wanted, kept = set(outputs), []
    for op in reversed(ops):
        if wanted.intersection(op.outputs):
            wanted.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def evaluate(ops: Iterable[Op], arrays: dict[Value, Any]) -> None:
    """Adds the results of equations to the arrays."""
    for op in ops:
        outs = bind(op.eqn, [look(value, arrays) for value in op.inputs])
        arrays.update(zip(op.outputs, outs, strict=True))


def look(value: Value, arrays: dict[Value, Any]) -> Any:
    """The array of a value."""
    return arrays[value] if value.known is None else value.known
