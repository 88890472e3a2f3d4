"""What is known of every trajectory once it has ended: the input of `outcomes.classify`."""

import math
from typing import NamedTuple

import numpy as np

from jaxloss import outcomes
from jaxloss.critical_points.dead import is_dead
from jaxloss.critical_points.infinity import descending_limit
from jaxloss.critical_points.kinds import DEGENERATE
from jaxloss.critical_points.locate import locate, on_flat_set
from jaxloss.critical_points.polish import gradient_norms, losses
from jaxloss.critical_points.table import CriticalPoints, approaches
from jaxloss.problems import Problem
from jaxloss.runs import Ends

# A loss this close to the infimum, relative to 1 + its size, is the infimum.
INFIMUM_TOLERANCE = 1e-6


class Findings(NamedTuple):
    """Everything that the labels rest on.

    Attributes:
      evidence: of each trajectory.
      table: the critical points.
      solves: whether the loss of each critical point is the infimum.
      infimum: the greatest lower bound of the objective.
      infimum_source: ``declared``, ``complete search`` or ``best seen``.
    """

    evidence: outcomes.Evidence
    table: CriticalPoints
    solves: np.ndarray
    infimum: float
    infimum_source: str


def gather(problem: Problem, ends: Ends, bounds: np.ndarray, *, gradient_tolerance: float, seed: int) -> Findings:
    """Examines every end point in float64.

    Args:
      problem: the objective.
      ends: of all trajectories.
      bounds: of the grid's initial points, for the multi-start, shape ``[parameter, 2]``.
      gradient_tolerance: of the trajectories.
      seed: of the multi-start.

    Returns:
      The findings.
    """
    point, midpoint = ends.point.astype(np.float64), ends.midpoint.astype(np.float64)
    bounded = ~ends.diverged & np.isfinite(ends.loss)
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.linalg.norm(point, axis=1)
        midpoint_size = np.linalg.norm(midpoint, axis=1)
        rounding = 4 * np.finfo(ends.point.dtype).eps * (1 + np.abs(point).max(axis=1))
        # In low precision a trajectory may rest before its gradient is within tolerance.
        unmoved = np.abs(point - midpoint).max(axis=1) <= rounding
    rests = bounded & (ends.settled | unmoved)

    dead = np.zeros(len(point), bool)
    dead[rests] = is_dead(problem, point[rests])

    captured = np.full(len(point), -1)
    resting = np.flatnonzero(rests & ~dead)
    table, captured[resting] = locate(
        problem,
        bounds,
        point[resting],
        moving=point[bounded & ~rests & ~ends.chaotic & (ends.period == 0)],
        gradient_tolerance=gradient_tolerance,
        seed=seed,
    )

    # What no longer moves, though rounding keeps its gradient above the tolerance, rests on the floor of a valley.
    settled = bounded & (ends.settled | (rests & (captured >= 0)))
    stuck = np.flatnonzero(rests & ~ends.settled & ~dead & (captured < 0))
    settled[stuck] = on_flat_set(problem, point[stuck])

    limit = np.full(len(point), np.inf)
    free = np.flatnonzero(bounded & ~dead & ~ends.chaotic & (ends.period == 0) & (captured < 0))
    limit[free] = descending_limit(problem, point[free], midpoint[free])
    loss, midpoint_loss = np.full((2, len(point)), np.inf)
    loss[bounded], midpoint_loss[bounded] = losses(problem, point[bounded]), losses(problem, midpoint[bounded])
    infimum, source = _infimum(problem, table, loss, limit, ends.loss[ends.diverged])
    highest = infimum + INFIMUM_TOLERANCE * (1 + abs(infimum)) if math.isfinite(infimum) else infimum
    with np.errstate(invalid="ignore", over="ignore"):
        # Not on the way back: far out, single precision may lose the outward part of a step.
        outwards = settled | (size >= 0.999 * midpoint_size)
        to_infinity = (limit <= highest) & outwards
        at_infimum = bounded & (loss <= highest)
        captured = _captured_by_flat_set(table, captured, settled & at_infimum & ~to_infinity, highest)
        stalled = bounded & outcomes.stalled(loss, midpoint_loss, ends.gradient_norm, size, limit, infimum)
        stalled[stalled] = ~approaches(table, point[stalled])
        stalled[stalled] = _fades(problem, point[stalled], midpoint[stalled])
        evidence = outcomes.Evidence(
            diverged=~bounded,
            period=ends.period,
            chaotic=ends.chaotic,
            settled=settled,
            # An open set of minima (a loss of zero wherever a margin is kept) is no trap.
            dead=dead & ~at_infimum,
            captured=captured,
            at_infimum=at_infimum,
            to_infinity=to_infinity,
            stalled=stalled,
        )
    return Findings(evidence, table, table.loss <= highest, infimum, source)


def _captured_by_flat_set(
    table: CriticalPoints, captured: np.ndarray, solved: np.ndarray, highest: float
) -> np.ndarray:
    """Counts solved trajectories on a manifold of minima, of which the table has one entry, as captured by it."""
    entries = np.flatnonzero((table.kind == DEGENERATE) & (table.loss <= highest))
    return np.where(solved & (captured < 0), entries[0], captured) if len(entries) == 1 else captured


def _fades(problem: Problem, points: np.ndarray, midpoints: np.ndarray) -> np.ndarray:
    """Whether the gradient has faded over the last half of the budget, measured in float64."""
    return gradient_norms(problem, points) <= outcomes.FADING * gradient_norms(problem, midpoints)


def _infimum(
    problem: Problem, table: CriticalPoints, losses: np.ndarray, limits: np.ndarray, diverged: np.ndarray
) -> tuple[float, str]:
    """The greatest lower bound, and where it comes from."""
    if problem.infimum is not None:
        return float(problem.infimum), "declared"
    best = float(min(part.min(initial=np.inf) for part in (table.loss, losses, limits)))
    # A run that diverges downwards, below everything else, shows that the objective has no lower bound.
    if np.any(diverged < best - INFIMUM_TOLERANCE * (1 + abs(best))):
        return -math.inf, "best seen"
    return best, "complete search" if table.complete else "best seen"
