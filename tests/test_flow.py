"""The gradient flow: basins that are known exactly, its accuracy, and what the step size changes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp

from jaxloss import OUTCOMES, Axis, Grid, InputError, Problem, Starts, load_problem, neuron_problem, sweep
from jaxloss.basins import wilson_interval
from jaxloss.figures.continuation import plot_flow_comparison
from jaxloss.flow import compare_with_flow, gradient_flow, same_fate, sweep_flow

WELL = load_problem("cubic-map")
# No start on a critical point.
X = Axis.linear(-2.39, 2.39, 240)


def himmelblau(p):
    return (p["x"] ** 2 + p["y"] - 11) ** 2 + (p["x"] + p["y"] ** 2 - 7) ** 2


HIMMELBLAU = Problem(name="himmelblau", objective=himmelblau, params={"x": 0.0, "y": 0.0})


@pytest.fixture(scope="module")
def flow():
    return sweep_flow(WELL, Grid({"x": X}))


@pytest.fixture(scope="module")
def descent():
    grid = Grid({"x": X, "learning_rate": Axis.of([0.02, 0.5, 0.9])})
    return sweep(WELL, grid, precision="float64", num_steps=20_000)


def follow(gradient, start, error, num):
    """The accepted points of the pair's path."""
    transform = gradient_flow(gradient)(1e-3, error=error)
    state, path = transform.init(start), [start]
    update = jax.jit(lambda state, at: transform.update(gradient(at), state, at))
    for _ in range(num):
        motion, state = update(state, path[-1])
        path.append(optax.apply_updates(path[-1], motion))
    return np.array(path)


class TestPath:
    def test_between_two_slopes(self):
        """Under x' = -x, y' = -3 y the path is the curve y = x^3."""
        with jax.enable_x64(True):
            rates = jnp.array([1.0, 3.0])
            deviations = []
            for error in (1e-3, 1e-5, 1e-7):
                path = follow(lambda at: rates * at, jnp.array([2.0, 8.0]), error, 400)
                assert path[-1, 0] < 0.1
                deviations.append(np.abs(path[:, 1] - path[:, 0] ** 3).max())
        assert deviations[0] < 0.1
        assert deviations[1] < 1e-3
        assert deviations[2] < 1e-5

    def test_accuracy_of_one_step_is_of_third_order(self):
        with jax.enable_x64(True):
            errors = []
            for step in (0.1, 0.05, 0.025):
                transform = gradient_flow(lambda x: x)(step, error=1.0)
                motion, _ = transform.update(jnp.array(0.5), transform.init(jnp.array(0.5)), jnp.array(0.5))
                errors.append(abs(0.5 + float(motion) - 0.5 * math.exp(-step)))
        ratios = np.divide(errors[:-1], errors[1:])
        np.testing.assert_allclose(ratios, 16, rtol=0.1)

    def test_it_comes_to_rest_without_hovering(self):
        """Near a stiff minimum the step is bounded by stability: distances fall to rounding."""
        with jax.enable_x64(True):
            rates = jnp.array([1.0, 100.0])
            path = follow(lambda at: rates * at, jnp.array([1.0, 1.0]), 1e-3, 3000)
        assert np.abs(path[-1]).max() < 1e-12

    def test_a_step_never_leaps(self):
        with jax.enable_x64(True):
            path = follow(lambda at: at * 1e-9, jnp.array([5.0]), 1e-3, 200)
        motion = np.abs(np.diff(path[:, 0]))
        assert (motion <= 0.1 * (1 + np.abs(path[:-1, 0])) + 1e-12).all()
        assert motion.max() > 0.3

    def test_a_rejected_step_stays(self):
        transform = gradient_flow(lambda x: x**3)(10.0, error=1e-6)
        at = jnp.array(0.9)
        motion, step = transform.update(at**3, transform.init(at), at)
        assert float(motion) == 0
        assert float(step) < 1


class TestBasins:
    def test_double_well_is_the_sign(self, flow):
        np.testing.assert_array_equal(np.sign(flow.end_point.values[:, 0]), np.sign(X.values))
        np.testing.assert_allclose(np.abs(flow.end_point.values[:, 0]), 1, atol=1e-5)
        assert (flow.outcome == OUTCOMES["global_minimum"]).all()
        assert flow.attrs["agreement"] == 1
        assert flow.agrees.all()

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_next_to_the_separatrix(self, precision):
        x = np.array([-1e-5, -1e-3, 1e-3, 1e-5])
        options = {"precision": precision, "tolerance": 1e-4}
        found = sweep_flow(WELL, Grid({"x": Axis.of(x)}), **options)
        np.testing.assert_array_equal(np.sign(found.end_point.values[:, 0]), np.sign(x))

    def test_himmelblau_against_scipy(self):
        starts = np.random.default_rng(0).uniform(-5, 5, (30, 2))
        found = sweep_flow(HIMMELBLAU, Grid({"start": Starts(points=starts)}))

        def downhill(_, at):
            first, second = at[0] ** 2 + at[1] - 11, at[0] + at[1] ** 2 - 7
            return -np.array([4 * at[0] * first + 2 * second, 2 * first + 4 * at[1] * second])

        for start, end in zip(starts, found.end_point.values, strict=True):
            path = solve_ivp(downhill, (0, 20), start, method="LSODA", rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(end, path.y[:, -1], atol=1e-3)
        assert len(np.unique(found.attractor)) == 4

    def test_dead_neurons(self):
        """Of one ReLU on +-1 with the teacher relu(x) the dead basin is w + b < 0."""
        grid = Grid({"start": Starts(300)})
        problem = load_problem("single-relu")
        found = sweep_flow(problem, grid)
        from jaxloss.grids import BoundGrid
        from jaxloss.runs import RunOptions

        points = BoundGrid(grid, problem, {}, RunOptions().key("starts")).initial_points(
            {"start": np.arange(300)}, 300
        )
        np.testing.assert_array_equal(found.outcome == OUTCOMES["dead"], points.sum(axis=1) < 0)

    @pytest.mark.slow
    def test_to_infinity(self):
        """Cross-entropy on separable data: every path leaves for infinity, which gradient descent needs ages for."""
        problem = neuron_problem("sigmoid", "cross_entropy", [[-2.0], [-1.0], [1.0], [2.5]], [0, 0, 1, 1])
        found = sweep_flow(problem, Grid({"start": Starts(50, scale=3.0)}), num_steps=3000)
        assert (found.outcome == OUTCOMES["infimum_at_infinity"]).all()
        assert found.attrs["agreement"] == 1

    @pytest.mark.slow
    def test_data_in_both_precisions(self):
        problem = load_problem("loss-comparison")
        grid = Grid({"weight[0]": Axis.linear(-4, 4, 5), "bias": Axis.linear(-4, 4, 5)})
        double = sweep_flow(problem, grid)
        single = sweep_flow(problem, grid, precision="float32", tolerance=1e-4, gradient_tolerance=1e-5)
        assert same_fate(single, double).mean() >= 0.9


class TestComparison:
    def test_against_a_plain_loop(self, descent, flow):
        found = compare_with_flow(descent, flow)
        for k, rate in enumerate(descent.learning_rate.values):
            x = X.values.copy()
            for _ in range(5000):
                x = np.where(np.abs(x) > 1e3, x, x - rate * (x**3 - x))
            end = np.where(np.abs(x) > 1e3, 9, np.sign(x))
            changed = end != np.sign(X.values)
            np.testing.assert_array_equal(found.changed.values[:, k], changed)
            assert float(found.share[k]) == changed.mean()
            low, high = wilson_interval(changed.sum(), X.values.size)
            assert (float(found.low[k]), float(found.high[k])) == (low, high)
        assert found.decided.all()

    def test_closed_form_of_the_small_and_the_large_step(self, descent, flow):
        """Nothing changes within sqrt(1 + 1 / eta), where the first step keeps its sign; all that diverges does."""
        found = compare_with_flow(descent, flow)
        assert found.share.values[0] == 0
        for k, rate in ((1, 0.5), (2, 0.9)):
            inside = np.abs(X.values) < math.sqrt(1 + 1 / rate)
            outside = np.abs(X.values) > math.sqrt(1 + 2 / rate)
            assert not found.changed.values[inside, k].any()
            assert found.changed.values[outside, k].all()
            assert int(found.lost[k]) == outside.sum()
        assert (found.won == 0).all()

    def test_what_is_not_decided_does_not_count(self, flow):
        grid = Grid({"x": X, "learning_rate": Axis.of([1e-4, 0.1])})
        short = sweep(WELL, grid, precision="float64", num_steps=300)
        found = compare_with_flow(short, flow)
        assert int(found.num_decided[0]) == int((short.outcome[:, 0] == OUTCOMES["global_minimum"]).sum()) < 240
        assert int(found.num_changed[0]) == 0
        unsure = flow.assign(agrees=("x", np.arange(240) >= 100))
        assert int(compare_with_flow(short, unsure).num_decided[1]) == 140

    def test_without_any_decided_start(self, flow):
        none = flow.assign(agrees=("x", np.zeros(240, bool)))
        found = compare_with_flow(sweep(WELL, Grid({"x": X}), learning_rate=0.1, precision="float64"), none)
        assert math.isnan(float(found.share))
        assert (float(found.low), float(found.high)) == (0, 1)

    def test_tables_in_another_order(self, descent, flow):
        swapped = flow.isel(critical_point=[2, 1, 0])
        number = np.array([2, 1, 0, -1])
        swapped = swapped.assign(attractor=("x", number[flow.attractor.values]))
        np.testing.assert_array_equal(
            compare_with_flow(descent, flow).changed, compare_with_flow(descent, swapped).changed
        )

    def test_an_entry_that_the_other_lacks(self, descent, flow):
        fewer = flow.isel(critical_point=[0, 2], x=flow.attractor.values == 0)
        fewer = fewer.assign(attractor=fewer.attractor * 0)
        here = descent.isel(x=flow.attractor.values == 0, learning_rate=0)
        assert same_fate(here, fewer).all()
        there = descent.isel(x=flow.attractor.values == 1, learning_rate=0)
        assert not same_fate(there, flow.isel(critical_point=[0], x=flow.attractor.values == 1)).any()

    def test_mirror_images_are_one(self, flow):
        """What one table holds at the mirror image of where the other does, with nothing else at either place."""
        only = flow.isel(critical_point=[0], x=flow.attractor.values == 0)
        mirrored = only.assign(location=-only.location)
        assert same_fate(only, mirrored).all()

    def test_order_of_axes(self, descent, flow):
        turned = compare_with_flow(descent.transpose("learning_rate", "x", ...), flow)
        assert turned.changed.dims == ("learning_rate", "x")
        np.testing.assert_array_equal(turned.changed, compare_with_flow(descent, flow).changed.T)

    def test_bad_input(self, descent, flow):
        with pytest.raises(InputError, match="agrees"):
            compare_with_flow(descent, descent)
        with pytest.raises(InputError, match="axis 'x' differs"):
            compare_with_flow(descent, flow.assign_coords(x=flow.x + 1))
        with pytest.raises(InputError, match="of one problem"):
            compare_with_flow(descent, flow.assign_attrs(name="other"))
        with pytest.raises(InputError, match="over"):
            compare_with_flow(descent, flow.rename(x="y"))
        with pytest.raises(InputError, match="confidence"):
            compare_with_flow(descent, flow, confidence=2)
        with pytest.raises(InputError, match="seeds differ"):
            compare_with_flow(
                descent.rename(x="start").assign_coords(start=np.arange(240)),
                flow.rename(x="start").assign_coords(start=np.arange(240)).assign_attrs(seed=1),
            )

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"tolerance": 0}, "tolerance"),
            ({"tolerance": 0.5}, "tolerance"),
            ({"refinement": 1}, "refinement"),
            ({"precision": "float32"}, "float32"),
            ({"num_steps": 0}, "num_steps"),
        ],
    )
    def test_bad_options(self, options, match):
        with pytest.raises(InputError, match=match):
            sweep_flow(WELL, Grid({"x": X}), **options)

    def test_no_learning_rate(self):
        with pytest.raises(InputError, match="no axis 'learning_rate'"):
            sweep_flow(WELL, Grid({"x": X, "learning_rate": Axis.of([0.1])}))
        assert "learning_rate" not in sweep_flow(WELL, Grid({"x": Axis.of([0.5])})).attrs


class TestFigure:
    def test_strips(self, descent, flow, tmp_path):
        found = compare_with_flow(descent, flow)
        figure = plot_flow_comparison(descent, found, path=tmp_path / "flow.png")
        assert isinstance(figure, Figure)
        share = figure.axes[-1]
        np.testing.assert_allclose(share.lines[0].get_ydata(), found.share)
        assert (tmp_path / "flow.png").stat().st_size > 10_000

    def test_maps(self):
        axes = {"x": Axis.linear(-5, 5, 8), "y": Axis.linear(-5, 5, 8)}
        result = sweep(HIMMELBLAU, Grid({**axes, "learning_rate": Axis.of([0.002, 0.01, 0.02])}), precision="float64")
        found = compare_with_flow(result, sweep_flow(HIMMELBLAU, Grid(axes)))
        figure = plot_flow_comparison(result, found, max_rates=2)
        assert len(figure.axes) == 1 + 2 + 1
        assert [ax.get_title() for ax in figure.axes[:3]] == [
            "gradient flow",
            "learning rate 0.002",
            "learning rate 0.02",
        ]

    def test_bad_input(self, descent, flow):
        found = compare_with_flow(descent, flow)
        with pytest.raises(InputError, match="two or more values"):
            plot_flow_comparison(descent.isel(learning_rate=[0]), found.isel(learning_rate=[0]))
        with pytest.raises(InputError, match="one or two axes"):
            plot_flow_comparison(descent.rename(x="start"), found.rename(x="start"))
        with pytest.raises(InputError, match="comparison must be what"):
            plot_flow_comparison(descent, flow)
