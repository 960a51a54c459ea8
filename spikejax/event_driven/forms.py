"""Which layers of a network have a closed form between events, and which one."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..network import Layer
from ..neurons import LIF, Split
from ..neurons.quadratic import QIF
from ..synapses import AbstractSynapse, Delta, Exponential
from .base import AbstractClosedForm
from .leaky import LeakyIntegrator
from .quadratic import ExponentialQIF, OscillatingTheta

KNOWN = (
    "QIF with Exponential(tau_mem/2) and no bias, QIF with Delta and a bias above 1/4, LIF with "
    "Exponential(tau_mem/2) or Exponential(tau_mem) and a bias below the threshold"
)


class Solvable(NamedTuple):
    """A layer as it is solved."""

    form: AbstractClosedForm
    tau: Float[Array, ""]
    """Membrane time constant, ms: the unit of time."""


def solvable(layer: Layer, name: str, ratio: int) -> Solvable:
    """The closed form of a layer.

    **Arguments:** `name` of the layer; `ratio`: tau_mem/tau_syn of LIF neurons, 1 or 2.

    **Raises:** `ValueError`, which begins with the layer's `name`, if it has none.
    """
    neuron, synapse = layer.neuron, layer.synapse
    if layer.reversal is not None:
        raise ValueError(f"{name}: conductances have no closed form between events: leave out `reversal`")
    if isinstance(neuron, QIF) and isinstance(synapse, Delta):
        drive = jnp.broadcast_to(layer.bias, layer.shape).reshape(-1) - 0.25
        _check(
            name, "bias", layer.bias, layer.bias > 0.25, "above 1/4, so that the neurons fire by themselves"
        )
        # What is traced can only be found wrong by what becomes of it.
        return Solvable(OscillatingTheta(jnp.where(drive > 0, drive, jnp.nan)), _one(name, neuron.tau_mem))
    if isinstance(neuron, QIF) and isinstance(synapse, Exponential):
        _check(name, "bias", layer.bias, layer.bias == 0, "0 for QIF neurons with exponential synapses")
        tau = _one(name, neuron.tau_mem)
        return Solvable(ExponentialQIF(), _resolved(synapse, tau, 2, name))
    if isinstance(neuron, LIF) and isinstance(synapse, Exponential):
        if not isinstance(neuron.reset, Split):
            raise ValueError(f"{name}: the reset of LIF neurons is at the spike itself: use reset = 'split'")
        tau = _one(name, neuron.tau_mem)
        tau = _resolved(synapse, tau, ratio, name)
        spread = lambda x: jnp.broadcast_to(x, layer.shape).reshape(-1)
        bias, scale = spread(layer.bias), spread(neuron.v_th - layer.bias)
        _check(name, "bias", layer.bias, scale > 0, "below the threshold `v_th`")
        scale = jnp.where(scale > 0, scale, jnp.nan)
        reset = (spread(neuron.v_reset) - bias) / scale
        return Solvable(LeakyIntegrator(scale, bias, reset, ratio == 1), tau)
    raise ValueError(
        f"{name}: {type(neuron).__name__} neurons with {type(synapse).__name__} synapses have no closed form "
        f"between events: use {KNOWN}"
    )


def jump(synapse: AbstractSynapse, own: AbstractSynapse, tau: Float[Array, ""]) -> Float[Array, ""]:
    """By how much a spike that comes by way of a synapse makes the current, or with delta synapses the
    potential, of a neuron of time constant `tau` jump, for a weight of 1; NaN if the synapse is not that
    which the neuron is solved for, `own`."""
    if isinstance(synapse, Delta):
        return 1 / (tau * synapse.rate_unit)
    # What is known has been checked.
    there, wanted = synapse.tau_syn.reshape(()), own.tau_syn.reshape(())
    return jnp.where(jnp.abs(there - wanted) < 1e-5 * wanted, 1 / (there * synapse.rate_unit), jnp.nan)


def check_wire(synapse: AbstractSynapse, layer: Layer, name: str, source: str) -> None:
    """Raise `ValueError` unless what comes by way of a synapse is what this layer is solved for."""
    own = layer.synapse
    if type(synapse) is not type(own) or not _equal(synapse.tau_syn, own.tau_syn):
        raise ValueError(
            f"{name}: the synapses from {source} differ from its own: between events there is one synaptic "
            "time constant for each layer"
        )


def _resolved(synapse: Exponential, tau: Array, ratio: int, name: str) -> Array:
    """`tau`, or NaN where it is traced and not `ratio` times that of the synapse."""
    if synapse.kinds != 1 or synapse.tau_syn.size != 1:
        raise ValueError(f"{name}: `tau_syn` has {synapse.tau_syn.size} values: give one, for all neurons")
    syn = synapse.tau_syn.reshape(())
    if not (isinstance(syn, Tracer) or isinstance(tau, Tracer)):
        found = float(tau) / float(syn)
        if abs(found - ratio) > 1e-5 * ratio:
            raise ValueError(
                f"{name}: `tau_syn` is {float(syn):g} ms, but between events there is a closed form for a "
                f"`tau_mem` of {float(tau):g} ms and a `tau_syn` of {float(tau) / ratio:g} ms (LIF: give the "
                "simulator the `ratio` of the two, 1 or 2)"
            )
        return tau
    return jnp.where(jnp.abs(tau - ratio * syn) < 1e-5 * tau, tau, jnp.nan)


def _one(name: str, tau) -> Float[Array, ""]:
    """The membrane time constant of all neurons; NaN where it is traced and differs between them."""
    if not isinstance(tau, Tracer) and np.ptp(np.asarray(tau)) > 0:
        raise ValueError(f"{name}: `tau_mem` differs between neurons: give one value, for all of them")
    each = tau.reshape(-1)
    # Their mean: if it is trained, the derivative is shared by all, and they stay equal.
    return jnp.where(jnp.max(each) == jnp.min(each), jnp.mean(each), jnp.nan)


def _check(name: str, field: str, value, right, wanted: str) -> None:
    """Raise `ValueError` where a field is known and not right."""
    if isinstance(value, Tracer) or isinstance(right, Tracer):
        return
    right = np.asarray(right)
    if not right.all():
        worst = np.broadcast_to(np.asarray(value).reshape(-1) if np.ndim(value) else value, right.size)
        shown = float(worst[~right.reshape(-1)][0])
        raise ValueError(f"{name}: `{field}` is {shown:g}, but must be {wanted}: set it")


def _equal(a, b) -> bool:
    """Whether they are equal, as far as they are known."""
    if isinstance(a, Tracer) or isinstance(b, Tracer):
        return True
    return np.allclose(np.asarray(a), np.asarray(b), rtol=1e-6)


__all__ = ["Solvable", "check_wire", "jump", "solvable"]
