"""Samples from a file: CSV with a header, or NPZ with one array for each column."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxloss.errors import InputError, unknown


def load_samples(
    path: str | os.PathLike,
    *,
    features: Sequence[str],
    target: str,
    standardize: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets from named columns of a file.

    Args:
      path: a ``.csv`` file with a header, or an ``.npz`` file with one array for each column.
      features: the columns that make the inputs, in their order.
      target: the column that makes the targets.
      standardize: shift and scale each feature to mean 0 and standard deviation 1.

    Returns:
      Inputs ``[n, d]`` and targets ``[n]``, float64.

    Raises:
      InputError: no such file, not CSV or NPZ, no such column, a value that is not a finite number, or a
        constant feature that cannot be standardised.

    Examples:
      >>> from importlib.resources import files
      >>> iris = files("jaxloss.problems") / "data" / "iris.csv"
      >>> inputs, targets = load_samples(iris, features=["petal_length"], target="petal_width")
      >>> inputs.shape, targets.shape
      ((150, 1), (150,))
    """
    columns = read_columns(path)
    if not features:
        raise InputError("features must name at least one column")
    for name in (*features, target):
        if name not in columns:
            raise unknown(f"column in {Path(path).name}:", name, columns)
    numeric = {name: _as_numbers(path, name, columns[name]) for name in {*features, target}}
    lengths = {name: len(column) for name, column in numeric.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{Path(path).name}: columns must have the same length, not {lengths}")
    inputs = np.stack([numeric[name] for name in features], axis=1)
    if standardize:
        spread = inputs.std(axis=0)
        if not np.all(spread > 0):
            raise InputError(f"standardize: column {features[int(np.argmin(spread))]!r} is constant")
        inputs = (inputs - inputs.mean(axis=0)) / spread
    return inputs, numeric[target]


def read_columns(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every column of a CSV or NPZ file by its name, as it stands there."""
    path = Path(path)
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: np.asarray(archive[name]) for name in archive.files}
        if path.suffix.lower() != ".csv":
            raise InputError(f"{path.name}: a data file must end in .csv or .npz")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise InputError(f"no data file {str(path)!r}") from None
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path.name}: {error}") from None
    if len(rows) < 2:
        raise InputError(f"{path.name}: needs a header and at least one row")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        raise InputError(f"{path.name}: the header names a column twice")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(f"{path.name}: row {number} has {len(row)} fields, the header {len(header)}")
    return {name: np.array([row[i].strip() for row in rows[1:]]) for i, name in enumerate(header)}


def _as_numbers(path: str | os.PathLike, name: str, column: np.ndarray) -> np.ndarray:
    try:
        numbers = column.astype(np.float64)
    except (TypeError, ValueError):
        numbers = np.array([_number_or_nan(value) for value in column.reshape(-1)])
        value = str(column.reshape(-1)[int(np.argmax(np.isnan(numbers)))])
        raise InputError(f"{Path(path).name}: column {name!r} is not numeric: {value!r}") from None
    if numbers.ndim != 1:
        raise InputError(f"{Path(path).name}: column {name!r} must be one-dimensional, not {numbers.shape}")
    if not np.all(np.isfinite(numbers)):
        row = int(np.argmax(~np.isfinite(numbers)))
        raise InputError(f"{Path(path).name}: column {name!r} must be finite, but sample {row} is {numbers[row]}")
    return numbers


def _number_or_nan(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
