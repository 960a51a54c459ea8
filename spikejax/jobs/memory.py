"""Whether a training can fit into memory, from shapes alone, and what to say when it did not.

What is counted is what is there at least: an estimate that refuses nothing that could run. Without it a host
would begin to swap long before it refuses an allocation.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree

from ..adjoints import Checkpointed
from ..configuration import Config, Run, build_loss
from ..configuration.assemble_network import build_network
from ..configuration.assemble_parts import build_task
from ..errors import ConfigError
from ..metrics import leaf_name
from ..parameters import trainable

COPIES = 4
"""Copies of the trained parameters: themselves, the best so far, the gradient, and one moment of the
optimiser at least."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files in which Linux says how much memory a container has."""


def memory_of_device() -> int | None:
    """Bytes that the first device has, on a CPU those of this machine or container; None where they are not
    known."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats:
        return stats.get("bytes_limit")
    found = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in map(Path, LIMITS):
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    found = [one for one in found if one > 0]
    return min(found) if found else None


def check_network_memory(config: Config, members: int = 1) -> None:
    """Raise `ConfigError` if the arrays of the network alone are more than there is, before any is made.

    **Arguments:** `members`: networks that are trained side by side.
    """

    def parts(channels: int | tuple[int, ...], outputs: int, key: PRNGKeyArray):
        network = build_network(config, channels, outputs, key)
        return network, eqx.partition(network, trainable(network, config.training.trainable))[0]

    try:
        task = build_task(config)
        outputs = build_loss(config).outputs(task)
        shapes, trained = eqx.filter_eval_shape(parts, task.channels, outputs, jax.random.key(0))
    except ValueError:
        return  # which building it reports
    sizes, copied = _sizes(shapes), sum(_sizes(trained).values())
    largest, whole = max(sizes, key=sizes.__getitem__), sum(sizes.values())
    beside = f", and {members} networks side by side" if members > 1 else ""
    _check(
        members * (whole + (COPIES - 1) * copied),
        f"the network has {shown(whole)} of parameters, most in {largest}, of which {shown(copied)} are "
        f"trained and there {COPIES} times at least{beside}",
        "make network.layers smaller (size), or leave out the recurrent connection",
    )


def _sizes(tree: PyTree) -> dict[str, int]:
    return {leaf_name(path): _bytes(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def check_batch_memory(config: Config, run: Run) -> None:
    """Raise `ConfigError` if the trials of an update and the currents into the neurons alone are more than
    there is."""
    devices = jax.device_count() if jax.default_backend() != "cpu" else 1
    for part, stage in zip(config.parts, run.plan.stages, strict=True):
        if stage.tasks[0].trials is not None:
            continue  # no more than there are, and they are in memory
        try:
            trials = jax.eval_shape(lambda: stage.tasks[0].batch(jax.random.key(0), 0, stage.batch))
        except Exception:  # a user's task that cannot be traced
            continue
        if not hasattr(trials.stimulus, "shape"):
            continue  # a user's own kind of stimulus, of no known size
        numbers = jax.tree.leaves(trials.stimulus)
        # Of a list of events: where they are, and their values.
        whole = sum(_bytes(x) for x in numbers)
        steps, item = trials.stimulus.shape[1], numbers[-1].dtype.itemsize
        neurons = max(math.prod(layer.shape) for layer in run.network.layers)
        currents = stage.batch // part.training.accumulate * steps * neurons * item
        if isinstance(getattr(stage.simulators[0], "adjoint", None), Checkpointed):
            currents = 0  # only those of a stretch of time
        _check(
            (whole + currents) // devices,
            f"training.batch is {stage.batch}: its stimuli are {shown(whole)} and the currents into the "
            f"neurons {shown(currents)}",
            "make training.batch smaller"
            + (", or training.accumulate larger" if currents > whole else "")
            + ", or the trials shorter",
        )


def _bytes(leaf: Any) -> int:
    if not hasattr(leaf, "shape") or not hasattr(leaf.dtype, "itemsize"):
        return 0
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _check(needed: int, what: str, remedy: str) -> None:
    there = memory_of_device()
    if there is not None and needed > there:
        raise ConfigError(f"{what}, but there are {shown(there)} of memory: {remedy}")


def shown(size: int) -> str:
    """A number of bytes in words: ``3.2 GiB``."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(max(size, 1))) // 10, len(units) - 1)
    return f"{size / 1024**power:.4g} {units[power]}"


def out_of_memory(error: BaseException) -> str | None:
    """The line for an error that says that memory ran out, None for another one."""
    text = str(error)
    words = ("RESOURCE_EXHAUSTED", "out of memory", "Unable to allocate")
    if not isinstance(error, MemoryError) and not any(word.lower() in text.lower() for word in words):
        return None
    return (
        "out of memory"
        + "".join(f": {x} were asked for at once" for x in _asked(text))
        + (
            "; make training.batch, the size of network.layers or the trials smaller, or training.accumulate "
            "larger, or adjoint.kind checkpointed; what was written stays"
        )
    )


def _asked(text: str) -> Iterator[str]:
    found = re.search(r"(?:allocat\w+|shape\D+)\s+(\d+) bytes|allocate ([\d.]+ [KMGTPE]iB)", text)
    if found is not None:
        yield found[2] or shown(int(found[1]))


__all__ = ["check_batch_memory", "check_network_memory", "memory_of_device", "out_of_memory", "shown"]
