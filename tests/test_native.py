"""Programs as native code: the numbers of `jax.vmap`, and XLA where there is none."""

import logging
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import jaxloss
from jaxloss.engine import native
from jaxloss.engine.lanes import lanes
from jaxloss.engine.native import library, objects
from jaxloss.optimizers import OPTIMIZERS
from jaxloss.problems.registry import PROBLEMS

NUM = 100  # lanes, no whole number of vectors
rng = np.random.default_rng(0)


def is_native(caplog) -> bool:
    return "left to XLA" not in caplog.text


def evaluate(function, *args, in_axes=None):
    """A function as one kernel, and by vmap."""
    axes = in_axes or (-1,) * len(args)
    ours = jax.jit(lanes(function, axes, in_native_code=True))(*args)
    return ours, jax.jit(jax.vmap(function, axes, -1))(*args)


def assert_close(ours, theirs, rtol=1e-5, atol=1e-6):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "jaxloss")


# One function for each rule

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3e5, -3e5, np.inf, -np.inf, np.nan, 1e-3, 7.0])

UNARY = {
    "abs": jnp.abs,
    "ceil": jnp.ceil,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "int": lambda x: jnp.clip(x, -100, 100).astype(jnp.int32),
    "int and back": lambda x: jnp.clip(x, -100, 100).astype(jnp.int32).astype(x.dtype) + 1,
    "integer power": lambda x: x**5,
    "is finite": jnp.isfinite,
    "log": lambda x: jnp.log(jnp.abs(x)),
    "log1p": lambda x: jnp.log1p(jnp.abs(x)),
    "logistic": jax.nn.sigmoid,
    "negative": lambda x: -x,
    "negative power": lambda x: x**-3,
    "not": lambda x: ~(x > 0),
    "power zero": lambda x: lax.integer_pow(x, 0),
    "relu": jax.nn.relu,
    "round": jnp.round,
    "round away": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "rsqrt": lambda x: lax.rsqrt(jnp.abs(x) + 1),
    "shift": lambda x: jnp.clip(x, -100, 100).astype(jnp.int32) >> 1,
    "shift left": lambda x: jnp.clip(x, -100, 100).astype(jnp.int32) << 3,
    "sign": jnp.sign,
    "sqrt": lambda x: jnp.sqrt(jnp.abs(x)),
    "square": jnp.square,
    "tanh": jnp.tanh,
    "constants": lambda x: (x * 0.25 * 3.0 - 2.0) / 8.0 + (x * 4.0) * (x * 0.5),
    "logistic's slope": jax.grad(jax.nn.sigmoid),
    "other precision": lambda x: (x.astype(jnp.float32) * 2).astype(x.dtype) + 1,
    "bool": lambda x: (x != 0).astype(x.dtype),
}

BINARY = {
    "add": jnp.add,
    "and": lambda x, y: (x > 0) & (y > 0),
    "clamp": lambda x, y: lax.clamp(jnp.asarray(-1.0, x.dtype), x, jnp.abs(y)),
    "divide": jnp.divide,
    "equal": jnp.equal,
    "greater": jnp.greater,
    "greater or equal": jnp.greater_equal,
    "less": jnp.less,
    "less or equal": jnp.less_equal,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "multiply": jnp.multiply,
    "not equal": jnp.not_equal,
    "or": lambda x, y: (x > 0) | (y > 0),
    "select": lambda x, y: jnp.where(x > y, x, -y),
    "subtract": jnp.subtract,
    "xor": lambda x, y: (x > 0) ^ (y > 0),
}

A = rng.normal(size=(3, 4)).astype(np.float32)
LONG = rng.normal(size=(50, 4)).astype(np.float32)

ARRAYS = {
    "broadcast": lambda x: x[:, None] * jnp.ones((4, 2)),
    "concatenate": lambda x: jnp.concatenate([x[2:], x * 2, x[:1]]),
    "pad": lambda x: jnp.pad(x, (2, 1), constant_values=7.0),
    "interior pad": lambda x: lax.pad(x, 0.5, [(1, -1, 2)]),
    "reshape": lambda x: x.reshape(2, 2) @ x.reshape(2, 2),
    "reverse": lambda x: x[::-1] + jnp.flip(x.reshape(2, 2), 1).reshape(4),
    "slice": lambda x: x[1:4:2],
    "transpose": lambda x: (x.reshape(2, 2).T * jnp.arange(4.0).reshape(2, 2)).reshape(4),
    "squeeze": lambda x: jnp.squeeze(x[None, :, None]),
    "dot": lambda x: A @ x,
    "outer": lambda x: jnp.outer(x, x),
    "batched dot": lambda x: jnp.einsum("ij,ij->i", x.reshape(2, 2), x.reshape(2, 2) * 2),
    "stack": lambda x: jnp.stack([x, 2 * x, x**2], axis=1),
    "split": lambda x: [2 * part for part in lax.split(x, (1, 3))],
    "remainder": lambda x: (jnp.clip(x, -100, 100) * 50).astype(jnp.int32) % 7,
    "second derivatives": jax.hessian(lambda x: jnp.sum(jnp.tanh(A @ x) ** 2)),
    "axes of length one": lambda x: jax.vmap(lambda a: jax.vmap(lambda b: jnp.tanh(a * b) - b)(x))(x + 1),
    "axes of length one of data": lambda x: jax.vmap(lambda a: jax.vmap(lambda b: a * b - x[0])(A[0]))(A[:, 0]),
    "data along two axes": lambda x: jax.vmap(lambda a: jax.vmap(lambda b: jnp.mean((x * a - b) ** 2))(A[0]))(A[1]),
    "sum": lambda x: jnp.sum(x.reshape(2, 2), axis=0),
    "product": jnp.prod,
    "largest": jnp.max,
    "smallest": jnp.min,
    "all": lambda x: jnp.all(x > 0),
    "any": lambda x: jnp.any(x > 1),
    "long dot": lambda x: LONG @ x,
    "long sum": lambda x: jnp.sum(jnp.tanh(LONG @ x)),
    "long sums": lambda x: LONG.T @ jax.nn.sigmoid(LONG @ x - 1),
    "long extremes": lambda x: jnp.max(LONG @ x) - jnp.min(LONG @ x),
    "sums that depend on sums": jax.grad(lambda x: jax.nn.logsumexp(LONG @ x)),
    "two axes": lambda x: jnp.sum(jnp.tanh(LONG * x[None]), axis=(0, 1)),
    "mean of squares": jax.grad(lambda x: jnp.mean((jax.nn.sigmoid(LONG @ x) - LONG[:, 0]) ** 2)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name, dtype, caplog):
    with jax.enable_x64(dtype == np.float64):
        x = np.concatenate([SPECIAL, rng.normal(size=NUM - len(SPECIAL))]).astype(dtype)
        assert_close(*evaluate(UNARY[name], x))
    assert is_native(caplog)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_numbers(name, dtype, caplog):
    with jax.enable_x64(dtype == np.float64):
        x, y = (np.ravel(part).astype(dtype) for part in np.meshgrid(SPECIAL, SPECIAL))
        assert_close(*evaluate(BINARY[name], x, y))
        # The second the same for all lanes.
        for value in (2.0, np.inf, -0.0):
            assert_close(*evaluate(BINARY[name], x, dtype(value), in_axes=(-1, None)))
    assert is_native(caplog)


@pytest.mark.parametrize("name", ARRAYS)
def test_functions_of_arrays(name, caplog):
    x = rng.normal(size=(4, NUM)).astype(np.float32)
    assert_close(*evaluate(ARRAYS[name], x), rtol=1e-4, atol=1e-5)
    assert is_native(caplog)


def test_outputs_that_are_inputs_or_the_same_for_all_lanes(caplog):
    def function(x, data):
        return x, data.sum(), 3.0, x + data[0]

    x, data = np.arange(5, dtype=np.float32), np.arange(3.0, dtype=np.float32)
    one_piece = lanes(function, (-1, None), (-1, None, None, -1), in_native_code=True)
    first, total, three, after = jax.jit(one_piece)(x, data)
    np.testing.assert_array_equal(first, x)
    assert (float(total), float(three)) == (3.0, 3.0)
    np.testing.assert_array_equal(after, x)
    assert is_native(caplog)


# Loops


def descend(transform, loss, num_steps):
    def run(params, first):
        def step(i, carry):
            params, state = carry
            updates, state = transform.update(jax.grad(loss)(params, i), state, params)
            return optax.apply_updates(params, updates), state

        return lax.fori_loop(first, first + num_steps, step, (params, transform.init(params)))

    return run


@pytest.mark.parametrize("num_steps", [0, 1, 515])
@pytest.mark.parametrize("by_step", [False, True])
def test_loops(num_steps, by_step, caplog):
    def loss(x, i):
        return jnp.sum((x - 1) ** 2) * (1 + i / 1000 if by_step else 1)

    run = descend(optax.adam(1e-2) if by_step else optax.sgd(1e-3), loss, num_steps)
    x = rng.normal(size=(3, NUM)).astype(np.float32)
    ours = jax.jit(lanes(run, (-1, None), in_native_code=True))(x, np.int32(5))
    theirs = jax.jit(jax.vmap(run, (-1, None), -1))(x, np.int32(5))
    assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert is_native(caplog)


def root(x):
    """The square root, by steps of Newton until they rest: every lane makes a number of its own."""
    start = (x, (x + 1) / 2)
    return lax.while_loop(
        lambda c: jnp.abs(c[0] - c[1]) > 1e-6 * c[1], lambda c: (c[1], (c[1] + x / c[1]) / 2), start
    )[1]


def table_in_a_loop(x):
    table = jnp.asarray(LONG)
    return lax.fori_loop(
        jnp.int32(-1), jnp.int32(60), lambda k, y: y / 2 + lax.dynamic_index_in_dim(table, k, keepdims=False), x
    )


def sums_in_a_loop(x):
    data = jnp.asarray(LONG, x.dtype)
    return lax.fori_loop(0, 3, lambda i, y: jax.nn.sigmoid(data @ y) @ data + i, x)


def nested(x):
    def outer(i, carry):
        x, total, last = carry
        x = lax.fori_loop(0, i, lambda j, y: 0.9 * y + total + jnp.sqrt(j + 1.0), jnp.tanh(x))
        return x + i, total / 2 + i, (last + 3 * i) % 7

    return lax.fori_loop(0, 9, outer, (x, 0.25, jnp.int32(2)))


LOOPS = {
    "a loop in a loop": nested,
    "one after the other": lambda x: lax.fori_loop(
        0, 3, lambda i, y: y * i + x, lax.fori_loop(0, 4, lambda i, y: jnp.tanh(y), x)
    ),
    "in a loop as often as a loop says": lambda x: lax.fori_loop(
        0, lax.fori_loop(0, 5, lambda i, n: n + i, 1), lambda i, y: 0.5 * y + i, x
    ),
    "lanes that end one by one": lambda x: root(1 + x**2),
    "lanes that end one by one, in a loop": lambda x: lax.fori_loop(
        0, 3, lambda i, y: root(1 + (i + 1) * y**2), x[0]
    ),
    "more steps than there was room for": lambda x: lax.fori_loop(
        0, 1000, lambda i, c: (0.99 * c[0] + c[1], jnp.cos(c[1] + i)), (x, 0.0)
    ),
    "never": lambda x: lax.fori_loop(3, 1, lambda i, y: y + jnp.exp(y), x),
    "rows": lambda x: lax.scan(lambda y, row: (jnp.tanh(y + row), None), x, LONG)[0],
    "rows in reverse": lambda x: lax.scan(lambda y, row: (jnp.tanh(y + row), None), x, LONG, reverse=True)[0],
    "a table": table_in_a_loop,
    "sums over data in a loop": sums_in_a_loop,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LOOPS)
def test_all_kinds_of_loops(name, dtype, caplog):
    with jax.enable_x64(dtype == np.float64):
        x = rng.normal(size=(4, NUM)).astype(dtype)
        if name == "lanes that end one by one":
            x = x[0]
        assert_close(*evaluate(LOOPS[name], x), rtol=1e-4, atol=1e-5)
    # The cosine of what lanes share has no rule either.
    assert is_native(caplog) == (name != "more steps than there was room for")


def test_rows_of_a_long_loop(caplog):
    def run(x, rate):
        def step(i, carry):
            x, power, steps = carry
            return x * (1 - power / steps.astype(x.dtype)), power * rate, steps + 1

        return lax.fori_loop(jnp.int32(0), jnp.int32(1000), step, (x, jnp.float32(0.5), jnp.int32(1)))

    x = rng.normal(size=NUM).astype(np.float32)
    assert_close(*evaluate(run, x, np.float32(0.999), in_axes=(-1, None)), rtol=1e-4)
    assert is_native(caplog)


def test_lanes_that_do_not_matter_are_left_out(caplog):
    x = rng.normal(size=(2, 1000)).astype(np.float32)

    def run(x):
        return lax.fori_loop(0, 5, lambda i, y: jnp.tanh(y + i), x)

    program = jax.jit(lambda used, x: lanes(run, (-1,), in_native_code=True, used=used)(x))
    whole = program(np.int32(1000), x)
    for used in (1, 63, 64, 65, 500, 999):
        np.testing.assert_array_equal(program(np.int32(used), x)[:, :used], whole[:, :used])
    assert is_native(caplog)


# What is kept


@pytest.fixture
def folder(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "kept"))
    yield tmp_path / "kept"
    jax.config.update("jax_compilation_cache_dir", before)


def test_code_is_kept_and_made_anew_if_it_is_damaged(folder):
    assert objects.kept("name", lambda: b"first") == b"first"
    assert objects.kept("name", lambda: b"second") == b"first"
    file = folder / "name"
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"x"):
        file.write_bytes(damaged)
        assert objects.kept("name", lambda: b"second") == b"second"
        assert objects.kept("name", lambda: b"third") == b"second"
    assert [entry.name for entry in folder.iterdir()] == ["name"]


def test_code_that_cannot_be_kept_is_made(folder):
    folder.write_text("no folder")
    assert objects.kept("name", lambda: b"first") == b"first"
    jax.config.update("jax_compilation_cache_dir", None)
    assert objects.kept("name", lambda: b"second") == b"second"


def fingerprint_of(function, *args):
    seen = []

    def registered(kernel):
        seen.append(objects.fingerprint(kernel.items, [*kernel.layout.fixed, *kernel.layout.own], kernel.outputs))
        raise native.Unsupported("seen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_registered", registered)
        jax.make_jaxpr(lanes(function, (-1, *[None] * (len(args) - 1)), in_native_code=True))(*args)
    return seen[0]


def test_programs_that_differ_have_names_that_differ():
    x = np.zeros(NUM, np.float32)
    programs = [
        (lambda x: x + 1, x),
        (lambda x: x + 2, x),
        (lambda x: 1 - x, x),
        (lambda x: x - 1, x),
        (lambda x: x + 1, np.zeros((2, NUM), np.float32)),
        (lambda x: x + 1, x.astype(np.int32)),
        (lambda x: (x + 1, x * 2), x),
        (lambda x: (x * 2, x + 1), x),
        (lambda x: lax.integer_pow(x, 3), x),
        (lambda x: lax.integer_pow(x, 4), x),
        (lambda x, y: x + y, x, np.float32(1)),
        (lambda x, y: lax.fori_loop(0, y, lambda i, x: x + 1, x), x, np.int32(1)),
        (lambda x, y: lax.fori_loop(0, y, lambda i, x: x + 2, x), x, np.int32(1)),
        (lambda x, y: lax.fori_loop(1, y, lambda i, x: x + 1, x), x, np.int32(1)),
        (lambda x, y: lax.fori_loop(0, y, lambda i, x: x + i, x), x, np.int32(1)),
    ]
    names = [fingerprint_of(*program) for program in programs]
    assert len(set(names)) == len(names)
    assert names == [fingerprint_of(*program) for program in programs]


KEPT = """
import sys
import jax, numpy as np
from jaxloss.engine.native import library, objects
from jaxloss.engine.lanes import lanes
if sys.argv[1] == "again":
    def compiled(kernel):
        raise AssertionError("it is kept")
    library._compiled = compiled
x = np.linspace(-1, 1, 100, dtype=np.float32)
found = jax.jit(lanes(jax.nn.sigmoid, (-1,), in_native_code=True))(x)
assert library._engines
print(np.asarray(found).tobytes().hex())
"""


def test_another_process_compiles_nothing(tmp_path):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run([sys.executable, "-c", KEPT, how], env=environment, capture_output=True, text=True, check=True)
        for how in ("first", "again")
    ]
    assert found[0].stdout == found[1].stdout


def test_every_lane_has_the_same_bits_wherever_it_stands(caplog):
    run = descend(optax.adam(1e-2), lambda x, i: jnp.mean((jax.nn.sigmoid(LONG @ x) - 0.3) ** 2), 50)
    x = rng.normal(size=(4, 300)).astype(np.float32)
    program = jax.jit(lanes(run, (-1, None), in_native_code=True))
    whole = jax.tree.leaves(program(x, np.int32(0)))
    for some in (slice(0, 1), slice(17, 200), slice(299, 300)):
        for one, other in zip(whole, jax.tree.leaves(program(x[:, some], np.int32(0))), strict=True):
            assert np.asarray(one[..., some]).tobytes() == np.asarray(other).tobytes()
    assert is_native(caplog)


# What runs natively, and what does not


def update_of(problem, optimizer: str):
    transform = OPTIMIZERS[optimizer].factory(0.01)

    def run(params, data):
        def step(_, carry):
            params, state = carry
            updates, state = transform.update(jax.grad(problem.batch_objective)(params, data), state, params)
            return optax.apply_updates(params, updates), state

        return lax.fori_loop(jnp.int32(0), jnp.int32(3), step, (params, transform.init(params)))[0]

    return run


def agree(problem, optimizer: str) -> None:
    run, size = update_of(problem, optimizer), problem.num_parameters
    points = 0.5 * np.random.default_rng(1).normal(size=(40, size)).astype(np.float32)
    params = jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, -1), problem.unravel(points))
    data = jax.tree.map(lambda leaf: leaf.astype(np.float32) if leaf.dtype.kind == "f" else leaf, problem.data)
    ours = jax.jit(lanes(run, (-1, None), in_native_code=True))(params, data)
    theirs = jax.jit(jax.vmap(run, (-1, None), -1))(params, data)
    # Where an optimiser divides a vanishing gradient by its size, rounding decides.
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        close = np.isclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)
        assert close.mean() > 0.99


LEFT_TO_XLA = {"cosine-roughness", "safran-shamir", "trainability-fractal"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems(name, caplog):
    agree(jaxloss.load_problem(name), "sgd")
    assert is_native(caplog) == (name not in LEFT_TO_XLA)


# The one has powers that differ between lanes, the other a condition.
OPTIMIZERS_LEFT_TO_XLA = {"adafactor", "novograd"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, caplog):
    agree(jaxloss.load_problem("two-minima-binary"), name)
    assert is_native(caplog) == (name not in OPTIMIZERS_LEFT_TO_XLA)


def test_without_a_compiler_xla_does_it(monkeypatch, caplog):
    def not_there() -> int:
        raise native.Unsupported("on purpose")

    monkeypatch.setattr(library, "register_bytes", not_there)
    ours, theirs = evaluate(jnp.tanh, np.linspace(-1, 1, 7, dtype=np.float32))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert "on purpose" in caplog.text
    assert not native.has_rules(jax.make_jaxpr(jnp.tanh)(1.0).jaxpr, [True])


@pytest.mark.parametrize("num", [128, 1024])
def test_data_as_long_as_there_are_lanes_are_not_written_over(num, caplog):
    data, x = rng.normal(size=(2, num)).astype(np.float32)
    ours, theirs = evaluate(lambda x, data: jnp.tanh(x) + jnp.sum(data * x), x, data, in_axes=(-1, None))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert is_native(caplog)


def test_random_keys_in_an_objective():
    def objective(params):
        return jnp.sum((params["x"] - jax.random.bits(jax.random.key(3), (2,), jnp.uint8) / 256) ** 2)

    problem = jaxloss.Problem(name="mine", objective=objective, params={"x": np.zeros(2, np.float32)})
    grid = jaxloss.Grid({"x[0]": jaxloss.Axis.linear(-1, 1, 5), "x[1]": jaxloss.Axis.linear(-1, 1, 3)})
    result = jaxloss.sweep(problem, grid, learning_rate=0.1, num_steps=300)
    assert (result.outcome == 1).all()


def test_only_where_it_is_asked_for(caplog):
    x = np.linspace(-1, 1, 7, dtype=np.float32)
    np.testing.assert_allclose(jax.jit(lanes(jnp.tanh, (-1,)))(x), np.tanh(x), rtol=1e-6)
    assert "XLA is asked for" in caplog.text


@pytest.mark.parametrize(
    "function",
    [
        jnp.sin,
        jnp.sort,
        lambda x: jnp.sum(x) * jax.random.normal(jax.random.key(0)),
        lambda x: x ** x[0],
        jnp.cumsum,
        lambda x: x[jnp.argmax(x)],
        lambda x: x.astype(jnp.float16) * 2,
        lambda x: lax.while_loop(lambda y: y[0] < 3, lambda y: y + 1, x),
        lambda x: jnp.ones((200, 3)) @ x[:3],
    ],
)
def test_what_cannot_be_written_is_right_all_the_same(function):
    x = np.abs(rng.normal(size=(4, NUM))).astype(np.float32)
    assert_close(*evaluate(function, x), rtol=1e-3)
