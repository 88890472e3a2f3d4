"""Lines of LLVM code for one number after the other, each the same for all lanes or a vector over some of them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

# Lines of one kernel: beyond that it takes longer to compile than it saves.
LONGEST = 8000
# Powers of two that are carried along instead of multiplied by, at once and in all: what is carried must neither
# overflow nor vanish, and no number may come to have two values.
FACTOR, FACTORS = 2.0**10, 2.0**20

_TYPES = {
    "bool": "i1",
    "float32": "float",
    "float64": "double",
    **{f"{sign}int{bits}": f"i{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


class Unsupported(Exception):
    """A program that cannot be written as native code."""


class Number(NamedTuple):
    """One number: ``scale`` times what has the name.

    Powers of two travel through products and sums to where they must be multiplied by: once for each sum, and not
    for each of its terms.

    Attributes:
      name: LLVM's, or a constant.
      type: LLVM's, of one lane.
      wide: whether it is a vector over lanes.
      scale: of a floating-point number.
    """

    name: str
    type: str
    wide: bool
    scale: float = 1.0

    @property
    def value(self) -> float | None:
        """That of a constant of a floating-point type."""
        return float(np.uint64(int(self.name, 16)).view(np.float64)) if self.name.startswith("0x") else None


def type_of(dtype: Any) -> str:
    """LLVM's name of a dtype.

    Raises:
      Unsupported: LLVM has none.
    """
    name = getattr(dtype, "name", str(dtype))
    if name not in _TYPES:
        raise Unsupported(f"numbers of type {name}")
    return _TYPES[name]


def stored(type_: str) -> str:
    """The type of a number in memory."""
    return "i8" if type_ == "i1" else type_


def bytes_of(type_: str) -> int:
    """The size of a number in memory."""
    return {"float": 4, "double": 8}.get(type_) or max(int(type_[1:]) // 8, 1)


def constant(value: Any, type_: str) -> Number:
    """A number that is written into the code."""
    match type_:
        case "i1":
            name = "true" if value else "false"
        case "float" | "double":  # LLVM writes single precision as the double of the same value
            rounded = np.float64(np.float32(value)) if type_ == "float" else np.float64(value)
            name = f"0x{int(rounded.view(np.uint64)):016X}"
        case _:
            name = str(int(np.asarray(value).astype(f"int{8 * bytes_of(type_)}")))
    return Number(name, type_, False)


class Writer:
    """Code as it is written, and what it has computed already.

    Attributes:
      width: lanes of a vector.
      lines: the code.
      declared: the intrinsics that it uses.
      block: the name of the basic block that is being written.
    """

    def __init__(self, width: int):
        self.width = width
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self.block = "entry"
        self._count = 0
        self._known: list[dict[Any, Any]] = [{}]
        self._made_of: dict[str, tuple[str, tuple[Number, ...]]] = {}

    def new(self) -> str:
        """A name."""
        self._count += 1
        return f"%v{self._count}"

    def line(self, text: str) -> None:
        """Writes one line.

        Raises:
          Unsupported: there are too many.
        """
        if len(self.lines) >= LONGEST:
            raise Unsupported("it is too long")
        self.lines.append(text)

    def label(self, name: str) -> None:
        """Begins a basic block."""
        self.line(f"{name}:")
        self.block = name

    def reserve(self) -> int:
        """A line to be written later."""
        self.line("")
        return len(self.lines) - 1

    def vector(self, type_: str) -> str:
        """The type of a vector."""
        return f"<{self.width} x {type_}>"

    def typed(self, number: Number) -> str:
        """The type of a number or vector."""
        return self.vector(number.type) if number.wide else number.type

    def known(self, key: Any, make: Callable[[], Any]) -> Any:
        """What has been made for the key, or is made now."""
        for scope in self._known:
            if key in scope:
                return scope[key]
        made = self._known[-1][key] = make()
        return made

    def known_now(self) -> list[dict[Any, Any]]:
        """What is known here, and room for what will be."""
        return [*self._known, {}]

    @contextmanager
    def knowing(self, known: list[dict[Any, Any]]) -> Iterator[None]:
        """What is written inside may use what is known there, and adds to that."""
        before, self._known = self._known, known
        yield
        self._known = before

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is computed inside is not known outside."""
        self._known.append({})
        yield
        self._known.pop()

    def instruction(self, text: str, like: Number, *, to: str | None = None) -> Number:
        """Writes one instruction; its result is of another type or of the same as a number."""
        name = self.new()
        self.line(f"{name} = {text}")
        return Number(name, to or like.type, like.wide)

    def widened(self, number: Number) -> Number:
        """The number in all lanes."""
        if number.wide:
            return number
        return self.known(("wide", number.name, number.type), lambda: self._splat(number))._replace(
            scale=number.scale
        )

    def _splat(self, number: Number) -> Number:
        vector = self.vector(number.type)
        one = self.instruction(f"insertelement {vector} poison, {number.type} {number.name}, i64 0", number)
        parts = f"{vector} {one.name}, {vector} poison, <{self.width} x i32> zeroinitializer"
        return self.instruction(f"shufflevector {parts}", one)._replace(wide=True)

    def plain(self, number: Number) -> Number:
        """The number with its scale multiplied by."""
        return self.at_scale(number, 1.0)

    def at_scale(self, number: Number, scale: float) -> Number:
        """The number with another scale."""
        factor = number.scale / scale
        if factor == 1:
            return number
        if factor == -1:
            return self.apply("fneg", number._replace(scale=1.0))._replace(scale=scale)
        product = self.apply("fmul contract", number._replace(scale=1.0), constant(factor, number.type))
        return product._replace(scale=scale)

    def scaled(self, number: Number, factor: float) -> Number:
        """The number times a constant, multiplied by later if that changes no bit."""
        scale, is_exact = number.scale * factor, math.frexp(factor)[0] in (0.5, -0.5)
        if is_exact and 1 / FACTOR <= abs(factor) <= FACTOR and 1 / FACTORS <= abs(scale) <= FACTORS:
            return number._replace(scale=scale)
        return self.apply("fmul contract", self.plain(number), constant(factor, number.type))

    def _alike(self, numbers: tuple[Number, ...]) -> tuple[Number, ...]:
        return tuple(map(self.widened, numbers)) if any(n.wide for n in numbers) else numbers

    def apply(self, operation: str, *operands: Number, to: str | None = None) -> Number:
        """``operation type a, b``, of numbers without scales."""
        operands = self._alike(operands)

        def make() -> Number:
            names = ", ".join(operand.name for operand in operands)
            made = self.instruction(f"{operation} {self.typed(operands[0])} {names}", operands[0], to=to)
            self._made_of[made.name] = operation, operands
            return made

        return self.known((operation, operands), make)

    def made_of(self, number: Number) -> tuple[str, tuple[Number, ...]]:
        """The operation and the operands that a number is the result of."""
        return self._made_of.get(number.name, ("", ()))

    def convert(self, operation: str, operand: Number, to: str) -> Number:
        """``operation type a to type``."""
        target = self.typed(operand._replace(type=to))
        text = f"{operation} {self.typed(operand)} {operand.name} to {target}"
        return self.known((text,), lambda: self.instruction(text, operand, to=to))

    def select(self, which: Number, yes: Number, no: Number) -> Number:
        """One of two numbers."""
        parts = self._alike((which, yes, no))
        text = "select " + ", ".join(f"{self.typed(part)} {part.name}" for part in parts)
        return self.known((text,), lambda: self.instruction(text, parts[1]))

    def call(self, intrinsic: str, *operands: Number, to: str | None = None) -> Number:
        """An intrinsic function of LLVM."""
        operands = self._alike(operands)
        first = operands[0]

        def make() -> Number:
            out = first._replace(type=to or first.type)
            mangled = ".".join(map(self._mangled, (out, first) if to else (out,)))
            types = ", ".join(map(self.typed, operands))
            self.declared.add(f"declare {self.typed(out)} @llvm.{intrinsic}.{mangled}({types})")
            parts = ", ".join(f"{self.typed(operand)} {operand.name}" for operand in operands)
            return self.instruction(f"call {self.typed(out)} @llvm.{intrinsic}.{mangled}({parts})", out)

        return self.known((intrinsic, operands, to), make)

    def _mangled(self, number: Number) -> str:
        short = {"float": "f32", "double": "f64"}.get(number.type, number.type)
        return f"v{self.width}{short}" if number.wide else short

    def load(self, pointer: str, place: str, type_: str, *, wide: bool) -> Number:
        """A number of an array, or as many as there are lanes from there on."""
        memory = Number("", stored(type_), wide)
        address = self.instruction(f"getelementptr {memory.type}, ptr {pointer}, i64 {place}", memory)
        text = f"load {self.typed(memory)}, ptr {address.name}, align {bytes_of(memory.type)}"
        number = self.instruction(text, memory)
        return self.convert("trunc", number, "i1") if type_ == "i1" else number

    def fetch(self, like: Number, variable: str, how: str = "") -> Number:
        """A variable's number, of the type of another."""
        number = Number(self.new(), like.type, like.wide)
        self.line(f"{number.name} = load {how}{self.typed(number)}, ptr {variable}, align 64")
        return number

    def store(self, number: Number, pointer: str, place: str) -> None:
        """The reverse of `load`."""
        memory = self.convert("zext", number, "i8") if number.type == "i1" else number
        address = self.instruction(f"getelementptr {memory.type}, ptr {pointer}, i64 {place}", memory)
        kind = f"align {bytes_of(memory.type)}"
        self.line(f"store {self.typed(memory)} {memory.name}, ptr {address.name}, {kind}")
