"""Which results of a folder are whole, and what is wrong with the others."""

from pathlib import Path
from typing import NamedTuple

from jaxloss.errors import InputError
from jaxloss.store.block_store import check_blocks, open_store
from jaxloss.store.files import is_signed, read_json
from jaxloss.store.folder import SPEC, SUFFIX, SUMMARY
from jaxloss.store.signature import damaged_files, read_root


class Report(NamedTuple):
    """What was found out about one result, or about a file beside the results.

    Attributes:
      path: of it.
      damages: what is wrong, each a sentence.
      num_blocks: how many blocks it has.
      missing: how many of them have not been run and labelled yet.
      done: whether nothing is missing.
    """

    path: Path
    damages: tuple[str, ...]
    num_blocks: int = 0
    missing: int = 0
    done: bool = True

    @property
    def whole(self) -> bool:
        """Whether it is complete and undamaged."""
        return self.done and not self.damages

    def __str__(self) -> str:
        if self.damages:
            return "\n".join([f"{self.path}: DAMAGED", *(f"  {damage}" for damage in self.damages)])
        if not self.done:
            left = (
                f"{self.missing} of {self.num_blocks} blocks are missing" if self.missing else "all blocks are there"
            )
            return f"{self.path}: unfinished, {left}"
        return f"{self.path}: whole" + (f", {self.num_blocks} blocks" if self.num_blocks else "")


def inspect(folder: Path) -> list[Report]:
    """Checks every file of an output folder, or of one store.

    Args:
      folder: an output folder of `jaxloss sweep`, or a store.

    Returns:
      A report on each result, and on ``spec.json`` and ``summary.json``.

    Raises:
      InputError: there is no such folder, or no result in it.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r}")
    if folder.suffix == SUFFIX:
        return [inspect_store(folder)]
    stores = sorted(folder.glob(f"[!.]*{SUFFIX}"))
    if not stores and not (folder / SPEC).exists():
        raise InputError(f"folder {str(folder)!r} holds no result of jaxloss")
    return [*_inspect_documents(folder, stores), *map(inspect_store, stores)]


def inspect_store(path: Path) -> Report:
    """Checks every file of one store."""
    try:
        _, ours = read_root(path)
    except InputError as error:
        return Report(path, (str(error).removeprefix(f"{str(path)!r} "),))
    damages = damaged_files(path, ours)
    if "parts" not in ours:
        return Report(path, tuple(map(str, damages)))
    if not any(damage.path.endswith("zarr.json") for damage in damages):
        damages += check_blocks(path, ours, finished=bool(ours["done"]))
    num_blocks = missing = 0
    if not damages:
        store, _, _ = open_store(path)
        num_blocks = store.parts["ends"].blocking.num_blocks if "ends" in store.parts else 0
        missing = num_blocks - sum(store.done("labels")) if "labels" in store.parts else 0
    return Report(path, tuple(map(str, damages)), num_blocks, int(missing), bool(ours["done"]))


def _inspect_documents(folder: Path, stores: list[Path]) -> list[Report]:
    """On the spec, and on the summary where there is one."""
    reports = []
    for name in (SPEC, SUMMARY):
        path = folder / name
        value = read_json(path)
        if value is not None and is_signed(value):
            damages = ()
        elif path.exists():
            damages = ("is not what was written",)
        else:
            damages = ("is missing",) if name == SPEC else ()
        if damages or path.exists():
            reports.append(Report(path, damages))
    summary = read_json(folder / SUMMARY) or {}
    lost = set(summary.get("objectives") or ()) - {path.stem for path in stores}
    return [*reports, *(Report(folder / f"{label}{SUFFIX}", ("is missing",)) for label in sorted(lost))]
