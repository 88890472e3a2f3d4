"""A program as flat lists of equations and loops, sorted by what they depend on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Union

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.primitives import called


class Kind(IntEnum):
    """What a value depends on: nothing that changes, the steps of a loop, or the lane."""

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


class Loop(NamedTuple):
    """While ``goes_on``, found by ``test``, do ``body``.

    Attributes:
      before: what is carried, before the first step.
      carry: what is carried, at the beginning of each step.
      test: equations.
      goes_on: a boolean.
      body: equations and loops.
      after: what is carried, at the end of each step.
      outputs: what is carried, after the last step.
    """

    before: list[Value]
    carry: list[Value]
    test: list["Item"]
    goes_on: Value
    body: list["Item"]
    after: list[Value]
    outputs: list[Value]

    @property
    def inputs(self) -> list[Value]:
        """What it depends on, among other values."""
        return [*self.before, *self.after, self.goes_on, *inputs_of(self.test), *inputs_of(self.body)]

    @property
    def by_lane(self) -> list[int]:
        """Which of what it carries differs between lanes."""
        return [i for i, value in enumerate(self.carry) if value.kind == Kind.LANE]

    @property
    def apart(self) -> bool:
        """Whether the number of steps differs between lanes."""
        return self.goes_on.kind == Kind.LANE

    def kept(self, wanted: set[Value]) -> "Loop":
        """Without what no wanted output depends on."""
        keep = {i for i, value in enumerate(self.outputs) if value in wanted}
        test = needed(self.test, [self.goes_on])
        while True:
            body = needed(self.body, [self.after[i] for i in keep])
            inner = {self.goes_on, *(self.after[i] for i in keep), *inputs_of(test), *inputs_of(body)}
            more = keep | {i for i, value in enumerate(self.carry) if value in inner}
            if more == keep:
                break
            keep = more
        before, carry, after, outputs = (
            [column[i] for i in sorted(keep)] for column in (self.before, self.carry, self.after, self.outputs)
        )
        return Loop(before, carry, test, self.goes_on, body, after, outputs)


Item = Union[Op, Loop]  # noqa: UP007 (Loop names itself)


def inputs_of(items: Iterable[Item]) -> list[Value]:
    """What some equations depend on."""
    return [value for item in items for value in item.inputs]


class Program(NamedTuple):
    """A program, flat.

    Attributes:
      fixed: the equations of what never changes, wherever they stand.
      items: all others.
      outputs: values.
    """

    fixed: list[Op]
    items: list[Item]
    outputs: list[Value]


def flat(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Value]) -> Program:
    """The equations of a jaxpr, those of the functions that it calls in their places.

    What follows from numbers in the program itself is computed at once.
    """
    fixed: list[Op] = []
    items: list[Item] = []
    return Program(fixed, items, _walk(jaxpr, consts, args, fixed, items))


def flat_equation(eqn: JaxprEqn, args: Sequence[Value]) -> Program:
    """The same of one equation."""
    fixed: list[Op] = []
    items: list[Item] = []
    return Program(fixed, items, _apply(Op(eqn, [*args], []), fixed, items))


def _walk(
    jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Value], fixed: list[Op], items: list[Item]
) -> list[Value]:
    values = dict(zip(jaxpr.invars, args, strict=True))
    values |= {v: Value(v.aval, Kind.FIXED, const) for v, const in zip(jaxpr.constvars, consts, strict=True)}

    def read(atom) -> Value:
        return Value(atom.aval, Kind.FIXED, atom.val) if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        op = Op(eqn, [read(atom) for atom in eqn.invars], [])
        values.update(zip(eqn.outvars, _apply(op, fixed, items), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(op: Op, fixed: list[Op], items: list[Item]) -> list[Value]:
    """The outputs of one equation."""
    variables = op.eqn.outvars
    if op.kind > Kind.FIXED and op.eqn.primitive.name == "while":
        return _loop(op, fixed, items)
    if op.kind > Kind.FIXED and op.eqn.primitive.name == "scan":
        return _walk(*_as_while(op.eqn), op.inputs, fixed, items)
    if op.kind > Kind.FIXED and (body := called(op.eqn)):
        return _walk(*body, op.inputs, fixed, items)
    if all(value.constant is not None for value in op.inputs) and not op.eqn.effects:
        return [Value(v.aval, Kind.FIXED, out) for v, out in zip(variables, computed(op), strict=True)]
    outputs = [Value(variable.aval, op.kind) for variable in variables]
    (items if op.kind > Kind.FIXED else fixed).append(op._replace(outputs=outputs))
    return outputs


def _loop(op: Op, fixed: list[Op], items: list[Item]) -> list[Value]:
    params = op.eqn.params
    condition, body, num = params["cond_jaxpr"], params["body_jaxpr"], params["body_nconsts"]
    first = params["cond_nconsts"]
    tested, used, before = op.inputs[:first], op.inputs[first : first + num], op.inputs[first + num :]
    variables = body.jaxpr.invars[num:]
    stays = [variable is out for variable, out in zip(variables, body.jaxpr.outvars, strict=True)]
    kinds = [max(value.kind, Kind.STEP) for value in before]
    while True:
        carry = [
            value if same else Value(variable.aval, kind)
            for value, variable, kind, same in zip(before, variables, kinds, stays, strict=True)
        ]
        found: list[Op] = []
        test: list[Item] = []
        steps: list[Item] = []
        (goes_on,) = _walk(condition.jaxpr, condition.consts, [*tested, *carry], found, test)
        after = _walk(body.jaxpr, body.consts, [*used, *carry], found, steps)
        grown = [max(kind, value.kind, goes_on.kind) for kind, value in zip(kinds, after, strict=True)]
        if grown == kinds:
            break
        kinds = grown
    fixed += found
    outputs = [value if same else Value(value.aval, value.kind) for value, same in zip(carry, stays, strict=True)]
    before, carry, after, moved = (
        [value for value, same in zip(column, stays, strict=True) if not same]
        for column in (before, carry, after, outputs)
    )
    items.append(Loop(before, carry, test, goes_on, steps, after, moved))
    return outputs


def _as_while(eqn: JaxprEqn) -> tuple[Jaxpr, Sequence[Any]]:
    """A scan that collects nothing, as a while loop."""
    params, num, first = eqn.params, eqn.params["num_carry"], eqn.params["num_consts"]
    if len(eqn.outvars) > num:
        raise Unsupported("a scan that collects its steps")
    body = jaxpr_as_fun(params["jaxpr"])

    def run(*args):
        consts, carry, columns = args[:first], args[first : first + num], args[first + num :]

        def step(state):
            i, carry = state
            place = params["length"] - 1 - i if params["reverse"] else i
            rows = [lax.dynamic_index_in_dim(column, place, keepdims=False) for column in columns]
            return i + 1, tuple(body(*consts, *carry, *rows))

        return lax.while_loop(lambda state: state[0] < params["length"], step, (0, tuple(carry)))[1]

    avals: list[Any] = [variable.aval for variable in eqn.invars]
    closed = jax.make_jaxpr(run)(*(jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals))
    return closed.jaxpr, closed.consts


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


def needed(items: Sequence[Any], outputs: Iterable[Value]) -> list[Any]:
    """The equations that some values depend on."""
    wanted, kept = set(outputs), []
    for item in reversed(items):
        if wanted.intersection(item.outputs):
            kept.append(item.kept(wanted) if isinstance(item, Loop) else item)
            wanted.update(kept[-1].inputs)
    return kept[::-1]


def evaluate(ops: Iterable[Op], arrays: dict[Value, Any]) -> None:
    """Adds the results of equations to the arrays."""
    for op in ops:
        outs = bind(op.eqn, [look(value, arrays) for value in op.inputs])
        arrays.update(zip(op.outputs, outs, strict=True))


def look(value: Value, arrays: dict[Value, Any]) -> Any:
    """The array of a value."""
    return arrays[value] if value.known is None else value.known
