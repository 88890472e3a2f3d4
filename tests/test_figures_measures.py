"""Figures of measures: what they show agrees with the measures, and every text is readable."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from test_figures import _assert_readable
from test_measure import MAP_OUTCOMES, plane, starts, stored

from jaxloss import InputError
from jaxloss.basins import basin_entropy
from jaxloss.basins.entropy import box_entropies
from jaxloss.basins.summary import measure_map, measure_result
from jaxloss.figures import plot_all, plot_outcome_map, reading, style
from jaxloss.figures.measures import plot_basin_entropy, plot_basin_times, plot_boundary_scaling

BUDGET = 300


def line():
    axes = {"w": np.linspace(-1, 1, 121), "learning_rate": np.geomspace(0.1, 10, 6)}
    return stored(axes, name="line")


def cube():
    values = np.linspace(-1, 1, 12)
    return stored({"w": values, "b": values, "c": values}, learning_rate=0.5, name="cube")


def newton_like(num=40):
    """A map's result: fixed points, a cycle and divergence, with the table of their places."""
    values = np.linspace(-1, 1, num)
    result = stored({"x": values, "y": values}, outcomes=(10, 7, 10, 9), parameters=("x", "y"), name="a map")
    rng = np.random.default_rng(0)
    result["attractor"][:] = np.where(result["outcome"] == 10, rng.integers(0, 3, (num, num)), -1)
    result["attractor"].values[result["outcome"].values == 7] = 3
    table = {
        "attractor_location": (
            ("attractor_index", "parameter"),
            [[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87], [0.2, 0.3]],
        ),
        "attractor_period": ("attractor_index", [1, 1, 1, 2]),
    }
    return result.assign(table).assign_attrs(outcomes=json.dumps(MAP_OUTCOMES))


def labelled(result, **options):
    """The measured maps of a result by learning rate."""
    rates = {f"learning rate {s.hyperparameters['learning_rate']:.3g}": s.maps[0] for s in measure_result(result)}
    return plot_boundary_scaling(rates, name="sigmoid-mse", **options)


DRAWINGS = {
    "times": lambda: plot_basin_times(plane()),
    "times of nine": lambda: plot_basin_times(plane(rates=np.geomspace(0.01, 100, 9))),
    "times of one": lambda: plot_basin_times(plane(), learning_rate=0.1),
    "times of a line": lambda: plot_basin_times(line()),
    "times of a slice": lambda: plot_basin_times(cube()),
    "times of a map": lambda: plot_basin_times(newton_like()),
    "entropy": lambda: plot_basin_entropy(plane()),
    "entropy of nine": lambda: plot_basin_entropy(plane(rates=np.geomspace(0.01, 100, 9))),
    "entropy of one": lambda: plot_basin_entropy(plane(), learning_rate=0.1, box_size=7),
    "entropy of a line": lambda: plot_basin_entropy(line()),
    "entropy of a slice": lambda: plot_basin_entropy(cube(), box_size=2),
    "entropy of a map": lambda: plot_basin_entropy(newton_like()),
    "scaling": lambda: labelled(plane()),
    "scaling of nine": lambda: labelled(plane(rates=np.geomspace(0.01, 100, 9))),
    "scaling of one": lambda: plot_boundary_scaling(measure_map(np.indices((64, 64)).sum(axis=0) // 20 % 2)),
    "scaling of a line": lambda: labelled(line()),
    "scaling of tiles": lambda: plot_boundary_scaling(measure_map(plane().isel(learning_rate=0), boxes="tiled")),
    "outcome map of a map": lambda: plot_outcome_map(newton_like()),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_text_is_readable(name):
    _assert_readable(DRAWINGS[name]())


@pytest.mark.parametrize("name", ["times", "entropy", "scaling"])
def test_writes_the_same_picture_each_time(name, tmp_path):
    draw = {
        "times": lambda path: plot_basin_times(plane(), path=path),
        "entropy": lambda path: plot_basin_entropy(plane(), path=path),
        "scaling": lambda path: labelled(plane(), path=path),
    }[name]
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(InputError, match="png"):
        draw(tmp_path / "a.pdf")


class TestBasinTimes:
    def test_curves_are_the_shares_that_stopped(self):
        result = plane()
        figure, known = plot_basin_times(result), reading.fates(result)
        for i in range(2):
            part = result.isel(learning_rate=i)
            index = known.of(part["outcome"].values, part["attractor"].values)
            steps = part["num_steps"].values
            drawn = {drawn.get_label(): drawn for drawn in figure.axes[2 + i].get_lines()}
            expected = {fate.label for j, fate in enumerate(known.entries) if (steps[index == j] < BUDGET).any()}
            assert set(drawn) == expected
            assert not any("unfinished" in label for label in drawn)
            for j, fate in enumerate(known.entries):
                if fate.label in drawn:
                    x, y = drawn[fate.label].get_data()
                    for at in (10, 100, 250):
                        assert y[np.flatnonzero(x <= at)[-1]] == pytest.approx(np.mean(steps[index == j] <= at))
                    assert to_rgb(drawn[fate.label].get_color()) == to_rgb(style.line_colour(fate))

    def test_the_map_is_that_of_the_outcomes(self):
        one, other = plot_basin_times(plane()), plot_outcome_map(plane())
        for i in range(2):
            np.testing.assert_array_equal(one.axes[i].images[0].get_array(), other.axes[i].images[0].get_array())

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [({"learning_rate": -1}, "must be positive"), ({"max_columns": 0}, "max_columns must be at least 1")],
    )
    def test_bad_input(self, options, sentence):
        for plot in (plot_basin_times, plot_basin_entropy):
            with pytest.raises(InputError, match=sentence):
                plot(plane(), **options)

    def test_starts_on_no_grid(self):
        for plot in (plot_basin_times, plot_basin_entropy):
            with pytest.raises(InputError, match="random starts"):
                plot(starts())


class TestBasinEntropy:
    def test_shows_the_entropy_of_each_box(self):
        result = plane(num=48)
        figure = plot_basin_entropy(result, box_size=6)
        for i in range(2):
            (mesh,) = figure.axes[i].collections
            part = result.isel(learning_rate=i)
            expected = box_entropies(part, 6, labelling="both").T
            np.testing.assert_array_equal(mesh.get_array().reshape(expected.shape), expected)
            whole = basin_entropy(part, 6, labelling="both")
            title = figure.axes[i].get_title()
            assert f"mean {whole.entropy:.3f}" in title
            assert f"boundary {whole.boundary_entropy:.3f}" in title
            np.testing.assert_allclose(mesh.get_coordinates()[0, [0, -1], 0], reading.window(result["w"].values))

    def test_the_rest_at_the_far_end_is_in_no_box(self):
        short = plot_basin_entropy(plane(num=48), box_size=7)
        assert "in no whole box" in [text.get_text() for text in short.legends[0].get_texts()]
        (mesh,) = short.axes[0].collections
        edges = reading.edges(plane(num=48)["w"].values)
        assert mesh.get_coordinates()[0, -1, 0] == pytest.approx(edges[42])

    def test_of_a_line_for_each_learning_rate(self):
        (mesh,) = plot_basin_entropy(line(), box_size=11).axes[0].collections
        columns = [box_entropies(line().isel(learning_rate=i), 11, labelling="both", axes=["w"]) for i in range(6)]
        np.testing.assert_array_equal(mesh.get_array().reshape(11, 6), np.stack(columns, axis=1))

    def test_bad_boxes_and_axes(self):
        for size, sentence in ((49, "box_size must be at most"), (1, "box_size must be at least 2")):
            with pytest.raises(InputError, match=sentence):
                plot_basin_entropy(plane(), box_size=size)
        uneven = plane().assign_coords(w=np.linspace(-1, 1, 48) ** 3)
        with pytest.raises(InputError, match="equally spaced"):
            plot_basin_entropy(uneven)


class TestBoundaryScaling:
    @pytest.mark.parametrize("boxes", ["sliding", "tiled"])
    def test_points_line_and_band_are_those_of_the_exponent(self, boxes):
        measured = measure_map(plane().isel(learning_rate=0), boxes=boxes)
        found, control, _ = measured.measures["uncertainty_exponent"]
        fit = plot_boundary_scaling(measured).axes[1]
        _, _, ours, points = fit.get_lines()
        sides, shares = points.get_data()
        np.testing.assert_allclose(sides, np.array(measured.scales.box_sizes) - (boxes == "sliding"))
        np.testing.assert_allclose(np.diff(np.log(shares)) / np.diff(np.log(sides)), found.local_slopes)
        if boxes == "sliding":
            np.testing.assert_allclose(shares, found.fractions)
        x, y = np.log(ours.get_data())
        np.testing.assert_allclose(np.diff(y) / np.diff(x), found.exponent)
        np.testing.assert_allclose(y.mean(), np.log(shares).mean())
        band = np.log(fit.collections[0].get_paths()[0].vertices)
        for end in (0, -1):
            bounds = y.mean() + np.array(found.interval) * (x[end] - x.mean())
            here = band[np.isclose(band[:, 0], x[end]), 1]
            np.testing.assert_allclose([here.min(), here.max()], sorted(bounds))
        text = fit.get_title(loc="left")
        assert f"α = {found.exponent:.2f} [{found.interval.low:.2f}, {found.interval.high:.2f}]" in text
        assert f"smooth control α = {control.exponent:.2f}" in text

    def test_the_boundary_is_drawn(self):
        measured = measure_map(plane().isel(learning_rate=0))
        (image,) = plot_boundary_scaling(measured).axes[0].images
        dark = np.asarray(image.get_array())[..., 0] < 0.5
        np.testing.assert_array_equal(dark, measured.boundary.T)

    def test_maps_without_a_boundary_are_left_out(self):
        one = measure_map(np.zeros((40, 40), int))
        two = measure_map(np.indices((40, 40))[0] // 20)
        figure = plot_boundary_scaling({"one": one, "two": two})
        assert [ax.get_title() for ax in figure.axes[:1]] == ["two"]
        with pytest.raises(InputError, match="an exponent: the map has one label"):
            plot_boundary_scaling(one)
        with pytest.raises(InputError, match="at least one map"):
            plot_boundary_scaling({})
        with pytest.raises(InputError, match="max_columns"):
            plot_boundary_scaling(two, max_columns=0)

    def test_evenly_picked(self):
        figure = labelled(plane(rates=np.geomspace(0.01, 100, 9)), max_columns=3)
        assert [ax.get_title() for ax in figure.axes[:3]] == [
            f"learning rate {rate}" for rate in ("0.01", "1", "100")
        ]


class TestFatesOfMaps:
    def test_a_fixed_point_says_where_it_lies(self):
        entries = reading.fates(newton_like()).entries
        assert [fate.label for fate in entries] == [
            "fixed point A at (1, 0)",
            "fixed point B at (-0.5, 0.87)",
            "fixed point C at (-0.5, -0.87)",
            "cycle",
            "diverged",
        ]

    def test_every_attractor_has_its_colour(self):
        tones = [style.colour(reading.Fate(code, rank, "")) for code in (10, 7, 8) for rank in range(5)]
        assert all(len(set(tones[i : i + 5])) == 5 for i in (0, 5, 10))
        assert style.colour(reading.Fate(7, 0, "")) == style.COLOURS[7]
        assert style.colour(reading.Fate(8, 0, "")) == style.COLOURS[8]

    def test_the_legend_has_the_shares(self):
        result = newton_like()
        texts = [text.get_text() for text in plot_outcome_map(result).legends[0].get_texts()]
        share = float((result["outcome"] == 9).mean())
        assert f"diverged: {reading.percent(share)}" in texts

    def test_the_axes_of_a_maps_hyperparameters_are_not_initial(self):
        values = np.linspace(-1, 1, 6)
        result = stored({"x": values, "a": values}, outcomes=(10, 9), parameters=("x",))
        result = result.assign_attrs(outcomes=json.dumps(MAP_OUTCOMES))
        assert reading.initial_axes(result) == ["x"]
        assert reading.hyperparameter_axes(result) == ["a"]

    def test_a_comparison_of_maps_says_nothing_of_traps(self):
        from jaxloss.figures import plot_comparison

        texts = [
            text.get_text() for text in plot_comparison([newton_like()]).findobj(lambda a: hasattr(a, "get_text"))
        ]
        assert not [text for text in texts if "trapped" in text]
        assert [text for text in texts if text.startswith("fixed point")]


def test_results_of_sweeps_are_drawn_as_before(tmp_path):
    result = plane()
    assert [fate.outcome for fate in reading.fates(result).entries] == [1, 3, 9, 0]
    assert [path.name for path in plot_all(result, tmp_path)][:2] == ["basins.png", "fractions.png"]
