"""Models as pure functions of their parameters: one neuron, one layer, a multilayer perceptron."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxloss.activations import ACTIVATIONS
from jaxloss.errors import InputError, unknown

Params = Mapping[str, Any]


class Model(NamedTuple):
    """A model of n samples at once.

    Attributes:
      init: function of a random key to parameters, with the keyword-only options ``scale``, the standard
        deviation of the normal distribution of every weight and bias (one over the square root of the
        number of inputs of the node, unless given), and ``dtype``.
      preactivation: function of parameters and inputs to what the output activation is applied to; losses
        take it in their stable form.
      apply: function of parameters and inputs to predictions.
    """

    init: Callable[..., dict[str, Any]]
    preactivation: Callable[[Params, ArrayLike], jax.Array]
    apply: Callable[[Params, ArrayLike], jax.Array]


def affine(params: Params, inputs: ArrayLike) -> jax.Array:
    r"""Preactivations of a neuron or a layer.

    .. math:: z_i = W x_i + b

    Args:
      params: ``weight`` of shape ``[d]`` (a neuron) or ``[outputs, d]`` (a layer), and ``bias`` of shape
        ``[]`` or ``[outputs]``, which may be left out.
      inputs: shape ``[n, d]``.

    Returns:
      Preactivations, shape ``[n]`` or ``[n, outputs]``.

    Raises:
      AssertionError: the inputs have another number of axes or of features.

    Examples:
      >>> affine({"weight": jnp.array([1.0, 2.0]), "bias": 0.5}, jnp.ones((1, 2))).tolist()
      [3.5]
    """
    inputs, weight = jnp.asarray(inputs), jnp.asarray(params["weight"])
    chex.assert_shape(inputs, (None, weight.shape[-1]))
    z = inputs @ weight.T
    return z + jnp.expand_dims(params["bias"], 0) if "bias" in params else z


def _single_layer(weight_shape: tuple[int, ...], activation: str, bias: bool) -> Model:
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if min(weight_shape) < 1:
        raise InputError(f"a model needs at least 1 feature and 1 output, not sizes {weight_shape}")
    function = ACTIVATIONS[activation].function
    *outputs, num_features = weight_shape

    def init(key, *, scale=None, dtype=float):
        scale = num_features**-0.5 if scale is None else scale
        weight_key, bias_key = jax.random.split(key)
        params = {"weight": scale * jax.random.normal(weight_key, weight_shape, dtype)}
        if bias:
            params["bias"] = scale * jax.random.normal(bias_key, outputs, dtype)
        return params

    return Model(init, affine, lambda params, inputs: function(affine(params, inputs)))


def neuron(num_features: int, activation: str, bias: bool = True) -> Model:
    r"""A single neuron.

    .. math:: y_i = h(w \cdot x_i + b)

    Its parameters are ``{"weight": [d], "bias": []}``.

    Args:
      num_features: number d of features.
      activation: name of h in `jaxloss.activations.ACTIVATIONS`, softmax excepted.
      bias: whether there is a bias.

    Returns:
      A `Model` from inputs ``[n, d]`` to predictions ``[n]``.

    Raises:
      InputError: the activation is unknown or is softmax, or there is no feature.

    References:
      Rosenblatt, *The perceptron: a probabilistic model for information storage and organization in the
      brain*, 1958.

    Examples:
      >>> model = neuron(2, "relu")
      >>> params = {"weight": jnp.array([1.0, -1.0]), "bias": 0.5}
      >>> model.apply(params, jnp.array([[2.0, 1.0], [0.0, 3.0]])).tolist()
      [1.5, 0.0]
      >>> jax.tree.map(jnp.shape, model.init(jax.random.key(0)))
      {'bias': (), 'weight': (2,)}
    """
    if activation == "softmax":
        raise InputError("the activation 'softmax' needs a layer with two or more outputs, not a neuron")
    return _single_layer((num_features,), activation, bias)


def layer(num_features: int, num_outputs: int, activation: str, bias: bool = True) -> Model:
    r"""A single layer of neurons.

    .. math:: y_i = h(W x_i + b)

    Its parameters are ``{"weight": [outputs, d], "bias": [outputs]}``.

    Args:
      num_features: number d of features.
      num_outputs: number of output nodes.
      activation: name of h in `jaxloss.activations.ACTIVATIONS`.
      bias: whether there is a bias for each node.

    Returns:
      A `Model` from inputs ``[n, d]`` to predictions ``[n, outputs]``.

    Raises:
      InputError: the activation is unknown, or there is no feature or no output.

    Examples:
      >>> model = layer(2, 3, "softmax")
      >>> params = model.init(jax.random.key(0), scale=0.0)
      >>> [round(p, 4) for p in model.apply(params, jnp.ones((1, 2)))[0].tolist()]
      [0.3333, 0.3333, 0.3333]
    """
    return _single_layer((num_outputs, num_features), activation, bias)


def multilayer_perceptron(sizes: Sequence[int], activations: Sequence[str], bias: bool = True) -> Model:
    r"""Layers in a row.

    .. math:: x^{(l + 1)} = h_l(W_l x^{(l)} + b_l)

    Its parameters are ``{"layer_0": {"weight": [sizes[1], sizes[0]], "bias": [sizes[1]]}, "layer_1": ...}``.

    Args:
      sizes: number of features, of the nodes of each hidden layer, and of outputs: ``(2, 2, 1)`` is the
        smallest network for XOR.
      activations: one name in `jaxloss.activations.ACTIVATIONS` for each layer.
      bias: whether there is a bias for each node.

    Returns:
      A `Model` from inputs ``[n, sizes[0]]`` to predictions ``[n, sizes[-1]]``.

    Raises:
      InputError: an activation is unknown, a size is less than 1, or the two lengths do not go together.

    References:
      Rumelhart, Hinton, Williams, *Learning representations by back-propagating errors*, 1986.

    Examples:
      >>> model = multilayer_perceptron((2, 2, 1), ("tanh", "sigmoid"))
      >>> params = model.init(jax.random.key(0))
      >>> jax.tree.map(jnp.shape, params["layer_1"])
      {'bias': (1,), 'weight': (1, 2)}
      >>> model.apply(params, jnp.ones((4, 2))).shape
      (4, 1)
    """
    if len(sizes) < 2 or len(activations) != len(sizes) - 1:
        raise InputError(
            f"a perceptron needs two or more sizes and one activation fewer, not {len(sizes)} and {len(activations)}"
        )
    layers = {
        f"layer_{i}": layer(fan_in, fan_out, activation, bias)
        for i, ((fan_in, fan_out), activation) in enumerate(zip(pairwise(sizes), activations, strict=True))
    }
    *hidden, last = layers
    output = ACTIVATIONS[activations[-1]].function

    def init(key, **options):
        keys = jax.random.split(key, len(layers))
        return {name: layers[name].init(k, **options) for name, k in zip(layers, keys, strict=True)}

    def preactivation(params, inputs):
        for name in hidden:
            inputs = layers[name].apply(params[name], inputs)
        return layers[last].preactivation(params[last], inputs)

    return Model(init, preactivation, lambda params, inputs: output(preactivation(params, inputs)))
