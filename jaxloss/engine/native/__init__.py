"""Programs as native code: XLA writes every array to memory between its kernels, here it stays in registers."""

from jaxloss.engine.native.code import Unsupported
from jaxloss.engine.native.loops import allowed, apply, has_rules, loop

__all__ = ["Unsupported", "allowed", "apply", "has_rules", "loop"]
