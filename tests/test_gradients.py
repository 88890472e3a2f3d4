import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.activations import ACTIVATIONS, sigmoid, sigmoid_derivative
from jaxloss.errors import InputError
from jaxloss.gradients import delta_of, descent_step, gradient_of
from jaxloss.losses import LOSSES, cost_of
from jaxloss.models import affine, layer, neuron

KEY = jax.random.key(0)
X = np.array([[0.5, -1.0], [2.0, 0.25], [-1.5, 1.0], [0.75, -0.5], [-0.25, -2.0]])


PAIRS = [  # every activation under mse; the other squared errors differ from it by a factor
    (activation, loss)
    for loss, record in LOSSES.items()
    for activation in record.from_logits or (ACTIVATIONS if loss == "mse" else ("sigmoid", "softmax"))
]
ELEMENTWISE = [pair for pair in PAIRS if pair[0] != "softmax"]


def targets(dtype=None):
    """Distributions, which lie in the range of every activation."""
    t = [[0.2, 0.3, 0.5], [1, 0, 0], [0, 0.5, 0.5], [0, 0, 1], [0.1, 0.9, 0]]
    return jnp.array(t, dtype)


def autodiff(activation, loss):
    return jax.jit(jax.grad(lambda params, x, t: cost_of(activation, loss)(affine(params, x), t)))


@pytest.mark.parametrize(("activation", "loss"), ELEMENTWISE)
def test_neuron_gradient_is_that_of_autodiff(activation, loss):
    with jax.enable_x64(True):
        params = neuron(2, activation, bias=loss != "sse").init(KEY)
        arguments = params, jnp.array(X), targets()[:, 0]
        expected = autodiff(activation, loss)(*arguments)
        chex.assert_trees_all_close(gradient_of(activation, loss)(*arguments), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_layer_gradient_is_that_of_autodiff(activation, loss):
    with jax.enable_x64(True):
        params = layer(2, 3, activation).init(KEY)
        arguments = params, jnp.array(X), targets()
        expected = autodiff(activation, loss)(*arguments)
        chex.assert_trees_all_close(gradient_of(activation, loss)(*arguments), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("activation", "loss"), ELEMENTWISE)
def test_row_of_one_output_node_involves_its_own_error_only(activation, loss):
    params = layer(2, 3, activation).init(KEY)
    x, t = jnp.array(X), targets()
    together = gradient_of(activation, loss)(params, x, t)
    for k in range(3):
        alone = jax.tree.map(lambda leaf, k=k: leaf[k], params)
        expected = gradient_of(activation, loss)(alone, x, t[:, k])
        row = jax.tree.map(lambda leaf, k=k: leaf[k], together)
        chex.assert_trees_all_close(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_jit_and_vmap_agree(loss):
    gradient, model = gradient_of("softmax", loss), layer(2, 3, "softmax")
    many = jax.vmap(model.init)(jax.random.split(KEY, 2))
    batch = jax.jit(jax.vmap(gradient, in_axes=(0, None, None)))(many, jnp.array(X), targets())
    first, params = (jax.tree.map(lambda leaf: leaf[0], tree) for tree in (batch, many))
    chex.assert_trees_all_close(first, gradient(params, jnp.array(X), targets()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_keeps_dtype_and_structure(activation, loss, dtype):
    with jax.enable_x64(True):
        params = {"weight": np.ones((3, 2), dtype), "bias": np.ones(3, dtype)}
        gradient = jax.eval_shape(gradient_of(activation, loss), params, X.astype(dtype), targets(dtype))
        chex.assert_trees_all_equal_shapes_and_dtypes(gradient, params)


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "relu"])
def test_matrix_form_of_the_lecture(activation):
    """The gradient of half-MSE is X^T ((y - t) h'(z)) / n, that of MSE twice as much."""
    with jax.enable_x64(True):
        params = neuron(2, activation).init(KEY)
        x, t = X, np.array([0.0, 1.0, 0.5, 1.0, 0.25])
        z = x @ np.array(params["weight"]) + float(params["bias"])
        h = {"identity": z, "sigmoid": 1 / (1 + np.exp(-z)), "relu": np.maximum(z, 0)}[activation]
        slope = {"identity": 1, "sigmoid": h * (1 - h), "relu": z > 0}[activation]
        half = gradient_of(activation, "half_mse")(params, x, t)
        np.testing.assert_allclose(half["weight"], x.T @ ((h - t) * slope) / 5, rtol=1e-12)
        np.testing.assert_allclose(half["bias"], ((h - t) * slope).mean(), rtol=1e-12)
        whole = gradient_of(activation, "mse")(params, x, t)
        chex.assert_trees_all_close(whole, jax.tree.map(lambda leaf: 2 * leaf, half), rtol=1e-13)


def test_descent_down_the_bowl_of_the_lecture():
    gradient = jax.grad(lambda x: jnp.sum(x**2))
    point = jnp.array([-3.0, 4.0])
    np.testing.assert_array_equal(gradient(point), [-6, 8])
    for expected in ([-2.4, 3.2], [-1.92, 2.56]):
        point = descent_step(point, gradient(point), learning_rate=0.1)
        np.testing.assert_allclose(point, expected, rtol=1e-6)


def test_descent_step_takes_any_pytree():
    point = {"a": jnp.ones(2), "b": (1.0,)}
    chex.assert_trees_all_close(descent_step(point, point, learning_rate=0.5), {"a": jnp.full(2, 0.5), "b": (0.5,)})


def test_worked_derivative_of_the_lecture():
    assert jax.grad(lambda x: sigmoid(3 * x))(0.0) == 3 * sigmoid_derivative(0.0) == 0.75


def test_saturation_stalls_squared_error_but_not_cross_entropy():
    z, t = jnp.array([-30.0, 30.0]), jnp.array([1.0, 0.0])
    assert jnp.abs(delta_of("sigmoid", "mse")(z, t)).max() < 1e-12
    np.testing.assert_allclose(delta_of("sigmoid", "cross_entropy")(z, t), [-0.5, 0.5])


def test_bad_names_and_shapes_are_errors():
    with pytest.raises(InputError, match="did you mean 'mse'"):
        gradient_of("sigmoid", "mze")
    with pytest.raises(InputError, match="gives probabilities"):
        gradient_of("relu", "cross_entropy")
    with pytest.raises(AssertionError):
        gradient_of("relu", "mse")({"weight": jnp.ones(2)}, jnp.ones((3, 2)), jnp.ones((3, 1)))
