"""Samples from a file: CSV with a header, or NPZ with one array for each column."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxloss.checks import flag, show, text, texts
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
    features, target = texts("features", features), text("target", target)
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
    if flag("standardize", standardize):
        inputs = standardized(inputs, features)
    return inputs, numeric[target]


def standardized(inputs: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Columns shifted and scaled to mean 0 and standard deviation 1.

    Raises:
      InputError: a column that is constant, or all but constant for its size.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        spread = inputs.std(axis=0)
    for name, width, largest in zip(names, spread, np.abs(inputs).max(axis=0), strict=True):
        if width <= 1e-14 * largest:
            raise InputError(f"standardize: column {name!r} is constant")
        if not np.isfinite(width):
            raise InputError(f"standardize: column {name!r} must be below 1e150, but it reaches {largest:g}")
    return (inputs - inputs.mean(axis=0)) / spread


def read_columns(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every column of a CSV or NPZ file by its name, as it stands there."""
    try:
        path = Path(path)
    except TypeError:
        raise InputError(f"file must be a path, not {show(path)}") from None
    reader = {".npz": _read_npz, ".csv": _read_csv}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path.name}: a data file must end in .csv or .npz")
    try:
        return reader(path)
    except FileNotFoundError:
        raise InputError(f"no data file {str(path)!r}") from None
    except OSError as error:
        raise InputError(f"cannot read {path.name}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path.name}: {error}") from None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                columns = {name: np.asarray(archive[name]) for name in archive.files}
        except Exception:  # bytes that are no archive raise what they like
            raise InputError(f"cannot read {path.name}: it must be an NPZ archive of arrays of numbers") from None
    if not columns:
        raise InputError(f"{path.name}: needs at least one column")
    return columns


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        rows = [(reader.line_num, row) for row in reader if row]
    if len(rows) < 2:
        raise InputError(f"{path.name}: needs a header and at least one row")
    header = [name.strip() for name in rows[0][1]]
    if len(set(header)) != len(header):
        raise InputError(f"{path.name}: the header names a column twice")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(f"{path.name}: row {number} has {len(row)} fields, the header {len(header)}")
    return {name: np.array([row[i].strip() for _, row in rows[1:]]) for i, name in enumerate(header)}


def _as_numbers(path: str | os.PathLike, name: str, column: np.ndarray) -> np.ndarray:
    place = f"{Path(path).name}: column {name!r}"
    if column.ndim != 1:
        raise InputError(f"{place} must be one-dimensional, not of shape {column.shape}")
    if column.size == 0:
        raise InputError(f"{place} must hold at least one sample")
    if column.dtype.kind not in "biufSU":
        raise InputError(f"{place} must hold real numbers, not {column.dtype}")
    try:
        with np.errstate(over="ignore"):
            numbers = column.astype(np.float64)
    except ValueError:
        word = next((value for value in column.tolist() if not _is_number(value)), column[0].item())
        raise InputError(f"{place} is not numeric: {word!r}") from None
    if not np.all(np.isfinite(numbers)):
        row = int(np.argmin(np.isfinite(numbers)))
        raise InputError(f"{place} must be finite, but sample {row} is {numbers[row]}")
    return numbers


def _is_number(word: str | bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
