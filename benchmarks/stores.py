"""What it costs to write a sweep block by block, and to spread it: ``python -m benchmarks.stores``.

Three questions, the first two answered by ratios of alternating runs, medians of several:

- what share of a sweep at the default block goes to the store;
- what one and two workers take for the same work (strong scaling), and for work in proportion (weak scaling);
- how much memory sweeps of growing size take (each a process of its own, figure included).
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.interruptions import RESULTS, SPEC
from benchmarks.machine import describe

STAGES = re.compile(r"(\w+) (\d+\.\d) s")


def seconds_by_phase(num: int, num_steps: int) -> dict[str, float]:
    """What the command says of where its time went, for the packaged comparison."""
    arguments = ["--num-steps", str(num_steps)]
    text = (Path(__file__).parent.parent / "jaxloss" / "specs" / "loss-comparison.toml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.toml"
        spec.write_text(re.sub(r"num = 128", f"num = {num}", text))
        run = _sweep(spec, Path(folder) / "out", *arguments)
    return {phase: float(value) for phase, value in STAGES.findall(run.stderr.splitlines()[-1])}


def seconds_on_workers(num: int, num_steps: int, workers: int) -> float:
    """Seconds of a sweep by workers of one core each, which have started and compiled for a smaller one."""
    with tempfile.TemporaryDirectory() as folder:
        code = (
            "import os, sys, time\n"
            "from pathlib import Path\n"
            "from jaxloss import stored, spec\n"
            "from jaxloss.cluster import connected\n"
            "if __name__ == '__main__':\n"
            "    texts, workers = sys.argv[1:3], int(sys.argv[3])\n"
            "    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])\n"
            "    with connected(workers=workers) as execute:\n"
            "        for name, text in zip(('warm', 'timed'), texts):\n"
            "            loaded = spec.parse_spec(text)\n"
            "            (_, problem), = loaded.problems()\n"
            "            start = time.perf_counter()\n"
            "            stored.sweep_to_store(problem, loaded.grid(problem), name + '.zarr', execute=execute,\n"
            "                                  block_size=2**16, num_steps=loaded.options().num_steps)\n"
            "            print(time.perf_counter() - start)\n"
        )
        script = Path(folder) / "run.py"
        script.write_text(code)
        texts = [SPEC.format(num=256, num_steps=num_steps), SPEC.format(num=num, num_steps=num_steps)]
        command = [sys.executable, str(script), *texts, str(workers)]
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        run = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def peak_memory(num: int, num_steps: int) -> dict[str, float]:
    """GiB at the peak of a whole command, and trajectories per second, for a square grid at one learning rate."""
    text = SPEC.format(num=num, num_steps=num_steps).replace(
        'learning_rate = { start = 0.1, stop = 10.0, num = 4, spacing = "log" }', "learning_rate = { values = [1.0] }"
    )
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.toml"
        spec.write_text(text)
        code = (
            "import resource, sys\n"
            "from jaxloss import cli\n"
            "code = cli.main(sys.argv[1:])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
            "sys.exit(code)\n"
        )
        command = [sys.executable, "-c", code, "sweep", str(spec), "--out", str(Path(folder) / "out"), "--quiet"]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "trajectories": num * num,
        "peak_gib": round(int(run.stderr.split()[-1]) * unit / 2**30, 3),
        "bytes_per_trajectory": round(size / num**2, 1),
    }


def _sweep(spec: Path, out: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jaxloss", "sweep", str(spec), "--out", str(out), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def shares(repeats: int) -> dict[str, list[float]]:
    """What share of the packaged comparison goes to the store: of a whole command, and of each further block."""
    found: dict[str, list[float]] = {"whole": [], "each_further_block": []}
    for _ in range(repeats):
        # Three blocks for each objective, and nine.
        small, large = (seconds_by_phase(num, 20_000) for num in (256, 512))
        more = {phase: large[phase] - small[phase] for phase in ("store", "run", "labels")}
        found["whole"].append(large["store"] / sum(large.values()))
        found["each_further_block"].append(more["store"] / sum(more.values()))
        print("store", small, large, flush=True)
    return found


def scaling(repeats: int) -> dict[str, list[float]]:
    """Time of one worker over that of two for the same work, and for twice the work."""
    found: dict[str, list[float]] = {"strong": [], "weak": []}
    for _ in range(repeats):
        one, two, twice = (
            seconds_on_workers(num, 4_000, workers) for num, workers in ((724, 1), (724, 2), (1024, 2))
        )
        found["strong"].append(one / two)
        found["weak"].append(one / twice)
        print("workers", one, two, twice, flush=True)
    return found


def memory(sizes: list[int]) -> list[dict[str, float]]:
    """Peaks of sweeps of growing size."""
    return [peak_memory(num, 200) for num in sizes]


def main() -> int:
    """Measures, prints and writes ``stores.json``; what is not measured again stays there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores", description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["shares", "scaling", "memory"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3162, 10_000])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    path = options.out / "stores.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found["machine"] = describe()
    for part, measured in (("shares", shares), ("scaling", scaling)):
        if part in options.parts:
            ratios = measured(options.repeats)
            found[part] = {name: {"median": statistics.median(all_), "all": all_} for name, all_ in ratios.items()}
    if "memory" in options.parts:
        found["memory"] = memory(options.sizes)
    print(json.dumps(found, indent=1))
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
