"""Elementary functions in plain additions, products and divisions, faster on a CPU than what XLA makes of its own.

XLA writes exp, log and their relatives out for vectors itself, or, as log in float64, calls the scalar library for
each element. The functions here are elementwise operations of `jax.lax` only: no table, no branch, no conversion
between float and integer but where the hardware has it. Each element is computed alone, by the same operations
wherever it stands.

`FAST` maps the names of JAX's primitives to them, for an interpreter of jaxprs to substitute. That must happen after
differentiation: bit patterns have no derivative, so that those of the functions here are not to be trusted.

Largest errors in units in the last place, against 80-bit results at some 10 million arguments (XLA 0.10.1's own in
brackets), results below the smallest normal number apart:

========  ==========  ===========
function  float32     float64
========  ==========  ===========
exp       1.1 (5.4)   1.2 (1.7)
expm1     1.6 (5.6)   2.7 (4.5)
log       1.0 (1.2)   1.3 (0.6)
log1p     1.5 (2.5)   1.8 (129)
logistic  2.4 (2.5)   2.5 (2.6)
tanh      2.8 (4.8)   3.1 (7.3)
========  ==========  ===========

The coefficients are near-minimax, rounded to the format one after the other. The reductions keep their accuracy
because LLVM contracts a product and a sum into one operation; XLA lets it do so on every CPU that has it.

References:
  Cody, Waite (1980): Software Manual for the Elementary Functions, chapters 5, 6 and 12.
  Muller (2016): Elementary Functions, 3rd edition, chapters 3 and 11.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453


class _Format(NamedTuple):
    """One floating point format, and the coefficients that suffice for its precision."""

    real: Any
    integer: Any
    mantissa: int  # bits
    bias: int  # of the exponent
    ln2: tuple[float, float]  # the high part ends in zeros enough to make its product with an exponent exact
    range: tuple[float, float]  # of the arguments whose exponentials are neither subnormal nor infinite
    far: float  # exp(-far) is lost beside 1
    exp: tuple[float, ...]  # (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, where that is faster than a division
    coth: tuple[float, ...]  # (r coth(r / 2) - 2) / r^2 in powers of r^2, there
    atanh: tuple[float, ...]  # (2 atanh(s) / s - 2) / s^2 in powers of s^2, on |s| <= (sqrt(2) - 1)^2


# fmt: off
_FORMATS = {
    np.dtype(np.float32): _Format(
        real=np.float32, integer=np.int32, mantissa=23, bias=127,
        ln2=(0.693145751953125, 1.428606820309417e-06), range=(-87.33654022216797, 88.72283172607422), far=20.0,
        exp=(0.4999999701976776, 0.1666654497385025, 0.04166748747229576, 0.008366410620510578, 0.00138659228105098),
        coth=(0.16666625440120697, -0.0027667065151035786),
        atanh=(0.6666677594184875, 0.3997757136821747, 0.29871347546577454),
    ),
    np.dtype(np.float64): _Format(
        real=np.float64, integer=np.int64, mantissa=52, bias=1023,
        ln2=(0.6931471803691238, 1.9082149292705877e-10), range=(-708.3964185322641, 709.782712893384), far=40.0,
        exp=(),
        coth=(0.166666666666666, -0.002777777777699029, 6.613756314699913e-05, -1.6533895065964916e-06,
              4.13787555010609e-08),
        atanh=(0.6666666666666735, 0.3999999999940986, 0.2857142874348152, 0.2222219845771578, 0.1818357052780048,
               0.15313886232579624, 0.1479765339336868),
    ),
}
# fmt: on


def _or_else(fallback: Callable) -> Callable[[Callable], Callable[[jax.Array], jax.Array]]:
    """The decorated function in the formats above, `fallback` in all others."""

    def decorate(function: Callable) -> Callable[[jax.Array], jax.Array]:
        @functools.wraps(function)
        def dispatched(x: jax.Array) -> jax.Array:
            x = jnp.asarray(x)
            return function(x) if x.dtype in _FORMATS else fallback(x)

        return dispatched

    return decorate


def _horner(x: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    return functools.reduce(lambda p, c: p * x + c, coefficients[-2::-1], jnp.full_like(x, coefficients[-1]))


def _bits(x: jax.Array, f: _Format) -> jax.Array:
    return lax.bitcast_convert_type(x, f.integer)


def _real(bits: jax.Array, f: _Format) -> jax.Array:
    return lax.bitcast_convert_type(bits, f.real)


def _nearest(x: jax.Array) -> jax.Array:
    return lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)


def _exponent(n: jax.Array, f: _Format) -> jax.Array:
    """The integers n in the place of the exponent: 1.5 2^mantissa + n has n in its lowest bits."""
    return _bits(n + 1.5 * 2.0**f.mantissa, f) << f.mantissa


def _power(n: jax.Array, f: _Format, offset: int = 0) -> jax.Array:
    """2^(n + offset); 0 and infinity one step beyond the normal numbers."""
    return _real(_bits(n + (1.5 * 2.0**f.mantissa + f.bias + offset), f) << f.mantissa, f)


def _reduced(x: jax.Array, f: _Format) -> tuple[jax.Array, jax.Array]:
    """The integer n nearest to x / ln 2, and r = x - n ln 2 after Cody and Waite."""
    n = _nearest(x * _LOG2E)
    return n, (x - n * f.ln2[0]) - n * f.ln2[1]


def _expm1_reduced(r: jax.Array, f: _Format) -> jax.Array:
    """exp(r) - 1 = r + r^2 (1/2 + r/6 + ...) = 2r / (r coth(r/2) - r) on |r| <= ln(2) / 2."""
    u = r * r
    if f.exp:
        return r + u * _horner(r, f.exp)
    return (r + r) / (2.0 - (r - u * _horner(u, f.coth)))


@_or_else(lax.exp)
def exp(x: jax.Array) -> jax.Array:
    """The exponential: n is added to the exponent of e^r, for x = n ln 2 + r.

    Returns:
      Infinity where `lax.exp` overflows, zero where that is subnormal.

    Examples:
      >>> exp(jnp.array([0.0, 1.0, -1000.0, 1000.0]))
      Array([1. , 2.7182817, 0. , inf], dtype=float32)
    """
    f = _FORMATS[x.dtype]
    n, r = _reduced(x, f)
    y = _real(_bits(1.0 + _expm1_reduced(r, f), f) + _exponent(n, f), f)
    y = jnp.where(x < f.range[0], 0.0, y)
    return jnp.where(x <= f.range[1], y, jnp.maximum(x, jnp.inf))


@_or_else(lax.expm1)
def expm1(x: jax.Array) -> jax.Array:
    """The exponential less one, 2 (s (exp(r) - 1) + s - 1/2) with s = 2^(n-1), which is finite where exp(x) is.

    Returns:
      exp(x) - 1, accurate near zero too.

    Examples:
      >>> expm1(jnp.array([-0.0, 1e-10, -1000.0]))
      Array([-0.e+00,  1.e-10, -1.e+00], dtype=float32)
    """
    f = _FORMATS[x.dtype]
    n, r = _reduced(lax.clamp(f.real(-2.0 * f.far), x, f.real(f.range[1] + 0.1)), f)
    s = _power(n, f, -1)
    y = 2.0 * (s * _expm1_reduced(r, f) - (0.5 - s))
    return jnp.where(jnp.abs(x) < 2.0 ** -(f.mantissa + 2), x, y)


@_or_else(lax.logistic)
def logistic(x: jax.Array) -> jax.Array:
    """The logistic function exp(x) / (exp(x) + 1), with exp(r) = (e + r) / (e - r) for e = r coth(r/2).

    So the one division serves the exponential and the quotient: 2^n (e + r) / (2^n (e + r) + (e - r)).

    Returns:
      1 / (1 + exp(-x)); its relative error is as small in the tail.

    Examples:
      >>> logistic(jnp.array([0.0, -80.0, 1000.0]))
      Array([5.0000000e-01, 1.8048513e-35, 1.0000000e+00], dtype=float32)
    """
    f = _FORMATS[x.dtype]
    n, r = _reduced(lax.clamp(f.real(f.range[0] - 0.5), x, f.real(2.0 * f.far)), f)
    e = _horner(r * r, (2.0, *f.coth))
    rising = _real(_bits(e + r, f) + _exponent(n, f), f)
    return rising / (rising + (e - r))


@_or_else(lax.tanh)
def tanh(x: jax.Array) -> jax.Array:
    """The hyperbolic tangent, (exp(2a) - 1) / (exp(2a) + 1) of a = |x|, with the sign of x.

    With a = n ln(2)/2 + h, b = h coth(h) and w = (2^n - 1) (b + h) / 2 it is (w + h) / (w + b): h / b near zero, and
    exactly 1 when w is so large that h and b are lost beside it.

    Returns:
      tanh(x), exactly odd.

    Examples:
      >>> tanh(jnp.array([-0.0, 0.5, -1000.0]))
      Array([-0. ,  0.462117..., -1. ], dtype=float32)
    """
    f = _FORMATS[x.dtype]
    a = jnp.minimum(jnp.abs(x), f.far)
    n = _nearest(a * (2.0 * _LOG2E))
    h = a - n * (_LN2 / 2.0)  # n is small, and so is the error of ln 2
    b = _horner(h * h, (1.0, *(c * 2.0 * 4.0**k for k, c in enumerate(f.coth))))
    w = (_power(n, f, -1) - 0.5) * (b + h)
    sign = _bits(x, f) & f.integer(np.iinfo(f.integer).min)
    return _real(_bits((w + h) / (w + b), f) | sign, f)


def _scaling(u: jax.Array, f: _Format) -> jax.Array:
    """-k in the place of the exponent, for the integer k with u 2^-k between sqrt(1/2) and sqrt(2)."""
    root = f.integer(np.asarray(np.sqrt(2.0), f.real).view(f.integer))
    return (root - _bits(u, f)) & f.integer(-(2**f.mantissa))


def _log(m: jax.Array, scaling: jax.Array, f: _Format) -> jax.Array:
    """The sum k ln 2 + log(1 + m), with log(1 + m) = 2 atanh(s) = m - s (m - s^2 (2/3 + ...)), s = m / (2 + m)."""
    s = m / (2.0 + m)
    z = s * s
    y = m - s * (m - z * _horner(z, f.atanh))
    return y - lax.convert_element_type(scaling, f.real) * (_LN2 * 0.5**f.mantissa)


def _log_ends(x: jax.Array, pole: float, y: jax.Array) -> jax.Array:
    y = jnp.where(x > pole, y, jnp.where(x < pole, jnp.nan, -jnp.inf))
    return jnp.where(x < jnp.inf, y, x)


@_or_else(lax.log)
def log(x: jax.Array) -> jax.Array:
    """The natural logarithm: k ln 2 is added to that of x 2^-k.

    Returns:
      log(x), which is -inf at zero and nan below.

    Examples:
      >>> log(jnp.array([1.0, 0.0, -1.0, jnp.inf]))
      Array([  0., -inf,  nan,  inf], dtype=float32)
    """
    f = _FORMATS[x.dtype]
    k = _scaling(x, f)
    return _log_ends(x, 0.0, _log(_real(_bits(x, f) + k, f) - 1.0, k, f))


@_or_else(lax.log1p)
def log1p(x: jax.Array) -> jax.Array:
    """The natural logarithm of 1 + x, k ln 2 + log(1 + m) with m = x 2^-k - (1 - 2^-k).

    The rounding of 1 + x only decides on k; the m is that of x itself.

    Returns:
      log(1 + x), accurate near zero too: -inf at -1, nan below.

    Examples:
      >>> log1p(jnp.array([-0.0, 1e-10, -1.0]))
      Array([-0.e+00,  1.e-10,   -inf], dtype=float32)
    """
    f = _FORMATS[x.dtype]
    k = _scaling(1.0 + x, f)
    four = _real(f.integer((f.bias + 2) << f.mantissa) + k, f)  # 2^(2-k): 2^-k alone may be subnormal
    return _log_ends(x, -1.0, _log(_real(_bits(x, f) + k, f) - (1.0 - 0.25 * four), k, f))


FAST: dict[str, Callable[[jax.Array], jax.Array]] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "logistic": logistic,
    "tanh": tanh,
}
"""The functions here by the names of the primitives that they stand in for; all are faster in both formats."""
