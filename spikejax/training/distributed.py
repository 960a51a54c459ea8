"""Many devices, in one process or in several.

JAX's model of several processes: all run the same program, each with its own devices, and an array can be
laid out over the devices of all. What follows from it here:

- A batch of trials is cut over a mesh of devices, the parameters are on all of them, and the compiler puts
  the sum over devices into the gradient (`make_train_step` with a `mesh`).
- What must be the same in all processes though it depends on the world outside (files, signals) is asked of
  process 0 (`call`) or of all (`Vote`). Only process 0 writes.

With one process `call`, `each` and `Vote` do nothing, and without a mesh nothing of this is run.
"""

import functools
import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

T = TypeVar("T")
AXIS = "devices"
"""The one axis of every mesh: trials, or networks, are cut along it."""
START_TIMEOUT = 300
"""Seconds that a process waits for the others to start."""
VOTE_INTERVAL = 1.0
"""Seconds between two votes."""


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Make this process one of several, before anything is computed; without arguments Slurm, Open MPI or a
    TPU pod says which.

    **Arguments:** `coordinator`: ``HOST:PORT`` of process 0, reached by all; `processes`: their number;
    `process`: which one this is.

    **Raises:** `ValueError` in one line if the others cannot be found.
    """
    if coordinator is not None and processes is not None and process is not None:
        if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
            raise ValueError(f"--coordinator is HOST:PORT of process 0, but it is {coordinator!r}")
        if not 0 <= process < processes:
            raise ValueError(
                f"--process is {process}, but the {processes} processes are numbered "
                f"from 0 to {processes - 1}"
            )
    elif (coordinator, processes, process) != (None, None, None):
        raise ValueError("--coordinator, --processes and --process go together")
    try:
        jax.distributed.initialize(coordinator, processes, process, initialization_timeout=START_TIMEOUT)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        options = "--coordinator HOST:PORT --processes N --process I"
        hint = "" if coordinator else f"; where no cluster says it, start each process with {options}"
        raise ValueError(f"the other processes were not found: {reason}{hint}") from error


def leads() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return jax.process_index() == 0


def call(function: Callable[[], T]) -> T:
    """``function()``, run by process 0 alone: its result, or its error, in all processes.

    Collective: every process must call this.
    """
    if jax.process_count() == 1:
        return function()
    from jax.experimental import multihost_utils

    text = _outcome(function) if leads() else b""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    return _value(multihost_utils.broadcast_one_to_all(_padded(text, length))[:length].tobytes())


def each(functions: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all functions, in all processes, each of which runs some of them.

    Collective: every process must call this.
    """
    count = jax.process_count()
    if count == 1:
        return [function() for function in functions]
    from jax.experimental import multihost_utils

    text = _outcome(lambda: [function() for function in functions[jax.process_index() :: count]])
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    texts = multihost_utils.process_allgather(_padded(text, max(lengths)))
    parts = [_value(row[:length].tobytes()) for row, length in zip(texts, lengths, strict=True)]
    return [parts[i % count][i // count] for i in range(len(functions))]


def _outcome(function: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((jax.device_get(function()), None))
    except Exception as error:
        return pickle.dumps((None, error))


def _value(outcome: bytes) -> Any:
    value, error = pickle.loads(outcome)
    if error is not None:
        raise error
    return value


def _padded(text: bytes, length: int) -> np.ndarray:
    """Bytes as an array of one of few lengths, for each of which a collective is compiled."""
    padded = np.zeros(1 << max(10, (int(length) - 1).bit_length()), np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    return padded


class Vote:
    """Whether any process wants to stop, agreed on by all at the same step, about once a second: it takes
    milliseconds."""

    def __init__(self):
        self._next = 0
        self._last: tuple[int, float] | None = None  # step and time of the last vote

    def __call__(self, step: int, wanted: bool) -> bool:
        """Whether to stop after `step`, if this process does or does not want to.

        Collective: every process must call this, with the same steps.
        """
        if jax.process_count() == 1:
            return wanted
        if step < self._next:
            return False
        from jax.experimental import multihost_utils

        now, pause = time.monotonic(), 1
        if self._last is not None:
            pause = int(
                np.clip((step - self._last[0]) * VOTE_INTERVAL / max(now - self._last[1], 1e-6), 1, 1000)
            )
        self._last = step, now
        # The pause of process 0 is that of all.
        votes = multihost_utils.process_allgather(np.array([wanted, pause], np.int32))
        self._next = step + int(votes[0, 1])
        return bool(votes[:, 0].any())


def mesh(devices: int | None = None) -> Mesh | None:
    """The mesh to train on: of the devices of all processes if there are several, else of the first `devices`
    (0: all) of this one.

    None if that is one device, for which no mesh is needed.

    **Raises:** `ValueError` if there are not so many.
    """
    if jax.process_count() > 1:
        if devices:
            raise ValueError("--devices is of one process: several processes train on all their devices")
        return Mesh(np.array(jax.devices()), (AXIS,))
    there = jax.devices()
    if devices is not None and devices > len(there):
        raise ValueError(f"--devices is {devices}, but there are {len(there)}")
    chosen = there[: 1 if devices is None else devices or len(there)]
    return Mesh(np.array(chosen), (AXIS,)) if len(chosen) > 1 else None


def share(tree: PyTree, mesh: Mesh) -> PyTree:
    """The arrays of `tree`, whole and equal in every process, cut along their first axis over the devices of
    the mesh."""
    return _place(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """The arrays of `tree`, equal in every process, on all devices of the mesh."""
    return _place(tree, NamedSharding(mesh, PartitionSpec()))


def _place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    def place(x):
        if not eqx.is_array(x) or (x.committed and x.sharding.is_equivalent_to(sharding, x.ndim)):
            return x
        if sharding.is_fully_addressable:
            return jax.device_put(x, sharding)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, tree)


def local(tree: PyTree) -> PyTree:
    """Replicated arrays as ordinary ones, on the first device of this process; others as they are."""

    def one(x):
        return x.addressable_data(0) if eqx.is_array(x) and len(x.sharding.device_set) > 1 else x

    return jax.tree.map(one, tree)


def gather(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Arrays that are cut over a mesh as ordinary ones of this process, whole.

    Collective: every process must call this.
    """
    return tree if mesh is None else local(_whole(mesh)(tree))


@functools.cache
def _whole(mesh: Mesh):
    return eqx.filter_jit(lambda tree: eqx.filter_shard(tree, NamedSharding(mesh, PartitionSpec())))


__all__ = [
    "AXIS",
    "Vote",
    "call",
    "each",
    "gather",
    "join",
    "leads",
    "local",
    "mesh",
    "replicate",
    "share",
]
