"""Many trajectories in rounds of steps; after each round those that have ended make room for the others.

A tile of trajectories makes all the steps of a round while it sits in the cache of one core. Between rounds the
host looks at its flags only; once enough have ended, the others are packed together.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxloss.engine.devices import devices, on_devices
from jaxloss.engine.lanes import varies
from jaxloss.engine.tiles import Shapes, as_slice, columns, even_tiles, in_lanes, one_lane, padded

# Steps between two looks at a trajectory: a look costs about as much as five steps.
BLOCK = 120
# A state that returns after this many steps, bit for bit, is periodic for ever; so are periods that divide it found.
PERIOD = 2 * BLOCK
# Native code keeps what all trajectories share, for each step of a round.
LONGEST_ROUND = 64 * PERIOD
# Packing trajectories together is taken to cost as much as so many steps of them.
PACKING = 32


class Process(NamedTuple):
    """What is iterated, written for one trajectory; hashable, fixed at compilation.

    Attributes:
      begin: ``(shared, own, initial) -> state``.
      update: ``(shared, own, step, state) -> state``, one step.
      ends: ``(shared, own, step, state) -> bool``, whether the trajectory need not go on from there.
      autonomous: whether ``update`` depends on the state alone, so that a state that returns once returns for ever.
    """

    begin: Callable[..., Any]
    update: Callable[..., Any]
    ends: Callable[..., jax.Array]
    autonomous: bool


class Lane(NamedTuple):
    """How far one trajectory has come.

    Attributes:
      state: after ``step`` steps.
      step: int32.
      ended: `Process.ends` held at the next look, at most `BLOCK` steps later.
      periodic: ``state`` returns after every `PERIOD` steps.
    """

    state: Any
    step: Any
    ended: Any
    periodic: Any


class Fleet(NamedTuple):
    """Everything about a run that stays the same: what is iterated, and over what.

    Attributes:
      process: what is iterated.
      varying: for each leaf of the state, whether it differs between trajectories; a step counter does not.
      shared: what all trajectories share, by device.
      own: what each trajectory has for itself, a pytree of host arrays ``[..., trajectory]``.
      tile_size: trajectories of one compiled call.
    """

    process: Process
    varying: tuple[bool, ...]
    shared: dict[Any, Any]
    own: Any
    tile_size: int


class Tile(NamedTuple):
    """Some trajectories on one device: their numbers, what they own, how far they are, and what does not vary."""

    numbers: np.ndarray
    own: Any
    lane: Lane
    clock: tuple[jax.Array, ...]


def run(
    process: Process,
    shared: Any,
    own: Any,
    initial: Any,
    stops: Sequence[int],
    *,
    tile_size: int,
    progress: Callable[[float], object] = lambda share: None,
) -> list[Lane]:
    """Iterates every trajectory to each of the stops, or until it ends.

    The result is the same, bit for bit, for every tile size and number of devices: ends are looked for at fixed
    steps, and whole periods are skipped only where the state has returned exactly.

    Args:
      process: what is iterated.
      shared: what all trajectories share, such as data.
      own: what each has for itself, such as hyperparameters: a pytree of host arrays ``[..., trajectory]``.
      initial: what `Process.begin` starts from, likewise.
      stops: numbers of steps, ascending.
      tile_size: trajectories of one compiled call.
      progress: called with the share of the work that is done.

    Returns:
      Where the trajectories are at each stop, host arrays ``[..., trajectory]``.
    """
    fleet = Fleet(
        process,
        varying_leaves(process, shared, own, initial),
        {device: jax.device_put(shared, device) for device in dict.fromkeys(devices())},
        own,
        tile_size,
    )
    held = _begin(fleet, initial)
    lane = _record(held)
    found, origin = [], 0
    for stop in stops:
        if found:
            lane = jax.tree.map(np.copy, lane)
            held = _load(fleet, lane, np.flatnonzero(~lane.ended))
        _advance(fleet, lane, held, origin, stop)
        progress(1 - np.mean(~lane.ended) * (1 - stop / max(stops[-1], 1)))
        found.append(lane)
        origin = stop
    return found


def _begin(fleet: Fleet, initial: Any) -> list[Tile]:
    """All trajectories before their first step."""
    program = in_lanes(_first, (fleet.process,), (None, -1, -1))

    def begin(rows: tuple[int, int], device) -> Tile:
        own, start = _tile_of((fleet.own, initial), slice(*rows), fleet, device)
        lane = program(np.int32(rows[1] - rows[0]), fleet.shared[device], own, start)
        return Tile(np.arange(*rows), own, lane, _clock(fleet, lane, device))

    return on_devices(begin, list(even_tiles(jax.tree.leaves(initial)[0].shape[-1], fleet.tile_size)))


def _first(process: Process, shared: Any, own: Any, initial: Any) -> Lane:
    no = jnp.zeros((), bool)
    return Lane(process.begin(shared, own, initial), jnp.zeros((), jnp.int32), no, no)


def varying_leaves(process: Process, shared: Any, own: Any, initial: Any) -> tuple[bool, ...]:
    """Which leaves of the state come to differ between trajectories; the others (step counters) are its clock.

    Args:
      process: what is iterated.
      shared: what all trajectories share.
      own: what each has for itself, arrays ``[..., trajectory]``.
      initial: what each starts from, likewise.

    Returns:
      One flag for each leaf.
    """
    own, initial = one_lane((own, initial))
    return _varying_for(process, *(Shapes.of(tree) for tree in (shared, own, initial)))


@functools.lru_cache(maxsize=64)
def _varying_for(process: Process, shared: Shapes, own: Shapes, initial: Shapes) -> tuple[bool, ...]:
    shapes = shared.tree, own.tree, initial.tree
    state = jax.eval_shape(process.begin, *shapes)
    treedef = jax.tree.structure(state)
    flags = jax.tree.leaves(varies(process.begin, (None, -1, -1), *shapes))
    while True:
        axes = jax.tree.unflatten(treedef, [-1 if flag else None for flag in flags])
        after = varies(process.update, (None, -1, None, axes), *shapes[:2], np.int32(0), state)
        grown = [a or b for a, b in zip(flags, jax.tree.leaves(after), strict=True)]
        if grown == flags:
            return tuple(flags)
        flags = grown


def _advance(fleet: Fleet, lane: Lane, held: list[Tile], origin: int, stop: int) -> None:
    """Takes every trajectory that has not ended from one stop to the next, and keeps a record of all on the host."""
    _rounds(fleet, lane, held, origin, stop, origin)
    waiting = np.flatnonzero(lane.periodic)
    lane.periodic[waiting] = False
    # Whole periods are skipped.
    start = origin + (stop - origin) // PERIOD * PERIOD
    lane.step[waiting] = start
    _rounds(fleet, lane, _load(fleet, lane, waiting), start, stop, origin)


def _rounds(fleet: Fleet, lane: Lane, held: list[Tile], start: int, stop: int, origin: int) -> None:
    """Rounds of growing length, until all have ended, turned out to be periodic, or made ``stop`` steps."""
    program = in_lanes(_blocks, (fleet.process, fleet.varying), (-1, None, -1, *[None] * 4), (-1, None))
    step, num = start, sum(len(tile.numbers) for tile in held)
    while step < stop and num:
        now = min(step + _round_length(step - start), stop)
        held = on_devices(functools.partial(_round, program, fleet, (step, now, origin)), held)
        step = now
        live = [tile.numbers[_live(tile)] for tile in held]
        left = sum(map(len, live))
        if step < stop and (num - left) * _round_length(step - start) >= PACKING * num:
            _unload(held, lane)
            held, num = _load(fleet, lane, np.concatenate(live)), left
    _unload(held, lane)


def _round_length(made: int) -> int:
    """How long to go on without packing after so many steps: a share of them, in whole periods from the fourth on."""
    return min(max(BLOCK, made), PERIOD) if made < 4 * PERIOD else min(made // 4 // PERIOD * PERIOD, LONGEST_ROUND)


def _load(fleet: Fleet, lane: Lane, numbers: np.ndarray) -> list[Tile]:
    """The trajectories of these numbers, from the record."""

    def load(rows: tuple[int, int], device) -> Tile:
        some = numbers[slice(*rows)]
        own, part = _tile_of((fleet.own, lane), as_slice(some), fleet, device)
        return Tile(some, own, part, _clock(fleet, part, device))

    return on_devices(load, list(even_tiles(len(numbers), fleet.tile_size)))


def _unload(held: list[Tile], lane: Lane) -> None:
    """Into the record."""

    def unload(tile: Tile, device) -> None:
        some = columns(tile.lane, slice(0, len(tile.numbers)))
        for record, part in zip(jax.tree.leaves(lane), jax.tree.leaves(some), strict=True):
            record[..., as_slice(tile.numbers)] = part

    on_devices(unload, held)


def _record(held: list[Tile]) -> Lane:
    """Room for what all tiles hold."""
    num = sum(len(tile.numbers) for tile in held)
    return jax.tree.map(lambda leaf: np.empty((*leaf.shape[:-1], num), leaf.dtype), held[0].lane)


def _tile_of(arrays: Any, which: Any, fleet: Fleet, device: Any) -> Any:
    return jax.device_put(padded(columns(arrays, which), fleet.tile_size, axis=-1), device)


def _clock(fleet: Fleet, lane: Lane, device: Any) -> tuple[jax.Array, ...]:
    return jax.device_put(columns(split(lane.state, fleet.varying)[1], 0), device)


def _live(tile: Tile) -> np.ndarray:
    return ~(np.asarray(tile.lane.ended) | np.asarray(tile.lane.periodic))[: len(tile.numbers)]


def _round(program: Callable, fleet: Fleet, steps: tuple[int, int, int], tile: Tile, device) -> Tile:
    """One tile through one round, on whichever device is free."""
    own, lane, clock = jax.device_put((tile.own, tile.lane, tile.clock), device)
    used = np.int32(len(tile.numbers))
    lane, clock = jax.block_until_ready(program(used, lane, fleet.shared[device], own, clock, *map(np.int32, steps)))
    return Tile(tile.numbers, own, lane, clock)


def _blocks(process: Process, varying: tuple[bool, ...], lane: Lane, shared, own, clock, start, stop, origin):
    """One trajectory from ``start`` to ``stop``, in blocks of steps with a look after each."""

    def block(carry):
        step, before, lane, anchor, anchored = carry
        now = jnp.minimum(step + BLOCK, stop)
        after = lax.fori_loop(step, now, lambda i, state: process.update(shared, own, i, state), before)
        whole = (now - origin) % PERIOD == 0
        returns = whole & (now - anchored == PERIOD)
        lane, anchor = _look(process, lane, anchor, after, shared, own, now, whole, returns)
        return now, after, lane, anchor, jnp.where(whole, now, anchored)

    state = joined(jax.tree.structure(lane.state), varying, split(lane.state, varying)[0], clock)
    anchored = jnp.where((start - origin) % PERIOD == 0, start, -1)
    carry = (start, state, lane, state if process.autonomous else (), anchored)
    _, state, lane, _, _ = lax.while_loop(lambda carry: carry[0] < stop, block, carry)
    return lane, split(state, varying)[1]


def _look(process: Process, lane: Lane, anchor, after, shared, own, now, whole, returns):
    """What has become of one trajectory: its state is kept if it ends here, and compared with an earlier one."""
    frozen = lane.ended | lane.periodic
    ended = lane.ended | (~frozen & process.ends(shared, own, now, after))
    periodic = lane.periodic
    if process.autonomous:
        returned = functools.reduce(jnp.logical_and, jax.tree.leaves(jax.tree.map(_equal, anchor, after)))
        periodic |= ~frozen & ~ended & returns & returned
        anchor = jax.tree.map(functools.partial(jnp.where, whole), after, anchor)
    held = ended | frozen
    state = jax.tree.map(functools.partial(jnp.where, held), lane.state, after)
    return Lane(state, jnp.where(held, lane.step, now), ended, periodic), anchor


def split(state: Any, varying: Sequence[bool]) -> tuple[tuple, tuple]:
    """The leaves of a state that differ between trajectories, and its clock."""
    leaves = list(zip(jax.tree.leaves(state), varying, strict=True))
    return tuple(leaf for leaf, v in leaves if v), tuple(leaf for leaf, v in leaves if not v)


def joined(treedef: Any, varying: Sequence[bool], moving: Sequence[Any], clock: Sequence[Any]) -> Any:
    """The state of which `split` made two."""
    rest = {True: iter(moving), False: iter(clock)}
    return jax.tree.unflatten(treedef, [next(rest[v]) for v in varying])


def _equal(first, second):
    return jnp.all(first == second)
