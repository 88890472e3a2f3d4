"""The command measure."""

import json as json_text
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxloss.cli.measure_tables import print_tables
from jaxloss.cli.options import Flag, Folder, Seed, Whole, optional
from jaxloss.cli.output import check_writable, finite, print_paths, print_wrapped
from jaxloss.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from jaxloss.basins.summary import MapMeasures, Summary

MEASURES_FILE = "measures.json"


def measure(
    folder: Positional[Annotated[Path, arg(metavar="DIR")]],
    /,
    *,
    out: Folder = None,
    json: Flag = False,
    no_figures: Flag = False,
    labelling: Annotated[Literal["outcome", "attractor", "both"], arg(metavar="outcome|attractor|both")] = "both",
    box_size: Whole = None,
    box_sizes: Annotated[tuple[int, ...] | None, optional("N N ...")] = None,
    boxes: Annotated[Literal["sliding", "tiled"], arg(metavar="sliding|tiled")] = "sliding",
    ball_radius: Whole = None,
    wada_radius: Whole = None,
    confidence: Annotated[float, arg(metavar="SHARE")] = 0.95,
    seed: Seed = 0,
) -> None:
    """Measure the basins of stored results: shares, steps, entropies, exponents, dimensions, fractality, Wada.

    Each measure is taken at every value of the hyperparameters, on the map of each pair of initial axes, beside a
    smooth control: a map with the same shares and straight boundaries. What does not apply says why. Nothing is run.

    Args:
      folder: an output folder of `jaxloss sweep`, or any folder of stored results.
      out: the folder of measures.json and the figures; by default DIR.
      json: print JSON; measures.json and figures are written only if --out is given.
      no_figures: no figures.
      labelling: what a basin is: an outcome, an attractor, or the pair of both.
      box_size: of the basin entropy, in cells.
      box_sizes: of the uncertainty exponent and the box-counting dimension, ascending; by default 2, 3, 5, 9, ...
      boxes: at every position, or side by side.
      ball_radius: of the random balls, in cells.
      wada_radius: how far apart two boundaries may lie that count as one, in cells.
      confidence: of all intervals.
      seed: of the bootstrap and the random balls.
    """
    target = out or (None if json else folder)
    results = read_results(folder)
    if target is not None:
        check_writable(target)
    options = {
        "labelling": labelling,
        "box_size": box_size,
        "box_sizes": box_sizes,
        "boxes": boxes,
        "ball_radius": ball_radius,
        "wada_radius": wada_radius,
        "confidence": confidence,
        "seed": seed,
    }
    from jaxloss.basins.summary import measure_result
    from jaxloss.figures.style import save

    measured = {label: measure_result(result, **options) for label, result in results.items()}
    document = {**options, "box_sizes": box_sizes and list(box_sizes), "results": list(facts(measured))}
    text = json_text.dumps(document, indent=1, allow_nan=False)
    written = [] if target is None else [_write(target, text)]
    left_out: list[str] = []
    if target is not None and not no_figures:
        for path, figure in _figures(results, measured, labelling):
            if isinstance(figure, str):
                left_out.append(f"no {path}: {figure}")
            else:
                written.append(target / path)
                save(figure, written[-1])
    if json:
        print(text)
        return
    for label, summaries in measured.items():
        print_tables(label, summaries)
    for sentence in left_out:
        print_wrapped(sentence, indent=0)
    print_paths(written)


def read_results(folder: Path) -> dict[str, "xr.Dataset"]:
    """Every result that a folder holds, by label.

    Args:
      folder: where; a complete output folder of a sweep is read in the order of its spec.

    Returns:
      label -> result.

    Raises:
      InputError: there is no such folder, it holds no result, or one that is damaged.
    """
    from jaxloss import store

    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r}")
    if (folder / store.SUMMARY).exists():
        return {label: result.load() for label, result in store.open_folder(folder)[0].items()}
    paths = sorted(folder.glob(f"[!.]*{store.SUFFIX}"))
    if not paths:
        raise InputError(f"folder {str(folder)!r} holds no result of jaxloss (NAME{store.SUFFIX})")
    results = {path.stem: store.read_result(path) for path in paths}
    return {label: result.assign_attrs(name=label) for label, result in results.items()}


def facts(measured: Mapping[str, Sequence["Summary"]]) -> Iterator[dict[str, Any]]:
    """What ``measures.json`` says of each result at each combination of hyperparameters.

    Args:
      measured: label -> what `jaxloss.basins.summary.measure_result` returned.

    Yields:
      JSON values; what is not finite or does not apply is None.
    """
    for label, summaries in measured.items():
        for summary in summaries:
            shares, totals = summary.outcomes, summary.totals
            yield {
                "objective": label,
                "hyperparameters": plain(summary.hyperparameters),
                "num_trajectories": summary.num_trajectories,
                "outcomes": plain(shares),
                "totals": plain(totals),
                "num_steps": plain(summary.num_steps),
                "maps": [_map_facts(each) for each in summary.maps],
            }


def plain(value: Any) -> Any:
    """A value as JSON can say it: a named tuple by its fields, an interval as a pair, None for what is not finite.

    Examples:
      >>> plain({0.5: float("inf"), "name": (1, True)})
      {'0.5': None, 'name': [1, True]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    fields: Any = getattr(value, "_asdict", dict)()
    if tuple(fields) == ("low", "high"):
        return [plain(bound) for bound in value] if all(map(math.isfinite, value)) else None
    if fields:
        return plain(fields)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value


def _map_facts(each: "MapMeasures") -> dict[str, Any]:
    import numpy as np

    axes = {name: {"first": float(v[0]), "last": float(v[-1]), "num": len(v)} for name, v in each.axes.items()}
    return {
        "axes": axes or None,
        "fixed": plain(each.fixed),
        "num_labels": None if each.labels is None else len(np.unique(each.labels)),
        "scales": plain(each.scales),
        "measures": plain(each.measures),
    }


def _write(folder: Path, text: str) -> Path:
    """Writes the measures whole or not at all."""
    from jaxloss.figures.gallery import make_folder
    from jaxloss.store.files import write_text

    path = make_folder(folder) / MEASURES_FILE
    write_text(path, text + "\n")
    return path


def _figures(
    results: Mapping[str, "xr.Dataset"], measured: Mapping[str, Sequence["Summary"]], labelling: str
) -> Iterator[tuple[str, Any]]:
    """The name of each figure, and the figure, or why the result does not allow it."""
    from jaxloss.figures.gallery import file_stems
    from jaxloss.figures.measures import plot_basin_entropy, plot_basin_times, plot_boundary_scaling

    stems = file_stems(list(results))
    for label, result in results.items():
        maps = {name: each for summary in measured[label] for name, each in _named_maps(summary)}
        sizes = [each.scales.box_size for each in maps.values() if each.scales and each.scales.box_size]
        boxes = {"box_size": sizes[0] if sizes else 2, "labelling": labelling}
        for kind, plot in {
            "basin-times": partial(plot_basin_times, result),
            "basin-entropy": partial(plot_basin_entropy, result, **boxes),
            "boundary-scaling": partial(plot_boundary_scaling, maps, name=label),
        }.items():
            try:
                yield f"{stems[label]}-{kind}.png", plot()
            except InputError as error:
                yield f"{stems[label]}-{kind}.png", str(error)


def _named_maps(summary: "Summary") -> Iterator[tuple[str, "MapMeasures"]]:
    """The maps of a summary with a heading each."""
    values = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in summary.hyperparameters.items())
    for each in summary.maps:
        pair = "" if len(summary.maps) == 1 else " x ".join(each.axes)
        yield "\n".join(filter(None, [values, pair])), each
