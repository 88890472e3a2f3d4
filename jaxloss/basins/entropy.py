"""Basin entropy: how uncertain the outcome is when the starting point is known to within a box."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxloss.basins.boxes import check_size, mixed, tiles
from jaxloss.basins.fractions import Interval
from jaxloss.basins.labels import compact, read_map
from jaxloss.basins.resampling import UNKNOWN, blocks_per_axis, check_resampling, percentiles, resample, sum_blocks


class BasinEntropy(NamedTuple):
    """Basin entropy and boundary basin entropy, in nats.

    Attributes:
      entropy: the mean over all boxes.
      interval: of the entropy.
      boundary_entropy: the mean over the boxes with two labels or more; NaN without any.
      boundary_interval: of the boundary entropy.
      above_log2: whether the boundary entropy exceeds log 2, which suffices for a fractal boundary.
      box_size: side of a box, in cells.
      num_boxes: all boxes.
      num_boundary_boxes: those with two labels or more.
      num_labels: on the map.
      covered: the share of the map's cells that lie in whole boxes.
      num_blocks: of the bootstrap.
      reason: why a number is NaN, else empty.
    """

    entropy: float
    interval: Interval
    boundary_entropy: float
    boundary_interval: Interval
    above_log2: bool
    box_size: int
    num_boxes: int
    num_boundary_boxes: int
    num_labels: int
    covered: float
    num_blocks: int
    reason: str


def basin_entropy(
    labels: Any,
    box_size: int,
    *,
    labelling: str = "outcome",
    axes: Sequence[str] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> BasinEntropy:
    r"""Basin entropy and boundary basin entropy of a map.

    .. math::
        S_b = \frac{1}{N} \sum_{i=1}^N S_i, \quad S_{bb} = \frac{1}{N_b} \sum_{i=1}^N S_i, \quad
        S_i = -\sum_j p_{ij} \log p_{ij}

    over N boxes side by side, of which :math:`N_b` hold two labels or more; :math:`p_{ij}` is the share of label j
    in box i. A boundary between two basins that is smooth at the scale of the boxes has
    :math:`S_{bb} \le \log 2`, so that more than that proves it fractal (as long as boxes where three smooth basins
    meet are few). Boxes start at the first corner; an incomplete rest at the far end of an axis is left out.

    The interval is a bootstrap over blocks of the map: how much the number would vary between maps alike. It does
    not know what lies below the resolution. Of nominal 95 % intervals, 83 to 94 % held the mean over random rough
    maps of 256 by 256 (150 each).

    Args:
      labels: integers, any dimension, or a sweep's result over a full grid.
      box_size: side of a box, in cells, at least 2.
      labelling: of a result, ``"outcome"``, ``"attractor"`` or ``"both"``.
      axes: of a result, the names of the map's axes.
      confidence: of the intervals.
      num_resamples: of the bootstrap.
      seed: of the bootstrap.

    Returns:
      Both entropies with their intervals and what they were computed from. On a map of one label the entropy is 0
      and the boundary entropy NaN.

    Raises:
      InputError: no full grid of integers, or a box that does not fit into it.

    References:
      Daza, Wagemakers, Georgeot, Guéry-Odelin & Sanjuán, *Basin entropy: a new tool to analyze uncertainty in
      dynamical systems*, 2016.

    Examples:
      >>> stripes = np.tile([0, 0, 0, 1, 1, 1, 1, 1], (8, 1))
      >>> found = basin_entropy(stripes, 2)
      >>> round(found.boundary_entropy, 4), found.entropy == found.boundary_entropy / 4, found.num_boxes
      (0.6931, True, 16)
    """
    codes, values = compact(read_map(labels, labelling=labelling, axes=axes))
    shape = codes.shape
    size = check_size("box_size", box_size, shape, 2)
    check_resampling(confidence, num_resamples, seed)
    boundary = mixed(codes, size)
    entropies = _of_boxes(codes, size, boundary)
    num = blocks_per_axis(shape, size)
    per_block = np.stack(
        [
            sum_blocks(each, shape, num, size=size, step=size)
            for each in (entropies, boundary, np.ones_like(boundary))
        ],
        axis=1,
    )
    total, num_boundary = float(entropies.sum()), int(boundary.sum())
    draws = resample(per_block, num_resamples, seed)
    reason = "" if num_boundary else "no box holds two labels" if len(values) > 1 else "the map has one label"
    around = percentiles(_ratio(draws[:, 0], draws[:, 1]), confidence) if num_boundary else UNKNOWN
    return BasinEntropy(
        entropy=total / boundary.size,
        interval=percentiles(_ratio(draws[:, 0], draws[:, 2]), confidence),
        boundary_entropy=total / num_boundary if num_boundary else np.nan,
        boundary_interval=around,
        above_log2=bool(num_boundary and total / num_boundary > np.log(2)),
        box_size=size,
        num_boxes=boundary.size,
        num_boundary_boxes=num_boundary,
        num_labels=len(values),
        covered=boundary.size * size**codes.ndim / codes.size,
        num_blocks=len(per_block),
        reason=reason,
    )


def box_entropies(
    labels: Any, box_size: int, *, labelling: str = "outcome", axes: Sequence[str] | None = None
) -> np.ndarray:
    r"""The entropy of the labels in each box of a map, in nats.

    .. math:: S_i = -\sum_j p_{ij} \log p_{ij}

    with the share :math:`p_{ij}` of label j in box i. Boxes lie as those of `basin_entropy`: side by side from the
    first corner, an incomplete rest left out. Their mean is the basin entropy.

    Args:
      labels: integers, any dimension, or a sweep's result over a full grid.
      box_size: side of a box, in cells, at least 2.
      labelling: of a result, ``"outcome"``, ``"attractor"`` or ``"both"``.
      axes: of a result, the names of the map's axes.

    Returns:
      One number for each box, one axis for each axis of the map.

    Raises:
      InputError: no full grid of integers, or a box that does not fit into it.

    References:
      Daza, Wagemakers, Georgeot, Guéry-Odelin & Sanjuán, *Basin entropy: a new tool to analyze uncertainty in
      dynamical systems*, 2016.

    Examples:
      >>> box_entropies([[0, 0, 1, 2], [0, 0, 3, 4]], 2).round(4).tolist()
      [[0.0, 1.3863]]
    """
    codes = compact(read_map(labels, labelling=labelling, axes=axes)).codes
    size = check_size("box_size", box_size, codes.shape, 2)
    return _of_boxes(codes, size, mixed(codes, size))


def _of_boxes(codes: np.ndarray, size: int, boundary: np.ndarray) -> np.ndarray:
    """The entropy of each box, 0 off the boundary."""
    entropies = np.zeros(boundary.shape)
    entropies[boundary] = entropy_of_rows(tiles(codes, size)[boundary].reshape(-1, size**codes.ndim))
    return entropies


def entropy_of_rows(rows: np.ndarray) -> np.ndarray:
    """The entropy of the labels in each row, in nats.

    Args:
      rows: labels, shape ``[rows, cells]``.

    Returns:
      Shape ``[rows]``.

    Examples:
      >>> entropy_of_rows(np.array([[0, 1, 0, 1], [2, 2, 2, 2]])).round(4).tolist()
      [0.6931, 0.0]
    """
    num, cells = rows.shape
    ordered = np.sort(rows, axis=1)
    begins = np.ones(rows.shape, bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    places = np.flatnonzero(begins)
    share = np.diff(places, append=rows.size) / cells
    return np.bincount(places // cells, -share * np.log(share), minlength=num)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
