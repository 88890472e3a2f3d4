"""The table of critical points, and which of them an end point has reached."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from jaxloss.critical_points.certificates import Certificates
from jaxloss.critical_points.kinds import DEGENERATE, STRICT_MINIMUM, kinds
from jaxloss.critical_points.kinks import is_refuted
from jaxloss.critical_points.polish import Polished, map_points
from jaxloss.engine import on_devices, tiles
from jaxloss.problems import Problem
from jaxloss.problems.problem import Structure

# Two polished points closer than this, relative to 1 + their size, are one.
SAME_POINT = 1e-6
# Within this distance, relative to 1 + size, an end point has reached a critical point.
CAPTURE_RADIUS = 1e-4
# Where the Hessian is nearly singular, a gradient within tolerance leaves more room; but not more than this:
# on a saturating slope Newton's step has length 1 or so, and leads nowhere.
LARGEST_CAPTURE_RADIUS = 0.02
# Within this distance, relative to 1 + size, a trajectory that still moves is on its way there, or past it.
APPROACH_RADIUS = 0.1


# Up to this many numbers in all, copies are compared one after the other; beyond it a tree pays.
FEW = 64
# Points of one such comparison, so that they stay in the cache.
AT_ONCE = 16_384


class CriticalPoints(NamedTuple):
    """Distinct critical points in order of their loss, and every copy of them.

    Copies differ by a symmetry of the parameters only: the model's outputs on the data are the same.

    Attributes:
      location: one representative of each, ``[critical_point, parameter]``.
      loss: ``[critical_point]``.
      eigenvalues: of the Hessian, ascending, ``[critical_point, parameter]``.
      kind: strings ``[critical_point]``; a minimum that holds on one side of a kink only is degenerate.
      copies: ``[copy, parameter]``.
      copy_of: index of the critical point of each copy, ``[copy]``.
      certified: whether existence and kind are proven, ``[critical_point]``.
      complete: whether there are provably no others in the box that was searched.
    """

    location: np.ndarray
    loss: np.ndarray
    eigenvalues: np.ndarray
    kind: np.ndarray
    copies: np.ndarray
    copy_of: np.ndarray
    certified: np.ndarray
    complete: bool = False


def empty_table(num_parameters: int) -> CriticalPoints:
    """A table without entries."""
    points, none = np.zeros((0, num_parameters)), np.zeros(0)
    return CriticalPoints(points, none, points, none.astype(object), points, none.astype(int), none.astype(bool))


def build_table(problem: Problem, polished: Polished, boxes: np.ndarray | None = None) -> CriticalPoints:
    """The distinct critical points among polished ones.

    Points within rounding of each other are one, unless it is proven that they are two. So are points whose outputs
    on the data agree, where the problem has outputs; where it has none, degenerate points of equal loss.

    Args:
      problem: gives the outputs.
      polished: any number of polished points; those that did not converge are left out.
      boxes: of the first so many of them, each with exactly one critical point in it, ``[point, parameter, 2]``.

    Returns:
      The table.
    """
    keep = np.flatnonzero(polished.converged)
    location = polished.location[keep]
    if not len(location):
        return empty_table(problem.num_parameters)
    loss, eigenvalues = polished.spectrum.loss[keep], polished.spectrum.eigenvalues[keep]
    order = np.lexsort((*location.T, np.round(loss, 9)))
    location, loss, eigenvalues = location[order], loss[order], eigenvalues[order]
    scaled = location / (1 + np.linalg.norm(location, axis=1, keepdims=True))
    cluster = _clusters(scaled, SAME_POINT)
    first = _first_of_each(cluster) if boxes is None else _representatives(cluster, keep[order], boxes)
    location, loss, eigenvalues = location[first], loss[first], eigenvalues[first]
    kind = kinds(eigenvalues)
    claimed = np.flatnonzero(kind == STRICT_MINIMUM)
    kind[claimed[is_refuted(problem, location[claimed])]] = DEGENERATE
    if problem.outputs is None:
        # A flat set of degenerate points is one entry for each level of the loss.
        identity = np.where(kind == DEGENERATE, 0.0, 1.0 + np.arange(len(kind)))[:, None]
    else:
        identity = map_points(_outputs_at, problem, location, tile_size=256, static=(problem.outputs,))
    kind_number = np.unique(kind.astype(str), return_inverse=True)[1]
    copy_of = _clusters(np.column_stack([identity, loss, kind_number]), SAME_POINT)
    representative = _first_of_each(copy_of)
    # Renumber so that critical points stay in order of their loss.
    number = np.empty(representative.size, int)
    number[copy_of[representative]] = np.arange(representative.size)
    return CriticalPoints(
        location[representative],
        loss[representative],
        eigenvalues[representative],
        kind[representative],
        location,
        number[copy_of],
        np.zeros(representative.size, bool),
    )


def capture(table: CriticalPoints, points: np.ndarray, gradient_tolerance: float) -> np.ndarray:
    r"""Which critical point each end point has reached.

    The radius about a critical point c with smallest absolute eigenvalue :math:`\lambda` is
    :math:`\max(10^{-4}(1 + |c|), 10 \epsilon / \lambda)` for gradient tolerance :math:`\epsilon`, at most
    :math:`0.02 (1 + |c|)`.

    Args:
      table: the critical points.
      points: shape ``[point, parameter]``.
      gradient_tolerance: of the trajectories.

    Returns:
      Index of the critical point, -1 for none, ``[point]``.
    """
    if not len(table.copies) or not len(points):
        return np.full(len(points), -1)
    smallest = np.abs(table.eigenvalues).min(axis=1)[table.copy_of]
    size = 1 + np.linalg.norm(table.copies, axis=1)
    slack = 10 * gradient_tolerance / np.maximum(smallest, 1e-300)
    strict = (table.kind == STRICT_MINIMUM)[table.copy_of]
    radius = np.where(
        strict, np.clip(slack, CAPTURE_RADIUS * size, LARGEST_CAPTURE_RADIUS * size), CAPTURE_RADIUS * size
    )
    distance, nearest = _nearest(table.copies, points)
    return np.where(distance <= radius[nearest], table.copy_of[nearest], -1)


def approaches(table: CriticalPoints, points: np.ndarray) -> np.ndarray:
    """Whether each point is near a critical point that is not degenerate, though not captured by it.

    Such a trajectory is on its way into a minimum, or past a saddle; it does not lie on a plateau.

    Args:
      table: the critical points.
      points: finite, shape ``[point, parameter]``.

    Returns:
      Booleans ``[point]``.
    """
    copies = table.copies[(table.kind != DEGENERATE)[table.copy_of]]
    if not len(copies):
        return np.zeros(len(points), bool)
    distance, nearest = _nearest(copies, points)
    return distance <= APPROACH_RADIUS * (1 + np.linalg.norm(copies, axis=1))[nearest]


def _nearest(copies: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from each point to the nearest copy, infinite for a point that is not finite; and which copy it is."""
    square, nearest = np.full(len(points), np.inf), np.zeros(len(points), int)
    if copies.size > FEW:
        finite = np.logical_and.reduce(np.isfinite(points), axis=1)
        distance, nearest[finite] = cKDTree(copies).query(points[finite], workers=-1)
        square[finite] = distance**2
    else:

        def compare(rows: tuple[int, int], device) -> None:
            part = slice(*rows)
            columns = np.array(points[part].T, np.float64, order="C")
            with np.errstate(invalid="ignore", over="ignore"):
                for i, copy in enumerate(copies):
                    found = np.square(columns - copy[:, None]).sum(axis=0)
                    closer = found < square[part]
                    np.copyto(square[part], found, where=closer)
                    np.copyto(nearest[part], i, where=closer)

        on_devices(compare, list(tiles(len(points), AT_ONCE)))
    return np.sqrt(square), nearest


def certify(table: CriticalPoints, certificates: Certificates) -> CriticalPoints:
    """Marks what is proven in a table: existence and kind.

    Args:
      table: the critical points; it holds those of the certificates.
      certificates: what is proven.

    Returns:
      The table with ``certified``, the proven kinds, and ``complete``.
    """
    which = matches(table, certificates)
    found, rows = which >= 0, which[which >= 0]
    kind, location = table.kind.copy(), table.location.copy()
    kind[found], location[found] = certificates.kind[rows], certificates.location[rows]
    certified = np.zeros(len(kind), bool)
    certified[found] = (certificates.kind[rows] != DEGENERATE) | certificates.flat[rows]
    return table._replace(location=location, kind=kind, certified=certified, complete=certificates.complete)


def matches(table: CriticalPoints, certificates: Certificates) -> np.ndarray:
    """The row of the certificates that each entry of a table belongs to, -1 for none."""
    which = np.full(len(table.location), -1)
    if len(certificates.location) and len(table.copies):
        distance, nearest = cKDTree(table.copies).query(certificates.location)
        close = distance <= SAME_POINT * (1 + np.linalg.norm(certificates.location, axis=1))
        which[table.copy_of[np.ravel(nearest)[close]]] = np.flatnonzero(close)
    return which


def to_dataset(
    table: CriticalPoints, problem: Problem, certificates: Certificates | None, attrs: dict[str, Any]
) -> xr.Dataset:
    """The table as a labelled dataset, dimension ``critical_point``.

    Args:
      table: the critical points.
      problem: gives the parameter names.
      certificates: what is proven, or None.
      attrs: how they were found.

    Returns:
      The variables and attributes that `find_critical_points` describes.
    """
    num, size = table.location.shape
    bounds = {"location": np.full((num, size, 2), np.nan), "loss": np.full((num, 2), np.nan)}
    bounds["eigenvalue"] = np.full((num, size, 2), np.nan)
    undecided = np.zeros((0, size, 2))
    if certificates is not None:
        which = matches(table, certificates)
        found, rows = which >= 0, which[which >= 0]
        bounds["location"][found] = np.stack([certificates.low, certificates.high], axis=-1)[rows]
        bounds["loss"][found], bounds["eigenvalue"][found] = certificates.loss[rows], certificates.eigenvalues[rows]
        undecided = certificates.undecided
    sharpness = table.eigenvalues.max(axis=1, initial=-np.inf)
    limit = np.full(num, np.nan)
    minimum = table.kind == STRICT_MINIMUM
    limit[minimum] = 2 / sharpness[minimum]
    return xr.Dataset(
        {
            "location": (("critical_point", "parameter"), table.location),
            "loss": ("critical_point", table.loss),
            "kind": ("critical_point", table.kind),
            "eigenvalues": (("critical_point", "eigenvalue"), table.eigenvalues),
            "certified": ("critical_point", table.certified),
            "sharpness": ("critical_point", sharpness),
            "learning_rate_limit": ("critical_point", limit),
            "location_bounds": (("critical_point", "parameter", "bound"), bounds["location"]),
            "loss_bounds": (("critical_point", "bound"), bounds["loss"]),
            "eigenvalue_bounds": (("critical_point", "eigenvalue", "bound"), bounds["eigenvalue"]),
            "undecided": (("undecided_box", "parameter", "bound"), undecided),
        },
        coords={"parameter": list(problem.parameter_names), "bound": ["low", "high"]},
        attrs={"name": problem.name, "complete": table.complete, **attrs},
    )


def _outputs_at(objective, structure: Structure, outputs, data, point: jax.Array) -> jax.Array:
    return jnp.ravel(outputs(structure.unravel(point), data))


def _clusters(points: np.ndarray, radius: float) -> np.ndarray:
    """Connected components of the points closer than ``radius``: rounding first, so that copies stay cheap."""
    cells, cell_of = np.unique(np.round(points / radius), axis=0, return_inverse=True)
    pairs = cKDTree(cells).query_pairs(1.5, p=np.inf, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(cells), len(cells)))
    return connected_components(links, directed=False)[1][np.ravel(cell_of)]


def _representatives(cluster: np.ndarray, number: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Rows that stand for their clusters: those with boxes that are disjoint, or the first where there is no box."""
    proven = number < len(boxes)
    alone = np.flatnonzero(~np.isin(cluster, cluster[proven]))
    chosen = alone[_first_of_each(cluster[alone])].tolist()
    for label in np.unique(cluster[proven]):
        distinct: list[int] = []
        for row in np.flatnonzero(proven & (cluster == label)):
            low, high = boxes[number[row]].T
            others = boxes[number[distinct]]
            if not np.any(np.all((others[..., 0] <= high) & (low <= others[..., 1]), axis=1)):
                distinct.append(int(row))
        chosen += distinct
    return np.sort(np.array(chosen, int))


def _first_of_each(labels: np.ndarray) -> np.ndarray:
    """Indices of the first row with each label, in the order of the rows."""
    return np.sort(np.unique(labels, return_index=True)[1])
