"""Loops over steps as native code: XLA writes every intermediate array to memory, a kernel keeps it in registers."""

from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.loops import run

__all__ = ["Unsupported", "run"]
