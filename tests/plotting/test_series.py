"""Time series of chosen trials, and their figures: what is drawn is what was given, with its unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from spikejax import (
    ALIF,
    LIF,
    AdEx,
    ClockDriven,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Noise,
    Refractory,
    simulate,
)
from spikejax.analysis import record_series, series_of
from spikejax.plotting import currents, lines, raster, readout, stimulus, voltages
from spikejax.plotting.series import _spiking
from spikejax.tasks import Trial

STEPS, DT = 60, 0.5


def network_of():
    keys = jax.random.split(jax.random.key(0), 3)
    below = Layer.dense(
        (2,),
        6,
        Refractory(LIF(), tau_ref=1.0),
        Exponential((3.0, 9.0)),
        bias=(1.5, 2.5),
        key=keys[0],
    )
    above = Layer.dense(below.activation_shape, 4, ALIF(), Exponential(5.0), bias=(2.0, 3.0), key=keys[1])
    return Network((below, above), LinearReadout.create(above.activation_shape, 2, key=keys[2]))


@pytest.fixture(scope="module")
def trials():
    x = jax.random.normal(jax.random.key(1), (3, STEPS, 2))
    keys = jax.random.split(jax.random.key(2), 3)
    return Trial(x, 0.5 * x, jnp.arange(STEPS) < jnp.array([STEPS, 40, 50])[:, None], key=keys)


NAMES = ("v", "release", "activation", "current", "excitatory", "inhibitory", "left", "a")


@pytest.fixture(scope="module")
def traces(trials):
    return record_series(network_of(), trials, ClockDriven(Gate(width=0.3), DT), NAMES)


def test_every_layer_has_its_series(traces):
    one, two = (layer.series for layer in traces.layers)
    assert set(series_of(network_of())) == set(NAMES)
    assert set(one) == set(NAMES) - {"a"}
    assert set(two) == set(NAMES) - {"left"}
    assert one["v"].shape == one["left"].shape == (3, STEPS, 6)
    assert one["activation"].shape == (3, STEPS, 2, 6)
    assert two["a"].shape == (3, STEPS, 4)
    assert one["left"].max() > 0
    assert two["a"].max() > 0
    np.testing.assert_array_equal(traces["left"], one["left"])
    with pytest.raises(KeyError, match="several layers have a series 'v'"):
        traces["v"]
    with pytest.raises(KeyError, match="no layer has a series 'u'"):
        traces["u"]


@pytest.mark.parametrize(
    "more", [(), pytest.param(("left",), marks=pytest.mark.nightly)], ids=["at once", "step by step"]
)
def test_a_masked_trial_with_noise_is_that_of_a_simulation(trials, more):
    # The initial state and the background current are random: with the trial's key they are the same.
    network, gate, noise = network_of(), Gate(width=0.3), Noise(initial=0.1, current=0.3)
    found = record_series(network, trials, ClockDriven(gate, DT), ("v", "release", *more), noise=noise)
    one = jax.tree.map(lambda x: x[1], trials)
    expected = simulate(
        network,
        one.stimulus,
        gate=gate,
        dt=DT,
        mask=one.mask,
        key=one.key,
        noise=noise,
        save=("v", "release"),
    )
    for layer, record in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_allclose(layer.series["v"][1], record.v, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(layer.series["release"][1], record.release, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.readout[1], expected.readout, rtol=1e-10, atol=1e-12)
    assert float(np.abs(found.layers[0].series["v"][0] - found.layers[0].series["v"][1]).max()) > 0.01


def test_the_parts_are_the_current_in_every_layer(traces):
    for layer in traces.layers:
        parts = layer.series["excitatory"] + layer.series["inhibitory"]
        # After the end of a trial nothing moves, and there is no current to take apart.
        for trial, steps in enumerate(traces.mask.sum(axis=1)):
            np.testing.assert_allclose(
                parts[trial, :steps], layer.series["current"][trial, :steps], atol=1e-10
            )


def test_unknown_series_are_named(trials):
    with pytest.raises(ValueError, match="`series` names 'u', which no layer has: choose from v, release"):
        record_series(network_of(), trials, ClockDriven(Gate(width=0.3), DT), ("v", "u"))


def test_a_spike_is_where_its_charge_is_complete():
    q = np.array([0.0, 0.4, 0.6, 0.0, 0.3, -0.3, 1.0, 0.7, 0.5, 2.0, 0.8])
    np.testing.assert_array_equal(np.flatnonzero(_spiking(q)), [2, 6, 8, 9, 10])


def drawn(figure, index=0):
    return figure.axes[index].get_lines()


def test_voltages(traces):
    figure = voltages(traces, trial=1, neurons=[2, 0])
    assert isinstance(figure, Figure)
    line = drawn(figure)[0]
    np.testing.assert_allclose(line.get_xdata(), DT * np.arange(1, 41))  # to the end of the trial
    np.testing.assert_allclose(line.get_ydata(), traces.layers[0].series["v"][1, :40, 2])
    assert [ax.get_ylabel().split("\n")[0] for ax in figure.axes] == ["neuron 2", "neuron 0"]
    assert "dimensionless" in figure.axes[0].get_ylabel()
    assert figure.axes[-1].get_xlabel() == "time (ms)"
    (zone,) = figure.axes[0].patches
    assert (zone.get_y(), zone.get_y() + zone.get_height()) == pytest.approx((0.7, 1.0))
    # Those that spike most come first.
    counts = traces.layers[0].series["release"][0].sum(axis=0)
    first = voltages(traces, neurons=2).axes[0].get_ylabel()
    assert first.startswith(f"neuron {int(np.argmax(counts))}\n")


def test_a_potential_has_its_unit(trials):
    layer = Layer.dense(
        (2,), 3, AdEx(), Exponential(5.0), recurrent=False, bias=(900.0, 990.0), key=jax.random.key(0)
    )
    network = Network((layer,), LinearReadout.create(layer.activation_shape, 1, key=jax.random.key(1)))
    found = record_series(network, trials, ClockDriven(Gate(width=4.0), DT), ("v", "w"))
    assert "v (mV)" in voltages(found, neurons=1).axes[0].get_ylabel()
    assert found["w"].shape == (3, STEPS, 3)
    figure = lines(found, name="w", label="adaptation current (pA)")
    assert figure.axes[0].get_ylabel() == "adaptation current (pA)"


def test_currents(traces):
    figure = currents(traces, layer=1, neurons=[3])
    parts = {line.get_label(): line.get_ydata() for line in drawn(figure)}
    np.testing.assert_allclose(parts["all"], traces.layers[1].series["current"][0, :, 3])
    np.testing.assert_allclose(parts["excitatory"] + parts["inhibitory"], parts["all"], atol=1e-10)
    alone = currents(traces.layers[1].series["current"][0], DT, neurons=[3])
    assert "excitatory" not in {line.get_label() for line in drawn(alone)}
    np.testing.assert_allclose(drawn(alone)[0].get_ydata(), parts["all"])


def test_raster():
    spikes = np.zeros((50, 4))
    spikes[[3, 20], [1, 2]] = 1
    figure = raster(spikes, 2.0, title="spikes")
    (marks,) = figure.axes[0].collections
    np.testing.assert_allclose(marks.get_offsets(), [[8.0, 1], [42.0, 2]])
    assert len(figure.axes) == 1, "whole spikes need no scale of charges"
    assert figure.axes[0].get_xlim() == (0, 100)
    graded = raster(0.4 * spikes, 2.0)
    assert "charge" in graded.axes[1].get_ylabel()


def test_stimulus():
    marks = stimulus(np.eye(20), 1.0)
    assert len(marks.axes[0].collections) == 1
    signals = stimulus(np.sin(np.arange(20.0))[:, None], 1.0)
    assert len(drawn(signals)) == 1
    assert not signals.axes[0].collections
    many = stimulus(np.random.default_rng(0).normal(size=(20, 40)), 1.0)
    assert len(many.axes[0].images) == 1


def test_readout(traces, trials):
    figure = readout(traces, trial=2, labels=("left", "right"))
    found = {line.get_label(): line.get_ydata() for line in drawn(figure)}
    assert list(found) == ["left", "target 0", "right", "target 1"]
    np.testing.assert_allclose(found["target 1"], trials.target[2, :50, 1])
    image = readout(np.random.default_rng(0).normal(size=(20, 27)), 1.0)
    assert len(image.axes[0].images) == 1
    with pytest.raises(ValueError, match="`trial` is 3, but there are 3"):
        readout(traces, trial=3)


def test_lines(traces):
    figure = lines(traces, name="activation", kind=1, neurons=[0, 5])
    np.testing.assert_allclose(
        drawn(figure)[1].get_ydata(), traces.layers[0].series["activation"][0, :, 1, 5]
    )
    assert "Hz" in figure.axes[0].get_ylabel()


def test_axes_that_are_given_are_drawn_in():
    figure = Figure()
    ax, other = figure.subplots(1, 2)
    v = np.random.default_rng(0).normal(size=(30, 5))
    assert raster((v > 1).astype(float), 1.0, ax=ax) is figure
    assert ax.collections
    assert voltages(v, 1.0, neurons=2, axes=[ax, other]) is figure
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match="`axes` has 2 entries, but there are 3 panels to draw"):
        voltages(v, 1.0, neurons=3, axes=[ax, other])


@pytest.mark.parametrize(
    ("draw", "line"),
    [
        (lambda traces: voltages(np.zeros((5, 2))), "`dt` is missing"),
        (lambda traces: voltages(np.zeros((0, 2)), 1.0), r"the array has shape \(0, 2\)"),
        (lambda traces: voltages(traces, layer=2), "`layer` is 2, but there are 2"),
        (lambda traces: voltages(traces, neurons=[9]), "`neurons` is 9, but there are 6"),
        (lambda traces: lines(traces, name="w"), "'w' was not recorded: record_series"),
    ],
)
def test_one_line_for_what_cannot_be_drawn(traces, draw, line):
    with pytest.raises(ValueError, match=line):
        draw(traces)
