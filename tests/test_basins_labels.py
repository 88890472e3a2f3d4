import numpy as np
import pytest
import xarray as xr

from jaxloss import InputError
from jaxloss.basins import (
    basin_entropy,
    box_counting_dimension,
    disagreement,
    is_boundary_fractal,
    is_wada,
    smooth_control,
    trainability_dimension,
    uncertainty_exponent,
)
from jaxloss.basins.labels import boundary_of, compact, outcome_codes, read_map, split_axes
from jaxloss.outcomes import OUTCOMES

MEASURES = {
    "entropy": lambda labels, **options: basin_entropy(labels, 4, **options).entropy,
    "exponent": lambda labels, **options: uncertainty_exponent(labels, [2, 4, 8], **options).exponent,
    "dimension": lambda labels, **options: box_counting_dimension(labels, [2, 4, 8], **options).dimension,
    "trainability": lambda labels, **options: trainability_dimension(labels, [2, 4, 8], **options).dimension,
    "fractality": lambda labels, **options: is_boundary_fractal(labels, radius=2, **options).entropy,
    "wada": lambda labels, **options: is_wada(labels, 2, **options).share,
    "control": lambda labels, **options: smooth_control(labels, **options).tolist(),
    "disagreement": lambda labels, **options: disagreement(labels, labels, **options).boundary_fraction,
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def result(shape=(24, 32, 1), dims=("w", "b", "learning_rate"), **coords):
    rng = np.random.default_rng(0)
    coords = {name: coords.get(name, np.linspace(-1, 1, n)) for name, n in zip(dims, shape, strict=True)}
    coords["parameter"] = ["w", "b"]
    return xr.Dataset(
        {
            "outcome": (dims, rng.choice([1, 3, 9], size=shape).astype(np.int8)),
            "attractor": (dims, rng.integers(-1, 3, size=shape).astype(np.int32)),
        },
        coords=coords,
    )


@every_measure
class TestEveryMeasure:
    def test_takes_a_result_as_its_array(self, measure):
        data = result()
        assert measure(data) == measure(data["outcome"].values[..., 0])
        assert measure(data["outcome"]) == measure(data)

    def test_labels_by_attractor_or_by_both(self, measure):
        data = result()
        pairs = data["outcome"].values[..., 0] * 100 + data["attractor"].values[..., 0]
        assert measure(data, labelling="attractor") == measure(data["attractor"].values[..., 0])
        if measure is not MEASURES["control"]:  # which returns the labels
            assert measure(data, labelling="both") == pytest.approx(measure(pairs), abs=1e-12)

    @pytest.mark.parametrize(
        ("labels", "sentence"),
        [
            (np.zeros((32, 32)), "labels must be an array of integers, but its type is float64"),
            ([["a"]], "labels must be an array of integers"),
            ([[1, 2], [3]], "labels must be an array of integers"),
            (np.zeros((0, 5), int), "labels must have at least one axis and one cell"),
            (3, "labels must have at least one axis"),
            (result((40, 1), ("start", "learning_rate")), "sampled"),
            (result((24, 32, 2)), "select one value of that, or name the axes"),
            (result(w=np.arange(24.0) ** 2), "axis 'w' must be equally spaced"),
            (result((1, 1, 1)), "an axis with more than one value"),
            (result().drop_vars("outcome"), "a result with the variable 'outcome'"),
        ],
    )
    def test_refuses_what_is_no_full_grid(self, measure, labels, sentence):
        with pytest.raises(InputError, match=sentence):
            measure(labels)

    def test_refuses_an_unknown_labelling(self, measure):
        with pytest.raises(InputError, match="did you mean 'attractor'"):
            measure(result(), labelling="atractor")


class TestReadMap:
    def test_axes_say_which_are_meant(self):
        data = result((24, 32, 6))
        assert read_map(data, axes=["w", "b", "learning_rate"]).shape == (24, 32, 6)
        assert read_map(data.isel(b=[0]), axes=["learning_rate", "w"]).shape == (6, 24)
        with pytest.raises(InputError, match="one value along 'b'"):
            read_map(data, axes=["w", "learning_rate"])
        with pytest.raises(InputError, match="unknown axis"):
            read_map(data, axes=["w", "beta"])
        with pytest.raises(InputError, match="differ"):
            read_map(data.isel(b=[0], learning_rate=[0]), axes=["w", "w"])
        with pytest.raises(InputError, match="plain array"):
            read_map(np.zeros((3, 3), int), axes=["w"])

    def test_a_map_of_two_hyperparameters_is_one(self):
        data = result((24, 32), ("learning_rate", "momentum"), learning_rate=np.geomspace(1e-3, 1e6, 24))
        assert read_map(data).shape == (24, 32)

    def test_axes_may_be_logarithmic_or_descend(self):
        assert read_map(result(w=np.geomspace(0.1, 10, 24), b=np.linspace(1, -1, 32))).shape == (24, 32)

    @pytest.mark.slow
    def test_reads_a_sweep(self):
        from jaxloss import Axis, Grid, load_problem, sweep

        swept = sweep(load_problem("cubic-map"), Grid({"x": Axis.linear(-2.5, 2.5, 41)}), learning_rate=1.0)
        found = uncertainty_exponent(swept, [2, 4, 8])
        assert found.counts.tolist() == uncertainty_exponent(swept.outcome.values, [2, 4, 8]).counts.tolist()
        assert len(np.unique(read_map(swept, labelling="both"))) >= len(np.unique(read_map(swept)))


class TestWhatAResultSays:
    def test_the_outcomes_it_may_have(self):
        assert outcome_codes(result()) == OUTCOMES
        own = result().assign_attrs(outcomes='{"unfinished": 0, "fixed_point": 10}')
        assert outcome_codes(own) == {"unfinished": 0, "fixed_point": 10}

    @pytest.mark.parametrize(
        ("dims", "initial"),
        [
            (("w", "b", "learning_rate"), ["w", "b"]),
            (("learning_rate", "b", "momentum"), ["b"]),
            (("start", "learning_rate"), ["start"]),
            (("direction[0]", "direction[1]", "learning_rate"), ["direction[0]", "direction[1]"]),
            (("learning_rate", "momentum"), []),
        ],
    )
    def test_which_axes_are_initial(self, dims, initial):
        data = result((3,) * len(dims), dims)
        assert split_axes(data) == (initial, [name for name in dims if name not in initial])
        without = data.drop_vars("parameter")
        assert split_axes(without)[1] == [name for name in dims if name == "learning_rate"]


class TestCompact:
    @pytest.mark.parametrize("labels", [[-5, 3, 3, 127], [0, 2**40, 7, 0], [-(2**62), 2**62, 0, 0], [5, 5, 5, 5]])
    def test_numbers_labels_in_order(self, labels):
        codes, values = compact(np.array(labels))
        assert values.tolist() == sorted(set(labels))
        assert values[codes].tolist() == labels
        assert codes.dtype == np.uint8

    def test_many_labels(self):
        labels = np.random.default_rng(0).permutation(70_000).reshape(7, -1)
        codes, values = compact(labels)
        np.testing.assert_array_equal(values[codes], labels)


def test_a_boundary_has_two_sides():
    square = np.zeros((5, 5), int)
    square[2, 2] = 1
    cross = [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert boundary_of(square).astype(int).tolist() == cross
