import threading
import time

import chex
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import jaxloss
from jaxloss import Axis, Grid, load_problem, sweeps
from jaxloss.engine import (
    WrongSumsError,
    batched,
    calibration,
    check,
    check_once,
    columns,
    devices,
    in_lanes,
    known_answer,
    map_in_tiles,
    map_lanes,
    padded,
    tiles,
)
from jaxloss.engine.calibration import LARGEST, NATIVE_TILE, SMALLEST, WHOLE, default_tile_size, whole
from jaxloss.engine.rounds import Process
from jaxloss.engine.tiles import WORTH_COMPILING_AGAIN, Shapes, even_tiles, one_lane

examples = settings(deadline=None, derandomize=True, max_examples=30)


def drops_last_rows(z, c):
    """Fused sums that leave out the last of the summands."""
    return (z * z)[:, :-1].sum(-1) - (c * z)[:, :-1].sum(-1)


class TestKnownAnswer:
    def test_this_build_passes(self):
        check()
        check(jax.devices()[-1])

    @pytest.mark.parametrize(
        "sums",
        [
            drops_last_rows,
            lambda z, c: (z * z).sum(-1) - (c * z).sum(-1) + 1e-3,
            lambda z, c: jnp.where(jnp.arange(20) == 7, 0.0, (z * z).sum(-1) - (c * z).sum(-1)),
            lambda z, c: (z * z).sum(-1) * jnp.nan,
        ],
        ids=["missing summand", "offset", "one entry in twenty", "nan"],
    )
    def test_wrong_sums_fail(self, sums):
        with pytest.raises(WrongSumsError, match=r"jaxlib [0-9.]+ returns wrong sums on .*install another version"):
            check(sums=sums)

    def test_says_how_many_are_wrong(self):
        with pytest.raises(WrongSumsError, match=r"4096 of 81920"):
            check(sums=lambda z, c: jnp.where(jnp.arange(20) == 0, 99.0, (z * z).sum(-1) - (c * z).sum(-1)))

    def test_passes_whatever_the_precision_of_the_user(self):
        with jax.enable_x64(True):
            check()

    def test_runs_once_for_each_device(self, monkeypatch):
        calls = []
        monkeypatch.setattr(known_answer, "check", calls.append)
        check_once.cache_clear()
        device = jax.devices()[0]
        check_once(device)
        check_once(device)
        check_once.cache_clear()
        assert calls == [device]

    def test_a_failing_check_stops_a_sweep_before_any_trajectory_runs(self, monkeypatch):
        monkeypatch.setattr(known_answer, "check", lambda device: check(device, sums=drops_last_rows))
        monkeypatch.setattr(sweeps, "run_grid", lambda *_: pytest.fail("a trajectory ran"))
        grid = Grid({"x": Axis.of([1.0]), "learning_rate": Axis.of([0.1])})
        check_once.cache_clear()
        # A failure is not remembered as a success: the second sweep stops too.
        for _ in range(2):
            with pytest.raises(WrongSumsError, match="wrong sums"):
                jaxloss.sweep(load_problem("cubic-map"), grid, num_steps=1)
        check_once.cache_clear()


class TestTiles:
    @examples
    @given(num=st.integers(0, 200), tile_size=st.integers(1, 60))
    def test_cover_every_number_once_and_in_order(self, num, tile_size):
        ranges = list(tiles(num, tile_size))
        assert [i for first, last in ranges for i in range(first, last)] == list(range(num))
        assert all(last - first == tile_size for first, last in ranges[:-1])


class TestPadded:
    @examples
    @given(num=st.integers(1, 8), missing=st.integers(0, 8))
    def test_keeps_the_rows_and_repeats_the_last(self, num, missing):
        arrays = {"a": np.arange(num), "b": np.arange(2 * num, dtype=np.float32).reshape(num, 2)}
        found = padded(arrays, num + missing)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name][:num], array)
            np.testing.assert_array_equal(found[name][num:], np.repeat(array[-1:], missing, axis=0))

    def test_along_the_last_axis(self):
        found = padded((np.arange(6.0).reshape(2, 3), np.array([1, 2, 3])), 5, axis=-1)
        np.testing.assert_array_equal(found[0], [[0, 1, 2, 2, 2], [3, 4, 5, 5, 5]])
        np.testing.assert_array_equal(found[1], [1, 2, 3, 3, 3])


class TestMapInTiles:
    @examples
    @given(num=st.integers(1, 40), tile_size=st.integers(1, 50))
    def test_tiles_change_nothing_but_the_calls(self, num, tile_size):
        arrays = (np.arange(num), {"x": np.linspace(0, 1, 3 * num).reshape(num, 3)})
        sizes = []

        def function(tile):
            sizes.append(len(tile[0]))
            return {"sum": tile[0] + tile[1]["x"].sum(axis=1), "x": tile[1]["x"][:, ::-1]}

        found, whole = map_in_tiles(function, arrays, tile_size), function(arrays)
        jax.tree.map(np.testing.assert_array_equal, found, whole)
        # One shape for all calls, so one compilation.
        assert set(sizes[:-1]) == {tile_size}
        assert len(sizes) - 1 == -(-num // tile_size)

    def test_returns_host_arrays(self):
        found = map_in_tiles(jnp.asarray, np.arange(5, dtype=np.float32), 2)
        assert type(found) is np.ndarray
        assert found.dtype == np.float32

    def test_compiles_once(self):
        @chex.assert_max_traces(n=1)
        def square(x):
            return x**2

        compiled = batched(square, (), (0,))
        for num in (7, 4, 9):
            x = np.arange(num, dtype=np.float32)
            np.testing.assert_array_equal(map_in_tiles(compiled, x, 4), x**2)


class TestBatched:
    def test_is_vmap_over_the_axes_that_differ(self):
        def line(power, slope, x, offset):
            return slope * x**power + offset

        x, offset = np.arange(4.0, dtype=np.float32), np.ones(4, np.float32)
        np.testing.assert_array_equal(batched(line, (2,), (None, 0, 0))(3.0, x, offset), 3 * x**2 + 1)

    def test_one_object_for_each_function_static_arguments_and_axes(self):
        def power(n, x):
            return x**n

        assert batched(power, (2,), (0,)) is batched(power, (2,), (0,))
        assert batched(power, (2,), (0,)) is not batched(power, (3,), (0,))
        assert batched(power, (2,), (0,)) is not batched(power, (2,), (None,))


@pytest.fixture
def three_devices(monkeypatch):
    """The one device of this process thrice, each with a thread."""
    monkeypatch.setattr(devices, "devices", lambda: jax.devices()[:1] * 3)
    monkeypatch.setattr(devices, "_stay_on_core", lambda i: None)
    devices._threads.cache_clear()
    yield
    devices._threads().shutdown()
    devices._threads.cache_clear()


class TestDevices:
    @pytest.mark.parametrize("num", [1, 3])
    def test_a_lone_device_serves_every_core(self, num, monkeypatch):
        monkeypatch.setattr(devices, "_cores", lambda: range(num))
        monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        assert devices.devices.__wrapped__() == (jax.devices()[0],) * num

    def test_several_devices_stay_what_they_are(self, monkeypatch):
        several = (*jax.devices()[:1], *jax.devices()[:1])
        monkeypatch.setattr(devices, "_cores", lambda: range(3))
        monkeypatch.setattr(jax, "local_devices", lambda: several)
        assert devices.devices.__wrapped__() == several


class TestOnDevices:
    @pytest.mark.parametrize("num", [0, 1, 2, 3, 50])
    def test_results_are_in_order(self, num, three_devices):
        calls = []

        def function(item, device):
            calls.append(item)
            return item * 10, device

        assert devices.on_devices(function, range(num)) == [(10 * i, jax.devices()[0]) for i in range(num)]
        assert sorted(calls) == list(range(num))

    def test_every_device_has_a_thread_of_its_own(self, three_devices):
        # Nobody passes before all three are there.
        barrier = threading.Barrier(3, timeout=30)
        names = devices.on_devices(
            lambda item, device: (barrier.wait(), threading.current_thread().name)[1], range(3)
        )
        assert len(set(names)) == 3
        assert all(name.startswith("jaxloss") for name in names)

    def test_one_device_needs_no_thread(self, monkeypatch):
        monkeypatch.setattr(devices, "devices", lambda: jax.devices()[:1])
        assert set(devices.on_devices(lambda item, device: threading.current_thread(), range(4))) == {
            threading.current_thread()
        }

    @pytest.mark.parametrize("failing", [0, 7, 19])
    def test_an_error_reaches_the_caller_and_the_threads_go_on(self, failing, three_devices):
        def function(item, device):
            if item == failing:
                raise ZeroDivisionError("mine")
            return item

        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="mine"):
                devices.on_devices(function, range(20))
        assert devices.on_devices(lambda item, device: item, range(20)) == list(range(20))

    @pytest.mark.parametrize("x64", [False, True])
    def test_threads_compute_in_the_precision_of_the_caller(self, x64, three_devices):
        with jax.enable_x64(x64):
            found = devices.on_devices(lambda item, device: jnp.asarray(np.float64(item)).dtype, range(6))
        assert set(found) == {np.dtype("float64" if x64 else "float32")}


class TestEvenTiles:
    @pytest.mark.parametrize("num", [0, 1, 255, 256, 257, 1000, 65_537, 10**6])
    @pytest.mark.parametrize("tile_size", [1, 3, 64, 1000, 65_536])
    def test_cover_all_with_about_as_many_in_each(self, num, tile_size):
        if num > 1000 * tile_size:
            return
        found = list(even_tiles(num, tile_size))
        assert [row for first, last in found for row in range(first, last)] == list(range(num))
        sizes = [last - first for first, last in found]
        assert max(sizes, default=0) <= tile_size
        assert len(set(sizes[:-1])) <= 1
        if num > 256 * len(devices.devices()) and tile_size >= 64:
            assert len(sizes) >= len(devices.devices())


class TestMapLanes:
    @pytest.mark.parametrize("num", [1, 4, 5, 3 * WORTH_COMPILING_AGAIN + 1])
    @pytest.mark.parametrize("tile_size", [1, 3, 8])
    def test_is_the_function_of_every_lane(self, num, tile_size, three_devices):
        program = in_lanes(_weighted, (2.0,), (None, -1, -1))
        x, y = np.arange(2.0 * num, dtype=np.float32).reshape(2, num), {"y": np.arange(num, dtype=np.int32)}
        found = map_lanes(program, (np.float32(3),), (x, y), tile_size)
        np.testing.assert_array_equal(found["sum"], 2 * 3 * x.sum(0) + y["y"])
        np.testing.assert_array_equal(found["pair"], x[::-1])
        assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(found))

    def test_threads_on_one_device_compile_once(self, three_devices):
        traces = []

        def slow(x):
            traces.append(threading.current_thread())
            time.sleep(0.2)  # the others arrive meanwhile
            return x + 1

        x = np.arange(8, dtype=np.float32)
        np.testing.assert_array_equal(map_lanes(in_lanes(slow, (), (-1,)), (), (x,), 2), x + 1)
        assert len(traces) == 1


def _weighted(factor, weight, x, y):
    return {"sum": factor * weight * x.sum() + y["y"], "pair": x[::-1]}


class TestColumns:
    @pytest.mark.parametrize("which", [slice(1, 3), np.array([3, 0]), 2])
    def test_are_those_of_the_last_axis(self, which):
        tree = {"a": np.arange(8).reshape(2, 4), "b": jnp.arange(4)}
        found = columns(tree, which)
        np.testing.assert_array_equal(found["a"], np.arange(8).reshape(2, 4)[:, which])
        np.testing.assert_array_equal(found["b"], np.arange(4)[which])
        assert isinstance(found["b"], (np.ndarray, np.integer))

    def test_one_lane_has_lost_that_axis(self):
        shape = one_lane((np.zeros((3, 2, 7), np.float32), np.zeros(7, np.int32)))
        assert [(s.shape, s.dtype) for s in shape] == [((3, 2), np.float32), ((), np.int32)]


class TestShapes:
    def test_are_equal_when_shapes_types_and_structure_are(self):
        tree = {"a": np.zeros((2, 3), np.float32), "b": (jnp.zeros(4, jnp.int32),)}
        same = jax.tree.map(lambda leaf: np.asarray(leaf) + leaf.dtype.type(1), tree)
        others = [
            {**tree, "a": np.zeros((3, 2), np.float32)},
            {**tree, "a": np.zeros((2, 3), np.float16)},
            {"a": tree["a"], "c": tree["b"]},
            {**tree, "b": [tree["b"][0]]},
        ]
        assert Shapes.of(tree) == Shapes.of(same)
        assert hash(Shapes.of(tree)) == hash(Shapes.of(same))
        assert len({Shapes.of(other) for other in (tree, same, *others)}) == 5

    def test_give_back_the_tree(self):
        tree = Shapes.of({"a": np.zeros((2, 3), np.float32), "key": jax.random.key(0)}).tree
        assert tree["a"].shape == (2, 3)
        assert jax.eval_shape(lambda t: jax.random.normal(t["key"]) * t["a"], tree).shape == (2, 3)


class TestTileSize:
    @examples
    @given(
        tile_size=st.integers(1, 10**5), power=st.integers(4, 13), num=st.integers(1, 10**6), cores=st.integers(1, 64)
    )
    def test_whole(self, tile_size, power, num, cores):
        default, multiple = 2**power, min(WHOLE, 2**power)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(calibration, "devices", lambda: range(cores))
            size = whole(tile_size, default, num)
        assert size % multiple == 0
        # Enough for what is asked for or for a device's share, and no multiple more.
        assert size - multiple < min(tile_size, -(-num // cores)) <= size

    @pytest.mark.parametrize(
        ("length", "expected"), [(1, LARGEST), (8, 8192), (16, 4096), (100, 512), (1000, 64), (10**6, SMALLEST)]
    )
    def test_default_keeps_the_largest_array_in_the_cache(self, length, expected):
        def begin(shared, own, initial):
            return initial

        def update(shared, own, step, x):
            return x + jnp.sin(x * shared).sum()

        process = Process(begin, update, lambda *_: jnp.zeros((), bool), True)
        for num in (1, 7):
            found = default_tile_size(process, np.ones(length, np.float32), (), np.zeros(num, np.float32))
            assert found == expected

    @pytest.mark.parametrize(("numbers", "expected"), [(1, NATIVE_TILE), (100, NATIVE_TILE), (200, 256)])
    def test_default_of_native_code_does_not_depend_on_the_program(self, numbers, expected):
        process = Process(
            lambda shared, own, x: x, lambda shared, own, step, x: x - jnp.tanh(x), lambda *_: None, True
        )
        assert default_tile_size(process, (), (), np.zeros((numbers, 3), np.float32)) == expected

    def test_default_of_double_precision_is_half(self):
        process = Process(
            lambda shared, own, x: x,
            lambda shared, own, step, x: x + jnp.sin(x * shared).sum(),
            lambda *_: None,
            True,
        )
        with jax.enable_x64(True):
            assert default_tile_size(process, np.ones(16), (), np.zeros(3)) == 2048
