"""What a stored result offers to a figure: axes, slices, labels in display order, critical points."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxloss.activations import ACTIVATIONS
from jaxloss.basins.labels import outcome_codes, split_axes
from jaxloss.critical_points.kinds import DEGENERATE, MAXIMUM, STRICT_MINIMUM, STRICT_SADDLE
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE, START
from jaxloss.losses import LOSSES
from jaxloss.outcomes import OUTCOMES, TRAPPED

# How many attractors of one outcome have a colour of their own; the rest share one.
MAX_ATTRACTORS = 4
GLOBAL = "global minimum"
SPURIOUS = "spurious minimum"
_LETTERS = "ABCDEFGH"
MOST_SHOWN = 2**22
"""Trajectories of a result that a figure draws, at most."""
THINNED = "thinned"


class Fate(NamedTuple):
    """An outcome, and which of its attractors.

    Attributes:
      outcome: the code.
      rank: which attractor of that outcome, from 0; `MAX_ATTRACTORS` for all the others together.
      label: what the legend says.
    """

    outcome: int
    rank: int
    label: str


class Fates(NamedTuple):
    """Every fate of one result, in display order, and how to find the fate of a trajectory.

    Attributes:
      entries: the fates.
      keys: outcome * 2**32 + attractor of each label that occurs, ascending.
      positions: index into ``entries`` of each key.
    """

    entries: list[Fate]
    keys: np.ndarray
    positions: np.ndarray

    def of(self, outcome: np.ndarray, attractor: np.ndarray) -> np.ndarray:
        """Index into ``entries`` of each trajectory, same shape."""
        return self.positions[np.searchsorted(self.keys, _key(outcome, attractor))]


class CriticalPoint(NamedTuple):
    """A row of the table of critical points; ``kind`` tells global from spurious minima."""

    location: np.ndarray
    kind: str
    loss: float
    sharpness: float


def named(results: Mapping[str, xr.Dataset] | Sequence[xr.Dataset] | xr.Dataset) -> dict[str, xr.Dataset]:
    """The results by label: the mapping's own, or the names of the results, made unique.

    Args:
      results: a mapping, a sequence, or one result.

    Returns:
      A dictionary in the given order, each result checked.

    Raises:
      InputError: there is none, or one that is not a sweep's result.
    """
    if isinstance(results, xr.Dataset):
        results = [results]
    if isinstance(results, Mapping):
        labelled = {str(label): result for label, result in results.items()}
    else:
        labelled = {}
        for result in results:
            label = name = str(getattr(result, "attrs", {}).get("name", "objective"))
            number = 2
            while label in labelled:
                label, number = f"{name} ({number})", number + 1
            labelled[label] = result
    if not labelled:
        raise InputError("results must hold at least one result of jaxloss.sweep, and it is empty")
    return {label: shown(result) for label, result in labelled.items()}


def checked(result: xr.Dataset) -> xr.Dataset:
    """A sweep's result with every numbered axis ascending.

    Args:
      result: what `jaxloss.sweep` returned, or was read from its store.

    Returns:
      The same result.

    Raises:
      InputError: it is something else.
    """
    if not isinstance(result, xr.Dataset):
        raise InputError(f"result must be the xarray.Dataset of jaxloss.sweep, not {type(result).__name__}")
    if not {"outcome", "attractor"} <= set(result.data_vars):
        raise InputError("result must be the dataset of jaxloss.sweep, but it has no variables outcome, attractor")
    dims = [str(dim) for dim in result["outcome"].dims if dim in result.coords]
    jumbled = [dim for dim in dims if np.any(np.diff(result[dim].values) < 0)]
    return result.sortby(jumbled) if jumbled else result


def shown(result: xr.Dataset) -> xr.Dataset:
    """`checked`, and if there are more trajectories than a figure can show, every second or so of them.

    Args:
      result: a sweep's result, perhaps on the disk.

    Returns:
      The same result in memory, or a thinned one, whose attribute `THINNED` says in words what was left out.

    Raises:
      InputError: it is something else.
    """
    result = checked(result)
    outcome = result["outcome"]
    names = [str(name) for name in outcome.dims]
    strides, left = dict.fromkeys(names, 1), {name: outcome.sizes[name] for name in names}
    while math.prod(left.values()) > MOST_SHOWN:
        # The learning rates are the last to go.
        several = [name for name in initial_axes(result) if left[name] > 64]
        longest = max(several or names, key=lambda name: left[name])
        strides[longest] *= 2
        left[longest] = -(-outcome.sizes[longest] // strides[longest])
    thinned = {name: stride for name, stride in strides.items() if stride > 1}
    if not thinned:
        return result.compute()
    words = " and ".join(f"1 in {stride} values of {name}" for name, stride in thinned.items())
    chosen = result.isel({name: slice(None, None, stride) for name, stride in thinned.items()})
    return chosen.load().assign_attrs({THINNED: words})


def title(label: str) -> str:
    """A label for a heading: ``sigmoid-cross_entropy`` becomes ``sigmoid + cross entropy``.

    Examples:
      >>> title("sigmoid-mse"), title("xor-221")
      ('sigmoid + MSE', 'xor-221')
    """
    activation, dash, loss = label.partition("-")
    if dash and activation in ACTIVATIONS and loss in LOSSES:
        words = (w.upper() if w in ("mse", "sse", "mae") else w for w in loss.split("_"))
        return f"{activation.replace('_', ' ')} + {' '.join(words)}"
    return label


def initial_axes(result: xr.Dataset) -> list[str]:
    """The axes that set the initial point, in grid order."""
    if "initial_loss" in result:
        return [str(dim) for dim in result["initial_loss"].dims]
    if is_map(result):
        return split_axes(result)[0]
    return [str(dim) for dim in result["outcome"].dims if dim != LEARNING_RATE]


def is_map(result: xr.Dataset) -> bool:
    """Whether the result is that of `jaxloss.sweep_map`, whose orbits have no loss."""
    return "global_minimum" not in outcome_codes(result)


def outcome_names(result: xr.Dataset) -> dict[int, str]:
    """What the outcomes of a result are called, in display order: a map's own first, unfinished last.

    Examples:
      >>> outcome_names(xr.Dataset(attrs={"outcomes": '{"unfinished": 0, "cycle": 7, "fixed_point": 10}'}))
      {10: 'fixed point', 7: 'cycle', 0: 'unfinished'}
    """
    named = {code: name.replace("_", " ") for name, code in outcome_codes(result).items()}
    return {code: named[code] for code in sorted(named, key=lambda code: display_order(code, 0))}


def display_order(code: int, rank: int) -> tuple:
    """Where a fate stands among others."""
    return code == OUTCOMES["unfinished"], code in OUTCOMES.values(), code, rank


def hyperparameter_axes(result: xr.Dataset) -> list[str]:
    """The other axes, the learning rate first."""
    initial = initial_axes(result)
    names = [str(dim) for dim in result["outcome"].dims if dim not in initial]
    return sorted(names, key=lambda name: name != LEARNING_RATE)


def spatial_axes(result: xr.Dataset) -> list[str]:
    """The initial axes that can be drawn: all but that of random starts."""
    return [name for name in initial_axes(result) if name != START]


def rates(result: xr.Dataset) -> np.ndarray:
    """The learning rates; where the result has no such axis, its one rate, or NaN if it does not say."""
    if LEARNING_RATE in result["outcome"].dims:
        return np.asarray(result[LEARNING_RATE].values, dtype=np.float64)
    return np.array([float(result.attrs.get(LEARNING_RATE, np.nan))])


def evenly(count: int, limit: int) -> np.ndarray:
    """Indices of at most ``limit`` of ``count`` values, the first and the last among them.

    Rather a few fewer than uneven gaps.

    Examples:
      >>> evenly(9, 6).tolist(), evenly(8, 6).tolist()
      ([0, 2, 4, 6, 8], [0, 1, 3, 4, 6, 7])
    """
    limit = max(1, int(limit))
    if count <= limit:
        return np.arange(count)
    for number in range(limit, (2 * limit) // 3, -1):
        if number > 1 and (count - 1) % (number - 1) == 0:
            return np.linspace(0, count - 1, number).round().astype(int)
    return np.linspace(0, count - 1, limit).round().astype(int)


def sliced(result: xr.Dataset, keep: Sequence[str]) -> tuple[xr.Dataset, dict[str, float]]:
    """The result at the middle value of every axis that is not kept.

    Args:
      result: a sweep's result.
      keep: the axes that stay.

    Returns:
      The slice, and the value of each axis that it fixes.
    """
    others = [str(dim) for dim in result["outcome"].dims if dim not in keep]
    middle = {dim: result.sizes[dim] // 2 for dim in others}
    values = {dim: float(result[dim].values[index]) for dim, index in middle.items()}
    return result.isel(middle), values


def _key(outcome: np.ndarray, attractor: np.ndarray) -> np.ndarray:
    return np.asarray(outcome, np.int64) * 2**32 + np.asarray(attractor, np.int64)


def fates(result: xr.Dataset) -> Fates:
    """Every fate in the whole result, whatever part of it a figure shows.

    Attractors of one outcome are lettered in the order of their losses; beyond `MAX_ATTRACTORS` the least
    frequent are taken together.

    Args:
      result: a sweep's result.

    Returns:
      The fates.
    """
    keys, counts = np.unique(_key(result["outcome"].values, result["attractor"].values).ravel(), return_counts=True)
    if "path_outcome" in result:
        # A part of a result may lack the trajectories whose paths it keeps.
        recorded = _key(result["path_outcome"].values, result["path_attractor"].values)
        missing = np.setdiff1d(recorded, keys)
        keys, counts = np.append(keys, missing), np.append(counts, np.zeros(len(missing), int))
        order = np.argsort(keys)
        keys, counts = keys[order], counts[order]
    # The key of attractor -1 borrows from the outcome.
    attractors = (keys & (2**32 - 1)).astype(np.uint32).view(np.int32)
    codes = np.where(attractors < 0, (keys >> 32) + 1, keys >> 32)
    losses = result["critical_point_loss"].values if "critical_point_loss" in result else np.zeros(0)
    entries: list[Fate] = []
    positions = np.zeros(len(keys), dtype=int)
    for code, name in outcome_names(result).items():
        here = np.flatnonzero(codes == code)
        if not len(here):
            continue
        owned = here[attractors[here] >= 0]
        frequent = np.sort(owned[np.argsort(-counts[owned], kind="stable")][:MAX_ATTRACTORS])
        rest = [i for i in here if i not in frequent]
        for rank, i in enumerate(frequent):
            positions[i] = len(entries)
            letter = f" {_LETTERS[rank]}" if len(owned) > 1 else ""
            index = attractors[i]
            about = f" (loss {number(losses[index])})" if index < len(losses) else _place(result, int(index))
            entries.append(Fate(code, rank, f"{name}{letter}{about}"))
        if rest:
            positions[rest] = len(entries)
            alone = not len(frequent)
            entries.append(Fate(code, 0 if alone else MAX_ATTRACTORS, name if alone else f"{name}, others"))
    return Fates(entries, keys, positions)


def _place(result: xr.Dataset, index: int) -> str:
    """Where an attractor of a map with few states lies, if it is one point."""
    if "attractor_location" not in result or result.sizes["parameter"] > 2 or result["attractor_period"][index] != 1:
        return ""
    return f" at ({', '.join(number(x) for x in result['attractor_location'].values[index])})"


def critical_points(result: xr.Dataset) -> list[CriticalPoint]:
    """The table of critical points; a minimum at the infimum is a global one.

    Args:
      result: a sweep's result.

    Returns:
      One entry for each.
    """
    if "kind" not in result or "location" not in result:
        return []
    reached = result["attractor"].values[result["outcome"].values == OUTCOMES["global_minimum"]]
    solving = set(np.unique(reached).tolist())
    infimum = float(result.attrs.get("infimum", -np.inf))
    rows = []
    for i, kind in enumerate(result["kind"].values):
        loss = float(result["critical_point_loss"].values[i])
        solves = i in solving or bool(np.isclose(loss, infimum, rtol=1e-6, atol=1e-10))
        shown = str(kind)
        if shown == STRICT_MINIMUM or (shown == DEGENERATE and solves):
            shown = GLOBAL if solves else SPURIOUS
        sharpness = float(result["eigenvalues"].values[i].max()) if "eigenvalues" in result else np.nan
        rows.append(CriticalPoint(result["location"].values[i], shown, loss, sharpness))
    return rows


def at_infinity(table: xr.Dataset) -> float:
    """The lowest value that the loss tends to at infinity; infinite where a table of critical points does not say."""
    value = float(table.attrs.get("infimum_at_infinity", np.inf))
    return np.inf if np.isnan(value) else value


def shown_losses(table: xr.Dataset) -> np.ndarray:
    """The loss of each critical point as it is shown: zero where its proven bounds lie about zero.

    Args:
      table: what `jaxloss.find_critical_points` returned.

    Returns:
      Shape ``[critical_point]``.

    Examples:
      >>> bounds = (("critical_point", "bound"), [[-1e-60, 1e-62], [0.5, 0.5]])
      >>> shown_losses(xr.Dataset({"loss": ("critical_point", [-5e-61, 0.5]), "loss_bounds": bounds})).tolist()
      [0.0, 0.5]
    """
    losses = np.asarray(table["loss"].values, np.float64)
    if "loss_bounds" not in table:
        return losses
    low, high = table["loss_bounds"].values.T
    return np.where((low <= 0) & (high >= 0), 0.0, losses)


def kinds_in_words(table: xr.Dataset) -> list[tuple[str, str]]:
    """The kind of each critical point as it is drawn, and in words that claim no more than is proven.

    A lowest minimum is called global only where the objective is convex; else it is the lowest in the box, or the
    lowest that was found. Whatever lies above it, or above the limits at infinity, is spurious.

    Args:
      table: what `jaxloss.find_critical_points` returned.

    Returns:
      Kind and words of each.
    """
    losses, kinds = table["loss"].values, table["kind"].values
    resting = np.isin(kinds, [STRICT_MINIMUM, DEGENERATE])
    best = float(losses.min(initial=np.inf, where=resting))
    below = at_infinity(table) < best - 1e-9 * (1 + abs(best))
    convex, found = bool(table.attrs.get("convex", "")), "in the box" if table.attrs.get("complete") else "found"
    rows = []
    for kind, loss, certified in zip(kinds, losses, table["certified"].values, strict=True):
        lowest = bool(np.isclose(loss, best, rtol=1e-6, atol=1e-10)) and not below
        flat = kind == DEGENERATE and certified
        if kind == STRICT_MINIMUM and convex:
            rows.append((GLOBAL, GLOBAL))
        elif kind == STRICT_MINIMUM:
            rows.append((GLOBAL, f"lowest minimum {found}") if lowest else (SPURIOUS, SPURIOUS))
        elif flat:
            rows.append((GLOBAL, "point of the lowest flat set") if lowest else (DEGENERATE, "point of a flat set"))
        else:
            rows.append((str(kind), {STRICT_SADDLE: "saddle", DEGENERATE: "degenerate point"}.get(kind, str(kind))))
    return rows


def proven(table: xr.Dataset) -> str:
    """What is proven about a list of critical points, in one sentence.

    Args:
      table: what `jaxloss.find_critical_points` returned.

    Returns:
      The sentence, without a full stop.

    Examples:
      >>> found = {"complete": True, "method": "interval branch and bound", "num_boxes": 1611}
      >>> proven(xr.Dataset({"loss": ("critical_point", [0.5])}, attrs=found))
      'Proven: no others in the box (interval branch and bound: 1,611 boxes, none undecided)'
    """
    method, why = str(table.attrs.get("method", "")), str(table.attrs.get("why_incomplete", ""))
    because = f"; {why}" if why else ""
    if method == "multi-start":
        starts = int(table.attrs.get("num_starts", 0))
        return f"Not proven: there may be more (multi-start: {starts:,} starts){because}"
    if not table.attrs.get("complete"):
        return f"Not proven: there may be more in the box ({method}){because}"
    num, unit = int(table.attrs.get("num_boxes", 0)), ("cell", "cells") if "cells" in method else ("box", "boxes")
    rest = "the whole parameter space" if table.attrs.get("everywhere") else "none undecided"
    others = "no others" if table["loss"].size else "none"
    return f"Proven: {others} in the box ({method}: {num:,} {unit[num != 1]}, {rest})"


def placed(result: xr.Dataset, axes: Sequence[str], fixed: Mapping[str, float]) -> list[tuple[np.ndarray, str]]:
    """The critical points inside the window of a map, where they lie in its plane.

    Args:
      result: a sweep's result.
      axes: those of the map.
      fixed: the values at which the map slices the other axes.

    Returns:
      Position along ``axes``, and kind, of each. None where a parameter lies on no axis: its value is not known.
    """
    names = [str(name) for name in result["parameter"].values] if "parameter" in result.coords else []
    if not set(axes) <= set(names) or not set(names) <= {*axes, *fixed}:
        return []
    columns = [names.index(axis) for axis in axes]
    others = [(names.index(name), name) for name in names if name not in axes]
    found = []
    for point in critical_points(result):
        near = all(abs(point.location[i] - fixed[name]) <= _near(result[name].values) for i, name in others)
        position = point.location[columns]
        inside = all(
            low <= x <= high
            for x, (low, high) in zip(position, (window(result[a].values) for a in axes), strict=True)
        )
        if near and inside:
            found.append((position, point.kind))
    return found


def _near(values: np.ndarray) -> float:
    """How far from a slice a critical point may lie to be marked in it: half a cell, and 2 % of the axis."""
    return min(0.5 * float(np.diff(values).max()), 0.02 * float(np.ptp(values))) if len(values) > 1 else 1e-6


def window(values: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest edge of the cells about the values of an axis."""
    low, *_, high = edges(values)
    return float(low), float(high)


def is_log(values: np.ndarray) -> bool:
    """Whether the values of an axis are positive, and their ratios vary less than their differences.

    Examples:
      >>> is_log(np.geomspace(0.01, 100, 9)), is_log(np.linspace(1, 2, 9)), is_log(np.array([0.1]))
      (True, False, False)
    """
    if len(values) < 3 or values.min() <= 0:
        return len(values) == 2 and bool(values.min() > 0 and values.max() / values.min() >= 5)
    ratios, steps = np.diff(np.log(values)), np.diff(values)
    return bool(np.ptp(ratios) / abs(ratios.mean()) < np.ptp(steps) / abs(steps.mean()))


def edges(values: np.ndarray) -> np.ndarray:
    """Edges of the cells about the values of an axis, midway between neighbours.

    Args:
      values: ascending, shape ``[n]``.

    Returns:
      Shape ``[n + 1]``.

    Examples:
      >>> edges(np.array([0.0, 1.0, 2.0])).tolist()
      [-0.5, 0.5, 1.5, 2.5]
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 1:
        return values[0] + np.array([-0.5, 0.5]) * max(1.0, abs(values[0])) * (0.2 if values[0] > 0 else 1.0)
    scaled = np.log(values) if is_log(values) else values
    middle = (scaled[1:] + scaled[:-1]) / 2
    ends = [1.5 * scaled[0] - 0.5 * scaled[1]], [1.5 * scaled[-1] - 0.5 * scaled[-2]]
    bounds = np.concatenate([ends[0], middle, ends[1]])
    return np.exp(bounds) if is_log(values) else bounds


def trapped_share(result: xr.Dataset) -> float:
    """The fraction of trajectories that are trapped."""
    return float(np.isin(result["outcome"].values, list(TRAPPED)).mean())


def run_options(result: xr.Dataset) -> dict[str, Any]:
    """The options of the run as the result tells them, empty if it does not."""
    try:
        return dict(json.loads(result.attrs["spec"])["run"])
    except (KeyError, TypeError, ValueError):
        return {}


def number(value: Any) -> str:
    """A scalar with three significant digits, without trailing zeros.

    Examples:
      >>> number(0.031622), number(100.0), number(5e-7), number(12345.0), number(0.0)
      ('0.0316', '100', '5e-7', '12300', '0')
    """
    if value == 0 or not np.isfinite(value):
        return f"{abs(value) if value == 0 else value:g}"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


def percent(share: float) -> str:
    """A fraction as a percentage: whole numbers, finer below 1 %; never 0 % or 100 % of what is not.

    Examples:
      >>> percent(0.0), percent(0.0004), percent(0.004), percent(0.254), percent(0.9999), percent(1.0)
      ('0 %', '<0.1 %', '0.4 %', '25 %', '>99.9 %', '100 %')
    """
    scaled = 100 * share
    if share in (0, 1):
        return f"{scaled:.0f} %"
    if scaled < 0.1:
        return "<0.1 %"
    if scaled > 99.9:
        return ">99.9 %"
    return f"{scaled:.1f} %" if scaled < 0.95 or scaled > 99 else f"{scaled:.0f} %"


KIND_ORDER = [GLOBAL, SPURIOUS, STRICT_SADDLE, MAXIMUM, DEGENERATE]
