"""`simulate` itself: shapes, saved series, streaming, jit, input checks, readouts and parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    NIF,
    Costate,
    Dense,
    Exponential,
    Gate,
    Layer,
    LeakyReadout,
    LinearReadout,
    Network,
    Positive,
    Theta,
    check_step,
    positive,
    simulate,
    trainable,
)
from spikejax.adjoints import ADJOINTS
from spikejax.parameters import resolve
from spikejax.simulate import _check_save

from ..by_day import by_day

GATE, DT, STEPS = Gate("raised_cosine", 0.5), 0.5, 40
STIMULUS = 1.2 * jax.random.normal(jax.random.key(1), (STEPS, 3)) + 1.0
SERIES = ("activation", "release", "v", "current")


def make(neuron=None, sizes=(5, 4), leaky=False, taus=(3.0, 10.0), **options):
    options = {"recurrent_scale": 0.3, "bias": (0.8, 1.4), "key": jax.random.key(0), **options}
    network = Network.dense(
        3, sizes, 2, neuron=neuron or LIF(tau_mem=10.0), synapse=Exponential(taus, 0.1), **options
    )
    if not leaky:
        return network
    return Network(
        network.layers, LeakyReadout.create((len(taus), sizes[-1]), 2, tau_out=8.0, key=jax.random.key(3))
    )


def by_hand(network, stimulus):
    """The documented recursion in a Python loop: one step for all layers at a time, one neuron at a time."""

    @jax.jit
    def step(before, x):
        states, series = [], []
        for layer, own in zip(network.layers, before, strict=True):
            current = layer.feedforward(x) + layer.recurrent(own.activation) + layer.bias
            end, path = layer.neuron.travel(own.neuron, current, DT)
            start = layer.neuron.level(GATE, own.neuron).charge
            q = path.count + layer.neuron.level(GATE, end).charge - start
            prompt = layer.neuron.released(GATE, end, path).prompt
            activation, _ = layer.synapse.step(own.activation, prompt + own.pending, DT)
            states.append(own._replace(neuron=end, activation=activation, pending=q - prompt))
            x = activation
            series.append({"activation": activation, "release": q, "v": end.v, "current": current})
        return states, (network.readout.connection(x) + network.readout.bias, series)

    states, rows = [layer.init() for layer in network.layers], []
    for x in stimulus:
        states, row = step(states, x)
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    "neuron", [NIF(tau_mem=10.0), LIF(tau_mem=10.0), Theta(tau_mem=10.0)], ids=lambda n: type(n).__name__
)
def test_equals_the_documented_recursion(neuron):
    network = make(neuron)
    found = jax.jit(lambda n, x: simulate(n, x, gate=GATE, dt=DT, save=SERIES))(network, STIMULUS[:12])
    for t, (readout, series) in enumerate(by_hand(network, STIMULUS[:12])):
        np.testing.assert_allclose(found.readout[t], readout, rtol=1e-9, atol=1e-11)
        for record, expected in zip(found.layers, series, strict=True):
            for field in SERIES:
                np.testing.assert_allclose(getattr(record, field)[t], expected[field], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_adjoints_have_one_forward_pass(adjoint, relative):
    network = make()
    run = lambda a: jax.jit(lambda n: simulate(n, STIMULUS, gate=GATE, dt=DT, save=SERIES, adjoint=a))(
        network
    )
    assert relative(run(ADJOINTS[adjoint]()), run(Costate())) < 1e-12


def test_jit_is_eager(relative):
    network = make()
    run = lambda n, x: simulate(n, x, gate=GATE, dt=DT, save=("v",))
    assert relative(jax.jit(run)(network, STIMULUS), run(network, STIMULUS)) < 1e-12


def test_vmap_is_a_loop(relative):
    network, batch = make(), jnp.stack([STIMULUS, -STIMULUS, 0 * STIMULUS])
    run = lambda x: simulate(network, x, gate=GATE, dt=DT)
    together, single = jax.jit(jax.vmap(run))(batch), jax.jit(run)
    for i, x in enumerate(batch):
        assert relative(jax.tree.map(lambda a, i=i: a[i], together), single(x)) < 1e-12


@pytest.mark.parametrize("leaky", by_day([False, True], [True]))
@pytest.mark.parametrize("release", ["charge", "graded", "surrogate", "hard"])
def test_chunks_are_the_whole(release, leaky, relative):
    network, gate = make(leaky=leaky), Gate("raised_cosine", 0.5, release=release)
    run = jax.jit(lambda x, state: simulate(network, x, gate=gate, dt=DT, save=("release",), state=state))
    whole = run(STIMULUS, network.init())
    state, parts = network.init(), []
    for chunk in (STIMULUS[:20], STIMULUS[20:]):
        part = run(chunk, state)
        state = part.state
        parts.append(part)
    assert relative(parts[-1].state, whole.state) < 1e-12
    assert relative(jnp.concatenate([p.readout for p in parts]), whole.readout) < 1e-12
    for i in range(2):
        assert relative(parts[0].counts[i] + parts[1].counts[i], whole.counts[i]) < 1e-12
        assert (
            relative(jnp.concatenate([p.layers[i].release for p in parts]), whole.layers[i].release) < 1e-12
        )


@pytest.mark.parametrize("adjoint", ["costate", "checkpointed"])
def test_saved_series(adjoint):
    network = make(taus=(3.0, 10.0))
    run = lambda save: jax.jit(
        lambda n: simulate(n, STIMULUS, gate=GATE, dt=DT, save=save, adjoint=ADJOINTS[adjoint]())
    )(network)
    out = run(SERIES)
    for record, n in zip(out.layers, (5, 4), strict=True):
        assert record.activation.shape == (STEPS, 2, n)
        assert record.release.shape == record.v.shape == record.current.shape == (STEPS, n)
    # What they say is the equations: counts, state, readout.
    for record, counts, state in zip(out.layers, out.counts, out.state.layers, strict=True):
        np.testing.assert_allclose(record.release.sum(0), counts, rtol=1e-12)
        np.testing.assert_array_equal(record.v[-1], state.neuron.v)
        np.testing.assert_array_equal(record.activation[-1], state.activation)
    np.testing.assert_allclose(
        jax.vmap(network.readout.connection)(out.layers[-1].activation), out.readout, rtol=1e-12
    )
    assert out.readout.shape == (STEPS, 2)
    only = run("v").layers[0]
    assert only.v is not None
    assert only.activation is only.release is only.current is None


def test_leaky_readout_is_the_filtered_linear_one():
    network = make(leaky=True)
    out = simulate(network, STIMULUS, gate=GATE, dt=DT, save=("activation",))
    target = jax.vmap(network.readout.connection)(out.layers[-1].activation) + network.readout.bias
    decay, o = np.exp(-DT / 8.0), np.zeros(2)
    for t in range(STEPS):
        o = decay * o + (1 - decay) * np.asarray(target[t])
        np.testing.assert_allclose(out.readout[t], o, rtol=1e-10, atol=1e-13)


def test_key_draws_the_initial_voltages():
    network = make(sizes=(50,), recurrent=False)
    run = lambda **options: (
        simulate(network, STIMULUS[:1], gate=GATE, dt=DT, save=("v",), **options).layers[0].v[0]
    )
    a, b, c = run(key=jax.random.key(1)), run(key=jax.random.key(2)), run()
    assert float(jnp.std(a)) > 0.1
    assert not np.allclose(a, b)
    np.testing.assert_allclose(c, run(state=network.init()))


def test_hard_release_counts_spikes():
    network = make()
    out = jax.jit(lambda n: simulate(n, STIMULUS, gate=GATE.hard(), dt=DT, save=("release",)))(network)
    assert set(np.unique(out.layers[0].release)) <= {0.0, 1.0, 2.0}
    assert float(out.counts[0].sum()) >= 3


def test_sharp_gate_tends_to_the_hard_one():
    network = make(recurrent=False, sizes=(5,))
    run = jax.jit(lambda gate: simulate(network, STIMULUS, gate=gate, dt=DT).counts[0])
    hard = jax.jit(lambda: simulate(network, STIMULUS, gate=GATE.hard(), dt=DT).counts[0])()
    np.testing.assert_allclose(run(GATE.sharpen(1e4)), hard, atol=1e-6)


def test_sharpness_by_vmap():
    network = make(sizes=(4,))
    run = lambda a: simulate(network, STIMULUS[:15], gate=GATE.sharpen(a), dt=DT).readout
    together = jax.jit(jax.vmap(run))(jnp.array([1.0, 2.0, 5.0]))
    for a, out in zip((1.0, 2.0, 5.0), together, strict=True):
        np.testing.assert_allclose(out, jax.jit(run)(a), rtol=1e-10, atol=1e-12)


def test_positive_parameters_are_the_same_network(relative):
    network = make()
    run = jax.jit(lambda n: simulate(n, STIMULUS, gate=GATE, dt=DT))
    wrapped = positive(network, ("tau_mem", "tau_syn"))
    assert isinstance(wrapped.layers[0].neuron.tau_mem, Positive)
    assert relative(run(wrapped), run(network)) < 1e-12
    assert positive(wrapped, ("tau_mem",)).layers[0].neuron.tau_mem.raw.shape == ()


@pytest.mark.parametrize(
    ("neuron", "fields"), [(LIF(), ("tau_syn",)), (Theta(), ("tau_mem",))], ids=["tau_syn", "theta tau_mem"]
)
def test_positive_parameters_can_be_initialised(neuron, fields):
    positive(make(neuron), fields).init(key=jax.random.key(0))


def test_trainable():
    network = make()
    flags = trainable(network, ("weight",))
    assert flags.layers[0].feedforward.weight is True
    assert flags.layers[0].bias is False
    assert trainable(positive(network, ("tau_mem",)), ("tau_mem",)).layers[1].neuron.tau_mem.raw is True
    with pytest.raises(
        ValueError,
        match="`trainable` names 'tau_men', which the network does not have: choose from .*tau_mem",
    ):
        trainable(network, ("tau_men",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stimulus": jnp.ones((10, 4))}, r"`stimulus` has \(4,\) channels but the network expects \(3,\)"),
        ({"stimulus": jnp.ones((0, 3))}, "`stimulus` is empty"),
        ({"mask": jnp.ones(9, bool)}, r"`mask` has shape \(9,\), but the trial has 10 steps"),
        ({"dt": 0.0}, "`dt` is 0.0, but must be finite and above 0: give a time step in ms"),
        ({"dt": 4.0}, "`dt` of 4 ms is too large: layer 0 has a tau_syn of 3 ms"),
        (
            {"gate": Gate(width=1.5)},
            "the active zone is 1.5 wide but layer 0 has only 1 between v_reset and v_th",
        ),
    ],
)
def test_bad_input(options, message):
    arguments = {"stimulus": jnp.ones((10, 3)), "gate": GATE, "dt": DT, **options}
    with pytest.raises(ValueError, match=message):
        simulate(make(), arguments.pop("stimulus"), **arguments)


def test_an_unknown_series():
    # Asked inside: with the annotations checked, as here, the wrong word would not get that far.
    with pytest.raises(
        ValueError, match="`save` names 'voltage': choose from activation, release, v, current"
    ):
        _check_save("voltage")


def test_a_batch_without_vmap():
    # One trial is a matrix; with the annotations checked the same input fails one call earlier.
    with pytest.raises(Exception, match=r"use jax.vmap over trials|stimulus"):
        simulate(make(), jnp.ones((2, 10, 3)), gate=GATE, dt=DT)


def test_a_dt_above_tau_mem():
    with pytest.raises(ValueError, match="layer 1 has a tau_mem of 0.8 ms"):
        network = eqx.tree_at(lambda n: n.layers[1].neuron.tau_mem, make(), jnp.array(0.8))
        check_step(network, GATE, 1.0)
    check_step(make(NIF(tau_mem=0.1)), GATE, 1.0)


def test_shapes_that_do_not_fit():
    synapse, key = Exponential((3.0, 10.0), rate_unit=1.0), jax.random.key(0)
    feedforward = Dense.normal((3,), (5,), 1.0, key=key)
    with pytest.raises(ValueError, match=r"`bias` has shape \(4,\), the layer's neurons \(5,\)"):
        Layer(feedforward, None, jnp.zeros(4), LIF(), synapse)
    with pytest.raises(
        ValueError,
        match=r"`recurrent` maps \(1, 5\) to \(5,\), but the layer's activation has shape \(2, 5\)",
    ):
        Layer(feedforward, Dense.normal((1, 5), (5,), 1.0, key=key), jnp.zeros(5), LIF(), synapse)
    layer = Layer(feedforward, None, jnp.zeros(5), LIF(), synapse)
    with pytest.raises(
        ValueError,
        match=r"`readout.connection` takes inputs of shape \(2, 6\), but the layer below gives \(2, 5\)",
    ):
        Network((layer,), LinearReadout.create((2, 6), 2, key=key))
    with pytest.raises(ValueError, match=r"`layers\[1\].feedforward` takes inputs of shape \(3,\)"):
        Network((layer, layer), LinearReadout.create((2, 5), 2, key=key))
    with pytest.raises(ValueError, match="`layers` is empty"):
        Network((), LinearReadout.create((2, 5), 2, key=key))


def test_autapses():
    layer = Layer.dense(
        (3,),
        5,
        LIF(),
        Exponential((1.0, 2.0), rate_unit=1.0),
        autapses=False,
        key=jax.random.key(0),
        bias=(0.0, 0.0),
        recurrent_scale=0.5,
    )
    weight = np.asarray(resolve(layer).recurrent.weight)
    assert np.all(np.einsum("iki->ki", weight) == 0)
    assert np.count_nonzero(weight) == 5 * 2 * 4
