"""Basins along a hyperparameter: identities of attractors that move, split, merge and die; tipping between values."""

import json
import math
import runpy
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from jaxloss import Axis, Grid, InputError, Starts, load_problem, sweep, sweep_map
from jaxloss.basins import outcome_fractions, wilson_interval
from jaxloss.basins.along import read_along
from jaxloss.basins.continuation import continue_attractors
from jaxloss.basins.labels import split_axes
from jaxloss.basins.tipping import tipping_probabilities, transitions
from jaxloss.bifurcation import descent_map
from jaxloss.figures.continuation import animate_basins, plot_continuation, plot_tipping
from jaxloss.outcomes import OUTCOMES

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "along_the_learning_rate.py"
STORED = ROOT / "results" / "along_the_learning_rate"
MERGER = 1.5 * math.sqrt(3) - 1
"""Where the two attractors of the cubic map touch at 0: the image of its critical value is a zero of the map."""


def tilted_well(state, h):
    """Gradient descent on x^4/4 - x^2/2 - h x: the left well vanishes at h = 2 / (3 sqrt 3)."""
    x = state["x"]
    return {"x": x - 0.1 * (x**3 - x - h)}


def turn(theta, a):
    return -0.5 * jnp.sin(theta - a)


@pytest.fixture(scope="module")
def wells():
    """The cubic map from rest through cycles to the merged chaotic set; starts that lie on no critical point."""
    grid = Grid({"x": Axis.linear(-2.39, 2.39, 400), "learning_rate": Axis.linear(0.5, 1.8, 53)})
    return sweep_map(descent_map(load_problem("cubic-map")), grid)


@pytest.fixture(scope="module")
def neuron():
    axes = {"weight[0]": Axis.linear(-8, 8, 12), "bias": Axis.linear(-8, 8, 12)}
    grid = Grid({**axes, "learning_rate": Axis.log(0.3, 30, 4)})
    return sweep(load_problem("loss-comparison"), grid, num_steps=3000)


def synthetic(attractor, locations, **dims):
    """A result as of `sweep_map`, of fixed points at the given places."""
    attractor = np.asarray(attractor)
    name, values = next(iter(dims.items()))
    outcome = np.where(attractor >= 0, 10, OUTCOMES["diverged"]).astype(np.int8)
    locations = np.asarray(locations, float)
    return xr.Dataset(
        {
            "outcome": ((name, "x"), outcome),
            "attractor": ((name, "x"), attractor.astype(np.int32)),
            "period": ((name, "x"), (attractor >= 0).astype(np.int32)),
            "attractor_location": (("attractor_index", "parameter"), locations),
            "orbit": (("orbit_point", "parameter"), locations),
            "orbit_of": ("orbit_point", np.arange(len(locations))),
        },
        coords={name: values, "x": np.arange(attractor.shape[1]), "parameter": ["x"]},
        attrs={"outcomes": '{"unfinished": 0, "cycle": 7, "chaotic": 8, "diverged": 9, "fixed_point": 10}'},
    )


class TestIdentity:
    def test_an_attractor_that_moves_keeps_its_name_and_one_that_dies_ends(self):
        tilts = np.linspace(0, 0.6, 25)
        grid = Grid({"x": Axis.linear(-2.05, 2.0, 80), "h": Axis.of(tilts)})
        found = continue_attractors(sweep_map(tilted_well, grid, num_steps=20_000), along="h")
        names = found.fate.values[found.is_attractor.values].tolist()
        at_first = found.location[0, :, 0].sel(fate=names).values
        left, right = names[int(np.argmin(at_first))], names[int(np.argmax(at_first))]
        assert len(names) == 2
        limit = 2 / (3 * math.sqrt(3))
        assert float(found["last"].sel(fate=left)) == tilts[tilts < limit].max()
        assert float(found["last"].sel(fate=right)) == tilts.max()
        for h, place in zip(tilts, found.location.sel(fate=right).values[:, 0], strict=True):
            roots = np.roots([1, 0, -1, -h])
            assert place == pytest.approx(roots.real[np.abs(roots.imag) < 1e-9].max(), abs=1e-6)
        # All that the left well held belongs to the right one then.
        assert (found.fraction.sel(fate=right).values[tilts > limit] == 1).all()
        assert (found.fraction.sel(fate=left).values[tilts > limit] == 0).all()
        assert np.isnan(found.location.sel(fate=left).values[tilts > limit]).all()

    def test_through_cycles_and_chaos_up_to_the_merger(self, wells):
        found = continue_attractors(wells)
        rates = found.learning_rate.values
        assert found.is_attractor.sum() == 2
        ends = sorted(float(found["last"].sel(fate=name)) for name in found.fate.values[:2])
        assert ends == [rates[rates < MERGER].max(), rates.max()]
        survivor = found.fate.values[:2][np.argmax(found["last"].values[:2])]
        outcome, period = (found[name].sel(fate=survivor).values for name in ("outcome", "period"))
        slow = np.abs(rates - 1) < 0.03  # convergence at the edge itself takes for ever
        assert (outcome[(rates < 1) & ~slow] == 10).all()
        assert (period[(rates > 1) & (rates < 1.2) & ~slow] == 2).all()
        assert (outcome[rates > 1.4] == OUTCOMES["chaotic"]).sum() > 10
        # Both are mirror images before they merge.
        together = found.fraction[:, :2].values[rates < MERGER]
        np.testing.assert_allclose(together[:, 0], together[:, 1], atol=1e-12)

    def test_what_diverges_is_known_in_closed_form(self, wells):
        found = continue_attractors(wells)
        x = np.abs(wells.x.values)
        for rate, share in zip(found.learning_rate.values, found.fraction.sel(fate="diverged").values, strict=True):
            assert share == (x > math.sqrt(1 + 2 / rate)).mean()

    def test_identity_follows_place_and_basin_not_number(self):
        places = [[0.0], [5.0], [5.1], [0.1], [0.2], [5.2]]
        attractor = [[0, 0, 1, 1, 1], [3, 3, 2, 2, 2], [4, 4, 5, 5, -1]]
        found = continue_attractors(synthetic(attractor, places, r=[0.0, 0.1, 0.2]), along="r")
        assert found.fate.values.tolist() == ["fixed point A", "fixed point B", "diverged"]
        assert found.fate_index.values.tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 2]]
        np.testing.assert_allclose(found.location[:, 0, 0], [0, 0.1, 0.2])

    def test_of_two_near_ones_the_basins_decide(self):
        # The nearer one to where the attractor was is the one that has hardly a start.
        attractor = [[0, 0, 0, 0, 0, 0], [1, 2, 2, 2, 2, 2]]
        found = continue_attractors(synthetic(attractor, [[1.0], [1.0], [1.2]], r=[0.0, 1.0]), along="r")
        assert found.fate_index.values[1].tolist() == [1, 0, 0, 0, 0, 0]

    def test_beyond_the_distance_it_is_another_one(self):
        result = synthetic([[0, 0], [1, 1]], [[0.0], [3.0]], r=[0.0, 1.0])
        assert continue_attractors(result, along="r").fate.size == 2
        # |0 - 3| / (1 + 3)
        assert continue_attractors(result, along="r", max_distance=0.76).fate.size == 1
        assert continue_attractors(result, along="r", max_distance=0.74).fate.size == 2

    def test_one_that_returns_has_its_name_again(self):
        attractor = [[0, 0, 1], [0, 0, 0], [2, 2, 3]]
        found = continue_attractors(synthetic(attractor, [[0.0], [9.0], [0.1], [9.1]], r=[1, 2, 3]), along="r")
        assert found.fate_index.values.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
        assert (float(found["first"][1]), float(found["last"][1])) == (1, 3)

    def test_across_the_seam_of_an_angle(self):
        grid = Grid({"theta": Axis.linear(0.1, 6.1, 30), "a": Axis.linear(-0.4, 0.4, 9)})
        turned = sweep_map(
            lambda state, a: {"theta": state["theta"] + turn(state["theta"], a)}, grid, wrap={"theta": 2 * math.pi}
        )
        found = continue_attractors(turned, along="a")
        attracting = found.fate.values[found.fraction.max("a") > 0.9]
        assert len(attracting) == 1
        place = found.location.sel(fate=attracting[0]).values[:, 0]
        np.testing.assert_allclose(np.cos(place - found.a.values), 1, atol=1e-9)
        assert place.max() > 5 > 1 > place.min()  # it does cross


class TestShares:
    def test_every_start_has_one_fate(self, neuron):
        found = continue_attractors(neuron)
        np.testing.assert_allclose(found.fraction.sum("fate"), 1)
        assert (found["count"].sum("fate") == 144).all()
        low, high = wilson_interval(found["count"].values, 144)
        np.testing.assert_array_equal(found.low, low)
        np.testing.assert_array_equal(found.high, high)

    def test_a_sweep_keeps_its_critical_points(self, neuron):
        found, fractions = continue_attractors(neuron), outcome_fractions(neuron)
        names = [name for name in found.fate.values if name.startswith("global minimum")]
        assert len(names) == 1
        np.testing.assert_allclose(
            found.fraction.sel(fate=names[0]), fractions.fraction.sel(outcome_name="global_minimum")
        )
        for name in ("plateau", "cycle", "unfinished"):
            expected = fractions.fraction.sel(outcome_name=name).values
            given = found.fraction.sel(fate=name).values if name in found.fate.values else np.zeros(4)
            np.testing.assert_allclose(given, expected)
        sharpness = neuron.eigenvalues.values.max(axis=1)
        index = int(neuron.attractor.values[neuron.outcome.values == 1][0])
        assert float(found.edge.sel(fate=names[0])) == pytest.approx(2 / sharpness[index])
        assert np.isnan(found.edge.values[~found.is_attractor.values]).all()

    def test_the_map_of_fates_keeps_the_grid(self, neuron):
        found = continue_attractors(neuron)
        assert found.fate_index.dims == ("learning_rate", "weight[0]", "bias")
        reached = found.fate_index.values == found.fate.values.tolist().index(found.fate.values[0])
        assert reached.sum() == int(found["count"][:, 0].sum())
        back = found.fate_index.isel(learning_rate=2).values
        for name, i in {name: i for i, name in enumerate(found.fate.values)}.items():
            assert (back == i).sum() == int(found["count"].sel(fate=name)[2])

    def test_sampled_starts_will_do(self):
        grid = Grid({"start": Starts(200, scale=1.5), "learning_rate": Axis.of([1.5, 0.5])})
        found = continue_attractors(sweep(load_problem("cubic-map"), grid, precision="float64"))
        assert found.learning_rate.values.tolist() == [0.5, 1.5]
        assert found.fate_index.shape == (2, 200)
        assert {"diverged", "chaotic"} & set(found.fate.values)

    def test_any_hyperparameter(self):
        grid = Grid({"x": Axis.linear(-2, 2, 8), "momentum": Axis.linear(0, 0.9, 3)})
        result = sweep(load_problem("cubic-map"), grid, optimizer="momentum", learning_rate=0.1)
        assert split_axes(result)[1] == ["momentum"]
        found = continue_attractors(result, along="momentum")
        assert found.momentum.values.tolist() == [0, 0.45, 0.9]
        assert np.isnan(found.edge).all()  # 2/sharpness is the edge of plain descent


class TestTipping:
    def test_rows_are_distributions(self, wells):
        for pair in ((0.5, 1.8), (1.8, 0.5), (0.8, 1.2)):
            found = tipping_probabilities(wells, *pair)
            held = found.total.values > 0
            np.testing.assert_allclose(found.probability.values[held].sum(axis=1), 1)
            assert np.isnan(found.probability.values[~held]).all()
            assert (found.low.values[held] <= found.probability.values[held]).all()
            assert (found.probability.values[held] <= found.high.values[held]).all()

    def test_closed_form_of_what_is_lost(self, wells):
        found = tipping_probabilities(wells, 0.5, 1.5)
        x = wells.x.values
        kept, lost = np.abs(x) <= math.sqrt(5), np.abs(x) > math.sqrt(1 + 2 / 1.5)
        names = found.before.values[:2]
        count = found["count"].sel(before=names, after="diverged").values.sum()
        assert count == (kept & lost).sum()
        assert found.total.sel(before=names).sum() == kept.sum()
        assert float(found.probability.sel(before="diverged", after="diverged")) == 1  # lost is lost

    def test_nothing_tips_where_nothing_changes(self, wells):
        found = tipping_probabilities(wells, 0.8, 0.8)
        held = found.total.values > 0
        np.testing.assert_array_equal(found.probability.values[held], np.eye(len(held))[held])

    def test_counts_as_a_plain_loop_does(self):
        rng = np.random.default_rng(0)
        before, after = rng.integers(0, 4, (2, 500))
        count, total = transitions(before, after, 4)
        expected = [[np.sum((before == i) & (after == j)) for j in range(4)] for i in range(4)]
        np.testing.assert_array_equal(count, expected)
        np.testing.assert_array_equal(total, np.bincount(before, minlength=4))

    def test_the_continued_result_gives_the_same(self, wells):
        direct, continued = (tipping_probabilities(r, 0.5, 1.7) for r in (wells, continue_attractors(wells)))
        xr.testing.assert_identical(direct, continued)

    def test_a_value_off_the_axis(self, wells):
        with pytest.raises(
            InputError, match=r"before must be a value along the axis: 0.51 is none, the nearest is 0.5"
        ):
            tipping_probabilities(wells, 0.51, 1.8)
        with pytest.raises(InputError, match="along must be 'learning_rate'"):
            tipping_probabilities(continue_attractors(wells), 0.5, 1.8, along="r")


class TestBadInput:
    def test_no_axis(self, neuron):
        with pytest.raises(InputError, match=r"axis 'learning_rate', but its only axes are those of the starts"):
            continue_attractors(neuron.isel(learning_rate=0))
        with pytest.raises(InputError, match="did you mean 'learning_rate'"):
            continue_attractors(neuron, along="learning_rat")

    def test_one_value(self, neuron):
        with pytest.raises(InputError, match="two or more values along 'learning_rate', not 1"):
            continue_attractors(neuron.isel(learning_rate=[0]))

    def test_two_hyperparameters(self):
        axes = {"x": Axis.of([0.5]), "learning_rate": Axis.of([0.1, 0.2]), "momentum": Axis.of([0.1, 0.2])}
        result = sweep(load_problem("cubic-map"), Grid(axes), optimizer="momentum", num_steps=50)
        with pytest.raises(InputError, match="one value along 'momentum'"):
            continue_attractors(result)
        assert continue_attractors(result.isel(momentum=[1])).attrs["total"] == 1
        assert read_along(result.isel(momentum=0), "learning_rate").outcome.shape == (2, 1)

    @pytest.mark.parametrize("value", [0, -1, math.inf, "far"])
    def test_distance(self, neuron, value):
        with pytest.raises(InputError, match="max_distance"):
            continue_attractors(neuron, max_distance=value)

    def test_confidence_and_kind(self, neuron):
        with pytest.raises(InputError, match="confidence"):
            continue_attractors(neuron, confidence=1.0)
        with pytest.raises(InputError, match="result must be the dataset of sweep"):
            continue_attractors(np.zeros(3))


class TestFigures:
    def test_stacked_fractions(self, wells, tmp_path):
        found = continue_attractors(wells)
        figure = plot_continuation(found, edges=[1.0, 99.0], path=tmp_path / "basins.png")
        assert isinstance(figure, Figure)
        texts = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        assert {"diverged", "attractor is a cycle", "attractor is chaotic", "2/sharpness of a minimum"} <= texts
        assert {name for name in found.fate.values if name != "unfinished"} <= texts
        dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in dashed] == [1.0]
        assert (tmp_path / "basins.png").stat().st_size > 10_000

    def test_edges_of_a_sweep_are_drawn(self, neuron):
        found = continue_attractors(neuron)
        edges = found.edge.values[np.isfinite(found.edge.values)]
        inside = edges[(edges > 0.3) & (edges < 30)]
        dashed = [line for line in plot_continuation(found).axes[0].lines if line.get_linestyle() == "--"]
        assert len(inside)
        np.testing.assert_allclose(sorted(line.get_xdata()[0] for line in dashed), np.unique(inside.round(9)))

    def test_animation(self, neuron, tmp_path):
        path = animate_basins(continue_attractors(neuron), tmp_path / "basins.gif", frames_per_second=4)
        with Image.open(path) as image:
            assert image.n_frames >= 4
            assert image.size[0] > 300
        assert list(tmp_path.iterdir()) == [path]

    def test_animation_needs_a_map(self, neuron, wells, tmp_path):
        found = continue_attractors(neuron)
        with pytest.raises(InputError, match=r"\.gif"):
            animate_basins(found, tmp_path / "basins.png")
        with pytest.raises(InputError, match="cannot be written"):
            animate_basins(found, tmp_path / "nowhere" / "basins.gif")
        with pytest.raises(InputError, match="two axes to be animated"):
            animate_basins(continue_attractors(wells), tmp_path / "basins.gif")
        sampled = synthetic([[0, 0], [0, 1]], [[0.0], [3.0]], learning_rate=[0.1, 1.0]).rename(x="start")
        with pytest.raises(InputError, match="two axes"):
            animate_basins(continue_attractors(sampled), tmp_path / "basins.gif")

    def test_tipping(self, wells, tmp_path):
        found = tipping_probabilities(wells, 0.8, 1.7)
        figure = plot_tipping(found, path=tmp_path / "tipping.png")
        shown = [text.get_text() for text in figure.axes[0].texts]
        assert "100 %" in shown
        assert len(figure.axes[0].get_yticklabels()) == int((found.total > 0).sum())

    def test_bad_input(self, neuron):
        for draw in (plot_continuation, plot_tipping):
            with pytest.raises(InputError, match="must be what"):
                draw(neuron)


@pytest.mark.slow
class TestScript:
    FILES = ("basins.png", "bifurcation.png", "flow.png")

    def test_quick(self, tmp_path):
        if not SCRIPT.exists():
            pytest.skip("scripts are not part of an installed package")
        summary = runpy.run_path(str(SCRIPT))["main"](["--quick", "--out", str(tmp_path)])
        assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(summary))
        assert all(row["holds"] for row in summary["double well"]["known"])
        for name in (*(f"{case}-{file}" for case in ("double-well", "neuron") for file in self.FILES),):
            assert (tmp_path / name).exists()
        with Image.open(tmp_path / "neuron-basins.gif") as image:
            assert image.n_frames == 4
        shares = summary["neuron"]["fates"]
        totals = np.sum(
            [shares[name]["fraction"] for name in shares if name not in ("total", "learning_rate")], axis=0
        )
        np.testing.assert_allclose(totals, 1, atol=1e-5)

    def test_stored(self):
        if not STORED.exists():
            pytest.skip("results are not part of an installed package")
        summary = json.loads((STORED / "summary.json").read_text())
        assert len(summary["double well"]["known"]) == 4
        assert all(row["holds"] for row in summary["double well"]["known"])
        assert sum(path.stat().st_size for path in STORED.iterdir()) < 1_500_000
        # The neuron's global minimum is left at its edge, and the flow knows no edge.
        rates = np.array(summary["neuron"]["fates"]["learning_rate"])
        edge = summary["neuron"]["edges"]["global minimum A"]
        fraction = np.array(summary["neuron"]["fates"]["global minimum A"]["fraction"])
        assert (fraction[rates < edge] > 0.3).all()
        assert (fraction[rates > edge] < 0.01).all()
        changed = np.array(summary["neuron"]["changed_by_the_step"]["share"])
        assert (changed[rates < 0.7 * edge] < 0.01).all()
        assert (changed[rates > edge] > 0.5).all()
