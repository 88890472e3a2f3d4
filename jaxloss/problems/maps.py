"""What is iterated without an objective: a map of a state to the next, and maps whose basins are known."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.checks import check_function, items, leaves_like, number, real_leaves, show, text
from jaxloss.errors import InputError, unknown
from jaxloss.problems.problem import Structure, array_constants, parameter_names

State = Any
"""Any pytree of real numbers and arrays."""


@dataclass(frozen=True, eq=False)
class Map:
    r"""A deterministic map :math:`s_{t+1} = f(s_t; h)` of a state to the next.

    Args:
      step: ``step(state, **hyperparameters) -> state``, any function that JAX can trace. The arguments after the
        first are its hyperparameters, their defaults in the signature.
      state: the template of the state, any pytree of numbers and arrays; also the value of every entry that no
        grid axis sets.
      name: a short name, used in tables and attributes.
      hyperparameters: values by name, in place of those in the signature.
      wrap: period of each entry of the state that is an angle, by the entry's name. It is taken modulo that period
        after every step, and compared on the circle.
      attractors: known attractors, each a state, or the points of a set: a pytree like the state with a leading
        axis, or an array ``[point, parameter]``. They are kept as such arrays.
      domain: lowest and highest value of each axis on which the map is usually shown.
      citation: where the map comes from.

    Raises:
      InputError: a field of the wrong kind, or a step that does not return a state like the one it is given.

    Examples:
      >>> halving = Map(lambda state, factor=0.5: {"x": factor * state["x"]}, {"x": 1.0})
      >>> halving.parameter_names, halving.hyperparameters
      (('x',), {'factor': 0.5})
    """

    step: Callable[..., State]
    state: State
    name: str = "map"
    hyperparameters: Mapping[str, float | None] = field(default_factory=dict)
    wrap: Mapping[str, float] = field(default_factory=dict)
    attractors: tuple[State, ...] = ()
    domain: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    citation: str = ""

    def __post_init__(self):
        set_field = functools.partial(object.__setattr__, self)
        set_field("name", text("name", self.name))
        set_field("state", real_leaves("state", self.state))
        if not self.num_parameters:
            raise InputError("state must hold at least one number: it is the template of the state")
        set_field("hyperparameters", self._hyperparameters())
        whole = functools.partial(self.step, **self._placeholders()) if callable(self.step) else self.step
        check_function("step", whole, (self.state,), "the state (and of hyperparameters by name)")
        if not isinstance(self.wrap, Mapping):
            raise InputError(f"wrap must be a mapping of entries of the state to periods, not {show(self.wrap)}")
        for name, period in self.wrap.items():
            if name not in self.parameter_names:
                raise unknown("entry of the state in wrap", name, self.parameter_names)
            if number(f"wrap: {name}", period) <= 0:
                raise InputError(f"wrap: {name} must be a period > 0, not {show(period)}")
        known = items("attractors", self.attractors, "a list of states, or of states with a leading axis")
        set_field("attractors", tuple(self.points_of(f"attractors[{i}]", state) for i, state in enumerate(known)))
        self._check_returns_a_state()

    @property
    def params(self) -> State:
        """The template of the state, which is to a map what the parameters are to a problem."""
        return self.state

    @functools.cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """One name for each number in the state, in the order of `ravel`."""
        return parameter_names(self.state)

    @functools.cached_property
    def structure(self) -> Structure:
        """The shape of the state."""
        return Structure.of(self.state)

    @property
    def num_parameters(self) -> int:
        """How many numbers the state holds."""
        return self.structure.num_parameters

    @property
    def periods(self) -> tuple[float | None, ...]:
        """The period of each entry of the state, None for what is no angle."""
        return tuple(float(self.wrap[name]) if name in self.wrap else None for name in self.parameter_names)

    def ravel(self, state: State) -> Any:
        """States with any leading axes, as one array ``[..., parameter]``."""
        return self.structure.ravel(state)

    def unravel(self, vector: Any) -> State:
        """The inverse of `ravel`."""
        return self.structure.unravel(vector)

    @functools.cached_property
    def closes_over_arrays(self) -> bool:
        """Whether the step uses NumPy arrays other than the state."""
        return bool(self.array_constants(np.dtype(np.float32)))

    def array_constants(self, dtype: np.dtype) -> list[np.ndarray]:
        """The NumPy arrays that the step closes over, as JAX sees them now, for states of one dtype."""
        state, hyper = jax.tree.map(lambda leaf: np.array(leaf, dtype), (self.state, self._placeholders()))
        return array_constants(self.step, state, **hyper)

    def _hyperparameters(self) -> dict[str, float | None]:
        """Those of the signature with their defaults, None for none; the values that are given take precedence."""
        if not isinstance(self.hyperparameters, Mapping):
            raise InputError(
                f"hyperparameters must be a mapping of names to numbers, not {show(self.hyperparameters)}"
            )
        found, anything = signature_of(self.step)
        for name, value in self.hyperparameters.items():
            if name not in found and not anything:
                raise (
                    unknown("hyperparameter of step", name, found)
                    if found
                    else InputError(f"step has no hyperparameter {name!r}, nor any other")
                )
            found[name] = None if value is None else number(f"hyperparameters: {name}", value)
        return found

    def _placeholders(self) -> dict[str, float]:
        return {name: 1.0 if value is None else value for name, value in self.hyperparameters.items()}

    def points_of(self, place: str, states: State) -> np.ndarray:
        """One state, or the points of a set, as an array ``[point, parameter]``.

        Args:
          place: what the states are, for the sentence of an error.
          states: a pytree like the state, with a leading axis or without; or an array of its numbers, likewise.

        Raises:
          InputError: anything else.
        """
        size = self.num_parameters
        if isinstance(states, np.ndarray | jax.Array):
            if np.ndim(states) <= 2 and np.shape(states)[-1:] == (size,) and np.size(states):
                return real_leaves(place, states).reshape(-1, size)
            if jax.tree.structure(self.state) != jax.tree.structure(0):
                raise InputError(f"{place} must be an array [point, {size}], not of shape {np.shape(states)}")
        ranks = {
            np.ndim(leaf) - np.ndim(like)
            for leaf, like in zip(*map(jax.tree.leaves, (states, self.state)), strict=False)
        }
        num = {np.shape(leaf)[0] for leaf in jax.tree.leaves(states)} if ranks == {1} else set()
        leading = tuple(num) if len(num) == 1 and num != {0} else ()
        return self.ravel(leaves_like(place, states, self.state, leading)).reshape(-1, size)

    def _check_returns_a_state(self) -> None:
        state, hyper = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), jnp.float32), (self.state, self._placeholders())
        )
        try:
            out = jax.eval_shape(functools.partial(self.step), state, **hyper)
        except (KeyError, IndexError) as error:
            raise InputError(
                f"step asks for {error} of a state that has the entries {', '.join(self.parameter_names)}: name the "
                "axes after the entries of the state, or give state=, a template of it"
            ) from None
        wanted, given = jax.tree.map(lambda leaf: leaf.shape, (state, out))
        if jax.tree.structure(state) != jax.tree.structure(out) or wanted != given:
            raise InputError(f"step must return a state like {show(wanted)} (shapes), but it returns {show(given)}")


def signature_of(step: Callable[..., State]) -> tuple[dict[str, float | None], bool]:
    """The hyperparameters of a step with their defaults, None where there is none; and whether it takes any name.

    Args:
      step: ``step(state, **hyperparameters)``.

    Examples:
      >>> signature_of(lambda state, a, *, b=0.3: state)
      ({'a': None, 'b': 0.3}, False)
    """
    try:
        arguments = list(inspect.signature(step).parameters.values())
    except (TypeError, ValueError):  # not a function, or a builtin, which tells nothing
        return {}, False
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: dict[str, float | None] = {}
    for argument in arguments[1:]:
        if argument.kind in named:
            none = argument.default is inspect.Parameter.empty
            found[argument.name] = None if none else number(f"default of {argument.name}", argument.default)
    return found, any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in arguments)


def newton_cubic() -> Map:
    r"""Newton's method on :math:`z^3 - 1`, whose three basins share one fractal boundary.

    .. math:: z' = z - \frac{z^3 - 1}{3 z^2} = \tfrac23 z + \tfrac13 \frac{\bar z^2}{|z|^4}, \qquad z = x + i y

    References:
      Cayley, *The Newton-Fourier imaginary problem*, 1879.
      Daza, Wagemakers, Georgeot, Guéry-Odelin and Sanjuán, *Basin entropy: a new tool to analyze uncertainty in
      dynamical systems*, 2016.
    """
    height = math.sqrt(3) / 2
    return Map(
        name="newton-cubic",
        step=_newton_cubic,
        state={"x": 1.0, "y": 0.0},
        attractors=({"x": 1.0, "y": 0.0}, {"x": -0.5, "y": height}, {"x": -0.5, "y": -height}),
        domain={"x": (-1.0, 1.0), "y": (-1.0, 1.0)},
        citation="Cayley, The Newton-Fourier imaginary problem, 1879",
    )


def grebogi_map() -> Map:
    r"""A map of the cylinder with two attracting fixed points and a fractal boundary between their basins.

    .. math::
        \theta' &= \theta + 1.32 \sin 2\theta - 0.9 \sin 4\theta - x \sin\theta \pmod{2\pi} \\
        x' &= -0.3 \cos\theta

    Its attractors are (0, -0.3) and (pi, 0.3).

    References:
      Grebogi, McDonald, Ott and Yorke, *Final state sensitivity: an obstruction to predictability*, 1983.
    """
    return Map(
        name="grebogi-map",
        step=_grebogi,
        state={"theta": 0.0, "x": 0.0},
        wrap={"theta": 2 * math.pi},
        attractors=({"theta": 0.0, "x": -0.3}, {"theta": math.pi, "x": 0.3}),
        domain={"theta": (0.0, 2 * math.pi), "x": (-0.5, 0.5)},
        citation="Grebogi, McDonald, Ott and Yorke, Final state sensitivity: an obstruction to predictability, 1983",
    )


def henon() -> Map:
    r"""The Hénon map: with the usual ``a = 1.4``, ``b = 0.3`` a chaotic attractor, and orbits that escape.

    .. math:: x' = 1 - a x^2 + y, \qquad y' = b x

    References:
      Hénon, *A two-dimensional mapping with a strange attractor*, 1976.
    """
    return Map(
        name="henon",
        step=_henon,
        state={"x": 0.0, "y": 0.0},
        domain={"x": (-2.0, 2.0), "y": (-2.0, 2.0)},
        citation="Hénon, A two-dimensional mapping with a strange attractor, 1976",
    )


def cubic_map() -> Map:
    r"""Gradient descent on the double well :math:`x^4/4 - x^2/2`, written as a map.

    .. math:: x' = x - \eta (x^3 - x)

    For learning rates :math:`\eta` in (0, 2] it diverges iff :math:`|x_0| > \sqrt{1 + 2/\eta}`; the minima -1 and 1
    attract below :math:`\eta = 1`.
    """
    return Map(
        name="cubic-map",
        step=_cubic,
        state={"x": 1.0},
        attractors=({"x": -1.0}, {"x": 1.0}),
        domain={"x": (-3.0, 3.0), "learning_rate": (0.1, 0.9)},
        citation="derived: |x1| > |x0| iff |x0| > sqrt(1 + 2 / learning_rate)",
    )


def logistic() -> Map:
    r"""The logistic map: periods 1, 2, 4, ... and chaos as its parameter grows.

    .. math:: x' = r x (1 - x)

    References:
      May, *Simple mathematical models with very complicated dynamics*, 1976.
    """
    return Map(
        name="logistic",
        step=_logistic,
        state={"x": 0.5},
        domain={"x": (0.0, 1.0), "r": (2.5, 4.0)},
        citation="May, Simple mathematical models with very complicated dynamics, 1976",
    )


MAPS: dict[str, Callable[[], Map]] = {
    "newton-cubic": newton_cubic,
    "grebogi-map": grebogi_map,
    "henon": henon,
    "cubic-map": cubic_map,
    "logistic": logistic,
}


# One function object for each map, so that it compiles once.


def _newton_cubic(state):
    x, y = state["x"], state["y"]
    scale = 1 / (3 * jnp.square(x * x + y * y))
    return {"x": 2 / 3 * x + scale * (x * x - y * y), "y": 2 / 3 * y - scale * (2 * x * y)}


def _grebogi(state):
    theta, x = state["theta"], state["x"]
    turned = theta + 1.32 * jnp.sin(2 * theta) - 0.9 * jnp.sin(4 * theta) - x * jnp.sin(theta)
    return {"theta": turned, "x": -0.3 * jnp.cos(theta)}


def _henon(state, a=1.4, b=0.3):
    x, y = state["x"], state["y"]
    return {"x": 1 - a * x * x + y, "y": b * x}


def _cubic(state, learning_rate=0.5):
    x = state["x"]
    return {"x": x - learning_rate * (x * x * x - x)}


def _logistic(state, r=3.2):
    x = state["x"]
    return {"x": r * x * (1 - x)}
