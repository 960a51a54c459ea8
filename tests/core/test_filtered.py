"""A filtered connection: filter and weights commute, events are taken too, and a table can hold another's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    Alpha,
    Autodiff,
    Costate,
    Dense,
    DoubleExponential,
    Events,
    Exponential,
    Filtered,
    Gate,
    Layer,
    Network,
    SampledAlpha,
    simulate,
)  # fmt: skip
from spikejax.configuration import build, check
from spikejax.connections import ActivationShape
from spikejax.errors import ConfigError
from spikejax.readouts import LinearReadout

KEY, DT = jax.random.key(0), 0.5
KINDS = [Alpha(4.0), SampledAlpha(4.0), Exponential(4.0), DoubleExponential(1.0, 4.0)]


@pytest.mark.parametrize("synapse", KINDS, ids=lambda s: type(s).__name__)
def test_filter_and_weights_commute(synapse, relative):
    made = Filtered.create((5,), (3,), key=KEY, synapse=synapse).at(DT)
    x = jax.random.bernoulli(KEY, 0.2, (30, 5)).astype(float)

    def step(state, q):
        activation, hidden = synapse.step(state[0], q, DT, state[1])
        return (activation, hidden), activation[0]

    traces = jax.lax.scan(step, (synapse.init((5,)), synapse.init_hidden((5,))), x)[1]
    assert relative(made.over_time(x)[0], traces @ made.connection.weight.T) < 1e-13
    step, channel = np.nonzero(x)
    events = Events(step, channel, steps=30, channels=5)
    assert relative(made.over_time(events), made.over_time(x)) < 1e-13


@pytest.mark.nightly
def test_its_times_are_trained_by_every_adjoint(relative):
    strong, into = partial(Dense.create, scale=4.0), Alpha(5.0, 0.2)
    first = partial(Filtered.create, connection=strong, synapse=into)
    own = partial(Filtered.create, synapse=Exponential(3.0, 1.0))
    below = ActivationShape((2, 4))
    layers = (
        Layer.create((3,), 4, LIF(), Exponential((2.0, 8.0)), key=KEY, feedforward=first),
        Layer.create(below, 4, LIF(), Exponential(5.0), key=KEY, recurrent=own),
    )
    network = Network(layers, LinearReadout.create((1, 4), 2, key=KEY))
    x = jax.random.bernoulli(KEY, 0.3, (60, 3)).astype(float)
    run = lambda n, adjoint: simulate(n, x, gate=Gate(), dt=DT, adjoint=adjoint)
    loss = lambda n, adjoint: jnp.sum(run(n, adjoint).readout ** 2)
    costate, plain = (
        jax.jit(jax.grad(partial(loss, adjoint=a), allow_int=True))(network) for a in (Costate(), Autodiff())
    )
    assert relative(costate, plain) < 1e-12
    for layer, name in ((0, "feedforward"), (1, "recurrent")):
        where = lambda n: getattr(n.layers[layer], name).synapse.tau_syn
        assert float(jnp.abs(where(costate)).min()) > 0
    # In two halves as in one go: the filter goes on.
    half = simulate(network, x[:25], gate=Gate(), dt=DT)
    rest = simulate(network, x[25:], gate=Gate(), dt=DT, state=half.state)
    np.testing.assert_allclose(
        jnp.concatenate([half.readout, rest.readout]), run(network, Costate()).readout, rtol=1e-12, atol=1e-13
    )


def test_what_it_refuses():
    with pytest.raises(ValueError, match="2 time constants"):
        Filtered.create((3,), (2,), key=KEY, synapse=Exponential((2.0, 5.0)))
    with pytest.raises(ValueError, match=r"call `at\(dt\)`"):
        Filtered.create((3,), (2,), key=KEY).step(jnp.ones(3))


def test_a_table_holds_another():
    inner = {"kind": "dense", "scale": 7.0, "density": 0.5}
    into = {"kind": "filtered", "connection": inner, "synapse": {"kind": "alpha", "tau_syn": [6.0]}}
    slow = {"neuron": {"tau_mem": 100.0}, "synapse": {"tau_syn": [50.0]}}
    layer = {"size": 40, "feedforward": into} | slow
    network = build(check({"dt": 12.5, "network": {"layers": [layer]}})).network
    made = network.layers[0].feedforward
    assert isinstance(made, Filtered)
    assert isinstance(made.synapse, Alpha)
    assert float(made.synapse.tau_syn[0]) == 6.0
    weight = made.connection.weight.value
    assert float(jnp.mean(weight == 0)) == pytest.approx(0.5, abs=0.1)
    assert float(jnp.std(weight)) * np.sqrt(32) == pytest.approx(7.0, rel=0.1)
    for key, text in (
        (("connection", "scale"), "connection.scale"),
        (("synapse", "tau_syn"), "synapse.tau_syn"),
    ):
        wrong = into | {key[0]: dict(into[key[0]]) | {key[1]: [-1.0]}}
        with pytest.raises(ConfigError, match=f"network.layers.0.feedforward.{text}"):
            check({"dt": 12.5, "network": {"layers": [{"feedforward": wrong}]}})
