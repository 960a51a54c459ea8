"""Randomness within a trial: in its initial state, and a background current."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .component import Component, option


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
    """

    initial: float = option(
        0.0,
        doc="standard deviation of the initial membrane potentials, in units of v",
        at_least=0.0,
        kw_only=False,
    )
    current: float = option(
        0.0,
        doc="standard deviation of a background current into every neuron, in units of the current (white: "
        "of its mean over 1 ms)",
        at_least=0.0,
        kw_only=False,
    )
    tau: float = option(
        0.0,
        unit="ms",
        doc="correlation time of the background current; 0: white noise",
        at_least=0.0,
        kw_only=False,
    )

    @property
    def silent(self) -> bool:
        """Whether nothing is random."""
        return not (self.initial or self.current)

    def background(
        self,
        key: PRNGKeyArray,
        steps: int,
        shape: tuple[int, ...],
        dt: float,
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
        if not self.tau:
            return self.current * dt**-0.5 * draws
        decay = jnp.exp(-jnp.asarray(dt / self.tau, draws.dtype))
        step = lambda x, xi: (lambda new: (new, new))(decay * x + jnp.sqrt(1 - decay**2) * xi)
        draws = self.current * draws
        # The very first draw is of the stationary distribution, the others are increments.
        first = draws[0] if last is None else jnp.where(begun == 0, draws[0], step(last, draws[0])[0])
        _, later = jax.lax.scan(step, first, draws[1:])
        return jnp.concatenate([first[None], later])


__all__ = ["Noise"]
