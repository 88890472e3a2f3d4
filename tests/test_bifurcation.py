"""Orbits in the long run: period doublings, Lyapunov exponents and edges that are known in closed form."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxloss import Axis, Grid, InputError, Problem, Starts, load_problem, sweep_map
from jaxloss.basins import wilson_interval
from jaxloss.bifurcation import bifurcation_diagram, descent_map
from jaxloss.figures.continuation import plot_bifurcation
from jaxloss.problems.maps import MAPS


def quartic(sharpness, cubic, fourth):
    """A minimum at 0 of the given derivatives."""

    def objective(params):
        x = params["x"]
        return sharpness * x**2 / 2 + cubic * x**3 / 6 + fourth * x**4 / 24

    return Problem(name="quartic", objective=objective, params={"x": 0.0})


def logistic(start, parameters, **options):
    grid = Grid({"x": Axis.of(np.atleast_1d(start)), "r": Axis.of(parameters)})
    return bifurcation_diagram(MAPS["logistic"](), grid, **options).isel(x=0)


class TestLyapunov:
    def test_full_chaos_is_log_two(self):
        """The logistic map at 4 and x -> 1 - 2 x^2 are conjugate to the tent map: log 2."""
        fourth = logistic([0.3], [3.0, 4.0]).isel(r=1)
        assert float(fourth.lyapunov_exponent) == pytest.approx(math.log(2), abs=4e-3)
        assert bool(fourth.chaotic)
        parabola = bifurcation_diagram(
            lambda state, a: {"x": 1 - a * state["x"] ** 2}, Grid({"x": Axis.of([0.3]), "a": Axis.of([1.0, 2.0])})
        )
        assert float(parabola.lyapunov_exponent[0, 1]) == pytest.approx(math.log(2), abs=4e-3)
        # At 1 the cycle 0 -> 1 -> 0 passes the critical point: superstable.
        assert float(parabola.lyapunov_exponent[0, 0]) == -math.inf
        assert int(parabola.period[0, 0]) == 2

    def test_cubic_map_at_two_is_log_three(self):
        """x -> 3 x - 2 x^3 is Chebyshev's third polynomial, up to scale."""
        grid = Grid({"x": Axis.of([0.3, 0.7]), "learning_rate": Axis.of([0.5, 2.0])})
        found = bifurcation_diagram(load_problem("cubic-map"), grid)
        np.testing.assert_allclose(found.lyapunov_exponent.sel(learning_rate=2.0), math.log(3), atol=0.01)
        assert found.chaotic_fraction.values.tolist() == [0, 1]

    def test_at_rest_it_is_the_logarithm_of_the_multiplier(self):
        rates = np.array([0.1, 0.3, 0.6, 0.9])
        grid = Grid({"x": Axis.of([0.4]), "learning_rate": Axis.of(rates)})
        found = bifurcation_diagram(load_problem("cubic-map"), grid)
        np.testing.assert_allclose(found.lyapunov_exponent[0], np.log(np.abs(1 - 2 * rates)), atol=1e-9)
        assert (found.period == 1).all()

    def test_of_a_cycle_it_is_that_of_its_multiplier(self):
        """Of the logistic map's cycle of period 2 the multiplier is 4 + 2 r - r^2."""
        r = np.array([3.1, 3.3, 3.4])
        found = logistic([0.3], r)
        np.testing.assert_allclose(found.lyapunov_exponent, np.log(np.abs(4 + 2 * r - r * r)) / 2, atol=1e-9)

    def test_with_momentum_the_whole_state_counts(self):
        """Where the multipliers of a heavy ball are complex, their modulus is sqrt(momentum)."""
        bowl = load_problem("quadratic", sharpness=1.0, condition=1.0)
        grid = Grid({"x": Axis.of([1.0]), "learning_rate": Axis.of([0.5, 1.0]), "y": Axis.of([0.5])})
        found = bifurcation_diagram(bowl, grid, optimizer="momentum", hyperparameters={"momentum": 0.81})
        np.testing.assert_allclose(found.lyapunov_exponent, 0.5 * math.log(0.81), atol=2e-3)
        assert found.edge.isnull().all()

    def test_henon(self):
        """Published: .4192 (Sprott, Chaos and Time-Series Analysis, 2003)."""
        grid = Grid({"x": Axis.of([0.1, 0.2, 0.3]), "a": Axis.of([1.0, 1.4])})
        found = bifurcation_diagram(MAPS["henon"](), grid).sel(a=1.4)
        assert float(found.lyapunov_exponent.mean()) == pytest.approx(0.4192, abs=0.01)
        assert found.chaotic.all()

    def test_the_error_is_that_of_the_mean(self):
        starts = np.linspace(0.11, 0.89, 200)
        found = bifurcation_diagram(
            MAPS["logistic"](), Grid({"x": Axis.of(starts), "r": Axis.of([3.9, 3.95])}), num_steps=500
        )
        spread = found.lyapunov_exponent.std("x", ddof=1)
        ratio = spread / found.lyapunov_error.mean("x")
        assert (ratio > 0.6).all()
        assert (ratio < 1.6).all()


class TestPeriods:
    def test_doublings_of_the_logistic_map(self):
        """At 3, 1 + sqrt 6, 3.544090 and 3.564407; the gaps shrink by ratios that tend to Feigenbaum's 4.669."""
        expected = [3.0, 1 + math.sqrt(6), 3.5440903596, 3.5644072661]
        found = []
        for k, place in enumerate(expected):
            reach = 4e-3 / 4**k
            r = place + np.linspace(-reach, reach, 41)
            period = logistic([0.3], r, num_steps=200_000).period.values
            # Just below, convergence may be too slow for a period to be seen: the doubled one shows the place.
            below, above = r[period == 2**k], r[period == 2 ** (k + 1)]
            assert below.size
            assert below.max() < above.min()
            found.append(above.min())
            assert place <= found[-1] <= place + reach / 8
        gaps = np.diff(found)
        np.testing.assert_allclose(gaps[:-1] / gaps[1:], [4.7514, 4.6562], rtol=0.02)

    @pytest.mark.parametrize(
        ("sharpness", "cubic", "fourth"), [(1.0, 0.0, -6.0), (4.0, 6.0, 10.0), (0.3, -1.0, 5.0), (25.0, 0.0, -1.0)]
    )
    def test_the_first_doubling_is_at_the_edge(self, sharpness, cubic, fourth):
        assert fourth < 3 * cubic**2 / sharpness  # a negative Schwarzian derivative: a stable cycle is born
        edge = 2 / sharpness
        offsets = np.array([-0.1, -0.03, -0.01, 0.01, 0.03])
        grid = Grid({"x": Axis.of([1e-3]), "learning_rate": Axis.of(edge * (1 + offsets))})
        found = bifurcation_diagram(quartic(sharpness, cubic, fourth), grid, num_steps=20_000)
        assert found.period.values[0].tolist() == [1, 1, 1, 2, 2]
        np.testing.assert_allclose(found.edge, [edge])
        np.testing.assert_allclose(found.sharpness, [sharpness])
        if cubic == 0:
            # On the cycle x' = -x, so that rate * gradient = 2 x.
            rates = found.learning_rate.values[offsets > 0]
            amplitude = np.abs(found.orbit.values[0, offsets > 0, :, 0]).max(axis=1)
            np.testing.assert_allclose(sharpness + fourth * amplitude**2 / 6, 2 / rates, rtol=1e-6)

    def test_every_minimum_of_a_neuron_has_its_edge(self):
        problem = load_problem("two-minima-binary")
        names = problem.parameter_names
        points = np.array([problem.ravel(point) for point in problem.critical_points])
        assert len(points) >= 2
        from jaxloss.critical_points.polish import spectrum

        eigenvalues = spectrum(problem, points).eigenvalues
        for point, values in zip(points[:2], eigenvalues[:2], strict=True):
            assert values.min() > 0
            edge = 2 / values.max()
            grid = Grid(
                {
                    **{name: Axis.of([x + 1e-4]) for name, x in zip(names, point, strict=True)},
                    "learning_rate": Axis.of([0.9 * edge, 0.97 * edge, 1.03 * edge]),
                }
            )
            found = bifurcation_diagram(problem, grid, num_steps=20_000)
            assert found.period.values.ravel()[:2].tolist() == [1, 1]
            assert found.period.values.ravel()[2] != 1
            assert np.any(np.isclose(found.edge.values, edge, rtol=1e-6))

    def test_angles_are_compared_on_the_circle(self):
        step = lambda state, k: {"theta": state["theta"] + 2 * math.pi / k}  # noqa: E731
        grid = Grid({"theta": Axis.of([0.1]), "k": Axis.of([5.0, 7.0])})
        found = bifurcation_diagram(step, grid, wrap={"theta": 2 * math.pi})
        assert found.period.values[0].tolist() == [5, 7]
        assert float(found.orbit.max()) < 2 * math.pi

    def test_the_orbit_is_on_the_cycle(self):
        r = 3.3
        found = logistic([0.3], [2.9, r], num_kept=7).sel(r=r)
        exact = np.roots([r * r, -r * (r + 1), r + 1])
        assert found.orbit.shape == (7, 1)
        np.testing.assert_allclose(np.unique(found.orbit.values.round(9)), np.sort(exact), atol=1e-8)


class TestTable:
    def test_divergence(self):
        grid = Grid({"x": Axis.of([0.5, 3.0]), "learning_rate": Axis.of([0.5, 2.5])})
        found = bifurcation_diagram(load_problem("cubic-map"), grid)
        assert found.diverged.values.tolist() == [[False, True], [True, True]]
        lost = found.diverged.values
        assert np.isnan(found.orbit.values[lost]).all()
        assert np.isnan(found.lyapunov_exponent.values[lost]).all()
        assert np.isnan(found.orbit_loss.values[lost]).all()
        assert (found.period.values[lost] == 0).all()
        assert not found.chaotic.values[lost].any()

    def test_losses_belong_to_positions(self):
        grid = Grid({"x": Axis.of([0.5]), "learning_rate": Axis.of([0.5, 1.1, 1.7])})
        found = bifurcation_diagram(load_problem("cubic-map"), grid)
        x = found.orbit.values[..., 0]
        np.testing.assert_allclose(found.orbit_loss, x**4 / 4 - x**2 / 2, atol=1e-12)

    def test_chaotic_share_with_its_interval(self):
        grid = Grid({"start": Starts(50, scale=1.0), "learning_rate": Axis.of([0.5, 1.9])})
        found = bifurcation_diagram(load_problem("cubic-map"), grid, num_steps=1000)
        count = found.chaotic.sum("start").values
        np.testing.assert_allclose(found.chaotic_fraction, count / 50)
        np.testing.assert_allclose(found.chaotic_low, wilson_interval(count, 50).low)
        assert count[0] == 0
        assert 30 < count[1] < 50

    def test_per_pixel_over_two_hyperparameters(self):
        axes = {"x": Axis.of([0.3]), "learning_rate": Axis.linear(0.2, 1.0, 3), "momentum": Axis.linear(0, 0.5, 2)}
        found = bifurcation_diagram(load_problem("cubic-map"), Grid(axes), optimizer="momentum", num_steps=500)
        assert found.lyapunov_exponent.dims == ("x", "learning_rate", "momentum")
        assert found.chaotic_fraction.dims == ("learning_rate", "momentum")

    def test_a_problem_and_its_map_agree(self):
        problem = load_problem("cubic-map")
        grid = Grid({"x": Axis.of([0.3, -0.4]), "learning_rate": Axis.of([0.5, 1.1, 1.25])})
        ours, as_map = (
            bifurcation_diagram(system, grid, num_steps=3000) for system in (problem, descent_map(problem))
        )
        np.testing.assert_array_equal(ours.period, as_map.period)
        np.testing.assert_allclose(ours.orbit, as_map.orbit, atol=1e-9)
        np.testing.assert_allclose(ours.lyapunov_exponent, as_map.lyapunov_exponent, atol=1e-9)

    def test_twice_the_same(self):
        grid = Grid({"start": Starts(5), "learning_rate": Axis.of([1.7, 1.8])})
        first, second = (
            bifurcation_diagram(load_problem("cubic-map"), grid, num_steps=100, seed=3) for _ in range(2)
        )
        assert first.identical(second)


class TestDescentMap:
    def test_parity_with_the_registered_map(self):
        grid = Grid({"x": Axis.linear(-2, 2, 41), "learning_rate": Axis.of([0.4, 1.1])})
        ours, reference = (
            sweep_map(step, grid) for step in (descent_map(load_problem("cubic-map")), MAPS["cubic-map"]())
        )
        np.testing.assert_array_equal(ours.outcome, reference.outcome)
        np.testing.assert_allclose(ours.end_point, reference.end_point, atol=1e-9)

    def test_with_data_in_both_precisions(self):
        the_map = descent_map(load_problem("loss-comparison"))
        grid = Grid({"weight[0]": Axis.of([-1.0, 1.0]), "bias": Axis.of([0.5]), "learning_rate": Axis.of([2.0])})
        single, double = (
            sweep_map(the_map, grid, precision=precision, num_steps=4000) for precision in ("float32", "float64")
        )
        np.testing.assert_allclose(single.end_point, double.end_point, atol=1e-3)

    def test_an_optimiser_with_memory_is_no_such_map(self):
        with pytest.raises(InputError, match="must keep no state"):
            descent_map(load_problem("cubic-map"), optimizer="momentum")
        with pytest.raises(InputError, match="problem"):
            descent_map(lambda x: x)


class TestBadInput:
    def test_one_learning_rate(self):
        problem = load_problem("cubic-map")
        with pytest.raises(InputError, match="two or more values of a hyperparameter"):
            bifurcation_diagram(problem, Grid({"x": Axis.of([0.5, 1.0]), "learning_rate": Axis.of([0.5])}))
        with pytest.raises(InputError, match="two or more values of a hyperparameter"):
            bifurcation_diagram(problem, Grid({"x": Axis.of([0.5, 1.0])}), learning_rate=0.5)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"num_steps": -1}, "num_steps"),
            ({"num_kept": 0}, "num_kept"),
            ({"bound": 0}, "bound"),
            ({"precision": "float16"}, "precision"),
            ({"optimizer": "sdg"}, "did you mean 'sgd'"),
            ({"num_kept": 2**20}, "memory"),
        ],
    )
    def test_options(self, options, match):
        grid = Grid({"x": Axis.linear(-1, 1, 4000), "learning_rate": Axis.linear(0.1, 1, 100)})
        with pytest.raises(InputError, match=match):
            bifurcation_diagram(load_problem("cubic-map"), grid, **options)

    def test_options_of_problems_for_a_map(self):
        grid = Grid({"x": Axis.of([0.5]), "r": Axis.of([3.0, 3.5])})
        with pytest.raises(InputError, match="go with problems"):
            bifurcation_diagram(MAPS["logistic"](), grid, learning_rate=0.1)
        with pytest.raises(InputError, match="unknown axis 'q'"):
            bifurcation_diagram(MAPS["logistic"](), Grid({"x": Axis.of([0.5]), "q": Axis.of([3.0, 3.5])}))

    def test_an_own_step_with_arrays(self):
        matrix = jnp.array([[0.5, 0.2], [0.0, 0.4]])
        grid = Grid({"v[0]": Axis.of([1.0]), "scale": Axis.of([0.5, 1.0])})
        found = bifurcation_diagram(
            lambda state, scale: {"v": scale * (matrix @ state["v"])}, grid, state={"v": np.ones(2)}
        )
        np.testing.assert_allclose(found.lyapunov_exponent[0], np.log([0.25, 0.5]), atol=2e-3)


class TestFigure:
    def test_orbits_exponents_and_edge(self, tmp_path):
        grid = Grid({"x": Axis.of([-0.5, 0.5]), "learning_rate": Axis.linear(0.5, 1.9, 15)})
        found = bifurcation_diagram(load_problem("cubic-map"), grid, num_steps=500)
        figure = plot_bifurcation(found, path=tmp_path / "orbits.png")
        assert isinstance(figure, Figure)
        texts = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        assert {"at rest", "cycle", "chaotic", "2/sharpness of a minimum"} <= texts
        for ax in figure.axes:
            assert 1.0 in [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        drawn = sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_linestyle() == "None")
        assert drawn == 2 * 15 * 128
        assert (tmp_path / "orbits.png").stat().st_size > 10_000
        assert plot_bifurcation(found, show="loss").axes[0].get_ylabel() == "loss"

    def test_bad_input(self):
        axes = {"x": Axis.of([0.3]), "learning_rate": Axis.linear(0.2, 1.0, 3), "momentum": Axis.linear(0, 0.5, 2)}
        found = bifurcation_diagram(load_problem("cubic-map"), Grid(axes), optimizer="momentum", num_steps=100)
        with pytest.raises(InputError, match="one hyperparameter with several values"):
            plot_bifurcation(found)
        with pytest.raises(InputError, match="parameter to show"):
            plot_bifurcation(found.isel(momentum=0), show="y")
        with pytest.raises(InputError, match="must be what"):
            plot_bifurcation(found.drop_vars("lyapunov_exponent"))
