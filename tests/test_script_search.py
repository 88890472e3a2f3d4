"""The search for the packaged loss comparison: its conditions against brute force, and a tiny run."""

import itertools
import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

import jaxloss

# Of a script that has done its work: with the long reproductions.
pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "scripts" / "search_loss_comparison.py"
PACKAGED = ([[-4.0, 0.0, 0.5, 1.0, 1.5]], [[1.0, 0.0, 1.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def search():
    if not SCRIPT.exists():
        pytest.skip("scripts are not part of an installed package")
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def random_sets(num_sets, num_points, seed):
    """Ascending inputs on the half lattice, both classes present."""
    rng = np.random.default_rng(seed)
    x = np.stack([np.sort(rng.choice(np.arange(-8, 9), num_points, replace=False)) for _ in range(num_sets)]) / 2
    t = rng.integers(0, 2, (num_sets, num_points)).astype(float)
    mixed = t.std(axis=1) > 0
    return x[mixed], t[mixed]


def test_every_mirror_pair_is_listed_once(search):
    x, t = search.enumerate_data_sets(3, 1.0, 2.0)
    mirrored = {
        min((a, b), (tuple(-v for v in reversed(a)), b[::-1]))
        for a in itertools.combinations(range(-2, 3), 3)
        for b in itertools.product((0, 1), repeat=3)
        if 0 < sum(b) < 3
    }
    listed = {
        min((a, b), (tuple(-v for v in reversed(a)), b[::-1]))
        for a, b in zip(map(tuple, x.astype(int).tolist()), map(tuple, t.astype(int).tolist()), strict=True)
    }
    assert listed == mirrored
    assert len(x) == len(mirrored)


def test_default_space_has_the_documented_size(search):
    symmetric, halves = math.comb(8, 2), math.comb(17, 5)
    expected = (halves - symmetric) // 2 * 30 + symmetric * 18
    assert len(search.enumerate_data_sets(5, 0.5, 4.0)[0]) == expected == 92_904


def test_a_lattice_with_too_few_points_is_empty(search):
    x, t = search.enumerate_data_sets(4, 1.0, 1.0)
    assert x.shape == t.shape == (0, 4)


@pytest.mark.parametrize("num_points", [3, 4, 5, 6])
def test_overlap_is_what_linear_programming_calls_not_quasi_separable(search, num_points):
    x, t = random_sets(40, num_points, num_points)
    for xs, ts, overlaps in zip(x, t, search.classes_overlap(x, t), strict=True):
        # Some (weight, bias) has every signed margin >= 0, and not all zero, iff the maximum is positive.
        margins = (2 * ts - 1)[:, None] * np.column_stack([xs, np.ones_like(xs)])
        best = linprog(-margins.sum(axis=0), A_ub=-margins, b_ub=np.zeros(len(xs)), bounds=[(-1, 1)] * 2)
        assert overlaps == (-best.fun < 1e-9)


def test_relu_pieces_are_the_smooth_minima_that_the_package_finds(search):
    x, t = random_sets(12, 5, 0)
    line, loss, margin = search.relu_pieces(x, t)
    for i in range(len(x)):
        found = search.strict_minima(jaxloss.neuron_problem("relu", "mse", x[i], t[i]))
        # Where a preactivation is zero the objective has a kink, and no Hessian. The order is (bias, weight).
        smooth = [m for m in found if np.abs(m["location"][1] * x[i] + m["location"][0]).min() > 1e-6]
        strict = (margin[i] > 1e-6) & (np.abs(line[i]) <= 10).all(axis=1)
        order = np.argsort(loss[i][strict])
        assert len(smooth) == len(order)
        for minimum, weight_bias, expected in zip(
            smooth, line[i][strict][order], loss[i][strict][order], strict=True
        ):
            np.testing.assert_allclose(minimum["location"][::-1], weight_bias, atol=1e-6)
            assert minimum["loss"] == pytest.approx(expected, abs=1e-9)


def test_relu_infimum_is_what_a_scan_over_kinks_finds(search):
    x, t = random_sets(30, 5, 1)
    kinks = np.concatenate([np.linspace(-5, 5, 20_001), np.geomspace(5, 1e4, 2000), -np.geomspace(5, 1e4, 2000)])
    scanned = []
    for xs, ts in zip(x, t, strict=True):
        rise = np.maximum(np.array([1.0, -1.0])[:, None, None] * (xs[None, None] - kinks[None, :, None]), 0)
        slope = np.maximum((rise * ts).sum(axis=-1) / np.maximum((rise**2).sum(axis=-1), 1e-300), 0)
        scanned.append(((slope[..., None] * rise - ts) ** 2).mean(axis=-1).min())
    infimum = search.relu_infimum(x, t)
    assert np.all(infimum <= np.array(scanned) + 1e-12)
    np.testing.assert_allclose(infimum, scanned, atol=1e-5)


def test_sigmoid_limit_is_what_steep_neurons_reach(search):
    x, t = random_sets(30, 5, 2)
    outputs = [
        np.where(x == x[:, [i]], value, (sign * (x - x[:, [i]]) > 0))
        for i, value, sign in itertools.product(range(5), (0.0, 0.5, 1.0), (-1, 1))
    ]
    reached = np.min([((output - t) ** 2).mean(axis=1) for output in outputs], axis=0)
    np.testing.assert_allclose(search.sigmoid_limit(t), reached, atol=1e-12)


def test_sigmoid_minima_are_those_of_the_package(search):
    x, t = random_sets(6, 5, 3)
    x, t = np.concatenate([x, PACKAGED[0]]), np.concatenate([t, PACKAGED[1]])
    lowest, highest = search.sigmoid_minima(x, t)
    for i in range(len(x)):
        problem = jaxloss.neuron_problem("sigmoid", "mse", x[i], t[i])
        table = jaxloss.find_critical_points(problem, {"weight[0]": (-10, 10), "bias": (-10, 10)})
        wanted = (table["kind"].values == "strict minimum") & (table["eigenvalues"].values[:, 0] > 1e-4)
        losses = table["loss"].values[wanted]
        assert lowest[i] == pytest.approx(losses.min(initial=np.inf), abs=1e-10)
        assert highest[i] == pytest.approx(losses.max(initial=-np.inf), abs=1e-10)


def test_overlapping_classes_have_one_finite_cross_entropy_minimum(search):
    x, t = random_sets(20, 5, 4)
    for xs, ts, overlaps in zip(x, t, search.classes_overlap(x, t), strict=True):

        def cross_entropy(point, xs=xs, ts=ts):
            z = point[0] * xs + point[1]
            return np.mean(np.logaddexp(0, z) - ts * z)

        size = np.abs(minimize(cross_entropy, [0.0, 0.0], method="Nelder-Mead", options={"maxfev": 2000}).x).max()
        assert (size < 30) == overlaps


def test_the_packaged_data_meet_all_conditions(search):
    x, t = map(np.array, PACKAGED)
    for meets in (search.classes_overlap, search.relu_traps, search.sigmoid_traps):
        assert meets(x, t).all()
    report = search.measure_basins(search.confirm(x[0], t[0]), search.Options(resolution=9, num_steps=2000))
    assert [len(found) for found in report["minima"].values()] == [2, 2, 1]
    assert report["smallest_share"] > 0
    assert sum(report["shares"]["relu-mse"].values()) == pytest.approx(1)
    assert json.loads(json.dumps(report))["inputs"] == PACKAGED[0][0]


def test_data_without_traps_are_turned_down(search):
    x, t = np.linspace(-2, 2, 5), np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    assert search.confirm(x, t) is None


def test_equivalent_data_have_one_landscape(search):
    x, t = np.array(PACKAGED[0][0]), PACKAGED[1][0]
    reports = [{"inputs": list(inputs), "targets": list(t)} for inputs in (x, 2 * x + 3, np.sort(1 - x))]
    reports[2]["targets"] = list(t)[::-1]
    assert len({search.landscape(report) for report in reports}) == 1
    assert search.landscape({"inputs": [0, 1, 3, 4, 6], "targets": list(t)}) != search.landscape(reports[0])


def test_tiny_space_finds_nothing_and_says_so(search, tmp_path, capsys):
    out = tmp_path / "found" / "search.json"
    found = search.main(["--num-points", "4", "--spacing", "1", "--limit", "2", "--out", str(out)])
    assert "No data set of this space meets all conditions." in capsys.readouterr().out
    assert json.loads(out.read_text()) == found
    assert found["best"] == []
    assert found["counts"]["data sets"] == 36
    assert found["counts"]["confirmed"] == 0


def test_tiny_space_with_a_find(search, tmp_path, capsys, monkeypatch):
    main = search.main
    monkeypatch.setitem(
        main.__globals__, "enumerate_data_sets", lambda *_: tuple(np.array(part * 2) for part in PACKAGED)
    )
    out = tmp_path / "search.json"
    found = main(["--resolution", "5", "--num-steps", "500", "--num-best", "1", "--out", str(out)])
    # The same data twice: one landscape.
    assert list(found["counts"].values()) == [2, 2, 2, 2, 2, 1]
    assert len(found["best"]) == 1
    assert "-4 0 0.5 1 1.5" in capsys.readouterr().out
