import json

import numpy as np
import pytest
import xarray as xr

from jaxloss import cli
from jaxloss.errors import InputError
from jaxloss.figures.reproduced import plot_agreement, plot_case
from jaxloss.reproduce import (
    CASES,
    Published,
    Reproduced,
    Settings,
    maps,
    neurons,
    reproduce,
    rows,
    runner,
    stability,
)
from jaxloss.reproduce.case import Case

SMALL = Settings("quick")
# Networks and fractals have tests of their own.
OURS = [module.__name__ for module in (maps, neurons, stability)]


def verdict(row):
    """As the table defines it."""
    if row.published is None:
        return rows.NONE
    return rows.INSIDE if row.low <= row.published <= row.high else rows.OUTSIDE


class TestRows:
    @pytest.mark.parametrize(
        ("value", "rounding"),
        [("5.5", 0.05), (".0249", 5e-5), ("12", 0.5), ("-1.569397", 5e-7), (5.5, 0.0), ("1.2e-3", 5e-5)],
    )
    def test_a_printed_number_is_off_by_half_its_last_digit(self, value, rounding):
        assert Published(value, "us").rounding == pytest.approx(rounding)

    @pytest.mark.parametrize(
        ("ours", "published", "expected"),
        [
            (5.52149018, "5.521490", rows.INSIDE),
            (5.52148, "5.521490", rows.OUTSIDE),
            (2.0, 2.0, rows.INSIDE),
            (3.0, 2.0, rows.OUTSIDE),
        ],
    )
    def test_exact(self, ours, published, expected):
        row = rows.exact("a", "b", ours, Published(published, "us"))
        assert row.verdict == expected == verdict(row)

    def test_own_error_widens(self):
        assert rows.exact("a", "b", 1.0, Published(1.1, "us"), error=0.2).verdict == rows.INSIDE

    def test_nothing_published(self):
        row = rows.fraction("a", "b", 3, 10, source="nobody")
        assert (row.verdict, row.published, row.source, row.num_runs) == (rows.NONE, None, "nobody", 10)
        assert row.low < 0.3 < row.high

    def test_fraction_of_exact_is_wilson(self):
        from jaxloss.basins import wilson_interval

        row = rows.fraction("a", "b", 30, 100, published=Published(0.2, "exact"))
        assert (row.low, row.high) == pytest.approx(tuple(map(float, wilson_interval(30, 100))))

    def test_coverage_of_two_samples(self):
        """Of two samples of one truth, the second lies in the interval of the first about 95 times of 100."""
        key = np.random.default_rng(0)
        ours, theirs = key.binomial(2000, 0.1, 4000), key.binomial(1000, 0.1, 4000) / 1000
        inside = [
            rows.fraction("a", "b", hits, 2000, published=Published(float(q), "them", 1000)).verdict == rows.INSIDE
            for hits, q in zip(ours, theirs, strict=True)
        ]
        assert 0.94 <= np.mean(inside) <= 0.965

    @pytest.mark.parametrize("hits", [0, 10])
    def test_bounds_stay_fractions(self, hits):
        row = rows.fraction("a", "b", hits, 10, published=Published("0.003", "them", 1000))
        assert 0 <= row.low <= row.ours <= row.high <= 1


class TestRegistry:
    def test_names_and_texts(self):
        for name, case in CASES.items():
            assert name == name.lower()
            assert case.summary[-1] != "."
            assert case.citation
            module, function = case.plot.split(".")
            assert function.startswith("plot_")
            assert module

    def test_unknown(self):
        with pytest.raises(InputError, match="unknown case 'cubic-mop': did you mean 'cubic-map'"):
            reproduce(["cubic-mop"])
        with pytest.raises(InputError, match="unknown effort 'quik': did you mean 'quick'"):
            reproduce(["cubic-map"], effort="quik")

    def test_order_is_the_registry_s(self):
        first, second = list(CASES)[:2]
        assert runner.chosen([second, first]) == (first, second)
        assert runner.chosen([]) == tuple(CASES)


@pytest.fixture
def counted(monkeypatch):
    """Two made-up cases that count their runs."""
    ran = []

    def case(name):
        def run(settings):
            ran.append((name, settings.effort, settings.seed))
            row = rows.exact(name, "one", 1.0, Published(1.0, "us"))
            return Reproduced((row,), xr.Dataset({"x": ("i", np.arange(3.0))}))

        return Case(run, "made up", "us", "agreement.plot_agreement")

    monkeypatch.setattr(runner, "CASES", {"first": case("first"), "second": case("second")})
    return ran


class TestRunner:
    def test_goes_on_where_it_stopped(self, counted, tmp_path):
        done = next(runner.run_cases([], tmp_path))
        assert (done.name, done.fresh, counted) == ("first", True, [("first", "default", 0)])
        again = list(runner.run_cases([], tmp_path))
        assert [(case.name, case.fresh) for case in again] == [("first", False), ("second", True)]
        assert len(counted) == 2
        assert again[0].reproduced.rows == done.reproduced.rows
        xr.testing.assert_identical(again[0].reproduced.data, done.reproduced.data)

    def test_other_settings_run_again(self, counted, tmp_path):
        for options in ({}, {"effort": "quick"}, {"effort": "quick", "seed": 1}, {"effort": "quick", "seed": 1}):
            list(runner.run_cases(["first"], tmp_path, **options))
        assert counted == [("first", "default", 0), ("first", "quick", 0), ("first", "quick", 1)]

    @pytest.mark.parametrize("damage", ["rows", "data", "text", "fields"])
    def test_damaged_case_runs_again(self, counted, tmp_path, damage):
        list(runner.run_cases(["first"], tmp_path))
        part, data = tmp_path / "cases" / "first.json", tmp_path / "cases" / "first.zarr"
        if damage == "rows":
            part.unlink()
        elif damage == "data":
            (data / "zarr.json").unlink()
        else:
            part.write_text("{" if damage == "text" else part.read_text().replace("verdict", "verdikt"))
        assert next(runner.run_cases(["first"], tmp_path)).fresh
        assert len(counted) == 2

    def test_table(self, counted, tmp_path):
        paths = runner.write_table(tmp_path, list(runner.run_cases([], tmp_path)))
        assert [path.name for path in paths] == ["reproduced.json", "reproduced.md"]
        stored = json.loads(paths[0].read_text())
        assert [row["case"] for row in stored] == ["first", "second"]
        keys = ["case", "quantity", "published", "source", "ours", "low", "high", "num_runs", "verdict"]
        assert all(list(row) == keys for row in stored)
        assert paths[1].read_text().count("\n") == 4

    def test_folder_that_cannot_be(self, counted, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot write output folder"):
            next(runner.run_cases([], tmp_path / "file"))


def check(reproduced):
    """What every case must yield."""
    assert reproduced.rows
    quantities = [row.quantity for row in reproduced.rows]
    assert len(set(quantities)) == len(quantities)
    for row in reproduced.rows:
        assert row.low <= row.ours <= row.high
        assert row.verdict == verdict(row)
        assert row.num_runs > 0
        assert row.source


@pytest.mark.slow
@pytest.mark.parametrize("case", [name for name in CASES if CASES[name].run.__module__ in OURS])
def test_quick(case, tmp_path):
    reproduced = CASES[case].run(SMALL)
    check(reproduced)
    assert {row.case for row in reproduced.rows} == {case}
    exactly = [row for row in reproduced.rows if "starts" not in row.quantity]
    assert all(row.verdict == rows.INSIDE for row in exactly), [row for row in exactly if row.verdict != rows.INSIDE]
    figure = plot_case(case, reproduced, path=tmp_path / "case.png")
    assert (tmp_path / "case.png").stat().st_size > 10_000
    assert figure.get_suptitle()
    assert figure.axes[0].get_xlabel()


def test_agreement():
    table = [
        rows.exact("a", "inside", 1.0, Published(1.0, "us"), error=0.1),
        rows.exact("a", "outside", 1.0, Published(1.2, "us"), error=0.1),
        rows.exact("a", "far", 1.0, Published(9.0, "us"), error=0.1),
        rows.exact("a", "exactly", 1.0, Published(1.0, "us")),
        rows.fraction("a", "none", 1, 2, source="us"),
    ]
    figure = plot_agreement(table)
    assert "2 of 4 inside" in figure.get_suptitle()
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["a (4)"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["outside: 1, published 1.2", "far: 1, published 9"]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["our interval", "published, inside", "published, outside", "beyond the panel"]


class TestCommand:
    @pytest.fixture
    def folder(self, counted, tmp_path, monkeypatch):
        """Where the two made-up cases are the registry, and the figures are files."""
        from jaxloss.figures import reproduced
        from jaxloss.reproduce import registry

        monkeypatch.setattr(registry, "CASES", runner.CASES)
        monkeypatch.setattr(reproduced, "plot_case", lambda name, case, *, path: path.write_text(name))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_table_figures_and_progress(self, folder, counted, capsys):
        assert cli.main(["reproduce", "--quick", "--out", "out"]) == 0
        out, err = capsys.readouterr()
        assert "2 of 2 published numbers inside our intervals" in out
        assert max(map(len, out.splitlines())) <= 100
        assert "[1/2] first: made up" in err
        names = {"agreement.png", "cases", "first.png", "second.png", "reproduced.json", "reproduced.md"}
        assert {path.name for path in (folder / "out").iterdir()} == names
        assert cli.main(["reproduce", "--quick", "--out", "out", "--quiet"]) == 0
        assert capsys.readouterr().err == ""
        assert counted == [("first", "quick", 0), ("second", "quick", 0)]

    def test_list(self, folder, counted, capsys):
        assert cli.main(["reproduce", "--list"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "first"
        assert not counted

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["frist"], "unknown case 'frist': did you mean 'first'?"),
            (["--quick", "--full"], "give --quick or --full, not both"),
            (["--seed", "-1"], "seed must be at least 0, not -1"),
            (["--out", "file"], "output folder 'file' is a file"),
        ],
    )
    def test_bad_input(self, folder, counted, capsys, arguments, expected):
        (folder / "file").write_text("")
        assert cli.main(["reproduce", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"error: {expected}")
        assert not counted

    def test_interrupted(self, folder, counted, capsys, monkeypatch):
        def stop(settings):
            raise KeyboardInterrupt

        first = runner.CASES["first"]
        monkeypatch.setitem(runner.CASES, "second", first._replace(run=stop))
        assert cli.main(["reproduce", "--out", "out", "--quiet"]) == 130
        assert "goes on with second in out" in capsys.readouterr().err
        assert not (folder / "out" / "reproduced.json").exists()
        monkeypatch.setitem(runner.CASES, "second", first)
        assert cli.main(["reproduce", "--out", "out", "--quiet"]) == 0
        assert len(counted) == 2
