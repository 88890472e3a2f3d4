"""Blocks cover a grid once, each a box of the result and a run of the order of work."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxloss.blocks import Blocking


@st.composite
def blockings(draw):
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    return Blocking.of(shape, order, draw(st.integers(1, 700)))


@settings(deadline=None, max_examples=200)
@given(blockings())
def test_blocks_part_the_order_of_work(blocks):
    ranges = [blocks.numbers(block) for block in range(blocks.num_blocks)]
    assert sorted(ranges)[0][0] == 0
    assert max(last for _, last in ranges) == math.prod(blocks.shape)
    assert all(last == first for (_, last), (first, _) in itertools.pairwise(ranges))


@settings(deadline=None, max_examples=200)
@given(blockings(), st.integers(0, 2))
def test_boxes_hold_the_same_numbers(blocks, extra):
    size = math.prod(blocks.shape)
    work = np.arange(size * 2**extra).reshape(size, *[2] * extra)
    whole = blocks._replace(chunk=blocks.shape).to_box(0, work)
    assert whole.shape == (*blocks.shape, *[2] * extra)
    for block in range(blocks.num_blocks):
        first, last = blocks.numbers(block)
        box = blocks.to_box(block, work[first:last])
        np.testing.assert_array_equal(box, whole[blocks.box(block)])
        np.testing.assert_array_equal(blocks.from_box(box), work[first:last])


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 500))
def test_blocks_are_no_larger_than_asked_and_not_much_smaller(rows, columns, most):
    blocks = Blocking.of((rows, columns), (0, 1), most)
    assert blocks.largest <= most
    assert 2 * blocks.largest > min(most, rows * columns) or blocks.chunk[0] == 1


def test_no_axes():
    blocks = Blocking.of((), (), 5)
    assert (blocks.num_blocks, blocks.numbers(0), blocks.box(0)) == (1, (0, 1), ())
