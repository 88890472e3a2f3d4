"""Kinds of critical points, from the signs of the Hessian's eigenvalues."""

import numpy as np

STRICT_MINIMUM = "strict minimum"
STRICT_SADDLE = "strict saddle"
MAXIMUM = "maximum"
DEGENERATE = "degenerate"

# An eigenvalue below this share of the largest counts as zero.
ZERO_EIGENVALUE = 1e-9


def kinds(eigenvalues: np.ndarray) -> np.ndarray:
    """The kind of each critical point.

    A negative eigenvalue makes a saddle, whatever the others are; without one, an eigenvalue that is zero to
    rounding makes the point degenerate: second order does not tell whether it is a minimum.

    Args:
      eigenvalues: shape ``[point, parameter]``.

    Returns:
      Strings ``[point]``.

    Examples:
      >>> kinds(np.array([[1.0, 2.0], [-1.0, 2.0], [-2.0, -1.0], [0.0, 1.0]])).tolist()
      ['strict minimum', 'strict saddle', 'maximum', 'degenerate']
    """
    size = np.abs(eigenvalues)
    zero = size <= ZERO_EIGENVALUE * size.max(axis=1, keepdims=True)
    negative = (eigenvalues < 0) & ~zero
    return np.select(
        [negative.all(axis=1), negative.any(axis=1), zero.any(axis=1)],
        [MAXIMUM, STRICT_SADDLE, DEGENERATE],
        STRICT_MINIMUM,
    ).astype(object)
