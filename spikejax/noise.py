"""Randomness within a trial: in its initial state, and a background current."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .component import Component, fits, option

Amount = float | Float[Array, "*n"]
"""A number, or an array: one for every neuron."""


def _amount(default: float, **about: Any) -> Any:
    return option(default, at_least=0.0, kw_only=False, static=False, converter=_held, **about)


def _held(amount: Any) -> Any:
    """An amount as a number, or an array."""
    return jnp.asarray(amount) if isinstance(amount, np.ndarray | np.generic | list | tuple) else amount


def _off(amount: Any) -> bool:
    """Whether an amount is known to be 0."""
    return not isinstance(amount, Tracer) and not np.any(np.asarray(amount))


class Noise(Component):
    """What is random in a trial, drawn with the trial's key.

    The background current is independent for every neuron and the same for all gates and adjoints. With a
    correlation time it is an Ornstein-Uhlenbeck process, stationary from the first step on and sampled
    exactly at the step's begin:
    ```
    tau dx = -x dt + current sqrt(2 tau) dW,   x' = exp(-dt/tau) x + current sqrt(1 - exp(-2 dt/tau)) xi
    ```
    without, white noise, ``x = current sqrt(1 ms/dt) xi`` in every step, whose integral does not hang on dt.

    Every step of a recording has a key of its own, counted by what the network's state carries: a trial has
    the same noise however far its batch is padded, and a recording that is run in chunks the noise that it
    has in one go.

    **Arguments:** each a number, or an array that broadcasts to the shape of every layer. Under `jax.jit` all
    are traced, and have derivatives; a number of a noise that is not an argument is compiled in.
    """

    initial: Amount = _amount(0.0, doc="standard deviation of the initial membrane potentials, in units of v")
    current: Amount = _amount(
        0.0,
        doc="standard deviation of a background current into every neuron, in units of the current (white: "
        "of its mean over 1 ms)",
    )
    tau: Amount = _amount(0.0, unit="ms", doc="correlation time of the background current; 0: white noise")

    @property
    def silent(self) -> bool:
        """Whether nothing is random, as far as is known (not traced)."""
        return _off(self.initial) and _off(self.current)

    @property
    def drives(self) -> bool:
        """Whether there is a background current, as far as is known (not traced)."""
        return not _off(self.current)

    def check(self, layers: tuple[tuple[int, ...], ...]) -> None:
        """Raise `ValueError` unless every amount is one for all neurons, or one for each neuron of each of
        these layers."""
        for name in ("initial", "current", "tau"):
            own = np.shape(getattr(self, name))
            for i, shape in enumerate(layers):
                if not fits(own, shape):
                    raise ValueError(
                        f"Noise: `{name}` has shape {own}, but layer {i} has the neurons {shape}: give one "
                        "number, or one for every neuron"
                    )

    def background(
        self,
        key: PRNGKeyArray,
        steps: int,
        shape: tuple[int, ...],
        dt: float | Float[Array, ""],
        dtype=None,
        *,
        begun: int | Int[Array, ""] = 0,
        last: Float[Array, "*n"] | None = None,
    ) -> Float[Array, "time *n"]:
        """The background current of every step of `dt` ms, ``(time, *n)``.

        **Arguments:** `begun`: number of steps of the recording before these; `last`: the current in the last
        of them, from which correlated noise goes on.
        """
        keys = jax.vmap(lambda t: jax.random.fold_in(key, t))(begun + jnp.arange(steps, dtype=jnp.int32))
        draws = jax.vmap(lambda k: jax.random.normal(k, shape, dtype or jnp.result_type(float)))(keys)
        every = lambda x: jnp.broadcast_to(jnp.asarray(x, draws.dtype), shape)[None]
        if _off(self.tau):
            return every(self.current * dt**-0.5) * draws
        # Where the correlation time is 0 among others, or turns out to be, the draws are independent.
        known, correlated = isinstance(self.tau, int | float), every(self.tau > 0)
        tau = self.tau if known else jnp.where(self.tau > 0, self.tau, 1.0)
        decay = (correlated * jnp.exp(-every(dt / tau)))[0]
        draws = every(self.current) * jnp.where(correlated > 0, 1.0, every(dt**-0.5)) * draws
        step = lambda x, xi: (lambda new: (new, new))(decay * x + jnp.sqrt(1 - decay**2) * xi)
        # The very first draw is of the stationary distribution, the others are increments.
        first = draws[0] if last is None else jnp.where(begun == 0, draws[0], step(last, draws[0])[0])
        _, later = jax.lax.scan(step, first, draws[1:])
        return jnp.concatenate([first[None], later])


__all__ = ["Amount", "Noise"]
