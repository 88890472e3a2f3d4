import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings

from jaxloss.descent import Limits, Rule, record
from jaxloss.optimizers import OPTIMIZERS
from jaxloss.orbits import MAX_PERIOD, WINDOW, block_means, is_chaotic, observe, observe_recorded
from jaxloss.problems import load_problem

examples = settings(deadline=None, derandomize=True, max_examples=30)
watch = jax.jit(observe_recorded)
STEPS = np.arange(WINDOW)


def period(positions, dtype=np.float32):
    """Of a window of positions ``[WINDOW]`` or ``[WINDOW, parameter]``; their squares serve as losses."""
    positions = np.asarray(positions, dtype).reshape(WINDOW, -1)
    return int(watch(positions, (positions**2).sum(axis=1)).period)


def iterate(update, x, *, skip=20_000):
    """A window of a map in float64, after ``skip`` steps."""
    for _ in range(skip):
        x = update(x)
    window = []
    for _ in range(WINDOW):
        window.append(x)
        x = update(x)
    return np.array(window)


def logistic(r):
    return lambda x: r * x * (1 - x)


class TestPeriod:
    @examples
    @given(
        q=st.integers(2, MAX_PERIOD),
        dimension=st.integers(1, 3),
        scale=st.floats(1e-2, 1e3),
        offset=st.floats(-10, 10),
        seed=st.integers(0, 99),
    )
    def test_any_repeating_sequence(self, q, dimension, scale, offset, seed):
        cycle = offset + scale * np.random.default_rng(seed).permutation(q)[:, None] * np.ones(dimension)
        assert period(cycle[STEPS % q]) == q

    @pytest.mark.parametrize("q", [2, 3, 32, MAX_PERIOD])
    def test_starts_anywhere_on_the_orbit(self, q):
        cycle = np.random.default_rng(0).normal(size=q)
        assert {period(cycle[(STEPS + shift) % q]) for shift in range(0, q, max(1, q // 4))} == {q}

    def test_the_smallest_period_is_meant(self):
        assert period(np.array([1.0, 2.0, 1.0, 2.0])[STEPS % 4]) == 2
        assert period(np.array([1.0, 2.0, 1.0, 3.0])[STEPS % 4]) == 4

    def test_components_of_different_period_make_their_common_one(self):
        assert period(np.column_stack([STEPS % 2, STEPS % 3])) == 6
        # One component at rest does not hide the other.
        assert period(np.column_stack([np.full(WINDOW, 1.0), STEPS % 5])) == 5

    @pytest.mark.parametrize("q", [MAX_PERIOD + 1, 100])
    def test_longer_orbits_are_not_named(self, q):
        assert period(np.random.default_rng(0).normal(size=q)[STEPS % q]) == 0

    @pytest.mark.parametrize(
        "positions",
        [
            np.full(WINDOW, 3.0),
            1e-3 * STEPS,
            0.9**STEPS,
            (-0.9) ** STEPS,
            (-0.999) ** STEPS,
            (-0.99995) ** STEPS,
            (-1.00005) ** STEPS,
            1.001**STEPS * (-1.0) ** STEPS,
            1e-3 * STEPS + (-1.0) ** STEPS,
            np.cos(STEPS * np.pi * (np.sqrt(5) - 1)),
            np.random.default_rng(0).normal(size=WINDOW),
        ],
        ids=[
            "rest",
            "drift",
            "decay",
            "damped flip",
            "slowly damped flip",
            "very slowly damped flip",
            "very slowly growing flip",
            "growing flip",
            "drifting flip",
            "quasi-periodic",
            "noise",
        ],
    )
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_what_does_not_repeat_has_none(self, positions, dtype):
        with jax.enable_x64(dtype == np.float64):
            assert period(positions, dtype) == 0

    def test_a_flip_of_the_last_bits_is_rounding(self):
        flip = 3 + 1e-6 * (-1.0) ** STEPS
        assert period(flip) == 0
        with jax.enable_x64(True):
            assert period(flip, np.float64) == 2

    def test_what_is_not_finite_has_none(self):
        assert period(np.full(WINDOW, np.nan)) == 0
        assert period(np.where(STEPS < 100, 1.0, np.inf)) == 0


class TestKnownMaps:
    @pytest.mark.parametrize(("r", "q"), [(2.8, 0), (3.2, 2), (3.5, 4), (3.55, 8), (3.83, 3), (3.74, 5), (4.0, 0)])
    def test_logistic_map(self, r, q):
        assert period(iterate(logistic(r), 0.3)) == q

    def test_gradient_descent_at_the_limit_of_stability_flips(self):
        # At rate 2 / s every start on a parabola is a 2-cycle.
        assert period(iterate(lambda x: x - 2 / 4 * (4 * x), 0.7, skip=0)) == 2


class TestGradientDescentOnTheDoubleWell:
    """The update is (1 + r) x - r x^3; its 2-cycle about a minimum is stable for 1 < r < sqrt(5) - 1."""

    @staticmethod
    def window(rate, x):
        with jax.enable_x64(True):
            rule = Rule(load_problem("cubic-map").batch_objective, OPTIMIZERS["sgd"].factory)
            run = jax.jit(functools.partial(record, rule, num=WINDOW + 2000))
            positions, losses = run(
                Limits(1, 1e-6, 1e6),
                (),
                jax.random.key(0),
                {"x": jnp.float64(x)},
                optax.EmptyState(),
                jnp.int32(0),
                {"learning_rate": jnp.float64(rate)},
                jnp.uint32(0),
            )
            positions = np.asarray(positions["x"])[-WINDOW:]
            return positions, watch(positions[:, None], np.asarray(losses)[-WINDOW:])

    @pytest.mark.parametrize("x", [1.1, -1.1])
    @pytest.mark.parametrize("rate", [1.1, 1.2])
    def test_the_two_cycle_is_where_algebra_puts_it(self, rate, x):
        positions, orbit = self.window(rate, x)
        assert int(orbit.period) == 2
        # Its points are the roots of z^2 - s z + 1/r with s^2 = 1 + 3/r, or their mirror images.
        total = np.sqrt(1 + 3 / rate)
        expected = np.sort(np.roots([1, -total, 1 / rate]))
        np.testing.assert_allclose(np.sort(np.abs(positions[-2:])), expected, rtol=1e-9)
        assert len(np.unique(np.sign(positions))) == 1

    def test_below_the_limit_it_rests_at_a_minimum(self):
        positions, orbit = self.window(0.9, 1.1)
        assert int(orbit.period) == 0
        assert not orbit.restless
        np.testing.assert_allclose(positions, 1, atol=1e-12)

    def test_past_the_first_doubling_the_period_is_four(self):
        assert int(self.window(1.26, 1.1)[1].period) == 4

    def test_at_rate_two_it_is_chaotic_and_restless(self):
        positions, orbit = self.window(2.0, 0.3)
        assert int(orbit.period) == 0
        assert orbit.restless
        assert np.all(np.abs(positions) <= np.sqrt(2))


class TestRestless:
    @pytest.mark.parametrize(
        ("losses", "restless"),
        [
            (1.0 / (1 + STEPS), False),
            (np.ones(WINDOW), False),
            (2.0 - STEPS / WINDOW + 0.1 * (STEPS % 50 == 0), False),
            (STEPS % 2, True),
            (np.random.default_rng(0).random(WINDOW), True),
        ],
        ids=["descending", "level", "a bump now and then", "alternating", "noise"],
    )
    def test_is_a_share_of_rising_steps(self, losses, restless):
        positions = np.random.default_rng(1).normal(size=(WINDOW, 1)).astype(np.float32)
        assert bool(watch(positions, np.asarray(losses, np.float32)).restless) == restless


class TestIsChaotic:
    @pytest.mark.parametrize(
        ("growth", "chaotic"),
        [
            ([0.5, 0.7, 0.6, 0.6], True),
            ([-0.5, -0.7, -0.6, -0.6], False),
            ([1.0, -1.0, 1.0, -1.0], False),
            # Mean .1; standard errors .0577 and .0289: less and more than two of them.
            ([0.2, 0.0, 0.2, 0.0], False),
            ([0.15, 0.05, 0.15, 0.05], True),
            ([0.0, 0.0, 0.0, 0.0], False),
            ([np.nan, 0.5, 0.5, 0.5], False),
            ([-np.inf, 0.5, 0.5, 0.5], False),
        ],
    )
    def test_needs_two_standard_errors(self, growth, chaotic):
        assert is_chaotic(np.array([growth]), np.zeros(1)).tolist() == [chaotic]

    def test_each_trajectory_by_itself(self):
        assert is_chaotic(np.array([[0.5, 0.6], [-0.5, -0.6]]), np.zeros(2)).tolist() == [True, False]

    def test_what_widens_as_fast_is_on_its_way_out(self):
        assert is_chaotic(np.full((2, 4), 0.01), np.array([0.01, 0.001])).tolist() == [False, True]


@pytest.mark.parametrize(("rate", "period"), [(2.9, 0), (3.2, 2), (3.5, 4), (3.55, 8), (3.83, 3), (3.7, 0), (4.0, 0)])
def test_a_window_that_is_gone_through_again_shows_what_its_record_shows(rate, period):
    def step(x):
        return rate * x * (1 - x)

    def loss(x):
        return (x - 0.3) ** 2

    start = jax.lax.fori_loop(0, 3000, lambda _, x: step(x), jnp.array(0.4))
    recorded = jax.lax.scan(lambda x, _: (step(x), x), start, length=WINDOW)[1]
    found = jax.jit(lambda x: observe(step, lambda x: x[None], loss, x))(start)
    assert int(found.period) == period
    for one, other in zip(found, watch(recorded[:, None], loss(recorded)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(found.width, recorded.max() - recorded.min(), rtol=1e-6)
    np.testing.assert_allclose(found.size, recorded.max(), rtol=1e-6)


def test_means_of_blocks_leave_out_the_first():
    means = block_means(lambda i: (i + 1, jnp.sin(i * 1.0)), 0, 3, 5)
    np.testing.assert_allclose(means, np.sin(np.arange(5.0, 20)).reshape(3, 5).mean(1), rtol=1e-5)
