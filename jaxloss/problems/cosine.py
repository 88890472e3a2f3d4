"""A bowl with ripples: the least that it takes for a fractal border of trainability."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss.checks import number
from jaxloss.errors import InputError
from jaxloss.problems.problem import Problem


def cosine_roughness(epsilon: float = 0.1, wavelength: float = 1.0) -> Problem:
    r"""The parabola ``x^2`` with a cosine added: past a roughness the border of convergence is a fractal.

    .. math:: f(x) = x^2 + \epsilon \cos(2 \pi x / \lambda)

    Only the roughness :math:`\theta = \epsilon / \lambda^2` matters, up to a change of unit: the substitution
    :math:`x = \lambda y` gives :math:`\lambda^2 (y^2 + \theta \cos 2 \pi y)`. The published maps start at x = 5, the
    default initial point, with 1,000 steps and learning rates from 0 to 1.5.

    Args:
      epsilon: the height of the ripples.
      wavelength: their length, in units of x.

    Returns:
      The problem, whose known critical points are 0 and, where it is no minimum, the two global minima beside it.

    Raises:
      InputError: a number that is not finite, or a wavelength that is not positive.

    References:
      Liu, *Complex fractal trainability boundary can arise from trivial non-convexity*, 2024.

    Examples:
      >>> problem = cosine_roughness(epsilon=0.05)  # convex
      >>> problem.infimum, len(problem.critical_points)
      (0.05, 1)
      >>> [round(float(point["x"]), 4) for point in cosine_roughness().critical_points]
      [-0.2992, 0.0, 0.2992]
    """
    place = "options do not fit problem 'cosine-roughness': "
    epsilon, wavelength = number(f"{place}epsilon", epsilon), number(f"{place}wavelength", wavelength)
    if wavelength <= 0:
        raise InputError(f"{place}wavelength must be positive, not {wavelength:g}")
    beside = _beside_the_top(epsilon, wavelength)
    return Problem(
        name="cosine-roughness",
        objective=_rippled(epsilon, wavelength),
        params={"x": 5.0},
        infimum=beside**2 + epsilon * math.cos(2 * math.pi * beside / wavelength),
        critical_points=tuple({"x": np.asarray(x)} for x in ((-beside, 0.0, beside) if beside else (0.0,))),
        facts=(
            "It is convex iff the roughness epsilon / wavelength^2 is at most 1 / (2 pi^2) = .0507 (derived; Liu, "
            "2024).",
            "From x = 5 the border between converging and diverging learning rates has dimension 0 for a roughness "
            "up to .066, .52 at .069, and up to about 1 beyond (Liu, 2024).",
        ),
        citation="Liu, Complex fractal trainability boundary can arise from trivial non-convexity, 2024",
    )


def _beside_the_top(epsilon: float, wavelength: float) -> float:
    """The global minimum right of 0, or 0 itself.

    For positive epsilon it lies in (0, wavelength / 2), where the slope changes its sign once: x is a line there and
    the sine is concave.
    """
    wave = 2 * math.pi / wavelength
    if epsilon * wave**2 <= 2:
        return 0.0

    def half_slope(x: float) -> float:
        return x - 0.5 * epsilon * wave * math.sin(wave * x)

    low = 0.5 * wavelength
    while half_slope(low) >= 0:
        low *= 0.5
    from scipy.optimize import brentq  # slow to import

    beside: Any = brentq(half_slope, low, 0.5 * wavelength, xtol=1e-16 * wavelength)
    return float(beside)


@functools.lru_cache(maxsize=256)
def _rippled(epsilon: float, wavelength: float) -> Callable[[dict], jax.Array]:
    """One object for each pair of options, so that equal problems compile once."""
    wave = 2 * math.pi / wavelength
    return lambda params: jnp.square(params["x"]) + epsilon * jnp.cos(wave * params["x"])
