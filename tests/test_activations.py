import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxloss import activations
from jaxloss.activations import (
    ACTIVATIONS,
    below_largest,
    leaky_relu,
    leaky_relu_derivative,
    softmax,
)

EXTREMES = [-jnp.inf, -1e9, -1e4, 0.0, 1e4, 1e9, jnp.inf]
REFERENCES = {
    "identity": lambda z: z,
    "sigmoid": scipy.special.expit,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z >= 0, z, 0.01 * z),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(z, 0),
    "softmax": lambda z: scipy.special.softmax(z, axis=-1),
}


def samples(dtype=None):
    return jnp.array([[-3.0, -0.25, 0.5], [2.0, 7.0, -11.0]], dtype)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
class TestEveryActivation:
    def test_jit_and_vmap_agree(self, name):
        for function in ACTIVATIONS[name][:2]:
            batch = jax.jit(jax.vmap(function))(samples())
            np.testing.assert_allclose(batch, function(samples()), rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_dtype(self, name, dtype):
        with jax.enable_x64(True):
            z = samples(dtype)
            function, derivative = ACTIVATIONS[name][:2]
            for each in (function, derivative, jax.grad(lambda z: function(z).sum())):
                assert jax.eval_shape(each, z).dtype == dtype

    def test_agrees_with_its_reference(self, name):
        with jax.enable_x64(True):
            z = samples()
            np.testing.assert_allclose(ACTIVATIONS[name].function(z), REFERENCES[name](np.array(z)), rtol=1e-13)

    def test_numerical_gradient(self, name):
        with jax.enable_x64(True):
            check_grads(jax.jit(ACTIVATIONS[name].function), (samples(),), order=2, modes=["rev"])

    def test_derivative_is_that_of_autodiff(self, name):
        function, derivative = ACTIVATIONS[name][:2]
        with jax.enable_x64(True):
            jacobian = jax.jit(jax.vmap(jax.jacobian(function)))(samples())
            expected = jacobian if name == "softmax" else jnp.einsum("ijj->ij", jacobian)
            np.testing.assert_allclose(derivative(samples()), expected, rtol=1e-9, atol=1e-15)

    def test_extreme_inputs(self, name):
        function, derivative, bounded, _ = ACTIVATIONS[name]
        z = jnp.array(EXTREMES)
        finite = jnp.isfinite(z) | bounded
        assert not jnp.isnan(function(z)).any()
        assert jnp.isfinite(function(z)[finite]).all()
        assert jnp.isfinite(derivative(z)).all()
        assert jnp.isfinite(jax.jit(jax.grad(lambda z: function(z)[0]))(z)).all()

    def test_nan_is_not_hidden(self, name):
        assert jnp.isnan(ACTIVATIONS[name].function(jnp.array([jnp.nan]))).all()

    def test_bounded_says_so(self, name):
        far = jnp.abs(ACTIVATIONS[name].function(jnp.array([1e30, -1e30])))
        assert ACTIVATIONS[name].bounded == (far.max() <= 1)

    def test_analytic_says_so(self, name):
        """A kink at 0 is a jump of the slope there."""
        with jax.enable_x64(True):
            slope = ACTIVATIONS[name].derivative
            jump = jnp.abs(slope(jnp.array([1e-9])) - slope(jnp.array([-1e-9]))).max()
            assert ACTIVATIONS[name].analytic == (jump < 1e-6)


def test_registry_is_complete():
    lower_case = {name for name, value in vars(activations).items() if callable(value) and name.islower()}
    derivatives = {name.removesuffix("_derivative") for name in lower_case if name.endswith("_derivative")}
    assert set(ACTIVATIONS) == derivatives == set(REFERENCES)
    for name, record in ACTIVATIONS.items():
        assert record.function is getattr(activations, name)
        assert record.derivative is getattr(activations, f"{name}_derivative")


def test_gradient_of_relu_at_its_kink_is_zero():
    assert jax.grad(ACTIVATIONS["relu"].function)(0.0) == ACTIVATIONS["relu"].derivative(0.0) == 0


def test_leaky_relu_takes_another_slope():
    z = jnp.array([-2.0, 3.0])
    np.testing.assert_allclose(leaky_relu(z, negative_slope=0.5), [-1.0, 3.0])
    np.testing.assert_allclose(leaky_relu_derivative(z, negative_slope=0.5), [0.5, 1.0])


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus"])
def test_derivative_is_accurate_in_the_tail(name):
    exact = {"sigmoid": np.exp(-40.0), "tanh": 4 * np.exp(-80.0), "softplus": 1.0}[name]
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(40.0), exact, rtol=1e-5)


def test_softplus_keeps_its_tail():
    np.testing.assert_allclose(ACTIVATIONS["softplus"].function(-40.0), np.exp(-40.0), rtol=1e-5)


def test_softmax_at_infinity():
    inf = jnp.inf
    np.testing.assert_array_equal(softmax(jnp.array([inf, 1.0, inf])), [0.5, 0, 0.5])
    np.testing.assert_array_equal(softmax(jnp.array([-inf, -inf])), [0.5, 0.5])
    np.testing.assert_array_equal(below_largest(jnp.array([-inf, 2.0, 1.0])), [-inf, 0, -1])


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), st.floats(-100, 100, width=32))
def test_softmax_is_a_distribution_that_a_shift_leaves_alone(z, shift):
    with jax.enable_x64(True):
        z = jnp.array(z)
        np.testing.assert_allclose(softmax(z).sum(), 1, rtol=1e-14)
        np.testing.assert_allclose(softmax(z + shift), softmax(z), rtol=1e-8, atol=1e-14)
