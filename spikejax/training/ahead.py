"""Batches that are made in advance, while the device is at work on another one."""

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """Makes the next of some things in a thread, while the present one is in use.

    `take` hands over the one that was begun before, if it is the one that is wanted, and else makes it there
    and then: what comes out never depends on what was begun.
    """

    def __init__(self):
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[Hashable, Future] | None = None
        self.waited = 0.0
        """Seconds that `take` has taken so far."""

    def take(self, name: Hashable, make: Callable[[], Made]) -> Made:
        """The thing called `name`, which `make` makes.

        **Raises:** whatever `make` raises, in this thread.
        """
        begun, self._next = self._next, None
        since = time.perf_counter()
        try:
            if begun is None:
                return make()
            if begun[0] == name:
                return begun[1].result()
            # No two are made at once: they may read from the same file.
            begun[1].exception()
            return make()
        finally:
            self.waited += time.perf_counter() - since

    def begin(self, name: Hashable, make: Callable[[], Made]) -> None:
        """Begin to make the thing called `name`, which `take` is expected to be asked for next."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        # What JAX is told by a `with` holds for one thread.
        wide = jnp.result_type(float) == jnp.float64

        def made() -> Made:
            with jax.enable_x64(wide):
                return jax.block_until_ready(make())

        self._next = name, self._pool.submit(made)


__all__ = ["Ahead"]
