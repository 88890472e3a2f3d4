"""Small networks: how often gradient descent is trapped, how long it takes, and how often it cannot begin."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax

from jaxloss import descent
from jaxloss.critical_points.polish import losses, polish
from jaxloss.descent import Rule
from jaxloss.engine import computing_in, in_lanes, map_lanes, tiles
from jaxloss.grids import START, Axis, BoundGrid, Grid, Starts
from jaxloss.outcomes import OUTCOMES, SOLVED
from jaxloss.problems import Problem, load_problem
from jaxloss.reproduce.case import Reproduced, Settings
from jaxloss.reproduce.rows import Published, Row, estimate, exact, fraction
from jaxloss.runs import RunOptions, arguments_of, rule_of, run_grid
from jaxloss.sweeps import sweep, validate

# Safran and Shamir: the stopping rule, and what counts as trapped.
LARGEST_GRADIENT, TRAPPED_LOSS = 1e-9 / (2 * np.pi), 1e-3
# Losses of spurious minima that agree to this are one family: its members differ by the order of the teachers.
SAME_LOSS = 1e-6

# Kolen and Pollack's budget. XOR counts as learned once the sum of the four squared errors is below this.
EPOCHS, LEARNED_SSE, PATTERNS = 50_000, 0.04, 4
RHOS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)
LEARNING_RATES, MOMENTA = (1.0, 2.0), (0.0, 0.5, 0.9)
# The slice through the weights: everything else is held at the values of one random start.
SLICE_AXES, SLICE_HALF_WIDTH, SLICE_RHO = ("layer_0.weight[0,0]", "layer_0.weight[1,1]"), 10.0, 4.0
# A tile goes on until its last trajectory has ended.
TILE_SIZE = 1024

# Draws of dead-at-birth that are made at once.
DRAWS = 2**14


def safran_shamir(settings: Settings) -> Reproduced:
    """How often a ReLU student of orthonormal teachers is trapped, and at which spurious minima.

    The trajectories run through the engine alone. A sweep would also search for critical points from Sobol points and
    polish hundreds of end points, each with a Hessian of up to 100 parameters: that takes several times as long as
    the trajectories, and here the loss tells the trapped from the others.
    """
    case, place = "safran-shamir", "Safran and Shamir 2018"
    sizes, num = settings.choose(
        quick=((7, 8), 100), default=((6, 7, 8, 9, 10), 2000), full=((6, 7, 8, 9, 10, 12, 15, 20), 10_000)
    )
    # size -> (share trapped of 1000 runs; loss and smallest Hessian eigenvalue of the spurious minimum)
    published = {
        6: ("0.003", "0.0251", "0.0047"),
        7: ("0.055", "0.0232", "0.0141"),
        8: ("0.126", "0.0215", "0.0213"),
    }
    rows, counts, families = [], [], []
    for size in sizes:
        problem = load_problem(case, num_units=size)
        options = RunOptions(
            learning_rate=0.1,
            num_steps=settings.choose(quick=100_000, default=300_000),
            gradient_tolerance=LARGEST_GRADIENT,
            precision="float64",
            seed=settings.seed,
        )
        grid = Grid({START: Starts(num, "normal", size**-0.5)})
        ends, _ = run_grid(problem, validate(problem, grid, options), options, settings.progress)
        loss = losses(problem, ends.point)
        trapped = loss >= TRAPPED_LOSS
        share, *numbers = published.get(size, (None,))
        source = f"{place}, experiments with n = k: no number at hand for this size"
        rows.append(
            fraction(
                case,
                f"trapped runs, n = k = {size}",
                int(trapped.sum()),
                num,
                published=None if share is None else Published(share, place, num_runs=1000),
                source=source,
            )
        )
        counts.append((size, int(trapped.sum()), num, np.nan if share is None else float(share)))
        found = _families(problem, ends.point[trapped], loss[trapped])
        families += [(size, *family) for family in found]
        if found and numbers:
            # The family that most of the trapped are in.
            value, eigenvalue, members = max(found, key=lambda family: family[-1])
            told = f"{place}; recomputed"
            for name, ours, theirs in zip(
                ("loss", "smallest Hessian eigenvalue"), (value, eigenvalue), numbers, strict=True
            ):
                quantity = f"commonest spurious minimum, n = k = {size}: {name}"
                rows.append(exact(case, quantity, ours, Published(theirs, told), num_runs=members))
    columns = dict(zip(("size", "trapped", "num_runs", "published"), np.array(counts).T, strict=True))
    groups = dict(
        zip(("family_size", "loss", "eigenvalue", "members"), np.array(families).reshape(-1, 4).T, strict=True)
    )
    data = xr.Dataset(
        {name: ("experiment", values) for name, values in columns.items()}
        | {name: ("family", values) for name, values in groups.items()}
    )
    return Reproduced(tuple(rows), data)


def _families(problem: Problem, points: np.ndarray, loss: np.ndarray) -> list[tuple[float, float, int]]:
    """Loss, smallest Hessian eigenvalue and number of members of each family of spurious minima."""
    found = []
    order = np.argsort(loss)
    for members in np.split(order, np.flatnonzero(np.diff(loss[order]) > SAME_LOSS) + 1):
        if len(members):
            spectrum = polish(problem, points[members[:1]]).spectrum
            found.append((float(spectrum.loss[0]), float(spectrum.eigenvalues[0, 0]), len(members)))
    return found


def xor_221(settings: Settings) -> Reproduced:
    """How often XOR is not learned in 50,000 epochs, by the range of the starts; and slices through the weights.

    Heavy-ball momentum as in Rumelhart, Hinton and Williams 1986. The objective is the mean of the four squared
    errors; their sum, or half of it, is a learning rate 4 or 2 times as large.
    """
    case, num = "xor-221", settings.choose(quick=100, default=2000, full=20_000)
    rhos = settings.choose(quick=(0.5, 4.0, 10.0), default=RHOS)
    problem = load_problem(case)
    recomputed = dict(zip(RHOS, (".052", ".152", ".300", ".405", ".455", ".548", ".630", ".725"), strict=True))
    source = "recomputed for this project, 400 starts; after Kolen and Pollack 1990"
    rows, missed, stuck = [], [], np.zeros(0)
    for rho in rhos:
        grid = Grid(
            {
                START: Starts(num, "uniform", rho),
                "learning_rate": Axis.of(LEARNING_RATES),
                "momentum": Axis.of(MOMENTA),
            }
        )
        result = sweep(
            problem,
            grid,
            optimizer="momentum",
            num_steps=EPOCHS,
            seed=settings.seed,
            progress=settings.progress,
        )
        squares = PATTERNS * result["loss"].values
        failed = ~(squares < LEARNED_SSE)
        missed.append(failed.sum(axis=0))
        for i, rate in enumerate(LEARNING_RATES):
            for j, momentum in enumerate(MOMENTA):
                plain = rate == 1 and momentum == 0
                if not plain and rho != 4:
                    continue
                quantity = f"not learned, rho = {rho:g}, learning rate {rate:g}, momentum {momentum:g}"
                known = Published(recomputed[rho], source, num_runs=400) if plain else None
                hits = int(failed[:, i, j].sum())
                rows.append(fraction(case, quantity, hits, num, published=known, source="Kolen and Pollack 1990"))
        if rho == 4:
            stuck = squares[:, 0, 0][failed[:, 0, 0]]
            plateau = result["outcome"].values[:, 0, 0][failed[:, 0, 0]] == OUTCOMES["plateau"]
            rows += _stuck_losses(case, stuck, plateau, source)
    # Points along each side of the slices, and the epochs that each may take.
    side, limit = settings.choose(quick=(24, 1000), default=(160, 10_000), full=(512, EPOCHS))
    epochs, slices = _slices(problem, side, limit, settings.seed)
    data = xr.Dataset(
        {
            "missed": (("rho", "learning_rate", "momentum"), np.array(missed)),
            "stuck": ("run", stuck),
            "epochs": (("learning_rate", "momentum", "first", "second"), epochs),
        },
        coords={
            "rho": list(rhos),
            "learning_rate": list(LEARNING_RATES),
            "momentum": list(MOMENTA),
            "first": slices,
            "second": slices,
        },
        attrs={"num_runs": num, "axes": list(SLICE_AXES), "limit": limit},
    )
    return Reproduced(tuple(rows), data)


def _stuck_losses(case: str, stuck: np.ndarray, plateau: np.ndarray, source: str) -> list[Row]:
    """The two levels at which the sum of squared errors is stuck, and that they are plateaus."""
    rows = []
    for level, printed in ((1 / 2, "0.50"), (2 / 3, "0.67")):
        near = stuck[np.abs(stuck - level) < 0.02]
        if len(near):
            low, high = np.quantile(near, (0.025, 0.975))
            rows.append(
                estimate(
                    case,
                    f"stuck sum of squared errors near {printed}, rho = 4",
                    float(np.median(near)),
                    float(low),
                    float(high),
                    num_runs=len(near),
                    published=Published(printed, source),
                )
            )
    if len(stuck):
        rows.append(
            fraction(case, "stuck runs that end as a plateau, no minimum, rho = 4", int(plateau.sum()), len(stuck))
        )
    return rows


def _slices(problem: Problem, side: int, limit: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs until XOR is learned, over two weights, for each learning rate and momentum; and the weights' values."""
    start = Starts(1, "uniform", SLICE_RHO).draw(problem, jax.random.key(seed))
    values = Axis.linear(-SLICE_HALF_WIDTH, SLICE_HALF_WIDTH, side)
    grid = Grid(
        {
            "learning_rate": Axis.of(LEARNING_RATES),
            "momentum": Axis.of(MOMENTA),
            **dict.fromkeys(SLICE_AXES, values),
        },
        origin=problem.unravel(start[0]),
    )
    options = RunOptions(optimizer="momentum", num_steps=limit, seed=seed)
    bound = validate(problem, grid, options)
    epochs = epochs_to_learn(problem, bound, options, LEARNED_SSE / PATTERNS)
    return bound.to_grid_order(epochs), values.values


def epochs_to_learn(problem: Problem, bound: BoundGrid, options: RunOptions, level: float) -> np.ndarray:
    """After how many steps the loss of each trajectory is first below a level; -1 if never within the budget.

    Args:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run; only its optimiser, precision, seed and ``num_steps`` matter.
      level: of the loss.

    Returns:
      int32 ``[trajectory]``, in the order of work.
    """
    rule = rule_of(problem, options)
    with computing_in(options.precision, problem):
        program = in_lanes(_epochs_to_learn, (rule,), (None, None, None, -1, -1))
        parts = []
        for first, last in tiles(bound.grid.size, 2**16):
            shared, own, initial = arguments_of(problem, bound, options, first, last)
            fixed = (shared, np.int32(options.num_steps), np.asarray(level, options.precision))
            parts.append(map_lanes(program, fixed, (own, initial), TILE_SIZE))
    return np.concatenate(parts)


def _epochs_to_learn(rule: Rule, shared, limit, level, own, initial):
    def going(carry):
        step, state = carry
        return (step < limit) & ~(rule.objective(state[0], shared.data) < level)

    def update(carry):
        step, state = carry
        return step + 1, descent.update(rule, shared, own, step, state)

    start = jnp.zeros((), jnp.int32), descent.first(rule, shared, own, initial)
    step, state = lax.while_loop(going, update, start)
    return jnp.where(rule.objective(state[0], shared.data) < level, step, -1)


def relu_xor_sum(settings: Settings) -> Reproduced:
    """How often two summed ReLU units learn XOR, by gradient descent and by Adam."""
    case, num = "relu-xor-sum", settings.choose(quick=1000, default=20_000, full=1_000_000)
    problem = load_problem(case)
    starts = Starts(num, scale={"weight": 0.5, "bias": 0.0})
    source = "recomputed for this project, 20,000 runs"
    runs = {
        "gradient descent": ("sgd", 0.1, Published("0.498", source, num_runs=20_000)),
        "Adam": ("adam", 0.01, Published("0.471", source, num_runs=20_000)),
    }
    rows, outcomes, ends = [], [], []
    for name, (optimizer, rate, published) in runs.items():
        result = sweep(
            problem,
            Grid({START: starts}),
            optimizer=optimizer,
            learning_rate=rate,
            num_steps=20_000,
            precision="float64",
            seed=settings.seed,
            progress=settings.progress,
        )
        outcome, loss = result["outcome"].values, result["loss"].values
        solved = np.isin(outcome, list(SOLVED))
        rows.append(fraction(case, f"solved by {name}", int(solved.sum()), num, published=published))
        if not solved.all():
            failed = loss[~solved]
            there, middle = int((np.abs(failed - 0.25) < 1e-3).sum()), float(np.median(failed))
            level = Published("0.25", source, num_runs=20_000)
            rows += [
                exact(case, f"failures of {name}: median loss", middle, level, num_runs=len(failed)),
                fraction(case, f"failures of {name} whose loss is 1/4", there, len(failed)),
            ]
        outcomes.append(outcome)
        ends.append(loss)
    # Those that the sweeps started from.
    weight = problem.unravel(starts.draw(problem, RunOptions(seed=settings.seed).key("starts")))["weight"]
    inputs, targets = problem.data
    # Without bias a unit is active on exactly one of the two opposite samples of class 1.
    active = weight @ np.asarray(inputs)[np.asarray(targets) == 1].T > 0
    alive = active.any(axis=1).all(axis=1)
    rows.append(
        fraction(
            case,
            "starts where each sample of class 1 has an active unit",
            int(alive.sum()),
            num,
            published=Published(0.5, "derived: the samples are opposite"),
        )
    )
    shown = slice(None, None, max(1, num // 5000))
    data = xr.Dataset(
        {
            "angle": (("start", "unit"), np.degrees(np.arctan2(weight[..., 1], weight[..., 0]))[shown]),
            "outcome": (("optimizer", "start"), np.array(outcomes)[:, shown]),
            "loss": (("optimizer", "start"), np.array(ends)[:, shown]),
            "solved": ("optimizer", [float(np.isin(outcome, list(SOLVED)).mean()) for outcome in outcomes]),
        },
        coords={"optimizer": list(runs)},
        attrs={"num_runs": num},
    )
    return Reproduced(tuple(rows), data)


def dead_at_birth(settings: Settings) -> Reproduced:
    """How often a deep and narrow ReLU network is constant from the start, by width and depth."""
    case = "dead-at-birth"
    # Where the probability is known exactly, more draws are the stronger test.
    few, many = settings.choose(quick=(2**15, 2**15), default=(2**18, 2**24), full=(2**22, 2**24))
    widths, depths = settings.choose(
        quick=((1, 2, 3), (3, 10)), default=((1, 2, 3, 4, 5), (3, 4, 5, 7, 10, 14, 20, 30))
    )
    place = "Lu, Shin, Su and Karniadakis 2020, one input; rederived"
    rows, share = [], np.zeros((len(widths), len(depths)))
    for i, width in enumerate(widths):
        for j, depth in enumerate(depths):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(settings.seed), width), depth)
            low, high = born_dead_bounds(width, depth)
            num = many if high - low < 1e-12 else few
            hits = num_dead(load_problem("deep-narrow-relu", width=width, depth=depth), num, key)
            share[i, j] = hits / num
            quantity = f"dead at birth, width {width}, depth {depth}"
            if high - low < 1e-12:
                known = Published(low, "exact: 4^-w (3 - 2^(1 - w)) for depth 3, 1 - 2^(2 - depth) for width 1")
                rows.append(fraction(case, quantity, hits, num, published=known))
            elif depth in (5, 10, 20):
                ours = fraction(case, quantity, hits, num)
                rows += [
                    estimate(case, f"{quantity}: {name} bound", ours.ours, *interval, num_runs=num, published=known)
                    for name, interval, known in (
                        ("lower", (0.0, ours.high), Published(low, place)),
                        ("upper", (ours.low, 1.0), Published(high, "derived: both signs of the input die together")),
                    )
                ]
    bounds = np.array([[born_dead_bounds(width, depth) for depth in depths] for width in widths])
    data = xr.Dataset(
        {
            "dead": (("width", "depth"), share),
            "lower": (("width", "depth"), bounds[..., 0]),
            "upper": (("width", "depth"), bounds[..., 1]),
        },
        coords={"width": list(widths), "depth": list(depths)},
        attrs={"num_runs": few, "num_runs_exact": many},
    )
    return Reproduced(tuple(rows), data)


def num_dead(problem: Problem, num: int, key: jax.Array) -> int:
    """Of ``num`` draws of all weights from N(0, 1), how many give the output zero on every sample.

    Args:
      problem: a network without biases.
      num: draws, rounded up to whole batches of `DRAWS` beyond the first.
      key: of the draws.

    Returns:
      The number.
    """
    assert problem.outputs is not None
    return sum(
        int(_count_dead(problem.outputs, problem.structure, problem.data, jax.random.fold_in(key, i), last - first))
        for i, (first, last) in enumerate(tiles(num, DRAWS))
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _count_dead(outputs, structure, data, key, num: int):
    points = jax.random.normal(key, (num, structure.num_parameters), jnp.float32)
    data = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), data)
    values = jax.vmap(lambda point: outputs(structure.unravel(point), data))(points)
    return jnp.sum(jnp.all(values == 0, axis=tuple(range(1, values.ndim))))


def born_dead_bounds(width: int, depth: int) -> tuple[float, float]:
    r"""Between what the probability lies that a ReLU network without biases, of one input, is dead at birth.

    Such a network is linear on either side of zero: a layer maps two vectors, one for each sign. On a vector that is
    not zero each of the w units of the next layer is silent with probability 1/2, on two vectors at an angle
    :math:`\theta` it is silent on both with probability :math:`a = (\pi - \theta) / 2 \pi`, where
    :math:`\theta \le \pi / 2` since no entry is negative. So the two of them are followed by

    - none with probability :math:`a^w`,
    - one, or two that are parallel, with probability :math:`2^{1-w} + (w - 2) a^w`,
    - two again with the rest,

    and one by none with probability :math:`2^{-w}`. The probability to be dead in the end grows with a, so that
    a = 1/4 gives a lower bound. After the first layer there is one vector with probability :math:`2^{1-w}`, else two
    at a right angle: for depth 3 the bound is exact. The upper bound lets both sides die together.

    Args:
      width: units w of each hidden layer.
      depth: layers of weights, at least 3.

    Returns:
      The lower and the upper bound.

    References:
      Lu, Shin, Su and Karniadakis, *Dying ReLU and initialization: theory and numerical examples*, 2020.

    Examples:
      >>> born_dead_bounds(2, 3)[0] == 5 / 32
      True
      >>> born_dead_bounds(1, 5)
      (0.875, 0.875)
    """
    silent, both = 2.0**-width, 4.0**-width
    one, two = 2 * silent, 1 - 2 * silent
    for _ in range(depth - 2):
        one, two = (
            one * (1 - silent) + two * (2 * silent + (width - 2) * both),
            two * (1 - 2 * silent - (width - 1) * both),
        )
    lower = 1 - one - two
    return lower, lower if depth == 3 else 1 - (1 - silent) ** (depth - 2)
