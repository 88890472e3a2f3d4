"""Would another optimiser do, or is it a limit of the mean squared error? Measured on nine problems under two losses.

Run it with ``uv run python scripts/optimizer_comparison.py``; it leaves ``comparison.csv``, ``rates.csv``,
``comparison.json``, ``comparison.png`` and ``README.md`` in ``results/optimizers``. ``--quick`` is a small sample.

Every optimiser spends the same budget of gradient evaluations on each start. Then plain gradient descent with a
small learning rate leads every end to where it belongs, so that one rule judges those that come to rest and those
that cannot (noise, minibatches, signs, weight decay). The best learning rate is chosen on other starts than those
that are counted.
"""

import argparse
import csv
import functools
import importlib.metadata
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from jaxloss import OUTCOMES, Axis, Grid, Problem, Starts, load_problem, network_problem, neuron_problem, sweep
from jaxloss.basins import wilson_interval
from jaxloss.figures.optimizers import plot_optimizer_comparison
from jaxloss.optimizers import sharpness_aware
from jaxloss.outcomes import NAMES, SOLVED, TRAPPED, UNSTABLE

OUT = Path(__file__).parents[1] / "results" / "optimizers"
LOSSES = ("mse", "cross_entropy")
LOSS_NAMES = {"mse": "squared error", "cross_entropy": "cross-entropy"}
GROUPS = {"solved": SOLVED, "trapped": TRAPPED, "unstable": UNSTABLE, "unfinished": {OUTCOMES["unfinished"]}}
QUANTILES = {"evaluations_low": 0.25, "evaluations_median": 0.5, "evaluations_high": 0.75}
# Trajectories of one compiled call: the same everywhere, so that each program is compiled once.
TILE = 400
XOR = ([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])


class Case(NamedTuple):
    """A problem under both losses, and where its trajectories start.

    Attributes:
      problem: loss -> problem.
      reach: starts are uniform on ``[-reach, reach]`` in every parameter.
      tolerance: solved when the loss first comes this close to its infimum.
      descent_rate: learning rate of the closing descent, below the limit 2/sharpness of the minima.
      num_descent: its steps; few where plateaus are long, as it must not do the optimiser's work.
      summary: what it is.
    """

    problem: Callable[[str], Problem]
    reach: float
    tolerance: float
    descent_rate: float
    num_descent: int
    summary: str


def stuck(loss: str) -> Problem:
    """The published tanh neuron with targets .8; for cross-entropy (1 + tanh z) / 2 = sigmoid(2 z) with target 1."""
    published = load_problem("separable-but-stuck", loss="mse")
    if loss == "mse":
        return published
    inputs = 2 * np.asarray(published.data[0])
    return neuron_problem("sigmoid", loss, inputs, np.ones(len(inputs)), bias=False, infimum=0.0, name="separable")


def xor(hidden: str, width: int) -> Callable[[str], Problem]:
    """XOR by one hidden layer and a sigmoid output node."""
    sizes, name = (2, width, 1), f"xor-{hidden}-2{width}1"
    return lambda loss: network_problem(sizes, (hidden, "sigmoid"), loss, *XOR, name=name, infimum=0.0)


def named(name: str) -> Callable[[str], Problem]:
    """A problem of the registry under any loss."""
    return lambda loss: load_problem(name, loss=loss)


XOR_221 = xor("sigmoid", 2)
CASES: dict[str, Case] = {
    "loss comparison": Case(named("loss-comparison"), 8.0, 1e-3, 1.0, 20_000, "sigmoid neuron, 1 input, 5 samples"),
    "two minima": Case(named("two-minima-binary"), 4.0, 1e-3, 1.0, 20_000, "sigmoid neuron, 2 inputs, 28 samples"),
    "auer 3a": Case(named("auer-fig3a"), 2.0, 1e-3, 0.1, 20_000, "sigmoid neuron, 1 weight, 2 samples"),
    "iris": Case(named("iris"), 8.0, 1e-3, 1.0, 20_000, "sigmoid neuron, 1 input, 100 samples"),
    "separable": Case(
        stuck, 3.0, 1e-3, 0.3, 20_000, "tanh neuron, 2 inputs, 121 samples, targets .8 (cross-entropy: classes)"
    ),
    "xor 2-2-1 ±1": Case(XOR_221, 1.0, 1e-2, 0.3, 2_000, "sigmoid network, starts within 1"),
    "xor 2-2-1 ±6": Case(XOR_221, 6.0, 1e-2, 0.3, 2_000, "sigmoid network, starts within 6"),
    "xor relu 2-2-1": Case(xor("relu", 2), 2.0, 1e-2, 0.1, 2_000, "ReLU hidden layer, starts within 2"),
    "xor 2-8-1 ±6": Case(xor("sigmoid", 8), 6.0, 1e-2, 0.1, 2_000, "sigmoid network, wider, starts within 6"),
}
TRAPS = ("loss comparison", "two minima", "auer 3a", "iris")
HIDDEN = tuple(name for name in CASES if name.startswith("xor"))


class Contender(NamedTuple):
    """An optimiser and how it is run.

    Attributes:
      default: the learning rate that its source gives.
      source: where that is from.
      optimizer: a name of the registry, or problem -> factory.
      hyperparameters: those of its own that are not at the registry's default.
      exponents: the learning rates tried are 10 to these powers, in from the first to the last.
      gradients: evaluations of the full gradient in one step.
      noise: standard deviation of Gaussian noise on each component of the gradient.
      minibatch: steps by a quarter of the samples, drawn with replacement.
      restarts: how many starts share the budget; the end with the lowest loss counts.
    """

    default: float
    source: str
    optimizer: str | Callable[[Problem], Callable] = "sgd"
    exponents: tuple[int, int] = (-3, 2)
    hyperparameters: Mapping[str, float] | None = None
    gradients: int = 1
    noise: float = 0.0
    minibatch: bool = False
    restarts: int = 1


CHOSEN = "no default is published; .1 is this comparison's choice"
ADAPTIVE = (-4, 1)
# Gradient descent is a heavy ball without momentum, Adam is AdamW without weight decay: so they share programs.
PLAIN, HEAVY, WITHOUT_DECAY = {"momentum": 0.0}, {"momentum": 0.9}, {"weight_decay": 0.0}
CONTENDERS: dict[str, Contender] = {
    "gradient descent": Contender(0.1, CHOSEN, "momentum", hyperparameters=PLAIN),
    "momentum .9": Contender(0.1, CHOSEN, "momentum", hyperparameters=HEAVY),
    "Nesterov .9": Contender(0.1, CHOSEN, "nesterov", hyperparameters=HEAVY),
    "Adagrad": Contender(1e-2, "PyTorch's default", "adagrad", ADAPTIVE),
    "RMSProp": Contender(1e-3, "Tieleman and Hinton 2012", "rmsprop", ADAPTIVE),
    "Adam": Contender(1e-3, "Kingma and Ba 2014", "adamw", ADAPTIVE, hyperparameters=WITHOUT_DECAY),
    "AdamW": Contender(1e-3, "Loshchilov and Hutter 2019", "adamw", ADAPTIVE),
    "Lion": Contender(1e-4, "Chen et al. 2023", "lion", ADAPTIVE),
    "Rprop": Contender(1e-1, "Riedmiller and Braun 1993, first step size", "rprop", ADAPTIVE),
    "noise .1": Contender(0.1, CHOSEN, noise=0.1),
    "noise 1": Contender(0.1, CHOSEN, noise=1.0),
    "minibatch": Contender(0.1, CHOSEN, minibatch=True),
    "SAM": Contender(
        0.1, f"radius .05 by Foret et al. 2021; {CHOSEN}", lambda p: sharpness_aware(p.objective), gradients=2
    ),
    "10 restarts": Contender(0.1, CHOSEN, "momentum", hyperparameters=PLAIN, restarts=10),
}


class Settings(NamedTuple):
    """How much is measured.

    Attributes:
      budget: evaluations of the full gradient for each run.
      num_choice: runs on which the best learning rate is chosen.
      num_runs: runs that are counted.
      per_decade: learning rates in each decade that are tried.
      seed: of the starts, the noise and the minibatches.
    """

    budget: int = 10_000
    num_choice: int = 100
    num_runs: int = 400
    per_decade: int = 2
    seed: int = 0

    def rates(self, contender: Contender) -> np.ndarray:
        """The learning rates that are tried."""
        low, high = contender.exponents
        return 10.0 ** np.linspace(low, high, (high - low) * self.per_decade + 1)


class Runs(NamedTuple):
    """Every run of one contender at some learning rates, its restarts side by side.

    Attributes:
      ends: end points, ``[run, restart, rate, parameter]``.
      outcome: as they stopped, ``[run, restart, rate]``.
      loss: at the end, same shape.
      steps: made, same shape.
      hits: the first step with a loss within the tolerance, infinite for none; only where it was recorded.
    """

    ends: np.ndarray
    outcome: np.ndarray
    loss: np.ndarray
    steps: np.ndarray
    hits: np.ndarray


def batch_size(problem: Problem) -> int:
    """A quarter of the samples."""
    return max(1, len(problem.data[0]) // 4)


def gradients_per_step(contender: Contender, problem: Problem) -> float:
    """What one step costs, in evaluations of the full gradient."""
    share = batch_size(problem) / len(problem.data[0]) if contender.minibatch else 1.0
    return contender.gradients * share


def starts_of(case: Case, problem: Problem, num: int, seed: Sequence[int]) -> np.ndarray:
    """Uniform starts ``[start, parameter]``, rounded to the precision of the runs."""
    draw = np.random.default_rng(seed).uniform(-case.reach, case.reach, (num, problem.num_parameters))
    return draw.astype(np.float32).astype(np.float64)


def launch(
    problem: Problem,
    contender: Contender,
    points: np.ndarray,
    rates: np.ndarray,
    settings: Settings,
    level: float | None = None,
) -> Runs:
    """Sweeps one contender over learning rates from all starts; with a ``level``, records when the loss reaches it.

    Args:
      problem: the objective.
      contender: the optimiser.
      points: starts ``[start, parameter]``, those of one run's restarts side by side.
      rates: learning rates.
      settings: how much is measured.
      level: a loss.
    """
    parts = []
    # Paths are kept at one learning rate at a time.
    for some in [rates] if level is None else np.split(rates, len(rates)):
        result = sweep(
            problem,
            Grid({"start": Starts(points=points), "learning_rate": Axis.of(some)}),
            optimizer=optimizer_of(problem, contender.optimizer),
            hyperparameters=contender.hyperparameters,
            num_steps=round(settings.budget / gradients_per_step(contender, problem) / contender.restarts),
            gradient_noise=contender.noise,
            batch_size=batch_size(problem) if contender.minibatch else None,
            replacement=contender.minibatch,
            shared_draws=not (contender.minibatch or contender.noise),
            seed=settings.seed + (level is not None),
            tile_size=TILE,
            num_paths=0 if level is None else len(points),
        )
        hits = np.full((len(points), len(some)), np.inf)
        if level is not None:
            hits[:, 0] = first_hits(result, points, level)
        found = (result[name].values for name in ("end_point", "outcome", "loss", "num_steps"))
        parts.append((*found, hits))
    joined = [np.concatenate(column, axis=1) for column in zip(*parts, strict=True)]
    return Runs(*(array.reshape(-1, contender.restarts, *array.shape[1:]) for array in joined))


def first_hits(result: xr.Dataset, points: np.ndarray, level: float) -> np.ndarray:
    """The first recorded step of each start at which the loss is at most ``level``; infinite for none."""
    below = result["path_loss"].values <= level
    first = np.where(below.any(axis=0), result["path_step"].values[below.argmax(axis=0)], np.inf)
    # Paths come in an order of their own: found again by where they start.
    row = {start.tobytes(): i for i, start in enumerate(points.astype(np.float32))}
    place = [row[start.tobytes()] for start in result["path"].values[0].astype(np.float32)]
    assert sorted(place) == list(range(len(points)))
    hits = np.empty(len(points))
    hits[place] = first
    return hits


class Verdicts(NamedTuple):
    """What each run comes to: ``outcome`` and whether every sample is on its side, both ``[point]``."""

    outcome: np.ndarray
    right: np.ndarray
    infimum: float


def settle(problem: Problem, case: Case, ends: np.ndarray, outcome: np.ndarray) -> Verdicts:
    """Follows the ends ``[point, parameter]`` of trajectories by plain gradient descent, and says what they come to.

    What diverged stays so; a plateau that its own budget did not leave stays one where the descent does not decide;
    and on the way to an infimum at infinity every sample must be on its side already.

    Args:
      problem: the objective.
      case: the descent.
      ends: where the trajectories stopped.
      outcome: what they were then, ``[point]``.
    """
    lost = (outcome == OUTCOMES["diverged"]) | ~np.isfinite(ends).all(axis=1)
    grid = Grid({"start": Starts(points=np.where(lost[:, None], 0.0, ends))})
    result = sweep(problem, grid, learning_rate=case.descent_rate, num_steps=case.num_descent)
    assert problem.outputs is not None
    inputs, targets = problem.data
    last = problem.unravel(result["end_point"].values.astype(np.float64))
    outputs = np.asarray(jax.vmap(problem.outputs, (0, None))(last, (inputs, targets)))
    between = 0.0 if problem.neuron is not None and problem.neuron.activation == "tanh" else 0.5
    sides = (outputs.reshape(len(ends), -1) > between) == (np.ravel(targets) > between)
    right = sides.all(axis=1) & ~lost
    found = np.where(lost, OUTCOMES["diverged"], result["outcome"].values)
    found[(found == OUTCOMES["infimum_at_infinity"]) & ~right] = OUTCOMES["unfinished"]
    stays = (found == OUTCOMES["unfinished"]) & np.isin(outcome, list(TRAPPED))
    return Verdicts(np.where(stays, outcome, found), right, float(result.attrs["infimum"]))


def kept(loss: np.ndarray) -> np.ndarray:
    """Which restart counts, ``[run, rate]``: the one whose end has the lowest loss."""
    return np.where(np.isfinite(loss), loss, np.inf).argmin(axis=1)


def of_kept(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The values ``[run, restart, rate, ...]`` of the restart that counts."""
    index = which.reshape(which.shape[0], 1, which.shape[1], *[1] * (values.ndim - 3))
    return np.take_along_axis(values, index, axis=1)[:, 0]


def evaluations(hits: np.ndarray, steps: np.ndarray, gradients: float) -> np.ndarray:
    """Evaluations until the tolerance is first reached, ``[run, rate]``: restarts run one after the other.

    Args:
      hits: the first step within the tolerance, ``[run, restart, rate]``, infinite for none.
      steps: made by each restart, same shape.
      gradients: evaluations in one step.
    """
    before = np.cumsum(steps, axis=1) - steps
    return ((before + hits) * gradients).min(axis=1)


class Judged(NamedTuple):
    """The runs of one contender, judged; every array but ``rates`` is ``[run, rate]``, restarts united."""

    rates: np.ndarray
    loss: np.ndarray
    outcome: np.ndarray
    stopped: np.ndarray
    right: np.ndarray
    spent: np.ndarray
    evaluations: np.ndarray


def judge(problem: Problem, case: Case, runs: dict[str, tuple[np.ndarray, Runs]]) -> tuple[dict[str, Judged], float]:
    """Follows the ends of all contenders at once, so that one table of critical points judges them all."""
    chosen = {name: kept(run.loss) for name, (_, run) in runs.items()}
    ends = {name: of_kept(run.ends, chosen[name]) for name, (_, run) in runs.items()}
    stopped = {name: of_kept(run.outcome, chosen[name]) for name, (_, run) in runs.items()}
    points = np.concatenate([array.reshape(-1, problem.num_parameters) for array in ends.values()])
    outcomes = np.concatenate([array.ravel() for array in stopped.values()])
    verdicts = settle(problem, case, points.astype(np.float64), outcomes)
    judged, first = {}, 0
    for name, (rates, run) in runs.items():
        shape, size = stopped[name].shape, stopped[name].size
        outcome, right = (array[first : first + size].reshape(shape) for array in (verdicts.outcome, verdicts.right))
        first += size
        gradients = gradients_per_step(CONTENDERS[name], problem)
        spent = run.steps.sum(axis=1) * gradients
        reached = evaluations(run.hits, run.steps, gradients)
        loss = of_kept(run.loss, chosen[name])
        judged[name] = Judged(rates, loss, outcome, stopped[name], right, spent, reached)
    return judged, verdicts.infimum


def solved(outcome: np.ndarray) -> np.ndarray:
    """Whether each outcome is a solution."""
    return np.isin(outcome, list(SOLVED))


def best_rate(judged: Judged) -> int:
    """Where the learning rate with the most solutions is; of equals that which spends least, then ends lowest."""
    loss = np.median(np.where(np.isfinite(judged.loss), judged.loss, np.inf), axis=0)
    return int(np.lexsort((loss, judged.spent.mean(axis=0), -solved(judged.outcome).sum(axis=0)))[0])


def nearest(rates: np.ndarray, rate: float) -> int:
    """Where a learning rate is among those tried, up to rounding."""
    (found,) = np.flatnonzero(np.isclose(rates, rate))
    return int(found)


def fractions(outcome: np.ndarray) -> dict[str, Any]:
    """Count, fraction and Wilson 95 % interval of each group of outcomes."""
    row: dict[str, Any] = {}
    for group, codes in GROUPS.items():
        count = int(np.isin(outcome, list(codes)).sum())
        low, high = wilson_interval(count, outcome.size)
        values = (count, count / outcome.size, float(low), float(high))
        row |= dict(zip((group, f"{group}_fraction", f"{group}_low", f"{group}_high"), values, strict=True))
    return row


def counted(outcome: np.ndarray) -> dict[str, int]:
    """How many runs ended as what."""
    return {name: int((outcome == code).sum()) for code, name in enumerate(NAMES) if (outcome == code).any()}


def row_of(judged: Judged, column: int) -> dict[str, Any]:
    """What is reported of one contender at one learning rate."""
    outcome, stopped = judged.outcome[:, column], judged.stopped[:, column]
    row: dict[str, Any] = {"num_runs": outcome.size, **fractions(outcome)}
    row |= {f"stopped_{group}": int(np.isin(stopped, list(codes)).sum()) for group, codes in GROUPS.items()}
    row["all_right"] = int(judged.right[:, column].sum())
    spent = judged.evaluations[solved(outcome), column]
    row["reached"] = int(np.isfinite(spent).sum())
    for name, share in QUANTILES.items():
        # Not an interpolation: a solution that was not reached within the budget counts as infinitely late.
        value = np.quantile(spent, share, method="inverted_cdf") if spent.size else np.inf
        row[name] = float(value) if np.isfinite(value) else None
    return row | {"outcomes": counted(outcome), "outcomes_as_stopped": counted(stopped)}


@functools.cache
def optimizer_of(problem: Problem, contender_optimizer: str | Callable) -> Any:
    """What `sweep` takes; one object for one problem, so that it compiles once."""
    return contender_optimizer if isinstance(contender_optimizer, str) else contender_optimizer(problem)


@functools.cache
def built(problem: Callable[[str], Problem], loss: str) -> Problem:
    """One object for all cases that differ by their starts alone: they share compiled programs."""
    return problem(loss)


def measure(name: str, loss: str, contenders: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """Everything about one problem under one loss: the rows of all contenders, and of all learning rates tried."""
    case = CASES[name]
    problem = built(case.problem, loss)

    def launched(key: str, rates: np.ndarray, num: int, level: float | None = None) -> tuple[np.ndarray, Runs]:
        contender = CONTENDERS[key]
        # Other starts for the choice of a learning rate than for the counting.
        points = starts_of(case, problem, num * contender.restarts, (settings.seed, int(level is not None)))
        return rates, launch(problem, contender, points, rates, settings, level)

    tried = {key: launched(key, settings.rates(CONTENDERS[key]), settings.num_choice) for key in contenders}
    choice, infimum = judge(problem, case, tried)
    kinds = {
        key: {"best": best_rate(choice[key]), "default": nearest(choice[key].rates, CONTENDERS[key].default)}
        for key in contenders
    }
    columns = {key: np.unique(list(kinds[key].values())) for key in contenders}
    level = infimum + case.tolerance
    measured = {key: launched(key, choice[key].rates[columns[key]], settings.num_runs, level) for key in contenders}
    final, lowest = judge(problem, case, measured)
    head = {"problem": name, "loss": loss}
    rows = [
        {**head, "optimizer": key, "rate": kind, "learning_rate": float(choice[key].rates[column])}
        | row_of(final[key], list(columns[key]).index(column))
        for key in contenders
        for kind, column in kinds[key].items()
    ]
    trials = [
        {**head, "optimizer": key, "learning_rate": float(rate), "num_runs": settings.num_choice}
        | fractions(choice[key].outcome[:, i])
        for key in contenders
        for i, rate in enumerate(choice[key].rates)
    ]
    facts = {**head, "infimum": min(infimum, lowest), "num_parameters": problem.num_parameters}
    return {"rows": rows, "trials": trials, "facts": facts}


def alike(names: Sequence[str]) -> list[list[str]]:
    """The cases by problem, the most cases first: those of one problem are measured in one process."""
    groups: dict[Callable, list[str]] = {}
    for name in names:
        groups.setdefault(CASES[name].problem, []).append(name)
    return sorted(groups.values(), key=len, reverse=True)


def measure_all(names: Sequence[str], *unit: Any) -> list[dict[str, Any]]:
    """`measure` for several cases."""
    return [measure(name, *unit) for name in names]


def cell(value: Any) -> Any:
    """A value as it stands in a CSV file."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {count}" for name, count in value.items())
    return f"{value:.6g}" if isinstance(value, float) else value


def table_of(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: cell(value) for name, value in row.items()})


def versions() -> dict[str, str]:
    """Of what has measured."""
    return {name: importlib.metadata.version(name) for name in ("jaxloss", "jax", "jaxlib", "optax", "numpy")}


def described(settings: Settings, names: Sequence[str], contenders: Sequence[str]) -> dict[str, Any]:
    """What is measured, as plain values."""
    problems = {name: CASES[name]._asdict() | {"problem": name} for name in names}
    optimizers = {}
    for name in contenders:
        contender = CONTENDERS[name]
        plain = contender.optimizer if isinstance(contender.optimizer, str) else "sharpness_aware"
        rates = settings.rates(contender).tolist()
        optimizers[name] = contender._asdict() | {"optimizer": plain, "learning_rates": rates}
    return {
        "settings": settings._asdict(),
        "versions": versions(),
        "problems": problems,
        "optimizers": optimizers,
    }


def joined(parts: dict[tuple[str, str], dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The parts measured so far in the order of the problems."""
    ordered = [parts[key] for key in itertools.product(names, LOSSES) if key in parts]
    return {
        "objectives": [part["facts"] for part in ordered],
        "rows": [row for part in ordered for row in part["rows"]],
        "trials": [row for part in ordered for row in part["trials"]],
    }


def parts_of(stored: dict[str, Any], found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The parts of an earlier run that measured alike."""
    same = ("settings", "versions", "optimizers")
    if any(stored[name] != json.loads(json.dumps(found[name])) for name in same):
        raise SystemExit("comparison.json was measured with other settings: run without --resume")
    parts = {}
    for facts in stored["objectives"]:
        key = facts["problem"], facts["loss"]
        rows, trials = (
            [row for row in stored[name] if (row["problem"], row["loss"]) == key] for name in ("rows", "trials")
        )
        parts[key] = {"rows": rows, "trials": trials, "facts": facts}
    return parts


TEXT = """# Would another optimiser do, or is it a limit of the mean squared error?

Written by `scripts/optimizer_comparison.py`; the numbers of results come from `comparison.json`.

![The share of runs that each optimiser solves](comparison.png)

## What follows

{summary}

Percent of {num_runs} runs, with Wilson 95 % intervals, each optimiser at its best learning rate:

{items}

## What does not follow

- That the choice of an optimiser does not matter. From the same starts, rules end in different basins, some more
  often in the right one. But no rule is told which basin is the right one: the spurious minimum of a single neuron
  under squared error attracts whatever descends. Another loss removes it; another start goes round it.
- That cross-entropy is a cure. It makes the loss of a *single* neuron convex, which leaves nothing to be trapped in.
  A hidden layer keeps its traps under either loss.
- That restarts always pay. Ten short runs share the budget of one; where a solution needs most of it, they lose.
- Anything about generalisation, or about large networks: these are whole data sets of a few samples, judged by the
  training loss alone. Nor the order of close rivals: the best single run is picked from the numbers that it shows.

## Numbers

Solved, and evaluations of the full gradient until the loss first comes within the tolerance of its infimum: median
and quartiles among the solved runs; "later" is later than the budget.

{numbers}

## How it was measured

- Every run has a budget of {budget:,} evaluations of the full gradient. A step of sharpness-aware minimisation (SAM)
  costs two, one of a minibatch its share of the samples (a quarter of them, drawn with replacement); ten restarts
  have a tenth of the budget each, and of their ends the one with the lowest loss counts.
- Then gradient descent without noise follows every end that has not diverged, for the steps and at the small
  learning rate below, and what it comes to is the verdict: *solved* at the infimum (or on the way to it at infinity,
  with every sample on its side already), *trapped* at a spurious minimum, a saddle or a plateau (where the descent
  does not decide: on a plateau that the run itself did not leave), *unstable* if the run diverged, else *unfinished*.
  It is one rule for all, because many rules never come to rest: noise, minibatches, signs (Lion), weight decay, SAM.
  It is kind to learning rates so large that a run only wanders, and to small ones; it costs no budget. The columns
  `stopped_...` of `comparison.csv` say what each run was when its own budget ended, `reached` how many of the solved
  came within the tolerance by then.
- The best learning rate is that with the most solved of {num_choice} runs, among {per_decade} in each decade of the
  range below; of equals that which spends least, then that whose runs end lowest. {num_runs} runs from other starts
  are then counted, at that rate and at the default one; the starts are the same for all optimisers but restarts.
  `rates.csv` has the whole sweep.
- A plateau that a longer budget would leave counts as trapped or unfinished: solved means within this budget.
- Paths are recorded at 200 steps, evenly spaced in the logarithm: evaluations are right to about 5 %.
- `separable` under cross-entropy: (1 + tanh z) / 2 = sigmoid(2 z) is the probability of the class, and the class is
  the target.
- `noise .1` and `noise 1` add Gaussian noise of that standard deviation to each component of the gradient.

| optimiser | default learning rate | from | rates tried |
|---|---|---|---|
{optimizers}

| problem | what | starts uniform within | closing descent | tolerance |
|---|---|---|---|---|
{problems}
"""


class Table:
    """The rows of a comparison, found by problem, loss, optimiser and kind of learning rate."""

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self.rows = {(row["problem"], row["loss"], row["optimizer"], row["rate"]): row for row in rows}
        self.problems, self.losses, self.optimizers, _ = (
            list(dict.fromkeys(part)) for part in zip(*self.rows, strict=True)
        )

    def row(self, problem: str, loss: str, optimizer: str, rate: str = "best") -> dict[str, Any]:
        """One row."""
        return self.rows[problem, loss, optimizer, rate]

    def has(self, problem: str, optimizers: Sequence[str] = ()) -> bool:
        """Whether these optimisers were measured on this problem under both losses."""
        return all((problem, loss, key, "best") in self.rows for loss in LOSSES for key in (PLAIN_RULE, *optimizers))

    def of_single_runs(self, problem: str, loss: str, rate: str = "best") -> list[dict[str, Any]]:
        """The rows of all optimisers but restarts."""
        return [self.row(problem, loss, key, rate) for key in self.optimizers if CONTENDERS[key].restarts == 1]

    def leader(self, problem: str, loss: str) -> dict[str, Any]:
        """The row of the optimiser without restarts that solves most."""
        return max(self.of_single_runs(problem, loss), key=lambda row: row["solved"])


PLAIN_RULE, RESTARTS = "gradient descent", "10 restarts"


def share(row: dict[str, Any], group: str = "solved") -> str:
    """A fraction in percent with its interval."""
    mean, low, high = (100 * row[f"{group}_{part}"] for part in ("fraction", "low", "high"))
    return f"{mean:.1f} % ({low:.0f} to {high:.0f})"


def apart(first: dict[str, Any], second: dict[str, Any]) -> str:
    """How two fractions of solved runs compare, told from their intervals."""
    if first["solved_low"] > second["solved_high"]:
        return "more often than"
    if first["solved_high"] < second["solved_low"]:
        return "less often than"
    return "as often, within the intervals, as"


def spent(row: dict[str, Any]) -> str:
    """Evaluations to solution: median and quartiles."""
    low, median, high = (row[name] for name in QUANTILES)
    if median is None:
        return f"later than the budget ({row['reached']} of {row['solved']})" if row["solved"] else "none"
    return f"{median:,.0f} ({low:,.0f} to {'later' if high is None else f'{high:,.0f}'})"


def in_short(table: Table) -> str:
    """The answer in one paragraph, as far as the numbers go."""
    neurons = [name for name in TRAPS if table.has(name) and table.row(name, "mse", PLAIN_RULE)["trapped"]]
    hidden = [name for name in HIDDEN if table.has(name)]
    singles = sum(CONTENDERS[key].restarts == 1 for key in table.optimizers)
    sentences = []
    if neurons:
        left = [1 - table.leader(name, "mse")["solved_fraction"] for name in neurons]
        plain = [1 - table.row(name, "mse", PLAIN_RULE)["solved_fraction"] for name in neurons]
        worst = [min(table.of_single_runs(name, "cross_entropy"), key=solved_of) for name in neurons]
        crossed = [1 - row["solved_fraction"] for row in worst]
        does = "does not do" if min(left) > 0 else "does on some problems"
        sentences.append(
            f"Another optimiser {does}: on the {len(neurons)} single neurons on which gradient descent is trapped "
            f"under squared error ({', '.join(neurons)}), it leaves {span(plain)} of the runs unsolved, and the best "
            f"of {singles} optimisers {span(left)}. Under cross-entropy the worst of them leaves {span(crossed)}."
        )
        if max(crossed) < min(left):
            sentences.append("There it is a limit of squared error behind a sigmoid, not of the way down.")
    if hidden:
        rows = [[table.row(name, loss, PLAIN_RULE) for name in hidden] for loss in LOSSES]
        leaders = [[table.leader(name, loss) for name in hidden] for loss in LOSSES]
        mse, crossed = ([1 - row["solved_fraction"] for row in some] for some in rows)
        best, best_crossed = ([1 - row["solved_fraction"] for row in some] for some in leaders)
        sentences.append(
            f"With a hidden layer ({', '.join(hidden)}) gradient descent leaves {span(mse)} unsolved under squared "
            f"error and {span(crossed)} under cross-entropy, the best optimiser {span(best)} and "
            f"{span(best_crossed)}."
        )
        if max(crossed) > 0:
            sentences.append("There the loss alone is not what traps.")
    return " ".join(sentences)


def span(shares: Sequence[float]) -> str:
    """The range of some shares, in percent."""
    low, high = 100 * min(shares), 100 * max(shares)
    return f"{high:.1f} %" if low == high else f"{low:.1f} to {high:.1f} %"


def answer(table: Table) -> list[str]:
    """What follows and what does not, as list items with the measured numbers."""
    items = []
    for name in (name for name in TRAPS if table.has(name, [RESTARTS])):
        plain, best, again = (
            table.row(name, "mse", PLAIN_RULE),
            table.leader(name, "mse"),
            table.row(name, "mse", RESTARTS),
        )
        others = [row for row in table.of_single_runs(name, "cross_entropy") if row["solved"] < row["num_runs"]]
        convex = (
            "every optimiser solves every run"
            if not others
            else f"all but {len(others)} optimisers solve every run (the least: {share(min(others, key=solved_of))}, "
            f"{min(others, key=solved_of)['optimizer']})"
        )
        items.append(
            f"**{name}** ({CASES[name].summary}). Squared error: gradient descent solves {share(plain)} and is "
            f"trapped in {share(plain, 'trapped')}; the best single run, {best['optimizer']}, solves {share(best)}, "
            f"{apart(best, plain)} gradient descent; ten restarts at the same cost solve {share(again)}. "
            f"Cross-entropy: {convex}."
        )
    if table.has("separable"):
        rows = [table.row("separable", "mse", key) for key in table.optimizers]
        crossed = [table.row("separable", "cross_entropy", key) for key in table.optimizers]
        arrived = [row for row in rows if row["solved"] == row["num_runs"]]
        reach, runs, right = (sum(row[name] for row in rows) for name in ("solved", "num_runs", "all_right"))
        items.append(
            f"**separable** ({CASES['separable'].summary}). Under squared error {reach:,} of {runs:,} runs of all "
            f"optimisers reach the infimum. Of the {sum(row['num_runs'] for row in arrived):,} runs of the "
            f"{len(arrived)} optimisers that bring every run there, {sum(row['all_right'] for row in arrived):,} "
            f"classify every sample ({right:,} of all runs do): the minimum itself does not separate the classes, "
            f"and no optimiser can change that. Under cross-entropy {sum(row['all_right'] for row in crossed):,} of "
            f"{sum(row['num_runs'] for row in crossed):,} do."
        )
    for name in (name for name in HIDDEN if table.has(name, [RESTARTS])):
        mse, crossed = (table.row(name, loss, PLAIN_RULE) for loss in LOSSES)
        best, best_crossed = (table.leader(name, loss) for loss in LOSSES)
        again, again_crossed = (table.row(name, loss, RESTARTS) for loss in LOSSES)
        items.append(
            f"**{name}** ({CASES[name].summary}). Gradient descent solves {share(mse)} under squared error and "
            f"{share(crossed)} under cross-entropy: with cross-entropy {apart(crossed, mse)} with squared error. The "
            f"best single run: {best['optimizer']} with {share(best)}, and {best_crossed['optimizer']} with "
            f"{share(best_crossed)}. Ten restarts: {share(again)} and {share(again_crossed)}."
        )
    scales = [name for name in ("xor 2-2-1 ±1", "xor 2-2-1 ±6") if table.has(name, ["Adam"])]
    for name, loss in itertools.product(scales, LOSSES):
        adam, plain = (table.row(name, loss, key) for key in ("Adam", PLAIN_RULE))
        items.append(
            f"**Adam against gradient descent, {name}, {LOSS_NAMES[loss]}**: {share(adam)} against {share(plain)}, "
            f"each at its best learning rate: {apart(adam, plain)} gradient descent. At the defaults "
            f"{share(table.row(name, loss, 'Adam', 'default'))} against "
            f"{share(table.row(name, loss, PLAIN_RULE, 'default'))}."
        )
    return items


def solved_of(row: dict[str, Any]) -> int:
    """How many runs are solved."""
    return row["solved"]


def numbers(table: Table) -> list[str]:
    """The lines of the table of gradient descent, the best single run and restarts."""
    columns = ("problem", "loss", PLAIN_RULE, "best single run", RESTARTS)
    spending = (f"evaluations: {PLAIN_RULE}", "best single run", RESTARTS)
    lines = [f"| {' | '.join([*columns, *spending])} |", "|---" * 8 + "|"]
    for name, loss in itertools.product(table.problems, table.losses):
        if table.has(name, [RESTARTS]):
            best = table.leader(name, loss)
            plain, again = (table.row(name, loss, key) for key in (PLAIN_RULE, RESTARTS))
            shares = (share(plain), f"{best['optimizer']}: {share(best)}", share(again))
            lines.append(f"| {' | '.join([name, LOSS_NAMES[loss], *shares, *map(spent, (plain, best, again))])} |")
    return lines


def text_of(found: dict[str, Any]) -> str:
    """The page that explains the results; every number of a result in it is measured."""
    settings = Settings(**found["settings"])
    optimizers = (
        f"| {name} | {facts['default']:g} | {facts['source']} | {facts['learning_rates'][0]:g} to "
        f"{facts['learning_rates'][-1]:g} |"
        for name, facts in found["optimizers"].items()
    )
    problems = (
        f"| {name} | {facts['summary']} | ±{facts['reach']:g} | {facts['num_descent']:,} at "
        f"{facts['descent_rate']:g} | {facts['tolerance']:g} |"
        for name, facts in found["problems"].items()
    )
    table = Table(found["rows"])
    return TEXT.format(
        summary=in_short(table),
        items="\n".join(f"- {item}" for item in answer(table)),
        numbers="\n".join(numbers(table)),
        optimizers="\n".join(optimizers),
        problems="\n".join(problems),
        **settings._asdict(),
    )


def publish(found: dict[str, Any], out: Path) -> None:
    """Writes the tables, the figure and the text."""
    out.mkdir(parents=True, exist_ok=True)
    table_of(found["rows"], out / "comparison.csv")
    table_of(found["trials"], out / "rates.csv")
    (out / "comparison.json").write_text(json.dumps(found, separators=(",", ":"), ensure_ascii=False) + "\n")
    groups = {name: "hidden layer" if name in HIDDEN else "one neuron" for name in found["problems"]}
    plot_optimizer_comparison(found["rows"], groups=groups, path=out / "comparison.png")
    (out / "README.md").write_text(text_of(found))


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measures, writes the tables, the figure and the text, and returns what the JSON file holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one problem, three optimisers, few runs")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; 0 for this one alone")
    parser.add_argument("--problems", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--resume", action="store_true", help="keep what comparison.json holds, measure the rest")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: text and figure from comparison.json")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    if options.redraw:
        found = json.loads((options.out / "comparison.json").read_text())
        publish(found, options.out)
        return found
    settings, names, contenders = Settings(), options.problems, tuple(CONTENDERS)
    if options.quick:
        settings = Settings(budget=400, num_choice=8, num_runs=12, per_decade=1)
        names, contenders = ["auer 3a"], ("gradient descent", "Adam", "10 restarts")
    found = described(settings, names, contenders)
    stored = options.out / "comparison.json"
    parts = parts_of(json.loads(stored.read_text()), found) if options.resume else {}

    def keep(new: Sequence[dict[str, Any]]) -> None:
        parts.update({(part["facts"]["problem"], part["facts"]["loss"]): part for part in new})
        publish(found | joined(parts, names), options.out)

    units = [(group, loss, contenders, settings) for group in alike(names) for loss in LOSSES]
    units = [unit for unit in units if not all((name, unit[1]) in parts for name in unit[0])]
    if options.workers:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
            for task in as_completed([pool.submit(measure_all, *unit) for unit in units]):
                keep(task.result())
    else:
        for unit in units:
            keep(measure_all(*unit))
    return found | joined(parts, names)


if __name__ == "__main__":
    main()
