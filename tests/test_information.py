import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxloss.errors import InputError
from jaxloss.information import (
    conditional_cross_entropy,
    cross_entropy,
    entropy,
    information_content,
    kl_divergence,
    paired,
    product,
    with_partials,
    x_log1p_y,
    x_log_y,
)

ONE = {"information_content": information_content, "entropy": entropy}
TWO = {
    "cross_entropy": cross_entropy,
    "kl_divergence": kl_divergence,
    "conditional_cross_entropy": conditional_cross_entropy,
}
MEASURES = ONE | TWO

fast = settings(deadline=None, derandomize=True, max_examples=50)
weights = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4).filter(lambda w: sum(w) > 1e-3)


def distributions(dtype=None):
    return jnp.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], dtype), jnp.array([[0.3, 0.3, 0.4]] * 2, dtype)


def arguments(name, dtype=None):
    return distributions(dtype)[: 1 if name in ONE else 2]


def normalised(w):
    return jnp.array(w) / sum(w)


@pytest.mark.parametrize("name", sorted(MEASURES))
class TestEveryMeasure:
    def test_jit_and_vmap_agree(self, name):
        expected = MEASURES[name](*arguments(name))
        np.testing.assert_allclose(jax.jit(MEASURES[name])(*arguments(name)), expected, rtol=1e-6)
        mapped = jax.vmap(MEASURES[name])(*arguments(name))
        np.testing.assert_allclose(
            mapped.sum() if name == "conditional_cross_entropy" else mapped, expected, rtol=1e-6
        )

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_dtype(self, name, dtype):
        with jax.enable_x64(True):
            for base in (None, 2):
                measure = functools.partial(MEASURES[name], base=base)
                assert jax.eval_shape(measure, *arguments(name, dtype)).dtype == dtype

    def test_numerical_gradient(self, name):
        with jax.enable_x64(True):
            check_grads(jax.jit(MEASURES[name]), arguments(name), order=2, modes=["rev"])

    def test_bits_are_nats_over_log_2(self, name):
        nats, bits = MEASURES[name](*arguments(name)), MEASURES[name](*arguments(name), base=2)
        np.testing.assert_allclose(bits * np.log(2), nats, rtol=1e-6)

    @pytest.mark.parametrize("base", [0, 1, -2, np.nan])
    def test_refuses_an_impossible_base(self, name, base):
        with pytest.raises(InputError, match="base must be positive and not 1"):
            MEASURES[name](*arguments(name), base=base)


@pytest.mark.parametrize("name", sorted(TWO))
def test_shapes_that_differ_are_an_error(name):
    with pytest.raises(AssertionError):
        TWO[name](jnp.ones(3), jnp.ones((3, 1)))


def test_agrees_with_scipy():
    with jax.enable_x64(True):
        p, q = distributions()
        np.testing.assert_allclose(information_content(p), -np.log(p), rtol=1e-13)
        np.testing.assert_allclose(entropy(p, base=2), scipy.stats.entropy(p, base=2, axis=-1), rtol=1e-13)
        np.testing.assert_allclose(kl_divergence(p, q), scipy.stats.entropy(p, q, axis=-1), rtol=1e-13)
        np.testing.assert_allclose(cross_entropy(p, q), -scipy.special.xlogy(p, q).sum(-1), rtol=1e-13)
        binary = scipy.special.xlogy(p, q) + scipy.special.xlog1py(1 - p, -q)
        np.testing.assert_allclose(conditional_cross_entropy(p, q), -binary.sum(), rtol=1e-13)


def test_a_coin_is_one_bit_and_a_character_of_256_is_eight():
    for k, bits in [(2, 1), (256, 8)]:
        uniform = jnp.full(k, 1 / k)
        np.testing.assert_allclose(information_content(1 / k, base=2), bits, rtol=1e-6)
        np.testing.assert_allclose(entropy(uniform, base=2), bits, rtol=1e-6)


def test_impossible_events_add_nothing():
    p, q = jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5])
    np.testing.assert_array_equal(entropy(p), 0)
    np.testing.assert_array_equal(cross_entropy(p, p), 0)
    np.testing.assert_array_equal(kl_divergence(p, p), 0)
    np.testing.assert_array_equal(kl_divergence(q, p), jnp.inf)
    np.testing.assert_array_equal(cross_entropy(q, p), jnp.inf)
    np.testing.assert_array_equal(conditional_cross_entropy(p, p), 0)
    np.testing.assert_array_equal(conditional_cross_entropy(p, 1 - p), jnp.inf)
    np.testing.assert_array_equal(information_content(jnp.array([0.0, 1.0])), [jnp.inf, 0])


def test_gradients_at_impossible_events():
    p, q, inf = jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5]), jnp.inf
    np.testing.assert_array_equal(jax.grad(entropy)(p), [inf, -1])
    np.testing.assert_array_equal(jax.grad(cross_entropy, argnums=1)(p, p), [0, -1])
    np.testing.assert_array_equal(jax.grad(cross_entropy, argnums=1)(q, p), [-inf, -0.5])
    np.testing.assert_array_equal(jax.grad(kl_divergence, argnums=1)(p, p), [0, -1])
    np.testing.assert_array_equal(jax.grad(kl_divergence)(p, p), [inf, 1])
    np.testing.assert_allclose(jax.grad(kl_divergence)(p, q), [-inf, 1 + np.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(conditional_cross_entropy, argnums=1)(p, p), [1, -1])
    assert not jnp.isnan(jax.hessian(cross_entropy, argnums=1)(p, p)).any()


def test_tiny_probabilities_neither_underflow_nor_overflow():
    p, q = jnp.array([1e-37, 1.0]), jnp.array([1.0, 1e-37])
    np.testing.assert_allclose(information_content(p[0]), 37 * np.log(10), rtol=1e-6)
    np.testing.assert_allclose(kl_divergence(p, q), 37 * np.log(10), rtol=1e-6)
    np.testing.assert_allclose(kl_divergence(q, p), 37 * np.log(10), rtol=1e-6)
    np.testing.assert_allclose(conditional_cross_entropy(jnp.zeros(1), p[:1]), 1e-37, rtol=1e-6)
    assert jnp.isfinite(jax.grad(entropy)(p)).all()


def test_weighted_logarithms():
    x, y = jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.0, 3.0, 0.0, 3.0])
    np.testing.assert_allclose(x_log_y(x, y), scipy.special.xlogy(x, y), rtol=1e-6)
    np.testing.assert_allclose(x_log1p_y(x, y - 1), scipy.special.xlog1py(x, y - 1), rtol=1e-6)
    assert jnp.isnan(x_log_y(jnp.array(0.0), jnp.array(jnp.nan)))
    np.testing.assert_array_equal(product(jnp.array([0.0, 0.0]), jnp.array([-jnp.inf, 5.0])), [0, 0])


def test_paired_takes_integers():
    first, second = paired(np.array([0, 1]), jnp.array([0.5, 0.5]))
    assert first.dtype == second.dtype == "float32"


def test_partials_are_used_only_where_asked_for():
    @with_partials(lambda x, y: jnp.full_like(x, jnp.inf), lambda x, y: 3 * x)
    def function(x, y):
        return 3 * x * y

    assert jax.grad(function, argnums=1)(2.0, 1.0) == 6
    assert jax.grad(jax.grad(function, argnums=1))(2.0, 1.0) == 3
    assert jax.grad(function)(2.0, 1.0) == jnp.inf


@fast
@given(weights, weights)
def test_kl_divergence_is_not_negative_and_completes_the_entropy(p, q):
    with jax.enable_x64(True):
        p, q = normalised(p), normalised(q)
        assert kl_divergence(p, q) >= -1e-14
        assert abs(kl_divergence(p, p)) <= 1e-14
        np.testing.assert_allclose(cross_entropy(p, q), entropy(p) + kl_divergence(p, q), atol=1e-12)


@fast
@given(weights)
def test_entropy_is_largest_for_the_uniform_distribution(p):
    with jax.enable_x64(True):
        assert -1e-15 <= entropy(normalised(p)) <= np.log(4) + 1e-14
