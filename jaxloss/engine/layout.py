"""How a run is laid out: the tiles change its speed and nothing else, the compilation its rounding as well."""

import math
from typing import Any, NamedTuple

from jaxloss.engine.calibration import calibrated, default_tile_size, whole
from jaxloss.engine.rounds import Process
from jaxloss.engine.soundness import sound_compilation


class Layout(NamedTuple):
    """The layout of a run.

    Attributes:
      tile_size: trajectories of one compiled call.
      step_seconds: measured, of one step of one trajectory; NaN if it was not.
      compilation: how programs are compiled, a way of `jaxloss.engine.devices.compiling`.
    """

    tile_size: int
    compilation: str
    step_seconds: float = math.nan

    @property
    def attributes(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"tile_size": self.tile_size, "compilation": self.compilation}


def layout_of(
    process: Process,
    shared: Any,
    own: Any,
    initial: Any,
    *,
    num_steps: int,
    num: int,
    at_once: int,
    tile_size: int | None,
) -> Layout:
    """The layout that suits a process.

    Args:
      process: what is iterated.
      shared: what all trajectories share.
      own: what each has for itself, arrays ``[..., trajectory]`` of the first trajectories.
      initial: what each starts from, likewise.
      num_steps: the budget of updates.
      num: how many trajectories there are in all.
      at_once: how many of them are run in one call.
      tile_size: what is asked for; for None it suits the program, and for long runs it is measured.

    Returns:
      The layout.
    """
    arguments = process, shared, own, initial
    default = default_tile_size(*arguments)
    seconds = math.nan
    if tile_size:
        tile_size = whole(tile_size, default, at_once)
    else:
        tile_size, seconds = calibrated(*arguments, num_steps, whole(default, default, at_once), num)
    return Layout(tile_size, sound_compilation(*arguments, tile_size), seconds)
