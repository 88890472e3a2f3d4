"""The loss comparison at full resolution: figures and the table of trapping rates of the README.

Run it with ``uv run python scripts/loss_comparison.py``; it runs ``scripts/loss_comparison.toml`` and leaves the
figures, ``summary.json`` and ``trapping.csv`` in ``results/loss_comparison``. The full outcome maps (.zarr) are large
and stay in a temporary folder, unless ``--keep`` names another.
"""

import argparse
import csv
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jaxloss import OUTCOMES, cli, figures, store
from jaxloss.basins import wilson_interval
from jaxloss.outcomes import NAMES, TRAPPED

HERE = Path(__file__).parent
COLUMNS: tuple[str, ...] = (
    "objective",
    "learning_rate",
    "below_limit",
    "outcome",
    "count",
    "total",
    "fraction",
    "low",
    "high",
)


def trapping_table(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Trapped runs by outcome and in all, for each objective and learning rate, and over all stable rates.

    A rate is stable if it lies below 2 / sharpness of every strict minimum of the objective.
    """
    rows = []
    for label, facts in summary["objectives"].items():
        minima = [point for point in facts["critical_points"] if point["kind"] == "strict minimum"]
        limit = min(2 / max(point["eigenvalues"]) for point in minima)
        counted = [row for row in summary["rows"] if row["objective"] == label]
        rates = sorted({row["learning_rate"] for row in counted})
        stable = [rate for rate in rates if rate < limit]
        for name, chosen in [*((f"{rate:.4g}", [rate]) for rate in rates), (f"all below {limit:.4g}", stable)]:
            here = [row for row in counted if row["learning_rate"] in chosen]
            total = sum(row["count"] for row in here)
            for outcome in (*(NAMES[code] for code in sorted(TRAPPED)), "trapped"):
                count = sum(
                    row["count"]
                    for row in here
                    if row["outcome"] == outcome or (outcome == "trapped" and OUTCOMES[row["outcome"]] in TRAPPED)
                )
                low, high = (float(bound) for bound in wilson_interval(count, total))
                values = (label, name, set(chosen) <= set(stable), outcome, count, total, count / total, low, high)
                rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def main(argv: list[str] | None = None) -> None:
    """Runs the spec, draws, and copies what is small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, default=HERE / "loss_comparison.toml")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "loss_comparison")
    parser.add_argument("--keep", type=Path, help="where the .zarr folders stay")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "sweep"
        if cli.main(["sweep", str(options.spec), "--out", str(folder)]) != 0:
            raise SystemExit(2)
        results, summary = store.open_folder(folder)
        options.out.mkdir(parents=True, exist_ok=True)
        for path in figures.plot_all(results, folder):
            shutil.copy(path, options.out / path.name)
        shutil.copy(folder / "summary.json", options.out)
    with (options.out / "trapping.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(trapping_table(summary))


if __name__ == "__main__":
    main()
