"""jaxloss itself: the whole of `jaxloss.sweep`, labels and all, and its engine alone."""

import jax
import numpy as np

import jaxloss
from benchmarks.rivals import Run
from benchmarks.workloads import ADAM, Workload
from jaxloss.engine import computing_in, in_lanes, map_lanes, rounds
from jaxloss.engine.calibration import default_tile_size, whole
from jaxloss.engine.devices import compute_in_threads
from jaxloss.runs import RunOptions, arguments_of, process_of, rule_of
from jaxloss.sweeps import validate

# What the command line does, before JAX starts. Every rival has a process of its own.
compute_in_threads()


def problem_of(workload: Workload) -> jaxloss.Problem:
    """The workload's problem through the public API."""
    if workload.model == "network":
        return jaxloss.load_problem("xor-221")
    inputs, targets = workload.data
    return jaxloss.neuron_problem("sigmoid", "mse", inputs, targets)


def grid_and_options(workload: Workload) -> tuple[jaxloss.Grid, dict]:
    """The workload as the arguments of `jaxloss.sweep`."""
    axes = {"start": jaxloss.Starts(points=workload.starts())}
    options = {"optimizer": workload.optimizer, "num_steps": workload.num_steps, "gradient_tolerance": 1e-6}
    if workload.optimizer == "adam":
        options["hyperparameters"] = ADAM
    if len(workload.learning_rates) > 1:
        axes["learning_rate"] = jaxloss.Axis.of(workload.learning_rates)
    else:
        (options["learning_rate"],) = workload.learning_rates
    return jaxloss.Grid(axes), options


def prepare_sweep(workload: Workload) -> Run:
    """`jaxloss.sweep` with everything that it does by default: early exit, critical points, a label for every end."""
    problem, (grid, options) = problem_of(workload), grid_and_options(workload)

    def run():
        result = jaxloss.sweep(problem, grid, **options)
        if "learning_rate" in grid.axes:  # The trajectories of one learning rate lie together.
            result = result.transpose("learning_rate", "start", ...)
        points = result.end_point.values
        return points.reshape(-1, points.shape[-1]), result.loss.values.reshape(-1)

    return run


def prepare_engine(workload: Workload) -> Run:
    """The engine alone: final parameters and losses of the full budget of steps, no critical points and no labels.

    It looks at every trajectory as often as it does in a sweep, for a gradient of zero.
    """
    problem, (grid, options) = problem_of(workload), grid_and_options(workload)
    options = RunOptions(**options | {"gradient_tolerance": 1e-30})
    bound = validate(problem, grid, options)
    with computing_in(options.precision, problem):
        shared, own, initial = arguments_of(problem, bound, options, 0, bound.grid.size)
        rule = rule_of(problem, options)
        process = process_of(rule)
        default = default_tile_size(process, shared, own, initial)
        tile_size = whole(default, default, bound.grid.size)

    def run():
        with computing_in(options.precision, problem):
            (lane,) = rounds.run(process, shared, own, initial, (options.num_steps,), tile_size=tile_size)
            params, _ = lane.state
            loss = map_lanes(in_lanes(_loss, (rule.objective,), (None, -1)), (shared.data,), (params,), tile_size)
        return problem.ravel(jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), params)), loss

    return run


def _loss(objective, data, params):
    return objective(params, data)
