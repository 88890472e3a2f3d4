"""One trajectory of one optimiser, written for one initial point; the engine batches it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxloss import orbits
from jaxloss.problems.problem import Params

Hyperparameters = dict[str, Any]

# A gradient within tolerance ends a trajectory only if the optimiser is not in full motion: momentum and
# Adam may cross a flat region at speed, and end elsewhere.
SETTLED_MOTION = 1e-4
# A path so many times as long as its way is no plain descent; of a periodic orbit it is twice as long or more.
TURNED = 1.5


class Rule(NamedTuple):
    """What is iterated: fixed at compilation, hashable.

    Attributes:
      objective: ``(params, data) -> scalar``.
      factory: ``(learning_rate, **hyperparameters) -> optax transform``.
      batch_size: rows of ``data`` in each minibatch; ``None`` for the full gradient.
      replacement: draw minibatches with replacement, else walk through a new permutation each epoch.
      noisy: add Gaussian noise to every gradient.
      independent: draw for every trajectory by itself, instead of the same draws for all.
    """

    objective: Callable[[Params, Any], jax.Array]
    factory: Callable[..., optax.GradientTransformation]
    batch_size: int | None = None
    replacement: bool = False
    noisy: bool = False
    independent: bool = False

    @property
    def deterministic(self) -> bool:
        """Whether the update depends on the state alone."""
        return self.batch_size is None and not self.noisy


class Limits(NamedTuple):
    """When a trajectory stops; traced, so that a change compiles nothing.

    Attributes:
      num_steps: the budget of updates.
      gradient_tolerance: settled once the full gradient's Euclidean norm is at most this.
      divergence_bound: diverged once a parameter exceeds this in size, or is not finite.
      gradient_noise: standard deviation of the noise on each component of the gradient.
    """

    num_steps: Any
    gradient_tolerance: jax.Array | float
    divergence_bound: jax.Array | float
    gradient_noise: jax.Array | float = 0.0


class State(NamedTuple):
    """What is carried from update to update."""

    params: Params
    optimizer_state: Any
    step: jax.Array
    settled: jax.Array
    diverged: jax.Array


class Trajectory(NamedTuple):
    """What is reported of one trajectory.

    Attributes:
      state: the end, with everything that is needed to go on.
      midpoint: the parameters after half of the budget.
      loss: the objective at the end.
      midpoint_loss: the objective at ``midpoint``.
      gradient_norm: Euclidean norm of the full gradient at the end.
    """

    state: State
    midpoint: Params
    loss: jax.Array
    midpoint_loss: jax.Array
    gradient_norm: jax.Array


def simulate(
    rule: Rule,
    limits: Limits,
    data: Any,
    key: jax.Array,
    params: Params,
    hyper: Hyperparameters,
    stream: jax.Array,
) -> Trajectory:
    """Runs one trajectory until it settles, diverges or has spent its budget.

    Args:
      rule: what is iterated.
      limits: when to stop.
      data: the samples that the objective takes.
      key: draws minibatches and noise.
      params: the initial point.
      hyper: hyperparameters by name, scalars.
      stream: the number of this trajectory; it only matters for independent draws.

    Returns:
      The end of the trajectory and its midpoint.

    Examples:
      >>> from jaxloss.optimizers import OPTIMIZERS
      >>> rule = Rule(lambda p, data: p["x"] ** 2 + p["y"] ** 2, OPTIMIZERS["sgd"].factory)
      >>> start, hyper = {"x": jnp.array(-3.0), "y": jnp.array(4.0)}, {"learning_rate": jnp.array(0.1)}
      >>> end = simulate(rule, Limits(2, 1e-6, 1e6), (), jax.random.key(0), start, hyper, 0).state.params
      >>> round(float(end["x"]), 5), round(float(end["y"]), 5)
      (-1.92, 2.56)
    """
    state = begin(rule, params, hyper)
    middle = advance(rule, limits, data, key, state, hyper, stream, limits.num_steps // 2)
    end = advance(rule, limits, data, key, middle, hyper, stream, limits.num_steps)
    loss, gradient = jax.value_and_grad(rule.objective)(end.params, data)
    midpoint_loss = rule.objective(middle.params, data)
    return Trajectory(end, middle.params, loss, midpoint_loss, _norm(gradient))


def begin(rule: Rule, params: Params, hyper: Hyperparameters) -> State:
    """The state before the first update.

    Args:
      rule: what is iterated.
      params: the initial point.
      hyper: hyperparameters by name, scalars.

    Returns:
      The state at step 0.
    """
    no = jnp.zeros((), bool)
    return State(params, _transform(rule, hyper).init(params), jnp.zeros((), jnp.int32), no, no)


def advance(
    rule: Rule,
    limits: Limits,
    data: Any,
    key: jax.Array,
    state: State,
    hyper: Hyperparameters,
    stream: jax.Array,
    stop: jax.Array | int,
) -> State:
    """Updates until the trajectory settles, diverges or has made ``stop`` steps in all.

    Args:
      rule: what is iterated.
      limits: when to stop.
      data: the samples that the objective takes.
      key: draws minibatches and noise.
      state: where to go on.
      hyper: hyperparameters by name, scalars.
      stream: the number of this trajectory.
      stop: a number of steps, counted from the first.

    Returns:
      The state then.
    """
    key = _stream_key(rule, key, stream)

    def going(state: State):
        return (state.step < stop) & ~state.settled & ~state.diverged

    def body(state: State):
        gradient, params, optimizer_state = _update(
            rule, limits, data, key, state.params, state.optimizer_state, state.step, hyper
        )
        settled = _has_settled(limits, gradient, state.params, params)
        # A settled trajectory stays where its gradient was measured.
        params, optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(settled, old, new),
            (params, optimizer_state),
            (state.params, state.optimizer_state),
        )
        diverged = _has_diverged(limits, params)
        return State(params, optimizer_state, state.step + jnp.where(settled, 0, 1), settled, diverged)

    return lax.while_loop(going, body, state)


class Shared(NamedTuple):
    """What all trajectories of a run share.

    Attributes:
      limits: when to stop.
      data: the samples that the objective takes.
      key: draws minibatches and noise.
      hyper: hyperparameters by name, those that are the same for all.
    """

    limits: Limits
    data: Any
    key: Any
    hyper: Hyperparameters


class Own(NamedTuple):
    """What each trajectory has for itself.

    Attributes:
      hyper: hyperparameters by name, those that differ.
      stream: its number; it only matters for independent draws.
    """

    hyper: Hyperparameters
    stream: Any


def first(rule: Rule, shared: Shared, own: Own, params: Params):
    """The state that the engine iterates, (parameters, state of the optimiser), before the first step."""
    return params, _transform(rule, shared.hyper | own.hyper).init(params)


def update(rule: Rule, shared: Shared, own: Own, step, state):
    """The state after one more step, without a look at where it leads.

    Args:
      rule: what is iterated.
      shared: what all trajectories share.
      own: what this one has for itself.
      step: how many steps have been made.
      state: (parameters, state of the optimiser).
    """
    return _gradient_and_update(rule, shared, own, step, state)[1:]


def status(rule: Rule, shared: Shared, own: Own, step, state) -> tuple[jax.Array, jax.Array]:
    """Whether a trajectory has settled, and whether it has diverged, seen from one of its states."""
    gradient, after, _ = _gradient_and_update(rule, shared, own, step, state)
    return _has_settled(shared.limits, gradient, state[0], after), _has_diverged(shared.limits, state[0])


def ends(rule: Rule, shared: Shared, own: Own, step, state) -> jax.Array:
    """Whether a trajectory has settled or diverged."""
    settled, diverged = status(rule, shared, own, step, state)
    return settled | diverged


def _gradient_and_update(rule: Rule, shared: Shared, own: Own, step, state):
    params, optimizer_state = state
    key, hyper = _stream_key(rule, shared.key, own.stream), shared.hyper | own.hyper
    return _update(rule, shared.limits, shared.data, key, params, optimizer_state, step, hyper)


class Watched(NamedTuple):
    """Some steps of a trajectory whose path was measured.

    Attributes:
      state: after them, (parameters, state of the optimiser).
      turned: the path is longer than the way, and wide against rounding: no plain descent.
      still: the path is longer than the way, and no more than rounding.
    """

    state: Any
    turned: Any
    still: Any


def watch(rule: Rule, shared: Shared, own: Own, state, step: jax.Array, num: jax.Array) -> Watched:
    """Makes ``num`` steps and measures the path.

    A periodic orbit of a period up to ``num`` returns in every component: over any ``num`` steps its path is at least
    twice as long as the way from their first position to their last.

    Args:
      rule: what is iterated.
      shared: what all trajectories share.
      own: what this one has for itself.
      state: (parameters, state of the optimiser).
      step: how many steps have been made.
      num: how many are to be made.

    Returns:
      The state then, and what the path says.
    """

    def body(i, carry):
        state, path = carry
        after = update(rule, shared, own, i, state)
        return after, path + _distance(after[0], state[0])

    end, path = lax.fori_loop(step, step + num, body, (state, _distance(state[0], state[0])))
    returns = path >= TURNED * _distance(end[0], state[0])
    still = returns & (path <= num * 2 * jnp.finfo(path.dtype).eps * (1 + _largest(end[0])))
    return Watched(end, returns & ~still, still)


class Report(NamedTuple):
    """What is reported of the end of a trajectory.

    Attributes:
      settled: the gradient is within tolerance, and the motion calm.
      diverged: not finite, or beyond the bound.
      loss: at the end.
      midpoint_loss: at the midpoint.
      gradient_norm: of the full gradient at the end.
    """

    settled: Any
    diverged: Any
    loss: Any
    midpoint_loss: Any
    gradient_norm: Any


def report(rule: Rule, shared: Shared, step, own: Own, state, midpoint: Params) -> Report:
    """The report on a trajectory that has come to ``state`` after ``step`` steps, and to ``midpoint`` half-way."""
    settled, diverged = status(rule, shared, own, step, state)
    loss, gradient = jax.value_and_grad(rule.objective)(state[0], shared.data)
    return Report(settled, diverged, loss, rule.objective(midpoint, shared.data), _norm(gradient))


def record(
    rule: Rule,
    limits: Limits,
    data: Any,
    key: jax.Array,
    params: Params,
    optimizer_state: Any,
    step: jax.Array,
    hyper: Hyperparameters,
    stream: jax.Array,
    num: int,
) -> tuple[Params, jax.Array]:
    """Goes on for ``num`` updates without stopping, and keeps every position and its loss.

    Returns:
      The parameters before each update, with a leading axis of length ``num``, and the losses ``[num]``.
    """
    key = _stream_key(rule, key, stream)

    def body(carry, _):
        params, optimizer_state, step = carry
        loss = rule.objective(params, data)
        _, new, optimizer_state = _update(rule, limits, data, key, params, optimizer_state, step, hyper)
        return (new, optimizer_state, step + 1), (params, loss)

    return lax.scan(body, (params, optimizer_state, step), length=num)[1]


def lyapunov_growth(
    rule: Rule,
    limits: Limits,
    data: Any,
    params: Params,
    optimizer_state: Any,
    hyper: Hyperparameters,
    *,
    num_blocks: int,
    block: int,
) -> jax.Array:
    """Mean log growth per step of a tangent vector, in consecutive blocks of steps.

    The map is the whole update, of parameters and optimiser state together; its largest Lyapunov exponent is
    the mean of the blocks as their number grows. One block is run first, so that the tangent turns towards
    the direction of fastest growth.

    Returns:
      Shape ``[num_blocks]``, nats per step.

    References:
      Benettin, Galgani, Giorgilli and Strelcyn, *Lyapunov characteristic exponents for smooth dynamical
      systems*, 1980.
    """
    leaves, treedef = jax.tree.flatten((params, optimizer_state))
    moving = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def update(leaves):
        params, optimizer_state = jax.tree.unflatten(treedef, leaves)
        key = jax.random.key(0)
        _, params, optimizer_state = _update(
            rule, limits, data, key, params, optimizer_state, jnp.zeros((), jnp.int32), hyper
        )
        return jax.tree.leaves((params, optimizer_state))

    def body(carry):
        leaves, tangent = carry

        def floats_only(floats):
            floats = iter(floats)
            full = update([next(floats) if m else leaf for m, leaf in zip(moving, leaves, strict=True)])
            return [leaf for m, leaf in zip(moving, full, strict=True) if m], full

        floats = [leaf for m, leaf in zip(moving, leaves, strict=True) if m]
        _, tangent, leaves = jax.jvp(floats_only, (floats,), (tangent,), has_aux=True)
        growth = _norm(tangent)
        tangent = [t / jnp.where(growth > 0, growth, 1.0) for t in tangent]
        return (leaves, tangent), jnp.log(growth)

    floats = [leaf for m, leaf in zip(moving, leaves, strict=True) if m]
    keys = jax.random.split(jax.random.key(0), len(floats))
    tangent = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, floats, strict=True)]
    size = _norm(tangent)
    tangent = [t / size for t in tangent]
    return orbits.block_means(body, (leaves, tangent), num_blocks, block)


def _update(rule: Rule, limits: Limits, data, key, params, optimizer_state, step, hyper: Hyperparameters):
    """The full gradient, and the parameters and the optimiser's state after one update."""
    gradient = direction = jax.grad(rule.objective)(params, data)
    if rule.batch_size is not None:
        direction = jax.grad(rule.objective)(params, _minibatch(rule, data, key, step))
    if rule.noisy:
        leaves, treedef = jax.tree.flatten(direction)
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), step), len(leaves))
        noise = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        direction = jax.tree.unflatten(
            treedef, [leaf + limits.gradient_noise * n for leaf, n in zip(leaves, noise, strict=True)]
        )
    updates, optimizer_state = _transform(rule, hyper).update(direction, optimizer_state, params)
    return gradient, optax.apply_updates(params, updates), optimizer_state


def _transform(rule: Rule, hyper: Hyperparameters) -> optax.GradientTransformation:
    others = {name: value for name, value in hyper.items() if name != "learning_rate"}
    return rule.factory(hyper["learning_rate"], **others)


def _minibatch(rule: Rule, data, key, step):
    """Rows of the data for one step; an epoch without replacement drops the rows that do not fill a batch."""
    num = jax.tree.leaves(data)[0].shape[0]
    size = rule.batch_size or num
    key = jax.random.fold_in(key, 0)
    if rule.replacement:
        rows = jax.random.randint(jax.random.fold_in(key, step), (size,), 0, num)
    else:
        batches = num // size
        order = jax.random.permutation(jax.random.fold_in(key, step // batches), num)
        rows = lax.dynamic_slice(order, (step % batches * size,), (size,))
    return jax.tree.map(lambda column: column[rows], data)


def _stream_key(rule: Rule, key, stream):
    return jax.random.fold_in(key, stream) if rule.independent else key


def _has_settled(limits: Limits, gradient, params, after) -> jax.Array:
    motion = _largest(jax.tree.map(jnp.subtract, after, params))
    calm = motion <= SETTLED_MOTION * (1 + _largest(params))
    return (_norm(gradient) <= limits.gradient_tolerance) & calm


def _has_diverged(limits: Limits, params) -> jax.Array:
    # Written so that a NaN counts as diverged.
    return ~(_largest(params) <= limits.divergence_bound)


def _distance(first: Params, second: Params) -> jax.Array:
    """The sum of the absolute differences."""
    return jnp.asarray(
        sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(jax.tree.map(jnp.subtract, first, second)))
    )


def _norm(tree) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def _largest(tree) -> jax.Array:
    """The largest absolute value, NaN if any is NaN."""
    sizes = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]
    result = sizes[0]
    for size in sizes[1:]:
        result = jnp.maximum(result, size)
    return result
