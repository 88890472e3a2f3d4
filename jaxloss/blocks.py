"""A grid of trajectories in blocks: boxes of the result that are runs of the order of work."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Blocking(NamedTuple):
    """How an array over some axes is parted.

    Of the axes in order of work the last ones are whole in every block, one is cut, and of those before it a block
    has a single value: so a block is a box of the result, and its trajectories are consecutive in the order of work.

    Attributes:
      shape: values of each axis, in grid order.
      order: the numbers of the axes in order of work, the slowest first.
      chunk: values of each axis in one block, in grid order; the last block along an axis may have fewer.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    chunk: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int], order: Sequence[int], most: int) -> "Blocking":
        """Blocks of at most ``most`` trajectories each.

        Examples:
          >>> blocks = Blocking.of((4, 3, 5), (2, 0, 1), 7)
          >>> blocks.chunk, blocks.num_blocks
          ((2, 3, 1), 10)
          >>> blocks.numbers(1), blocks.box(1)
          ((6, 12), (slice(2, 4, None), slice(0, 3, None), slice(0, 1, None)))
        """
        chunk, left = [1] * len(shape), max(1, most)
        for axis in reversed(order):
            chunk[axis] = min(shape[axis], left)
            left //= shape[axis]
            if not left:
                break
        return cls(tuple(shape), tuple(order), tuple(chunk))

    @property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis, in grid order."""
        return tuple(-(-size // part) for size, part in zip(self.shape, self.chunk, strict=True))

    @property
    def num_blocks(self) -> int:
        """Blocks in all."""
        return math.prod(self.counts)

    @property
    def largest(self) -> int:
        """Trajectories of a whole block."""
        return math.prod(self.chunk)

    def place(self, block: int) -> tuple[int, ...]:
        """Which block it is along each axis, in grid order."""
        place = np.unravel_index(block, [self.counts[axis] for axis in self.order])
        return tuple(int(place[self.order.index(axis)]) for axis in range(len(self.shape)))

    def box(self, block: int) -> tuple[slice, ...]:
        """What the block covers, in grid order."""
        sizes = zip(self.place(block), self.chunk, self.shape, strict=True)
        return tuple(slice(i * part, min((i + 1) * part, size)) for i, part, size in sizes)

    def numbers(self, block: int) -> tuple[int, int]:
        """The first of its trajectories in the order of work, and the one after the last."""
        box, shape = self.box(block), [self.shape[axis] for axis in self.order]
        first = np.ravel_multi_index([box[axis].start for axis in self.order], shape) if shape else 0
        return int(first), int(first) + math.prod(s.stop - s.start for s in box)

    def to_box(self, block: int, flat: np.ndarray) -> np.ndarray:
        """An array over the block's order of work, ``[trajectory, ...]``, with its axes in grid order."""
        sizes = [s.stop - s.start for s in self.box(block)]
        array = flat.reshape(*(sizes[axis] for axis in self.order), *flat.shape[1:])
        return array.transpose(*np.argsort(self.order), *range(len(sizes), array.ndim))

    def from_box(self, box: np.ndarray) -> np.ndarray:
        """The inverse of `to_box`.

        Examples:
          >>> blocks, flat = Blocking.of((4, 3), (1, 0), 12), np.arange(12)
          >>> blocks.from_box(blocks.to_box(0, flat)).tolist() == flat.tolist()
          True
        """
        rest: list[Any] = list(range(len(self.shape), box.ndim))
        return box.transpose(*self.order, *rest).reshape(-1, *box.shape[len(self.shape) :])
