"""Points of boundaries that are known in closed form, or certified."""

import numpy as np
import pytest

from jaxloss import InputError, find_critical_points, load_problem
from jaxloss.basins.boundary import bisect, minimal_shock, track_edge
from jaxloss.labellers import labeller
from jaxloss.problems.maps import MAPS, Map

# Squaring complex numbers has the unit circle as its boundary; here seen through a linear map that makes it an
# ellipse with semi-axes 2 and 1.3, turned by half a radian.
SEMI_AXES, TURN = (2.0, 1.3), 0.5
TO_DISC = np.array([[np.cos(TURN), np.sin(TURN)], [-np.sin(TURN), np.cos(TURN)]]) / np.array(SEMI_AXES)[:, None]
FROM_DISC = np.linalg.inv(TO_DISC)


def squared(state):
    a, b = (row[0] * state["x"] + row[1] * state["y"] for row in TO_DISC.tolist())
    a, b = a * a - b * b, 2 * a * b
    x, y = (row[0] * a + row[1] * b for row in FROM_DISC.tolist())
    return {"x": x, "y": y}


def double_well_with_drift(state):
    """Minima (-1, .), (1, .); the boundary is x = 0, and on it y -> y / 2: a saddle at the origin."""
    x, y = state["x"], state["y"]
    return {"x": x - 0.5 * (x**3 - x), "y": 0.5 * y + x * x}


ELLIPSE = Map(squared, {"x": 0.0, "y": 0.0}, name="ellipse")
DRIFT = Map(double_well_with_drift, {"x": 0.0, "y": 0.0}, name="drift")


def half_plane(points):
    return (points[:, 0] > 0.25).astype(int)


class TestLabeller:
    def test_labels_keep_their_meaning(self):
        label = labeller(MAPS["cubic-map"]())
        assert label(np.array([[0.5]])).tolist() == [0]
        assert label(np.array([[-0.5], [0.7], [9.0], [0.0]])).tolist() == [1, 0, 2, -1]
        assert label(np.array([[9.0]])).tolist() == [2]
        np.testing.assert_allclose(label.attractors[1].location, [-1], atol=1e-9)

    def test_of_a_problem(self):
        problem = load_problem("two-minima-binary")
        label = labeller(problem, learning_rate=0.3, num_steps=20_000)
        minima = np.array([problem.ravel(point) for point in problem.critical_points[:2]])
        rng = np.random.default_rng(0)
        assert label(minima[::-1]).tolist() == [0, 1]
        near = minima[:, None] + 0.01 * rng.normal(size=(2, 5, 3))
        assert label(near.reshape(10, 3)).tolist() == [1] * 5 + [0] * 5
        for attractor, minimum in zip(label.attractors, minima[::-1], strict=True):
            np.testing.assert_allclose(attractor.location, minimum, atol=1e-8)

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"learning_rat": 0.1}, "learning_rate"),
            ({"learning_rate": 0.1, "box": {"z": (0, 1)}}, "box"),
            ({"learning_rate": 0.1, "box": {"x": (1, 0)}}, "box: x"),
            ({}, "learning_rate"),
        ],
    )
    def test_bad_input_names_the_field(self, options, field):
        with pytest.raises(InputError, match=field):
            labeller(load_problem("cubic-map"), **options)
        with pytest.raises(InputError, match="problem"):
            labeller("cubic-map")


class TestBisect:
    def test_many_pairs_at_once(self):
        rng = np.random.default_rng(0)
        angles = rng.uniform(0, 2 * np.pi, 500)
        far = 9 * np.column_stack([np.cos(angles), np.sin(angles)])
        found = bisect(labeller(ELLIPSE), np.zeros_like(far), far, tolerance=1e-10)
        assert set(found.reason) == {""}
        assert (found.width <= 1e-10 * 4).all()
        np.testing.assert_allclose(np.linalg.norm(found.point @ TO_DISC.T, axis=1), 1, atol=1e-9)
        assert (np.linalg.norm(found.inside @ TO_DISC.T, axis=1) < 1 + 1e-15).all()

    def test_the_double_well(self):
        """The learning rate is .5: 0 and its preimages +-sqrt(3) are boundaries; beyond sqrt(5) orbits diverge."""
        label = labeller(MAPS["cubic-map"]())
        found = bisect(label, [[0.5], [1.0]], [[-0.9], [1.8]])
        np.testing.assert_allclose(found.point[:, 0], [0, np.sqrt(3)], atol=1e-8)
        away = label(np.array([[9.0]]))
        found = bisect(lambda points: (label(points) == away).astype(int), [[1.0]], [[3.0]])
        assert found.point[0, 0] == pytest.approx(np.sqrt(5), abs=1e-8)

    def test_ends_with_the_digits(self):
        found = bisect(half_plane, [[0.0]], [[1.0]], tolerance=1e-300)
        assert found.inside[0, 0] == 0.25
        assert found.outside[0, 0] == np.nextafter(0.25, 1)
        assert "float64" in found.reason[0]

    def test_undecided_starts_between_say_how_near(self):
        def label(points):
            return np.select([points[:, 0] < -0.1, points[:, 0] > 0.2], [0, 1], -1)

        found = bisect(label, [[-1.0]], [[1.0]])
        assert "no attractor" in found.reason[0]
        assert 0.3 <= found.width[0] < 0.31
        np.testing.assert_allclose([found.inside[0, 0], found.outside[0, 0]], [-0.1, 0.2], atol=0.01)

    def test_a_third_basin_in_between(self):
        found = bisect(lambda points: np.digitize(points[:, 0], [1, 2]), [[0.0]], [[3.0]])
        assert found.inside_label[0] == 0
        assert found.outside_label[0] == 1
        assert found.point[0, 0] == pytest.approx(1)

    def test_the_number_of_steps_is_bounded(self):
        found = bisect(half_plane, [[0.0]], [[1.0]], num_steps=1)
        assert "more than 1 steps" in found.reason[0]
        assert found.width[0] == pytest.approx(1 / 64)

    @pytest.mark.parametrize(
        ("inside", "outside", "options", "field"),
        [
            ([[0.5]], [[0.7]], {}, "different labels"),
            ([[0.5], [0.0]], [[-0.5], [-0.5]], {}, r"inside\[1\]"),
            ([[0.5]], [[0.0]], {}, r"outside\[0\]"),
            ([[0.5]], [[-0.5], [0.1]], {}, "shape"),
            ([[np.nan]], [[-0.5]], {}, "inside"),
            ([[0.5, 1.0]], [[-0.5, 1.0]], {}, "points"),
            ([[0.5]], [[-0.5]], {"tolerance": 0.0}, "tolerance"),
            ([[0.5]], [[-0.5]], {"num_steps": 0}, "num_steps"),
        ],
    )
    def test_bad_input_names_the_field(self, inside, outside, options, field):
        with pytest.raises(InputError, match=field):
            bisect(labeller(MAPS["cubic-map"]()), inside, outside, **options)

    def test_a_label_that_is_none(self):
        with pytest.raises(InputError, match="label"):
            bisect(lambda points: points[:, 0], [[0.0]], [[1.0]])


class TestTrackEdge:
    def test_lands_on_the_certified_saddle(self):
        problem = load_problem("two-minima-binary")
        table = find_critical_points(problem, box={name: (-5, 5) for name in problem.parameter_names})
        saddle = table.location.values[table.kind.values == "strict saddle"]
        assert table.certified.values[table.kind.values == "strict saddle"].all()
        minima = table.location.values[table.kind.values == "strict minimum"]
        label = labeller(problem, learning_rate=0.3, num_steps=30_000)
        other = minima[:1] + np.array([[0.1, -0.2, 0.3]])
        found = track_edge(label, np.concatenate([minima[:1], other]), np.concatenate([minima[1:2]] * 2))
        assert found.reason == ("", "")
        assert found.kind == ("strict saddle", "strict saddle")
        np.testing.assert_allclose(found.location, np.concatenate([saddle] * 2), atol=1e-9)
        assert (found.eigenvalues[:, 0] < 0).all()
        # Tracking did the work: bisection alone was not there yet.
        assert np.linalg.norm(found.track[0] - saddle, axis=1).min() > 0.01
        assert np.linalg.norm(found.edge - saddle, axis=1).max() < 1e-4

    def test_saddle_of_a_map(self):
        found = track_edge(labeller(DRIFT), [[0.4, 2.0], [1.0, 0.0]], [[-0.7, 1.0], [-1.0, -3.0]])
        assert found.kind == ("saddle", "saddle")
        np.testing.assert_allclose(found.location, 0, atol=1e-12)
        np.testing.assert_allclose(found.eigenvalues, [[0.5, 1.5]] * 2)

    def test_a_chaotic_edge_is_no_point(self):
        """On the ellipse the map doubles the angle."""
        found = track_edge(labeller(ELLIPSE), [[0.0, 0.0]], [[4.0, 3.3]], num_rounds=12)
        assert "still moves" in found.reason[0]
        assert np.isnan(found.location).all()
        assert found.kind == ("",)
        np.testing.assert_allclose(np.linalg.norm(found.track[:, 0] @ TO_DISC.T, axis=1), 1, atol=1e-6)

    def test_bad_input_names_the_field(self):
        label = labeller(load_problem("quadratic"), learning_rate=0.1, optimizer="momentum")
        with pytest.raises(InputError, match="optimizer"):
            track_edge(label, [[1.0, 1.0]], [[1.0, 2.0]])
        with pytest.raises(InputError, match="label"):
            track_edge(half_plane, [[0.0]], [[1.0]])
        with pytest.raises(InputError, match="separation"):
            track_edge(labeller(DRIFT), [[1.0, 0.0]], [[-1.0, 0.0]], separation=1e-9)
        with pytest.raises(InputError, match="different labels"):
            track_edge(labeller(DRIFT), [[1.0, 0.0]], [[0.5, 0.0]])


class TestMinimalShock:
    def test_of_the_double_well(self):
        """From a minimum at +-1 to the nearest boundary, +-sqrt(3): nearer than the maximum at 0."""
        found = minimal_shock(labeller(MAPS["cubic-map"]()), [[1.0], [-1.0]], 3.0)
        np.testing.assert_allclose(found.distance, np.sqrt(3) - 1, atol=1e-8)
        assert found.shock[:, 0].tolist() == [found.distance[0], -found.distance[1]]
        assert found.reached.tolist() == found.label.tolist()[::-1]
        np.testing.assert_allclose(np.sort(found.ray_distances[0]), [np.sqrt(3) - 1, 1], atol=1e-8)

    def test_of_gradient_descent(self):
        label = labeller(load_problem("cubic-map"), learning_rate=0.2)
        found = minimal_shock(label, [[1.0]], 3.0)
        # The preimages of 0 are +-sqrt(1 + 1 / rate), farther away than 0 itself.
        assert found.distance[0] == pytest.approx(1, abs=1e-8)
        assert found.shock[0, 0] < 0

    def test_of_an_ellipse(self):
        found = minimal_shock(labeller(ELLIPSE), [[0.0, 0.0], [0.3, 0.2]], 5.0)
        assert found.distance[0] == pytest.approx(1.3, abs=1e-7)
        short = FROM_DISC[:, 1] / np.linalg.norm(FROM_DISC[:, 1])
        assert abs(found.shock[0] @ short) == pytest.approx(1.3, abs=1e-6)
        # From elsewhere inside: the nearest point of a fine polygon of the ellipse.
        angles = np.linspace(0, 2 * np.pi, 2_000_001)
        border = np.column_stack([np.cos(angles), np.sin(angles)]) @ FROM_DISC.T
        nearest = np.linalg.norm(border - [0.3, 0.2], axis=1).min()
        assert found.distance[1] == pytest.approx(nearest, abs=1e-7)

    def test_in_many_dimensions(self):
        """A plane in ten dimensions: its distance is that along its normal."""
        normal = np.arange(1.0, 11.0)
        normal /= np.linalg.norm(normal)
        found = minimal_shock(
            lambda points: (points @ normal > 0.7).astype(int), np.zeros((1, 10)), 5.0, num_rounds=200
        )
        assert found.distance[0] == pytest.approx(0.7, rel=1e-3)
        assert found.distance[0] >= 0.7

    def test_the_shock_does_leave(self):
        label = labeller(MAPS["newton-cubic"](), attractors=MAPS["newton-cubic"]().attractors)
        found = minimal_shock(label, [[1.0, 0.0]], 2.0)
        ends = label(np.array([[1.0, 0.0]]) + np.stack([found.shock[0], 0.999 * found.shock[0]]))
        assert ends[0] == found.reached[0] != found.label[0]
        assert found.distance[0] <= found.ray_distances.min()

    def test_one_basin_is_no_number(self):
        found = minimal_shock(labeller(load_problem("quadratic"), learning_rate=0.1), [[0.0, 0.0]], 5.0)
        assert np.isnan(found.distance).all()
        assert np.isnan(found.shock).all()
        assert found.reached.tolist() == [-1]
        assert "within 5" in found.reason[0]

    @pytest.mark.parametrize(
        ("attractors", "options", "field"),
        [
            ([[0.0]], {}, r"attractors\[0\]"),
            ([[1.0]], {"reach": -1.0}, "reach"),
            ([[1.0]], {"num_directions": 0}, "num_directions"),
            ([[1.0]], {"seed": -1}, "seed"),
            ([], {}, "attractors"),
        ],
    )
    def test_bad_input_names_the_field(self, attractors, options, field):
        with pytest.raises(InputError, match=field):
            minimal_shock(labeller(MAPS["cubic-map"]()), attractors, **{"reach": 1.0, **options})
