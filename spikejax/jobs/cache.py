"""Compiled programs, kept from one start of the command line to the next."""

import hashlib
import os
import platform
from pathlib import Path

import jax

OFF = "SPIKEJAX_NO_COMPILE_CACHE"
"""Environment variable that turns the cache off."""
FOLDER = "jax_compilation_cache_dir"
"""JAX's option."""
SHORTEST = 0.0
"""Seconds that a program must have taken to compile to be kept. All are: the many small ones of a start take
a second together, and less than a megabyte."""


def use_compile_cache(wanted: bool = True) -> Path | None:
    """Have JAX keep compiled programs in the user's cache folder; to be called before anything is compiled.

    A folder that was set otherwise (``JAX_COMPILATION_CACHE_DIR``) stays. Where the folder cannot be written
    there is no cache, and no error. It can be deleted at any time.

    **Arguments:** `wanted`: False switches every such cache off, as ``SPIKEJAX_NO_COMPILE_CACHE=1`` does.

    **Returns:** the folder, None without one of ours.
    """
    if not wanted or os.environ.get(OFF, "0") not in ("", "0"):
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    if getattr(jax.config, FOLDER) is not None:
        return None
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update(FOLDER, str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    return folder


def cache_folder() -> Path:
    """``spikejax/jax/MACHINE`` in the user's cache folder.

    **Raises:** `RuntimeError` if there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spikejax" / "jax" / _machine()


def _machine() -> str:
    """A name for what the processor can run: a home folder may be shared by machines that cannot run each
    other's programs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


__all__ = ["cache_folder", "use_compile_cache"]
