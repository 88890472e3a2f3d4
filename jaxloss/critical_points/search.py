"""Critical points: proven and complete where that is possible, else from many starts."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import xarray as xr

from jaxloss.checks import check_instance, real_array, show, text, whole
from jaxloss.critical_points import arrangement, complete
from jaxloss.critical_points.certificates import Certificates, from_cells, from_search
from jaxloss.critical_points.convexity import convexity_argument
from jaxloss.critical_points.limits import has_limits, limits_at_infinity
from jaxloss.critical_points.polish import MAX_PARAMETERS, Polished, Spectrum, joined, polish
from jaxloss.critical_points.relu_cells import relu_critical_points
from jaxloss.critical_points.smooth import is_analytic
from jaxloss.critical_points.table import CriticalPoints, build_table, certify, to_dataset
from jaxloss.engine import computing_in
from jaxloss.errors import InputError, unknown
from jaxloss.problems import Problem

METHODS = ("auto", "complete", "multi-start")
# Of the limits at infinity, this many of the lowest are listed.
MAX_LIMITS = 1000
# The factor of the sum of squares in the losses that a ReLU neuron's cells are made for.
SQUARES = {"mse": (1.0, True), "half_mse": (0.5, True), "sse": (1.0, False), "half_sse": (0.5, False)}


def find_critical_points(
    problem: Problem,
    box: Mapping[str, tuple[float, float]],
    *,
    method: str = "auto",
    num_starts: int | None = None,
    seed: int = 0,
    max_boxes: int = 2_000_000,
    progress: bool = False,
) -> xr.Dataset:
    """Critical points of an objective in a box: all of them, with proof, where that is possible.

    A smooth objective of up to four parameters is searched by interval branch and bound (`complete.search_box`):
    every point that it lists is proven to exist and to be of its kind, and ``complete`` is True once nothing in the
    box is left undecided. The stationary points of a ReLU neuron under a squared error are found exactly, cell by
    cell. Everything else is searched from many starts: Newton's method from scrambled Sobol sequences in the box and
    in smaller boxes inside it, and from the problem's known critical points; then ``complete`` is False, no entry is
    certified, and the attribute ``why_incomplete`` says what stood in the way.

    Args:
      problem: the objective.
      box: name of each parameter -> (low, high).
      method: ``"auto"``; ``"complete"``, which is an error where no proof is possible; or ``"multi-start"``.
      num_starts: of the multi-start; default 384 for up to three parameters, more for more.
      seed: scrambles the starts.
      max_boxes: of the branch and bound; beyond it the rest is reported as undecided.
      progress: show a progress bar.

    Returns:
      Dimension ``critical_point`` in order of the loss; variables ``location`` (by ``parameter``), ``loss``,
      ``kind`` (``strict minimum``, ``strict saddle``, ``maximum``, ``degenerate``), ``eigenvalues`` (of the
      Hessian, ascending), ``certified``, ``sharpness`` (the largest eigenvalue) and ``learning_rate_limit``
      (2 / sharpness at a strict minimum, below which gradient descent is stable there). What is proven:
      ``location_bounds``, ``loss_bounds`` and ``eigenvalue_bounds`` by ``bound`` (low, high), NaN where nothing is;
      ``undecided`` boxes. For a neuron ``limit_value``, ``limit_bounds`` and ``limit_direction``: what the loss tends
      to at infinity, and one direction for each. Of a flat set of points one is listed, even outside the box.
      Attributes: ``complete``, ``everywhere`` (the list holds for the whole parameter space), ``method``,
      ``num_boxes``, ``why_incomplete``; for a neuron ``convex`` (the argument, if there is one),
      ``infimum_at_infinity``, ``separable``, ``weakly_separable``, and for cross-entropy ``finite_minimiser``.

    Raises:
      InputError: a parameter that is missing from the box, an empty box, too many parameters, or an argument of the
        wrong kind.

    References:
      Neumaier, *Interval methods for systems of equations*, 1990. Nocedal and Wright, *Numerical optimization*,
      2006, chapters 10 and 11.

    Examples:
      >>> from jaxloss.problems import load_problem
      >>> table = find_critical_points(load_problem("cubic-map"), {"x": (-3, 3)})
      >>> table.kind.values.tolist(), table.attrs["complete"]
      (['strict minimum', 'strict minimum', 'maximum'], True)
    """
    check_instance("problem", problem, Problem)
    method = text("method", method)
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    seed, max_boxes = whole("seed", seed, 0), whole("max_boxes", max_boxes, 1)
    if num_starts is not None:
        num_starts = whole("num_starts", num_starts, 1, 10**6)
    bounds = check_box(problem, box)
    if problem.num_parameters > MAX_PARAMETERS:
        raise InputError(
            f"{problem.name} has {problem.num_parameters} parameters; the search for critical points takes at most "
            f"{MAX_PARAMETERS}"
        )
    certificates, why = None, "a search from many starts was asked for"
    if method != "multi-start":
        certificates, why = prove(problem, bounds, max_boxes=max_boxes, progress=progress)
        if certificates is None and method == "complete":
            raise InputError(f"{problem.name} cannot be searched completely: {why}; use method='multi-start'")
    attrs = {"method": "multi-start", "everywhere": False, "num_boxes": 0, "why_incomplete": why}
    with computing_in("float64", problem):
        polished = None
        if certificates is None or not certificates.complete:
            starts = multi_starts(problem, bounds, num_starts=num_starts, seed=seed)
            polished = _within(polish_starts(problem, starts), bounds)
            attrs |= {"num_starts": len(starts), "seed": seed}
        if certificates is None:
            assert polished is not None
            table = build_table(problem, polished)
        else:
            table = certified_table(problem, certificates, polished, bounds)
            kept = ("method", "everywhere", "num_boxes")
            attrs |= {name: getattr(certificates, name) for name in kept}
    return to_dataset(table, problem, certificates, attrs).merge(_at_infinity(problem), combine_attrs="no_conflicts")


def _at_infinity(problem: Problem) -> xr.Dataset:
    """The limits of the loss at infinity where they are known, and whether it is convex."""
    neuron, limits, attrs = problem.neuron, None, {}
    if neuron is not None:
        attrs["convex"] = convexity_argument(neuron.activation, neuron.loss) or ""
        inputs = neuron.inputs(problem.data)
        possible = inputs.shape[1] <= arrangement.MAX_PARAMETERS and len(inputs) <= arrangement.MAX_SAMPLES
        if possible and has_limits(neuron.activation, neuron.loss):
            targets = np.asarray(problem.data[1], np.float64)
            limits = limits_at_infinity(neuron.activation, neuron.loss, inputs, targets, max_values=MAX_LIMITS)
            attrs |= {
                "infimum_at_infinity": limits.infimum,
                "separable": int(limits.separable),
                "weakly_separable": int(limits.weakly_separable),
            }
            if limits.finite_minimiser is not None:
                attrs["finite_minimiser"] = int(limits.finite_minimiser)
    none = np.zeros(0)
    values, low, high = (none,) * 3 if limits is None else (limits.values, limits.values_low, limits.values_high)
    directions = np.zeros((0, problem.num_parameters)) if limits is None else limits.directions
    return xr.Dataset(
        {
            "limit_value": ("limit", values),
            "limit_bounds": (("limit", "bound"), np.stack([low, high], axis=-1)),
            "limit_direction": (("limit", "parameter"), directions),
        },
        attrs=attrs,
    )


def prove(
    problem: Problem, bounds: np.ndarray, *, max_boxes: int, progress: bool = False
) -> tuple[Certificates | None, str]:
    """Critical points with proof, where there is a method for the problem.

    Args:
      problem: the objective.
      bounds: the box, ``[parameter, 2]``; the cells of a ReLU neuron are searched everywhere.
      max_boxes: of the branch and bound.
      progress: show a progress bar.

    Returns:
      The certificates, or None; and what stood in the way of a complete list, empty if nothing did.
    """
    neuron = problem.neuron
    if neuron is not None and neuron.activation == "relu" and neuron.loss in SQUARES:
        inputs, targets = neuron.inputs(problem.data), np.asarray(problem.data[1], np.float64)
        if inputs.shape[1] > arrangement.MAX_PARAMETERS or len(inputs) > arrangement.MAX_SAMPLES:
            return None, (
                f"the cells of a ReLU neuron are listed for at most {arrangement.MAX_PARAMETERS} parameters and "
                f"{arrangement.MAX_SAMPLES} samples"
            )
        scale, averages = SQUARES[neuron.loss]
        return from_cells(relu_critical_points(inputs, targets, scale=_share(scale, averages, len(inputs)))), ""
    if problem.piecewise and not is_analytic(problem.objective, problem.params):
        return None, "the objective is made of pieces, at whose borders it has no Hessian"
    if problem.num_parameters > complete.MAX_PARAMETERS:
        return None, (
            f"it has {problem.num_parameters} parameters, and boxes can be searched with at most "
            f"{complete.MAX_PARAMETERS}"
        )
    try:
        found = complete.search_box(problem, bounds, known_points(problem), max_boxes=max_boxes, progress=progress)
    except InputError as error:
        return None, str(error)
    left = len(found.undecided_low)
    why = f"after {found.num_boxes:,} boxes {left:,} are undecided (degenerate points always are)"
    return from_search(found), why if left else ""


def _share(scale: float, averages: bool, num: int) -> Fraction:
    return Fraction(scale) / (num if averages else 1)


def certified_table(
    problem: Problem, certificates: Certificates, polished: Polished | None, bounds: np.ndarray | None = None
) -> CriticalPoints:
    """The table of certified critical points, and of others that were found by polishing.

    Args:
      problem: the objective.
      certificates: what is proven.
      polished: others, or None.
      bounds: leaves out what lies outside this box, ``[parameter, 2]``.

    Returns:
      The table; call it within float64.
    """
    num = len(certificates.location)
    none = np.zeros(num)
    loss, eigenvalues = certificates.loss.mean(axis=-1), certificates.eigenvalues.mean(axis=-1)
    found = Spectrum(loss, none, eigenvalues, none, none.astype(bool))
    points = Polished(certificates.location, found, np.ones(num, bool))
    if polished is not None:
        points = joined(points, polished)
    if bounds is not None:
        # A point on the border belongs to the box, though its enclosure sticks out; of a flat set only one point
        # is known, and the set may reach into the box.
        slack = 1e-9 * (1 + np.abs(bounds))
        flat = np.pad(certificates.flat, (0, len(points.location) - num))
        within = _within(points, bounds + slack * [-1, 1])
        points = points._replace(converged=np.where(flat, points.converged, within.converged))
    boxes = np.stack([certificates.low, certificates.high], axis=-1)
    return certify(build_table(problem, points, boxes), certificates)


def _within(polished: Polished, bounds: np.ndarray) -> Polished:
    inside = np.all((polished.location >= bounds[:, 0]) & (polished.location <= bounds[:, 1]), axis=1)
    return polished._replace(converged=polished.converged & inside)


def known_points(problem: Problem) -> np.ndarray:
    """The critical points that a problem declares, ``[point, parameter]``."""
    known = [np.asarray(problem.ravel(point), dtype=np.float64) for point in problem.critical_points]
    return np.reshape(known, (-1, problem.num_parameters))


def multi_starts(problem: Problem, bounds: np.ndarray, *, num_starts: int | None, seed: int) -> np.ndarray:
    """Where the search starts: Sobol sequences in nested boxes, and the known critical points.

    A third of the starts lies in ``bounds`` ``[parameter, 2]``, the others in boxes of a quarter and a sixteenth of
    its side about its point nearest to the origin: far out models saturate, and every search stands still.
    """
    from scipy.stats import qmc  # slow to import, and seldom needed where the search is complete

    dimension = problem.num_parameters
    if num_starts is None:
        num_starts = int(np.clip(128 * dimension, 384, 1024)) if dimension <= 8 else max(32, 8192 // dimension)
    sobol = qmc.Sobol(dimension, rng=np.random.default_rng(seed))
    unit = sobol.random_base2(max(num_starts - 1, 1).bit_length())[:num_starts]
    low, high = bounds.T
    shrink = 0.25 ** (np.arange(num_starts) % 3)[:, None]
    centre = np.clip(0.0, low, high)
    starts = centre + shrink * (low + unit * (high - low) - centre)
    return np.concatenate([starts, known_points(problem)])


def polish_starts(problem: Problem, starts: np.ndarray) -> Polished:
    """Critical points reached from starts: of every kind at once, and minima by running down first."""
    return joined(polish(problem, starts), polish(problem, starts, descend=True))


def check_box(problem: Problem, box: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """The bounds of every parameter, ``[parameter, 2]``.

    Raises:
      InputError: a parameter that is missing or unknown, or bounds that are not finite or not in order.
    """
    if not isinstance(box, Mapping):
        raise InputError(f"box must be a mapping of each parameter to (low, high), not {show(box)}")
    names = problem.parameter_names
    for name in box:
        if name not in names:
            raise unknown("parameter in the box:", name, names)
    bounds = np.zeros((len(names), 2))
    for i, name in enumerate(names):
        if name not in box:
            raise InputError(f"box: parameter {name!r} is missing; it needs (low, high)")
        sides = real_array(f"box: {name!r}", box[name], "(low, high)", finite=False)
        if sides.shape != (2,):
            raise InputError(f"box: {name!r} must be (low, high), not {show(box[name])}")
        low, high = sides.tolist()
        if not (low < high and np.isfinite(high - low)):
            raise InputError(f"box: {name!r} must have finite low < high, not ({low:g}, {high:g})")
        bounds[i] = low, high
    return bounds
