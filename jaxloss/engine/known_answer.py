"""A check that this JAX build sums correctly, before anything is labelled by its sums."""

import functools
import importlib.metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class WrongSumsError(RuntimeError):
    """The JAX build on this device returns wrong sums; nothing that it computes can be trusted."""


def _fused_sums(z: jax.Array, c: jax.Array) -> jax.Array:
    """Two reductions over the last axis that the compiler fuses: what jaxlib 0.10.2 got wrong."""
    return (z * z).sum(-1) - (c * z).sum(-1)


def check(device: Any = None, sums=_fused_sums) -> None:
    """Compares fused reductions of 2^16 and more outputs with NumPy.

    Args:
      device: the `jax.Device` to run on; default the first.
      sums: the jitted function under test; another one makes the check fail on purpose.

    Raises:
      WrongSumsError: the results differ by more than rounding.

    References:
      jax issue 39103: jitted, vmapped reductions are silently wrong on the CPU in jaxlib 0.10.2.

    Examples:
      >>> check()
    """
    device = device or jax.devices()[0]
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4096, 20, 3)).astype(np.float32)
    c = rng.normal(size=(4096, 20, 3)).astype(np.float32)
    expected = (z * z).sum(-1) - (c * z).sum(-1)
    with jax.enable_x64(False), jax.default_device(device):
        found = np.asarray(jax.jit(jax.vmap(sums))(jnp.asarray(z), jnp.asarray(c)))
    # 2^16 = 65,536 < 81,920 = 4096 * 20 outputs; float32 rounding stays far below 1e-4.
    wrong = int(np.sum(~(np.abs(found - expected) < 1e-4)))
    if wrong:
        version = importlib.metadata.version("jaxlib")
        raise WrongSumsError(
            f"jaxlib {version} returns wrong sums on {device} ({wrong} of {expected.size} entries of a known "
            "answer): install another version (0.10.1, or 0.12 and later), or set the environment variable "
            "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= (the flag's name differs between versions)"
        )


@functools.lru_cache(maxsize=64)
def check_once(device: Any) -> None:
    """`check`, once for each process and device."""
    check(device)
