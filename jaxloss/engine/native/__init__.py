"""Programs as native code: XLA writes every array to memory between its kernels, here it stays in registers."""

from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.loops import apply, has_rules, loop

__all__ = ["Unsupported", "apply", "has_rules", "loop"]
