"""Every trajectory of a grid under one set of options: the engine applied to `descent`, tile by tile."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from tqdm import tqdm

from jaxloss import checks, descent, orbits
from jaxloss.descent import Limits, Rule
from jaxloss.engine import batched, computing_in, map_in_tiles, padded, tiles
from jaxloss.errors import InputError, unknown
from jaxloss.grids import LEARNING_RATE, BoundGrid
from jaxloss.optimizers import Optimizer, resolve
from jaxloss.problems import Problem

PRECISIONS = ("float32", "float64")
# How many positions of a recorded trajectory are kept.
NUM_PATH_STEPS = 200


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


def run_grid(problem: Problem, bound: BoundGrid, options: RunOptions, progress: bool) -> Ends:
    """Runs every trajectory of a grid.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      progress: show a progress bar.

    Returns:
      The ends of all trajectories, in the order of work.
    """
    size = bound.grid.size
    tile_size = _whole_lanes(problem, min(options.tile_size or _default_tile_size(problem), size))
    parts: list[Ends] = []
    with (
        computing_in(options.precision, problem),
        tqdm(total=size, desc=problem.name, unit="run", unit_scale=True, disable=not progress) as bar,
    ):
        run_tile = _tile_runner(problem, options)
        for first, last in tiles(size, tile_size):
            points, hyper = bound.trajectories(first, last)
            streams = np.arange(first, last, dtype=np.uint32)
            tile = padded((points, hyper, streams), tile_size)
            parts.append(jax.tree.map(lambda array, n=last - first: array[:n], run_tile(*tile)))
            bar.update(last - first)
    return Ends(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _tile_runner(problem: Problem, options: RunOptions) -> Callable[..., Ends]:
    """A function of (points, hyperparameters, streams) that runs one tile and watches what did not settle."""
    dtype = np.dtype(options.precision)
    rule, limits, data = rule_of(problem, options), limits_of(options), data_of(problem, options)
    key = options.key("updates")
    simulate = batched(descent.simulate, (rule,), (None, None, None, 0, 0, 0))
    watch = batched(_watch, (rule, problem.structure), (None, None, None, 0, 0, 0))
    growth = batched(_growth, (rule,), (None, None, 0, 0))
    watched_at_once = int(np.clip(2**24 // (orbits.WINDOW * problem.num_parameters), 16, 2048))

    def run_tile(points, hyper, streams) -> Ends:
        params = problem.unravel(points.astype(dtype))
        hyper = {name: value.astype(dtype) for name, value in hyper.items()}
        trajectory = simulate(limits, data, key, params, hyper, streams)
        state = jax.tree.map(np.asarray, trajectory.state)
        period = np.zeros(len(points), np.int32)
        chaotic = np.zeros(len(points), bool)
        going = np.flatnonzero(~state.settled & ~state.diverged)
        if rule.deterministic and len(going):

            def rows(index):
                return jax.tree.map(lambda array: array[index], (state, hyper, streams))

            orbit = map_in_tiles(lambda tile: watch(limits, data, key, *tile), rows(going), watched_at_once)
            period[going] = orbit.period
            restless = going[(orbit.period == 0) & orbit.restless]
            if len(restless):
                state_rows, hyper_rows, _ = rows(restless)
                rates = map_in_tiles(
                    lambda tile: growth(limits, data, *tile), (state_rows, hyper_rows), watched_at_once
                )
                chaotic[restless] = orbits.is_chaotic(rates)
        return Ends(
            problem.ravel(state.params),
            problem.ravel(jax.tree.map(np.asarray, trajectory.midpoint)),
            np.asarray(trajectory.loss),
            np.asarray(trajectory.midpoint_loss),
            np.asarray(trajectory.gradient_norm),
            state.step,
            state.settled,
            state.diverged,
            period,
            chaotic,
        )

    return run_tile


def _watch(rule, structure, limits, data, key, state, hyper, stream) -> orbits.Orbit:
    positions, losses = descent.record(
        rule, limits, data, key, state.params, state.optimizer_state, state.step, hyper, stream, orbits.WINDOW
    )
    return orbits.observe(structure.ravel(positions), losses)


def _growth(rule, limits, data, state, hyper) -> jax.Array:
    return descent.lyapunov_growth(
        rule,
        limits,
        data,
        state.params,
        state.optimizer_state,
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
        options.num_steps,
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


def _default_tile_size(problem: Problem) -> int:
    """Trajectories whose states and temporaries stay in a core's cache."""
    rows = max((len(leaf) for leaf in jax.tree.leaves(problem.data)), default=1)
    size = np.clip(2**17 // (rows + problem.num_parameters), 64, 2**14)
    return 1 << int(size).bit_length() - 1


def _whole_lanes(problem: Problem, tile_size: int) -> int:
    """The tile size rounded up, so that the results do not depend on it, to the last bit.

    Compilers treat short loops, and what is left over at the end of a loop, differently from the rest. Where
    trajectories are expensive (networks), only the latter is avoided.
    """
    lanes = min(1024, _default_tile_size(problem))
    return -(-tile_size // lanes) * lanes
