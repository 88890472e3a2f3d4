"""The labels of a map: from a plain array of integers or from a sweep's result."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxloss.checks import items, show
from jaxloss.errors import InputError, unknown
from jaxloss.grids import LEARNING_RATE, START
from jaxloss.outcomes import OUTCOMES

LABELLINGS = ("outcome", "attractor", "both")
_BASE = 2**20  # Above every index of an attractor.
_SMALL_RANGE = 2**24


class Compact(NamedTuple):
    """A map whose labels are numbered from 0, in the smallest unsigned type, and the label of each number."""

    codes: np.ndarray
    values: np.ndarray


def read_map(
    labels: Any, *, labelling: str = "outcome", axes: Sequence[str] | None = None, field: str = "labels"
) -> np.ndarray:
    """A map's labels as integers.

    Args:
      labels: an array of integers or booleans, or a sweep's result over a full grid, whole or one variable of it.
      labelling: of a result, ``"outcome"``, ``"attractor"`` (-1 for none) or ``"both"``: the pair of them.
      axes: of a result, the names of the map's axes, in order; default all that have more than one value.
      field: the name of the argument in an error.

    Returns:
      One axis for each axis of the map.

    Raises:
      InputError: labels that are no integers; a result of sampled starts, one that mixes initial points with
        hyperparameters and does not say which are meant, or an axis that is not equally spaced, linearly or
        logarithmically.

    Examples:
      >>> result = xr.Dataset({"outcome": (("w", "learning_rate"), np.array([[1], [3]], np.int8))})
      >>> read_map(result).tolist()
      [1, 3]
    """
    if labelling not in LABELLINGS:
        raise unknown("labelling", labelling, LABELLINGS)
    if isinstance(labels, xr.Dataset):
        needed = ("outcome", "attractor") if labelling == "both" else (labelling,)
        for name in needed:
            if name not in labels:
                raise InputError(f"{field} must be a result with the variable {name!r}")
        maps = [_on_axes(labels[name], _parameters(labels), axes, field) for name in needed]
        return maps[0] if len(maps) == 1 else maps[0].astype(np.int64) * _BASE + maps[1]
    if isinstance(labels, xr.DataArray):
        return _on_axes(labels, None, axes, field)
    if axes is not None:
        raise InputError(f"axes must be left out where {field} is a plain array")
    return _integers(labels, field)


def outcome_codes(result: xr.Dataset) -> dict[str, int]:
    """The outcomes that a result may have: those of its attribute ``outcomes``, else those of `jaxloss.outcomes`.

    Args:
      result: what `jaxloss.sweep` or `jaxloss.sweep_map` returned.

    Returns:
      name -> code.

    Examples:
      >>> outcome_codes(xr.Dataset(attrs={"outcomes": '{"fixed_point": 10}'}))
      {'fixed_point': 10}
      >>> len(outcome_codes(xr.Dataset()))
      10
    """
    return json.loads(result.attrs["outcomes"]) if "outcomes" in result.attrs else dict(OUTCOMES)


def split_axes(result: xr.Dataset) -> tuple[list[str], list[str]]:
    """The axes of a result that set the initial point, and those that set hyperparameters, in grid order.

    Examples:
      >>> split_axes(xr.Dataset({"outcome": (("w", "learning_rate"), np.zeros((2, 2), np.int8))}))
      (['w'], ['learning_rate'])
    """
    parameters, dims = _parameters(result), [str(name) for name in result["outcome"].dims]
    initial = [name for name in dims if name == START or _is_initial(name, parameters)]
    return initial, [name for name in dims if name not in initial]


def compact(array: np.ndarray) -> Compact:
    """Numbers the labels of a map from 0, in ascending order.

    Args:
      array: integers or booleans, any shape.

    Returns:
      The numbers, of the same shape, and the labels.

    Examples:
      >>> compact(np.array([[9, -1], [3, 9]]))
      Compact(codes=array([[2, 0],
             [1, 2]], dtype=uint8), values=array([-1,  3,  9]))
    """
    low, high = int(array.min()), int(array.max())
    if high - low < _SMALL_RANGE:
        shifted = array.astype(np.int64) - low
        present = np.bincount(shifted.ravel()) > 0
        values = np.flatnonzero(present) + low
        numbers = (np.cumsum(present) - 1).astype(_type_for(len(values)))
        return Compact(numbers[shifted], values)
    values, codes = np.unique(array, return_inverse=True)
    return Compact(codes.reshape(array.shape).astype(_type_for(len(values))), values)


def boundary_of(array: np.ndarray) -> np.ndarray:
    """Cells that share a face with a cell of another label.

    Args:
      array: a map, any dimension.

    Returns:
      Booleans of the same shape.

    Examples:
      >>> boundary_of(np.array([0, 0, 1, 1])).tolist()
      [False, True, True, False]
    """
    boundary = np.zeros(array.shape, bool)
    for axis in range(array.ndim):
        cells, marks = np.moveaxis(array, axis, 0), np.moveaxis(boundary, axis, 0)
        across = cells[1:] != cells[:-1]
        marks[1:] |= across
        marks[:-1] |= across
    return boundary


def _type_for(num: int) -> type:
    return np.uint8 if num <= 2**8 else np.uint16 if num <= 2**16 else np.uint32


def _integers(labels: Any, field: str) -> np.ndarray:
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError):
        raise InputError(f"{field} must be an array of integers, not {show(labels)}") from None
    if array.dtype.kind not in "iub":
        raise InputError(f"{field} must be an array of integers, but its type is {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise InputError(f"{field} must have at least one axis and one cell, but its shape is {array.shape}")
    return array


def _parameters(result: xr.Dataset) -> set[str] | None:
    return {str(name) for name in result["parameter"].values} if "parameter" in result.coords else None


def _on_axes(
    variable: xr.DataArray, parameters: set[str] | None, axes: Sequence[str] | None, field: str
) -> np.ndarray:
    sizes = {str(name): size for name, size in variable.sizes.items()}
    if START in sizes:
        raise InputError(f"{field} must be a full grid over named axes, but its starts are sampled (axis 'start')")
    long = [name for name, size in sizes.items() if size > 1]
    chosen = long if axes is None else [str(name) for name in items("axes", axes, "a list of names")]
    for name in chosen:
        if name not in sizes:
            raise unknown(f"axis of {field}:", name, sizes)
    if len(set(chosen)) < len(chosen):
        raise InputError(f"axes must differ from one another, not {show(chosen)}")
    left = [name for name in long if name not in chosen]
    if left:
        raise InputError(f"{field} must have one value along {left[0]!r}: select it, as in result.isel({left[0]}=0)")
    hyper = [name for name in chosen if not _is_initial(name, parameters)]
    if axes is None and 0 < len(hyper) < len(chosen):
        raise InputError(
            f"{field} spans initial points and the hyperparameter {hyper[0]!r}: select one value of that, or name "
            f"the axes of the map, axes={chosen}"
        )
    if not chosen:
        raise InputError(f"{field} must have an axis with more than one value")
    for name in chosen:
        _check_spacing(name, np.asarray(variable[name].values, np.float64))
    others = [name for name in sizes if name not in chosen]
    array = variable.transpose(*chosen, *others).values
    return _integers(array.reshape([sizes[name] for name in chosen]), field)


def _is_initial(name: str, parameters: set[str] | None) -> bool:
    if parameters is None:
        return name != LEARNING_RATE
    return name in parameters or name.startswith("direction[")


def _check_spacing(name: str, values: np.ndarray) -> None:
    """Boxes have one size only where the axis is even, on its own scale or in the logarithm."""
    scales = [values, np.log(values)] if values.min() > 0 else [values]
    steps = [np.diff(scale) for scale in scales]
    if not any(np.allclose(step, step.mean(), rtol=1e-3, atol=0) for step in steps if step.size):
        raise InputError(f"axis {name!r} must be equally spaced, linearly or logarithmically")
