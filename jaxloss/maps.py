"""The sweep of a map: every orbit of a grid, and what it ends on, as one dataset."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
import xarray as xr
from tqdm import tqdm

from jaxloss import checks, iteration, limit_sets, outcomes
from jaxloss.engine import check_once, columns, compiling, computing_in, in_lanes, map_lanes, tiles
from jaxloss.engine.layout import Layout, layout_of
from jaxloss.engine.rounds import Process, run
from jaxloss.errors import InputError, unknown
from jaxloss.grids import START, BoundGrid, Grid
from jaxloss.iteration import Limits, Rule, Shared
from jaxloss.limit_sets import Found, Groups
from jaxloss.problems.maps import Map, signature_of
from jaxloss.results import versions
from jaxloss.runs import BATCH, PRECISIONS

FIXED_POINT = "fixed_point"
MAP_OUTCOMES: dict[str, int] = {
    **{name: outcomes.OUTCOMES[name] for name in ("unfinished", "cycle", "chaotic", "diverged")},
    FIXED_POINT: 10,
}
"""What an orbit of a map may end as. A map has no loss: none of the minima, plateaus and saddles of a sweep fits a
fixed point, which has a code of its own; the other codes mean what they mean in `jaxloss.outcomes`."""

# Names of variables and dimensions of the result.
RESERVED = frozenset(
    (
        "outcome",
        "attractor",
        "num_steps",
        "period",
        "end_point",
        "parameter",
        "attractor_index",
        "attractor_location",
        "attractor_period",
        "attractor_kind",
        "spectral_radius",
        "lyapunov_exponent",
        "attractor_hyperparameter",
        "hyperparameter",
        "orbit",
        "orbit_of",
        "orbit_point",
    )
)


def sweep_map(
    step: Callable[..., Any] | Map,
    grid: Grid,
    *,
    attractors: Sequence[Any] | None = None,
    state: Any = None,
    hyperparameters: Mapping[str, float] | None = None,
    wrap: Mapping[str, float] | None = None,
    num_steps: int = 2_000,
    tolerance: float = 1e-6,
    bound: float = 1e9,
    precision: str = "float64",
    seed: int = 0,
    tile_size: int | None = None,
    progress: bool = False,
) -> xr.Dataset:
    r"""Runs every orbit of a grid under a map, and says what each one ends on.

    .. math:: s_{t+1} = f(s_t; h)

    Newton's method, the Hénon map, a step of an optimiser: any deterministic map of a state to the next. An orbit
    *rests* once one step moves it by at most 1e-9 of 1 + its size (in float32: four roundings). Rest and cycles, of
    periods up to 64, are polished by Newton's method in float64. Of the bounded orbits without a period those are
    chaotic that live on a set with a positive largest Lyapunov exponent.

    Without ``attractors`` the sets that orbits end on are found: periodic orbits by their points, chaotic sets by the
    cells that their orbits visit. A fixed point or cycle that stays in its place while a hyperparameter varies is one
    entry for all values; chaotic sets are told apart at each value. An orbit that starts on an unstable fixed point
    ends there: the spectral radius tells.

    Args:
      step: ``step(state, **hyperparameters) -> state``, or a `jaxloss.problems.maps.Map`. Arguments after the first
        are hyperparameters, with the defaults of the signature.
      grid: an axis is named after a hyperparameter of ``step`` or after an entry of the state: axes ``x`` and ``y``
        make states ``{"x": ..., "y": ...}``, and with ``state`` any entry of that pytree may be an axis.
      attractors: known ones, in place of a search: each a state (of a cycle any one of its points), or the points of
        a set as a pytree with a leading axis or an array ``[point, parameter]``.
      state: the template of the state, a pytree of numbers and arrays; also the value of entries without an axis.
      hyperparameters: values by name, for all orbits.
      wrap: the period of every entry of the state that is an angle, such as ``{"theta": 2 * math.pi}``: it is taken
        modulo that period after each step, and compared on the circle.
      num_steps: the budget of steps of each orbit.
      tolerance: an end this near to an attractor, relative to 1 + its size, is on it.
      bound: diverged once a number of the state exceeds this in size; looked for every 60 steps.
      precision: ``"float64"`` or ``"float32"``, of the orbits.
      seed: of random starts.
      tile_size: orbits of one compiled call; the result does not depend on it.
      progress: show a progress bar.

    Returns:
      A dataset whose dimensions are the axes in grid order. Variables: ``outcome`` (int8, `MAP_OUTCOMES`: 10
      fixed_point, 7 cycle, 8 chaotic, 9 diverged, 0 unfinished, which is bounded and none of these: still on its way,
      quasi-periodic, or of a longer period), ``attractor`` (int32, index into the table below, -1 for none),
      ``num_steps``, ``period`` (1 at a fixed point, 0 for none), ``end_point`` (by ``parameter``). The table, by
      ``attractor_index``: ``attractor_location`` (one point of it), ``attractor_period``, ``attractor_kind``
      (``fixed point``, ``cycle``, ``chaotic``, ``set``), ``spectral_radius`` (of the Jacobian of the map's p-th
      iterate: below 1 the orbit attracts), ``lyapunov_exponent`` (the largest, nats per step), and
      ``attractor_hyperparameter``, the values at which these hold: those where most orbits end there. ``orbit``
      holds positions on all of them, by ``orbit_of``: a whole period, or a stretch of a chaotic orbit.

    Raises:
      InputError: an option or an axis that does not fit, or a request too large for the memory.
      WrongSumsError: the installed jaxlib computes wrong sums.

    References:
      Datseris and Wagemakers, *Effortless estimation of basins of attraction*, 2022.

    Examples:
      >>> from jaxloss import Axis
      >>> def newton(state):  # for x^2 = 2
      ...     return {"x": state["x"] / 2 + 1 / state["x"]}
      >>> result = sweep_map(newton, Grid({"x": Axis.of([-3.0, -1.0, 1.0, 3.0])}))
      >>> result.outcome.values.tolist(), result.attractor.values.tolist()
      ([10, 10, 10, 10], [0, 0, 1, 1])
      >>> result.attractor_location.values.round(6).tolist()
      [[-1.414214], [1.414214]]
    """
    options = MapOptions(
        num_steps=num_steps,
        tolerance=tolerance,
        bound=bound,
        precision=precision,
        seed=seed,
        tile_size=tile_size,
    )
    the_map = map_of(step, grid, state=state, hyperparameters=hyperparameters, wrap=wrap)
    known = known_attractors(the_map, attractors)
    bound_grid = bind(the_map, grid, options)
    check_once(jax.devices()[0])
    ends, layout = run_grid(the_map, bound_grid, options, checks.flag("progress", progress))
    with compiling(layout.compilation):
        found = _examine(the_map, bound_grid, options, ends, known)
        return _to_dataset(the_map, bound_grid, options, ends, found).assign_attrs(layout.attributes)


@dataclass(frozen=True)
class MapOptions:
    """How the sweep of a map runs: keyword-only options of `sweep_map`.

    Raises:
      InputError: an option out of its range; the sentence names it.
    """

    num_steps: int = 2_000
    tolerance: float = 1e-6
    bound: float = 1e9
    precision: str = "float64"
    seed: int = 0
    tile_size: int | None = None

    def __post_init__(self):
        checks.whole("num_steps", self.num_steps, 1, 2**31 - 2)
        checks.whole("seed", self.seed, 0, 2**63 - 1)
        if self.tile_size is not None:
            checks.whole("tile_size", self.tile_size, 1)
        for name in ("tolerance", "bound"):
            if checks.number(name, getattr(self, name)) <= 0:
                raise InputError(f"{name} must be > 0, not {getattr(self, name):g}")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)


class Ends(NamedTuple):
    """Where all orbits end, in the order of work, ``[orbit, ...]``."""

    point: np.ndarray
    num_steps: np.ndarray
    diverged: np.ndarray
    period: np.ndarray


def map_of(
    step: Callable[..., Any] | Map,
    grid: Grid,
    *,
    state: Any = None,
    hyperparameters: Mapping[str, float] | None = None,
    wrap: Mapping[str, float] | None = None,
) -> Map:
    """The map that a step makes on the states of a grid: the axes name the entries where no template is given.

    Args:
      step: a function, or a map, of which the other arguments replace what they name.
      grid: the axes.
      state: the template.
      hyperparameters: by name.
      wrap: periods of angles by name.

    Returns:
      The map.

    Raises:
      InputError: a step that is no function, or axes that do not tell what a state is.
    """
    checks.check_instance("grid", grid, Grid)
    given = {"state": state, "hyperparameters": hyperparameters, "wrap": wrap}
    given = {name: value for name, value in given.items() if value is not None}
    values = given.get("hyperparameters", {})
    if not isinstance(values, Mapping):
        raise InputError(f"hyperparameters must be a mapping of names to numbers, not {checks.show(values)}")
    if isinstance(step, Map):
        return replace(step, **{**given, "hyperparameters": {**step.hyperparameters, **values}})
    if not callable(step):
        raise InputError(f"step must be a function of the state, or a Map, not {checks.show(step)}")
    own, anything = signature_of(step)
    others = {*own, *values}
    if state is None:
        names = [name for name in grid.axes if name not in others]
        unclear = [name for name in names if not name.isidentifier() or name == START]
        if unclear or not names:
            what = f"axis {unclear[0]!r} names no entry of it" if unclear else "no axis names an entry of it"
            raise InputError(f"state must be given, a template of the state: {what}")
        given["state"] = dict.fromkeys(names, 0.0)
    elif anything:
        entries = Map(lambda state: state, state).parameter_names
        more = [name for name in grid.axes if name not in {*entries, *others, START} and "[" not in name]
        given["hyperparameters"] = {**dict.fromkeys(more), **values}
    return Map(step=step, name=getattr(step, "__name__", "map").strip("<>"), **given)


def known_attractors(the_map: Map, attractors: Sequence[Any] | None) -> list[np.ndarray] | None:
    """The given attractors as arrays ``[point, parameter]``, None to have them found.

    Raises:
      InputError: no list, an empty one, or points that do not fit the state.
    """
    if attractors is None:
        return None
    wanted = "a list of states, or of the points of sets"
    if isinstance(attractors, Mapping):
        raise InputError(f"attractors must be {wanted}, not one mapping")
    known = [
        the_map.points_of(f"attractors[{i}]", a) for i, a in enumerate(checks.items("attractors", attractors, wanted))
    ]
    if not known:
        raise InputError(f"attractors must be {wanted}, not an empty list; leave it out to have them found")
    return known


def bind(the_map: Map, grid: Grid, options: MapOptions) -> BoundGrid:
    """The grid, its axes resolved; everything that can be wrong with it is said here.

    Raises:
      InputError: the sentence names the axis or the hyperparameter.
    """
    taken = RESERVED.intersection({*the_map.parameter_names, *the_map.hyperparameters})
    if taken:
        raise InputError(f"{min(taken)!r} is a name that results use; give the entry or hyperparameter another")
    both = set(the_map.parameter_names).intersection(the_map.hyperparameters)
    if both:
        raise InputError(f"{min(both)!r} names both an entry of the state and a hyperparameter of step")
    for name, value in the_map.hyperparameters.items():
        if value is None and name not in grid.axes:
            raise InputError(f"step needs {name!r}: the grid needs an axis of that name, or hyperparameters a value")
    needed, available = _memory_estimate(the_map, grid, options), psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"the grid of {grid.size:,} orbits needs about {needed / 2**30:.1f} GiB of memory, and "
            f"{available / 2**30:.1f} GiB are available: use fewer points along an axis"
        )
    key = jax.random.fold_in(jax.random.key(options.seed), 0)
    return BoundGrid(grid, the_map, the_map.hyperparameters, key)


def _memory_estimate(the_map: Map, grid: Grid, options: MapOptions) -> int:
    """Bytes at the peak: points twice, in float64 as well, the last few positions of each, and labels."""
    size = np.dtype(options.precision).itemsize
    each = the_map.num_parameters * (2 * size + 24 + 4 * iteration.SHORT_WINDOW) + 80
    return grid.size * each + 2**28


def rule_of(the_map: Map) -> Rule:
    """What is iterated."""
    return Rule(the_map.step, the_map.structure, the_map.periods)


@functools.lru_cache(maxsize=256)
def _process_of(rule: Rule) -> Process:
    """The rule as the engine iterates it."""
    functions = (iteration.first, iteration.update, iteration.ends)
    return Process(*(functools.partial(f, rule) for f in functions), autonomous=True)


def _arguments(the_map: Map, bound: BoundGrid, options: MapOptions, first: int, last: int):
    """What orbits ``first`` to ``last`` share, what each of them owns, and where each starts."""
    real = np.dtype(options.precision)
    points, hyper = bound.trajectories(first, last)
    initial = jax.tree.map(
        lambda leaf: np.ascontiguousarray(np.moveaxis(leaf, 0, -1)), the_map.unravel(points.astype(real))
    )
    own = {name: values.astype(real) for name, values in hyper.items() if name in bound.grid.axes}
    fixed = {name: values[0].astype(real) for name, values in hyper.items() if name not in own}
    limits = Limits(
        np.int32(options.num_steps),
        real.type(iteration.rest_of(options.precision)),
        real.type(min(options.bound, np.finfo(real).max)),
    )
    return Shared(limits, fixed), own, initial


def run_grid(the_map: Map, bound: BoundGrid, options: MapOptions, progress: bool) -> tuple[Ends, Layout]:
    """Runs every orbit of a grid.

    Args:
      the_map: what is iterated.
      bound: the grid, its axes resolved.
      options: the run.
      progress: show a progress bar.

    Returns:
      The ends of all orbits, in the order of work, and how they were computed.
    """
    num = bound.grid.size
    parts: list[Ends] = []
    with (
        computing_in(options.precision, the_map),
        tqdm(total=num, desc=the_map.name, unit="orbit", unit_scale=True, disable=not progress) as bar,
    ):
        layout = layout_of(
            _process_of(rule_of(the_map)),
            *_arguments(the_map, bound, options, 0, min(num, BATCH)),
            num_steps=options.num_steps,
            num=num,
            at_once=num,
            tile_size=options.tile_size,
        )
        with compiling(layout.compilation):
            for first, last in tiles(num, max(BATCH, layout.tile_size)):
                parts.append(_run_batch(the_map, bound, options, (first, last), layout.tile_size, bar))
    return Ends(*(np.concatenate(column) for column in zip(*parts, strict=True))), layout


def _run_batch(
    the_map: Map, bound: BoundGrid, options: MapOptions, numbers: tuple[int, int], tile_size: int, bar: tqdm
) -> Ends:
    """Orbits ``first`` to ``last`` of the order of work."""
    first, last = numbers
    rule = rule_of(the_map)
    shared, own, initial = _arguments(the_map, bound, options, first, last)
    (late,) = run(
        _process_of(rule),
        shared,
        own,
        initial,
        (options.num_steps,),
        tile_size=tile_size,
        progress=lambda share: bar.update(first + int(share * (last - first)) - bar.n),
    )
    # Those that have ended repeat the steps since the last look, with a look after each.
    finish = in_lanes(iteration.finish, (rule,), (None, -1, -1, -1))
    end = map_lanes(finish, (shared,), (own, late.state, late.step), tile_size)
    period, which = end.rests.astype(np.int32), np.flatnonzero(~end.rests & ~end.diverged)
    if len(which):
        returns = _looked_at(iteration.returns, rule, shared, own, end, which, tile_size)
        which = which[returns]
    if len(which):
        period[which] = _looked_at(iteration.observe, rule, shared, own, end, which, limit_sets.WATCHED_AT_ONCE)
    bar.update(last - bar.n)
    point = the_map.ravel(jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), end.state))
    return Ends(point, end.step, end.diverged, period)


def _looked_at(
    look: Callable[..., Any], rule: Rule, shared: Shared, own: Any, end: iteration.End, which: np.ndarray, size: int
) -> Any:
    """What one of the looks of `jaxloss.iteration` says of some orbits, from their ends on."""
    return map_lanes(in_lanes(look, (rule,), (None, -1, -1)), (shared,), columns((own, end.state), which), size)


def _groups(bound: BoundGrid) -> Groups:
    """The combinations of hyperparameters, which vary slowest in the order of work."""
    each = 1
    for name in bound.initial_axes:
        each *= len(bound.grid.axes[name])
    hyper = bound.trajectories_at(np.arange(0, bound.grid.size, each))[1]
    return Groups(np.arange(bound.grid.size) // each, hyper)


def _examine(
    the_map: Map, bound: BoundGrid, options: MapOptions, ends: Ends, known: list[np.ndarray] | None
) -> tuple[Found, Groups]:
    """What every orbit has ended on, in float64."""
    groups, rule = _groups(bound), rule_of(the_map)
    with computing_in("float64", the_map):
        arguments = rule, ends.point.astype(np.float64), ends.period, ~ends.diverged, groups
        if known is None:
            return limit_sets.find(*arguments, tolerance=options.tolerance), groups
        return limit_sets.match(*arguments, known, tolerance=options.tolerance), groups


def classify(diverged: np.ndarray, found: Found) -> np.ndarray:
    """The outcome of every orbit, a code of `MAP_OUTCOMES`.

    Args:
      diverged: whether it left the bound, ``[orbit]``.
      found: what it ends on.
    """
    rules = (
        ("diverged", diverged),
        (FIXED_POINT, found.period == 1),
        ("cycle", found.period > 1),
        ("chaotic", found.chaotic),
    )
    outcome = np.full(len(diverged), MAP_OUTCOMES["unfinished"], np.int8)
    for name, rule in reversed(rules):
        outcome[np.flatnonzero(rule)] = MAP_OUTCOMES[name]
    return outcome


def _to_dataset(
    the_map: Map, bound: BoundGrid, options: MapOptions, ends: Ends, examined: tuple[Found, Groups]
) -> xr.Dataset:
    found, groups = examined
    table, axes = found.table, tuple(bound.grid.axes)
    labels = {
        "outcome": classify(ends.diverged, found),
        "attractor": found.attractor,
        "num_steps": ends.num_steps,
        "period": found.period,
    }
    variables: dict[str, Any] = {name: (axes, bound.to_grid_order(column)) for name, column in labels.items()}
    variables["end_point"] = ((*axes, "parameter"), bound.to_grid_order(ends.point))
    hyper = np.array([groups.hyper[name][table.group] for name in groups.hyper])
    hyper = hyper.reshape(len(groups.hyper), len(table.group)).T
    variables |= {
        "attractor_location": (("attractor_index", "parameter"), table.location),
        "attractor_period": ("attractor_index", table.period),
        "attractor_kind": ("attractor_index", table.kind),
        "spectral_radius": ("attractor_index", table.spectral_radius),
        "lyapunov_exponent": ("attractor_index", table.lyapunov_exponent),
        "attractor_hyperparameter": (("attractor_index", "hyperparameter"), hyper),
        "orbit": (("orbit_point", "parameter"), table.points),
        "orbit_of": ("orbit_point", table.points_of),
    }
    run_options = {field.name: getattr(options, field.name) for field in fields(options)}
    spec = {
        "axes": {name: len(axis) for name, axis in bound.grid.axes.items()},
        "run": {**run_options, "hyperparameters": dict(the_map.hyperparameters), "wrap": dict(the_map.wrap)},
    }
    attrs = {
        "name": the_map.name,
        "citation": the_map.citation,
        "spec": json.dumps(spec),
        "seed": options.seed,
        "versions": json.dumps(versions()),
        "outcomes": json.dumps(MAP_OUTCOMES),
    }
    coordinates = {
        **bound.grid.coordinates,
        "parameter": list(the_map.parameter_names),
        "hyperparameter": np.array(list(groups.hyper), dtype=str),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attrs)
