"""Fractal borders between converging and diverging learning rates: of small networks, and of a rippled bowl."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from scipy import ndimage, stats
from tqdm import tqdm

from jaxloss import descent
from jaxloss.basins import Interval, box_counting_dimension, disagreement, trainability_dimension
from jaxloss.descent import Limits, Own, Rule, Shared
from jaxloss.engine import columns, computing_in, in_lanes, map_lanes, tiles
from jaxloss.engine.calibration import default_tile_size, whole
from jaxloss.engine.rounds import Process, run
from jaxloss.optimizers import layerwise_sgd
from jaxloss.problems import Problem, load_problem
from jaxloss.reproduce.case import Reproduced, Settings
from jaxloss.reproduce.rows import Published, Row, estimate, exact
from jaxloss.runs import process_of

# Converged: the mean of this many last losses, each over the first and cut off here, is below 1.
NUM_LAST, LARGEST = 20, 1e6
NUM_STEPS = 500
# log10 of the learning rates of the published maps.
LOW, HIGH = -3.0, 6.0
# Trajectories that are held at once.
BATCH = 2**17
PAPER = "Sohl-Dickstein 2024"

# Trainability maps


def drifting_sgd(learning_rate: Any, offset: Any = 0.0) -> optax.GradientTransformation:
    r"""Gradient descent that adds an offset to the input layer at each step.

    The public notebook of the paper means to shift the initial weights, but adds the offset before every gradient:

    .. math:: W \leftarrow (W + b) - \eta \, \partial L / \partial W \, (W + b)

    Of the shifted weights :math:`U = W + b`, at which losses and gradients are taken, that is
    :math:`U \leftarrow U - \eta \, \partial L / \partial U + b`.

    Args:
      learning_rate: the step size, a scalar.
      offset: of every weight of the input layer, a scalar.

    Returns:
      The transform, without state.
    """

    def update(updates, state, params=None):
        del params
        output = -learning_rate * updates["output"]
        return {"input": offset - learning_rate * updates["input"], "output": output}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class Condition(NamedTuple):
    """One experimental condition of the paper.

    Attributes:
      name: as rows and figures call it.
      dimension: published.
      options: of the problem trainability-fractal.
      factory: of the update rule.
      axes: the hyperparameters, across and up.
      batch_size: of minibatches, drawn with replacement, the same for all pixels; None for the full gradient.
    """

    name: str
    dimension: str
    options: Mapping[str, Any]
    factory: Callable[..., optax.GradientTransformation] = layerwise_sgd
    axes: tuple[str, str] = ("learning_rate", "output_learning_rate")
    batch_size: int | None = None


CONDITIONS = (
    Condition("identity", "1.17", {"condition": "identity"}),
    Condition("ReLU", "1.20", {"condition": "relu"}),
    Condition("tanh, one data point", "1.41", {"condition": "tanh-one-datapoint"}),
    Condition("tanh, minibatch", "1.55", {"condition": "tanh-minibatch"}, batch_size=16),
    Condition("tanh, full batch", "1.66", {"condition": "tanh"}),
    # The problem's own condition tanh-offset adds the offset once, the published code at each step.
    Condition("tanh, weight offset", "1.98", {"condition": "tanh"}, drifting_sgd, ("offset", "learning_rate")),
)
BY_NAME = {condition.name: condition for condition in CONDITIONS}


def trainability_fractal(settings: Settings) -> Reproduced:
    """The six trainability maps of the paper, a smooth control, and one of them in single precision.

    What it takes for one pixel is the mean of its last losses only, so that the engine is asked for that and no
    outcome; a pixel ends early once a weight overflows.
    """
    case, seed = "trainability-fractal", settings.seed
    num = settings.choose(quick=64, default=256, full=1024)
    names = settings.choose(quick=("identity", "tanh, one data point"), default=tuple(BY_NAME))
    compared = settings.choose(quick="tanh, one data point", default="tanh, full batch")
    rates = np.logspace(LOW, HIGH, num)

    def converged(condition: Condition, problem: Problem, precision: str = "float64") -> np.ndarray:
        hyper = _pairs(condition.axes, rates, rates)
        final = final_losses(problem, hyper, condition, seed=seed, precision=precision, progress=settings.progress)
        return (final < 1).reshape(num, num)

    maps = {name: converged(BY_NAME[name], _problem(BY_NAME[name], seed)) for name in names}
    control = converged(BY_NAME["tanh, full batch"], coupled_bowl(seed))
    single = converged(BY_NAME[compared], _problem(BY_NAME[compared], seed), "float32")

    sizes, rows = _box_sizes(num), []
    source = f"of one wide map, much of whose border is smooth; for {PAPER} see the zooms"
    for name, labels in maps.items():
        rows.append(_their_dimension(case, name, labels, None, seed, source))
        rows.append(_our_dimension(case, name, labels, sizes, None, seed))
    smooth = Published(1.0, "exact: the border of a positive definite quadratic problem is a smooth curve")
    rows.append(_their_dimension(case, "smooth control", control, smooth, seed))
    rows.append(_our_dimension(case, "smooth control", control, sizes, smooth, seed))
    rows += _precision(case, compared, single, maps[compared])
    data = xr.Dataset(
        {
            "converged": (("condition", "across", "up"), np.stack(list(maps.values())).astype(np.int8)),
            "axis_name": (("condition", "axis"), np.array([BY_NAME[name].axes for name in names])),
            "control": (("across", "up"), control.astype(np.int8)),
            "differs": (("across", "up"), (single != maps[compared]).astype(np.int8)),
        },
        coords={"condition": list(names), "across": np.log10(rates), "up": np.log10(rates)},
        attrs={"compared": compared, "num_steps": NUM_STEPS},
    )
    return Reproduced(tuple(rows), data)


def coupled_bowl(seed: int = 0) -> Problem:
    r"""A linear model in two blocks of weights, on the data of the network: a quadratic problem.

    .. math:: J(u, v) = \frac1n \sum_i \Bigl(\frac1{16} (x_i' u + x_i'' v) - t_i\Bigr)^2

    With a learning rate for each block, gradient descent converges iff the largest eigenvalue of
    :math:`E^{1/2} H E^{1/2}` is below 2, with the Hessian H and the diagonal matrix E of the learning rates: the
    border is a smooth curve.

    Args:
      seed: draws the data and the initial weights.

    Returns:
      The problem, whose optimiser is ``layerwise_sgd`` as that of the networks.
    """
    network = load_problem("trainability-fractal", seed=seed)
    width = len(network.data[0][0])
    weights = {"input": network.params["input"][0, : width // 2], "output": network.params["output"][width // 2 :]}
    return Problem(name="coupled-bowl", params=weights, data=network.data, batch_objective=_linear_loss)


def _linear_loss(params, data):
    inputs, targets = data
    weights = jnp.concatenate([params["input"], params["output"]])
    return jnp.mean(jnp.square(inputs @ weights / len(weights) - targets))


def final_losses(
    problem: Problem,
    hyper: Mapping[str, np.ndarray],
    condition: Condition,
    *,
    num_steps: int = NUM_STEPS,
    precision: str = "float64",
    seed: int = 0,
    progress: bool = False,
) -> np.ndarray:
    """The mean of the last 20 of the losses before each step, each over the first and at most 1e6.

    The loss is that of all samples, under minibatches too.

    Args:
      problem: with parameters ``input`` and ``output``.
      hyper: hyperparameters by name, arrays ``[pixel]``; an ``offset`` shifts the initial input layer as well.
      condition: the update rule.
      num_steps: updates of each pixel.
      precision: ``float32`` or ``float64``.
      seed: of the minibatches.
      progress: show a progress bar.

    Returns:
      Float64 ``[pixel]``; infinite where a weight or one of these losses overflows.
    """
    num, real, step = len(next(iter(hyper.values()))), np.dtype(precision), num_steps - NUM_LAST
    final = np.full(num, np.inf)

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf).astype(real), tree)

    assert problem.batch_objective is not None
    with computing_in(precision, problem), tqdm(total=num, desc=condition.name, disable=not progress) as bar:
        rule = Rule(
            problem.batch_objective, condition.factory, condition.batch_size, condition.batch_size is not None
        )
        # Nothing settles, and only what overflows has diverged: the losses at a fixed step are what counts.
        limits = Limits(np.int32(num_steps), real.type(-1), np.finfo(real).max, real.type(0))
        shared = Shared(limits, cast(problem.data), jax.random.key(seed), {})
        last, loss = in_lanes(_last_losses, (rule,), (None, None, -1, -1)), in_lanes(_loss, (rule,), (None, -1))
        for first, stop in tiles(num, BATCH):
            here = cast({name: values[first:stop] for name, values in hyper.items()})
            initial = {name: _repeated(leaf, stop - first) for name, leaf in problem.params.items()}
            initial = cast(initial | {"input": initial["input"] + here.get("offset", 0.0)})
            own, process = Own(here, np.arange(first, stop, dtype=np.uint32)), process_of(rule)
            default = default_tile_size(process, shared, own, initial)
            tile_size = whole(default, default, stop - first)
            (lane,) = run(
                process,
                shared,
                own,
                initial,
                (step,),
                tile_size=tile_size,
                progress=lambda share, first=first, size=stop - first: bar.update(first + int(share * size) - bar.n),
            )
            going = np.flatnonzero(~lane.ended)
            if len(going):
                losses = map_lanes(last, (shared, np.int32(step)), columns((own, lane.state), going), tile_size)
                start = map_lanes(loss, (shared,), (columns(initial, going),), tile_size)
                capped = np.minimum(losses.astype(np.float64) / start, LARGEST).mean(axis=0)
                final[first + going] = np.where(np.isfinite(losses).all(axis=0), capped, np.inf)
    return final


def _repeated(leaf: Any, num: int) -> np.ndarray:
    """One array for each pixel, which counts last."""
    return np.repeat(np.asarray(leaf)[..., None], num, axis=-1)


def _last_losses(rule: Rule, shared: Shared, step, own: Own, state) -> jax.Array:
    params, optimizer_state = state
    return descent.record(
        rule,
        shared.limits,
        shared.data,
        shared.key,
        params,
        optimizer_state,
        step,
        shared.hyper | own.hyper,
        own.stream,
        NUM_LAST,
    )[1]


def _loss(rule: Rule, shared: Shared, params) -> jax.Array:
    return rule.objective(params, shared.data)


def _problem(condition: Condition, seed: int) -> Problem:
    return load_problem("trainability-fractal", **condition.options, seed=seed)


def _pairs(names: tuple[str, str], across: np.ndarray, up: np.ndarray) -> dict[str, np.ndarray]:
    """All pairs of two hyperparameters, the first one slowest."""
    pairs = (values.ravel() for values in np.meshgrid(across, up, indexing="ij"))
    return dict(zip(names, pairs, strict=True))


def _box_sizes(num: int) -> list[int]:
    """Sides of boxes that span 1, 2, 4, ... pixels, up to an eighth of the map."""
    return [2**k + 1 for k in range(int(np.log2(num)) - 2)]


def _their_dimension(
    case: str, name: str, labels: np.ndarray, published: Published | None, seed: int, source: str = ""
) -> Row:
    found = trainability_dimension(labels.astype(np.int8), seed=seed)
    quantity = f"{name}: dimension, their estimator"
    return _dimension(case, quantity, found.dimension, found.interval, labels.size, published, source)


def _our_dimension(
    case: str, name: str, labels: np.ndarray, sizes: Sequence[int], published: Published | None, seed: int
) -> Row:
    found = box_counting_dimension(labels.astype(np.int8), sizes, boxes="sliding", seed=seed)
    quantity = f"{name}: dimension, sliding boxes of {sizes[0]} to {sizes[-1]} pixels"
    source = "box counting of this map: no number is published for it"
    return _dimension(case, quantity, found.dimension, found.interval, labels.size, published, source)


def _dimension(
    case: str, quantity: str, ours: float, interval: Interval, num: int, published: Published | None, source: str
) -> Row:
    """A row; without a border, dimension 0, and with an unknown interval, any."""
    ours = 0.0 if np.isnan(ours) else ours
    low, high = (edge if np.isnan(end) else float(end) for end, edge in zip(interval, (0.0, 2.0), strict=True))
    return estimate(
        case, quantity, ours, min(low, ours), max(high, ours), num_runs=num, published=published, source=source
    )


def _order(case: str, found: Mapping[str, Row], seed: int) -> Row:
    """Kendall's rank correlation of our dimensions with the published ones."""
    published = np.array([float(BY_NAME[name].dimension) for name in found])
    ours = np.array([row.ours for row in found.values()])
    errors = np.array([(row.high - row.low) / (2 * 1.96) for row in found.values()])
    draws = np.random.default_rng(seed).normal(ours, errors, (1000, len(ours)))
    tau = rank_correlation(ours, published)
    low, high = np.quantile([rank_correlation(draw, published) for draw in draws], [0.025, 0.975])
    inversions = round((1 - tau) / 2 * len(ours) * (len(ours) - 1) / 2)
    return estimate(
        case,
        f"Kendall's tau of our dimensions with the published ones ({inversions} inversions)",
        tau,
        min(low, tau),
        max(high, tau),
        num_runs=len(ours),
        published=Published(1.0, f"the order of the dimensions in {PAPER}"),
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau: of all pairs, the share that both put in one order, less the share that they do not.

    Examples:
      >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
      0.3333333333333333
    """
    pairs = np.triu_indices(len(first), 1)
    orders = (np.sign(each[pairs[0]] - each[pairs[1]]) for each in (first, second))
    return float(np.mean(np.prod(list(orders), axis=0)))


def _precision(case: str, name: str, single: np.ndarray, double: np.ndarray) -> list[Row]:
    """How many labels single precision changes, and how many of those are near the border."""
    found = disagreement(single.astype(np.int8), double.astype(np.int8))
    row = estimate(
        case,
        f"{name}: labels that differ in float32",
        found.share,
        *map(float, found.interval),
        num_runs=found.num_cells,
        source="float64 of the same map as the reference",
    )
    if not found.num_differing:
        return [row]
    source = f"by chance it would be {found.boundary_fraction:.3f}, the share of all pixels that are"
    near = estimate(
        case,
        f"{name}: of these, at most 1 pixel from the border",
        found.boundary_share,
        *map(float, found.boundary_interval),
        num_runs=found.num_differing,
        source=source,
    )
    return [row, near]


# A zoom


# Each frame is narrower than the one before by this, or covers three of its pixels if that is wider.
ZOOM = 10**1.5
# Every so many pixels the learning rates are changed by one unit in the last place.
STRIDE = 3
# Float64 resolves a frame if that changes fewer labels than this.
RESOLVED = 0.05


class Zoom(NamedTuple):
    """Frames that close in on a point of a border.

    Attributes:
      converged: labels of each frame, ``[across, up]``.
      changed: the share of labels that one unit in the last place of the learning rates changes, of each frame.
      centre: log10 of both learning rates, of each frame.
      width: in decades, of each frame.
      num_resolved: how many frames come before the first that rounding spoils; at least 1.
    """

    converged: list[np.ndarray]
    changed: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    num_resolved: int


def trainability_zoom(settings: Settings) -> Reproduced:
    """Zooms into the borders of the six conditions, until float64 runs out; and the paper's dimension of each.

    Each frame is centred on the edge that is nearest to the centre of the frame before: a rule, so that nobody picks
    what looks best.
    """
    case, shown, seed = "trainability-zoom", "tanh, full batch", settings.seed
    num_frames, num = settings.choose(quick=(3, 32), default=(10, 96), full=(10, 512))
    names = settings.choose(quick=(shown,), default=tuple(BY_NAME))
    zooms = {name: _zoom(BY_NAME[name], num_frames, num, settings) for name in names}
    main, sizes = zooms[shown], _box_sizes(num)
    rows = [
        _our_dimension(case, f"{shown}, frame {width:.1e} decades wide", frame, sizes, None, seed)
        for frame, width in zip(main.converged, main.width, strict=True)
    ]
    rows += [_decades(case, name, zoom, min(ZOOM, (num - 1) / 3)) for name, zoom in zooms.items()]
    found = {name: _zoom_dimension(case, zoom, BY_NAME[name], num, seed) for name, zoom in zooms.items()}
    rows += found.values()
    if len(found) > 2:
        rows.append(_order(case, found, seed))
    # A zoom that has lost the border is shorter.
    changed = np.full((len(zooms), max(len(zoom.width) for zoom in zooms.values())), np.nan)
    for row, zoom in zip(changed, zooms.values(), strict=True):
        row[: len(zoom.changed)] = zoom.changed
    data = xr.Dataset(
        {
            "converged": (("frame", "across", "up"), np.stack(main.converged).astype(np.int8)),
            "centre": (("frame", "axis"), main.centre),
            "width": ("frame", main.width),
            "changed_by_ulp": (("condition", "zoom_frame"), changed),
            "zoom_width": ("zoom_frame", max((zoom.width for zoom in zooms.values()), key=len)),
        },
        coords={"axis": list(BY_NAME[shown].axes), "condition": list(zooms)},
        attrs={"shown": shown, "num_steps": NUM_STEPS, "resolved": RESOLVED},
    )
    return Reproduced(tuple(rows), data)


def _zoom(condition: Condition, num_frames: int, num: int, settings: Settings) -> Zoom:
    """Up to ``num_frames`` frames of one condition; fewer where a frame holds no edge."""
    problem = _problem(condition, settings.seed)
    centre, width, zoom = np.array([10 ** ((LOW + HIGH) / 2)] * 2), HIGH - LOW, min(ZOOM, (num - 1) / 3)
    frames, changed, centres, widths = [], [], [], []

    def converged(across: np.ndarray, up: np.ndarray) -> np.ndarray:
        hyper = _pairs(condition.axes, across, up)
        final = final_losses(problem, hyper, condition, seed=settings.seed, progress=settings.progress)
        return (final < 1).reshape(len(across), len(up))

    while len(frames) < num_frames:
        offsets = np.linspace(-width / 2, width / 2, num)
        across, up = (rate * 10**offsets for rate in centre)
        frame = converged(across, up)
        nudged = converged(*(np.nextafter(rates[::STRIDE], np.inf) for rates in (across, up)))
        frames.append(frame)
        changed.append(np.mean(nudged != frame[::STRIDE, ::STRIDE]))
        centres.append(np.log10(centre))
        widths.append(width)
        edge = nearest_edge(frame)
        if edge is None:
            break
        middles = (offsets[1:] + offsets[:-1]) / 2
        centre, width = centre * 10 ** middles[list(edge)], width / zoom
    spoilt = np.append(np.array(changed) >= RESOLVED, True)
    return Zoom(frames, np.array(changed), np.stack(centres), np.array(widths), max(1, int(np.argmax(spoilt))))


def nearest_edge(frame: np.ndarray) -> tuple[int, int] | None:
    """The square of two by two pixels with both labels that is nearest to the centre; None if there is none.

    Examples:
      >>> nearest_edge(np.array([[0, 0, 1, 1]] * 4))
      (1, 1)
    """
    across, up = np.nonzero(_edges(frame))
    if not len(across):
        return None
    middle = (np.array(frame.shape) - 2) / 2
    nearest = np.argmin((across - middle[0]) ** 2 + (up - middle[1]) ** 2)
    return int(across[nearest]), int(up[nearest])


def _edges(labels: np.ndarray) -> np.ndarray:
    """Which squares of two by two pixels hold two labels: one fewer along each axis than pixels."""
    most, least = (each(labels, 2, origin=-1) for each in (ndimage.maximum_filter, ndimage.minimum_filter))
    return (most != least)[:-1, :-1]


def _zoom_dimension(case: str, zoom: Zoom, condition: Condition, num: int, seed: int) -> Row:
    """Their estimator as they use it: one median over all frames of a zoom, resolved by float64 or not."""
    found = trainability_dimension([frame.astype(np.int8) for frame in zoom.converged], seed=seed)
    source = (
        f"{PAPER}: frames of 4096 pixels a side about another point, more of them; ours have {num}, and float64 "
        f"resolves {zoom.num_resolved} of {len(zoom.converged)}"
    )
    quantity = f"{condition.name}: dimension, their median over {len(zoom.converged)} frames"
    size, published = sum(frame.size for frame in zoom.converged), Published(condition.dimension, source)
    return _dimension(case, quantity, found.dimension, found.interval, size, published, "")


def _decades(case: str, name: str, zoom: Zoom, factor: float) -> Row:
    """From the widest frame to the narrowest that float64 resolves, and to the next one."""
    widths = zoom.width
    resolved = float(np.log10(widths[0] / widths[zoom.num_resolved - 1]))
    return estimate(
        case,
        f"{name}: decades of zoom that float64 resolves (one ulp changes less than {RESOLVED:.0%} of the labels)",
        resolved,
        resolved,
        resolved + (float(np.log10(factor)) if zoom.num_resolved < len(widths) else 0.0),
        num_runs=len(widths),
        source=f"{PAPER} reports structure over more than ten decades",
    )


# A rippled bowl

START, MAX_RATE, BOWL_STEPS = 5.0, 1.5, 1000
# Of x: the loss is then beyond 1e16, the published bound.
BOUND = 1e8
# Heights and wavelengths of the ripples in the published experiment; and two pairs beside the transition.
HEIGHTS, WAVELENGTHS = np.linspace(0.01, 0.2, 10), np.linspace(0.01, 1.0, 10)
BELOW, ABOVE = (2, 8), (1, 6)
# The pairs and the learning rates that the figure shows as strips.
SHOWN, STRIP = (BELOW, ABOVE, (4, 8), (4, 5)), (0.98, 1.06)
LIU = "Liu 2024"
CRITICAL = 1 / (2 * np.pi**2)


class Counts(NamedTuple):
    """Changes of label between neighbours, of ever finer learning rates, and the power law through them.

    Attributes:
      level: log2 of how many segments the range of learning rates is cut into.
      changes: segments whose two ends differ.
      dimension: the slope of log2 changes against level; 0 where there are too few.
      half_width: of its 95 % interval.
      intercept: of that line.
    """

    level: np.ndarray
    changes: np.ndarray
    dimension: float
    half_width: float
    intercept: float


def cosine_roughness(settings: Settings) -> Reproduced:
    """The dimension of the border of converging learning rates against the roughness of the ripples."""
    case = "cosine-roughness"
    coarse, fine = settings.choose(quick=(12, 14), default=(16, 20), full=(20, 20))
    heights, wavelengths = np.meshgrid(HEIGHTS, WAVELENGTHS, indexing="ij")
    diverged = bowl_diverged(heights.ravel(), wavelengths.ravel(), coarse, progress=settings.progress)
    found = [count_segments(labels) for labels in diverged]
    roughness = (heights / wavelengths**2).ravel()
    both = tuple(np.array([BELOW, ABOVE]).T)
    beside = diverged.reshape(*heights.shape, -1)[both]
    if fine > coarse:
        beside = bowl_diverged(heights[both], wavelengths[both], fine, progress=settings.progress)
    below, above = (count_segments(labels) for labels in beside)
    # The finer counts take the place of the coarse ones.
    for place, better in ((BELOW, below), (ABOVE, above)):
        found[int(np.ravel_multi_index(place, heights.shape))] = better
    strips = diverged.reshape(*heights.shape, -1)[tuple(np.array(SHOWN).T)]
    dimensions = np.array([each.dimension for each in found])
    half_widths = np.array([each.half_width for each in found])
    data = xr.Dataset(
        {
            "roughness": ("pair", roughness),
            "dimension": ("pair", dimensions),
            "half_width": ("pair", half_widths),
            "changes": (("beside", "level"), np.stack([below.changes, above.changes])),
            "slope": ("beside", np.array([below.dimension, above.dimension])),
            "intercept": ("beside", np.array([below.intercept, above.intercept])),
            "beside_roughness": ("beside", heights[both] / wavelengths[both] ** 2),
            "diverged": (("shown", "rate"), strips[:, _window(coarse)].astype(np.int8)),
            "shown_roughness": ("shown", np.array([HEIGHTS[i] / WAVELENGTHS[j] ** 2 for i, j in SHOWN])),
        },
        coords={"level": above.level, "rate": np.linspace(0, MAX_RATE, 2**coarse + 1)[_window(coarse)]},
        attrs={"critical": CRITICAL, "num_steps": BOWL_STEPS},
    )
    return Reproduced(tuple(_bowl_rows(case, roughness, dimensions, half_widths, beside[1], settings)), data)


def _bowl_rows(
    case: str, roughness: np.ndarray, dimensions: np.ndarray, half_widths: np.ndarray, above: np.ndarray, settings
) -> list[Row]:
    order = np.argsort(roughness)
    theta, dimension, half_width = roughness[order], dimensions[order], half_widths[order]
    smooth = theta < 0.0665
    first = int(np.flatnonzero(dimension > 0)[0])
    place = int(np.argmin(np.abs(theta - 0.0693)))
    total = len(theta)
    boxed = box_counting_dimension(above.astype(np.int8), [2**k + 1 for k in range(13)], boxes="sliding",
                                   seed=settings.seed)  # fmt: skip
    top = int(np.argmax(np.where(np.isfinite(half_width), dimension - half_width, -1)))
    return [
        exact(case, "largest dimension at a roughness up to 0.066", float(dimension[smooth].max()),
              Published(0.0, LIU), num_runs=int(smooth.sum())),
        exact(case, "largest roughness below which every dimension is 0", float(theta[first - 1]),
              Published("0.066", LIU), num_runs=total),
        exact(case, "smallest roughness with a positive dimension", float(theta[first]),
              Published("0.069", f"{LIU}; convexity ends at 1/(2 pi^2) = {CRITICAL:.4f} already"), num_runs=total),
        estimate(case, f"dimension at roughness {theta[place]:.4f}, by his count of segments", dimension[place],
                 dimension[place] - half_width[place], dimension[place] + half_width[place],
                 num_runs=len(above), published=Published("0.52", LIU)),
        _dimension(case, f"dimension at roughness {theta[place]:.4f}, sliding boxes of 2 to 4097 rates",
                   boxed.dimension, boxed.interval, len(above), None, "box counting of the same labels"),
        estimate(case, "largest dimension, by the lower end of its interval", dimension[top],
                 dimension[top] - half_width[top], dimension[top] + half_width[top], num_runs=total,
                 source=f"{LIU}: up to about 1, at roughness {theta[top]:.2f} here"),
    ]  # fmt: skip


def bowl_diverged(heights: np.ndarray, wavelengths: np.ndarray, level: int, *, progress: bool = False) -> np.ndarray:
    r"""Which learning rates make gradient descent on the rippled bowl diverge.

    .. math:: x \leftarrow x - \eta \Bigl(2 x - \frac{2 \pi \epsilon}{\lambda} \sin \frac{2 \pi x}{\lambda}\Bigr)

    Args:
      heights: of the ripples, ``[bowl]``.
      wavelengths: in units of x, ``[bowl]``.
      level: 2^level segments of equal length from learning rate 0 to 1.5; both ends of all of them are run.
      progress: show a progress bar.

    Returns:
      Booleans ``[bowl, 2^level + 1]``.
    """
    rates = np.linspace(0, MAX_RATE, 2**level + 1)
    process, diverged = Process(_bowl_start, _bowl_step, _bowl_ends, autonomous=True), []
    with jax.enable_x64(True), tqdm(total=len(heights), desc="rippled bowls", disable=not progress) as bar:
        # Some bowls at once: one alone may not fill every device.
        for first, last in tiles(len(heights), max(1, BATCH // len(rates))):
            height, wavelength = (
                np.repeat(each[first:last], len(rates)).astype(np.float64) for each in (heights, wavelengths)
            )
            own = {"learning_rate": np.tile(rates, last - first), "height": height, "wavelength": wavelength}
            start = np.full(len(height), START)
            default = default_tile_size(process, (), own, start)
            (lane,) = run(process, (), own, start, (BOWL_STEPS,), tile_size=whole(default, default, len(start)))
            diverged.append((lane.ended | ~(np.abs(lane.state) <= BOUND)).reshape(-1, len(rates)))
            bar.update(last - first)
    return np.concatenate(diverged)


def _bowl_start(shared, own, initial):
    return initial


def _bowl_step(shared, own, step, x):
    wave = 2 * jnp.pi / own["wavelength"]
    return x - own["learning_rate"] * (2 * x - own["height"] * wave * jnp.sin(wave * x))


def _bowl_ends(shared, own, step, x):
    return ~(jnp.abs(x) <= BOUND)


def count_segments(labels: np.ndarray) -> Counts:
    """The published count: of 2, 4, 8, ... segments, those whose ends differ; a straight line where they are many.

    The least squares take every level with two such segments or more.

    Args:
      labels: booleans ``[2^n + 1]``.

    Returns:
      The counts and the line.

    Examples:
      >>> count_segments(np.arange(17) < 8).dimension
      0.0
      >>> round(count_segments(np.random.default_rng(0).random(2**16 + 1) < 0.5).dimension, 1)
      1.0
    """
    levels = np.arange(int(np.log2(len(labels) - 1)) + 1)
    counts = np.array([np.count_nonzero(np.diff(labels[:: 2 ** int(levels[-1] - level)])) for level in levels])
    used = counts > 1
    if used.sum() < 4:
        return Counts(levels, counts, 0.0, 0.0, 0.0)
    (slope, intercept), covariance = np.polyfit(levels[used], np.log2(counts[used]), 1, cov=True)
    half_width = stats.t.ppf(0.975, used.sum() - 2) * np.sqrt(covariance[0, 0])
    return Counts(levels, counts, float(slope), float(half_width), float(intercept))


def _window(level: int) -> slice:
    """The learning rates of the figure's strips, not too many of them."""
    first, last = (int(rate / MAX_RATE * 2**level) for rate in STRIP)
    return slice(first, last + 1, max(1, (last - first) // 2048))
