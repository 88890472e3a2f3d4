"""Refined maps against the whole grid, and zooms where the picture is known."""

import json
import runpy
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxloss import Axis, Grid, InputError, Starts, load_problem, sweep, sweep_map
from jaxloss.basins import box_counting_dimension
from jaxloss.figures.refinement import plot_refined_map, plot_refinement_cost
from jaxloss.problems.maps import MAPS
from jaxloss.refinement import cost_exponent, refine, zoom

NEWTON = MAPS["newton-cubic"]()
OBJECTIVES = [("sigmoid", "mse", 1.0), ("relu", "mse", 0.1), ("sigmoid", "mse", 10.0)]


def window(num, half=1.0):
    return Grid({"x": Axis.linear(-half, half, num), "y": Axis.linear(-half, half, num)})


def check_against(full, found):
    """Every label that was computed is that of the whole grid, bit for bit; returns the share of wrong fillings."""
    same = (found.outcome == full.outcome).values & (found.attractor == full.attractor).values
    computed = found.computed.values
    assert found.outcome.dims == full.outcome.dims
    assert found.attrs["trajectories"] == computed.sum()
    assert same[computed].all()
    return 1 - same[~computed].mean() if (~computed).any() else 0.0


class TestRefine:
    @pytest.mark.parametrize(("activation", "loss", "rate"), OBJECTIVES)
    def test_is_the_whole_grid_where_it_was_computed(self, activation, loss, rate):
        problem = load_problem("loss-comparison", activation=activation, loss=loss)
        grid = Grid({"weight[0]": Axis.linear(-8, 8, 256), "bias": Axis.linear(-8, 8, 256)})
        options = {"learning_rate": rate, "num_steps": 1000}
        full, found = sweep(problem, grid, **options), refine(problem, grid, **options)
        assert check_against(full, found) < 1e-3
        assert found.attrs["share"] < 0.25
        np.testing.assert_array_equal(found.location, full.location)
        # Refinement went to the last level wherever the map has a boundary.
        across = found.outcome.values[1:] != found.outcome.values[:-1]
        assert (found.level.values[1:][across] == found.level.values.max()).all()
        assert found.computed.values[1:][across].all()

    def test_of_a_map_with_a_fractal_boundary(self):
        grid = window(300)
        full = sweep_map(NEWTON, grid, attractors=NEWTON.attractors)
        found = refine(NEWTON, grid, attractors=NEWTON.attractors, coarse=40, audit=2000)
        assert check_against(full, found) < 1e-3
        assert found.attrs["audited"] == 2000
        assert found.attrs["audit_low"] <= found.attrs["audit_share"] <= found.attrs["audit_high"] < 0.01

    def test_cost_grows_like_the_boundary(self):
        """The exponent is the box-counting dimension: 1.42 for Newton's basins, 1 for a line."""
        fractal = refine(NEWTON, window(1025), attractors=NEWTON.attractors, audit=0)
        added = np.diff(fractal.num_trajectories.values)
        slopes = np.diff(np.log2(added))
        sizes = [4, 8, 16, 32, 64]
        dimension = box_counting_dimension(fractal.attractor.values, sizes).dimension
        assert slopes.mean() == pytest.approx(dimension, abs=0.1)
        line = load_problem("single-relu")
        grid = Grid({"weight[0]": Axis.linear(-3, 3, 1025), "bias": Axis.linear(-2.9, 3.1, 1025)})
        smooth = refine(line, grid, learning_rate=0.1, num_steps=300, audit=0)
        assert np.diff(np.log2(np.diff(smooth.num_trajectories.values)))[-1] == pytest.approx(1, abs=0.15)

    @pytest.mark.parametrize("num", [7, 64, 65, 100, 129, 130])
    @pytest.mark.parametrize("margin", [0, 1, 2])
    def test_any_size_and_margin(self, num, margin):
        grid = Grid({"x": Axis.linear(-3, 3, num), "learning_rate": Axis.linear(0.2, 0.9, num // 2 + 2)})
        problem = load_problem("cubic-map")
        full = sweep(problem, grid, num_steps=300)
        found = refine(problem, grid, coarse=8, margin=margin, num_steps=300, audit=50)
        wrong = check_against(full, found)
        assert wrong < 0.05 if margin else wrong < 0.3

    def test_one_axis_and_three(self):
        problem = load_problem("cubic-map")
        grid = Grid({"x": Axis.linear(-3, 3, 1000), "learning_rate": Axis.of([0.5])})
        found = refine(problem, grid, coarse=30)
        assert check_against(sweep(problem, grid), found) == 0
        assert found.attrs["trajectories"] < 150
        bowl = load_problem("quadratic")
        grid = Grid({"x": Axis.linear(-2, 2, 20), "y": Axis.linear(-2, 2, 17), "learning_rate": Axis.log(0.5, 8, 18)})
        found = refine(bowl, grid, coarse=5, num_steps=300)
        assert check_against(sweep(bowl, grid, num_steps=300), found) < 0.02
        assert found.attrs["share"] < 0.7

    def test_an_island_that_the_coarse_lattice_misses_is_seen_by_the_audit(self):
        def step(state):
            inside = (state["x"] - 0.51) ** 2 + (state["y"] - 0.52) ** 2 < 0.02**2
            return {"x": jnp.where(inside, 0.51, -3.0), "y": jnp.where(inside, 0.52, 0.0)}

        found = refine(step, window(201), coarse=10, audit=20_000)
        assert found.attrs["reason"] or found.attrs["trajectories"] < 200
        assert found.attrs["audit_wrong"] > 0
        assert found.attrs["audit_low"] > 0

    def test_one_outcome_says_so(self):
        found = refine(load_problem("quadratic"), window(200), learning_rate=0.5, coarse=16)
        assert "nothing was refined" in found.attrs["reason"]
        assert found.attrs["trajectories"] == len(np.unique([*range(0, 200, 16), 199])) ** 2
        assert (found.level == 0).all()
        assert found.attrs["audit_wrong"] == 0

    def test_same_options_same_result(self):
        first, again = (refine(NEWTON, window(200), attractors=NEWTON.attractors, coarse=20) for _ in range(2))
        assert first.equals(again)
        assert first.attrs == again.attrs

    @pytest.mark.parametrize(
        ("grid", "options", "field"),
        [
            (Grid({"start": Starts(10)}), {}, "start"),
            (Grid({"x": Axis.of([1.0])}), {}, "more than one value"),
            (Grid({"x": Axis.of([0.0, 2.0, 1.0])}), {}, "in order"),
            (window(20), {"coarse": 0}, "coarse"),
            (window(20), {"margin": -1}, "margin"),
            (window(20), {"audit": 1.5}, "audit"),
            (window(20), {"confidence": 1.0}, "confidence"),
            (window(20), {"learning_rat": 1.0}, "learning_rate"),
            (window(20), {"learning_rate": -1.0}, "learning_rate"),
            (window(20), {"gradient_noise": 0.1, "shared_draws": False}, "shared_draws"),
            (Grid({"z": Axis.linear(0, 1, 20)}), {}, "'z'"),
        ],
    )
    def test_bad_input_names_the_field(self, grid, options, field):
        with pytest.raises(InputError, match=field):
            refine(load_problem("quadratic"), grid, **{"learning_rate": 0.5, **options})

    def test_not_a_problem(self):
        with pytest.raises(InputError, match="problem"):
            refine("quadratic", window(20))


# This point is mapped to the pole at 0, next to which the picture repeats under a factor sqrt(3/2): far out
# Newton's method is z -> 2 z / 3, and near 0 it is 1 / (3 z^2).
CENTRE = {"x": -(0.5 ** (1 / 3)), "y": 0.0}
FACTOR = 1.5**2


class TestZoom:
    def zoomed(self, **options):
        grid = window(48, 0.02)
        return zoom(
            NEWTON, grid, CENTRE, factor=FACTOR, attractors=NEWTON.attractors, num_steps=300, bound=1e30, **options
        )

    def test_repeats_itself_until_float64_ends(self):
        found = self.zoomed(num_zooms=60)
        assert found.attrs["reason"] == "rounding"
        assert found.attrs["last_changed"] > 0.01
        pictures = found.attractor.values
        early = [np.mean(pictures[k] == pictures[k + 1]) for k in range(4, len(pictures) - 3)]
        assert min(early) > 0.97
        # It ends while a cell is still wider than a rounding, but not long before: the bits that are left are few.
        cell = found.width.values[-1, 0] / 47
        assert 1 < cell / np.spacing(abs(CENTRE["x"])) < 1e4

    def test_single_precision_ends_sooner(self):
        double, single = self.zoomed(num_zooms=60), self.zoomed(num_zooms=60, precision="float32")
        assert single.attrs["reason"] in ("rounding", "coordinates")
        ratio = single.width.values[-1, 0] / double.width.values[-1, 0]
        assert 2**27 < ratio < 2**31

    def test_inside_a_basin_coordinates_run_out(self):
        grid = window(32, 0.01)
        found = zoom(NEWTON, grid, {"x": 1.0, "y": 0.0}, factor=1e3, attractors=NEWTON.attractors)
        assert found.attrs["reason"] == "coordinates"
        assert (found.changed == 0).all()
        assert (found.attractor == 0).all()

    def test_windows_are_what_they_say(self):
        problem = load_problem("cubic-map")
        grid = Grid({"x": Axis.linear(-1, 1, 11), "learning_rate": Axis.linear(0.1, 0.5, 5)})
        found = zoom(problem, grid, {"x": 0.5, "learning_rate": 0.3}, factor=10.0, num_zooms=2)
        assert found.attrs["reason"] == "finished"
        np.testing.assert_allclose(found.width, [[2, 0.4], [0.2, 0.04]])
        np.testing.assert_allclose(found.coordinate[1, 0], 0.5 + np.linspace(-0.1, 0.1, 11))
        np.testing.assert_allclose(found.coordinate[1, 1, :5], 0.3 + np.linspace(-0.02, 0.02, 5))
        for k in range(2):
            x, rate = found.coordinate.values[k, 0], found.coordinate.values[k, 1, :5]
            axes = {"x": Axis.of(x), "learning_rate": Axis.of(rate)}
            full = sweep(problem, Grid(axes), precision="float64")
            np.testing.assert_array_equal(found.outcome[k], full.outcome)

    @pytest.mark.parametrize(
        ("centre", "options", "field"),
        [
            ({"x": 0.0}, {}, "centre"),
            ({"x": 0.0, "y": np.nan}, {}, "centre: y"),
            ({"x": 0.0, "y": 0.0}, {"factor": 1.0}, "factor"),
            ({"x": 0.0, "y": 0.0}, {"threshold": 2.0}, "threshold"),
            ({"x": 0.0, "y": 0.0}, {"num_zooms": 0}, "num_zooms"),
            ({"x": 1e17, "y": 0.0}, {}, "resolve"),
        ],
    )
    def test_bad_input_names_the_field(self, centre, options, field):
        with pytest.raises(InputError, match=field):
            zoom(NEWTON, window(16), centre, **options)


class TestFiguresAndScript:
    @pytest.mark.slow
    def test_the_script(self, tmp_path):
        path = Path(__file__).parents[1] / "scripts" / "refinement.py"
        script = runpy.run_path(str(path))
        arguments = ["--resolution", "140", "--checked", "90", "--audit", "200", "--num-steps", "200"]
        summary = script["main"]([*arguments, "--out", str(tmp_path)])
        assert summary == json.loads((tmp_path / "summary.json").read_text())
        assert len(summary["cases"]) == 7
        for case in summary["cases"].values():
            against = case["against_the_whole_grid"]
            assert against["computed_and_different"] == 0
            assert against["filled_and_different"] < 0.01 * against["filled"]
        assert {path.name for path in tmp_path.iterdir()} == {"cost.csv", "cost.png", "map.png", "summary.json"}
        lines = (tmp_path / "cost.csv").read_text().splitlines()
        assert lines[0] == "case,resolution,trajectories,grid,share"
        assert len(lines) > 7

    def test_the_shipped_results(self):
        """What the summary claims of 4096 x 4096 points."""
        path = Path(__file__).parents[1] / "results" / "refinement" / "summary.json"
        summary = json.loads(path.read_text())
        assert summary["resolution"] == 4096
        for name, case in summary["cases"].items():
            assert case["against_the_whole_grid"]["computed_and_different"] == 0
            assert case["share"] <= (0.06 if "fractal" in name else 0.05)

    def test_cost_exponent_of_a_known_growth(self):
        added = 100 * 2.0 ** (1.3 * np.arange(1, 6))
        counts = {
            "resolution": ("refinement", 64 * 2 ** np.arange(6)),
            "num_trajectories": ("refinement", np.cumsum([4225.0, *added])),
        }
        found = cost_exponent(xr.Dataset(counts))
        assert found.exponent == pytest.approx(1.3)
        assert found.standard_error == pytest.approx(0, abs=1e-6)
        assert len(found.added) == 4

    def test_figures_of_something_else(self):
        with pytest.raises(InputError, match="refine"):
            plot_refined_map(sweep(load_problem("quadratic"), window(4), learning_rate=0.1))
        with pytest.raises(InputError, match="results"):
            plot_refinement_cost({})
        with pytest.raises(InputError, match="refine"):
            cost_exponent(xr.Dataset())
