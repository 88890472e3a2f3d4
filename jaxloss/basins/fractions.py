"""How often each outcome occurs, with its interval."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtri

from jaxloss.basins.labels import outcome_codes
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE


class Interval(NamedTuple):
    """A lower and an upper bound."""

    low: np.ndarray
    high: np.ndarray


def wilson_interval(count, total, *, confidence: float = 0.95) -> Interval:
    r"""Wilson's score interval of a binomial fraction, vectorised.

    .. math:: \frac{\hat p + z^2/2n \pm z \sqrt{\hat p (1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
      count: successes, any shape.
      total: trials, broadcast against ``count``; 0 gives the interval [0, 1].
      confidence: the coverage.

    Returns:
      The interval, each bound of the broadcast shape.

    References:
      Wilson, *Probable inference, the law of succession, and statistical inference*, 1927.

    Examples:
      >>> low, high = wilson_interval(50, 100)
      >>> round(float(low), 4), round(float(high), 4)
      (0.4038, 0.5962)
    """
    count, total = np.broadcast_arrays(np.asarray(count, np.float64), np.asarray(total, np.float64))
    n = np.maximum(total, 1)
    z2 = ndtri(0.5 + confidence / 2) ** 2
    p = count / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2) * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    # At 0 and at n successes the bound is 0 or 1 exactly; rounding would miss it.
    low = np.where((total == 0) | (count == 0), 0.0, np.maximum(centre - half, 0.0))
    high = np.where((total == 0) | (count == total), 1.0, np.minimum(centre + half, 1.0))
    return Interval(low, high)


def outcome_fractions(result: xr.Dataset) -> xr.Dataset:
    """The fraction of trajectories with each outcome, for each learning rate.

    Args:
      result: what `jaxloss.sweep` or `jaxloss.sweep_map` returned; its attribute ``outcomes``, where there is one,
        says which outcomes it may have.

    Returns:
      Dimensions ``learning_rate`` and ``outcome_name``; variables ``count``, ``fraction`` and the Wilson 95 %
      interval ``low``, ``high``; the attribute ``total`` is the number of trajectories of each rate.

    Raises:
      InputError: the result has an outcome that its attribute does not name.

    Examples:
      >>> labels = xr.Dataset({"outcome": (("w", "learning_rate"), np.array([[1], [3]], np.int8))})
      >>> labels = labels.assign_coords(learning_rate=[0.1])
      >>> float(outcome_fractions(labels).fraction.sel(outcome_name="spurious_minimum", learning_rate=0.1))
      0.5
    """
    outcome, codes = result["outcome"], outcome_codes(result)
    axis = outcome.dims.index(LEARNING_RATE) if LEARNING_RATE in outcome.dims else None
    rates = outcome[LEARNING_RATE].values if axis is not None else [result.attrs.get(LEARNING_RATE, np.nan)]
    count = np.zeros((len(rates), len(codes)), np.int64)
    for box in _boxes(outcome):
        labels = outcome[box].values
        unnamed = np.setdiff1d(labels, list(codes.values()))
        if unnamed.size:
            raise InputError(
                f"result must name its outcomes in its attribute 'outcomes', but {unnamed[0]} has no name"
            )
        rows = labels[None] if axis is None else np.moveaxis(labels, axis, 0)
        rows = rows.reshape(len(rows), -1)
        here = slice(None) if axis is None else box[axis]
        count[here] += np.stack([(rows == code).sum(axis=1) for code in codes.values()], axis=1)
    total = outcome.size // len(rates)
    low, high = wilson_interval(count, total)
    dims = (LEARNING_RATE, "outcome_name")
    return xr.Dataset(
        {"count": (dims, count), "fraction": (dims, count / total), "low": (dims, low), "high": (dims, high)},
        coords={LEARNING_RATE: rates, "outcome_name": list(codes)},
        attrs={"total": total},
    )


def _boxes(array: xr.DataArray) -> Iterator[tuple[slice, ...]]:
    """The chunks of an array that lies on the disk, of which one at a time is read; all of one in memory."""
    chunks = array.shape if array.variable._in_memory else array.encoding.get("chunks", array.shape)
    counts = [-(-size // chunk) if chunk else 0 for size, chunk in zip(array.shape, chunks, strict=True)]
    for place in np.ndindex(*counts):
        yield tuple(slice(i * chunk, (i + 1) * chunk) for i, chunk in zip(place, chunks, strict=True))
