"""The engine takes every trajectory where a plain loop takes it, to the bit wherever tiles and devices differ."""

import functools
import subprocess
import sys
import threading
from importlib import resources
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxloss import Axis, Grid, Problem, Starts, descent, load_problem, network_problem, sweep
from jaxloss.engine import calibration, computing_in, rounds
from jaxloss.engine.calibration import default_tile_size, whole
from jaxloss.engine.rounds import BLOCK, PERIOD, Process
from jaxloss.runs import RunOptions, arguments_of, process_of, rule_of, run_grid
from jaxloss.sweeps import validate

NUM_LANES = 10
# Compilations of the whole process, by name of the event.
EVENTS: list[str] = []
jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: EVENTS.append(name))


def compilations():
    return sum("backend_compile" in name for name in EVENTS)


@pytest.fixture(autouse=True)
def interpreted(caplog):
    """Nothing here may quietly fall back to `jax.vmap` as a whole."""
    yield
    assert not [record for record in caplog.records if "jax.vmap" in record.message]


# Small processes whose every step is exact, for jax and NumPy alike


class Small(NamedTuple):
    begin: object
    update: object
    ends: object
    initial: object
    shared: object = ()
    own: object = ()

    def process(self, autonomous=True):
        return Process(self.begin, self.update, self.ends, autonomous)


def never(shared, own, step, state):
    return step < 0


def plain(shared, own, initial):
    return initial


def counted(shared, own, initial):
    return {"x": initial, "count": np.int32(0)}


def step_up(state, x):
    return {"x": x, "count": state["count"] + np.int32(1)}


LANE = np.arange(NUM_LANES)
START = (LANE * 2654435761 % 2**32).astype(np.uint32)
SMALL = {
    # A generator of random numbers: a single step too many or too few shows.
    "random": Small(
        counted,
        lambda shared, own, step, s: step_up(s, s["x"] * shared + own),
        lambda shared, own, step, s: s["x"] % np.uint32(5) == 0,
        START,
        np.uint32(1664525),
        (2 * LANE + 1).astype(np.uint32),
    ),
    "knows the step": Small(
        counted,
        lambda shared, own, step, s: step_up(s, s["x"] * shared + step.astype(np.uint32) * own),
        lambda shared, own, step, s: (s["x"] + step.astype(np.uint32)) % np.uint32(7) == 0,
        START,
        np.uint32(22695477),
        (2 * LANE + 1).astype(np.uint32),
    ),
    # Ends for good shortly before, at and after looks.
    "ends at its own time": Small(
        counted,
        lambda shared, own, step, s: step_up(s, s["x"] * np.uint32(5) + np.uint32(1)),
        lambda shared, own, step, s: s["count"] >= own,
        START,
        (),
        np.array([0, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, PERIOD, PERIOD + 1, 700, 10**6], np.int32),
    ),
    "all end at once": Small(plain, lambda shared, own, step, x: x + np.uint32(1), lambda *_: np.True_, START),
    # Two components of the state, of which one has three entries.
    "pair": Small(
        lambda shared, own, initial: (initial, initial[:2] + np.uint32(1)),
        lambda shared, own, step, s: (s[0][::-1] * np.uint32(5) + step.astype(np.uint32), s[1] + s[0][1:]),
        lambda shared, own, step, s: (s[0] % np.uint32(11) == 0).any(),
        np.arange(3 * NUM_LANES, dtype=np.uint32).reshape(3, NUM_LANES),
    ),
}


def plain_loop(small, stops):
    """What `rounds.run` promises, one trajectory and one step at a time, in NumPy: (state, step, ended) at stops."""
    found = []
    with np.errstate(over="ignore"):
        for i in range(NUM_LANES):
            own, initial = jax.tree.map(lambda leaf, i=i: leaf[..., i], (small.own, small.initial))
            state, step, ended = small.begin(small.shared, own, initial), 0, False
            at = []
            for stop in stops:
                while step < stop and not ended:
                    after, now = state, min(step + BLOCK, stop)
                    for k in range(step, now):
                        after = small.update(small.shared, own, np.int32(k), after)
                    if small.ends(small.shared, own, np.int32(now), after):
                        ended = True
                    else:
                        state, step = after, now
                at.append((state, np.int32(step), np.bool_(ended)))
            found.append(at)
    return [jax.tree.map(lambda *leaves: np.stack(leaves, -1), *rows) for rows in zip(*found, strict=True)]


AROUND_LOOKS = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, PERIOD, PERIOD + 1, 1000)
STOPS = [*((stop,) for stop in AROUND_LOOKS), AROUND_LOOKS, (30, 30, 701)]


class TestPlainLoop:
    @pytest.mark.parametrize("name", SMALL)
    @pytest.mark.parametrize("tile_size", [4, 16])
    def test_at_every_stop(self, name, tile_size):
        small = SMALL[name]
        process = small.process(autonomous=name != "knows the step" and name != "pair")
        for stops in STOPS:
            found = rounds.run(process, small.shared, small.own, small.initial, stops, tile_size=tile_size)
            assert len(found) == len(stops)
            for lane, expected in zip(found, plain_loop(small, stops), strict=True):
                jax.tree.map(np.testing.assert_array_equal, lane[:3], expected)
                assert lane.step.dtype == np.int32
                assert not lane.periodic.any()

    def test_ended_trajectories_are_held_shortly_before_the_end(self):
        small = SMALL["ends at its own time"]
        for stop in (BLOCK + 1, PERIOD, 1000):
            (lane,) = rounds.run(small.process(), (), small.own, small.initial, (stop,), tile_size=4)
            np.testing.assert_array_equal(lane.ended, small.own <= stop)
            late = small.own[lane.ended] - lane.step[lane.ended]
            assert (late <= BLOCK).all()
            assert (late[small.own[lane.ended] > 0] > 0).all()
            assert (lane.step[~lane.ended] == stop).all()
            np.testing.assert_array_equal(lane.state["count"], lane.step)

    def test_real_numbers_agree_up_to_rounding(self):
        def update(shared, own, step, s):
            x, y = s
            return own * x * (1 - x), y - shared * y

        rates, starts = np.linspace(1, 3.4, NUM_LANES, dtype=np.float32), np.linspace(0.1, 0.9, NUM_LANES)
        initial = (starts.astype(np.float32), np.float32(8) * np.ones(NUM_LANES, np.float32))
        process, stops = Process(plain, update, never, True), (1, 61, 300, 1000)
        found = rounds.run(process, np.float32(0.01), rates, initial, stops, tile_size=4)
        x, y, step = starts, 8.0, 0
        for lane, stop in zip(found, stops, strict=True):
            for _ in range(step, stop):
                x, y = rates.astype(np.float64) * x * (1 - x), y - 0.01 * y
            step = stop
            np.testing.assert_allclose(lane.state[0], x, rtol=1e-4)
            np.testing.assert_allclose(lane.state[1], y, rtol=1e-4)

    def test_few_that_ended_are_packed_away_once_that_pays(self, monkeypatch):
        loads, load = [], rounds._load
        monkeypatch.setattr(rounds, "devices", lambda: jax.devices()[:1])
        monkeypatch.setattr(rounds, "_load", lambda *args: (loads.append(len(args[2])), load(*args))[1])
        # The first would save a tenth of the next round, less than packing costs; both save a fifth.
        ends_at = np.array([100, 1500, *[10**6] * 8], np.int32)
        small = SMALL["ends at its own time"]._replace(own=ends_at)
        found = rounds.run(small.process(), (), small.own, small.initial, (4000,), tile_size=3)
        assert loads == [8, 0]  # at last those that wait for whole periods, of whom there are none
        for lane, expected in zip(found, plain_loop(small, (4000,)), strict=True):
            jax.tree.map(np.testing.assert_array_equal, lane[:3], expected)

    def test_progress_rises_to_one(self):
        small, seen = SMALL["ends at its own time"], []
        rounds.run(small.process(), (), small.own, small.initial, (0, 100, 1000), tile_size=4, progress=seen.append)
        assert len(seen) == 3
        assert 0 <= seen[0] <= seen[1] <= seen[2] == 1


@pytest.fixture
def skipped(monkeypatch):
    """How many trajectories each run has found periodic, one entry for each stop."""
    counts, whole = [], rounds._rounds

    def spy(fleet, lane, held, *steps):
        counts.append(sum(len(tile.numbers) for tile in held))
        whole(fleet, lane, held, *steps)

    monkeypatch.setattr(rounds, "_rounds", spy)
    return lambda: counts[1::2]


F32 = functools.partial(np.array, dtype=np.float32)
ORBITS = {
    "two-cycle": (lambda shared, own, step, x: -x, F32([1.0, -3.0, 0.1]), 3),
    "three-cycle": (lambda shared, own, step, x: 1 / (1 - x), F32([2.0, -1.0, 0.5]), 3),
    # The signs decide here whether the state returns.
    "rests or runs": (lambda shared, own, step, x: jnp.where(x < 0, x, x + 1), F32([-1.0, 1.0, 2.0]), 1),
    "fixed by rounding": (lambda shared, own, step, x: x - F32(0.375) * (x - own), F32([5.0, 0.3, 70.0]), 3),
    "seven": (lambda shared, own, step, x: (x + 1) % 7, np.arange(3, dtype=np.int32), 0),
    "sixteen": (lambda shared, own, step, x: (x + 1) % 16, np.arange(3, dtype=np.int32), 3),
    "as long as the window": (lambda shared, own, step, x: (x + 1) % PERIOD, np.arange(3, dtype=np.int32), 3),
    "twice the window": (lambda shared, own, step, x: (x + 1) % (2 * PERIOD), np.arange(3, dtype=np.int32), 0),
    "counts its steps": (
        lambda shared, own, step, s: (-s[0], s[1] + 1),
        (F32([1.0, -3.0, 0.1]), np.zeros(3, np.int32)),
        0,
    ),
    "not a number": (lambda shared, own, step, x: x * 1, F32([np.nan, 1.0, np.inf]), 2),
}
OWN = F32([1.7, -2.3, 0.4])


class TestWholePeriods:
    @pytest.mark.parametrize("name", ORBITS)
    def test_are_skipped_to_the_bit(self, name, skipped):
        update, initial, expected = ORBITS[name]
        # The last stops are no multiples of any period, nor is the way between them.
        stops = (50, 1000, 2003, 2104, 3107)
        run = functools.partial(rounds.run, shared=(), own=OWN, initial=initial, stops=stops, tile_size=4)
        found = run(Process(plain, update, never, True))
        counts = skipped()[:]
        assert counts == [0, expected, expected, 0, expected]
        slow = run(Process(plain, update, never, False))
        assert skipped()[len(counts) :] == [0] * len(stops)
        jax.tree.map(np.testing.assert_array_equal, found, slow)

    def test_of_some_trajectories_only_while_others_end(self):
        # Cycles, endless walks and walks that end share tiles; each is where it would be alone.
        def update(shared, own, step, x):
            return jnp.where(x < 0, -1 - (-x) % own, x + 1)

        def ends(shared, own, step, x):
            return x > 700 * own

        own = np.array([3, 7, 5, 8, 1, 1, 2, 10**5], np.int32)
        initial = np.array([-1, -2, -3, -4, 5, 6, 7, 8], np.int32)
        stops = (1000, 1999)
        found = [
            rounds.run(Process(plain, update, ends, autonomous), (), own, initial, stops, tile_size=size)
            for autonomous in (True, False)
            for size in (1, 3, 8)
        ]
        for other in found[1:]:
            jax.tree.map(np.testing.assert_array_equal, found[0], other)
        assert found[0][1].ended.tolist() == [False] * 4 + [True] * 3 + [False]

    def test_an_end_inside_the_orbit_is_seen(self):
        # At the first look, or at that of the last stop only.
        process = Process(plain, lambda shared, own, step, x: (x + 1) % 16, lambda s, own, step, x: x == own, True)
        own = np.array([BLOCK % 16, 1003 % 16, 5], np.int32)
        (lane,) = rounds.run(process, (), own, np.zeros(3, np.int32), (1003,), tile_size=4)
        assert lane.ended.tolist() == [True, True, False]
        assert lane.step[0] == 0
        assert 1003 - BLOCK <= lane.step[1] < 1003
        assert lane.step[2] == 1003
        np.testing.assert_array_equal(lane.state, lane.step % 16)

    def test_the_longest_run(self):
        stop = 2**31 - 300
        process = Process(plain, lambda shared, own, step, x: (x + 1) % 16, never, True)
        (lane,) = rounds.run(process, (), (), np.arange(3, dtype=np.int32), (stop,), tile_size=4)
        np.testing.assert_array_equal(lane.state, (np.arange(3) + stop) % 16)
        assert (lane.step == stop).all()

    @pytest.mark.parametrize(("optimizer", "expected"), [("sgd", 4), ("momentum", 4), ("adam", 0)])
    def test_a_trace_comes_to_rest_and_a_step_counter_does_not(self, optimizer, expected, skipped):
        grid = Grid({"x": Axis.linear(2.3, 3.3, 4)})
        shifted = Problem(name="shifted", objective=lambda p: (p["x"] - 4) ** 2, params={"x": 0.0})
        # A tolerance that no rounded gradient reaches but zero: 4 is reached only to rounding.
        options = RunOptions(optimizer=optimizer, learning_rate=0.3, gradient_tolerance=1e-30, num_steps=3000)
        rule = rule_of(shifted, options)
        shared, own, initial = arguments_of(shifted, validate(shifted, grid, options), options, 0, 4)
        process = process_of(rule)._replace(ends=never)
        (fast,) = rounds.run(process, shared, own, initial, (2999,), tile_size=4)
        assert skipped() == [expected]
        (slow,) = rounds.run(process._replace(autonomous=False), shared, own, initial, (2999,), tile_size=4)
        jax.tree.map(np.testing.assert_array_equal, fast.state, slow.state)


# Through the sweep


def ends_of(problem, grid, **options):
    options = RunOptions(**options)
    return run_grid(problem, validate(problem, grid, options), options, False)[0]


def three_species():
    """All three species of iris under softmax: 15 parameters."""
    file = resources.files("jaxloss.problems") / "data" / "iris.csv"
    inputs = np.loadtxt(str(file), delimiter=",", skiprows=1, usecols=(0, 1, 2, 3))
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    return network_problem((4, 3), ("softmax",), "cross_entropy", inputs, np.repeat(np.eye(3), 50, axis=0))


NEURON = Grid(
    {"weight[0]": Axis.linear(-8, 8, 37), "bias": Axis.linear(-8, 8, 31), "learning_rate": Axis.log(1, 60, 2)}
)
RATES = Grid({"learning_rate": Axis.log(0.1, 10, 6), "output_learning_rate": Axis.log(0.1, 10, 8)})
DRAWS = {"batch_size": 2, "replacement": True, "gradient_noise": 0.1, "num_steps": 200}
# (problem, grid, options, tile sizes that are different multiples of the program's smallest)
TILES = {
    "sigmoid, sgd": (lambda: load_problem("loss-comparison"), NEURON, {}, (1024, 2048)),
    "relu, momentum": (lambda: load_problem("single-relu"), NEURON, {"optimizer": "momentum"}, (1024, 3072)),
    "shared draws": (lambda: load_problem("loss-comparison"), NEURON, DRAWS, (1024, 2048)),
    "xor, adam": (
        lambda: load_problem("xor-221"),
        Grid({"start": Starts(2100)}),
        {"optimizer": "adam", "learning_rate": 0.1, "num_steps": 100},
        (1024, 3072),
    ),
    "softmax, own draws": (
        three_species,
        Grid({"start": Starts(900)}),
        {"learning_rate": 0.5, "gradient_noise": 0.1, "shared_draws": False, "num_steps": 100},
        (128, 640),
    ),
    "fractal, layerwise": (
        lambda: load_problem("trainability-fractal"),
        RATES,
        {"optimizer": "layerwise_sgd", "precision": "float64", "num_steps": 70},
        (16, 48),
    ),
}


SLOWER = ("shared draws", "xor, adam")


class TestSameBits:
    @pytest.fixture(autouse=True)
    def large_tiles(self, monkeypatch):
        """As on one core, whose share is everything."""
        monkeypatch.setattr(calibration, "devices", lambda: jax.devices()[:1])

    @pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOWER)) for n in TILES])
    def test_of_the_rounds_whatever_the_tile(self, name):
        make, grid, options, sizes = TILES[name]
        problem, options = make(), RunOptions(**{"num_steps": 500, **options})
        bound = validate(problem, grid, options)
        found = []
        with computing_in(options.precision, problem):
            process = process_of(rule_of(problem, options))
            arguments = arguments_of(problem, bound, options, 0, grid.size)
            default = default_tile_size(process, *arguments)
            for size in sizes:
                # These are sizes that a sweep may take, none like another.
                assert whole(size, default, grid.size) == size
                found.append(
                    rounds.run(process, *arguments, (options.num_steps // 3, options.num_steps), tile_size=size)
                )
        first, other = (jax.tree.leaves(lanes) for lanes in found)
        assert max(len(np.unique(leaf)) for leaf in first) > 40
        for one, two in zip(first, other, strict=True):
            assert one.tobytes() == two.tobytes()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", TILES)
    def test_of_whole_runs_whatever_the_tile(self, name):
        make, grid, options, sizes = TILES[name]
        first, other = (ends_of(make(), grid, **{"num_steps": 500, **options}, tile_size=size) for size in sizes)
        assert len(np.unique(first.point, axis=0)) > 40
        for field, one, two in zip(first._fields, first, other, strict=True):
            assert one.tobytes() == two.tobytes(), field

    def test_of_the_dataset_whatever_the_tile(self):
        grid = Grid({"x": Axis.linear(-2, 2, 551), "learning_rate": Axis.of([0.3, 0.9, 1.15, 1.6, 2.0])})
        options = {"num_steps": 600, "precision": "float64"}
        first, second = (
            sweep(load_problem("cubic-map"), grid, tile_size=size, **options).drop_attrs() for size in (1024, 3072)
        )
        assert len(np.unique(first.outcome)) >= 4
        assert first.identical(second)

    def test_whatever_the_number_of_threads_and_devices(self, tmp_path):
        # One thread, then each of them on a device of its own, or two on one device.
        alone, *others = (on_cpu(*numbers, tmp_path) for numbers in ((1, 1), (2, 2), (3, 3), (2, 1)))
        for other in others:
            assert alone.keys() == other.keys()
            for name, values in alone.items():
                assert values.dtype == other[name].dtype
                assert values.tobytes() == other[name].tobytes(), name
        assert len(np.unique(alone["outcome"])) > 2
        assert alone["end_point"].dtype == np.float64


def on_cpu(num, num_devices, folder):
    """What a process with so many threads and CPU devices finds; it also checks what only several threads show."""
    path = folder / f"{num}-{num_devices}.npz"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(num), str(num_devices), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        return dict(file)


PROGRAM = """
import sys, threading
import jax
num, num_devices, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
jax.config.update("jax_num_cpu_devices", num_devices)
import jax.numpy as jnp
import numpy as np
from jaxloss import Axis, Grid, Problem, load_problem, sweep
from jaxloss.engine import devices

if num_devices == 1:
    core = devices._cores()[0]
    devices._cores = lambda: (core,) * num
assert len(devices.devices()) == num
assert len(set(devices.devices())) == num_devices
used = set()
inside = devices._stay_on_core
devices._stay_on_core = lambda i: (used.add(i), inside(i))
# A float64 sweep in a process with x64 off: chaos and cycles would magnify a rounding to float32 anywhere.
grid = Grid({"x": Axis.linear(-2, 2, 667), "learning_rate": Axis.of([0.3, 0.9, 1.15, 2.0])})
# What is asked for is more than a thread's share: the tiles are smaller for several.
result = sweep(load_problem("cubic-map"), grid, num_steps=400, tile_size=3072, precision="float64")
found = {name: result[name].values for name in ("outcome", "end_point", "loss", "num_steps", "period", "attractor")}
assert result.attrs["tile_size"] == {1: 3072, 2: 2048, 3: 1024}[num]
assert not jax.config.jax_enable_x64 and jnp.ones(1).dtype == np.float32
# Every thread has had tiles.
assert used == (set(range(num)) if num > 1 else set()), used
np.savez(path, **found)

# Errors inside an objective reach the caller, from the threads of devices too, and those go on.
if num != 2 or num_devices != 2:
    sys.exit()

def objective(p):
    if armed and threading.current_thread() is not threading.main_thread():
        raise ZeroDivisionError("mine")
    return jnp.sum(p["x"] ** 2)

armed = False
problem = Problem(name="mine", objective=objective, params={"x": 0.0})
grid = Grid({"x": Axis.linear(-1, 1, 3000), "learning_rate": Axis.of([0.1])})
armed = True
try:
    sweep(problem, grid, num_steps=100)
except ZeroDivisionError as error:
    assert str(error) == "mine"
else:
    raise AssertionError("the error is lost")
armed = False
assert (sweep(problem, grid, num_steps=500).outcome == 1).all()
"""


# Against the same rule with a look after every step


def looked_at_every_step(problem, grid, options):
    """`descent.simulate` under `jax.vmap`: no lanes, no tiles, no rounds."""
    with computing_in(options.precision, problem):
        bound = validate(problem, grid, options)
        shared, own, initial = arguments_of(problem, bound, options, 0, grid.size)
        simulate = jax.jit(
            jax.vmap(functools.partial(descent.simulate, rule_of(problem, options)), (None, None, None, -1, -1, -1))
        )
        hyper = own.hyper | {name: np.broadcast_to(value, (grid.size,)) for name, value in shared.hyper.items()}
        found = simulate(shared.limits, shared.data, shared.key, initial, hyper, own.stream)
        return jax.tree.map(np.asarray, found._replace(state=found.state._replace(optimizer_state=())))


class TestEveryStep:
    @pytest.mark.parametrize(
        ("activation", "loss"), [("sigmoid", "mse"), ("relu", "mse"), ("sigmoid", "cross_entropy")]
    )
    def test_the_packaged_comparison(self, activation, loss):
        problem, options = (
            load_problem("loss-comparison", activation=activation, loss=loss),
            RunOptions(num_steps=2000),
        )
        axes = {"weight[0]": Axis.linear(-8, 8, 9), "bias": Axis.linear(-8, 8, 9)}
        grid = Grid({**axes, "learning_rate": Axis.log(0.01, 100, 9)})
        ends = ends_of(problem, grid, num_steps=2000)
        rates = validate(problem, grid, options).trajectories(0, grid.size)[1]["learning_rate"]
        expected = looked_at_every_step(problem, grid, options)
        tame = ~(ends.chaotic | (ends.period > 0))
        assert tame.mean() > 0.7
        differ = (ends.settled != expected.state.settled) | (ends.diverged != expected.state.diverged)
        assert differ[tame].sum() <= 0.005 * grid.size
        ended = ends.settled | ends.diverged
        np.testing.assert_array_equal(ends.num_steps[~ended], options.num_steps)
        np.testing.assert_array_equal(ends.num_steps[~differ] == 0, expected.state.step[~differ] == 0)
        # Late steps are nearly alike, so that a rounding decides which is the first within tolerance.
        late = np.abs(ends.num_steps.astype(float) - expected.state.step) > 1 + 0.02 * expected.state.step
        assert late[tame].sum() <= 0.01 * grid.size
        calm = tame & ~differ & ~ends.diverged
        for one, params in ((ends.point, expected.state.params), (ends.midpoint, expected.midpoint)):
            other = problem.ravel(params)
            apart = np.abs(one - other).max(1) > 2e-3 * (1 + np.abs(other).max(1))
            # At the largest rates a chaotic beginning decides where the calm end is.
            assert apart[calm].sum() <= 0.04 * grid.size
            assert apart[calm & (rates < 20)].sum() <= 1
        # To the rounding for those that are far from any border.
        soon = calm & (expected.state.step < 40)
        assert soon.any()
        np.testing.assert_allclose(ends.point[soon], problem.ravel(expected.state.params)[soon], rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("num_steps", [1, 2, 59, 61, 500])
    def test_the_number_of_steps_on_a_parabola(self, num_steps):
        # x_k = x_0 (1 - 2 rate)^k in the gradient 2 x_k: settled at the first k with |2 x_k| <= tolerance.
        problem = Problem(name="parabola", objective=lambda p: p["x"] ** 2, params={"x": 0.0})
        grid = Grid({"x": Axis.of([-3.0, 0.0, 0.02, 7.0]), "learning_rate": Axis.linear(0.03, 1.1, 23)})
        options = {
            "gradient_tolerance": 1e-6,
            "precision": "float64",
            "divergence_bound": 1e6,
            "num_steps": num_steps,
        }
        ends = ends_of(problem, grid, **options)
        points, hyper = validate(problem, grid, RunOptions(**options)).trajectories(0, grid.size)
        x, factor = np.abs(points[:, 0]), np.abs(1 - 2 * hyper["learning_rate"])
        with np.errstate(divide="ignore"):
            settles = np.where(factor < 1, np.ceil(np.log(5e-7 / x) / np.log(factor)), np.inf)
            leaves = np.where(factor > 1, np.floor(np.log(1e6 / x) / np.log(factor)) + 1, np.inf)
        settles, leaves = np.where(x == 0, 0, settles), np.where(x == 0, np.inf, leaves)
        steps = np.minimum(np.minimum(settles, leaves), num_steps)
        np.testing.assert_array_equal(ends.num_steps, steps)
        np.testing.assert_array_equal(ends.settled, settles <= num_steps)
        np.testing.assert_array_equal(ends.diverged, leaves <= num_steps)
        np.testing.assert_allclose(np.abs(ends.point[:, 0]), x * factor**steps, rtol=1e-9)
        # The midpoint is that of the budget, or the end where that came first.
        size = x * factor ** np.minimum(steps, num_steps // 2)
        np.testing.assert_allclose(np.abs(ends.midpoint[:, 0]), size, rtol=1e-9)

    def test_an_early_end_is_settled_or_diverged(self):
        problem = load_problem("loss-comparison", activation="relu")
        axes = {"weight[0]": Axis.linear(-8, 8, 24), "bias": Axis.linear(-8, 8, 24)}
        ends = ends_of(problem, Grid({**axes, "learning_rate": Axis.log(0.01, 1, 5)}), num_steps=4000)
        early = ends.num_steps < 4000
        assert 0.1 < early.mean() < 1
        assert (ends.settled | ends.diverged)[early].all()
        assert (ends.gradient_norm[ends.settled] <= 1e-6).all()


# Compilation and tracing


class TestCompilesOnce:
    @pytest.mark.parametrize("draws", [{}, {"batch_size": 2, "gradient_noise": 0.1}], ids=["full", "noisy"])
    def test_for_other_values_of_the_same_shapes(self, draws):
        traces = []

        def objective(params, data):
            traces.append(threading.current_thread().name)
            inputs, targets = data
            return jnp.mean((jnp.tanh(inputs * params["w"] + params["b"]) - targets) ** 2)

        def go(data, low, rate, num_steps, seed):
            problem = Problem(name="mine", batch_objective=objective, params={"w": 0.0, "b": 0.0}, data=data)
            # Which arrays it closes over is found by tracing it, once for each problem.
            assert not problem.closes_over_arrays
            made = len(traces)
            axes = {"w": Axis.linear(low, 1, 6), "b": Axis.linear(low, 1, 5), "learning_rate": Axis.of([rate, 0.3])}
            before = compilations()
            # Under noise, values decide which of the labels' programs are needed.
            run = ends_of if draws else sweep
            run(problem, Grid(axes), num_steps=num_steps, seed=seed, gradient_tolerance=1e-5, **draws)
            return compilations() - before, len(traces) - made

        first, second = np.array([-1.0, 0.5, 2.0, 1.0]), np.array([0.2, -0.4, 0.9, -0.1])
        compiled, traced = go((first, second), -1.0, 0.1, 300, 0)
        assert compiled > 0
        assert traced > 0
        compiled, traced = go((first[::-1] * 1.1, second * 0.5), -0.7, 0.2, 290, 3)
        assert (compiled, traced) == (0, 0)

    def test_of_the_rounds_alone(self):
        small, run = SMALL["random"], functools.partial(rounds.run, tile_size=5)
        process = small.process()
        run(process, small.shared, small.own, small.initial, (1, 700))
        before = compilations()
        # Other values, stops and numbers of trajectories.
        run(process, np.uint32(69069), small.own[3:] + np.uint32(2), small.initial[:-3], (0, 59, 1234, 90_000))
        assert compilations() == before


# Nothing is special to one loss


@jax.custom_jvp
def root(x):
    """The square root, by Newton's iteration until it rests: every lane for a number of rounds of its own."""
    start = (x, (x + 1) / 2)
    return lax.while_loop(
        lambda c: jnp.abs(c[0] - c[1]) > 1e-6 * c[1], lambda c: (c[1], (c[1] + x / c[1]) / 2), start
    )[1]


@root.defjvp
def _(primals, tangents):
    y = root(primals[0])
    return y, tangents[0] / (2 * y)


def in_a_loop(p):
    """A polynomial and its like by `lax.fori_loop`."""
    return lax.fori_loop(0, 5, lambda i, total: total + jnp.cos(i * p["a"]) / (i + 1.0) + p["b"] ** 2 / 9, 0.0)


def in_a_scan(p):
    """A recurrent network of one unit."""
    inputs = jnp.array([0.3, -1.0, 0.8, 0.1])
    hidden = lax.scan(lambda h, x: ((jnp.tanh(p["a"] * h + p["b"] * x), h)), jnp.zeros(()), inputs)
    return (hidden[0] - 0.5) ** 2 + jnp.sum(hidden[1] ** 2) / 9


class Nested(NamedTuple):
    amplitude: object
    rates: object


def of_a_tree(p):
    (first, second), matrix = p["terms"], p["matrix"]
    waves = first.amplitude * jnp.exp(-(first.rates**2)) + second.amplitude * jnp.cos(second.rates)
    return jnp.sum(waves**2) + jnp.sum(matrix @ matrix.T) / 20 + jnp.max(jnp.abs(matrix)) / 10


def with_a_choice(p):
    halvings = lax.while_loop(lambda n: jnp.abs(p["a"]) > 2.0**n, lambda n: n + 1, -3)
    scaled = lax.stop_gradient(2.0**-halvings) * p["a"]
    return lax.cond(p["b"] > 0, lambda: (scaled - 0.3) ** 2 + p["b"] ** 2, lambda: jnp.log1p(scaled**2) - p["b"] / 3)


AB = {"a": 0.0, "b": 0.0}
TREE = {
    "terms": (Nested(1.5, np.array([0.2, -0.7])), Nested(-0.4, np.array([1.0, 0.1]))),
    "matrix": np.array([[0.3, -0.8, 0.1], [1.0, 0.2, 0.9]]),
}
UNUSUAL = {
    "sum of exp and cos": (
        lambda p: jnp.exp(-p["a"] / 2) + jnp.cos(3 * p["b"]) + p["a"] ** 2 / 8 + p["b"] ** 2 / 5,
        AB,
    ),
    "a tree of parameters": (of_a_tree, TREE),
    "fori_loop": (in_a_loop, AB),
    "scan": (in_a_scan, AB),
    "while_loop of one's own length": (lambda p: (root(1 + p["a"] ** 2) - 1.2) ** 2 + root(2 + p["b"] ** 2), AB),
    "while_loop and cond": (with_a_choice, AB),
    "linear algebra and sorting": (
        lambda p: (
            jnp.linalg.slogdet(jnp.eye(2) * (2 + p["a"] ** 2) + p["b"])[1]
            + jnp.sum(jnp.sort(jnp.stack([p["a"], p["b"]])) ** 2 * jnp.array([1.0, 0.5]))
        ),
        AB,
    ),
}


class TestAnyObjective:
    @pytest.mark.parametrize("name", UNUSUAL)
    def test_is_iterated_as_optax_would(self, name):
        objective, template = UNUSUAL[name]
        problem = Problem(name="unusual", objective=objective, params=template)
        grid, options = Grid({"start": Starts(11), "learning_rate": Axis.of([0.02, 0.1])}), RunOptions(num_steps=100)
        bound = validate(problem, grid, options)
        process = process_of(rule_of(problem, options))._replace(ends=never)
        arguments = arguments_of(problem, bound, options, 0, grid.size)
        (lane,) = rounds.run(process, *arguments, (100,), tile_size=32)
        ends = problem.ravel(jax.tree.map(lambda leaf: np.moveaxis(leaf, -1, 0), lane.state[0]))
        points, hyper = bound.trajectories(0, grid.size)

        def by_hand(point, rate):
            params, transform = problem.unravel(point), optax.sgd(rate)

            def step(_, carry):
                params, state = carry
                updates, state = transform.update(jax.grad(objective)(params), state, params)
                return optax.apply_updates(params, updates), state

            return problem.ravel(lax.fori_loop(0, 100, step, (params, transform.init(params)))[0])

        by_hand, rates = jax.jit(by_hand), np.float32(hyper["learning_rate"])
        expected = np.stack([by_hand(*pair) for pair in zip(np.float32(points), rates, strict=True)])
        assert np.abs(expected - points).max() > 0.1
        np.testing.assert_allclose(ends, expected, rtol=2e-4, atol=2e-4)


class TestErrors:
    def test_of_an_objective_reach_the_caller(self):
        armed = []

        def objective(p):
            if armed:
                raise ZeroDivisionError("mine")
            return p["x"] ** 2

        problem = Problem(name="mine", objective=objective, params={"x": 0.0})
        armed.append(True)
        with pytest.raises(ZeroDivisionError, match="mine"):
            sweep(problem, Grid({"x": Axis.of([1.0]), "learning_rate": Axis.of([0.1])}), num_steps=5)

    def test_float64_where_the_user_has_float32(self):
        problem = Problem(name="third", objective=lambda p: (p["x"] - 1 / 3) ** 2, params={"x": 0.0})
        ends = ends_of(problem, Grid({"x": Axis.of([0.0])}), learning_rate=0.2, num_steps=40, precision="float64")
        assert ends.point.dtype == np.float64
        assert abs(ends.point[0, 0] - 1 / 3) < 1e-6
        assert ends.point[0, 0] != np.float32(ends.point[0, 0])
        assert not jax.config.jax_enable_x64
