"""How many runs are solved, trapped or unstable, with intervals."""

from typing import Any

import numpy as np
import xarray as xr

from jaxloss.basins.along import check_result
from jaxloss.basins.fractions import wilson_interval
from jaxloss.basins.labels import outcome_codes, split_axes
from jaxloss.outcomes import SOLVED, TRAPPED, UNSTABLE

GROUPS: dict[str, frozenset[int]] = {"solved": SOLVED, "trapped": TRAPPED, "unstable": UNSTABLE}
"""Groups of outcomes by name, with their codes; every other outcome is a group of its own."""


def group_fractions(result: Any, *, confidence: float = 0.95) -> xr.Dataset:
    """The shares of trajectories that are solved, trapped, unstable, or none of these.

    Solved: at a global minimum or at the infimum at infinity. Trapped: at a spurious minimum, on a plateau, dead or
    at a saddle. Unstable: a cycle, chaotic or diverged. What is unfinished is its own group; so is, in the sweep of
    a map, the ``fixed_point``, of which no loss says whether it solves anything.

    Args:
      result: of `jaxloss.sweep` or `jaxloss.sweep_map`, its starts on a lattice, or sampled from any distribution.
      confidence: of Wilson's intervals, which take the starts for independent draws.

    Returns:
      Dimensions: the axes of the hyperparameters, and ``group``. Variables: ``count``, ``fraction``, ``low``,
      ``high``; the attribute ``total`` is the number of trajectories of each combination.

    Raises:
      InputError: no result of a sweep.

    Examples:
      >>> dims = ("start", "learning_rate")
      >>> found = group_fractions(xr.Dataset({"outcome": (dims, np.array([[1, 9], [3, 9]], np.int8))}))
      >>> found.fraction.sel(group=["solved", "trapped", "unstable"]).values.tolist()
      [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    check_result(result)
    grouped = frozenset().union(*GROUPS.values())
    others = {name: frozenset({code}) for name, code in outcome_codes(result).items() if code not in grouped}
    groups = {**GROUPS, **others}
    axes = split_axes(result)[1]
    codes = result["outcome"].transpose(*axes, ...).values
    codes = codes.reshape(*codes.shape[: len(axes)], -1)
    count = np.stack([np.isin(codes, list(group)).sum(axis=-1) for group in groups.values()], axis=-1)
    total = codes.shape[-1]
    low, high = wilson_interval(count, total, confidence=confidence)
    dims = (*axes, "group")
    return xr.Dataset(
        {"count": (dims, count), "fraction": (dims, count / total), "low": (dims, low), "high": (dims, high)},
        coords={**{name: result[name].values for name in axes if name in result.coords}, "group": list(groups)},
        attrs={"total": total},
    )
