"""The event-driven simulator: networks whose neurons have a closed form, from spike to spike, without
steps."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..component import option
from ..network import Layer, Network
from ..parameters import cast, precision, resolve
from ..simulate import Solution
from ..simulators import SIMULATORS, AbstractSimulator
from ..spike_times import SpikeTimes
from ..state import LayerState, NetworkState
from ..stimulus import as_stimulus
from . import recurrent, wires
from .base import pseudospikes
from .forms import Solvable, check_wire, jump, solvable
from .train import Arrivals, Train, from_spikes, merge, sort


@SIMULATORS.register("event_driven")
class EventDriven(AbstractSimulator):
    """From event to event in closed form: exact spike times, and their exact derivatives.

    An event is a spike that arrives. A spike of a neuron arrives at once, with a jump of the current (with
    `Delta` synapses: of the potential) of ``weight/(tau_syn rate_unit)``, the synapse being that of the layer
    it comes from. So a network is the same as with `ClockDriven` in the limit of small steps, but for its
    recurrent delay of dt. A spike of the stimulus passes the synapses of its connection, if that is
    `Filtered`; with any other it passes those of the layer it reaches, where `ClockDriven` takes the stimulus
    for a current.

    The layers without recurrence run one after the other, with one step for each spike of the layer below;
    those with recurrence from event to event over all of their neurons. Neurons that have a closed form:
    `QIF` with `Exponential` synapses of half their time constant and no bias; `QIF` that fire by themselves
    (bias above 1/4) with `Delta` synapses; `LIF` with `Exponential` synapses of half or all of their time
    constant.

    **Arguments:** `spikes`: room for the spikes of a neuron; `events`: most events of a layer, those that
    arrive at it, and in a recurrent one its own spikes too; None: as many as there is room for;
    `pseudospikes`: whether a neuron that has not fired `spikes` times goes on after the trial (QIF neurons
    do); `bin`: for a stimulus in steps (an array, or `Events`), their length in ms: what is in a bin arrives
    at its start; `ratio`: tau_mem over tau_syn of LIF layers, 1 or 2.

    **Returns:** of a trial, a `Solution` whose `spikes` are the times of the spikes of every layer, ms,
    ``(spikes, *n)``, and whose `counts` are the numbers of spikes before the end of the trial. After the last
    of a neuron there are pseudospikes, whose times are continuous where a spike passes the end of the trial,
    or inf. It has no time series: `readout` is empty. `state` holds the neurons and, as `inputs`, the
    synaptic currents.

    **Raises:** `ValueError` for networks and stimuli that it cannot solve; when it runs, an error for a
    neuron that has more spikes than there is room for, or a layer more events: none is left out in silence.

    !!! example
        >>> import equinox, jax
        >>> from spikejax import Exponential, Network
        >>> from spikejax.event_driven import QIF, EventDriven, SpikeTimes
        >>> network = Network.dense(
        ...     2, (20,), 1, neuron=QIF(tau_mem=10.0), synapse=Exponential(5.0, rate_unit=0.2),
        ...     recurrent=False, input_scale=4.0, bias=(0.0, 0.0), key=jax.random.key(0),
        ... )
        >>> stimulus = SpikeTimes([1.0, 4.0], [0, 1], duration=30.0, channels=2)
        >>> equinox.filter_jit(EventDriven(spikes=3))(network, stimulus).spikes[0].shape
        (3, 20)

    **Reference:** Klos & Memmesheimer, arXiv:2309.14523; Wunderlich & Pehle 2021.
    """

    spikes: int = option(8, doc="room for the spikes of a neuron", at_least=1, at_most=100_000)
    events: int | None = option(
        None, doc="most events of a layer; left out: as many as there is room for", at_least=1
    )
    pseudospikes: bool = option(True, doc="let neurons go on firing after the trial")
    bin: float | None = option(
        None, unit="ms", doc="length of a step of a stimulus in steps", above=0.0, in_table=False
    )
    ratio: int = option(2, doc="tau_mem/tau_syn of LIF layers, 1 or 2", at_least=1, at_most=2)

    def __call__(self, network, stimulus, *, save=(), state=None, mask=None, key=None, noise=None):
        network = resolve(network)
        dtype = precision(network)
        network = cast(network, dtype)
        self._check_arguments(save, mask, noise)
        self.check(network)
        if state is None:
            state = network.init(key=key, noise=None if noise is None else noise.initial)
        given, duration = self._given(network, stimulus, dtype)
        solved = [solvable(layer, f"layer {i}", self.ratio) for i, layer in enumerate(network.layers)]
        runs: list[_Run] = []
        for i, one in enumerate(solved):
            run = self._layer(network, i, one, runs, given, state.layers[i], duration)
            runs.append(run)
        spikes, counts, states = [], [], []
        for run, layer in zip(runs, network.layers, strict=True):
            spikes.append((run.times * run.tau).reshape(-1, *layer.shape))
            counts.append(run.train.count.astype(dtype).reshape(layer.shape))
            states.append(_state(run, layer))
        nothing = jnp.zeros((0, *network.readout.bias.shape), dtype)
        end = NetworkState(tuple(states), network.readout.init())
        return Solution(nothing, tuple(counts), (), end, duration, spikes=tuple(spikes))

    ways: ClassVar[tuple[str, str]] = ("with pseudospikes", "spikes alone")

    def clocked(self, gate, dt, adjoint):
        """The same with steps of `dt` as the bins of a stimulus in steps: there is nothing else of a
        clock."""
        del gate, adjoint
        return dataclasses.replace(self, bin=dt)

    def sharpen(self, sharpness):
        """The same: there is no gate."""
        del sharpness
        return self

    def hard(self):
        """Without pseudospikes: what happens within the trial alone."""
        return dataclasses.replace(self, pseudospikes=False)

    def check(self, network):
        network = resolve(network)
        for i, layer in enumerate(network.layers):
            name = f"layer {i}"
            solvable(layer, name, self.ratio)
            for source, target, connection in network.wires:
                if target == i:
                    came = "the stimulus" if source < 0 else f"layer {source}"
                    synapse = layer.synapse if source < 0 else network.layers[source].synapse
                    connection, synapse = wires.unfiltered(connection, synapse, source)
                    wires.check(connection, f"{name}, from {came}")
                    check_wire(synapse, layer, name, came)
            if layer.recurrent is not None:
                wires.check(layer.recurrent, f"{name}, recurrent", recurrent=True)

    def _check_arguments(self, save, mask, noise) -> None:
        names = (save,) if isinstance(save, str) else tuple(save)
        series = [name for name in names if name != "spikes"]
        if series:
            raise ValueError(
                f"`save` names {series[0]!r}, but an event-driven simulation gives spike times and no time "
                "series"
            )
        if mask is not None:
            raise ValueError(
                "`mask` ends a trial at a step, but there are no steps: leave out the spikes after its end"
            )
        if noise is not None and noise.drives:
            raise ValueError("a background current has no closed form between events: leave it out")

    def _given(self, network: Network, stimulus: Any, dtype) -> tuple["_Given", Array]:
        channels = network.in_shape
        if isinstance(stimulus, SpikeTimes):
            if stimulus.channels != channels:
                raise ValueError(
                    f"`stimulus` has {stimulus.channels} channels but the network expects {channels} "
                    "(layers[0].feedforward.in_shape)"
                )
            if stimulus.time.ndim != 1:
                raise ValueError(
                    f"`stimulus` has lists of shape {stimulus.time.shape}, but one trial is (spikes,): use "
                    "jax.vmap over trials"
                )
            time, value = stimulus.time.astype(dtype), stimulus.value.astype(dtype)
            if isinstance(time, Tracer) and time.shape[0]:
                # What is traced can only be found wrong by what becomes of it.
                before = jnp.concatenate([jnp.zeros(1, dtype), time[:-1]])
                right = jnp.all((time >= before) & (time <= jnp.asarray(stimulus.duration, dtype)))
                time = jnp.where(right, time, jnp.nan)
            duration = jnp.asarray(stimulus.duration, dtype)
            if not time.shape[0]:
                # A list has one entry at least: here it is none.
                return _Given(duration[None], jnp.zeros(1, jnp.int32), jnp.zeros(1, dtype), None), duration
            self._check_length(time.shape[0])
            return _Given(time, stimulus.channel, value, None), duration
        if self.bin is None:
            raise ValueError(
                "`stimulus` is in steps: give the simulator their length, `bin` (ms), or exact `SpikeTimes`"
            )
        steps = as_stimulus(stimulus, channels, dtype)
        number = jnp.arange(steps.shape[0], dtype=jnp.int32)
        self._check_length(steps.shape[0])
        time, ones = self.bin * number.astype(dtype), jnp.ones(steps.shape[0], dtype)
        return _Given(time, number, ones, steps), jnp.asarray(self.bin * steps.shape[0], dtype)

    def _check_length(self, events: int) -> None:
        if self.events is not None and events > self.events:
            raise ValueError(
                f"`stimulus` is a list of {events} events, but the simulator takes {self.events}: give it "
                "more `events`"
            )

    def _layer(self, network, i, one: Solvable, runs, given: "_Given", state, duration) -> "_Run":
        layer, form, tau = network.layers[i], one.form, one.tau
        dtype = layer.bias.dtype
        end = duration / tau
        parts, lost, extra = [], jnp.zeros((), jnp.int32), jnp.zeros(_size(layer), dtype)
        for source, target, connection in network.wires:
            if target != i:
                continue
            synapse = layer.synapse if source < 0 else network.layers[source].synapse
            connection, synapse = wires.unfiltered(connection, synapse, source)
            scale = jump(synapse, layer.synapse, tau)
            if source < 0 and given.steps is not None:
                # All that is in a bin is one event.
                columns = scale * wires.currents(connection, given.steps, f"layer {i}")
                parts.append(Arrivals(given.time / tau, given.source, given.value, columns))
                continue
            columns, delay = wires.matrix(connection)
            columns, delay = scale * columns, None if delay is None else delay / tau
            events = given.time.shape[0] if source < 0 else runs[source].train.times.size
            events *= 1 if delay is None else delay.shape[0]
            most = events if self.events is None else min(self.events, events)
            if source < 0 and delay is None:
                parts.append(Arrivals(given.time / tau, given.source, given.value, columns))
                continue
            if source < 0:
                found = sort(given.time / tau, given.source, given.value, columns, delay, end, most)
            else:
                run = runs[source]
                # In the time constants of this layer.
                there = Train(run.train.times * (run.tau / tau), run.train.count)
                found = from_spikes(there, columns, delay, end, most)
                if self.pseudospikes and form.rhythmic:
                    lines = columns.reshape(-1, run.rate.shape[0], columns.shape[1])
                    extra = extra + run.rate @ jnp.sum(lines, axis=0)
            arrivals, more = found
            parts.append(arrivals)
            lost = lost + more
        most = sum(part.times.shape[0] for part in parts)
        most = most if self.events is None else min(self.events, most)
        arrivals, more = merge(parts, most)
        # What a filter remembers of steps is none of it: a trial begins here.
        current = state.inputs if eqx.is_array(state.inputs) else None
        start = form.begin(
            state.neuron.v.reshape(-1),
            jnp.zeros(_size(layer), dtype) if current is None else current.reshape(-1),
        )
        own = None
        if layer.recurrent is None:
            train, last = form.layer(start, arrivals, end, self.spikes)
        else:
            columns, delay = wires.matrix(layer.recurrent)
            own = jump(layer.synapse, layer.synapse, tau) * columns
            delay = None if delay is None else delay[0] / tau
            # A delayed spike is two events.
            room = arrivals.times.shape[0] + (1 if delay is None else 2) * self.spikes * _size(layer)
            room = room if self.events is None else min(room, self.events)
            train, last, over = recurrent.run(
                form, start, arrivals, own, delay, end, spikes=self.spikes, events=room
            )
            more = more + over
        times = _reported(train.times, train.count, lost + more, i, self)
        train = train._replace(times=times)
        rate, times = _after(form, last, train, extra, own, end, self.pseudospikes)
        return _Run(train, times, last, form, tau, rate)


class _Given(NamedTuple):
    """The stimulus of one trial, in order of time."""

    time: Float[Array, " events"]
    source: Array
    value: Float[Array, " events"]
    steps: Any
    """A stimulus in steps as such, each of which is an event; else None."""


class _Run(NamedTuple):
    """A layer that has run, in its own unit of time."""

    train: Train
    times: Float[Array, "spikes n"]
    """With pseudospikes."""
    last: Any
    form: Any
    tau: Float[Array, ""]
    rate: Float[Array, " n"]
    """How many pseudospikes a neuron adds to the spikes, a fraction."""


def _after(form, last, train: Train, extra, own, end, wanted: bool):
    """What a layer's pseudospikes are to the next one, and its spike times with those after the trial."""
    slots = jnp.arange(train.times.shape[0], dtype=jnp.int32)[:, None]
    if not (wanted and form.rhythmic):
        return jnp.zeros_like(extra), jnp.where(slots < train.count, train.times, jnp.inf)
    if own is not None:
        period, phase = form.rhythm(last, rest=True)
        extra = extra + (phase / period) @ own
    period, phase = form.rhythm(last, form.carried(extra), rest=True)
    rate = phase / period
    period, phase = form.rhythm(last, extra)
    return rate, pseudospikes(train, end, period, phase)


def _reported(times, count, lost, i: int, simulator: EventDriven):
    """The times, with an error when the program runs if any of what happened had no room."""
    full = jnp.any(count > simulator.spikes)
    spikes = (
        f"layer {i}: a neuron fires more than {simulator.spikes} times in a trial: give the simulator more "
        "`spikes`, or the layer weaker input"
    )
    events = (
        f"layer {i}: more events in a trial than there is room for: give the simulator more `events`, or the "
        "network weaker input"
    )
    for wrong, message in ((full, spikes), (lost > 0, events)):
        if isinstance(wrong, Tracer):
            times = eqx.error_if(times, wrong, message)
        elif bool(wrong):
            raise ValueError(message)
    return times


def _state(run: _Run, layer: Layer) -> LayerState:
    v, current = run.form.end(run.last)
    neuron = layer.neuron.init(layer.shape)._replace(v=v.reshape(layer.shape))
    quiet = layer.synapse.init(layer.shape, v.dtype)
    return LayerState(neuron, quiet, jnp.zeros(layer.shape, v.dtype), inputs=current.reshape(layer.shape))


def _size(layer: Layer) -> int:
    """Number of neurons."""
    return int(np.prod(layer.shape, dtype=int))


__all__ = ["EventDriven"]
