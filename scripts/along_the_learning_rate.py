"""What the learning rate does to basins: continuation, bifurcations, tipping, and the gradient flow beside descent.

Run it with ``uv run python scripts/along_the_learning_rate.py``; it leaves figures and ``summary.json`` in
``results/along_the_learning_rate``. ``--quick`` is a small sample.

Two problems: the double well x^4/4 - x^2/2, of which nearly everything is known in closed form, and the packaged
sigmoid neuron under the mean squared error.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxloss import Axis, Grid, load_problem, sweep, sweep_map
from jaxloss.basins.continuation import continue_attractors
from jaxloss.basins.times import convergence_times
from jaxloss.basins.tipping import tipping_probabilities
from jaxloss.basins.totals import group_fractions
from jaxloss.bifurcation import bifurcation_diagram, descent_map
from jaxloss.figures.continuation import (
    animate_basins,
    plot_bifurcation,
    plot_continuation,
    plot_flow_comparison,
    plot_tipping,
)
from jaxloss.flow import compare_with_flow, sweep_flow

OUT = Path(__file__).parents[1] / "results" / "along_the_learning_rate"
SEED = 0
# Learning rates of the double well: its edge is 1, its wells merge at 3 sqrt(3) / 2 - 1, and all is lost beyond 2.
BEFORE, AFTER = 0.8, 1.7


class Settings(NamedTuple):
    """How much is computed.

    Attributes:
      starts: of the double well, along x.
      rates: values of the learning rate.
      orbits: starts of the bifurcation diagrams, and how many steps these drop.
      side: of the neuron's lattice of starts.
      frames: learning rates of the neuron.
      num_steps: the budget of the neuron's trajectories.
    """

    starts: int = 2000
    rates: int = 241
    dropped: int = 20_000
    side: int = 80
    frames: int = 25
    num_steps: int = 10_000


QUICK = Settings(starts=100, rates=13, dropped=500, side=12, frames=4, num_steps=500)


def row(quantity: str, expected: float, measured: float, within: float) -> dict[str, Any]:
    """A measurement beside its closed form."""
    holds = bool(abs(measured - expected) <= within)
    return {"quantity": quantity, "expected": expected, "measured": measured, "within": within, "holds": holds}


def double_well(settings: Settings, out: Path) -> dict[str, Any]:
    """The double well, as a map whose cycles and chaotic sets have basins of their own."""
    problem = load_problem("cubic-map")
    # An even number of starts on a range without round ends: none lies on a critical point.
    x = Axis.linear(-2.39, 2.39, settings.starts)
    rates = Axis.linear(0.5, 2.1, settings.rates)
    result = sweep_map(descent_map(problem), Grid({"x": x, "learning_rate": rates}), seed=SEED)
    continued = continue_attractors(result)
    plot_continuation(continued, edges=[1.0], path=out / "double-well-basins.png")
    values = continued.learning_rate.values
    before, after = (float(values[np.argmin(np.abs(values - value))]) for value in (BEFORE, AFTER))
    tipping = tipping_probabilities(continued, before, after)
    plot_tipping(tipping, path=out / "double-well-tipping.png")
    orbits = bifurcation_diagram(
        problem,
        Grid({"x": Axis.of([-0.7, 0.7]), "learning_rate": Axis.linear(0.8, 2.0, 2 * settings.rates)}),
        num_steps=settings.dropped,
        num_kept=40,
        seed=SEED,
    )
    plot_bifurcation(orbits, path=out / "double-well-bifurcation.png")
    step = float(np.diff(orbits.learning_rate.values[:2])[0])
    upper = orbits.isel(x=1)
    cycles = upper.learning_rate.values[upper.period.values == 2]
    wells = [str(name) for name in continued.fate.values if bool(continued.is_attractor.sel(fate=name))]
    largest = sorted(wells, key=lambda name: -float(continued["count"].sel(fate=name)[0]))[:2]
    alone = (continued["count"].sel(fate=largest) == 0).any("fate").values & (values > 1.3)
    merged = float(values[np.argmax(alone)])
    known = [
        row("first cycle of period 2: the edge 2/sharpness", 1.0, float(cycles.min(initial=np.inf)), 3 * step),
        row(
            "the first value with one attractor instead of two: 3 sqrt(3) / 2 - 1",
            1.5 * np.sqrt(3) - 1,
            merged,
            float(np.diff(values[:2])[0]),
        ),
        row("Lyapunov exponent at learning rate 2: log 3", np.log(3), float(upper.lyapunov_exponent[-1]), 0.01),
    ]
    flow = sweep_flow(problem, Grid({"x": x}), seed=SEED)
    wrong = int((np.sign(flow.end_point.values[:, 0].round(3)) != np.sign(x.values.round(9))).sum())
    known.append(row("gradient flow: starts that do not end on the side of their sign", 0.0, float(wrong), 0.0))
    descent = sweep(problem, Grid({"x": x, "learning_rate": rates}), precision="float64", num_steps=5000, seed=SEED)
    comparison = compare_with_flow(descent, flow)
    plot_flow_comparison(descent, comparison, path=out / "double-well-flow.png")
    return {
        "known": known,
        "fates": fates_of(continued),
        "tipping": {"before": before, "after": after, **table_of(tipping, "probability", "low", "high")},
        "changed_by_the_step": table_of(comparison, "share", "low", "high"),
        "flow_agreement": flow.attrs["agreement"],
    }


def neuron(settings: Settings, out: Path) -> dict[str, Any]:
    """The packaged comparison's sigmoid neuron under the mean squared error."""
    problem = load_problem("loss-comparison")
    axes = {name: Axis.linear(-8, 8, settings.side) for name in reversed(problem.parameter_names)}
    rates = Axis.log(0.1, 100.0, settings.frames)
    result = sweep(problem, Grid({**axes, "learning_rate": rates}), num_steps=settings.num_steps, seed=SEED)
    continued = continue_attractors(result)
    plot_continuation(continued, path=out / "neuron-basins.png")
    animate_basins(continued, out / "neuron-basins.gif")
    flow = sweep_flow(problem, Grid(axes), seed=SEED)
    comparison = compare_with_flow(result, flow)
    plot_flow_comparison(result, comparison, path=out / "neuron-flow.png")
    orbits = bifurcation_diagram(
        problem,
        Grid(
            {
                **{name: Axis.of([-3.0, 3.0]) for name in axes},
                "learning_rate": Axis.log(1.0, 300.0, settings.rates),
            }
        ),
        num_steps=settings.dropped,
        num_kept=40,
        seed=SEED,
    )
    plot_bifurcation(orbits, show="loss", path=out / "neuron-bifurcation.png")
    times = convergence_times(result)
    totals = group_fractions(result)
    return {
        "edges": {
            str(fate): float(edge)
            for fate, edge in zip(continued.fate.values, continued.edge.values, strict=True)
            if np.isfinite(edge)
        },
        "fates": fates_of(continued),
        "totals": {
            str(group): table_of(totals.sel(group=group), "fraction", "low", "high") for group in totals.group.values
        },
        "steps_to_the_global_minimum": table_of(
            times.sel(outcome_name="global_minimum"), "count", "num_stopped", "mean", "mean_low", "mean_high"
        )
        | {
            "median": plain(times.quantile_time.sel(outcome_name="global_minimum", quantile=0.5)),
            "median_low": plain(times.quantile_low.sel(outcome_name="global_minimum", quantile=0.5)),
            "median_high": plain(times.quantile_high.sel(outcome_name="global_minimum", quantile=0.5)),
        },
        "changed_by_the_step": table_of(
            comparison, "share", "low", "high", "num_changed", "num_decided", "lost", "won"
        ),
        "flow_agreement": flow.attrs["agreement"],
    }


def fates_of(continued: xr.Dataset) -> dict[str, Any]:
    """The fractions of each fate along the axis, with their intervals."""
    along = continued.attrs["along"]
    return {
        along: plain(continued[along]),
        "total": continued.attrs["total"],
        **{
            str(name): {key: plain(continued[key].sel(fate=name)) for key in ("fraction", "low", "high")}
            for name in continued.fate.values
        },
    }


def table_of(found: xr.Dataset, *names: str) -> dict[str, Any]:
    """Variables and coordinates as plain lists."""
    shown = {str(name): plain(found[name]) for name in found[names[0]].dims if name in found.coords}
    return shown | {name: plain(found[name]) for name in names}


def plain(values: xr.DataArray) -> list:
    """Numbers to six digits; what JSON has no number for is None."""
    return (
        [
            value if isinstance(value, str | int) else float(f"{value:.6g}") if np.isfinite(value) else None
            for value in values.values.ravel().tolist()
        ]
        if values.ndim < 2
        else [plain(part) for part in values]
    )


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Computes, draws, and says what holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small sample")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    settings = QUICK if options.quick else Settings()
    summary = {
        "seed": SEED,
        "settings": settings._asdict(),
        "double well": double_well(settings, options.out),
        "neuron": neuron(settings, options.out),
    }
    text = json.dumps(summary, allow_nan=False)
    (options.out / "summary.json").write_text(text + "\n")
    for entry in summary["double well"]["known"]:
        print("holds " if entry["holds"] else "FAILS ", entry["quantity"], entry["expected"], entry["measured"])
    return summary


if __name__ == "__main__":
    main()
