"""Steps to the end, and shares of solved, trapped and unstable runs: against closed forms, loops and simulation."""

import math

import numpy as np
import pytest
import xarray as xr

from jaxloss import OUTCOMES, Axis, Grid, InputError, Problem, Starts, load_problem, sweep, sweep_map
from jaxloss.basins import wilson_interval
from jaxloss.basins.times import convergence_times
from jaxloss.basins.totals import group_fractions
from jaxloss.outcomes import SOLVED, TRAPPED, UNSTABLE
from jaxloss.problems.maps import MAPS


def labelled(outcome, steps, **coordinates):
    dims = ("start", "learning_rate")
    return xr.Dataset({"outcome": (dims, np.asarray(outcome, np.int8)), "num_steps": (dims, steps)}, coordinates)


class TestTimes:
    def test_closed_form_of_a_parabola(self):
        """x_t = (1 - eta s)^t x_0, until |s x_t| is within the tolerance."""
        bowl = Problem(name="bowl", objective=lambda p: 2.0 * p["x"] ** 2, params={"x": 0.0})
        x, rates, tolerance = np.array([-3.0, 0.1, 2.0]), np.array([0.01, 0.1, 0.3]), 1e-6
        result = sweep(
            bowl,
            Grid({"x": Axis.of(x), "learning_rate": Axis.of(rates)}),
            gradient_tolerance=tolerance,
            precision="float64",
        )
        expected = np.ceil(np.log(tolerance / (4 * np.abs(x[:, None]))) / np.log(np.abs(1 - 4 * rates)))
        found = convergence_times(result)
        np.testing.assert_array_equal(found.time.values, expected)
        here = found.sel(outcome_name="global_minimum")
        np.testing.assert_allclose(here["mean"], expected.mean(axis=0))
        np.testing.assert_allclose(here.quantile_time.sel(quantile=0.5), np.median(expected, axis=0))
        assert (here["count"] == 3).all()
        assert (here.num_stopped == 3).all()

    def test_time_to_divergence(self):
        """Of x' = 2 x, beyond the bound once |x| 2^t exceeds it."""
        grid = Grid({"x": Axis.of([1.0, 8.0]), "r": Axis.of([2.0])})
        found = convergence_times(sweep_map(lambda state, r: {"x": r * state["x"]}, grid, bound=1000.0))
        assert found.time.values[:, 0].tolist() == [10, 7]
        assert found.num_stopped.sel(outcome_name="diverged").item() == 2

    def test_beyond_the_budget_nothing_is_known(self):
        outcome = [[1], [1], [1], [4], [0]]
        found = convergence_times(labelled(outcome, [[10], [20], [100], [100], [100]]), num_steps=100)
        assert np.isnan(found.time.values[2:]).all()
        here = found.sel(outcome_name="global_minimum").isel(learning_rate=0)
        assert (int(here["count"]), int(here.num_stopped), float(here["mean"])) == (3, 2, 15)
        assert here.quantile_time.values.tolist() == [10, 10, 20, np.inf, np.inf]
        plateau = found.sel(outcome_name="plateau").isel(learning_rate=0)
        assert (plateau.quantile_time == np.inf).all()
        assert math.isnan(float(plateau["mean"]))
        absent = found.sel(outcome_name="saddle").isel(learning_rate=0)
        assert int(absent["count"]) == 0
        assert absent.quantile_time.isnull().all()

    def test_quantiles_are_those_of_numpy(self):
        rng = np.random.default_rng(0)
        steps = rng.integers(1, 90, (501, 1))
        levels = [0.0, 0.1, 0.5, 0.9, 1.0]
        found = convergence_times(labelled(np.ones((501, 1)), steps), num_steps=99, quantiles=levels)
        expected = np.quantile(steps, levels, method="inverted_cdf")
        np.testing.assert_array_equal(found.quantile_time.sel(outcome_name="global_minimum")[0], expected)

    def test_intervals_cover(self):
        """Of 400 samples of 60 exponential times, the intervals of the mean and the median hold the truth."""
        rng = np.random.default_rng(1)
        steps = np.ceil(rng.exponential(1000, (60, 400)))
        found = convergence_times(labelled(np.ones((60, 400)), steps), num_steps=10**6, quantiles=[0.5])
        here = found.sel(outcome_name="global_minimum")
        median = 1000 * math.log(2) + 0.5
        holds = (here.quantile_low[:, 0] <= median) & (median <= here.quantile_high[:, 0])
        assert 0.92 <= float(holds.mean()) <= 0.99
        mean = 1000.5
        assert 0.90 <= float(((here.mean_low <= mean) & (mean <= here.mean_high)).mean()) <= 0.98

    def test_axes_and_order_of_axes(self):
        grid = Grid({"learning_rate": Axis.of([0.1, 0.4]), "x": Axis.linear(-1.5, 1.5, 6)})
        result = sweep(load_problem("cubic-map"), grid)
        first, second = convergence_times(result), convergence_times(result.transpose("x", ...))
        assert first.time.dims == ("learning_rate", "x")
        xr.testing.assert_equal(first["mean"], second["mean"])
        assert first["mean"].dims == ("learning_rate", "outcome_name")

    def test_without_a_hyperparameter_axis(self):
        result = sweep(load_problem("cubic-map"), Grid({"x": Axis.linear(-1.5, 1.5, 6)}), learning_rate=0.2)
        found = convergence_times(result)
        assert found["mean"].dims == ("outcome_name",)
        assert int(found["count"].sum()) == 6

    @pytest.mark.parametrize("levels", [[], [1.5], [-0.1], ["half"]])
    def test_bad_quantiles(self, levels):
        with pytest.raises(InputError, match="quantiles"):
            convergence_times(labelled([[1]], [[3]]), num_steps=9, quantiles=levels)

    def test_bad_input(self):
        with pytest.raises(InputError, match="num_steps must be given"):
            convergence_times(labelled([[1]], [[3]]))
        with pytest.raises(InputError, match="variable 'num_steps'"):
            convergence_times(labelled([[1]], [[3]]).drop_vars("num_steps"), num_steps=9)
        with pytest.raises(InputError, match="confidence"):
            convergence_times(labelled([[1]], [[3]]), num_steps=9, confidence=0)
        with pytest.raises(InputError, match="dataset of sweep"):
            convergence_times([1, 2])


class TestTotals:
    def test_against_a_plain_count(self):
        rng = np.random.default_rng(0)
        outcome = rng.integers(0, 10, (200, 3))
        found = group_fractions(labelled(outcome, outcome))
        groups = {"solved": SOLVED, "trapped": TRAPPED, "unstable": UNSTABLE, "unfinished": {0}}
        assert found.group.values.tolist() == list(groups)
        for name, codes in groups.items():
            count = np.isin(outcome, list(codes)).sum(axis=0)
            np.testing.assert_array_equal(found["count"].sel(group=name), count)
            np.testing.assert_allclose(found.low.sel(group=name), wilson_interval(count, 200).low)
        np.testing.assert_allclose(found.fraction.sum("group"), 1)

    @pytest.mark.parametrize("seed", range(3))
    def test_random_starts_of_any_distribution(self, seed):
        """Of the double well diverges what lies beyond sqrt(1 + 2 / eta): the share is that of a heavy tail."""
        x = np.random.default_rng(seed).standard_cauchy(4000)
        grid = Grid({"start": Starts(points=x[:, None]), "learning_rate": Axis.of([0.25, 0.5])})
        found = group_fractions(sweep(load_problem("cubic-map"), grid, precision="float64"), confidence=0.999)
        for rate in (0.25, 0.5):
            expected = 1 - 2 / math.pi * math.atan(math.sqrt(1 + 2 / rate))
            here = found.sel(learning_rate=rate, group="unstable")
            assert float(here.low) <= expected <= float(here.high)

    def test_a_map_has_fixed_points(self):
        grid = Grid({"x": Axis.linear(0.1, 0.9, 5), "r": Axis.of([2.5, 3.2])})
        found = group_fractions(sweep_map(MAPS["logistic"](), grid))
        assert found.group.values.tolist() == ["solved", "trapped", "unstable", "unfinished", "fixed_point"]
        assert found.fraction.sel(group="fixed_point").values.tolist() == [1, 0]
        assert found.fraction.sel(group="unstable").values.tolist() == [0, 1]

    def test_several_hyperparameters(self):
        axes = {
            "momentum": Axis.of([0.1, 0.5, 0.9]),
            "x": Axis.linear(-1, 1, 4),
            "learning_rate": Axis.of([0.1, 0.2]),
        }
        result = sweep(load_problem("cubic-map"), Grid(axes), optimizer="momentum", num_steps=200)
        found = group_fractions(result)
        assert found.fraction.dims == ("momentum", "learning_rate", "group")
        assert found.attrs["total"] == 4
        solved = (result.outcome == OUTCOMES["global_minimum"]).sum("x")
        np.testing.assert_array_equal(
            found["count"].sel(group="solved"), solved.transpose("momentum", "learning_rate")
        )
