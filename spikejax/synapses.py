"""Synapses: the released charge, filtered."""

import abc
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .component import Component, option, parameter
from .elementary import alpha_step, relative_decay
from .parameters import as_parameter, resolve
from .registry import Registry

if TYPE_CHECKING:  # no field of the constructor: a class may have a property in its place
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


def _one_or_more(tau):
    return jax.tree.map(jnp.atleast_1d, as_parameter(tau))


def _times(default: float, doc: str):
    return parameter((default,), unit="ms", doc=doc, positive=True, converter=_one_or_more, kw_only=False)


def _rate_unit():
    doc = "firing rate at which the activation is 1"
    return option(0.02, unit="spikes per ms", doc=doc, above=0.0, kw_only=False)


class AbstractSynapse(Component):
    """A linear filter of the released charge, one or several (`kinds`) side by side: its `step` gives the
    mean over the step of what a charge at its start does, which is also what a rate constant in the step has
    done by its end. (`SampledAlpha` gives what it does at the start of each step.)"""

    tau_syn: AbstractVar[Float[Array, "kinds *n"]]
    """Decay times, ms; a step must resolve them."""
    rate_unit: AbstractVar[float]
    """Spikes per ms at which the activation is 1."""

    @property
    def kinds(self) -> int:
        """Number of time constants."""
        return resolve(self.tau_syn).shape[0]

    def init(self, shape: tuple[int, ...], dtype=None) -> Float[Array, "kinds *n"]:
        """Activation at the start of a trial: 0."""
        return jnp.zeros((self.kinds, *shape), dtype or jnp.result_type(float))

    def init_hidden(self, shape: tuple[int, ...], dtype=None) -> Any:
        """Variables beside the activation at the start of a trial; None if there are none."""
        del shape, dtype

    @abc.abstractmethod
    def step(
        self,
        activation: Float[Array, "kinds *n"],
        release: Float[Array, "*n"],
        dt: float | Float[Array, ""],
        hidden: Any = None,
    ) -> tuple[Float[Array, "kinds *n"], Any]:
        """Activation and hidden variables after a step of `dt` ms in which the charge `release` arrived."""

    def over_time(
        self,
        release: Float[Array, "time *n"],
        dt: float | Float[Array, ""],
        state: tuple[Float[Array, "kinds *n"], Any] | None = None,
        mask: Bool[Array, " time"] | None = None,
    ) -> tuple[Float[Array, "time kinds *n"], tuple[Float[Array, "kinds *n"], Any]]:
        """Activation in every step of a series of charges, and activation and hidden variables after it.

        **Arguments:** `state`: these before it (default: those of a trial that begins); `mask`: False where
        the trial is over and nothing moves.
        """
        shape, dtype = release.shape[1:], release.dtype

        def step(state, now):
            charge, m = now
            new = self.step(state[0], charge, dt, state[1])
            after = new if m is None else jax.tree.map(lambda a, b: jnp.where(m, a, b), new, state)
            return after, after[0]

        start = (self.init(shape, dtype), self.init_hidden(shape, dtype)) if state is None else state
        after, series = jax.lax.scan(step, start, (release, mask))
        return series, after


SYNAPSES: Registry[AbstractSynapse] = Registry("synapse")


@SYNAPSES.register("exponential")
class Exponential(AbstractSynapse):
    """Exponential synapses with one or several time constants side by side, ``tau_k ds_k/dt = -s_k +
    rho(t)/rate_unit``.

    rho is the rate of release. The mean over the step, with the charge q at its start, is
    ```
    s_k' = exp(-dt/tau_k) s_k + (1 - exp(-dt/tau_k)) q/(dt rate_unit)
    ```
    A spike delivers the area ``1/rate_unit`` at any dt (``q/tau_k`` instead would deliver 27 % too much at dt
    = tau/2). An activation of 1 is a steady rate of `rate_unit`.

    **Arguments:** `tau_syn`: time constants, shape ``(kinds,)`` or ``(kinds, *n)`` (ms); a float makes one
    kind; `rate_unit`: spikes per ms at which the activation is 1; with 1 the activation is in 1/ms, as in the
    paper.

    **Reference:** Huh & Sejnowski 2018, eq. 3; the increment is derived here.
    """

    tau_syn: Float[Array, "kinds *n"] = _times(10.0, "decay times side by side")
    rate_unit: float = _rate_unit()

    def step(self, activation, release, dt, hidden=None):
        decay = jnp.exp(-dt / _columns(self.tau_syn, activation))
        return decay * activation + (1 - decay) / (dt * self.rate_unit) * release[None], hidden


@SYNAPSES.register("double_exponential")
class DoubleExponential(AbstractSynapse):
    """Synapses with a rise time, one or several side by side: two exponential filters in a row.

    ```
    tau_rise dx/dt = -x + rho(t)/rate_unit,   tau_syn ds/dt = -s + x
    ```
    A spike gives ``s(t) = (exp(-t/tau_syn) - exp(-t/tau_rise))/((tau_syn - tau_rise) rate_unit)``, of area
    ``1/rate_unit``; for equal times ``t exp(-t/tau)/(tau^2 rate_unit)``, the alpha function (`Alpha` has one
    time for both, which stays one in training). The activation is its mean over the step.

    **Arguments:** `tau_rise`, `tau_syn`: shape ``(kinds,)`` or ``(kinds, *n)`` (ms); a float makes one kind;
    `rate_unit` as in `Exponential`.
    """

    tau_rise: Float[Array, "kinds *n"] = _times(2.0, "rise times, one for all or one for each tau_syn")
    tau_syn: Float[Array, "kinds *n"] = _times(10.0, "decay times side by side")
    rate_unit: float = _rate_unit()

    def __check_init__(self):
        rise, kinds = resolve(self.tau_rise).shape[0], self.kinds
        if rise not in (1, kinds):
            raise ValueError(f"`tau_rise` has {rise} time constants, `tau_syn` {kinds}: give one, or as many")

    def init_hidden(self, shape, dtype=None):
        return self.init(shape, dtype)

    def step(self, activation, release, dt, hidden=None):
        rise, fall = (dt / _columns(tau, activation) for tau in (self.tau_rise, self.tau_syn))
        target = release[None] / (dt * self.rate_unit)
        # What is left of x's distance to its target passes the second filter: fall (exp(-rise) -
        # exp(-fall))/(fall - rise).
        passed = fall * jnp.exp(-rise) * relative_decay(fall - rise)
        return _two_filters(activation, hidden, target, (jnp.exp(-rise), jnp.exp(-fall), passed))


@SYNAPSES.register("alpha")
class Alpha(AbstractSynapse):
    """Alpha synapses, one or several time constants side by side: two equal exponential filters in a row.

    ```
    tau_syn dx/dt = -x + rho(t)/rate_unit,   tau_syn ds/dt = -s + x
    ```
    A spike gives ``s(t) = t exp(-t/tau_syn)/(tau_syn^2 rate_unit)``, of area ``1/rate_unit``, with its peak
    at tau_syn. The activation is its mean over the step, exactly.

    **Arguments:** `tau_syn`: shape ``(kinds,)`` or ``(kinds, *n)`` (ms); a float makes one kind; `rate_unit`
    as in `Exponential`.
    """

    tau_syn: Float[Array, "kinds *n"] = _times(10.0, "times of the peak side by side")
    rate_unit: float = _rate_unit()

    def init_hidden(self, shape, dtype=None):
        return self.init(shape, dtype)

    def step(self, activation, release, dt, hidden=None):
        h = dt / _columns(self.tau_syn, activation)
        decay, target = jnp.exp(-h), release[None] / (dt * self.rate_unit)
        return _two_filters(activation, hidden, target, (decay, decay, h * decay))


@SYNAPSES.register("sampled_alpha")
class SampledAlpha(AbstractSynapse):
    """Alpha synapses sampled at the grid of steps, with a peak of 1 for every spike, as in SLAYER.

    ```
    s(t) = sum_f q_f eps(t - t_f),   eps(t) = (t/tau_syn) exp(1 - t/tau_syn),   t = k dt
    ```
    The charge of a step begins to act in the next one, as ``eps(0) = 0``. The sum over all spikes is a
    recursion of two variables, so that no past is kept and no kernel is cut off.

    **Arguments:** `tau_syn`: shape ``(kinds,)`` or ``(kinds, *n)`` (ms); a float makes one kind.

    **Reference:** Shrestha & Orchard, NeurIPS 2018.
    """

    tau_syn: Float[Array, "kinds *n"] = _times(10.0, "times of the peak side by side")

    @property
    def rate_unit(self) -> float:
        """``1/(e tau_syn)``, of the longest of several: the kernel has the area ``e tau_syn``."""
        return 1 / (math.e * float(jnp.max(resolve(self.tau_syn))))

    def init_hidden(self, shape, dtype=None):
        return self.init(shape, dtype)

    def step(self, activation, release, dt, hidden=None):
        risen, decayed = alpha_step(activation, hidden, dt / _columns(self.tau_syn, activation))
        return risen, decayed + release[None]


@SYNAPSES.register("delta")
class Delta(AbstractSynapse):
    """Delta synapses, which filter nothing: a spike is all over when it arrives, ``s(t) = rho(t)/rate_unit``.

    The activation, its mean over the step, is ``q/(dt rate_unit)``, q being the charge that arrived in the
    step. A spike moves the membrane potential of a neuron of time constant tau by ``weight/(tau rate_unit)``.

    A spike on the grid (resets *subtract* and *zero*) arrives as a whole in its own step: with a `rate_unit`
    of ``1/dt`` activations are the 0 and 1 of networks in discrete time. One within a step, or a charge that
    is released in the course of it, arrives as everywhere in this step and the next (`spikejax.cell`): a
    pulse as long as a step, that moves with the time of the spike.

    **Arguments:** `rate_unit` as in `Exponential`.
    """

    rate_unit: float = _rate_unit()

    @property
    def tau_syn(self) -> Float[Array, " kinds"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """There is nothing that decays, and that a step has to resolve."""
        return jnp.full(1, jnp.inf)

    def step(self, activation, release, dt, hidden=None):
        del activation
        return release[None] / (dt * self.rate_unit), hidden


def _two_filters(activation, hidden, target, passes):
    """Two exponential filters in a row over a step in which their input is constant, `target`: `passes` are
    what is left of the first one's and of the second one's distance, and what goes from one to the other."""
    first, second, passed = passes
    new = second * activation + (1 - second - passed) * target + passed * hidden
    return new, target + (hidden - target) * first


def _columns(tau, like):
    """`tau` with as many axes as `like`."""
    return tau.reshape(tau.shape + (1,) * (like.ndim - tau.ndim))


__all__ = [
    "SYNAPSES",
    "AbstractSynapse",
    "Alpha",
    "Delta",
    "DoubleExponential",
    "Exponential",
    "SampledAlpha",
]
