"""Every trajectory of a grid under one set of options: the engine applied to `descent`, tile by tile."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from jaxloss import checks, descent, orbits
from jaxloss.descent import Limits, Own, Report, Rule, Shared, State, Watched
from jaxloss.engine import as_slice, batched, columns, compiling, computing_in, in_lanes, map_lanes, tiles
from jaxloss.engine.calibration import WHOLE
from jaxloss.engine.layout import Layout, layout_of
from jaxloss.engine.rounds import BLOCK, Lane, Process, joined, run, split, varying_leaves
from jaxloss.errors import InputError, unknown
from jaxloss.grids import LEARNING_RATE, BoundGrid
from jaxloss.optimizers import Optimizer, resolve
from jaxloss.problems import Problem

PRECISIONS = ("float32", "float64")
# How many positions of a recorded trajectory are kept.
NUM_PATH_STEPS = 200
# Trajectories whose orbits are examined in one call: a step of it takes many updates.
OBSERVED_AT_ONCE = 2**12
# Trajectories that are held at once, besides the results.
BATCH = 2**19


@dataclass(frozen=True)
class RunOptions:
    """How a sweep runs: the keys of ``[run]`` in a spec, and the keyword-only options of `sweep`.

    Attributes:
      optimizer: a name of `jaxloss.optimizers.OPTIMIZERS`, or a factory ``learning_rate -> optax transform``.
      num_steps: the budget of updates of each trajectory.
      gradient_tolerance: settled once the Euclidean norm of the full gradient is at most this.
      divergence_bound: diverged once a parameter exceeds this in size.
      precision: ``"float32"`` or ``"float64"``, of the trajectories; end points are always polished in float64.
      seed: of random starts, minibatches, noise and the multi-start search.
      learning_rate: where the grid has no such axis.
      hyperparameters: further hyperparameters of the optimiser by name.
      batch_size: rows of the data in each minibatch; None for the full gradient.
      replacement: draw minibatches with replacement.
      gradient_noise: standard deviation of Gaussian noise on each component of the gradient.
      shared_draws: the same minibatches and noise for every trajectory.
      tile_size: trajectories of one compiled call.
      num_paths: how many trajectories of contrasting starts are kept step by step.

    Raises:
      InputError: an option out of its range; the sentence names it.
    """

    optimizer: str | Callable[..., optax.GradientTransformation] | Optimizer = "sgd"
    num_steps: int = 10_000
    gradient_tolerance: float = 1e-6
    divergence_bound: float = 1e6
    precision: str = "float32"
    seed: int = 0
    learning_rate: float | None = None
    hyperparameters: Mapping[str, float] | None = None
    batch_size: int | None = None
    replacement: bool = False
    gradient_noise: float = 0.0
    shared_draws: bool = True
    tile_size: int | None = None
    num_paths: int = 0

    def __post_init__(self):
        resolve(self.optimizer)
        checks.whole("num_steps", self.num_steps, 1)
        if self.num_steps > 2**31 - 1 - orbits.WINDOW:
            raise InputError(f"num_steps must be below 2^31, not {self.num_steps}")
        checks.whole("seed", self.seed, 0)
        if self.seed >= 2**63:
            raise InputError(f"seed must be below 2^63, not {self.seed}")
        checks.whole("num_paths", self.num_paths, 0)
        for name in ("batch_size", "tile_size"):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), 1)
        for name in ("gradient_tolerance", "divergence_bound"):
            checks.number(name, getattr(self, name))
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be > 0, not {getattr(self, name):g}")
        checks.number("gradient_noise", self.gradient_noise)
        if self.gradient_noise < 0:
            raise InputError(f"gradient_noise must not be negative, but it is {self.gradient_noise:g}")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.learning_rate is not None:
            checks.number(LEARNING_RATE, self.learning_rate)
            if self.learning_rate <= 0:
                raise InputError(f"learning_rate must be > 0, not {self.learning_rate:g}")
        for name, value in (self.hyperparameters or {}).items():
            checks.number(f"hyperparameters: {name}", value)
        for name in ("replacement", "shared_draws"):
            checks.flag(name, getattr(self, name))

    def key(self, purpose: str) -> jax.Array:
        """The PRNG key for one purpose: ``starts``, or ``updates`` (minibatches and noise)."""
        return jax.random.fold_in(jax.random.key(self.seed), ("starts", "updates").index(purpose))

    def described(self) -> dict[str, Any]:
        """The options as plain values; a user's own optimiser by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.optimizer, str):
            values["optimizer"] = resolve(self.optimizer).summary
        return values


class Ends(NamedTuple):
    """What the engine hands over of all trajectories, in the order of work.

    Attributes:
      point: end points ``[trajectory, parameter]``.
      midpoint: points at half of the budget, same shape.
      loss: ``[trajectory]``.
      midpoint_loss: ``[trajectory]``.
      gradient_norm: ``[trajectory]``.
      num_steps: updates made, int32.
      settled: gradient within tolerance.
      diverged: not finite, or beyond the bound.
      period: int32, 0 for none.
      chaotic: positive Lyapunov exponent.
      still: the last steps did no more than rounding does, and led nowhere.
    """

    point: np.ndarray
    midpoint: np.ndarray
    loss: np.ndarray
    midpoint_loss: np.ndarray
    gradient_norm: np.ndarray
    num_steps: np.ndarray
    settled: np.ndarray
    diverged: np.ndarray
    period: np.ndarray
    chaotic: np.ndarray
    still: np.ndarray


def run_grid(problem: Problem, bound: BoundGrid, options: RunOptions, progress: bool) -> tuple[Ends, Layout]:
    """Runs every trajectory of a grid.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      progress: show a progress bar.

    Returns:
      The ends of all trajectories, in the order of work, and how they were computed.
    """
    size = bound.grid.size
    layout = lay_out(problem, bound, options, size)
    with progress_bar(problem.name, size, progress) as bar:
        return run_range(problem, bound, options, layout, 0, size, lambda num: bar.update(num - bar.n)), layout


def progress_bar(name: str, size: int, shown: bool) -> tqdm:
    """A bar that counts trajectories."""
    return tqdm(total=size, desc=name, unit="run", unit_scale=True, disable=not shown)


def lay_out(problem: Problem, bound: BoundGrid, options: RunOptions, at_once: int) -> Layout:
    """How the trajectories of a grid are computed, found out on the first of them.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      at_once: trajectories of one call of `run_range`.

    Returns:
      The layout.
    """
    size = bound.grid.size
    with computing_in(options.precision, problem):
        return layout_of(
            process_of(rule_of(problem, options)),
            *arguments_of(problem, bound, options, 0, min(size, BATCH)),
            num_steps=options.num_steps,
            num=size,
            at_once=min(size, at_once),
            tile_size=options.tile_size,
        )


def run_range(
    problem: Problem,
    bound: BoundGrid,
    options: RunOptions,
    layout: Layout,
    first: int,
    last: int,
    progress: Callable[[int], object] = lambda num: None,
) -> Ends:
    """Runs the trajectories ``first`` to ``last`` of the order of work; which range they are in changes no bit.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      layout: of `lay_out`.
      first: number of the first trajectory.
      last: number after the last.
      progress: called with how many of them are done.

    Returns:
      Their ends.
    """
    parts: list[Ends] = []
    with computing_in(options.precision, problem), compiling(layout.compilation):
        for start, stop in tiles(last - first, max(BATCH, layout.tile_size)):

            def done(share: float, start: int = start, num: int = stop - start) -> None:
                progress(start + int(share * num))

            parts.append(_run_batch(problem, bound, options, (first + start, first + stop), layout.tile_size, done))
            progress(stop)
    return parts[0] if len(parts) == 1 else Ends(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def arguments_of(problem: Problem, bound: BoundGrid, options: RunOptions, first: int, last: int):
    """What trajectories ``first`` to ``last`` share, what each of them owns, and where each starts."""
    real = np.dtype(options.precision)
    points, hyper = bound.trajectories(first, last)
    initial = jax.tree.map(
        lambda leaf: np.ascontiguousarray(np.moveaxis(leaf, 0, -1)), problem.unravel(points.astype(real))
    )
    hyper = {name: value.astype(real) for name, value in hyper.items()}
    axes = {name: hyper.pop(name) for name in bound.grid.axes if name in hyper}
    fixed = {name: value[0] for name, value in hyper.items()}
    shared = Shared(limits_of(options), data_of(problem, options), options.key("updates"), fixed)
    return shared, Own(axes, np.arange(first, last, dtype=np.uint32)), initial


def _run_batch(
    problem: Problem,
    bound: BoundGrid,
    options: RunOptions,
    numbers: tuple[int, int],
    tile_size: int,
    progress: Callable[[float], object],
) -> Ends:
    """Trajectories ``first`` to ``last`` of the order of work."""
    first, last = numbers
    rule = rule_of(problem, options)
    shared, own, initial = arguments_of(problem, bound, options, first, last)
    process = process_of(rule)
    middle = options.num_steps // 2
    last_look = options.num_steps - min(orbits.MAX_PERIOD, options.num_steps - middle)
    halfway, late = run(
        process,
        shared,
        own,
        initial,
        (middle, last_look),
        tile_size=tile_size,
        progress=progress,
    )
    varying = varying_leaves(process, shared, own, initial)
    end = _finish(rule, varying, shared, own, halfway, late, options.num_steps, tile_size)
    period, chaotic = np.zeros(last - first, np.int32), np.zeros(last - first, bool)
    going = np.flatnonzero(end.turned & ~end.report.settled & ~end.report.diverged)
    if rule.deterministic and len(going):
        own, state = columns((own, end.state), going)
        period[going], chaotic[going] = _orbits(problem, rule, shared, own, state, options.num_steps, tile_size)
    return Ends(
        point=_rows(problem, end.state[0]),
        midpoint=_rows(problem, end.midpoint),
        loss=end.report.loss,
        midpoint_loss=end.report.midpoint_loss,
        gradient_norm=end.report.gradient_norm,
        num_steps=end.num_steps,
        settled=end.report.settled,
        diverged=end.report.diverged,
        period=period,
        chaotic=chaotic,
        still=end.still & ~end.report.diverged,
    )


@functools.lru_cache(maxsize=256)
def process_of(rule: Rule) -> Process:
    """The rule as the engine iterates it."""
    functions: tuple[Any, ...] = (descent.first, descent.update, descent.ends)
    return Process(*(functools.partial(f, rule) for f in functions), autonomous=rule.deterministic)


class _End(NamedTuple):
    """Where all trajectories of a batch have ended, arrays ``[..., trajectory]``."""

    state: Any
    midpoint: Any
    num_steps: np.ndarray
    turned: np.ndarray
    still: np.ndarray
    report: Report


def _finish(
    rule: Rule,
    varying: tuple[bool, ...],
    shared: Shared,
    own: Own,
    halfway: Lane,
    late: Lane,
    num_steps: int,
    tile_size: int,
) -> _End:
    """The last steps of all trajectories, and a report on where they end.

    Those that still go on are watched. For those that have ended since the last look, the steps since then are
    repeated with a look after each.
    """
    num, real = len(late.ended), jax.tree.leaves(late.state[0])[0].dtype
    no, zeros = np.zeros(num, bool), np.zeros(num, real)
    reports = Report(no.copy(), no.copy(), zeros, zeros.copy(), zeros.copy())
    state, midpoint = jax.tree.map(np.copy, (late.state, halfway.state[0]))
    end = _End(state, midpoint, np.full(num, num_steps, np.int32), no.copy(), no.copy(), reports)
    watch = in_lanes(_watch_last, (rule, varying, jax.tree.structure(state)), (None, None, None, None, -1, -1))
    repeat = in_lanes(_repeat, (rule,), (None, None, -1, -1, -1))
    report = in_lanes(descent.report, (rule,), (None, None, -1, -1, -1))

    def report_on(which: np.ndarray) -> None:
        arrays = columns((own, end.state, end.midpoint), as_slice(which))
        found = map_lanes(report, (shared, np.int32(num_steps)), arrays, tile_size)
        _put(end.report, which, found)

    going = np.flatnonzero(~late.ended)
    if len(going):
        step = late.step[going[0]]
        moving, clock = split(late.state, varying)
        fixed = (shared, columns(clock, going[0]), step, num_steps - step)
        found = map_lanes(watch, fixed, columns((own, moving), as_slice(going)), tile_size)
        _put((end.state, end.turned, end.still), going, found)
        report_on(going)
        late.ended[going] = (end.report.settled | end.report.diverged)[going]
    ended = np.flatnonzero(late.ended)
    if len(ended):
        arrays = columns((own, late.state, late.step), as_slice(ended))
        found = map_lanes(repeat, (shared, np.int32(2 * BLOCK)), arrays, tile_size)
        # A look that rounds otherwise may miss an end by a hair; a whole tile must not wait for those few.
        missed = np.flatnonzero(~(found.settled | found.diverged) & (found.step < num_steps))
        if len(missed):
            most = shared, np.int32(num_steps)
            _put(found, missed, map_lanes(repeat, most, columns(arrays, missed), min(tile_size, WHOLE)))
        _put((end.state, end.num_steps), ended, ((found.params, found.optimizer_state), found.step))
        early = np.flatnonzero(halfway.ended)
        _put(end.midpoint, early, columns(end.state[0], early))
        report_on(ended)
    return end


def _put(whole: Any, which: np.ndarray, part: Any) -> None:
    """Writes chosen trajectories of arrays ``[..., trajectory]``, in place."""
    for array, values in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        array[..., as_slice(which)] = values


def _watch_last(rule: Rule, varying, treedef, shared: Shared, clock, step, num, own: Own, moving) -> Watched:
    return descent.watch(rule, shared, own, joined(treedef, varying, moving, clock), step, num)


def _repeat(rule: Rule, shared: Shared, most, own: Own, state, step) -> State:
    """At most so many steps, with a look after each."""
    params, optimizer_state = state
    no, hyper = jnp.zeros((), bool), shared.hyper | own.hyper
    before = State(params, optimizer_state, step, no, no)
    stop = step + jnp.minimum(most, shared.limits.num_steps - step)
    return descent.advance(rule, shared.limits, shared.data, shared.key, before, hyper, own.stream, stop)


def _orbits(
    problem: Problem, rule: Rule, shared: Shared, own: Own, state: Any, num_steps: int, tile_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The periods of trajectories that turn about at the end of their budget, and whether they are chaotic."""
    observe = in_lanes(_observe, (rule, problem.structure), (None, None, -1, -1))
    growth = in_lanes(_growth, (rule,), (None, -1, -1))
    at_once = min(tile_size, OBSERVED_AT_ONCE)
    orbit = map_lanes(observe, (shared, np.int32(num_steps)), (own, state), at_once)
    chaotic = np.zeros(len(orbit.period), bool)
    restless = np.flatnonzero((orbit.period == 0) & orbit.restless)
    if len(restless):
        rates = map_lanes(growth, (shared,), columns((own, state), restless), at_once)
        chaotic[restless] = orbits.is_chaotic(rates.T, orbit.widening[restless])
    return orbit.period, chaotic


def _rows(problem: Problem, params) -> np.ndarray:
    """Parameters ``[..., trajectory]`` as points ``[trajectory, parameter]``."""
    return problem.ravel(jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), params))


def _observe(rule: Rule, structure, shared: Shared, step, own: Own, state) -> orbits.Orbit:
    return orbits.observe(
        functools.partial(descent.update, rule, shared, own, step),
        lambda state: structure.ravel(state[0]),
        lambda state: rule.objective(state[0], shared.data),
        state,
    )


def _growth(rule: Rule, shared: Shared, own: Own, state) -> jax.Array:
    hyper, (params, optimizer_state) = shared.hyper | own.hyper, state
    return descent.lyapunov_growth(
        rule,
        shared.limits,
        shared.data,
        params,
        optimizer_state,
        hyper,
        num_blocks=orbits.NUM_BLOCKS,
        block=orbits.BLOCK,
    )


class Paths(NamedTuple):
    """Positions of a few trajectories, step by step.

    Attributes:
      step: when, int64 ``[path_step]``.
      position: ``[path_step, trajectory, parameter]``.
    """

    step: np.ndarray
    position: np.ndarray


def run_paths(problem: Problem, bound: BoundGrid, options: RunOptions, which: np.ndarray) -> Paths:
    """Runs chosen trajectories once more, and keeps their positions.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      which: numbers of the trajectories in the order of work.

    Returns:
      Positions at up to `NUM_PATH_STEPS` steps, evenly spaced in the logarithm.
    """
    dtype = np.dtype(options.precision)
    steps = np.unique(np.geomspace(1, options.num_steps, NUM_PATH_STEPS).round().astype(np.int32))
    with computing_in(options.precision, problem):
        rule, limits, data = rule_of(problem, options), limits_of(options), data_of(problem, options)
        key = options.key("updates")
        points, hyper = bound.trajectories_at(which)
        hyper = {name: value.astype(dtype) for name, value in hyper.items()}
        state = batched(descent.begin, (rule,), (0, 0))(problem.unravel(points.astype(dtype)), hyper)
        advance = batched(descent.advance, (rule,), (None, None, None, 0, 0, 0, None))
        positions = [points.astype(dtype)]
        for stop in steps:
            state = advance(limits, data, key, state, hyper, which.astype(np.uint32), stop)
            positions.append(problem.ravel(jax.tree.map(np.asarray, state.params)))
    return Paths(np.concatenate([[0], steps]), np.stack(positions))


def rule_of(problem: Problem, options: RunOptions) -> Rule:
    """What is iterated."""
    assert problem.batch_objective is not None
    return Rule(
        problem.batch_objective,
        resolve(options.optimizer).factory,
        batch_size=options.batch_size,
        replacement=options.replacement,
        noisy=options.gradient_noise > 0,
        independent=not options.shared_draws,
    )


def limits_of(options: RunOptions) -> Limits:
    """When trajectories stop, in the precision of the run."""
    real = np.dtype(options.precision).type
    return Limits(
        np.int32(options.num_steps),
        real(options.gradient_tolerance),
        real(options.divergence_bound),
        real(options.gradient_noise),
    )


def data_of(problem: Problem, options: RunOptions) -> Any:
    """The data, their real columns in the precision of the run."""

    def cast(column):
        column = np.asarray(column)
        return column.astype(options.precision) if np.issubdtype(column.dtype, np.floating) else column

    return jax.tree.map(cast, problem.data)
