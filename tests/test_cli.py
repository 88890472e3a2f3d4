import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from jaxloss import cli, store

SPEC = """\
name = "tiny"

[data]
inputs = [[-0.5], [1.0]]
targets = [0.2, 0.7]
bias = true

[[objective]]
activation = "sigmoid"
loss = "mse"

[[objective]]
activation = "relu"
loss = "mse"

[grid]
"weight[0]" = { start = -8.0, stop = 8.0, num = 8 }
bias = { start = -8.0, stop = 8.0, num = 8 }
learning_rate = { start = 0.1, stop = 10.0, num = 2, spacing = "log" }

[run]
num_steps = 50
"""
SAMPLES = "inputs = [[-0.5], [1.0]]\ntargets = [0.2, 0.7]\nbias = true"
OBJECTIVES = SPEC[SPEC.index("[[objective]]") : SPEC.index("[grid]")]
GRID = SPEC[SPEC.index("[grid]") : SPEC.index("[run]")]
COLUMNS = 'file = "x.csv"\nfeatures = ["a"]\ntarget = "t"'
STEPS = "num_steps = 50"
BIAS = "bias = { start = -8.0, stop = 8.0, num = 8 }"
RATE = 'learning_rate = { start = 0.1, stop = 10.0, num = 2, spacing = "log" }'

# id: what is replaced in SPEC, by what, and what the sentence must name.
MALFORMED = {
    # unknown or misspelt keys, with the nearest valid one
    "top-level key": (
        'name = "tiny"',
        'nam = "tiny"',
        "spec.toml, line 1: the spec has no key 'nam'",
        "'name'",
    ),
    "table": ("[run]", "[runs]", "line 21: the spec has no key 'runs'", "'run'"),
    "key of data": ("targets =", "target_s =", "line 5: [data] has no key 'target_s'", "'targets'"),
    "key of objective": (
        'loss = "mse"\n\n[[',
        'los = "mse"\n\n[[',
        "line 10: [[objective]] has no key 'los'",
        "'loss'",
    ),
    "key of axis": (BIAS, BIAS.replace("num", "nun"), "line 18: [grid] bias has no key 'nun'", "'num'"),
    "key of start": (BIAS, "start = { num = 5, scal = 1 }", "[grid] start has no key 'scal'", "'scale'"),
    "key of run": ("num_steps", "num_step", "line 22: [run] has no key 'num_step'", "'num_steps'"),
    "far key of run": (STEPS, "zzz = 1", "[run] has no key 'zzz'", "optimizer"),
    "directions misspelt": (BIAS, 'direction = "random"', "[grid] direction must be a table", "'directions'"),
    "two at once": (STEPS, "num_step = 50\nsed = 1", "'num_steps'", "(and 1 more)"),
    # wrong types
    "string for a number": (STEPS, 'num_steps = "50"', "num_steps must be a whole number", '"50"'),
    "fraction for a whole number": (STEPS, "num_steps = 50.5", "num_steps must be a whole number"),
    "bool for a whole number": (STEPS, "num_steps = true", "num_steps must be a whole number", "true"),
    "bool for a number": (
        STEPS,
        "gradient_tolerance = false",
        "gradient_tolerance must be a number",
        "false",
    ),
    "bool in an axis": (BIAS, "bias = { values = [true] }", "[grid] bias.values[0] must be a number"),
    "number for a name": (STEPS, "optimizer = 3", "optimizer must be a string", "3"),
    "number for a bool": ("bias = true", "bias = 1", "[data] bias must be true or false", "1"),
    "string for inputs": ("[[-0.5], [1.0]]", '"x.csv"', "[data] inputs must be an array"),
    "string in inputs": ("[[-0.5]", '[["a"]', "[data] inputs must hold nothing but numbers", '"a"'),
    "bool in targets": (
        "[0.2, 0.7]",
        "[false, true]",
        "[data] targets must hold nothing but numbers",
        "false",
    ),
    "grid not a table": (GRID, "", "line 1: [grid] must be a table, not 3", {"prefix": "grid = 3\n"}),
    "number for an axis": (BIAS, "bias = 8", "[grid] bias must be a table", "8"),
    "objective with one bracket": (
        OBJECTIVES,
        '[objective]\nloss = "mse"\n',
        "line 8: [[objective]]",
        "two brackets",
    ),
    "name with a slash": ('"tiny"', '"../tiny"', "line 1: name must be", "../tiny"),
    # data
    "empty inputs": ("[[-0.5], [1.0]]", "[]", "line 4: [data]: inputs must hold at least one sample"),
    "ragged inputs": (
        "[[-0.5], [1.0]]",
        "[[-0.5], [1.0, 2.0]]",
        "inputs must be numbers in rows of equal length",
    ),
    "different length": ("[0.2, 0.7]", "[0.0]", "inputs and targets must have the same length"),
    "nan in the inputs": ("[[-0.5]", "[[nan]", "line 4: [data]: inputs must be finite", "sample 0"),
    "inf in the targets": ("[0.2, 0.7]", "[0.0, inf]", "line 5: [data]: targets must be finite", "sample 1"),
    "targets of cross-entropy": (
        'targets = [0.2, 0.7]\nbias = true\n\n[[objective]]\nactivation = "sigmoid"\nloss = "mse"',
        'targets = [0.0, 2.0]\n\n[[objective]]\nactivation = "sigmoid"\nloss = "cross_entropy"',
        "line 5: [data]: targets must lie in [0, 1] for sigmoid + cross_entropy",
        "2",
    ),
    "inputs without targets": ("targets = [0.2, 0.7]", "", "[data] needs the key 'targets' beside 'inputs'"),
    "inputs and file": (
        "bias = true",
        'file = "x.csv"',
        "[data] needs exactly one of",
        "not inputs and file",
    ),
    "no kind of data": (SAMPLES, "", "[data] needs exactly one of", "not none"),
    "stray key of data": (
        "bias = true",
        "standardize = true",
        "[data] has the key 'standardize'",
        "'inputs'",
    ),
    "no data": ("[data]\n" + SAMPLES, "", "spec.toml: the spec needs a table [data]"),
    "no such file": (SAMPLES, COLUMNS.replace("x.csv", "y.csv"), "line 4: [data]: no data file", "y.csv"),
    "no such column": (
        SAMPLES,
        COLUMNS.replace('"a"', '"aa"'),
        "line 4: [data]: unknown column in x.csv: 'aa'",
        "did you mean 'a'?",
    ),
    "column not numeric": (
        SAMPLES,
        COLUMNS.replace('"a"', '"word"'),
        "line 4: [data]: x.csv: column 'word' is not numeric",
        "'one'",
    ),
    "file without target": (
        SAMPLES,
        'file = "x.csv"\nfeatures = ["a"]',
        "needs the key 'target' beside 'file'",
    ),
    # names
    "unknown activation": (
        '"sigmoid"',
        '"sigmod"',
        "line 9: [[objective]]: unknown activation 'sigmod'",
        "'sigmoid'",
    ),
    "unknown loss": (
        '"mse"\n\n[grid]',
        '"mze"\n\n[grid]',
        "line 14: [[objective]]: unknown loss 'mze'",
        "'mse'",
    ),
    "relu with cross-entropy": (
        '"mse"\n\n[grid]',
        '"cross_entropy"\n\n[grid]',
        "line 14: [[objective]]: the loss 'cross_entropy'",
        "relu",
    ),
    "unknown optimizer": (STEPS, 'optimizer = "sdg"', "line 22: [run]: unknown optimizer 'sdg'", "'sgd'"),
    "unknown problem": (
        SAMPLES,
        'problem = "xor-22"',
        "line 4: [data]: unknown problem 'xor-22'",
        "'xor-221'",
    ),
    "unknown option of a problem": (
        SAMPLES,
        'problem = "iris"\noptions = { specie = ["setosa"] }',
        "unknown option of problem 'iris': 'specie'",
        "'species'",
    ),
    "activation of a fixed problem": (
        SAMPLES,
        'problem = "xor-221"',
        "line 7: [[objective]]: activation is fixed by xor-221",
    ),
    "option of the wrong type": (
        SAMPLES + "\n\n" + OBJECTIVES,
        'problem = "quadratic"\noptions = { sharpness = "a" }\n',
        "line 5: [data]: options do not fit problem 'quadratic'",
    ),
    # objectives
    "no objective": (OBJECTIVES, "", "[data]", "[[objective]]"),
    "no loss": ('loss = "mse"\n\n[grid]', "\n[grid]", "line 12: [[objective]]", "'loss'"),
    "duplicate objective": ('"relu"', '"sigmoid"', "line 13: [[objective]]", "sigmoid-mse"),
    # grid
    "no grid": (GRID, "", "the spec needs a table [grid]"),
    "empty grid": (GRID, "[grid]\n", "line 16: [grid] needs at least one axis"),
    "num below 1": (BIAS, BIAS.replace("num = 8", "num = 0"), "line 18: [grid] bias: num must be", "not 0"),
    "start is stop": (BIAS, BIAS.replace("-8.0", "8.0"), "line 18: [grid] bias: start and stop are both 8.0"),
    "infinite axis": (BIAS, BIAS.replace("-8.0", "-inf"), "[grid] bias: start and stop must be finite"),
    "log axis through zero": (
        RATE,
        RATE.replace("0.1", "0.0"),
        "line 19: [grid] learning_rate: a log axis",
        "0.0",
    ),
    "axis without num": (BIAS, BIAS.replace(", num = 8", ""), "[grid] bias needs the key 'num'"),
    "values and num": (
        BIAS,
        "bias = { values = [1.0], num = 1 }",
        "[grid] bias needs either values, or start",
    ),
    "no values": (BIAS, "bias = { values = [] }", "[grid] bias: axis values must be one or more"),
    "unknown spacing": (
        RATE,
        RATE.replace('"log"', '"lag"'),
        "[grid] learning_rate.spacing must be 'linear' or 'log'",
    ),
    "negative learning rate": (
        RATE,
        "learning_rate = { values = [-0.1, 0.1] }",
        "line 19: [grid]: learning_rate must be > 0",
    ),
    "no learning rate": (RATE, "", "learning_rate axis"),
    "axis of nothing": (
        '"weight[0]"',
        '"weigth[0]"',
        "line 17: [grid]: unknown axis 'weigth[0]'",
        "'weight[0]'",
    ),
    "direction without directions": (
        BIAS,
        '"direction[0]" = { values = [1] }',
        "line 18: [grid]",
        "direction[0]",
    ),
    "no starts": (BIAS, "start = { num = 0 }", "line 18: [grid]: start: num must be"),
    "unknown distribution": (BIAS, 'start = { num = 5, distribution = "gauss" }', "'normal' or 'uniform'"),
    "too long an axis": (
        BIAS,
        BIAS.replace("num = 8", "num = 1_000_000_000"),
        "line 18: [grid] bias: num must be",
    ),
    "too many trajectories": (GRID, GRID.replace("num = 8", "num = 100_000"), "less than 2^32 trajectories"),
    "start misspelt": (
        BIAS,
        "strat = { num = 5 }",
        "line 18: [grid] strat needs the key",
        "did you mean 'start'?",
    ),
    # run
    "no steps": (STEPS, "num_steps = 0", "line 22: [run]: num_steps must be", "0"),
    "negative seed": (STEPS, "seed = -1", "line 22: [run]: seed must be", "-1"),
    "huge seed": (STEPS, "seed = 99999999999999999999", "line 22: [run] seed must be below 2^63"),
    "tolerance of zero": (STEPS, "gradient_tolerance = 0", "[run]: gradient_tolerance must be > 0"),
    "other precision": (STEPS, 'precision = "float16"', "[run] precision must be 'float32' or 'float64'"),
    "batch too large": (STEPS, "batch_size = 3", "line 22: [run]: batch_size must be at most", "2"),
    "unknown hyperparameter": (
        STEPS,
        'optimizer = "momentum"\nhyperparameters = { momentun = 0.5 }',
        "line 23: [run] hyperparameters: unknown hyperparameter of 'momentum': 'momentun'",
        "did you mean 'momentum'?",
    ),
    # the file
    "not TOML": ("[data]", "[data", "spec.toml, line 3: not valid TOML"),
    "key twice": ("bias = true", "bias = true\nbias = true", "not valid TOML", "line 7"),
}


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    """The user's cache is none of the tests' business."""
    monkeypatch.setenv("JAXLOSS_CACHE", "off")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "x.csv").write_text("a,word,t\n0.5,one,0\n1.5,two,1\n")
    return tmp_path


def fails(capsys, argv, *expected):
    """The command prints one sentence on stderr, nothing on stdout, and writes nothing."""
    before = sorted(os.listdir())
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in expected:
        assert part in err
    assert sorted(os.listdir()) == before


class TestMalformedSpecs:
    @pytest.mark.parametrize("name", MALFORMED)
    def test_table(self, name, folder, capsys):
        old, new, *expected = MALFORMED[name]
        assert old in SPEC
        text = SPEC.replace(old, new, 1)
        if isinstance(expected[-1], dict):
            text = expected.pop()["prefix"] + text
        (folder / "spec.toml").write_text(text)
        fails(capsys, ["sweep", "spec.toml", "--out", "out", "--quiet"], *expected)

    def test_there_are_enough(self):
        assert len(MALFORMED) >= 40

    def test_missing(self, folder, capsys):
        fails(capsys, ["sweep", "nothing.toml"], "no spec file 'nothing.toml'")

    def test_a_folder(self, folder, capsys):
        fails(capsys, ["sweep", "."], "is a folder")

    def test_not_utf8(self, folder, capsys):
        (folder / "spec.toml").write_bytes(b"name = '\xff'")
        fails(capsys, ["sweep", "spec.toml"], "not UTF-8")

    def test_override(self, folder, capsys):
        fails(capsys, ["sweep", "spec.toml", "--num-steps", "0"], "--num-steps: [run]: num_steps must be")

    @pytest.mark.parametrize("box", [("1", "1"), ("2", "-2"), ("-inf", "2"), ("nan", "1")])
    def test_box(self, folder, capsys, box):
        fails(capsys, ["critical-points", "spec.toml", "--box", *box], "--box must be two finite numbers")


class TestOutputFolder:
    def test_another_result(self, folder, capsys):
        (folder / "out").mkdir()
        (folder / "out" / "spec.json").write_text("{}")
        fails(capsys, ["sweep", "spec.toml", "--out", "out"], "'out' holds other files")

    def test_other_files(self, folder, capsys):
        fails(capsys, ["sweep", "spec.toml", "--out", "."], "holds other files")

    def test_a_file(self, folder, capsys):
        fails(capsys, ["sweep", "spec.toml", "--out", "x.csv"], "'x.csv' is a file")

    def test_below_a_file(self, folder, capsys):
        fails(capsys, ["sweep", "spec.toml", "--out", "x.csv/out"], "cannot write output folder 'x.csv/out'")

    def test_nothing_to_plot(self, folder, capsys):
        fails(capsys, ["plot", "out"], "no folder 'out'")
        fails(capsys, ["plot", "."], "holds no result")


class TestLists:
    def test_problems(self, capsys):
        assert cli.main(["problems"]) == 0
        out = capsys.readouterr().out
        assert "xor-221\n    XOR by two hidden sigmoid units" in out
        assert "Kolen and Pollack" in out

    def test_one_problem(self, capsys):
        assert cli.main(["problems", "cubic-map", "--no-figure"]) == 0
        out = capsys.readouterr().out
        assert "parameters: x\n" in out
        assert "known critical points: x = -1; x = 0; x = 1\n" in out
        assert "infimum: -0.25\n" in out

    def test_options_of_a_problem(self, capsys):
        assert cli.main(["problems", "iris", "--no-figure"]) == 0
        assert "activation = 'sigmoid', loss = 'mse'" in capsys.readouterr().out

    def test_unknown_problem(self, folder, capsys):
        fails(capsys, ["problems", "irs"], "unknown problem 'irs': did you mean 'iris'?")

    def test_optimizers(self, capsys):
        assert cli.main(["optimizers"]) == 0
        out = capsys.readouterr().out
        assert "momentum\n    gradient descent with a heavy ball's momentum (Polyak, 1964)\n    momentum = 0.9" in out

    def test_version(self, capsys):
        assert cli.main(["--version"]) == 0
        assert capsys.readouterr().out == "jaxloss 0.1.0\n"

    @pytest.mark.parametrize(
        "argv", [[], ["swep"], ["sweep", "--num-steps", "many"], ["critical-points", "spec.toml"]]
    )
    def test_usage(self, argv, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
        assert caught.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One real sweep, run once, and what it printed."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "spec.toml").write_text(SPEC)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["sweep", "spec.toml", "--quiet"]) == 0
    return folder, out.getvalue()


def python(*argv, **options):
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False, **options)


class TestSweep:
    def test_files(self, swept):
        assert sorted(os.listdir(swept[0] / "tiny")) == [
            "basins.png",
            "relu-mse.zarr",
            "sigmoid-mse.zarr",
            "spec.json",
            "summary.json",
        ]

    def test_summary(self, swept):
        summary = json.loads((swept[0] / "tiny" / "summary.json").read_text())
        assert list(summary) == ["name", "spec", "objectives", "rows", "digest"]
        assert list(summary["objectives"]) == ["sigmoid-mse", "relu-mse"]
        assert len(summary["rows"]) == 2 * 2 * 10
        for objective in summary["objectives"]:
            for rate in (0.1, 10.0):
                rows = [r for r in summary["rows"] if (r["objective"], r["learning_rate"]) == (objective, rate)]
                assert sum(row["count"] for row in rows) == 64
                assert all(row["total"] == 64 for row in rows)
                assert all(0 <= row["low"] <= row["fraction"] <= row["high"] <= 1 for row in rows)
        point = summary["objectives"]["relu-mse"]["critical_points"][0]
        assert set(point["location"]) == {"weight[0]", "bias"}
        assert point["loss"] == pytest.approx(0, abs=1e-12)

    def test_printed_table(self, swept):
        lines = swept[1].splitlines()
        assert max(len(line) for line in lines) <= 100
        header = lines.index("relu-mse") + 1
        assert lines[header].split() == ["learning_rate", "solved", "trapped", "unstable", "unfinished"]
        assert lines[header + 1].split()[0] == "0.1"
        assert len({len(line) for line in lines[header : header + 3]}) == 1
        assert any(line.startswith("  trapped in all: ") and "dead" in line for line in lines)
        assert "wrote tiny/basins.png" in lines

    def test_again_only_prints(self, swept, capsys, monkeypatch):
        monkeypatch.chdir(swept[0])
        before = (swept[0] / "tiny" / "summary.json").stat().st_mtime_ns
        assert cli.main(["sweep", "spec.toml"]) == 0
        first, _, rest = capsys.readouterr().out.partition("\n\n")
        assert first == "tiny already holds the result of this spec; nothing was run"
        assert rest.strip() == swept[1].partition("wrote")[0].strip()
        assert (swept[0] / "tiny" / "summary.json").stat().st_mtime_ns == before

    def test_where_the_time_went(self, swept, capsys, monkeypatch):
        monkeypatch.chdir(swept[0])
        (swept[0] / "tiny" / "basins.png").unlink()
        assert cli.main(["sweep", "spec.toml"]) == 0
        shares = r"import \d+\.\d s, compile \d+\.\d s, store \d+\.\d s, draw \d+\.\d s; \d+\.\d s in all\n"
        assert re.fullmatch(shares, capsys.readouterr().err)

    def test_another_spec_is_refused(self, swept, capsys, monkeypatch):
        monkeypatch.chdir(swept[0])
        fails(capsys, ["sweep", "spec.toml", "--seed", "1"], "'tiny' holds another result")

    def test_plot(self, swept, capsys, monkeypatch):
        monkeypatch.chdir(swept[0])
        basins = swept[0] / "tiny" / "basins.png"
        basins.unlink()
        assert cli.main(["plot", "tiny"]) == 0
        paths = [line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines()]
        assert paths[0] == "tiny/basins.png"
        assert all(os.path.getsize(path) > 0 for path in paths)


POINT_KEYS = {
    "location",
    "loss",
    "kind",
    "eigenvalues",
    "certified",
    "eigenvalue_signs",
    "learning_rate_limit",
    "sharpness",
    "location_bounds",
    "loss_bounds",
    "eigenvalue_bounds",
}
OBJECTIVE_KEYS = {
    "complete",
    "critical_points",
    "method",
    "num_boxes",
    "everywhere",
    "why_incomplete",
    "undecided",
    "limits",
    "infimum_at_infinity",
    "separable",
    "weakly_separable",
    "finite_minimiser",
    "convex",
}
BOX = ("--box", "-10", "10")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """One real search for critical points, run once: as a table with its figures, and as JSON."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "spec.toml").write_text(SPEC)
    printed = []
    for options in ((), ("--json",)):
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
            assert cli.main(["critical-points", "spec.toml", *BOX, "--quiet", *options]) == 0
        printed.append(out.getvalue())
    return folder, printed[0], json.loads(printed[1])


def found(kinds, eigenvalues, **changes):
    """A table as `find_critical_points` returns it, made up: points at 0, 1, ... along each parameter."""
    num, size = np.shape(eigenvalues)
    names = [f"weight[{i}]" for i in range(size)]
    none = np.zeros((0, size, 2))
    limits = changes.pop("limits", [])
    attrs = {"complete": True, "everywhere": False, "method": "interval branch and bound", "num_boxes": 1234}
    eigenvalues = np.array(eigenvalues, float)
    spread = changes.pop("spread", 0.0)
    return xr.Dataset(
        {
            "location": (("critical_point", "parameter"), np.arange(num)[:, None] + np.zeros(size)),
            "loss": ("critical_point", np.arange(num) / 3),
            "kind": ("critical_point", np.array(kinds, object)),
            "eigenvalues": (("critical_point", "eigenvalue"), eigenvalues),
            "certified": ("critical_point", np.full(num, changes.pop("certified", True))),
            "sharpness": ("critical_point", eigenvalues.max(axis=1, initial=-np.inf)),
            "learning_rate_limit": ("critical_point", np.where(np.array(kinds) == "strict minimum", 0.5, np.nan)),
            "location_bounds": (("critical_point", "parameter", "bound"), np.zeros((num, size, 2))),
            "loss_bounds": (("critical_point", "bound"), np.full((num, 2), np.nan)),
            "eigenvalue_bounds": (
                ("critical_point", "eigenvalue", "bound"),
                np.stack([eigenvalues - spread, eigenvalues + spread], axis=-1),
            ),
            "undecided": (("undecided_box", "parameter", "bound"), changes.pop("undecided", none)),
            "limit_value": ("limit", np.array(limits, float)),
            "limit_bounds": (("limit", "bound"), np.array(limits, float)[:, None] + np.zeros(2)),
            "limit_direction": (("limit", "parameter"), np.full((len(limits), size), 0.5)),
        },
        coords={"parameter": names, "bound": ["low", "high"]},
        attrs={"name": "made up", "why_incomplete": "", **attrs, **changes},
    )


@pytest.fixture
def shown(folder, capsys, monkeypatch):
    """What the command prints of a made-up table, and the options with which it asked for it."""
    from jaxloss import critical_points

    objective = OBJECTIVES[OBJECTIVES.rindex("[[") :]
    (folder / "spec.toml").write_text(SPEC.replace(OBJECTIVES, objective))
    asked = []

    def show(table, *options):
        def find(problem, box, **kwargs):
            asked.append((box, kwargs))
            return table

        monkeypatch.setattr(critical_points, "find_critical_points", find)
        monkeypatch.setattr(cli.critical_points, "_draw", lambda *_: {})
        assert cli.main(["critical-points", "spec.toml", *BOX, *options]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    show.asked = asked
    return show


class TestCriticalPoints:
    def test_table(self, searched):
        lines = searched[1].splitlines()
        assert max(map(len, lines)) <= 100
        header = lines.index("sigmoid-mse") + 3
        assert re.match(r"  Proven: no others in the box \(interval branch and bound: [\d,]+ box", lines[header - 2])
        columns = ["#", "bias", "weight[0]", "loss", "kind", "signs", "limit", "certified"]
        assert lines[header].split() == columns
        assert lines[header - 1].split() == ["eigenvalue", "learning-rate"]
        rows = [line for line in lines[header + 1 :] if re.match(r" +1 +-?\d", line)]
        assert all(re.search(r"strict minimum +\+ \+ +[\d.]+ +yes$", row) for row in rows)
        assert len({len(row) for row in lines[header : header + 2]}) == 1
        assert "  limits of the loss at infinity, with one direction of each:" in lines

    def test_proof_of_the_cells(self, searched):
        lines = searched[1].splitlines()
        proof = lines[lines.index("relu-mse") + 1]
        assert re.search(r"cells of the ReLU, exactly: \d+ cells, the whole parameter space\)$", proof)

    def test_figures(self, searched):
        names = [f"{label}-critical-points.png" for label in ("relu-mse", "sigmoid-mse")]
        assert sorted(os.listdir(searched[0] / "tiny-critical-points")) == names
        written = [line for line in searched[1].splitlines() if line.startswith("wrote ")]
        assert written == [f"wrote tiny-critical-points/{name}" for name in reversed(names)]

    def test_json(self, searched):
        printed = searched[2]
        assert list(printed) == ["name", "box", "objectives", "figures"]
        assert (printed["name"], printed["box"], printed["figures"]) == ("tiny", [-10, 10], {})
        assert list(printed["objectives"]) == ["sigmoid-mse", "relu-mse"]
        for facts in printed["objectives"].values():
            assert set(facts) == OBJECTIVE_KEYS
            assert facts["complete"] is True
            assert facts["undecided"] == {"number": 0, "boxes": []}
            assert all(set(point) == POINT_KEYS for point in facts["critical_points"])
        smooth, cells = printed["objectives"].values()
        assert not smooth["everywhere"]
        assert cells["everywhere"]
        point = smooth["critical_points"][0]
        assert point["eigenvalue_signs"] == ["+", "+"]
        assert point["learning_rate_limit"] == pytest.approx(2 / point["sharpness"])
        assert set(point["location"]) == set(point["location_bounds"]) == {"weight[0]", "bias"}
        for name, (low, high) in point["location_bounds"].items():
            assert low <= point["location"][name] <= high
        assert point["loss_bounds"][0] <= point["loss"] <= point["loss_bounds"][1]
        assert [low > 0 for low, _ in point["eigenvalue_bounds"]] == [True, True]
        limit = smooth["limits"][0]
        assert limit["value"] == pytest.approx(smooth["infimum_at_infinity"])
        assert limit["bounds"][0] <= limit["value"] <= limit["bounds"][1]
        assert set(limit["direction"]) == {"weight[0]", "bias"}
        assert smooth["separable"] is True
        assert cells["separable"] is None
        assert cells["limits"] == []

    def test_json_with_figures(self, shown, folder):
        table = found(["strict minimum"], [[1.0, 2.0]])
        assert json.loads(shown(table, "--json", "--out", "out"))["figures"] == {}
        # What draws is replaced here: nothing may be left behind.
        assert not (folder / "out").exists()

    def test_options_reach_the_search(self, shown):
        table = found(["strict minimum"], [[1.0, 2.0]])
        shown(table, "--method", "complete", "--max-boxes", "77", "--quiet")
        shown(table)
        shown(table, "--json")
        boxes, kwargs = zip(*shown.asked, strict=True)
        assert boxes[0] == {"bias": (-10, 10), "weight[0]": (-10, 10)}
        assert kwargs[0] == {"seed": 0, "method": "complete", "max_boxes": 77, "progress": False}
        assert kwargs[1] == {"seed": 0, "method": "auto", "progress": True}
        assert kwargs[2]["progress"] is False

    def test_not_complete(self, shown):
        boxes = np.tile([0.0, 1.0], (150, 2, 1))
        why = "after 1,234 boxes 150 are undecided"
        table = found(["degenerate"], [[-1.0, 2.0]], complete=False, why_incomplete=why, undecided=boxes, spread=1.5)
        table = table.assign(certified=("critical_point", [False]))
        out = shown(table)
        proof = f"Not proven: there may be more in the box (interval branch and bound); {why}"
        assert " ".join(out.split()).startswith(f"relu-mse {proof} ")
        assert re.search(r"degenerate +\? \+ +- +no\n", out)
        facts = json.loads(shown(table, "--json"))["objectives"]["relu-mse"]
        assert facts["undecided"]["number"] == 150
        assert len(facts["undecided"]["boxes"]) == 100
        assert facts["undecided"]["boxes"][0] == {"weight[0]": [0, 1], "weight[1]": [0, 1]}

    def test_many_starts(self, shown):
        table = found(["maximum"], [[-2.0, -1.0]], method="multi-start", complete=False, num_starts=384)
        assert "  Not proven: there may be more (multi-start: 384 starts)\n" in shown(table)

    def test_nothing_found(self, shown):
        out = shown(found([], np.zeros((0, 2)), everywhere=True, method="cells of the ReLU, exactly"))
        proof = "Proven: none in the box (cells of the ReLU, exactly: 1,234 cells, the whole parameter space)"
        assert out.startswith(f"relu-mse\n  {proof}\n\n")

    def test_flat_sets_and_kinks(self, shown):
        table = found(["strict saddle", "degenerate"], [[1.0, 2.0], [0.0, 2.0]])
        table["location"][1] = [20.0, -20.0]
        out = shown(table)
        assert re.search(r"\n  2\* .* degenerate +0 \+ ", out)
        assert "* outside the box: one point of a flat set" in out
        assert "a certified degenerate point stands for a flat set" in out
        assert "a saddle without a minus lies on a kink" in out

    def test_infinity(self, shown):
        table = found(["strict minimum"], [[1.0, 2.0]], limits=[0.1, 0.2, 0.3, 0.4, np.inf], separable=0)
        out = shown(table.assign_attrs(weakly_separable=1, finite_minimiser=0, infimum_at_infinity=0.1))
        heading = "  limits of the loss at infinity, with one direction of each:\n"
        assert f"{heading}    0.1 along weight[0] = 0.5, weight[1] = 0.5\n" in out
        assert "    and 1 more, up to 0.4\n" in out
        assert "range are weakly separable; no finite minimiser exists " in " ".join(out.split())
        facts = json.loads(shown(table, "--json"))["objectives"]["relu-mse"]
        assert [limit["value"] for limit in facts["limits"]] == [0.1, 0.2, 0.3, 0.4, None]
        assert facts["limits"][-1]["bounds"] is None
        assert facts["infimum_at_infinity"] is None

    def test_unbounded_at_infinity(self, shown):
        assert "the loss grows without bound" in shown(found(["strict minimum"], [[1.0, 2.0]], limits=[np.inf]))

    def test_argument_for_convexity(self, shown):
        table = found(["strict minimum"], [[1.0, 2.0]], convex="The sum z = w . x + b is linear. Hence it holds.")
        assert "  convex everywhere: The sum z = w . x + b is linear. Hence it holds.\n" in shown(table)

    def test_rounding_about_zero(self, shown):
        """Noughts are shown as such, while the JSON keeps what was computed."""
        table = found(["strict minimum"], [[1.0, 2.0]], limits=[0.1])
        table["loss"][0], table["loss_bounds"][0], table["limit_direction"][0] = -5e-61, [-1e-60, 1e-62], [-0.0, 1.0]
        out = shown(table)
        assert re.search(r"\n +1 +0 +0 +0 +strict minimum ", out)
        assert "0.1 along weight[0] = 0, weight[1] = 1\n" in out
        facts = json.loads(shown(table, "--json"))["objectives"]["relu-mse"]
        assert facts["critical_points"][0]["loss"] == -5e-61

    def test_many_parameters(self, shown):
        """Where there is no room for columns, the location goes below each row."""
        values = np.append(-np.ones(4), np.arange(5.0))
        out = shown(found(["strict saddle"], values[None], certified=False))
        assert max(map(len, out.splitlines())) <= 100
        assert "4 -, 1 0, 4 +" in out
        assert "      at weight[0] = 0, weight[1] = 0, " in out

    def test_without_the_newer_columns(self, shown):
        """Tables without limits are fine."""
        table = found(["strict minimum"], [[1.0, 2.0]])
        table = table.drop_vars(["limit_value", "limit_bounds", "limit_direction"])
        assert "infinity" not in shown(table)
        assert json.loads(shown(table, "--json"))["objectives"]["relu-mse"]["limits"] == []

    def test_three_parameters_have_no_figure(self, folder, capsys):
        inputs = "inputs = [[-0.5, 1.0], [1.0, 0.5]]"
        text = SPEC.replace(OBJECTIVES, OBJECTIVES[OBJECTIVES.rindex("[[") :]).replace(
            "inputs = [[-0.5], [1.0]]", inputs
        )
        (folder / "spec.toml").write_text(text)
        assert cli.main(["critical-points", "spec.toml", *BOX, "--quiet"]) == 0
        out = capsys.readouterr().out
        assert out.endswith("no figure of relu-mse: it has 3 parameters, and a figure shows one or two\n")
        assert not (folder / "tiny-critical-points").exists()

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (("--method", "compleet"), "unknown --method 'compleet': did you mean 'complete'?"),
            (("--method", ""), "unknown --method ''"),
            (("--max-boxes", "0"), "--max-boxes must be at least 1, not 0"),
            (("--max-boxes", "-5"), "--max-boxes must be at least 1, not -5"),
            (("--out", "x.csv"), "output folder 'x.csv' is a file"),
            (("--out", "x.csv/out"), "cannot write output folder 'x.csv/out'"),
            (("--out", 300 * "x"), "cannot write output folder 'xxx"),
            (("--method", "complete", "--json"), "cannot be searched completely"),
        ],
    )
    def test_bad_options(self, folder, capsys, options, expected):
        if "cannot be searched" in expected:
            text = SPEC.replace(OBJECTIVES, "").replace(SAMPLES, 'problem = "xor-221"')
            text = text.replace('"weight[0]"', '"layer_0.weight[0,0]"').replace("\nbias =", '\n"layer_0.bias[0]" =')
            (folder / "spec.toml").write_text(text)
        fails(capsys, ["critical-points", "spec.toml", *BOX, *options], expected)

    def test_box_too_wide(self, folder, capsys):
        fails(capsys, ["critical-points", "spec.toml", "--box", "-1e308", "1e308"], "--box must be two numbers")

    def test_bad_spec(self, folder, capsys):
        fails(capsys, ["critical-points", "nothing.toml", *BOX], "no spec file 'nothing.toml'")

    @pytest.mark.parametrize("options", [("--max-boxes", "many"), ("--box", "1"), ("--jsn",)])
    def test_usage(self, folder, options, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(["critical-points", "spec.toml", *BOX, *options])
        assert caught.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


class TestInterrupted:
    @pytest.mark.parametrize("after", [0, 1, 2, 3])
    def test_is_resumed(self, folder, swept, capsys, monkeypatch, after):
        from jaxloss import stored

        done = []

        def interrupted(job, block, *progress, run=stored.run_block):
            if len(done) == after:
                raise KeyboardInterrupt
            run(job, block, *progress)
            done.append((job.plan.path.name, block))

        monkeypatch.setitem(stored.STAGES, "ends", interrupted)
        options = ["--quiet", "--block-size", "64"]
        assert cli.main(["sweep", "spec.toml", *options]) == 130
        out, err = capsys.readouterr()
        label = "sigmoid-mse" if after < 2 else "relu-mse"
        assert (out, err) == ("", f"interrupted: jaxloss resume tiny goes on with {label}\n")
        fails(capsys, ["plot", "tiny"], "holds no complete result")
        with pytest.raises(SystemExit):
            cli.main(["verify", "tiny"])
        assert f"tiny/{label}.zarr: unfinished" in capsys.readouterr().out
        first = list(done)
        done.clear()
        after = 99
        monkeypatch.setitem(stored.STAGES, "ends", interrupted)
        assert cli.main(["resume", "tiny", "--quiet"]) == 0
        assert not set(first) & set(done)
        assert len(first) + len(done) == 4
        assert cli.main(["verify", "tiny"]) == 0
        assert capsys.readouterr().out.count(": whole") == 4
        written = [store.open_folder(path)[0] for path in (folder / "tiny", swept[0] / "tiny")]
        for name, result in written[0].items():
            np.testing.assert_array_equal(result.end_point.values, written[1][name].end_point.values)
            np.testing.assert_array_equal(result.outcome.values, written[1][name].outcome.values)

    def test_a_data_file_travels_with_the_result(self, folder, capsys):
        (folder / "data.csv").write_text("a,y\n-0.5,0\n1,1\n0.3,1\n")
        text = SPEC[SPEC.index("[[objective]]") :]
        (folder / "spec.toml").write_text(
            'name = "tiny"\n[data]\nfile = "data.csv"\nfeatures = ["a"]\ntarget = "y"\n' + text
        )
        assert cli.main(["sweep", "spec.toml", "--quiet"]) == 0
        (folder / "data.csv").unlink()
        shutil.rmtree(folder / "tiny" / "relu-mse.zarr")
        assert cli.main(["resume", "tiny", "--quiet"]) == 0
        assert cli.main(["verify", "tiny"]) == 0
        (folder / "tiny" / "data" / "data.csv").write_text("a,y\n0,0\n")
        capsys.readouterr()
        fails(capsys, ["resume", "tiny"], "not the one that was swept")

    def test_what_cannot_be_resumed(self, folder, capsys):
        fails(capsys, ["resume", "nowhere"], "no folder 'nowhere'")
        fails(capsys, ["resume", "."], "spec.json is missing or damaged")
        fails(capsys, ["verify", "nowhere"], "no folder 'nowhere'")
        fails(capsys, ["verify", "."], "holds no result")


class TestWorkersAreChecked:
    def test_numbers_and_addresses(self, folder, capsys):
        fails(capsys, ["sweep", "spec.toml", "--workers", "0"], "workers must be at least 1")
        both = ["--workers", "1", "--scheduler", "tcp://127.0.0.1:1"]
        fails(capsys, ["sweep", "spec.toml", *both], "not both")

    def test_no_scheduler_there(self, folder, capsys, monkeypatch):
        from jaxloss import cluster

        monkeypatch.setattr(cluster, "PATIENCE", 1)
        fails(capsys, ["sweep", "spec.toml", "--scheduler", "tcp://127.0.0.1:1"], "does not answer")


class TestProcess:
    def test_wrong_sums(self, folder, capsys, monkeypatch):
        from jaxloss import stored
        from jaxloss.engine import WrongSumsError

        def refuse(*_, **__):
            raise WrongSumsError("this jaxlib is wrong")

        monkeypatch.setattr(stored, "check_once", refuse)
        assert cli.main(["sweep", "spec.toml", "--quiet"]) == 1
        assert capsys.readouterr().err == "error: this jaxlib is wrong\n"
        assert not (folder / "tiny").exists()

    def test_bad_input(self, folder):
        (folder / "spec.toml").write_text(SPEC.replace("num_steps", "num_step"))
        run = python("-m", "jaxloss", "sweep", "spec.toml")
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr == ("error: spec.toml, line 22: [run] has no key 'num_step': did you mean 'num_steps'?\n")
        assert not (folder / "tiny").exists()

    def test_help_is_light(self):
        code = (
            "import sys; from jaxloss import cli\n"
            "try: cli.main(['--help'])\n"
            "except SystemExit as error: assert error.code == 0\n"
            "print({'jax', 'xarray', 'matplotlib', 'zarr'} & set(sys.modules), file=sys.stderr)"
        )
        run = python("-c", code)
        assert "critical-points" in run.stdout
        assert "JAXLOSS_CACHE=off" in run.stdout
        assert run.stderr == "set()\n"

    def test_the_second_process_compiles_nothing(self, folder, tmp_path):
        """Nor does it differ in a bit, or print what XLA says of programs from the cache."""
        (folder / "spec.toml").write_text(SPEC.replace(OBJECTIVES, OBJECTIVES[: OBJECTIVES.rindex("[[")]))
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "JAXLOSS_CACHE": "on"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        runs, programs = [], []
        for out in ("cold", "warm"):
            argv = ("-W", "error", "-m", "jaxloss", "sweep", "spec.toml", "--out", out)
            runs.append(python(*argv, env=environment))
            programs.append(sorted(os.listdir(tmp_path / "cache" / "jaxloss")))
        assert [run.returncode for run in runs] == [0, 0]
        assert programs[0] == programs[1]
        assert programs[0]
        *bars, shares = runs[1].stderr.splitlines()
        assert re.match(r"import .*, compile .*, store .*, run .*, labels .*, draw .* in all$", shares)
        assert not [bar for bar in bars if bar and "sigmoid-mse" not in bar]
        cold, warm = (store.read_result(folder / out / "sigmoid-mse.zarr") for out in ("cold", "warm"))
        assert warm.identical(cold)

    def test_closed_pipe(self):
        read, write = os.pipe()
        os.close(read)
        argv = [sys.executable, "-W", "error", "-m", "jaxloss", "optimizers"]
        run = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert (run.returncode, run.stderr) == (141, "")
