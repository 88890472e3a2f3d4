"""How each primitive of JAX is written as native code: numbers of arrays, each when it is asked for.

`ELEMENTWISE` maps the numbers of the operands to that of the result; `ARRAYS` says which number of which operand a
number of the result is; `REDUCTIONS` add up. What stands in none of them cannot be written.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxloss.engine.elementary import FAST
from jaxloss.engine.native.code import Number, Unsupported, Writer, constant, type_of

Index = int | str
"""A position, or the name of the counter of a loop."""


@dataclass(frozen=True, eq=False)
class Array:
    """An array whose numbers are written when they are asked for.

    Attributes:
      shape: for one lane.
      number: at an index.
    """

    shape: tuple[int, ...]
    number: Callable[[tuple[Index, ...]], Number]


def shape_of(atom: Any) -> tuple[int, ...]:
    """The shape of a variable of a jaxpr."""
    return atom.aval.shape


def dtype_of(atom: Any) -> np.dtype:
    """The dtype of a variable of a jaxpr.

    Raises:
      Unsupported: it is none of NumPy's, as that of a random key.
    """
    type_of(atom.aval.dtype)
    return np.dtype(atom.aval.dtype)


ADD, SUB, MUL = "fadd contract", "fsub contract", "fmul contract"

# Elementwise


def elementwise(w: Writer, eqn: JaxprEqn, operands: Sequence[Number]) -> Number:
    """One number of the result of an elementwise primitive.

    Raises:
      Unsupported: there is no rule for it.
    """
    name, dtype = eqn.primitive.name, dtype_of(eqn.invars[0])
    if dtype.kind == "f" and name in _SCALED:
        return _SCALED[name](w, *operands)
    operands = [w.plain(operand) for operand in operands]
    if name in FAST and dtype in (np.float32, np.float64):
        return w.known((name, operands[0]), lambda: _fast(w, name, dtype, operands[0]))
    if name not in ELEMENTWISE:
        raise Unsupported(f"the primitive {name}")
    return ELEMENTWISE[name](w, eqn.params, dtype, *operands)


def multiplied(w: Writer, a: Number, b: Number) -> Number:
    """The product of two floating-point numbers."""
    for x, y in ((a, b), (b, a)):
        if y.value is not None and x.value is None:
            return w.scaled(x, y.value * y.scale) if y.value and np.isfinite(y.value) else _product(w, x, y)
    return _product(w, a, b)


def _product(w: Writer, a: Number, b: Number) -> Number:
    scale, a, b = a.scale * b.scale, a._replace(scale=1.0), b._replace(scale=1.0)
    for x, y in ((a, b), (b, a)):
        operation, parts = w.made_of(y)
        if operation == SUB and parts[1] == x and parts[0] == w.widened(constant(1, x.type)) and x.wide:
            # x (1 - x) = x - x x, in one operation that rounds once.
            return _scaled_by(w, w.apply(SUB, x, w.apply(MUL, x, x)), scale)
    return _scaled_by(w, w.apply(MUL, a, b), scale)


def _scaled_by(w: Writer, number: Number, scale: float) -> Number:
    return w.scaled(number, scale) if scale != 1 else number


def added(w: Writer, a: Number, b: Number, operation: str = ADD) -> Number:
    """The sum of two floating-point numbers, or their difference."""
    if a.scale == b.scale:
        return w.apply(operation, a._replace(scale=1.0), b._replace(scale=1.0))._replace(scale=a.scale)
    return w.apply(operation, w.plain(a), w.plain(b))


def _quotient(w: Writer, a: Number, b: Number) -> Number:
    if b.value is not None and b.value and np.isfinite(b.value):
        return multiplied(w, a, constant(1 / (b.value * b.scale), b.type))
    if a.wide and not b.wide:  # one division for all lanes
        return multiplied(w, a, w.apply("fdiv", constant(1, b.type), w.plain(b)))
    return _scaled_by(w, w.apply("fdiv", a._replace(scale=1.0), w.plain(b)), a.scale)


_SCALED: dict[str, Callable[..., Number]] = {
    "add": added,
    "add_any": added,
    "div": _quotient,
    "mul": multiplied,
    "neg": lambda w, x: x._replace(scale=-x.scale),
    "square": lambda w, x: _product(w, x, x),
    "sub": functools.partial(added, operation=SUB),
}
"""What constant factors pass through."""


@functools.cache
def _fast_jaxpr(name: str, dtype: np.dtype) -> ClosedJaxpr:
    with jax.enable_x64(dtype == np.float64):
        return jax.make_jaxpr(FAST[name])(jax.ShapeDtypeStruct((), dtype))


def _fast(w: Writer, name: str, dtype: np.dtype, x: Number) -> Number:
    """An elementary function, by the operations of `jaxloss.engine.elementary`."""
    closed = _fast_jaxpr(name, dtype)
    return _numbers(w, closed.jaxpr, closed.consts, [x])[0]


def _numbers(w: Writer, jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Number]) -> list[Number]:
    """A jaxpr of scalars."""
    values = dict(zip(jaxpr.invars, args, strict=True))
    for var, const in zip(jaxpr.constvars, consts, strict=True):
        values[var] = constant(const, type_of(dtype_of(var)))

    def read(atom) -> Number:
        return constant(atom.val, type_of(dtype_of(atom))) if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        if body := called(eqn):
            outs = _numbers(w, *body, operands)
        elif eqn.primitive.name == "broadcast_in_dim":
            outs = operands
        elif eqn.primitive.name == "round":
            outs = [_nearest(w, operands[0])]
        else:
            outs = [_exact(w, eqn, operands)]
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _exact(w: Writer, eqn: JaxprEqn, operands: Sequence[Number]) -> Number:
    """One operation as it stands: elementary functions depend on how each of theirs rounds."""
    name, dtype = eqn.primitive.name, dtype_of(eqn.invars[0])
    if name == "add" and dtype.kind == "f":
        operation, parts = w.made_of(operands[0])
        if operation == _BACK and parts[1] == w.widened(operands[1]):
            return parts[0]  # (q - magic) + magic
    return ELEMENTWISE[name](w, eqn.params, dtype, *operands)


_BACK = "fsub"


def _nearest(w: Writer, x: Number) -> Number:
    """The nearest integer of a number that is small, or whose result is replaced anyway if it is not.

    What is added leaves no bits for a fraction; the addition is part of the product before it.
    """
    magic = constant(1.5 * 2.0 ** {"float": 23, "double": 52}[x.type], x.type)
    return w.apply(_BACK, w.apply(ADD, x, magic), magic)


def _binary(on_floats: str, on_ints: str | None) -> Callable[..., Number]:
    def write(w, params, dtype, a, b):
        if dtype.kind == "f":
            return w.apply(on_floats, a, b)
        if on_ints is None or dtype.kind == "b":
            raise Unsupported(f"{on_floats} of {dtype}")
        return w.apply(on_ints, a, b)

    return write


def _logical(operation: str) -> Callable[..., Number]:
    return lambda w, params, dtype, a, b: w.apply(operation, a, b)


def _compare(name: str) -> Callable[..., Number]:
    def write(w, params, dtype, a, b):
        if dtype.kind == "f":
            return w.apply(f"fcmp {'une' if name == 'ne' else f'o{name}'}", a, b, to="i1")
        sign = "" if name in ("eq", "ne") else "s" if dtype.kind == "i" else "u"
        return w.apply(f"icmp {sign}{name}", a, b, to="i1")

    return write


def _extremum(on_floats: str, comparison: str, on_bools: str) -> Callable[..., Number]:
    def write(w, params, dtype, a, b):
        if dtype.kind == "f":
            return w.call(on_floats, a, b)
        if dtype.kind == "b":
            return w.apply(on_bools, a, b)
        return w.select(w.apply(f"icmp {'s' if dtype.kind == 'i' else 'u'}{comparison}", a, b, to="i1"), a, b)

    return write


def _of_floats(intrinsic: str) -> Callable[..., Number]:
    def write(w, params, dtype, x):
        if dtype.kind != "f":
            raise Unsupported(f"{intrinsic} of {dtype}")
        return w.call(intrinsic, x)

    return write


def _neg(w, params, dtype, x):
    return w.apply("fneg", x) if dtype.kind == "f" else w.apply("sub", constant(0, x.type), x)


def _abs(w, params, dtype, x):
    if dtype.kind != "f":
        raise Unsupported(f"absolute values of {dtype}")
    return w.call("fabs", x)


def _sign(w, params, dtype, x):
    if dtype.kind != "f":
        raise Unsupported(f"signs of {dtype}")
    one = w.call("copysign", constant(1, x.type), x)
    # A NaN and a zero are their own signs.
    return w.select(w.apply("fcmp one", x, constant(0, x.type), to="i1"), one, x)


def _integer_pow(w, params, dtype, x):
    if dtype.kind != "f":
        raise Unsupported(f"powers of {dtype}")
    result, left = None, abs(params["y"])
    while left:
        if left & 1:
            result = x if result is None else w.apply(MUL, result, x)
        left >>= 1
        x = w.apply(MUL, x, x) if left else x
    result = constant(1, x.type) if result is None else result
    return w.apply("fdiv", constant(1, x.type), result) if params["y"] < 0 else result


def _pow(w, params, dtype, x, power):
    if dtype.kind != "f" or x.wide or power.wide:
        raise Unsupported("powers that differ between lanes")
    return w.call("pow", x, power if power.type == x.type else w.convert("sitofp", power, x.type))


def _rsqrt(w, params, dtype, x):
    return w.apply("fdiv", constant(1, x.type), w.call("sqrt", x))


def _select_n(w, params, dtype, which, *cases):
    if which.type != "i1" or len(cases) != 2:
        raise Unsupported("a choice among more than two")
    return w.select(which, cases[1], cases[0])


def _clamp(w, params, dtype, low, x, high):
    if dtype.kind != "f":
        raise Unsupported(f"clamped {dtype}")
    return w.call("minimum", w.call("maximum", x, low), high)


def _is_finite(w, params, dtype, x):
    return w.apply("fcmp olt", w.call("fabs", x), constant(np.inf, x.type), to="i1")


def _not(w, params, dtype, x):
    return w.apply("xor", x, constant(1 if x.type == "i1" else -1, x.type))


def _round(w, params, dtype, x):
    even = params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN
    return w.call("roundeven" if even else "round", x)


def _convert(w, params, dtype, x):
    new, to = np.dtype(params["new_dtype"]), type_of(params["new_dtype"])
    match dtype.kind, new.kind:
        case _ if new == dtype:
            return x
        case "f", "f":
            return w.convert("fpext" if new.itemsize > dtype.itemsize else "fptrunc", x, to)
        case "f", "b":
            return w.apply("fcmp une", x, constant(0, x.type), to="i1")
        case "f", kind:
            return w.call("fptosi.sat" if kind == "i" else "fptoui.sat", x, to=to)
        case kind, "f":
            return w.convert("sitofp" if kind == "i" else "uitofp", x, to)
        case _, "b":
            return w.apply("icmp ne", x, constant(0, x.type), to="i1")
        case "b", _:
            return w.convert("zext", x, to)
        case _ if new.itemsize == dtype.itemsize:
            return x
        case kind, _ if new.itemsize > dtype.itemsize:
            return w.convert("sext" if kind == "i" else "zext", x, to)
        case _:
            return w.convert("trunc", x, to)


def _bitcast(w, params, dtype, x):
    new = np.dtype(params["new_dtype"])
    if new.itemsize != dtype.itemsize or "b" in (new.kind, dtype.kind):
        raise Unsupported("bits of a number of another size")
    return x if type_of(new) == x.type else w.convert("bitcast", x, type_of(new))


def _shift(operation: str) -> Callable[..., Number]:
    def write(w, params, dtype, x, by):
        if not by.name.isdigit() or int(by.name) >= 8 * dtype.itemsize:
            raise Unsupported("a shift that varies")
        return w.apply(operation, x, by)

    return write


def _rem(w, params, dtype, a, b):
    # Processors stop at a division by zero.
    if dtype.kind not in "iu" or b.wide or not b.name.isdigit() or b.name == "0":
        raise Unsupported("remainders, but of whole numbers and a positive constant")
    return w.apply("srem" if dtype.kind == "i" else "urem", a, b)


def _same(w, params, dtype, x):
    return x


ELEMENTWISE: dict[str, Callable[..., Number]] = {
    "abs": _abs,
    "add": _binary(ADD, "add"),
    "add_any": _binary(ADD, "add"),
    "and": _logical("and"),
    "bitcast_convert_type": _bitcast,
    "ceil": _of_floats("ceil"),
    "clamp": _clamp,
    "convert_element_type": _convert,
    "copy": _same,
    "copy_p": _same,
    "div": _binary("fdiv", None),
    **{name: _compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "floor": _of_floats("floor"),
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "max": _extremum("maximum", "gt", "or"),
    "min": _extremum("minimum", "lt", "and"),
    "mul": _binary(MUL, "mul"),
    "neg": _neg,
    "not": _not,
    "or": _logical("or"),
    "pow": _pow,
    "rem": _rem,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select_n,
    "shift_left": _shift("shl"),
    "shift_right_arithmetic": _shift("ashr"),
    "shift_right_logical": _shift("lshr"),
    "sign": _sign,
    "sqrt": _of_floats("sqrt"),
    "stop_gradient": _same,
    "sub": _binary(SUB, "sub"),
    "xor": _logical("xor"),
}
"""The number of the result: a function of (writer, parameters, dtype of the first operand, operands)."""


def called(eqn: JaxprEqn) -> tuple[Jaxpr, Sequence[Any]] | None:
    """The jaxpr that an equation stands for, and its constants, if it is a call of a function."""
    if eqn.primitive.name not in CALLS:
        return None
    body = next(param for param in eqn.params.values() if isinstance(param, (ClosedJaxpr, Jaxpr)))
    return (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())


# fmt: off
CALLS = (
    "checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "jit",
    "pjit", "remat",
)
# fmt: on

# Arrays


def _fixed(*index: Index) -> tuple[int, ...]:
    """An index that is no loop's counter."""
    if not all(isinstance(k, int) for k in index):
        raise Unsupported("parts of an array that is looped over")
    return index  # pyright: ignore[reportReturnType]


def _broadcast_in_dim(w, eqn, args):
    (x, *_), axes = args, eqn.params["broadcast_dimensions"]
    return lambda i: x.number(tuple(0 if n == 1 else i[axis] for axis, n in zip(axes, x.shape, strict=True)))


def _reshape(w, eqn, args):
    (x, *_), shape = args, shape_of(eqn.outvars[0])
    if eqn.params.get("dimensions") is not None and eqn.primitive.name == "reshape":
        raise Unsupported("a reshape that permutes")
    ours, theirs = ([axis for axis, n in enumerate(sizes) if n != 1] for sizes in (shape, x.shape))
    if [shape[axis] for axis in ours] == [x.shape[axis] for axis in theirs]:  # most often: axes of length one
        source = dict(zip(theirs, ours, strict=True))
        return lambda i: x.number(tuple(i[source[axis]] if axis in source else 0 for axis in range(len(x.shape))))

    def number(i):
        flat = int(np.ravel_multi_index(_fixed(*i), shape))
        return x.number(tuple(map(int, np.unravel_index(flat, x.shape))))

    return number


def _transpose(w, eqn, args):
    (x,), order = args, eqn.params["permutation"]
    return lambda i: x.number(tuple(i[order.index(axis)] for axis in range(len(order))))


def _slice(w, eqn, args):
    (x,), starts = args, eqn.params["start_indices"]
    strides = eqn.params["strides"] or (1,) * len(starts)

    def moved(k, start, stride):
        return k if (start, stride) == (0, 1) else start + stride * _fixed(k)[0]

    return lambda i: x.number(tuple(map(moved, i, starts, strides)))


def _dynamic_slice(w, eqn, args):
    """A part of an array that all lanes share, at a place that they share."""
    x, *starts = args
    sizes = eqn.params["slice_sizes"]

    def start(k: int, size: int) -> Index:
        """It is moved so that the part lies inside."""
        most, place = x.shape[k] - size, starts[k].number(())
        if place.wide:
            raise Unsupported("a place that differs between lanes")
        if not most:
            return 0
        place = w.convert("sext", place, "i64") if place.type != "i64" else place
        inside = w.select(w.apply("icmp slt", place, constant(most, "i64"), to="i1"), place, constant(most, "i64"))
        zero = constant(0, "i64")
        return w.select(w.apply("icmp sgt", inside, zero, to="i1"), inside, zero).name

    def place(start: Index, k: Index) -> Index:
        if isinstance(start, int) and isinstance(k, int):
            return start + k
        return w.apply("add", Number(str(start), "i64", False), Number(str(k), "i64", False)).name

    def number(index: tuple[Index, ...]) -> Number:
        begin = [start(k, size) for k, size in enumerate(sizes)]
        return x.number(tuple(map(place, begin, index)))

    return number


def _split(eqn: JaxprEqn, args: Sequence[Array]) -> list[Array]:
    (x,), axis, parts, start = args, eqn.params["axis"], [], 0
    for size in map(int, eqn.params["sizes"]):

        def number(index: tuple[Index, ...], start: int = start) -> Number:
            return x.number(
                (*index[:axis], start + _fixed(index[axis])[0] if start else index[axis], *index[axis + 1 :])
            )

        parts.append(Array((*x.shape[:axis], size, *x.shape[axis + 1 :]), number))
        start += size
    return parts


def _stack(w, eqn, args):
    axis = eqn.params["axis"]
    return lambda i: args[_fixed(i[axis])[0]].number((*i[:axis], *i[axis + 1 :]))


def _concatenate(w, eqn, args):
    axis = eqn.params["dimension"]

    def number(i):
        (k,) = _fixed(i[axis])
        ends = np.cumsum([x.shape[axis] for x in args])
        part = int(np.searchsorted(ends, k, side="right"))
        return args[part].number((*i[:axis], k - int(ends[part]) + args[part].shape[axis], *i[axis + 1 :]))

    return number


def _pad(w, eqn, args):
    (x, filling), config = args, eqn.params["padding_config"]

    def number(i):
        index = []
        for k, (low, high, interior), n in zip(i, config, x.shape, strict=True):
            if (low, high, interior) == (0, 0, 0):
                index.append(k)
                continue
            place, rest = divmod(_fixed(k)[0] - low, interior + 1)
            if rest or not 0 <= place < n:
                return filling.number(())
            index.append(place)
        return x.number(tuple(index))

    return number


def _rev(w, eqn, args):
    (x,), axes = args, eqn.params["dimensions"]
    return lambda i: x.number(
        tuple(x.shape[axis] - 1 - _fixed(k)[0] if axis in axes else k for axis, k in enumerate(i))
    )


ARRAYS: dict[str, Callable[..., Callable[[tuple[Index, ...]], Number]]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "expand_dims": _reshape,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "squeeze": _reshape,
    "stack": _stack,
    "transpose": _transpose,
}
"""Which number of an operand a number of the result is: a function of (writer, equation, operands)."""

SEVERAL: dict[str, Callable[..., Sequence[Array]]] = {
    "optimization_barrier": lambda eqn, args: args,
    "split": _split,
}
"""The results of primitives that have several: a function of (equation, operands)."""

# Reductions

REDUCTIONS = {
    "dot_general": "add",
    "reduce_and": "and",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_or": "or",
    "reduce_prod": "mul",
    "reduce_sum": "add",
}
"""How each combines two terms."""


def domain(eqn: JaxprEqn) -> tuple[int, ...]:
    """The lengths of the axes that a reduction runs over."""
    shape = shape_of(eqn.invars[0])
    axes = eqn.params["dimension_numbers"][0][0] if eqn.primitive.name == "dot_general" else eqn.params["axes"]
    return tuple(shape[axis] for axis in axes)


def term(w: Writer, eqn: JaxprEqn, args: Sequence[Array], index: Sequence[Index], along: Sequence[Index]) -> Number:
    """One term of a number of the result, at a position along the axes that the reduction runs over."""
    if eqn.primitive.name != "dot_general":
        (x,), free = args, iter(index)
        bound = dict(zip(eqn.params["axes"], along, strict=True))
        return x.number(tuple(bound[axis] if axis in bound else next(free) for axis in range(len(x.shape))))
    contracted, batch = eqn.params["dimension_numbers"]
    num_batch = len(batch[0])
    free = iter(index[num_batch:])
    factors = []
    for x, axes, batch_axes in zip(args, contracted, batch, strict=True):
        bound = dict(zip(axes, along, strict=True)) | dict(zip(batch_axes, index[:num_batch], strict=True))
        factors.append(x.number(tuple(bound[axis] if axis in bound else next(free) for axis in range(len(x.shape)))))
    if dtype_of(eqn.outvars[0]).kind != "f":
        raise Unsupported("products of integers")
    return multiplied(w, *factors)


def combined(w: Writer, eqn: JaxprEqn, total: Number, value: Number) -> Number:
    """A total with one more term."""
    how, dtype = REDUCTIONS[eqn.primitive.name], dtype_of(eqn.outvars[0])
    if how == "add" and dtype.kind == "f":
        return added(w, total, w.at_scale(value, total.scale))
    return ELEMENTWISE[how](w, {}, dtype, w.plain(total), w.plain(value))


def neutral(eqn: JaxprEqn, type_: str) -> Number:
    """What a reduction begins with.

    Raises:
      Unsupported: extrema of integers.
    """
    how = REDUCTIONS[eqn.primitive.name]
    if how in ("max", "min"):
        if type_ not in ("float", "double"):
            raise Unsupported("extrema of integers")
        return constant(-np.inf if how == "max" else np.inf, type_)
    return constant({"add": 0, "mul": 1, "and": -1, "or": 0}[how], type_)


RULES = frozenset({*ELEMENTWISE, *FAST, *_SCALED, *ARRAYS, *REDUCTIONS, *SEVERAL})
"""The primitives that can be written, most often."""
