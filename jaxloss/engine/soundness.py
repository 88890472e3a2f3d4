"""A guard against a hazard of compilers: one condition, computed twice, that decides differently each time.

To fuse operations a compiler computes an intermediate result again wherever it is needed, once with fused
multiply-adds and once without. Where that result is exactly zero, or the sides of a comparison are equal, the copies
can fall on either side: in ``where(s > 0, sqrt(where(s > 0, s, 1)), 0)`` the inner condition may say no and the outer
one yes, and the root of a vanishing sum is then 1. Such a program is wrong by whole units, not by rounding.

So the first steps of a compiled process are compared with the same steps compiled with no optimisation of the
instructions, where every copy is computed alike. If they disagree, nothing is fused.
"""

import functools
import logging
from typing import Any

import jax
import numpy as np

from jaxloss.engine.devices import compiling, devices
from jaxloss.engine.lanes import jumps
from jaxloss.engine.rounds import Process, run
from jaxloss.engine.tiles import Shapes, columns, one_lane

logger = logging.getLogger(__name__)

# Trajectories that are compared, spread over all, and after how many steps.
SAMPLE, STEPS = 256, 2
# Two states of a trajectory disagree if they differ by more than this share of the way from its start, and by more
# than so many roundings.
SHARE, ROUNDINGS = 1e-2, 256
# At kinks, and where an optimiser divides a gradient by its size, rounding decides in a few trajectories.
MAX_DISAGREEING = 0.1


def sound_compilation(process: Process, shared: Any, own: Any, initial: Any, tile_size: int) -> str:
    """The fastest compilation of a process whose first steps can be trusted.

    Args:
      process: what is iterated.
      shared: what all trajectories share.
      own: what each has for itself, arrays ``[..., trajectory]``.
      initial: what each starts from, likewise.
      tile_size: trajectories of one compiled call.

    Returns:
      ``"fast"``, or ``"unfused"`` where that is wrong: a way of `jaxloss.engine.devices.compiling`.
    """
    if devices()[0].platform != "cpu" or not _decides(process, shared, own, initial):
        return "fast"
    num = jax.tree.leaves(initial)[0].shape[-1]
    # Whatever the tiles are, the same trajectories.
    own, initial = columns((own, initial), np.linspace(0, num - 1, min(num, SAMPLE)).round().astype(int))

    def first_steps(compilation: str) -> tuple[Any, Any]:
        with compiling(compilation):
            before, after = run(process, shared, own, initial, (0, STEPS), tile_size=tile_size)
        return before.state, after.state

    expected = first_steps("plain")
    if _agree(first_steps("fast"), expected) or not _agree(first_steps("unfused"), expected):
        # Where no two compilations agree, rounding decides about the process itself.
        return "fast"
    logger.warning(
        "this version of the compiler computes the objective wrongly when it fuses operations; it runs unfused, more "
        "slowly. Conditions that hold by a rounding error alone are what it gets wrong"
    )
    return "unfused"


def _decides(process: Process, shared: Any, own: Any, initial: Any) -> bool:
    own, initial = one_lane((own, initial))
    return _decides_for(process, *(Shapes.of(tree) for tree in (shared, own, initial)))


@functools.lru_cache(maxsize=64)
def _decides_for(process: Process, shared: Shapes, own: Shapes, initial: Shapes) -> bool:
    state = jax.eval_shape(process.begin, shared.tree, own.tree, initial.tree)
    return jumps(process.update, shared.tree, own.tree, np.int32(0), state)


def _agree(found: tuple[Any, Any], expected: tuple[Any, Any]) -> bool:
    """Whether two ways to make the first steps lead most trajectories to the same states."""
    wrong = [
        _apart(np.asarray(ours, np.float64), *map(np.asarray, theirs))
        for ours, *theirs in zip(*map(jax.tree.leaves, (found[1], expected[1], expected[0])), strict=True)
        if np.issubdtype(np.asarray(ours).dtype, np.floating)
    ]
    return not wrong or float(np.mean(np.logical_or.reduce(wrong))) <= MAX_DISAGREEING


def _apart(found: np.ndarray, expected: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Whether a leaf ``[..., trajectory]`` of the state differs by more than rounding, for each trajectory."""
    rows = (-1, found.shape[-1])

    def largest(values: np.ndarray) -> np.ndarray:
        return np.abs(values).reshape(rows).max(axis=0, initial=0)

    with np.errstate(all="ignore"):
        rounding = ROUNDINGS * np.finfo(expected.dtype).eps * np.maximum(largest(expected), largest(before))
        near = largest(found - expected) <= SHARE * largest(expected - before) + rounding
    # Both may have diverged.
    return ~near & (np.isfinite(largest(found)) | np.isfinite(largest(expected)))
