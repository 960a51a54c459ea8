"""The one way to run a network over time."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .activity import warn_of_trial
from .adjoints import AbstractAdjoint, Costate
from .adjoints.base import Advance
from .adjoints.chunks import PRODUCT
from .cell import Cell
from .gates import Gate
from .network import Layer, Network
from .noise import Noise
from .parameters import cast, precision, resolve, vary_together
from .spike_times import SpikeTimes, spikes_of
from .state import Background, NetworkState, Record
from .stimulus import Events, Stimulus, as_stimulus

SMALLEST = 1e-30
"""A floating type must hold numbers down to this: a gradient divides by fourth powers of a part of a gate's
width."""

Series = Literal["activation", "release", "v", "current", "spikes"]


class Solution(NamedTuple):
    """Result of a simulation of one trial. Activations and readouts are means over their step, v is at its
    end."""

    readout: Float[Array, "time out"]
    """The readout over time."""
    counts: tuple[Float[Array, "..."], ...]
    """Per layer, the charge released by each neuron in the trial, ``(*n)``: its spike count, smooth if the
    release is."""
    layers: tuple[Record, ...]
    """Per layer, the saved time series."""
    state: NetworkState
    """State after the last step; pass it back as ``state=`` to go on."""
    duration: Float[Array, ""]
    """Length of the trial, ms, without the steps that a mask leaves out."""
    spikes: tuple[Float[Array, "spikes *n"], ...] = ()
    """Per layer, the times of the first spikes of each neuron, ms, inf where there is none; empty where a
    simulation in steps was not asked for them."""


def simulate(
    network: Network,
    stimulus: Stimulus | SpikeTimes | ArrayLike | Sequence,
    *,
    gate: Gate,
    dt: float | ArrayLike,
    adjoint: AbstractAdjoint | None = None,
    save: Series | Iterable[Series] = (),
    spikes: int = 1,
    state: NetworkState | None = None,
    mask: Bool[Array, " steps"] | None = None,
    key: PRNGKeyArray | None = None,
    noise: Noise | None = None,
) -> Solution:
    """Run `network` on one trial; `jax.vmap` over trials, `jax.grad` through it.

    A step of dt: ``I = U x(t) + W s(t - dt) + b``; the neuron moves and releases q through the gate; the
    synapses filter what arrives of it in this step, and the rest in the next (`spikejax.cell`); the next
    layer and the readout see the new activation. Layers run one after the other over the whole trial, so that
    every feed-forward product is one matrix product.

    Activation, stimulus and readout are means over a step. A feed-forward connection has no delay, a
    recurrent one a transmission delay of exactly dt, unless they have delays of their own
    (`spikejax.connections.Delayed`). What is of which order in dt:

    - The charge and the time of a spike are exact for the current of the step, which is constant. The
      activation is its mean over the step: to ``(dt/tau_syn)^2/8`` of what a spike does after its own step,
      and to ``dt/(8 tau_syn)`` within it; the area under it is exact.
    - The current of a step is the mean over it. In the mean over the phase of a spike within its step, values
      and gradients have an error of second order; a single spike's time of second order too, and its
      derivative of first order, ``dt I'/(I - v_th)``. Where a spike arrives in the step of a crossing the
      current of exponential synapses jumps, and the derivative is off whatever dt is; such steps are a share
      of order dt, so that the root mean square over spikes falls like the root of dt, with rise times like
      dt.
    - A loss of a signal that jumps at spikes (a squared error of the activation of exponential synapses
      itself) has an error of order 1 in the gradient of each spike, which only the mean over phases removes.
      Give it a signal that does not jump: a leaky readout, or synapses with a rise time.

    **Arguments:**

    - `stimulus`: ``(time, *channels)``, one row a step, an array or nested lists; or a list of `Events`,
      or of `SpikeTimes`, which become events (`SpikeTimes.in_steps`).
    - `gate`: the threshold gate and its release mode; not a part of the network, so one word changes the
      gradient method.
    - `dt`: ms. A number is compiled in; one that is traced is not, and has a derivative: at a fixed number of
      steps, each with its row of the stimulus.
    - `adjoint`: how to differentiate (default `Costate()`).
    - `save`: time series to return per layer, of ``"activation"``, ``"release"``, ``"v"``, ``"current"``;
      with ``"spikes"`` the times of the first `spikes` spikes of every neuron (`spikejax.spike_times.
      spikes_of`), with their derivative.
    - `state`: where to start; default: ``network.init()``.
    - `key`, `noise`: what is random (`Noise`): the background current of every layer, and, without a `state`,
      the initial voltages, ``v_init`` plus normal noise. With a key alone the initial voltages are uniform
      between reset and threshold. The state counts the steps of the background current: with the same key
      the next chunk of a recording has the noise that comes next, as in one go.
    - `mask`: False at the steps after a shorter trial's end: the network stands still there.

    The network decides on the precision: everything is computed in its floating type, the widest of its
    arrays', and everything else that is given is rounded to it. It may be float32, float64 or bfloat16.

    **Returns:** a `Solution`.

    **Raises:** `ValueError` for a network of float16, a stimulus that does not fit the network, a dt above
    the shortest time constant of the synapses or of leaky membranes, an active zone that reaches below the
    reset, an unknown series.

    **Warns:** `spikejax.ActivityWarning`, where it is not traced, of a layer that is silent throughout or
    runs away; of many trials `spikejax.training.make_evaluate` and `make_train_step` do.

    **Reference:** Huh & Sejnowski 2018, eqs. 1-5.

    !!! example
        >>> from spikejax import LIF, Exponential, Gate, Network, simulate
        >>> key, synapse = jax.random.key(0), Exponential(10.0)
        >>> network = Network.dense(3, (20,), 2, neuron=LIF(), synapse=synapse, key=key)
        >>> simulate(network, jax.numpy.ones((50, 3)), gate=Gate(), dt=1.0).readout.shape
        (50, 2)
    """
    series, begins = _check_save(save), state is None
    # Spike times are made of these two.
    wanted = series - {"spikes"} | ({"release", "late"} if "spikes" in series else set())
    adjoint = Costate() if adjoint is None else adjoint
    network, stimulus, gate, dt, adjoint, state, mask, key, noise = _prepared(
        network, stimulus, gate, dt, adjoint, state, mask, key, noise
    )
    cells = tuple(
        Cell(layer.neuron, layer.synapse, gate.of_layer(i), dt, layer.reversal)
        for i, layer in enumerate(network.layers)
    )
    # The loop over time has no use for what feed-forward connections remember: it stands beside the carry.
    carries = tuple(
        cell.start(own._replace(inputs=None)) for cell, own in zip(cells, state.layers, strict=True)
    )
    remembered = (*(own.inputs for own in state.layers), *state.skips)
    background, reached = _background(network, noise, key, state, (stimulus.shape[0], mask), dt)
    # Events cannot be cut in time, so that they become currents here. An array is kept as it is: the current
    # of all neurons, held over the whole trial, would be what a checkpointed run is to spare.
    given, into = stimulus, {}
    if isinstance(stimulus, Events):
        if begins:
            # A connection that remembers nothing yet leaves the events a list.
            remembered = tuple(
                None if wire[0] < 0 else own for wire, own in zip(network.wires, remembered, strict=True)
            )
        into, remembered = _fed(network, -1, stimulus, {}, remembered, mask)
        given = None

    def advance(carry, xs):
        carries, remembered, tail = carry
        x, into, m, currents = xs
        if x is not None:
            into, remembered = _fed(network, -1, x, {}, remembered, m)
            into = {i: checkpoint_name(current, PRODUCT) for i, current in into.items()}
        ends, records, activation = [], [], None
        for i, (layer, cell, own, current) in enumerate(
            zip(network.layers, cells, carries, currents, strict=True)
        ):
            end, record = adjoint.layer(
                cell, layer.recurrent, _biased(layer, into[i], current), own, m, wanted | {"activation"}
            )
            activation = record.activation
            assert activation is not None, "asked for"
            into, remembered = _fed(network, i, activation, into, remembered, m)
            ends.append(end)
            records.append(record if "activation" in wanted else record._replace(activation=None))
        assert activation is not None, "there is a layer"
        tail, out = network.readout(tail, activation, m, dt)
        return (tuple(ends), remembered, tail), (out, tuple(records))

    operations = lambda: max(cell.operations(own) for cell, own in zip(cells, carries, strict=True))
    (carries, remembered, tail), (readout, records) = adjoint.over_time(
        Advance(advance, operations), (carries, remembered, state.readout), (given, into, mask, background)
    )
    inputs, skips = remembered[: len(cells)], remembered[len(cells) :]
    states = tuple(c.state._replace(inputs=own) for c, own in zip(carries, inputs, strict=True))
    counts = tuple(c.count for c in carries)
    duration = _duration(stimulus.shape[0], mask, dt, readout.dtype)
    warn_of_trial(counts, duration)
    times = ()
    if "spikes" in series:
        times = tuple(spikes_of(own.release, own.late, duration, dt, spikes) for own in records)
        kept = {"late": None} | ({} if "release" in series else {"release": None})
        records = tuple(own._replace(**kept) for own in records)
    end = NetworkState(states, tail, reached, skips)
    return Solution(readout, counts, records, end, duration, times)


class _Given(NamedTuple):
    """What a simulation is of, checked, in one precision, and varying over the same devices."""

    network: Network
    stimulus: Stimulus
    gate: Gate
    dt: float | Float[Array, ""]
    adjoint: AbstractAdjoint
    state: NetworkState
    mask: Bool[Array, " steps"] | None
    key: PRNGKeyArray | None
    noise: Noise | None


def _prepared(
    network: Network, stimulus: Any, gate: Gate, dt: Any, adjoint: AbstractAdjoint, state, mask, key, noise
) -> _Given:
    network = resolve(network)
    dtype = precision(network)
    if isinstance(stimulus, SpikeTimes):
        stimulus = stimulus.in_steps(dt)
    if float(jnp.finfo(dtype).tiny) > SMALLEST:
        raise ValueError(
            f"`network` is of {dtype}, whose smallest numbers are too large for its gradient: cast it to "
            "float32 or bfloat16 (`spikejax.parameters.cast`)"
        )
    stimulus, dt = as_stimulus(stimulus, network.in_shape, dtype), _as_step(dt, dtype)
    _check_mask(stimulus, mask)
    check_step(network, gate, dt)
    if noise is not None:
        noise.check(tuple(layer.shape for layer in network.layers))
        if key is None:
            raise ValueError("`noise` is random: give a `key`")
    network, noise = cast((network, noise), dtype)
    if state is None:
        _warn_of_reach(network, stimulus.shape[0], dt)
    network = network.at(dt)
    state = network.init(key=key, noise=noise) if state is None else _with_memories(network, state)
    gate, adjoint, state = cast((gate, adjoint, state), dtype)
    return vary_together(_Given(network, stimulus, gate, dt, adjoint, state, mask, key, noise))


def _biased(layer: Layer, drive: Array, current: Array | None) -> Array:
    """The current of every step, ``(time, *current)``, with bias and background added."""
    plain = jnp.broadcast_to(layer.bias, layer.shape)[None]
    plain = plain if current is None else plain + current
    # The plain current comes before the conductances.
    return drive + plain if layer.reversal is None else drive.at[:, 0].add(plain)


def _fed(
    network: Network, source: int, x: Stimulus, into: dict[int, Array], remembered: tuple, mask: Array | None
) -> tuple[dict[int, Array], tuple]:
    """The currents into layers, by the number of the layer, with those that `x` makes over a stretch of time,
    the activation of the layer `source` or, with -1, the stimulus; and what every wire remembers."""
    into, after = dict(into), list(remembered)
    for k, (start, target, connection) in enumerate(network.wires):
        if start == source:
            current, after[k] = connection.over_time(x, remembered[k], mask)
            into[target] = into[target] + current if target in into else current
    return into, tuple(after)


def _warn_of_reach(network: Network, steps: int, dt: float | Array) -> None:
    """Warn of connections with delays as long as a whole trial."""
    wires = {
        f"layers[{target}].feedforward"
        if k < len(network.layers)
        else f"skips[{k - len(network.layers)}]": wire
        for k, (_, target, wire) in enumerate(network.wires)
    }
    wires |= {f"layers[{i}].recurrent": layer.recurrent for i, layer in enumerate(network.layers)}
    for name, wire in wires.items():
        if wire is not None and wire.reach and _concrete(dt) and wire.reach >= steps * dt * (1 - 1e-6):
            warnings.warn(
                f"{name} has delays of up to {wire.reach:g} ms, and the trial has {steps * dt:g} ms: what "
                "takes so long does not arrive in it",
                stacklevel=4,
            )


def _with_memories(network: Network, state: NetworkState) -> NetworkState:
    """A state in which every connection that has a memory has something to remember."""
    new = network.init()
    kept = lambda old, fresh: fresh if old is None else old
    layers = tuple(
        own._replace(past=kept(own.past, fresh.past), inputs=kept(own.inputs, fresh.inputs))
        for own, fresh in zip(state.layers, new.layers, strict=True)
    )
    return state._replace(layers=layers, skips=state.skips or new.skips)


def _duration(steps: int, mask: Array | None, dt: float | Array, dtype) -> Float[Array, ""]:
    """Length of a trial of `steps` steps, those where the mask is False left out, ms."""
    return jnp.asarray(steps * dt, dtype) if mask is None else mask.sum().astype(dtype) * dt


def _background(
    network: Network,
    noise: Noise | None,
    key,
    state: NetworkState,
    length: tuple[int, Array | None],
    dt: float | Array,
) -> tuple[tuple[Array | None, ...], Background | None]:
    """The background current of every layer, ``(time, *n)``, or None, and how far it has come at the end of
    the trial.

    **Arguments:** `length`: number of steps, and the mask.
    """
    if noise is None or not noise.drives:
        return (None,) * len(network.layers), state.background
    begun = state.background or network.init(noise=noise).background
    assert begun is not None, "there is a current"
    steps, mask = length
    # Another stream than that of the initial state.
    keys = jax.random.split(jax.random.fold_in(key, 1), len(network.layers))
    currents = tuple(
        noise.background(k, steps, layer.shape, dt, layer.bias.dtype, begun=begun.steps, last=last)
        for k, layer, last in zip(keys, network.layers, begun.last, strict=True)
    )
    end = steps if mask is None else mask.sum(dtype=jnp.int32)
    last = tuple(jnp.concatenate([a[None], x])[end] for a, x in zip(begun.last, currents, strict=True))
    return currents, Background(begun.steps + end, last)


def _check_save(save: str | Iterable[str]) -> frozenset[str]:
    names = (save,) if isinstance(save, str) else tuple(save)
    for name in names:
        if name not in get_args(Series):
            raise ValueError(f"`save` names {name!r}: choose from {', '.join(get_args(Series))}")
    return frozenset(names)


def _check_mask(stimulus: Stimulus, mask) -> None:
    if mask is not None and mask.shape != stimulus.shape[:1]:
        raise ValueError(f"`mask` has shape {mask.shape}, but the trial has {stimulus.shape[0]} steps")


def _as_step(dt: Any, dtype) -> float | Float[Array, ""]:
    """A time step that is known as a number, which is compiled in; one that is traced in the network's
    precision."""
    if isinstance(dt, str) or np.shape(dt):
        raise ValueError(f"`dt` is {dt!r}, but must be one number, in ms")
    return jnp.asarray(dt, dtype) if isinstance(dt, Tracer) else float(dt)


def _concrete(x) -> bool:
    return not isinstance(x, Tracer)


def check_step(network: Network, gate: Gate, dt: float | Float[Array, ""]) -> None:
    """Raise `ValueError` if `dt` (ms) cannot resolve the network, or the active zone does not fit between
    reset and threshold.

    Values inside a transformation (`jax.jit`, `jax.grad`) are not known and not checked: call it before.
    """
    if _concrete(dt) and not 0 < dt < np.inf:
        raise ValueError(f"`dt` is {dt}, but must be finite and above 0: give a time step in ms")
    network = resolve(network)
    gate.check_layers(len(network.layers))
    for i, layer in enumerate(network.layers):
        taus = {"tau_syn": layer.synapse.tau_syn, **layer.neuron.time_constants()}
        for name, tau in taus.items():
            if _concrete(dt) and _concrete(tau) and dt > np.min(np.asarray(tau)) * (1 + 1e-6):
                raise ValueError(
                    f"`dt` of {dt:g} ms is too large: layer {i} has a {name} of {np.min(np.asarray(tau)):g} "
                    "ms; use a dt of at most that"
                )
        neuron = layer.neuron
        gate.release.check(neuron)
        support, (low, high) = gate.of_layer(i).support, neuron.bounds()
        if gate.release.from_below and all(map(_concrete, (support, low, high))):
            width, room = float(np.max(support)), float(np.min(np.asarray(high - low)))
            if width > room * (1 + 1e-6):
                raise ValueError(
                    f"the active zone is {width:g} wide but layer {i} has only {room:g} between v_reset and "
                    "v_th: use a smaller gate width or a larger sharpness"
                )


__all__ = ["Series", "Solution", "check_step", "simulate"]
