"""Batching with the trajectory axis last: the same program on arrays whose last axis is the lane.

`jax.vmap` puts the new axis first, so that a sum over eight data points runs over eight neighbours in memory, one
trajectory at a time. Here every number of the one-trajectory program becomes a vector over the lanes, and the sum
becomes seven additions of vectors.

The transform is an interpreter. It traces the one-trajectory function to a jaxpr and evaluates that equation by
equation. A value is either `Lanes`, an array of shape ``[*shape, lane]``, or an ordinary array that is the same for
all lanes (data, step counters), which stays as it is. `RULES` says how each primitive is evaluated on lanes; what has
no rule there is left to `jax.vmap`, one equation at a time.
"""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxprs_in_params

from jaxloss.engine import native
from jaxloss.engine.elementary import FAST
from jaxloss.engine.native.primitives import called
from jaxloss.engine.native.program import bind

logger = logging.getLogger(__name__)

# Rows that are added up in one piece: so many vectors stay in registers.
ROWS = 16
# Rows that are added up in one fused expression; more are added up in a loop.
FUSED_ROWS = 128
# A matrix that all lanes share is multiplied by the matrix library if it has this many rows, and `ROWS` columns.
MATRIX_ROWS = 4
# An array of so many numbers for each lane is computed once and kept, before a sum of products reads it.
KEPT = 64


@dataclass(frozen=True)
class Lanes:
    """A value that differs between lanes: ``array`` has shape ``[*shape, lane]``."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape for one lane."""
        return self.array.shape[:-1]


Value = Any
"""`Lanes`, or an array that all lanes share."""


def lanes(
    function: Callable,
    in_axes: Sequence[int | None],
    out_axes: int | None = -1,
    *,
    in_native_code: bool = False,
    used: Any | None = None,
) -> Callable:
    """Like ``jax.vmap(function, in_axes, out_axes=-1)``, with every batch axis last and kept last throughout.

    The values agree with `jax.vmap` up to rounding; `jaxloss.engine.elementary` evaluates the exponential and its
    kin. A program that cannot be interpreted is handed to `jax.vmap` as a whole, with one line in the log.

    Args:
      function: written for one lane.
      in_axes: for each argument, -1 where its arrays have a last axis over the lanes, else None; a pytree of these
        where that differs within an argument.
      out_axes: -1 for outputs ``[*shape, lane]``, None for those that do not differ between lanes; a pytree likewise.
      in_native_code: write the function, or else its loops, as kernels of our own where we can.
      used: how many lanes matter, from the first on; kernels leave the others out. None for all.

    Returns:
      The function of arrays with lanes.

    Raises:
      ValueError: an output that differs between lanes where ``out_axes`` says that none does.

    Examples:
      >>> distance = lanes(lambda point, centre: jnp.sum((point - centre) ** 2), (-1, None))
      >>> distance(jnp.array([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]), jnp.array([0.0, 0.0]))
      Array([0., 1., 4.], dtype=float32)
    """
    name = getattr(getattr(function, "func", function), "__name__", type(function).__name__)

    def batched(*args):
        leaves, treedef = jax.tree.flatten(args)
        mapped = _spread(tuple(in_axes), args)
        num = next(leaf.shape[-1] for leaf, is_mapped in zip(leaves, mapped, strict=True) if is_mapped)
        one_lane = [
            jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype) if is_mapped else leaf
            for leaf, is_mapped in zip(leaves, mapped, strict=True)
        ]
        closed, out = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(treedef, one_lane))
        values = [Lanes(leaf) if is_mapped else leaf for leaf, is_mapped in zip(leaves, mapped, strict=True)]
        try:
            with native.allowed((num if used is None else used) if in_native_code else None):
                results = _whole(closed, values, num)
        except Exception as error:  # whatever it is, stock vmap knows better
            logger.warning("%s runs through jax.vmap, more slowly: %s", name, str(error).split("\n")[0])
            return jax.vmap(function, in_axes=tuple(in_axes), out_axes=out_axes)(*args)
        keeps_lanes = _spread(out_axes, out)
        return jax.tree.unflatten(
            jax.tree.structure(out),
            [_output(value, keeps, num) for value, keeps in zip(results, keeps_lanes, strict=True)],
        )

    batched.__name__ = name  # what compilers and profilers show
    return batched


def varies(function: Callable, in_axes: Sequence[int | None], *args: Any) -> Any:
    """Which outputs of a function can differ between lanes, given which of its arguments do.

    Args:
      function: written for one lane.
      in_axes: as for `lanes`.
      *args: arguments of one lane, arrays or shapes.

    Returns:
      The output's pytree, of booleans.

    Examples:
      >>> varies(lambda x, count: (x * count, count + 1), (-1, None), 1.0, 0)
      (True, False)
    """
    closed, out = jax.make_jaxpr(function, return_shape=True)(*args)
    return jax.tree.unflatten(jax.tree.structure(out), _varies(closed.jaxpr, _spread(tuple(in_axes), args)))


def has_native_rules(function: Callable, in_axes: Sequence[int | None], *args: Any) -> bool:
    """Whether the loops of a function would most likely run as native code.

    Args:
      function: written for one lane.
      in_axes: as for `lanes`.
      *args: arguments of one lane, arrays or shapes.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return bool(_in_native_code(native.has_rules, jaxpr, _spread(tuple(in_axes), args)))


def largest_value(function: Callable, *args: Any) -> int:
    """How many numbers the largest array has that a function computes on its way, for one lane.

    Args:
      function: written for one lane.
      *args: its arguments, arrays or shapes.

    Examples:
      >>> largest_value(lambda x: jnp.sum(x[:, None] * x[None, :]), jnp.zeros(8))
      64
    """

    def largest(jaxpr: Jaxpr) -> int:
        sizes = [math.prod(_aval(atom).shape) for eqn in jaxpr.eqns for atom in eqn.outvars]
        bodies = [largest(body) for eqn in jaxpr.eqns for body in jaxprs_in_params(eqn.params)]
        return max([1, *sizes, *bodies])

    return largest(jax.make_jaxpr(function)(*args).jaxpr)


# Where these jump, a rounding error decides.
JUMPS = ("lt", "le", "gt", "ge", "eq", "ne", "sign", "floor", "ceil", "round", "rem", "argmax", "argmin", "sort")


def jumps(function: Callable, *args: Any) -> bool:
    """Whether a function compares floating-point numbers, or rounds them, anywhere on its way.

    Args:
      function: written for one lane.
      *args: its arguments, arrays or shapes.

    Examples:
      >>> jumps(jnp.tanh, 1.0), jumps(lambda x: jnp.where(x > 0, x, 0.0), 1.0), jumps(jnp.isnan, 1.0)
      (False, True, False)
    """

    def found(jaxpr: Jaxpr) -> bool:
        return any(
            (eqn.primitive.name in JUMPS and _on_floats(eqn)) or any(map(found, jaxprs_in_params(eqn.params)))
            for eqn in jaxpr.eqns
        )

    def _on_floats(eqn: JaxprEqn) -> bool:
        first, *rest = eqn.invars
        # x != x asks whether x is a NaN.
        return jnp.issubdtype(_aval(first).dtype, jnp.floating) and not (rest and all(atom is first for atom in rest))

    return found(jax.make_jaxpr(function)(*args).jaxpr)


def _spread(axes: Any, tree: Any) -> list[bool]:
    """A prefix of axes as one flag for each leaf."""
    filled = jax.tree.map(
        lambda axis, part: jax.tree.map(lambda _: axis is not None, part),
        axes,
        tree,
        is_leaf=lambda node: node is None or isinstance(node, int),
    )
    return jax.tree.leaves(filled)


def _output(value: Value, keeps_lanes: bool, num: int) -> jax.Array:
    if keeps_lanes:
        return _full(value, num)
    if isinstance(value, Lanes):
        raise ValueError("an output differs between lanes, but out_axes says that it does not")
    return jnp.asarray(value)


# The interpreter


def _whole(closed: ClosedJaxpr, args: list[Value], num: int) -> list[Value]:
    """The outputs of a program: of one kernel, if it can be written."""
    found = _in_native_code(native.apply, closed.jaxpr, closed.consts, *_apart(args), num)
    return _evaluate(closed.jaxpr, closed.consts, args, num) if found is None else _values(*found)


def _evaluate(
    jaxpr: Jaxpr, consts: Sequence[Value], args: Sequence[Value], num: int, known: dict[Any, Any] | None = None
) -> list[Value]:
    """The outputs of a jaxpr, equation by equation.

    A compiler would merge equal equations anyway; merged here, they need not be written out and handed over first.

    Args:
      jaxpr: what is evaluated.
      consts: its constants.
      args: its inputs.
      num: of lanes.
      known: the equations that are evaluated already: by `_key` their operands, which so keep their identity, and
        their outputs. A call shares them with its caller; the body of a loop begins anew.

    Returns:
      A value for each output.
    """
    known = {} if known is None else known
    values: dict[Any, Value] = {}

    def read(atom) -> Value:
        return atom.val if isinstance(atom, Literal) else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        key = _key(eqn, operands)
        if key not in known:
            known[key] = operands, _apply(eqn, operands, num, known)
        values.update(zip(eqn.outvars, known[key][1], strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(eqn: JaxprEqn, args: list[Value], num: int, known: dict[Any, Any]) -> Sequence[Value]:
    if not any(isinstance(arg, Lanes) for arg in args):
        return bind(eqn, args)
    name = eqn.primitive.name
    if body := called(eqn):  # it is evaluated here; rules of differentiation have been used by now
        jaxpr, consts = body
        return _evaluate(jaxpr, consts, args, num, known)
    return RULES.get(name, _stock_vmap)(eqn, args, num)


def _in_native_code(how: Callable[..., Any], *args: Any) -> Any:
    """What native code has to say, the outputs of a kernel for one; None where none can be written or compiled."""
    try:
        return how(*args)
    except Exception as error:  # whatever it is, XLA knows better
        logger.debug("a part of the program is left to XLA: %s", error)
        return None


def _key(eqn: JaxprEqn, operands: list[Value]) -> Any:
    """What two equations have in common whose outputs are the same, bit for bit."""
    params = tuple(eqn.params.values())
    # A barrier stands for itself; and a zero is equal to one of another sign.
    if eqn.effects or eqn.primitive.name == "optimization_barrier" or any(isinstance(p, float) for p in params):
        return object()
    named = (
        (np.asarray(value).tobytes(), atom.aval) if isinstance(atom, Literal) else id(value)
        for atom, value in zip(eqn.invars, operands, strict=True)
    )
    key = eqn.primitive, tuple(eqn.params), params, tuple(named)
    try:
        hash(key)
    except TypeError:
        return object()
    return key


def _stock_vmap(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    """What has no rule of its own: `jax.vmap` of the one equation."""
    axes = [-1 if isinstance(arg, Lanes) else None for arg in args]
    arrays = [arg.array if isinstance(arg, Lanes) else arg for arg in args]
    return [Lanes(out) for out in jax.vmap(lambda *one: bind(eqn, one), in_axes=axes, out_axes=-1)(*arrays)]


def _full(value: Value, num: int, shape: tuple[int, ...] | None = None) -> jax.Array:
    """A value of one shape as an array with lanes; scalars stretch to the shape, as operands of ``lax`` do."""
    if isinstance(value, Lanes):
        array, kept = value.array, (*range(len(value.shape)), -1)
    else:
        array, kept = jnp.asarray(value), tuple(range(jnp.ndim(value)))
    target = (*(kept_shape(value) if shape is None else shape), num)
    if array.shape == target:
        return array
    axes = tuple(axis % len(target) for axis in kept)
    return lax.broadcast_in_dim(array, target, axes)


def kept_shape(value: Value) -> tuple[int, ...]:
    """The shape of a value for one lane."""
    return value.shape if isinstance(value, Lanes) else jnp.shape(value)


# Rules


def _elementwise(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    shape = _aval(eqn.outvars[0]).shape
    arrays = [_full(arg, num, shape) for arg in args]
    name = eqn.primitive.name
    if name in FAST and not eqn.params.get("accuracy") and jax.default_backend() == "cpu":
        return [Lanes(FAST[name](arrays[0]))]
    return [Lanes(eqn.primitive.bind(*arrays, **eqn.params))]


def _axes_stay(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    """Primitives whose parameters count axes from the front: with lanes behind, they stay what they are."""
    outs = eqn.primitive.bind(*[_full(arg, num) for arg in args], **eqn.params)
    return [Lanes(out) for out in (outs if eqn.primitive.multiple_results else [outs])]


def _reshape(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    (arg,) = args
    return [Lanes(arg.array.reshape(*_aval(eqn.outvars[0]).shape, num))]


def _broadcast_in_dim(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    shape = eqn.params["shape"]
    axes = (*eqn.params["broadcast_dimensions"], len(shape))
    return [Lanes(lax.broadcast_in_dim(args[0].array, (*shape, num), axes))]


def _transpose(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    permutation = eqn.params["permutation"]
    return [Lanes(lax.transpose(args[0].array, (*permutation, len(permutation))))]


def _slice(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    start, limit, strides = (eqn.params[name] for name in ("start_indices", "limit_indices", "strides"))
    strides = None if strides is None else (*strides, 1)
    return [Lanes(lax.slice(args[0].array, (*start, 0), (*limit, num), strides))]


def _pad(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    operand, padding = args
    if isinstance(padding, Lanes):
        return _stock_vmap(eqn, args, num)
    return [Lanes(lax.pad(_full(operand, num), padding, (*eqn.params["padding_config"], (0, 0, 0))))]


def _reduce_sum(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    (arg,), axes = args, eqn.params["axes"]
    kept = [axis for axis in range(len(arg.shape)) if axis not in axes]
    array = lax.transpose(arg.array, (*axes, *kept, len(arg.shape)))
    length = math.prod(arg.shape[axis] for axis in axes)
    rows = array.reshape(length, *_aval(eqn.outvars[0]).shape, num)
    if length > FUSED_ROWS:
        rows = lax.optimization_barrier(rows)
        return [Lanes(_sum_in_loop(lambda i: lax.dynamic_index_in_dim(rows, i, keepdims=False), length))]
    return [Lanes(_sum_rows(rows))]


def _sum_rows(rows: jax.Array) -> jax.Array:
    """The sum over the first axis, as additions of blocks of rows and then of rows, which fuse with what made them.

    The compiler's own reduction reads one lane after the other, and takes more than twice as long.
    """
    length = len(rows)
    if not length:
        return jnp.zeros(rows.shape[1:], rows.dtype)
    blocks = [rows[first : first + ROWS] for first in range(0, length - length % ROWS, ROWS)]
    block = [functools.reduce(lax.add, blocks)] if blocks else []
    rest = rows[length - length % ROWS :]
    return functools.reduce(lax.add, [part[i] for part in (*block, rest) for i in range(len(part))])


def _sum_in_loop(term: Callable[[Any], jax.Array], length: int) -> jax.Array:
    """The sum of many terms, a few at a time: all at once they would not stay in registers."""
    few = ROWS // 2

    def add(i, total):
        return functools.reduce(lax.add, [term(i * few + j) for j in range(few)], total)

    total = lax.fori_loop(1, length // few, add, add(0, jnp.zeros_like(term(0))))
    return functools.reduce(lax.add, [term(i) for i in range(length - length % few, length)], total)


def _dot_general(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    """One matrix product where one of the factors is large and all lanes share it, else a sum of products."""
    (contracted, batch), dtype = eqn.params["dimension_numbers"], _aval(eqn.outvars[0]).dtype
    shape = _aval(eqn.outvars[0]).shape
    sizes = [kept_shape(arg) for arg in args]
    depth = math.prod(sizes[0][axis] for axis in contracted[0])
    shared = [not isinstance(arg, Lanes) for arg in args]
    args = [Lanes(arg.array.astype(dtype)) if isinstance(arg, Lanes) else jnp.asarray(arg, dtype) for arg in args]
    if any(shared) and not batch[0]:
        side = shared.index(True)
        rows = math.prod(sizes[side]) // max(depth, 1)
        if depth >= ROWS and rows >= MATRIX_ROWS:
            product = _matrix_product(args[side], contracted[side], args[1 - side].array, contracted[1 - side])
            product = product if side == 0 else jnp.swapaxes(product, 0, 1)
            return [Lanes(product.reshape(*shape, num))]
    if ROWS < depth <= FUSED_ROWS:
        first, second = (_as_matrices(arg, contracted[i], batch[i]) for i, arg in enumerate(args))
        products = jnp.expand_dims(first, 2) * jnp.expand_dims(second, 1)
        return [Lanes(_sum_rows(jnp.moveaxis(products, 3, 0)).reshape(*shape, num))]
    first, second = (_slices(arg, contracted[i], batch[i], i) for i, arg in enumerate(args))

    def term(i):
        return first(i) * second(i)

    if depth > FUSED_ROWS:
        total = _sum_in_loop(term, depth)
    else:
        total = (
            functools.reduce(lax.add, [term(i) for i in range(depth)]) if depth else jnp.zeros((*shape, num), dtype)
        )
    return [Lanes(total.reshape(*shape, num))]


def _matrix_product(
    matrix: jax.Array, matrix_axes: Sequence[int], array: jax.Array, axes: Sequence[int]
) -> jax.Array:
    """A matrix that all lanes share times the lanes, as ``[free of the matrix, free of the lanes, lane]``.

    The barrier keeps the reshape out of what made the lanes, where its index arithmetic would forbid vectors.
    """
    free = [axis for axis in range(matrix.ndim) if axis not in matrix_axes]
    depth = math.prod(matrix.shape[axis] for axis in matrix_axes)
    left = lax.transpose(matrix, (*free, *matrix_axes)).reshape(-1, depth)
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    right = lax.optimization_barrier(lax.transpose(array, (*axes, *kept))).reshape(depth, -1)
    return (left @ right).reshape(len(left), -1, array.shape[-1])


def _as_matrices(value: Value, contracted: Sequence[int], batch: Sequence[int]) -> jax.Array:
    """An operand as ``[batch, free, contracted, lane]``, one lane for all where they share it."""
    shape = kept_shape(value)
    free = [axis for axis in range(len(shape)) if axis not in (*contracted, *batch)]
    array = lax.transpose(_with_lane(value), (*batch, *free, *contracted, len(shape)))
    sizes = (math.prod(shape[axis] for axis in axes) for axes in (batch, free, contracted))
    return array.reshape(*sizes, array.shape[-1])


def _slices(value: Value, contracted: Sequence[int], batch: Sequence[int], side: int) -> Callable[[Any], jax.Array]:
    """Slices of an operand along the contracted axes, ``[batch, free, 1, lane]`` or ``[batch, 1, free, lane]``.

    A single axis is read where it is: a transposed copy would cost more than the product.
    """
    shape, array = kept_shape(value), _with_lane(value)
    free = [axis for axis in range(len(shape)) if axis not in (*contracted, *batch)]
    sizes = [math.prod(shape[axis] for axis in axes) for axes in (batch, free)]
    if isinstance(value, Lanes) and math.prod(shape) >= KEPT:
        # Else the compiler may compute what made the operand once for each slice.
        array = lax.optimization_barrier(array)
    if len(contracted) == 1:
        (axis,) = contracted
        order = [i - (i > axis) for i in (*batch, *free)]
    else:
        array = lax.transpose(array, (*contracted, *batch, *free, len(shape)))
        array = array.reshape(math.prod(shape[i] for i in contracted), *array.shape[len(contracted) :])
        axis, order = 0, list(range(len(batch) + len(free)))

    def take(i):
        index = lax.index_in_dim if isinstance(i, int) else lax.dynamic_index_in_dim
        part = lax.transpose(index(array, i, axis, keepdims=False), (*order, len(order)))
        return jnp.expand_dims(part.reshape(*sizes, array.shape[-1]), 2 - side)

    return take


def _with_lane(value: Value) -> jax.Array:
    return value.array if isinstance(value, Lanes) else jnp.asarray(value)[..., None]


def _while(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    """A loop that all lanes run equally often, or until the last of them is done."""
    condition, body = eqn.params["cond_jaxpr"], eqn.params["body_jaxpr"]
    condition_consts, body_consts, carry = _split(args, eqn.params["cond_nconsts"], eqn.params["body_nconsts"])
    flags, apart = _while_flags(eqn, [*map(_is_lanes, args)])

    def going(carry) -> Value:
        return _evaluate(condition.jaxpr, condition.consts, [*condition_consts, *_values(carry, flags)], num)[0]

    def test(carry):
        return jnp.any(going(carry).array) if apart else going(carry)

    def step(carry):
        outs = _evaluate(body.jaxpr, body.consts, [*body_consts, *_values(carry, flags)], num)
        outs = _arrays(outs, flags, num)
        if apart:
            mask = going(carry).array
            outs = [
                lax.select(lax.broadcast_in_dim(mask, new.shape, (new.ndim - 1,)), new, old)
                for new, old in zip(outs, carry, strict=True)
            ]
        return outs

    if any(flags):
        found = _in_native_code(native.apply_equation, eqn, *_apart(args), num)
        if found is not None:
            return _values(*found)
    return _values(lax.while_loop(test, step, _arrays(carry, flags, num)), flags)


def _while_flags(eqn: JaxprEqn, given: list[bool]) -> tuple[list[bool], bool]:
    """Which parts of a loop's carry differ between lanes, and whether the number of rounds does."""
    condition, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    condition_consts, body_consts, carry = _split(given, eqn.params["cond_nconsts"], eqn.params["body_nconsts"])
    flags = _fixed_point(lambda flags: _varies(body, [*body_consts, *flags]), carry)
    apart = _varies(condition, [*condition_consts, *flags])[0]
    return [True] * len(carry) if apart else flags, apart


def _scan(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    """A loop over the leading axis of arrays."""
    body, num_carry = eqn.params["jaxpr"], eqn.params["num_carry"]
    consts, carry, columns = _split(args, eqn.params["num_consts"], num_carry)
    mapped = [*map(_is_lanes, columns)]
    flags = _scan_flags(eqn, [*map(_is_lanes, args)])

    def step(carry, rows):
        given = [*consts, *_values(carry, flags[:num_carry]), *_values(rows, mapped)]
        outs = _arrays(_evaluate(body.jaxpr, body.consts, given, num), flags, num)
        return outs[:num_carry], outs[num_carry:]

    options = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
    last, rows = lax.scan(step, _arrays(carry, flags[:num_carry], num), _arrays(columns, mapped, num), **options)
    return _values([*last, *rows], flags)


def _scan_flags(eqn: JaxprEqn, given: list[bool]) -> list[bool]:
    """Which outputs of a scan, carry and rows, differ between lanes."""
    body, num_carry = eqn.params["jaxpr"].jaxpr, eqn.params["num_carry"]
    consts, carry, columns = _split(given, eqn.params["num_consts"], num_carry)
    flags = _fixed_point(lambda flags: _varies(body, [*consts, *flags, *columns])[:num_carry], carry)
    return [*flags, *_varies(body, [*consts, *flags, *columns])[num_carry:]]


def _cond(eqn: JaxprEqn, args: list[Value], num: int) -> list[Value]:
    """A choice that is the same for all lanes."""
    index, *operands = args
    if isinstance(index, Lanes):
        return _stock_vmap(eqn, args, num)
    given = [*map(_is_lanes, operands)]
    flags = _cond_flags(eqn, [False, *given])

    def branch(closed):
        return lambda *arrays: _arrays(
            _evaluate(closed.jaxpr, closed.consts, _values(arrays, given), num), flags, num
        )

    outs = lax.switch(index, [branch(closed) for closed in eqn.params["branches"]], *_arrays(operands, given, num))
    return _values(outs, flags)


def _cond_flags(eqn: JaxprEqn, given: list[bool]) -> list[bool]:
    """Which outputs of a choice differ between lanes."""
    index, *operands = given
    branches = [_varies(branch.jaxpr, operands) for branch in eqn.params["branches"]]
    return [index or any(each) for each in zip(*branches, strict=True)]


def _split(items: Sequence, first: int, second: int) -> tuple[list, list, list]:
    return [*items[:first]], [*items[first : first + second]], [*items[first + second :]]


def _aval(atom: Any) -> Any:
    """The shape and dtype of a variable of a jaxpr."""
    return atom.aval


def _apart(values: Sequence[Value]) -> tuple[list[Any], list[bool]]:
    """Arrays, and which of them have lanes."""
    return [v.array if isinstance(v, Lanes) else v for v in values], [*map(_is_lanes, values)]


def _is_lanes(value: Value) -> bool:
    return isinstance(value, Lanes)


def _arrays(values: Sequence[Value], flags: Sequence[bool], num: int) -> list:
    return [_full(value, num) if flag else jnp.asarray(value) for value, flag in zip(values, flags, strict=True)]


def _values(arrays: Sequence[Any], flags: Sequence[bool]) -> list[Value]:
    return [Lanes(array) if flag else array for array, flag in zip(arrays, flags, strict=True)]


def _varies(jaxpr: Jaxpr, flags: Sequence[bool]) -> list[bool]:
    """Which outputs of a jaxpr depend on inputs that differ between lanes."""
    known = dict(zip(jaxpr.invars, flags, strict=True))

    def read(atom) -> bool:
        return not isinstance(atom, Literal) and known.get(atom, False)

    for eqn in jaxpr.eqns:
        given = [read(atom) for atom in eqn.invars]
        match eqn.primitive.name:
            case "while":
                outs = _while_flags(eqn, given)[0]
            case "scan":
                outs = _scan_flags(eqn, given)
            case "cond":
                outs = _cond_flags(eqn, given)
            case _ if body := called(eqn):
                outs = _varies(body[0], given)
            case _:
                outs = [any(given)] * len(eqn.outvars)
        known.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _fixed_point(after: Callable[[list[bool]], list[bool]], flags: list[bool]) -> list[bool]:
    """Which parts of a loop's carry come to differ between lanes, given which do before the first round."""
    while (grown := [a or b for a, b in zip(flags, after(flags), strict=True)]) != flags:
        flags = grown
    return flags


# fmt: off
_ELEMENTWISE = (
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil",
    "clamp", "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv",
    "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "imag", "integer_pow", "is_finite", "le", "lgamma",
    "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "one_minus_square",
    "or", "pow", "real", "reduce_precision", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient",
    "sub", "tan", "tanh", "xor",
)
_AXES_STAY = (
    "argmax", "argmin", "concatenate", "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "reduce_and",
    "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_xor", "rev", "sort",
)
# fmt: on

RULES: dict[str, Callable[[JaxprEqn, list[Value], int], Sequence[Value]]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_AXES_STAY, _axes_stay),
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast_in_dim,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "reduce_sum": _reduce_sum,
    "dot_general": _dot_general,
    "while": _while,
    "scan": _scan,
    "cond": _cond,
}
"""How each primitive acts on lanes: a function of (equation, operands, number of lanes)."""
