"""How many trajectories one tile holds: from the size of the program, and for long runs from a measurement."""

import functools
import time
from typing import Any

import jax
import numpy as np

from jaxloss.engine.devices import devices
from jaxloss.engine.lanes import has_native_rules, largest_value
from jaxloss.engine.rounds import BLOCK, Process, run
from jaxloss.engine.tiles import Shapes, one_lane

# Bytes of the largest array of a tile: half a megabyte of second-level cache has to hold it and what is made of it.
TILE_BYTES = 2**18
SMALLEST, LARGEST = 16, 2**13
# Native code keeps its numbers in registers whatever the tile is: it is to be called rarely.
NATIVE_TILE = 2**16
# An accelerator is filled instead.
ACCELERATOR_TILE = 2**17
# Tiles come in multiples of so many trajectories (or of the default, if it is smaller): compilers treat short loops,
# and what is left over at the end of a loop, differently from the rest, and bits must not depend on the tile.
WHOLE = 2**10
# Trajectories of each device whose time says how long a run will take, about.
SAMPLE = 2**13
# A run that takes longer than this many seconds is worth two more compilations.
LONG = 20.0


def default_tile_size(process: Process, shared: Any, own: Any, initial: Any) -> int:
    """Trajectories whose arrays stay in a core's cache where they must, a power of two.

    Args:
      process: what is iterated.
      shared: what all trajectories share.
      own: what each has for itself, arrays ``[..., trajectory]``.
      initial: what each starts from, likewise.

    Returns:
      The size, on a CPU `NATIVE_TILE` or between `SMALLEST` and `LARGEST`.
    """
    if devices()[0].platform != "cpu":
        return ACCELERATOR_TILE
    own, initial = one_lane((own, initial))
    numbers = _largest(process, *(Shapes.of(tree) for tree in (shared, own, initial)))
    if numbers is None:
        return NATIVE_TILE
    width = max(leaf.dtype.itemsize for leaf in jax.tree.leaves(initial))
    size = int(np.clip(TILE_BYTES // (width * numbers), SMALLEST, LARGEST))
    return 1 << size.bit_length() - 1


@functools.lru_cache(maxsize=64)
def _largest(process: Process, shared: Shapes, own: Shapes, initial: Shapes) -> int | None:
    """How many numbers of one trajectory the largest array has that goes through memory in every step, if any."""
    state = jax.eval_shape(process.begin, shared.tree, own.tree, initial.tree)
    args = shared.tree, own.tree, np.int32(0), state
    if has_native_rules(process.update, (None, -1, None, -1), *args):
        return None
    return largest_value(process.update, *args)


def whole(tile_size: int, default: int, num: int) -> int:
    """A tile size that is no larger than every device's share of the trajectories needs, in whole multiples.

    Args:
      tile_size: what is asked for.
      default: of this program.
      num: how many trajectories there are.

    Examples:
      >>> whole(1, 8192, 10**6), whole(3000, 4096, 10**6), whole(256, 256, 10), whole(100, 64, 1000)
      (1024, 3072, 256, 128)
    """
    multiple = min(WHOLE, default)
    share = -(-num // len(devices()))
    return -(-min(tile_size, share) // multiple) * multiple


def calibrated(
    process: Process, shared: Any, own: Any, initial: Any, num_steps: int, default: int, num: int
) -> tuple[int, float]:
    """The fastest of a few tile sizes, measured on the first trajectories if the run is long enough to pay for it.

    Args:
      process: what is iterated.
      shared: what all trajectories share.
      own: what each has for itself, arrays ``[..., trajectory]`` of the first trajectories.
      initial: what each starts from, likewise.
      num_steps: the budget of updates.
      default: the tile size to begin with.
      num: how many trajectories there are in all.

    Returns:
      The tile size, and the seconds of one step of one trajectory.
    """
    here = jax.tree.leaves(initial)[0].shape[-1]

    def seconds(tile_size: int, num: int) -> float:
        """Of one step of one trajectory of so many."""
        some = min(here, num * len(devices()))
        own_some, initial_some = jax.tree.map(lambda leaf: leaf[..., :some], (own, initial))

        def go(stop: int) -> float:
            start = time.perf_counter()
            run(process, shared, own_some, initial_some, (stop,), tile_size=tile_size)
            return time.perf_counter() - start

        go(1)  # compiles
        return min(go(1 + 2 * BLOCK) - go(1) for _ in range(3)) / (2 * BLOCK * some)

    roughly = seconds(default, min(default, SAMPLE))
    if roughly * num * num_steps < LONG:
        return default, roughly
    sizes = [size for size in (default // 4, default, 4 * default) if size >= SMALLEST and size <= here]
    timed = {size: seconds(size, size) for size in sizes or [default]}
    best = min(timed, key=timed.__getitem__)
    return best, timed[best]
