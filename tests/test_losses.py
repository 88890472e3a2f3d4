import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxloss import losses
from jaxloss.activations import ACTIVATIONS
from jaxloss.errors import InputError
from jaxloss.information import entropy, kl_divergence
from jaxloss.losses import LOSSES, cost_of, matching_loss

INF = jnp.inf
MATCHING = sorted(LOSSES["matching"].from_logits)
FROM_PREDICTIONS = ["squared_error", "binary_cross_entropy", "categorical_cross_entropy"]
FROM_LOGITS = ["sigmoid_binary_cross_entropy", "softmax_cross_entropy"]
FUNCTIONS = {name: getattr(losses, name) for name in FROM_PREDICTIONS + FROM_LOGITS} | {
    f"matching_{name}": matching_loss(name) for name in MATCHING
}
PAIRS = [  # every activation under mse; the other squared errors differ from it by a factor
    (activation, loss)
    for loss, record in LOSSES.items()
    for activation in record.from_logits or (ACTIVATIONS if loss == "mse" else ("sigmoid", "softmax"))
]
VALUE_AND_SLOPE = {
    name: (ACTIVATIONS[name].function, jax.jit(jax.value_and_grad(matching_loss(name))))
    for name in set(MATCHING) - {"softmax"}
}
fast = settings(deadline=None, derandomize=True, max_examples=50)
reals = st.floats(-30, 30, width=32)


def scores(dtype=None):
    """Preactivations, away from kinks; `probabilities` are predictions, and targets of any loss."""
    return jnp.array([[-2.0, 0.5, 1.5], [3.0, -0.25, 0.75]], dtype)


def probabilities(dtype=None):
    return jnp.array([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3]], dtype)


def arguments(name, dtype=None):
    return probabilities(dtype) if name in FROM_PREDICTIONS else scores(dtype), probabilities(dtype)[::-1]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
class TestEveryElementwiseLoss:
    def test_jit_and_vmap_agree(self, name):
        batch = jax.jit(jax.vmap(FUNCTIONS[name]))(*arguments(name))
        np.testing.assert_allclose(batch, FUNCTIONS[name](*arguments(name)), rtol=1e-5)

    def test_is_unreduced(self, name):
        reduces = "softmax" in name or "categorical" in name
        assert FUNCTIONS[name](*arguments(name)).shape == ((2,) if reduces else (2, 3))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_dtype(self, name, dtype):
        with jax.enable_x64(True):
            assert jax.eval_shape(FUNCTIONS[name], *arguments(name, dtype)).dtype == dtype

    def test_numerical_gradient(self, name):
        """Of both arguments, twice: Hessians are made of these derivatives."""
        with jax.enable_x64(True):
            check_grads(jax.jit(FUNCTIONS[name]), arguments(name), order=2, modes=["rev"])

    def test_shapes_that_differ_are_an_error(self, name):
        for shape in [(3, 1), (1, 3), (1,), ()]:
            with pytest.raises(AssertionError):
                jax.eval_shape(FUNCTIONS[name], np.full(3, 0.5), np.full(shape, 0.5))

    def test_nan_is_not_hidden(self, name):
        t = jnp.array([[0.0, 1.0]])
        assert jnp.isnan(FUNCTIONS[name](jnp.full_like(t, jnp.nan), t)).all()


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
class TestEveryCost:
    def test_jit_and_vmap_agree(self, activation, loss):
        cost = cost_of(activation, loss)
        z, t = jnp.stack([scores(), scores()[::-1]]), jnp.stack([probabilities()] * 2)
        batch = jax.jit(jax.vmap(cost))(z, t)
        np.testing.assert_allclose(batch[1], cost(z[1], t[1]), rtol=1e-5)

    def test_scalar_of_the_same_dtype(self, activation, loss):
        with jax.enable_x64(True):
            for dtype in ("float32", "float64"):
                cost = jax.eval_shape(cost_of(activation, loss), scores(dtype), probabilities(dtype))
                assert (cost.shape, cost.dtype) == ((), dtype)

    def test_sums_outputs_and_reduces_samples(self, activation, loss):
        cost, record = jax.jit(cost_of(activation, loss)), LOSSES[loss]
        rows = sum(cost(scores()[i : i + 1], probabilities()[i : i + 1]) for i in range(2))
        whole = cost(scores(), probabilities())
        np.testing.assert_allclose(whole, rows / 2 if record.averaged else rows, rtol=1e-5)
        if activation != "softmax":
            nodes = sum(cost(scores()[:, k], probabilities()[:, k]) for k in range(3))
            np.testing.assert_allclose(whole, nodes, rtol=1e-5)

    def test_extreme_inputs(self, activation, loss):
        z = jnp.array([[1e9, -1e9], [-1e9, 1e9], [0.0, 0.0]])
        t = jnp.array([[1.0, 0.0]] * 3)
        value, slope = jax.jit(jax.value_and_grad(cost_of(activation, loss)))(z, t)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()

    def test_shapes_that_differ_are_an_error(self, activation, loss):
        for z, t in [((3, 2), (3,)), ((3,), (3, 1)), ((3, 1), (3,)), ((), ()), ((2, 3, 1), (2, 3, 1))]:
            with pytest.raises(AssertionError):
                jax.eval_shape(cost_of(activation, loss), np.zeros(z), np.zeros(t))

    def test_is_one_object_and_is_traced_once(self, activation, loss):
        chex.clear_trace_counter()
        assert cost_of(activation, loss) is cost_of(loss=loss, activation=activation)
        evaluate = jax.jit(chex.assert_max_traces(lambda cost, z: cost(z, probabilities()), n=1), static_argnums=0)
        for z in (scores(), -scores()):
            evaluate(cost_of(activation, loss), z)


def test_registry_is_complete():
    assert set(LOSSES) == {"mse", "half_mse", "sse", "half_sse", "cross_entropy", "matching"}
    assert set(LOSSES["cross_entropy"].from_logits) == {"sigmoid", "softmax"}
    assert set(MATCHING) == set(ACTIVATIONS) - {"softplus"}
    for name, record in LOSSES.items():
        assert set(record.from_logits) <= set(ACTIVATIONS)
        assert record.cost is getattr(losses, name, None)
        assert record.cost or record.from_logits
        assert record.unit_targets == (name == "cross_entropy")
        assert record.averaged == (name not in {"sse", "half_sse"})


@pytest.mark.parametrize(
    ("activation", "loss", "message"),
    [
        ("sigmiod", "mse", "unknown activation 'sigmiod': did you mean 'sigmoid'"),
        ("sigmoid", "mze", "unknown loss 'mze': did you mean 'mse'"),
        (
            "relu",
            "cross_entropy",
            "the loss 'cross_entropy' needs an activation that gives probabilities: sigmoid or softmax, not 'relu'",
        ),
        (
            "softplus",
            "matching",
            "no matching loss in closed form; these have one: identity, leaky_relu, relu",
        ),
    ],
)
def test_bad_names_are_named(activation, loss, message):
    with pytest.raises(InputError, match=message):
        cost_of(activation, loss)


def test_matching_loss_of_an_unknown_activation():
    with pytest.raises(InputError, match="did you mean 'tanh'"):
        matching_loss("tahn")


# Parity.


def test_squared_errors():
    y, t = scores(), probabilities()
    np.testing.assert_allclose(losses.squared_error(y, t), optax.squared_error(y, t), rtol=1e-6)
    np.testing.assert_allclose(losses.sse(y, t), np.sum((y - t) ** 2), rtol=1e-6)
    np.testing.assert_allclose(losses.half_sse(y, t), optax.l2_loss(y, t).sum(), rtol=1e-6)
    np.testing.assert_allclose(losses.mse(y, t), np.sum((y - t) ** 2) / 2, rtol=1e-6)
    np.testing.assert_allclose(losses.half_mse(y, t), np.sum((y - t) ** 2) / 4, rtol=1e-6)


def test_cross_entropies_from_probabilities():
    with jax.enable_x64(True):
        p, t = np.array([[0.0, 0.2, 0.8], [1e-9, 1.0, 0.5]]), np.array([[0.0, 0.6, 0.4], [0.0, 1.0, 0.25]])
        binary = -scipy.special.xlogy(t, p) - scipy.special.xlog1py(1 - t, -p)
        np.testing.assert_allclose(losses.binary_cross_entropy(p, t), binary, rtol=1e-13)
        categorical = -scipy.special.xlogy(t, p).sum(-1)
        np.testing.assert_allclose(losses.categorical_cross_entropy(p, t), categorical, rtol=1e-13)


def test_cross_entropies_from_logits():
    z, t = scores(), probabilities()
    np.testing.assert_allclose(
        losses.sigmoid_binary_cross_entropy(z, t), optax.sigmoid_binary_cross_entropy(z, t), rtol=1e-5
    )
    np.testing.assert_allclose(losses.softmax_cross_entropy(z, t), optax.softmax_cross_entropy(z, t), rtol=1e-5)


@pytest.mark.parametrize(
    ("from_logits", "from_predictions", "activation"),
    [
        (losses.sigmoid_binary_cross_entropy, losses.binary_cross_entropy, "sigmoid"),
        (losses.softmax_cross_entropy, losses.categorical_cross_entropy, "softmax"),
    ],
)
def test_logits_and_probabilities_agree(from_logits, from_predictions, activation):
    def composed(z, t):
        return from_predictions(ACTIVATIONS[activation].function(z), t).sum()

    with jax.enable_x64(True):
        z, t = scores(), probabilities()
        for order in (lambda f: f, jax.grad, lambda f: jax.grad(f, argnums=1), jax.hessian):
            stable = jax.jit(order(lambda z, t: from_logits(z, t).sum()))(z, t)
            np.testing.assert_allclose(stable, jax.jit(order(composed))(z, t), rtol=1e-9, atol=1e-12)


def test_softmax_gradient_for_targets_that_do_not_sum_to_one():
    z, t = scores(), 2 * probabilities()
    gradient = jax.grad(lambda z: losses.softmax_cross_entropy(z, t).sum())(z)
    np.testing.assert_allclose(gradient, 2 * ACTIVATIONS["softmax"].function(z) - t, rtol=1e-5, atol=1e-6)


def test_binary_is_the_two_class_case_of_categorical():
    z, t = scores()[0], probabilities()[0]
    two = losses.softmax_cross_entropy(jnp.stack([z, jnp.zeros_like(z)], axis=-1), jnp.stack([t, 1 - t], axis=-1))
    np.testing.assert_allclose(losses.sigmoid_binary_cross_entropy(z, t), two, rtol=1e-5)


# Extreme inputs.


def slope(function):
    return jax.jit(jax.vmap(jax.grad(function)))


def curvature(function):
    return jax.jit(jax.vmap(jax.hessian(function)))


def test_certain_probabilities():
    p, t = jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(losses.binary_cross_entropy(p, t), [0, INF, INF, 0])
    np.testing.assert_array_equal(slope(losses.binary_cross_entropy)(p, t), [1, -INF, INF, -1])
    assert not jnp.isnan(curvature(losses.binary_cross_entropy)(p, t)).any()
    one_hot = jnp.array([1.0, 0.0])
    np.testing.assert_array_equal(losses.categorical_cross_entropy(one_hot, one_hot), 0)
    np.testing.assert_array_equal(losses.categorical_cross_entropy(1 - one_hot, one_hot), INF)
    gradient = jax.grad(losses.categorical_cross_entropy)
    np.testing.assert_array_equal(gradient(one_hot, one_hot), [-1, 0])
    np.testing.assert_array_equal(gradient(1 - one_hot, one_hot), [-INF, 0])


@pytest.mark.parametrize("size", [1e9, INF])
def test_certain_logits(size):
    z, t = jnp.array([-size, -size, size, size]), jnp.array([0.0, 1.0, 0.0, 1.0])
    for loss in (losses.sigmoid_binary_cross_entropy, matching_loss("sigmoid")):
        np.testing.assert_array_equal(loss(z, t), [0, size, size, 0])
        np.testing.assert_array_equal(slope(loss)(z, t), [0, -1, 1, 0])
        np.testing.assert_array_equal(curvature(loss)(z, t), 0)
    for loss in (losses.softmax_cross_entropy, matching_loss("softmax")):
        rows, one_hot = jnp.stack([z, jnp.zeros_like(z)], axis=-1), jnp.stack([t, 1 - t], axis=-1)
        np.testing.assert_array_equal(loss(rows, one_hot), [0, size, size, 0])
        np.testing.assert_array_equal(slope(loss)(rows, one_hot)[:, 0], [0, -1, 1, 0])
        np.testing.assert_array_equal(curvature(loss)(rows, one_hot), 0)
    tanh = matching_loss("tanh")
    np.testing.assert_array_equal(tanh(z, 2 * t - 1), [0, 2 * size, 2 * size, 0])
    np.testing.assert_array_equal(slope(tanh)(z, 2 * t - 1), [0, -2, 2, 0])


def test_certain_rectifiers():
    z, t = jnp.array([-INF, -INF, INF]), jnp.array([0.0, 1.0, 1.0])
    np.testing.assert_array_equal(matching_loss("relu")(z, t), [0, INF, INF])
    np.testing.assert_array_equal(slope(matching_loss("relu"))(z, t), [0, -1, INF])
    np.testing.assert_array_equal(matching_loss("leaky_relu")(z, t), [INF] * 3)


def test_tails_keep_their_relative_accuracy():
    """Far beyond the point where a probability is rounded to 1, in single precision."""
    z, t, tail = jnp.array([40.0, -40.0]), jnp.array([1.0, 0.0]), np.exp(-40.0)
    loss = losses.sigmoid_binary_cross_entropy
    np.testing.assert_allclose(loss(z, t), tail, rtol=1e-5)
    np.testing.assert_allclose(slope(loss)(z, t), [-tail, tail], rtol=1e-5)
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(jnp.array([40.0, 0.0]), jnp.array([1.0, 0.0])), tail, rtol=1e-5
    )


def test_curvature_at_zero_and_of_ties():
    """Where the stable forms change branch, their derivatives do not notice."""
    assert jax.grad(jax.grad(losses.sigmoid_binary_cross_entropy))(0.0, 1.0) == 0.25
    tied, one_hot = jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])
    hessian = curvature(losses.softmax_cross_entropy)(tied, one_hot)
    np.testing.assert_allclose(hessian, [[[0.25, -0.25], [-0.25, 0.25]]])


def test_targets_beyond_the_range_of_the_activation_cost_infinity():
    for name, t in [("sigmoid", 1.5), ("sigmoid", -0.5), ("tanh", -1.5), ("relu", -0.5)]:
        assert matching_loss(name)(0.5, t) == INF
        assert matching_loss(name)(jnp.nan, 0.5) != INF


def test_integer_targets_are_labels():
    z = jnp.array([0.5, -0.5])
    labels = jnp.array([1, 0])
    for loss in (losses.squared_error, losses.sigmoid_binary_cross_entropy, matching_loss("relu")):
        np.testing.assert_array_equal(loss(z, labels), loss(z, labels.astype(float)))
        assert jax.grad(lambda z, loss=loss: loss(z, labels).sum())(z).shape == (2,)


# Invariants.


@pytest.mark.parametrize("name", sorted(VALUE_AND_SLOPE))
@fast
@given(z=reals, other=reals)
def test_matching_loss_is_a_divergence_whose_slope_is_the_error(name, z, other):
    h, evaluate = VALUE_AND_SLOPE[name]
    with jax.enable_x64(True):
        z, other = jnp.float64(z), jnp.float64(other)
        t = h(other)
        value, error = evaluate(z, t)
        assert value >= 0
        np.testing.assert_allclose(error, h(z) - t, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(evaluate(other, t), [0, 0], atol=1e-12)


@fast
@given(z=st.tuples(reals, reals, reals), other=st.tuples(reals, reals, reals))
def test_cross_entropy_is_entropy_plus_divergence(z, other):
    softmax = ACTIVATIONS["softmax"].function
    with jax.enable_x64(True):
        z, t = jnp.array(z), softmax(jnp.array(other))
        divergence = matching_loss("softmax")(z, t)
        assert divergence >= -1e-13
        np.testing.assert_allclose(divergence, kl_divergence(t, softmax(z)), rtol=1e-9, atol=1e-12)
        cross = losses.softmax_cross_entropy(z, t)
        np.testing.assert_allclose(cross, entropy(t) + kl_divergence(t, softmax(z)), rtol=1e-9, atol=1e-12)
        gradient = jax.grad(matching_loss("softmax"))(z, t)
        np.testing.assert_allclose(gradient, softmax(z) - t, atol=1e-14)


@pytest.mark.parametrize("name", sorted(VALUE_AND_SLOPE))
def test_matching_loss_is_the_integral_of_the_error(name):
    h = ACTIVATIONS[name].function
    with jax.enable_x64(True):
        u = jnp.linspace(-1.5, 2.0, 70_001)
        expected = np.trapezoid(h(u) - h(u[0]), u)
        np.testing.assert_allclose(matching_loss(name)(u[-1], h(u[0])), expected, rtol=1e-7)
