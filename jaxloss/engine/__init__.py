"""Runs many trajectories; knows nothing of outcomes."""

from jaxloss.engine.known_answer import WrongSumsError, check, check_once
from jaxloss.engine.precision import computing_in
from jaxloss.engine.tiles import batched, map_in_tiles, padded, tiles

__all__ = ["WrongSumsError", "batched", "check", "check_once", "computing_in", "map_in_tiles", "padded", "tiles"]
