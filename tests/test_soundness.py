"""The guard against programs that the compiler gets wrong."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss import Axis, Grid, Problem, Starts
from jaxloss.engine import compiling, native, soundness
from jaxloss.engine.devices import CPU_OPTIONS, compilation, compiled
from jaxloss.engine.lanes import jumps, lanes
from jaxloss.engine.native import library
from jaxloss.engine.rounds import Process
from jaxloss.engine.soundness import sound_compilation

WIDTH = 3


def root(square):
    """The root of a sum of squares, with a gradient where it vanishes: an idiom of many libraries."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def push_in_two_terms(weight):
    """A push along some directions by their distances, those to themselves vanishing: jaxlib 0.10.1 errs by units."""
    unit = weight / jnp.sqrt(jnp.sum(jnp.square(weight), axis=1))[:, None]
    side = jnp.where(unit @ unit.T < 0, -1.0, 1.0)
    apart = root(jnp.sum(jnp.square(unit[:, None, :] - side[:, :, None] * unit[None]), axis=2))
    return jnp.sum(apart, axis=1)[:, None] * unit + jnp.sum(apart, axis=0)[:, None] * unit


def process_of(move) -> Process:
    return Process(
        begin=lambda shared, own, initial: initial,
        update=lambda shared, own, step, state: state - 0.1 * move(state),
        ends=lambda shared, own, step, state: jnp.zeros((), bool),
        autonomous=True,
    )


@pytest.fixture
def initial():
    return np.random.default_rng(0).normal(size=(WIDTH, WIDTH, 300))


class TestWaysToCompile:
    def test_the_way_is_that_of_the_innermost_context(self):
        assert compilation() == "fast"
        with compiling("plain"), compiling("unfused"):
            assert compilation() == "unfused"
        assert compilation() == "fast"

    def test_every_way_compiles_and_agrees_to_rounding(self):
        values = np.linspace(-1, 1, 64, dtype=np.float32)
        for how in CPU_OPTIONS:
            with compiling(how):
                np.testing.assert_allclose(compiled(jnp.tanh)(values), np.tanh(values), rtol=1e-5)

    @pytest.mark.parametrize("how", ["unfused", "plain"])
    def test_slower_ways_get_the_hazard_right(self, how, initial):
        with jax.enable_x64(True), compiling(how):
            expected = np.stack([np.asarray(push_in_two_terms(one)) for one in np.moveaxis(initial[..., :20], -1, 0)])
            found = np.asarray(compiled(lanes(push_in_two_terms, (-1,)))(initial[..., :20]))
        np.testing.assert_allclose(np.moveaxis(found, -1, 0), expected, rtol=1e-9)


class TestJumps:
    def test_smooth_programs_have_none(self):
        for function in (
            jnp.tanh,
            jax.nn.sigmoid,
            lambda x: jnp.exp(x) / x,
            lambda x: jnp.maximum(x, 0) + jnp.abs(x),
        ):
            assert not jumps(function, 1.0)

    def test_comparisons_of_whole_numbers_and_questions_for_nan_are_none(self):
        assert not jumps(lambda n: jnp.where(n > 2, 1.0, 2.0), 1)
        assert not jumps(lambda x: jnp.where(jnp.isnan(x), 0.0, x), 1.0)

    def test_comparisons_are_found_inside_of_loops_and_gradients(self):
        assert jumps(jax.grad(jax.nn.relu), 1.0)
        assert jumps(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.sign(y) + y, x), 1.0)
        assert jumps(jax.jit(jnp.floor), 1.0)


class TestSoundCompilation:
    def test_what_the_compiler_gets_wrong_is_not_fused(self, initial, caplog, monkeypatch):
        def not_there() -> int:
            raise native.Unsupported("on purpose")

        monkeypatch.setattr(library, "register_bytes", not_there)
        with jax.enable_x64(True), caplog.at_level(logging.WARNING):
            found = sound_compilation(process_of(push_in_two_terms), (), {}, initial, 512)
            fast = np.asarray(compiled(lanes(push_in_two_terms, (-1,)))(initial))
            with compiling("plain"):
                right = np.asarray(compiled(lanes(push_in_two_terms, (-1,)))(initial))
        wrong = np.abs(fast - right).max() > 1e-6
        # Other versions and processors may get it right; the guard has to agree with what this one does.
        assert found == ("unfused" if wrong else "fast")
        assert ("computes the objective wrongly" in caplog.text) == wrong

    def test_native_code_computes_every_number_once(self, initial, caplog):
        with jax.enable_x64(True):
            assert sound_compilation(process_of(push_in_two_terms), (), {}, initial, 512) == "fast"
        assert not caplog.text

    def test_what_disagrees_in_the_first_steps_is_found(self, initial, monkeypatch):
        """A compiler that is wrong on purpose: the fast way adds one to what it computes."""
        right = soundness.run

        def run(process, *args, **options):
            before, after = right(process, *args, **options)
            return before, after._replace(state=after.state + (compilation() == "fast"))

        monkeypatch.setattr(soundness, "run", run)
        with jax.enable_x64(True):
            process = process_of(lambda state: jnp.where(state > 0, state, 0.0))
            assert sound_compilation(process, (), {}, initial, 512) == "unfused"

    def test_where_no_two_ways_agree_the_fast_one_is_as_good(self, initial, monkeypatch):
        right, calls = soundness.run, []

        def run(process, *args, **options):
            before, after = right(process, *args, **options)
            calls.append(compilation())
            return before, after._replace(state=after.state + len(calls))

        monkeypatch.setattr(soundness, "run", run)
        with jax.enable_x64(True):
            process = process_of(lambda state: jnp.where(state > 0, state, 0.0))
            assert sound_compilation(process, (), {}, initial, 512) == "fast"
        assert calls == ["plain", "fast", "unfused"]

    def test_smooth_processes_cost_nothing(self, initial, monkeypatch):
        monkeypatch.setattr(soundness, "run", lambda *_, **__: pytest.fail("compiled for nothing"))
        assert sound_compilation(process_of(jnp.tanh), (), {}, initial, 512) == "fast"

    def test_few_disagreements_at_kinks_are_rounding(self):
        before = np.zeros((1, 100))
        expected = before + 1.0
        found = expected.copy()
        found[0, :10] = -1.0
        assert soundness._agree((before, found), (before, expected))
        found[0, :11] = -1.0
        assert not soundness._agree((before, found), (before, expected))

    def test_what_diverges_both_ways_agrees(self):
        before, after = np.zeros((1, 4)), np.array([[np.nan, np.inf, 1.0, 2.0]])
        assert soundness._agree((before, np.array([[np.inf, np.nan, 1.0, 2.0]])), (before, after))
        assert not soundness._agree((before, np.array([[0.0, np.nan, 1.0, 2.0]])), (before, after))


class TestSweeps:
    def test_a_sweep_says_how_it_was_compiled_and_lands_where_it_should(self):
        """The distance of two directions, whose minimum 0 lies where they are parallel or opposite."""

        def objective(params):
            unit = params["w"].reshape(2, 2)
            unit = unit / jnp.sqrt(jnp.sum(jnp.square(unit), axis=1, keepdims=True))
            return jnp.sum(root(jnp.sum(jnp.square(unit[:, None] - unit[None]), axis=2)) ** 2)

        problem = Problem(name="directions", params={"w": np.ones(4)}, objective=objective)
        grid = Grid({"start": Starts(50)})
        result = jaxloss.sweep(problem, grid, learning_rate=0.05, num_steps=3000, precision="float64")
        assert result.attrs["compilation"] in ("fast", "unfused")
        assert result.loss.values.max() < 1e-9

    def test_a_map_says_how_it_was_compiled(self):
        result = jaxloss.sweep_map(lambda state: {"x": state["x"] / 2}, Grid({"x": Axis.linear(-1, 1, 3)}))
        assert result.attrs["compilation"] == "fast"
