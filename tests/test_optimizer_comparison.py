"""The comparison of optimisers: its parts against what is known, its figure, and a tiny run."""

import csv
import json
import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import jaxloss
from jaxloss.errors import InputError
from jaxloss.figures.optimizers import plot_optimizer_comparison

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "optimizer_comparison.py"
RESULTS = ROOT / "results" / "optimizers" / "comparison.json"


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.exists():
        pytest.skip("scripts are not part of an installed package")
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture(scope="module")
def quick(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("optimizers")
    return script.main(["--quick", "--workers", "0", "--out", str(out)]), out


class TestFigure:
    def rows(self):
        row = {"problem": "xor", "loss": "mse", "optimizer": "adam", "rate": "best", "num_runs": 400}
        return [
            row | {"solved": 300, "trapped": 99},
            row | {"optimizer": "sgd", "solved": 399, "trapped": 1},
            row | {"optimizer": "sgd", "problem": "bowl", "solved": 400, "trapped": 0},
            row | {"rate": "default", "solved": 0, "trapped": 400},
            row | {"loss": "cross_entropy", "solved": 1, "trapped": 0},
        ]

    def test_every_cell_has_its_two_percentages(self):
        figure = plot_optimizer_comparison(self.rows())
        assert len(figure.axes) == 4
        texts = [[text.get_text() for text in ax.texts if text.get_text()] for ax in figure.axes]
        # What is missing (adam on the bowl) is left blank; only all is 100 and only none is 0.
        assert texts == [["75", "25", ">99", "<1", "100", "0"], ["<1", "0"], ["0", "100"], []]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["adam", "sgd"]
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert titles[1] == "cross-entropy, at the best learning rate of the sweep"

    def test_groups_are_named_and_parted(self):
        figure = plot_optimizer_comparison(self.rows(), groups={"xor": "hidden layer", "bowl": "quadratic"})
        for ax in figure.axes:
            assert {"hidden layer", "quadratic"} <= {text.get_text() for text in ax.texts}
            assert [np.ravel(line.get_xdata())[0] for line in ax.lines] == [0.5]

    def test_bad_input(self, tmp_path):
        with pytest.raises(InputError, match="rows must hold"):
            plot_optimizer_comparison([])
        with pytest.raises(InputError, match=r"must end in \.png"):
            plot_optimizer_comparison(self.rows(), path=tmp_path / "x.pdf")


class TestParts:
    def test_the_restart_of_lowest_loss_counts_and_none_that_diverged(self, script):
        loss = np.array([[[3.0, np.nan], [1.0, 5.0], [np.inf, 4.0]]])
        which = script.kept(loss)
        assert which.tolist() == [[1, 2]]
        assert script.of_kept(loss, which).tolist() == [[1.0, 4.0]]
        points = np.arange(12.0).reshape(1, 3, 2, 2)
        assert script.of_kept(points, which).tolist() == [[[4.0, 5.0], [10.0, 11.0]]]

    def test_restarts_pay_for_all_their_evaluations(self, script):
        hits = np.array([[[np.inf], [7.0], [3.0]], [[2.0], [1.0], [np.inf]], [[np.inf]] * 3])
        steps = np.full((3, 3, 1), 10)
        assert script.evaluations(hits, steps, 2.0)[:, 0].tolist() == [34.0, 4.0, np.inf]

    def test_first_hits_are_those_of_a_closed_form(self, script):
        """On x^2 / 2 gradient descent halves x at each step: x_k = x_0 / 2^k."""
        problem = jaxloss.Problem(name="bowl", objective=lambda x: x**2 / 2, params=1.0)
        points = np.array([[8.0], [-64.0], [0.5], [3.0]])
        grid = jaxloss.Grid({"start": jaxloss.Starts(points=points), "learning_rate": jaxloss.Axis.of([0.5])})
        result = jaxloss.sweep(problem, grid, num_steps=12, num_paths=4)
        assert script.first_hits(result, points, 0.5).tolist() == [3.0, 6.0, 0.0, 2.0]
        assert np.isinf(script.first_hits(result, points, -1.0)).all()

    def test_the_best_rate_solves_most_then_spends_least_then_ends_lowest(self, script):
        def judged(outcome, spent, loss):
            outcome, spent, loss = (np.array([row] * 4, float) for row in (outcome, spent, loss))
            rates = np.geomspace(1e-3, 1, outcome.shape[1])
            return script.Judged(rates, loss, outcome, outcome, outcome == 1, spent, spent)

        assert script.best_rate(judged([3, 1, 2, 9], [1, 9, 8, 0], [0, 1, 2, np.nan])) == 2
        assert script.best_rate(judged([3, 1, 2, 0], [1, 9, 9, 0], [0, 1, 2, 0])) == 1

    def test_fractions_count_every_run_once(self, script):
        row = script.fractions(np.array([0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]))
        assert [row[group] for group in script.GROUPS] == [3, 4, 4, 1]
        assert row["solved_low"] < row["solved_fraction"] == 0.25 < row["solved_high"]

    def test_costs_of_a_step(self, script):
        problem = jaxloss.load_problem("two-minima-binary")
        costs = {name: script.gradients_per_step(c, problem) for name, c in script.CONTENDERS.items()}
        assert (costs["gradient descent"], costs["SAM"], costs["minibatch"]) == (1, 2, 0.25)

    def test_every_default_is_among_the_rates_tried(self, script):
        for settings in (script.Settings(), script.Settings(per_decade=1)):
            for contender in script.CONTENDERS.values():
                rates = settings.rates(contender)
                assert rates[script.nearest(rates, contender.default)] == pytest.approx(contender.default)

    @pytest.mark.slow
    def test_descent_is_stable_at_every_minimum_of_the_neurons(self, script):
        for name in ("loss comparison", "auer 3a"):
            case = script.CASES[name]
            for loss in script.LOSSES:
                problem = case.problem(loss)
                box = {parameter: (-10, 10) for parameter in problem.parameter_names}
                table = jaxloss.find_critical_points(problem, box)
                minima = table["eigenvalues"].values[table["kind"].values == "strict minimum"]
                assert len(minima)
                assert case.descent_rate < 2 / minima.max()

    def test_settling_tells_the_basins_apart(self, script):
        """Ends near the two minima and the maximum of the published neuron, one far out, and one that diverged."""
        case = script.CASES["auer 3a"]
        ends = np.array([[0.1], [-1.3], [-0.53], [5.0], [np.inf]])
        found = script.settle(case.problem("mse"), case, ends, np.array([0, 7, 8, 0, 9]))
        assert found.outcome.tolist() == [1, 3, 1, 1, 9]
        assert found.infimum == pytest.approx(0.063950 / 2, abs=1e-6)

    @pytest.mark.slow
    def test_plateaus_stay_and_the_infimum_at_infinity_needs_every_sample(self, script):
        """Two steps decide nothing from small weights: what they were remains. Large ones solve XOR, whatever."""
        case = script.CASES["xor 2-2-1 ±1"]
        problem = case.problem("mse")
        solution = {
            "layer_0": {"weight": np.array([[9.0, 9.0], [9.0, 9.0]]), "bias": np.array([-4.0, -13.0])},
            "layer_1": {"weight": np.array([[9.0, -9.0]]), "bias": np.array([-4.0])},
        }
        slow = problem.ravel(solution) * 0.02
        ends = np.stack([slow, slow, problem.ravel(solution)])
        found = script.settle(problem, case._replace(num_descent=2, descent_rate=1e-3), ends, np.array([0, 4, 4]))
        assert found.outcome.tolist() == [0, 4, 2]
        assert found.right.tolist() == [False, False, True]

    @pytest.mark.slow
    def test_the_minimum_of_the_stuck_neuron_does_not_classify(self, script):
        case = script.CASES["separable"]
        ends = np.array([[0.7, 0.84], [-0.5, 1.5], [0.3, 2.0]])
        found = script.settle(case.problem("mse"), case, ends, np.zeros(3, int))
        assert found.outcome.tolist() == [1, 1, 1]
        assert not found.right.any()
        crossed = script.settle(case.problem("cross_entropy"), case, ends, np.zeros(3, int))
        assert crossed.outcome.tolist() == [2, 2, 2]
        assert crossed.right.all()


def test_cross_entropy_of_the_stuck_neuron_is_that_of_its_class(script):
    """-log((1 + tanh(w.v)) / 2), averaged."""
    tanh, crossed = (script.CASES["separable"].problem(loss) for loss in script.LOSSES)
    weight = np.array([0.3, -0.2])
    outputs = np.tanh(np.asarray(tanh.data[0]) @ weight)
    expected = -np.log((1 + outputs) / 2).mean()
    assert float(crossed.objective({"weight": weight})) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
class TestQuickRun:
    def test_rows_are_complete_and_add_up(self, script, quick):
        found, _ = quick
        assert len(found["rows"]) == 2 * 3 * 2
        for row in found["rows"]:
            assert sum(row[group] for group in script.GROUPS) == row["num_runs"] == 12
            assert sum(row["outcomes"].values()) == sum(row["outcomes_as_stopped"].values()) == 12
            assert row["reached"] <= row["solved"]
        assert {trial["num_runs"] for trial in found["trials"]} == {8}

    def test_traps_of_squared_error_are_those_of_the_starts(self, script, quick):
        """Gradient descent on one weight cannot cross the maximum at -.530716: whoever starts below is trapped."""
        found, _ = quick
        settings = script.Settings(**found["settings"])
        case = script.CASES["auer 3a"]
        starts = script.starts_of(case, case.problem("mse"), settings.num_runs, (settings.seed, 1))
        (row,) = (
            row
            for row in found["rows"]
            if (row["loss"], row["optimizer"], row["rate"]) == ("mse", "gradient descent", "default")
        )
        assert row["solved"] == (starts > -0.530716).sum()
        assert row["trapped"] == (starts < -0.530716).sum()

    def test_cross_entropy_has_no_traps(self, quick):
        found, _ = quick
        assert all(row["solved"] == 12 for row in found["rows"] if row["loss"] == "cross_entropy")

    def test_files_hold_what_is_returned(self, script, quick):
        found, out = quick
        assert json.loads((out / "comparison.json").read_text()) == json.loads(json.dumps(found))
        with (out / "comparison.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["solved"]) for row in rows] == [row["solved"] for row in found["rows"]]
        # A heading, and a line for each.
        assert len((out / "rates.csv").read_text().splitlines()) == 1 + len(found["trials"])
        page = (out / "README.md").read_text()
        assert "**auer 3a**" in page
        assert "Percent of 12 runs" in page
        assert (out / "comparison.png").stat().st_size > 10_000

    def test_redrawing_changes_nothing(self, script, quick):
        _, out = quick
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        script.main(["--redraw", "--out", str(out)])
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def test_resuming_measures_only_what_is_missing(self, script, quick, tmp_path, monkeypatch):
        found, _ = quick
        part = {name: [r for r in found[name] if r["loss"] == "mse"] for name in ("rows", "trials", "objectives")}
        (tmp_path / "comparison.json").write_text(json.dumps(found | part))
        asked = []

        def measured(names, loss, *_):
            asked.append((names, loss))
            rest = {name: [r for r in found[name] if r["loss"] == loss] for name in part}
            return [{"rows": rest["rows"], "trials": rest["trials"], "facts": rest["objectives"][0]}]

        monkeypatch.setitem(script.main.__globals__, "measure_all", measured)
        again = script.main(["--quick", "--resume", "--workers", "0", "--out", str(tmp_path)])
        assert asked == [(["auer 3a"], "cross_entropy")]
        assert json.loads(json.dumps(again)) == json.loads(json.dumps(found))

    def test_other_settings_are_not_resumed(self, script, quick):
        _, out = quick
        with pytest.raises(SystemExit, match="other settings"):
            script.main(["--resume", "--workers", "0", "--out", str(out)])


@pytest.mark.skipif(not RESULTS.exists(), reason="results are not part of an installed package")
def test_committed_text_and_tables_are_those_of_the_committed_numbers(script):
    found = json.loads(RESULTS.read_text())
    assert (RESULTS.parent / "README.md").read_text() == script.text_of(found)
    with (RESULTS.parent / "comparison.csv").open() as file:
        assert [int(row["solved"]) for row in csv.DictReader(file)] == [row["solved"] for row in found["rows"]]
    measured = Counter((row["problem"], row["loss"]) for row in found["rows"])
    problems = {name for name, _ in measured}
    assert len(problems) >= 6
    assert measured == {(name, loss): 2 * len(script.CONTENDERS) for name in problems for loss in script.LOSSES}
    for name in problems:
        assert script.CASES[name].summary == found["problems"][name]["summary"]
