import dataclasses
import json

import numpy as np
import pytest

from jaxloss.errors import InputError
from jaxloss.grids import Starts
from jaxloss.spec import COMPARISON, Run, Spec, load_spec, parse_spec, statement_lines
from jaxloss.sweeps import RunOptions

GRID = """
[grid]
bias = { start = -1, stop = 1, num = 3 }
"weight[0]" = { values = [0, 1.5] }
learning_rate = { start = 0.01, stop = 100, num = 5, spacing = "log" }
"""
SAMPLES = """
[data]
inputs = [
  [-0.5],  # a comment, with a comma,
  [1]
]
targets = [0, 1.0]
"""
OBJECTIVE = """
[[objective]]
activation = "sigmoid"
loss = "mse"
"""


def read(*parts, **options) -> Spec:
    return parse_spec("\n".join(parts), **options)


class TestSamples:
    spec = read(SAMPLES, OBJECTIVE, OBJECTIVE.replace("sigmoid", "tanh"), GRID)

    def test_problems(self):
        problems = self.spec.problems()
        assert [label for label, _ in problems] == ["sigmoid-mse", "tanh-mse"]
        _, problem = problems[0]
        np.testing.assert_array_equal(problem.data[0], [[-0.5], [1.0]])
        assert problem.parameter_names == ("bias", "weight[0]")
        assert self.spec.problems()[0][1] is problem

    def test_grid(self):
        grid = self.spec.grid(self.spec.problems()[0][1])
        assert list(grid.axes) == ["bias", "weight[0]", "learning_rate"]
        assert grid.shape == (3, 2, 5)
        np.testing.assert_allclose(grid.coordinates["learning_rate"], [0.01, 0.1, 1, 10, 100])

    def test_options_have_the_defaults_of_a_sweep(self):
        assert self.spec.options() == RunOptions(num_paths=6)

    def test_without_bias(self):
        spec = read(SAMPLES, "bias = false", OBJECTIVE, GRID)
        assert spec.problems()[0][1].parameter_names == ("weight[0]",)

    def test_passes(self):
        self.spec.validate()


def test_packaged_comparison_passes():
    spec = load_spec(COMPARISON)
    spec.validate()
    assert spec.name == "loss-comparison"
    assert [label for label, _ in spec.problems()] == ["sigmoid-mse", "relu-mse", "sigmoid-cross_entropy"]


def test_run_has_the_keys_of_a_sweep():
    assert list(Run.model_fields) == [field.name for field in dataclasses.fields(RunOptions)]


def test_run_reaches_the_options():
    run = '[run]\noptimizer = "momentum"\nprecision = "float64"\nhyperparameters = { momentum = 0.5 }'
    options = read(SAMPLES, OBJECTIVE, GRID, run, overrides={"seed": 3, "num_steps": 8}).options()
    expected = RunOptions(
        optimizer="momentum",
        precision="float64",
        hyperparameters={"momentum": 0.5},
        num_steps=8,
        seed=3,
        num_paths=6,
    )
    assert options == expected


def test_overrides_need_no_run_table():
    assert read(SAMPLES, OBJECTIVE, GRID, overrides={"num_steps": 5}).options().num_steps == 5


class TestNamedProblem:
    @pytest.mark.parametrize(
        ("problem", "objective", "label"),
        [
            ("cubic-map", "", "cubic-map"),
            ("iris", "", "iris"),
            ("iris", OBJECTIVE, "sigmoid-mse"),
            ("iris", '[[objective]]\nloss = "sse"', "sigmoid-sse"),
            ("xor-221", '[[objective]]\nloss = "sse"', "xor-221-sse"),
        ],
    )
    def test_labels(self, problem, objective, label):
        spec = read(f'[data]\nproblem = "{problem}"', objective, GRID)
        assert [name for name, _ in spec.problems()] == [label]

    def test_options(self):
        options = 'options = { features = ["petal_length", "petal_width"], standardize = false }'
        spec = read('[data]\nproblem = "iris"', options, OBJECTIVE, GRID)
        (_, problem), *_ = spec.problems()
        assert problem.data[0].shape == (100, 2)
        assert problem.data[0].min() > 0


class TestFile:
    text = '[data]\nfile = "x.csv"\nfeatures = ["a"]\ntarget = "t"\n'

    def test_is_relative_to_the_spec(self, tmp_path):
        (tmp_path / "x.csv").write_text("a,b,t\n1,2,0\n3,4,1\n")
        (tmp_path / "spec.toml").write_text(self.text + "standardize = true\n" + OBJECTIVE + GRID)
        spec = load_spec(tmp_path / "spec.toml")
        inputs, targets = spec.problems()[0][1].data
        assert inputs.tolist() == [[-1.0], [1.0]]
        assert targets.tolist() == [0.0, 1.0]

    def test_other_samples_are_another_spec(self, tmp_path):
        (tmp_path / "x.csv").write_text("a,t\n1,0\n3,1\n")
        spec = read(self.text, OBJECTIVE, GRID, folder=tmp_path)
        before = spec.to_json()
        (tmp_path / "x.csv").write_text("a,t\n1,0\n4,1\n")
        assert spec.to_json() != before


class TestAxes:
    def test_random_starts(self):
        grid = '[grid]\nstart = { num = 5, distribution = "uniform", scale = 2 }'
        spec = read(SAMPLES, OBJECTIVE, grid, "learning_rate = { values = [0.1] }")
        axes = spec.grid(spec.problems()[0][1]).axes
        assert list(axes) == ["start", "learning_rate"]
        assert isinstance(axes["start"], Starts)
        assert (axes["start"].distribution, axes["start"].scale) == ("uniform", 2.0)
        spec.validate()

    @pytest.mark.parametrize("kind", ["random", "filter_normalized"])
    def test_directions(self, kind):
        def directions(seed):
            axes = '"direction[0]" = { values = [0, 1] }\n"direction[1]" = { values = [0] }'
            grid = f'[grid]\nlearning_rate = {{ values = [1] }}\ndirections = "{kind}"'
            spec = read('[data]\nproblem = "xor-221"', grid, axes, overrides={"seed": seed})
            spec.validate()
            (_, problem), *_ = spec.problems()
            return np.stack([problem.ravel(d) for d in spec.grid(problem).directions or ()])

        assert directions(0).shape == (2, 9)
        np.testing.assert_array_equal(directions(0), directions(0))
        assert not np.allclose(directions(0), directions(1))


class TestJson:
    def test_survives_json(self):
        document = TestSamples.spec.to_json()
        assert json.loads(json.dumps(document)) == document
        assert list(document["grid"]) == ["bias", "weight[0]", "learning_rate"]
        assert document["run"]["num_steps"] == RunOptions().num_steps

    @pytest.mark.parametrize("run", ["", "[run]\nnum_steps = 10000", "[run]\nseed = 0  # the default"])
    def test_defaults_written_out_are_the_same_spec(self, run):
        assert read(SAMPLES, OBJECTIVE, GRID, run).to_json() == read(SAMPLES, OBJECTIVE, GRID).to_json()

    def test_another_option_is_another_spec(self):
        assert read(SAMPLES, OBJECTIVE, GRID, "[run]\nseed = 1").to_json() != read(SAMPLES, OBJECTIVE, GRID).to_json()


class TestPlaces:
    def test_lines(self):
        text = "\n".join(
            [SAMPLES, OBJECTIVE, OBJECTIVE, GRID, '[grid.w]\nnote = """\na = 1,\n[b]\n"""', 'z.y = "#]"']
        )
        lines = text.split("\n")
        found = statement_lines(text)
        assert lines[found["data", "inputs"] - 1] == "inputs = ["
        assert lines[found["data", "targets"] - 1] == "targets = [0, 1.0]"
        assert lines[found["objective", 1, "loss"] - 1] == 'loss = "mse"'
        assert found["objective", 1] > found["objective", 0, "loss"]
        assert lines[found["grid", "weight[0]", "values"] - 1].startswith('"weight[0]"')
        assert lines[found["grid", "w", "z", "y"] - 1] == 'z.y = "#]"'
        assert ("b",) not in found

    def test_many_rows_are_quick(self):
        text = "inputs = [\n" + "  [1.0, 2.0],\n" * 20_000 + "]\nlast = 1"
        assert statement_lines(text)["last",] == 20_003

    @pytest.mark.parametrize(
        ("run", "sentence"),
        [
            ("num_step = 5", "spec, line 3: [run] has no key 'num_step': did you mean 'num_steps'?"),
            ("num_step = 5\nseeds = 1\nwhat = 0", "'num_steps'? (and 2 more)"),
            ("zzz = 5", "spec, line 3: [run] has no key 'zzz': it may have optimizer, num_steps, "),
            ("num_steps = true", "spec, line 3: [run] num_steps must be a whole number, not true"),
            ("seed = 0\nnum_steps = 0", "spec, line 4: [run]: num_steps must be"),
        ],
    )
    def test_sentences(self, run, sentence):
        with pytest.raises(InputError) as caught:
            parse_spec(f"\n[run]\n{run}\n{SAMPLES}{OBJECTIVE}{GRID}").validate()
        assert sentence in str(caught.value)

    def test_overridden_option(self):
        with pytest.raises(InputError, match=r"^--num-steps: \[run\]: num_steps must be"):
            read(SAMPLES, OBJECTIVE, GRID, "[run]\nnum_steps = 5", overrides={"num_steps": 0}).validate()

    def test_key_inside_an_inline_table(self):
        with pytest.raises(InputError, match=r"spec, line 3: \[grid\] bias has no key 'nums': did you mean 'num'"):
            parse_spec("\n" + GRID.replace("num = 3", "nums = 3").lstrip() + SAMPLES + OBJECTIVE)
