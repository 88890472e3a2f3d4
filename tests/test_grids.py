import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings

from jaxloss import Axis, Grid, Problem, Starts, grids
from jaxloss.errors import InputError
from jaxloss.grids import BoundGrid, plane_through, random_directions

examples = settings(deadline=None, derandomize=True, max_examples=30)

BOWL = Problem(
    name="bowl",
    objective=lambda p: p["b"] ** 2 + (p["w"] ** 2).sum() + (p["v"] ** 2).sum(),
    params={"b": 0.5, "v": np.array([[3.0, 4.0], [0.0, 2.0]]), "w": np.array([1.0, -1.0])},
)
NAMES = BOWL.parameter_names


def bind(axes, *, hyperparameters=None, seed=0, **options):
    defaults = {"learning_rate": 0.1} | (hyperparameters or {})
    return BoundGrid(Grid(axes, **options), BOWL, defaults, jax.random.key(seed))


def start(bound):
    """Initial points in grid order."""
    return bound.to_grid_order(bound.trajectories(0, bound.grid.size)[0])


def rows(params):
    return {name: BOWL.ravel(params)[..., i] for i, name in enumerate(NAMES)}


class TestAxis:
    @examples
    @given(start=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), num=st.integers(2, 50))
    def test_linear_has_equal_steps_and_both_ends(self, start, width, num):
        values = Axis.linear(start, start + width, num).values
        assert values[0] == start
        assert values[-1] == start + width
        np.testing.assert_allclose(np.diff(values), width / (num - 1), rtol=1e-4)

    @examples
    @given(start=st.floats(1e-6, 1e6), ratio=st.floats(1.01, 1e6), num=st.integers(2, 50))
    def test_log_has_equal_ratios_and_both_ends(self, start, ratio, num):
        values = Axis.log(start, start * ratio, num).values
        assert values[0] == start
        assert values[-1] == start * ratio
        np.testing.assert_allclose(values[1:] / values[:-1], ratio ** (1 / (num - 1)), rtol=1e-9)

    def test_may_run_downwards_or_hold_one_value(self):
        np.testing.assert_array_equal(Axis.linear(1, -1, 3).values, [1, 0, -1])
        np.testing.assert_array_equal(Axis.linear(2, 2, 1).values, [2])
        np.testing.assert_allclose(Axis.log(100, 1, 3).values, [100, 10, 1])

    def test_given_values_keep_their_order(self):
        np.testing.assert_array_equal(Axis.of([3, -1, 2]).values, [3, -1, 2])
        assert len(Axis.of(0.1)) == 1

    def test_without_a_constructor_values_are_converted_too(self):
        values = Axis([1, 2]).values
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, [1, 2])

    def test_values_are_the_axis_own(self):
        given = np.array([1.0, 2.0])
        axis = Axis.of(given)
        given[0] = 9
        np.testing.assert_array_equal(axis.values, [1, 2])

    def test_the_widest_log_axis(self):
        np.testing.assert_allclose(Axis.log(1e-300, 1e300, 3).values, [1e-300, 1, 1e300], rtol=1e-12)

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: Axis.linear("a", 1, 2), "start must be a number, not 'a'"),
            (lambda: Axis.linear(0, None, 2), "stop must be a number"),
            (lambda: Axis.linear(0, 1j, 2), "stop must be a number"),
            (lambda: Axis.linear(0, 1, True), "num must be a whole number"),
            (lambda: Axis.linear(0, 1, 2.0), "num must be a whole number of at least 1, not 2.0"),
            (lambda: Axis.linear(0, 1, np.nan), "num must be a whole number of at least 1, not nan"),
            (lambda: Axis.linear(0, 1, np.inf), "num must be a whole number of at least 1, not inf"),
            (lambda: Axis.linear(0, 1, "3"), "num must be a whole number of at least 1, not '3'"),
            (lambda: Axis.log(1, 2, 10**8 + 1), "num must be at most 100,000,000, not 100,000,001"),
            (lambda: Axis.linear(0, np.complex128(1), 2), r"stop must be a number, not \(1\+0j\)"),
            (lambda: Axis.linear(0, 10**400, 2), "stop must be a number"),
            (lambda: Axis.linear([0], 1, 2), r"start must be a number, not \[0\]"),
            (lambda: Axis.linear(True, 2, 2), "start must be a number, not True"),
            (lambda: Axis.linear(-1e308, 1e308, 3), "start and stop must be less than 1.8e308 apart"),
            (lambda: Axis.linear(1, 1 + 4e-16, 9), "start and stop must be far enough apart for 9 values"),
            (lambda: Axis.log(1 + 4e-16, 1, 9), "start and stop must be far enough apart for 9 values"),
            (lambda: Axis.linear(0, 1, 2.5), "num must be a whole number of at least 1, not 2.5"),
            (lambda: Axis.linear(0, 1, 0), "num must be at least 1, not 0"),
            (lambda: Axis.linear(0, np.inf, 2), "start and stop must be finite"),
            (lambda: Axis.log(np.nan, 1, 2), "start and stop must be finite"),
            (lambda: Axis.linear(1, 1, 2), "start and stop are both 1"),
            (lambda: Axis.log(0, 1, 2), "log axis needs start and stop > 0"),
            (lambda: Axis.log(1, -1, 2), "log axis needs start and stop > 0"),
            (lambda: Axis.of([]), "axis values must be one or more finite numbers"),
            (lambda: Axis.of([1, np.nan]), "axis values must be one or more finite numbers"),
            (lambda: Axis.of(["a"]), "axis values must be numbers"),
            (lambda: Axis.of([1, 2, 1]), "axis values must differ"),
            (lambda: Axis.of([1j, 2]), "axis values must be numbers"),
            (lambda: Axis.of(np.ones(2, complex)), "axis values must be numbers"),
            (lambda: Axis.of(["1", "2"]), r"axis values must be numbers, not \['1', '2'\]"),
            (lambda: Axis.of([0.5, None]), "axis values must be numbers"),
            (lambda: Axis.of([np.str_("x")]), r"axis values must be numbers, not \['x'\]"),
            (lambda: Axis.of(np.eye(2)), r"axis values must be one list of numbers, not an array of shape \(2, 2\)"),
            (lambda: Axis([1, np.inf]), "axis values must be one or more finite numbers"),
            (lambda: Axis("a"), "axis values must be numbers"),
            (lambda: Axis([1, 2], "lin"), "unknown spacing 'lin': did you mean 'linear'"),
        ],
    )
    def test_bad_fields_are_named(self, make, sentence):
        with pytest.raises(InputError, match=sentence):
            make()


class TestStarts:
    def test_normal_has_the_scale_of_each_leaf(self):
        scale = {"b": 0.0, "v": np.array([[1.0, 2.0], [3.0, 4.0]]), "w": 0.5}
        points = Starts(20_000, scale=scale).draw(BOWL, jax.random.key(0))
        expected = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 0.5, 0.5])
        assert points.dtype == np.float64
        np.testing.assert_allclose(points.std(axis=0), expected, rtol=0.03)
        assert np.all(np.abs(points.mean(axis=0)) <= 4 * expected / np.sqrt(20_000))

    def test_normal_is_normal_and_entries_are_independent(self):
        points = Starts(20_000).draw(BOWL, jax.random.key(0))
        assert np.mean(np.abs(points) < 1) == pytest.approx(0.6827, abs=0.005)
        np.testing.assert_allclose(np.corrcoef(points.T), np.eye(7), atol=0.04)

    def test_uniform_fills_its_interval(self):
        points = Starts(20_000, distribution="uniform", scale=3.0).draw(BOWL, jax.random.key(0))
        assert np.abs(points).max() <= 3
        counts = np.histogram(points, bins=10, range=(-3, 3))[0] / points.size
        np.testing.assert_allclose(counts, 0.1, atol=0.004)

    def test_one_scale_for_all(self):
        unit, wide = (Starts(5, scale=scale).draw(BOWL, jax.random.key(1)) for scale in (1.0, 2.5))
        np.testing.assert_allclose(wide, 2.5 * unit)

    def test_the_key_decides(self):
        draws = [Starts(5).draw(BOWL, jax.random.key(seed)) for seed in (0, 0, 1)]
        np.testing.assert_array_equal(draws[0], draws[1])
        assert np.all(draws[0] != draws[2])

    def test_the_precision_of_the_user_does_not(self):
        with jax.enable_x64(True):
            wide = Starts(5).draw(BOWL, jax.random.key(0))
        np.testing.assert_array_equal(wide, Starts(5).draw(BOWL, jax.random.key(0)))

    def test_given_points(self):
        points = {"b": np.arange(3.0), "v": np.ones((3, 2, 2)), "w": np.arange(6.0).reshape(3, 2)}
        starts = Starts(points=points)
        assert len(starts) == 3
        found = rows(BOWL.unravel(starts.draw(BOWL, jax.random.key(0))))
        np.testing.assert_array_equal(found["b"], [0, 1, 2])
        np.testing.assert_array_equal(found["w[1]"], [1, 3, 5])

    def test_given_points_as_an_array_in_the_order_of_the_names(self):
        points = np.arange(21).reshape(3, 7)
        draw = Starts(points=points).draw(BOWL, jax.random.key(0))
        np.testing.assert_array_equal(draw, points)
        np.testing.assert_array_equal(Starts(points=BOWL.unravel(points)).draw(BOWL, jax.random.key(0)), draw)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({}, "start: num must be at least 1, not 0"),
            ({"num": -2}, "start: num must be at least 1, not -2"),
            ({"num": "a"}, "start: num must be a whole number of at least 1, not 'a'"),
            ({"num": np.nan}, "start: num must be a whole number of at least 1, not nan"),
            ({"num": None}, "start: num must be a whole number of at least 1, not None"),
            ({"num": 2.0}, "start: num must be a whole number of at least 1, not 2.0"),
            ({"num": 10**9}, "start: num must be at most 100,000,000, not 1,000,000,000"),
            ({"num": 3, "scale": "a"}, "start: scale must be a real number or array, not 'a'"),
            ({"num": 3, "scale": None}, "start: scale must be a number or a pytree like the parameters, not None"),
            ({"num": 3, "scale": np.nan}, "start: scale must be finite, not nan"),
            ({"num": 3, "scale": np.inf}, "start: scale must be finite, not inf"),
            ({"num": 3, "scale": {"b": 1j}}, "start: scale: b must be a real number or array, not 1j"),
            ({"num": 3, "scale": {"b": 1.0, 2: 1.0}}, "start: scale must be a pytree whose keys can be sorted"),
            ({"points": {"b": np.array([0.0, np.nan])}}, "start: points: b must be finite"),
            ({"points": np.ones((2, 7), complex)}, "start: points must be a real number or array"),
            ({"points": "a"}, "start: points must be a real number or array, not 'a'"),
            ({"num": 4, "points": np.zeros((3, 7))}, "start: num must be left out where points are given, not 4"),
            ({"num": 1.5}, "start: num must be a whole number"),
            ({"num": True}, "start: num must be a whole number"),
            ({"num": 3, "distribution": 3}, "start: distribution must be a string, not 3"),
            ({"num": 3, "distribution": "gauss"}, "unknown start distribution 'gauss'"),
            ({"num": 3, "scale": -1.0}, "start: scale must not be negative"),
            ({"num": 3, "scale": {"b": 1.0, "v": 1.0, "w": [1.0, -1.0]}}, "start: scale must not be negative"),
            ({"points": {"b": np.zeros(3), "w": np.zeros((4, 2))}}, "start: points must share one leading axis"),
            ({"points": {"b": 0.0}}, "start: points must share one leading axis"),
            ({"points": {"b": np.zeros(0)}}, "start: points must share one leading axis"),
        ],
    )
    def test_bad_fields_are_named(self, options, sentence):
        with pytest.raises(InputError, match=sentence):
            Starts(**options)

    @pytest.mark.parametrize(
        "points",
        [
            {"b": np.zeros(3), "w": np.zeros((3, 2))},
            {"b": np.zeros(3), "u": np.zeros((3, 2, 2)), "w": np.zeros((3, 2))},
            {"b": np.zeros(3), "v": np.zeros((3, 4)), "w": np.zeros((3, 2))},
            {"b": np.zeros((3, 1)), "v": np.zeros((3, 2, 2)), "w": np.zeros((3, 2))},
            np.zeros((3, 6)),
            np.zeros(3),
        ],
    )
    def test_points_of_another_structure_are_named(self, points):
        sentence = (
            r"start: points must have the structure and shapes of the parameters, \{'b': \(3,\), 'v': \(3, 2, 2\)"
        )
        with pytest.raises(InputError, match=sentence):
            Starts(points=points).draw(BOWL, jax.random.key(0))

    def test_a_scale_that_overflows_is_named(self):
        with pytest.raises(InputError, match="start: scale must be below 1e307"):
            Starts(1000, scale=1.7e308).draw(BOWL, jax.random.key(0))

    @pytest.mark.parametrize(
        "scale",
        [
            {"b": 1.0},
            {"b": 1.0, "v": 1.0, "w": np.ones(3)},
            {"b": 1.0, "u": 1.0, "w": 1.0},
            {"b": 1.0, "v": 1.0, "w": [1.0, 1.0]},
            [1.0, 2.0, 3.0],
            np.ones(3),
            np.ones(7),
        ],
    )
    def test_scale_of_another_structure_is_named(self, scale):
        with pytest.raises(InputError, match="start: scale must be a number or have the structure"):
            Starts(3, scale=scale).draw(BOWL, jax.random.key(0))


class TestGrid:
    def test_shape_size_and_coordinates(self):
        grid = Grid({"b": Axis.linear(0, 1, 3), "start": Starts(4), "learning_rate": Axis.of([0.1, 0.2])})
        assert grid.shape == (3, 4, 2)
        assert grid.size == 24
        assert list(grid.coordinates) == ["b", "start", "learning_rate"]
        np.testing.assert_array_equal(grid.coordinates["start"], np.arange(4))

    @pytest.mark.parametrize(
        ("axes", "sentence"),
        [
            ({}, "at least one axis"),
            ({"b": [0.0, 1.0]}, "axis 'b' must be Axis"),
            ({"b": Starts(3)}, "axis 'b' must be Axis"),
            ({"start": Axis.of([1])}, "axis 'start' must be Starts"),
            (["w"], r"axes must be a mapping of names to Axis\(...\), not \['w'\]"),
            (None, "axes must be a mapping"),
            ("w", "axes must be a mapping"),
            (Axis.of([1]), "axes must be a mapping"),
            ({1: Axis.of([1])}, "the name of an axis must be a string, not 1"),
        ],
    )
    def test_bad_axes_are_named(self, axes, sentence):
        with pytest.raises(InputError, match=sentence):
            Grid(axes)

    @pytest.mark.parametrize(
        ("axes", "options", "sentence"),
        [
            ({"bias": Axis.of([1])}, {}, "unknown axis 'bias'.*Valid: b,"),
            ({"v[0]": Axis.of([1])}, {}, r"unknown axis 'v\[0\]': did you mean 'v\["),
            ({"momentum": Axis.of([0.9])}, {}, "unknown axis 'momentum'"),
            ({"learning_rate": Axis.of([0.0, 1.0])}, {}, "learning_rate must be > 0, not 0"),
            ({"direction[0]": Axis.of([1])}, {}, r"axis 'direction\[0\]' needs a direction.*has 0"),
            (
                {"direction[1]": Axis.of([1])},
                {"directions": [BOWL.params]},
                r"axis 'direction\[1\]' needs a direction.*has 1",
            ),
            ({"b": Axis.of([1])}, {"origin": np.zeros(3)}, "origin must have the structure"),
            ({"b": Axis.of([1])}, {"origin": {**BOWL.params, "w": np.ones(3)}}, r"origin must have .*'w': \(3,\)"),
            ({"b": Axis.of([1])}, {"origin": {**BOWL.params, "b": np.ones(1)}}, r"origin must have .*'b': \(1,\)"),
            ({"b": Axis.of([1])}, {"origin": {**BOWL.params, "b": np.nan}}, "origin: b must be finite, not nan"),
            ({"b": Axis.of([1])}, {"origin": {**BOWL.params, "b": 1j}}, "origin: b must be a real number or array"),
            ({"b": Axis.of([1])}, {"directions": [{"b": 1.0}]}, r"directions\[0\] must have the structure"),
            (
                {"b": Axis.of([1])},
                {"directions": [BOWL.params, {**BOWL.params, "w": np.array([1.0, np.inf])}]},
                r"directions\[1\]: w must be finite, not array\(\[ 1., inf\]\)",
            ),
            (
                {"b": Axis.of([1])},
                {"directions": 3},
                "directions must be a list of pytrees like the parameters, not 3",
            ),
            ({"b": Axis.of([1])}, {"hyperparameters": {"learning_rate": None}}, "needs a learning_rate axis"),
        ],
    )
    def test_axes_that_do_not_fit_are_named(self, axes, options, sentence):
        with pytest.raises(InputError, match=sentence):
            bind(axes, **options)


class TestInitialPoints:
    def test_parameters_without_an_axis_keep_their_value(self):
        points = start(bind({"w[1]": Axis.of([7.0, 8.0]), "v[0,1]": Axis.of([9.0])}))
        assert points.shape == (2, 1, 7)
        found = rows(BOWL.unravel(points))
        np.testing.assert_array_equal(found["w[1]"], [[7.0], [8.0]])
        np.testing.assert_array_equal(found["v[0,1]"], [[9.0], [9.0]])
        for name in set(NAMES) - {"w[1]", "v[0,1]"}:
            np.testing.assert_array_equal(found[name], np.full((2, 1), rows(BOWL.params)[name]))

    def test_an_axis_takes_precedence_over_a_random_start(self):
        bound = bind({"start": Starts(5), "b": Axis.of([7.0, 8.0])})
        points = start(bound)
        np.testing.assert_array_equal(points[..., NAMES.index("b")], np.broadcast_to([7.0, 8.0], (5, 2)))
        other = [i for i, name in enumerate(NAMES) if name != "b"]
        np.testing.assert_array_equal(points[:, 0, other], points[:, 1, other])
        assert np.unique(points[:, 0, other]).size == 5 * 6

    def test_directions_are_coordinates_about_the_origin(self):
        rng = np.random.default_rng(0)
        origin, *directions = (BOWL.unravel(rng.normal(size=7)) for _ in range(3))
        axes = {"direction[0]": Axis.of([0.0, 1.0, -2.0]), "direction[1]": Axis.of([0.0, 0.5])}
        points = start(bind(axes, origin=origin, directions=directions))
        for i, a in enumerate([0.0, 1.0, -2.0]):
            for j, b in enumerate([0.0, 0.5]):
                expected = BOWL.ravel(origin) + a * BOWL.ravel(directions[0]) + b * BOWL.ravel(directions[1])
                np.testing.assert_allclose(points[i, j], expected, rtol=1e-14, atol=1e-14)

    def test_directions_pass_through_params_by_default(self):
        points = start(bind({"direction[0]": Axis.of([0.0])}, directions=[BOWL.params]))
        np.testing.assert_array_equal(points[0], BOWL.ravel(BOWL.params))

    def test_a_plane_about_every_random_start(self):
        bound = bind({"start": Starts(3), "direction[0]": Axis.of([0.0, 2.0])}, directions=[BOWL.params])
        points = start(bound)
        offset = np.broadcast_to(2 * BOWL.ravel(BOWL.params), (3, 7))
        np.testing.assert_allclose(points[:, 1] - points[:, 0], offset, atol=1e-14)

    @examples
    @given(st.data())
    def test_bounds_hold_every_initial_point(self, data):
        names = data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
        value = st.floats(-5, 5)
        axes = {name: Axis.of(data.draw(st.lists(value, min_size=1, max_size=3, unique=True))) for name in names}
        if data.draw(st.booleans()):
            axes["start"] = Starts(4, scale=data.draw(st.floats(0, 3)))
        axes["direction[0]"] = Axis.of(data.draw(st.lists(value, min_size=1, max_size=3, unique=True)))
        direction = BOWL.unravel(np.array(data.draw(st.lists(value, min_size=7, max_size=7))))
        bound = bind(axes, directions=[direction])
        points, bounds = start(bound).reshape(-1, 7), bound.initial_bounds()
        assert np.all(bounds[:, 0] <= points.min(axis=0) + 1e-12)
        assert np.all(bounds[:, 1] >= points.max(axis=0) - 1e-12)
        assert np.all(bounds[:, 1] - bounds[:, 0] >= 2 - 1e-12)

    def test_bounds_are_no_wider_than_the_axes(self):
        bounds = bind({"b": Axis.linear(-3, 7, 5), "w[0]": Axis.of([1.0])}).initial_bounds()
        np.testing.assert_array_equal(bounds[NAMES.index("b")], [-3, 7])
        np.testing.assert_array_equal(bounds[NAMES.index("w[0]")], [0, 2])


class TestOrder:
    axes = st.permutations(["b", "w[0]", "start", "learning_rate", "momentum"]).flatmap(
        lambda names: st.integers(1, 5).map(lambda num: names[:num])
    )

    @examples
    @given(names=axes, sizes=st.lists(st.integers(1, 4), min_size=5, max_size=5))
    def test_to_grid_order_is_a_bijection_onto_the_coordinates(self, names, sizes):
        axes = {
            name: Starts(size) if name == "start" else Axis.linear(1, 2, size)
            for name, size in zip(names, sizes, strict=False)
        }
        bound = bind(axes, hyperparameters={"momentum": 0.9})
        size = bound.grid.size
        numbers = bound.to_grid_order(np.arange(size))
        assert numbers.shape == bound.grid.shape
        assert sorted(numbers.reshape(-1)) == list(range(size))
        points, hyper = bound.trajectories(0, size)
        columns = {name: points[:, NAMES.index(name)] for name in NAMES} | hyper
        for axis, (name, values) in enumerate(bound.grid.coordinates.items()):
            if name != "start":
                expected = values.reshape([-1 if i == axis else 1 for i in range(len(names))])
                found = bound.to_grid_order(columns[name])
                np.testing.assert_array_equal(found, np.broadcast_to(expected, bound.grid.shape))

    def test_the_order_of_work_keeps_a_learning_rate_together(self):
        bound = bind({"learning_rate": Axis.of([1.0, 2.0]), "b": Axis.of([3.0, 4.0, 5.0])})
        np.testing.assert_array_equal(bound.trajectories(0, 6)[1]["learning_rate"], [1, 1, 1, 2, 2, 2])
        other = bind({"b": Axis.of([3.0, 4.0, 5.0]), "learning_rate": Axis.of([1.0, 2.0])})
        np.testing.assert_array_equal(other.trajectories(0, 6)[1]["learning_rate"], [1, 1, 1, 2, 2, 2])

    def test_trailing_dimensions_stay_last(self):
        bound = bind({"b": Axis.of([3.0, 4.0, 5.0]), "learning_rate": Axis.of([1.0, 2.0])})
        points = bound.to_grid_order(bound.trajectories(0, 6)[0])
        assert points.shape == (3, 2, 7)
        np.testing.assert_array_equal(points[..., 0], [[3, 3], [4, 4], [5, 5]])

    def test_parts_are_slices_of_the_whole(self):
        bound = bind({"start": Starts(5), "learning_rate": Axis.of([1.0, 2.0])})
        whole, part, picked = bound.trajectories(0, 10), bound.trajectories(3, 7), bound.trajectories_at([8, 1])
        np.testing.assert_array_equal(whole[0][3:7], part[0])
        np.testing.assert_array_equal(whole[1]["learning_rate"][3:7], part[1]["learning_rate"])
        np.testing.assert_array_equal(whole[0][[8, 1]], picked[0])

    def test_hyperparameters_without_an_axis_have_their_default(self):
        bound = bind({"b": Axis.of([1.0, 2.0])}, hyperparameters={"momentum": 0.9})
        hyper = bound.trajectories(0, 2)[1]
        assert {name: column.tolist() for name, column in hyper.items()} == {
            "learning_rate": [0.1, 0.1],
            "momentum": [0.9, 0.9],
        }

    def test_initial_axes_leave_out_hyperparameters(self):
        bound = bind({"learning_rate": Axis.of([1.0]), "w[0]": Axis.of([1.0]), "start": Starts(2)})
        assert bound.initial_axes == ("w[0]", "start")


class TestRandomDirections:
    def test_unit_length(self):
        for direction in random_directions(BOWL, jax.random.key(0), num=3):
            assert np.linalg.norm(BOWL.ravel(direction)) == pytest.approx(1)
            assert jax.tree.structure(direction) == jax.tree.structure(BOWL.params)

    def test_filter_normalised_rows_have_the_norms_of_the_point(self):
        for direction in random_directions(BOWL, jax.random.key(0), filter_normalized=True):
            np.testing.assert_allclose(np.linalg.norm(direction["v"], axis=1), [5.0, 2.0])
            assert np.linalg.norm(direction["w"]) == pytest.approx(np.sqrt(2))
            assert abs(direction["b"]) == pytest.approx(0.5)
            # The direction is not the point itself.
            assert not np.allclose(direction["v"], BOWL.params["v"])

    def test_different_from_one_another_and_set_by_the_key(self):
        first, again, other = (random_directions(BOWL, jax.random.key(seed)) for seed in (0, 0, 1))
        np.testing.assert_array_equal(BOWL.ravel(first[0]), BOWL.ravel(again[0]))
        for direction in (first[1], other[0]):
            assert abs(BOWL.ravel(first[0]) @ BOWL.ravel(direction)) < 0.99

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"num": 0}, "num must be at least 1, not 0"),
            ({"num": 2.0}, "num must be a whole number"),
            ({"filter_normalized": "yes"}, "filter_normalized must be true or false, not 'yes'"),
        ],
    )
    def test_bad_fields_are_named(self, options, sentence):
        with pytest.raises(InputError, match=sentence):
            random_directions(BOWL, jax.random.key(0), **options)

    def test_filters_that_are_all_zero_have_no_directions(self):
        flat = Problem(name="flat", objective=BOWL.objective, params=jax.tree.map(np.zeros_like, BOWL.params))
        assert len(random_directions(flat, jax.random.key(0))) == 2
        with pytest.raises(InputError, match=r"filter_normalized needs params of flat that are not zero.*norm zero"):
            random_directions(flat, jax.random.key(0), filter_normalized=True)

    def test_only_a_problem_has_directions(self):
        with pytest.raises(InputError, match=r"problem must be a jaxloss.Problem, not 3"):
            random_directions(3, jax.random.key(0))

    def test_isotropic(self):
        directions = np.stack([BOWL.ravel(d) for d in random_directions(BOWL, jax.random.key(0), num=3000)])
        np.testing.assert_allclose(directions.T @ directions / 3000, np.eye(7) / 7, atol=0.015)


class TestPlaneThrough:
    def test_the_three_points_lie_at_the_corners(self):
        rng = np.random.default_rng(0)
        points = [BOWL.unravel(rng.normal(size=7)) for _ in range(3)]
        origin, directions = plane_through(*points)
        axes = {f"direction[{i}]": Axis.of([0.0, 1.0]) for i in (0, 1)}
        found = start(bind(axes, origin=origin, directions=directions))
        for corner, point in zip([(0, 0), (1, 0), (0, 1)], points, strict=True):
            np.testing.assert_allclose(found[corner], BOWL.ravel(point), atol=1e-14)

    @pytest.mark.parametrize(
        ("third", "sentence"),
        [
            (np.zeros(3), r"third must have the structure and shapes of the parameters, \(2,\), not \(3,\)"),
            ({"w": np.zeros(2)}, "third must have the structure"),
            (np.array([0.0, np.nan]), "third must be finite"),
        ],
    )
    def test_points_that_do_not_fit_are_named(self, third, sentence):
        with pytest.raises(InputError, match=sentence):
            plane_through(np.zeros(2), np.ones(2), third)


class TestParts:
    def test_starts_in_parts_are_the_starts(self, monkeypatch):
        monkeypatch.setattr(grids, "PART", 7)
        starts, key = Starts(23, scale=2.0), jax.random.key(3)
        draw = starts.draw(BOWL, key)
        assert draw.shape == (23, BOWL.num_parameters)
        assert len(np.unique(draw[:, 0])) == 23
        grid = Grid({"start": starts, "learning_rate": Axis.of([0.1, 0.2])})
        bound = BoundGrid(grid, BOWL, {"learning_rate": None}, key)
        numbers = np.array([22, 0, 13, 6, 7, 22 + 23])
        np.testing.assert_array_equal(bound.trajectories_at(numbers)[0], draw[numbers % 23])
        np.testing.assert_array_equal(bound.initial_points_at(np.arange(5, 23)), draw[5:])
        low, high = bound.initial_bounds().T
        assert np.all(low <= draw.min(axis=0))
        assert np.all(high >= draw.max(axis=0))

    def test_few_starts_are_one_draw(self):
        # What results of up to a million starts were drawn from.
        with jax.enable_x64(True):
            unit = jax.random.normal(jax.random.key(5), (9, BOWL.num_parameters), np.float64)
        np.testing.assert_array_equal(Starts(9).draw(BOWL, jax.random.key(5)), unit)
