"""Measures what has a closed form or a published number, and writes it beside the measurement.

Run it with ``uv run python scripts/closed_forms.py``; it writes ``results/closed_forms.json``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import optax

from jaxloss import OUTCOMES, Axis, Grid, Problem, Starts, load_problem, neuron_problem, sweep
from jaxloss.basins import wilson_interval

RESULTS = Path(__file__).parent.parent / "results"
SEED = 0


def row(quantity: str, expected: Any, measured: Any, holds: bool, **details: Any) -> dict[str, Any]:
    """One line of the table."""
    return {"quantity": quantity, "expected": expected, "measured": measured, "holds": bool(holds), **details}


def fraction_row(quantity: str, expected: float, hits: np.ndarray) -> dict[str, Any]:
    """A fraction of runs, with its Wilson 95 % interval."""
    low, high = (float(bound) for bound in wilson_interval(hits.sum(), hits.size))
    return row(
        quantity, expected, float(hits.mean()), low <= expected <= high, low=low, high=high, num_runs=int(hits.size)
    )


def worked_example() -> list[dict[str, Any]]:
    """The lecture's two steps of gradient descent on x0^2 + x1^2 from (-3, 4) at learning rate 0.1."""
    bowl = Problem(name="bowl", objective=lambda p: p["x"][0] ** 2 + p["x"][1] ** 2, params={"x": np.zeros(2)})
    rows = []
    for num_steps, expected in ((1, (-2.4, 3.2)), (2, (-1.92, 2.56))):
        grid = Grid({"x[0]": Axis.of([-3.0]), "x[1]": Axis.of([4.0])})
        end = sweep(bowl, grid, learning_rate=0.1, num_steps=num_steps, precision="float64").end_point.values[0, 0]
        rows.append(
            row(f"x0^2 + x1^2 from (-3, 4), step {num_steps}", expected, end.tolist(), np.allclose(end, expected))
        )
    return rows


def parity_with_optax(num_starts: int, num_steps: int = 1000) -> list[dict[str, Any]]:
    """Our gradient descent against optax.sgd, to the last bit."""
    rows = []
    for problem, rate in (
        (load_problem("loss-comparison"), 1.0),
        (load_problem("two-minima-binary"), 0.05),
        (load_problem("xor-221"), 1.0),
    ):
        grid = Grid({"start": Starts(num_starts, scale=2.0), "learning_rate": Axis.of([rate])})
        ours, reference = (
            sweep(problem, grid, optimizer=optimizer, num_steps=num_steps, gradient_tolerance=1e-30, seed=SEED)
            for optimizer in ("sgd", optax.sgd)
        )
        same = ours.end_point.values.view(np.int32) == reference.end_point.values.view(np.int32)
        rows.append(
            row(
                f"parameters equal to optax.sgd to the last bit after {num_steps} steps, {problem.name}",
                same.size,
                int(same.sum()),
                same.all(),
                num_runs=num_starts,
            )
        )
    return rows


def stability_limits() -> list[dict[str, Any]]:
    """The learning rate at which each rule changes from converging to diverging on a bowl of sharpness s."""
    limits = {
        "sgd": lambda s, b: 2 / s,
        "momentum": lambda s, b: (2 + 2 * b) / s,
        "nesterov": lambda s, b: (2 + 2 * b) / ((1 + 2 * b) * s),
        "ema_momentum": lambda s, b: (2 + 2 * b) / ((1 - b) * s),
    }
    offsets = np.linspace(-1e-3, 1e-3, 21)
    rows = []
    for optimizer, limit in limits.items():
        for sharpness, momentum in ((4.0, 0.5), (0.3, 0.9)):
            if optimizer == "sgd" and momentum == 0.5:
                continue
            expected = limit(sharpness, momentum)
            result = sweep(
                load_problem("quadratic", sharpness=sharpness),
                Grid({"learning_rate": Axis.of(expected * (1 + offsets))}),
                optimizer=optimizer,
                hyperparameters=None if optimizer == "sgd" else {"momentum": momentum},
                num_steps=100_000,
                precision="float64",
            )
            converges = result.outcome.values == OUTCOMES["global_minimum"]
            diverges = result.outcome.values == OUTCOMES["diverged"]
            last, first = offsets[converges].max(initial=-np.inf), offsets[diverges].min(initial=np.inf)
            name = f"{optimizer}, s = {sharpness}" + ("" if optimizer == "sgd" else f", b = {momentum}")
            rows.append(
                row(
                    f"stability limit of {name}",
                    expected,
                    [float(expected * (1 + last)), float(expected * (1 + first))],
                    -1e-3 <= last < first <= 1e-3 and first > 0 > last,
                    meaning="the largest learning rate that converged and the smallest that diverged",
                )
            )
    return rows


def cubic_map(num: int) -> list[dict[str, Any]]:
    """Gradient descent on x^4/4 - x^2/2 diverges iff |x0| > sqrt(1 + 2 / learning_rate)."""
    rates = (0.25, 0.5, 1.0, 1.5, 2.0)
    grid = Grid({"x": Axis.linear(-4, 4, num), "learning_rate": Axis.of(rates)})
    # At rate 2 the chaotic attractor reaches the border itself: single precision would leak across it.
    result = sweep(load_problem("cubic-map"), grid, num_steps=2000, precision="float64")
    diverged = (result.outcome == OUTCOMES["diverged"]).values
    rows = []
    for i, rate in enumerate(rates):
        border = float(np.sqrt(1 + 2 / rate))
        wrong = int((diverged[:, i] != (np.abs(result.x.values) > border)).sum())
        rows.append(
            row(f"cubic map, learning rate {rate}: starts on the wrong side of {border:.6f}", 0, wrong, wrong == 0)
        )
    return rows


def single_relu(num_starts: int) -> list[dict[str, Any]]:
    """The dead basin of one ReLU neuron, and how often it is born dead."""
    grid = Grid({"start": Starts(num_starts), "learning_rate": Axis.of([0.1])})
    result = sweep(load_problem("single-relu"), grid, num_steps=2000, seed=SEED)
    dead = result.outcome.values == OUTCOMES["dead"]
    return [
        fraction_row("single ReLU: dead basin", 0.5, dead),
        fraction_row("single ReLU: born dead", 0.25, dead & (result.num_steps.values == 0)),
    ]


def separable_data(num_starts: int) -> list[dict[str, Any]]:
    """Cross-entropy on separable data has no minimum: every run is on its way to infinity."""
    problem = neuron_problem("sigmoid", "cross_entropy", [[-2.0], [-1.0], [1.0], [2.5]], [0, 0, 1, 1])
    grid = Grid({"start": Starts(num_starts, scale=3.0), "learning_rate": Axis.of([0.03, 0.3, 3.0])})
    ends = sweep(problem, grid, num_steps=4000, seed=SEED).outcome.values == OUTCOMES["infimum_at_infinity"]
    return [
        row(
            "separable data, cross-entropy: infimum_at_infinity",
            1.0,
            float(ends.mean()),
            ends.all(),
            num_runs=ends.size,
        )
    ]


def stuck_xor(num_starts: int) -> list[dict[str, Any]]:
    """XOR by two hidden units: what is stuck is a plateau, not a minimum."""
    grid = Grid({"start": Starts(num_starts, "uniform", 4.0), "learning_rate": Axis.of([1.0])})
    result = sweep(load_problem("xor-221"), grid, num_steps=50_000, seed=SEED)
    solved = np.isin(result.outcome.values, [OUTCOMES["infimum_at_infinity"], OUTCOMES["global_minimum"]])
    stuck = result.outcome.values[~solved]
    return [
        fraction_row("XOR 2-2-1, uniform starts on [-4, 4], learning rate 1: not solved", 0.455, ~solved),
        row(
            "XOR 2-2-1: runs that are not solved and end as a plateau",
            int(stuck.size),
            int((stuck == OUTCOMES["plateau"]).sum()),
            bool((stuck == OUTCOMES["plateau"]).mean() > 0.95),
            others=int((stuck == OUTCOMES["unfinished"]).sum()),
            meaning="the others are unfinished: still descending when the budget was spent",
        ),
    ]


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the runs")
    parser.add_argument("--out", type=Path, default=RESULTS / "closed_forms.json")
    options = parser.parse_args(argv)
    share = 100 if options.quick else 1
    rows = [
        *worked_example(),
        *parity_with_optax(10_000 // share),
        *stability_limits(),
        *cubic_map(4001 // share),
        *single_relu(1_000_000 // share),
        *separable_data(3000 // share),
        *stuck_xor(2000 // share),
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"seed": SEED, "rows": rows}, indent=1) + "\n")
    for entry in rows:
        print("holds " if entry["holds"] else "FAILS ", entry["quantity"], entry["expected"], entry["measured"])
    return rows


if __name__ == "__main__":
    main()
