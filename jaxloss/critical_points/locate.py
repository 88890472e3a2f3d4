"""Which critical point each end point has reached, and the table that this search fills."""

import functools
from collections.abc import Sequence

import numpy as np

from jaxloss.critical_points.certificates import Certificates
from jaxloss.critical_points.kinds import ZERO_EIGENVALUE
from jaxloss.critical_points.marks import Marks, mask_of, rows_of, spread
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
) -> tuple[CriticalPoints, Certificates | None]:
    """The table of critical points that end points have reached, and what else is found.

    A complete search of ``bounds`` where that is possible, else a multi-start there, and a sample of the end points
    fill the table. Then every end point that no
    entry captures is asked for its own Newton step; where it is short, the point is polished and what it finds
    joins the table, until nothing new appears.

    Args:
      problem: the objective.
      bounds: of the multi-start, shape ``[parameter, 2]``.
      end_points: of settled trajectories, in any number of parts of shape ``[point, parameter]``, which are asked
        for one after the other, several times; the result does not depend on how they are parted.
      moving: where other trajectories were when their budget was spent, shape ``[point, parameter]``; what they
        may be on their way to joins the table.
      gradient_tolerance: of the trajectories.
      seed: of the multi-start.

    Returns:
      The table, and what is proven, None where no proof is possible.
    """
    if problem.num_parameters > MAX_PARAMETERS:
        return empty_table(problem.num_parameters), None
    certificates = None
    if problem.num_parameters <= MAX_PARAMETERS_TO_PROVE:
        certificates = _proven(problem, tuple(map(tuple, bounds.tolist())))
    if certificates is not None and certificates.complete:
        starts = known_points(problem)
    else:
        starts = multi_starts(problem, bounds, num_starts=None, seed=seed)
    if moving is not None:
        starts = np.concatenate([starts, spread(moving, POLISHED_AT_ONCE)])
    everywhere = Marks(np.ones(len(points), bool) for points in end_points)
    sample = rows_of(end_points, everywhere.spread(POLISHED_AT_ONCE))
    polished = _polished_nearby(problem, starts, sample.astype(np.float64))

    def table_of(polished: Polished) -> CriticalPoints:
        if certificates is None:
            return build_table(problem, polished)
        return certified_table(problem, certificates, polished)

    def missed_by(table: CriticalPoints) -> Marks:
        """Those that no entry captures, though there is a critical point close by."""
        lost = (capture(table, points, gradient_tolerance) < 0 for points in end_points)
        if problem.num_parameters > MAX_PARAMETERS_FOR_EVERY_STEP:
            sample = Marks(lost).spread(POLISHED_AT_ONCE)
            lost = (mask_of(len(points), rows) for points, rows in zip(end_points, sample, strict=True))
        return Marks(_near(problem, points, mask) for points, mask in zip(end_points, lost, strict=True))

    table = table_of(polished)
    for _ in range(MAX_ROUNDS):
        missed = missed_by(table)
        if not missed.total:
            break
        found = rows_of(end_points, missed.spread(POLISHED_AT_ONCE)).astype(np.float64)
        polished = joined(polished, polish(problem, found))
        known, table = len(table.copies), table_of(polished)
        if len(table.copies) == known:
            break
    return table, certificates


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


def _polished_nearby(problem: Problem, starts: np.ndarray, end_points: np.ndarray) -> Polished:
    """Both polished; from an end point a search may only go as far as one could have captured it."""
    polished = polish(problem, end_points)
    moved = np.linalg.norm(polished.location - end_points, axis=1)
    near = moved <= LARGEST_CAPTURE_RADIUS * (1 + np.linalg.norm(end_points, axis=1))
    polished = polished._replace(converged=polished.converged & near)
    return joined(polish_starts(problem, starts), polished)


def _near(problem: Problem, points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether an end point is one of those asked for, and has a critical point close by."""
    which = np.flatnonzero(mask)
    if not len(which):
        return mask
    left = points[which].astype(np.float64)
    return mask_of(len(points), which[_near_strict_point(spectrum(problem, left), left)])


def _near_strict_point(found: Spectrum, points: np.ndarray) -> np.ndarray:
    """Whether Newton's step leads from a point to a non-degenerate critical point close by."""
    size = np.abs(found.eigenvalues)
    regular = size.min(axis=1, initial=np.inf) > ZERO_EIGENVALUE * size.max(axis=1, initial=0)
    reach = LARGEST_CAPTURE_RADIUS * (1 + np.linalg.norm(points, axis=1))
    return regular & (found.newton_step <= reach)
