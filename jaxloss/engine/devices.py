"""Which devices there are, and how programs are compiled for them."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

# Vectors of 512 bits where the CPU has them (compilers prefer 256 out of caution), and optimisation barriers that
# hold until operations have been fused.
_PASSES = "cse_barrier_expander,cpu-parallel-task-assigner"
_FAST = {"xla_cpu_prefer_vector_width": "512", "xla_disable_hlo_passes": _PASSES}
# How programs are compiled for a CPU, see `jaxloss.engine.soundness`: as fast as can be; with no operation fused with
# another, so that none is computed twice; and quickly, with no optimisation of the instructions.
CPU_OPTIONS = {
    "fast": _FAST,
    "unfused": _FAST | {"xla_disable_hlo_passes": f"{_PASSES},fusion"},
    "plain": _FAST | {"xla_backend_optimization_level": "0"},
}
_compilation: ContextVar[str] = ContextVar("_compilation", default="fast")


def compute_in_threads() -> None:
    """Lets the thread that calls a program on a CPU compute it, too; it must be called before JAX starts.

    Else JAX hands the program over to threads of its own, which no one has told what core to stay on.
    """
    if "cpu" in os.environ.get("JAX_PLATFORMS", "cpu"):
        jax.config.update("jax_cpu_enable_async_dispatch", False)


@functools.cache
def devices() -> tuple[Any, ...]:
    """The devices that trajectories are spread over, each with a thread of ours: all of the default platform.

    A lone CPU device stands there once for each core, unless the environment asks for so many. It computes whatever
    several threads ask of it at once, and what is compiled for it serves all of them, whereas devices of their own
    would compile every program anew. One executable over several cores, in turn, loses its gain to synchronisation.
    """
    found = tuple(jax.local_devices())
    alone = found[0].platform == "cpu" and len(found) == 1 and "JAX_NUM_CPU_DEVICES" not in os.environ
    return found * len(_cores()) if alone else found


def on_devices(function: Callable[[Any, Any], Any], items: Sequence[Any]) -> list:
    """``[function(item, device) for item in items]``, every device taking the next item when it is done with one.

    On a CPU the thread that serves a device stays on one core: schedulers have been seen to leave two on the same.

    Args:
      function: of an item and the device that it is to use.
      items: any number.

    Returns:
      The results, in the order of the items.
    """
    num = min(len(devices()), len(items))
    if num < 2:
        return [function(item, devices()[0]) for item in items]
    x64 = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    results: list[Any] = [None] * len(items)
    left = deque(range(len(items)))  # taking the next is one step of the interpreter

    def work(i: int) -> None:
        _stay_on_core(i)
        # JAX's contexts belong to one thread.
        with jax.enable_x64(x64):
            while True:
                try:
                    number = left.popleft()
                except IndexError:  # none is left
                    return
                results[number] = function(items[number], devices()[i])

    try:
        list(_threads().map(work, range(num)))
    finally:
        # After an interrupt, or an error in one thread, the others stop at the next item.
        left.clear()
    return results


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(devices()), thread_name_prefix="jaxloss")


def _stay_on_core(i: int) -> None:
    if devices()[0].platform == "cpu" and hasattr(os, "sched_setaffinity"):
        cores = _cores()
        if len(cores) == len(devices()):
            os.sched_setaffinity(0, {cores[i]})


@functools.cache
def _cores() -> tuple[int, ...]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(os.getpid())))
    return tuple(range(os.cpu_count() or 1))


@contextmanager
def compiling(compilation: str) -> Iterator[None]:
    """Programs that are made inside, by this thread, are compiled in one of the ways of `CPU_OPTIONS`."""
    token = _compilation.set(compilation)
    try:
        yield
    finally:
        _compilation.reset(token)


def compilation() -> str:
    """The way in which programs are compiled here."""
    return _compilation.get()


def compiled(function: Callable, **options: Any) -> Callable:
    """``jax.jit`` with the compiler options that suit the default platform.

    Examples:
      >>> float(compiled(lambda x: x + 1)(1.0))
      2.0
    """
    return jax.jit(function, compiler_options=_compiler_options(compilation()), **options)


@functools.cache
def _compiler_options(compilation: str) -> dict[str, str]:
    if jax.default_backend() != "cpu":
        return {}
    options = CPU_OPTIONS[compilation]
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except Exception:  # this version of the compiler does not know them
        return {}
    return options
