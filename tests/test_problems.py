import gc
import itertools
from importlib.resources import files

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

from jaxloss import (
    Problem,
    cli,
    find_critical_points,
    list_problems,
    load_problem,
    load_samples,
    network_problem,
    neuron_problem,
)
from jaxloss.engine.lanes import lanes
from jaxloss.errors import InputError
from jaxloss.figures.problems import plot_problem
from jaxloss.problems import PROBLEMS, parameter_names
from jaxloss.problems.problem import Structure
from jaxloss.problems.registry import problem_options
from jaxloss.problems.safran_shamir import population_loss
from jaxloss.problems.trainability import CONDITIONS
from jaxloss.problems.views import view
from jaxloss.spec import load_spec
from jaxloss.surface import loss_surface

examples = settings(deadline=None, derandomize=True, max_examples=30)


def bowl(**fields):
    defaults = {"name": "bowl", "objective": lambda p: p["w"] ** 2, "params": {"w": 0.0}}
    return Problem(**defaults | fields)


def neuron(activation="sigmoid", loss="mse", inputs=((-1.0,), (1.0,)), targets=(0.0, 1.0), **options):
    return neuron_problem(activation, loss, inputs, targets, **options)


def network(sizes=(2, 2, 1), activations=("tanh", "sigmoid"), loss="mse", inputs=None, targets=(0, 1), **options):
    return network_problem(sizes, activations, loss, np.eye(2) if inputs is None else inputs, targets, **options)


def in_float64(transform, problem, points):
    """A transform of the objective (its value, gradient or Hessian) at a point, or at rows of points."""
    with jax.enable_x64(True):
        points, data = jnp.asarray(points, np.float64), jax.tree.map(np.array, problem.data)
        function = transform(lambda point: problem.batch_objective(problem.unravel(point), data))
        return np.asarray(jax.vmap(function)(points) if points.ndim == 2 else function(points))


def loss_at(problem, params):
    return in_float64(lambda objective: objective, problem, problem.ravel(params))


def gradient_at(problem, params):
    return in_float64(jax.grad, problem, problem.ravel(params))


def hessian_at(problem, params):
    return in_float64(jax.hessian, problem, problem.ravel(params))


def in_float64_outputs(problem):
    """The model's outputs at the initial weights."""
    with jax.enable_x64(True):
        return np.asarray(problem.outputs(problem.params, problem.data))


shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
trees = st.recursive(
    shapes.map(np.zeros),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3) | st.tuples(inner, inner),
    max_leaves=5,
)


class TestStructure:
    @examples
    @given(tree=trees, leading=shapes)
    def test_ravel_inverts_unravel(self, tree, leading):
        structure = Structure.of(tree)
        vector = np.arange(np.prod((*leading, structure.num_parameters))).reshape(*leading, -1)
        params = structure.unravel(vector)
        assert jax.tree.structure(params) == jax.tree.structure(tree)
        assert all(
            leaf.shape == (*leading, *template.shape)
            for leaf, template in zip(jax.tree.leaves(params), jax.tree.leaves(tree), strict=True)
        )
        np.testing.assert_array_equal(structure.ravel(params), vector)

    @examples
    @given(tree=trees)
    def test_every_entry_has_a_name_of_its_own(self, tree):
        names = parameter_names(tree)
        assert len(set(names)) == len(names) == Structure.of(tree).num_parameters

    def test_equal_structures_are_one_key(self):
        first, second = (Structure.of({"w": np.full(2, fill), "b": fill}) for fill in (0.0, 1.0))
        assert first == second
        assert hash(first) == hash(second)
        assert first != Structure.of({"w": np.zeros(3), "b": 0.0})

    def test_ravel_works_inside_jit(self):
        structure = Structure.of({"w": np.zeros((2, 2)), "b": 0.0})
        vector = jnp.arange(5.0)
        np.testing.assert_array_equal(jax.jit(lambda v: structure.ravel(structure.unravel(v)))(vector), vector)


class TestParameterNames:
    @pytest.mark.parametrize(
        ("params", "names"),
        [
            ({"w": 0.0, "b": 0.0}, ("b", "w")),
            ({"weight": np.zeros(2), "bias": 0.0}, ("bias", "weight[0]", "weight[1]")),
            ({"layer_0": {"weight": np.zeros((1, 2))}}, ("layer_0.weight[0,0]", "layer_0.weight[0,1]")),
            (np.zeros(2), ("params[0]", "params[1]")),
            (0.0, ("params",)),
        ],
    )
    def test_paths_and_indices(self, params, names):
        assert parameter_names(params) == names

    def test_a_name_says_which_entry_of_the_vector_it_is(self):
        problem = network()
        values = dict(zip(problem.parameter_names, problem.ravel(problem.params), strict=True))
        assert values["layer_0.weight[1,0]"] == problem.params["layer_0"]["weight"][1, 0]
        assert values["layer_1.bias[0]"] == problem.params["layer_1"]["bias"][0]


class TestProblem:
    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"params": {}}, "params must hold at least one number"),
            ({"params": None}, "params must hold at least one number"),
            ({"params": {"w": "a"}}, "params: w must be a real number"),
            ({"params": {"w": 1j}}, "params: w must be a real number"),
            ({"params": {"w": np.nan}}, "params: w must be finite"),
            ({"params": {"w": np.zeros(2)}}, "objective must return one real number"),
            ({"objective": lambda p: 1}, "objective must return one real number"),
            ({"objective": lambda p: (p["w"], p["w"])}, "objective must return one real number"),
            ({"objective": 3}, "objective must be a function"),
            ({"objective": None}, "either objective"),
            ({"batch_objective": lambda p, data: p["w"]}, "either objective"),
            ({"params": {"w": np.ones(2, complex)}}, "params: w must be a real number"),
            ({"params": {"w": np.array([1, 1j], object)}}, "params: w must be a real number"),
            ({"params": {"w": "1"}}, "params: w must be a real number or array, not '1'"),
            ({"params": {"w": 10**400}}, "params: w must be a real number"),
            ({"params": {"w": np.zeros(0)}}, "params must hold at least one number"),
            ({"params": {"w": 0.0, 1: 0.0}}, "params must be a pytree whose keys can be sorted"),
            (
                {"objective": lambda w, data: w["w"]},
                r"objective must be a function of the parameters alone.*\(w, data\)",
            ),
            (
                {"objective": jax.jit(lambda w, data: w["w"])},
                r"the parameters alone \(data go with batch_objective\)",
            ),
            ({"data": (np.ones(3),)}, r"data must come with batch_objective\(params, data\)"),
            ({"objective": None, "batch_objective": 3}, "batch_objective must be a function of the parameters and"),
            ({"objective": None, "batch_objective": lambda p: p["w"]}, r"batch_objective .* arguments are \(p\)"),
            ({"outputs": 3}, "outputs must be a function of the parameters and the data, not 3"),
            ({"infimum": np.nan}, "infimum must be a finite number, not nan"),
            ({"infimum": "0"}, "infimum must be a finite number, not '0'"),
            ({"infimum": 1j}, "infimum must be a finite number, not 1j"),
            ({"infimum": np.zeros(2)}, "infimum must be a finite number"),
            ({"piecewise": "no"}, "piecewise must be true or false, not 'no'"),
            ({"critical_points": ({"v": 0.0},)}, r"critical_points\[0\] must have the structure and shapes"),
            ({"critical_points": ({"w": 0.0}, {"w": [0.0]})}, r"critical_points\[1\] must have the structure"),
            ({"critical_points": ({"w": np.nan},)}, r"critical_points\[0\]: w must be finite"),
            ({"critical_points": 3}, "critical_points must be a tuple of pytrees like params, not 3"),
            ({"name": ""}, "name must hold at least one character"),
            ({"name": 3}, "name must be a string, not 3"),
            ({"citation": None}, "citation must be a string, not None"),
            ({"facts": "one"}, "facts must be a list of names, not 'one'"),
            ({"facts": (3,)}, r"facts\[0\] must be a string, not 3"),
        ],
    )
    def test_bad_fields_are_named(self, fields, sentence):
        with pytest.raises(InputError, match=sentence):
            bowl(**fields)

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (np.ones(3, complex), "data must be arrays of real numbers"),
            (["a", "b"], "data must be arrays of real numbers, not 'a'"),
            ([1.0, 2.0], r"data must be arrays with one or more samples along the first axis.*\[\(\), \(\)\]"),
            ((np.ones(3), np.ones(2)), r"data must be arrays with one or more samples.*\[\(3,\), \(2,\)\]"),
            (np.ones((0, 2)), "data must be arrays with one or more samples"),
        ],
    )
    def test_bad_data_are_named(self, data, sentence):
        with pytest.raises(InputError, match=sentence):
            bowl(objective=None, batch_objective=lambda p, data: p["w"], data=data)

    @pytest.mark.parametrize("infimum", [0, np.float32(0), np.zeros(()), jnp.zeros(())])
    def test_infimum_becomes_a_float(self, infimum):
        assert isinstance(bowl(infimum=infimum).infimum, float)

    def test_no_warning_for_numbers_beyond_float32(self):
        assert bowl(params={"w": 1e300}).params["w"] == 1e300
        assert neuron(inputs=[1e300, 1.0]).data[0][0, 0] == 1e300

    def test_params_become_float64_arrays(self):
        params = bowl(params={"w": 3}).params
        assert params["w"].dtype == np.float64
        assert params["w"].shape == ()

    def test_objective_is_the_batch_objective_on_all_data(self):
        data = (np.array([1.0, 2.0, 6.0]),)
        problem = bowl(objective=None, data=data, batch_objective=lambda p, rows: jnp.mean((rows[0] - p["w"]) ** 2))
        assert float(problem.objective({"w": 3.0})) == pytest.approx((4 + 1 + 9) / 3)
        assert float(problem.batch_objective({"w": 3.0}, (data[0][:1],))) == pytest.approx(4)

    def test_one_objective_compiles_once(self):
        objective = lambda p: p["w"] ** 2  # noqa: E731
        assert bowl(objective=objective).batch_objective is bowl(objective=objective).batch_objective

    @pytest.mark.parametrize(
        ("objective", "piecewise"),
        [
            (lambda p: p["w"] ** 2, False),
            (lambda p: jnp.tanh(p["w"]) + jax.nn.sigmoid(p["w"]), False),
            (lambda p: jnp.abs(p["w"]), True),
            (lambda p: jax.nn.relu(p["w"]), True),
            (lambda p: jnp.where(p["w"] > 0, p["w"], 0.0), True),
            (jax.jit(lambda p: jnp.maximum(p["w"], 0.0)), True),
        ],
    )
    def test_pieces_are_read_off_the_program(self, objective, piecewise):
        assert bowl(objective=objective).piecewise is piecewise

    def test_pieces_may_be_declared(self):
        assert bowl(piecewise=True).piecewise is True
        assert bowl(objective=lambda p: jnp.abs(p["w"]), piecewise=False).piecewise is False


class TestNeuronProblem:
    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"activation": "sigmod"}, "unknown activation 'sigmod': did you mean 'sigmoid'"),
            ({"loss": "mze"}, "unknown loss 'mze': did you mean 'mse'"),
            ({"activation": "softmax"}, "activation 'softmax' needs several output nodes"),
            ({"activation": "relu", "loss": "cross_entropy"}, "loss 'cross_entropy'.*not 'relu'"),
            ({"inputs": [], "targets": []}, "inputs must hold at least one sample"),
            ({"targets": []}, "targets must hold at least one sample"),
            ({"inputs": [[1.0], [1.0, 2.0]]}, "inputs must be numbers in rows of equal length"),
            ({"inputs": [["a"], ["b"]]}, "inputs must be numbers"),
            ({"inputs": [[1.0], [np.nan]]}, "inputs must be finite, but sample 1"),
            ({"targets": [np.inf, 0.0]}, "targets must be finite, but sample 0"),
            ({"inputs": np.zeros((2, 1, 1))}, "inputs must be n rows of d features"),
            ({"targets": [0.0]}, "inputs and targets must have the same length, not 2 and 1"),
            ({"targets": [[0.0], [1.0]]}, "targets of a neuron must be one number for each sample"),
            ({"loss": "cross_entropy", "targets": [0.0, 1.5]}, r"targets must lie in \[0, 1\].*1.5"),
            ({"targets": 1.0}, r"^targets must be n numbers or n rows of them, not an array of shape \(\)"),
            ({"targets": np.zeros((2, 1, 1))}, "^targets must be n numbers"),
            ({"inputs": np.nan}, "inputs must be n rows of d features"),
            ({"inputs": [[1j], [0.0]]}, "inputs must be numbers"),
            ({"inputs": np.ones((2, 1), complex)}, "inputs must be numbers"),
            ({"targets": np.ones(2, complex)}, "targets must be numbers"),
            ({"targets": ["0", "1"]}, "targets must be numbers"),
            ({"inputs": None}, "inputs must be numbers"),
            ({"infimun": 0}, "unknown field 'infimun': did you mean 'infimum'"),
            ({"params": {"weight": 0.0}}, "unknown field 'params'"),
            ({"infimum": np.inf}, "infimum must be a finite number, not inf"),
            ({"bias": "no"}, "bias must be true or false, not 'no'"),
            ({"activation": 3}, "activation must be a string, not 3"),
            ({"activation": ["sigmoid"]}, r"activation must be a string, not \['sigmoid'\]"),
            ({"activation": np.str_("x")}, "unknown activation 'x'"),
            ({"loss": None}, "loss must be a string, not None"),
            ({"loss": np.str_("x")}, "unknown loss 'x'"),
            ({"name": ""}, "name must hold at least one character"),
        ],
    )
    def test_bad_fields_are_named(self, fields, sentence):
        with pytest.raises(InputError, match=sentence):
            neuron(**fields)

    @pytest.mark.parametrize("bias", [True, False])
    def test_loss_by_hand(self, bias):
        inputs, targets = np.array([[-1.0, 2.0], [0.5, 0.0], [3.0, -1.0]]), np.array([0.0, 1.0, 0.25])
        weight, shift = np.array([0.3, -0.7]), 0.2
        params = {"weight": weight} | ({"bias": np.array(shift)} if bias else {})
        prediction = 1 / (1 + np.exp(-(inputs @ weight + (shift if bias else 0))))
        entropy = -(targets * np.log(prediction) + (1 - targets) * np.log(1 - prediction))
        for loss, expected in (
            ("mse", np.mean((prediction - targets) ** 2)),
            ("half_sse", np.sum((prediction - targets) ** 2) / 2),
            ("cross_entropy", np.mean(entropy)),
        ):
            problem = neuron(loss=loss, inputs=inputs, targets=targets, bias=bias)
            assert loss_at(problem, params) == pytest.approx(expected, rel=1e-12)

    def test_outputs_are_the_predictions(self):
        problem = neuron("relu", inputs=[[1.0], [2.0]])
        outputs = problem.outputs({"weight": np.array([2.0]), "bias": np.array(-3.0)}, problem.data)
        np.testing.assert_allclose(outputs, [0.0, 1.0])

    def test_one_feature_may_be_a_plain_list(self):
        flat, rows = neuron(inputs=[-1.0, 1.0]), neuron()
        np.testing.assert_array_equal(flat.data[0], rows.data[0])

    def test_cross_entropy_is_convex(self):
        rng = np.random.default_rng(0)
        problem = neuron(
            loss="cross_entropy", inputs=rng.normal(size=(6, 2)), targets=(rng.random(6) > 0.5).astype(float)
        )
        hessians = in_float64(jax.hessian, problem, rng.normal(size=(20, 3)) * 4)
        assert np.linalg.eigvalsh(hessians).min() >= -1e-12

    def test_same_structure_shares_its_objective(self):
        assert neuron().batch_objective is neuron(targets=[1.0, 0.0]).batch_objective
        assert neuron().batch_objective is not neuron("tanh").batch_objective

    @pytest.mark.parametrize(("activation", "piecewise"), [("sigmoid", False), ("tanh", False), ("relu", True)])
    def test_pieces_follow_the_activation(self, activation, piecewise):
        assert neuron(activation).piecewise is piecewise

    def test_further_facts_and_names(self):
        problem = neuron(name="mine", infimum=0.0, citation="somebody, 1999")
        assert (problem.name, problem.infimum, problem.citation) == ("mine", 0.0, "somebody, 1999")
        assert neuron().name == "sigmoid-mse"


class TestNetworkProblem:
    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"activations": ("tanh",)}, "activations must name one for each layer after the input: 2"),
            ({"sizes": (2,)}, "activations must name one"),
            ({"sizes": (3, 2, 1)}, r"sizes\[0\] must be the number of features, 2, not 3"),
            ({"sizes": (2, 2, 3)}, "targets must have 3 columns"),
            ({"activations": ("tan", "sigmoid")}, "unknown activation 'tan': did you mean 'tanh'"),
            ({"loss": "mze"}, "unknown loss 'mze'"),
            ({"sizes": (2, 0, 1)}, r"sizes\[1\] must be at least 1, not 0"),
            ({"sizes": (2, 2.5, 1)}, r"sizes\[1\] must be a whole number of at least 1, not 2.5"),
            ({"sizes": (2, np.float64(2.5), 1)}, r"sizes\[1\] must be .*not 2.5$"),
            ({"sizes": 3}, "sizes must be the numbers of nodes of the layers, input first, not 3"),
            ({"sizes": "221"}, "sizes must be the numbers of nodes"),
            ({"activations": "tanh"}, "activations must be a list of names, not 'tanh'"),
            ({"activations": ("tanh", 3)}, r"activations\[1\] must be a string, not 3"),
            ({"bias": None}, "bias must be true or false"),
            ({"seed": -1}, "seed must be at least 0, not -1"),
            ({"seed": 1.5}, "seed must be a whole number of at least 0, not 1.5"),
            ({"seed": 2**63}, "seed must be at most"),
            ({"infimun": 0}, "unknown field 'infimun': did you mean 'infimum'"),
            ({"targets": 1.0}, "^targets must be"),
            ({"inputs": [[0.0, np.inf], [0.0, 0.0]]}, "inputs must be finite, but sample 0"),
        ],
    )
    def test_bad_fields_are_named(self, fields, sentence):
        with pytest.raises(InputError, match=sentence):
            network(**fields)

    def test_loss_by_hand(self):
        problem = network(inputs=[[1.0, 2.0], [3.0, -1.0]], targets=[0.25, 1.0])
        hidden, output = problem.params["layer_0"], problem.params["layer_1"]
        layer = np.tanh(problem.data[0] @ hidden["weight"].T + hidden["bias"])
        prediction = 1 / (1 + np.exp(-(layer @ output["weight"].T + output["bias"])))[:, 0]
        expected = np.mean((prediction - [0.25, 1.0]) ** 2)
        assert loss_at(problem, problem.params) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("loss", ["cross_entropy", "matching"])
    def test_softmax_targets_must_be_distributions(self, loss):
        options = {"sizes": (2, 3), "activations": ("softmax",), "loss": loss}
        assert network(targets=[[0.2, 0.3, 0.5], [1, 0, 0]], **options).num_parameters == 9
        with pytest.raises(InputError, match=r"targets must sum to 1 in each row.*sample 1 sums to 2"):
            network(targets=[[0, 1, 0], [1, 0, 1]], **options)

    def test_swapped_hidden_units_compute_the_same(self):
        problem = network()
        swapped = jax.tree.map(np.array, problem.params)
        for leaf in ("weight", "bias"):
            swapped["layer_0"][leaf] = swapped["layer_0"][leaf][::-1]
        swapped["layer_1"]["weight"] = swapped["layer_1"]["weight"][:, ::-1]
        np.testing.assert_allclose(loss_at(problem, swapped), loss_at(problem, problem.params), rtol=1e-14)

    def test_seed_sets_the_initial_point(self):
        first, again, other = (network(seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.ravel(first.params), again.ravel(again.params))
        assert np.all(first.ravel(first.params) != other.ravel(other.params))

    def test_without_biases(self):
        assert network(bias=False).num_parameters == 6
        assert network().num_parameters == 9


@pytest.mark.parametrize("name", sorted(PROBLEMS))
class TestEveryProblem:
    def test_bears_its_name_and_a_source(self, name):
        problem = load_problem(name)
        assert problem.citation
        assert name == "loss-comparison" or problem.name == name
        assert PROBLEMS[name].__doc__

    def test_gradient_agrees_with_differences(self, name):
        problem = load_problem(name)
        point = np.random.default_rng(1).normal(size=problem.num_parameters)
        step = 1e-5 * np.eye(problem.num_parameters)
        losses = in_float64(lambda objective: objective, problem, np.concatenate([point + step, point - step]))
        ahead, behind = np.split(losses, 2)
        gradient = gradient_at(problem, problem.unravel(point))
        np.testing.assert_allclose(gradient, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)

    def test_known_critical_points_are_critical(self, name):
        problem = load_problem(name)
        for point in problem.critical_points:
            assert np.linalg.norm(gradient_at(problem, point)) < 1e-12

    def test_declared_infimum_bounds_the_loss(self, name):
        problem = load_problem(name)
        if problem.infimum is None:
            return
        points = 3 * np.random.default_rng(0).normal(size=(200, problem.num_parameters))
        assert in_float64(lambda objective: objective, problem, points).min() >= problem.infimum

    def test_options_are_what_it_takes(self, name):
        assert set(problem_options(name)) <= {
            *("activation", "loss", "species", "features", "standardize", "sharpness", "condition"),
            *("nonlinearity", "num_points", "seed", "n", "d", "r", "num_units", "num_teachers"),
            *("epsilon", "wavelength", "width", "depth"),
        }

    def test_facts_are_sentences_with_their_source(self, name):
        facts = load_problem(name).facts
        assert facts
        assert all(fact.endswith(".") and len(fact) > 20 for fact in facts)

    def test_a_sweep_takes_it_by_name(self, name, tmp_path):
        # The axes are two of its parameters, or the learning rate alone; a few steps say that everything fits.
        parameter = load_problem(name).parameter_names[0]
        text = f'''[data]
problem = "{name}"
[grid]
"{parameter}" = {{ values = [0.25, 0.5] }}
learning_rate = {{ values = [0.1] }}
[run]
num_steps = 2
'''
        (tmp_path / "spec.toml").write_text(text)
        spec = load_spec(tmp_path / "spec.toml")
        spec.validate()
        ((label, problem),) = spec.problems()
        assert label == name
        assert np.all(np.isfinite(gradient_at(problem, problem.params)))


class TestRegistry:
    def test_lists_every_problem(self):
        assert set(list_problems()) == set(PROBLEMS)

    @pytest.mark.parametrize(
        ("name", "options", "sentence"),
        [
            ("xor221", {}, "unknown problem 'xor221': did you mean 'xor-221'"),
            ("quadratic", {"sharpnes": 2.0}, "option of problem 'quadratic': 'sharpnes': did you mean 'sharpness'"),
            ("cubic-map", {"loss": "mse"}, "problem 'cubic-map' has no options.*'loss'"),
            ("quadratic", {"sharpness": -1.0}, "sharpness > 0.*not -1"),
            ("quadratic", {"condition": 0.5}, "condition >= 1.*0.5"),
            ("iris", {"species": ("setosa", "virginic")}, "unknown species 'virginic': did you mean 'virginica'"),
            ("iris", {"species": ("setosa", "setosa")}, "two different species"),
            ("iris", {"features": ("petal_len",)}, "unknown feature 'petal_len': did you mean 'petal_length'"),
            ("iris", {"features": ()}, "at least one feature"),
            ("auer-fig3a", {"loss": "mze"}, "unknown loss 'mze'"),
            (["xor"], {}, r"name of the problem must be a string, not \['xor'\]"),
            (None, {}, "name of the problem must be a string"),
            (np.str_("xor"), {}, "unknown problem 'xor': did you mean 'xor-221'"),
            ("quadratic", {"sharpness": "a"}, "sharpness must be a finite number, not 'a'"),
            ("quadratic", {"sharpness": np.nan}, "sharpness must be a finite number, not nan"),
            ("quadratic", {"sharpness": 1j}, "sharpness must be a finite number, not 1j"),
            ("quadratic", {"condition": np.inf}, "condition must be a finite number, not inf"),
            ("quadratic", {"sharpness": np.float64(-1.0)}, "sharpness > 0.*not -1 and 10"),
            ("iris", {"species": ("setosa", "virginica", "setosa")}, "two different species"),
            ("iris", {"species": "setosa"}, "species must be a list of names, not 'setosa'"),
            ("iris", {"features": 3}, "features must be a list of names, not 3"),
            ("iris", {"features": (np.str_("x"),)}, "unknown feature 'x'"),
            ("iris", {"standardize": "no"}, "standardize must be true or false"),
            ("xor-221", {"loss": ["mse"]}, "loss must be a string"),
            ("trainability-fractal", {"nonlinearity": "than"}, "unknown nonlinearity 'than': did you mean 'tanh'"),
            ("trainability-fractal", {"nonlinearity": "sigmoid"}, "unknown nonlinearity 'sigmoid'"),
            ("trainability-fractal", {"nonlinearity": 3}, "'trainability-fractal': nonlinearity must be a string"),
            ("trainability-fractal", {"num_points": 0}, "fractal': num_points must be at least 1, not 0"),
            ("trainability-fractal", {"num_points": 1.5}, "num_points must be a whole number of at least 1, not 1.5"),
            ("trainability-fractal", {"seed": -1}, "seed must be at least 0, not -1"),
            ("trainability-fractal", {"width": 8}, "unknown option of problem 'trainability-fractal': 'width'"),
            (
                "trainability-fractal",
                {"condition": "tanh-mini"},
                "unknown condition 'tanh-mini': did you mean 'tanh-",
            ),
            ("trainability-fractal", {"condition": 3}, "fractal': condition must be a string, not 3"),
            (
                "trainability-fractal",
                {"condition": "relu", "nonlinearity": "relu"},
                "give either condition or nonlinearity, not both",
            ),
            ("auer-exponential", {"n": 1, "d": 2}, "auer-exponential': n must be at least 2, not 1"),
            ("auer-exponential", {"d": 0}, "auer-exponential': d must be at least 1, not 0"),
            ("auer-exponential", {"r": 1.0}, "r must be more than 1, and its power 1 at most 1e12, not 1"),
            ("auer-exponential", {"n": 22}, "its power 10 at most 1e12, not 20"),
            ("auer-exponential", {"r": np.nan}, "r must be a finite number, not nan"),
            ("safran-shamir", {"num_units": 0}, "safran-shamir': num_units must be at least 1, not 0"),
            ("safran-shamir", {"num_teachers": 2.5}, "num_teachers must be a whole number of at least 1, not 2.5"),
            ("safran-shamir", {"seed": -1}, "seed must be at least 0, not -1"),
            ("cosine-roughness", {"wavelength": 0.0}, "cosine-roughness': wavelength must be positive, not 0"),
            ("cosine-roughness", {"epsilon": np.inf}, "epsilon must be a finite number, not inf"),
            ("deep-narrow-relu", {"width": 0}, "deep-narrow-relu': width must be at least 1, not 0"),
            ("deep-narrow-relu", {"depth": 1}, "deep-narrow-relu': depth must be at least 2, not 1"),
            ("deep-narrow-relu", {"width": 1000, "depth": 1000}, r"at most 10\^7 weights, not 1000 and 1000"),
        ],
    )
    def test_bad_requests_are_named(self, name, options, sentence):
        with pytest.raises(InputError, match=sentence):
            load_problem(name, **options)

    @pytest.mark.parametrize("name", sorted(PROBLEMS))
    def test_equal_problems_share_their_objective(self, name):
        assert load_problem(name).batch_objective is load_problem(name).batch_objective

    def test_unequal_problems_do_not(self):
        functions = {load_problem("quadratic", sharpness=s).batch_objective for s in (1, 1.0, 2.0)}
        assert len(functions) == 2

    def test_options_reach_the_problem(self):
        assert load_problem("auer-fig3a", loss="cross_entropy").data[0].shape == (2, 1)
        assert loss_at(load_problem("quadratic", sharpness=4.0), {"x": 1.0, "y": 0.0}) == 2.0


class TestFacts:
    def test_quadratic_has_the_sharpness_and_condition_it_names(self):
        hessian = hessian_at(load_problem("quadratic", sharpness=5.0, condition=4.0), {"x": 0.3, "y": -2.0})
        np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [1.25, 5.0], rtol=1e-14)

    @pytest.mark.parametrize("learning_rate", [0.1, 1.0, 2.0])
    def test_cubic_map_diverges_beyond_its_border(self, learning_rate):
        slope = jax.grad(load_problem("cubic-map").objective)

        def update(_, x):
            # Clipped far outside, where it no longer matters.
            return jnp.clip(x - learning_rate * jax.vmap(slope)({"x": x})["x"], -99, 99)

        border = np.sqrt(1 + 2 / learning_rate)
        starts = border * np.array([0.4, 0.999, -0.999, 1.001, -1.001])
        with jax.enable_x64(True):
            ends = np.abs(jax.lax.fori_loop(0, 400, update, jnp.asarray(starts)))
        assert (ends > 50).tolist() == [False, False, False, True, True]

    def test_cubic_map_is_a_cubic(self):
        x = np.array([-1.5, 0.0, 0.3, 2.0])
        value, gradient = (
            in_float64(transform, load_problem("cubic-map"), x[:, None]) for transform in (lambda f: f, jax.grad)
        )
        np.testing.assert_allclose(value, x**4 / 4 - x**2 / 2, atol=1e-14)
        np.testing.assert_allclose(gradient[:, 0], x**3 - x, atol=1e-14)

    def test_xor_is_xor(self):
        inputs, targets = load_problem("xor-221").data
        assert {tuple(row): t for row, t in zip(inputs.tolist(), targets[:, 0].tolist(), strict=True)} == {
            (0.0, 0.0): 0.0,
            (0.0, 1.0): 1.0,
            (1.0, 0.0): 1.0,
            (1.0, 1.0): 0.0,
        }

    def test_xor_tends_to_its_infimum_at_infinity(self):
        problem = load_problem("xor-221")
        # One hidden unit computes OR, the other AND; the output is OR and not AND.
        solution = {
            "layer_0": {"weight": np.array([[2.0, 2.0], [2.0, 2.0]]), "bias": np.array([-1.0, -3.0])},
            "layer_1": {"weight": np.array([[2.0, -2.0]]), "bias": np.array([-1.0])},
        }
        losses = [loss_at(problem, jax.tree.map(lambda leaf, s=s: s * leaf, solution)) for s in (2, 8, 32)]
        assert losses[0] > losses[1] > losses[2] >= 0
        assert losses[2] < 1e-12

    def test_xor_is_critical_at_zero(self):
        problem = load_problem("xor-221")
        zero = problem.unravel(np.zeros(9))
        assert loss_at(problem, zero) == 0.25
        assert np.all(gradient_at(problem, zero) == 0)

    @pytest.mark.parametrize(
        ("loss", "weights", "bias", "value", "smallest"),
        [
            ("sse", (0.39386, -0.82821), 0.33293, 5.521490, 0.998),
            ("sse", (1.37387, -2.16138), 1.75903, 5.611999, 0.0249),
            ("cross_entropy", (0.27763, -0.79257), 0.18126, None, None),
        ],
    )
    def test_two_minima_binary(self, loss, weights, bias, value, smallest):
        problem = load_problem("two-minima-binary", loss=loss)
        assert problem.data[0].shape == (28, 2)
        point = {"weight": np.array(weights), "bias": bias}
        assert np.linalg.norm(gradient_at(problem, point)) < 5e-5
        if value is not None:
            assert loss_at(problem, point) == pytest.approx(value, abs=1e-6)
            assert np.linalg.eigvalsh(hessian_at(problem, point))[0] == pytest.approx(smallest, rel=2e-3)

    @pytest.mark.parametrize(
        ("weight", "value", "sign"), [(-1.569397, 0.302500, 1), (0.012925, 0.063950, 1), (-0.530716, None, -1)]
    )
    def test_auer_figure_3a(self, weight, value, sign):
        problem, point = load_problem("auer-fig3a"), {"weight": np.array([weight])}
        curvature = hessian_at(problem, point)[0, 0]
        # The curvature at the sharp minimum magnifies the rounding of the published digits.
        assert abs(gradient_at(problem, point)[0]) < 1e-6 * max(1.0, abs(curvature))
        assert np.sign(curvature) == sign
        if value is not None:
            assert loss_at(problem, point) == pytest.approx(value, abs=1e-6)

    def test_separable_samples_are_separable_and_their_minimum_does_not_separate(self):
        problem = load_problem("separable-but-stuck")
        inputs, targets = problem.data
        assert inputs.shape == (121, 2)
        assert np.all(targets == 0.8)
        # Some weight has a positive margin on every sample ...
        angles = np.linspace(0, 2 * np.pi, 721)
        directions = np.stack([np.cos(angles), np.sin(angles)])
        assert (inputs @ directions).min(axis=0).max() > 0.01
        # ... but not the minimum of the squared error.
        weight = np.array([0.70089, 0.84367])
        assert np.linalg.norm(gradient_at(problem, {"weight": weight})) < 1e-3
        assert np.linalg.eigvalsh(hessian_at(problem, {"weight": weight}))[0] > 0
        assert (inputs @ weight).min() == pytest.approx(-0.279, abs=5e-4)

    def test_single_relu_fits_exactly_and_dies_where_no_sample_activates(self):
        problem = load_problem("single-relu")
        assert loss_at(problem, {"weight": np.array([1.0]), "bias": 0.0}) == 0
        dead = {"weight": np.array([1.0]), "bias": -1.5}
        assert loss_at(problem, dead) == 0.5
        assert np.all(gradient_at(problem, dead) == 0)

    @pytest.mark.parametrize(("loss", "convex"), [("mse", False), ("cross_entropy", True)])
    def test_loss_comparison_is_convex_under_cross_entropy_alone(self, loss, convex):
        points = 3 * np.random.default_rng(0).normal(size=(40, 2))
        hessians = in_float64(jax.hessian, load_problem("loss-comparison", loss=loss), points)
        assert (np.linalg.eigvalsh(hessians).min() >= -1e-12) == convex


class TestIris:
    path = files("jaxloss.problems") / "data" / "iris.csv"

    def columns(self):
        names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
        return load_samples(self.path, features=names, target="petal_width")[0]

    def test_fishers_means(self):
        values = self.columns()
        assert values.shape == (150, 4)
        means = [values[50 * i : 50 * (i + 1)].mean(axis=0) for i in range(3)]
        np.testing.assert_allclose(means[0], [5.006, 3.428, 1.462, 0.246], atol=1e-9)
        np.testing.assert_allclose(means[1], [5.936, 2.770, 4.260, 1.326], atol=1e-9)
        np.testing.assert_allclose(means[2], [6.588, 2.974, 5.552, 2.026], atol=1e-9)

    def test_the_two_rows_that_other_copies_get_wrong(self):
        values = self.columns()
        np.testing.assert_array_equal(values[34], [4.9, 3.1, 1.5, 0.2])
        np.testing.assert_array_equal(values[37], [4.9, 3.6, 1.4, 0.1])

    def test_target_is_the_second_species(self):
        inputs, targets = load_problem("iris", standardize=False).data
        assert inputs.shape == (100, 1)
        assert targets.sum() == 50
        # Virginica has the longer petals.
        assert inputs[targets == 1].mean() > inputs[targets == 0].mean()
        swapped = load_problem("iris", species=("virginica", "versicolor")).data[1]
        np.testing.assert_array_equal(swapped, 1 - targets)

    def test_standardised_by_default(self):
        inputs = load_problem("iris", features=("petal_length", "sepal_width")).data[0]
        np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-14)
        np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-12)


class TestLoadSamples:
    @staticmethod
    def load(tmp_path, text, **options):
        path = tmp_path / "samples.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_samples(path, **{"features": ["a"], "target": "t"} | options)

    def test_columns_in_the_order_asked_for(self, tmp_path):
        inputs, targets = self.load(tmp_path, "a,b,t\n1,2,3\n4,5,6\n", features=["b", "a"])
        np.testing.assert_array_equal(inputs, [[2.0, 1.0], [5.0, 4.0]])
        np.testing.assert_array_equal(targets, [3.0, 6.0])
        assert inputs.dtype == targets.dtype == np.float64

    def test_byte_order_mark_spaces_and_blank_lines(self, tmp_path):
        inputs, targets = self.load(tmp_path, "\ufeffa, t\n 1 ,2\n\n3,4\n")
        np.testing.assert_array_equal(inputs, [[1.0], [3.0]])
        np.testing.assert_array_equal(targets, [2.0, 4.0])

    def test_npz_agrees_with_csv(self, tmp_path):
        np.savez(tmp_path / "samples.npz", a=np.array([1, 4]), t=np.array([3.0, 6.0], np.float32))
        from_npz = load_samples(tmp_path / "samples.npz", features=["a"], target="t")
        from_csv = self.load(tmp_path, "a,t\n1,3\n4,6\n")
        for one, other in zip(from_npz, from_csv, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == np.float64

    def test_standardize_leaves_the_target_alone(self, tmp_path):
        inputs, targets = self.load(tmp_path, "a,t\n1,7\n3,8\n", standardize=True)
        np.testing.assert_allclose(inputs, [[-1.0], [1.0]])
        np.testing.assert_array_equal(targets, [7.0, 8.0])

    @pytest.mark.parametrize(
        ("text", "options", "sentence"),
        [
            ("aa,t\n1,2\n", {}, "samples.csv: 'a': did you mean 'aa'"),
            ("a,t\n1,2\n", {"target": "y"}, "samples.csv: 'y'"),
            ("a,t\n1,2\n", {"features": []}, "features must name at least one column"),
            ("a,t\n1,2\nx,3\n", {}, "column 'a' is not numeric.*'x'"),
            ("a,t\n1,2\n,3\n", {}, "column 'a' is not numeric.*''"),
            ("a,t\n1,2\n3,inf\n", {}, "column 't' must be finite, but sample 1 is inf"),
            ("a,t\n5,1\n5,2\n", {"standardize": True}, "standardize: column 'a' is constant"),
            ("a,t\n0.1,1\n0.1,2\n0.1,3\n", {"standardize": True}, "standardize: column 'a' is constant"),
            ("a,t\n1e200,1\n-1e200,2\n", {"standardize": True}, "standardize: column 'a' must be below 1e150"),
            ("a,t\nnan,2\nx,3\n", {}, "column 'a' is not numeric: 'x'"),
            ("a,t\n1,2\n", {"features": "a"}, "features must be a list of names, not 'a'"),
            ("a,t\n1,2\n", {"features": [3]}, r"features\[0\] must be a string, not 3"),
            ("a,t\n1,2\n", {"features": [np.str_("b")]}, "samples.csv: 'b': Valid"),
            ("a,t\n1,2\n", {"target": None}, "target must be a string, not None"),
            ("a,t\n1,2\n", {"standardize": "no"}, "standardize must be true or false"),
            ("a,t\n1,2\n3\n", {}, "row 3 has 1 fields, the header 2"),
            ("a,t\n\n1,2\n\n\n3\n", {}, "row 6 has 1 fields, the header 2"),
            ("a,a\n1,2\n", {}, "names a column twice"),
            ("a,t\n", {}, "a header and at least one row"),
            ("", {}, "a header and at least one row"),
            ("a,t\n1,é\n".encode("latin1"), {}, "cannot read samples.csv"),
        ],
    )
    def test_bad_files_are_explained(self, tmp_path, text, options, sentence):
        with pytest.raises(InputError, match=sentence):
            self.load(tmp_path, text, **options)

    @pytest.mark.parametrize(
        ("columns", "sentence"),
        [
            ({"a": np.ones(4), "t": np.ones(3)}, "columns must have the same length"),
            ({"a": np.ones((3, 1)), "t": np.ones(3)}, "column 'a' must be one-dimensional"),
            ({"a": np.array(["x", "1"]), "t": np.ones(2)}, "column 'a' is not numeric: 'x'"),
            ({"a": np.ones(2, complex), "t": np.ones(2)}, "column 'a' must hold real numbers, not complex128"),
            ({"a": np.zeros(2, "M8[s]"), "t": np.ones(2)}, "column 'a' must hold real numbers, not datetime64"),
            ({"a": np.ones(0), "t": np.ones(0)}, "column '[at]' must hold at least one sample"),
            ({"a": np.array([1.0, np.nan]), "t": np.ones(2)}, "column 'a' must be finite, but sample 1 is nan$"),
            (
                {"a": np.array([1, "x"], object), "t": np.ones(2)},
                "samples.npz: it must be an NPZ archive of arrays of",
            ),
            ({}, "samples.npz: needs at least one column"),
        ],
    )
    def test_bad_archives_are_explained(self, tmp_path, columns, sentence):
        np.savez(tmp_path / "samples.npz", **columns)
        with pytest.raises(InputError, match=sentence):
            load_samples(tmp_path / "samples.npz", features=["a"], target="t")

    @pytest.mark.parametrize("content", [b"PK\x03\x04garbage", b"garbage", b"", b"array"])
    @pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
    def test_other_bytes_are_no_archive(self, tmp_path, content):
        path = tmp_path / "samples.npz"
        path.write_bytes(content)
        if content == b"array":
            with path.open("wb") as file:
                np.save(file, np.ones(3))
        with pytest.raises(
            InputError, match=r"cannot read samples.npz: it must be an NPZ archive of arrays of numbers"
        ):
            load_samples(path, features=["a"], target="t")
        gc.collect()  # a file left open would warn here

    def test_a_folder_or_no_path_is_no_file(self, tmp_path):
        (tmp_path / "folder.npz").mkdir()
        for path, sentence in (
            (tmp_path / "folder.npz", "cannot read folder.npz"),
            (3, "file must be a path, not 3"),
        ):
            with pytest.raises(InputError, match=sentence):
                load_samples(path, features=["a"], target="t")

    @pytest.mark.parametrize(("name", "sentence"), [("no.csv", "no data file.*no.csv"), ("a.txt", "a.txt: .*csv or")])
    def test_missing_or_foreign_files(self, tmp_path, name, sentence):
        with pytest.raises(InputError, match=sentence):
            load_samples(tmp_path / name, features=["a"], target="t")


class TestCriticalPointsRequest:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"num_starts": True}, "num_starts must be a whole number of at least 1, not True"),
            ({"num_starts": 2.5}, "num_starts must be a whole number of at least 1, not 2.5"),
            ({"num_starts": 0}, "num_starts must be at least 1, not 0"),
            ({"num_starts": 10**7}, "num_starts must be at most 1,000,000"),
            ({"seed": -1}, "seed must be at least 0, not -1"),
            ({"seed": None}, "seed must be a whole number of at least 0, not None"),
            ({"box": [("w", -1, 1)]}, r"box must be a mapping of each parameter to \(low, high\), not \[\('w'"),
            ({"box": None}, "box must be a mapping"),
            ({"box": {"w": (0, 1j)}}, r"box: 'w' must be \(low, high\), not \(0, 1j\)"),
            ({"box": {"w": ("0", "1")}}, r"box: 'w' must be \(low, high\)"),
            ({"box": {"w": None}}, r"box: 'w' must be \(low, high\), not None"),
            ({"box": {"w": (np.nan, 1)}}, "box: 'w' must have finite low < high"),
            ({"box": {"w": (-1e308, 1e308)}}, "box: 'w' must have finite low < high"),
            ({"problem": "xor-221"}, "problem must be a jaxloss.Problem, not 'xor-221'"),
        ],
    )
    def test_bad_fields_are_named(self, options, sentence):
        request = {"problem": bowl(), "box": {"w": (-1, 1)}} | options
        with pytest.raises(InputError, match=sentence):
            find_critical_points(**request)


class TestTrainabilityFractal:
    @pytest.mark.parametrize(
        ("nonlinearity", "function", "num_points", "piecewise"),
        [
            ("tanh", lambda z: np.tanh(np.sqrt(2) * z), 272, False),
            ("relu", lambda z: np.sqrt(2) * np.maximum(z, 0), 272, True),
            ("identity", lambda z: z, 16, False),
        ],
    )
    def test_loss_by_hand(self, nonlinearity, function, num_points, piecewise):
        problem = load_problem("trainability-fractal", nonlinearity=nonlinearity)
        inputs, targets = problem.data
        assert inputs.shape == (num_points, 16)
        assert targets.shape == (num_points,)
        assert problem.piecewise is piecewise
        predictions = function(inputs @ problem.params["input"] / 4) @ problem.params["output"] / 16
        np.testing.assert_allclose(in_float64_outputs(problem), predictions, rtol=1e-12)
        assert loss_at(problem, problem.params) == pytest.approx(np.mean((predictions - targets) ** 2), rel=1e-12)

    @pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "identity"])
    def test_gradient_agrees_with_differences(self, nonlinearity):
        problem = load_problem("trainability-fractal", nonlinearity=nonlinearity, num_points=3)
        point, direction = np.random.default_rng(0).normal(size=(2, problem.num_parameters))
        ahead, behind = (loss_at(problem, problem.unravel(point + step * direction)) for step in (1e-5, -1e-5))
        gradient = gradient_at(problem, problem.unravel(point))
        assert gradient @ direction == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)

    def test_everything_drawn_is_standard_normal(self):
        problem = load_problem("trainability-fractal", num_points=2000)
        for array in (*problem.data, problem.params["input"]):
            assert abs(array.mean()) < 4 / np.sqrt(array.size)
            assert abs(array.var() - 1) < 4 * np.sqrt(2 / array.size)
            assert np.any(array != array.astype(np.float32))

    def test_seed_draws_samples_and_weights(self):
        first, again, other = (load_problem("trainability-fractal", seed=seed) for seed in (1, 1, 2))
        arrays = [jax.tree.leaves((problem.params, problem.data)) for problem in (first, again, other)]
        for one, same, different in zip(*arrays, strict=True):
            np.testing.assert_array_equal(one, same)
            assert np.all(one != different)

    def test_a_single_datapoint(self):
        problem = load_problem("trainability-fractal", num_points=1)
        assert problem.data[0].shape == (1, 16)
        assert problem.batch_objective is load_problem("trainability-fractal").batch_objective

    @pytest.mark.parametrize("condition", CONDITIONS)
    def test_conditions(self, condition):
        chosen, problem = CONDITIONS[condition], load_problem("trainability-fractal", condition=condition)
        inputs, targets = problem.data
        assert inputs.shape == (chosen.num_points, 16)
        assert str(chosen.dimension) in problem.facts[0]
        function = {
            "tanh": lambda z: np.tanh(np.sqrt(2) * z),
            "relu": lambda z: np.sqrt(2) * np.maximum(z, 0),
            "identity": lambda z: z,
        }[chosen.nonlinearity]
        params = {**problem.params, **({"offset": np.asarray(0.3)} if chosen.offset else {})}
        weight = params["input"] + params.get("offset", 0.0)
        predictions = function(inputs @ weight / 4) @ params["output"] / 16
        assert loss_at(problem, params) == pytest.approx(np.mean((predictions - targets) ** 2), rel=1e-12)

    def test_a_condition_is_its_nonlinearity(self):
        for name in ("tanh", "relu", "identity"):
            first, second = (
                load_problem("trainability-fractal", **{key: name}) for key in ("condition", "nonlinearity")
            )
            assert first.batch_objective is second.batch_objective
            np.testing.assert_array_equal(first.data[0], second.data[0])

    def test_the_offset_is_not_trained_but_moves_the_start(self):
        plain = load_problem("trainability-fractal", condition="tanh")
        moved = load_problem("trainability-fractal", condition="tanh-offset")
        at = {**moved.params, "offset": np.asarray(0.7)}
        gradient = moved.unravel(gradient_at(moved, at))
        shifted = {**plain.params, "input": plain.params["input"] + 0.7}
        expected = plain.unravel(gradient_at(plain, shifted))
        assert gradient["offset"] == 0
        for leaf in ("input", "output"):
            np.testing.assert_allclose(gradient[leaf], expected[leaf], rtol=1e-12, atol=1e-15)


class TestAuerExponential:
    def test_samples_are_powers_on_the_axes(self):
        inputs, targets = load_problem("auer-exponential", n=7, d=3, r=10.0).data
        rows = [[1, 0, 0], [10, 0, 0], [0, 1, 0], [0, 10, 0], [0, 0, 1], [0, 0, 10]]
        np.testing.assert_array_equal(inputs, rows)
        assert np.all(targets == 0.75)

    @pytest.mark.parametrize(("n", "minima"), [(4, 4), (6, 9), (10, 25)])
    def test_certified_minima(self, n, minima):
        problem = load_problem("auer-exponential", n=n)
        table = find_critical_points(problem, dict.fromkeys(problem.parameter_names, (-2.0, 2.0)))
        strict = table.location.values[table.kind.values == "strict minimum"]
        assert table.attrs["complete"]
        assert len(strict) == len(problem.critical_points) == minima
        known = np.stack([problem.ravel(point) for point in problem.critical_points])
        apart = np.abs(strict[:, None] - known[None]) / np.abs(known[None])
        assert apart.max(axis=2).min(axis=1).max() < 1e-6
        assert table.loss.values.min() == pytest.approx(problem.infimum, rel=1e-12)

    def test_the_matching_loss_has_one(self):
        problem = load_problem("auer-exponential", n=6, loss="cross_entropy")
        table = find_critical_points(problem, dict.fromkeys(problem.parameter_names, (-2.0, 2.0)))
        assert table.kind.values.tolist() == ["strict minimum"]
        assert problem.critical_points == ()

    def test_three_axes(self):
        problem = load_problem("auer-exponential", n=6, d=3)
        assert len(problem.critical_points) == 8
        for point in problem.critical_points:
            assert np.linalg.norm(gradient_at(problem, point)) < 1e-12
            assert np.linalg.eigvalsh(hessian_at(problem, point))[0] > 0


class TestKnownPoints:
    @pytest.mark.parametrize(
        ("name", "signs"),
        [("auer-fig3a", [1, 1, -1]), ("two-minima-binary", [1, 1, -1]), ("separable-but-stuck", [1])],
    )
    def test_kinds(self, name, signs):
        problem = load_problem(name)
        lowest = [np.linalg.eigvalsh(hessian_at(problem, point))[0] for point in problem.critical_points]
        assert np.sign(lowest).tolist() == signs

    @pytest.mark.parametrize("name", ["auer-fig3a", "two-minima-binary", "separable-but-stuck", "auer-exponential"])
    def test_none_where_another_loss_has_others(self, name):
        assert (
            load_problem(name, loss="mse" if name == "separable-but-stuck" else "cross_entropy").critical_points == ()
        )


class TestReluXorSum:
    def test_loss_by_hand(self):
        problem = load_problem("relu-xor-sum")
        inputs, targets = problem.data
        np.testing.assert_array_equal(targets, inputs[:, 0] * inputs[:, 1] < 0)
        rng = np.random.default_rng(0)
        weight, bias = rng.normal(size=(2, 2)), rng.normal(size=2)
        outputs = np.maximum(inputs @ weight.T + bias, 0).sum(axis=1)
        assert loss_at(problem, {"weight": weight, "bias": bias}) == pytest.approx(np.mean((outputs - targets) ** 2))

    def test_half_of_the_starts_without_bias_are_trapped(self):
        problem = load_problem("relu-xor-sum")
        num = 2000
        weight = 0.5 * np.random.default_rng(0).normal(size=(num, 2, 2))
        with jax.enable_x64(True):
            data = jax.tree.map(np.asarray, problem.data)
            points = {"weight": jnp.asarray(weight), "bias": jnp.zeros((num, 2))}
            slope = jax.vmap(jax.grad(problem.batch_objective), in_axes=(0, None))
            points = jax.jit(
                lambda points: jax.lax.fori_loop(
                    0, 5000, lambda _, p: jax.tree.map(lambda x, g: x - 0.1 * g, p, slope(p, data)), points
                )
            )(points)
            losses = np.asarray(jax.vmap(problem.batch_objective, in_axes=(0, None))(points, data))
        solved = losses < 1e-3
        # The units start on different samples of class 1, or not: this alone decides.
        sides = np.sign(weight @ np.array([1.0, -1.0]))
        np.testing.assert_array_equal(solved, sides[:, 0] != sides[:, 1])
        assert abs(solved.mean() - 0.5) < 3 * 0.5 / np.sqrt(num)
        np.testing.assert_allclose(losses[~solved], 0.25, atol=1e-3)


class TestDeepNarrowRelu:
    @staticmethod
    def silent_share(width, depth, magnitudes):
        """The share of all signs of the weights before the output for which the network is dead."""
        problem = load_problem("deep-narrow-relu", width=width, depth=depth)
        num = problem.num_parameters - width
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=num)))
        points = np.column_stack([signs, np.ones((len(signs), width))]) * magnitudes
        gradients = in_float64(jax.grad, problem, points)
        return np.mean(np.all(gradients == 0, axis=1))

    @pytest.mark.parametrize("seed", range(3))
    def test_five_of_thirty_two_are_born_dead(self, seed):
        # For any sizes of the weights, and all signs are equally likely: exact.
        magnitudes = np.random.default_rng(seed).exponential(size=8) + 1e-3
        assert self.silent_share(2, 3, magnitudes) == 5 / 32

    @pytest.mark.parametrize(("width", "depth", "share"), [(1, 3, 1 / 2), (1, 5, 7 / 8), (2, 2, 0.0)])
    def test_other_sizes(self, width, depth, share):
        problem = load_problem("deep-narrow-relu", width=width, depth=depth)
        magnitudes = np.random.default_rng(0).exponential(size=problem.num_parameters) + 1e-3
        assert self.silent_share(width, depth, magnitudes) == share

    @pytest.mark.parametrize(("width", "depth"), [(2, 3), (3, 3), (2, 4)])
    def test_random_starts(self, width, depth):
        problem = load_problem("deep-narrow-relu", width=width, depth=depth)
        num = 4000
        gradients = in_float64(jax.grad, problem, np.random.default_rng(1).normal(size=(num, problem.num_parameters)))
        share = np.mean(np.all(gradients == 0, axis=1))
        three = 4.0**-width * (3 - 2.0 ** (1 - width))
        slack = 4 * np.sqrt(three * (1 - three) / num)
        assert (abs(share - three) < slack) if depth == 3 else (share > three + slack)

    def test_dead_points_are_dead_all_around(self):
        problem = load_problem("deep-narrow-relu", width=3, depth=4)
        solution, dead = problem.critical_points
        assert loss_at(problem, solution) == 0
        assert loss_at(problem, dead) == 1
        around = problem.ravel(dead) + 0.05 * np.random.default_rng(0).normal(size=(50, problem.num_parameters))
        assert np.all(in_float64(jax.grad, problem, around) == 0)


class TestSafranShamir:
    """The population loss against its definition, its kernel in high precision, and the published minima."""

    @staticmethod
    def in_high_precision(weight):
        """The loss by mpmath: the arc-cosine formula with 40 digits."""

        def kernel(u, v):
            a, b = (mpmath.sqrt(sum(x * x for x in w)) for w in (u, v))
            if a == 0 or b == 0:
                return mpmath.mpf(0)
            angle = mpmath.acos(max(-1, min(1, sum(x * y for x, y in zip(u, v, strict=True)) / (a * b))))
            return a * b * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle)) / (2 * mpmath.pi)

        units = [[mpmath.mpf(x) for x in row] for row in weight]
        teachers = [[mpmath.mpf(int(i == j)) for j in range(len(units[0]))] for i in range(len(units[0]))]
        return (
            sum(kernel(u, v) for u in units for v in units) / 2
            - sum(kernel(u, v) for u in units for v in teachers)
            + sum(kernel(u, v) for u in teachers for v in teachers) / 2
        )

    @staticmethod
    def gradient(weight):
        with jax.enable_x64(True):
            return np.asarray(jax.grad(population_loss)(jnp.asarray(weight, np.float64)))

    def starts(self):
        rng = np.random.default_rng(0)
        plain = rng.normal(size=(3, 3))
        parallel = plain.copy()
        parallel[1] = 2 * plain[0] * (1 + 1e-9 * rng.normal(size=3))
        opposite = plain.copy()
        opposite[1] = -plain[0] * (1 + 1e-10 * rng.normal(size=3))
        tiny = plain * np.array([[1e-7], [1.0], [1.0]])
        return {
            "plain": plain,
            "parallel": parallel,
            "opposite": opposite,
            "tiny": tiny,
            "near the teacher": np.eye(3) + 1e-8 * rng.normal(size=(3, 3)),
            "more units": rng.normal(size=(4, 2)),
            "fewer units": rng.normal(size=(2, 3)),
        }

    @pytest.mark.parametrize(
        "case", ["plain", "parallel", "opposite", "tiny", "near the teacher", "more units", "fewer units"]
    )
    def test_loss_and_gradient_in_high_precision(self, case):
        weight = self.starts()[case]
        with mpmath.workdps(40), jax.enable_x64(True):
            assert float(population_loss(jnp.asarray(weight))) == pytest.approx(
                float(self.in_high_precision(weight)), abs=4e-15
            )
            step = mpmath.mpf(10) ** -15
            for i, j in np.ndindex(*weight.shape):
                ends = []
                for sign in (1, -1):
                    moved = [[mpmath.mpf(x) for x in row] for row in weight]
                    moved[i][j] += sign * step
                    ends.append(self.in_high_precision(moved))
                assert self.gradient(weight)[i, j] == pytest.approx(
                    float((ends[0] - ends[1]) / (2 * step)), abs=4e-15
                )

    def test_loss_is_half_the_mean_squared_difference(self):
        rng = np.random.default_rng(3)
        weight, inputs = rng.normal(size=(3, 4)) / 2, rng.normal(size=(400_000, 4))
        difference = np.maximum(inputs @ weight.T, 0).sum(axis=1) - np.maximum(inputs, 0).sum(axis=1)
        samples = difference**2 / 2
        with jax.enable_x64(True):
            loss = float(population_loss(jnp.asarray(weight)))
        assert abs(samples.mean() - loss) < 4 * samples.std() / np.sqrt(len(samples))

    @pytest.mark.parametrize(
        "weight", [np.zeros((3, 3)), np.eye(3), -np.eye(3), np.ones((3, 3)), np.diag([1.0, 0, 2])]
    )
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_derivatives_are_finite_where_vectors_are_parallel_or_zero(self, weight, dtype):
        with jax.enable_x64(dtype is np.float64):
            point = jnp.asarray(weight, dtype)
            assert jax.grad(population_loss)(point).dtype == dtype
            assert np.all(np.isfinite(jax.grad(population_loss)(point)))
            assert np.all(np.isfinite(jax.hessian(population_loss)(point)))

    def test_a_unit_of_weight_zero_has_gradient_zero(self):
        assert np.all(self.gradient(np.diag([1.0, 0.0, 2.0]))[1] == 0)

    def test_hessian_agrees_with_differences_of_the_gradient(self):
        weight = np.random.default_rng(4).normal(size=(3, 3))
        with jax.enable_x64(True):
            hessian = np.asarray(jax.hessian(population_loss)(jnp.asarray(weight))).reshape(9, 9)
        steps = 1e-6 * np.eye(9).reshape(9, 3, 3)
        rows = [(self.gradient(weight + step) - self.gradient(weight - step)).ravel() / 2e-6 for step in steps]
        np.testing.assert_allclose(hessian, rows, atol=1e-8)

    def test_hessian_stays_exact_at_the_teacher(self):
        # Between parallel units the angle has no derivative, yet the Hessian is continuous there.
        points = [np.eye(4) + size * np.random.default_rng(5).normal(size=(4, 4)) for size in (0.0, 1e-13, 1e-6)]
        with jax.enable_x64(True):
            hessians = [np.asarray(jax.hessian(population_loss)(jnp.asarray(point))) for point in points]
        np.testing.assert_allclose(hessians[1], hessians[0], atol=1e-11)
        np.testing.assert_allclose(hessians[2], hessians[0], atol=1e-5)

    @pytest.mark.parametrize(("num_units", "num_teachers"), [(2, 2), (5, 3), (4, 4)])
    def test_the_teacher_is_a_global_minimum(self, num_units, num_teachers):
        problem = load_problem("safran-shamir", num_units=num_units, num_teachers=num_teachers)
        (point,) = problem.critical_points
        assert abs(loss_at(problem, point)) < 1e-14
        assert np.linalg.norm(gradient_at(problem, point)) < 1e-14
        assert problem.infimum == 0

    def test_fewer_units_than_teachers_leave_the_infimum_open(self):
        problem = load_problem("safran-shamir", num_units=2, num_teachers=3)
        assert (problem.infimum, problem.critical_points) == (None, ())

    def test_units_may_be_swapped_but_functions_differ(self):
        problem = load_problem("safran-shamir", num_units=4, num_teachers=3)
        weight = problem.params["weight"]
        first, swapped, other = (
            problem.outputs({"weight": rows}, ()) for rows in (weight, weight[[2, 0, 3, 1]], weight[:, [1, 0, 2]])
        )
        np.testing.assert_allclose(first, swapped, rtol=1e-5)
        assert np.abs(first - other).max() > 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("k", "seed", "loss", "smallest"), [(6, 614, 0.0251, 0.0047), (7, 5, 0.0232, 0.0141), (8, 9, 0.0215, 0.0213)]
    )
    def test_published_spurious_minima(self, k, seed, loss, smallest):
        problem = load_problem("safran-shamir", num_units=k, seed=seed)
        with jax.enable_x64(True):
            slope = jax.grad(population_loss)
            end = jax.jit(lambda w: jax.lax.fori_loop(0, 7000, lambda _, w: w - 5 / k * slope(w), w))(
                jnp.asarray(problem.params["weight"])
            )
            hessian = np.asarray(jax.hessian(population_loss)(end)).reshape(k * k, k * k)
            # Published criterion: the largest gradient of a unit, times 2 pi.
            assert 2 * np.pi * np.linalg.norm(slope(end), axis=1).max() < 1e-9
            assert round(float(population_loss(end)), 4) == loss
        assert round(np.linalg.eigvalsh(hessian)[0], 4) == smallest

    @pytest.mark.parametrize(("k", "precision", "tolerance"), [(3, "float32", 2e-6), (6, "float64", 1e-13)])
    def test_compiled_over_many_starts_it_is_the_same(self, k, precision, tolerance):
        # Fused over the lanes, XLA has got a gradient of this kind wrong before.
        problem = load_problem("safran-shamir", num_units=k)
        points = np.random.default_rng(0).normal(size=(k, k, 16)) / np.sqrt(k)
        with jax.enable_x64(precision == "float64"):

            def value_and_gradient(weight):
                return jax.value_and_grad(lambda w: problem.batch_objective({"weight": w}, ()))(weight)

            points = jnp.asarray(points, precision)
            fused = jax.jit(lanes(value_and_gradient, (-1,)))(points)
            plain = jax.vmap(value_and_gradient, in_axes=-1, out_axes=-1)(points)
            for one, other in zip(fused, plain, strict=True):
                np.testing.assert_allclose(one, other, atol=tolerance)


class TestCosineRoughness:
    @pytest.mark.parametrize(("epsilon", "wavelength"), [(0.1, 1.0), (0.2, 0.1), (-0.3, 0.5), (0.04, 1.0)])
    def test_formula_and_infimum(self, epsilon, wavelength):
        problem = load_problem("cosine-roughness", epsilon=epsilon, wavelength=wavelength)
        x = np.linspace(-3, 3, 200_001)
        expected = x**2 + epsilon * np.cos(2 * np.pi * x / wavelength)
        losses = in_float64(lambda objective: objective, problem, x[:, None])
        np.testing.assert_allclose(losses, expected, atol=1e-12)
        assert problem.infimum <= losses.min() + 1e-15
        assert losses.min() == pytest.approx(problem.infimum, abs=1e-6)
        for point in problem.critical_points:
            assert np.abs(gradient_at(problem, point)) < 1e-12

    @pytest.mark.parametrize(("factor", "convex"), [(0.999, True), (1.001, False)])
    def test_convex_up_to_the_critical_roughness(self, factor, convex):
        problem = load_problem("cosine-roughness", epsilon=factor * 0.25 / (2 * np.pi**2), wavelength=0.5)
        x = np.linspace(-1, 1, 4001)[:, None]
        assert (in_float64(jax.hessian, problem, x).min() >= 0) == convex
        assert len(problem.critical_points) == (1 if convex else 3)


class TestCommand:
    def test_describes_and_draws(self, tmp_path, capsys):
        assert cli.main(["problems", "auer-exponential", "--out", str(tmp_path / "figures")]) == 0
        out = capsys.readouterr().out
        for part in (
            "parameters: weight[0], weight[1]",
            "options: n = 4, d = 2, r = 20.0, loss = 'sse'",
            "infimum: 0.111132",
            "their losses: 0.111132 (strict minimum); 0.118066 (strict minimum)",
            "- The squared error has floor(n / d)^d minima without bias",
            "citation: Auer, Herbster and Warmuth",
        ):
            assert part in out
        with (tmp_path / "figures" / "auer-exponential.png").open("rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"

    def test_no_figure(self, tmp_path, capsys):
        assert cli.main(["problems", "quadratic", "--no-figure", "--out", str(tmp_path / "figures")]) == 0
        assert "known critical points: x = 0, y = 0\ntheir losses: 0 (strict minimum)\n" in capsys.readouterr().out
        assert not (tmp_path / "figures").exists()

    def test_a_folder_that_cannot_be(self, tmp_path, capsys):
        (tmp_path / "figures").write_text("")
        assert cli.main(["problems", "quadratic", "--out", str(tmp_path / "figures")]) == 2
        assert "is a file" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("name", "xlabel", "entries"),
        [
            ("cubic-map", "x", ["global minimum: loss -0.25 (2 points)", "maximum: loss 0"]),
            ("auer-fig3a", "weight[0]", ["minimum: loss 0.0639505", "minimum: loss 0.3025", "maximum: loss 0.32212"]),
        ],
    )
    def test_legend(self, name, xlabel, entries):
        problem = load_problem(name)
        shown = view(problem)
        points = problem.critical_points
        kinds = ["maximum" if hessian_at(problem, p)[0, 0] < 0 else "strict minimum" for p in points]
        location = np.stack([problem.ravel(point) for point in points])
        known = xr.Dataset(
            {
                "loss": ("critical_point", [loss_at(problem, point) for point in points]),
                "kind": ("critical_point", kinds),
                "position": (("critical_point", "coordinate"), shown.coordinates(location)),
            }
        )
        surface = loss_surface(shown.problem, shown.box)
        if problem.infimum is not None:
            surface = surface.assign_attrs(infimum=problem.infimum)
        figure = plot_problem(surface, known)
        assert figure.axes[0].get_xlabel() == xlabel
        assert [text.get_text() for text in figure.legends[0].get_texts()] == entries

    def test_surface_of_three_axes(self):
        with pytest.raises(InputError, match="over one coordinate or two"):
            plot_problem(xr.Dataset({"loss": (("a", "b", "c"), np.zeros((2, 2, 2)))}))


class TestView:
    @pytest.mark.parametrize("name", sorted(PROBLEMS))
    def test_agrees_with_the_problem(self, name):
        problem = load_problem(name)
        shown = view(problem)
        rng = np.random.default_rng(0)
        low, high = np.array(list(shown.box.values())).T
        coordinates = rng.uniform(low, high, size=(5, len(low)))
        steps = 10.0**coordinates if shown.log else coordinates
        points = shown.origin + steps @ shown.directions
        expected = in_float64(lambda objective: objective, problem, points)
        losses = in_float64(lambda objective: objective, shown.problem, coordinates)
        np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(shown.coordinates(points), steps, rtol=1e-9, atol=1e-9)

    def test_points_outside_a_plane_have_no_coordinates(self):
        shown = view(load_problem("xor-221"))
        assert np.all(np.isnan(shown.coordinates(np.random.default_rng(0).normal(size=(3, 9)))))

    def test_known_points_are_in_the_window(self):
        for name in PROBLEMS:
            problem = load_problem(name)
            if problem.num_parameters > 2 or not problem.critical_points:
                continue
            shown = view(problem)
            known = np.stack([problem.ravel(point) for point in problem.critical_points])
            low, high = np.array(list(shown.box.values())).T
            inside = np.log10(known) if shown.log else known
            assert np.all((inside > low) & (inside < high))
