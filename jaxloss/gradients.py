r"""Gradients of one layer in closed form: the delta rule.

With :math:`z_i = W x_i + b`, every cost over the samples has

.. math::
  \frac{\partial J}{\partial W_k} = \sum_i \delta_{ik} x_i, \qquad
  \frac{\partial J}{\partial b_k} = \sum_i \delta_{ik}, \qquad
  \delta_{ik} = \frac{\partial J}{\partial z_{ik}},

and the losses differ in :math:`\delta` only. For an elementwise activation, the gradient with respect to
the row of one output node involves the error of that node alone.
"""

from collections.abc import Callable
from typing import TypeVar

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxloss.activations import ACTIVATIONS
from jaxloss.losses import LOSSES, cost_of
from jaxloss.models import Params, affine

Tree = TypeVar("Tree")

_ERROR_FACTORS = {"mse": 2, "half_mse": 1, "sse": 2, "half_sse": 1}


def delta_of(activation: str, loss: str) -> Callable[[ArrayLike, ArrayLike], jax.Array]:
    r"""The derivative of a cost with respect to the preactivations, in closed form.

    For a squared error, with the factor c = 2/n (``mse``), 1/n (``half_mse``), 2 (``sse``) or 1
    (``half_sse``),

    .. math:: \delta_{ik} = c \, (h(z_{ik}) - t_{ik}) \, h'(z_{ik}),

    which vanishes where h saturates, however wrong the output is. For cross-entropy and any matching loss

    .. math:: \delta_{ik} = \frac{1}{n} (h(z_{ik}) - t_{ik}).

    With softmax, :math:`h'` is the Jacobian, and targets count as distributions: each row sums to 1.

    Args:
      activation: a name in `jaxloss.activations.ACTIVATIONS`.
      loss: a name in `jaxloss.losses.LOSSES`.

    Returns:
      A function of preactivations and targets, both of shape ``[n]`` or ``[n, outputs]``, to deltas of that
      shape.

    Raises:
      InputError: a name is unknown, or the loss does not go with the activation.

    References:
      Widrow, Hoff, *Adaptive switching circuits*, 1960.

    Examples:
      A neuron saturated on the wrong side learns by cross-entropy, not by squared error:

      >>> z, t = jnp.array([40.0]), jnp.array([0.0])
      >>> delta_of("sigmoid", "cross_entropy")(z, t).tolist()
      [1.0]
      >>> bool(delta_of("sigmoid", "mse")(z, t)[0] < 1e-16)
      True
    """
    cost_of(activation, loss)  # raises if the names are wrong or do not go together
    function, derivative, *_ = ACTIVATIONS[activation]

    def delta(preactivations, targets):
        z, t = jnp.asarray(preactivations), jnp.asarray(targets)
        chex.assert_equal_shape([z, t])
        error = function(z) - t
        if loss in _ERROR_FACTORS:
            slope = derivative(z)
            pulled_back = error * slope if slope.ndim == z.ndim else jnp.einsum("ij,ijk->ik", error, slope)
            error = _ERROR_FACTORS[loss] * pulled_back
        return error / z.shape[0] if LOSSES[loss].averaged else error

    return delta


def gradient_of(activation: str, loss: str) -> Callable[[Params, ArrayLike, ArrayLike], dict[str, jax.Array]]:
    r"""The gradient of the cost of a neuron or a layer, in closed form.

    .. math:: \nabla_W J = \delta^T X, \qquad \nabla_b J = \delta^T 1

    For ``half_mse`` and the identity this is :math:`\frac{1}{n} X^T (y - t)`.

    Args:
      activation: a name in `jaxloss.activations.ACTIVATIONS`.
      loss: a name in `jaxloss.losses.LOSSES`.

    Returns:
      A function of the parameters of `jaxloss.models.neuron` or `jaxloss.models.layer`, inputs ``[n, d]`` and
      targets ``[n]`` or ``[n, outputs]``, to the gradient, a pytree like the parameters.

    Raises:
      InputError: a name is unknown, or the loss does not go with the activation.

    References:
      Widrow, Hoff, *Adaptive switching circuits*, 1960.
      Rumelhart, Hinton, Williams, *Learning representations by back-propagating errors*, 1986.

    Examples:
      >>> params = {"weight": jnp.array([1.0]), "bias": jnp.array(0.0)}
      >>> gradient = gradient_of("identity", "half_mse")(params, jnp.array([[1.0], [2.0]]), jnp.zeros(2))
      >>> gradient["weight"].tolist(), gradient["bias"].tolist()
      ([2.5], 1.5)
    """
    delta = delta_of(activation, loss)

    def gradient(params, inputs, targets):
        deltas = delta(affine(params, inputs), targets)
        parts = {"weight": deltas.T @ jnp.asarray(inputs), "bias": jnp.sum(deltas, axis=0)}
        return {name: parts[name] for name in params}

    return gradient


def descent_step(point: Tree, gradient: Tree, learning_rate: ArrayLike) -> Tree:
    r"""One step of gradient descent, against the gradient: the direction in which the loss falls fastest.

    .. math:: W \leftarrow W - \eta \nabla L(W)

    Args:
      point: parameters, any pytree.
      gradient: the gradient there, a pytree like ``point``.
      learning_rate: the step size :math:`\eta`, a scalar.

    Returns:
      The next point, a pytree like ``point``.

    References:
      Cauchy, *Méthode générale pour la résolution des systèmes d'équations simultanées*, 1847.

    Examples:
      Down the bowl x0² + x1² from (-3, 4), by way of (-2.4, 3.2):

      >>> gradient = jax.grad(lambda x: jnp.sum(x**2))
      >>> x = jnp.array([-3.0, 4.0])
      >>> for _ in range(2):
      ...     x = descent_step(x, gradient(x), learning_rate=0.1)
      ...     print([round(entry, 4) for entry in x.tolist()])
      [-2.4, 3.2]
      [-1.92, 2.56]
    """
    return jax.tree.map(lambda x, slope: x - learning_rate * slope, point, gradient)
