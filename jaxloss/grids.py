"""Named axes over initial points and hyperparameters: which trajectories a sweep runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxloss.errors import InputError, unknown
from jaxloss.problems.problem import Problem

LEARNING_RATE = "learning_rate"
START = "start"


@dataclass(frozen=True, eq=False)
class Axis:
    """The values of one coordinate: `Axis.linear`, `Axis.log` or `Axis.of`.

    Examples:
      >>> Axis.linear(-1, 1, 3).values
      array([-1.,  0.,  1.])
      >>> Axis.log(0.01, 100, 3).values
      array([1.e-02, 1.e+00, 1.e+02])
    """

    values: np.ndarray
    spacing: str = "values"

    @classmethod
    def linear(cls, start: float, stop: float, num: int) -> "Axis":
        """``num`` equally spaced values from ``start`` to ``stop``, both included.

        Raises:
          InputError: ``num < 1``, a bound is not finite, or ``start == stop`` with ``num > 1``.
        """
        _check_bounds(start, stop, num)
        return cls(np.linspace(start, stop, int(num)), "linear")

    @classmethod
    def log(cls, start: float, stop: float, num: int) -> "Axis":
        """``num`` values from ``start`` to ``stop`` with a constant ratio, both included.

        Raises:
          InputError: as for `linear`, or a bound is not positive.
        """
        _check_bounds(start, stop, num)
        if start <= 0 or stop <= 0:
            raise InputError(f"a log axis needs start and stop > 0, not {start} and {stop}")
        values = np.geomspace(start, stop, int(num))
        return cls(values, "log")

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Axis":
        """The given values, in their order.

        Raises:
          InputError: no value, a value that is not a finite number, or a repeated value.
        """
        try:
            array = np.asarray(values, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise InputError(f"axis values must be numbers, not {values!r}") from None
        if array.size == 0 or not np.all(np.isfinite(array)):
            raise InputError(f"axis values must be one or more finite numbers, not {array.tolist()}")
        if np.unique(array).size != array.size:
            raise InputError("axis values must differ from one another")
        return cls(array)

    def __len__(self) -> int:
        return self.values.size


def _check_bounds(start: float, stop: float, num: int) -> None:
    for name, value in (("start", start), ("stop", stop), ("num", num)):
        if isinstance(value, bool) or not np.isscalar(value) or not np.isreal(value):
            raise InputError(f"{name} must be a number, not {value!r}")
    if num != int(num) or num < 1:
        raise InputError(f"num must be a whole number of at least 1, not {num}")
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise InputError(f"start and stop must be finite, not {start} and {stop}")
    if start == stop and num > 1:
        raise InputError(f"start and stop are both {start}: they must differ when num > 1 (num is {num})")


@dataclass(frozen=True, eq=False)
class Starts:
    """Initial points that are not a lattice: drawn at random, or given.

    Every parameter is drawn by itself, with mean (or middle) zero. An axis on the same parameter
    takes precedence.

    Args:
      num: how many starts.
      distribution: ``"normal"`` with standard deviation ``scale``, or ``"uniform"`` on ``[-scale, scale]``.
      scale: a number, or a pytree like the parameters with one scale for each leaf.
      points: instead of all that, the points themselves: a pytree like the parameters with a leading axis.

    Raises:
      InputError: ``num < 1``, an unknown distribution, or a negative scale.

    Examples:
      >>> Grid({"start": Starts(100_000), "learning_rate": Axis.of([0.1])}).shape
      (100000, 1)
    """

    num: int = 0
    distribution: str = "normal"
    scale: Any = 1.0
    points: Any = None

    def __post_init__(self):
        if self.points is not None:
            sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(self.points)}
            if len(sizes) != 1 or sizes <= {(), (0,)}:
                raise InputError("start: points must share one leading axis of length at least 1")
            object.__setattr__(self, "num", sizes.pop()[0])
            return
        if isinstance(self.num, bool) or self.num != int(self.num) or self.num < 1:
            raise InputError(f"start: num must be a whole number of at least 1, not {self.num!r}")
        if self.distribution not in ("normal", "uniform"):
            raise unknown("start distribution", self.distribution, ["normal", "uniform"])
        if any(np.any(np.asarray(leaf) < 0) for leaf in jax.tree.leaves(self.scale)):
            raise InputError(f"start: scale must not be negative, but it is {self.scale}")

    def __len__(self) -> int:
        return self.num

    def draw(self, problem: Problem, key: jax.Array) -> np.ndarray:
        """The initial points, float64 of shape ``[start, parameter]``; the same for every precision."""
        if self.points is not None:
            points = np.asarray(problem.ravel(self.points), dtype=np.float64)
            if points.shape != (self.num, problem.num_parameters):
                raise InputError(f"start: points must have the shapes of the parameters of {problem.name}")
            return points
        with jax.enable_x64(True):
            shape = (self.num, problem.num_parameters)
            if self.distribution == "normal":
                unit = np.asarray(jax.random.normal(key, shape, np.float64))
            else:
                unit = np.asarray(jax.random.uniform(key, shape, np.float64, -1.0, 1.0))
        return unit * self._scales(problem)

    def _scales(self, problem: Problem) -> np.ndarray:
        scale = self.scale
        if np.ndim(scale) == 0 and not isinstance(scale, Mapping):
            return np.full(problem.num_parameters, float(scale))
        try:
            spread = jax.tree.map(lambda s, leaf: np.broadcast_to(s, leaf.shape), scale, problem.params)
        except ValueError:
            raise InputError(
                f"start: scale must be a number or have the structure of the parameters of {problem.name}"
            ) from None
        return np.asarray(problem.ravel(spread), dtype=np.float64)


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
      InputError: no axis, or a value that is not an `Axis`.

    Examples:
      >>> grid = Grid({"w": Axis.linear(-8, 8, 5), "learning_rate": Axis.log(0.01, 1, 3)})
      >>> grid.shape, grid.size
      ((5, 3), 15)
    """

    axes: Mapping[str, Axis | Starts]
    origin: Any = None
    directions: Sequence[Any] | None = None

    def __post_init__(self):
        if not self.axes:
            raise InputError("a grid needs at least one axis")
        for name, axis in self.axes.items():
            wanted = Starts if name == START else Axis
            if not isinstance(axis, wanted):
                raise InputError(f"axis {name!r} must be {wanted.__name__}(...), not {axis!r}")
        object.__setattr__(self, "axes", dict(self.axes))

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


class BoundGrid:
    """A grid whose axis names are resolved against one problem and the optimiser's hyperparameters.

    Args:
      grid: the axes.
      problem: gives the parameter names and the default initial point.
      hyperparameters: every hyperparameter of the optimiser with its default.
      key: draws the random starts.

    Raises:
      InputError: an axis that names nothing, a learning rate that is missing or not positive, or a direction
        axis without its direction.
    """

    def __init__(self, grid: Grid, problem: Problem, hyperparameters: Mapping[str, float], key: jax.Array):
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
        if LEARNING_RATE not in grid.axes and self.hyperparameters.get(LEARNING_RATE) is None:
            raise InputError("the grid needs a learning_rate axis, or the option learning_rate")
        self._parameter_axes = {name: i for name, i in parameters.items() if name in grid.axes}
        self._direction_axes = {name: i for name, i in directions.items() if name in grid.axes}
        start_axis = grid.axes.get(START)
        self._starts = start_axis.draw(problem, key) if isinstance(start_axis, Starts) else None
        origin = problem.params if grid.origin is None else grid.origin
        self._origin = _ravel_like(problem, origin, "origin")
        self._directions = [_ravel_like(problem, d, "direction") for d in grid.directions or ()]
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
            points = self._starts[coordinates[START]]
        for name, i in self._direction_axes.items():
            points = points + coordinates[name][:, None] * self._directions[i]
        for name, i in self._parameter_axes.items():
            points[:, i] = coordinates[name]
        return points

    def initial_bounds(self) -> np.ndarray:
        """The smallest box about all initial points, ``[parameter, 2]``, no side of it shorter than 2.

        A parameter that no axis moves is searched about its value.
        """
        low = high = self._origin
        if self._starts is not None:
            low, high = self._starts.min(axis=0), self._starts.max(axis=0)
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
        values = list(self.grid.coordinates.values())
        names = list(self.grid.axes)
        columns = {names[i]: values[i][index] for i, index in zip(self._order, indices, strict=True)}
        hyperparameters = {
            name: columns.get(name, np.full(num, default, np.float64))
            for name, default in self.hyperparameters.items()
        }
        return self.initial_points(columns, num), hyperparameters

    def to_grid_order(self, flat: np.ndarray) -> np.ndarray:
        """An array over the order of work, ``[trajectory, ...]``, reshaped to the axes in grid order."""
        shape = [self.grid.shape[i] for i in self._order]
        axes = np.argsort(self._order)
        array = flat.reshape(*shape, *flat.shape[1:])
        return np.transpose(array, (*axes, *range(len(shape), array.ndim)))


def _ravel_like(problem: Problem, params: Any, what: str) -> np.ndarray:
    if jax.tree.structure(params) != jax.tree.structure(problem.params):
        raise InputError(f"{what} must have the structure of the parameters of {problem.name}")
    vector = np.asarray(problem.ravel(params), dtype=np.float64)
    if vector.shape != (problem.num_parameters,):
        raise InputError(f"{what} must have the shapes of the parameters of {problem.name}")
    return vector


def random_directions(problem: Problem, key: jax.Array, *, num: int = 2, filter_normalized: bool = False) -> list:
    """Random directions in parameter space, each a pytree like the parameters.

    Args:
      problem: gives the shapes, and the point whose filters set the norms.
      key: a PRNG key.
      num: how many.
      filter_normalized: scale each row of each array leaf to the norm of the same row of ``problem.params``.

    Returns:
      ``num`` directions of unit length, or filter-normalised ones.

    References:
      Li, Xu, Taylor, Studer and Goldstein, *Visualizing the loss landscape of neural nets*, 2018.

    Examples:
      >>> bowl = Problem(name="bowl", objective=lambda p: p @ p, params=np.ones(3))
      >>> [d.shape for d in random_directions(bowl, jax.random.key(0))]
      [(3,), (3,)]
    """

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

    Examples:
      >>> plane_through(np.zeros(2), np.array([2.0, 0.0]), np.array([0.0, 3.0]))
      (array([0., 0.]), [array([2., 0.]), array([0., 3.])])
    """
    return first, [jax.tree.map(np.subtract, point, first) for point in (second, third)]
