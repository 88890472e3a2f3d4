"""The body of a loop as one native function that takes some lanes through all the steps, then the next."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxloss.engine.native.code import Number, Unsupported, Writer, bytes_of, constant, type_of
from jaxloss.engine.native.primitives import (
    ARRAYS,
    REDUCTIONS,
    Array,
    Index,
    combined,
    domain,
    elementwise,
    neutral,
    term,
)
from jaxloss.engine.native.program import Op, Value

# Numbers of one lane that stay with it: its state, and what it has for itself.
MOST_NUMBERS = 128
# Terms that are added up one after the other; more are added up in a loop.
UNROLLED = 16
# Registers' worth of lanes that go through the steps together: as many additions as one takes to be ready.
REGISTERS = 4


class Layout(NamedTuple):
    """The arrays that a kernel is given, in this order; it returns the state.

    Attributes:
      fixed: what all lanes and steps share, ``[*shape]``.
      rows: what all lanes share, ``[step, *shape]``.
      own: what the lanes keep, ``[*shape, lane]``.
      state: what the steps change, ``[*shape, lane]``.
    """

    fixed: list[Value]
    rows: list[Value]
    own: list[Value]
    state: list[Value]

    @property
    def inputs(self) -> list[Value]:
        """All of them."""
        return [*self.fixed, *self.rows, *self.own, *self.state]


class Kernel(NamedTuple):
    """LLVM code of ``kernel(lanes, steps, inputs..., outputs...)``, and how many lanes it takes at a time."""

    code: str
    lanes: int


def write(ops: Sequence[Op], layout: Layout, outputs: Sequence[Value], register_bytes: int) -> Kernel:
    """Writes the kernel of a loop.

    Args:
      ops: the equations on lanes.
      layout: what it is given.
      outputs: the state after one step.
      register_bytes: of the vectors that the processor computes with.

    Raises:
      Unsupported: it cannot be written.
    """
    avals = [value.aval for value in (*layout.own, *layout.state)]
    if sum(math.prod(aval.shape) for aval in avals) > MOST_NUMBERS:
        raise Unsupported("it has many parameters")
    width = register_bytes // max(bytes_of(type_of(aval.dtype)) for aval in avals)
    # In a loop over data all lanes go together. Else groups follow each other: where one waits for its sums, the
    # next goes on.
    groups = 1 if any(_is_long(op) for op in ops) else 2
    return Kernel(_Body(ops, layout, outputs, width * REGISTERS // groups, groups).code(), width * REGISTERS)


def _is_long(op: Op) -> bool:
    return op.eqn.primitive.name in REDUCTIONS and math.prod(domain(op.eqn)) > UNROLLED


Numbers = dict[tuple[int, ...], Number]
"""Those of one array, by index."""


class _Body:
    """The code while it is written."""

    def __init__(self, ops: Sequence[Op], layout: Layout, outputs: Sequence[Value], width: int, groups: int):
        self.ops, self.layout, self.outputs, self.groups = ops, layout, outputs, groups
        self.w = Writer(width)
        # What needs to be read once, before everything else.
        self.first = Writer(width)
        self.first.new = self.w.new
        self.pointers = {value: f"%in{i}" for i, value in enumerate(layout.inputs)}
        self.arrays: dict[Value, Array] = {}

    def code(self) -> str:
        w, layout, groups = self.w, self.layout, range(self.groups)
        shared = {value: self._shared(value) for value in (*layout.fixed, *layout.rows)}
        w.label("chunk")
        w.line("%chunk0 = phi i64 [ 0, %entry ], [ %chunk1, %stored ]")
        places = [w.instruction(f"add i64 %chunk0, {group * w.width}", constant(0, "i64")).name for group in groups]
        own = [{value: self._loaded(value, place) for value in layout.own} for place in places]
        begin = [{value: self._loaded(value, place) for value in layout.state} for place in places]
        w.line("%any = icmp sgt i64 %steps, 0")
        w.line("br i1 %any, label %step, label %stored")
        w.label("step")
        w.line("%step0 = phi i64 [ 0, %chunk ], [ %step1, %latch ]")
        reserved = w.reserve()
        before = [_map(lambda number: number._replace(name=w.new()), numbers) for numbers in begin]
        after = []
        for group in groups:
            with w.scope():
                held = {value: _held(numbers) for value, numbers in (own[group] | before[group]).items()}
                self.arrays = shared | held
                after.append(self._step())
        w.line("br label %latch")
        w.label("latch")
        w.line("%step1 = add nuw nsw i64 %step0, 1")
        w.line("%again = icmp ult i64 %step1, %steps")
        w.line("br i1 %again, label %step, label %stored")
        w.lines[reserved] = "\n".join(
            line for group in groups for line in self._phis(before[group], begin[group], after[group])
        )
        w.label("stored")
        final = [_map(lambda number: number._replace(name=w.new()), numbers) for numbers in begin]
        for group in groups:
            w.lines += self._phis(final[group], begin[group], after[group])
        for group in groups:
            for i, value in enumerate(layout.state):
                for index, number in final[group][value].items():
                    w.store(number, f"%out{i}", self._place_of_lanes(value, index, places[group]))
        w.line(f"%chunk1 = add nuw nsw i64 %chunk0, {w.width * self.groups}")
        w.line("%more = icmp ult i64 %chunk1, %lanes")
        w.line("br i1 %more, label %chunk, label %end")
        pointers = [f"ptr noalias readonly {name}" for name in self.pointers.values()]
        pointers += [f"ptr noalias %out{i}" for i in range(len(layout.state))]
        # Spilled vectors are to lie in one cache line each; compilers prefer shorter vectors out of caution.
        attributes = 'nounwind noinline alignstack(64) "stackrealign" "prefer-vector-width"="512"'
        attributes += ' "min-legal-vector-width"="512"'
        return "\n".join(
            [
                *sorted(w.declared),
                f"define internal void @kernel(i64 %lanes, i64 %steps, {', '.join(pointers)}) {attributes} {{",
                "entry:",
                *self.first.lines,
                "br label %chunk",
                *w.lines,
                "end:",
                "ret void",
                "}\n",
            ]
        )

    # What the kernel is given

    def _shared(self, value: Value) -> Array:
        """An array that all lanes share: each number is read when it is asked for."""
        shape, type_ = value.aval.shape, type_of(value.aval.dtype)
        by_step = value in self.layout.rows

        def number(index: tuple[Index, ...]) -> Number:
            def read() -> Number:
                always = not by_step and all(isinstance(k, int) for k in index)
                lengths, places = ((math.inf, *shape), ("%step0", *index)) if by_step else (shape, index)
                place = _flat(self.w, places, lengths)
                return (self.first if always else self.w).load(self.pointers[value], place, type_, wide=False)

            return self.w.known((value, index), read)

        return Array(shape, number)

    def _loaded(self, value: Value, place: str) -> Numbers:
        """All numbers of an array with lanes."""
        type_ = type_of(value.aval.dtype)
        return {
            index: self.w.load(
                self.pointers[value], self._place_of_lanes(value, index, place), type_, wide=True
            )
            for index in np.ndindex(*value.aval.shape)
        }

    def _place_of_lanes(self, value: Value, index: tuple[int, ...], place: str) -> str:
        row = self.w.instruction(f"mul i64 %lanes, {_flat(self.w, index, value.aval.shape)}", constant(0, "i64"))
        return self.w.instruction(f"add i64 {row.name}, {place}", row).name

    def _phis(self, names: dict[Value, Numbers], first: dict[Value, Numbers], after: dict[Value, Numbers]):
        """The state as it is at the beginning, or after a step."""
        return [
            f"{number.name} = phi {self.w.typed(number)} "
            f"[ {first[value][index].name}, %chunk ], [ {after[value][index].name}, %latch ]"
            for value, numbers in names.items()
            for index, number in numbers.items()
        ]

    # One step

    def _step(self) -> dict[Value, Numbers]:
        """The state after a step of one group of lanes."""
        levels: dict[Value, int] = {}
        loops: dict[tuple[int, int], list[Op]] = {}
        for op in self.ops:
            # A sum over data that depends on another one needs a loop of its own.
            level = max((levels.get(value, 0) for value in op.inputs), default=0) + _is_long(op)
            levels |= dict.fromkeys(op.outputs, level)
            if _is_long(op):
                loops.setdefault((level, max(domain(op.eqn))), []).append(op)
            else:
                self._define(op)
        for _, length in sorted(loops):
            self._loop(length, loops[_, length])
        return {
            value: {
                index: self.w.widened(self.w.plain(self._array(out).number(index)))
                for index in np.ndindex(*value.aval.shape)
            }
            for value, out in zip(self.layout.state, self.outputs, strict=True)
        }

    def _array(self, value: Value) -> Array:
        if (number := value.constant) is not None:
            type_ = type_of(value.aval.dtype)
            return Array(value.aval.shape, lambda _: constant(number, type_))
        # Those of sums in loops are there once the loop is written.
        return Array(value.aval.shape, lambda index: self.arrays[value].number(index))

    def _define(self, op: Op) -> None:
        """The results of an equation, to be written when they are asked for."""
        w, eqn, name = self.w, op.eqn, op.eqn.primitive.name
        args = [self._array(value) for value in op.inputs]
        if name == "optimization_barrier":
            self.arrays |= dict(zip(op.outputs, args, strict=True))
            return
        if len(op.outputs) != 1:
            raise Unsupported(f"the primitive {name}")
        (out,) = op.outputs
        type_of(out.aval.dtype)
        if name in ARRAYS:
            number = ARRAYS[name](w, eqn, args)
        elif name in REDUCTIONS:
            number = self._sum(eqn, args)
        else:

            def number(index):
                return elementwise(w, eqn, [x.number(index if x.shape else ()) for x in args])

        self.arrays[out] = Array(out.aval.shape, lambda index: w.known((out, index), lambda: number(index)))

    def _sum(self, eqn, args):
        """A short reduction, term by term."""
        _check_types(eqn)

        def number(index):
            total = None
            for along in np.ndindex(*domain(eqn)):
                value = term(self.w, eqn, args, index, along)
                total = value if total is None else combined(self.w, eqn, total, value)
            return neutral(eqn, type_of(eqn.outvars[0].aval.dtype)) if total is None else total

        return number

    def _loop(self, length: int, ops: Sequence[Op]) -> None:
        """Several reductions over axes of one length, none of which depends on another, in one loop."""
        w, name = self.w, self.w.new()[1:]
        begin = w.block
        w.line(f"br label %{name}")
        w.label(name)
        reserved = w.reserve()
        counter = f"%{name}i"
        totals: list[tuple[Value, tuple[int, ...], Number, Number, Number]] = []
        with w.scope():
            for op in ops:
                _check_types(op.eqn)
                (out,), lengths = op.outputs, domain(op.eqn)
                args, axis = [self._array(value) for value in op.inputs], lengths.index(length)
                type_ = type_of(out.aval.dtype)
                for index in np.ndindex(*out.aval.shape):
                    total = before = None
                    for along in np.ndindex(*lengths[:axis], 1, *lengths[axis + 1 :]):
                        position = (*along[:axis], counter, *along[axis + 1 :])
                        value = term(w, op.eqn, args, index, position)
                        if total is None:
                            total = before = Number(w.new(), type_, True, value.scale)
                        total = combined(w, op.eqn, total, value)
                    assert before is not None and total is not None
                    totals.append((out, index, neutral(op.eqn, type_), before, w.widened(w.at_scale(total, before.scale))))
            end = w.block
            w.line(f"%{name}j = add nuw nsw i64 {counter}, 1")
            w.line(f"%{name}more = icmp ult i64 %{name}j, {length}")
            w.line(f"br i1 %{name}more, label %{name}, label %{name}done")
        lines = [f"{counter} = phi i64 [ 0, %{begin} ], [ %{name}j, %{end} ]"]
        found: dict[Value, Numbers] = {}
        for out, index, first, before, after in totals:
            vector = w.typed(before)
            splat = f"<{', '.join([f'{first.type} {first.name}'] * w.width)}>"
            lines.append(f"{before.name} = phi {vector} [ {splat}, %{begin} ], [ {after.name}, %{end} ]")
            found.setdefault(out, {})[index] = after
        w.lines[reserved] = "\n".join(lines)
        w.label(f"{name}done")
        self.arrays |= {out: _held(numbers) for out, numbers in found.items()}


def _check_types(eqn) -> None:
    if any(atom.aval.dtype != eqn.outvars[0].aval.dtype for atom in eqn.invars):
        raise Unsupported("sums in another precision")


def _held(numbers: Numbers) -> Array:
    def number(index: tuple[Index, ...]) -> Number:
        if index not in numbers:
            raise Unsupported("a loop over parameters")
        return numbers[index]  # pyright: ignore[reportArgumentType]

    return Array((), number)


def _map(function, numbers: dict[Value, Numbers]) -> dict[Value, Numbers]:
    return {value: {index: function(n) for index, n in part.items()} for value, part in numbers.items()}


def _flat(w: Writer, index: Sequence[Index], shape: Sequence[float]) -> str:
    """The place of a number in memory."""
    total = constant(0, "i64")
    for k, length in zip(index, shape, strict=True):
        number = constant(k, "i64") if isinstance(k, int) else Number(k, "i64", False)
        if total.name == "0":
            total = number
            continue
        if total.name.lstrip("-").isdigit() and isinstance(k, int):
            total = constant(int(total.name) * int(length) + k, "i64")
        else:
            total = w.apply("add", w.apply("mul", total, constant(int(length), "i64")), number)
    return total.name
