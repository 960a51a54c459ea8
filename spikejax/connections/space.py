"""What connections over space have in common: numbers for each axis, windows, padding."""

import math
from collections.abc import Sequence
from typing import Any

from .base import ActivationShape


def check_space(what: str, in_shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of the synaptic time constants (none of a stimulus), and ``(channels, *space)``.

    **Raises:** `ValueError` that begins with `what` is made, if there is no space.
    """
    kinds = int(isinstance(in_shape, ActivationShape))
    lead, shape = tuple(in_shape[:kinds]), tuple(in_shape[kinds:])
    if len(shape) < 2:
        raise ValueError(
            f"{what} needs an input of (channels, *space), such as (2, 34, 34), but this one is {shape}: "
            "give the stimulus, or the layer below, such a shape"
        )
    return lead, shape


def numbers(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """A whole number for each of `rank` axes of space, from one for all or a list of them.

    **Raises:** `ValueError` for a list of another length.
    """
    if not isinstance(value, Sequence):
        return (value,) * rank
    if len(value) != rank:
        raise ValueError(f"`{name}` is {list(value)}, but the input has {rank} axes of space: give one each")
    return tuple(value)


def padded(
    padding: Any,
    space: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each axis of space, of "same" (an output of the input's extent over the stride,
    rounded up), "valid" (none), or whole numbers of each side.

    **Raises:** `ValueError` for anything else.
    """
    if padding == "valid":
        return ((0, 0),) * len(space)
    if padding == "same":
        found = []
        for n, k, s, d in zip(space, kernel, stride, dilation, strict=True):
            total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
            found.append((total // 2, total - total // 2))
        return tuple(found)
    if isinstance(padding, str):
        raise ValueError(f"`padding` is {padding!r}, but must be same, valid or whole numbers")
    sides = numbers("padding", padding, len(space))
    if any(isinstance(x, bool) or not isinstance(x, int) or x < 0 for x in sides):
        raise ValueError(f"`padding` is {padding}, but must be same, valid or whole numbers from 0 on")
    return tuple((x, x) for x in sides)


__all__ = ["check_space", "numbers", "padded"]
