"""What a refined outcome map costs: trajectories against the resolution, up to 4096 x 4096 points.

Run it with ``uv run python scripts/refinement.py``; it writes ``cost.csv``, ``summary.json`` and two figures into
``results/refinement``. At ``--checked`` points a side the whole grid is run as well, and every label compared.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxloss.startup import start_jax

start_jax()

from jaxloss import Axis, Grid, load_problem, sweep, sweep_map  # noqa: E402
from jaxloss.figures.refinement import plot_refined_map, plot_refinement_cost  # noqa: E402
from jaxloss.problems.maps import MAPS  # noqa: E402
from jaxloss.refinement import cost_exponent, refine  # noqa: E402

OUT = Path(__file__).parents[1] / "results" / "refinement"
OBJECTIVES = (("sigmoid", "mse"), ("relu", "mse"), ("sigmoid", "cross_entropy"))
RATES = (0.1, 1.0)
SHOWN = "sigmoid-mse, learning rate 1"
COLUMNS = ("case", "resolution", "trajectories", "grid", "share")


def cases(num_steps: int, seed: int) -> dict[str, Any]:
    """Each case: how it is refined and how the whole grid is run, as functions of the number of points a side."""
    found: dict[str, Any] = {}
    for activation, loss in OBJECTIVES:
        problem = load_problem("loss-comparison", activation=activation, loss=loss)
        for rate in RATES:
            options = {"learning_rate": rate, "num_steps": num_steps, "seed": seed}

            def grid(num: int) -> Grid:
                return Grid({"weight[0]": Axis.linear(-8, 8, num), "bias": Axis.linear(-8, 8, num)})

            found[f"{activation}-{loss}, learning rate {rate:g}"] = (problem, grid, sweep, options)
    newton = MAPS["newton-cubic"]()

    def window(num: int) -> Grid:
        return Grid({"x": Axis.linear(-1, 1, num), "y": Axis.linear(-1, 1, num)})

    found["newton-cubic (a fractal boundary)"] = (
        newton, window, sweep_map, {"attractors": newton.attractors, "seed": seed},
    )  # fmt: skip
    return found


def checked(problem: Any, grid: Grid, whole: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A refined map against the whole grid."""
    full, found = whole(problem, grid, **options), refine(problem, grid, **options, audit=0)
    same = ((found.outcome == full.outcome) & (found.attractor == full.attractor)).values
    computed = found.computed.values
    return {
        "resolution": max(grid.shape),
        "computed": int(computed.sum()),
        "computed_and_different": int((~same[computed]).sum()),
        "filled": int((~computed).sum()),
        "filled_and_different": int((~same[~computed]).sum()),
    }


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Refines, checks, writes and draws; returns the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=4096)
    parser.add_argument("--checked", type=int, default=512)
    parser.add_argument("--audit", type=int, default=5000)
    parser.add_argument("--num-steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    rows, costs, summary = [], {}, {}
    for case, (problem, grid, whole, run) in cases(options.num_steps, options.seed).items():
        start = time.perf_counter()
        found = refine(problem, grid(options.resolution), **run, audit=options.audit)
        seconds = time.perf_counter() - start
        fit = cost_exponent(found)
        for resolution, count in zip(found.resolution.values, found.num_trajectories.values, strict=True):
            rows.append((case, int(resolution), int(count), int(resolution) ** 2, count / int(resolution) ** 2))
        names = (
            "trajectories",
            "share",
            "audited",
            "audit_wrong",
            "audit_share",
            "audit_low",
            "audit_high",
            "reason",
        )
        summary[case] = {
            **{name: found.attrs[name] for name in names},
            "exponent": fit.exponent,
            "standard_error": fit.standard_error,
            "local_slopes": fit.local_slopes.tolist(),
            "seconds": round(seconds, 1),
            "against_the_whole_grid": checked(problem, grid(options.checked), whole, run),
        }
        costs[case] = found[["resolution", "num_trajectories"]]
        print(case, summary[case], flush=True)
        if case == SHOWN:
            shown = refine(problem, grid(options.checked + 1), **run, coarse=32, audit=0)
            plot_refined_map(shown, path=options.out / "map.png")
    plot_refinement_cost(costs, path=options.out / "cost.png")
    with (options.out / "cost.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    about = {"resolution": options.resolution, "num_steps": options.num_steps, "seed": options.seed}
    whole_summary = {**about, "cases": _without_nan(summary)}
    (options.out / "summary.json").write_text(json.dumps(whole_summary, indent=1) + "\n")
    return whole_summary


def _without_nan(value: Any) -> Any:
    """The same values with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


if __name__ == "__main__":
    main()
