"""The trainability map of a width-16 network, 64 x 64 learning rates: jaxloss against the notebook's way.

``python -m benchmarks.fractal`` writes ``results/benchmarks/fractal.json``. Both sides run float64 gradient descent
from the same weights and call a pair of rates converged by the paper's rule: the mean of the last 20 losses is below
the first. They run in turn in one process for each, and ratios are taken round by round.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import describe

NUM_LAST = 20
# Far beyond anything that comes back: the rule looks at losses, not at parameters.
BOUND = 1e15


def ours(num: int, num_steps: int):
    """A function that returns which pairs of rates converge, ``[num, num]``, run by the engine with early exit."""
    from jaxloss.engine.devices import compute_in_threads

    compute_in_threads()
    import jaxloss
    from jaxloss import Axis, Grid, descent
    from jaxloss.engine import computing_in, in_lanes, map_lanes, rounds
    from jaxloss.engine.calibration import default_tile_size, whole
    from jaxloss.runs import RunOptions, arguments_of, process_of, rule_of
    from jaxloss.sweeps import validate

    problem = jaxloss.load_problem("trainability-fractal", seed=0)
    grid = Grid({name: Axis.log(1e-3, 1e6, num) for name in ("learning_rate", "output_learning_rate")})
    options = RunOptions(optimizer="layerwise_sgd", num_steps=num_steps, precision="float64", divergence_bound=BOUND)
    bound = validate(problem, grid, options)
    rule = rule_of(problem, options)

    def last_losses(rule, num, shared, own, state, step):
        params, optimizer_state = state
        hyper = shared.hyper | own.hyper
        arguments = (shared.limits, shared.data, shared.key, params, optimizer_state, step, hyper, own.stream)
        return descent.record(rule, *arguments, num)[1]

    def run():
        with computing_in("float64", problem):
            arguments = arguments_of(problem, bound, options, 0, bound.grid.size)
            default = default_tile_size(process_of(rule), *arguments)
            tile_size = whole(default, default, bound.grid.size)
            (lane,) = rounds.run(process_of(rule), *arguments, (num_steps - NUM_LAST,), tile_size=tile_size)
            shared, own, _ = arguments
            # Settled trajectories stay where they are; what has diverged is not asked.
            finite = np.flatnonzero(~lane.ended | (np.abs(problem.ravel(_rows(lane.state[0]))).max(axis=1) < 1e3))
            program = in_lanes(last_losses, (rule, NUM_LAST), (None, -1, -1, None))

            def tile(used, shared, own, state):
                return program(used, shared, own, state, np.int32(num_steps - NUM_LAST))

            losses = map_lanes(tile, (shared,), _at((own, lane.state), finite), tile_size)
            first = float(problem.objective(problem.params))
        converged = np.zeros(bound.grid.size, bool)
        converged[finite] = (losses / first).mean(axis=0) < 1
        return bound.to_grid_order(converged), int(lane.step.sum())

    def _rows(params):
        import jax

        return jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), params)

    def _at(arrays, which):
        from jaxloss.engine import columns

        return columns(arrays, which)

    return run


def notebook(num: int, num_steps: int):
    """The same by the notebook's way; it also returns the measure."""
    from benchmarks.rivals.notebook_fractal import prepare

    return prepare(num, num_steps, 0)


def _serve(connection, side: str, num: int, num_steps: int) -> None:
    run = {"ours": ours, "notebook": notebook}[side](num, num_steps)
    while connection.recv():
        wall, processor = time.perf_counter(), time.process_time()
        result = run()
        connection.send((time.perf_counter() - wall, time.process_time() - processor, result))


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--num-steps", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/fractal.json"))
    options = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    sides = {}
    for side in ("ours", "notebook"):
        mine, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs, side, options.num, options.num_steps), daemon=True)
        worker.start()
        sides[side] = mine

    def call(side):
        sides[side].send(True)
        return sides[side].recv()

    call("ours")  # compiles
    rounds = [(call("ours"), call("notebook")) for _ in range(options.repeats)]
    (_, _, (converged, steps)), (_, _, (measure, theirs)) = rounds[-1]
    for side in sides.values():
        side.send(False)
    differ = np.argwhere(converged != theirs)
    result = {
        "grid": [options.num, options.num],
        "steps": options.num_steps,
        "share_of_steps_run": steps / (options.num**2 * options.num_steps),
        "notebook_over_ours": median(n[0] / o[0] for o, n in rounds),
        "notebook_over_ours_processor": median(n[1] / o[1] for o, n in rounds),
        "seconds": [[round(o[0], 2), round(n[0], 2)] for o, n in rounds],
        "converged": float(np.mean(converged)),
        "labels_that_differ": len(differ),
        "on_the_boundary": int(sum(_on_boundary(theirs, *point) for point in differ)),
        "their_measures": [float(measure[tuple(point)]) for point in differ],
        "machine": describe(),
    }
    for name, value in result.items():
        print(f"{name:32} {value}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _on_boundary(labels: np.ndarray, i: int, j: int) -> bool:
    """Whether the neighbourhood of a pixel holds more than one label."""
    return len(np.unique(labels[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2])) > 1


if __name__ == "__main__":
    main()
