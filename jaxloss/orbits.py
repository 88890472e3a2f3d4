"""What a bounded trajectory does that does not settle: its period, or its Lyapunov exponent."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MAX_PERIOD = 64
WINDOW = 4 * MAX_PERIOD

# Lyapunov exponents: the mean of NUM_BLOCKS blocks of BLOCK steps must exceed zero by two standard errors.
NUM_BLOCKS = 16
BLOCK = 32
# Shares of steps on which the loss rose: less, and the trajectory still descends.
RISING_SHARE = 0.1


class Orbit(NamedTuple):
    """What a window of one trajectory shows.

    Attributes:
      period: smallest period from 2 to `MAX_PERIOD` that repeats throughout the window, else 0.
      restless: the loss rose on so many steps that the trajectory does not simply descend.
      widening: log growth per step of the orbit's width.
      width: its extent along the widest axis.
      size: the largest coordinate.
    """

    period: jax.Array
    restless: jax.Array
    widening: jax.Array
    width: jax.Array
    size: jax.Array


def observe(
    step: Callable[[Any], Any],
    position: Callable[[Any], jax.Array],
    loss: Callable[[Any], jax.Array],
    state: Any,
) -> Orbit:
    """Looks for a periodic orbit in the next `WINDOW` positions of one trajectory.

    The orbit must be wide against rounding, repeat to 1e-4 of its width, and not shrink by more than a
    thousandth over the window: a damped oscillation is on its way to a point. No position is kept: the window is
    gone through again for each question, which is faster than to write it to memory.

    Args:
      step: from one state to the next, always in the same way.
      position: of a state, shape ``[parameter]``.
      loss: of a state.
      state: the first.

    Returns:
      What the window shows.

    Examples:
      >>> int(observe(lambda x: -x, lambda x: x[None], lambda x: x**2, jnp.array(1.0)).period)
      2
    """
    half, start = WINDOW // 2, position(state)
    epsilon = jnp.finfo(start.dtype).eps

    def measure(_, carry):
        state, low, high, _, before, rises = carry
        here, value = position(state), loss(state)
        rises += value > before + 8 * epsilon * jnp.abs(before)
        return step(state), jnp.minimum(low, here), jnp.maximum(high, here), here, value, rises

    def measured(state, before):
        here = position(state)
        return lax.fori_loop(0, half, measure, (state, here, here, here, before, jnp.zeros((), jnp.int32)))

    middle, *early, _, before, rose = measured(state, loss(state))
    _, *late, last, _, rose_late = measured(middle, before)
    low, high = jnp.minimum(early[0], late[0]), jnp.maximum(early[1], late[1])
    size = jnp.max(jnp.maximum(jnp.abs(low), jnp.abs(high)))
    early, late = (jnp.max(high - low) for low, high in (early, late))
    tolerance = 1e-4 * late + 8 * epsilon * (1 + size)

    def look_back(i, carry):
        state, candidate = carry
        period = half - 1 - i
        near = jnp.max(jnp.abs(position(state) - last)) <= tolerance
        return step(state), jnp.where(near & (period <= MAX_PERIOD), period, candidate)

    _, candidate = lax.fori_loop(0, half - 1, look_back, (middle, jnp.zeros((), jnp.int32)))
    # Many periods apart, so that a slow drift adds up.
    length = jnp.maximum(candidate, 1).astype(start.dtype)
    lag = length * jnp.floor(half / length)

    def follow(i, state):
        return jax.tree.map(functools.partial(jnp.where, i < half - lag), step(state), state)

    def compare(_, carry):
        ahead, behind, apart = carry
        now = jnp.max(jnp.abs(position(ahead) - position(behind)))
        return step(ahead), step(behind), jnp.maximum(apart, now)

    behind = lax.fori_loop(0, MAX_PERIOD, follow, state)
    apart = lax.fori_loop(0, half, compare, (middle, behind, jnp.zeros((), start.dtype)))[2]
    wide = late > 100 * epsilon * (1 + size)
    steady = jnp.abs(late - early) <= 1e-3 * early
    found = (apart <= tolerance) & wide & steady & (candidate > 1)
    widening = jnp.where(wide, jnp.log(late / jnp.where(early > 0, early, late)) / half, 0.0)
    return Orbit(
        jnp.where(found, candidate, 0),
        rose + rose_late >= RISING_SHARE * (WINDOW - 1),
        widening,
        jnp.max(high - low),
        size,
    )


def observe_recorded(positions: jax.Array, losses: jax.Array) -> Orbit:
    """The same of recorded positions.

    Args:
      positions: shape ``[WINDOW, parameter]``.
      losses: shape ``[WINDOW]``.

    Returns:
      What they show.

    Examples:
      >>> flip = jnp.where(jnp.arange(WINDOW) % 2 == 0, 1.0, -1.0)
      >>> int(observe_recorded(flip[:, None], flip**2).period)
      2
    """
    return observe(lambda i: i + 1, lambda i: positions[i], lambda i: losses[i], jnp.zeros((), jnp.int32))


def block_means(step: Callable[[Any], tuple[Any, jax.Array]], state: Any, num_blocks: int, length: int) -> jax.Array:
    """Means of what each step yields, over consecutive blocks of steps after a first one that does not count.

    Args:
      step: from a state to the next, and a number.
      state: the first.
      num_blocks: how many blocks count.
      length: steps of a block.

    Returns:
      Shape ``[num_blocks]``.

    Examples:
      >>> block_means(lambda i: (i + 1, 1.0 * i), 0, 2, 10)
      Array([14.5, 24.5], dtype=float32)
    """
    nothing = jnp.zeros((), jax.eval_shape(step, state)[1].dtype)

    def add(_, carry):
        state, total = carry
        state, number = step(state)
        return state, total + number

    def block(k, carry):
        state, means = carry
        state, total = lax.fori_loop(0, length, add, (state, nothing))
        return state, jnp.where(jnp.arange(1, num_blocks + 1) == k, total / length, means)

    return lax.fori_loop(0, num_blocks + 1, block, (state, jnp.broadcast_to(nothing, num_blocks)))[1]


def is_chaotic(growth: np.ndarray, widening: np.ndarray) -> np.ndarray:
    """Whether the largest Lyapunov exponent is positive by two standard errors of the mean over blocks.

    It must also be more than twice the rate at which the orbit itself widens: near an unstable point a small
    difference grows as the distance to the point does, and that orbit is still on its way out.

    Args:
      growth: log growth per step of a small difference, shape ``[trajectory, block]``.
      widening: log growth per step of the orbit's width, shape ``[trajectory]``.

    Returns:
      Booleans ``[trajectory]``.

    Examples:
      >>> is_chaotic(np.array([[0.5, 0.7], [-0.1, 0.1], [0.2, 0.2]]), np.array([0.01, 0.0, 0.2]))
      array([ True, False, False])
    """
    with np.errstate(invalid="ignore"):
        mean = growth.mean(axis=1)
        error = growth.std(axis=1, ddof=1) / np.sqrt(growth.shape[1])
        return mean > 2 * np.maximum(error, widening)
