"""Any time series of chosen trials, layer by layer: what `simulate` saves, and every state variable."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float

from ..component import declarations
from ..network import Layer, Network
from ..neurons import Wrapper
from ..noise import Noise
from ..parameters import field_name, resolve
from ..simulate import Series
from ..simulators import ClockDriven
from ..stimulus import as_array
from ..tasks import Trial
from ..training.step import randomness, run_trial
from .currents import split_currents

SAVED: tuple[Series, ...] = ("v", "release", "activation", "current")
"""Series that every layer has."""
SPLIT: tuple[str, ...] = ("excitatory", "inhibitory")
"""Parts of the current of dense layers (`split_currents`)."""


class LayerTraces(NamedTuple):
    """What is known of a layer beside its series, to draw them."""

    series: dict[str, np.ndarray]
    """By name, ``(trials, time, *n)``, with an axis of synaptic time constants (of conductances for a
    current) before those of the neurons where there are some."""
    zone: tuple[np.ndarray, np.ndarray]
    """Lower and upper edge of the active zone, ``(*n)``, in units of v."""
    unit: str
    """Of v: ``"mV"``, or empty for a dimensionless potential."""
    rate_unit: float
    """Rate, kHz, at which a synapse has an activation of 1."""


class Traces(NamedTuple):
    """Time series of several trials, as NumPy arrays: ``traces.layers[0].series["v"]``, or ``traces["v"]``
    in a network of one layer."""

    layers: tuple[LayerTraces, ...]
    stimulus: Float[np.ndarray, "trials time *channels"]
    readout: Float[np.ndarray, "trials time out"]
    target: Any
    """As the task gives it, with an axis of trials."""
    label: np.ndarray | None
    """Class of every trial, if it has one."""
    mask: Bool[np.ndarray, "trials time"]
    """False after the end of a trial."""
    dt: float
    """ms."""

    @property
    def time(self) -> Float[np.ndarray, " time"]:
        """End of each step, ms."""
        return (np.arange(self.mask.shape[1]) + 1) * self.dt

    def __getitem__(self, name) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The series of that name of the only layer that has it.

        **Raises:** `KeyError` if there is none, or several.
        """
        found = [layer.series[name] for layer in self.layers if name in layer.series]
        if len(found) != 1:
            some = ", ".join(sorted({name for layer in self.layers for name in layer.series}))
            what = "several layers have" if found else "no layer has"
            raise KeyError(
                f"{what} a series {name!r}: take it from traces.layers[i].series; there are {some}"
            )
        return found[0]


def series_of(network: Network) -> tuple[str, ...]:
    """The names of all series that can be recorded of a network: those that every layer has, the parts of
    the current, and the state variables of its neurons."""
    names = dict.fromkeys((*SAVED, *SPLIT))
    network = resolve(network)
    for layer in network.layers:
        names |= dict.fromkeys(_variables(layer.neuron.init(layer.shape)))
    return tuple(names)


def record_series(
    network: Network,
    trials: Trial,
    simulator: ClockDriven,
    series: str | Iterable[str] = ("v", "release"),
    *,
    noise: Noise | None = None,
    at_once: int = 20,
) -> Traces:
    """Run `network` on every trial and keep the named series of every layer.

    **Arguments:** `trials`: a batch; `series`: of ``"v"`` (membrane potential at the end of each step),
    ``"release"`` (charge released in the step: spikes, under a hard threshold), ``"activation"`` (of the
    synapses, its mean over the step), ``"current"`` (of the step, all of it), ``"excitatory"`` and
    ``"inhibitory"`` (its positive and negative terms, of dense layers), and of every state variable of the
    neurons by its name, as ``"w"`` (at the end of each step; layers without it are left out); `noise`: what
    is random within a trial; `at_once`: trials run together.

    **Raises:** `ValueError` for a name that no layer has, and for ``"excitatory"`` or ``"inhibitory"`` of
    layers that are not dense.

    !!! example
        >>> from spikejax import LIF, Exponential, Gate
        >>> key, synapse = jax.random.key(0), Exponential(10.0)
        >>> network = Network.dense(2, (5,), 1, neuron=LIF(), synapse=synapse, bias=(1.5, 2.0), key=key)
        >>> trials = Trial(jax.numpy.ones((3, 40, 2)), jax.numpy.zeros(3))
        >>> record_series(network, trials, ClockDriven(Gate(), 0.5), ("v", "current"))["v"].shape
        (3, 40, 5)
    """
    names = _checked(network, series)
    split = [name for name in names if name in SPLIT]
    wanted = {*names, "activation"} if split else set(names)

    @eqx.filter_jit
    def run(network, trials, simulator):
        one = lambda trial: _one(network, trial, simulator, noise, wanted)
        return jax.lax.map(one, trials, batch_size=min(at_once, len(trials.stimulus)))

    resolved = resolve(network)
    layers, stimulus, readout = jax.tree.map(np.asarray, run(resolved, trials, simulator))
    if split:
        layers = [_with_parts(resolved.layers[i], layers, i, stimulus, split) for i in range(len(layers))]
    layers = [{name: found[name] for name in names if name in found} for found in layers]
    about = zip(resolved.layers, layers, strict=True)
    return Traces(
        tuple(_described(layer, found, simulator, i) for i, (layer, found) in enumerate(about)),
        stimulus,
        readout,
        jax.tree.map(np.asarray, trials.target),
        None if trials.label is None else np.asarray(trials.label),
        np.ones(readout.shape[:2], bool) if trials.mask is None else np.asarray(trials.mask),
        simulator.dt,
    )


def _checked(network: Network, series: str | Iterable[str]) -> tuple[str, ...]:
    names, known = (series,) if isinstance(series, str) else tuple(series), series_of(network)
    for name in names:
        if name not in known:
            raise ValueError(f"`series` names {name!r}, which no layer has: choose from {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def _one(network: Network, trial: Trial, simulator: ClockDriven, noise: Noise | None, wanted: set[str]):
    """The series of one trial, layer by layer, its stimulus and the readout."""
    plain: tuple[Series, ...] = tuple(name for name in SAVED if name in wanted)
    stimulus = as_array(trial.stimulus)
    if wanted <= {*SAVED}:
        solution = run_trial(network, trial, simulator, save=plain, noise=noise)
        found = [{name: getattr(record, name) for name in plain} for record in solution.layers]
        return found, stimulus, solution.readout

    # In stretches of one step: the state between two of them is all that a network carries, so that every
    # variable in it can be kept.
    def step(state, xs):
        x, alive = xs
        piece = trial._replace(stimulus=x[None], mask=None if alive is None else alive[None])
        run = run_trial(network, piece, simulator, save=plain, noise=noise, state=state)
        found = []
        for record, layer in zip(run.layers, run.state.layers, strict=True):
            saved = {name: getattr(record, name)[0] for name in plain}
            variables = _variables(layer.neuron)
            found.append(saved | {name: x for name, x in variables.items() if name in wanted - {*plain}})
        return run.state, (found, run.readout[0])

    start = network.init(**randomness(trial, noise))
    _, (found, readout) = jax.lax.scan(step, start, (stimulus, trial.mask))
    return found, stimulus, readout


def _variables(state: Any) -> dict[str, jax.Array]:
    """The state variables of a neuron by name; of two of one name the outer one."""
    found: dict[str, jax.Array] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        found.setdefault(field_name(path), leaf)
    return found


def _with_parts(layer: Layer, layers, i: int, stimulus, split: list[str]) -> dict[str, np.ndarray]:
    """The series of layer i with the parts of its current."""
    if layer.reversal is not None:
        raise ValueError("`series` names parts of the current, but the layer's synapses are conductances")
    below, own = stimulus if i == 0 else layers[i - 1]["activation"], layers[i]["activation"]
    # A recurrent connection sees the activation of the step before.
    before = np.concatenate([np.zeros_like(own[:, :1]), own[:, :-1]], axis=1)
    parts = np.array([split_currents(layer, x, s) for x, s in zip(below, before, strict=True)])
    found = dict(zip(SPLIT, np.swapaxes(parts, 0, 1).reshape(2, *own.shape[:2], *layer.shape), strict=True))
    return layers[i] | {name: found[name] for name in split}


def _described(layer: Layer, series: dict[str, np.ndarray], simulator: ClockDriven, i: int) -> LayerTraces:
    neuron = layer.neuron
    low, high = neuron.zone(simulator.gate.of_layer(i))
    wide = lambda x: np.broadcast_to(np.asarray(x), layer.shape)
    while isinstance(neuron, Wrapper):
        neuron = neuron.neuron
    unit = declarations(type(neuron)).get("v_th")
    unit = "" if unit is None else unit.unit
    return LayerTraces(series, (wide(low), wide(high)), unit, float(np.mean(layer.synapse.rate_unit)))


__all__ = ["LayerTraces", "Traces", "record_series", "series_of"]
