import functools
import itertools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxloss import Problem, find_critical_points, load_problem, network_problem, neuron_problem
from jaxloss.critical_points.dead import is_dead
from jaxloss.critical_points.eigen import eigh, smallest
from jaxloss.critical_points.infinity import descending_limit
from jaxloss.critical_points.kinds import DEGENERATE, MAXIMUM, STRICT_MINIMUM, STRICT_SADDLE, kinds
from jaxloss.critical_points.locate import locate
from jaxloss.critical_points.marks import Marks, spread
from jaxloss.critical_points.polish import polish, spectrum
from jaxloss.critical_points.search import multi_starts
from jaxloss.critical_points.table import CAPTURE_RADIUS, LARGEST_CAPTURE_RADIUS, build_table, capture, empty_table
from jaxloss.errors import InputError

examples = settings(deadline=None, derandomize=True, max_examples=30)


# A problem that is loaded once compiles once.
load = functools.cache(load_problem)


def cube(problem, half_width):
    return {name: (-half_width, half_width) for name in problem.parameter_names}


def search(name, half_width, *, num_starts=None, method="multi-start", **options):
    problem = load(name, **options)
    return find_critical_points(problem, cube(problem, half_width), num_starts=num_starts, method=method)


def plain(objective, **params):
    return Problem(name="plain", objective=objective, params=params)


def table_of(problem, points):
    return build_table(problem, polish(problem, np.asarray(points, dtype=np.float64)))


SEPARABLE = {"inputs": [[-1.0], [1.0]], "targets": [0.0, 1.0]}


class TestPublishedCases:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_two_minima_binary(self, seed):
        problem = load("two-minima-binary")
        table = find_critical_points(problem, cube(problem, 3), num_starts=512, seed=seed, method="multi-start")
        minima = table.isel(critical_point=table.kind == STRICT_MINIMUM)
        np.testing.assert_allclose(minima.loss, [5.521490, 5.611999], atol=1e-6)
        location = minima.location.sel(parameter=["weight[0]", "weight[1]", "bias"])
        np.testing.assert_allclose(location, [(0.39386, -0.82821, 0.33293), (1.37387, -2.16138, 1.75903)], atol=1e-5)
        np.testing.assert_allclose(minima.eigenvalues[:, 0], [0.998, 0.0249], rtol=2e-3)
        # Between two minima lies a pass.
        assert table.kind.values.tolist() == [STRICT_MINIMUM, STRICT_MINIMUM, STRICT_SADDLE]

    def test_two_minima_binary_has_one_under_cross_entropy(self):
        table = search("two-minima-binary", 5, loss="cross_entropy")
        assert table.kind.values.tolist() == [STRICT_MINIMUM]
        location = table.location.sel(parameter=["weight[0]", "weight[1]", "bias"])[0]
        np.testing.assert_allclose(location, [0.27763, -0.79257, 0.18126], atol=1e-5)

    def test_auer_figure_3a(self):
        table = search("auer-fig3a", 3)
        assert table.kind.values.tolist() == [STRICT_MINIMUM, STRICT_MINIMUM, MAXIMUM]
        np.testing.assert_allclose(table.location[:, 0], [0.012925, -1.569397, -0.530716], atol=1e-6)
        np.testing.assert_allclose(table.loss[:2], [0.063950, 0.302500], atol=1e-6)

    def test_auer_figure_3a_has_one_under_cross_entropy(self):
        table = search("auer-fig3a", 10, loss="cross_entropy")
        assert table.kind.values.tolist() == [STRICT_MINIMUM]
        np.testing.assert_allclose(table.location[0], [0.0129546], atol=1e-7)

    def test_separable_but_stuck(self):
        problem = load("separable-but-stuck")
        table = find_critical_points(problem, cube(problem, 3))
        assert table.kind.values.tolist() == [STRICT_MINIMUM]
        np.testing.assert_allclose(table.location[0], [0.70089, 0.84367], atol=1e-5)
        assert (problem.data[0] @ table.location.values[0]).min() == pytest.approx(-0.279, abs=5e-4)

    def test_cubic_map(self):
        table = search("cubic-map", 3)
        np.testing.assert_allclose(table.location[:, 0], [-1, 1, 0], atol=1e-12)
        np.testing.assert_allclose(table.loss, [-0.25, -0.25, 0], atol=1e-14)
        np.testing.assert_allclose(table.eigenvalues[:, 0], [2, 2, -1], rtol=1e-12)

    @pytest.mark.parametrize(("sharpness", "condition"), [(1.0, 10.0), (50.0, 3.0)])
    def test_quadratic(self, sharpness, condition):
        table = search("quadratic", 5, sharpness=sharpness, condition=condition)
        assert table.kind.values.tolist() == [STRICT_MINIMUM]
        np.testing.assert_allclose(table.location, [[0, 0]], atol=1e-12)
        np.testing.assert_allclose(table.eigenvalues, [[sharpness / condition, sharpness]])


class TestFindCriticalPoints:
    def test_what_it_returns(self):
        table = search("cubic-map", 3)
        assert {"location", "loss", "kind", "eigenvalues", "certified"} <= set(table.data_vars)
        assert table.location.dims == ("critical_point", "parameter")
        assert table.parameter.values.tolist() == ["x"]
        # Many starts prove nothing.
        assert table.attrs["complete"] is False
        assert "many starts" in table.attrs["why_incomplete"]
        assert not table.certified.any()

    @pytest.mark.parametrize(
        ("box", "found"), [((-3, -0.5), [-1]), ((0.5, 3), [1]), ((-0.5, 0.5), [0]), ((1.5, 3), []), ((0.5, 0.9), [])]
    )
    def test_reports_the_box_alone(self, box, found):
        table = find_critical_points(load("cubic-map"), {"x": box})
        np.testing.assert_allclose(table.location[:, 0], found, atol=1e-12)

    def test_all_nine_of_a_double_double_well(self):
        # A product of wells has a critical point at each pair: 4 minima, 4 passes, 1 top.
        problem = plain(lambda p: sum(p[k] ** 4 / 4 - p[k] ** 2 / 2 for k in "xy"), x=0.0, y=0.0)
        table = find_critical_points(problem, cube(problem, 2))
        found = {
            tuple(np.round(point, 9) + 0.0): kind
            for point, kind in zip(table.location.values, table.kind.values, strict=True)
        }
        expected = {
            pair: {0: STRICT_MINIMUM, 1: STRICT_SADDLE, 2: MAXIMUM}[pair.count(0)]
            for pair in itertools.product((-1, 0, 1), repeat=2)
        }
        assert found == expected
        assert np.all(np.diff(table.loss) >= -1e-12)

    def test_finds_none_where_there_is_none(self):
        problem = plain(lambda p: p["x"] + 0.1 * jnp.sin(p["x"]), x=0.0)
        assert find_critical_points(problem, {"x": (-9, 9)}).sizes["critical_point"] == 0

    def test_known_points_seed_the_search(self):
        # A needle that no other start can see.
        def needle(params):
            return params["x"] - 2 * jnp.exp(-(((params["x"] - 0.12345) / 1e-4) ** 2))

        for known, num in (((), 0), (({"x": np.asarray(0.12345)},), 1)):
            problem = Problem(name="needle", objective=needle, params={"x": 0.0}, critical_points=known)
            table = find_critical_points(problem, {"x": (-9, 9)}, num_starts=4, method="multi-start")
            assert table.sizes["critical_point"] == num
        # A complete search needs no hint.
        table = find_critical_points(problem, {"x": (-9, 9)})
        assert table.kind.values.tolist() == [STRICT_MINIMUM, MAXIMUM]
        assert table.attrs["complete"] is True

    def test_same_seed_same_table(self):
        first, again = (search("auer-fig3a", 3) for _ in range(2))
        np.testing.assert_array_equal(first.location, again.location)

    @pytest.mark.parametrize("num_starts", [1, 5, 64])
    def test_starts_fill_the_box(self, num_starts):
        problem, bounds = load("quadratic"), np.array([[-1.0, 3.0], [10.0, 11.0]])
        starts = multi_starts(problem, bounds, num_starts=num_starts, seed=0)
        sobol, known = starts[:num_starts], starts[num_starts:]
        assert np.all((bounds[:, 0] <= sobol) & (sobol <= bounds[:, 1]))
        np.testing.assert_array_equal(known, [[0.0, 0.0]])
        if num_starts == 64:
            # Every third start is spread over the whole box, the others gather about its point nearest the origin.
            np.testing.assert_allclose(sobol[::3].mean(axis=0), bounds.mean(axis=1), atol=0.25)
            np.testing.assert_allclose(sobol[1::3].mean(axis=0), [0.25, 10.125], atol=0.1)

    @pytest.mark.parametrize(
        ("box", "options", "sentence"),
        [
            ({"weight[0]": (-1, 1)}, {}, "box: parameter 'bias' is missing"),
            ({"weight[0]": (-1, 1), "bias": (1, -1)}, {}, "box: 'bias' must have finite low < high"),
            ({"weight[0]": (-1, 1), "bias": (1, 1)}, {}, "box: 'bias' must have finite low < high"),
            ({"weight[0]": (-1, np.inf), "bias": (0, 1)}, {}, r"box: 'weight\[0\]' must have finite low < high"),
            ({"weight[0]": 3, "bias": (0, 1)}, {}, r"box: 'weight\[0\]' must be \(low, high\), not 3"),
            ({"weight[0]": (0, 1, 2), "bias": (0, 1)}, {}, r"box: 'weight\[0\]' must be \(low, high\)"),
            ({"weight[0]": (0, 1), "bia": (0, 1)}, {}, "parameter in the box: 'bia': did you mean 'bias'"),
            ({"weight[0]": (0, 1), "bias": (0, 1)}, {"num_starts": 0}, "num_starts must be at least 1, not 0"),
        ],
    )
    def test_bad_boxes_are_named(self, box, options, sentence):
        with pytest.raises(InputError, match=sentence):
            find_critical_points(neuron_problem("sigmoid", "mse", **SEPARABLE), box, **options)

    def test_too_many_parameters_are_named(self):
        problem = plain(lambda p: p["x"] @ p["x"], x=np.zeros(300))
        with pytest.raises(InputError, match="300 parameters"):
            find_critical_points(problem, cube(problem, 1))


class TestKinds:
    @pytest.mark.parametrize(
        ("eigenvalues", "kind"),
        [
            ([1e-3, 5.0], STRICT_MINIMUM),
            ([-1e-3, 5.0], STRICT_SADDLE),
            ([-5.0, 1e-3], STRICT_SADDLE),
            ([-5.0, -1e-3], MAXIMUM),
            ([0.0, 5.0], DEGENERATE),
            ([-1e-12, 5.0], DEGENERATE),
            ([1e-12, 5.0], DEGENERATE),
            ([-5.0, 0.0], STRICT_SADDLE),
            ([0.0, 0.0], DEGENERATE),
        ],
    )
    def test_from_the_signs(self, eigenvalues, kind):
        assert kinds(np.array([eigenvalues])).tolist() == [kind]

    @examples
    @given(
        eigenvalues=st.lists(st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=4),
        scale=st.floats(1e-6, 1e6),
    )
    def test_units_do_not_matter(self, eigenvalues, scale):
        plain, scaled = kinds(np.array([eigenvalues]))[0], kinds(scale * np.array([eigenvalues]))[0]
        assert plain == scaled
        assert plain == {0: STRICT_MINIMUM, len(eigenvalues): MAXIMUM}.get(
            sum(x < 0 for x in eigenvalues), STRICT_SADDLE
        )


class TestSmallMatrices:
    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_agree_with_lapack_to_rounding(self, n):
        rng = np.random.default_rng(n)
        matrices = rng.normal(size=(2000, n, n)) * 10.0 ** rng.uniform(-150, 150, (2000, 1, 1))
        matrices[:500] *= 10.0 ** rng.uniform(-8, 0, (500, n, 1))
        matrices[500:503] = np.zeros((n, n)), np.eye(n), np.ones((n, n))
        matrices = matrices + matrices.transpose(0, 2, 1)
        with jax.enable_x64(True):
            values, vectors = jax.tree.map(np.asarray, jax.jit(jax.vmap(eigh))(matrices))
        size = np.abs(matrices).max((1, 2), initial=1e-300)[:, None]
        np.testing.assert_allclose(values / size, np.linalg.eigvalsh(matrices) / size, atol=1e-14)
        np.testing.assert_allclose(
            np.swapaxes(vectors, 1, 2) @ vectors, np.broadcast_to(np.eye(n), matrices.shape), atol=1e-14
        )
        scaled = matrices / size[..., None]
        np.testing.assert_allclose(scaled @ vectors, vectors * (values / size)[:, None], atol=1e-14)

    def test_not_a_number_stays_one(self):
        assert np.isnan(eigh(jnp.full((2, 2), np.nan))[0]).all()

    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_the_first_of_the_smallest_is_chosen(self, n):
        columns = jnp.arange(n * n, dtype=float).reshape(n, n)
        for sizes in itertools.product([1.0, 2.0], repeat=n):
            found = smallest(jnp.array(sizes), columns)
            np.testing.assert_array_equal(found, columns[:, int(np.argmin(sizes))])


class TestPolish:
    @examples
    @given(
        x=st.floats(-2, 2).filter(
            lambda x: min(abs(x - r) for r in (0.5**0.5, -(0.5**0.5), 3**-0.5, -(3**-0.5))) > 0.02
        )
    )
    def test_what_converges_is_a_root(self, x):
        found = polish(load("cubic-map"), np.array([[x]]))
        if found.converged[0]:
            root = found.location[0, 0]
            assert min(abs(root - r) for r in (-1, 0, 1)) < 1e-12
            assert found.spectrum.gradient_norm[0] < 1e-12

    def test_from_float32_onto_the_point_in_float64(self):
        problem = load("separable-but-stuck")
        found = polish(problem, np.array([[0.7009, 0.8437]]))
        assert found.converged[0]
        assert found.spectrum.gradient_norm[0] < 1e-12
        assert np.abs(found.location[0] - [0.7009, 0.8437]).max() < 1e-4

    def test_spectrum_of_a_known_hessian(self):
        problem = plain(lambda p: 3 * p["x"] ** 2 + 4 * p["x"] * p["y"], x=0.0, y=0.0)
        found = spectrum(problem, np.array([[1.0, 2.0]]))
        assert found.loss[0] == pytest.approx(11)
        assert found.gradient_norm[0] == pytest.approx(np.hypot(14, 4))
        np.testing.assert_allclose(found.eigenvalues[0], [-2, 8])
        # Newton's step on a quadratic leads to its critical point, the origin.
        assert found.newton_step[0] == pytest.approx(np.sqrt(5))

    def test_any_number_of_points(self):
        problem = load("cubic-map")
        assert polish(problem, np.zeros((0, 1))).location.shape == (0, 1)
        assert spectrum(problem, np.zeros((0, 1))).loss.shape == (0,)

    def test_precision_is_float64_whatever_ran_before(self):
        problem = load("auer-fig3a")
        jax.jit(problem.objective)({"weight": jnp.zeros(1)})
        found = polish(problem, np.array([[-1.5694]], np.float32))
        assert found.location.dtype == np.float64
        assert found.spectrum.gradient_norm[0] < 1e-13

    def test_degenerate_minimum_is_found(self):
        problem = plain(lambda p: (p["x"] + p["y"]) ** 2, x=0.0, y=0.0)
        found = polish(problem, np.array([[1.0, 0.5]]))
        assert found.converged[0]
        assert found.spectrum.degenerate[0]
        assert abs(found.location[0].sum()) < 1e-9


class TestSaturation:
    """Where a neuron saturates the gradient vanishes, and there is no critical point all the same."""

    @pytest.mark.parametrize(("loss", "half_width"), [("mse", 10), ("cross_entropy", 10), ("cross_entropy", 200)])
    def test_separable_samples_have_no_critical_point(self, loss, half_width):
        problem = neuron_problem("sigmoid", loss, **SEPARABLE)
        assert find_critical_points(problem, cube(problem, half_width)).sizes["critical_point"] == 0

    def test_a_slope_that_levels_off(self):
        problem = plain(lambda p: jax.nn.sigmoid(p["x"]), x=0.0)
        points = np.array([[-18.0], [-5.0], [0.0], [5.0], [18.0]])
        assert not polish(problem, points).converged.any()

    def test_newton_leads_nowhere_on_it(self):
        # On an exponential tail the step has length 1, wherever it starts.
        problem = plain(lambda p: jnp.exp(-p["x"]), x=0.0)
        np.testing.assert_allclose(spectrum(problem, np.array([[3.0], [15.0]])).newton_step, 1, rtol=1e-6)


@functools.cache
def two_hidden_units():
    """A network with two hidden units, and the strict minimum at the one that taught it."""
    inputs = np.array([[-2.0], [-1.2], [-0.3], [0.4], [1.1], [2.3]])
    teacher = np.array([2.0, 0.5, 1.0, -0.8])
    targets = np.tanh(inputs * teacher[:2]) @ teacher[2:]
    problem = network_problem((1, 2, 1), ("tanh", "identity"), "mse", inputs, targets, bias=False)
    found = polish(problem, teacher[None] + 1e-4)
    assert found.converged[0]
    assert kinds(found.spectrum.eigenvalues)[0] == STRICT_MINIMUM
    return problem, found.location[0]


def copies_of(problem, point):
    """All eight: both orders of the hidden units, and both signs of each."""
    params = problem.unravel(point)
    first, second = params["layer_0"]["weight"], params["layer_1"]["weight"]
    copies = []
    for order, *sign in itertools.product(([0, 1], [1, 0]), (1.0, -1.0), (1.0, -1.0)):
        inner, outer = first[order] * np.array(sign)[:, None], second[:, order] * np.array(sign)
        copies.append(problem.ravel({"layer_0": {"weight": inner}, "layer_1": {"weight": outer}}))
    return np.array(copies)


class TestSymmetricCopies:
    def test_count_as_one_critical_point(self):
        problem, point = two_hidden_units()
        copies = copies_of(problem, point)
        assert len(np.unique(copies.round(6), axis=0)) == 8
        table = table_of(problem, copies)
        assert len(table.loss) == 1
        assert len(table.copies) == 8
        assert set(table.copy_of) == {0}

    def test_each_copy_captures_for_the_one(self):
        problem, point = two_hidden_units()
        copies = copies_of(problem, point)
        table = table_of(problem, copies)
        assert capture(table, copies + 1e-6, 1e-6).tolist() == [0] * 8

    def test_without_outputs_they_stay_apart(self):
        problem, point = two_hidden_units()
        bare = Problem(name="bare", batch_objective=problem.batch_objective, params=problem.params, data=problem.data)
        assert len(table_of(bare, copies_of(problem, point)).loss) == 8

    def test_different_minima_of_equal_loss_stay_apart(self):
        # The two wells are no symmetry of a model: their outputs differ.
        problem = Problem(
            name="wells",
            batch_objective=lambda p, data: p["x"] ** 4 / 4 - p["x"] ** 2 / 2,
            outputs=lambda p, data: p["x"][None],
            params={"x": 0.0},
        )
        assert len(table_of(problem, [[-0.9], [0.9]]).loss) == 2


class TestTable:
    def test_in_order_of_the_loss_and_without_what_did_not_converge(self):
        problem = plain(lambda p: (p["x"] ** 2 - 1) ** 2 + 0.3 * p["x"], x=0.0)
        table = table_of(problem, [[1.0], [-1.0], [0.0], [1.01], [-0.99]])
        assert len(table.loss) == 3
        assert np.all(np.diff(table.loss) > 0)
        assert table.location[0, 0] < -0.9 < 0.9 < table.location[1, 0]
        nothing = polish(problem, np.array([[1.0]]))._replace(converged=np.array([False]))
        assert len(build_table(problem, nothing).loss) == 0

    def test_a_manifold_of_minima_is_one_entry_for_each_level(self):
        problem = plain(lambda p: (p["x"] * p["y"] - 1) ** 2, x=0.0, y=0.0)
        points = [[t, 1 / t] for t in (0.5, 0.8, 1.3, 2.0)]
        table = table_of(problem, points)
        assert table.kind.tolist() == [DEGENERATE]
        assert len(table.copies) == 4

    def test_empty(self):
        table = empty_table(3)
        assert table.location.shape == table.copies.shape == (0, 3)
        assert capture(table, np.zeros((2, 3)), 1e-6).tolist() == [-1, -1]


class TestCaptureRadius:
    @staticmethod
    def offsets(table, points, gradient_tolerance=1e-6):
        return capture(table, np.asarray(points, dtype=np.float64)[:, None], gradient_tolerance).tolist()

    def test_is_relative_to_one_plus_the_size(self):
        table = table_of(load("cubic-map"), [[1.0], [0.0]])
        inside, outside = 0.99 * CAPTURE_RADIUS, 1.01 * CAPTURE_RADIUS
        assert table.kind.tolist() == [STRICT_MINIMUM, MAXIMUM]
        found = self.offsets(table, [1 + 2 * inside, 1 - 2 * inside, 1 + 2 * outside, inside, outside, -outside])
        assert found == [0, 0, -1, 1, -1, -1]

    @pytest.mark.parametrize("tolerance", [1e-4, 1e-3])
    def test_grows_with_what_the_tolerance_leaves_open(self, tolerance):
        # At a minimum of curvature c a gradient within tolerance is a distance of tolerance / c.
        curvature = 0.5
        table = table_of(plain(lambda p: curvature / 2 * p["x"] ** 2, x=0.0), [[0.1]])
        radius = 10 * tolerance / curvature
        assert self.offsets(table, [0.99 * radius, 1.01 * radius], tolerance) == [0, -1]

    def test_is_never_larger_than_its_bound(self):
        table = table_of(plain(lambda p: 1e-6 * p["x"] ** 2, x=0.0), [[0.1]])
        inside, outside = 0.99 * LARGEST_CAPTURE_RADIUS, 1.01 * LARGEST_CAPTURE_RADIUS
        assert self.offsets(table, [inside, outside], 1e-2) == [0, -1]

    def test_saddles_and_maxima_capture_no_farther(self):
        table = table_of(plain(lambda p: -0.5 * p["x"] ** 2, x=0.0), [[0.1]])
        assert self.offsets(table, [2 * CAPTURE_RADIUS], 1.0) == [-1]

    def test_what_is_not_finite_is_not_captured(self):
        table = table_of(load("quadratic"), [[0.1, 0.1]])
        points = np.array([[np.nan, 0.0], [0.0, np.inf], [0.0, 0.0]])
        assert capture(table, points, 1e-6).tolist() == [-1, -1, 0]


class TestLocate:
    def test_end_points_know_their_critical_point(self):
        problem = load("auer-fig3a")
        ends = np.array([[0.012925], [-1.569397], [-0.530716], [2.0], [-1.56940]])
        table, _ = locate(problem, np.array([[-3.0, 3.0]]), [ends], gradient_tolerance=1e-6, seed=0)
        captured = capture(table, ends, 1e-6)
        assert [table.kind[i] if i >= 0 else "none" for i in captured] == [
            *(STRICT_MINIMUM, STRICT_MINIMUM, MAXIMUM, "none", STRICT_MINIMUM)
        ]
        assert captured[1] == captured[4] != captured[0]

    def test_an_end_point_far_from_the_box_joins_the_table(self):
        problem = plain(lambda p: 1 - jnp.cos(p["x"]), x=0.0)
        ends = np.array([[2 * np.pi * 50 + 1e-6]])
        table, _ = locate(problem, np.array([[-1.0, 1.0]]), [ends], gradient_tolerance=1e-5, seed=0)
        captured = capture(table, ends, 1e-5)
        assert table.location[captured[0], 0] == pytest.approx(100 * np.pi, abs=1e-9)

    def test_no_end_point(self):
        problem = load("cubic-map")
        table, _ = locate(problem, np.array([[-2.0, 2.0]]), [np.zeros((0, 1))], gradient_tolerance=1e-6, seed=0)
        assert len(table.loss) == 3

    @examples
    @given(length=st.integers(0, 50), num=st.integers(1, 60))
    def test_spread_is_an_even_sample(self, length, num):
        found = spread(np.arange(length), num)
        assert len(found) == min(length, num)
        assert len(set(found)) == len(found)
        if len(found) > 1:
            assert (found[0], found[-1]) == (0, length - 1)
            assert np.ptp(np.diff(found)) <= 1

    @examples
    @given(sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6), num=st.integers(1, 60))
    def test_a_sample_does_not_depend_on_the_parts(self, sizes, num):
        # Every third row is chosen, of parts of three times these sizes.
        chosen = np.arange(3 * sum(sizes)) % 3 == 1
        ends = 3 * np.cumsum(sizes)
        marks = Marks(np.split(chosen, ends[:-1]))
        assert marks.total == sum(sizes)
        found = [first + rows for first, rows in zip([0, *ends], marks.spread(num), strict=False)]
        assert np.concatenate(found).tolist() == spread(np.flatnonzero(chosen), num).tolist()


class TestDead:
    @examples
    @given(weight=st.floats(-3, 3), bias=st.floats(-3, 3))
    def test_single_relu_is_dead_iff_no_sample_activates(self, weight, bias):
        problem = load("single-relu")
        margin = bias + abs(weight)  # the larger of the two preactivations, on x = -1 and 1
        # Within the capture radius of the border either answer will do.
        if abs(margin) > 1e-3:
            point = problem.ravel({"weight": np.array([weight]), "bias": np.array(bias)})
            assert is_dead(problem, point[None]).tolist() == [margin < 0]

    def test_one_active_sample_at_the_right_value_is_not_dead(self):
        # The gradient is exactly zero at the solution, but not around it.
        problem = load("single-relu")
        solution = problem.ravel({"weight": np.array([1.0]), "bias": np.array(0.0)})
        assert is_dead(problem, solution[None]).tolist() == [False]

    def test_the_border_counts_where_descent_can_only_creep_up_to_it(self):
        problem = load("single-relu")
        # On x = 1 the preactivation is positive, but by less than the capture radius; on x = -1 it is not.
        creeping = problem.ravel({"weight": np.array([-2.0]), "bias": np.array(-2.0 + 1e-6)})
        assert is_dead(problem, creeping[None]).tolist() == [True]

    def test_a_point_where_the_gradient_only_underflows_is_not(self):
        problem = neuron_problem("tanh", "mse", [[1.0]], [0.5])
        assert is_dead(problem, np.array([[500.0, 500.0]])).tolist() == [False]

    def test_leaky_units_do_not_die(self):
        problem = neuron_problem("leaky_relu", "mse", **SEPARABLE)
        assert is_dead(problem, np.array([[-2.0, 1.0]])).tolist() == [False]

    def test_a_hidden_layer_dies_as_a_whole(self):
        problem = network_problem((1, 2, 1), ("relu", "identity"), "mse", [[1.0], [2.0]], [0.0, 1.0], bias=False)
        # Weights of the two hidden units, then of the output.
        points = np.array([[-1.0, -2.0, 1.0, 1.0], [-1.0, 2.0, 1.0, 1.0]])
        assert is_dead(problem, points).tolist() == [True, False]

    def test_an_output_bias_learns_on(self):
        problem = network_problem((1, 2, 1), ("relu", "identity"), "mse", [[1.0], [2.0]], [0.0, 1.0])
        params = problem.unravel(np.zeros(problem.num_parameters))
        params["layer_0"]["bias"] = np.array([-5.0, -5.0])
        assert is_dead(problem, problem.ravel(params)[None]).tolist() == [False]

    def test_no_point(self):
        assert is_dead(load("single-relu"), np.zeros((0, 2))).shape == (0,)


class TestDescendingRays:
    def limit(self, problem, point, midpoint=None):
        point = np.asarray(point, dtype=np.float64)
        midpoint = point if midpoint is None else np.asarray(midpoint, dtype=np.float64)
        return descending_limit(problem, point[None], midpoint[None])[0]

    def test_separating_weights_send_cross_entropy_to_zero(self):
        problem = neuron_problem("sigmoid", "cross_entropy", **SEPARABLE)
        assert self.limit(problem, [0.1, 2.0]) == pytest.approx(0, abs=1e-12)

    def test_drift_and_gradient_count_where_the_point_itself_does_not_separate(self):
        # Only the first coordinate separates, the second has its optimum at 1: scaling both never ends well.
        problem = plain(lambda p: jax.nn.softplus(-p["x"]) + (p["y"] - 1) ** 2, x=0.0, y=0.0)
        assert self.limit(problem, [3.0, 1.1]) == np.inf
        assert self.limit(problem, [3.0, 1.0]) == pytest.approx(0, abs=1e-12)
        assert self.limit(problem, [3.0, 1.1], [2.0, 1.1]) == pytest.approx(0.01, abs=1e-12)

    def test_overlapping_samples_have_none(self):
        problem = neuron_problem("sigmoid", "cross_entropy", [[-1.0], [0.0], [1.0]], [1.0, 0.0, 1.0])
        points = np.random.default_rng(0).normal(size=(50, 2)) * 3
        assert np.all(descending_limit(problem, points, 0.9 * points) == np.inf)

    def test_squared_error_falls_to_zero_where_every_sample_saturates_at_its_target(self):
        problem = neuron_problem("sigmoid", "mse", [[1.0], [2.0]], [1.0, 1.0], bias=False)
        assert self.limit(problem, [9.0]) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("weight", [-9.0, 9.0])
    def test_a_loss_that_rises_to_its_limit_has_none(self, weight):
        assert self.limit(load("auer-fig3a"), [weight]) == np.inf

    def test_a_limit_above_the_infimum_is_told(self):
        # One half of the samples saturates where it should, the other where it should not.
        def objective(params):
            return jnp.mean((jax.nn.sigmoid(jnp.array([1.0, 4.0]) * params["w"]) - jnp.array([1.0, 0.5])) ** 2)

        assert self.limit(plain(objective, w=0.0), [4.0]) == pytest.approx(0.125, abs=1e-9)

    def test_bowls_and_level_ground_have_none(self):
        assert self.limit(load("quadratic"), [1.0, 2.0], [3.0, -1.0]) == np.inf
        assert self.limit(plain(lambda p: 0 * p["x"], x=0.0), [1.0], [0.0]) == np.inf

    def test_a_hill_on_the_way_makes_it_no_ray(self):
        problem = plain(lambda p: jnp.exp(-((p["x"] - 50) ** 2)) - jax.nn.sigmoid(p["x"]), x=0.0)
        points = np.linspace(45, 49, 9)[:, None]
        assert np.all(descending_limit(problem, points, points) == np.inf)

    def test_no_point(self):
        assert descending_limit(load("quadratic"), np.zeros((0, 2)), np.zeros((0, 2))).shape == (0,)


class TestPointsThatNearlyCoincide:
    """What is proven to be two is never counted as one, however near."""

    @pytest.mark.parametrize(("num", "minima", "maxima"), [(6, 6, 5), (8, 8, 7)])
    def test_minima_and_maxima_alternate_down_to_the_smallest_scale(self, num, minima, maxima):
        table = find_critical_points(load_problem("auer-exponential", n=num, d=1), {"weight[0]": (-2, 2)})
        order = np.argsort(table.location.values[:, 0])
        kinds = table.kind.values[order].tolist()
        assert table.attrs["complete"]
        assert kinds == (["strict minimum", "maximum"] * num)[:-1]
        assert (kinds.count("strict minimum"), kinds.count("maximum")) == (minima, maxima)
        # The two lowest are nearer than the distance at which uncertain points are taken for one.
        assert np.diff(table.location.values[order, 0]).min() < 2e-6

    def test_a_product_of_two_axes_has_the_product_of_their_points(self):
        box = {"weight[0]": (-2, 2), "weight[1]": (-2, 2)}
        table = find_critical_points(load_problem("auer-exponential", n=12, d=2), box)
        count = {kind: int(np.sum(table.kind.values == kind)) for kind in np.unique(table.kind.values)}
        assert count == {"strict minimum": 36, "strict saddle": 60, "maximum": 25}
        assert table.attrs["complete"]
        assert table.certified.values.all()

    def test_a_point_found_twice_is_one(self):
        problem = load_problem("cubic-map")
        found = polish(problem, np.array([[1.0 + 1e-9], [-1.0], [1.0], [0.1]]))
        boxes = np.array([[[1 - 1e-8, 1 + 1e-8]], [[-1 - 1e-8, -1 + 1e-8]], [[1 - 1e-8, 1 + 1e-8]]])
        with jax.enable_x64(True):
            assert len(build_table(problem, found, boxes).loss) == 3
            apart = boxes + np.array([0.0, 0.0, 1e-7])[:, None, None]
            assert len(build_table(problem, found, apart).loss) == 4
