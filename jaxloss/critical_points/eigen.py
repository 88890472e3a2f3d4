"""Eigenvalues of small symmetric matrices by operations that run on many matrices at once."""

import jax
import jax.numpy as jnp

# Up to this size rotations, beyond it LAPACK, one matrix after the other.
LARGEST = 3
# Sweeps over all pairs of axes: the error is squared in each; for a single pair the first is exact.
SWEEPS = (0, 0, 1, 6)


def eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues and eigenvectors of a symmetric matrix.

    Args:
      matrix: shape ``[n, n]``.

    Returns:
      The eigenvalues, ascending, and the eigenvectors as columns.

    References:
      Jacobi, *Ueber ein leichtes Verfahren, die in der Theorie der Saecularstoerungen vorkommenden Gleichungen
      numerisch aufzuloesen*, 1846.

    Examples:
      >>> eigh(jnp.array([[2.0, 1.0], [1.0, 2.0]]))[0]
      Array([1., 3.], dtype=float32)
    """
    n = len(matrix)
    if n > LARGEST:
        return jnp.linalg.eigh(matrix)
    a = [[(matrix[i, j] + matrix[j, i]) / 2 for j in range(n)] for i in range(n)]
    columns = [jnp.eye(n, dtype=matrix.dtype)[i] for i in range(n)]
    for _ in range(SWEEPS[n]):
        for p in range(n):
            for q in range(p + 1, n):
                _rotate(a, columns, p, q)
    values = [a[i][i] for i in range(n)]
    for last in range(n - 1, 0, -1):
        for i in range(last):
            swap = values[i] > values[i + 1]
            values[i : i + 2] = _swapped(swap, *values[i : i + 2])
            columns[i : i + 2] = _swapped(swap, *columns[i : i + 2])
    return jnp.stack(values), jnp.stack(columns, axis=1)


def smallest(sizes: jax.Array, columns: jax.Array) -> jax.Array:
    """The column of a matrix ``[n, n]`` that belongs to the first of the smallest sizes ``[n]``."""
    if len(sizes) > LARGEST:
        return columns[:, jnp.argmin(sizes)]
    least, found = sizes[0], columns[:, 0]
    for i in range(1, len(sizes)):
        less = sizes[i] < least
        least, found = jnp.where(less, sizes[i], least), jnp.where(less, columns[:, i], found)
    return found


def _rotate(a: list[list[jax.Array]], columns: list[jax.Array], p: int, q: int) -> None:
    """Turns two axes such that the entry between them vanishes."""
    apart, twice = a[q][q] - a[p][p], 2 * a[p][q]
    longer = jnp.maximum(jnp.abs(apart), jnp.abs(twice))
    shorter = jnp.minimum(jnp.abs(apart), jnp.abs(twice)) / jnp.where(longer > 0, longer, 1)
    length = jnp.abs(apart) + longer * jnp.sqrt(1 + shorter**2)
    tangent = jnp.where(apart < 0, -twice, twice) / jnp.where(longer > 0, length, 1)
    cosine = 1 / jnp.sqrt(1 + tangent**2)
    sine = tangent * cosine
    a[p][p], a[q][q] = a[p][p] - tangent * a[p][q], a[q][q] + tangent * a[p][q]
    a[p][q] = a[q][p] = jnp.zeros_like(twice)
    for r in range(len(a)):
        if r not in (p, q):
            first, second = a[r][p], a[r][q]
            a[r][p] = a[p][r] = cosine * first - sine * second
            a[r][q] = a[q][r] = sine * first + cosine * second
    first, second = columns[p], columns[q]
    columns[p], columns[q] = cosine * first - sine * second, sine * first + cosine * second


def _swapped(swap: jax.Array, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.where(swap, second, first), jnp.where(swap, first, second)
