"""Which critical point each end point has reached, and the table that this search fills."""

import functools
from collections.abc import Sequence

import numpy as np

from jaxloss.critical_points.certificates import Certificates
from jaxloss.critical_points.kinds import ZERO_EIGENVALUE
from jaxloss.critical_points.polish import MAX_PARAMETERS, Polished, Spectrum, joined, polish, spectrum
from jaxloss.critical_points.search import certified_table, known_points, multi_starts, polish_starts, prove
from jaxloss.critical_points.table import (
    CAPTURE_RADIUS,
    LARGEST_CAPTURE_RADIUS,
    CriticalPoints,
    build_table,
    capture,
    empty_table,
)
from jaxloss.problems import Problem

# How many end points are polished in one round.
POLISHED_AT_ONCE = 512
MAX_ROUNDS = 5
# A sweep proves its critical points up to this many parameters, and as long as that takes a second or so.
MAX_PARAMETERS_TO_PROVE = 3
MAX_BOXES = 200_000
# Up to this many parameters every end point is asked for its Newton step, beyond that a sample.
MAX_PARAMETERS_FOR_EVERY_STEP = 24


def locate(
    problem: Problem,
    bounds: np.ndarray,
    end_points: Sequence[np.ndarray],
    *,
    moving: np.ndarray | None = None,
    gradient_tolerance: float,
    seed: int,
) -> tuple[CriticalPoints, list[np.ndarray], Certificates | None]:
    """The table of critical points, and the one that each end point has reached.

    A complete search of ``bounds`` where that is possible, else a multi-start there, and a sample of the end points
    fill the table. Then every end point that no
    entry captures is asked for its own Newton step; where it is short, the point is polished and what it finds
    joins the table, until nothing new appears.

    Args:
      problem: the objective.
      bounds: of the multi-start, shape ``[parameter, 2]``.
      end_points: of settled trajectories, in any number of parts of shape ``[point, parameter]``, which are asked
        for one after the other; the result does not depend on how they are parted.
      moving: where other trajectories were when their budget was spent, shape ``[point, parameter]``; what they
        may be on their way to joins the table.
      gradient_tolerance: of the trajectories.
      seed: of the multi-start.

    Returns:
      The table; for each end point of each part an index into it, -1 for none; and what is proven, None where no
      proof is possible.
    """
    everywhere = [np.arange(len(points)) for points in end_points]
    if problem.num_parameters > MAX_PARAMETERS:
        return empty_table(problem.num_parameters), [np.full(len(which), -1) for which in everywhere], None
    certificates = None
    if problem.num_parameters <= MAX_PARAMETERS_TO_PROVE:
        certificates = _proven(problem, tuple(map(tuple, bounds.tolist())))
    if certificates is not None and certificates.complete:
        starts = known_points(problem)
    else:
        starts = multi_starts(problem, bounds, num_starts=None, seed=seed)
    if moving is not None:
        starts = np.concatenate([starts, spread(moving, POLISHED_AT_ONCE)])
    sample = rows_of(end_points, spread_among(everywhere, POLISHED_AT_ONCE))
    polished = _polished_nearby(problem, starts, sample.astype(np.float64))

    def table_of(polished: Polished) -> CriticalPoints:
        if certificates is None:
            return build_table(problem, polished)
        return certified_table(problem, certificates, polished)

    def captured_by(table: CriticalPoints) -> list[np.ndarray]:
        # In few bytes: there may be many of them.
        least = np.min_scalar_type(-max(len(table.loss), 1))
        return [capture(table, points, gradient_tolerance).astype(least) for points in end_points]

    table = table_of(polished)
    captured = captured_by(table)
    for _ in range(MAX_ROUNDS):
        lost = [np.flatnonzero(part < 0) for part in captured]
        if problem.num_parameters > MAX_PARAMETERS_FOR_EVERY_STEP:
            lost = spread_among(lost, POLISHED_AT_ONCE)
        near = [_near(problem, points, which) for points, which in zip(end_points, lost, strict=True)]
        if not any(map(len, near)):
            break
        found = rows_of(end_points, spread_among(near, POLISHED_AT_ONCE)).astype(np.float64)
        polished = joined(polished, polish(problem, found))
        known, table = len(table.copies), table_of(polished)
        captured = captured_by(table)
        if len(table.copies) == known:
            break
    return table, captured, certificates


@functools.lru_cache(maxsize=8)
def _proven(problem: Problem, bounds: tuple[tuple[float, float], ...]) -> Certificates | None:
    """What is proven does not depend on where trajectories end: once for all sweeps of a problem over one box."""
    return prove(problem, np.array(bounds), max_boxes=MAX_BOXES)[0]


def on_flat_set(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Whether each point lies within the capture radius of a degenerate critical point: the floor of a level valley.

    Across the valley Newton's step is short, and along it there is neither slope nor curvature.

    Args:
      problem: the objective.
      points: shape ``[point, parameter]``.

    Returns:
      Booleans ``[point]``; all False where there are too many parameters to look at every Hessian.

    Examples:
      >>> from jaxloss.problems import load_problem
      >>> on_flat_set(load_problem("single-relu"), np.array([[0.3, 0.7 + 1e-7], [0.3, 0.9]])).tolist()
      [True, False]
    """
    if problem.num_parameters > MAX_PARAMETERS_FOR_EVERY_STEP or not len(points):
        return np.zeros(len(points), bool)
    points = points.astype(np.float64)
    found = spectrum(problem, points)
    return found.degenerate & (found.newton_step <= CAPTURE_RADIUS * (1 + np.linalg.norm(points, axis=1)))


def spread(rows: np.ndarray, num: int) -> np.ndarray:
    """At most ``num`` rows, evenly spaced: a deterministic sample.

    Examples:
      >>> spread(np.arange(10), 4).tolist()
      [0, 3, 6, 9]
    """
    if len(rows) <= num:
        return rows
    return rows[np.linspace(0, len(rows) - 1, num).round().astype(int)]


def spread_among(which: Sequence[np.ndarray], num: int) -> list[np.ndarray]:
    """`spread` of indices that are parted: those of them that are chosen, part by part.

    Examples:
      >>> [part.tolist() for part in spread_among([np.arange(4), np.arange(10, 16)], 4)]
      [[0, 3], [12, 15]]
    """
    ends = np.cumsum([len(part) for part in which])
    chosen = spread(np.arange(ends[-1]), num)
    firsts = ends - [len(part) for part in which]
    return [
        part[chosen[(chosen >= first) & (chosen < end)] - first]
        for part, first, end in zip(which, firsts, ends, strict=True)
    ]


def rows_of(parts: Sequence[np.ndarray], which: Sequence[np.ndarray]) -> np.ndarray:
    """Chosen rows of parts, one after the other."""
    return np.concatenate([part[rows] for part, rows in zip(parts, which, strict=True)])


def _polished_nearby(problem: Problem, starts: np.ndarray, end_points: np.ndarray) -> Polished:
    """Both polished; from an end point a search may only go as far as one could have captured it."""
    polished = polish(problem, end_points)
    moved = np.linalg.norm(polished.location - end_points, axis=1)
    near = moved <= LARGEST_CAPTURE_RADIUS * (1 + np.linalg.norm(end_points, axis=1))
    polished = polished._replace(converged=polished.converged & near)
    return joined(polish_starts(problem, starts), polished)


def _near(problem: Problem, points: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Those of some end points that have a critical point close by."""
    left = points[which].astype(np.float64)
    return which[_near_strict_point(spectrum(problem, left), left)] if len(left) else which


def _near_strict_point(found: Spectrum, points: np.ndarray) -> np.ndarray:
    """Whether Newton's step leads from a point to a non-degenerate critical point close by."""
    size = np.abs(found.eigenvalues)
    regular = size.min(axis=1, initial=np.inf) > ZERO_EIGENVALUE * size.max(axis=1, initial=0)
    reach = LARGEST_CAPTURE_RADIUS * (1 + np.linalg.norm(points, axis=1))
    return regular & (found.newton_step <= reach)
