"""Runs many trajectories; knows nothing of outcomes."""

from jaxloss.engine.devices import compiling, on_devices
from jaxloss.engine.known_answer import WrongSumsError, check, check_once
from jaxloss.engine.precision import computing_in
from jaxloss.engine.tiles import as_slice, batched, columns, in_lanes, map_in_tiles, map_lanes, padded, tiles

__all__ = [
    "WrongSumsError",
    "as_slice",
    "batched",
    "check",
    "check_once",
    "columns",
    "compiling",
    "computing_in",
    "in_lanes",
    "map_in_tiles",
    "map_lanes",
    "on_devices",
    "padded",
    "tiles",
]
