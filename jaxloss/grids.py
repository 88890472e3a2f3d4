"""Named axes over initial points and hyperparameters: which trajectories a sweep runs."""

import contextlib
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxloss.blocks import Blocking
from jaxloss.checks import (
    check_instance,
    flag,
    items,
    leaves_like,
    number,
    real_array,
    real_leaves,
    show,
    text,
    whole,
)
from jaxloss.errors import InputError, unknown
from jaxloss.problems.maps import Map
from jaxloss.problems.problem import Problem

LEARNING_RATE = "learning_rate"
START = "start"
MAX_LENGTH = 10**8
"""The most values along one axis."""
PART = 2**20
"""How many random starts are drawn at once."""

Space = Problem | Map
"""What the initial axes of a grid span: the parameters of a problem, or the state of a map."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The values of one coordinate: `Axis.linear`, `Axis.log` or `Axis.of`.

    Raises:
      InputError: no value, more than 10^8 of them, one that is not a finite real number, or a repeated one.

    Examples:
      >>> Axis.linear(-1, 1, 3).values
      array([-1.,  0.,  1.])
      >>> Axis.log(0.01, 100, 3).values
      array([1.e-02, 1.e+00, 1.e+02])
    """

    values: np.ndarray
    spacing: str = "values"

    def __post_init__(self):
        values = real_array("axis values", self.values, "numbers", finite=False)
        if values.ndim > 1:
            raise InputError(f"axis values must be one list of numbers, not an array of shape {values.shape}")
        values = values.reshape(-1)
        if values.size == 0 or not np.all(np.isfinite(values)):
            raise InputError(f"axis values must be one or more finite numbers, not {show(self.values)}")
        if values.size > MAX_LENGTH:
            raise InputError(f"axis values must be at most {MAX_LENGTH:,}, not {values.size:,}")
        if np.unique(values).size != values.size:
            raise InputError("axis values must differ from one another")
        if self.spacing not in ("values", "linear", "log"):
            raise unknown("spacing", self.spacing, ["values", "linear", "log"])
        object.__setattr__(self, "values", values)

    @classmethod
    def linear(cls, start: float, stop: float, num: int) -> "Axis":
        """``num`` equally spaced values from ``start`` to ``stop``, both included.

        Raises:
          InputError: ``num`` is not a whole number from 1 to 10^8, a bound is not finite, or the bounds are too close
            or too far apart for ``num`` different numbers.
        """
        return cls._between("linear", np.linspace, start, stop, num)

    @classmethod
    def log(cls, start: float, stop: float, num: int) -> "Axis":
        """``num`` values from ``start`` to ``stop`` with a constant ratio, both included.

        Raises:
          InputError: as for `linear`, or a bound is not positive.
        """
        return cls._between("log", np.geomspace, start, stop, num)

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Axis":
        """The given values, in their order.

        Raises:
          InputError: as for `Axis`.
        """
        return cls(values)  # pyright: ignore[reportArgumentType]

    @classmethod
    def _between(cls, spacing: str, space: Callable[..., np.ndarray], start: Any, stop: Any, num: Any) -> "Axis":
        num = whole("num", num, 1, MAX_LENGTH)
        start, stop = number("start", start, finite=False), number("stop", stop, finite=False)
        if not (math.isfinite(start) and math.isfinite(stop)):
            raise InputError(f"start and stop must be finite, not {start} and {stop}")
        if spacing == "log" and min(start, stop) <= 0:
            raise InputError(f"a log axis needs start and stop > 0, not {start} and {stop}")
        if start == stop and num > 1:
            raise InputError(f"start and stop are both {start}: they must differ when num > 1 (num is {num})")
        if not math.isfinite(stop - start):
            raise InputError(f"start and stop must be less than 1.8e308 apart, not {start} and {stop}")
        values = space(start, stop, num)
        low, high = (values[:-1], values[1:]) if start < stop else (values[1:], values[:-1])
        if not np.all(low < high):
            raise InputError(f"start and stop must be far enough apart for {num:,} values, not {start} and {stop}")
        return cls(values, spacing)

    def __len__(self) -> int:
        return self.values.size


@dataclass(frozen=True, eq=False)
class Starts:
    """Initial points that are not a lattice: drawn at random, or given.

    Every parameter is drawn by itself, with mean (or middle) zero. An axis on the same parameter
    takes precedence.

    Args:
      num: how many starts.
      distribution: ``"normal"`` with standard deviation ``scale``, or ``"uniform"`` on ``[-scale, scale]``.
      scale: a number, or a pytree like the parameters with one scale for each leaf.
      points: instead of all that, the points themselves: a pytree like the parameters with a leading axis, or an
        array ``[start, parameter]`` with the columns in the order of ``problem.parameter_names``.

    Raises:
      InputError: ``num`` is not a whole number from 1 to 10^8, an unknown distribution, a scale that is not finite
        or is negative, or points that are not finite or of unequal number.

    Examples:
      >>> Grid({"start": Starts(100_000), "learning_rate": Axis.of([0.1])}).shape
      (100000, 1)
    """

    num: int = 0
    distribution: str = "normal"
    scale: Any = 1.0
    points: Any = None

    def __post_init__(self):
        set_field = functools.partial(object.__setattr__, self)
        if self.points is not None:
            points = real_leaves("start: points", self.points)
            sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(points)}
            if len(sizes) != 1 or sizes <= {(), (0,)}:
                raise InputError(
                    "start: points must share one leading axis of length at least 1, in a pytree like the parameters "
                    "or an array [start, parameter]"
                )
            (length,) = sizes.pop()
            if self.num not in (0, length):
                raise InputError(f"start: num must be left out where points are given, not {show(self.num)}")
            set_field("points", points)
            set_field("num", length)
        set_field("num", whole("start: num", self.num, 1, MAX_LENGTH))
        if text("start: distribution", self.distribution) not in ("normal", "uniform"):
            raise unknown("start distribution", self.distribution, ["normal", "uniform"])
        scales = jax.tree.leaves(real_leaves("start: scale", self.scale))
        if not scales:
            raise InputError(f"start: scale must be a number or a pytree like the parameters, not {show(self.scale)}")
        if any(np.any(leaf < 0) for leaf in scales):
            raise InputError(f"start: scale must not be negative, but it is {show(self.scale)}")

    def __len__(self) -> int:
        return self.num

    def draw(self, problem: Space, key: jax.Array) -> np.ndarray:
        """The initial points, float64 of shape ``[start, parameter]``; the same for every precision."""
        return np.concatenate([self.draw_part(problem, key, part) for part in range(self.num_parts)])

    @property
    def num_parts(self) -> int:
        """In how many parts of at most `PART` the points come, so that no more need be held at once."""
        return -(-self.num // PART)

    def draw_part(self, problem: Space, key: jax.Array, part: int) -> np.ndarray:
        """One part of `draw`."""
        first, last = part * PART, min((part + 1) * PART, self.num)
        if self.points is not None:
            points = self.points
            if np.shape(points) != (self.num, problem.num_parameters):
                points = problem.ravel(leaves_like("start: points", points, problem.params, (self.num,)))
            return points[first:last]
        with jax.enable_x64(True):
            shape, key = (last - first, problem.num_parameters), jax.random.fold_in(key, part) if part else key
            if self.distribution == "normal":
                unit = np.asarray(jax.random.normal(key, shape, np.float64))
            else:
                unit = np.asarray(jax.random.uniform(key, shape, np.float64, -1.0, 1.0))
        with np.errstate(over="ignore"):
            points = unit * self._scales(problem)
        if not np.all(np.isfinite(points)):
            raise InputError(f"start: scale must be below 1e307, but it is {show(self.scale)}")
        return points

    def _scales(self, problem: Space) -> np.ndarray:
        scale = real_leaves("start: scale", self.scale)
        if np.ndim(scale) == 0 and isinstance(scale, np.ndarray):
            return np.full(problem.num_parameters, scale)
        if jax.tree.structure(scale) == problem.structure.treedef:
            with contextlib.suppress(ValueError):
                spread = jax.tree.map(lambda s, leaf: np.broadcast_to(s, leaf.shape), scale, problem.params)
                return problem.ravel(spread)
        raise InputError(f"start: scale must be a number or have the structure of the parameters of {problem.name}")


@dataclass(frozen=True, eq=False)
class Grid:
    """The product of named axes: each point is one trajectory.

    An axis is named after a scalar parameter (``bias``), an entry of an array parameter (``weight[0]``), a
    hyperparameter of the optimiser (``learning_rate``, ``momentum``), a direction (``direction[0]``,
    ``direction[1]``: a plane through ``origin``), or ``start`` (see `Starts`).

    Args:
      axes: name -> `Axis`, or ``start`` -> `Starts`, in the order of the result's dimensions.
      origin: for direction axes, the point they pass through; default the problem's ``params``.
      directions: for direction axes, one pytree like the parameters for each.

    Raises:
      InputError: no axis, a value that is not an `Axis`, or directions that are no list.

    Examples:
      >>> grid = Grid({"w": Axis.linear(-8, 8, 5), "learning_rate": Axis.log(0.01, 1, 3)})
      >>> grid.shape, grid.size
      ((5, 3), 15)
    """

    axes: Mapping[str, Axis | Starts]
    origin: Any = None
    directions: Sequence[Any] | None = None

    def __post_init__(self):
        if not isinstance(self.axes, Mapping):
            raise InputError(f"axes must be a mapping of names to Axis(...), not {show(self.axes)}")
        if not self.axes:
            raise InputError("a grid needs at least one axis")
        for name, axis in self.axes.items():
            text("the name of an axis", name)
            wanted = Starts if name == START else Axis
            if not isinstance(axis, wanted):
                raise InputError(f"axis {name!r} must be {wanted.__name__}(...), not {show(axis)}")
        object.__setattr__(self, "axes", dict(self.axes))
        if self.directions is not None:
            directions = items("directions", self.directions, "a list of pytrees like the parameters")
            object.__setattr__(self, "directions", directions)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis."""
        return tuple(len(axis) for axis in self.axes.values())

    @property
    def size(self) -> int:
        """Number of trajectories."""
        return math.prod(self.shape)

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """The values along each axis; a ``start`` axis is numbered."""
        return {
            name: np.arange(len(axis)) if isinstance(axis, Starts) else axis.values
            for name, axis in self.axes.items()
        }

    def values_at(self, name: str, index: np.ndarray) -> np.ndarray:
        """The values of an axis at some places; those of a ``start`` axis are the places themselves."""
        axis = self.axes[name]
        return index if isinstance(axis, Starts) else axis.values[index]


class BoundGrid:
    """A grid whose axis names are resolved against one problem and the optimiser's hyperparameters.

    Args:
      grid: the axes.
      problem: gives the parameter names and the default initial point.
      hyperparameters: every hyperparameter of the optimiser with its default, None where it needs an axis.
      key: draws the random starts.

    Raises:
      InputError: an axis that names nothing, a learning rate that is missing or not positive, or a direction
        axis without its direction.
    """

    def __init__(self, grid: Grid, problem: Space, hyperparameters: Mapping[str, float | None], key: jax.Array):
        self.grid, self.problem = grid, problem
        self.hyperparameters = dict(hyperparameters)
        parameters = {name: i for i, name in enumerate(problem.parameter_names)}
        num_directions = len(grid.directions or ())
        directions = {f"direction[{i}]": i for i in range(num_directions)}
        for name in grid.axes:
            if name.startswith("direction[") and name not in directions and name not in parameters:
                raise InputError(f"axis {name!r} needs a direction: Grid(..., directions=[...]) has {num_directions}")
            if name not in {*parameters, *hyperparameters, *directions, START}:
                raise unknown("axis", name, [*list(parameters)[:20], *hyperparameters, *directions, START])
        for name, values in grid.coordinates.items():
            if name == LEARNING_RATE and values.min() <= 0:
                raise InputError(f"learning_rate must be > 0, not {values.min():g}")
        for name, value in hyperparameters.items():
            if value is None and name not in grid.axes:
                raise InputError(f"the grid needs a {name} axis, or the option {name}")
        self._parameter_axes = {name: i for name, i in parameters.items() if name in grid.axes}
        self._direction_axes = {name: i for name, i in directions.items() if name in grid.axes}
        self._starts = grid.axes.get(START)
        if isinstance(self._starts, Starts):
            # Whoever walks through the grid needs one part after the other.
            draw = functools.partial(self._starts.draw_part, problem, key)
            self._start_part = functools.lru_cache(maxsize=2)(draw)
            self._start_part(0)
        origin = problem.params if grid.origin is None else grid.origin
        self._origin = problem.ravel(leaves_like("origin", origin, problem.params))
        self._directions = [
            problem.ravel(leaves_like(f"directions[{i}]", direction, problem.params))
            for i, direction in enumerate(grid.directions or ())
        ]
        # Hyperparameters vary slowest: the trajectories of one tile then need about the same number of steps.
        names = list(grid.axes)
        self._order = sorted(range(len(names)), key=lambda i: names[i] not in hyperparameters)

    @property
    def initial_axes(self) -> tuple[str, ...]:
        """The axes that set the initial point, in grid order."""
        return tuple(name for name in self.grid.axes if name not in self.hyperparameters)

    def initial_points(self, coordinates: Mapping[str, np.ndarray], num: int) -> np.ndarray:
        """Initial points ``[num, parameter]`` for equally long columns of axis values."""
        points = np.broadcast_to(self._origin, (num, self._origin.size)).copy()
        if self._starts is not None:
            points = self._start_points(coordinates[START])
        for name, i in self._direction_axes.items():
            points = points + coordinates[name][:, None] * self._directions[i]
        for name, i in self._parameter_axes.items():
            points[:, i] = coordinates[name]
        return points

    def initial_points_at(self, numbers: np.ndarray) -> np.ndarray:
        """The initial points ``[point, parameter]`` with the given numbers in the order of the initial axes."""
        names = self.initial_axes
        shape = [len(self.grid.axes[name]) for name in names]
        indices = np.unravel_index(numbers, shape) if shape else ()
        columns = {name: self.grid.values_at(name, i) for name, i in zip(names, indices, strict=True)}
        return self.initial_points(columns, len(numbers))

    def initial_bounds(self) -> np.ndarray:
        """The smallest box about all initial points, ``[parameter, 2]``, no side of it shorter than 2.

        A parameter that no axis moves is searched about its value.
        """
        low = high = self._origin
        if isinstance(self._starts, Starts):
            parts = (self._start_part(part) for part in range(self._starts.num_parts))
            # NumPy is slow along short rows.
            bounds = np.array([[(column.min(), column.max()) for column in part.T] for part in parts])
            low, high = bounds[:, :, 0].min(axis=0), bounds[:, :, 1].max(axis=0)
        for name, i in self._direction_axes.items():
            values = self.grid.coordinates[name]
            ends = np.outer([values.min(), values.max()], self._directions[i])
            low, high = low + ends.min(axis=0), high + ends.max(axis=0)
        low, high = low.copy(), high.copy()
        for name, i in self._parameter_axes.items():
            low[i], high[i] = self.grid.coordinates[name].min(), self.grid.coordinates[name].max()
        missing = np.maximum(0.0, 2.0 - (high - low)) / 2
        return np.stack([low - missing, high + missing], axis=1)

    def trajectories(self, first: int, last: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Trajectories ``first`` to ``last`` of the order of work; see `trajectories_at`."""
        return self.trajectories_at(np.arange(first, last))

    def trajectories_at(self, numbers: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The trajectories with the given numbers in the order of work.

        Returns:
          Initial points ``[trajectory, parameter]`` and each hyperparameter ``[trajectory]``, float64.
        """
        num = len(numbers)
        indices = np.unravel_index(numbers, [self.grid.shape[i] for i in self._order])
        names = [list(self.grid.axes)[i] for i in self._order]
        columns = {name: self.grid.values_at(name, index) for name, index in zip(names, indices, strict=True)}
        return self.trajectories_of(columns, num)

    def trajectories_of(
        self, columns: Mapping[str, np.ndarray], num: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The trajectories with the given coordinates, which need not be values of the axes.

        Args:
          columns: each axis's coordinate of every trajectory, ``[trajectory]``.
          num: how many trajectories.

        Returns:
          As `trajectories_at`.
        """
        hyperparameters = {
            name: columns.get(name, np.full(num, default, np.float64))
            for name, default in self.hyperparameters.items()
        }
        return self.initial_points(columns, num), hyperparameters

    def _start_points(self, numbers: np.ndarray) -> np.ndarray:
        """The random starts with these numbers, ``[start, parameter]``."""
        points = np.empty((len(numbers), self._origin.size))
        part_of = numbers // PART
        for part in np.unique(part_of):
            here = np.flatnonzero(part_of == part)
            points[here] = np.take(self._start_part(int(part)), numbers[here] - part * PART, axis=0)
        return points

    def blocking(self, most: int) -> Blocking:
        """The grid in blocks of at most ``most`` trajectories."""
        return Blocking.of(self.grid.shape, self._order, most)

    def to_grid_order(self, flat: np.ndarray) -> np.ndarray:
        """An array over the order of work, ``[trajectory, ...]``, reshaped to the axes in grid order."""
        return self.blocking(self.grid.size).to_box(0, flat)


@dataclass(frozen=True, eq=False)
class _Listing(Grid):
    """The axes of a grid, and the number of trajectories that are picked from among its points or between them."""

    num: int = 0

    @property
    def size(self) -> int:
        return self.num


class ListedGrid(BoundGrid):
    """Trajectories one by one, each with its initial point and hyperparameters, in place of a product of axes.

    The engine runs them as it runs a grid. Which hyperparameters differ between trajectories is that of ``bound``, so
    that a trajectory gets the same program, and the same bits, as in a sweep of the whole grid.

    Args:
      bound: the grid that they belong to.
      points: initial points ``[trajectory, parameter]``.
      hyperparameters: each ``[trajectory]``.

    Examples:
      >>> bowl = Problem(name="bowl", objective=lambda p: p["w"] ** 2, params={"w": 0.0})
      >>> bound = BoundGrid(Grid({"w": Axis.linear(-1, 1, 1001)}), bowl, {"learning_rate": 0.1}, jax.random.key(0))
      >>> some = ListedGrid(bound, *bound.trajectories_at(np.array([0, 500, 1000])))
      >>> some.grid.size, some.trajectories(1, 3)[0].tolist()
      (3, [[0.0], [1.0]])
    """

    def __init__(self, bound: BoundGrid, points: np.ndarray, hyperparameters: Mapping[str, np.ndarray]):
        self.grid = _Listing(bound.grid.axes, num=len(points))
        self.problem, self.hyperparameters = bound.problem, bound.hyperparameters
        self._points, self._columns = points, dict(hyperparameters)

    def trajectories_at(self, numbers: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The trajectories with the given places in the list."""
        return self._points[numbers], {name: values[numbers] for name, values in self._columns.items()}


def random_directions(problem: Problem, key: jax.Array, *, num: int = 2, filter_normalized: bool = False) -> list:
    """Random directions in parameter space, each a pytree like the parameters.

    Args:
      problem: gives the shapes, and the point whose filters set the norms.
      key: a PRNG key.
      num: how many.
      filter_normalized: scale each row of each array leaf to the norm of the same row of ``problem.params``.

    Returns:
      ``num`` directions of unit length, or filter-normalised ones.

    Raises:
      InputError: ``num < 1``, or filters that all have norm zero.

    References:
      Li, Xu, Taylor, Studer and Goldstein, *Visualizing the loss landscape of neural nets*, 2018.

    Examples:
      >>> bowl = Problem(name="bowl", objective=lambda p: p @ p, params=np.ones(3))
      >>> [d.shape for d in random_directions(bowl, jax.random.key(0))]
      [(3,), (3,)]
    """
    check_instance("problem", problem, Problem)
    num, filter_normalized = whole("num", num, 1), flag("filter_normalized", filter_normalized)
    if filter_normalized and not np.any(problem.ravel(problem.params)):
        raise InputError(
            f"filter_normalized needs params of {problem.name} that are not zero: the filters of params have norm "
            "zero, so that the directions would be zero (give other params, or filter_normalized=False)"
        )

    def normalized(direction):
        if not filter_normalized:
            norm = math.sqrt(sum(float(np.sum(leaf**2)) for leaf in jax.tree.leaves(direction)))
            return jax.tree.map(lambda leaf: leaf / norm, direction)

        def scale(leaf, reference):
            rows = tuple(range(1, leaf.ndim)) if leaf.ndim > 1 else None
            norm = np.sqrt(np.sum(leaf**2, axis=rows, keepdims=True))
            return leaf / norm * np.sqrt(np.sum(reference**2, axis=rows, keepdims=True))

        return jax.tree.map(scale, direction, problem.params)

    with jax.enable_x64(True):
        draws = np.asarray(jax.random.normal(key, (num, problem.num_parameters), np.float64))
    return [normalized(problem.unravel(draw)) for draw in draws]


def plane_through(first: Any, second: Any, third: Any) -> tuple[Any, list[Any]]:
    """The plane through three points: ``first`` at (0, 0), ``second`` at (1, 0), ``third`` at (0, 1).

    Args:
      first: a pytree of parameters.
      second: another, of the same structure.
      third: a third.

    Returns:
      ``origin`` and ``directions`` of a `Grid`.

    Raises:
      InputError: points that are not finite, or of different structure or shapes.

    Examples:
      >>> plane_through(np.zeros(2), np.array([2.0, 0.0]), np.array([0.0, 3.0]))
      (array([0., 0.]), [array([2., 0.]), array([0., 3.])])
    """
    first = real_leaves("first", first)
    others = (leaves_like(field, point, first) for field, point in (("second", second), ("third", third)))
    return first, [jax.tree.map(np.subtract, point, first) for point in others]
