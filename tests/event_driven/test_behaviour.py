"""What event-driven simulations are beside exact: continuous, the same in batches and chunks, and never
silent."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from spikejax import LIF, Events, Exponential, Gate, Network, Noise, simulate
from spikejax.connections import ActivationShape, Delayed, DelayedSynapses, Dense
from spikejax.event_driven import QIF, Delta, EventDriven, SpikeTimes, phase_of
from spikejax.event_driven.train import sort
from spikejax.parameters import cast

from ..by_day import by_day
from .networks import END, make, parts

run = eqx.filter_jit(lambda simulator, network, stimulus: simulator(network, stimulus))


def one(kind, weight):
    """One neuron, and three inputs that reach it."""
    neuron, synapse, bias, _ = parts(kind)
    network = Network.dense(
        1, (1,), 1, neuron=neuron, synapse=synapse, recurrent=False, bias=(bias, bias), key=jax.random.key(0)
    )
    return eqx.tree_at(lambda n: n.layers[0].feedforward.weight, network, jnp.reshape(weight, (1, 1)))


def first(kind, duration=20.0):
    """Its first spike time as a function of the weight, whether it is within the trial, and the
    derivative."""
    stimulus = SpikeTimes([1.0, 4.0, 6.0], [0, 0, 0], duration=duration, channels=1)

    @jax.jit
    @jax.value_and_grad
    def time(weight):
        return EventDriven(spikes=3)(one(kind, weight), stimulus).spikes[0][0, 0]

    return lambda weight: tuple(float(x) for x in time(jnp.asarray(weight, float)))


def test_a_spike_appears_smoothly_at_the_end_of_the_trial():
    time = first("qif")
    weight = brentq(lambda w: time(w)[0] - 20.0, 1.0, 3.0, xtol=1e-14)
    (late, slope_late), (early, slope_early) = time(weight - 1e-9), time(weight + 1e-9)
    assert early < 20.0 < late
    assert late - early == pytest.approx(-2e-9 * slope_late, rel=1e-3)
    assert slope_late < -1
    assert slope_early == pytest.approx(slope_late, rel=1e-6)


def test_that_of_a_lif_neuron_jumps():
    time = first("lif")
    low, high = 0.5, 3.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if np.isfinite(time(middle)[0]) else (middle, high)
    assert time(low)[0] == np.inf
    assert time(high)[0] < 15.0
    # Where V only just reaches the threshold the derivative is that of a root.
    ratio = time(high + 1e-8)[1] / time(high + 1e-6)[1]
    assert ratio == pytest.approx(10, rel=0.05)


def test_a_spike_right_after_an_event_and_more_before_the_next():
    """Between two events the second spike of a neuron is half a turn after the first, however soon that
    came."""
    alone = one("qif", 60.0)
    around = Dense(weight=jnp.zeros((1, 1, 1)), in_shape=ActivationShape((1, 1)))
    by_itself = eqx.tree_at(lambda n: n.layers[0].recurrent, alone, around, is_leaf=lambda x: x is None)
    simulator = EventDriven(spikes=12)
    begin = SpikeTimes([1.0], [0], duration=20.0, channels=1)
    spike = float(run(simulator, alone, begin).spikes[0][0, 0])
    for ahead in (0.3, 1e-3, 1e-6):
        stimulus = SpikeTimes([1.0, spike - ahead], [0, 0], duration=20.0, channels=1)
        found, expected = (run(simulator, network, stimulus) for network in (alone, by_itself))
        times = found.spikes[0][:, 0]
        assert float(found.counts[0][0]) >= 3, "several after the second event"
        assert spike - ahead < times[0] < spike + 1e-9
        np.testing.assert_allclose(times, expected.spikes[0][:, 0], rtol=1e-10)
        np.testing.assert_array_equal(found.counts[0], expected.counts[0])


@pytest.mark.parametrize("kind", ["qif", "delta"])
def test_pseudospikes_are_those_of_the_formula(kind):
    made = make(kind, 3, recurrent=False)
    solution = run(made.simulator, made.network, made.stimulus)
    tau, passed = 10.0, None
    columns = (np.zeros((4, 4)), made.reference.weight[:4, 4:])
    for i, (times, counts) in enumerate(zip(solution.spikes, solution.counts, strict=True)):
        state = solution.state.layers[i]
        v = 0.5 - 1 / np.tan(np.pi * np.asarray(state.neuron.v))
        more = np.zeros(len(v)) if passed is None else passed @ columns[i]
        phase = lambda v, g: tau * (np.arctan((v - 0.5) / np.sqrt(g)) + np.pi / 2) / np.sqrt(g)
        if kind == "qif":
            soft = lambda x: 10 * np.log(1 + np.exp(x / 10))
            g, here = soft(np.asarray(state.inputs) + more), phase(v, soft(np.asarray(state.inputs) + more))
            passed = phase(v, soft(0.0)) / (tau * np.pi / np.sqrt(soft(0.0)))
        else:
            g = np.full(len(v), 0.8 - 0.25)
            here = phase(v + more, g)
            passed = here / (tau * np.pi / np.sqrt(g))
        period = tau * np.pi / np.sqrt(g)
        for n, count in enumerate(np.asarray(counts, int)):
            expected = END + np.arange(1, 4) * period[n] - here[n]
            np.testing.assert_allclose(times[count : count + 3, n], expected, rtol=1e-10)


def test_without_pseudospikes_there_are_only_those_of_the_trial():
    made = make("qif", 1, recurrent=False)
    both, hard = (run(s, made.network, made.stimulus) for s in (made.simulator, made.simulator.hard()))
    for a, b, counts in zip(both.spikes, hard.spikes, both.counts, strict=True):
        within = np.arange(len(a))[:, None] < np.asarray(counts)
        np.testing.assert_array_equal(np.asarray(a)[within], np.asarray(b)[within])
        assert np.isinf(np.asarray(b)[~within]).all()
        assert np.isfinite(a).all()


@pytest.mark.parametrize("kind", by_day(["qif", "lif"], ["lif"]))
def test_a_batch_is_its_trials_and_float32_is_close(kind):
    made = make(kind, 1, recurrent=False)
    t = np.sort(np.random.default_rng(5).uniform(0, END, (3, 12)), axis=1)
    batch = SpikeTimes(t, np.tile(made.stimulus.channel, (3, 1)), duration=END, channels=3)
    every = eqx.filter_jit(lambda network: jax.vmap(lambda s: made.simulator(network, s))(batch))
    together = every(made.network)
    for i in range(3):
        alone = run(made.simulator, made.network, jax.tree.map(lambda x: x[i], batch))
        for a, b in zip(together.spikes, alone.spikes, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-12)
    single = every(cast(made.network, jnp.float32))
    assert single.spikes[0].dtype == jnp.float32
    np.testing.assert_array_equal(single.counts[0], together.counts[0])
    within = np.arange(24)[None, :, None] < np.asarray(together.counts[0])[:, None]
    np.testing.assert_allclose(
        np.asarray(single.spikes[0])[within], np.asarray(together.spikes[0])[within], atol=2e-3
    )


def test_bins_are_events_at_their_start():
    made = make("lif", 1, recurrent=False)
    rng = np.random.default_rng(0)
    step, channel = np.sort(rng.integers(0, 20, 15)), rng.integers(0, 3, 15)
    exact = SpikeTimes(2.0 * step, channel, duration=40.0, channels=3)
    binned = Events(step, channel, steps=20, channels=3)
    simulator = EventDriven(spikes=24, bin=2.0)
    expected = run(simulator, made.network, exact)
    for stimulus in (binned, binned.dense()):
        found = run(simulator, made.network, stimulus)
        assert float(found.duration) == 40.0
        np.testing.assert_allclose(found.spikes[1], expected.spikes[1], rtol=1e-10)


def test_nothing_arrives():
    made = make("delta", 1, recurrent=False)
    nothing = SpikeTimes(jnp.zeros(0), jnp.zeros(0, int), duration=END, channels=3)
    period = 10 * np.pi / np.sqrt(0.8 - 0.25)
    phase = 10 / np.sqrt(0.55) * (np.arctan(-0.5 / np.sqrt(0.55)) + np.pi / 2)
    found = run(made.simulator, made.network, nothing).spikes[0]
    np.testing.assert_allclose(
        found[:3], np.tile((period - phase + period * np.arange(3))[:, None], 4), rtol=1e-12
    )


def test_the_clock_comes_close():
    """The same neuron in small steps; its stimulus there is what has passed a synapse."""
    network = one("qif", 2.5)
    times = [1.0, 4.0, 6.0]
    exact = run(EventDriven(spikes=1), network, SpikeTimes(times, [0, 0, 0], duration=30.0, channels=1))
    dt = 0.01
    t = dt * (np.arange(3000) + 0.5)
    current = sum(np.where(t > a, np.exp(-(t - a) / 5.0), 0.0) for a in times)
    released = simulate(network, current[:, None], gate=Gate(release="hard"), dt=dt, save="release")
    spikes = np.flatnonzero(np.asarray(released.layers[0].release[:, 0]))
    assert dt * spikes[0] == pytest.approx(float(exact.spikes[0][0, 0]), abs=2 * dt)
    assert float(exact.counts[0][0]) >= 1


WRONG = {
    "unsorted": (dict(time=[2.0, 1.0]), "number 1 is 1 ms, earlier than the one before it"),
    "negative": (dict(time=[-1.0, 1.0]), "number 0 is -1 ms, outside the trial of 0 to 10 ms"),
    "late": (dict(time=[1.0, 11.0]), "number 1 is 11 ms, outside the trial"),
    "nan": (dict(time=[1.0, np.nan]), "number 1 is nan ms, which is no time"),
    "inf": (dict(time=[1.0, np.inf]), "number 1 is inf ms, which is no time"),
    "of a batch": (dict(time=[[1.0, 2.0], [3.0, 2.0]], channel=[[0, 0], [0, 0]]), "number 1 of trial 1"),
    "words": (dict(time=["a", "b"]), "makes no array of real numbers"),
    "ragged": (dict(time=[[1.0], [1.0, 2.0]]), "makes no array of real numbers"),
    "lists": (dict(channel=[0]), r"`time` \(2,\), `channel` \(1,\)"),
    "high channel": (dict(channel=[0, 3]), "must lie in 0 to 2"),
    "negative channel": (dict(channel=[-1, 0]), "must lie in 0 to 2"),
    "half a channel": (dict(channel=[0, 0.5]), "not whole"),
    "value": (dict(value=[1.0, np.nan]), "`value` holds numbers that are not finite"),
    "no duration": (dict(duration=0.0), "finite and above 0"),
    "endless": (dict(duration=np.inf), "finite and above 0"),
    "durations": (dict(duration=[1.0, 2.0, 3.0]), r"`duration` is \[1.0, 2.0, 3.0\]: give one number"),
    "no channels": (dict(channels=0), "nothing to hold"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_spike_times_are_one_line(name):
    given, message = WRONG[name]
    good = {"time": [1.0, 2.0], "channel": [0, 0], "duration": 10.0, "channels": 3}
    with pytest.raises(ValueError, match=message) as error:
        SpikeTimes(**{**good, **given})
    assert "\n" not in str(error.value)


def changed(kind="qif", where=None, value=None, sizes=(4, 2), **options):
    """A network of which one thing is different."""
    neuron, synapse, bias, _ = parts(kind)
    options = {"neuron": neuron, "synapse": synapse, "bias": (bias, bias), "recurrent": False} | options
    network = Network.dense(3, sizes, 1, key=jax.random.key(0), **options)
    return network if where is None else eqx.tree_at(where, network, value, is_leaf=lambda x: x is None)


UNSOLVABLE = {
    "neuron": (
        lambda: changed(neuron=LIF(), synapse=Delta(0.1)),
        "LIF neurons with Delta synapses have no closed",
    ),
    "time constant": (lambda: changed(synapse=Exponential(4.0)), "`tau_syn` is 4 ms"),
    "ratio": (lambda: changed("lif equal"), "`tau_syn` is 10 ms"),
    "kinds": (lambda: changed(synapse=Exponential((5.0, 5.0))), "`tau_syn` has 2 values"),
    "each neuron": (
        lambda: changed(neuron=QIF(tau_mem=np.array([10.0, 12.0])), sizes=(2, 2)),
        "`tau_mem` differs between neurons",
    ),
    "bias": (lambda: changed(bias=(0.1, 0.1)), "layer 0: `bias` is 0.1, but must be 0"),
    "low bias": (lambda: changed("delta", bias=(0.2, 0.2)), "`bias` is 0.2, but must be above 1/4"),
    "high bias": (lambda: changed("lif", bias=(1.0, 1.0)), "`bias` is 1, but must be below the threshold"),
    "reset": (lambda: changed("lif", neuron=LIF(tau_mem=10.0, reset="subtract")), "use reset = 'split'"),
    "weights": (
        lambda: changed(where=lambda n: n.layers[0].feedforward.weight, value=jnp.full((4, 3), jnp.inf)),
        "layer 0, from the stimulus: the Dense connection holds numbers that are not finite",
    ),
    "memory": (
        lambda: changed(
            where=lambda n: n.layers[0].feedforward,
            value=DelayedSynapses.create((3,), (4,), longest=5.0, key=jax.random.key(0)),
        ),
        "a DelayedSynapses connection has no closed form",
    ),
    "lines": (
        lambda: changed(
            where=lambda n: n.layers[0].recurrent,
            value=Delayed.create(ActivationShape((1, 4)), (4,), longest=5.0, lines=2, key=jax.random.key(0)),
        ),
        "in a recurrence a neuron has one delay",
    ),
}


@pytest.mark.parametrize("name", UNSOLVABLE)
def test_a_network_without_closed_form_is_one_line(name):
    build, message = UNSOLVABLE[name]
    with pytest.raises(ValueError, match=message) as error:
        EventDriven().check(build())
    assert "\n" not in str(error.value)


def test_bad_arguments_are_one_line():
    network, good = changed(), SpikeTimes([1.0, 2.0], [0, 0], duration=10.0, channels=3)
    other = SpikeTimes([1.0], [0], duration=10.0, channels=2)
    batch = SpikeTimes([[1.0]], [[0]], duration=10.0, channels=3)
    for attempt, message in [
        (lambda: EventDriven()(network, good, save="v"), "gives spike times and no time series"),
        (lambda: EventDriven()(network, good, mask=jnp.ones(3, bool)), "there are no steps"),
        (
            lambda: EventDriven()(network, good, noise=Noise(current=1.0), key=jax.random.key(0)),
            "leave it out",
        ),
        (lambda: EventDriven()(network, other), "has .2,. channels but the network expects .3,."),
        (lambda: EventDriven()(network, batch), "use jax.vmap over trials"),
        (lambda: EventDriven()(network, jnp.ones((5, 3))), "give the simulator their length, `bin`"),
        (lambda: EventDriven(bin=1.0)(network, jnp.ones((5, 2))), "channels"),
        (lambda: EventDriven(events=1)(network, good), "a list of 2 events, but the simulator takes 1"),
        (lambda: EventDriven(spikes=0), "`spikes` is 0, but must be"),
        (lambda: EventDriven(ratio=3), "`ratio` is 3"),
        (lambda: EventDriven(bin=-1.0), "`bin` is -1 ms"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            attempt()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "recurrent"),
    [("qif", False), pytest.param("qif", True, marks=pytest.mark.nightly), ("lif", False)],
)
def test_too_many_spikes_are_reported(kind, recurrent):
    made = make(kind, 1, recurrent=recurrent)
    few = EventDriven(spikes=1, ratio=made.simulator.ratio)
    with pytest.raises(RuntimeError, match="layer 0: a neuron fires more than 1 times in a trial"):
        jax.block_until_ready(run(few, made.network, made.stimulus).spikes)
    # So strong that a neuron fires faster than can be resolved.
    where = lambda n: n.layers[0].feedforward.weight
    strong = eqx.tree_at(where, made.network, replace_fn=lambda w: 1e15 * abs(w))
    with pytest.raises(RuntimeError, match=r"layer 0: (a neuron fires|more events)"):
        jax.block_until_ready(run(few, strong, made.stimulus).spikes)


def test_too_many_events_are_reported():
    made = make("qif", 1, recurrent=False)
    with pytest.raises(RuntimeError, match="layer 1: more events in a trial than there is room for"):
        jax.block_until_ready(run(EventDriven(spikes=24, events=13), made.network, made.stimulus).spikes)


@pytest.mark.parametrize("there", [30, 5, 70])
def test_events_are_sorted_alike_in_both_precisions(there):
    rng = np.random.default_rng(there)
    size, most = 80, 40
    # On a grid, so that some are at the same time.
    times, value = rng.integers(0, 20, size) / 16, (rng.permutation(size) < there).astype(float)
    order = np.flatnonzero(value)[np.argsort(times[value != 0], kind="stable")][:most]
    for dtype in (jnp.float32, jnp.float64):
        given = [jnp.asarray(x, dtype) for x in (times, value, np.ones((1, 1)), 2.0)]
        found, lost = sort(given[0], jnp.arange(size), given[1], given[2], None, given[3], most)
        assert found.times.dtype == dtype
        assert int(lost) == max(there - most, 0)
        np.testing.assert_array_equal(found.source[: len(order)], order)
        np.testing.assert_array_equal(found.times[: len(order)], times[order])
        np.testing.assert_array_equal(found.times[len(order) :], 2.0)
        np.testing.assert_array_equal(found.value, np.arange(most) < len(order))


def test_what_is_known_is_a_value_error():
    stimulus = SpikeTimes([1.0, 4.0, 6.0], [0, 0, 0], duration=60.0, channels=1)
    with pytest.raises(ValueError, match="layer 0: a neuron fires more than 1 times in a trial") as error:
        EventDriven(spikes=1)(one("lif", 20.0), stimulus)
    assert "\n" not in str(error.value)


def test_traced_times_in_disorder_are_no_numbers():
    made = make("qif", 1, recurrent=False)

    @jax.jit
    def at(time):
        stimulus = SpikeTimes(time, made.stimulus.channel, duration=END, channels=3)
        return made.simulator(made.network, stimulus).spikes[0]

    assert np.isfinite(at(made.stimulus.time)).all()
    assert np.isnan(at(made.stimulus.time[::-1])).any(axis=0).all()


def test_trained_times_are_put_in_order():
    good = SpikeTimes([1.0, 2.0, 3.0], [0, 1, 2], [1.0, 2.0, 3.0], duration=10.0, channels=3)
    moved = good.at(jnp.array([5.0, -1.0, 11.0]))
    assert moved.time.tolist() == [0.0, 5.0, 10.0]
    assert moved.channel.tolist() == [1, 0, 2]
    assert moved.value.tolist() == [2.0, 1.0, 3.0]


def test_a_phase_is_that_of_its_potential():
    v = jnp.array([-30.0, 0.0, 1.0, 25.0])
    np.testing.assert_allclose(0.5 - 1 / np.tan(np.pi * phase_of(v)), v, rtol=1e-12, atol=1e-15)
    assert float(QIF().v_init) == pytest.approx(float(phase_of(jnp.zeros(()))))
