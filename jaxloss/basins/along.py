"""A result's labels along one of its hyperparameters."""

import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxloss.basins.labels import split_axes
from jaxloss.checks import show, text
from jaxloss.errors import InputError, unknown


class Along(NamedTuple):
    """The labels of a result along one hyperparameter.

    Attributes:
      name: of the hyperparameter.
      values: ascending, ``[value]``.
      outcome: codes, ``[value, start]``.
      attractor: indices into the result's table, -1 for none, ``[value, start]``.
      starts: name and length of each axis of the starts, in grid order.
    """

    name: str
    values: np.ndarray
    outcome: np.ndarray
    attractor: np.ndarray
    starts: dict[str, int]


def check_result(result: Any) -> None:
    """Raises unless something is the dataset of a sweep."""
    if not isinstance(result, xr.Dataset) or "outcome" not in result:
        raise InputError(f"result must be the dataset of sweep or sweep_map, not {show(type(result).__name__)}")


def step_budget(result: xr.Dataset) -> int:
    """The budget of steps of each trajectory.

    Raises:
      InputError: the result does not tell it.
    """
    try:
        return int(json.loads(result.attrs["spec"])["run"]["num_steps"])
    except (KeyError, TypeError, ValueError):
        raise InputError("num_steps must be given, the budget of steps: the result does not tell it") from None


def read_along(result: Any, along: str) -> Along:
    """The labels of a result along one hyperparameter.

    Args:
      result: of `jaxloss.sweep` or `jaxloss.sweep_map`, its starts on a lattice or sampled.
      along: the name of the hyperparameter.

    Returns:
      The labels, the values in ascending order.

    Raises:
      InputError: a result without that axis, with one value along it, or with several along another one.

    Examples:
      >>> labels = np.array([[1, 3], [3, 9]], np.int8)
      >>> variables = {"outcome": (("w", "learning_rate"), labels), "attractor": (("w", "learning_rate"), labels)}
      >>> read_along(xr.Dataset(variables, {"learning_rate": [1.0, 0.1]}), "learning_rate").outcome.tolist()
      [[3, 9], [1, 3]]
    """
    check_result(result)
    if "attractor" not in result:
        raise InputError("result must hold the variable 'attractor', as the dataset of sweep or sweep_map does")
    axes = split_axes(result)[1]
    along = text("along", along)
    if along not in axes:
        if not axes:
            raise InputError(f"result must have an axis {along!r}, but its only axes are those of the starts")
        raise unknown("hyperparameter axis of result:", along, axes)
    if result.sizes[along] < 2:
        raise InputError(f"result must have two or more values along {along!r}, not {result.sizes[along]}")
    for name in axes:
        if name != along and result.sizes[name] > 1:
            raise InputError(f"result must have one value along {name!r}: select it, as in result.isel({name}=0)")
    values = np.asarray(result[along].values, np.float64)
    order = np.argsort(values, kind="stable")
    starts = {str(name): size for name, size in result["outcome"].sizes.items() if name not in axes}
    columns = (
        result[name].transpose(along, *[other for other in axes if other != along], *starts).values
        for name in ("outcome", "attractor")
    )
    outcome, attractor = (column.reshape(len(values), -1)[order] for column in columns)
    return Along(along, values[order], outcome, attractor.astype(np.int64), starts)


def index_of(values: np.ndarray, value: float, field: str) -> int:
    """Where a value lies among others, up to rounding.

    Raises:
      InputError: it is none of them; the sentence names the nearest.
    """
    nearest = int(np.argmin(np.abs(values - value)))
    if not np.isclose(values[nearest], value, rtol=1e-6, atol=0):
        raise InputError(
            f"{field} must be a value along the axis: {value:g} is none, the nearest is {values[nearest]:g}"
        )
    return nearest
