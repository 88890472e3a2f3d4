"""One orbit of a map, written for one initial state; the engine batches it."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxloss import orbits
from jaxloss.problems.problem import Structure

# A state that does not move by more than this in one step, relative to 1 + its size, rests; in units of rounding
# where that is more.
REST, REST_ROUNDINGS = 1e-9, 4
# Narrower than so many roundings over a whole window, an orbit is a point.
STILL_ROUNDINGS = 100
# A periodic orbit comes back to within this share of its width; most chaotic ones do not, and are looked at no more.
RETURN = 1e-3
# Positions that tell where a chaotic orbit lives, of a few orbits and of all.
LONG_WINDOW, SHORT_WINDOW = 1024, 4
# Lyapunov exponents: blocks of steps, after one block in which the tangent turns.
NUM_BLOCKS, BLOCK = 16, 256
# Newton's method onto a periodic orbit: steps, residual and distance relative to 1 + size.
NEWTON_STEPS, ROOT, NEAR = 8, 1e-10, 1e-2
# Larger Jacobians are not made.
MAX_NUMBERS = 256


class Rule(NamedTuple):
    """What is iterated: fixed at compilation, hashable.

    Attributes:
      step: ``(state, **hyperparameters) -> state``.
      structure: the shape of the state.
      periods: of each number in the state, None for what is no angle.
    """

    step: Callable[..., Any]
    structure: Structure
    periods: tuple[float | None, ...]


class Limits(NamedTuple):
    """When an orbit stops; traced, so that a change compiles nothing.

    Attributes:
      num_steps: the budget of steps.
      rest: largest motion of a state at rest, relative to 1 + its size.
      bound: diverged once a number exceeds this in size, or is not finite.
    """

    num_steps: Any
    rest: Any
    bound: Any


class Shared(NamedTuple):
    """What all orbits share: the limits, and the hyperparameters that are the same for all."""

    limits: Limits
    hyper: dict[str, Any]


Own = dict[str, Any]
"""The hyperparameters that differ between orbits."""


class End(NamedTuple):
    """Where an orbit ends.

    Attributes:
      state: there.
      step: how many steps were made.
      rests: whether the state no longer moves.
      diverged: whether it is beyond the bound.
    """

    state: Any
    step: jax.Array
    rests: jax.Array
    diverged: jax.Array


class Orbit(NamedTuple):
    """A periodic orbit, as Newton's method finds it.

    Attributes:
      point: one of its points, the same one from wherever on the orbit the search began.
      jacobian: of the map's p-th iterate.
      motion: how far the p-th iterate moved the point that the search began at, relative to 1 + its size.
    """

    point: Any
    jacobian: Any
    motion: Any


def rest_of(precision: str) -> float:
    """The largest motion of a state at rest in one precision.

    Examples:
      >>> rest_of("float64")
      1e-09
    """
    return max(REST, REST_ROUNDINGS * float(np.finfo(precision).eps))


def first(rule: Rule, shared: Shared, own: Own, state: Any) -> Any:
    """The state that the engine iterates, before the first step."""
    del shared, own
    return _wrapped(rule, state)


def update(rule: Rule, shared: Shared, own: Own, step: Any, state: Any) -> Any:
    """The state after one more step, in the precision of the state."""
    del step
    after = rule.step(state, **shared.hyper, **own)
    return _wrapped(rule, jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state))


def ends(rule: Rule, shared: Shared, own: Own, step: Any, state: Any) -> jax.Array:
    """Whether an orbit has come to rest or diverged."""
    rests, diverged = _status(rule, shared, own, step, state)
    return rests | diverged


def finish(rule: Rule, shared: Shared, own: Own, state: Any, step: jax.Array) -> End:
    """Goes on with a look after each step, until the orbit rests, diverges or has spent its budget."""

    def body(end: End) -> End:
        after = update(rule, shared, own, end.step, end.state)
        return End(after, end.step + 1, *_status(rule, shared, own, end.step, after))

    def going(end: End):
        return (end.step < shared.limits.num_steps) & ~end.rests & ~end.diverged

    return lax.while_loop(going, body, End(state, step, *_status(rule, shared, own, step, state)))


def record(rule: Rule, num: int, shared: Shared, own: Own, state: Any) -> jax.Array:
    """The next ``num`` positions, `embedded`, shape ``[num, coordinate]``."""

    def body(state, _):
        return update(rule, shared, own, 0, state), _position(rule, state)

    return lax.scan(body, state, length=num)[1]


def returns(rule: Rule, shared: Shared, own: Own, state: Any) -> jax.Array:
    """Whether an orbit comes back near a state within the longest period that is looked for."""
    start = _position(rule, state)

    def body(_, carry):
        state, low, high, nearest = carry
        state = update(rule, shared, own, 0, state)
        here = _position(rule, state)
        apart = jnp.max(jnp.abs(here - start))
        return state, jnp.minimum(low, here), jnp.maximum(high, here), jnp.minimum(nearest, apart)

    carry = (state, start, start, jnp.asarray(jnp.inf, start.dtype))
    _, low, high, nearest = lax.fori_loop(0, orbits.MAX_PERIOD, body, carry)
    rounding = jnp.finfo(start.dtype).eps * (1 + jnp.max(jnp.maximum(jnp.abs(low), jnp.abs(high))))
    return nearest <= RETURN * jnp.max(high - low) + STILL_ROUNDINGS * rounding


def observe(rule: Rule, shared: Shared, own: Own, state: Any) -> jax.Array:
    """The period of the orbit that a state is on: 1 where it rests, 0 where no period is seen."""
    orbit = orbits.observe(
        functools.partial(update, rule, shared, own, 0),
        functools.partial(_position, rule),
        lambda state: jnp.zeros((), _position(rule, state).dtype),
        state,
    )
    rounding = jnp.finfo(orbit.size.dtype).eps * (1 + orbit.size)
    return jnp.where(orbit.width <= STILL_ROUNDINGS * rounding, 1, orbit.period)


def growth(rule: Rule, shared: Shared, own: Own, state: Any) -> jax.Array:
    """Mean log growth per step of a tangent vector in consecutive blocks of steps, ``[NUM_BLOCKS]``.

    References:
      Benettin, Galgani, Giorgilli and Strelcyn, *Lyapunov characteristic exponents for smooth dynamical systems*,
      1980.
    """

    def body(carry):
        state, tangent = carry
        step = functools.partial(update, rule, shared, own, 0)
        state, tangent = jax.jvp(step, (state,), (tangent,))
        size = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tangent)))
        tangent = jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1), tangent)
        return (state, tangent), jnp.log(size)

    # Not along an axis: a map may treat the axes apart.
    weights = rule.structure.unravel(_weights(rule.structure.num_parameters))
    tangent = jax.tree.map(lambda w, leaf: jnp.broadcast_to(jnp.asarray(w, leaf.dtype), leaf.shape), weights, state)
    return orbits.block_means(body, (state, tangent), NUM_BLOCKS, BLOCK)


def polish(rule: Rule, hyper: dict[str, Any], point: jax.Array, period: jax.Array) -> Orbit:
    r"""Newton's method on :math:`f^p(s) - s`, from near a periodic orbit of period p.

    Where it does not converge near by, the point stays where it is.

    Args:
      rule: what is iterated.
      hyper: all hyperparameters by name.
      point: shape ``[number]``.
      period: p.

    Returns:
      The orbit.
    """

    def step(point):
        return rule.structure.ravel(update(rule, Shared(NO_LIMITS, hyper), {}, 0, rule.structure.unravel(point)))

    def power(point):
        return lax.fori_loop(0, period, lambda _, point: step(point), point)

    def residual(point):
        moved = power(point) - point
        turns = [0.0 if p is None else 1 / p for p in rule.periods]
        whole = [0.0 if p is None else p for p in rule.periods]
        return moved - jnp.array(whole, point.dtype) * jnp.round(moved * jnp.array(turns, point.dtype))

    def newton(_, point):
        return point - jnp.linalg.solve(jax.jacfwd(residual)(point), residual(point))

    def largest(vector):
        return jnp.max(jnp.abs(vector))

    size = 1 + largest(point)
    motion = largest(residual(point)) / size
    small = len(rule.periods) <= MAX_NUMBERS
    if small:
        found = lax.fori_loop(0, NEWTON_STEPS, newton, point)
        converged = (largest(residual(found)) <= ROOT * size) & (largest(found - point) <= NEAR * size)
        point = jnp.where(converged, found, point)
    jacobian = jax.jacfwd(power)(point) if small else jnp.full((1, 1), jnp.nan, point.dtype)

    # Irrational weights: no two points of an orbit have the same sum.
    def visit(_, carry):
        point, best, least = carry
        here = step(point)
        level = embedded(rule.periods, here) @ _weights(embedded_size(rule.periods)).astype(here.dtype)
        return here, jnp.where(level < least, here, best), jnp.minimum(level, least)

    start = (point, point, jnp.asarray(jnp.inf, point.dtype))
    return Orbit(lax.fori_loop(0, period, visit, start)[1], jacobian, motion)


def embedded(periods: tuple[float | None, ...], points: Any) -> Any:
    r"""Points as coordinates that can be compared: an angle of period P becomes a point on a circle of that length.

    Args:
      periods: of each number, None for what is no angle.
      points: ``[..., number]``.

    Returns:
      ``[..., coordinate]``.

    Examples:
      >>> embedded((1.0, None), np.array([0.5, 3.0])).round(3)
      array([-0.159,  0.   ,  3.   ])
    """
    if not any(periods):
        return points
    module = jnp if isinstance(points, jax.Array) else np
    columns = []
    for i, period in enumerate(periods):
        column = points[..., i]
        if period is None:
            columns.append(column)
        else:
            angle, radius = column * (2 * math.pi / period), period / (2 * math.pi)
            columns += [radius * module.cos(angle), radius * module.sin(angle)]
    return module.stack(columns, axis=-1)


def embedded_size(periods: tuple[float | None, ...]) -> int:
    """How many coordinates `embedded` makes."""
    return sum(1 if period is None else 2 for period in periods)


NO_LIMITS = Limits(0, 0.0, np.inf)


def _weights(num: int) -> np.ndarray:
    """Numbers in [1, 2) that no small whole numbers relate."""
    return 1 + np.arange(1, num + 1) * math.sqrt(2) % 1


def _status(rule: Rule, shared: Shared, own: Own, step: Any, state: Any) -> tuple[jax.Array, jax.Array]:
    here, after = _position(rule, state), _position(rule, update(rule, shared, own, step, state))
    rests = jnp.max(jnp.abs(after - here)) <= shared.limits.rest * (1 + jnp.max(jnp.abs(here)))
    # Written so that a NaN counts as diverged.
    diverged = ~(jnp.max(jnp.abs(rule.structure.ravel(state))) <= shared.limits.bound)
    return rests & ~diverged, diverged


def _position(rule: Rule, state: Any) -> jax.Array:
    return embedded(rule.periods, rule.structure.ravel(state))


def _wrapped(rule: Rule, state: Any) -> Any:
    """Angles modulo their periods."""
    if not any(rule.periods):
        return state
    leaves, start, wrapped = jax.tree.leaves(state), 0, []
    for leaf, shape in zip(leaves, rule.structure.shapes, strict=True):
        stop = start + math.prod(shape)
        periods = rule.periods[start:stop]
        if any(periods):
            is_angle = np.array([p is not None for p in periods]).reshape(shape)
            period = np.array([p or 1.0 for p in periods], leaf.dtype).reshape(shape)
            wrapped.append(jnp.where(is_angle, jnp.mod(leaf, period), leaf))
        else:
            wrapped.append(leaf)
        start = stop
    return jax.tree.unflatten(jax.tree.structure(state), wrapped)
