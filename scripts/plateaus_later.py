"""What becomes of plateaus when they are given fifty times the budget.

Run it with ``uv run python scripts/plateaus_later.py``; it writes ``results/plateaus_later.json``.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from jaxloss import OUTCOMES, Axis, Grid, Starts, load_problem, sweep

OUT = Path(__file__).parents[1] / "results" / "plateaus_later.json"


def main(argv: list[str] | None = None) -> list[dict]:
    """Runs the packaged sigmoid + MSE twice at each learning rate, writes and returns the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--num-steps", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    problem = load_problem("loss-comparison")
    side = Axis.linear(-8, 8, options.resolution)
    points = np.stack(np.meshgrid(side.values, side.values, indexing="ij"), axis=-1).reshape(-1, 2)
    rows = []
    for rate in (0.1, 1.0):
        first = sweep(
            problem, Grid({"start": Starts(points=points)}), learning_rate=rate, num_steps=options.num_steps
        )
        stalled = points[first.outcome.values == OUTCOMES["plateau"]]
        later = sweep(
            problem, Grid({"start": Starts(points=stalled)}), learning_rate=rate, num_steps=50 * options.num_steps
        )
        fates = {name: int((later.outcome.values == code).sum()) for name, code in OUTCOMES.items()}
        fates = {name: count for name, count in fates.items() if count}
        rows.append({"learning_rate": rate, "starts": len(points), "plateaus": len(stalled), "later": fates})
        print(rows[-1])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"problem": problem.name, "num_steps": [options.num_steps, 50 * options.num_steps], "rows": rows}
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()
