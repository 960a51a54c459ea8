"""Compile fast what runs once: a check compiles a dozen programs that run for milliseconds."""

import functools
from collections.abc import Callable
from typing import Any

import jax

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    # The emitters of fused loops take most of the time that is left.
    "xla_cpu_use_fusion_emitters": False,
}


@functools.cache
def _options() -> dict[str, Any] | None:
    """What makes compiling quick, as far as this version of XLA knows it."""
    found = {}
    for name, value in QUICK.items():
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value})(1.0)
        except Exception:
            continue
        found[name] = value
    return found or None


def quick_jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit`, of hardly any optimisation."""
    return jax.jit(function, compiler_options=_options())


__all__ = ["quick_jit"]
