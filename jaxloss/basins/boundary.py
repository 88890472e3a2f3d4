"""Points of a basin's boundary: bisection, the edge state on it, and the smallest shock across it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxloss import iteration
from jaxloss.checks import number, real_array, show, whole
from jaxloss.critical_points.kinds import kinds
from jaxloss.critical_points.polish import polish
from jaxloss.critical_points.table import LARGEST_CAPTURE_RADIUS
from jaxloss.engine import batched, computing_in, map_in_tiles
from jaxloss.errors import InputError
from jaxloss.labellers import UNDECIDED, Labeller
from jaxloss.maps import rule_of
from jaxloss.problems import Problem

Label = Callable[[np.ndarray], np.ndarray]
"""Points ``[point, parameter]`` to whole numbers ``[point]``, -1 for a start that reaches no attractor."""

# Points of each segment that are labelled at once: few pairs leave room for many, and each step then gains more.
FEWEST, MOST, TOGETHER = 3, 63, 1024
# A direction of a smaller shock is looked for among so many near the best, and up to this angle of it, in radians.
AROUND, WIDEST, NARROWEST = 12, 0.5, 1e-6
# A smaller shock must be smaller by this share.
GAIN = 1e-9


class Bisection(NamedTuple):
    """A boundary between two starts, for each pair.

    Attributes:
      inside: the last start with the label of the first, ``[pair, parameter]``.
      outside: a start with another label, ``[pair, parameter]``.
      inside_label: ``[pair]``.
      outside_label: ``[pair]``; not always that of the start that was given: a third basin may lie between.
      width: the distance between the two, ``[pair]``.
      num_starts: how many labels were asked for, in all.
      reason: why the width is more than the tolerance, else empty; ``[pair]``.
    """

    inside: np.ndarray
    outside: np.ndarray
    inside_label: np.ndarray
    outside_label: np.ndarray
    width: np.ndarray
    num_starts: int
    reason: tuple[str, ...]

    @property
    def point(self) -> np.ndarray:
        """The middle between the two, which is within half a width of a boundary, ``[pair, parameter]``."""
        return self.inside + 0.5 * (self.outside - self.inside)


def bisect(label: Label, inside: Any, outside: Any, *, tolerance: float = 1e-9, num_steps: int = 100) -> Bisection:
    r"""Where the segments between pairs of starts leave the basins of their first ends.

    Every step labels some points of each segment, of all pairs in one batch, and goes on with the part between the
    first that is no longer inside and the one before it: bisection with more than two parts, since a batch of few
    trajectories takes as long as one of many. Of several boundaries on a segment it finds one.

    Args:
      label: points ``[point, parameter]`` to whole numbers, -1 for undecided: `jaxloss.labeller`, or any function.
      inside: starts ``[pair, parameter]``, or one start ``[parameter]``.
      outside: starts with other labels, likewise.
      tolerance: stop at this distance, relative to 1 + the size of the points.
      num_steps: at most so many steps.

    Returns:
      For each pair two points on either side of a boundary. Where no label was reached in between (starts that hover
      on the boundary beyond their budget), or the digits of float64 end, the width says how near the boundary is
      known, and the reason why no nearer.

    Raises:
      InputError: a pair with one label, or a start that is undecided, so that it may itself lie on a boundary.

    Examples:
      >>> found = bisect(lambda points: (points[:, 0] > 0.3).astype(int), [[0.0, 0.0]], [[1.0, 0.0]])
      >>> found.point.round(6).tolist(), found.inside_label.tolist(), found.outside_label.tolist()
      ([[0.3, 0.0]], [0], [1])
    """
    inside, outside = _pairs(inside, outside)
    tolerance = _positive("tolerance", tolerance)
    num_steps = whole("num_steps", num_steps, 1)
    labels = _labels(label, np.concatenate([inside, outside])).reshape(2, -1)
    for name, row in (("inside", labels[0]), ("outside", labels[1])):
        for i in np.flatnonzero(row == UNDECIDED)[:1]:
            raise InputError(
                f"{name}[{i}] must be a start that reaches an attractor: it lies on a boundary, or is unfinished "
                "when the budget is spent"
            )
    for i in np.flatnonzero(labels[0] == labels[1])[:1]:
        raise InputError(f"inside[{i}] and outside[{i}] must have different labels, but both have {labels[0, i]}")
    return _bisected(label, inside, outside, labels, tolerance, num_steps)


def _bisected(
    label: Label, inside: np.ndarray, outside: np.ndarray, labels: np.ndarray, tolerance: float, num_steps: int
) -> Bisection:
    """Bisection of pairs whose labels are known to be decided and different."""
    inside, outside = inside.copy(), outside.copy()
    home, away = labels[0], labels[1].copy()
    num, num_starts = len(home), 2 * len(home)
    reason = np.full(num, "", object)
    going = _wide(inside, outside, tolerance)
    for _ in range(num_steps):
        if not len(going):
            break
        parts = int(np.clip(TOGETHER // len(going), FEWEST, MOST))
        share = np.arange(1, parts + 1) / (parts + 1)
        first, last = inside[going, None], outside[going, None]
        trials = first + share[:, None] * (last - first)
        found = _labels(label, trials.reshape(-1, trials.shape[-1])).reshape(len(going), parts)
        num_starts += found.size
        points = np.concatenate([first, trials, last], axis=1)
        found = np.column_stack([home[going], found, away[going]])
        at_home = found == home[going, None]
        # The first that is elsewhere; before it the last that is at home; what lies between is undecided.
        there = np.argmax((found != UNDECIDED) & ~at_home, axis=1)
        places = np.arange(parts + 2)
        here = np.where(at_home & (places < there[:, None]), places, 0).max(axis=1)
        rows = np.arange(len(going))
        inside[going], outside[going] = points[rows, here], points[rows, there]
        away[going] = found[rows, there]
        stuck = (here == 0) & (there == parts + 1)
        same = np.all(points[rows, here] == first[:, 0], axis=1) & np.all(points[rows, there] == last[:, 0], axis=1)
        reason[going[stuck]] = f"{parts} starts between the two reach no attractor within the budget"
        exhausted = np.all(np.nextafter(inside[going], outside[going]) == outside[going], axis=1) | (same & ~stuck)
        reason[going[exhausted & ~stuck]] = "the two are neighbours in float64"
        left = going[~stuck & ~exhausted]
        going = left[np.isin(left, _wide(inside, outside, tolerance))]
    else:
        reason[going] = f"more than {num_steps} steps would be needed"
    done = np.ones(num, bool)
    done[_wide(inside, outside, tolerance)] = False
    reason[done] = ""
    width = np.linalg.norm(outside - inside, axis=1)
    return Bisection(inside, outside, home, away, width, num_starts, tuple(reason))


class EdgeState(NamedTuple):
    """What organises the boundary between two basins, for each pair.

    Attributes:
      location: the saddle, polished; NaN where none was found, ``[pair, parameter]``.
      edge: where tracking ended, within the bracket of the boundary, ``[pair, parameter]``.
      kind: of the polished point: of a problem ``strict saddle``, ``maximum`` or ``degenerate``; of a map ``saddle``
        or ``repeller``; empty where there is none, ``[pair]``.
      eigenvalues: of the Hessian, ascending, or the moduli of those of the map's Jacobian, ``[pair, parameter]``.
      track: the boundary points of all rounds, NaN after the last of a pair, ``[round, pair, parameter]``.
      num_starts: how many labels were asked for, in all.
      reason: why there is no location, else empty, ``[pair]``.
    """

    location: np.ndarray
    edge: np.ndarray
    kind: tuple[str, ...]
    eigenvalues: np.ndarray
    track: np.ndarray
    num_starts: int
    reason: tuple[str, ...]


def track_edge(
    label: Labeller,
    inside: Any,
    outside: Any,
    *,
    bracket: float = 1e-8,
    separation: float = 1e-4,
    tolerance: float = 1e-5,
    num_rounds: int = 50,
    num_steps: int = 100_000,
) -> EdgeState:
    r"""Follows the boundary between two basins to the saddle on it.

    A boundary is the stable manifold of what lies on it. Bisection gives two starts on either side, ``bracket``
    apart; they are updated together, along the boundary and slowly away from it, until they are ``separation`` apart;
    and bisected again. Where the boundary point of one round is that of the round before, within ``tolerance``, the
    state has settled, and is polished by Newton's method on the gradient, or on the map's :math:`f(s) - s`. It
    may settle nowhere: an edge state can be a cycle or a chaotic set, and then the reason says so and no location is
    given.

    All lengths are relative to 1 + the size of the points.

    Args:
      label: `jaxloss.labeller` of a problem under plain gradient descent, or of a map: it tells the next point too.
      inside: starts ``[pair, parameter]``, or one start.
      outside: starts with other labels, likewise.
      bracket: distance after bisection.
      separation: distance after which the two are bisected again.
      tolerance: of the settled state.
      num_rounds: of bisection, at most.
      num_steps: updates of one round, at most.

    Returns:
      The edge states.

    Raises:
      InputError: as for `bisect`; an optimiser with a memory, minibatches or noise; or lengths out of order.

    References:
      Battelino, Grebogi, Ott, Yorke and Yorke, *Multiple coexisting attractors, basin boundaries and basic sets*,
      1988. Skufca, Yorke and Eckhardt, *Edge of chaos in a parallel shear flow*, 2006.

    Examples:
      >>> from jaxloss.labellers import labeller
      >>> from jaxloss.problems import load_problem
      >>> found = track_edge(labeller(load_problem("cubic-map"), learning_rate=0.1), [[-0.7]], [[1.1]])
      >>> abs(found.location.round(9)).tolist(), found.kind
      ([[0.0]], ('maximum',))
    """
    if not isinstance(label, Labeller):
        raise InputError(f"label must be a jaxloss.labeller(...), which tells the next point too, not {show(label)}")
    bracket, separation = _positive("bracket", bracket), _positive("separation", separation)
    tolerance = _positive("tolerance", tolerance)
    if not bracket < separation:
        raise InputError(f"separation must be above bracket, {bracket:g}, not {separation:g}")
    num_rounds, num_steps = whole("num_rounds", num_rounds, 2), whole("num_steps", num_steps, 1)
    inside, outside = _pairs(inside, outside)
    label.step(inside[:1], 0)  # raises where the next point does not depend on the point alone
    found = bisect(label, inside, outside, tolerance=bracket)
    num, edge, num_starts = len(inside), found.point, found.num_starts
    track = [edge.copy()]
    reason = np.array(found.reason, object)
    # A bracket that did not close has no boundary point; float64's own limit is no hindrance.
    going = np.flatnonzero([not text or "float64" in text for text in reason])
    first, last, settled = found.inside, found.outside, np.zeros(num, bool)
    for _ in range(num_rounds - 1):
        if not len(going):
            break
        first[going], last[going] = _apart(label, first[going], last[going], separation, num_steps)
        labels = _labels(label, np.concatenate([first[going], last[going]])).reshape(2, -1)
        num_starts += labels.size
        lost = (labels == UNDECIDED).any(axis=0) | (labels[0] == labels[1])
        reason[going[lost]] = "the two starts came to lie on one side: rounding is larger than the bracket"
        kept, going = ~lost, going[~lost]
        if not len(going):
            break
        again = _bisected(label, first[going], last[going], labels[:, kept], bracket, 100)
        num_starts += again.num_starts - labels[:, kept].size
        first[going], last[going] = again.inside, again.outside
        moved = np.linalg.norm(again.point - edge[going], axis=1)
        edge[going] = again.point
        now = np.full_like(edge, np.nan)
        now[going] = again.point
        track.append(now)
        still = moved <= tolerance * _sizes(again.point)
        settled[going[still]] = True
        closed = np.array([not text or "float64" in text for text in again.reason], bool)
        reason[going] = again.reason
        going = going[~still & closed]
    reason[going] = (
        f"the edge state still moves after {num_rounds} rounds: it is a cycle or a chaotic set, or is slow to "
        "come to rest"
    )
    location, kind, eigenvalues = _polished(label, edge, settled)
    reason[settled] = np.where([bool(k) for k in kind], "", "no critical point lies near where the edge settled")[
        settled
    ]
    return EdgeState(location, edge, kind, eigenvalues, np.stack(track), num_starts, tuple(reason))


class MinimalShock(NamedTuple):
    """The smallest perturbation found that leaves a basin, for each attractor.

    Attributes:
      shock: attractor + shock has left the basin, ``[attractor, parameter]``; NaN where none was found.
      distance: its length. An upper bound of the smallest shock's: a search proves no lower one.
      label: of the attractor, ``[attractor]``.
      reached: the label on the other side, -1 where none was found.
      ray_distances: where rays in many directions first leave the basin, infinite for beyond the reach,
        ``[attractor, direction]``.
      num_starts: how many labels were asked for, in all.
      reason: why a number is NaN, else empty, ``[attractor]``.
    """

    shock: np.ndarray
    distance: np.ndarray
    label: np.ndarray
    reached: np.ndarray
    ray_distances: np.ndarray
    num_starts: int
    reason: tuple[str, ...]


def minimal_shock(
    label: Label,
    attractors: Any,
    reach: float,
    *,
    num_directions: int = 64,
    num_radii: int = 32,
    num_searches: int = 4,
    num_rounds: int = 40,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> MinimalShock:
    r"""The minimal critical shock: the smallest perturbation of an attractor that leaves its basin.

    .. math:: \min \{ |v| : a + v \text{ is not in the basin of } a \}

    Rays from the attractor are scanned outwards, and bisected where they first leave its basin. From the shortest
    few, directions near by are tried at the distance found so far: one that has left the basin there already is
    bisected, and is the next to start from; where none has, the angle between them is halved.

    The distance is an **upper bound**: that shock does leave the basin, and a smaller one may have been missed, such
    as across a thin tongue of another basin that no ray meets.

    Args:
      label: points ``[point, parameter]`` to whole numbers, -1 for undecided: `jaxloss.labeller`, or any function. An
        undecided point counts as not having left.
      attractors: points ``[attractor, parameter]``, or one point.
      reach: the largest shock that is looked for.
      num_directions: rays of each attractor; those along the axes are among them.
      num_radii: points along each ray.
      num_searches: how many rays each attractor's local search starts from.
      num_rounds: of the local search, at most.
      tolerance: of the distance, relative to 1 + the size of the points.
      seed: of the directions.

    Returns:
      The shocks.

    Raises:
      InputError: a point that is undecided: it lies on a boundary, or is no attractor.

    References:
      Halekotte and Feudel, *Minimal fatal shocks in multistable complex networks*, 2020.

    Examples:
      >>> found = minimal_shock(lambda points: (points[:, 0] + points[:, 1] > 1).astype(int), [[0.0, 0.0]], 3.0)
      >>> found.distance.round(6).tolist(), found.shock.round(3).tolist()
      ([0.707107], [[0.5, 0.5]])
    """
    centres = _points("attractors", attractors)
    reach, tolerance = _positive("reach", reach), _positive("tolerance", tolerance)
    num_directions, num_radii = whole("num_directions", num_directions, 1), whole("num_radii", num_radii, 1)
    num_searches, num_rounds = whole("num_searches", num_searches, 1), whole("num_rounds", num_rounds, 0)
    draws = np.random.default_rng(whole("seed", seed, 0))
    home = _labels(label, centres)
    for i in np.flatnonzero(home == UNDECIDED)[:1]:
        raise InputError(
            f"attractors[{i}] must be a point whose trajectory reaches an attractor: it lies on a boundary, or is "
            "unfinished when the budget is spent"
        )
    num, size = centres.shape
    directions = _directions(num_directions, size, draws)
    rays = np.tile(directions, (num, 1)), np.repeat(np.arange(num), len(directions))
    distance, reached, asked = _first_exit(label, centres, home, *rays, reach, num_radii, tolerance)
    num_starts = num + asked
    table = distance.reshape(num, -1)
    best = np.argsort(table, axis=1, kind="stable")[:, :num_searches]
    start = (np.arange(num)[:, None] * len(directions) + best).reshape(-1)
    start = start[np.isfinite(distance[start])]
    search = _Search(rays[1][start], rays[0][start], distance[start], reached[start])
    if size > 1 and len(start):
        search, asked = _searched(label, centres, home, search, tolerance, num_rounds, draws)
        num_starts += asked
    shock, length = np.full_like(centres, np.nan), np.full(num, np.nan)
    other, reason = np.full(num, UNDECIDED), []
    for i in range(num):
        mine = np.flatnonzero(search.owner == i)
        if not len(mine):
            reason.append(
                f"none of {len(directions)} rays with {num_radii} points each leaves the basin within {reach:g}"
            )
            continue
        k = mine[np.argmin(search.distance[mine])]
        length[i], other[i] = search.distance[k], search.reached[k]
        shock[i] = search.distance[k] * search.direction[k]
        reason.append("")
    return MinimalShock(shock, length, home, other, table, num_starts, tuple(reason))


class _Search(NamedTuple):
    """Local searches for a small shock: whose, along which direction, how long, and what lies beyond."""

    owner: np.ndarray
    direction: np.ndarray
    distance: np.ndarray
    reached: np.ndarray


def _searched(
    label: Label,
    centres: np.ndarray,
    home: np.ndarray,
    search: _Search,
    tolerance: float,
    num_rounds: int,
    draws: np.random.Generator,
) -> tuple[_Search, int]:
    """The searches after their rounds, all at once; and how many labels they took."""
    owner, direction, distance, reached = (np.copy(column) for column in search)
    num, size = direction.shape
    angle, num_starts = np.full(num, WIDEST), 0
    for _ in range(num_rounds):
        going = np.flatnonzero(angle > NARROWEST)
        if not len(going):
            break
        shift = angle[going, None, None] * draws.normal(size=(len(going), AROUND, size)) / math.sqrt(size)
        near = direction[going, None] + shift
        near /= np.linalg.norm(near, axis=2, keepdims=True)
        closer = (1 - GAIN) * distance[going]
        trials = centres[owner[going], None] + closer[:, None, None] * near
        found = _labels(label, trials.reshape(-1, size)).reshape(len(going), AROUND)
        num_starts += found.size
        left = (found != UNDECIDED) & (found != home[owner[going], None])
        which, place = np.nonzero(left)
        better = np.zeros(len(going), bool)
        if len(which):
            mine = owner[going[which]]
            ends = trials[which, place]
            labels = np.stack([home[mine], found[which, place]])
            exact = _bisected(label, centres[mine], ends, labels, tolerance, 100)
            num_starts += exact.num_starts - labels.size
            lengths = np.linalg.norm(exact.outside - centres[mine], axis=1)
            # The last of those with one index stays: the shortest.
            for k in np.argsort(-lengths, kind="stable"):
                i = going[which[k]]
                distance[i], direction[i], reached[i] = lengths[k], near[which[k], place[k]], exact.outside_label[k]
                better[which[k]] = True
        angle[going] *= np.where(better, 1.0, 0.5)
    return _Search(owner, direction, distance, reached), num_starts


def _first_exit(
    label: Label,
    centres: np.ndarray,
    home: np.ndarray,
    directions: np.ndarray,
    owner: np.ndarray,
    reach: float,
    num_radii: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, int]:
    """How far each ray goes before it first leaves its basin, infinite for beyond the reach; and what is there."""
    radii = reach * np.arange(1, num_radii + 1) / num_radii
    points = centres[owner, None] + radii[:, None] * directions[:, None]
    found = _labels(label, points.reshape(-1, points.shape[-1])).reshape(len(owner), num_radii)
    num_starts = found.size
    outside = (found != UNDECIDED) & (found != home[owner, None])
    distance, reached = np.full(len(owner), np.inf), np.full(len(owner), UNDECIDED)
    rays = np.flatnonzero(outside.any(axis=1))
    if len(rays):
        exits = np.argmax(outside[rays], axis=1)
        at_home = found[rays] == home[owner[rays], None]
        before = np.where(at_home & (np.arange(num_radii) < exits[:, None]), np.arange(num_radii), -1).max(axis=1)
        first = np.where((before >= 0)[:, None], points[rays, before], centres[owner[rays]])
        labels = np.stack([home[owner[rays]], found[rays, exits]])
        exact = _bisected(label, first, points[rays, exits], labels, tolerance, 100)
        num_starts += exact.num_starts - labels.size
        distance[rays] = np.linalg.norm(exact.outside - centres[owner[rays]], axis=1)
        reached[rays] = exact.outside_label
    return distance, reached, num_starts


def _directions(num: int, size: int, draws: np.random.Generator) -> np.ndarray:
    """Unit vectors: along the axes, and others all around."""
    along = np.concatenate([np.eye(size), -np.eye(size)])
    if size == 1:
        return along
    if size == 2:
        angles = 2 * np.pi * (np.arange(max(num - len(along), 1)) + 0.5) / max(num - len(along), 1)
        others = np.column_stack([np.cos(angles), np.sin(angles)])
    else:
        others = draws.normal(size=(num, size))
        others /= np.linalg.norm(others, axis=1, keepdims=True)
    return np.concatenate([along, others])[:num]


def _apart(
    label: Labeller, first: np.ndarray, last: np.ndarray, separation: float, num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Updates pairs together until they are far enough apart, a few steps at a time: about as far as that."""
    first, last = first.copy(), last.copy()
    made, chunk = 0, 1
    going = np.arange(len(first))
    while len(going) and made < num_steps:
        before = np.linalg.norm(last[going] - first[going], axis=1)
        moved = label.step(np.concatenate([first[going], last[going]]), chunk)
        first[going], last[going] = np.split(moved, 2)
        made += chunk
        after = np.linalg.norm(last[going] - first[going], axis=1)
        wide = after > separation * _sizes(first[going])
        with np.errstate(divide="ignore", invalid="ignore"):
            # Twice as many steps would grow it by the square.
            twice = after * np.square(after / before)
        gentle = np.all(np.nan_to_num(twice[~wide]) <= separation * _sizes(first[going][~wide]))
        chunk = 2 * chunk if gentle else max(chunk // 2, 1)
        chunk = max(1, min(chunk, num_steps - made))
        going = going[~wide]
    return first, last


def _polished(
    label: Labeller, points: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """The critical or fixed points next to some points, their kinds and eigenvalues; NaN where there is none."""
    location, eigenvalues = np.full_like(points, np.nan), np.full_like(points, np.nan)
    kind = np.full(len(points), "", object)
    which = np.flatnonzero(chosen)
    if not len(which):
        return location, tuple(kind), eigenvalues
    if isinstance(label.space, Problem):
        found = polish(label.space, points[which])
        places, values, good = found.location, found.spectrum.eigenvalues, found.converged
        names = kinds(values)
    else:
        places, values, good = _fixed_points(label, points[which])
        names = np.where((values > 1).all(axis=1), "repeller", np.where((values > 1).any(axis=1), "saddle", "stable"))
    near = np.linalg.norm(places - points[which], axis=1) <= LARGEST_CAPTURE_RADIUS * _sizes(points[which])
    kept = which[good & near]
    location[kept], eigenvalues[kept] = places[good & near], values[good & near]
    kind[kept] = names[good & near]
    return location, tuple(str(k) for k in kind), eigenvalues


def _fixed_points(label: Labeller, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed points of a map, the moduli of the Jacobian's eigenvalues, and whether Newton's method found them."""
    hyper = {name: np.full(len(points), value) for name, value in label.hyperparameters.items()}
    with computing_in("float64", label.space):
        program = batched(iteration.polish, (rule_of(label.space),), (0, 0, None))
        found = map_in_tiles(lambda rows: program(*rows, 1), (hyper, points), 256)
        moved = label.step(found.point)
    moduli = np.sort(np.abs(np.linalg.eigvals(found.jacobian)), axis=1)
    residual = np.abs(moved - found.point).max(axis=1)
    return found.point, moduli, residual <= iteration.ROOT * _sizes(found.point)


def _labels(label: Label, points: np.ndarray) -> np.ndarray:
    found = np.asarray(label(points))
    if found.shape != (len(points),) or found.dtype.kind not in "iub":
        raise InputError(
            f"label must return one whole number for each of {len(points)} points, not {show(found.dtype)} of shape "
            f"{found.shape}"
        )
    return found.astype(np.int64)


def _wide(inside: np.ndarray, outside: np.ndarray, tolerance: float) -> np.ndarray:
    """The pairs that are farther apart than the tolerance."""
    return np.flatnonzero(np.linalg.norm(outside - inside, axis=1) > tolerance * _sizes(inside))


def _sizes(points: np.ndarray) -> np.ndarray:
    return 1 + np.linalg.norm(points, axis=1)


def _points(field: str, points: Any) -> np.ndarray:
    points = np.atleast_2d(real_array(field, points))
    if points.ndim != 2 or not points.size:
        raise InputError(f"{field} must be an array [pair, parameter], not of shape {points.shape}")
    return points


def _pairs(inside: Any, outside: Any) -> tuple[np.ndarray, np.ndarray]:
    inside, outside = _points("inside", inside), _points("outside", outside)
    if inside.shape != outside.shape:
        raise InputError(f"outside must have the shape of inside, {inside.shape}, not {outside.shape}")
    return inside, outside


def _positive(field: str, value: Any) -> float:
    if number(field, value) <= 0:
        raise InputError(f"{field} must be > 0, not {show(value)}")
    return float(value)
