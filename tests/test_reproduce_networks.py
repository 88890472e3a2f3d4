"""Reproduced cases of small networks, at tiny sizes, and what they rest on."""

import math
from typing import Any, cast

import jax
import numpy as np
import pytest
import xarray as xr

from jaxloss import Axis, Grid, Starts
from jaxloss.critical_points.dead import is_dead
from jaxloss.engine import computing_in
from jaxloss.figures.reproduced import networks as figures
from jaxloss.outcomes import OUTCOMES
from jaxloss.problems import load_problem
from jaxloss.reproduce import networks
from jaxloss.reproduce.rows import INSIDE, OUTSIDE
from jaxloss.runs import RunOptions
from jaxloss.sweeps import validate

CASES = {
    "safran-shamir": (networks.safran_shamir, figures.plot_safran_shamir),
    "xor-221": (networks.xor_221, figures.plot_xor_221),
    "relu-xor-sum": (networks.relu_xor_sum, figures.plot_relu_xor_sum),
    "dead-at-birth": (networks.dead_at_birth, figures.plot_dead_at_birth),
}


class Tiny:
    """Settings that answer in the order in which a case asks."""

    effort, seed, progress = "quick", 0, False

    def __init__(self, *answers):
        self.answers = list(answers)

    def choose(self, **_):
        return self.answers.pop(0)


@pytest.fixture(scope="module")
def reproduced():
    """Every case, at a size that takes seconds."""
    sizes = {
        "safran-shamir": (((8,), 24), 20_000),
        "xor-221": (24, (4.0,), (8, 400)),
        "relu-xor-sum": (200,),
        "dead-at-birth": ((2**13, 2**13), ((1, 2), (3, 5))),
    }
    return {name: run(cast(Any, Tiny(*sizes[name]))) for name, (run, _) in CASES.items()}


def row(reproduced, name, quantity):
    (found,) = (row for row in reproduced[name].rows if row.quantity == quantity)
    return found


@pytest.mark.parametrize("name", CASES)
def test_rows_are_whole(reproduced, name):
    rows = reproduced[name].rows
    assert len({row.quantity for row in rows}) == len(rows) > 0
    for row in rows:
        assert row.case == name
        assert row.low <= row.ours <= row.high
        assert row.source or row.published is None
        assert row.num_runs > 0
    assert isinstance(reproduced[name].data, xr.Dataset)


@pytest.mark.parametrize("name", CASES)
def test_figure_is_drawn(reproduced, name, tmp_path):
    path = tmp_path / "figure.png"
    CASES[name][1](reproduced[name], path=path)
    assert path.stat().st_size > 10_000


def test_trapped_students_sit_at_the_published_minimum(reproduced):
    for name in ("loss", "smallest Hessian eigenvalue"):
        found = row(reproduced, "safran-shamir", f"commonest spurious minimum, n = k = 8: {name}")
        assert found.verdict == INSIDE
    data = reproduced["safran-shamir"].data
    assert data["members"].sum() == data["trapped"].sum()
    assert row(reproduced, "safran-shamir", "trapped runs, n = k = 8").published == pytest.approx(0.126)


def test_engine_agrees_with_plain_gradient_descent():
    problem, num, num_steps = load_problem("safran-shamir", num_units=6), 8, 40
    grid = Grid({"start": Starts(num, "normal", 6**-0.5)})
    options = RunOptions(learning_rate=0.1, num_steps=num_steps, precision="float64")
    bound = validate(problem, grid, options)
    ends, _ = networks.run_grid(problem, bound, options, False)
    with computing_in("float64", problem):
        gradient = jax.jit(jax.vmap(jax.grad(lambda w: problem.objective({"weight": w}))))
        weight = problem.unravel(bound.trajectories(0, num)[0])["weight"]
        for _ in range(num_steps):
            weight = weight - 0.1 * np.asarray(gradient(weight))
    assert np.abs(ends.point - weight.reshape(num, -1)).max() < 1e-10


def test_xor_is_stuck_at_plateaus(reproduced):
    found = row(reproduced, "xor-221", "stuck sum of squared errors near 0.50, rho = 4")
    assert found.verdict == INSIDE
    assert abs(found.ours - 0.5) < 2e-3
    assert row(reproduced, "xor-221", "not learned, rho = 4, learning rate 1, momentum 0").published == 0.455


def test_epochs_to_learn_against_a_plain_loop():
    problem, level = load_problem("xor-221"), 0.2
    grid = Grid(
        {"start": Starts(6, "uniform", 4.0), "learning_rate": Axis.of([2.0]), "momentum": Axis.of([0.0, 0.9])}
    )
    options = RunOptions(optimizer="momentum", num_steps=80, precision="float64")
    bound = validate(problem, grid, options)
    epochs = networks.epochs_to_learn(problem, bound, options, level)
    points, hyper = bound.trajectories(0, grid.size)
    expected = []
    with computing_in("float64", problem):
        both = jax.jit(jax.value_and_grad(lambda point: problem.objective(problem.unravel(point))))
        for start, momentum in zip(points, hyper["momentum"], strict=True):
            point, velocity, found = start, np.zeros_like(start), -1
            for step in range(options.num_steps + 1):
                loss, gradient = both(point)
                if loss < level:
                    found = step
                    break
                velocity = momentum * velocity + np.asarray(gradient)
                point = point - 2.0 * velocity
            expected.append(found)
    assert epochs.tolist() == expected
    assert -1 in expected
    assert max(expected) > 0


def test_summed_units_need_one_on_each_sample(reproduced):
    data = reproduced["relu-xor-sum"].data
    # The samples of class 1 lie at -45 and at 135 degrees.
    side = np.cos(np.radians(data["angle"].values + 45)) > 0
    solved = data["outcome"].sel(optimizer="gradient descent").values == OUTCOMES["global_minimum"]
    assert np.mean(solved == (side[:, 0] != side[:, 1])) > 0.97
    found = row(reproduced, "relu-xor-sum", "failures of gradient descent: median loss")
    assert found.ours == pytest.approx(0.25, abs=1e-3)


def lu_et_al(width: int, depth: int) -> float:
    """The lower bound in closed form: an eigenvalue for one vector, another for two."""
    one = 1 - 2.0**-width
    two = 1 - 2.0 ** (1 - width) - (width - 1) * 4.0**-width
    share = (1 - 2.0 ** (1 - width)) * (1 - 2.0**-width) / (1 + (width - 1) * 2.0**-width)
    return 1 - one ** (depth - 2) + share * (two ** (depth - 2) - one ** (depth - 2))


@pytest.mark.parametrize("width", [1, 2, 3, 6])
@pytest.mark.parametrize("depth", [3, 4, 9])
def test_bounds_of_dead_at_birth(width, depth):
    low, high = networks.born_dead_bounds(width, depth)
    assert low == pytest.approx(lu_et_al(width, depth), rel=1e-12)
    assert low <= high + 1e-15
    if depth == 3:
        assert low == high == pytest.approx(4.0**-width * (3 - 2.0 ** (1 - width)), rel=1e-12)
    if width == 1:
        assert math.isclose(low, high)


def test_dead_at_birth_lies_between_the_bounds(reproduced):
    data = reproduced["dead-at-birth"].data
    share, num = data["dead"].values, data.attrs["num_runs"]
    error = 5 * np.sqrt(0.25 / num)
    assert np.all(share >= data["lower"].values - error)
    assert np.all(share <= data["upper"].values + error)
    assert not any(
        found.verdict == OUTSIDE and "bound" in found.quantity for found in reproduced["dead-at-birth"].rows
    )


def test_silent_networks_are_dead():
    problem, num = load_problem("deep-narrow-relu", width=2, depth=4), 300
    key = jax.random.key(3)
    points = np.asarray(jax.random.normal(jax.random.fold_in(key, 0), (num, problem.num_parameters), np.float32))
    assert networks.num_dead(problem, num, key) == is_dead(problem, points.astype(np.float64)).sum() > 0
