"""How many boxes and how much time a proof takes, and whether descent finds anything that a complete table lacks.

Run it with ``uv run python scripts/certified_search.py``; it writes ``results/certified_search/``:
``random_neurons.csv`` (random neurons on [-10, 10]^p), ``published_cases.csv``, ``cost.csv`` and ``cost.png``.
"""

import argparse
import csv
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxloss.engine.devices import compute_in_threads

compute_in_threads()

import jax  # noqa: E402

from jaxloss import Problem, find_critical_points, load_problem, neuron_problem  # noqa: E402
from jaxloss.critical_points.polish import polish  # noqa: E402

OUT = Path(__file__).parents[1] / "results" / "certified_search"
HALF_WIDTH = 10.0
# Starts of the descent that looks for minima that a table lacks.
NUM_STARTS = 10_000
# Published minima, and the half-width of the box.
PUBLISHED: dict[str, tuple[dict[str, Any], float, int]] = {
    "two-minima-binary": ({}, 10.0, 2),
    "two-minima-binary, cross-entropy": ({"loss": "cross_entropy"}, 10.0, 1),
    "auer-fig3a": ({}, 10.0, 2),
    "auer-fig3a, cross-entropy": ({"loss": "cross_entropy"}, 10.0, 1),
    "separable-but-stuck": ({}, 10.0, 1),
}


def random_neuron(rng: np.random.Generator, activation: str, features: int, num: int, hard: bool) -> Problem:
    """A neuron with a bias on normal inputs; targets are random labels, or uniform in the activation's range."""
    targets = rng.integers(0, 2, num).astype(float) if hard else rng.uniform(0, 1, num)
    targets = 2 * targets - 1 if activation == "tanh" else targets
    return neuron_problem(activation, "mse", rng.normal(size=(num, features)), targets)


def auer_exponential(num: int, loss: str = "sse") -> Problem:
    """The construction of Auer, Herbster and Warmuth, theorem 3.4: powers of 20 on two axes, targets 3/4."""
    points = [[20.0**i * (axis == k) for k in range(2)] for axis in range(2) for i in range(num // 2)]
    return neuron_problem("sigmoid", loss, points, [0.75] * num, bias=False, name=f"auer-exponential-{num}")


def searched(problem: Problem, half_width: float) -> tuple[xr.Dataset, float]:
    """The table, and the seconds that it took without compilation."""
    box = {name: (-half_width, half_width) for name in problem.parameter_names}
    find_critical_points(problem, dict.fromkeys(box, (-0.1, 0.1)))  # compiles
    before = time.perf_counter()
    table = find_critical_points(problem, box)
    return table, time.perf_counter() - before


def missing_minima(problem: Problem, table: xr.Dataset, seed: int) -> int:
    """How many strict minima inside the box a descent from random starts reaches that the table lacks."""
    starts = np.random.default_rng(seed).uniform(-HALF_WIDTH, HALF_WIDTH, (NUM_STARTS, problem.num_parameters))
    found = polish(problem, starts, descend=True)
    eigenvalues = found.spectrum.eigenvalues
    strict = found.converged & (eigenvalues[:, 0] > 1e-8 * eigenvalues[:, -1])
    points = found.location[strict & np.all(np.abs(found.location) < HALF_WIDTH, axis=1)]
    if not len(points):
        return 0
    known = table.location.values.reshape(1, -1, problem.num_parameters)
    apart = np.abs(points[:, None] - known).max(axis=2).min(axis=1, initial=np.inf)
    return len(np.unique(np.round(points[apart > 1e-6], 4), axis=0))


def row_of(problem: Problem, table: xr.Dataset, seconds: float) -> dict[str, Any]:
    """What is reported of one search."""
    return {
        "parameters": problem.num_parameters,
        "samples": len(problem.data[0]),
        "complete": int(table.attrs["complete"]),
        "certified": int(table.certified.values.all()),
        "critical_points": table.sizes["critical_point"],
        "strict_minima": int((table.kind == "strict minimum").sum()),
        "boxes": table.attrs["num_boxes"],
        "seconds": round(seconds, 3),
    }


def random_neurons(repeats: int) -> Iterable[dict[str, Any]]:
    """Random neurons of one and two features with bias, 4 to 12 samples."""
    rng = np.random.default_rng(0)
    for features in (1, 2):
        for num in range(4, 13):
            for activation in ("sigmoid", "tanh"):
                for repeat in range(repeats):
                    hard = bool(repeat % 2)
                    problem = random_neuron(rng, activation, features, num, hard)
                    table, seconds = searched(problem, HALF_WIDTH)
                    row = {"activation": activation, "hard_targets": int(hard), **row_of(problem, table, seconds)}
                    yield {**row, "missing_minima": missing_minima(problem, table, repeat)}
            jax.clear_caches()  # programs of other shapes are of no more use


def published_cases() -> Iterable[dict[str, Any]]:
    """The published cases, each with the number of minima stated there."""
    cases = [
        (name, load_problem(name.split(",")[0], **options), half_width, num)
        for name, (options, half_width, num) in PUBLISHED.items()
    ]
    for num in (4, 6, 10):
        cases.append((f"auer-exponential-{num}", auer_exponential(num), 2.0, (num // 2) ** 2))
    for name, problem, half_width, expected in cases:
        table, seconds = searched(problem, half_width)
        yield {"case": name, "half_width": half_width, "expected_minima": expected, **row_of(problem, table, seconds)}


def costs(repeats: int) -> Iterable[dict[str, Any]]:
    """Boxes and time against the number of samples and of parameters, and against the size of the box."""
    rng = np.random.default_rng(1)
    for features, nums in ((1, (4, 8, 16, 32, 64)), (2, (4, 8, 16, 32))):
        for num in nums:
            for half_width in (5.0, 10.0) if num == 8 else (HALF_WIDTH,):
                for _ in range(repeats):
                    problem = random_neuron(rng, "sigmoid", features, num, hard=True)
                    table, seconds = searched(problem, half_width)
                    yield {"half_width": half_width, **row_of(problem, table, seconds)}


def write(rows: list[Mapping[str, Any]], path: Path) -> None:
    """Writes a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def plot(rows: list[Mapping[str, Any]], path: Path) -> None:
    """Boxes and seconds against the number of samples, for two and three parameters; medians and ranges."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for column, label, axis in zip(("boxes", "seconds"), ("boxes examined", "seconds on 2 cores"), axes, strict=True):
        for parameters, colour, marker in ((2, "#0072B2", "o"), (3, "#D55E00", "s")):
            here = [row for row in rows if row["parameters"] == parameters and row["half_width"] == HALF_WIDTH]
            nums = sorted({row["samples"] for row in here})
            values = [[row[column] for row in here if row["samples"] == num] for num in nums]
            middle = [float(np.median(group)) for group in values]
            spread = np.abs(np.array([[min(group), max(group)] for group in values]).T - middle)
            axis.errorbar(
                nums, middle, spread, marker=marker, color=colour, capsize=3, label=f"{parameters} parameters"
            )
        axis.set(xscale="log", yscale="log", xlabel="samples", ylabel=label)
        axis.set_xticks([4, 8, 16, 32, 64], [4, 8, 16, 32, 64])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.suptitle(
        "What it takes to prove all critical points of a random sigmoid neuron (MSE) on [-10, 10]^p\n"
        "median and range over random data; compilation left out",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Runs all three parts, prints each row and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6, help="random neurons of each kind; default 6, 216 in all")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    parts = {
        "published_cases": published_cases(),
        "cost": costs(max(1, options.repeats // 2)),
        "random_neurons": random_neurons(options.repeats),
    }
    for name, rows in parts.items():
        done = []
        for row in rows:
            print(name, row, flush=True)
            done.append(row)
        write(done, options.out / f"{name}.csv")
        if name == "cost":
            plot(done, options.out / "cost.png")


if __name__ == "__main__":
    main()
