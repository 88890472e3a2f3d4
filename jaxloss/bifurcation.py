"""What orbits do in the long run, over hyperparameters: points, cycles, chaos and Lyapunov exponents."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import psutil
import xarray as xr
from jax import lax

from jaxloss import checks, descent, iteration, orbits
from jaxloss.basins.fractions import wilson_interval
from jaxloss.critical_points.polish import MAX_PARAMETERS, spectrum
from jaxloss.engine import check_once, compiling, computing_in, in_lanes, map_lanes
from jaxloss.engine.rounds import Process
from jaxloss.engine.soundness import sound_compilation
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE, BoundGrid, Grid
from jaxloss.maps import map_of
from jaxloss.optimizers import Factory, Optimizer, resolve
from jaxloss.problems import Problem
from jaxloss.problems.maps import Map
from jaxloss.problems.problem import Structure
from jaxloss.results import versions
from jaxloss.runs import RunOptions, arguments_of, process_of, rule_of
from jaxloss.sweeps import validate

# Growth is measured as for the attractors of a map: so many blocks of so many steps.
NUM_BLOCKS, BLOCK = iteration.NUM_BLOCKS, iteration.BLOCK
# A difference that grows by less than this power of time does not grow exponentially.
POWER = 4
# Distinct minima whose sharpness is looked at, and what is the same place, relative to 1 + its size.
MAX_MINIMA, SAME_PLACE = 64, 1e-6
# A gradient within it, at an orbit at rest.
AT_REST = 1e-6


def bifurcation_diagram(
    system: Problem | Map | Callable[..., Any],
    grid: Grid,
    *,
    optimizer: str | Factory | Optimizer = "sgd",
    learning_rate: float | None = None,
    hyperparameters: Mapping[str, float] | None = None,
    state: Any = None,
    wrap: Mapping[str, float] | None = None,
    num_steps: int = 10_000,
    num_kept: int = 128,
    bound: float = 1e6,
    precision: str = "float64",
    seed: int = 0,
) -> xr.Dataset:
    r"""The asymptotic orbit and the largest Lyapunov exponent, from every start at every hyperparameter.

    After ``num_steps`` steps, which are dropped, the next ones are looked at: their positions, whether these repeat
    with a period up to 64, and how a small difference grows,

    .. math:: \lambda = \lim_{n \to \infty} \frac1n \log \lVert Df^n(s) \, v \rVert,

    over 4096 steps in 16 blocks, whose scatter gives the standard error. The map f is the whole update, of the
    parameters and of the optimiser's state. An orbit is called chaotic if it has no period and :math:`\lambda`
    exceeds zero by two standard errors, and by more than a high power of time would.

    Gradient descent leaves a minimum of sharpness s (the Hessian's largest eigenvalue) where the learning rate
    exceeds 2/s. Under plain gradient descent that edge is given for every minimum at which an orbit of the grid
    rests; a minimum that attracts at none of its learning rates is not seen.

    Args:
      system: a problem, a map, or a step ``step(state, **hyperparameters) -> state``.
      grid: starts, and one or more hyperparameters; one at least has two or more values.
      optimizer: of a problem, as in `jaxloss.sweep`.
      learning_rate: of a problem, where the grid has no such axis.
      hyperparameters: others by name, for all orbits.
      state: of a step, the template of the state, see `jaxloss.sweep_map`.
      wrap: of a map, the periods of its angles.
      num_steps: how many steps are dropped. Near a bifurcation convergence is slow: too few, and no period is seen.
      num_kept: positions kept of each orbit.
      bound: diverged once a number exceeds this in size.
      precision: ``"float64"`` or ``"float32"``.
      seed: of random starts.

    Returns:
      Dimensions are the axes in grid order. Variables: ``orbit`` (by ``orbit_point`` and ``parameter``, NaN where it
      diverged), ``orbit_loss`` (of a problem), ``period`` (1 at rest, 0 where none is seen), ``lyapunov_exponent``
      (nats per step, NaN where the orbit diverged), ``lyapunov_error`` (its standard error), ``chaotic``,
      ``diverged``; over the hyperparameters alone ``chaotic_fraction`` with Wilson's 95 % interval ``chaotic_low``,
      ``chaotic_high``; and of the minima of a problem, by ``minimum``: ``minimum_location``, ``sharpness``, ``edge``
      (2/sharpness, under plain gradient descent).

    Raises:
      InputError: an option or an axis that does not fit, a grid without two values of a hyperparameter, or a request
        too large for the memory.

    References:
      May, *Simple mathematical models with very complicated dynamics*, 1976.
      Benettin, Galgani, Giorgilli and Strelcyn, *Lyapunov characteristic exponents for smooth dynamical systems*,
      1980.
      Cohen, Kaur, Li, Kolter and Talwalkar, *Gradient descent on neural networks typically occurs at the edge of
      stability*, 2021.

    Examples:
      >>> from jaxloss import Axis, load_problem
      >>> grid = Grid({"x": Axis.of([0.7]), "learning_rate": Axis.of([0.5, 1.1, 2.0])})
      >>> found = bifurcation_diagram(load_problem("cubic-map"), grid, num_steps=1000)
      >>> found.period.values[0].tolist(), found.chaotic.values[0].tolist(), found.edge.values.round(6).tolist()
      ([1, 2, 0], [False, False, True], [1.0])
    """
    num_steps = checks.whole("num_steps", num_steps, 0, 2**30)
    num_kept = checks.whole("num_kept", num_kept, 1, 2**20)
    if checks.number("bound", bound) <= 0:
        raise InputError(f"bound must be > 0, not {bound:g}")
    checks.check_instance("grid", grid, Grid)
    options = RunOptions(
        optimizer=optimizer,
        num_steps=max(num_steps, 1),
        divergence_bound=bound,
        precision=precision,
        seed=seed,
        learning_rate=learning_rate,
        hyperparameters=hyperparameters if isinstance(system, Problem) else None,
    )
    if isinstance(system, Problem):
        batch = _of_problem(system, grid, options, num_kept)
    else:
        if optimizer != "sgd" or learning_rate is not None:
            raise InputError(
                "optimizer and learning_rate must be left out where system is a map: they go with problems"
            )
        the_map = map_of(system, grid, state=state, hyperparameters=hyperparameters, wrap=wrap)
        batch = _of_map(the_map, grid, options, num_kept)
    axes = _hyperparameter_axes(batch.bound)
    if not any(len(grid.axes[name]) > 1 for name in axes):
        raise InputError("grid must have an axis with two or more values of a hyperparameter, such as learning_rate")
    _check_memory(grid, batch.space, num_kept)
    check_once(jax.devices()[0])
    return _to_dataset(batch, options, num_steps, _run(batch, num_steps, precision))


class Seen(NamedTuple):
    """What is seen of one orbit.

    Attributes:
      positions: ``[orbit_point, number]``.
      losses: at these, ``[orbit_point]``.
      period: 1 at rest, 0 for none.
      growth: of a small difference, nats per step, ``[block]``.
      diverged: not finite, or beyond the bound.
    """

    positions: Any
    losses: Any
    period: Any
    growth: Any
    diverged: Any


class _Batch(NamedTuple):
    """All orbits of one grid, ready to run: ``watch(*static, shared, num_steps, own, initial)`` is one of them."""

    space: Problem | Map
    bound: BoundGrid
    process: Process
    watch: Callable[..., Seen]
    static: tuple
    shared: Any
    own: Any
    initial: Any


def _run(batch: _Batch, num_steps: int, precision: str) -> Seen:
    """What is seen of every orbit, arrays ``[..., orbit]``."""
    arguments, window = (batch.own, batch.initial), max(orbits.WINDOW, batch.static[-1])
    # Their positions are kept for a while.
    at_once = int(np.clip(2**24 // (window * batch.space.num_parameters), 16, 1024))
    tile_size = min(at_once, batch.bound.grid.size)
    with (
        computing_in(precision, batch.space),
        compiling(sound_compilation(batch.process, batch.shared, *arguments, tile_size)),
    ):
        program = in_lanes(batch.watch, batch.static, (None, None, -1, -1))
        return map_lanes(program, (batch.shared, np.int32(num_steps)), arguments, tile_size)


def _of_problem(problem: Problem, grid: Grid, options: RunOptions, num_kept: int) -> _Batch:
    bound = validate(problem, grid, options)
    with computing_in(options.precision, problem):
        arguments, rule = arguments_of(problem, bound, options, 0, grid.size), rule_of(problem, options)
    return _Batch(problem, bound, process_of(rule), _watch_descent, (rule, problem.structure, num_kept), *arguments)


def _of_map(the_map: Map, grid: Grid, options: RunOptions, num_kept: int) -> _Batch:
    bound = BoundGrid(grid, the_map, the_map.hyperparameters, options.key("starts"))
    real = np.dtype(options.precision)
    points, hyper = bound.trajectories(0, grid.size)
    states = the_map.unravel(points.astype(real))
    initial = jax.tree.map(lambda leaf: np.ascontiguousarray(np.moveaxis(leaf, 0, -1)), states)
    own = {name: values.astype(real) for name, values in hyper.items() if name in grid.axes}
    fixed = {name: values[0].astype(real) for name, values in hyper.items() if name not in own}
    limits = iteration.Limits(np.int32(0), real.type(0), real.type(options.divergence_bound))
    rule = iteration.Rule(the_map.step, the_map.structure, the_map.periods)
    shared = iteration.Shared(limits, fixed)
    return _Batch(the_map, bound, _process_of_map(rule), _watch_map, (rule, num_kept), shared, own, initial)


@functools.lru_cache(maxsize=256)
def _process_of_map(rule: iteration.Rule) -> Process:
    functions: tuple[Any, ...] = (iteration.first, iteration.update, iteration.ends)
    return Process(*(functools.partial(f, rule) for f in functions), autonomous=True)


def _watch_descent(
    rule: descent.Rule,
    structure: Structure,
    num_kept: int,
    shared: descent.Shared,
    num_steps,
    own: descent.Own,
    params,
) -> Seen:
    """One trajectory of an optimiser."""
    update = functools.partial(descent.update, rule, shared, own)
    params, memory = lax.fori_loop(0, num_steps, update, descent.first(rule, shared, own, params))
    hyper = shared.hyper | own.hyper
    arguments = rule, shared.limits, shared.data
    after, losses = descent.record(
        *arguments, shared.key, params, memory, num_steps, hyper, own.stream, max(orbits.WINDOW, num_kept)
    )
    growth = descent.lyapunov_growth(*arguments, params, memory, hyper, num_blocks=NUM_BLOCKS, block=BLOCK)
    positions = structure.ravel(after)
    return _seen(positions, positions, losses, growth, num_kept, shared.limits.divergence_bound)


def _watch_map(rule: iteration.Rule, num_kept: int, shared: iteration.Shared, num_steps, own, state) -> Seen:
    """One orbit of a map."""
    update = functools.partial(iteration.update, rule, shared, own)
    state = lax.fori_loop(0, num_steps, update, iteration.first(rule, shared, own, state))

    def body(state, _):
        return update(0, state), rule.structure.ravel(state)

    positions = lax.scan(body, state, length=max(orbits.WINDOW, num_kept))[1]
    growth = iteration.growth(rule, shared, own, state)
    # Angles are compared on the circle.
    compared = iteration.embedded(rule.periods, positions)
    return _seen(positions, compared, jnp.zeros_like(positions[:, 0]), growth, num_kept, shared.limits.bound)


def _seen(positions, compared, losses, growth, num_kept: int, bound) -> Seen:
    recent, losses_then = compared[-orbits.WINDOW :], losses[-orbits.WINDOW :]
    orbit = orbits.observe_recorded(recent, losses_then)
    # Close to a doubling, rounding alone keeps up a cycle, of many roundings' width.
    still = max(iteration.REST, iteration.STILL_ROUNDINGS * float(jnp.finfo(recent.dtype).eps))
    period = jnp.where(orbit.width <= still * (1 + orbit.size), 1, orbit.period)
    # Written so that a NaN counts as diverged.
    diverged = ~(jnp.max(jnp.abs(positions)) <= bound)
    return Seen(positions[-num_kept:], losses[-num_kept:], jnp.where(diverged, 0, period), growth, diverged)


def _hyperparameter_axes(bound: BoundGrid) -> tuple[str, ...]:
    return tuple(name for name in bound.grid.axes if name in bound.hyperparameters)


def _check_memory(grid: Grid, space: Problem | Map, num_kept: int) -> None:
    needed = grid.size * 8 * (3 * num_kept * (space.num_parameters + 1) + 2 * NUM_BLOCKS) + 2**28
    available = psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"the grid of {grid.size:,} orbits with num_kept={num_kept:,} needs about {needed / 2**30:.1f} GiB of "
            f"memory, and {available / 2**30:.1f} GiB are available: keep fewer positions, or use fewer points"
        )


def _to_dataset(batch: _Batch, options: RunOptions, num_steps: int, seen: Seen) -> xr.Dataset:
    bound, space = batch.bound, batch.space
    axes, parameters = tuple(bound.grid.axes), list(space.parameter_names)
    diverged = seen.diverged.astype(bool)
    with np.errstate(invalid="ignore"):
        growth = np.where(diverged, np.nan, seen.growth)
        exponent = growth.mean(axis=0)
        # At a superstable orbit the exponent is minus infinity, and there is no scatter.
        error = growth.std(axis=0, ddof=1) / np.sqrt(len(growth))
        chaotic = orbits.is_chaotic(growth.T, np.zeros(growth.shape[1]))
    steps = NUM_BLOCKS * BLOCK
    chaotic &= (seen.period == 0) & ~diverged & (exponent * steps > POWER * np.log(steps))
    positions = np.moveaxis(np.where(diverged, np.nan, seen.positions), -1, 0)
    columns = {
        "period": seen.period.astype(np.int32),
        "lyapunov_exponent": exponent,
        "lyapunov_error": error,
        "chaotic": chaotic,
        "diverged": diverged,
    }
    variables: dict[str, Any] = {name: (axes, bound.to_grid_order(column)) for name, column in columns.items()}
    variables["orbit"] = ((*axes, "orbit_point", "parameter"), bound.to_grid_order(positions))
    if isinstance(space, Problem):
        losses = np.where(diverged, np.nan, seen.losses).T
        variables["orbit_loss"] = ((*axes, "orbit_point"), bound.to_grid_order(losses))
        variables |= _edges(space, positions[(seen.period == 1) & ~diverged, -1], options)
    hyper = _hyperparameter_axes(bound)
    flags = xr.DataArray(variables["chaotic"][1], dims=axes).transpose(*hyper, ...).values
    flags = flags.reshape(*flags.shape[: len(hyper)], -1)
    count, total = flags.sum(axis=-1), flags.shape[-1]
    low, high = wilson_interval(count, total)
    variables |= {
        "chaotic_fraction": (hyper, count / total),
        "chaotic_low": (hyper, low),
        "chaotic_high": (hyper, high),
    }
    run = {**options.described(), "num_steps": num_steps, "num_kept": seen.positions.shape[0]}
    if isinstance(space, Map):
        for name in ("optimizer", "learning_rate"):
            del run[name]
        run |= {"hyperparameters": dict(space.hyperparameters), "wrap": dict(space.wrap)}
    attrs = {
        "name": space.name,
        "citation": space.citation,
        "spec": json.dumps({"axes": {name: len(axis) for name, axis in bound.grid.axes.items()}, "run": run}),
        "seed": options.seed,
        "versions": json.dumps(versions()),
    }
    return xr.Dataset(variables, coords={**bound.grid.coordinates, "parameter": parameters}, attrs=attrs)


def _edges(problem: Problem, points: np.ndarray, options: RunOptions) -> dict[str, Any]:
    """The strict minima among points at rest, those first at which most orbits rest; their sharpness and edge."""
    location, sharpness = _minima(problem, points.astype(np.float64))
    edge = 2 / sharpness if options.optimizer == "sgd" else np.full(len(sharpness), np.nan)
    return {
        "minimum_location": (("minimum", "parameter"), location),
        "sharpness": ("minimum", sharpness),
        "edge": ("minimum", edge),
    }


def _minima(problem: Problem, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The strict minima among points, and the largest eigenvalue of the Hessian at each."""
    if not len(points) or problem.num_parameters > MAX_PARAMETERS:
        return points[:0], np.zeros(0)
    place = np.round(points / (1 + np.abs(points).max(axis=1, keepdims=True)) / SAME_PLACE)
    _, first, count = np.unique(place, axis=0, return_index=True, return_counts=True)
    points = points[first[np.argsort(-count, kind="stable")][:MAX_MINIMA]]
    found = spectrum(problem, points)
    minimum = (found.eigenvalues.min(axis=1) > 0) & ~found.degenerate & (found.gradient_norm <= AT_REST)
    return points[minimum], found.eigenvalues[minimum].max(axis=1)


def descent_map(
    problem: Problem,
    *,
    optimizer: str | Factory | Optimizer = "sgd",
    hyperparameters: Mapping[str, float] | None = None,
) -> Map:
    r"""An optimiser without memory as a map of the parameters, for `jaxloss.sweep_map`.

    .. math:: \theta_{t+1} = \theta_t + u\bigl(\nabla L(\theta_t); \eta\bigr)

    `jaxloss.sweep` says what each trajectory comes to in terms of the loss. As a map the same trajectories have
    attractors that need not be critical points: cycles and chaotic sets, each with its place and its basin.

    Args:
      problem: the objective.
      optimizer: one that keeps no state, such as ``"sgd"``.
      hyperparameters: of the optimiser by name; those that are not given are axes of the grid, or have defaults.

    Returns:
      The map, whose hyperparameters are those of the optimiser.

    Raises:
      InputError: an optimiser that keeps a state, as momentum does: its map is one of more than the parameters.

    Examples:
      >>> from jaxloss import Axis, load_problem, sweep_map
      >>> grid = Grid({"x": Axis.of([-0.7, 0.7]), "learning_rate": Axis.of([1.1])})
      >>> found = sweep_map(descent_map(load_problem("cubic-map")), grid)
      >>> found.attractor_kind.values.tolist(), found.attractor.values[:, 0].tolist()
      (['cycle', 'cycle'], [0, 1])
    """
    checks.check_instance("problem", problem, Problem)
    rule = resolve(optimizer)
    given = {LEARNING_RATE: None, **rule.hyperparameters, **(hyperparameters or {})}
    if jax.tree.leaves(rule.factory(0.1).init(problem.params)):
        raise InputError(f"optimizer must keep no state to be a map of the parameters, and {optimizer!r} keeps one")
    return Map(
        step=_step_of(problem, rule.factory),
        state=problem.params,
        name=problem.name,
        hyperparameters=given,
        citation=problem.citation,
    )


@functools.lru_cache(maxsize=64)
def _step_of(problem: Problem, factory: Factory) -> Callable[..., Any]:
    """One function object for each problem and optimiser, so that it compiles once."""
    assert problem.batch_objective is not None
    objective, data = problem.batch_objective, problem.data

    def step(state, *, learning_rate, **others):
        transform = factory(learning_rate, **others)
        updates, _ = transform.update(jax.grad(objective)(state, data), transform.init(state), state)
        return optax.apply_updates(state, updates)

    return step
