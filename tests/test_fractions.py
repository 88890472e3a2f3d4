import json

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from scipy.stats import binomtest, norm

from jaxloss import InputError
from jaxloss.basins import outcome_fractions, wilson_interval
from jaxloss.outcomes import OUTCOMES

examples = settings(deadline=None, derandomize=True, max_examples=30)


def from_scipy(count, total, confidence=0.95):
    interval = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return interval.low, interval.high


class TestWilsonInterval:
    @pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
    @pytest.mark.parametrize(
        ("count", "total"), [(0, 1), (1, 1), (0, 50), (50, 50), (1, 50), (25, 50), (49, 50), (3, 7), (5, 10**6)]
    )
    def test_agrees_with_scipy(self, count, total, confidence):
        found = wilson_interval(count, total, confidence=confidence)
        np.testing.assert_allclose(found, from_scipy(count, total, confidence), rtol=1e-10, atol=1e-15)

    @examples
    @given(st.data())
    def test_agrees_with_scipy_everywhere(self, data):
        total = data.draw(st.integers(1, 10**5))
        count = data.draw(st.integers(0, total))
        found = wilson_interval(count, total)
        np.testing.assert_allclose(found, from_scipy(count, total), rtol=1e-9, atol=1e-13)

    @examples
    @given(st.data())
    def test_the_bounds_solve_the_score_equation(self, data):
        total = data.draw(st.integers(1, 10**4))
        count = data.draw(st.integers(0, total))
        for bound in wilson_interval(count, total):
            if 0 < bound < 1:
                score = (count / total - bound) / np.sqrt(bound * (1 - bound) / total)
                assert abs(score) == pytest.approx(norm.ppf(0.975), rel=1e-6)

    @examples
    @given(st.data())
    def test_holds_the_fraction_and_mirrors(self, data):
        total = data.draw(st.integers(1, 10**6))
        count = data.draw(st.integers(0, total))
        low, high = wilson_interval(count, total)
        assert 0 <= low <= count / total <= high <= 1
        mirrored = wilson_interval(total - count, total)
        np.testing.assert_allclose([low, high], [1 - mirrored.high, 1 - mirrored.low], atol=1e-12)

    def test_the_ends_are_exact(self):
        for total in (1, 3, 65_536):
            assert wilson_interval(0, total).low == 0
            assert wilson_interval(total, total).high == 1
            assert wilson_interval(0, total).high < 1
            assert wilson_interval(total, total).low > 0

    def test_without_trials_nothing_is_known(self):
        assert wilson_interval(0, 0) == (0, 1)

    def test_broadcasts(self):
        count, total = np.array([[0], [5]]), np.array([10, 20, 0])
        count = np.minimum(count, total)
        found = wilson_interval(count, total)
        assert found.low.shape == found.high.shape == (2, 3)
        for i in range(2):
            for j in range(2):
                expected = from_scipy(int(count[i, j]), int(total[j]))
                np.testing.assert_allclose((found.low[i, j], found.high[i, j]), expected, rtol=1e-10, atol=1e-15)
        np.testing.assert_array_equal(found.low[:, 2], 0)
        np.testing.assert_array_equal(found.high[:, 2], 1)


def labelled(dims=("w", "b", "learning_rate"), shape=(4, 5, 3), seed=0, **attrs):
    outcome = np.random.default_rng(seed).integers(0, 10, size=shape).astype(np.int8)
    result = xr.Dataset({"outcome": (dims, outcome)}, attrs=attrs)
    return result.assign_coords({dim: np.linspace(0.1, 1, n) for dim, n in zip(dims, shape, strict=True)})


class TestOutcomeFractions:
    @pytest.mark.parametrize(
        "dims", [("w", "b", "learning_rate"), ("learning_rate", "w", "b"), ("w", "learning_rate")]
    )
    def test_counts_for_each_learning_rate(self, dims):
        result = labelled(dims, (4, 3, 5)[: len(dims)])
        found = outcome_fractions(result)
        assert found["count"].dims == ("learning_rate", "outcome_name")
        for rate in result.learning_rate.values:
            labels = result.outcome.sel(learning_rate=rate).values
            for name, code in OUTCOMES.items():
                assert found["count"].sel(learning_rate=rate, outcome_name=name) == (labels == code).sum()

    def test_fractions_sum_to_one_and_lie_in_their_intervals(self):
        found = outcome_fractions(labelled())
        assert found.attrs["total"] == 20
        np.testing.assert_array_equal(found["count"].sum("outcome_name"), 20)
        np.testing.assert_allclose(found.fraction.sum("outcome_name"), 1)
        assert bool(((found.low <= found.fraction) & (found.fraction <= found.high)).all())

    def test_intervals_are_wilsons(self):
        found = outcome_fractions(labelled())
        first = found.isel(learning_rate=0, outcome_name=0)
        low, high = from_scipy(int(first["count"]), 20)
        np.testing.assert_allclose([first.low, first.high], [low, high], atol=1e-12)

    def test_without_a_learning_rate_axis_the_option_is_the_coordinate(self):
        found = outcome_fractions(labelled(("w", "b"), (4, 5), learning_rate=0.25))
        assert found.learning_rate.values.tolist() == [0.25]
        assert found.attrs["total"] == 20
        assert int(found["count"].sum()) == 20

    def test_names_every_outcome_even_if_none_occurs(self):
        result = labelled()
        result["outcome"][:] = 3
        found = outcome_fractions(result)
        assert found.outcome_name.values.tolist() == list(OUTCOMES)
        np.testing.assert_array_equal(found.fraction.sel(outcome_name="spurious_minimum"), 1)
        np.testing.assert_array_equal(found.low.sel(outcome_name="dead"), 0)

    def test_a_result_that_names_its_own_outcomes(self):
        result = labelled()
        codes = {"unfinished": 0, "cycle": 7, "fixed_point": 10}
        result["outcome"][:] = np.random.default_rng(1).choice(list(codes.values()), size=(4, 5, 3))
        found = outcome_fractions(result.assign_attrs(outcomes=json.dumps(codes)))
        assert found.outcome_name.values.tolist() == list(codes)
        np.testing.assert_allclose(found.fraction.sum("outcome_name"), 1)
        for name, code in codes.items():
            np.testing.assert_array_equal(
                found["count"].sel(outcome_name=name), (result["outcome"] == code).sum(["w", "b"])
            )

    def test_an_outcome_without_a_name_is_not_left_out(self):
        result = labelled()
        result["outcome"][0, 0, 0] = 10
        with pytest.raises(InputError, match="'outcomes', but 10 has no name"):
            outcome_fractions(result)

    def test_the_sweep_of_a_map(self):
        from jaxloss import Axis, Grid, sweep_map

        # The logistic map at r = 2: all of (0, 1) ends on 1/2, its two ends on 0, and what starts outside diverges.
        grid = Grid({"x": Axis.linear(-0.5, 1.5, 21)})
        found = outcome_fractions(sweep_map(lambda state: {"x": 2 * state["x"] * (1 - state["x"])}, grid))
        counts = dict(zip(found.outcome_name.values.tolist(), found["count"].values[0].tolist(), strict=True))
        assert counts == {"unfinished": 0, "cycle": 0, "chaotic": 0, "diverged": 10, "fixed_point": 11}
