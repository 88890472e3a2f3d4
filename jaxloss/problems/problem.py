"""What is minimised: an objective of the parameters, and the names of those parameters."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, jaxprs_in_params

from jaxloss.checks import (
    check_function,
    flag,
    items,
    leaves_like,
    number,
    real_array,
    real_leaves,
    show,
    text,
    texts,
)
from jaxloss.errors import InputError

Params = Any
"""Any pytree of numbers and arrays."""


class Neuron(NamedTuple):
    """What is known of the objective of a single neuron, whose data are (inputs ``[n, d]``, targets ``[n]``).

    Attributes:
      activation: a name of `jaxloss.activations.ACTIVATIONS`.
      loss: a name of `jaxloss.losses.LOSSES`.
      bias: whether there is a bias; it is the first parameter.
    """

    activation: str
    loss: str
    bias: bool

    def inputs(self, data: Any) -> np.ndarray:
        """The inputs with a column of ones for the bias, so that preactivations are their products with the point."""
        inputs = np.asarray(data[0], np.float64)
        return np.column_stack([np.ones(len(inputs)), inputs]) if self.bias else inputs


@functools.lru_cache(maxsize=256)
def _without_data(objective: Callable[[Params], jax.Array]) -> Callable[[Params, Any], jax.Array]:
    """The objective with an unused data argument; cached, so that one objective compiles once."""
    return lambda params, data: objective(params)


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective and the pytree of parameters it is minimised over.

    Args:
      name: a short name, used in tables, figures and file names.
      objective: ``params -> scalar``, any function that JAX can differentiate twice.
      params: the template of the parameters, any pytree of numbers and arrays; also the value of every
        parameter that no grid axis sets.
      data: optional pytree of arrays with the samples along the first axis. With ``data``, the objective that
        runs is ``batch_objective(params, data)``; minibatches are rows of ``data``.
      batch_objective: ``(params, data) -> scalar``; required with ``data``, in place of ``objective``.
      outputs: optional ``(params, data) -> array``, the model's outputs. Attractors that only differ by a
        symmetry of the parameters (hidden units swapped) are then counted as one.
      infimum: the greatest lower bound of the objective, where it is known.
      piecewise: whether the objective has pieces (ReLU, max, abs), on which its gradient may vanish exactly.
        Read off the objective's program when not given.
      critical_points: known critical points, each a pytree like ``params``; they seed the search.
      summary: one line for the list of problems.
      facts: what is known of it, one sentence each, with its source.
      citation: where the problem comes from.
      neuron: set by `neuron_problem`: what the proofs that hold for neurons only need to know.

    Raises:
      InputError: a field that is of the wrong kind or does not fit ``params``, or an objective that does not return
        one real number for them.

    Examples:
      >>> bowl = Problem(name="bowl", objective=lambda p: p["w"] ** 2 + p["b"] ** 2, params={"w": 0.0, "b": 0.0})
      >>> bowl.parameter_names
      ('b', 'w')
      >>> float(bowl.objective({"w": 3.0, "b": 4.0}))
      25.0
    """

    name: str
    objective: Callable[[Params], jax.Array] = None  # pyright: ignore[reportAssignmentType]
    params: Params = None
    data: Any = ()
    batch_objective: Callable[[Params, Any], jax.Array] | None = None
    outputs: Callable[[Params, Any], jax.Array] | None = None
    infimum: float | None = None
    piecewise: bool | None = None
    critical_points: tuple[Params, ...] = ()
    summary: str = ""
    facts: tuple[str, ...] = ()
    citation: str = ""
    neuron: Neuron | None = None

    def __post_init__(self):
        set_field = functools.partial(object.__setattr__, self)
        for field in ("name", "summary", "citation"):
            set_field(field, text(field, getattr(self, field)))
        set_field("facts", texts("facts", self.facts))
        if not self.name:
            raise InputError("name must hold at least one character")
        set_field("params", real_leaves("params", self.params))
        if not self.num_parameters:
            raise InputError("params must hold at least one number: it is the template of the parameters")
        if len(set(self.parameter_names)) != self.num_parameters:
            raise InputError(f"params: two parameters bear the same name, among {show(self.parameter_names)}")
        _check_data(self.data)
        if (self.objective is None) == (self.batch_objective is None):
            raise InputError("a problem needs either objective(params) or batch_objective(params, data)")
        both = (self.params, self.data)
        if self.batch_objective is None:
            alone = "the parameters alone (data go with batch_objective)"
            check_function("objective", self.objective, (self.params,), alone)
            if jax.tree.leaves(self.data):
                raise InputError("data must come with batch_objective(params, data): objective(params) ignores them")
            set_field("batch_objective", _without_data(self.objective))
        else:
            check_function("batch_objective", self.batch_objective, both, "the parameters and the data")
            batch_objective, data = self.batch_objective, self.data
            set_field("objective", lambda params: batch_objective(params, data))
        if self.outputs is not None:
            check_function("outputs", self.outputs, both, "the parameters and the data")
        if self.infimum is not None:
            set_field("infimum", number("infimum", self.infimum))
        points = items("critical_points", self.critical_points, "a tuple of pytrees like params")
        known = (leaves_like(f"critical_points[{i}]", point, self.params) for i, point in enumerate(points))
        set_field("critical_points", tuple(known))
        with np.errstate(over="ignore"):  # data beyond float32 are for float64
            _check_scalar(self.objective, self.params)
            pieces = _has_pieces(self.objective, self.params) if self.piecewise is None else self.piecewise
        set_field("piecewise", flag("piecewise", pieces))

    @functools.cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """One name for each scalar parameter, in the order of `ravel`: ``bias``, ``weight[0]``, ..."""
        return parameter_names(self.params)

    @property
    def num_parameters(self) -> int:
        """How many scalar parameters there are."""
        return self.structure.num_parameters

    @functools.cached_property
    def closes_over_arrays(self) -> bool:
        """Whether the objective uses NumPy arrays other than ``params`` and ``data``."""
        return bool(self.array_constants(np.dtype(np.float32)))

    def array_constants(self, dtype: np.dtype) -> list[np.ndarray]:
        """The NumPy arrays that the objective closes over, as JAX sees them now, for parameters of one dtype."""
        assert self.batch_objective is not None
        params, data = jax.tree.map(lambda leaf: np.array(leaf, dtype), (self.params, self.data))
        return array_constants(self.batch_objective, params, data)

    @functools.cached_property
    def structure(self) -> "Structure":
        """The shape of the parameters."""
        return Structure.of(self.params)

    def ravel(self, params: Params) -> Any:
        """Parameters with any leading axes, as one array ``[..., parameter]``."""
        return self.structure.ravel(params)

    def unravel(self, vector: Any) -> Params:
        """The inverse of `ravel`: ``[..., parameter]`` to a pytree with the same leading axes."""
        return self.structure.unravel(vector)


def array_constants(function: Callable, *args: Any, **options: Any) -> list[np.ndarray]:
    """The NumPy arrays that a function closes over, as JAX sees them now, for arguments like these."""
    closed = jax.make_jaxpr(_afresh(function))(*args, **options)
    literals = [atom.val for eqn in closed.jaxpr.eqns for atom in eqn.invars if isinstance(atom, Literal)]
    return [c for c in (*closed.consts, *literals) if isinstance(c, np.ndarray) and c.ndim > 0]


class Structure(NamedTuple):
    """The shape of a pytree of arrays; hashable, so that equal structures compile once.

    Examples:
      >>> structure = Structure.of({"weight": np.zeros(2), "bias": np.zeros(())})
      >>> structure.unravel(np.array([1.0, 2.0, 3.0]))
      {'bias': array(1.), 'weight': array([2., 3.])}
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Params) -> "Structure":
        """The structure of a pytree."""
        leaves, treedef = jax.tree.flatten(params)
        return cls(treedef, tuple(np.shape(leaf) for leaf in leaves))

    @property
    def num_parameters(self) -> int:
        """How many scalars the pytree holds."""
        return sum(map(math.prod, self.shapes))

    def ravel(self, params: Params) -> Any:
        """A pytree whose leaves have any leading axes, as one array ``[..., parameter]``."""
        leaves = jax.tree.leaves(params)
        module = jnp if any(isinstance(leaf, jax.Array) for leaf in leaves) else np
        leaves = [module.asarray(leaf) for leaf in leaves]
        return module.concatenate(
            [
                leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], math.prod(shape))
                for leaf, shape in zip(leaves, self.shapes, strict=True)
            ],
            axis=-1,
        )

    def unravel(self, vector: Any) -> Params:
        """The inverse of `ravel`."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + math.prod(shape)
            leaves.append(vector[..., start:stop].reshape(vector.shape[:-1] + shape))
            start = stop
        return jax.tree.unflatten(self.treedef, leaves)


def parameter_names(params: Params) -> tuple[str, ...]:
    """The name of each scalar in a pytree: its path, and its index inside an array leaf.

    Args:
      params: any pytree of numbers and arrays.

    Returns:
      Names in the order in which JAX flattens the tree.

    Examples:
      >>> parameter_names({"weight": np.zeros(2), "bias": 0.0})
      ('bias', 'weight[0]', 'weight[1]')
      >>> parameter_names({"layer_0": {"weight": np.zeros((1, 2))}})
      ('layer_0.weight[0,0]', 'layer_0.weight[0,1]')
    """
    names = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        base = jax.tree_util.keystr(path, simple=True, separator=".") or "params"
        indices = np.ndindex(np.shape(leaf))
        names += [f"{base}[{','.join(map(str, i))}]" if i else base for i in indices]
    return tuple(names)


def _check_data(data: Any) -> None:
    shapes = [
        real_array("data", leaf, "arrays of real numbers", finite=False).shape for leaf in jax.tree.leaves(data)
    ]
    if shapes and (() in shapes or len({shape[0] for shape in shapes}) > 1 or shapes[0][0] == 0):
        raise InputError(f"data must be arrays with one or more samples along the first axis, not of shapes {shapes}")


def _afresh(function: Callable) -> Callable:
    """The function as a throw-away object: a cached trace would fix the precision of the arrays it closes over."""
    return functools.partial(function)


def _check_scalar(objective: Callable[[Params], jax.Array], params: Params) -> None:
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), params)
    out = jax.eval_shape(_afresh(objective), template)
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise InputError(f"objective must return one real number for params, but it returns {show(out)}")


def _has_pieces(objective: Callable[[Params], jax.Array], params: Params) -> bool:
    """Whether the program of the objective chooses between branches, so that it need not be analytic."""
    choices = {"max", "min", "abs", "sign", "select_n", "clamp", "reduce_max", "reduce_min", "floor", "ceil"}

    # Softplus and its kin are analytic, though JAX evaluates them by choosing the larger argument.
    analytic = {"logaddexp", "logaddexp2"}

    def visit(jaxpr) -> bool:
        return any(
            eqn.primitive.name in choices or any(visit(sub) for sub in jaxprs_in_params(eqn.params))
            for eqn in jaxpr.eqns
            if eqn.params.get("name") not in analytic
        )

    return visit(jax.make_jaxpr(_afresh(objective))(params).jaxpr)
