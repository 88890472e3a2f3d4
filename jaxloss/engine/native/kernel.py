"""A program for one lane as one native function: some lanes at a time, from the first step to the last."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxloss.engine.native.code import Number, Unsupported, Writer, bytes_of, constant, stored, type_of
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
from jaxloss.engine.native.program import Kind, Op, Value

# Numbers of one lane that stay with it: its state, and what it has for itself.
MOST_NUMBERS = 128
# Terms that are added up one after the other; more are added up in a loop.
UNROLLED = 16
# Registers' worth of lanes that go through the steps together: as many as it takes to be busy while one waits.
REGISTERS = 4
# Steps of one call, if something that all lanes share changes from step to step: it is computed beforehand.
STEPS = 256


class Layout(NamedTuple):
    """The arrays that a kernel is given, in this order.

    Attributes:
      fixed: what all lanes and steps share, ``[*shape]``.
      own: what the lanes keep, ``[*shape, lane]``.
      clock: what all lanes share and the steps change, ``[*shape]``.
      state: what each lane has and the steps change, ``[*shape, lane]``.
    """

    fixed: list[Value]
    own: list[Value]
    clock: list[Value]
    state: list[Value]


class Kernel(NamedTuple):
    """LLVM code of ``kernel(lanes, used, steps, fixed..., own..., clock..., state..., outputs...)``.

    It returns clock and state after the steps. If there is no state, it returns ``outputs``, once. Lanes from the
    number ``used`` on may be left out.

    Attributes:
      code: defines the function.
      lanes: it takes whole multiples of them.
      steps: the most that it can make in one call, if any.
    """

    code: str
    lanes: int
    steps: int | None


def write(ops: Sequence[Op], layout: Layout, outputs: Sequence[Value], register_bytes: int) -> Kernel:
    """Writes a kernel.

    Args:
      ops: the equations.
      layout: what it is given.
      outputs: clock and state after one step; if there is no state, whatever follows from the rest, for each lane.
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
    body = _Body(ops, layout, outputs, width * REGISTERS // groups, groups)
    return Kernel(body.code(), width * REGISTERS, STEPS if layout.clock else None)


def _is_long(op: Op) -> bool:
    return op.eqn.primitive.name in REDUCTIONS and math.prod(domain(op.eqn)) > UNROLLED


Numbers = dict[tuple[int, ...], Number]
"""Those of one array, by index."""


class _Body:
    """The code while it is written."""

    def __init__(self, ops: Sequence[Op], layout: Layout, outputs: Sequence[Value], width: int, groups: int):
        self.layout, self.groups, self.ops = layout, groups, [op for op in ops if op.kind == Kind.LANE]
        self.ticks = [op for op in ops if op.kind == Kind.STEP]
        self.after = dict(zip([*layout.clock, *layout.state] or outputs, outputs, strict=True))
        self.results = layout.state or [*outputs]
        used = dict.fromkeys([value for op in self.ops for value in op.inputs] + [*outputs[len(layout.clock) :]])
        self.rows = [value for value in used if value.kind == Kind.STEP]
        self.w = Writer(width)
        # What is read once, before everything else.
        self.first = Writer(width)
        self.first.new = self.w.new
        given = [*layout.fixed, *layout.own, *layout.clock, *layout.state]
        returned = [*layout.clock, *self.results]
        self.inputs = {value: f"%in{i}" for i, value in enumerate(given)}
        self.outputs = {value: f"%out{i}" for i, value in enumerate(returned)}
        self.arrays: dict[Value, Array] = {}

    def code(self) -> str:
        w = self.w
        shared = {value: self._read(value, self.inputs[value]) for value in self.layout.fixed}
        if self.layout.clock:
            w.line("br label %clock")
            w.label("clock")
            self.arrays = dict(shared)
            self._write_rows()
            shared |= {value: self._read(value, f"%row{i}", by_step=True) for i, value in enumerate(self.rows)}
        begin = w.block
        w.line("br label %chunk")
        w.label("chunk")
        w.line(f"%chunk0 = phi i64 [ 0, %{begin} ], [ %chunk1, %stored ]")
        width = w.width
        places = [w.instruction(f"add i64 %chunk0, {group * width}", _INT).name for group in range(self.groups)]
        self._write_groups(shared, places)
        w.line(f"%chunk1 = add nuw nsw i64 %chunk0, {width * self.groups}")
        w.line("%more = icmp ult i64 %chunk1, %used")
        w.line("br i1 %more, label %chunk, label %end")
        # Results may be written over what was given, but for the arrays that are the same for all lanes and steps.
        pointers = [
            f"ptr {'noalias readonly ' if value in self.layout.fixed else ''}{name}"
            for value, name in [*self.inputs.items(), *self.outputs.items()]
        ]
        # Spilled vectors are to lie in one cache line each; compilers prefer shorter vectors out of caution.
        attributes = 'nounwind noinline alignstack(64) "stackrealign" "prefer-vector-width"="512"'
        attributes += ' "min-legal-vector-width"="512"'
        parameters = ", ".join(["i64 %lanes", "i64 %used", "i64 %steps", *pointers])
        return "\n".join(
            [
                *sorted(w.declared),
                f"define internal void @kernel({parameters}) {attributes} {{",
                "entry:",
                *self.first.lines,
                *w.lines,
                "end:",
                "ret void",
                "}\n",
            ]
        )

    # What all lanes share

    def _read(self, value: Value, pointer: str, *, by_step: bool = False) -> Array:
        """An array of which each number is read when it is asked for."""
        shape, type_ = value.aval.shape, type_of(value.aval.dtype)

        def number(index: tuple[Index, ...]) -> Number:
            def read() -> Number:
                always = not by_step and all(isinstance(k, int) for k in index)
                lengths, places = ((STEPS, *shape), ("%step0", *index)) if by_step else (shape, index)
                place = _flat(self.w, places, lengths)
                return (self.first if always else self.w).load(pointer, place, type_, wide=False)

            return self.w.known((value, index), read)

        return Array(shape, number)

    def _write_rows(self) -> None:
        """Computes what changes from step to step, and keeps what the lanes need of it."""
        w, clock = self.w, self.layout.clock
        for i, value in enumerate(self.rows):
            memory = stored(type_of(value.aval.dtype))
            self.first.line(f"%row{i} = alloca {memory}, i64 {STEPS * math.prod(value.aval.shape)}, align 64")
        with w.scope():
            begin = {
                value: {
                    index: w.load(
                        self.inputs[value], _flat(w, index, value.aval.shape), type_of(value.aval.dtype), wide=False
                    )
                    for index in np.ndindex(*value.aval.shape)
                }
                for value in clock
            }
            w.line("br label %tick")
            w.label("tick")
            w.line("%tick0 = phi i64 [ 0, %clock ], [ %tick1, %tock ]")
            reserved = w.reserve()
            before = _map(lambda number: number._replace(name=w.new()), begin)
            self.arrays |= {value: _held(numbers) for value, numbers in before.items()}
            w.line("%going = icmp slt i64 %tick0, %steps")
            w.line("br i1 %going, label %tock, label %ready")
            w.label("tock")
            for op in self.ticks:
                self._define(op)
            after = {value: self._numbers(self.after[value]) for value in clock}
            for i, value in enumerate(self.rows):
                for index, number in self._numbers(value).items():
                    w.store(number, f"%row{i}", _flat(w, ("%tick0", *index), (STEPS, *value.aval.shape)))
            w.line("%tick1 = add nuw nsw i64 %tick0, 1")
            w.line("br label %tick")
            w.lines[reserved] = "\n".join(self._phis(before, begin, "clock", after, "tock"))
        w.label("ready")
        for value, numbers in before.items():
            for index, number in numbers.items():
                w.store(number, self.outputs[value], _flat(w, index, value.aval.shape))

    def _numbers(self, value: Value) -> Numbers:
        array = self._array(value)
        return {index: self.w.plain(array.number(index)) for index in np.ndindex(*value.aval.shape)}

    # Lanes

    def _write_groups(self, shared: dict[Value, Array], places: Sequence[str]) -> None:
        """The lanes from each of the places on, through all steps."""
        w, layout, groups = self.w, self.layout, range(self.groups)
        own = [{value: self._loaded(value, place) for value in layout.own} for place in places]
        begin = [{value: self._loaded(value, place) for value in layout.state} for place in places]
        if layout.state:
            w.line("%any = icmp sgt i64 %steps, 0")
            w.line("br i1 %any, label %step, label %stored")
        else:
            w.line("br label %step")
        w.label("step")
        if layout.state:
            w.line("%step0 = phi i64 [ 0, %chunk ], [ %step1, %latch ]")
        reserved = w.reserve()
        before = [_map(lambda number: number._replace(name=w.new()), numbers) for numbers in begin]
        after = []
        for group in groups:
            with w.scope():
                held = {value: _held(numbers) for value, numbers in (own[group] | before[group]).items()}
                self.arrays = shared | held
                after.append(self._step())
        final = after
        if layout.state:
            w.line("br label %latch")
            w.label("latch")
            w.line("%step1 = add nuw nsw i64 %step0, 1")
            w.line("%again = icmp ult i64 %step1, %steps")
            w.line("br i1 %again, label %step, label %stored")
            w.lines[reserved] = "\n".join(
                line
                for group in groups
                for line in self._phis(before[group], begin[group], "chunk", after[group], "latch")
            )
            final = [_map(lambda number: number._replace(name=w.new()), numbers) for numbers in begin]
        else:
            w.line("br label %stored")
        w.label("stored")
        if layout.state:
            for group in groups:
                w.lines += self._phis(final[group], begin[group], "chunk", after[group], "latch")
        for group in groups:
            for value, numbers in final[group].items():
                for index, number in numbers.items():
                    w.store(number, self.outputs[value], self._place_of_lanes(value, index, places[group]))

    def _loaded(self, value: Value, place: str) -> Numbers:
        """All numbers of an array with lanes."""
        type_ = type_of(value.aval.dtype)
        return {
            index: self.w.load(self.inputs[value], self._place_of_lanes(value, index, place), type_, wide=True)
            for index in np.ndindex(*value.aval.shape)
        }

    def _place_of_lanes(self, value: Value, index: tuple[int, ...], place: str) -> str:
        row = self.w.instruction(f"mul i64 %lanes, {_flat(self.w, index, value.aval.shape)}", _INT)
        return self.w.instruction(f"add i64 {row.name}, {place}", _INT).name

    def _phis(
        self,
        names: dict[Value, Numbers],
        first: dict[Value, Numbers],
        begin: str,
        after: dict[Value, Numbers],
        end: str,
    ) -> list[str]:
        """The names of what comes from the beginning or from the step before."""
        return [
            f"{number.name} = phi {self.w.typed(number)} "
            f"[ {first[value][index].name}, %{begin} ], [ {after[value][index].name}, %{end} ]"
            for value, numbers in names.items()
            for index, number in numbers.items()
        ]

    # One step

    def _step(self) -> dict[Value, Numbers]:
        """The results of one step of one group of lanes."""
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
        for level, length in sorted(loops):
            self._loop(length, loops[level, length])
        return {
            value: {index: self.w.widened(number) for index, number in self._numbers(self.after[value]).items()}
            for value in self.results
        }

    def _array(self, value: Value) -> Array:
        if (known := value.constant) is not None:
            type_ = type_of(value.aval.dtype)
            return Array(value.aval.shape, lambda _: constant(known, type_))
        # Those of sums in loops are there once the loop is written.

        def number(index: tuple[Index, ...]) -> Number:
            return self.arrays[value].number(index)

        return Array(value.aval.shape, number)

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

            def number(index: tuple[Index, ...], /) -> Number:
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
                    total = before = Number("", type_, True)
                    for along in np.ndindex(*lengths[:axis], 1, *lengths[axis + 1 :]):
                        value = term(w, op.eqn, args, index, (*along[:axis], counter, *along[axis + 1 :]))
                        if not total.name:
                            total = before = Number(w.new(), type_, True, value.scale)
                        total = combined(w, op.eqn, total, value)
                    after = w.widened(w.at_scale(total, before.scale))
                    totals.append((out, index, neutral(op.eqn, type_), before, after))
            w.line(f"%{name}j = add nuw nsw i64 {counter}, 1")
            w.line(f"%{name}more = icmp ult i64 %{name}j, {length}")
            w.line(f"br i1 %{name}more, label %{name}, label %{name}done")
        lines = [f"{counter} = phi i64 [ 0, %{begin} ], [ %{name}j, %{name} ]"]
        found: dict[Value, Numbers] = {}
        for out, index, first, before, after in totals:
            vector = w.typed(before)
            splat = f"<{', '.join([f'{first.type} {first.name}'] * w.width)}>"
            lines.append(f"{before.name} = phi {vector} [ {splat}, %{begin} ], [ {after.name}, %{name} ]")
            found.setdefault(out, {})[index] = after
        w.lines[reserved] = "\n".join(lines)
        w.label(f"{name}done")
        self.arrays |= {out: _held(numbers) for out, numbers in found.items()}


_INT = constant(0, "i64")


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


def _flat(w: Writer, index: Sequence[Index], shape: Sequence[int]) -> str:
    """The place of a number in memory."""
    fixed, total = 0, None
    for axis, k in enumerate(index):
        stride = math.prod(shape[axis + 1 :])
        if isinstance(k, int):
            fixed += k * stride
        else:
            step = w.apply("mul", Number(k, "i64", False), constant(stride, "i64"))
            total = step if total is None else w.apply("add", total, step)
    return str(fixed) if total is None else w.apply("add", total, constant(fixed, "i64")).name
