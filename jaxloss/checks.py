"""Checks of arguments: each returns the value in its plain form, or raises an `InputError` that names the field."""

import inspect
import math
import numbers
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxloss.errors import InputError


def show(value: Any) -> str:
    """A value as a short text for a sentence, without NumPy's type names.

    Examples:
      >>> show([np.float64(0.5), np.str_("x")])
      "[0.5, 'x']"
    """
    with np.printoptions(legacy="1.25", threshold=6):
        text = " ".join(repr(value).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def text(field: str, value: Any) -> str:
    """A plain string."""
    if not isinstance(value, str):
        raise InputError(f"{field} must be a string, not {show(value)}")
    return str(value)


def flag(field: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{field} must be true or false, not {show(value)}")
    return bool(value)


def whole(field: str, value: Any, least: int, most: float = math.inf) -> int:
    """A whole number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{field} must be a whole number of at least {least}, not {show(value)}")
    value = int(value)
    if not least <= value <= most:
        bound = f"at least {least}" if value < least else f"at most {most:,}"
        raise InputError(f"{field} must be {bound}, not {value:,}")
    return value


def number(field: str, value: Any, *, finite: bool = True) -> float:
    """A real number, and a finite one unless said otherwise."""
    wanted = "a finite number" if finite else "a number"
    array = real_array(field, value, wanted, finite=False)
    if array.ndim > 0 or isinstance(value, bool) or (finite and not np.isfinite(array)):
        raise InputError(f"{field} must be {wanted}, not {show(value)}")
    return float(array)


def items(field: str, value: Any, wanted: str) -> tuple:
    """The items of a list or the like; a string is none."""
    try:
        if not isinstance(value, str):
            return tuple(value)
    except TypeError:
        pass
    raise InputError(f"{field} must be {wanted}, not {show(value)}")


def texts(field: str, value: Any) -> tuple[str, ...]:
    """The strings of a list."""
    return tuple(text(f"{field}[{i}]", name) for i, name in enumerate(items(field, value, "a list of names")))


def real_array(field: str, value: Any, wanted: str = "real numbers", *, finite: bool = True) -> np.ndarray:
    """A new float64 array of real numbers: neither complex nor text, dates or None."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "cSUmM" or any(isinstance(entry, str | None) for entry in _objects(array)):
            raise TypeError
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{field} must be {wanted}, not {show(value)}") from None
    if finite and not np.all(np.isfinite(array)):
        raise InputError(f"{field} must be finite, not {show(value)}")
    return array


def _objects(array: np.ndarray) -> Iterable:
    return array.flat if array.dtype.kind == "O" else ()


def real_leaves(field: str, tree: Any) -> Any:
    """A pytree of finite numbers and arrays, its leaves as float64 arrays."""
    try:
        leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    except (TypeError, ValueError):  # JAX sorts the keys of a dict
        raise InputError(f"{field} must be a pytree whose keys can be sorted, such as strings") from None
    arrays = []
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        place = f"{field}: {name}" if name else field
        arrays.append(real_array(place, leaf, "a real number or array"))
    return jax.tree.unflatten(structure, arrays)


def leaves_like(field: str, tree: Any, template: Any, leading: tuple[int, ...] = ()) -> Any:
    """`real_leaves` of a pytree with the structure and, after the leading axes, the shapes of another one."""
    arrays = real_leaves(field, tree)
    wanted = jax.tree.map(lambda leaf: leading + np.shape(leaf), template)
    given = jax.tree.map(np.shape, arrays)
    if jax.tree.structure(arrays) != jax.tree.structure(template) or wanted != given:
        raise InputError(
            f"{field} must have the structure and shapes of the parameters, {show(wanted)}, not {show(given)}"
        )
    return arrays


def check_function(field: str, function: Any, arguments: tuple, wanted: str) -> None:
    """Raises unless a function takes these arguments."""
    if not callable(function):
        raise InputError(f"{field} must be a function of {wanted}, not {show(function)}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin tells nothing
        return
    if not _binds(signature, arguments):
        raise InputError(f"{field} must be a function of {wanted}, but its arguments are {signature}")


def _binds(signature: inspect.Signature, arguments: tuple) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def check_instance(field: str, value: Any, kind: type) -> None:
    """Raises unless a value is one of the package's own."""
    if not isinstance(value, kind):
        raise InputError(f"{field} must be a jaxloss.{kind.__name__}, not {show(value)}")
