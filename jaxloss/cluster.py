"""The blocks of a sweep spread over processes and machines, by dask.distributed (the extra ``distributed``).

A task is one block of one stage; the worker that has it writes it straight into the store, and the blocks of a worker
that dies run again elsewhere. A worker draws up the plan anew, and refuses it if what comes out has other bits: with
other versions, say. So workers need the package, and must see the store under the same path.
"""

import functools
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxloss import stored
from jaxloss.engine.layout import Layout
from jaxloss.errors import InputError
from jaxloss.grids import Grid
from jaxloss.problems import Problem
from jaxloss.runs import RunOptions
from jaxloss.store.block_store import BlockStore
from jaxloss.store.files import differing

# Seconds to wait for a scheduler, and for its first worker.
PATIENCE = 60
# Tasks that wait at the scheduler, for each worker: enough to keep it busy, few enough for any scheduler.
WAITING = 4
# How often the block of a dying worker is tried again: workers die of the machine, not of the block.
MAX_DEATHS = 100


class Order(NamedTuple):
    """What a worker needs to carry out its part of a sweep.

    Attributes:
      problem: the objective.
      grid: the axes.
      options: the run.
      path: of the store.
      block_size: of the store.
      identity: what the plan of the worker must have.
      layout: how trajectories are computed.
    """

    problem: Problem
    grid: Grid
    options: RunOptions
    path: Path
    block_size: int
    identity: dict[str, Any]
    layout: Layout


class Cluster:
    """Workers that blocks are spread over, as `jaxloss.stored.carry_out` takes them; see `connected`."""

    def __init__(self, client: Any, description: str):
        self._client, self._description = client, description

    def __str__(self) -> str:
        return self._description

    def __call__(
        self, job: stored.Job, stage: str, blocks: Sequence[int], progress: Callable[[int], object]
    ) -> Iterator[int]:
        """Has the blocks done by the workers, and says of each when it is."""
        from dask.distributed import as_completed

        del progress
        plan, left = job.plan, iter(blocks)
        order = Order(
            plan.problem,
            plan.bound.grid,
            plan.options,
            plan.path,
            plan.blocking.largest,
            plan.identity,
            job.layout,
        )
        payload = _packed(order)

        def submit(block: int) -> Any:
            return self._client.submit(_work, payload, stage, block, pure=False)

        num_workers = max(1, len(self._client.scheduler_info()["workers"]))
        first = [submit(block) for block in itertools.islice(left, WAITING * num_workers)]
        running = as_completed(first)
        for future in running:
            yield _outcome(future)
            running.update(submit(block) for block in itertools.islice(left, 1))


@contextmanager
def connected(*, workers: int | None = None, scheduler: str | None = None) -> Iterator[Cluster]:
    """Workers of this machine or of a scheduler, for as long as the context lasts.

    Args:
      workers: how many processes to start on this machine, each with its share of the cores.
      scheduler: the address of a running scheduler, as in ``tcp://10.0.0.1:8786``, with workers of its own.

    Returns:
      What `jaxloss.sweep_to_store` takes as ``execute``.

    Raises:
      InputError: dask.distributed is not installed, both or neither is given, the number is not positive, or the
        scheduler does not answer or has no worker.
    """
    if (workers is None) == (scheduler is None):
        raise InputError("either workers or scheduler must be given, and not both")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    try:
        from dask import config  # pyright: ignore[reportPrivateImportUsage]
        from dask.distributed import Client, LocalCluster
    except ImportError:
        raise InputError("workers need dask.distributed: install jaxloss[distributed]") from None
    if scheduler is not None:
        silent = f"scheduler {scheduler!r} does not answer, or has no worker"
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"{silent}: {error}") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except (OSError, TimeoutError) as error:
                raise InputError(f"{silent}: {error}") from None
            # What goes wrong later is no fault of the scheduler's.
            yield Cluster(client, f"{len(client.scheduler_info()['workers'])} workers of {scheduler}")
        return
    assert workers is not None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // workers)
    settings = {"distributed.scheduler.allowed-failures": MAX_DEATHS}
    with config.set(settings):
        with _deaf_to_interrupts():
            local = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=None,
                dashboard_address=None,  # pyright: ignore[reportArgumentType]
                silence_logs=logging.CRITICAL,
                # A process that is told nothing uses all cores.
                env={"JAX_NUM_CPU_DEVICES": str(share)} if share < cores else {},
            )
        with local, Client(local) as client:
            yield Cluster(client, f"{workers} workers of this machine, each with {share} of {cores} cores")


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that start inside ignore Ctrl-C, which a terminal sends to all: it is this process that ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# JAX spreads one block over all devices of a process: its threads take turns.
_turn = threading.Lock()


def _work(payload: bytes, stage: str, block: int) -> int:
    """One block of one stage, on a worker."""
    with _turn:
        stored.STAGES[stage](_job(payload), block)
    return block


@functools.lru_cache(maxsize=2)
def _job(payload: bytes) -> stored.Job:
    from jaxloss.startup import start_jax

    start_jax()
    order: Order = _unpacked(payload)
    options = vars(order.options)
    plan = stored.plan(order.problem, order.grid, order.path, block_size=order.block_size, **options)
    if different := differing(order.identity, plan.identity):
        raise InputError(f"a worker would compute other bits: {different}; install the same versions there")
    parts = plan.parts
    working = {"evidence": parts.pop("evidence")}
    key = stored.key_of(plan.identity)
    try:
        return stored.Job(
            plan, BlockStore(plan.path, parts, key), BlockStore(plan.working, working, key), order.layout
        )
    except FileNotFoundError:
        raise InputError(f"a worker does not see {str(plan.path)!r}: the folder must be shared") from None


def _packed(order: Order) -> bytes:
    import cloudpickle

    try:
        return cloudpickle.dumps(order)
    except Exception as error:
        raise InputError(f"problem {order.problem.name!r} cannot be sent to workers: {error}") from None


def _unpacked(payload: bytes) -> Order:
    import cloudpickle

    return cloudpickle.loads(payload)


def _outcome(future: Any) -> int:
    """The block that a task has done, or an error in the words of this package."""
    try:
        return future.result()
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"a worker lacks a package: {error}; install jaxloss there") from None
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            raise InputError("a block could not be run: its workers die, of too little memory perhaps") from None
        raise
