"""How the command line starts JAX: a thread for each core, and compiled programs kept for the next time."""

import atexit
import gc
import os
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

SWITCH = "JAXLOSS_CACHE"
"""The environment variable that switches the cache off, by the value ``off``."""

# After this many days a program is compiled anew: neither unused entries nor damaged ones stay for ever.
MAX_AGE_DAYS = 30
# Every program is kept: a sweep has some sixty, and most of them compile within a second.
OPTIONS = {"jax_persistent_cache_min_compile_time_secs": 0, "jax_persistent_cache_min_entry_size_bytes": -1}


def start_jax() -> bool:
    """Sets JAX up for this process, unless somebody has imported it already.

    What the user has chosen in the environment stays as it is: ``JAX_NUM_CPU_DEVICES``, ``XLA_FLAGS``,
    ``JAX_COMPILATION_CACHE_DIR`` and the like.

    Returns:
      Whether it did.
    """
    if "jax" in sys.modules:
        return False
    # Imports and traces make millions of objects that stay: looking for garbage among them took a tenth of the time.
    gc.set_threshold(100_000, 20, 100)
    folder = None if cache_is_off() else os.environ.get("JAX_COMPILATION_CACHE_DIR") or cache_folder()
    # XLA takes its own tuning preferences for CPU features that are missing (openxla/xla issue 44565), and prints
    # kilobytes of errors for each program that it loads. What runs is safe: the key has the features of the CPU.
    # JAX itself sets 1, and whatever it starts inherits that.
    if folder and os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import jax

    # Nor is there anything to be found in a last look, before the process ends: it took half a second.
    atexit.register(gc.freeze)
    if folder:
        for name, value in {"jax_compilation_cache_dir": str(folder), **OPTIONS}.items():
            if name.upper() not in os.environ:
                jax.config.update(name, value)
        # A damaged entry, a full disk: the program is compiled as if there were no cache.
        warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    if "JAX_CPU_ENABLE_ASYNC_DISPATCH" not in os.environ:
        from jaxloss.engine.devices import compute_in_threads

        compute_in_threads()
    return True


def cache_is_off() -> bool:
    """Whether the user has switched the cache off."""
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false")


def cache_folder() -> Path | None:
    """The folder of the user's compiled programs, made and rid of old ones; None where none can be written."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # A relative path there is to be ignored, by the standard.
        folder = (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "jaxloss"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        oldest = time.time() - MAX_AGE_DAYS * 24 * 3600
        for entry in os.scandir(folder):
            with suppress(FileNotFoundError):  # another process was faster
                if entry.is_file() and entry.stat().st_mtime < oldest:
                    os.unlink(entry)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return folder
