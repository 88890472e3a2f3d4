"""What the README says: its example runs, and its numbers are those of the committed results."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TITLES = {
    "sigmoid-mse": "sigmoid + MSE",
    "relu-mse": "ReLU + MSE",
    "sigmoid-cross_entropy": "sigmoid + cross-entropy",
}


@pytest.fixture
def examples():
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_runs(examples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(examples[0], "README.md", "exec"), {})
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_the_second_example_prints_what_it_says(examples, capsys):
    exec(compile(examples[1], "README.md", "exec"), {})
    (said,) = re.findall(r"# (0\.\d+)", examples[1])
    exponent, rest = capsys.readouterr().out.splitlines()
    assert f"{float(exponent):.3f}" == said
    assert rest.endswith("True")
    assert len(examples) == 2


@pytest.mark.parametrize("objective", sorted(TITLES))
def test_the_table_of_trapped_runs_is_the_committed_one(objective):
    with (ROOT / "results" / "loss_comparison" / "trapping.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["objective"] == objective]
    below = {row["outcome"]: row for row in rows if row["learning_rate"].startswith("all below")}
    (line,) = [line for line in README.splitlines() if line.startswith(f"| {TITLES[objective]} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert int(cells[1].replace(",", "")) == int(below["trapped"]["total"])
    for cell, outcome in zip(cells[2:], ("trapped", "spurious_minimum", "plateau", "dead", "saddle"), strict=True):
        share = 100 * float(below[outcome]["fraction"])
        shown = float(re.match(r"[\d.]+", cell)[0])
        assert shown == pytest.approx(share, abs=0.05 if share > 0.05 else 0.0005)


def test_reproduced_numbers_are_counted_right():
    rows = json.loads((ROOT / "results" / "reproduced" / "reproduced.json").read_text())
    compared = [row for row in rows if row["published"] is not None]
    inside = sum(row["verdict"] == "inside" for row in compared)
    assert f"{inside} of {len(compared)} lie inside" in " ".join(README.split())
    assert {row["case"] for row in compared if row["verdict"] == "outside"} == {"trainability-zoom"}
    assert all(low <= row["ours"] <= high for row in rows for low, high in [(row["low"], row["high"])])


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
