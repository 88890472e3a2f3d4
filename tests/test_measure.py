"""Every measure of a map at once, and the command that takes them of stored results."""

import json
import os

import numpy as np
import pytest
import xarray as xr
from test_basins_maps import newton

from jaxloss import InputError, cli, store
from jaxloss.basins import (
    basin_entropy,
    box_counting_dimension,
    is_boundary_fractal,
    is_wada,
    outcome_fractions,
    smooth_control,
    uncertainty_exponent,
)
from jaxloss.basins.entropy import box_entropies
from jaxloss.basins.summary import MEASURES, Scales, default_scales, measure_map, measure_result
from jaxloss.basins.times import convergence_times
from jaxloss.cli import measure
from jaxloss.outcomes import SOLVED, TRAPPED, UNSTABLE

MAP_OUTCOMES = {"unfinished": 0, "cycle": 7, "chaotic": 8, "diverged": 9, "fixed_point": 10}
BUDGET = 300


def stored(axes, *, outcomes=(0, 1, 3, 9), parameters=("w", "b", "c"), seed=0, **attrs):
    """A result as a sweep stores it: stripes of outcomes that wander with the hyperparameters."""
    rng = np.random.default_rng(seed)
    shape = tuple(len(values) for values in axes.values())
    places = np.indices(shape).reshape(len(shape), -1)
    slant = (places * rng.uniform(0.5, 2, size=(len(shape), 1))).sum(axis=0).reshape(shape)
    stripe = (slant / slant.max() * 2 * len(outcomes)).astype(int) if slant.max() else 0
    outcome = np.full(shape, np.array(outcomes, np.int8)[stripe % len(outcomes)])
    dims = tuple(axes)
    variables = {
        "outcome": (dims, outcome),
        "attractor": (dims, np.where(np.isin(outcome, [1, 3, 10]), outcome % 3, -1).astype(np.int32)),
        "num_steps": (dims, np.where(outcome == 0, BUDGET, rng.integers(1, BUDGET, shape)).astype(np.int32)),
    }
    attrs = {"spec": json.dumps({"run": {"num_steps": BUDGET}}), "name": "made-up", **attrs}
    return xr.Dataset(variables, {**axes, "parameter": list(parameters)}, attrs)


def plane(num=48, rates=(0.1, 1.0), **options):
    line = np.linspace(-1, 1, num)
    return stored({"w": line, "b": line, "learning_rate": np.array(rates)}, **options)


def starts():
    return stored({"start": np.arange(50), "learning_rate": np.array([0.1, 1.0])})


@pytest.fixture(scope="module")
def gasket():
    x, y = np.indices((128, 128))
    return np.where((x & y) == 0, 1, np.where(x < y, 5, 7))


class TestDefaultScales:
    def test_widths_double_up_to_a_sixth_of_the_side(self):
        assert default_scales((128, 200)) == Scales(5, (2, 3, 5, 9, 17), "sliding", 4, 2)
        assert default_scales((30, 500)).box_sizes == (2, 3, 5)

    @pytest.mark.parametrize("side", range(2, 200))
    def test_every_size_fits(self, side):
        """A map of any side is measured, or the reason says what is needed; no default raises."""
        labels = np.indices((side, side)).sum(axis=0) // 3 % 3
        for name, found in measure_map(labels, num_resamples=2).measures.items():
            if side < MEASURES[name].least:
                assert found == (None, None, f"the map is {side} cells wide, and {MEASURES[name].least} are needed")
            else:
                assert found.result is not None


class TestMeasureMap:
    def test_says_what_each_measure_says_by_itself(self, gasket):
        found = measure_map(gasket, seed=3, num_resamples=50, confidence=0.9)
        size, sizes, _, ball, wada = default_scales(gasket.shape)
        how = {"seed": 3, "num_resamples": 50, "confidence": 0.9}
        for position, labels in enumerate((gasket, smooth_control(gasket))):
            by_itself = {
                "basin_entropy": basin_entropy(labels, size, **how),
                "uncertainty_exponent": uncertainty_exponent(labels, sizes, boxes="sliding", **how),
                "box_counting_dimension": box_counting_dimension(labels, sizes, boxes="sliding", **how),
                "is_boundary_fractal": is_boundary_fractal(labels, radius=ball, seed=3, confidence=0.9),
                "is_wada": is_wada(labels, wada, confidence=0.9),
            }
            assert list(by_itself) == list(MEASURES)
            for name, expected in by_itself.items():
                np.testing.assert_equal(found.measures[name][position]._asdict(), expected._asdict())

    def test_tells_a_rough_boundary_from_its_smooth_control(self):
        found = measure_map(newton(300)).measures
        exponent, control, _ = found["uncertainty_exponent"]
        assert exponent.interval.high < 0.7 < 0.95 < control.exponent
        assert found["is_boundary_fractal"].result
        assert not found["is_boundary_fractal"].control
        dimension = found["box_counting_dimension"].result
        assert dimension.interval.low < 1.42 < dimension.interval.high + 0.02

    def test_sizes_that_are_given(self, gasket):
        options = {"box_size": 8, "box_sizes": [2, 4, 8], "boxes": "tiled", "ball_radius": 6, "wada_radius": 7}
        found = measure_map(gasket, **options)
        assert found.scales == Scales(8, (2, 4, 8), "tiled", 6, 7)
        assert found.measures["basin_entropy"].result.box_size == 8
        exponent = found.measures["uncertainty_exponent"].result.exponent
        assert exponent == uncertainty_exponent(gasket, [2, 4, 8]).exponent
        assert found.measures["is_boundary_fractal"].result.radius == 6
        assert found.measures["is_wada"].result.radius == 7

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"box_size": 129}, "box_size must be at most the map's shortest side, 128"),
            ({"box_size": 1}, "box_size must be at least 2"),
            ({"box_sizes": [2, 4, 200]}, r"box_sizes\[2\] must be at most"),
            ({"box_sizes": [4, 2]}, "ascending"),
            ({"ball_radius": 40}, "ball_radius must be at most 31"),
            ({"wada_radius": 0}, "wada_radius must be at least 1"),
            ({"boxes": "tilled"}, "did you mean 'tiled'"),
            ({"confidence": 1}, "confidence"),
            ({"num_resamples": 0}, "num_resamples"),
            ({"seed": -1}, "seed"),
        ],
    )
    def test_refuses_what_does_not_fit(self, gasket, options, sentence):
        with pytest.raises(InputError, match=sentence):
            measure_map(gasket, **options)

    @pytest.mark.parametrize("num_labels", [1, 2])
    def test_what_does_not_apply_has_a_reason_and_no_number(self, num_labels):
        labels = np.zeros((64, 64), int)
        labels[:, :20] = num_labels - 1
        found = measure_map(labels).measures
        assert found["is_wada"] == (None, None, f"Wada basins are three or more, and the map has {num_labels}")
        if num_labels == 1:
            for name in ("uncertainty_exponent", "box_counting_dimension", "is_boundary_fractal"):
                assert found[name].result is None
                assert found[name].reason in ("the map has one label", "no box holds a boundary")
            entropy, control, reason = found["basin_entropy"]
            assert (entropy.entropy, control, reason) == (0, None, "the map has one label")
            assert np.isnan(entropy.boundary_entropy)

    def test_boundary_and_axes(self):
        result = plane().isel(learning_rate=0)
        found = measure_map(result, axes=["b", "w"])
        assert list(found.axes) == ["b", "w"]
        np.testing.assert_array_equal(found.axes["b"], result["b"].values)
        codes = result["outcome"].transpose("b", "w").values
        across = codes[:, 1:] != codes[:, :-1]
        assert found.boundary[:, 1:][across].all()
        assert found.boundary.sum() < codes.size / 3


class TestBoxEntropies:
    @pytest.mark.parametrize("size", [2, 5, 7])
    def test_their_mean_is_the_basin_entropy(self, gasket, size):
        each, whole = box_entropies(gasket, size), basin_entropy(gasket, size)
        assert each.mean() == pytest.approx(whole.entropy, rel=1e-12)
        assert each[each > 0].mean() == pytest.approx(whole.boundary_entropy, rel=1e-12)
        assert each.shape == (128 // size, 128 // size)

    def test_boxes_lie_where_their_cells_do(self):
        labels = np.zeros((6, 9), int)
        labels[3, 7] = 1
        found = box_entropies(labels, 3)
        assert np.argwhere(found > 0).tolist() == [[1, 2]]
        assert found.max() == pytest.approx(-(np.log(1 / 9) / 9 + np.log(8 / 9) * 8 / 9))

    def test_refuses_a_box_that_does_not_fit(self, gasket):
        with pytest.raises(InputError, match="box_size must be at most"):
            box_entropies(gasket, 129)


class TestMeasureResult:
    def test_one_summary_for_each_combination_of_hyperparameters(self):
        line = np.linspace(-1, 1, 32)
        axes = {"w": line, "b": line, "learning_rate": np.array([0.1, 1.0]), "momentum": np.array([0.0, 0.5, 0.9])}
        found = measure_result(stored(axes))
        expected = [{"learning_rate": a, "momentum": b} for a in (0.1, 1.0) for b in (0.0, 0.5, 0.9)]
        assert [summary.hyperparameters for summary in found] == expected
        part = stored(axes).isel(learning_rate=1, momentum=2)
        last = found[-1].maps[0].measures["basin_entropy"].result
        np.testing.assert_equal(last._asdict(), basin_entropy(part, 5, labelling="both")._asdict())

    def test_shares_agree_with_the_fractions(self):
        result = plane()
        table = outcome_fractions(result)
        for i, summary in enumerate(measure_result(result)):
            for name, share in summary.outcomes.items():
                row = table.isel(learning_rate=i).sel(outcome_name=name)
                assert share == (int(row["count"]), row.fraction, row.low, row.high)
            codes = result["outcome"].isel(learning_rate=i).values
            for group, members in {"solved": SOLVED, "trapped": TRAPPED, "unstable": UNSTABLE}.items():
                assert summary.totals[group].number == np.isin(codes, list(members)).sum()
            assert sum(share.number for share in summary.totals.values()) == summary.num_trajectories == codes.size

    def test_steps_agree_with_the_convergence_times(self):
        result = plane()
        times = convergence_times(result)
        for i, summary in enumerate(measure_result(result)):
            for name in ("unfinished", "global_minimum", "diverged"):
                row = times.isel(learning_rate=i).sel(outcome_name=name)
                found = summary.num_steps[name]
                assert (found.number, found.num_stopped) == (row["count"], row["num_stopped"])
                np.testing.assert_equal(found.mean, float(row["mean"]))
                np.testing.assert_array_equal(list(found.quantiles.values()), row["quantile_time"].values)
            assert "plateau" not in summary.num_steps
            every = np.sort(result["num_steps"].isel(learning_rate=i).values.reshape(-1)).astype(float)
            every[every >= BUDGET] = np.inf
            assert summary.num_steps["all"].quantiles[0.5] == every[every.size // 2 - 1]

    def test_without_a_budget_there_are_no_steps(self):
        result = plane()
        del result.attrs["spec"]
        assert measure_result(result)[0].num_steps == {}

    def test_every_plane_at_the_middle_of_the_other_axes(self):
        line = np.linspace(-1, 1, 15)
        axes = {"w": line, "b": line + 5, "c": np.linspace(0, 3, 13), "learning_rate": np.array([0.1])}
        result = stored(axes)
        (found,) = measure_result(result)
        assert [list(each.axes) for each in found.maps] == [["w", "b"], ["w", "c"], ["b", "c"]]
        assert [each.fixed for each in found.maps] == [{"c": 1.5}, {"b": 5.0}, {"w": 0.0}]
        assert found.num_trajectories == 15 * 15 * 13
        middle = result["outcome"].isel(b=7, learning_rate=0).values.astype(int)
        attractor = result["attractor"].isel(b=7, learning_rate=0).values
        np.testing.assert_array_equal(found.maps[1].labels, middle * 2**20 + attractor)

    def test_sampled_starts_have_shares_and_no_map(self):
        found = measure_result(starts())
        assert len(found) == 2
        for summary in found:
            assert summary.num_trajectories == 50
            (only,) = summary.maps
            assert (only.axes, only.labels, only.scales) == ({}, None, None)
            assert {each[:2] for each in only.measures.values()} == {(None, None)}
            assert all("starts are sampled" in each.reason for each in only.measures.values())

    def test_an_axis_that_is_not_even_is_a_reason(self):
        line = np.linspace(-1, 1, 20)
        (found,) = measure_result(stored({"w": line**3, "b": line, "learning_rate": np.array([1.0])}))
        reasons = {each.reason for each in found.maps[0].measures.values()}
        assert reasons == {"axis 'w' must be equally spaced, linearly or logarithmically"}

    def test_hyperparameters_alone_are_the_axes_of_a_map(self):
        axes = {"learning_rate": np.geomspace(0.1, 10, 40), "momentum": np.linspace(0, 0.9, 30)}
        (found,) = measure_result(stored(axes))
        assert found.hyperparameters == {}
        assert list(found.maps[0].axes) == ["learning_rate", "momentum"]
        assert found.maps[0].labels.shape == (40, 30)

    def test_one_initial_axis_is_a_map_of_one_dimension(self):
        found = measure_result(stored({"w": np.linspace(-1, 1, 120), "learning_rate": np.array([0.1, 1.0])}))
        assert [summary.maps[0].labels.shape for summary in found] == [(120,), (120,)]

    def test_a_single_point_is_no_map(self):
        (found,) = measure_result(stored({"w": np.zeros(1), "learning_rate": np.ones(1)}))
        assert {each.reason for each in found.maps[0].measures.values()} == {
            "the map must have an axis with more than one value"
        }

    def test_the_rate_that_is_no_axis_is_told(self):
        line = np.linspace(-1, 1, 12)
        (found,) = measure_result(stored({"w": line, "b": line}, learning_rate=0.25))
        assert found.hyperparameters == {"learning_rate": 0.25}

    def test_the_sweep_of_a_map(self):
        line = np.linspace(-1, 1, 40)
        options = {"outcomes": (10, 7, 9), "parameters": ("x", "y")}
        result = stored({"x": line, "y": line, "a": np.array([1.0, 2.0])}, **options)
        result.attrs["outcomes"] = json.dumps(MAP_OUTCOMES)
        first, second = measure_result(result)
        assert (first.hyperparameters, second.hyperparameters) == ({"a": 1.0}, {"a": 2.0})
        assert first.totals is None
        assert list(first.outcomes) == list(MAP_OUTCOMES)
        assert first.outcomes["fixed_point"].number == (result["outcome"].isel(a=0) == 10).sum()
        assert sum(share.number for share in first.outcomes.values()) == 1600

    @pytest.mark.parametrize(
        ("bad", "options", "sentence"),
        [
            (np.zeros((9, 9), int), {}, "result must be the dataset"),
            (xr.Dataset({"outcome": ("w", np.zeros(3, np.int8))}), {}, "result must be the dataset"),
            (plane(), {"labelling": "atractor"}, "did you mean 'attractor'"),
            (plane(), {"box_size": 49}, "box_size must be at most"),
            (starts(), {"confidence": 2}, "confidence must lie between"),
        ],
    )
    def test_bad_input(self, bad, options, sentence):
        with pytest.raises(InputError, match=sentence):
            measure_result(bad, **options)

    def test_labelling_says_what_a_basin_is(self):
        result = plane()
        labels = {
            name: np.unique(measure_result(result, labelling=name)[0].maps[0].labels).size
            for name in ("outcome", "attractor", "both")
        }
        assert labels == {"outcome": 4, "attractor": 3, "both": 4}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `jaxloss measure`: exit code, output, errors."""
    monkeypatch.setitem(cli.COMMANDS, "measure", measure.measure)

    def call(*argv):
        code = cli.main(["measure", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def folder(tmp_path):
    """Stored results of every sort."""
    path = tmp_path / "stored"
    path.mkdir()
    line = np.linspace(-1, 1, 12)
    store.write_result(plane(), path / "plane.zarr")
    store.write_result(plane(outcomes=(1,)), path / "one.zarr")
    store.write_result(starts(), path / "starts.zarr")
    store.write_result(stored({"w": line, "b": line, "c": line}, learning_rate=0.5), path / "cube.zarr")
    return path


def measures_in(document):
    return [
        (name, each)
        for result in document["results"]
        for one_map in result["maps"]
        for name, each in one_map["measures"].items()
    ]


class TestCommand:
    def test_writes_measures_and_figures(self, run, folder, tmp_path):
        code, out, err = run(folder, "--out", tmp_path / "out")
        assert (code, err) == (0, "")
        kinds = {"plane": 3, "one": 2, "starts": 0, "cube": 2}
        names = ["basin-times", "basin-entropy", "boundary-scaling"]
        figures = {f"{label}-{name}.png" for label, num in kinds.items() for name in names[:num]}
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"measures.json", *figures}
        assert max(len(line) for line in out.splitlines() if not line.startswith("wrote ")) <= 100
        for label in kinds:
            assert f"\n{label}\n" in f"\n{out}"
        left_out = "no one-boundary-scaling.png: measured must hold a map with an exponent: the map has one label"
        assert left_out in " ".join(out.split())

    def test_the_json_says_what_the_functions_say(self, run, folder, tmp_path):
        run(folder, "--out", tmp_path / "out", "--no-figures")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["measures.json"]
        document = json.loads((tmp_path / "out" / "measures.json").read_text(), parse_constant=pytest.fail)
        rows = [row for row in document["results"] if row["objective"] == "plane"]
        for row, summary in zip(rows, measure_result(plane()), strict=True):
            assert row["hyperparameters"] == summary.hyperparameters
            assert row["num_trajectories"] == 48 * 48
            assert row["outcomes"]["diverged"] == summary.outcomes["diverged"]._asdict()
            assert row["totals"]["trapped"]["fraction"] == summary.totals["trapped"].fraction
            (one,) = row["maps"]
            found = summary.maps[0].measures
            exponent = one["measures"]["uncertainty_exponent"]
            assert exponent["result"]["exponent"] == found["uncertainty_exponent"].result.exponent
            assert exponent["result"]["interval"] == list(found["uncertainty_exponent"].result.interval)
            assert exponent["control"]["exponent"] == found["uncertainty_exponent"].control.exponent
            assert one["measures"]["is_wada"]["result"]["wada"] is bool(found["is_wada"].result)
            assert one["axes"]["w"] == {"first": -1, "last": 1, "num": 48}

    def test_what_does_not_apply_is_null_with_a_sentence(self, run, folder, tmp_path):
        run(folder, "--out", tmp_path / "out", "--no-figures")
        document = json.loads((tmp_path / "out" / "measures.json").read_text())
        nothing = [each for _, each in measures_in(document) if each["result"] is None]
        # Sampled starts: all five, at two rates; one label: four, at two rates; 12 cells: three on each plane.
        assert len(nothing) >= 10 + 8 + 9
        assert all(each["reason"] and each["control"] is None for each in nothing)
        sampled = [row for row in document["results"] if row["objective"] == "starts"]
        assert all(row["maps"][0]["axes"] is None and row["maps"][0]["scales"] is None for row in sampled)

    def test_json_alone_writes_nothing(self, run, folder):
        before = sorted(path.name for path in folder.rglob("*"))
        code, out, err = run(folder, "--json")
        assert (code, err) == (0, "")
        assert {row["objective"] for row in json.loads(out)["results"]} == {"plane", "one", "starts", "cube"}
        assert sorted(path.name for path in folder.rglob("*")) == before

    def test_the_same_bytes_again_and_beside_the_results(self, run, folder):
        assert run(folder, "--no-figures")[0] == 0
        first = (folder / "measures.json").read_bytes()
        assert run(folder, "--no-figures")[0] == 0
        assert (folder / "measures.json").read_bytes() == first
        run(folder, "--no-figures", "--seed", 1)
        assert (folder / "measures.json").read_bytes() != first

    def test_options_reach_the_measures(self, run, folder):
        sizes = ("--box-size", 4, "--box-sizes", 2, 4, 6, "--boxes", "tiled", "--ball-radius", 2, "--wada-radius", 2)
        code, out, _ = run(folder, *sizes, "--json", "--labelling", "outcome", "--confidence", 0.5)
        document = json.loads(out)
        assert code == 0
        (row, _) = (row for row in document["results"] if row["objective"] == "plane")
        assert row["maps"][0]["scales"] == {
            "box_size": 4,
            "box_sizes": [2, 4, 6],
            "boxes": "tiled",
            "ball_radius": 2,
            "wada_radius": 2,
        }
        part = plane().isel(learning_rate=0)
        expected = uncertainty_exponent(part, [2, 4, 6], labelling="outcome", confidence=0.5)
        found = row["maps"][0]["measures"]["uncertainty_exponent"]["result"]
        assert (found["exponent"], found["interval"]) == (expected.exponent, list(expected.interval))

    @pytest.mark.parametrize(
        ("argv", "sentence"),
        [
            (("--box-sizes", 2, 4, 60), "box_sizes[2] must be at most"),
            (("--box-size", 60), "box_size must be at most"),
            (("--ball-radius", 30), "ball_radius must be at most"),
            (("--confidence", 1.5), "confidence must lie between 0 and 1"),
        ],
    )
    def test_sizes_that_do_not_fit(self, run, folder, argv, sentence):
        before = sorted(path.name for path in folder.rglob("*"))
        code, out, err = run(folder, *argv)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert sentence in err
        assert err.count("\n") == 1
        assert sorted(path.name for path in folder.rglob("*")) == before

    def test_folders_that_hold_nothing(self, run, tmp_path, folder):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("")
        for path, sentence in (("none", "no folder"), ("file", "no folder"), ("empty", "holds no result of jaxloss")):
            code, out, err = run(tmp_path / path)
            assert (code, out) == (2, "")
            assert sentence in err
        code, _, err = run(folder, "--out", tmp_path / "file")
        assert code == 2
        assert "is a file" in err

    def test_a_damaged_result(self, run, folder):
        for chunk in (folder / "plane.zarr" / "outcome" / "c").rglob("*"):
            if chunk.is_file():
                chunk.unlink()
        code, out, err = run(folder)
        assert (code, out) == (2, "")
        assert "is damaged: outcome/c/0/0/0 is missing" in err
        assert not (folder / "measures.json").exists()

    def test_never_half_written(self, run, folder, monkeypatch):
        run(folder, "--no-figures")
        before = (folder / "measures.json").read_bytes()

        def fail(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        code, _, err = run(folder, "--no-figures", "--seed", 1)
        assert code == 2
        assert "No space left on device" in err
        assert (folder / "measures.json").read_bytes() == before
        assert not list(folder.glob(".*"))

    def test_a_control_that_fails_too_is_said(self, run, tmp_path):
        """Strips of a few cells meet within a ball: no verdict on the map itself can be trusted there."""
        strips = plane(outcomes=(1,), rates=(1.0,))
        strips["outcome"][:] = (np.arange(48) // 4 % 9 + 1)[:, None, None]
        strips["attractor"][:] = -1
        store.write_result(strips, tmp_path / "strips.zarr")
        _, out, _ = run(tmp_path, "--no-figures", "--ball-radius", 5)
        assert "even straight boundaries look fractal at this resolution" in " ".join(out.split())


@pytest.mark.slow
def test_a_sweep_of_the_packaged_comparison(run, tmp_path, monkeypatch):
    from jaxloss.spec import COMPARISON

    text = COMPARISON.read_text().replace("num = 128", "num = 40").replace("num = 9", "num = 3")
    (tmp_path / "small.toml").write_text(text.replace("num_steps = 20000", "num_steps = 1000"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sweep", "small.toml", "--out", "small", "--quiet"]) == 0
    code, out, err = run("small")
    assert (code, err.count("error")) == (0, 0)
    summary = json.loads((tmp_path / "small" / "summary.json").read_text())
    document = json.loads((tmp_path / "small" / "measures.json").read_text())
    assert list(dict.fromkeys(row["objective"] for row in document["results"])) == list(summary["objectives"])
    for row in summary["rows"]:
        where = (row["objective"], row["learning_rate"])
        (found,) = (
            each["outcomes"][row["outcome"]]
            for each in document["results"]
            if (each["objective"], each["hyperparameters"]["learning_rate"]) == where
        )
        assert (found["number"], found["low"], found["high"]) == (row["count"], row["low"], row["high"])
    for label in summary["objectives"]:
        assert f"\n{label}\n" in f"\n{out}"
        assert (tmp_path / "small" / f"{label}-basin-times.png").exists()
    # The sweep still knows its folder.
    assert cli.main(["sweep", "small.toml", "--out", "small", "--quiet"]) == 0
