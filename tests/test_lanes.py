"""The lane transform computes what `jax.vmap` computes, with the batch axis last."""

import functools
import logging

import chex
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from jax import lax

import jaxloss
from jaxloss import descent
from jaxloss.activations import ACTIVATIONS
from jaxloss.engine.lanes import RULES, lanes, varies
from jaxloss.losses import LOSSES
from jaxloss.optimizers import OPTIMIZERS
from jaxloss.problems import PROBLEMS, load_problem

NUM_LANES = 5


def agree(function, in_axes, *args, rtol=2e-5, atol=2e-6):
    """Checks the transform against `jax.vmap`; arguments are given with their lanes last."""
    axes = tuple(in_axes)
    expected = jax.jit(jax.vmap(function, in_axes=axes, out_axes=-1))(*args)
    found = jax.jit(lanes(function, axes))(*args)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    # Sums cancel: what counts is the size of the largest entry.
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        size = np.abs(np.nan_to_num(np.asarray(other, np.float64))).max(initial=1)
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol * size)


def draw(*shape, seed=0, low=-2.0, high=2.0):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, shape), jnp.float32)


@pytest.fixture(autouse=True)
def interpreted(caplog):
    """Nothing here may quietly fall back to `jax.vmap` as a whole."""
    yield
    assert not [record for record in caplog.records if "jax.vmap" in record.message]


# One function of a matrix [3, 4] and a vector [4] for each kind of primitive.
PROGRAMS = {
    "elementwise": lambda x, y: jnp.exp(x) * jnp.sin(y[None]) + jnp.where(x > 0, x, -y[None]) / (1 + x**2),
    "sums": lambda x, y: x.sum(0) + x.sum() + y.sum() * x.mean(1).max(),
    "long sum": lambda x, y: jnp.tile(x, (9, 5)).sum((0, 1)) + jnp.tile(y, 33).sum(),
    "empty sum": lambda x, y: x[:0].sum() + y,
    "extremes": lambda x, y: (x.max(0), x.min(1), jnp.prod(y), jnp.argmax(x, 1), jnp.argmin(y)),
    "logic": lambda x, y: (jnp.any(x > 1, 1), jnp.all(x > -3), jnp.isfinite(y)),
    "cumulative": lambda x, y: (jnp.cumsum(x, 1), jnp.cumprod(y), jnp.cumsum(x, 0)[::-1]),
    "products": lambda x, y: (x @ y, x @ x.T, y @ y, jnp.outer(y, y), jnp.einsum("ij,kj->ik", x, x)),
    "long products": lambda x, y: (jnp.tile(x, 9) @ jnp.tile(x, 9).T, jnp.tile(x, 60) @ jnp.tile(y, 60)),
    "products over two axes": lambda x, y: jnp.einsum(
        "ijk,kjl->il", jnp.tile(x[:, None], (1, 7, 1)), jnp.ones((4, 7, 2))
    ),
    "batched product": lambda x, y: jnp.einsum("ij,ij->i", x, x * y[None]),
    "shapes": lambda x, y: (x.reshape(2, 6).T, x[None, :, :, None], jnp.squeeze(y[None]), x.ravel()[2:9:3]),
    "moves": lambda x, y: (jnp.concatenate([x, x[:1] * y[None]]), jnp.flip(x, 0), jnp.roll(y, 1), jnp.stack([y, y])),
    "pad": lambda x, y: (jnp.pad(x, ((1, 0), (0, 2))), jnp.pad(y, 1, constant_values=3.0)),
    "sort": lambda x, y: (jnp.sort(x, 1), jnp.argsort(y), jnp.median(x)),
    "gather": lambda x, y: (x[jnp.array([0, 2])], x[:, 1], jnp.take(y, jnp.argmax(y))),
    "scatter": lambda x, y: x.at[1].set(y).at[0, 2].add(5.0),
    "linear algebra": lambda x, y: jnp.linalg.norm(x, axis=1).sum() + jnp.linalg.eigvalsh(x @ x.T),
    "loop": lambda x, y: lax.fori_loop(0, 3, lambda i, z: z * y + x[i % 3], y),
    "loop of one's own length": lambda x, y: lax.while_loop(
        lambda c: (c[0].sum() < 20) & (c[1] < 50), lambda c: (c[0] + jnp.abs(y), c[1] + 1), (y, 0)
    ),
    "scan": lambda x, y: lax.scan(lambda c, row: (c * row, c.sum()), y, x),
    "scan over shared rows": lambda x, y: lax.scan(lambda c, t: (c * t, t), y, jnp.arange(4.0)),
    "shared condition": lambda x, y: lax.cond(jnp.arange(3).sum() > 2, lambda z: z * 2, lambda z: z, x),
    "own condition": lambda x, y: lax.cond(y[0] > 0, lambda z: z * 2, lambda z: z, x),
    "calls": lambda x, y: jax.jit(lambda z: jax.checkpoint(jnp.tanh)(z) + y[None])(x),
    "custom derivative": lambda x, y: jax.nn.softplus(x) + jax.nn.relu(y[None]) + jax.nn.logsumexp(x),
    "gradient": lambda x, y: jax.grad(lambda z: jnp.sum(jnp.tanh(z @ y) ** 2))(x),
    "second derivative": lambda x, y: jax.hessian(lambda z: jnp.sum(jnp.sin(x @ z)))(y),
    "random": lambda x, y: x + jax.random.normal(jax.random.key(3), x.shape),
    "own random": lambda x, y: jax.random.normal(jax.random.fold_in(jax.random.key(3), (y[0] * 9).astype(int)), (2,)),
    "integers": lambda x, y: (jnp.arange(4)[None] + x.astype(int)) % 3,
    "constant": lambda x, y: (jnp.ones(3), 2.0, x),
}


@pytest.mark.parametrize("name", PROGRAMS)
class TestEveryProgram:
    def test_both_arguments_have_lanes(self, name):
        agree(PROGRAMS[name], (-1, -1), draw(3, 4, NUM_LANES), draw(4, NUM_LANES, seed=1))

    def test_one_argument_is_shared(self, name):
        agree(PROGRAMS[name], (-1, None), draw(3, 4, NUM_LANES), draw(4, seed=1))
        agree(PROGRAMS[name], (None, -1), draw(3, 4), draw(4, NUM_LANES, seed=1))


UNARY = [jnp.tanh, jnp.sin, jnp.abs, jnp.square, jax.nn.sigmoid, lambda v: v * 0.5, lambda v: jnp.exp(-jnp.abs(v))]
BINARY = [jnp.add, jnp.multiply, jnp.maximum, lambda a, b: jnp.where(a > b, a, -b), lambda a, b: a / (2 + jnp.abs(b))]
SHAPED = [
    lambda v: v.sum(0, keepdims=True) + v,
    lambda v: v @ v.T @ v / 9,
    lambda v: v[::-1],
    lambda v: jnp.concatenate([v[1:], v[:1]]),
    lambda v: v.T.reshape(v.shape),
    lambda v: jnp.cumsum(v, 1) / 4,
    lambda v: lax.fori_loop(0, 2, lambda i, w: jnp.sin(w + i), v),
]


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["unary", "binary", "shaped"]), st.integers(0, 6)), min_size=1, max_size=8
    ),
    shared=st.booleans(),
)
def test_random_programs_and_their_gradients(steps, shared):
    def program(x, y):
        for kind, which in steps:
            if kind == "unary":
                x = UNARY[which % len(UNARY)](x)
            elif kind == "binary":
                x = BINARY[which % len(BINARY)](x, y)
            else:
                x = SHAPED[which % len(SHAPED)](x)
        return x

    y, axis = (draw(3, 4, seed=1), None) if shared else (draw(3, 4, NUM_LANES, seed=1), -1)
    agree(program, (-1, axis), draw(3, 4, NUM_LANES), y, rtol=1e-4, atol=1e-4)
    agree(jax.grad(lambda x, y: program(x, y).sum()), (-1, axis), draw(3, 4, NUM_LANES), y, rtol=1e-3, atol=1e-3)


def lanes_of(params, seed=0):
    """Random parameters, each leaf with lanes behind."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=(*np.shape(p), NUM_LANES)), jnp.float32), params)


def single(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_every_problem(name):
    problem = load_problem(name)
    agree(
        jax.value_and_grad(problem.batch_objective),
        (-1, None),
        lanes_of(problem.params),
        single(problem.data),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"softmax"}))
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_activation_and_loss(activation, loss):
    try:
        problem = jaxloss.neuron_problem(activation, loss, np.linspace(-2, 2, 7), np.arange(7) % 2)
    except jaxloss.InputError:
        pytest.skip("this loss does not go with this activation")
    agree(jax.value_and_grad(problem.batch_objective), (-1, None), lanes_of(problem.params), single(problem.data))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer(name):
    problem = load_problem("xor-221")
    rule = descent.Rule(problem.batch_objective, OPTIMIZERS[name].factory)
    shared = descent.Shared(descent.Limits(100, 1e-6, 1e6), single(problem.data), jax.random.key(0), {})

    def steps(rate, params):
        own = descent.Own({"learning_rate": rate}, 0)
        state = descent.first(rule, shared, own, params)
        for step in range(4):
            state = descent.update(rule, shared, own, step, state)
        return state

    agree(steps, (-1, -1), draw(NUM_LANES, low=0.01, high=0.1), lanes_of(problem.params), rtol=1e-3, atol=1e-5)


class TestLanes:
    def test_values_that_all_lanes_share_stay_single(self):
        def step(x, count):
            state = optax.adam(0.1).init(x)
            _, state = optax.adam(0.1).update(x, state, x)
            return x * 2, count + 1, state[0].count

        x, count, adam_count = lanes(step, (-1, None), (-1, None, None))(draw(3, NUM_LANES), jnp.int32(4))
        assert (x.shape, count.shape, adam_count.shape) == ((3, NUM_LANES), (), ())
        assert varies(step, (-1, None), np.zeros(3, np.float32), 4) == (True, False, False)

    def test_an_output_with_lanes_is_not_called_shared(self, caplog):
        with pytest.raises(ValueError, match="out_axes"):
            lanes(lambda x: x, (-1,), None)(draw(NUM_LANES))

    def test_a_matrix_that_all_share_is_one_product(self):
        matrix = draw(32, 16, seed=2)
        program = jax.make_jaxpr(lanes(lambda w: matrix @ w, (-1,)))(draw(16, 8, NUM_LANES))
        assert [eqn.primitive.name for eqn in program.eqns].count("dot_general") == 1
        agree(lambda w: matrix @ w, (-1,), draw(16, 8, NUM_LANES))
        agree(lambda w: w.T @ matrix.T, (-1,), draw(16, 8, NUM_LANES))
        agree(lambda w: jnp.einsum("kj,ik->ji", w, matrix), (-1,), draw(16, 8, NUM_LANES))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_the_precision(self, dtype):
        with jax.enable_x64(dtype == "float64"):
            x = jnp.asarray(np.linspace(-1, 1, 3 * NUM_LANES).reshape(3, NUM_LANES), dtype)
            found = jax.jit(lanes(lambda x: jax.nn.sigmoid(x) @ jnp.exp(x) + jnp.log1p(x**2).sum(), (-1,)))(x)
            expected = jax.vmap(lambda x: jax.nn.sigmoid(x) @ jnp.exp(x) + jnp.log1p(x**2).sum(), -1, -1)(x)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, rtol=20 * np.finfo(dtype).eps)

    def test_ranks_are_not_promoted(self):
        with jax.numpy_rank_promotion("raise"):
            problem = load_problem("xor-221")
            agree(jax.grad(problem.batch_objective), (-1, None), lanes_of(problem.params), single(problem.data))

    def test_is_traced_once(self):
        @functools.partial(chex.assert_max_traces, n=1)
        def function(x):
            return jnp.sin(x)

        program = jax.jit(lanes(function, (-1,)))
        program(draw(3, NUM_LANES))
        program(draw(3, NUM_LANES, seed=1))


class TestFallback:
    @pytest.fixture(autouse=True)
    def interpreted(self):
        """Here it may."""

    def test_what_cannot_be_interpreted_runs_through_vmap_with_one_line(self, monkeypatch, caplog):
        def broken(eqn, args, num):
            raise NotImplementedError("no such rule\nsecond line")

        monkeypatch.setitem(RULES, "sin", broken)
        with caplog.at_level(logging.WARNING):
            found = lanes(jnp.sin, (-1,))(draw(3, NUM_LANES))
        np.testing.assert_allclose(found, np.sin(draw(3, NUM_LANES)), rtol=1e-6)
        assert len(caplog.records) == 1
        assert "sin runs through jax.vmap" in caplog.text
        assert "second line" not in caplog.text


class TestEqualEquations:
    @staticmethod
    def primitives(function, *args):
        """Names of the primitives that a function of one lane becomes."""
        closed = jax.make_jaxpr(lanes(function, (-1,) * len(args)))(*(np.stack([arg] * 3, -1) for arg in args))
        return [eqn.primitive.name for eqn in closed.jaxpr.eqns]

    def test_are_evaluated_once_in_calls_too(self):
        def function(x):
            return jnp.sin(x) + jax.jit(lambda x: jnp.sin(x) * jnp.cos(x))(x)

        assert self.primitives(function, np.float32(1)).count("sin") == 1

    def test_zeros_of_either_sign_are_not_equal(self):
        x = np.array([1.0, -1.0], np.float32)
        found = lanes(lambda x: (x * np.float32(0.0), x * np.float32(-0.0)), (-1,))(x)
        np.testing.assert_array_equal(np.signbit(found), [[False, True], [True, False]])

    def test_barriers_stay(self):
        def function(x):
            return lax.optimization_barrier(x) + lax.optimization_barrier(x)

        assert self.primitives(function, np.float32(1)).count("optimization_barrier") == 2
