"""How the basins of attraction change along a hyperparameter, every attractor under one name throughout."""

import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from jaxloss.basins.along import Along, read_along
from jaxloss.basins.fractions import wilson_interval
from jaxloss.basins.labels import outcome_codes
from jaxloss.checks import number
from jaxloss.critical_points.kinds import STRICT_MINIMUM
from jaxloss.errors import InputError
from jaxloss.grids import LEARNING_RATE
from jaxloss.iteration import embedded

# Distances count for less than any overlap of the basins: they part what the basins do not.
_DISTANCE_WEIGHT = 1e-3


def continue_attractors(
    result: Any, *, along: str = LEARNING_RATE, max_distance: float = 0.25, confidence: float = 0.95
) -> xr.Dataset:
    r"""The fraction of starts in each basin along a hyperparameter, attractors matched from value to value.

    The critical points of a sweep stay where they are, and the sweep has told them apart by the model's outputs: each
    keeps its index. The attractors of a map move, double their period and turn chaotic. Of those at two consecutive
    values, pairs :math:`(i, j)` may match whose distance, relative to 1 + their size, is at most ``max_distance``,

    .. math:: \min\Bigl(\operatorname*{mean}_{a \in A_i} \min_{b \in A_j} |a - b|,\;
              \operatorname*{mean}_{b \in A_j} \min_{a \in A_i} |a - b|\Bigr),

    and of these the assignment is chosen whose basins overlap most, :math:`\sum |B_i \cap B_j| / |B_i \cup B_j|`. The
    smaller of the two means lets a point match the cycle or the chaotic set that it has grown into. An attractor that
    no start reaches at some values keeps its name where it returns within that distance. What ends on no attractor (a
    plateau, divergence; in a sweep also cycles and chaos) goes by its outcome; `jaxloss.bifurcation.descent_map`
    makes of gradient descent a map, whose cycles and chaotic sets `jaxloss.sweep_map` tells apart.

    Args:
      result: of `jaxloss.sweep` or `jaxloss.sweep_map`, its starts on a lattice or sampled.
      along: the hyperparameter.
      max_distance: how far an attractor may move from one value to the next, relative to 1 + its size.
      confidence: of Wilson's intervals, which take the starts for independent draws.

    Returns:
      Dimensions ``along`` (under its own name, ascending) and ``fate``: the attractors in the order in which they
      appear, then the other outcomes. Variables: ``count``, ``fraction``, ``low``, ``high``; ``outcome`` (the code
      that most of a fate's trajectories bear there, -1 for none), ``period`` (likewise), ``location`` (one point, NaN
      where no start ends there), ``is_attractor``, ``first`` and ``last`` (values at which the fate occurs), ``edge``
      (2/sharpness of a strict minimum under plain gradient descent, else NaN); and ``fate_index``, the map: for each
      value and start the index of its fate.

    Raises:
      InputError: no such axis, one value along it, several values along another hyperparameter, or a distance that is
        not positive.

    References:
      Datseris, Luiz Rossi and Wagemakers, *Framework for global stability analysis of dynamical systems*, 2023.
      Menck, Heitzig, Marwan and Kurths, *How basin stability complements the linear-stability paradigm*, 2013.

    Examples:
      >>> from jaxloss import Axis, Grid, sweep_map
      >>> grid = Grid({"x": Axis.linear(-0.93, 2.9, 39), "a": Axis.linear(0.5, 1.5, 5)})
      >>> towards = lambda state, a: {"x": state["x"] - 0.1 * (state["x"] ** 2 - a**2)}  # -a repels, a attracts
      >>> found = continue_attractors(sweep_map(towards, grid), along="a")
      >>> found.fate.values.tolist(), found.location.sel(fate="fixed point A")[:, 0].values.round(2).tolist()
      (['fixed point A', 'diverged'], [0.5, 0.75, 1.0, 1.25, 1.5])
    """
    if number("max_distance", max_distance) <= 0:
        raise InputError(f"max_distance must be > 0, not {max_distance:g}")
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
    labels = read_along(result, along)
    if "orbit_of" in result:
        entries = _matched(labels, _point_sets(result), max_distance)
        locations = result["attractor_location"].values
    else:
        entries = {i: i for i in np.unique(labels.attractor[labels.attractor >= 0]).tolist()}
        entries = [entries] * len(labels.values)
        locations = result["location"].values if "location" in result else np.zeros((0, 0))
    return _to_dataset(result, labels, entries, locations, confidence)


class _Identity(NamedTuple):
    """An attractor where it was last seen: its points, its basin, and at which value."""

    points: np.ndarray
    basin: np.ndarray
    seen: int


def _point_sets(result: xr.Dataset) -> list[np.ndarray]:
    """The points of each attractor of a map, as coordinates that can be compared."""
    wrap = json.loads(result.attrs.get("spec", "{}")).get("run", {}).get("wrap", {})
    periods = tuple(wrap.get(str(name)) for name in result["parameter"].values)
    points, owner = embedded(periods, result["orbit"].values), result["orbit_of"].values
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, result.sizes["attractor_index"]))
    return np.split(points[order], starts)


def _matched(labels: Along, sets: list[np.ndarray], max_distance: float) -> list[dict[int, int]]:
    """At each value, the identity of each entry of the table."""
    known: list[_Identity] = []
    found: list[dict[int, int]] = []
    for k, attractor in enumerate(labels.attractor):
        here = {entry: attractor == entry for entry in np.unique(attractor[attractor >= 0]).tolist()}
        match: dict[int, int] = {}
        # Those that live come first: one that has vanished returns only to a place that none of them takes.
        for living in (True, False):
            olds = [i for i, old in enumerate(known) if (old.seen == k - 1) == living and i not in match.values()]
            news = [entry for entry in here if entry not in match]
            for i, j in _assigned([known[i] for i in olds], [(sets[e], here[e]) for e in news], max_distance):
                match[news[j]] = olds[i]
        for entry, basin in here.items():
            seen = _Identity(sets[entry], basin, k)
            if entry not in match:
                match[entry] = len(known)
                known.append(seen)
            known[match[entry]] = seen
        found.append(match)
    return found


def _assigned(
    olds: list[_Identity], news: list[tuple[np.ndarray, np.ndarray]], max_distance: float
) -> list[tuple[int, int]]:
    """The pairs of the best assignment among those that are near enough."""
    if not olds or not news:
        return []
    apart = np.array([[_distance(old.points, points) for points, _ in news] for old in olds])
    overlap = np.array([[(old.basin & basin).sum() / (old.basin | basin).sum() for _, basin in news] for old in olds])
    near = apart <= max_distance
    gain = np.where(near, 1 + overlap - _DISTANCE_WEIGHT * apart / max_distance, 0.0)
    rows, columns = linear_sum_assignment(-gain)
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if near[i, j]]


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """How far two sets of points are apart, relative to 1 + their size."""
    means = (cKDTree(b).query(a)[0].mean() for a, b in ((first, second), (second, first)))
    return float(min(means) / (1 + max(np.abs(first).max(), np.abs(second).max())))


def _to_dataset(
    result: xr.Dataset,
    labels: Along,
    entries: list[dict[int, int]],
    locations: np.ndarray,
    confidence: float,
) -> xr.Dataset:
    num_values, num_starts = labels.outcome.shape
    identities = sorted({identity for match in entries for identity in match.values()})
    number_of = {identity: i for i, identity in enumerate(identities)}
    # What has no attractor: index by outcome.
    codes = outcome_codes(result)
    bare = [code for code in _in_order(codes) if np.any((labels.outcome == code) & (labels.attractor < 0))]
    index = np.full(labels.outcome.shape, -1, np.int32)
    for k, match in enumerate(entries):
        for entry, identity in match.items():
            index[k, labels.attractor[k] == entry] = number_of[identity]
    for i, code in enumerate(bare):
        index[(labels.outcome == code) & (labels.attractor < 0)] = len(identities) + i
    num = len(identities) + len(bare)
    count = np.stack([(index == i).sum(axis=1) for i in range(num)], axis=1)
    low, high = wilson_interval(count, num_starts, confidence=confidence)
    outcome = np.full((num_values, num), -1, np.int8)
    period = np.zeros((num_values, num), np.int32)
    location = np.full((num_values, num, locations.shape[-1]), np.nan)
    periods = _columns(result, "period", labels)
    for k, match in enumerate(entries):
        for i in np.flatnonzero(count[k]):
            here = index[k] == i
            outcome[k, i] = _most_frequent(labels.outcome[k, here])
            period[k, i] = _most_frequent(periods[k, here])
        for entry, identity in match.items():
            if entry < len(locations) and count[k, number_of[identity]]:
                location[k, number_of[identity]] = locations[entry]
    names = _names(codes, outcome, len(identities))
    dims, starts = (labels.name, "fate"), tuple(labels.starts)
    occurs = count > 0
    coordinates = {name: result[name].values for name in starts if name in result.coords}
    if "parameter" in result.coords:
        coordinates["parameter"] = result["parameter"].values
    shares = {"count": count, "fraction": count / num_starts, "low": low, "high": high}
    return xr.Dataset(
        {
            **{name: (dims, values) for name, values in shares.items()},
            "outcome": (dims, outcome),
            "period": (dims, period),
            "location": ((*dims, "parameter"), location),
            "is_attractor": ("fate", np.arange(num) < len(identities)),
            "first": ("fate", labels.values[occurs.argmax(axis=0)]),
            "last": ("fate", labels.values[num_values - 1 - occurs[::-1].argmax(axis=0)]),
            "edge": ("fate", np.append(_edges(result, identities), np.full(len(bare), np.nan))),
            "fate_index": ((labels.name, *starts), index.reshape(num_values, *labels.starts.values())),
        },
        coords={labels.name: labels.values, "fate": names, **coordinates},
        attrs={
            "name": str(result.attrs.get("name", "")),
            "along": labels.name,
            "total": num_starts,
            "outcomes": json.dumps(codes),
        },
    )


def _in_order(codes: dict[str, int]) -> list[int]:
    """Outcomes in the order of display: what is unfinished comes last."""
    return sorted(codes.values(), key=lambda code: (code == 0, code))


def _columns(result: xr.Dataset, name: str, labels: Along) -> np.ndarray:
    """A variable of the result, shaped like the labels; zeros where it has none."""
    if name not in result:
        return np.zeros(labels.outcome.shape, np.int32)
    others = [str(dim) for dim in result[name].dims if dim not in (labels.name, *labels.starts)]
    values = result[name].sortby(labels.name) if labels.name in result.coords else result[name]
    return values.transpose(labels.name, *others, *labels.starts).values.reshape(labels.outcome.shape)


def _edges(result: xr.Dataset, attractors: list[int]) -> np.ndarray:
    """2/sharpness of each strict minimum under plain gradient descent, else NaN."""
    edges = np.full(len(attractors), np.nan)
    optimizer = json.loads(result.attrs.get("spec", "{}")).get("run", {}).get("optimizer")
    if "eigenvalues" not in result or "kind" not in result or optimizer != "sgd":
        return edges
    minima = [i for i, attractor in enumerate(attractors) if result["kind"].values[attractor] == STRICT_MINIMUM]
    edges[minima] = 2 / result["eigenvalues"].values[np.array(attractors)[minima]].max(axis=1)
    return edges


def _most_frequent(values: np.ndarray) -> int:
    found, count = np.unique(values, return_counts=True)
    return int(found[np.argmax(count)])


def _names(codes: dict[str, int], outcome: np.ndarray, num_attractors: int) -> list[str]:
    """Each attractor by what it is where it first appears, and a letter; the others by their outcomes."""
    words = {code: name.replace("_", " ") for name, code in codes.items()}
    first = [int(column[np.argmax(column >= 0)]) for column in outcome.T]
    return [f"{words[code]} {_letters(i)}" if i < num_attractors else words[code] for i, code in enumerate(first)]


def _letters(i: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    return (_letters(i // 26 - 1) if i >= 26 else "") + chr(ord("A") + i % 26)
