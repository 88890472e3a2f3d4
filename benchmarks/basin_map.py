"""The packaged loss comparison as full basin maps: early exit against the loop that everybody writes.

``python -m benchmarks.basin_map`` writes ``results/benchmarks/basin_map.json``. For each objective it times
`jaxloss.sweep` on ``num x num`` starts and all nine learning rates, labels included, and the Python loop over
``jit(vmap(step))`` on the same starts for a few steps of one learning rate, scaled to all steps of all rates. On a
smaller grid it compares labels: with early exit and without it, in float32 and in float64.
"""

import argparse
import json
import time
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np

from jaxloss.engine.devices import compute_in_threads

compute_in_threads()

import jax  # noqa: E402
import optax  # noqa: E402

import jaxloss  # noqa: E402
from benchmarks.machine import describe  # noqa: E402
from jaxloss import Axis, Grid, runs  # noqa: E402

NAIVE_STEPS = 40
SPEC = tomllib.loads(files("jaxloss").joinpath("specs/loss-comparison.toml").read_text(encoding="utf-8"))


def grid_of(num: int) -> Grid:
    """The packaged grid, its initial axes with ``num`` values."""
    axes = {}
    for name, axis in SPEC["grid"].items():
        make = Axis.log if axis.get("spacing") == "log" else Axis.linear
        axes[name] = make(axis["start"], axis["stop"], axis["num"] if name == "learning_rate" else num)
    return Grid(axes)


def naive_seconds(problem: jaxloss.Problem, num: int, num_steps: int, num_rates: int) -> float:
    """Seconds that the loop over ``jit(vmap(step))`` needs for all steps of all rates, from `NAIVE_STEPS` of one."""
    side = np.linspace(-8, 8, num, dtype=np.float32)
    weight, bias = (axis.ravel() for axis in np.meshgrid(side, side))
    data = jax.tree.map(lambda column: jax.numpy.asarray(column, "float32"), problem.data)
    transform = optax.sgd(0.1)

    @jax.jit
    @jax.vmap
    def step(params, state):
        gradient = jax.grad(problem.batch_objective)(params, data)
        updates, state = transform.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    start = {"weight": jax.numpy.asarray(weight[:, None]), "bias": jax.numpy.asarray(bias)}
    start = (start, jax.vmap(transform.init)(start))

    def loop(steps: int) -> float:
        carry, before = start, time.perf_counter()
        for _ in range(steps):
            carry = step(*carry)
        jax.block_until_ready(carry)
        return time.perf_counter() - before

    loop(3)
    return min(loop(NAIVE_STEPS) for _ in range(3)) / NAIVE_STEPS * num_steps * num_rates


def without_early_exit(problem: jaxloss.Problem, grid: Grid, **options):
    """The same sweep, in which every trajectory makes all its steps."""
    process_of = runs.process_of

    def never(shared, own, step, state):
        return jax.numpy.zeros((), bool)

    runs.process_of = lambda rule: process_of(rule)._replace(ends=never, autonomous=False)
    try:
        return jaxloss.sweep(problem, grid, **options)
    finally:
        runs.process_of = process_of


def compare(first, second) -> dict[str, int]:
    """How many pixels of two outcome maps differ, and how many of these lie on a boundary of the first."""
    one, other = (result.outcome.transpose("learning_rate", ...).values for result in (first, second))
    differ = one != other
    padded = np.pad(one, ((0, 0), (1, 1), (1, 1)), mode="edge")
    shifts = [
        padded[:, 1 + i : 1 + i + one.shape[1], 1 + j : 1 + j + one.shape[2]] for i in (-1, 0, 1) for j in (-1, 0, 1)
    ]
    boundary = np.any([shift != one for shift in shifts], axis=0)
    chaotic = np.isin(one, (7, 8)) | np.isin(other, (7, 8))
    return {
        "pixels": int(one.size),
        "differ": int(differ.sum()),
        "of these on a boundary": int((differ & boundary).sum()),
        "of the rest between cycle and chaos": int((differ & ~boundary & chaotic).sum()),
        "of the rest others": int((differ & ~boundary & ~chaotic).sum()),
    }


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num", type=int, default=1024, help="starts along each axis of the timed maps")
    parser.add_argument("--compared", type=int, default=256, help="starts along each axis of the compared maps")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/basin_map.json"))
    arguments = parser.parse_args(argv)
    num_steps = SPEC["run"]["num_steps"]
    result: dict = {"num": arguments.num, "num_steps": num_steps, "objectives": {}, "machine": describe()}
    for objective in SPEC["objective"]:
        problem = jaxloss.load_problem("loss-comparison", **objective)
        grid, small = grid_of(arguments.num), grid_of(arguments.compared)
        jaxloss.sweep(problem, grid_of(8), num_steps=num_steps)  # compiles
        before = time.perf_counter()
        sweep = jaxloss.sweep(problem, grid, num_steps=num_steps)
        ours = time.perf_counter() - before
        naive = naive_seconds(problem, arguments.num, num_steps, grid.shape[-1])
        counts = np.bincount(sweep.outcome.values.ravel(), minlength=10)
        del sweep
        exits = jaxloss.sweep(problem, small, num_steps=num_steps)
        entry = {
            "sweep_seconds": round(ours, 1),
            "naive_seconds_scaled": round(naive),
            "naive_over_sweep": naive / ours,
            "outcomes": {name: int(counts[code]) for name, code in jaxloss.OUTCOMES.items()},
            "with and without early exit": compare(exits, without_early_exit(problem, small, num_steps=num_steps)),
            "float32 and float64": compare(
                exits, jaxloss.sweep(problem, small, num_steps=num_steps, precision="float64")
            ),
        }
        result["objectives"][problem.name] = entry
        print(problem.name, json.dumps(entry, indent=1))
    entries = result["objectives"].values()
    result["naive_over_sweep"] = sum(e["naive_seconds_scaled"] for e in entries) / sum(
        e["sweep_seconds"] for e in entries
    )
    print("naive over sweep, all objectives:", result["naive_over_sweep"])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
