"""Which of very many rows are chosen, in a bit each."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class Marks(Sequence[np.ndarray]):
    """Chosen rows of something that comes in parts; a part's entry is the numbers of its rows that are chosen.

    Args:
      masks: of each part, whether each of its rows is chosen.

    Examples:
      >>> marks = Marks([np.array([True, False, True]), np.array([False, True])])
      >>> [rows.tolist() for rows in marks], marks.total
      ([[0, 2], [1]], 3)
    """

    def __init__(self, masks: Iterable[np.ndarray] = ()):
        self._bits: list[np.ndarray] = []
        self._sizes: list[int] = []
        self._counts: list[int] = []
        for mask in masks:
            self.add(mask)

    def add(self, mask: np.ndarray) -> None:
        """Adds a part."""
        self._bits.append(np.packbits(mask))
        self._sizes.append(len(mask))
        self._counts.append(int(np.count_nonzero(mask)))

    @property
    def total(self) -> int:
        """How many rows are chosen."""
        return sum(self._counts)

    def __len__(self) -> int:
        return len(self._bits)

    def __getitem__(self, index: Any) -> Any:
        return np.flatnonzero(np.unpackbits(self._bits[index], count=self._sizes[index]))

    def spread(self, num: int) -> "Marks":
        """At most ``num`` of the chosen rows, evenly spaced over all parts: a deterministic sample.

        Examples:
          >>> marks = Marks([np.ones(4, bool), np.ones(6, bool)])
          >>> [rows.tolist() for rows in marks.spread(4)]
          [[0, 3], [2, 5]]
        """
        chosen = _even(self.total, min(num, self.total))
        sample, last = Marks(), 0
        for i, (size, count) in enumerate(zip(self._sizes, self._counts, strict=True)):
            first, last = last, last + count
            here = chosen[np.searchsorted(chosen, first) : np.searchsorted(chosen, last)]
            sample.add(mask_of(size, self[i][here - first]) if len(here) else np.zeros(size, bool))
        return sample


def spread(rows: np.ndarray, num: int) -> np.ndarray:
    """At most ``num`` rows, evenly spaced.

    Examples:
      >>> spread(np.arange(10), 4).tolist()
      [0, 3, 6, 9]
    """
    return rows if len(rows) <= num else rows[_even(len(rows), num)]


def mask_of(size: int, rows: np.ndarray) -> np.ndarray:
    """Whether each of ``size`` rows is among those of the given numbers."""
    mask = np.zeros(size, bool)
    mask[rows] = True
    return mask


def rows_of(parts: Sequence[np.ndarray], which: Sequence[np.ndarray]) -> np.ndarray:
    """Chosen rows of parts, one after the other; parts without any are not looked at."""
    chosen = [parts[i][rows] for i, rows in enumerate(which) if len(rows)]
    return np.concatenate(chosen) if chosen else parts[0][:0]


def _even(size: int, num: int) -> np.ndarray:
    return np.linspace(0, size - 1, num).round().astype(int)
