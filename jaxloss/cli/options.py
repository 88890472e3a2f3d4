"""The kinds of arguments that commands take."""

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg


def optional(metavar: str) -> Any:
    """An option whose help does not say that its default is None."""
    return arg(metavar=metavar, help_behavior_hint="")


Folder = Annotated[Path | None, optional("DIR")]
Whole = Annotated[int | None, optional("N")]
Name = Annotated[str | None, optional("NAME")]
Address = Annotated[str | None, optional("ADDRESS")]
Precision = Annotated[Literal["float32", "float64"] | None, optional("float32|float64")]
SpecFile = Positional[Annotated[Path | None, optional("[SPEC]")]]
Flag = FlagCreatePairsOff[bool]
Seed = Annotated[int, arg(metavar="N")]
