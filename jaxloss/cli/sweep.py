"""The commands sweep, resume, verify and plot."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from jaxloss import timing
from jaxloss.cli.options import Address, Flag, Folder, Name, Precision, SpecFile, Whole
from jaxloss.cli.output import MAX_LISTED, WIDTH, coordinates, finite, print_paths, table_facts
from jaxloss.startup import start_jax

if TYPE_CHECKING:
    import xarray as xr

    from jaxloss.spec import Spec
    from jaxloss.stored import Execute


def sweep(
    spec: SpecFile = None,
    /,
    *,
    out: Folder = None,
    num_steps: Whole = None,
    optimizer: Name = None,
    precision: Precision = None,
    seed: Whole = None,
    block_size: Whole = None,
    workers: Whole = None,
    scheduler: Address = None,
    quiet: Flag = False,
) -> None:
    """Run a comparison: every objective of a spec, every point of its grid.

    Args:
      spec: the TOML file; without one, the packaged loss comparison.
      out: the output folder; by default the spec's name. What it already holds of the same spec is kept.
      num_steps: in place of the spec's.
      optimizer: in place of the spec's.
      precision: in place of the spec's.
      seed: in place of the spec's.
      block_size: the most trajectories of one block of the result; memory grows with it, and what a crash costs.
      workers: spread the blocks over so many processes on this machine (needs jaxloss[distributed]).
      scheduler: spread the blocks over the workers of this dask scheduler, as in tcp://10.0.0.1:8786; they must see
        the output folder.
      quiet: no progress bars, no estimates, and no line on where the time went.
    """
    elapsed = timing.process_age() if start_jax() else 0.0
    with timing.stopwatch("import", elapsed) as times:
        from jaxloss.spec import COMPARISON, load_spec

        options = {"num_steps": num_steps, "optimizer": optimizer, "precision": precision, "seed": seed}
        overrides = {name: value for name, value in options.items() if value is not None}
        loaded = load_spec(spec or COMPARISON, overrides=overrides)
        loaded.validate()
        folder = out or Path(loaded.name)
        wrote = _complete(loaded, folder, block_size, workers, scheduler, quiet)
    if wrote and not quiet:
        print(times, file=sys.stderr)


def resume(
    folder: Positional[Annotated[Path, arg(metavar="DIR")]],
    /,
    *,
    workers: Whole = None,
    scheduler: Address = None,
    quiet: Flag = False,
) -> None:
    """Go on with a sweep that was interrupted, or mend one that was damaged.

    Args:
      folder: an output folder of `jaxloss sweep`.
      workers: as for sweep.
      scheduler: as for sweep.
      quiet: as for sweep.
    """
    elapsed = timing.process_age() if start_jax() else 0.0
    with timing.stopwatch("import", elapsed) as times:
        from jaxloss import store
        from jaxloss.spec import spec_from_json

        spec = spec_from_json(store.read_spec(folder), folder / store.DATA)
        wrote = _complete(spec, folder, None, workers, scheduler, quiet)
    if wrote and not quiet:
        print(times, file=sys.stderr)


def _complete(
    spec: "Spec",
    folder: Path,
    block_size: int | None,
    workers: int | None,
    scheduler: str | None,
    quiet: bool,
) -> bool:
    """Completes an output folder, prints what it holds, and says whether anything had to be written."""
    from jaxloss import store, stored

    document, options = spec.to_json(), vars(spec.options())
    there = store.check_folder(folder, document)
    if block_size is None:
        # Objectives that have not begun get blocks like the others'.
        sizes = (stored.block_size_of(folder / f"{label}{store.SUFFIX}") for label in there.labels)
        block_size = next(filter(None, sizes), None)
    plans = {
        label: stored.plan(
            problem, spec.grid(problem), folder / f"{label}{store.SUFFIX}", block_size=block_size, **options
        )
        for label, problem in spec.problems()
    }
    stored.check_disk(list(plans.values()))
    ran: list[str] = []
    results: dict[str, xr.Dataset] = {}

    def report(estimate: "stored.Estimate") -> None:
        ran.append(str(estimate))
        if not quiet:
            print(f"{label}: {estimate}", file=sys.stderr)

    label = ""
    try:
        with _executed_by(workers, scheduler, quiet) as execute:
            store.begin_folder(folder, document, spec.data_file)
            for label, plan in plans.items():
                found = stored.carry_out(plan, execute=execute, report=report, progress=not quiet)
                results[label] = found.assign_attrs(name=label)
    except KeyboardInterrupt:
        if not label:  # nothing has begun
            raise
        raise KeyboardInterrupt(f"jaxloss resume {folder} goes on with {label}") from None
    summary, picture, written = there.summary, folder / store.BASINS, []
    if ran or summary is None:
        with timing.phase("store"):
            summary = summarize(document, results)
            written = [folder / f"{label}{store.SUFFIX}" for label in results]
            written.append(store.finish_folder(folder, summary))
    else:
        print(f"{folder} already holds the result of this spec; nothing was run\n")
    print_summary(summary)
    if written or not picture.exists():
        with timing.phase("draw"):
            from jaxloss.figures import plot_comparison

            plot_comparison(results, path=picture)
        written.append(picture)
    print_paths(written)
    return bool(written)


@contextmanager
def _executed_by(workers: int | None, scheduler: str | None, quiet: bool) -> "Iterator[Execute | None]":
    """Who runs the blocks: this process, processes of this machine, or those of a scheduler."""
    if workers is None and scheduler is None:
        yield None
        return
    from jaxloss import cluster

    with cluster.connected(workers=workers, scheduler=scheduler) as found:
        if not quiet:
            print(found, file=sys.stderr)
        yield found


def verify(folder: Positional[Annotated[Path, arg(metavar="DIR")]], /) -> None:
    """Check every file of the results in a folder against what was written.

    Ends with code 1 if anything is damaged or unfinished, and names it; jaxloss resume mends it.

    Args:
      folder: an output folder of `jaxloss sweep`, or a single store NAME.zarr.
    """
    from jaxloss.store.verification import inspect

    reports = inspect(folder)
    for report in reports:
        print(report)
    if not all(report.whole for report in reports):
        raise SystemExit(1)


def plot(folder: Positional[Annotated[Path, arg(metavar="DIR")]], /) -> None:
    """Draw every figure that the stored results allow; nothing is recomputed.

    Args:
      folder: an output folder of `jaxloss sweep`.
    """
    from jaxloss.figures import plot_all
    from jaxloss.store import open_folder

    results, _ = open_folder(folder)
    print_paths(plot_all(results, folder))


def summarize(spec: Mapping[str, Any], results: Mapping[str, "xr.Dataset"]) -> dict[str, Any]:
    """What ``summary.json`` says: the share of each outcome, and the critical points.

    Args:
      spec: as `jaxloss.spec.Spec.to_json` gives it.
      results: label -> result of a sweep.

    Returns:
      JSON values; a number that is not finite is None.
    """
    from jaxloss.basins import outcome_fractions

    objectives, rows = {}, []
    for label, result in results.items():
        objectives[label] = {
            "infimum": finite(result.attrs["infimum"]),
            "infimum_source": result.attrs["infimum_source"],
            **table_facts(result, result["critical_point_loss"].values),
        }
        fractions = outcome_fractions(result)
        for i, rate in enumerate(fractions["learning_rate"].values):
            for j, outcome in enumerate(fractions["outcome_name"].values):
                measures = {key: float(fractions[key].values[i, j]) for key in ("fraction", "low", "high")}
                rows.append(
                    {
                        "objective": label,
                        "learning_rate": finite(rate),
                        "outcome": str(outcome),
                        "count": int(fractions["count"].values[i, j]),
                        "total": int(fractions.attrs["total"]),
                        **measures,
                    }
                )
    return {"name": spec["name"], "spec": dict(spec), "objectives": objectives, "rows": rows}


def print_summary(summary: Mapping[str, Any]) -> None:
    """Prints a summary as tables of at most 100 columns.

    Args:
      summary: as `summarize` gives it.
    """
    from jaxloss.basins import wilson_interval
    from jaxloss.outcomes import NAMES, SOLVED, TRAPPED, UNSTABLE

    groups = {
        "solved": [NAMES[code] for code in sorted(SOLVED)],
        "trapped": [NAMES[code] for code in sorted(TRAPPED)],
        "unstable": [NAMES[code] for code in sorted(UNSTABLE)],
        "unfinished": ["unfinished"],
    }
    print(f"{summary['name']}: percent of initial points [Wilson 95 % interval]")
    for label, facts in summary["objectives"].items():
        rows = [row for row in summary["rows"] if row["objective"] == label]
        print(f"\n{label}\n{'learning_rate':>13}" + "".join(f"{group:>21}" for group in groups))
        for rate in dict.fromkeys(row["learning_rate"] for row in rows):
            here = {row["outcome"]: row for row in rows if row["learning_rate"] == rate}
            line = f"{'-' if rate is None else f'{rate:g}':>13}"
            for names in groups.values():
                count, total = sum(here[name]["count"] for name in names), here[names[0]]["total"]
                low, high = wilson_interval(count, total)
                line += f"{f'{100 * count / total:.1f} [{100 * low:.1f}, {100 * high:.1f}]':>21}"
            print(line)
        total = sum(row["count"] for row in rows)
        shares = {
            name: sum(row["count"] for row in rows if row["outcome"] == name) / total for name in groups["trapped"]
        }
        trapped = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items() if share)
        print(f"  trapped in all: {trapped or 'none'}")
        infimum = "not finite" if facts["infimum"] is None else f"{facts['infimum']:.6g}"
        print(f"  infimum: {infimum} ({facts['infimum_source']})")
        _print_critical_points(facts, limit=MAX_LISTED)
    print()


def _print_critical_points(facts: Mapping[str, Any], *, limit: int | None) -> None:
    points = facts["critical_points"]
    found = "all of them in the box" if facts["complete"] else "there may be more"
    print(f"  critical points found: {len(points)} ({found})")
    for point in points[:limit]:
        certified = ", certified" if point["certified"] else ""
        line = f"    {point['kind']}{certified}, loss {point['loss']:.6g}: {coordinates(point['location'])}"
        print(line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}...")
    if limit is not None and len(points) > limit:
        print(f"    and {len(points) - limit} more")
