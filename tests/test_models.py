import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.activations import ACTIVATIONS
from jaxloss.errors import InputError
from jaxloss.models import affine, layer, multilayer_perceptron, neuron

KEY = jax.random.key(0)
MODELS = {
    "neuron": (lambda bias=True: neuron(3, "tanh", bias), (4,)),
    "layer": (lambda bias=True: layer(3, 2, "softmax", bias), (4, 2)),
    "perceptron": (lambda bias=True: multilayer_perceptron((3, 5, 2), ("relu", "sigmoid"), bias), (4, 2)),
}


def inputs(dtype=None):
    return jnp.linspace(-1.0, 2.0, 12, dtype=dtype).reshape(4, 3)


@pytest.mark.parametrize("name", sorted(MODELS))
class TestEveryModel:
    def test_shapes_and_output_activation(self, name):
        build, shape = MODELS[name]
        model = build()
        params = model.init(KEY)
        z = model.preactivation(params, inputs())
        chex.assert_shape([z, model.apply(params, inputs())], shape)
        activation = {"neuron": "tanh", "layer": "softmax", "perceptron": "sigmoid"}[name]
        np.testing.assert_array_equal(model.apply(params, inputs()), ACTIVATIONS[activation].function(z))

    def test_jit_and_vmap_agree(self, name):
        model = MODELS[name][0]()
        keys = jax.random.split(KEY, 3)
        many = jax.vmap(model.init)(keys)
        batch = jax.jit(jax.vmap(model.apply, in_axes=(0, None)))(many, inputs())
        params = model.init(keys[1])
        chex.assert_trees_all_close(params, jax.tree.map(lambda leaf: leaf[1], many), rtol=1e-6)
        np.testing.assert_allclose(batch[1], model.apply(params, inputs()), rtol=1e-5)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_dtype(self, name, dtype):
        model = MODELS[name][0]()
        with jax.enable_x64(True):
            params = jax.eval_shape(lambda key: model.init(key, dtype=dtype), KEY)
            assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))
            assert jax.eval_shape(model.apply, params, inputs(dtype)).dtype == dtype

    def test_init_depends_on_the_key_alone(self, name):
        model = MODELS[name][0]()
        chex.assert_trees_all_equal(model.init(KEY), model.init(KEY))
        with pytest.raises(AssertionError):
            chex.assert_trees_all_equal(model.init(KEY), model.init(jax.random.key(1)))

    def test_wrong_inputs_are_an_error(self, name):
        model = MODELS[name][0]()
        for wrong in (jnp.ones(3), jnp.ones((4, 2)), jnp.ones((1, 4, 3))):
            with pytest.raises(AssertionError):
                model.apply(model.init(KEY), wrong)


def test_structure_of_the_parameters():
    shapes = [jax.tree.map(jnp.shape, MODELS[name][0]().init(KEY)) for name in sorted(MODELS)]
    assert shapes == [
        {"weight": (2, 3), "bias": (2,)},
        {"weight": (3,), "bias": ()},
        {"layer_0": {"weight": (5, 3), "bias": (5,)}, "layer_1": {"weight": (2, 5), "bias": (2,)}},
    ]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_model_without_bias(name):
    model, whole = (MODELS[name][0](bias) for bias in (False, True))
    assert "bias" not in str(jax.tree.structure(model.init(KEY)))

    def silence(path, leaf):
        return jnp.zeros_like(leaf) if path[-1].key == "bias" else leaf

    def without_bias(tree):
        return {k: without_bias(v) if isinstance(v, dict) else v for k, v in tree.items() if k != "bias"}

    biased = jax.tree_util.tree_map_with_path(silence, whole.init(KEY))
    expected = whole.apply(biased, inputs())
    np.testing.assert_array_equal(model.apply(without_bias(biased), inputs()), expected)


def test_scale_of_the_initial_parameters():
    model = layer(400, 100, "identity")
    np.testing.assert_allclose(model.init(KEY)["weight"].std(), 1 / 20, rtol=0.02)
    np.testing.assert_allclose(model.init(KEY)["bias"].std(), 1 / 20, rtol=0.3)
    np.testing.assert_allclose(model.init(KEY, scale=3.0)["weight"].std(), 3, rtol=0.02)


def test_affine_is_the_inner_product_of_each_sample():
    x = inputs()
    weight = jnp.array([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]])
    expected = np.array([[np.dot(w, row) + 1 for w in weight] for row in x])
    np.testing.assert_allclose(affine({"weight": weight, "bias": jnp.ones(2)}, x), expected, rtol=1e-6)
    np.testing.assert_allclose(affine({"weight": weight[0], "bias": 1.0}, x), expected[:, 0], rtol=1e-6)


def test_perceptron_that_computes_xor():
    hidden = {"weight": jnp.ones((2, 2)), "bias": jnp.array([0.0, -1.0])}
    output = {"weight": jnp.array([[1.0, -2.0]]), "bias": jnp.zeros(1)}
    model = multilayer_perceptron((2, 2, 1), ("relu", "identity"))
    corners = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    predictions = model.apply({"layer_0": hidden, "layer_1": output}, corners)
    np.testing.assert_array_equal(predictions[:, 0], [0, 1, 1, 0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: neuron(2, "sigmiod"), "did you mean 'sigmoid'"),
        (lambda: layer(2, 2, "sigmiod"), "did you mean 'sigmoid'"),
        (lambda: multilayer_perceptron((2, 1), ("sigmiod",)), "did you mean 'sigmoid'"),
        (lambda: neuron(2, "softmax"), "needs a layer"),
        (lambda: neuron(0, "relu"), "at least 1 feature"),
        (lambda: layer(2, 0, "relu"), "at least 1 feature and 1 output"),
        (lambda: multilayer_perceptron((2, 2, 1), ("relu",)), "one activation fewer, not 3 and 1"),
        (lambda: multilayer_perceptron((2,), ()), "two or more sizes"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(InputError, match=message):
        build()
