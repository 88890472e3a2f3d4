"""A program for one lane as one native function: some lanes at a time, from the first equation to the last."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from jaxloss.engine.native.code import Number, Unsupported, Writer, bytes_of, constant, stored, type_of
from jaxloss.engine.native.primitives import (
    ARRAYS,
    REDUCTIONS,
    SEVERAL,
    Array,
    Index,
    combined,
    domain,
    elementwise,
    neutral,
    term,
)
from jaxloss.engine.native.program import Item, Kind, Loop, Op, Value, inputs_of

# Numbers of one lane that a kernel is given.
MOST_NUMBERS = 128
# Terms that are added up one after the other; more are added up in a loop.
UNROLLED = 16
# Registers' worth of lanes that go through the steps together: as many as it takes to be busy while one waits.
REGISTERS = 4


class Layout(NamedTuple):
    """The arrays that a kernel is given, in this order.

    Attributes:
      fixed: what all lanes and steps share, ``[*shape]``.
      own: what the lanes have for themselves, ``[*shape, lane]``.
    """

    fixed: list[Value]
    own: list[Value]


class Kernel(NamedTuple):
    """A function ``kernel(lanes, used, fixed..., own..., outputs...)``; those from ``used`` on may be left out.

    Attributes:
      items: the equations and loops.
      layout: what it is given.
      outputs: what it returns, for all lanes once or for each.
      lanes: how many go through the steps together; it takes whole multiples of them.
    """

    items: Sequence[Item]
    layout: Layout
    outputs: Sequence[Value]
    lanes: int

    @classmethod
    def of(cls, items: Sequence[Item], layout: Layout, outputs: Sequence[Value], register_bytes: int) -> "Kernel":
        """The kernel that suits a processor.

        Args:
          items: the equations and loops.
          layout: what it is given.
          outputs: what it returns.
          register_bytes: of the vectors that the processor computes with.

        Raises:
          Unsupported: it is too large.
        """
        avals = [value.aval for value in layout.own]
        if sum(math.prod(aval.shape) for aval in avals) > MOST_NUMBERS:
            raise Unsupported("it has many parameters")
        if not avals:
            raise Unsupported("nothing differs between lanes")
        width = register_bytes // max(bytes_of(type_of(aval.dtype)) for aval in avals)
        return cls(items, layout, outputs, width * REGISTERS)

    def code(self) -> str:
        """Its LLVM code.

        Raises:
          Unsupported: it cannot be written.
        """
        # In a loop over data all lanes go together. Else groups follow each other: where one waits for its sums, the
        # next goes on.
        groups = 1 if any(map(_is_long, self.items)) else 2
        return _Body(self.items, self.layout, self.outputs, self.lanes // groups, groups).code()


def _is_long(item: Item) -> bool:
    """Whether there are sums of many terms."""
    if isinstance(item, Loop):
        return any(map(_is_long, [*item.test, *item.body]))
    return item.eqn.primitive.name in REDUCTIONS and math.prod(domain(item.eqn)) > UNROLLED


Numbers = dict[tuple[int, ...], Number]
"""Those of one array, by index."""


_Place = tuple[int, tuple[int, ...]]
"""Of a number that a loop carries: which array, and the index there."""


class _Row:
    """What lanes need, in each step of a loop, of what they share: kept while the shared part runs ahead.

    Attributes:
      place: of each value, and of the number of steps of each inner loop, in bytes.
      size: of a row, in bytes.
      name: of the variables: the memory, how many rows there is room for and are in use, and the next to read.
    """

    def __init__(self, name: str):
        self.name, self.size = name, 0
        self.place: dict[Any, int] = {}

    def add(self, key: Any, num_bytes: int) -> None:
        self.place[key] = self.size
        self.size += -(-num_bytes // 8) * 8


class _Body:
    """The code while it is written.

    First comes what all lanes share, from the first step to the last, then one chunk of lanes after the other. A
    chunk is made of groups of lanes, as long as a vector. What is carried by a loop stays in variables, from which
    LLVM makes registers.
    """

    def __init__(self, items: Sequence[Item], layout: Layout, outputs: Sequence[Value], width: int, groups: int):
        self.items, self.layout, self.outputs, self.groups = items, layout, outputs, groups
        self.w = Writer(width)
        # What comes before everything else.
        self.first = Writer(width)
        self.first.new = self.w.new
        self.pointers = {value: f"%in{i}" for i, value in enumerate([*layout.fixed, *layout.own])}
        self.results = {value: f"%out{i}" for i, value in enumerate(outputs)}
        self.rows: dict[int, _Row] = {}
        self.arrays: dict[Value, Array] = {}
        self.steps: dict[int, Number] = {}
        self.shared_by_lanes = _shared_by_lanes(items)

    def code(self) -> str:
        w, layout, width = self.w, self.layout, self.w.width
        self.arrays = {value: self._read(value, self.pointers[value]) for value in layout.fixed}
        w.line("br label %clock")
        w.label("clock")
        self._clock(self.items, None)
        for value, pointer in self.results.items():
            if value.kind == Kind.STEP:
                self._store(self._numbers(value), value, pointer)
        rows = [row for row in self.rows.values() if row.size]
        for row in rows:
            w.line(f"%{row.name}memory = load ptr, ptr %{row.name}")
        begin = w.block
        w.line("br label %chunk")
        w.label("chunk")
        w.line(f"%chunk0 = phi i64 [ 0, %{begin} ], [ %chunk1, %stored ]")
        for row in rows:
            w.line(f"store i64 0, ptr %{row.name}next")
        places = [w.instruction(f"add i64 %chunk0, {group * width}", _INT).name for group in range(self.groups)]
        self.of = [
            self.arrays | {value: _held(self._loaded(value, place)) for value in layout.own} for place in places
        ]
        self.known = [w.known_now() for _ in places]
        self._lanes(self.items)
        found = [
            {value: self._widened(value) for value in self.outputs if value.kind == Kind.LANE} for _ in self._each()
        ]
        for place, values in zip(places, found, strict=True):
            for value, numbers in values.items():
                for index, number in numbers.items():
                    w.store(number, self.results[value], self._place_of_lanes(value, index, place))
        w.line("br label %stored")
        w.label("stored")
        w.line(f"%chunk1 = add nuw nsw i64 %chunk0, {width * self.groups}")
        w.line("%more = icmp ult i64 %chunk1, %used")
        w.line("br i1 %more, label %chunk, label %end")
        w.label("end")
        for row in rows:
            w.line(f"call void @free(ptr %{row.name}memory)")
        w.line("ret void")
        # Results may be written over what was given, but for the arrays that are the same for all lanes and steps.
        pointers = [
            f"ptr {'noalias readonly ' if value in layout.fixed else ''}{name}"
            for value, name in [*self.pointers.items(), *self.results.items()]
        ]
        parameters = ", ".join(["i64 %lanes", "i64 %used", *pointers])
        # Spilled vectors are to lie in one cache line each; compilers prefer shorter vectors out of caution.
        attributes = 'nounwind noinline alignstack(64) "stackrealign" "prefer-vector-width"="512"'
        attributes += ' "min-legal-vector-width"="512"'
        return "\n".join(
            [
                *sorted(w.declared),
                "declare ptr @realloc(ptr, i64)",
                "declare void @free(ptr)",
                f"define internal void @kernel({parameters}) {attributes} {{",
                "entry:",
                *self.first.lines,
                *w.lines,
                "}\n",
            ]
        )

    def _variable(self, type_: str) -> str:
        name = self.w.new()
        self.first.line(f"{name} = alloca {type_}, align 64")
        return name

    # What all lanes share

    def _read(self, value: Value, pointer: str, *, first: bool = True) -> Array:
        """An array of which each number is read when it is asked for."""
        shape, type_ = value.aval.shape, type_of(value.aval.dtype)

        def number(index: tuple[Index, ...]) -> Number:
            if any(isinstance(k, int) and not 0 <= k < length for k, length in zip(index, shape, strict=True)):
                raise Unsupported("an index outside of an array")

            def read() -> Number:
                place = _flat(self.w, index, shape)
                w = self.first if first and all(isinstance(k, int) for k in index) else self.w
                return w.load(pointer, place, type_, wide=False)

            return self.w.known((value, index), read)

        return Array(shape, number)

    def _store(self, numbers: Numbers, value: Value, pointer: str) -> None:
        for index, number in numbers.items():
            self.w.store(number, pointer, _flat(self.w, index, value.aval.shape))

    def _clock(self, items: Sequence[Item], row: _Row | None) -> None:
        """Computes what all lanes share; what they need of it in each step goes into a row."""
        for item in items:
            if isinstance(item, Loop):
                if item.apart:  # what is shared inside is the same in all its steps
                    if any(isinstance(other, Loop) for other in item.body):
                        raise Unsupported("a loop in a loop that lanes leave one by one")
                    self._clock([*item.test, *item.body], row)
                    continue
                self.steps[id(item)] = self._clock_loop(item)
                if row is not None and item.by_lane:
                    row.add(id(item), 8)
            elif item.kind == Kind.STEP:
                self._define(item)
                self.arrays |= {value: _held(self._numbers(value)) for value in item.outputs}

    def _clock_loop(self, loop: Loop) -> Number:
        """The shared part of a loop, and how many steps it makes."""
        w, name = self.w, self.w.new()[1:]
        row = self.rows[id(loop)] = _Row(name)
        clock = [i for i, value in enumerate(loop.carry) if value.kind == Kind.STEP]
        held = {
            i: {
                index: self._variable(stored(type_of(loop.carry[i].aval.dtype)))
                for index in np.ndindex(*loop.carry[i].aval.shape)
            }
            for i in clock
        }

        def store(i: int, numbers: Numbers) -> None:
            for index, number in numbers.items():
                w.store(number, held[i][index], "0")

        def load(i: int) -> Numbers:
            type_ = type_of(loop.carry[i].aval.dtype)
            return {index: w.load(slot, "0", type_, wide=False) for index, slot in held[i].items()}

        for i in clock:
            store(i, self._numbers(loop.before[i]))
        for suffix, type_ in (("", "ptr"), ("room", "i64"), ("rows", "i64"), ("next", "i64")):
            self.first.line(f"%{name}{suffix} = alloca {type_}")
        self.first.line(f"store ptr null, ptr %{name}")
        self.first.line(f"store i64 0, ptr %{name}room")
        self.first.line(f"store i64 0, ptr %{name}rows")
        count = self._variable("i64")
        w.line(f"store i64 0, ptr {count}")
        w.line(f"br label %{name}head")
        w.label(f"{name}head")
        outside = self.arrays
        with w.scope():
            self.arrays = outside | {loop.carry[i]: _held(load(i)) for i in clock}
            self._clock(loop.test, None)
            ((_, goes_on),) = self._numbers(loop.goes_on).items()
            w.line(f"br i1 {goes_on.name}, label %{name}body, label %{name}done")
            w.label(f"{name}body")
            self._clock(loop.body, row)
            after = {i: self._numbers(loop.after[i]) for i in clock}
            shared = [value for value in self.arrays if value not in outside and value in self.shared_by_lanes]
            for value in shared:
                row.add(value, math.prod(value.aval.shape) * bytes_of(type_of(value.aval.dtype)))
            if row.size:
                self._keep(row, shared)
            for i in clock:
                store(i, after[i])
            num = w.load(count, "0", "i64", wide=False)
            w.store(w.apply("add", num, constant(1, "i64")), count, "0")
            w.line(f"br label %{name}head")
        w.label(f"{name}done")
        self.arrays = outside | {loop.outputs[i]: _held(load(i)) for i in clock}
        return w.load(count, "0", "i64", wide=False)

    def _keep(self, row: _Row, shared: Sequence[Value]) -> None:
        """Writes one more row."""
        w, name = self.w, row.name
        for line in (
            f"%{name}n = load i64, ptr %{name}rows",
            f"%{name}r = load i64, ptr %{name}room",
            f"%{name}full = icmp uge i64 %{name}n, %{name}r",
            f"br i1 %{name}full, label %{name}grow, label %{name}keep",
        ):
            w.line(line)
        w.label(f"{name}grow")
        for line in (
            f"%{name}twice = shl i64 %{name}r, 1",
            f"%{name}r1 = or i64 %{name}twice, 64",
            f"%{name}bytes = mul i64 %{name}r1, {row.size}",
            f"%{name}old = load ptr, ptr %{name}",
            f"%{name}new = call ptr @realloc(ptr %{name}old, i64 %{name}bytes)",
            f"store ptr %{name}new, ptr %{name}",
            f"store i64 %{name}r1, ptr %{name}room",
            f"br label %{name}keep",
        ):
            w.line(line)
        w.label(f"{name}keep")
        for line in (
            f"%{name}base = load ptr, ptr %{name}",
            f"%{name}at = mul i64 %{name}n, {row.size}",
            f"%{name}row = getelementptr i8, ptr %{name}base, i64 %{name}at",
            f"%{name}n1 = add i64 %{name}n, 1",
            f"store i64 %{name}n1, ptr %{name}rows",
        ):
            w.line(line)
        for value in shared:
            self._store(self._numbers(value), value, self._field(row, f"%{name}row", value))
        for key in row.place:
            if key in self.steps:
                w.store(self.steps[key], self._field(row, f"%{name}row", key), "0")

    def _field(self, row: _Row, pointer: str, key: Any) -> str:
        name = self.w.new()
        self.w.line(f"{name} = getelementptr i8, ptr {pointer}, i64 {row.place[key]}")
        return name

    def _numbers(self, value: Value) -> Numbers:
        array = self._array(value)
        return {index: self.w.plain(array.number(index)) for index in np.ndindex(*value.aval.shape)}

    def _widened(self, value: Value) -> Numbers:
        return {index: self.w.widened(number) for index, number in self._numbers(value).items()}

    # Lanes

    def _each(self) -> Iterator[int]:
        """Each group of lanes in turn: what is written meanwhile is about it."""
        for group in range(self.groups):
            with self._about(group):
                yield group

    @contextmanager
    def _about(self, group: int) -> Iterator[None]:
        before, self.arrays = self.arrays, self.of[group]
        with self.w.knowing(self.known[group]):
            yield
        self.of[group], self.arrays = self.arrays, before

    def _lanes(self, items: Sequence[Item]) -> None:
        """Equations and loops, in their order, for all groups."""
        straight: list[Op] = []
        for item in items:
            if isinstance(item, Loop):
                self._straight(straight)
                straight = []
                self._lanes_loop(item)
            elif item.kind == Kind.LANE:
                straight.append(item)
        self._straight(straight)

    def _lanes_loop(self, loop: Loop) -> None:
        w, name, row, by_lane = self.w, self.w.new()[1:], self.rows.get(id(loop)), loop.by_lane
        if not by_lane:
            return
        inside = set(inputs_of([loop]))
        # What an outer loop carries stays in memory: the inner one needs the registers.
        how = "volatile " if any(isinstance(item, Loop) for item in loop.body) else ""
        held: list[dict[_Place, str]] = []
        for _ in self._each():
            # What is not written here is written again in every step.
            for value in self.arrays:
                if value in inside and value.kind == Kind.LANE:
                    self._numbers(value)
            numbers = {(i, k): n for i in by_lane for k, n in self._widened(loop.before[i]).items()}
            held.append({key: self._variable(w.typed(number)) for key, number in numbers.items()})
            self._hold(numbers, held[-1], how)
        count = self._variable("i64")
        w.line(f"store i64 0, ptr {count}")
        w.line(f"br label %{name}head")
        w.label(f"{name}head")
        outside = [dict(arrays) for arrays in self.of]
        for group in self._each():
            self.known[group].append({})
            self.arrays = self.arrays | self._carried(loop.carry, by_lane, held[group], how)
        masks: list[Number] = []
        w.line(f"%{name}i = load i64, ptr {count}")
        if loop.apart:
            self._straight([item for item in loop.test if isinstance(item, Op) and item.kind == Kind.LANE])
            masks = [self._widened(loop.goes_on)[()] for _ in self._each()]
            goes_on = self._any(masks)
        else:
            goes_on = w.instruction(f"icmp ult i64 %{name}i, {self.steps[id(loop)].name}", _INT).name
        w.line(f"br i1 {goes_on}, label %{name}body, label %{name}done")
        w.label(f"{name}body")
        if row and row.size:
            self._next_row(row)
        self._lanes(loop.body)
        after = []
        for group in self._each():
            numbers = {(i, k): n for i in by_lane for k, n in self._widened(loop.after[i]).items()}
            if loop.apart:
                before = {(i, k): n for i in by_lane for k, n in self._widened(loop.carry[i]).items()}
                numbers = {key: w.select(masks[group], number, before[key]) for key, number in numbers.items()}
            after.append(numbers)
        for numbers, variables in zip(after, held, strict=True):
            self._hold(numbers, variables, how)
        w.line(f"%{name}j = add nuw nsw i64 %{name}i, 1")
        w.line(f"store i64 %{name}j, ptr {count}")
        w.line(f"br label %{name}head")
        w.label(f"{name}done")
        self.of = outside
        for group in self._each():
            self.known[group].pop()
            self.arrays |= self._carried(loop.outputs, by_lane, held[group], how)

    def _next_row(self, row: _Row) -> None:
        """Reads the row of this step."""
        w, name = self.w, row.name
        pointer, this, after, at = w.new(), w.new(), w.new(), w.new()
        w.line(f"{this} = load i64, ptr %{name}next")
        w.line(f"{after} = add nuw nsw i64 {this}, 1")
        w.line(f"store i64 {after}, ptr %{name}next")
        w.line(f"{at} = mul nuw nsw i64 {this}, {row.size}")
        w.line(f"{pointer} = getelementptr i8, ptr %{name}memory, i64 {at}")
        values = {}
        for key in row.place:
            field = self._field(row, pointer, key)
            if isinstance(key, Value):
                values[key] = self._read(key, field, first=False)
            else:
                self.steps[key] = w.load(field, "0", "i64", wide=False)
        for _ in self._each():
            self.arrays = self.arrays | values

    def _hold(self, numbers: dict[_Place, Number], variables: dict[_Place, str], how: str = "") -> None:
        for key, number in numbers.items():
            self.w.line(f"store {how}{self.w.typed(number)} {number.name}, ptr {variables[key]}, align 64")

    def _carried(
        self, values: Sequence[Value], by_lane: Sequence[int], variables: dict[_Place, str], how: str = ""
    ) -> dict[Value, Array]:
        """What a loop carries, each number read when it is asked for."""

        def array(i: int) -> Array:
            value = values[i]
            like = Number("", type_of(value.aval.dtype), True)

            def number(index: tuple[Index, ...]) -> Number:
                place: Any = (i, index)
                if place not in variables:
                    raise Unsupported("a loop over parameters")
                return self.w.known((value, index), lambda: self.w.fetch(like, variables[place], how))

            return Array(value.aval.shape, number)

        return {values[i]: array(i) for i in by_lane}

    def _any(self, masks: Sequence[Number]) -> str:
        """Whether any lane of any group goes on."""
        w = self.w
        total = masks[0]
        for mask in masks[1:]:
            total = w.apply("or", total, mask)
        intrinsic = f"@llvm.vector.reduce.or.v{w.width}i1"
        w.declared.add(f"declare i1 {intrinsic}({w.typed(total)})")
        return w.instruction(f"call i1 {intrinsic}({w.typed(total)} {total.name})", _INT).name

    def _loaded(self, value: Value, place: str) -> Numbers:
        """All numbers of an array with lanes."""
        type_ = type_of(value.aval.dtype)
        return {
            index: self.w.load(self.pointers[value], self._place_of_lanes(value, index, place), type_, wide=True)
            for index in np.ndindex(*value.aval.shape)
        }

    def _place_of_lanes(self, value: Value, index: tuple[int, ...], place: str) -> str:
        row = self.w.instruction(f"mul i64 %lanes, {_flat(self.w, index, value.aval.shape)}", _INT)
        return self.w.instruction(f"add i64 {row.name}, {place}", _INT).name

    def _straight(self, ops: Sequence[Op]) -> None:
        """Equations without loops between them."""
        levels: dict[Value, int] = {}
        sums: dict[tuple[int, int], list[Op]] = {}
        for op in ops:
            # A sum over data that depends on another one needs a loop of its own.
            level = max((levels.get(value, 0) for value in op.inputs), default=0) + _is_long(op)
            levels |= dict.fromkeys(op.outputs, level)
            if _is_long(op):
                sums.setdefault((level, max(domain(op.eqn))), []).append(op)
        for _ in self._each():
            for op in ops:
                if not _is_long(op):
                    self._define(op)
            for level, length in sorted(sums):
                self._sums(length, sums[level, length])

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
        if name in SEVERAL:
            self.arrays |= dict(zip(op.outputs, SEVERAL[name](eqn, args), strict=True))
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
                return elementwise(w, eqn, [x.number(_stretched(x.shape, index)) for x in args])

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

    def _sums(self, length: int, ops: Sequence[Op]) -> None:
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


def _stretched(shape: tuple[int, ...], index: tuple[Index, ...]) -> tuple[Index, ...]:
    """The index of an operand: scalars, and axes of length one, stretch to the shape of the result."""
    return tuple(0 if length == 1 else k for length, k in zip(shape, index, strict=True)) if shape else ()


def _held(numbers: Numbers) -> Array:
    def number(index: tuple[Index, ...]) -> Number:
        if index not in numbers:
            raise Unsupported("a loop over parameters")
        return numbers[index]  # pyright: ignore[reportArgumentType]

    return Array((), number)


def _shared_by_lanes(items: Sequence[Item]) -> set[Value]:
    """What lanes need of what they share."""
    found: set[Value] = set()
    for item in items:
        if isinstance(item, Loop):
            found |= _shared_by_lanes([*item.test, *item.body])
            found |= {column[i] for i in item.by_lane for column in (item.before, item.after)}
            found.add(item.goes_on)
        elif item.kind == Kind.LANE:
            found.update(item.inputs)
    return {value for value in found if value.kind == Kind.STEP}


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
