"""Kills one sweep at random moments, again and again: ``python -m benchmarks.interruptions``.

Each time the command goes on until it is killed (SIGKILL): its main process, or one of its workers. In the end every
file of the result is compared with that of an undisturbed run, and no block that was finished may have been written
a second time.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.machine import describe

RESULTS = Path(__file__).parent.parent / "results" / "benchmarks"
SPEC = """
[data]
inputs = [[-0.5], [1.0]]
targets = [0.0, 1.0]
[[objective]]
activation = "sigmoid"
loss = "mse"
[grid]
"weight[0]" = {{ start = -8.0, stop = 8.0, num = {num} }}
bias = {{ start = -8.0, stop = 8.0, num = {num} }}
learning_rate = {{ start = 0.1, stop = 10.0, num = 4, spacing = "log" }}
[run]
num_steps = {num_steps}
"""


class Interrupted(NamedTuple):
    """What became of a sweep that was killed.

    Attributes:
      kills: of the main process, and of workers.
      finished: how many blocks of all stages had been finished at each kill of the main process.
      total: how many there are in all.
      differing: files that are not those of the undisturbed run.
      rewritten: finished blocks that were written again.
      orphans: processes that outlived a killed main process by more than `PATIENCE` seconds.
    """

    kills: dict[str, int]
    finished: list[int]
    total: int
    differing: list[str]
    rewritten: list[str]
    orphans: int


PATIENCE = 20.0
STORE = "sigmoid-mse.zarr"


def interrupt(
    folder: Path, *, kills: int, num: int, num_steps: int, block_size: int, workers: int | None, seed: int
) -> Interrupted:
    """Runs a sweep undisturbed, and once more with a kill at each of some random moments.

    Args:
      folder: an empty one.
      kills: how many.
      num: initial points along each axis.
      num_steps: the budget.
      block_size: trajectories of a block.
      workers: processes that the blocks are spread over in every second attempt; None for none. Of those attempts
        every second one loses a worker before its main process.
      seed: of the moments.

    Returns:
      What was found.
    """
    spec = folder / "spec.toml"
    spec.write_text(SPEC.format(num=num, num_steps=num_steps))
    if _run(spec, folder / "undisturbed", block_size, None).wait():
        raise RuntimeError("the undisturbed run failed")
    total = len(_finished(folder / "undisturbed" / STORE))
    chance, store = random.Random(seed), folder / "killed" / STORE
    seen: dict[str, int] = {}
    rewritten: list[str] = []
    counted, stages, orphans = {"main": 0, "worker": 0}, [], 0
    # Spread over the whole sweep, its last moments among them; some fall into the start of a process.
    moments = iter(sorted(chance.uniform(0, 1.02) for _ in range(kills)))
    for attempt, moment in enumerate(moments):
        process = _run(spec, folder / "killed", block_size, workers if attempt % 2 else None)
        _wait(process, store, min(moment, 1) * total, chance)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        at_work = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        if at_work and attempt % 4 == 1 and (later := next(moments, None)) is not None:
            chance.choice(at_work).send_signal(signal.SIGKILL)
            counted["worker"] += 1
            _wait(process, store, min(later, 1) * total, chance)
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            counted["main"] += 1
        process.wait()
        orphans += len(psutil.wait_procs(children, timeout=PATIENCE)[1])
        finished = _finished(store)
        rewritten += [name for name, number in seen.items() if finished.get(name) != number]
        seen |= finished
        stages.append(len(finished))
    last = _run(spec, folder / "killed", block_size, None)
    if last.wait():
        raise RuntimeError(f"the last attempt ended with code {last.returncode}")
    finished = _finished(store)
    rewritten += [name for name, number in seen.items() if finished.get(name) != number]
    return Interrupted(
        counted, stages, total, differing(folder / "undisturbed", folder / "killed"), rewritten, orphans
    )


def differing(first: Path, second: Path) -> list[str]:
    """Files that are in one folder only, or differ in a byte."""
    names = [{path.relative_to(at) for path in at.rglob("*") if path.is_file()} for at in (first, second)]
    both = names[0] & names[1]
    unlike = {name for name in both if (first / name).read_bytes() != (second / name).read_bytes()}
    return sorted(map(str, (names[0] ^ names[1]) | unlike))


def _run(spec: Path, out: Path, block_size: int, workers: int | None) -> subprocess.Popen:
    command = [sys.executable, "-m", "jaxloss", "sweep", str(spec), "--out", str(out), "--quiet"]
    command += ["--block-size", str(block_size)] + (["--workers", str(workers)] if workers else [])
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _wait(process: subprocess.Popen, store: Path, wanted: float, chance: random.Random) -> None:
    """Waits until so many blocks are finished, and a random while more."""
    while process.poll() is None and len(_finished(store)) < wanted:
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(chance.uniform(0, 0.5))


def _finished(store: Path) -> dict[str, int]:
    """Blocks that are finished: the inode of the file that says so, by stage and number."""
    records = (store / "blocks").glob("*/c/*/0/0")
    return {f"{path.parts[-5]}/{path.parts[-3]}": os.stat(path).st_ino for path in records}


def main() -> int:
    """Kills a sweep 25 times, prints and writes what was found; 1 if a bit or a block is lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interruptions", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num", type=int, default=512)
    parser.add_argument("--num-steps", type=int, default=2000)
    parser.add_argument("--block-size", type=int, default=8192)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = vars(parser.parse_args())
    out = options.pop("out")
    with tempfile.TemporaryDirectory() as folder:
        found = interrupt(Path(folder), **options)
    print(json.dumps(found._asdict(), indent=1))
    out.mkdir(parents=True, exist_ok=True)
    document = {"machine": describe(), "options": options, **found._asdict()}
    (out / "interruptions.json").write_text(json.dumps(document, indent=1) + "\n")
    return 1 if found.differing or found.rewritten or found.orphans else 0


if __name__ == "__main__":
    sys.exit(main())
