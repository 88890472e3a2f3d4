import chex
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import jaxloss
from jaxloss import Axis, Grid, load_problem, sweeps
from jaxloss.engine import WrongSumsError, batched, check, check_once, known_answer, map_in_tiles, padded, tiles

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
