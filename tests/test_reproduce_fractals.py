"""Fractal borders, at tiny sizes, against closed forms and other ways to compute the same."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.figures.reproduced import fractals as figures
from jaxloss.problems import load_problem
from jaxloss.reproduce import Settings, fractals
from jaxloss.reproduce.rows import INSIDE, NONE, OUTSIDE

FULL = fractals.BY_NAME["tanh, full batch"]


def grid(names, num, low=-2.0, high=3.0):
    rates = np.logspace(low, high, num)
    return fractals._pairs(names, rates, rates)


def plain(problem, condition, hyper, num_steps, seed=0):
    """The mean of the last losses by jax.vmap, as the public notebook goes about it."""
    data = jax.tree.map(jnp.asarray, problem.data)
    num = len(data[1])

    def one(hyper):
        offset, rate = hyper.get("offset", 0.0), hyper["learning_rate"]
        rates = {"input": rate, "output": hyper.get("output_learning_rate", rate)}

        def step(params, i):
            params = params | {"input": params["input"] + offset}
            batch = data
            if condition.batch_size is not None:
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0), i)
                batch = jax.tree.map(
                    lambda column: column[jax.random.randint(key, (condition.batch_size,), 0, num)], data
                )
            gradient = jax.grad(problem.batch_objective)(params, batch)
            new = {name: params[name] - rates[name] * gradient[name] for name in params}
            return new, problem.batch_objective(params, data)

        losses = jax.lax.scan(step, problem.params, jnp.arange(num_steps))[1]
        relative = jnp.where(jnp.isfinite(losses), losses / losses[0], fractals.LARGEST)
        return jnp.minimum(relative, fractals.LARGEST)[-fractals.NUM_LAST :].mean()

    return np.asarray(jax.vmap(one)({name: jnp.asarray(values) for name, values in hyper.items()}))


@pytest.mark.parametrize("name", ["identity", "tanh, minibatch", "tanh, weight offset"])
def test_final_losses_are_those_of_a_plain_loop(name):
    condition = fractals.BY_NAME[name]
    problem = load_problem("trainability-fractal", **{**condition.options, "num_points": 5})
    hyper = grid(condition.axes, 5)
    ours = fractals.final_losses(problem, hyper, condition, num_steps=40)
    with jax.enable_x64(True):
        theirs = plain(problem, condition, hyper, 40)
    assert ((ours < 1) == (theirs < 1)).all()
    assert 0 < (ours < 1).mean() < 1
    # Where 40 steps amplify rounding, only the label is to agree.
    calm = (theirs < 1) & (theirs > 0)
    assert np.quantile(np.abs(ours[calm] / theirs[calm] - 1), 0.8) < 1e-9


def test_bowl_has_the_border_of_its_closed_form():
    problem = fractals.coupled_bowl()
    hyper = grid(FULL.axes, 20)
    converged = fractals.final_losses(problem, hyper, FULL, num_steps=200) < 1
    inputs = problem.data[0]
    hessian = 2 * inputs.T @ inputs / len(inputs) / inputs.shape[1] ** 2
    half = inputs.shape[1] // 2
    rates = np.stack([np.repeat(pair, half) for pair in np.stack(list(hyper.values()), axis=-1)])
    largest = np.linalg.eigvalsh(np.sqrt(rates[:, :, None] * rates[:, None, :]) * hessian)[:, -1]
    # Next to the border 200 steps do not tell.
    clear = np.abs(largest - 2) > 0.1
    assert clear.sum() > 300
    assert (converged == (largest < 2))[clear].all()
    assert 0.1 < converged.mean() < 0.9


def test_drifting_sgd_moves_by_the_offset():
    transform = fractals.drifting_sgd(0.5, offset=3.0)
    updates = {"input": np.ones((2, 2)), "output": np.ones(2)}
    moved, _ = transform.update(updates, transform.init(updates))
    moves = dict(cast(dict, moved))
    assert (moves["input"] == 2.5).all()
    assert (moves["output"] == -0.5).all()


@pytest.mark.parametrize(
    ("order", "expected"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], -1.0), ([1, 2, 4, 3], 2 / 3), ([2, 2, 2, 2], 0.0)]
)
def test_rank_correlation(order, expected):
    found = fractals.rank_correlation(np.array(order, float), np.arange(4.0))
    assert found == pytest.approx(expected)


class TestNearestEdge:
    def test_none(self):
        assert fractals.nearest_edge(np.ones((5, 5), bool)) is None

    def test_nearest(self):
        frame = np.zeros((9, 9), bool)
        frame[0, 0] = frame[5, 6] = True
        found = fractals.nearest_edge(frame)
        assert found is not None
        i, j = found
        assert frame[i : i + 2, j : j + 2].any()
        assert (i, j) == (4, 5)


class TestSegments:
    def test_smooth_border(self):
        found = fractals.count_segments(np.arange(2**10 + 1) < 300)
        assert found.dimension == 0
        assert (found.changes == 1).all()

    def test_cantor_set(self):
        """Labels that alternate between the points of a binary Cantor set of dimension 1/2."""
        cantor = np.array([True])
        for _ in range(7):
            gap = np.zeros(2 * len(cantor), bool)
            cantor = np.concatenate([cantor, gap, cantor])
        labels = np.concatenate([np.cumsum(cantor) % 2 == 0, [True]])
        assert len(labels) == 2**14 + 1
        found = fractals.count_segments(labels)
        assert found.dimension == pytest.approx(0.5, abs=0.06)
        assert found.half_width < 0.1

    def test_bowl_without_ripples(self):
        """x -> (1 - 2 rate) x: diverges iff |1 - 2 rate|^1000 * 5 > 1e8."""
        labels = fractals.bowl_diverged(np.zeros(1), np.ones(1), 8)[0]
        rates = np.linspace(0, 1.5, 2**8 + 1)
        expected = 1000 * np.log(np.maximum(np.abs(1 - 2 * rates), 1e-300)) > np.log(1e8 / 5)
        assert (labels == expected).all()
        assert labels.sum() > 50


def check(reproduced):
    quantities = [row.quantity for row in reproduced.rows]
    assert len(set(quantities)) == len(quantities)
    for row in reproduced.rows:
        assert row.low <= row.ours <= row.high
        assert np.isfinite([row.low, row.ours, row.high]).all()
        assert row.source
        assert row.num_runs > 0
        inside = row.published is not None and row.low <= row.published <= row.high
        assert row.verdict == (NONE if row.published is None else INSIDE if inside else OUTSIDE)


def looks_right(figure, path):
    assert path.stat().st_size > 10_000
    assert figure.get_suptitle()
    return [text.get_text() for text in figure.legends[0].get_texts()] + [
        text.get_text() for text in figure.legends[-1].get_texts()
    ]


class TestCases:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        """Few steps, and the tanh network on few samples: the program is the same."""
        monkeypatch.setattr(fractals, "NUM_STEPS", 60)
        final_losses = fractals.final_losses

        def short(problem, hyper, condition, **options):
            return final_losses(problem, hyper, condition, num_steps=60, **options)

        monkeypatch.setattr(fractals, "final_losses", short)
        few = {**fractals.BY_NAME, FULL.name: FULL._replace(options={"num_points": 3})}
        monkeypatch.setattr(fractals, "BY_NAME", few)

    def test_trainability(self, tmp_path):
        reproduced = fractals.trainability_fractal(Settings("quick"))
        check(reproduced)
        published = [row.published for row in reproduced.rows if "their" in row.quantity]
        assert published == [None, None, 1.0]
        assert {row.case for row in reproduced.rows} == {"trainability-fractal"}
        figure = figures.plot_trainability(reproduced, path=tmp_path / "a.png")
        assert {"converged", "diverged"} <= set(looks_right(figure, tmp_path / "a.png"))
        assert figure.axes[0].get_xlabel() == "input layer's learning rate"

    def test_zoom(self, tmp_path):
        reproduced = fractals.trainability_zoom(Settings("quick"))
        check(reproduced)
        data = reproduced.data
        assert data.sizes["frame"] >= 2
        assert np.allclose(data["width"].values[0] / data["width"].values[1], 31 / 3)
        # Each frame lies in the one before.
        half = (data["width"].values[:-1] / 2)[:, None]
        assert (np.abs(np.diff(data["centre"].values, axis=0)) <= half).all()
        assert "converged" in looks_right(figures.plot_zoom(reproduced, path=tmp_path / "a.png"), tmp_path / "a.png")

    def test_zooms_of_several_conditions_are_ranked(self, tmp_path, monkeypatch):
        kept = ("identity", "tanh, one data point", "tanh, full batch")
        monkeypatch.setattr(fractals, "BY_NAME", {name: fractals.BY_NAME[name] for name in kept})
        monkeypatch.setattr(
            Settings, "choose", lambda self, quick, default, full=None: default if default == kept else quick
        )
        reproduced = fractals.trainability_zoom(Settings("quick"))
        check(reproduced)
        medians = [row for row in reproduced.rows if "their median" in row.quantity]
        assert [row.published for row in medians] == [1.17, 1.41, 1.66]
        assert reproduced.rows[-1].quantity.startswith("Kendall's tau")
        figure = figures.plot_zoom(reproduced, path=tmp_path / "a.png")
        assert {"converged", "published"} <= set(looks_right(figure, tmp_path / "a.png"))

    def test_cosine(self, tmp_path, monkeypatch):
        monkeypatch.setattr(fractals, "HEIGHTS", fractals.HEIGHTS[:5])
        reproduced = fractals.cosine_roughness(Settings("quick"))
        check(reproduced)
        assert {row.case for row in reproduced.rows} == {"cosine-roughness"}
        exactly = [row.verdict for row in reproduced.rows[:3]]
        assert exactly == [INSIDE] * 3
        assert reproduced.data["roughness"].values.max() == pytest.approx(fractals.HEIGHTS[4] / 0.01**2)
        assert "diverges" in looks_right(figures.plot_cosine(reproduced, path=tmp_path / "a.png"), tmp_path / "a.png")
