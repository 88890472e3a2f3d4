"""The entropy of each box of a map: what basin entropy is the mean of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxloss.basins.boxes import check_size, mixed, tiles
from jaxloss.basins.entropy import entropy_of_rows
from jaxloss.basins.labels import compact, read_map


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
    boundary = mixed(codes, size)
    entropies = np.zeros(boundary.shape)
    entropies[boundary] = entropy_of_rows(tiles(codes, size)[boundary].reshape(-1, size**codes.ndim))
    return entropies
