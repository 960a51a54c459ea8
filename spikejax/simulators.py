"""What simulates a network: one object that holds all that the network itself leaves open.

A network says what is connected with what. How it is run over time, at which step, with which gate in the
place of the threshold, and how a gradient goes back through it, is the simulator's.
"""

import abc
from collections.abc import Iterable
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .adjoints import AbstractAdjoint, Costate
from .component import Component, option
from .gates import Gate
from .network import Network, NetworkState
from .noise import Noise
from .registry import Registry
from .simulate import Series, Solution, check_step, simulate
from .spike_times import SpikeTimes
from .stimulus import Stimulus

SIMULATORS: Registry["AbstractSimulator"] = Registry("simulator")
"""The simulators that a configuration can name."""


class AbstractSimulator(Component):
    """A way to run a network on one trial.

    Training, evaluation and losses ask for no more than this:

    - A call on *one* trial gives a `Solution`; they `jax.vmap` it over trials. A simulator that has no steps
      leaves the time series of the solution out, and refuses in one `ValueError` a name in `save` that it
      cannot give.
    - `time_step` is the length of its steps, in ms, and None where there are no steps: what is measured for
      each step is then left out of the metrics. `dt` belongs to `ClockDriven`.
    - `sharpen` and `hard` are the same simulator with another gate: a schedule anneals the one, evaluation
      uses the other. All that a schedule changes is an array, so that it compiles nothing anew.
    - `check` says whether a network can be run at all.
    """

    ways: ClassVar[tuple[str, str]] = ("smooth threshold", "hard threshold")
    """What a simulation and its `hard` variant are called where results of both are shown."""

    @property
    def time_step(self) -> float | None:
        """Length of a step, ms, or None."""
        return None

    @abc.abstractmethod
    def clocked(self, gate: Gate, dt: float, adjoint: AbstractAdjoint) -> "AbstractSimulator":
        """The same with the gate, the time step (ms) and the adjoint of a configuration, as far as it has
        them."""

    @abc.abstractmethod
    def __call__(
        self,
        network: Network,
        stimulus: Stimulus | SpikeTimes,
        *,
        save: Series | Iterable[Series] = (),
        state: NetworkState | None = None,
        mask: Bool[Array, " steps"] | None = None,
        key: PRNGKeyArray | None = None,
        noise: Noise | None = None,
    ) -> Solution:
        """Run `network` on one trial; the arguments are those of `spikejax.simulate`."""

    @abc.abstractmethod
    def sharpen(self, sharpness: float | Float[Array, "*layers"]) -> "AbstractSimulator":
        """The same with the gate at another sharpness."""

    @abc.abstractmethod
    def hard(self) -> "AbstractSimulator":
        """The same with the ordinary threshold in the place of the gate, for evaluation."""

    def of_layer(self, i: int) -> "AbstractSimulator":
        """The same for layer `i` of a network by itself, where layers differ."""
        del i
        return self

    @abc.abstractmethod
    def check(self, network: Network) -> None:
        """Raise `ValueError` if the network cannot be run, as far as its values are known (not traced)."""


@SIMULATORS.register("clock_driven")
class ClockDriven(AbstractSimulator):
    """Steps of equal length: `spikejax.simulate` with this gate, step and adjoint.

    **Arguments:** `gate`: the threshold gate and its release; `dt`: length of a step, ms, compiled in;
    `adjoint`: how to differentiate; `spikes`: how many spikes of a neuron have their times in the solution,
    where a loss asks for them.

    **Raises:** `ValueError` for a dt that is not above 0.

    !!! example
        >>> import jax
        >>> from spikejax import LIF, Exponential, Gate, Network
        >>> key, neuron, synapse = jax.random.key(0), LIF(), Exponential(10.0)
        >>> network = Network.dense(3, (20,), 2, neuron=neuron, synapse=synapse, key=key)
        >>> simulator = ClockDriven(Gate(), dt=0.5)
        >>> float(simulator.sharpen(2.0)(network, jax.numpy.ones((50, 3))).duration)
        25.0
    """

    gate: Gate = eqx.field(default_factory=Gate)
    dt: float = option(1.0, unit="ms", doc="time step", above=0.0, kw_only=False, in_table=False)
    adjoint: AbstractAdjoint = eqx.field(default_factory=Costate)
    spikes: int = option(
        1, doc="spikes of a neuron whose times a loss of spike times is given", at_least=1, at_most=100_000
    )

    @property
    def time_step(self):
        return self.dt

    def __call__(self, network, stimulus, *, save=(), state=None, mask=None, key=None, noise=None):
        return simulate(
            network,
            stimulus,
            gate=self.gate,
            dt=self.dt,
            adjoint=self.adjoint,
            save=save,
            spikes=self.spikes,
            state=state,
            mask=mask,
            key=key,
            noise=noise,
        )

    def clocked(self, gate, dt, adjoint):
        return ClockDriven(gate, dt, adjoint, spikes=self.spikes)

    def sharpen(self, sharpness):
        return self.clocked(self.gate.sharpen(sharpness), self.dt, self.adjoint)

    def hard(self):
        return self.clocked(self.gate.hard(), self.dt, self.adjoint)

    def of_layer(self, i):
        return self.clocked(self.gate.of_layer(i), self.dt, self.adjoint)

    def check(self, network):
        check_step(network, self.gate, self.dt)


__all__ = ["AbstractSimulator", "ClockDriven"]
