"""Where the starts of one basin belong after a hyperparameter has changed."""

from typing import Any

import numpy as np
import xarray as xr

from jaxloss.basins.along import index_of
from jaxloss.basins.continuation import continue_attractors
from jaxloss.basins.fractions import wilson_interval
from jaxloss.checks import number
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE


def tipping_probabilities(
    result: Any,
    before: float,
    after: float,
    *,
    along: str = LEARNING_RATE,
    max_distance: float = 0.25,
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""The probability that a start of one basin belongs to each basin at another value of a hyperparameter.

    .. math:: P_{ij} = \frac{|B_i(\text{before}) \cap B_j(\text{after})|}{|B_i(\text{before})|}

    A state that is anywhere in the basin of attractor i when the hyperparameter jumps from ``before`` to ``after``
    comes to attractor j with this probability. Each row that has starts sums to 1. Attractors are matched along all
    values in between, as by `continue_attractors`, so that a diagonal entry means: the same attractor.

    Args:
      result: of `jaxloss.sweep` or `jaxloss.sweep_map`, its starts on a lattice or sampled; the same starts at every
        value. What `continue_attractors` returned will do as well.
      before: a value along the axis.
      after: another one.
      along: the hyperparameter.
      max_distance: see `continue_attractors`.
      confidence: of Wilson's intervals, which take the starts for independent draws.

    Returns:
      Dimensions ``before`` and ``after``, both over the fates. Variables: ``count``, ``probability``, ``low``,
      ``high`` (NaN, 0, 1 in the row of a fate without starts), and ``total`` by ``before``.

    Raises:
      InputError: as of `continue_attractors`, or a value that is not on the axis.

    References:
      Kaszás, Feudel and Tél, *Tipping phenomena in typical dynamical systems subjected to parameter drift*, 2019.

    Examples:
      >>> dims, coordinates = ("w", "learning_rate"), {"learning_rate": [0.1, 1.0]}
      >>> outcome, attractor = [[1, 1], [1, 9], [3, 9], [3, 9]], [[0, 0], [0, -1], [1, -1], [1, -1]]
      >>> result = xr.Dataset({"outcome": (dims, outcome), "attractor": (dims, attractor)}, coordinates)
      >>> found = tipping_probabilities(result, 0.1, 1.0)
      >>> float(found.probability.sel(before="global minimum A", after="diverged"))
      0.5
    """
    is_continued = isinstance(result, xr.Dataset) and "fate_index" in result
    found = (
        result
        if is_continued
        else continue_attractors(result, along=along, max_distance=max_distance, confidence=confidence)
    )
    if found.attrs["along"] != along:
        raise InputError(f"along must be {found.attrs['along']!r}, along which the attractors were continued")
    values = found[along].values
    first, second = (
        found["fate_index"].isel({along: index_of(values, number(field, value), field)}).values.ravel()
        for field, value in (("before", before), ("after", after))
    )
    names = found["fate"].values
    count, total = transitions(first, second, len(names))
    low, high = wilson_interval(count, total[:, None], confidence=confidence)
    with np.errstate(invalid="ignore"):
        probability = count / total[:, None]
    dims = ("before", "after")
    return xr.Dataset(
        {
            "count": (dims, count),
            "probability": (dims, probability),
            "low": (dims, low),
            "high": (dims, high),
            "total": ("before", total),
        },
        coords={"before": names, "after": names},
        attrs={
            "name": found.attrs["name"],
            "along": along,
            "value_before": float(before),
            "value_after": float(after),
        },
    )


def transitions(before: np.ndarray, after: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """How many starts go from each label to each.

    Args:
      before: labels 0 to ``num - 1``, shape ``[start]``.
      after: likewise, of the same starts.
      num: of labels.

    Returns:
      Counts ``[num, num]``, and their sums over the last axis.

    Examples:
      >>> transitions(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)[0].tolist()
      [[1, 1], [0, 1]]
    """
    count = np.bincount(before.astype(np.int64) * num + after, minlength=num * num).reshape(num, num)
    return count, count.sum(axis=1)
