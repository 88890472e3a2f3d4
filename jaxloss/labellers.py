"""Labels of single trajectories: any initial points of a problem or a map, a few at a time, in place of a grid."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax import lax

from jaxloss import iteration, limit_sets, maps, outcomes, runs
from jaxloss.checks import check_instance, real_array, show
from jaxloss.critical_points.kinds import STRICT_MINIMUM
from jaxloss.critical_points.polish import map_points
from jaxloss.critical_points.table import CriticalPoints, capture
from jaxloss.engine import batched, check_once, compiling, computing_in, map_in_tiles
from jaxloss.engine.calibration import ACCELERATOR_TILE, WHOLE
from jaxloss.engine.devices import devices
from jaxloss.errors import InputError, unknown
from jaxloss.evidence import gather, level
from jaxloss.grids import LEARNING_RATE, START, Axis, BoundGrid, Grid, ListedGrid, Starts
from jaxloss.limit_sets import Groups
from jaxloss.problems import Problem
from jaxloss.problems.maps import Map
from jaxloss.problems.problem import Structure
from jaxloss.results import finding_attributes, table_variables
from jaxloss.sweeps import validate

UNDECIDED = -1
"""The label of a start that reaches no attractor: unfinished, or at rest on a saddle or an unstable fixed point."""

# Few trajectories get tiles of a few sizes only, powers of two from `WHOLE` on, so that few programs are compiled.
LARGEST_SMALL_TILE = 4096


class Labelled(NamedTuple):
    """The verdict on every trajectory, and what it rests on.

    Attributes:
      outcome: int8 ``[trajectory]``.
      attractor: int32, index into the table, -1 for none.
      decided: whether the trajectory ends on an attractor, or nowhere; not on its way, nor on a saddle.
      location: of each entry of the table, ``[entry, parameter]``.
      variables: the table, as `xarray.Dataset` takes it.
      attrs: what else a result says.
      points: the table itself, of a problem.
    """

    outcome: np.ndarray
    attractor: np.ndarray
    decided: np.ndarray
    location: np.ndarray
    variables: dict[str, Any]
    attrs: dict[str, Any]
    points: CriticalPoints | None = None

    @property
    def keys(self) -> np.ndarray:
        """One number for each pair of outcome and attractor, int64 ``[trajectory]``."""
        return key_of(self.outcome, self.attractor)


def key_of(outcome: Any, attractor: Any) -> Any:
    """One whole number for an outcome and an attractor (-1 for none)."""
    return np.asarray(outcome, np.int64) * 2**32 + attractor


class Runner(Protocol):
    """Runs and labels trajectories of one problem or map under one set of options."""

    @property
    def space(self) -> Any:
        """The problem or the map."""
        ...

    @property
    def bound(self) -> BoundGrid:
        """The axes."""
        ...

    @property
    def options(self) -> Any:
        """The run."""
        ...

    def run(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray]) -> tuple[Any, str]:
        """The ends of trajectories ``[trajectory, ...]``, and the compilation that they ran under."""
        ...

    def label(self, ends: Any, hyperparameters: Mapping[str, np.ndarray]) -> Labelled:
        """What each end is, by one table for all of them."""
        ...

    def recognise(self, ends: Any, known: Labelled) -> np.ndarray:
        """The keys of ends that an earlier table tells beyond doubt, -1 for the others; it costs next to nothing."""
        ...

    def step(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray], num: int) -> np.ndarray:
        """Points ``[point, parameter]`` after some steps, in float64."""
        ...


@dataclass(frozen=True)
class ProblemRunner:
    """Trajectories of an optimiser.

    Attributes:
      space: the problem.
      bound: the axes; which hyperparameters differ between trajectories, and where critical points are searched for.
      options: the run.
    """

    space: Problem
    bound: BoundGrid
    options: runs.RunOptions

    def run(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray]) -> tuple[Any, str]:
        """The ends of trajectories, as `jaxloss.runs.run_grid` gives them."""
        check_once(jax.devices()[0])
        listed = ListedGrid(self.bound, points, hyperparameters)
        ends, layout = runs.run_grid(self.space, listed, _in_few_sizes(self.options, len(points)), False)
        return ends, layout.compilation

    def label(self, ends: Any, hyperparameters: Mapping[str, np.ndarray]) -> Labelled:
        """The outcomes of `jaxloss.outcomes`, as in a sweep."""
        del hyperparameters
        options, bounds = self.options, self.bound.initial_bounds()
        with computing_in("float64", self.space):
            findings, evidence = gather(
                self.space, ends, bounds, gradient_tolerance=options.gradient_tolerance, seed=options.seed
            )
        table = findings.table
        labels = outcomes.classify(evidence, table.kind, findings.solves)
        passing = [outcomes.OUTCOMES[name] for name in ("unfinished", "saddle")]
        attrs = finding_attributes(findings)
        decided = ~np.isin(labels.outcome, passing)
        return Labelled(*labels, decided, table.location, table_variables(table), attrs, table)

    def recognise(self, ends: Any, known: Labelled) -> np.ndarray:
        """Those that have diverged, and those at rest within the capture radius of a strict minimum."""
        keys, table = np.full(len(ends.loss), -1, np.int64), known.points
        bounded = ~ends.diverged & np.isfinite(ends.loss)
        keys[~bounded] = key_of(outcomes.OUTCOMES["diverged"], -1)
        if table is None or not len(table.kind) or self.space.piecewise:  # next to a kink it may be dead
            return keys
        resting = np.flatnonzero(bounded & ends.settled & (ends.period == 0))
        captured = capture(table, ends.point[resting], self.options.gradient_tolerance)
        names = np.where(table.loss <= level(known.attrs["infimum"]), "global_minimum", "spurious_minimum")
        codes = np.array([outcomes.OUTCOMES[name] for name in names])
        strict = (captured >= 0) & (table.kind[captured] == STRICT_MINIMUM)
        keys[resting[strict]] = key_of(codes[captured[strict]], captured[strict])
        return keys

    def step(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray], num: int) -> np.ndarray:
        """Points after ``num`` updates of plain gradient descent, in float64."""
        options = self.options
        if options.optimizer != "sgd" or options.batch_size is not None or options.gradient_noise > 0:
            raise InputError(
                f"optimizer must be 'sgd', with the full gradient and no noise, not {show(options.optimizer)}: the "
                "next point must depend on the point alone"
            )
        rate = np.asarray(hyperparameters[LEARNING_RATE], np.float64)
        arguments = points, rate, np.full(len(points), num, np.int64)
        return map_points(_descended, self.space, arguments, tile_size=1024)


@dataclass(frozen=True)
class MapRunner:
    """Orbits of a map.

    Attributes:
      space: the map.
      bound: the axes; which hyperparameters differ between orbits.
      options: the run.
      attractors: known ones as arrays ``[point, parameter]``, None to have them found.
    """

    space: Map
    bound: BoundGrid
    options: maps.MapOptions
    attractors: list[np.ndarray] | None

    def run(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray]) -> tuple[Any, str]:
        """The ends of orbits."""
        check_once(jax.devices()[0])
        listed = ListedGrid(self.bound, points, hyperparameters)
        ends, layout = maps.run_grid(self.space, listed, _in_few_sizes(self.options, len(points)), False)
        return ends, layout.compilation

    def label(self, ends: Any, hyperparameters: Mapping[str, np.ndarray]) -> Labelled:
        """The outcomes of `jaxloss.maps.MAP_OUTCOMES`, as in the sweep of a map."""
        rule, groups = maps.rule_of(self.space), _groups_of(hyperparameters, len(ends.period))
        with computing_in("float64", self.space):
            arguments = rule, ends.point.astype(np.float64), ends.period, ~ends.diverged, groups
            if self.attractors is None:
                found = limit_sets.find(*arguments, tolerance=self.options.tolerance)
            else:
                found = limit_sets.match(*arguments, self.attractors, tolerance=self.options.tolerance)
        outcome, table = maps.classify(ends.diverged, found), found.table
        with np.errstate(invalid="ignore"):
            unstable = np.append(table.spectral_radius > 1 + limit_sets.NEUTRAL, False)
        decided = (outcome != maps.MAP_OUTCOMES["unfinished"]) & ~unstable[found.attractor]
        variables = {
            "attractor_location": (("attractor_index", "parameter"), table.location),
            "attractor_period": ("attractor_index", table.period),
            "attractor_kind": ("attractor_index", table.kind),
            "spectral_radius": ("attractor_index", table.spectral_radius),
            "lyapunov_exponent": ("attractor_index", table.lyapunov_exponent),
        }
        return Labelled(outcome, found.attractor, decided, table.location, variables, {})

    def recognise(self, ends: Any, known: Labelled) -> np.ndarray:
        """None: what orbits end on is soon found again."""
        del known
        return np.full(len(ends.period), -1, np.int64)

    def step(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray], num: int) -> np.ndarray:
        """Points after ``num`` steps of the map, in float64."""
        with computing_in("float64", self.space):
            program = batched(_iterated, (maps.rule_of(self.space),), (0, 0, None))
            hyper = {name: np.asarray(values, np.float64) for name, values in hyperparameters.items()}
            return map_in_tiles(lambda rows: program(*rows, num), (points.astype(np.float64), hyper), 1024)


def runner_of(space: Problem | Map | Callable[..., Any], grid: Grid, **options: Any) -> Runner:
    """Everything that can be wrong with a problem or map, its axes and its options, checked before it runs.

    Args:
      space: a problem, a map, or the step of a map.
      grid: the axes.
      **options: of `jaxloss.sweep`; for a map, of `jaxloss.sweep_map`.

    Returns:
      What runs and labels its trajectories.

    Raises:
      InputError: the sentence names the field.
    """
    check_instance("grid", grid, Grid)
    # Of each axis its ends alone are checked: the whole grid is never run.
    ends = {name: axis if isinstance(axis, Starts) else _ends_of(axis) for name, axis in grid.axes.items()}
    small = Grid(ends, grid.origin, grid.directions)
    if isinstance(space, Problem):
        run_options = runs.RunOptions(**_known(options, runs.RunOptions, "sweep", left_out=("num_paths",)))
        if not run_options.shared_draws and (run_options.batch_size or run_options.gradient_noise):
            raise InputError("shared_draws must be true: trajectories that draw by themselves have no boundary")
        names = validate(space, small, run_options).hyperparameters
        return ProblemRunner(space, BoundGrid(grid, space, names, run_options.key("starts")), run_options)
    if not isinstance(space, Map) and not callable(space):
        raise InputError(f"problem must be a jaxloss.Problem, a map or its step, not {show(space)}")
    others = {
        name: options.pop(name) for name in ("attractors", "state", "hyperparameters", "wrap") if name in options
    }
    map_options = maps.MapOptions(**_known(options, maps.MapOptions, "sweep_map", more=others))
    attractors = others.pop("attractors", None)
    the_map = maps.map_of(space, grid, **others)
    known = maps.known_attractors(the_map, attractors)
    key = maps.bind(the_map, small, map_options)
    bound = BoundGrid(grid, the_map, key.hyperparameters, jax.random.key(map_options.seed))
    return MapRunner(the_map, bound, map_options, known)


class Ledger:
    """Trajectories that are run a few at a time, and labelled together, by one table.

    Args:
      runner: runs and labels them.
    """

    def __init__(self, runner: Runner):
        self._runner, self._ends, self._hyper = runner, None, {}
        self._compilation = "fast"

    def add(self, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray]) -> None:
        """Runs more trajectories."""
        ends, compilation = self._runner.run(points, hyperparameters)
        if compilation != "fast":
            self._compilation = compilation
        if self._ends is None:
            self._ends, self._hyper = ends, dict(hyperparameters)
        else:
            self._ends, self._hyper = _joined((self._ends, self._hyper), (ends, dict(hyperparameters)))

    def labels(self) -> Labelled:
        """The labels of all trajectories so far, in the order in which they were added."""
        with compiling(self._compilation):
            return self._runner.label(self._ends, self._hyper)


class Attractor(NamedTuple):
    """What a label stands for.

    Attributes:
      outcome: its code.
      location: of the critical point or limit set, NaN where there is none (diverged, a plateau).
    """

    outcome: int
    location: np.ndarray


class Labeller:
    """A function of points to labels that keep their meaning from call to call.

    A label is a whole number from 0 on, one for each outcome and attractor that has been seen, or `UNDECIDED`. To
    tell whether an attractor has been seen before, one trajectory that ended on it is labelled again along with
    every end that the last table does not tell beyond doubt: what has the same label then is the same.

    Args:
      runner: runs and labels trajectories.
    """

    def __init__(self, runner: Runner):
        self._runner = runner
        self._anchors: Any = None
        self._found: Labelled | None = None
        self._numbers: dict[int, int] = {}
        self.attractors: tuple[Attractor, ...] = ()

    @property
    def space(self) -> Any:
        """The problem or the map."""
        return self._runner.space

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Those of all trajectories."""
        return {name: float(values[0]) for name, values in self._columns(1).items()}

    def __call__(self, points: Any) -> np.ndarray:
        """The label of each point ``[point, parameter]``."""
        points = self._checked(points)
        ends, compilation = self._runner.run(points, self._columns(len(points)))
        labels, left = np.full(len(points), UNDECIDED, np.int64), np.arange(len(points))
        if self._found is not None:
            keys = self._runner.recognise(ends, self._found)
            labels = np.array([self._numbers.get(int(key), UNDECIDED) for key in keys], np.int64)
            left = np.flatnonzero(labels == UNDECIDED)
        if len(left):
            labels[left] = self._labelled(_rows(ends, left), compilation)
        return labels

    def _labelled(self, ends: Any, compilation: str) -> np.ndarray:
        """Labels of ends that are looked at together with the anchors, by a new table."""
        known, num = len(self.attractors), len(jax.tree.leaves(ends)[0])
        together = ends if self._anchors is None else _joined(self._anchors, ends)
        with compiling(compilation):
            found = self._runner.label(together, self._columns(known + num))
        numbers: dict[int, int] = {}
        for i, key in enumerate(found.keys[:known].tolist()):
            numbers.setdefault(key, i)
        here, decided = found.keys[known:], found.decided[known:]
        fresh = [i for i in _first_of_each(here, decided) if int(here[i]) not in numbers]
        numbers |= {int(here[i]): known + k for k, i in enumerate(fresh)}
        if fresh:
            rows = _rows(ends, np.array(fresh))
            self._anchors = rows if self._anchors is None else _joined(self._anchors, rows)
        firsts = [*range(known), *(known + i for i in fresh)]
        self.attractors = tuple(_attractor(found, i) for i in firsts)
        self._found, self._numbers = found, numbers
        return np.array([numbers[int(k)] if d else UNDECIDED for k, d in zip(here, decided, strict=True)], np.int64)

    def step(self, points: Any, num: int = 1) -> np.ndarray:
        """Points after some updates, in float64."""
        points = self._checked(points)
        return self._runner.step(points, self._columns(len(points)), num)

    def _checked(self, points: Any) -> np.ndarray:
        points = real_array("points", points)
        if points.ndim != 2 or points.shape[1] != self.space.num_parameters or not len(points):
            raise InputError(f"points must be an array [point, {self.space.num_parameters}], not {points.shape}")
        return points

    def _columns(self, num: int) -> dict[str, np.ndarray]:
        values = self._runner.bound.hyperparameters
        return {name: np.full(num, value, np.float64) for name, value in values.items()}


def labeller(
    space: Problem | Map, *, box: Mapping[str, tuple[float, float]] | None = None, **options: Any
) -> Labeller:
    """Which attractor a start reaches, as a function of points: what bisection and its kin ask.

    Unless an option says otherwise, trajectories run in float64, and those of a problem until the gradient is within
    1e-12: at 1e-6 a start near a saddle would be at rest there.

    Args:
      space: a problem or a map.
      box: where the critical points of a problem are searched for, a pair of bounds for each parameter; default
        the box about its known critical points, or about ``params``, 10 to either side.
      **options: of `jaxloss.sweep`, such as ``learning_rate``; for a map, of `jaxloss.sweep_map`.

    Returns:
      The function: points ``[point, parameter]`` to whole numbers ``[point]``, -1 for a start that reaches no
      attractor within the budget, or rests on a saddle. Its ``attractors`` say what each number stands for, and
      ``step`` makes one update.

    Raises:
      InputError: an option that does not fit.

    Examples:
      >>> from jaxloss.problems import load_problem
      >>> label = labeller(load_problem("cubic-map"), learning_rate=0.5)
      >>> label(np.array([[-1.5], [0.0], [0.1], [3.0]])).tolist()
      [0, -1, 1, 2]
      >>> [attractor.location.round(6).tolist() for attractor in label.attractors]
      [[-1.0], [1.0], [nan]]
    """
    if not isinstance(space, Problem | Map):
        raise InputError(f"problem must be a jaxloss.Problem or a jaxloss.problems.maps.Map, not {show(space)}")
    corners = _corners(space, box)
    grid = Grid({START: Starts(points=corners)})
    usual: dict[str, Any] = {"precision": "float64"}
    if isinstance(space, Problem):
        usual["gradient_tolerance"] = 1e-12
    return Labeller(runner_of(space, grid, **{**usual, **options}))


def _corners(space: Problem | Map, box: Mapping[str, tuple[float, float]] | None) -> np.ndarray:
    """The lowest and the highest corner of the box, ``[2, parameter]``."""
    known = [space.ravel(space.params)[None]]
    if isinstance(space, Problem):
        known += [space.ravel(point)[None] for point in space.critical_points]
    points = np.concatenate(known).astype(np.float64)
    low, high = points.min(axis=0) - 10.0, points.max(axis=0) + 10.0
    for name, bounds in (box or {}).items():
        if name not in space.parameter_names:
            raise unknown("parameter of box", name, space.parameter_names)
        pair = real_array(f"box: {name}", bounds)
        if pair.shape != (2,) or pair[0] >= pair[1]:
            raise InputError(f"box: {name} must be a pair of bounds, the lower one first, not {show(bounds)}")
        i = space.parameter_names.index(name)
        low[i], high[i] = pair
    return np.stack([low, high])


def _known(
    options: Mapping[str, Any], kind: type, of: str, *, more: Mapping[str, Any] = {}, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """The options, or an error that names the first that a run does not have."""
    names = [field.name for field in fields(kind) if field.name not in left_out]
    for name in options:
        if name not in names:
            raise unknown(f"option of {of}:", name, [*names, *more])
    return dict(options)


def _ends_of(axis: Axis) -> Axis:
    values = axis.values
    return Axis.of([values.min(), values.max()]) if len(axis) > 1 else axis


def _in_few_sizes(options: Any, num: int) -> Any:
    """The options with a tile size that does not follow every number of trajectories."""
    largest = LARGEST_SMALL_TILE if devices()[0].platform == "cpu" else ACCELERATOR_TILE
    share = num // len(devices())
    if options.tile_size is not None or share > 4 * largest:
        return options
    return replace(options, tile_size=max(WHOLE, min(largest, 1 << max(share, 1).bit_length() - 1)))


def _groups_of(hyperparameters: Mapping[str, np.ndarray], num: int) -> Groups:
    """The different combinations of hyperparameters among listed orbits."""
    if not hyperparameters:
        return Groups(np.zeros(num, int), {})
    rows = np.stack(list(hyperparameters.values()), axis=1)
    different, of = np.unique(rows, axis=0, return_inverse=True)
    return Groups(np.ravel(of), dict(zip(hyperparameters, different.T, strict=True)))


def _joined(first: Any, second: Any) -> Any:
    return jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)


def _rows(ends: Any, which: np.ndarray) -> Any:
    return jax.tree.map(lambda array: array[which], ends)


def _first_of_each(keys: np.ndarray, decided: np.ndarray) -> list[int]:
    """The first place of each decided key, in order."""
    places = np.flatnonzero(decided)
    first = np.unique(keys[places], return_index=True)[1]
    return sorted(places[first].tolist())


def _attractor(found: Labelled, row: int) -> Attractor:
    index = found.attractor[row]
    location = found.location[index].astype(np.float64) if index >= 0 else np.full(found.location.shape[1], np.nan)
    return Attractor(int(found.outcome[row]), location)


def _descended(objective: Callable, structure: Structure, data: Any, state: Any) -> jax.Array:
    point, rate, num = state
    slope = jax.grad(lambda point: objective(structure.unravel(point), data))
    return lax.fori_loop(0, num.astype(int), lambda _, point: point - rate * slope(point), point)


def _iterated(rule: iteration.Rule, point: jax.Array, hyper: dict[str, Any], num: Any) -> jax.Array:
    shared = iteration.Shared(iteration.NO_LIMITS, hyper)

    def body(_, state):
        return iteration.update(rule, shared, {}, 0, state)

    return rule.structure.ravel(lax.fori_loop(0, num, body, rule.structure.unravel(point)))
