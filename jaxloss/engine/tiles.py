"""Many trajectories in tiles of bounded memory: one compiled program, called tile after tile."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxloss.engine.devices import compilation, compiled, compiling, devices, on_devices
from jaxloss.engine.lanes import lanes

Arrays = Any
"""Any pytree of arrays that share their first axis."""


@functools.lru_cache(maxsize=64)
def batched(function: Callable, static: tuple, axes: tuple[int | None, ...]) -> Callable:
    """``jit(vmap(function(*static, ...)))``, one object for each function, static arguments and axes.

    Args:
      function: written for one trajectory.
      static: its leading, hashable arguments; they are fixed at compilation.
      axes: for each further argument, 0 where it differs between trajectories, else None.

    Returns:
      The compiled function of the further arguments.
    """
    return jax.jit(jax.vmap(functools.partial(function, *static), in_axes=axes))


def in_lanes(function: Callable, static: tuple, in_axes: tuple, out_axes: Any = -1) -> Callable:
    """``jit(lanes(function(*static, ...)))``, one object for each function, static arguments, axes and compilation.

    A tile has one shape, whatever it holds: what the program does beyond the trajectories that matter is not
    specified, and costs nothing where it runs in native code.

    Args:
      function: written for one trajectory.
      static: its leading, hashable arguments; they are fixed at compilation.
      in_axes: for each further argument, -1 where its arrays end in an axis over the trajectories, else None.
      out_axes: likewise, for the outputs.

    Returns:
      The compiled function of how many trajectories matter, from the first on, and of the further arguments.
    """
    return _in_lanes(function, static, in_axes, out_axes, compilation())


@functools.lru_cache(maxsize=64)
def _in_lanes(function: Callable, static: tuple, in_axes: tuple, out_axes: Any, how: str) -> Callable:
    with compiling(how):
        return compiled(_written_in_lanes(function, static, in_axes, out_axes, how == "fast"))


@functools.lru_cache(maxsize=64)
def _written_in_lanes(function: Callable, static: tuple, in_axes: tuple, out_axes: Any, native: bool) -> Callable:
    """One object for all ways to compile with XLA alone, so that JAX traces and lowers it once."""
    one = functools.partial(function, *static)

    def program(used, *args):
        return lanes(one, in_axes, out_axes, in_native_code=native, used=used)(*args)

    program.__name__ = getattr(function, "__name__", "program")  # what compilers and profilers show
    return program


def tiles(num: int, tile_size: int) -> Iterator[tuple[int, int]]:
    """The half-open ranges ``[first, last)`` that cover ``num`` trajectories.

    Examples:
      >>> list(tiles(5, 2))
      [(0, 2), (2, 4), (4, 5)]
    """
    for first in range(0, num, tile_size):
        yield first, min(first + tile_size, num)


# Fewer trajectories than this are not worth a tile of their own.
LEAST = 256
# Native code takes as many at a time; tiles in multiples of them are filled without a rest.
TOGETHER = 64


def even_tiles(num: int, tile_size: int) -> Iterator[tuple[int, int]]:
    """Like `tiles`, with about as many trajectories in each, and as many tiles for each device, if there are enough.

    Examples:
      >>> from jaxloss.engine.devices import devices
      >>> sizes = [last - first for first, last in even_tiles(100_000, 65_536)]
      >>> sum(sizes), max(sizes) <= -(-100_000 // len(devices())) + 63
      (100000, True)
    """
    least, most = -(-num // tile_size), -(-num // LEAST)
    share = -(-num // max(least, min(-(-least // len(devices())) * len(devices()), most, num), 1))
    return tiles(num, min(max(-(-share // TOGETHER), 1) * TOGETHER, tile_size))


def padded(arrays: Arrays, size: int, axis: int = 0) -> Arrays:
    """Repeats the last entry along one axis until there are ``size`` of them, so that every tile has one shape."""

    def pad(array):
        array = np.asarray(array)
        missing = size - array.shape[axis]
        last = np.take(array, [-1], axis=axis)
        return np.concatenate([array, np.repeat(last, missing, axis=axis)], axis=axis) if missing else array

    return jax.tree.map(pad, arrays)


def map_in_tiles(
    function: Callable[..., Arrays],
    arrays: Arrays,
    tile_size: int,
) -> Arrays:
    """Applies a batched function to rows of arrays, tile by tile, and joins the results on the host.

    Every call has ``tile_size`` rows, whatever is left over: one shape, one compilation.

    Args:
      function: takes one pytree of arrays with ``tile_size`` rows and returns another.
      arrays: a pytree of host arrays with any number of rows, at least one.
      tile_size: rows in each call.

    Returns:
      NumPy arrays with as many rows as ``arrays``.
    """
    num = len(jax.tree.leaves(arrays)[0])
    parts = []
    # One after the other: threads that factorise matrices at the same time have been seen to wait for each other.
    for first, last in tiles(num, tile_size):
        tile = padded(jax.tree.map(lambda array, a=first, b=last: array[a:b], arrays), tile_size)
        parts.append(jax.tree.map(lambda out, n=last - first: np.asarray(out)[:n], function(tile)))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


# Different devices compile a program anew: for fewer tiles of a short program one device is faster.
WORTH_COMPILING_AGAIN = 32


def map_lanes(program: Callable[..., Arrays], shared: tuple, arrays: tuple, tile_size: int) -> Arrays:
    """Applies a program of `in_lanes` to any number of trajectories: tile by tile, over all devices.

    Args:
      program: of `in_lanes`; it takes the shared arguments and then those with ``tile_size`` lanes.
      shared: what all trajectories share.
      arrays: pytrees of host arrays ``[..., trajectory]``, at least one trajectory.
      tile_size: trajectories of each call.

    Returns:
      Host arrays ``[..., trajectory]``.
    """
    num = jax.tree.leaves(arrays)[0].shape[-1]
    shared_on = {device: jax.device_put(shared, device) for device in devices()}

    def apply(rows: tuple[int, int], device) -> Arrays:
        first, last = rows
        tile = padded(columns(arrays, slice(first, last)), tile_size, axis=-1)
        out = program(np.int32(last - first), *shared_on[device], *jax.device_put(tile, device))
        return columns(out, slice(0, last - first))

    ranges = list(even_tiles(num, tile_size))
    few = len(ranges) < WORTH_COMPILING_AGAIN and len(shared_on) > 1
    parts = [apply(rows, devices()[0]) for rows in ranges] if few else on_devices(apply, ranges)
    whole = jax.tree.map(lambda part: np.empty((*part.shape[:-1], num), part.dtype), parts[0])

    def put(part: tuple[tuple[int, int], Arrays], device) -> None:
        rows, arrays = part
        for array, values in zip(jax.tree.leaves(whole), jax.tree.leaves(arrays), strict=True):
            array[..., slice(*rows)] = values

    on_devices(put, list(zip(ranges, parts, strict=True)))
    return whole


def columns(arrays: Arrays, which: Any) -> Arrays:
    """Chosen trajectories of arrays ``[..., trajectory]``, on the host."""
    return jax.tree.map(lambda array: np.asarray(array)[..., which], arrays)


def as_slice(numbers: np.ndarray) -> Any:
    """Ascending numbers as a slice, where none is left out: columns chosen by it need not be copied.

    Examples:
      >>> as_slice(np.array([2, 3, 4])), as_slice(np.array([2, 4]))
      (slice(2, 5, None), array([2, 4]))
    """
    is_range = len(numbers) and numbers[-1] - numbers[0] + 1 == len(numbers)
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if is_range else numbers


class Shapes(NamedTuple):
    """Shapes and dtypes of a pytree of arrays; hashable, so that what is learned by tracing is learned once."""

    treedef: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @classmethod
    def of(cls, tree: Arrays) -> "Shapes":
        """Those of the arrays of a pytree."""
        leaves, treedef = jax.tree.flatten(tree)
        return cls(treedef, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))

    @property
    def tree(self) -> Any:
        """The pytree, with shapes for arrays."""
        return jax.tree.unflatten(self.treedef, self.leaves)


def one_lane(arrays: Arrays) -> Arrays:
    """The shapes that one trajectory sees, of arrays ``[..., trajectory]``."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype), arrays)
