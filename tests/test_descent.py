import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss.descent import Limits, Rule, advance, begin, lyapunov_growth, record, simulate
from jaxloss.optimizers import OPTIMIZERS
from jaxloss.problems import load_problem

SHARPNESS = 4.0


def parabola(params, data):
    del data
    return SHARPNESS / 2 * params["x"] ** 2


def double_well(params, data):
    return load_problem("cubic-map").batch_objective(params, data)


def limits(num_steps=100, gradient_tolerance=1e-6, divergence_bound=1e6, gradient_noise=0.0, dtype=np.float32):
    real = np.dtype(dtype).type
    return Limits(np.int32(num_steps), real(gradient_tolerance), real(divergence_bound), real(gradient_noise))


def rule_for(objective=parabola, optimizer="sgd", **options):
    return Rule(objective, OPTIMIZERS[optimizer].factory, **options)


def minus_mean_of_rows(params, data):
    """With one-hot rows, plain descent at rate 1 counts how often each of them is in a minibatch."""
    return -jnp.mean(data @ params)


def plane(params, data):
    del data
    return jnp.sum(params["a"]) + 2 * params["b"]


@functools.cache
def compiled(rule):
    return jax.jit(functools.partial(simulate, rule))


@functools.cache
def compiled_record(rule, num):
    return jax.jit(functools.partial(record, rule, num=num))


def run(rule, x, learning_rate, *, data=(), seed=0, stream=0, dtype=np.float32, hyper=None, **options):
    """One trajectory of a scalar parameter ``x``."""
    hyper = {"learning_rate": learning_rate} | (hyper or {})
    hyper = {name: jnp.asarray(value, dtype) for name, value in hyper.items()}
    params = {"x": jnp.asarray(x, dtype)}
    return compiled(rule)(
        limits(dtype=dtype, **options), data, jax.random.key(seed), params, hyper, jnp.uint32(stream)
    )


class TestGradientDescent:
    """On a parabola of sharpness s every position is known: (1 - rate s)^k times the start."""

    @pytest.mark.parametrize("num_steps", [1, 2, 7, 10])
    def test_closed_form(self, num_steps):
        end = run(rule_for(), 3.0, 0.1, num_steps=num_steps)
        x, middle = (3.0 * (1 - 0.1 * SHARPNESS) ** k for k in (num_steps, num_steps // 2))
        assert float(end.state.params["x"]) == pytest.approx(x, rel=1e-5)
        assert float(end.midpoint["x"]) == pytest.approx(middle, rel=1e-5)
        assert float(end.loss) == pytest.approx(SHARPNESS / 2 * x**2, rel=1e-5)
        assert float(end.midpoint_loss) == pytest.approx(SHARPNESS / 2 * middle**2, rel=1e-5)
        assert float(end.gradient_norm) == pytest.approx(SHARPNESS * abs(x), rel=1e-5)
        assert int(end.state.step) == num_steps
        assert not end.state.settled
        assert not end.state.diverged

    @pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.01, 1.5])
    def test_converges_iff_the_rate_is_below_two_over_the_sharpness(self, share):
        end = run(rule_for(), 1.0, share * 2 / SHARPNESS, num_steps=3000)
        assert bool(end.state.settled) == (share < 1)
        assert bool(end.state.diverged) == (share > 1)

    def test_norm_is_euclidean_over_all_leaves(self):
        def objective(params, data):
            return 3 * params["a"][0] + 4 * params["b"] + 12 * params["a"][1]

        params = {"a": jnp.zeros(2), "b": jnp.zeros(())}
        end = simulate(
            rule_for(objective), limits(1), (), jax.random.key(0), params, {"learning_rate": jnp.float32(0.1)}, 0
        )
        assert float(end.gradient_norm) == pytest.approx(13)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_keeps_the_precision(self, dtype):
        with jax.enable_x64(dtype == np.float64):
            end = run(rule_for(), 3.0, 0.1, num_steps=3, dtype=dtype)
            assert {leaf.dtype for leaf in (end.state.params["x"], end.midpoint["x"], end.loss)} == {np.dtype(dtype)}

    def test_batch_equals_single_runs(self):
        rates, starts = jnp.array([0.1, 0.3, 0.6]), jnp.array([1.0, -2.0, 0.5])

        def one(rate, x):
            return run(rule_for(double_well), x, rate, num_steps=200)

        batch = jax.vmap(one)(rates, starts)
        for i in range(3):
            single = one(rates[i], starts[i])
            assert int(batch.state.step[i]) == int(single.state.step)
            np.testing.assert_allclose(batch.state.params["x"][i], single.state.params["x"], rtol=1e-6)

    def test_other_limits_and_rates_compile_nothing(self):
        @jax.jit
        @chex.assert_max_traces(n=1)
        def traced(*arguments):
            return simulate(rule_for(), *arguments)

        for num_steps, rate in ((3, 0.1), (70_000, 0.2)):
            hyper = {"learning_rate": jnp.float32(rate)}
            traced(limits(num_steps), (), jax.random.key(0), {"x": jnp.float32(1)}, hyper, jnp.uint32(0))

    def test_adam_is_optax_adam_step_by_step(self):
        end = run(rule_for(double_well, "adam"), 0.3, 0.05, num_steps=20)
        transform, params = optax.adam(0.05), {"x": jnp.float32(0.3)}
        state = transform.init(params)
        for _ in range(20):
            updates, state = transform.update(jax.grad(double_well)(params, ()), state, params)
            params = optax.apply_updates(params, updates)
        assert float(end.state.params["x"]) == pytest.approx(float(params["x"]), rel=1e-5)


class TestPublishedCase:
    def test_every_start_ends_where_the_samples_are_not_separated(self):
        problem = load_problem("separable-but-stuck")
        starts = np.stack(np.meshgrid(*[np.linspace(-3, 3, 7, dtype=np.float32)] * 2), axis=-1).reshape(-1, 2)
        data = jax.tree.map(np.float32, problem.data)

        def one(weight):
            rule, hyper = rule_for(problem.batch_objective), {"learning_rate": jnp.float32(0.03)}
            bounds = limits(20_000, gradient_tolerance=1e-4)
            return simulate(rule, bounds, data, jax.random.key(0), {"weight": weight}, hyper, jnp.uint32(0))

        end = jax.jit(jax.vmap(one))(starts).state.params["weight"]
        np.testing.assert_allclose(end, np.tile([0.70089, 0.84367], (49, 1)), atol=1e-3)


class TestSettled:
    def test_stays_where_its_gradient_was_measured(self):
        tolerance, factor = 1e-3, 1 - 0.1 * SHARPNESS
        end = run(rule_for(), 1.0, 0.1, num_steps=1000, gradient_tolerance=tolerance)
        # The first position whose gradient is within tolerance.
        first = next(k for k in range(1000) if SHARPNESS * factor**k <= tolerance)
        assert end.state.settled
        assert int(end.state.step) == first
        assert float(end.state.params["x"]) == pytest.approx(factor**first, rel=1e-4)
        assert tolerance * factor < float(end.gradient_norm) <= tolerance

    def test_longer_budgets_change_nothing(self):
        short, long = (run(rule_for(), 1.0, 0.1, num_steps=n, gradient_tolerance=1e-3) for n in (100, 10_000))
        assert float(short.state.params["x"]) == float(long.state.params["x"])
        assert int(short.state.step) == int(long.state.step)
        # Settled before half of the budget: the midpoint is the end.
        assert float(long.midpoint["x"]) == float(long.state.params["x"])

    def test_at_once_on_a_critical_point(self):
        end = run(rule_for(double_well), 0.0, 0.1)
        assert end.state.settled
        assert int(end.state.step) == 0

    def test_a_tiny_learning_rate_settles_nothing_on_a_slope(self):
        end = run(rule_for(), 1.0, 1e-9, num_steps=1000)
        assert not end.state.settled
        assert int(end.state.step) == 1000

    def test_the_full_gradient_decides_not_that_of_a_minibatch(self):
        # The two rows pull in opposite directions: every minibatch has a gradient, all of them together none.
        def objective(params, data):
            return jnp.mean(data * params["x"])

        end = run(rule_for(objective, batch_size=1), 0.5, 1e-6, data=np.array([1.0, -1.0], np.float32))
        assert end.state.settled
        assert int(end.state.step) == 0


class TestMotion:
    """A slope, an exactly flat ledge from 0 to 1, and a deeper well at 2."""

    @staticmethod
    def ledge(params, data):
        del data
        x = params["x"]
        return jnp.where(x < 0, x**2 / 2, jnp.where(x < 1, 0.0, ((x - 2) ** 2 - 1) / 2))

    def test_a_gradient_that_vanishes_stops_plain_descent(self):
        end = run(rule_for(self.ledge), -1.0, 0.01, num_steps=5000)
        assert end.state.settled
        assert abs(float(end.state.params["x"])) < 1e-4

    def test_momentum_crosses_it_at_speed(self):
        end = run(rule_for(self.ledge, "momentum"), -1.0, 0.01, hyper={"momentum": 0.99}, num_steps=20_000)
        assert end.state.settled
        assert float(end.state.params["x"]) == pytest.approx(2.0, abs=1e-4)

    def test_momentum_at_rest_is_stopped(self):
        end = run(rule_for(self.ledge, "momentum"), 0.5, 0.01, hyper={"momentum": 0.99})
        assert end.state.settled
        assert (int(end.state.step), float(end.state.params["x"])) == (0, 0.5)

    def test_momentum_that_crosses_a_minimum_is_not_stopped_there(self):
        # The gradient is exactly zero at 1 after some steps of a hand-made rule that walks by 1/4.
        def walk(learning_rate):
            return optax.stateless(lambda updates, params: jax.tree.map(lambda g: learning_rate + 0 * g, updates))

        rule = Rule(lambda params, data: (params["x"] - 1) ** 2, walk)
        end = run(rule, 0.0, 0.25, num_steps=10)
        assert not end.state.settled
        assert float(end.state.params["x"]) == 2.5


class TestDiverged:
    def test_at_the_first_step_beyond_the_bound(self):
        # Each step multiplies by -3.
        end = run(rule_for(), 1.0, 1.0, divergence_bound=100.0)
        assert end.state.diverged
        assert not end.state.settled
        assert int(end.state.step) == 5
        assert float(end.state.params["x"]) == pytest.approx(-243)

    def test_nothing_diverges_within_the_bound(self):
        end = run(rule_for(), 1.0, 1.0, num_steps=5, divergence_bound=243.5)
        assert not end.state.diverged

    def test_not_a_number_is_diverged(self):
        def objective(params, data):
            return jnp.sqrt(params["x"])

        end = run(rule_for(objective), 0.5, 10.0)
        assert end.state.diverged
        assert int(end.state.step) == 2
        assert np.isnan(float(end.state.params["x"]))

    def test_one_bad_entry_among_many_is_enough(self):
        def objective(params, data):
            return jnp.sum(params["a"] ** 2) - params["b"] ** 4

        params = {"a": jnp.ones(3), "b": jnp.float32(2)}
        hyper = {"learning_rate": jnp.float32(0.1)}
        end = simulate(rule_for(objective), limits(100), (), jax.random.key(0), params, hyper, 0)
        assert end.state.diverged
        assert np.all(np.abs(end.state.params["a"]) < 1)


def visits(num_rows, batch_size, num_steps, *, seed=0, stream=0, first_step=0, **options):
    """How often each row of the data is in the minibatch of each step, ``[step, row]``."""
    rule = rule_for(minus_mean_of_rows, batch_size=batch_size, **options)
    positions, _ = compiled_record(rule, num_steps + 1)(
        limits(),
        jnp.eye(num_rows),
        jax.random.key(seed),
        jnp.zeros(num_rows),
        optax.EmptyState(),
        jnp.int32(first_step),
        {"learning_rate": jnp.float32(1)},
        jnp.uint32(stream),
    )
    return np.diff(np.asarray(positions), axis=0) * batch_size


class TestMinibatches:
    @pytest.mark.parametrize(("num_rows", "batch_size"), [(12, 3), (12, 12), (12, 1)])
    def test_without_replacement_visit_each_row_once_an_epoch(self, num_rows, batch_size):
        batches = num_rows // batch_size
        counts = visits(num_rows, batch_size, 4 * batches)
        np.testing.assert_allclose(counts.sum(axis=1), batch_size, rtol=1e-4)
        epochs = counts.reshape(4, batches, num_rows)
        np.testing.assert_allclose(epochs.sum(axis=1), 1, rtol=1e-4)

    def test_each_epoch_has_an_order_of_its_own(self):
        epochs = visits(12, 1, 36).round().argmax(axis=1).reshape(3, 12)
        assert len({tuple(order) for order in epochs.tolist()}) == 3

    def test_an_epoch_leaves_out_rows_that_do_not_fill_a_batch(self):
        epochs = visits(10, 3, 9).round().reshape(3, 3, 10).sum(axis=1)
        assert epochs.max() == 1
        np.testing.assert_array_equal(epochs.sum(axis=1), 9)

    def test_every_position_of_an_epoch_is_uniform(self):
        # The first batch of each epoch: all rows are equally likely.
        first = visits(5, 1, 5 * 2000).round()[::5]
        np.testing.assert_allclose(first.mean(axis=0), 0.2, atol=4 * np.sqrt(0.16 / 2000))

    def test_with_replacement_are_uniform_and_repeat(self):
        counts = visits(10, 4, 3000, replacement=True).round()
        np.testing.assert_array_equal(counts.sum(axis=1), 4)
        np.testing.assert_allclose(counts.mean(axis=0), 0.4, atol=4 * np.sqrt(4 * 0.09 / 3000))
        # Four draws out of ten are all different with probability .504.
        assert np.mean(counts.max(axis=1) == 1) == pytest.approx(0.504, abs=0.04)

    @pytest.mark.parametrize("replacement", [False, True])
    def test_draws_are_shared_unless_independent(self, replacement):
        draw = functools.partial(visits, 12, 3, 8, replacement=replacement)
        np.testing.assert_array_equal(draw(stream=0), draw(stream=5))
        np.testing.assert_array_equal(draw(stream=5, independent=True), draw(stream=5, independent=True))
        assert np.any(draw(stream=0, independent=True) != draw(stream=5, independent=True))
        assert np.any(draw(seed=0) != draw(seed=1))

    def test_the_step_decides_not_the_place_where_a_run_was_interrupted(self):
        whole = visits(12, 3, 10)
        np.testing.assert_allclose(visits(12, 3, 4, first_step=6), whole[6:], atol=1e-5)

    def test_targets_go_with_their_inputs(self):
        # Every row alone is solved by x = 3, so descent on any minibatch goes there.
        inputs = np.array([1.0, 2.0, -1.0, 0.5], np.float32)
        rule = rule_for(lambda p, data: jnp.mean((data[0] * p["x"] - data[1]) ** 2), batch_size=1)
        end = run(rule, 0.0, 0.2, data=(inputs, 3 * inputs), num_steps=500)
        assert float(end.state.params["x"]) == pytest.approx(3, abs=1e-5)


class TestNoise:
    @staticmethod
    def draws(*, num=2000, seed=0, stream=0, scale=0.5, **options):
        positions, _ = compiled_record(rule_for(plane, noisy=True, **options), num + 1)(
            limits(gradient_noise=scale),
            (),
            jax.random.key(seed),
            {"a": jnp.zeros(2), "b": jnp.zeros(())},
            optax.EmptyState(),
            jnp.int32(0),
            {"learning_rate": jnp.float32(1)},
            jnp.uint32(stream),
        )
        steps = -np.diff(np.column_stack([positions["a"], positions["b"]]), axis=0)
        return steps - [1, 1, 2]

    def test_has_mean_zero_and_the_given_deviation_in_every_component(self):
        noise = self.draws()
        np.testing.assert_allclose(noise.std(axis=0), 0.5, rtol=0.06)
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=4 * 0.5 / np.sqrt(2000))
        np.testing.assert_allclose(np.corrcoef(noise.T), np.eye(3), atol=0.09)

    def test_steps_are_independent(self):
        noise = self.draws()
        assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.09

    def test_is_shared_unless_independent(self):
        draws = functools.partial(self.draws, num=5)
        np.testing.assert_array_equal(draws(stream=0), draws(stream=7))
        assert np.all(draws(stream=0, independent=True) != draws(stream=7, independent=True))

    def test_scale_is_no_part_of_the_compiled_rule(self):
        np.testing.assert_allclose(self.draws(num=5, scale=1.0), 2 * self.draws(num=5, scale=0.5), atol=1e-5)

    def test_random_rules_are_not_deterministic(self):
        assert rule_for().deterministic
        assert not rule_for(noisy=True).deterministic
        assert not rule_for(batch_size=2).deterministic


class TestAdvance:
    @pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
    def test_in_two_parts_is_the_whole(self, optimizer):
        data = np.linspace(-1, 1, 6, dtype=np.float32)
        rule = rule_for(lambda p, rows: jnp.mean((p["x"] - rows) ** 4), optimizer, batch_size=2, noisy=True)
        hyper = {"learning_rate": jnp.float32(0.01)}

        def go(state, stop):
            fixed = limits(gradient_noise=0.1), data, jax.random.key(0)
            return jax.jit(functools.partial(advance, rule))(*fixed, state, hyper, jnp.uint32(3), stop)

        start = begin(rule, {"x": jnp.float32(2)}, hyper)
        whole, parts = go(start, 11), go(go(start, 4), 11)
        assert int(whole.step) == int(parts.step) == 11
        jax.tree.map(np.testing.assert_array_equal, whole, parts)

    def test_beyond_the_end_changes_nothing(self):
        rule, hyper = rule_for(), {"learning_rate": jnp.float32(0.1)}
        start = begin(rule, {"x": jnp.float32(2)}, hyper)
        assert int(start.step) == 0
        end = advance(rule, limits(), (), jax.random.key(0), start, hyper, jnp.uint32(0), 0)
        jax.tree.map(np.testing.assert_array_equal, start, end)


class TestRecord:
    def test_positions_before_each_update_and_their_losses(self):
        hyper = {"learning_rate": jnp.float32(0.1)}
        positions, losses = record(
            rule_for(), limits(), (), jax.random.key(0), {"x": jnp.float32(2)}, optax.EmptyState(), 0, hyper, 0, 6
        )
        expected = 2 * (1 - 0.1 * SHARPNESS) ** np.arange(6)
        np.testing.assert_allclose(positions["x"], expected, rtol=1e-5)
        np.testing.assert_allclose(losses, SHARPNESS / 2 * expected**2, rtol=1e-5)

    def test_goes_on_where_a_trajectory_would_have_stopped(self):
        hyper = {"learning_rate": jnp.float32(0.1)}
        positions, _ = record(
            rule_for(), limits(), (), jax.random.key(0), {"x": jnp.float32(1e-9)}, optax.EmptyState(), 0, hyper, 0, 3
        )
        assert np.all(np.diff(np.abs(positions["x"])) < 0)


class TestLyapunovGrowth:
    @staticmethod
    def exponent(objective, optimizer, x, *, num_blocks=8, block=32, steps_before=0, **hyper):
        with jax.enable_x64(True):
            rule = rule_for(objective, optimizer)
            hyper = {name: jnp.float64(value) for name, value in hyper.items()}
            state = begin(rule, {"x": jnp.float64(x)}, hyper)
            if steps_before:
                bounds = limits(gradient_tolerance=1e-300, dtype=np.float64)
                state = advance(rule, bounds, (), jax.random.key(0), state, hyper, jnp.uint32(0), steps_before)
            compiled = jax.jit(functools.partial(lyapunov_growth, rule, num_blocks=num_blocks, block=block))
            growth = compiled(limits(dtype=np.float64), (), state.params, state.optimizer_state, hyper)
            assert growth.shape == (num_blocks,)
            return float(growth.mean())

    @pytest.mark.parametrize("rate", [0.1, 0.3, 0.45])
    def test_of_gradient_descent_on_a_parabola(self, rate):
        found = self.exponent(parabola, "sgd", 1.0, learning_rate=rate)
        assert found == pytest.approx(np.log(abs(1 - rate * SHARPNESS)), rel=1e-9)

    def test_of_heavy_ball_is_half_the_log_of_its_momentum(self):
        # Complex eigenvalues of modulus sqrt(b): velocity and position together shrink at that rate.
        found = self.exponent(parabola, "momentum", 1.0, learning_rate=0.1, momentum=0.8, num_blocks=40)
        assert found == pytest.approx(np.log(0.8) / 2, abs=5e-3)

    def test_of_a_cycle_is_the_mean_log_of_its_multiplier(self):
        # At rate r the double well has the 2-cycle with multiplier 9 - 2 (1 + r)^2.
        found = self.exponent(double_well, "sgd", 1.05, learning_rate=1.2, steps_before=400)
        assert found == pytest.approx(np.log(abs(9 - 2 * 2.2**2)) / 2, abs=1e-6)

    def test_of_a_map_conjugate_to_chebyshev_is_log_three(self):
        # At rate 2 the update is 3x - 2x^3: minus the third Chebyshev polynomial in x / sqrt 2.
        found = self.exponent(double_well, "sgd", 0.3, learning_rate=2.0, num_blocks=125)
        assert found == pytest.approx(np.log(3), rel=0.02)
