"""Programs as native code: XLA writes every array to memory between its kernels, here it stays in registers."""

from jaxloss.engine.native.arrays import allowed, apply, apply_equation, has_rules
from jaxloss.engine.native.code import Unsupported

__all__ = ["Unsupported", "allowed", "apply", "apply_equation", "has_rules"]
