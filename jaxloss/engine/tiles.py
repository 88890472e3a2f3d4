"""Many trajectories in tiles of bounded memory: one compiled program, called tile after tile."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

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


def tiles(num: int, tile_size: int) -> Iterator[tuple[int, int]]:
    """The half-open ranges ``[first, last)`` that cover ``num`` trajectories.

    Examples:
      >>> list(tiles(5, 2))
      [(0, 2), (2, 4), (4, 5)]
    """
    for first in range(0, num, tile_size):
        yield first, min(first + tile_size, num)


def padded(arrays: Arrays, size: int) -> Arrays:
    """Repeats the last row until the first axis has ``size`` entries, so that every tile has one shape."""

    def pad(array):
        array = np.asarray(array)
        missing = size - len(array)
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array

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
    for first, last in tiles(num, tile_size):
        tile = padded(jax.tree.map(lambda array, a=first, b=last: array[a:b], arrays), tile_size)
        parts.append(jax.tree.map(lambda out, n=last - first: np.asarray(out)[:n], function(tile)))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
