"""A sweep that goes to the disk block by block, in bounded memory; whatever ends it, it goes on where it stopped.

Three stages, each over blocks: ``ends`` (run the trajectories), ``labels`` (say what each end is) and ``surface``
(the loss at the initial points). Between the first two the ends of all blocks are surveyed together. What only the
labels need lies in a hidden store beside the result, which goes when it is done.
"""

import functools
import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import psutil
import xarray as xr

from jaxloss import outcomes, results, timing
from jaxloss.blocks import Blocking
from jaxloss.checks import whole
from jaxloss.critical_points.table import CriticalPoints
from jaxloss.engine import check_once, compiling, computing_in
from jaxloss.engine.layout import Layout
from jaxloss.errors import InputError
from jaxloss.evidence import Block, Findings, survey
from jaxloss.grids import BoundGrid, Grid, Starts
from jaxloss.problems import Problem
from jaxloss.problems.problem import array_constants
from jaxloss.runs import Ends, RunOptions, lay_out, progress_bar, run_range
from jaxloss.store.block_store import BLOCKS, BlockStore, Field, Part, is_done, num_recorded, prepare, read_attributes
from jaxloss.store.files import canonical, differing, locked, remove
from jaxloss.store.result import open_result, read_result, write_result
from jaxloss.store.signature import ROOT
from jaxloss.sweeps import check_memory, memory_estimate, validate

BLOCK_SIZE = 2**18
"""The most trajectories of one block, unless their points are large."""
BLOCK_BYTES = 2**26
SURVEY = "survey"
# Coordinates are held in memory by whoever opens a store: longer ones of numbered starts are left out.
MAX_NUMBERED = 2**20

_FLAGS = ("settled", "diverged", "chaotic", "still")


class Estimate(NamedTuple):
    """What a sweep will take.

    Attributes:
      num: trajectories that are still to be run.
      num_blocks: and in how many blocks.
      seconds: at most, were every trajectory to use its whole budget; NaN if it was not measured.
      memory: bytes at the peak, about.
      disk: bytes, before compression.
    """

    num: int
    num_blocks: int
    seconds: float
    memory: int
    disk: int

    def __str__(self) -> str:
        words = [f"{self.num:,} trajectories to run in {self.num_blocks:,} blocks"]
        if math.isfinite(self.seconds):
            words.append(f"at most {_duration(self.seconds)} if each spends its whole budget")
        return ", ".join([*words, f"{_size(self.memory)} of memory", f"{_size(self.disk)} of disk"])


class Plan(NamedTuple):
    """A sweep that may be written to the disk: everything about it has been checked.

    Attributes:
      problem: the objective.
      bound: the grid, its axes resolved.
      options: the run.
      path: of the store.
      identity: what the result depends on, see `describe`.
      blocking: of the grid.
    """

    problem: Problem
    bound: BoundGrid
    options: RunOptions
    path: Path
    identity: dict[str, Any]
    blocking: Blocking

    @property
    def working(self) -> Path:
        """Where what only the labels need lies until they are there."""
        return self.path.with_name(f".{self.path.name}.working")

    @property
    def parts(self) -> dict[str, Part]:
        """What is written block by block: ``evidence`` beside the result, all else in it."""
        return _parts(self.problem, self.bound, self.options, self.blocking)

    @property
    def disk(self) -> int:
        """Bytes that are still to be written, before compression."""
        needed = 0
        for name, part in self.parts.items():
            store = self.working if name == "evidence" else self.path
            there = num_recorded(store, name) / part.blocking.num_blocks
            needed += round(part.nbytes * (1 - there))
        return needed

    @property
    def memory(self) -> int:
        """Bytes of memory at the peak, about."""
        return memory_estimate(self.problem, self.blocking.largest, self.options)


class Job(NamedTuple):
    """A plan that is being carried out.

    Attributes:
      plan: of the sweep.
      store: of the result.
      working: of what only the labels need.
      layout: how trajectories are computed.
    """

    plan: Plan
    store: BlockStore
    working: BlockStore
    layout: Layout


class Execute(Protocol):
    """Has some blocks of a stage done, in any order and by whomever, and says of each that it is."""

    def __call__(
        self, job: Job, stage: str, blocks: Sequence[int], progress: Callable[[int], object]
    ) -> Iterable[int]:
        """Does them; ``progress`` may be called with the trajectories of a block that are done."""
        ...


def sweep_to_store(
    problem: Problem,
    grid: Grid,
    path: str | Path,
    *,
    block_size: int | None = None,
    execute: Execute | None = None,
    report: Callable[[Estimate], object] = lambda estimate: None,
    progress: bool = False,
    **options: Any,
) -> xr.Dataset:
    """`jaxloss.sweep`, its result written to a zarr store block by block, in bounded memory.

    The result is that of `jaxloss.sweep`, bit for bit, whatever the size of the blocks, however often it was
    interrupted, and whoever ran it. Called again with the same arguments it goes on where it stopped: blocks that are
    whole are kept, those that are missing or damaged are run.

    Args:
      problem: the objective.
      grid: the initial points and hyperparameters.
      path: the store, usually ``NAME.zarr``.
      block_size: the most trajectories of one block, each a chunk of every array; by default 262,144, or fewer where
        points are large. A store keeps the size that it was begun with.
      execute: who runs the blocks; by default this process, see `jaxloss.cluster` for others.
      report: called with an estimate before the blocks are run.
      progress: show a progress bar.
      **options: of `jaxloss.sweep`.

    Returns:
      The dataset of `jaxloss.sweep`; its arrays are read when they are asked for.

    Raises:
      InputError: an option or an axis that does not fit; the path holds another sweep, is being written, or cannot be
        written; or the disk or the memory is too small. What is done by then is kept.
      WrongSumsError: the installed jaxlib computes wrong sums.

    Examples:
      >>> import tempfile
      >>> from jaxloss import Axis, Grid, load_problem
      >>> grid = Grid({"x": Axis.linear(-2, 2, 5), "learning_rate": Axis.of([0.5])})
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     result = sweep_to_store(load_problem("cubic-map"), grid, f"{folder}/cubic.zarr")
      ...     result.outcome.values[:, 0].tolist()
      [1, 1, 6, 1, 1]
    """
    prepared = plan(problem, grid, path, block_size=block_size, **options)
    check_disk([prepared])
    return carry_out(prepared, execute=execute, report=report, progress=progress)


def plan(problem: Problem, grid: Grid, path: str | Path, *, block_size: int | None = None, **options: Any) -> Plan:
    """Everything that can be wrong with a sweep to the disk, checked before anything is written.

    Args:
      problem: the objective.
      grid: the initial points and hyperparameters.
      path: the store.
      block_size: the most trajectories of one block.
      **options: of `jaxloss.sweep`.

    Returns:
      The plan.

    Raises:
      InputError: as for `sweep_to_store`.
    """
    path, run_options = Path(path).absolute(), _options(options)
    bound = validate(problem, grid, run_options)
    if grid.size >= 2**32:
        raise InputError(f"a sweep may have less than 2^32 trajectories, and the grid has {grid.size:,}")
    each = np.dtype(run_options.precision).itemsize * problem.num_parameters
    size = int(np.clip(BLOCK_BYTES // each, 2**10, BLOCK_SIZE))
    if block_size is not None:
        size = whole("block_size", block_size, 1)
    identity = describe(problem, bound, run_options)
    prepared = Plan(problem, bound, run_options, path, identity, bound.blocking(_size_there(path, identity) or size))
    check_memory(
        prepared.memory, f"a block of {prepared.blocking.largest:,} trajectories", "use a smaller block_size"
    )
    check_once(jax.devices()[0])
    return prepared


def check_disk(plans: Sequence[Plan]) -> None:
    """Raises if what is not there yet of some results in one folder may not fit onto the disk.

    Raises:
      InputError: it may not.
    """
    needed = sum(each.disk for each in plans)
    disk = next(folder for folder in plans[0].path.parents if folder.exists())
    free = shutil.disk_usage(disk).free
    if needed > free:
        raise InputError(
            f"the grid needs up to {needed / 2**30:,.1f} GiB of disk, and {free / 2**30:,.1f} GiB are free at "
            f"{str(disk)!r}: use fewer points along an axis, or another folder"
        )


def carry_out(
    plan: Plan,
    *,
    execute: Execute | None = None,
    report: Callable[[Estimate], object] = lambda estimate: None,
    progress: bool = False,
) -> xr.Dataset:
    """Runs what is missing of a plan, see `sweep_to_store`."""
    try:
        plan.working.mkdir(parents=True, exist_ok=True)
        with locked(plan.working):
            return _carried_out(plan, execute or in_this_process, report, progress)
    except OSError as error:
        raise InputError(
            f"cannot write {str(plan.path)!r}: {error.strerror or error}; what is done is kept, and the same command "
            "goes on once that is mended"
        ) from error


def _carried_out(plan: Plan, execute: Execute, report: Callable[[Estimate], object], progress: bool) -> xr.Dataset:
    problem, bound, options, path = plan.problem, plan.bound, plan.options, plan.path
    with timing.phase("store"):
        store, working = _stores(plan)
        findings = read_findings(path)
        done = {part: store.done(part) for part in store.parts}
        # Blocks that were labelled before are not needed any more, unless all of them are.
        needed = ~done["labels"] if findings is not None else np.ones(plan.blocking.num_blocks, bool)
        missing = np.flatnonzero(~done["ends"] | (needed & ~working.done("evidence")))
    if findings is not None and all(map(np.all, done.values())) and is_done(path):
        remove(working.path)
        return open_result(path, check=False)
    with timing.phase("run"):
        job = Job(plan, store, working, lay_out(problem, bound, options, plan.blocking.largest))
    report(_estimate(job, missing))
    with timing.phase("run"):
        _execute(execute, job, "ends", missing, progress)
    with timing.phase("labels"):
        if findings is None:
            findings = _surveyed(job)
        _execute(execute, job, "labels", np.flatnonzero(~done["labels"]), progress)
        _execute(execute, job, "surface", np.flatnonzero(~done["surface"]), False)
        small = results.table_variables(findings.table)
        if options.num_paths:
            sample = results.path_sample(bound)
            small |= results.path_variables(problem, bound, options, sample, _labels_of(job, sample))
    with timing.phase("store"):
        attrs = {**_attributes(plan), **results.finding_attributes(findings), "compilation": job.layout.compilation}
        store.finish(xr.Dataset(small), attrs)
        remove(working.path)
        return open_result(path, check=False)


def in_this_process(job: Job, stage: str, blocks: Sequence[int], progress: Callable[[int], object]) -> Iterator[int]:
    """Blocks one after the other, each over all devices."""
    for block in blocks:
        STAGES[stage](job, block, progress)
        yield block


def run_block(job: Job, block: int, progress: Callable[[int], object] = lambda num: None) -> None:
    """Runs the trajectories of a block, and writes where they end."""
    blocking = job.store.parts["ends"].blocking
    ends = run_range(*job.plan[:3], job.layout, *blocking.numbers(block), progress)
    flags = np.packbits(np.stack([getattr(ends, name) for name in _FLAGS], axis=1), axis=1, bitorder="little")
    evidence = {"midpoint": ends.midpoint, "midpoint_loss": ends.midpoint_loss, "flags": flags[:, 0]}
    _write(job.working, "evidence", block, evidence)
    _write(job.store, "ends", block, results.end_columns(ends))


def label_block(job: Job, block: int, progress: Callable[[int], object] = lambda num: None) -> None:
    """Says what each end of a block is, and writes it."""
    findings = _findings_for(job.store.path, (job.store.path / SURVEY / ROOT).stat().st_mtime_ns)
    with compiling(job.layout.compilation), computing_in("float64", job.plan.problem):
        evidence = StoredBlocks(job)[block].evidence(findings)
    _write(job.store, "labels", block, outcomes.classify(evidence, findings.table.kind, findings.solves)._asdict())
    progress(0)


def surface_block(job: Job, block: int, progress: Callable[[int], object] = lambda num: None) -> None:
    """Computes loss and gradient at the initial points of a block, and writes them."""
    first, last = job.store.parts["surface"].blocking.numbers(block)
    with compiling(job.layout.compilation):
        loss, gradient = results.surface(job.plan.problem, job.plan.bound, first, last)
    _write(job.store, "surface", block, {"initial_loss": loss, "initial_gradient": gradient})
    progress(0)


STAGES: dict[str, Callable[..., None]] = {"ends": run_block, "labels": label_block, "surface": surface_block}


class StoredEnds:
    """`jaxloss.runs.Ends` of a block, each array read when it is asked for."""

    def __init__(self, job: Job, block: int):
        self._job, self._block = job, block

    def __getattr__(self, name: str) -> np.ndarray:
        job = self._job
        if name in _FLAGS:
            flags = job.working.read_flat("evidence", self._block, "flags")
            array = (flags >> _FLAGS.index(name) & 1).astype(bool)
        elif name in job.working.parts["evidence"].fields:
            array = job.working.read_flat("evidence", self._block, name)
        elif name in Ends._fields:
            array = job.store.read_flat("ends", self._block, "end_point" if name == "point" else name)
        else:
            raise AttributeError(name)
        # The next time it is found before this is asked.
        setattr(self, name, array)
        return array


class StoredBlocks(Sequence[Block]):
    """The blocks of a job, of which the one asked for last is held."""

    def __init__(self, job: Job):
        self._job, self._number, self._held = job, -1, None

    def __len__(self) -> int:
        return self._job.store.parts["ends"].blocking.num_blocks

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if index != self._number:
            plan, ends = self._job.plan, StoredEnds(self._job, index)
            self._held, self._number = None, index
            self._held = Block(plan.problem, ends, plan.options.gradient_tolerance)  # pyright: ignore[reportArgumentType]
        return self._held


@functools.lru_cache(maxsize=2)
def _findings_for(path: Path, written: int) -> Findings:
    """What the survey has found, read once."""
    findings = read_findings(path)
    if findings is None:
        raise InputError(f"{str(path / SURVEY)!r} is damaged, though it was written at {written}")
    return findings


def read_findings(path: Path) -> Findings | None:
    """What the survey of all blocks of a store has found, None where it has not been made or is damaged."""
    try:
        found = read_result(path / SURVEY)
    except InputError:
        return None
    columns = {name: found[name].values for name in CriticalPoints._fields if name != "complete"}
    table = CriticalPoints(**columns, complete=bool(found.attrs["complete"]))
    return Findings(table, float(found.attrs["infimum"]), str(found.attrs["infimum_source"]))


def describe(problem: Problem, bound: BoundGrid, options: RunOptions) -> dict[str, Any]:
    """What a result depends on, as JSON: two sweeps with equal descriptions have the same bits.

    Args:
      problem: the objective, told from others by its program and its arrays.
      bound: the grid, its axes resolved.
      options: the run; its tile size changes nothing.

    Returns:
      Plain values.
    """
    grid, run = bound.grid, options.described()
    del run["tile_size"]
    axes = {
        name: {"num": len(axis), "values": _digest(_content(name, axis, bound))} for name, axis in grid.axes.items()
    }
    # As a throw-away object: a cached trace would fix the precision of the arrays it closes over.
    objective: Any = functools.partial(problem.batch_objective)  # pyright: ignore[reportArgumentType]
    with jax.enable_x64(False):
        program = jax.make_jaxpr(objective)(problem.params, problem.data)
        closed_over = array_constants(objective, problem.params, problem.data)
    described = {
        "problem": problem.name,
        # Addresses of functions differ between processes.
        "objective": _digest([re.sub(r"0x[0-9a-f]+", "", str(program)), *closed_over]),
        "data": _digest(jax.tree.leaves((problem.params, problem.data))),
        "parameters": list(problem.parameter_names),
        "known": _digest([problem.infimum, problem.piecewise, *jax.tree.leaves(problem.critical_points)]),
        "axes": axes,
        "plane": _digest(jax.tree.leaves((grid.origin, grid.directions))),
        "run": run,
        "versions": results.versions(),
    }
    return json.loads(json.dumps(described, default=str))


def _content(name: str, axis: Any, bound: BoundGrid) -> list:
    if not isinstance(axis, Starts):
        return [axis.values]
    return [axis.distribution, *jax.tree.leaves((axis.scale, axis.points))]


def _digest(values: Iterable[Any]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for value in values:
        if isinstance(value, str) or value is None:
            found.update(repr(value).encode())
        else:
            array = np.ascontiguousarray(value)
            found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def _options(options: Mapping[str, Any]) -> RunOptions:
    try:
        return RunOptions(**options)
    except TypeError as error:
        raise InputError(f"options must be those of jaxloss.sweep: {error}") from None


def _size_there(path: Path, identity: dict[str, Any]) -> int:
    """The size of the blocks that are there already, 0 for none.

    Raises:
      InputError: they are of another sweep, or the path is something else.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{str(path)!r} is a file")
    attributes = read_attributes(path)
    there = attributes.get("identity")
    if there is not None and there != json.dumps(identity):
        different = differing(identity, json.loads(there))
        raise InputError(f"{str(path)!r} holds another sweep: {different}; choose another name")
    if there is None and path.exists() and any(path.iterdir()) and not (path / BLOCKS).is_dir():
        raise InputError(f"{str(path)!r} holds other files: choose another name")
    return block_size_of(path)


def block_size_of(path: Path) -> int:
    """The size of the blocks of a store, 0 where there is none that says."""
    return int(read_attributes(path).get("block_size", 0))


def _parts(problem: Problem, bound: BoundGrid, options: RunOptions, blocking: Blocking) -> dict[str, Part]:
    """What is written block by block; ``evidence`` beside the result, all else in it."""
    axes, initial = tuple(bound.grid.axes), bound.initial_axes
    real, point = options.precision, (("parameter", problem.num_parameters),)
    places = [axes.index(name) for name in initial]
    over_initial = Blocking(
        tuple(blocking.shape[i] for i in places),
        tuple(range(len(places))),
        tuple(blocking.chunk[i] for i in places),
    )
    nan = math.nan
    return {
        "ends": Part(
            axes,
            blocking,
            {
                "loss": Field(real, nan),
                "gradient_norm": Field(real, nan),
                "num_steps": Field("int32", -1),
                "period": Field("int32", -1),
                "end_point": Field(real, nan, point),
            },
        ),
        "labels": Part(axes, blocking, {"outcome": Field("int8", -1), "attractor": Field("int32", -1)}),
        "surface": Part(
            initial,
            over_initial,
            {"initial_loss": Field("float32", nan), "initial_gradient": Field("float32", nan, point)},
        ),
        "evidence": Part(
            axes,
            blocking,
            {"midpoint": Field(real, nan, point), "midpoint_loss": Field(real, nan), "flags": Field("uint8", 0)},
        ),
    }


def _stores(plan: Plan) -> tuple[BlockStore, BlockStore]:
    parts = plan.parts
    working = {"evidence": parts.pop("evidence")}
    key = key_of(plan.identity)
    coordinates = {
        name: values
        for name, values in results.coordinates(plan.problem, plan.bound).items()
        if not (isinstance(plan.bound.grid.axes.get(name), Starts) and len(values) > MAX_NUMBERED)
    }
    small, data = xr.Dataset(coords=coordinates), _data(plan.problem)
    return (
        prepare(plan.path, parts, key=key, small=small, data=data, attributes=_attributes(plan)),
        prepare(plan.working, working, key=key, small=xr.Dataset(), data={}, attributes={}),
    )


def key_of(identity: dict[str, Any]) -> bytes:
    """What the digests of a store depend on, so that files of another sweep do not pass."""
    return hashlib.blake2b(canonical(identity), digest_size=32).digest()


def _data(problem: Problem) -> dict[str, np.ndarray]:
    """The samples, so that a store explains itself; those of supervised problems are named."""
    leaves = jax.tree.leaves(problem.data)
    names = ["inputs", "targets"] if len(leaves) == 2 and isinstance(problem.data, tuple) else []
    return dict(zip(names or [f"data_{i}" for i in range(len(leaves))], map(np.asarray, leaves), strict=True))


def _attributes(plan: Plan) -> dict[str, Any]:
    """Those of the result that are known before it is run."""
    attrs = results.attributes(plan.problem, plan.bound, plan.options)
    return {**attrs, "identity": json.dumps(plan.identity), "block_size": plan.blocking.largest}


def _estimate(job: Job, missing: np.ndarray) -> Estimate:
    blocking = job.plan.blocking
    num = sum(last - first for first, last in map(blocking.numbers, missing.tolist()))
    seconds = job.layout.step_seconds * num * job.plan.options.num_steps
    memory = job.plan.memory + psutil.Process().memory_info().rss
    return Estimate(num, len(missing), seconds, memory, job.plan.disk)


def _execute(execute: Execute, job: Job, stage: str, blocks: np.ndarray, progress: bool) -> None:
    """Has blocks of a stage done; a bar counts their trajectories."""
    if not len(blocks):
        return
    blocking, name = job.store.parts[stage].blocking, job.plan.problem.name
    sizes = {block: last - first for block in blocks.tolist() for first, last in [blocking.numbers(block)]}
    total = math.prod(blocking.shape)
    done = total - sum(sizes.values())
    with progress_bar(name if stage == "ends" else f"{name}: {stage}", total, progress) as bar:

        def count(num: int) -> None:
            bar.update(done + num - bar.n)

        count(0)
        for block in execute(job, stage, list(sizes), count):
            done += sizes[block]
            count(0)


def _surveyed(job: Job) -> Findings:
    """Surveys all blocks, and keeps what is found."""
    with compiling(job.layout.compilation), computing_in("float64", job.plan.problem):
        findings = survey(
            job.plan.problem,
            StoredBlocks(job),
            job.plan.bound.initial_bounds(),
            gradient_tolerance=job.plan.options.gradient_tolerance,
            seed=job.plan.options.seed,
        )
    table = findings.table
    columns = {
        "location": (("critical_point", "parameter"), table.location),
        "loss": ("critical_point", table.loss),
        "eigenvalues": (("critical_point", "eigenvalue"), table.eigenvalues),
        "kind": ("critical_point", table.kind.astype(str)),
        "copies": (("copy", "parameter"), table.copies),
        "copy_of": ("copy", table.copy_of),
        "certified": ("critical_point", table.certified),
    }
    remove(job.store.path / SURVEY)
    write_result(xr.Dataset(columns, attrs=results.finding_attributes(findings)), job.store.path / SURVEY)
    return findings


def _labels_of(job: Job, numbers: np.ndarray) -> outcomes.Labels:
    """The labels of trajectories with ascending numbers in the order of work."""
    part = job.store.parts["labels"]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in part.fields}
    for block in range(part.blocking.num_blocks):
        first, last = part.blocking.numbers(block)
        here = numbers[np.searchsorted(numbers, first) : np.searchsorted(numbers, last)] - first
        for name, found in columns.items():
            found.append(job.store.read_flat("labels", block, name)[here])
    return outcomes.Labels(**{name: np.concatenate(found) for name, found in columns.items()})


def _write(store: BlockStore, part: str, block: int, flat: Mapping[str, np.ndarray]) -> None:
    """Writes arrays over the order of work, ``[trajectory, ...]``."""
    blocking = store.parts[part].blocking
    with timing.phase("store"):
        store.write(part, block, {name: blocking.to_box(block, flat[name]) for name in store.parts[part].fields})


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{max(1, round(num_bytes / 2**20))} MiB"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
