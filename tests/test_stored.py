"""Sweeps that go to the disk: the bits of a sweep in memory, whatever happens in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import psutil
import pytest
import xarray as xr
from matplotlib.text import Text

from benchmarks.interruptions import differing, interrupt
from jaxloss import Axis, Grid, InputError, Problem, Starts, cluster, load_problem, store, stored, sweep
from jaxloss.basins import outcome_fractions
from jaxloss.cluster import Order
from jaxloss.engine.layout import Layout
from jaxloss.figures import plot_comparison, reading
from jaxloss.store.verification import inspect, inspect_store
from jaxloss.stored import sweep_to_store

GRID = Grid(
    {
        "weight[0]": Axis.linear(-6, 6, 12),
        "learning_rate": Axis.log(0.1, 10, 3),
        "bias": Axis.linear(-6, 6, 11),
    }
)
OPTIONS = {"num_steps": 150, "num_paths": 2}


def problem():
    return load_problem("loss-comparison")


def written(path, block_size=50, **options):
    return sweep_to_store(problem(), GRID, path, block_size=block_size, **{**OPTIONS, **options})


def assert_same(found, expected):
    for name in expected.variables:
        np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=str(name))
        assert found[name].dims == expected[name].dims
    assert set(found.variables) == set(expected.variables)
    for name, value in expected.attrs.items():
        assert name == "tile_size" or found.attrs[name] == value


@pytest.fixture(scope="module")
def expected():
    return sweep(problem(), GRID, **OPTIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.zarr"
    written(path)
    return path


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "a.zarr")


class Counted:
    """Runs blocks in this process, and stops when so many have been run."""

    def __init__(self, most=10**9):
        self.most, self.blocks = most, []

    def __call__(self, job, stage, blocks, progress):
        for block in blocks:
            if len(self.blocks) == self.most:
                raise KeyboardInterrupt
            self.blocks.append((stage, block))
            yield from stored.in_this_process(job, stage, [block], progress)


class TestBits:
    @pytest.mark.parametrize("block_size", [None, 400, 50, 7])
    def test_those_of_a_sweep_in_memory(self, expected, tmp_path, block_size):
        assert_same(written(tmp_path / "a.zarr", block_size).load(), expected)
        assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]

    def test_whatever_the_tile(self, expected, tmp_path):
        assert_same(written(tmp_path / "a.zarr", 396, tile_size=1).drop_attrs(), expected.drop_attrs())

    @pytest.mark.parametrize("stop", [0, 1, 5, 9, 11, 17, 19])
    def test_after_an_interruption(self, whole, tmp_path, stop):
        path, first, second = tmp_path / "a.zarr", Counted(stop), Counted()
        with pytest.raises(KeyboardInterrupt):
            written(path, execute=first)
        written(path, block_size=None, execute=second)
        assert not differing(whole, path)
        assert not set(first.blocks) & set(second.blocks)
        assert len(first.blocks) + len(second.blocks) == 9 + 9 + 3

    def test_random_starts_of_an_own_problem(self, tmp_path):
        mine = Problem(name="mine", objective=lambda p: jnp.cos(p["x"]) + 0.1 * p["x"] ** 2, params={"x": 0.0})
        grid = Grid({"start": Starts(100, scale=3.0), "momentum": Axis.of([0.0, 0.5])})
        options = {"optimizer": "momentum", "learning_rate": 0.1, "num_steps": 50, "precision": "float64"}
        found = sweep_to_store(mine, grid, tmp_path / "a.zarr", block_size=30, **options)
        assert_same(found.load(), sweep(mine, grid, **options))

    def test_a_finished_sweep_runs_nothing(self, whole):
        counted, reports = Counted(), []
        written(whole, execute=counted, report=reports.append)
        assert not counted.blocks
        assert not reports


class TestStore:
    def test_blocks_of_nothing_but_the_fill_value_are_written(self, tmp_path):
        # All diverge: no attractor anywhere, and every end is NaN or beyond the bound.
        grid = Grid({"x": Axis.linear(50, 60, 6), "learning_rate": Axis.of([10.0])})
        cubic, path = load_problem("cubic-map"), tmp_path / "a.zarr"
        with pytest.raises(KeyboardInterrupt):
            sweep_to_store(cubic, grid, path, num_steps=20, block_size=2, execute=Counted(4))
        found = sweep_to_store(cubic, grid, path, num_steps=20)
        assert np.all(found.attractor.values == -1)
        assert len(list((path / "attractor" / "c").iterdir())) == 3
        assert inspect_store(path).whole

    def test_xarray_opens_it(self, whole, expected):
        with xr.open_zarr(whole) as opened:
            np.testing.assert_array_equal(opened.outcome, expected.outcome)
            assert opened.outcome.encoding["chunks"] == (4, 1, 11)

    def test_shares_are_counted_block_by_block(self, whole, expected):
        found = outcome_fractions(store.open_result(whole))
        assert not store.open_result(whole).outcome.variable._in_memory
        xr.testing.assert_identical(found, outcome_fractions(expected))

    def test_figures_draw_every_second_value_of_what_is_too_large(self, whole, expected, monkeypatch):
        monkeypatch.setattr(reading, "MOST_SHOWN", 120)
        shown = reading.shown(store.open_result(whole))
        assert dict(shown.outcome.sizes) == {"weight[0]": 6, "learning_rate": 3, "bias": 6}
        assert shown.attrs[reading.THINNED] == "1 in 2 values of weight[0] and 1 in 2 values of bias"
        np.testing.assert_array_equal(shown.loss, expected.loss[::2, :, ::2])
        figure = plot_comparison({"a": store.open_result(whole)})
        words = " ".join(text.get_text() for text in figure.findobj(Text))
        assert "1 in 2 values of weight[0]" in " ".join(words.split())

    def test_it_explains_itself(self, whole):
        import zarr

        group = zarr.open_group(whole, mode="r")
        inputs, targets = problem().data
        np.testing.assert_array_equal(np.asarray(group["data/inputs"]), inputs)
        np.testing.assert_array_equal(np.asarray(group["data/targets"]), targets)
        assert json.loads(group.attrs["spec"])["run"]["num_steps"] == 150

    def test_what_is_unfinished_is_marked(self, tmp_path):
        path = tmp_path / "a.zarr"
        with pytest.raises(KeyboardInterrupt):
            written(path, execute=Counted(4))
        with xr.open_zarr(path, consolidated=False) as opened:
            run = np.isfinite(opened.end_point.values).all(axis=-1)
            assert run.sum() == 4 * 44
            np.testing.assert_array_equal(opened.num_steps.values >= 0, run)
            assert np.all(opened.outcome.values == -1)
            assert np.isnan(opened.loss.values[~run]).all()
        with pytest.raises(InputError, match="unfinished"):
            store.open_result(path)
        report = inspect_store(path)
        assert (report.done, report.whole, report.damages, report.missing) == (False, False, (), 9)

    @pytest.mark.parametrize(
        ("options", "what"),
        [
            ({"num_steps": 151}, "run.num_steps is 150 there and 151 here"),
            ({"optimizer": "adam"}, 'run.optimizer is "sgd" there and "adam" here'),
            ({"seed": 1}, "run.seed is 0 there and 1 here"),
        ],
    )
    def test_another_sweep_is_refused_by_name(self, whole, options, what):
        with pytest.raises(InputError, match=what):
            written(whole, **options)

    def test_another_problem_or_grid_is_refused_by_name(self, whole):
        other = load_problem("loss-comparison", activation="tanh")
        with pytest.raises(InputError, match=r"holds another sweep: (problem|objective)"):
            sweep_to_store(other, GRID, whole, **OPTIONS)
        grid = Grid({**GRID.axes, "bias": Axis.linear(-6, 5, 11)})
        with pytest.raises(InputError, match=r"holds another sweep: axes.bias.values"):
            sweep_to_store(problem(), grid, whole, **OPTIONS)

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "a.zarr").mkdir()
        (tmp_path / "a.zarr" / "thesis.tex").touch()
        with pytest.raises(InputError, match="other files"):
            written(tmp_path / "a.zarr")
        (tmp_path / "b.zarr").touch()
        with pytest.raises(InputError, match="is a file"):
            written(tmp_path / "b.zarr")

    def test_wrong_options(self, tmp_path):
        with pytest.raises(InputError, match="num_step"):
            written(tmp_path / "a.zarr", num_step=3)
        with pytest.raises(InputError, match="block_size must be at least 1"):
            written(tmp_path / "a.zarr", block_size=0)
        assert not list(tmp_path.iterdir())

    def test_a_disk_that_is_too_small_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(stored.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 999, 1))
        with pytest.raises(InputError, match="GiB of disk"):
            written(tmp_path / "a.zarr")
        assert not list(tmp_path.iterdir())

    def test_a_disk_that_fills_up(self, tmp_path, monkeypatch, whole):
        calls = []

        def write(self, part, block, arrays, write=stored.BlockStore.write):
            calls.append(part)
            if len(calls) > 7:
                raise OSError(28, "No space left on device")
            write(self, part, block, arrays)

        monkeypatch.setattr(stored.BlockStore, "write", write)
        with pytest.raises(InputError, match=r"No space left on device; what is done is kept"):
            written(tmp_path / "a.zarr")
        monkeypatch.undo()
        counted = Counted()
        written(tmp_path / "a.zarr", execute=counted)
        assert len(counted.blocks) == 21 - 3
        assert not differing(whole, tmp_path / "a.zarr")

    def test_estimate(self, tmp_path):
        reports = []
        written(tmp_path / "a.zarr", report=reports.append)
        (estimate,) = reports
        assert (estimate.num, estimate.num_blocks) == (396, 9)
        size = sum(path.stat().st_size for path in (tmp_path / "a.zarr").rglob("c/**/*") if path.is_file())
        assert 0 < estimate.disk < 100 * size
        assert estimate.memory > 2**28
        assert "396 trajectories to run in 9 blocks" in str(estimate)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def lose(path):
    path.unlink()


FILES = {
    "labels": "outcome/c/0/0/0",
    "ends": "end_point/c/1/0/0/0",
    "surface": "initial_loss/c/0/0",
    "record": "blocks/ends/c/2/0/0",
    "metadata of blocks": "loss/zarr.json",
    "metadata of records": "blocks/labels/zarr.json",
    "coordinate": "bias/c/0",
    "table": "location/c/0/0",
    "metadata of the table": "location/zarr.json",
    "survey": "survey/copies/c/0/0",
    "root of the survey": "survey/zarr.json",
    "data": "data/inputs/c/0/0",
    "root": "zarr.json",
}


class TestDamage:
    @pytest.mark.parametrize("damage", [flip, truncate, empty, lose])
    @pytest.mark.parametrize("name", FILES.values(), ids=FILES)
    def test_is_found_named_and_mended(self, copy, whole, name, damage):
        damage(copy / name)
        report = inspect_store(copy)
        assert not report.whole
        assert name in str(report) or name == "zarr.json"
        with pytest.raises(InputError, match=r"damaged|not a zarr store|not a result"):
            store.open_result(copy)
        counted = Counted()
        written(copy, execute=counted)
        assert not differing(whole, copy)
        assert inspect_store(copy).whole
        if not name.startswith("survey"):  # without it every block is needed again
            assert len(counted.blocks) <= 3

    @pytest.mark.parametrize("name", list(FILES.values()), ids=FILES)
    def test_a_file_of_another_store(self, copy, tmp_path, name):
        other = tmp_path / "other.zarr"
        written(other, seed=1, num_steps=149)
        shutil.copy(other / name, copy / name)
        if (copy / name).read_bytes() == (other / name).read_bytes() and not inspect_store(copy).damages:
            # Files that are the same in both: nothing that is read is another's.
            np.testing.assert_array_equal(store.read_result(copy).outcome, sweep(problem(), GRID, **OPTIONS).outcome)
            return
        report = str(inspect_store(copy))
        assert name in report or name == "zarr.json" or ("blocks" in name and "(block 2)" in report)

    def test_a_block_in_the_place_of_another(self, copy):
        shutil.copy(copy / "loss/c/0/0/0", copy / "loss/c/1/0/0")
        assert inspect_store(copy).damages == ("loss/c/1/0/0 is not what was written (block 1)",)

    def test_another_version(self, copy):
        root = json.loads((copy / "zarr.json").read_text())
        root["attributes"]["jaxloss"]["format"] = 99
        (copy / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(InputError, match="another version of jaxloss: format 99"):
            store.open_result(copy)

    @pytest.mark.parametrize("attributes", [{}, {"name": "x"}, {"jaxloss": 3}])
    def test_no_attributes(self, copy, attributes):
        root = json.loads((copy / "zarr.json").read_text())
        root["attributes"] = attributes
        (copy / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(InputError, match="not a result of jaxloss"):
            store.open_result(copy)

    def test_every_file_of_a_folder(self, tmp_path, whole):
        store.begin_folder(tmp_path, {"name": "a"})
        shutil.copytree(whole, tmp_path / "a.zarr")
        store.finish_folder(tmp_path, {"spec": {"name": "a"}, "objectives": {"a": {}}})
        assert all(report.whole for report in inspect(tmp_path))
        for name in ("spec.json", "summary.json"):
            content = (tmp_path / name).read_bytes()
            flip(tmp_path / name)
            assert [report.path.name for report in inspect(tmp_path) if not report.whole] == [name]
            (tmp_path / name).write_bytes(content)
        shutil.rmtree(tmp_path / "a.zarr")
        assert [report.path.name for report in inspect(tmp_path) if not report.whole] == ["a.zarr"]


class TestWorkers:
    def test_two_workers_write_the_same_bits(self, whole, tmp_path):
        script = tmp_path / "run.py"
        script.write_text(
            "from jaxloss import Axis, Grid, load_problem\n"
            "from jaxloss.cluster import connected\n"
            "from jaxloss.stored import sweep_to_store\n"
            "if __name__ == '__main__':\n"
            "    axes = {'weight[0]': Axis.linear(-6, 6, 12), 'learning_rate': Axis.log(0.1, 10, 3),"
            " 'bias': Axis.linear(-6, 6, 11)}\n"
            "    with connected(workers=2) as execute:\n"
            "        sweep_to_store(load_problem('loss-comparison'), Grid(axes), 'a.zarr', block_size=50,\n"
            "                       num_steps=150, num_paths=2, execute=execute)\n"
        )
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        subprocess.run([sys.executable, script], cwd=tmp_path, check=True, env=environment)
        assert not differing(whole, tmp_path / "a.zarr")

    def order(self, path, **versions):
        plan = stored.plan(problem(), GRID, path, **OPTIONS)
        identity = {**plan.identity, "versions": {**plan.identity["versions"], **versions}}
        layout = Layout(1024, "fast")
        return cluster._packed(Order(*plan[:1], GRID, plan.options, plan.path, 50, identity, layout))

    def test_another_version_is_refused(self, tmp_path):
        with pytest.raises(InputError, match=r'versions.jaxloss is "[\d.]+" there and "9.9" here'):
            cluster._work(self.order(tmp_path / "a.zarr", jaxloss="9.9"), "ends", 0)

    def test_a_folder_that_is_not_shared(self, tmp_path):
        with pytest.raises(InputError, match="does not see"):
            cluster._work(self.order(tmp_path / "a.zarr"), "ends", 0)

    def test_without_dask(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "dask", None)
        with pytest.raises(InputError, match=r"install jaxloss\[distributed\]"), cluster.connected(workers=1):
            pass

    @pytest.mark.slow
    def test_what_goes_wrong_later_is_no_fault_of_the_scheduler(self):
        from dask.distributed import LocalCluster

        def fail(address):
            with cluster.connected(scheduler=address) as execute:
                assert "1 workers" in str(execute)
                raise InputError("the disk is full")

        with (
            LocalCluster(n_workers=1, processes=False, dashboard_address=None) as local,
            pytest.raises(InputError, match=r"^the disk is full$"),
        ):
            fail(local.scheduler_address)

    def test_a_worker_without_the_package(self):
        class Future:
            def result(self):
                raise ModuleNotFoundError("No module named 'jaxloss'")

        with pytest.raises(InputError, match="a worker lacks a package: No module named 'jaxloss'"):
            cluster._outcome(Future())

    def test_a_problem_that_cannot_be_sent(self, tmp_path):
        lock = threading.Lock()
        mine = Problem(name="mine", objective=lambda p: p["x"] ** 2 + 0 * lock.locked(), params={"x": 1.0})
        plan = stored.plan(mine, Grid({"x": Axis.of([1.0])}), tmp_path / "a.zarr", learning_rate=0.1)
        order = Order(mine, plan.bound.grid, plan.options, plan.path, 1, plan.identity, Layout(1024, "fast"))
        with pytest.raises(InputError, match="problem 'mine' cannot be sent to workers"):
            cluster._packed(order)


@pytest.mark.slow
def test_devices_and_tiles_change_no_bit(tmp_path):
    spec = tmp_path / "spec.toml"
    text = (
        '[data]\nproblem = "loss-comparison"\n[grid]\n"weight[0]" = {start = -8, stop = 8, num = 300}\n'
        "bias = {start = -8, stop = 8, num = 300}\nlearning_rate = {values = [0.5, 5.0]}\n[run]\nnum_steps = 500\n"
    )
    first = None
    for tile_size, devices, workers in (
        (1024, 1, None),
        (8192, 4, None),
        (65_536, 1, None),
        (1024, 4, None),
        (65_536, 4, None),
        (8192, 1, 1),
        (8192, 1, 2),
        (8192, 1, 4),
    ):
        spec.write_text(text + f"tile_size = {tile_size}\n")
        out = tmp_path / f"{tile_size}-{devices}-{workers}"
        command = [sys.executable, "-m", "jaxloss", "sweep", spec, "--out", out, "--quiet", "--block-size", "40000"]
        command += ["--workers", str(workers)] if workers else []
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        found = store.open_folder(out)[0]["loss-comparison"].load()
        first = found if first is None else first
        for name in first.variables:
            np.testing.assert_array_equal(found[name].values, first[name].values, err_msg=str(name))


def test_killed_at_random_moments(tmp_path):
    found = interrupt(tmp_path, kills=2, num=48, num_steps=300, block_size=512, workers=None, seed=1)
    assert found.kills["main"] == 2
    assert (found.differing, found.rewritten, found.orphans) == ([], [], 0)


@pytest.mark.slow
def test_killed_at_random_moments_with_workers(tmp_path):
    found = interrupt(tmp_path, kills=7, num=128, num_steps=2000, block_size=1024, workers=2, seed=2)
    assert found.kills["main"] >= 4
    assert found.kills["worker"] >= 1
    assert (found.differing, found.rewritten, found.orphans) == ([], [], 0)


@pytest.mark.parametrize("workers", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_control_c_ends_soon_and_says_how_to_go_on(tmp_path, workers):
    spec = tmp_path / "spec.toml"
    spec.write_text(
        '[data]\nproblem = "loss-comparison"\n[grid]\n"weight[0]" = {start = -8, stop = 8, num = 400}\n'
        "bias = {start = -8, stop = 8, num = 400}\nlearning_rate = {values = [0.001]}\n[run]\nnum_steps = 400000\n"
    )
    command = [sys.executable, "-m", "jaxloss", "sweep", spec, "--out", tmp_path / "out", "--block-size", "4096"]
    command += ["--workers", str(workers)] if workers else []
    # In a session of its own, so that the interrupt reaches its whole process group as that of a terminal does.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    records = tmp_path / "out" / "loss-comparison.zarr" / "blocks" / "ends" / "c"
    while not records.exists() or not list(records.iterdir()):
        assert process.poll() is None
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60 if workers else 20)
    except subprocess.TimeoutExpired:  # an interrupt has been seen to be lost on a busy machine, we do not know how
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"jaxloss resume {tmp_path / 'out'} goes on with loss-comparison" in errors
    assert "Traceback" not in errors
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert [report.damages for report in inspect(tmp_path / "out")] == [(), ()]
