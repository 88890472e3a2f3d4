"""Where the time of a command goes: seconds by phase, compilation apart.

Whatever is worth a name runs inside `phase`, which costs nothing where nobody measures.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

COMPILE = "compile"
# JAX reports here how long it traced, lowered and compiled, or fetched what another process had compiled.
_COMPILATION = "/jax/core/compile/"


class Stopwatch:
    """Seconds by phase: the time inside `phase`, less that of phases within it and of compilation.

    Args:
      phase: what counts until the first `phase`.
      elapsed: seconds of it that have passed already.
    """

    def __init__(self, phase: str, elapsed: float = 0.0):
        self._marks = [(time.perf_counter() - elapsed, phase)]
        self._compiled: list[tuple[float, float]] = []

    def enter(self, phase: str) -> str:
        """Ends the phase that runs, begins another, and returns the former."""
        former = self._marks[-1][1]
        self._marks.append((time.perf_counter(), phase))
        return former

    def compiled(self, seconds: float) -> None:
        """Notes what a thread has just spent on compilation."""
        end = time.perf_counter()
        self._compiled.append((end - seconds, end))

    @property
    def seconds(self) -> dict[str, float]:
        """Of each phase up to now, in the order in which they began."""
        busy = _union(self._compiled)
        seconds = {self._marks[0][1]: 0.0, COMPILE: 0.0}
        ends = [start for start, _ in self._marks[1:]] + [time.perf_counter()]
        for (start, phase), end in zip(self._marks, ends, strict=True):
            apart = sum(max(0.0, min(end, b) - max(start, a)) for a, b in busy)
            seconds[COMPILE] += apart
            seconds[phase] = seconds.get(phase, 0.0) + end - start - apart
        return seconds

    def __str__(self) -> str:
        seconds = self.seconds
        split = ", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items())
        return f"{split}; {sum(seconds.values()):.1f} s in all"


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The time that some spans cover: one may lie inside another, or in another thread beside it.

    Examples:
      >>> _union([(5, 6), (2, 3), (1, 4)])
      [(1, 4), (5, 6)]
    """
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


_running: ContextVar[Stopwatch | None] = ContextVar("_running", default=None)


@contextmanager
def stopwatch(first: str, elapsed: float = 0.0) -> Iterator[Stopwatch]:
    """Measures what happens inside.

    Args:
      first: the phase that it begins with.
      elapsed: seconds of it that have passed already.

    Yields:
      The stopwatch.
    """
    import jax.monitoring

    watch = Stopwatch(first, elapsed)
    token = _running.set(watch)

    def on_duration(event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith(_COMPILATION):
            watch.compiled(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(on_duration)
    try:
        yield watch
    finally:
        _running.reset(token)
        jax.monitoring.unregister_event_duration_listener(on_duration)


def process_age() -> float:
    """Seconds since this process began."""
    try:
        # Ticks since the machine has started; what psutil makes of them is off by up to a second.
        with open("/proc/self/stat", encoding="utf-8") as file:
            began = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError, ValueError, IndexError):  # no Linux
        import psutil

        age = time.time() - psutil.Process().create_time()
    return max(0.0, age)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """What happens inside counts as this phase, if anyone measures.

    Examples:
      >>> with stopwatch("import") as watch, phase("run"):
      ...     pass
      >>> list(watch.seconds)
      ['import', 'compile', 'run']
    """
    watch = _running.get()
    if watch is None:
        yield
        return
    outer = watch.enter(name)
    try:
        yield
    finally:
        watch.enter(outer)
