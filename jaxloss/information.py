"""Information content, entropy and divergences, where 0 log 0 = 0 holds in values and in gradients.

Distributions lie on the last axis. Logarithms are natural; ``base=2`` gives bits.
"""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss.errors import InputError


def paired(first: ArrayLike, second: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Two arrays of one shape, in one floating dtype.

    Args:
      first: shape ``[...]``.
      second: the same shape.

    Returns:
      Both, in their common floating dtype.

    Raises:
      AssertionError: the shapes differ.

    Examples:
      >>> [array.dtype.name for array in paired(jnp.zeros(2), jnp.array([0, 1]))]
      ['float32', 'float32']
    """
    first, second = jnp.asarray(first), jnp.asarray(second)
    chex.assert_equal_shape([first, second])
    dtype = jnp.result_type(first, second, float)
    return first.astype(dtype), second.astype(dtype)


def with_partials(*partials: Callable, axis: int | None = None) -> Callable[[Callable], Callable]:
    """Decorate a function of arrays of one shape with its partial derivatives.

    A partial derivative that is not asked for is never multiplied by a tangent, so an infinite one does no
    harm. The derivatives may themselves be differentiated.

    Args:
      *partials: one function for each argument, of all the arguments.
      axis: the axis over which the decorated function sums; None if it acts on each element.

    Returns:
      The decorator.

    Examples:
      >>> square_root = with_partials(lambda x: 0.5 / jnp.sqrt(x))(jnp.sqrt)
      >>> jax.grad(square_root)(0.0).tolist()
      inf
    """

    def decorate(function: Callable) -> Callable:
        decorated = jax.custom_jvp(function)

        def jvp(primals, tangents):
            moving = [
                partial(*primals) * tangent
                for partial, tangent in zip(partials, tangents, strict=True)
                if not isinstance(tangent, SymbolicZero)
            ]
            total = sum(moving[1:], moving[0])
            return decorated(*primals), total if axis is None else jnp.sum(total, axis=axis)

        decorated.defjvp(jvp, symbolic_zeros=True)
        return decorated

    return decorate


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """Product in which 0 times infinity is 0.

    Args:
      x: shape ``[...]``.
      y: the same shape.

    Returns:
      Products, shape ``[...]``.

    Examples:
      >>> product(jnp.array([0.0, 2.0]), jnp.array([jnp.inf, jnp.inf])).tolist()
      [0.0, inf]
    """
    return jnp.where((x == 0) & jnp.isinf(y), 0, x * y)


def _ratio(x, y):
    """Quotient in which 0 / 0 is 0."""
    return x / jnp.where((x == 0) & (y == 0), 1, y)


@with_partials(lambda x, y: jnp.log(y), _ratio)
def x_log_y(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""A logarithm with a weight, where a weight of 0 leaves nothing.

    .. math:: x \log y, \quad 0 \log 0 = 0

    Args:
      x: weights, shape ``[...]``.
      y: numbers in [0, inf), the same shape and dtype.

    Returns:
      Weighted logarithms, shape ``[...]``.

    Examples:
      >>> x_log_y(jnp.array([0.0, 2.0]), jnp.array([0.0, 1.0])).tolist()
      [0.0, 0.0]
      >>> jax.grad(x_log_y, argnums=1)(0.0, 0.0).tolist()
      0.0
    """
    return product(x, jnp.log(y))


@with_partials(lambda x, y: jnp.log1p(y), lambda x, y: _ratio(x, 1 + y))
def x_log1p_y(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""`x_log_y` about 1, accurate for small ``y``.

    .. math:: x \log(1 + y), \quad 0 \log 0 = 0

    Args:
      x: weights, shape ``[...]``.
      y: numbers in [-1, inf), the same shape and dtype.

    Returns:
      Weighted logarithms, shape ``[...]``.

    Examples:
      >>> x_log1p_y(jnp.array([0.0, 2.0]), jnp.array([-1.0, 0.0])).tolist()
      [0.0, 0.0]
    """
    return product(x, jnp.log1p(y))


@with_partials(
    lambda p, q: jnp.where(q == 0, jnp.inf, jnp.log(p) - jnp.log(q) + 1),
    lambda p, q: -_ratio(p, q),
)
def _p_log_p_over_q(p, q):
    """Terms of the Kullback-Leibler divergence, from logarithms: the ratio itself may overflow."""
    return x_log_y(p, p) - x_log_y(p, q)


def _in_units_of(base: float | None, nats: jax.Array) -> jax.Array:
    if base is None:
        return nats
    if not base > 0 or base == 1:
        raise InputError(f"base must be positive and not 1, or None for natural logarithms, not {base}")
    return nats / math.log(base)


def information_content(p: ArrayLike, *, base: float | None = None) -> jax.Array:
    r"""Information content of an event: the rarer, the more.

    .. math:: I(p) = \log \frac{1}{p} = -\log p

    Args:
      p: probabilities, shape ``[...]``.
      base: base of the logarithm: None for nats, 2 for bits.

    Returns:
      Information contents, shape ``[...]``; ``inf`` for an impossible event.

    Raises:
      InputError: ``base`` is not positive, or is 1.

    References:
      Shannon, *A mathematical theory of communication*, 1948.

    Examples:
      A toss of a coin tells 1 bit, a character out of 256 tells 8 bits:

      >>> bits = information_content(jnp.array([1 / 2, 1 / 256]), base=2)
      >>> [round(b, 5) for b in bits.tolist()]
      [1.0, 8.0]
    """
    return _in_units_of(base, -jnp.log(jnp.asarray(p)))


def entropy(p: ArrayLike, *, base: float | None = None) -> jax.Array:
    r"""Entropy of a distribution, its expected information content.

    .. math:: H(P) = -\sum_i P(a_i) \log P(a_i)

    Args:
      p: probabilities, shape ``[..., k]``.
      base: base of the logarithm: None for nats, 2 for bits.

    Returns:
      Entropies in [0, log k], shape ``[...]``.

    Raises:
      InputError: ``base`` is not positive, or is 1.

    References:
      Shannon, *A mathematical theory of communication*, 1948.

    Examples:
      >>> round(entropy(jnp.array([0.5, 0.5, 0.0]), base=2).item(), 5)
      1.0
    """
    p, _ = paired(p, p)
    return _in_units_of(base, -jnp.sum(x_log_y(p, p), axis=-1))


def cross_entropy(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> jax.Array:
    r"""Information content under one distribution, averaged over another.

    .. math:: H(P, Q) = -\sum_i P(a_i) \log Q(a_i) = H(P) + D(P \| Q)

    Args:
      p: true probabilities, shape ``[..., k]``.
      q: assumed probabilities, the same shape.
      base: base of the logarithm: None for nats, 2 for bits.

    Returns:
      Cross-entropies, shape ``[...]``; ``inf`` where ``q`` calls impossible what happens.

    Raises:
      AssertionError: the shapes differ.
      InputError: ``base`` is not positive, or is 1.

    References:
      Cover, Thomas, *Elements of information theory*, 2006.

    Examples:
      >>> round(cross_entropy(jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75]), base=2).item(), 4)
      1.2075
    """
    return _in_units_of(base, -jnp.sum(x_log_y(*paired(p, q)), axis=-1))


def kl_divergence(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> jax.Array:
    r"""Kullback-Leibler divergence, the information lost by assuming Q where P is true.

    .. math:: D(P \| Q) = \sum_i P(a_i) \log \frac{P(a_i)}{Q(a_i)}

    Args:
      p: true probabilities, shape ``[..., k]``.
      q: assumed probabilities, the same shape.
      base: base of the logarithm: None for nats, 2 for bits.

    Returns:
      Divergences, at least 0 up to rounding, shape ``[...]``.

    Raises:
      AssertionError: the shapes differ.
      InputError: ``base`` is not positive, or is 1.

    References:
      Kullback, Leibler, *On information and sufficiency*, 1951.

    Examples:
      >>> kl_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])).tolist()
      inf
    """
    return _in_units_of(base, jnp.sum(_p_log_p_over_q(*paired(p, q)), axis=-1))


def conditional_cross_entropy(targets: ArrayLike, predictions: ArrayLike, *, base: float | None = None) -> jax.Array:
    r"""Cross-entropy of the predictions, summed over labelled data.

    .. math:: -\sum_i \left[ P(y_i) \log Q(y_i) + (1 - P(y_i)) \log(1 - Q(y_i)) \right]

    Args:
      targets: true probabilities :math:`P(y_i)` of the label, shape ``[...]``.
      predictions: predicted probabilities :math:`Q(y_i)`, the same shape.
      base: base of the logarithm: None for nats, 2 for bits.

    Returns:
      The sum over all the data, a scalar.

    Raises:
      AssertionError: the shapes differ.
      InputError: ``base`` is not positive, or is 1.

    References:
      Cover, Thomas, *Elements of information theory*, 2006.

    Examples:
      >>> round(conditional_cross_entropy(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.75]), base=2).item(), 5)
      3.0
    """
    p, q = paired(targets, predictions)
    return _in_units_of(base, -jnp.sum(x_log_y(p, q) + x_log1p_y(1 - p, -q)))
