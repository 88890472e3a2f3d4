"""Searches for the data of the packaged loss comparison: one feature, one bias, few binary points.

Wanted are points on which the loss alone decides whether gradient descent can be trapped. Every data set of a
small lattice is tried, so that the counts mean something: inputs are distinct multiples of ``spacing`` in
``[-limit, limit]``, targets are 0 and 1, both occur, and mirror images (``x -> -x``) count once.

`LOOKED_FOR` states the conditions. Those on cross-entropy and ReLU are combinatorial (each piece of a ReLU
neuron is a linear regression) and come first; sigmoid + MSE needs a search for minima, by a saddle-free
Newton method from fixed starts. What passes is examined with `jaxloss.find_critical_points` and
`jaxloss.sweep`.
"""

import functools
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from numpy.typing import ArrayLike
from tqdm import tqdm

import jaxloss

LOOKED_FOR = """\
sigmoid-cross_entropy: the classes are neither separable nor quasi-separable: one minimum, and finite.
relu-mse: two or more strict minima, no preactivation there within 1e-3 of zero, lowest and highest loss more
than 2 % apart; the lowest is the infimum, and the dead region lies above it.
sigmoid-mse: two or more strict minima, smallest Hessian eigenvalue > 1e-4, lowest and highest loss more than
2 % apart; the lowest is below every limit at infinity (all threshold classifiers, thresholds on data points
included, and constants).
All of these minima have |weight|, |bias| <= 10.
Data sets that differ by a shift, a scale or a mirror image of the inputs have the same landscape in other
coordinates; of these the one whose farthest minimum lies nearest the origin stands for all.
Ranked by the smallest of five basin shares, largest first: global and spurious minimum of sigmoid-mse; global
minimum, spurious minimum and dead region of relu-mse."""
GAP, MARGIN, SMALLEST_EIGENVALUE, BOX = 1.02, 1e-3, 1e-4, 10.0
# Losses closer than this are equal.
ROUNDING = 1e-9

OBJECTIVES = (("sigmoid", "mse"), ("relu", "mse"), ("sigmoid", "cross_entropy"))
BASINS = tuple(itertools.product(("sigmoid-mse", "relu-mse"), ("global_minimum", "spurious_minimum")))
BASINS += (("relu-mse", "dead"),)

# The starts of the Newton search: these weights, each with thresholds across the data.
WEIGHTS, NUM_THRESHOLDS = (-5.0, -2.0, -0.6, 0.6, 2.0, 5.0), 8
NEWTON_STEPS, CHUNK = 80, 256


@dataclass(frozen=True)
class Options:
    """The space that is searched, and how finely the basins are measured.

    Attributes:
      num_points: in each data set.
      spacing: of the lattice of inputs.
      limit: largest input in size.
      resolution: starts along each parameter in [-8, 8].
      num_steps: of gradient descent.
      num_best: how many data sets are reported.
      out: the JSON file to write.
    """

    num_points: int = 5
    spacing: float = 0.5
    limit: float = 4.0
    resolution: int = 65
    num_steps: int = 20_000
    num_best: int = 10
    out: Path = Path(__file__).parents[1] / "results" / "search_loss_comparison.json"


def enumerate_data_sets(num_points: int, spacing: float, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (ascending) and targets of every data set, one of each mirror pair, both ``[set, point]``."""
    reach = int(np.floor(limit / spacing + 1e-9))
    chosen = list(itertools.combinations(range(-reach, reach + 1), num_points))
    sites = np.reshape(chosen, (-1, num_points)).astype(int)
    labels = np.array(list(itertools.product((0, 1), repeat=num_points))[1:-1])
    sites, labels = np.repeat(sites, len(labels), axis=0), np.tile(labels, (len(sites), 1))
    # Each minus its mirror image, entry by entry: of a pair the lexicographically smaller one stays.
    difference = np.hstack([sites + sites[:, ::-1], labels - labels[:, ::-1]])
    first = np.argmax(difference != 0, axis=1, keepdims=True)
    keep = np.take_along_axis(difference, first, axis=1)[:, 0] <= 0
    return sites[keep] * float(spacing), labels[keep].astype(float)


def classes_overlap(_: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whether no threshold separates the classes, ``[set]``: along the line they change at least twice.

    Cross-entropy then has one minimum, and it is finite (Albert and Anderson, 1984). Distinct points on a
    line are quasi-separable only if they are separable.
    """
    return np.count_nonzero(np.diff(t, axis=1), axis=1) >= 2


def relu_pieces(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates for strict minima of ReLU + MSE: regressions on two or more points at one end of the line.

    Returns:
      The weight and bias of each regression, ``[set, piece, 2]``; the loss of the ReLU neuron there; and how
      far its preactivations are from a change of sign, negative where other points are active.
    """
    n, order, lines = x.shape[1], np.arange(x.shape[1]), []
    active = [order < stop for stop in range(2, n + 1)] + [order >= start for start in range(1, n - 1)]
    for points in active:
        centred = x[:, points] - x[:, points].mean(axis=1, keepdims=True)
        weight = (centred * t[:, points]).sum(axis=1) / (centred**2).sum(axis=1)
        lines.append((weight, (t - weight[:, None] * x)[:, points].mean(axis=1)))
    line = np.moveaxis(np.array(lines), -1, 0)
    z = line[:, :, :1] * x[:, None, :] + line[:, :, 1:]
    loss = np.mean((np.maximum(z, 0) - t[:, None, :]) ** 2, axis=-1)
    return line, loss, np.where(active, z, -z).min(axis=-1)


def relu_infimum(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The infimum of ReLU + MSE, ``[set]``: at a regression, or with the kink on a data point."""
    distance = x[:, None, :] - x[:, :, None]
    rise, t_ = np.maximum([distance, -distance], 0), t[:, None, :]
    slope = np.maximum((rise * t_).sum(axis=-1) / np.maximum((rise**2).sum(axis=-1), 1e-300), 0)
    kinks = np.mean((slope[..., None] * rise - t_) ** 2, axis=-1)
    return np.minimum(kinks.min(axis=(0, 2)), relu_pieces(x, t)[1].min(axis=1))


def relu_traps(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whether ReLU + MSE is as in `LOOKED_FOR`, ``[set]``."""
    line, loss, margin = relu_pieces(x, t)
    strict = (margin > MARGIN) & (abs(line) <= BOX).all(axis=-1)
    lowest, highest = _extremes(loss, strict)
    infimum = relu_infimum(x, t) + ROUNDING
    return (highest > GAP * lowest + ROUNDING) & (lowest <= infimum) & (np.mean(t**2, axis=1) > infimum)


def sigmoid_traps(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whether sigmoid + MSE is as in `LOOKED_FOR`, ``[set]``."""
    lowest, highest = sigmoid_minima(x, t)
    return (highest > GAP * lowest) & (lowest < sigmoid_limit(t) - ROUNDING)


def sigmoid_limit(t: np.ndarray) -> np.ndarray:
    """The lowest limit of sigmoid + MSE at infinity, ``[set]``.

    There the output is 0 on one side of a threshold and 1 on the other. The best threshold is on a data
    point, which may then take any value, its target included; thresholds beyond the data are the constants.
    """
    n, one = t.shape[1], t > 0.5
    wrong = np.array([one[:, :i].sum(axis=1) + (~one[:, i + 1 :]).sum(axis=1) for i in range(n)])
    return np.minimum(wrong, n - 1 - wrong).min(axis=0) / n


def sigmoid_minima(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses of the lowest and highest strict minimum of sigmoid + MSE, ``[set]``; inf and -inf for none."""
    lowest, highest = np.zeros((2, len(x)))
    with jax.enable_x64(True):
        # The objective takes the data as an argument: one compiled search serves every data set.
        problem = jaxloss.neuron_problem("sigmoid", "mse", np.zeros(x.shape[1]), np.zeros(x.shape[1]))
        newton = functools.partial(_newton, problem.batch_objective, problem.unravel)
        search = jax.jit(jax.vmap(jax.vmap(newton, (0, None, None))))
        for start in tqdm(range(0, len(x), CHUNK), "sigmoid-mse"):
            rows = np.minimum(np.arange(start, start + CHUNK), len(x) - 1)
            thresholds = np.linspace(x[rows, 0] - 0.5, x[rows, -1] + 0.5, NUM_THRESHOLDS, axis=1)
            bias = -thresholds[:, :, None] * np.reshape(WEIGHTS, (1, 1, -1))
            starts = np.stack([bias, np.broadcast_to(WEIGHTS, bias.shape)], axis=-1).reshape(CHUNK, -1, 2)
            lowest[rows], highest[rows] = _extremes(*map(np.asarray, search(starts, x[rows], t[rows])))
    return lowest, highest


def _newton(objective, unravel, point: jax.Array, x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Damped Newton steps with the absolute Hessian: the loss at the end, and whether at a strict minimum."""

    def loss_at(point):
        return objective(unravel(point), (x[:, None], t))

    def step(_, state):
        point, radius = state
        eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(loss_at)(point))
        move = -vectors @ (vectors.T @ jax.grad(loss_at)(point) / (abs(eigenvalues) + 1e-7))
        length = jnp.linalg.norm(move) + 1e-300
        moved = point + move * jnp.minimum(1.0, radius / length)
        better = loss_at(moved) <= loss_at(point) + 1e-15
        radius = jnp.where(better, jnp.minimum(1.5 * radius, 2.0), 0.3 * jnp.minimum(radius, length))
        return jnp.where(better, moved, point), radius

    point, _ = jax.lax.fori_loop(0, NEWTON_STEPS, step, (point, jnp.ones(())))
    at_rest = jnp.linalg.norm(jax.grad(loss_at)(point)) < 1e-10
    curved = jnp.linalg.eigvalsh(jax.hessian(loss_at)(point))[0] > SMALLEST_EIGENVALUE
    return loss_at(point), at_rest & curved & (abs(point) <= BOX).all()


def _extremes(loss: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest valid loss of each row."""
    return np.where(valid, loss, np.inf).min(axis=1), np.where(valid, loss, -np.inf).max(axis=1)


def strict_minima(problem: jaxloss.Problem) -> list[dict]:
    """The strict minima that `jaxloss.find_critical_points` finds, lowest first."""
    table = jaxloss.find_critical_points(problem, dict.fromkeys(problem.parameter_names, (-BOX, BOX)))
    table = table.isel(critical_point=table["kind"].values == "strict minimum")
    keys = ("location", "loss", "eigenvalues")
    rows = zip(*(table[key].values.tolist() for key in keys), strict=True)
    return [dict(zip(keys, row, strict=True)) for row in rows]


def problems_of(x: ArrayLike, t: ArrayLike) -> list[jaxloss.Problem]:
    """The three problems that are compared."""
    return [jaxloss.neuron_problem(activation, loss, x, t) for activation, loss in OBJECTIVES]


def confirm(x: np.ndarray, t: np.ndarray) -> dict | None:
    """The minima that the package finds; None if they are not as wanted."""
    problems = problems_of(x, t)
    sigmoid, relu, cross_entropy = minima = [strict_minima(problem) for problem in problems]
    trapped = all(len(found) > 1 and found[-1]["loss"] > GAP * found[0]["loss"] for found in (sigmoid, relu))
    if not trapped or len(cross_entropy) != 1:
        return None
    return {
        "inputs": x.tolist(),
        "targets": t.tolist(),
        "farthest": max(float(np.linalg.norm(minimum["location"])) for found in minima for minimum in found),
        "parameters": list(problems[0].parameter_names),
        "minima": {problem.name: found for problem, found in zip(problems, minima, strict=True)},
    }


def landscape(report: dict) -> tuple:
    """The same for all data sets that differ by a shift, a scale or a mirror image of the inputs."""
    x = np.array(report["inputs"])
    unit, labels = (x - x[0]) / (x[-1] - x[0]), report["targets"]
    return min((*unit.round(9), *labels), (*(1 - unit[::-1]).round(9), *labels[::-1]))


def measure_basins(report: dict, options: Options) -> dict:
    """The report with the share of every outcome, and the smallest of those that matter."""
    # ReLU: half of what is stable at the sharpest minimum, 2 / sharpness.
    rates = [1.0, 1 / max(minimum["eigenvalues"][-1] for minimum in report["minima"]["relu-mse"])]
    problems = problems_of(report["inputs"], report["targets"])[: len(rates)]
    side = jaxloss.Axis.linear(-8, 8, options.resolution)
    grid, shares = jaxloss.Grid({"weight[0]": side, "bias": side}), {}
    for problem, rate in zip(problems, rates, strict=True):
        result = jaxloss.sweep(problem, grid, learning_rate=rate, num_steps=options.num_steps)
        fates = result["outcome"].values
        shares[problem.name] = {end: float(np.mean(fates == code)) for end, code in jaxloss.OUTCOMES.items()}
    return {
        **report,
        "smallest_share": min(shares[name][end] for name, end in BASINS),
        "learning_rate": {problem.name: rate for problem, rate in zip(problems, rates, strict=True)},
        "shares": shares,
    }


def show(best: list[dict]) -> None:
    """Prints one line for each data set."""
    if not best:
        return print("No data set of this space meets all conditions.")
    heads = ["smallest", *(f"{name.split('-')[0]} {end.split('_')[0]}" for name, end in BASINS)]
    print("  ".join([f"{'inputs':24}", f"{'targets':10}", *heads]))
    for report in best:
        inputs, targets = (" ".join(f"{value:g}" for value in report[key]) for key in ("inputs", "targets"))
        shares = [report["smallest_share"], *(report["shares"][name][end] for name, end in BASINS)]
        columns = [f"{share:{len(head)}.3f}" for head, share in zip(heads, shares, strict=True)]
        print("  ".join([f"{inputs:24}", f"{targets:10}", *columns]))


def main(argv: Sequence[str] | None = None) -> dict:
    """Searches, prints and writes; returns what it wrote."""
    options = tyro.cli(Options, args=argv, description=__doc__)
    x, t = enumerate_data_sets(options.num_points, options.spacing, options.limit)
    counts = {"data sets": len(x)}
    for meets in (classes_overlap, relu_traps, sigmoid_traps):
        keep = meets(x, t)
        x, t = x[keep], t[keep]
        counts[meets.__name__] = len(x)
    confirmed = list(filter(None, (confirm(*data) for data in tqdm(list(zip(x, t, strict=True)), "minima"))))
    counts["confirmed"] = len(confirmed)
    # The last of equal keys stays: the one whose minima lie nearest the origin.
    different = {landscape(report): report for report in sorted(confirmed, key=lambda report: -report["farthest"])}
    counts["different landscapes"] = len(different)
    measured = [measure_basins(report, options) for report in tqdm(list(different.values()), "basins")]
    best = sorted(measured, key=lambda report: -report["smallest_share"])[: options.num_best]
    print(*(f"{count:8,}  {stage}" for stage, count in counts.items()), sep="\n")
    show(best)
    space = {key: value for key, value in asdict(options).items() if key != "out"}
    found = {"looked_for": " ".join(LOOKED_FOR.split()), "options": space, "counts": counts, "best": best}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
