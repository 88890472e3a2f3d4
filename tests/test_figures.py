"""Figures: what they show agrees with the stored results, every text is readable, nothing is recomputed."""

import io
import subprocess
import sys
from types import SimpleNamespace

import jax
import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation, Text

import jaxloss
from jaxloss import Axis, Grid, InputError, Problem, Starts
from jaxloss.basins import outcome_fractions
from jaxloss.figures import (
    plot_all,
    plot_comparison,
    plot_critical_points,
    plot_learning_curves,
    plot_loss_surface,
    plot_outcome_fractions,
    plot_outcome_map,
    plot_plane,
    reading,
    style,
)
from jaxloss.figures.critical_points import LATTICE, MAX_BOXES, MAX_LIMITS, MAX_NUMBERED
from jaxloss.outcomes import NAMES, OUTCOMES
from jaxloss.surface import loss_surface


def _double_well(p):
    """Two minima of different depth along x, a saddle between them; a bowl along y."""
    return (p["x"] ** 2 - 1) ** 2 + 0.3 * p["x"] + 0.4 * p["y"] ** 2


def _sweep(problem, axes, **options):
    return jaxloss.sweep(problem, Grid(axes), **{"num_steps": 300, **options})


@pytest.fixture(scope="module")
def well():
    problem = Problem(name="double-well", objective=_double_well, params={"x": 0.0, "y": 0.0})
    axes = {"x": Axis.linear(-2, 2, 12), "y": Axis.linear(-1.5, 1.5, 9), "learning_rate": Axis.log(0.01, 1, 5)}
    return _sweep(problem, axes, num_paths=4)


@pytest.fixture(scope="module")
def line():
    axes = {"x": Axis.linear(-2.5, 2.5, 21), "learning_rate": Axis.log(0.1, 2, 8)}
    return _sweep(jaxloss.load_problem("cubic-map"), axes, num_paths=2)


@pytest.fixture(scope="module")
def bowl():
    return Problem(name="bowl", objective=lambda p: p @ p, params=np.ones(3), infimum=0.0)


@pytest.fixture(scope="module")
def starts(bowl):
    axes = {"start": Starts(40), "learning_rate": Axis.log(0.1, 2, 3)}
    return _sweep(bowl, axes)


@pytest.fixture(scope="module")
def cube(bowl):
    axes = {name: Axis.linear(-1, 1, 5) for name in bowl.parameter_names}
    return _sweep(bowl, axes, learning_rate=0.25, num_paths=2)


@pytest.fixture(scope="module")
def plane(bowl):
    axes = {f"direction[{i}]": Axis.linear(-1, 1, 6) for i in range(2)} | {"learning_rate": Axis.of([0.1, 1.5])}
    directions = [np.array([1.0, 0, 0]), np.array([0, 1.0, 0])]
    return jaxloss.sweep(bowl, Grid(axes, directions=directions), num_steps=100, num_paths=2)


@pytest.fixture(scope="module")
def many(well):
    """A result with eleven attractors of two outcomes."""
    rng = np.random.default_rng(0)
    shape = well["outcome"].shape
    outcome = rng.choice([1, 3], shape).astype(np.int8)
    attractor = np.where(outcome == 1, rng.integers(0, 5, shape), rng.integers(5, 11, shape)).astype(np.int32)
    return xr.Dataset(
        {
            "outcome": (well["outcome"].dims, outcome),
            "attractor": (well["outcome"].dims, attractor),
            "num_steps": well["num_steps"],
            "initial_loss": well["initial_loss"],
            "critical_point_loss": ("critical_point", np.linspace(0.1, 2, 11)),
        },
        coords=well.coords,
        attrs={"name": "many attractors of a problem_with-a-long-name"},
    )


@pytest.fixture
def _no_engine(monkeypatch, well, line, starts, cube, plane):
    """Any attempt to compute a trajectory fails; asked for after the results."""

    def refuse(*_, **__):
        raise AssertionError("a figure recomputes")

    names = [f"jaxloss.sweeps.{name}" for name in ("sweep", "run_grid", "gather")]
    for name in [*names, "jaxloss.results.run_paths", "jaxloss.results.map_points"]:
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr(jax, "jit", refuse)
    monkeypatch.setattr(jax, "vmap", refuse)
    monkeypatch.setattr(jax, "grad", refuse)


def _surface(**axes):
    """A made-up loss: a double well along the first parameter, a bowl along the second."""
    first, *rest = (np.asarray(values, float) for values in axes.values())
    loss = (first**2 - 1) ** 2 + 0.3 * first
    loss = loss[:, None] + rest[0] ** 2 if rest else loss
    return xr.Dataset({"loss": (tuple(axes), loss)}, coords=axes)


def _table(kinds, places, *, limits=(), undecided=(), certified=True, losses=None, **attrs):
    """A table as `find_critical_points` returns it, made up; losses by default 0, 0.1, ..."""
    places = np.asarray(places, float)
    num, size = places.shape
    values = [value for value, _ in limits]
    stable = np.array(kinds, object) == "strict minimum"
    losses = np.arange(num) / 10 if losses is None else np.array(losses, float)
    known = {"complete": True, "method": "interval branch and bound", "num_boxes": 1234, "name": "made-up"}
    return xr.Dataset(
        {
            "location": (("critical_point", "parameter"), places),
            "loss": ("critical_point", losses),
            "kind": ("critical_point", np.array(kinds, object)),
            "certified": ("critical_point", np.broadcast_to(certified, num)),
            "learning_rate_limit": ("critical_point", np.where(stable, 0.125, np.nan)),
            "undecided": (("undecided_box", "parameter", "bound"), np.reshape(undecided, (-1, size, 2))),
            "limit_value": ("limit", np.array(values, float)),
            "limit_direction": (("limit", "parameter"), np.reshape([along for _, along in limits], (-1, size))),
        },
        coords={"parameter": ["x", "y"][:size]},
        attrs={**known, **attrs},
    )


_LATTICE = np.linspace(-2, 2, 41)
_PLANE, _LINE = _surface(x=_LATTICE, y=_LATTICE), _surface(x=_LATTICE)
_FIVE = ["strict minimum", "strict minimum", "strict saddle", "maximum", "degenerate"]
_FIVE_PLACES = [[-1.0, 0.0], [1.0, 0.0], [0.1, 0.2], [-0.5, -1.0], [1.5, -1.5]]
_NOT_ALL = [True, False, True, False, False]
_LIMITS = [(0.7, [-1.0, -1.0]), (0.2, [0.0, 1.0]), (np.inf, [0.0, -1.0]), (0.5, [1.0, 0.0])]


def _crowd(**options):
    """Forty points, most in a heap."""
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat(_FIVE[1:], 10))
    certified = rng.random(40) < 0.7
    return _table(kinds, 0.3 * rng.normal(size=(40, 2)), certified=certified, complete=False, **options)


def _legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def _texts(figure):
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def _pixels(figure):
    """The drawn image, rows from the bottom, values in [0, 1]."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3] / 255


def _assert_readable(figure):
    """No text leaves the figure, and no two texts of the layout overlap."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.bbox.size
    boxes = []
    hidden = _hidden_ticks(figure, renderer)
    for text in _texts(figure):
        # Without the arrow of an annotation.
        box = Text.get_window_extent(text, renderer)
        if box.width == 0 or text in hidden:
            continue
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
        boxes.append((text.get_text(), box))
    for i, (first, box) in enumerate(boxes):
        for second, other in boxes[i + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            up = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert not (across > 2 and up > 2), (first, second)


def _hidden_ticks(figure, renderer):
    """A tick beyond the limits keeps its text but is not drawn."""
    hidden = set()
    for ax in figure.axes:
        for text in ax.get_xticklabels(which="both"):
            box = text.get_window_extent(renderer)
            if not ax.bbox.x0 - 2 <= (box.x0 + box.x1) / 2 <= ax.bbox.x1 + 2:
                hidden.add(text)
        for text in ax.get_yticklabels(which="both"):
            box = text.get_window_extent(renderer)
            if not ax.bbox.y0 - 2 <= (box.y0 + box.y1) / 2 <= ax.bbox.y1 + 2:
                hidden.add(text)
    return hidden


_DRAWINGS = {
    "map": lambda r: plot_outcome_map(r.well),
    "map of one rate": lambda r: plot_outcome_map(r.well, learning_rate=0.1),
    "map of a line": lambda r: plot_outcome_map(r.line),
    "map of a slice": lambda r: plot_outcome_map(r.cube),
    "map of a plane": lambda r: plot_outcome_map(r.plane),
    "map of many": lambda r: plot_outcome_map(r.many),
    "comparison": lambda r: plot_comparison({"sigmoid-mse": r.well, "relu-cross_entropy": r.well}),
    "comparison 1 x 1": lambda r: plot_comparison([r.well.isel(learning_rate=[2])]),
    "comparison of nine": lambda r: plot_comparison({"a": _nine(r.well), "b": _nine(r.well)}, max_columns=9),
    "comparison of many": lambda r: plot_comparison([r.many, r.well]),
    "comparison of all kinds": lambda r: plot_comparison([r.well, r.line, r.starts, r.cube, r.plane]),
    "fractions": lambda r: plot_outcome_fractions({"sigmoid-mse": r.well, "relu-cross_entropy": r.well}),
    "fractions of one": lambda r: plot_outcome_fractions(r.line),
    "fractions as bars": lambda r: plot_outcome_fractions([r.well.isel(learning_rate=[2]), r.cube]),
    "surface": lambda r: plot_loss_surface(r.well),
    "surface of a slice": lambda r: plot_loss_surface(r.cube),
    "surface of a plane": lambda r: plot_loss_surface(r.plane),
    "plane": lambda r: plot_plane(r.plane),
    "plane of one rate": lambda r: plot_plane(r.well, learning_rate=0.1),
    "curves": lambda r: plot_learning_curves(r.well),
    "curves of a line": lambda r: plot_learning_curves(r.line),
    "critical points": lambda _: plot_critical_points(_table(_FIVE, _FIVE_PLACES, limits=_LIMITS), _PLANE),
    "critical points without a surface": lambda _: plot_critical_points(_table(_FIVE, _FIVE_PLACES)),
    "crowd of critical points": lambda _: plot_critical_points(
        _crowd(limits=_LIMITS, undecided=[[[0, 1], [0, 1]]], why_incomplete="there is no end to it " * 9), _PLANE
    ),
    "critical points on a line": lambda _: plot_critical_points(
        _table(["strict minimum", "maximum"], [[-1.0], [0.1]], limits=[(0.9, [1.0]), (0.8, [-1.0])]), _LINE
    ),
    "no critical points": lambda _: plot_critical_points(_table([], np.zeros((0, 2))), _PLANE),
}


def _nine(result):
    """Nine learning rates."""
    wide = xr.concat([result, result.isel(learning_rate=slice(4))], dim="learning_rate", data_vars="minimal")
    return wide.assign_coords(learning_rate=np.geomspace(0.01, 100, 9))


@pytest.mark.usefixtures("_no_engine")
@pytest.mark.parametrize("name", _DRAWINGS)
def test_every_text_is_readable(name, well, line, starts, cube, plane, many):
    results = SimpleNamespace(well=well, line=line, starts=starts, cube=cube, plane=plane, many=many)
    figure = _DRAWINGS[name](results)
    _assert_readable(figure)
    assert figure.get_suptitle()
    assert 800 <= figure.bbox.width <= 2000
    assert _pixels(figure).std() > 0.02


def _labels(result):
    return {NAMES[code].replace("_", " ") for code in np.unique(result["outcome"])}


class TestOutcomeMap:
    def test_colours_are_those_of_the_outcomes(self, well):
        at = well.isel(learning_rate=2)
        figure = plot_outcome_map(well, learning_rate=float(at["learning_rate"]))
        pixels = _pixels(figure)
        known = reading.fates(well)
        scale = style.shade_scale([at["num_steps"].values], [at["outcome"].values])
        index = known.of(at["outcome"].values, at["attractor"].values)
        expected = style.image_of(index, at["num_steps"].values, known.entries, scale)
        matches = 0
        for i, x in enumerate(well["x"].values):
            for j, y in enumerate(well["y"].values):
                column, row = figure.axes[0].transData.transform((x, y)).astype(int)
                matches += np.abs(pixels[row, column] - expected[i, j]).max() < 0.01
        # All but those under a marker.
        assert matches >= 0.9 * expected[..., 0].size
        assert len(np.unique(at["outcome"])) > 1

    def test_axes_follow_grid_order(self, well):
        figure = plot_outcome_map(well, learning_rate=0.1)
        assert figure.axes[0].get_xlabel() == "initial x"
        assert figure.axes[0].get_ylabel() == "initial y"

    def test_one_panel_for_each_rate(self, well):
        figure = plot_outcome_map(well)
        titles = [ax.get_title() for ax in figure.axes]
        assert titles == [f"learning rate {reading.number(rate)}" for rate in well["learning_rate"].values]

    def test_nearest_rate(self, well):
        figure = plot_outcome_map(well, learning_rate=0.09)
        assert len(figure.axes) == 1
        assert "Learning rate 0.1" in [text.get_text() for text in _texts(figure)]

    def test_legend_lists_what_occurs_with_its_share(self, well):
        texts = _legend_texts(plot_outcome_map(well))
        for name in _labels(well):
            assert any(text.startswith(name) and text.endswith(" %") for text in texts), name
        absent = {name.replace("_", " ") for name in OUTCOMES} - _labels(well)
        assert not any(text.startswith(name) and "%" in text for text in texts for name in absent)
        share = float((well["outcome"] == OUTCOMES["global_minimum"]).mean())
        assert any(
            text.startswith("global minimum (") and text.endswith(f": {reading.percent(share)}") for text in texts
        )

    def test_legend_of_the_shade_and_the_critical_points(self, well):
        texts = _legend_texts(plot_outcome_map(well))
        assert sum("fewer steps" in text for text in texts) == 1
        assert texts.count("saddle") == 1
        assert texts.count("spurious minimum") == 1

    def test_critical_points_at_their_locations(self, well):
        ax = plot_outcome_map(well, learning_rate=0.1).axes[0]
        columns = [well["parameter"].values.tolist().index(name) for name in ("x", "y")]
        drawn = {tuple(np.round(marks.get_xydata()[0], 6)): marks.get_marker() for marks in ax.get_lines()}
        for place, kind in zip(well["location"].values[:, columns], well["kind"].values, strict=True):
            marker = drawn[tuple(np.round(place, 6))]
            assert marker == ("X" if kind == "strict saddle" else "*" if place[0] < 0 else "o")

    def test_line_has_the_rate_as_an_axis(self, line):
        figure = plot_outcome_map(line)
        ax = figure.axes[0]
        assert len(figure.axes) == 1
        assert ax.get_xlabel() == "learning rate"
        assert ax.get_xscale() == "log"
        assert ax.get_ylabel() == "initial x"

    def test_slice_is_named(self, cube):
        name = str(cube["outcome"].dims[2])
        assert any(f"{name} = 0" in text.get_text() for text in _texts(plot_outcome_map(cube)))

    def test_other_hyperparameters_are_sliced(self):
        axes = {"x": Axis.linear(-1, 1, 4), "y": Axis.linear(-1, 1, 4), "momentum": Axis.of([0.0, 0.5, 0.9])}
        result = _sweep(
            jaxloss.load_problem("quadratic"), axes, optimizer="momentum", learning_rate=0.1, num_steps=100
        )
        figure = plot_outcome_map(result)
        assert len(figure.axes) == 1
        assert any("momentum = 0.5" in text.get_text() for text in _texts(figure))
        assert not any("limit" in text for text in _legend_texts(plot_outcome_fractions(result)))

    def test_descending_axis_values(self, well):
        jumbled = well.isel(x=[3, 0, 7, 11, 5, 1, 2, 4, 6, 8, 9, 10])
        first, second = (plot_outcome_map(result, learning_rate=0.1) for result in (well, jumbled))
        np.testing.assert_array_equal(_pixels(first), _pixels(second))

    def test_part_of_a_result(self, well):
        assert plot_outcome_map(well.isel(learning_rate=[0])).axes
        assert plot_learning_curves(well.isel(learning_rate=[0])).axes

    def test_rare_attractors_are_taken_together(self, many):
        texts = _legend_texts(plot_outcome_map(many))
        assert sum(text.startswith("global minimum ") for text in texts) == reading.MAX_ATTRACTORS
        assert sum(text.startswith("spurious minimum ") for text in texts) == reading.MAX_ATTRACTORS
        assert sum("others" in text for text in texts) == 2
        faces = [to_rgb(style.colour(fate)) for fate in reading.fates(many).entries]
        assert len(set(faces)) == 2 * (reading.MAX_ATTRACTORS + 1)

    @pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, "fast"])
    def test_bad_rate(self, well, rate):
        with pytest.raises(InputError, match="learning_rate"):
            plot_outcome_map(well, learning_rate=rate)

    def test_results_that_are_no_map(self, starts, line):
        with pytest.raises(InputError, match="plot_outcome_fractions"):
            plot_outcome_map(starts)
        with pytest.raises(InputError, match="itself an axis"):
            plot_outcome_map(line, learning_rate=0.1)
        with pytest.raises(InputError, match="needs two"):
            plot_outcome_map(line.isel(learning_rate=0))
        with pytest.raises(InputError, match=r"xarray\.Dataset"):
            plot_outcome_map({"outcome": 1})
        with pytest.raises(InputError, match="no variables"):
            plot_outcome_map(xr.Dataset())


class TestComparison:
    def test_rows_and_columns(self, well):
        figure = plot_comparison({"first": well, "second": well, "third": well})
        assert len(figure.axes) == 3 * 5
        texts = [text.get_text() for text in _texts(figure)]
        assert {"first", "second", "third"} <= set(texts)
        for rate in well["learning_rate"].values:
            assert texts.count(f"learning rate {reading.number(rate)}") == 1

    def test_share_trapped_of_each_panel(self, well):
        figure = plot_comparison([well])
        shown = [ax.get_title(loc="left") for ax in figure.axes]
        trapped = np.isin(well["outcome"], [3, 4, 5, 6]).mean(axis=(0, 1))
        assert shown == [f"{reading.percent(share)} trapped" for share in trapped]
        assert len(set(shown)) > 1

    def test_subset_of_rates(self, well):
        figure = plot_comparison([well], max_columns=3)
        texts = [text.get_text() for text in _texts(figure)]
        assert len(figure.axes) == 3
        assert {"learning rate 0.01", "learning rate 0.1", "learning rate 1"} <= set(texts)
        assert any("3 of 5 learning rates shown" in text for text in texts)

    def test_one_scale_of_colours_in_all_rows(self, well):
        figure = plot_comparison({"a": well, "b": well})
        pictures = [np.asarray(ax.get_images()[0].get_array()) for ax in figure.axes]
        for first, second in zip(pictures[:5], pictures[5:], strict=True):
            np.testing.assert_array_equal(first, second)

    def test_list_of_results_with_one_name(self, well):
        texts = [text.get_text() for text in _texts(plot_comparison([well, well]))]
        assert "double-well" in texts
        assert any(text.replace("\n", " ") == "double-well (2)" for text in texts)

    def test_starts_are_stacked(self, starts):
        figure = plot_comparison([starts])
        heights = np.array([[bar.get_height() for bar in group] for group in figure.axes[0].containers])
        np.testing.assert_allclose(heights.sum(axis=0), 1.0)
        fraction = outcome_fractions(starts).fraction.sel(outcome_name="global_minimum").values
        np.testing.assert_allclose(heights[0], fraction)

    def test_nothing_to_compare(self, well):
        with pytest.raises(InputError, match="empty"):
            plot_comparison({})
        with pytest.raises(InputError, match="max_columns"):
            plot_comparison([well], max_columns=0)


class TestFractions:
    def test_limits_at_two_over_sharpness(self, well):
        ax = plot_outcome_fractions(well).axes[0]
        minima = well["kind"].values == "strict minimum"
        expected = 2 / well["eigenvalues"].values[minima].max(axis=1)
        drawn = sorted(line.get_xdata()[0] for line in ax.get_lines() if line.get_label().startswith("_child"))
        drawn = sorted({x for x in drawn if np.isclose(x, expected, rtol=1e-9).any()})
        np.testing.assert_allclose(drawn, np.sort(expected))
        assert len(expected) == 2

    def test_valleys_have_no_limit(self, well):
        valley = well.assign(kind=well["kind"].where(well["kind"] != "strict minimum", "degenerate"))
        assert not any("limit" in text for text in _legend_texts(plot_outcome_fractions(valley)))

    def test_legend(self, well):
        texts = _legend_texts(plot_outcome_fractions(well))
        assert _labels(well) <= set(texts)
        assert "gradient descent limit 2/sharpness" in texts
        assert "Wilson 95 % interval" in texts

    def test_lines_are_the_fractions(self, line):
        ax = plot_outcome_fractions(line).axes[0]
        table = outcome_fractions(line)
        lines = {artist.get_label(): artist for artist in ax.get_lines()}
        for code in np.unique(line["outcome"]):
            expected = table["fraction"].sel(outcome_name=NAMES[code]).values
            drawn = lines[NAMES[code]].get_ydata()
            np.testing.assert_allclose(np.nan_to_num(drawn), expected)
            assert to_rgb(lines[NAMES[code]].get_color()) == to_rgb(style.line_colour(reading.Fate(code, 0, "")))

    def test_single_rate_gives_bars(self, cube):
        ax = plot_outcome_fractions(cube).axes[0]
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [1.0])
        assert [text.get_text() for text in ax.get_yticklabels()] == ["global minimum"]


class TestSurface:
    def test_paths_begin_at_their_starts(self, well):
        ax = plot_loss_surface(well).axes[0]
        starts = [tuple(line.get_xydata()[0]) for line in ax.get_lines() if line.get_marker() == "o"]
        columns = [well["parameter"].values.tolist().index(name) for name in ("x", "y")]
        expected = well["path"].isel(path_step=0).values[:, columns]
        for start in expected:
            assert any(np.allclose(start, drawn, atol=1e-6) for drawn in starts)

    def test_arrows_point_downhill(self, well):
        ax = plot_loss_surface(well).axes[0]
        quiver = next(c for c in ax.collections if type(c).__name__ == "Quiver")
        np.testing.assert_allclose(np.hypot(quiver.U, quiver.V), 1.0)
        x, y = quiver.XY.T
        slope = np.stack([4 * x * (x**2 - 1) + 0.3, 0.8 * y])
        assert np.all(quiver.U * slope[0] + quiver.V * slope[1] < 0)

    def test_plane_has_neither_field_nor_path(self, plane):
        figure = plot_loss_surface(plane)
        assert not any(type(c).__name__ == "Quiver" for c in figure.axes[0].collections)
        assert not figure.axes[0].get_lines()

    def test_slice_has_a_field_and_no_path(self, cube):
        figure = plot_loss_surface(cube)
        assert any(type(c).__name__ == "Quiver" for c in figure.axes[0].collections)
        assert "path starts" not in _legend_texts(figure)

    def test_results_that_are_no_surface(self, starts, line):
        with pytest.raises(InputError, match="plot_outcome_fractions"):
            plot_loss_surface(starts)
        with pytest.raises(InputError, match="two initial axes"):
            plot_plane(line)

    def test_plane_draws_borders_between_outcomes(self, well):
        at = well.isel(learning_rate=2)
        figure = plot_plane(well, learning_rate=float(at["learning_rate"]))
        borders = next(c for c in figure.axes[0].collections if type(c).__name__ == "LineCollection")
        fate = reading.fates(well).of(at["outcome"].values, at["attractor"].values)
        sides = (fate[1:] != fate[:-1]).sum() + (fate[:, 1:] != fate[:, :-1]).sum()
        assert len(borders.get_segments()) == sides > 0
        assert any(text.startswith("global minimum") for text in _legend_texts(figure))


def _marks(ax):
    """Position -> marker, of all that are drawn as single points."""
    lines = [line for line in ax.get_lines() if line.get_marker() not in (None, "None")]
    return {tuple(np.round(line.get_xydata()[0], 9).tolist()): line for line in lines}


def _of_points(figure):
    """The legend on the left."""
    return figure.legends[-1]


def _written(ax):
    """Numbers and limits in the panel."""
    return [text.get_text() for text in ax.texts if text.get_text()]


def _arrows(ax):
    """Tip and tail of each arrow, in the axes' units."""
    notes = [note for note in ax.texts if isinstance(note, Annotation) and not note.get_text()]
    return np.array([[note.xy, note.get_position()] for note in notes])


def _undecided(ax):
    """The boxes drawn: low and high corner of each."""
    (boxes,) = [c for c in ax.collections if type(c) is PolyCollection]
    corners = np.array([path.vertices for path in boxes.get_paths()])
    return np.stack([corners.min(axis=1), corners.max(axis=1)], axis=1)


class TestCriticalPoints:
    def test_markers_of_each_kind(self):
        ax = plot_critical_points(_table(_FIVE, _FIVE_PLACES), _PLANE).axes[0]
        marks = _marks(ax)
        assert [marks[tuple(place)].get_marker() for place in _FIVE_PLACES] == ["*", "o", "X", "^", "D"]
        faces = [to_rgb(marks[tuple(place)].get_markerfacecolor()) for place in _FIVE_PLACES]
        assert len(set(faces)) == 5
        assert to_rgb("white") not in faces
        assert _written(ax) == ["1", "2", "3", "4", "5"]

    def test_hollow_is_not_certified(self):
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES, certified=_NOT_ALL), _PLANE)
        marks = _marks(figure.axes[0])
        for place, filled in zip(_FIVE_PLACES, _NOT_ALL, strict=True):
            mark = marks[tuple(place)]
            assert (to_rgb(mark.get_markerfacecolor()) != to_rgb("white")) is filled
            assert filled or to_rgb(mark.get_markeredgecolor()) != to_rgb("white")
        assert "hollow: not certified" in _legend_texts(figure)
        handles = _of_points(figure).get_lines()
        assert [to_rgb(handle.get_markerfacecolor()) != to_rgb("white") for handle in handles] == _NOT_ALL

    def test_legend(self):
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES), _PLANE)
        assert _legend_texts(figure) == [
            "1  lowest minimum in the box: loss 0, learning-rate limit 0.125",
            "2  spurious minimum: loss 0.1, learning-rate limit 0.125",
            "3  saddle: loss 0.2",
            "4  maximum: loss 0.3",
            "5  point of a flat set: loss 0.4",
        ]
        (legend,) = figure.legends
        heading = "Critical points by their loss"
        assert legend.get_title().get_text() == f"{heading}, existence and kind certified"
        not_all = plot_critical_points(_table(_FIVE, _FIVE_PLACES, certified=_NOT_ALL), _PLANE)
        assert _of_points(not_all).get_title().get_text() == heading

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, ["lowest minimum in the box", "spurious minimum"]),
            ({"complete": False}, ["lowest minimum found", "spurious minimum"]),
            ({"convex": "Because.", "losses": [0.1, 0.1]}, ["global minimum", "global minimum"]),
            ({"losses": [0.1, 0.1]}, ["lowest minimum in the box"] * 2),
            # Lower values are approached at infinity.
            ({"infimum_at_infinity": -1.0}, ["spurious minimum", "spurious minimum"]),
            ({"infimum_at_infinity": 0.5}, ["lowest minimum in the box", "spurious minimum"]),
        ],
    )
    def test_no_more_is_claimed_than_is_known(self, changes, expected):
        table = _table(_FIVE[:2], _FIVE_PLACES[:2], **changes)
        texts = _legend_texts(plot_critical_points(table, _PLANE))
        assert [text[3 : text.index(":")] for text in texts] == expected

    def test_titles(self):
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES, name="sigmoid-mse"), _PLANE)
        assert figure.get_suptitle() == "sigmoid + MSE: critical points"
        proof, limit = figure.subfigs[0].get_suptitle().split("\n")
        assert proof == "Proven: no others in the box (interval branch and bound: 1,234 boxes, none undecided)"
        assert limit == "Below its learning-rate limit a minimum is stable under gradient descent"
        # Without a minimum there is no limit to explain.
        saddle = plot_critical_points(_table(_FIVE[2:3], _FIVE_PLACES[2:3]), _PLANE)
        assert saddle.subfigs[0].get_suptitle() == proof

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"num_boxes": 1}, "Proven: no others in the box (interval branch and bound: 1 box, none undecided)"),
            (
                {"method": "cells of the ReLU, exactly", "everywhere": True},
                "Proven: no others in the box (cells of the ReLU, exactly: 1,234 cells, the whole parameter space)",
            ),
            (
                {"complete": False, "why_incomplete": "two are left"},
                "Not proven: there may be more in the box (interval branch and bound); two are left",
            ),
            (
                {"complete": False, "method": "multi-start", "num_starts": 1384, "why_incomplete": "so it was asked"},
                "Not proven: there may be more (multi-start: 1,384 starts); so it was asked",
            ),
        ],
    )
    def test_what_is_proven(self, changes, expected):
        figure = plot_critical_points(_table(_FIVE[2:3], _FIVE_PLACES[2:3], **changes), _PLANE)
        assert figure.subfigs[0].get_suptitle().replace("\n", " ") == expected

    def test_axes(self):
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES), _PLANE)
        ax, bar = figure.axes
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
        assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 2), (-2, 2))
        lowest = float(_PLANE["loss"].min())
        assert bar.get_ylabel() == f"loss above {reading.number(lowest)}, the lowest value known"
        below = plot_critical_points(_table(_FIVE, _FIVE_PLACES, infimum_at_infinity=-7.0), _PLANE)
        assert below.axes[1].get_ylabel() == "loss above -7, the lowest value known"

    def test_axes_in_the_order_of_the_surface(self):
        surface = _surface(y=np.linspace(-3, 3, 13), x=_LATTICE)
        ax = plot_critical_points(_table(_FIVE, _FIVE_PLACES), surface).axes[0]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("y", "x")
        assert ax.get_xlim() == (-3, 3)
        assert set(_marks(ax)) == {(y, x) for x, y in _FIVE_PLACES}
        jumbled = plot_critical_points(_table(_FIVE, _FIVE_PLACES), surface.isel(y=slice(None, None, -1)))
        np.testing.assert_array_equal(_pixels(ax.figure.figure), _pixels(jumbled))

    def test_without_a_surface_the_window_holds_everything(self):
        boxes = [[[5.0, 6.0], [-9.0, -8.0]]]
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES, undecided=boxes))
        (ax,) = figure.axes
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert (left < -1, right > 6, bottom < -9, top > 0.2) == (True,) * 4
        assert not any("outside" in text for text in _legend_texts(figure))

    def test_points_outside_the_panel(self):
        """Of a flat set one point is listed, even outside the box."""
        places = [*_FIVE_PLACES[:4], [30.0, 0.0]]
        figure = plot_critical_points(_table(_FIVE, places), _PLANE)
        assert _legend_texts(figure)[-1] == "5  point of a flat set: loss 0.4 (outside the panel)"
        assert (30.0, 0.0) not in _marks(figure.axes[0])
        assert _written(figure.axes[0]) == ["1", "2", "3", "4"]

    def test_undecided_boxes(self):
        # The second one sticks out.
        boxes = np.array([[[-1.0, 0.5], [0.25, 1.0]], [[1.0, 5.0], [-7.0, 0.0]]])
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES, undecided=boxes), _PLANE)
        drawn = _undecided(figure.axes[0])
        np.testing.assert_allclose(drawn[0], boxes[0].T)
        np.testing.assert_allclose(drawn[1], [[1.0, -2.0], [2.0, 0.0]])
        assert "2 undecided boxes" in _legend_texts(figure)
        one = plot_critical_points(_table(_FIVE, _FIVE_PLACES, undecided=boxes[:1]), _PLANE)
        assert "1 undecided box" in _legend_texts(one)
        assert not any("undecided" in text for text in _legend_texts(plot_critical_points(_crowd(), _PLANE)))

    def test_very_many_undecided_boxes_are_drawn_on_a_lattice(self):
        low = np.random.default_rng(0).uniform(-1, 1, (MAX_BOXES + 1, 2))
        boxes = np.stack([low, low + 1e-4], axis=-1)
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES, undecided=boxes), _PLANE)
        drawn = _undecided(figure.axes[0])
        assert f"{MAX_BOXES + 1:,} undecided boxes" in _legend_texts(figure)
        assert len(drawn) <= MAX_BOXES
        # Each box is covered by one that is drawn, and those are small.
        assert (drawn[:, 1] - drawn[:, 0]).max() <= 2 * 4 / LATTICE + 1e-12
        covered = (drawn[:, None, 0] <= low + 1e-12) & (drawn[:, None, 1] >= low + 1e-4 - 1e-12)
        assert covered.all(axis=-1).any(axis=0).all()

    def test_arrows_to_infinity(self):
        figure = plot_critical_points(_table(_FIVE, _FIVE_PLACES, limits=_LIMITS), _PLANE)
        ax = figure.axes[0]
        arrows = _arrows(ax)
        # Lowest first; the infinite one is left out.
        np.testing.assert_allclose(arrows[:, 0], [[0, 2], [2, 0], [-2, -2]], atol=1e-9)
        directions = np.array([[0, 1], [1, 0], [-1, -1]])
        along = arrows[:, 0] - arrows[:, 1]
        np.testing.assert_allclose(along[:, 0] * directions[:, 1], along[:, 1] * directions[:, 0], atol=1e-9)
        assert np.all((along * directions).sum(axis=1) > 0)
        assert _written(ax)[-8:].count("limit 0.2") == 1
        assert {"limit 0.2", "limit 0.5", "limit 0.7"} < set(_written(ax))
        assert "limit of the loss at infinity" in _legend_texts(figure)

    def test_many_limits(self):
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        limits = [(float(i), [np.cos(angle), np.sin(angle)]) for i, angle in enumerate(angles)]
        figure = plot_critical_points(_table(_FIVE[:1], _FIVE_PLACES[:1], limits=limits), _PLANE)
        assert len(_arrows(figure.axes[0])) == MAX_LIMITS
        assert f"limit of the loss at infinity ({MAX_LIMITS} of 24 shown)" in _legend_texts(figure)
        assert "limit 0" in _written(figure.axes[0])

    def test_without_limits_there_is_no_arrow(self):
        table = _table(_FIVE, _FIVE_PLACES, limits=[(np.inf, [1.0, 0.0])])
        for shown in (table, table.drop_vars(["limit_value", "limit_direction"])):
            figure = plot_critical_points(shown, _PLANE)
            assert not len(_arrows(figure.axes[0]))
            assert not any("infinity" in text for text in _legend_texts(figure))

    def test_many_points(self):
        """Minima have their numbers first; the others are counted, the certified ones apart."""
        table = _crowd()
        figure = plot_critical_points(table, _PLANE)
        texts = [text.get_text() for text in _of_points(figure).get_texts()]
        kinds, certified = table["kind"].values, table["certified"].values
        minima = np.flatnonzero(kinds == "strict minimum") + 1
        assert len(minima) == MAX_NUMBERED
        assert [int(text.split()[0]) for text in texts[:MAX_NUMBERED]] == minima.tolist()
        assert set(_written(figure.axes[0])) <= set(map(str, minima))
        for kind, words in [("strict saddle", "saddles"), ("maximum", "maxima")]:
            for filled in (True, False):
                num = int(((kinds == kind) & (certified == filled)).sum())
                assert num > 1
                assert f"{num} more {words}" in texts
        assert len(_marks(figure.axes[0])) == 40

    def test_one_more(self):
        kinds = ["strict minimum"] * MAX_NUMBERED + ["maximum"]
        places = np.stack([np.linspace(-1.5, 1.5, MAX_NUMBERED + 1), np.zeros(MAX_NUMBERED + 1)], axis=1)
        assert _legend_texts(plot_critical_points(_table(kinds, places), _PLANE))[-1] == "1 more maximum"

    def test_numbers_keep_away_from_each_other_and_from_markers(self):
        figure = plot_critical_points(_crowd(), _PLANE)
        ax = figure.axes[0]
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        boxes = [Text.get_window_extent(text, renderer) for text in ax.texts if text.get_text()]
        centres = [ax.transData.transform(place) for place in _marks(ax)]
        assert len(boxes) > 2
        for box in boxes:
            assert not any(box.contains(*centre) for centre in centres)

    def test_curve_of_one_parameter(self):
        table = _table(["strict minimum", "maximum"], [[-1.0], [0.1]], losses=[-0.3, 1.0], limits=[(0.9, [1.0])])
        figure = plot_critical_points(table, _LINE)
        (ax,) = figure.axes
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "loss")
        assert set(_marks(ax)) == {(-1.0, -0.3), (0.1, 1.0)}
        (curve,) = [line for line in ax.get_lines() if len(line.get_xdata()) == len(_LATTICE)]
        np.testing.assert_allclose(curve.get_xydata(), np.stack([_LATTICE, _LINE["loss"]], axis=-1))
        np.testing.assert_allclose(_arrows(ax)[0][:, 1], 0.9)
        np.testing.assert_allclose(_arrows(ax)[0][0], [2.0, 0.9])
        assert {"1", "2", "limit 0.9"} == set(_written(ax))

    def test_texts_keep_away_from_a_curve(self):
        """A limit is approached by the curve itself."""
        problem, box = jaxloss.load_problem("auer-fig3a"), {"weight[0]": (-10, 10)}
        table = jaxloss.find_critical_points(problem, box)
        figure = plot_critical_points(table, loss_surface(problem, box))
        ax = figure.axes[0]
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        (curve,) = [line for line in ax.get_lines() if len(line.get_xdata()) > 100]
        drawn = ax.transData.transform(curve.get_xydata())
        texts = [text for text in ax.texts if text.get_text()]
        assert {text.get_text() for text in texts} == {"1", "2", "3", "limit 0.365", "limit 0.765"}
        for text in texts:
            box = Text.get_window_extent(text, renderer)
            assert not any(box.contains(*place) for place in drawn), text

    def test_towering_curve(self):
        """What is critical stays visible where the loss soars."""
        values = np.linspace(-100, 100, 2001)
        table = _table(["strict minimum", "maximum"], [[-1.0], [0.1]], losses=[-0.3, 1.0])
        ax = plot_critical_points(table, _surface(x=values)).axes[0]
        bottom, top = ax.get_ylim()
        assert bottom < -0.3
        assert 1.0 < top < 20

    def test_undecided_on_a_line(self):
        table = _table(["maximum"], [[0.1]], undecided=[[[0.5, 0.75]]])
        ax = plot_critical_points(table, _LINE).axes[0]
        bottom, top = ax.get_ylim()
        np.testing.assert_allclose(_undecided(ax), [[[0.5, bottom], [0.75, top]]])

    def test_nothing_critical(self):
        none = np.zeros((0, 2))
        assert _legend_texts(plot_critical_points(_table([], none), _PLANE)) == ["none in the box"]
        found = plot_critical_points(_table([], none, complete=False), _PLANE)
        assert _legend_texts(found) == ["none found"]
        assert found.legends[0].get_title().get_text() == "Critical points"
        assert _legend_texts(plot_critical_points(_table([], np.zeros((0, 1))))) == ["none in the box"]

    def test_surface_that_is_not_finite(self):
        holes = _PLANE.where(_PLANE["x"] > 0)
        assert len(plot_critical_points(_table(_FIVE, _FIVE_PLACES), holes).axes) == 2
        nowhere = _PLANE.where(_PLANE["x"] > 9)
        assert len(plot_critical_points(_table(_FIVE, _FIVE_PLACES), nowhere).axes) == 1
        line = _LINE.where(_LINE["x"] > 0)
        assert _written(plot_critical_points(_table(["maximum"], [[0.1]]), line).axes[0]) == ["1"]

    def test_a_real_search(self):
        """Every number in the legend is one of the table."""
        box = {"weight[0]": (-4.0, 4.0), "bias": (-4.0, 4.0)}
        problem = jaxloss.load_problem("loss-comparison")
        table = jaxloss.find_critical_points(problem, box)
        figure = plot_critical_points(table, loss_surface(problem, box, num=31))
        marks = _marks(figure.axes[0])
        columns = [table["parameter"].values.tolist().index(name) for name in box]
        assert set(marks) == {tuple(place) for place in np.round(table["location"].values[:, columns], 9).tolist()}
        assert len(marks) > 2
        texts = [text.get_text() for text in _of_points(figure).get_texts()]
        for i, text in enumerate(texts):
            row = table.isel(critical_point=i)
            assert text.startswith(f"{i + 1}  ")
            assert f": loss {reading.number(float(row['loss']))}" in text
            limit = float(row["learning_rate_limit"])
            assert text.endswith(f"learning-rate limit {reading.number(limit)}") == bool(np.isfinite(limit))
        assert len(texts) == len(marks)
        lowest = f"limit {reading.number(table.attrs['infimum_at_infinity'])}"
        assert lowest in _written(figure.axes[0])

    def test_file(self, tmp_path):
        table = _table(_FIVE, _FIVE_PLACES, limits=_LIMITS, undecided=[[[0, 1], [0, 1]]])
        paths = [tmp_path / name for name in ("a.png", "b.png")]
        figures = [plot_critical_points(table, _PLANE, path=path) for path in paths]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        written = matplotlib.image.imread(paths[0])[::-1, :, :3]
        assert np.abs(written - _pixels(figures[0])).mean() < 1e-3
        assert sorted(tmp_path.iterdir()) == paths

    @pytest.mark.parametrize(
        ("table", "surface", "expected"),
        [
            ({"location": 1}, None, "table must be the dataset of jaxloss.find_critical_points"),
            (xr.Dataset(), None, "table must be the dataset of jaxloss.find_critical_points"),
            (_PLANE, None, "table must be the dataset of jaxloss.find_critical_points"),
            (_table(_FIVE, _FIVE_PLACES), [1], "surface must be the dataset of jaxloss.surface.loss_surface"),
            (_table(_FIVE, _FIVE_PLACES), xr.Dataset(), "surface must be the dataset"),
            (_table(_FIVE, _FIVE_PLACES), _LINE, "surface has the parameters x, and the table has x, y"),
            (
                _table(_FIVE, _FIVE_PLACES),
                _PLANE.isel(y=[3]),
                "surface needs two points or more along each parameter",
            ),
        ],
    )
    def test_bad_input(self, table, surface, expected):
        with pytest.raises(InputError, match=expected) as caught:
            plot_critical_points(table, surface)
        assert "\n" not in str(caught.value)

    def test_too_many_parameters(self):
        table = _table(["maximum"], [[0.0, 0.0]])
        three = xr.concat([table, table.assign_coords(parameter=["z", "w"])], "parameter", data_vars="minimal")
        with pytest.raises(InputError, match="needs one or two parameters, and the table has 4"):
            plot_critical_points(three)

    @pytest.mark.parametrize("name", ["figure.pdf", "missing/figure.png"])
    def test_path_that_cannot_be(self, tmp_path, name):
        with pytest.raises(InputError, match="figure"):
            plot_critical_points(_table(_FIVE, _FIVE_PLACES), _PLANE, path=tmp_path / name)
        assert not list(tmp_path.iterdir())


class TestLearningCurves:
    def test_every_path_in_both_panels(self, well):
        figure = plot_learning_curves(well)
        gap = well["path_loss"].values - well.attrs["infimum"]
        for ax, values in zip(figure.axes, (gap, well["path_gradient_norm"].values), strict=True):
            curves = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
            assert len(curves) == well.sizes["trajectory"]
            starts = sorted(curve.get_ydata()[0] for curve in curves)
            np.testing.assert_allclose(starts, np.sort(values[0]))
            assert ax.get_yscale() == "log"
            assert ax.get_xlabel() == "step"

    def test_curves_are_coloured_by_outcome(self, well):
        known = reading.fates(well)
        expected = {fate.label: to_rgb(style.line_colour(fate)) for fate in known.entries}
        for curve in plot_learning_curves(well).axes[0].get_lines():
            if curve.get_label() in expected:
                assert to_rgb(curve.get_color()) == expected[curve.get_label()]

    def test_no_paths(self, starts):
        with pytest.raises(InputError, match="num_paths"):
            plot_learning_curves(starts)


class TestFiles:
    def test_all(self, tmp_path, well, plane, starts):
        folder = tmp_path / "new" / "figures"
        results = {"well/one": well.isel(learning_rate=[2]), "plane": plane, "starts": starts}
        paths = plot_all(results, folder)
        assert [path.name for path in paths] == [
            "basins.png",
            "fractions.png",
            "well_one-outcomes.png",
            "well_one-surface.png",
            "well_one-curves.png",
            "plane-outcomes.png",
            "plane-plane.png",
            "plane-curves.png",
        ]
        assert sorted(folder.iterdir()) == sorted(paths)
        for path in paths:
            assert matplotlib.image.imread(path).std() > 0.02

    def test_same_bytes(self, tmp_path, cube):
        paths = [tmp_path / name for name in ("a.png", "b.png")]
        for path in paths:
            plot_outcome_map(cube, path=path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert b"Software" not in paths[0].read_bytes()

    def test_callers_settings_do_not_matter(self, cube):
        expected = _pixels(plot_outcome_map(cube))
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 20}):
            drawn = plot_outcome_map(cube)
            buffer = io.BytesIO()
            drawn.savefig(buffer, format="png", dpi="figure")
            assert matplotlib.rcParams["font.size"] == 30
        buffer.seek(0)
        np.testing.assert_allclose(matplotlib.image.imread(buffer)[::-1, :, :3], expected, atol=0.01)

    @pytest.mark.parametrize("name", ["figure.pdf", "missing/figure.png"])
    def test_path_that_cannot_be(self, tmp_path, cube, name):
        with pytest.raises(InputError, match="figure"):
            plot_outcome_map(cube, path=tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_folder_that_is_a_file(self, tmp_path, cube):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be made"):
            plot_all([cube], tmp_path / "file" / "folder")


class TestColours:
    def test_every_outcome_has_its_own(self):
        assert set(style.COLOURS) == set(OUTCOMES.values())
        assert len(set(style.COLOURS.values())) == len(OUTCOMES)

    @pytest.mark.parametrize(
        "vision",
        [
            np.eye(3),
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        ],
        ids=["all cones", "no red cones", "no green cones"],
    )
    def test_outcomes_keep_apart(self, vision):
        """Distances in CIELAB, seen through the model of Machado, Oliveira and Fernandes, 2009."""
        rgb = np.array([to_rgb(tone) for tone in style.COLOURS.values()])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.transpose(vision)
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        xyz = np.clip(linear, 0, 1) @ to_xyz.T / to_xyz.sum(axis=1)
        x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert apart[~np.eye(len(lab), dtype=bool)].min() > 12


def test_importing_the_package_does_not_import_matplotlib():
    code = "import jaxloss, sys; jaxloss.figures; assert not any(m.startswith('matplotlib') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_figure():
    with pytest.raises(AttributeError, match="plot_pie"):
        jaxloss.figures.plot_pie  # noqa: B018
    assert set(jaxloss.figures.__all__) <= set(dir(jaxloss.figures))
