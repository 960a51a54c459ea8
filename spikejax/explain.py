"""In words, how a simulation is run."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .adjoints import AbstractAdjoint, Costate
from .adjoints.plan import Plan
from .gates import Gate
from .network import Network
from .parameters import is_floating
from .simulate import simulate
from .stimulus import Stimulus


class _Asked(AbstractAdjoint):
    """An adjoint that says what it plans."""

    inner: AbstractAdjoint
    say: Callable[[Plan], None]

    def layer(self, cell, recurrent, drive, carry, mask, save):
        return self.inner.layer(cell, recurrent, drive, carry, mask, save)

    def over_time(self, advance, carry, xs):
        self.say(self.inner.plan(carry, xs, getattr(advance, "operations", None)))
        return advance(carry, xs)


def explain_plan(
    network: Network,
    stimulus: Stimulus,
    *,
    gate: Gate,
    dt: float | ArrayLike,
    adjoint: AbstractAdjoint | None = None,
    batch: int = 1,
) -> str:
    """In words, in which chunks `simulate` runs a trial and what it keeps of them, and why
    (`spikejax.adjoints.plan`). Nothing is computed.

    **Arguments:** as those of `simulate`; `stimulus`: one trial; `batch`: how many of them run at once, by
    `jax.vmap`.
    """
    plans: list[Plan] = []
    asked = _Asked(Costate() if adjoint is None else adjoint, plans.append)

    def run(which):
        # Every trial depends on its number, so that all of them are a batch.
        x = jax.tree.map(lambda a: a + which.astype(a.dtype) if is_floating(a) else a, stimulus)
        return simulate(network, x, gate=gate, dt=dt, adjoint=asked).readout

    jax.eval_shape(jax.vmap(run), jnp.zeros(batch))
    return str(plans[0])


__all__ = ["explain_plan"]
