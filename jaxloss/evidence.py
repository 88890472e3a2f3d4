"""What is known of every trajectory once it has ended: the input of `outcomes.classify`."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxloss import outcomes
from jaxloss.critical_points.certificates import Certificates
from jaxloss.critical_points.dead import is_dead
from jaxloss.critical_points.infimum import is_infimum
from jaxloss.critical_points.infinity import descending_limit
from jaxloss.critical_points.kinds import DEGENERATE
from jaxloss.critical_points.locate import POLISHED_AT_ONCE, locate, on_flat_set
from jaxloss.critical_points.marks import Marks, mask_of
from jaxloss.critical_points.polish import gradient_norms, losses
from jaxloss.critical_points.table import CriticalPoints, approaches, capture
from jaxloss.problems import Problem
from jaxloss.runs import Ends

# A loss this close to the infimum, relative to 1 + its size, is the infimum.
INFIMUM_TOLERANCE = 1e-6


class Findings(NamedTuple):
    """What all trajectories together show.

    Attributes:
      table: the critical points.
      infimum: the greatest lower bound of the objective.
      infimum_source: ``declared``, ``complete search`` or ``best seen``.
    """

    table: CriticalPoints
    infimum: float
    infimum_source: str

    @property
    def solves(self) -> np.ndarray:
        """Whether the loss of each critical point is the infimum."""
        return self.table.loss <= level(self.infimum)


class Block:
    """The ends of some trajectories, examined in float64; what is costly is found out once.

    Args:
      problem: the objective.
      ends: of the trajectories.
      gradient_tolerance: of the trajectories.
    """

    def __init__(self, problem: Problem, ends: Ends, gradient_tolerance: float):
        self.problem, self.ends, self.gradient_tolerance = problem, ends, gradient_tolerance
        # What was found last, and by which table; of limits also the highest that was of interest.
        self._at_rest: tuple[CriticalPoints | None, np.ndarray] = None, np.zeros(0, int)
        self._limits = (-np.inf, np.zeros(0, int), np.zeros(0))

    @functools.cached_property
    def bounded(self) -> np.ndarray:
        """Whether each trajectory has not diverged."""
        return ~self.ends.diverged & np.isfinite(self.ends.loss)

    @functools.cached_property
    def rests(self) -> np.ndarray:
        """Whether it settled, or no longer moves: low precision may stop it before its gradient is small."""
        ends, rests = self.ends, self.bounded & self.ends.settled
        going = np.flatnonzero(self.bounded & ~rests)
        rests[going] = ends.still[going] | _unmoved(_rows(ends.point, going), _rows(ends.midpoint, going))
        return rests

    @functools.cached_property
    def flat(self) -> np.ndarray:
        """Whether its gradient is exactly zero on an open set."""
        flat = np.zeros(len(self.bounded), bool)
        if self.problem.piecewise:
            resting = np.flatnonzero(self.rests)
            flat[resting] = is_dead(self.problem, _rows(self.ends.point, resting))
        return flat

    @functools.cached_property
    def resting(self) -> np.ndarray:
        """Numbers of those that rest where a critical point may be."""
        return np.flatnonzero(self.rests & ~self.flat)

    @functools.cached_property
    def steady(self) -> np.ndarray:
        """Whether it neither diverged nor goes round for ever."""
        return self.bounded & ~self.ends.chaotic & (self.ends.period == 0)

    @functools.cached_property
    def moving(self) -> np.ndarray:
        """Numbers of those that are on their way."""
        return np.flatnonzero(self.steady & ~self.rests)

    @functools.cached_property
    def loss(self) -> np.ndarray:
        """Float64; infinite where it diverged."""
        loss = losses(self.problem, self.ends.point)
        loss[np.flatnonzero(~self.bounded)] = np.inf
        return loss

    def captured(self, table: CriticalPoints) -> np.ndarray:
        """The critical point that each trajectory has reached, -1 for none."""
        if self._at_rest[0] is not table:
            self._at_rest = table, capture(table, _rows(self.ends.point, self.resting), self.gradient_tolerance)
        captured = np.full(len(self.bounded), -1, np.int32)
        captured[self.resting] = self._at_rest[1]
        return captured

    def settled(self, captured: np.ndarray) -> np.ndarray:
        """What no longer moves, though rounding keeps its gradient above the tolerance, rests on a valley's floor."""
        settled = self.rests & (self.ends.settled | (captured >= 0))
        stuck = np.flatnonzero(self.rests & ~settled & ~self.flat)
        settled[stuck] = on_flat_set(self.problem, _rows(self.ends.point, stuck))
        return settled

    def free(self, captured: np.ndarray) -> np.ndarray:
        """Numbers of those that may run to infinity."""
        return np.flatnonzero(self.steady & ~self.flat & (captured < 0))

    def limits(self, captured: np.ndarray, highest: float) -> np.ndarray:
        """The limit of the loss on a ray from each of those that are `free`, where it is at most ``highest``."""
        free = self.free(captured)
        if highest > self._limits[0] or not np.array_equal(free, self._limits[1]):
            point, midpoint = _rows(self.ends.point, free), _rows(self.ends.midpoint, free)
            self._limits = highest, free, descending_limit(self.problem, point, midpoint, highest=highest)
        return self._limits[2]

    def evidence(self, findings: Findings) -> outcomes.Evidence:
        """What is known of each trajectory, given what all of them show."""
        problem, ends, table = self.problem, self.ends, findings.table
        captured = self.captured(table)
        settled, free, highest = self.settled(captured), self.free(captured), level(findings.infimum)
        at_infimum = self.bounded & (self.loss <= highest)
        to_infinity = np.zeros(len(self.bounded), bool)
        # Not on the way back: far out, single precision may lose the outward part of a step.
        outwards = _sizes(_rows(ends.point, free)) >= 0.999 * _sizes(_rows(ends.midpoint, free))
        to_infinity[free] = (self.limits(captured, highest) <= highest) & (settled[free] | outwards)
        captured = _captured_by_flat_set(table, captured, settled & at_infimum & ~to_infinity, highest)
        stalled = np.zeros(len(self.bounded), bool)
        restless = np.flatnonzero(self.bounded & ~settled & ~to_infinity & ~ends.chaotic & (ends.period <= 1))
        rays = self.steady[restless] & ~self.flat[restless]
        stalled[restless] = _stalled(problem, table, ends, restless, self.loss[restless], rays, findings.infimum)
        return outcomes.Evidence(
            diverged=~self.bounded,
            period=ends.period,
            chaotic=ends.chaotic,
            settled=settled,
            # An open set of minima (a loss of zero wherever a margin is kept) is no trap.
            dead=self.flat & ~at_infimum,
            captured=captured,
            at_infimum=at_infimum,
            to_infinity=to_infinity,
            stalled=stalled,
        )


class Points(Sequence[np.ndarray]):
    """End points of chosen trajectories of each block, read when they are asked for."""

    def __init__(self, blocks: Sequence[Block], which: Marks, num_parameters: int):
        self._blocks, self._which, self._num_parameters = blocks, which, num_parameters

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, index: Any) -> Any:
        which = self._which[index]
        if not len(which):  # the block need not be read
            return np.zeros((0, self._num_parameters))
        return _rows(self._blocks[index].ends.point, which)


def survey(
    problem: Problem, blocks: Sequence[Block], bounds: np.ndarray, *, gradient_tolerance: float, seed: int
) -> Findings:
    """Finds the critical points and the infimum, from the ends of all trajectories.

    Args:
      problem: the objective.
      blocks: all trajectories, in blocks that are asked for one after the other, several times; what is found does
        not depend on how they are parted. Of each trajectory two bits are kept.
      bounds: of the grid's initial points, for the multi-start, shape ``[parameter, 2]``.
      gradient_tolerance: of the trajectories.
      seed: of the multi-start.

    Returns:
      The findings.
    """
    resting, moving = Marks(), Marks()
    for block in blocks:
        for marks, rows in ((resting, block.resting), (moving, block.moving)):
            marks.add(mask_of(len(block.bounded), rows))
    on_their_way = Points(blocks, moving.spread(POLISHED_AT_ONCE), problem.num_parameters)
    table, certificates = locate(
        problem,
        bounds,
        Points(blocks, resting, problem.num_parameters),
        moving=np.concatenate(list(on_their_way)),
        gradient_tolerance=gradient_tolerance,
        seed=seed,
    )
    if problem.infimum is not None:
        return Findings(table, float(problem.infimum), "declared")
    least = [(_least(block.loss), _least(block.ends.loss[block.ends.diverged])) for block in blocks]
    lowest = min(_least(table.loss), *(bounded for bounded, _ in least))
    # Only a ray that falls to the lowest loss seen so far can matter, to its trajectory or to the infimum.
    rays = [_least(block.limits(block.captured(table), level(lowest))) for block in blocks]
    diverged = min(unbounded for _, unbounded in least)
    return Findings(table, *_infimum(problem, certificates, bounds, min(lowest, *rays), diverged))


def gather(
    problem: Problem, ends: Ends, bounds: np.ndarray, *, gradient_tolerance: float, seed: int
) -> tuple[Findings, outcomes.Evidence]:
    """What trajectories that are all in memory show together, and what is known of each; see `survey`."""
    block = Block(problem, ends, gradient_tolerance)
    findings = survey(problem, [block], bounds, gradient_tolerance=gradient_tolerance, seed=seed)
    return findings, block.evidence(findings)


def _least(values: np.ndarray) -> float:
    """The smallest of some numbers, NaN apart; infinity for none."""
    return float(np.fmin.reduce(values, initial=np.inf))


def _unmoved(points: np.ndarray, midpoints: np.ndarray) -> np.ndarray:
    """Whether each point is the same as the one half-way, up to rounding in their precision."""
    ends, middles = _columns(points), _columns(midpoints)
    with np.errstate(invalid="ignore", over="ignore"):
        rounding = 4 * np.finfo(points.dtype).eps * (1 + np.abs(ends).max(axis=0))
        return np.abs(ends - middles).max(axis=0) <= rounding


def _stalled(
    problem: Problem,
    table: CriticalPoints,
    ends: Ends,
    which: np.ndarray,
    loss: np.ndarray,
    has_rays: np.ndarray,
    infimum: float,
) -> np.ndarray:
    """`outcomes.stalled`, and no critical point is near, and the gradient fades; what costs most is asked last."""
    point, midpoint = _rows(ends.point, which), _rows(ends.midpoint, which)
    midpoint_loss, slope, size = losses(problem, midpoint), ends.gradient_norm[which], _sizes(point)
    limit = np.full(len(which), np.inf)

    def stalled(left, limit):
        return outcomes.stalled(loss[left], midpoint_loss[left], slope[left], size[left], limit, infimum)

    # A ray with nothing to gain is the most that could speak for it.
    left = np.flatnonzero(stalled(slice(None), loss))
    left = left[~approaches(table, _rows(point, left))]
    left = left[_fades(problem, _rows(point, left), _rows(midpoint, left))]
    undecided = left[~stalled(left, limit[left]) & has_rays[left]]
    limit[undecided] = descending_limit(problem, _rows(point, undecided), _rows(midpoint, undecided))
    found = np.zeros(len(which), bool)
    found[left] = stalled(left, limit[left])
    return found


def _rows(points: np.ndarray, which: np.ndarray) -> np.ndarray:
    """``points[which]``, several times as fast."""
    return np.take(points, which, axis=0)


def _columns(points: np.ndarray) -> np.ndarray:
    """Points in float64 with the parameter first: NumPy is slow along short rows."""
    return np.array(points.T, np.float64, order="C")


def _sizes(points: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.sqrt(np.square(_columns(points)).sum(axis=0))


def level(infimum: float) -> float:
    """Up to where a loss is the infimum.

    Examples:
      >>> level(-math.inf)
      -inf
    """
    return infimum + INFIMUM_TOLERANCE * (1 + abs(infimum)) if math.isfinite(infimum) else infimum


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
    problem: Problem, certificates: Certificates | None, bounds: np.ndarray, best: float, diverged: float
) -> tuple[float, str]:
    """The greatest lower bound, and where it comes from, given the lowest losses of the bounded and of the others."""
    tolerance = INFIMUM_TOLERANCE * (1 + abs(best))
    # A run that diverges downwards, below everything else, shows that the objective has no lower bound.
    if diverged < best - tolerance:
        return -math.inf, "best seen"
    if certificates is not None and is_infimum(problem, certificates, bounds, best, tolerance):
        return best, "complete search"
    return best, "best seen"
