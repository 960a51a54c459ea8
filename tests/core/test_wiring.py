"""How layers are wired: sparse, Dale's law, conductances; and the background current."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    Autodiff,
    Costate,
    Dense,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Noise,
    Ports,
    Theta,
    simulate,
    trainable,
)
from spikejax.connections import AbstractConnection
from spikejax.initialise import dale_signs
from spikejax.parameters import resolve

from ..by_day import by_day

SYNAPSE, KEY = Exponential((3.0, 10.0), 0.1), jax.random.key(0)


def layer(size=40, shape=(3,), **options):
    options = {"bias": (0.0, 0.0), "recurrent_scale": 0.5} | options
    return Layer.dense(shape, size, LIF(tau_mem=10.0), SYNAPSE, key=KEY, **options)


def trained(network, steps=3):
    """The network after some steps of gradient descent on a readout that is to be 1."""
    params, fixed = eqx.partition(network, trainable(network))
    x = jnp.ones((30, *network.in_shape))
    loss = lambda p: jnp.mean((simulate(eqx.combine(p, fixed), x, gate=Gate(), dt=0.5).readout - 1) ** 2)
    for _ in range(steps):
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.jit(jax.grad(loss))(params))
    return resolve(eqx.combine(params, fixed))


def network(own):
    return Network((own,), LinearReadout.create((2, own.shape[0]), 1, key=KEY))


def test_sparse_synapses_stay_absent():
    own = layer(60, density=0.2, bias=(1.0, 2.0))
    weight = resolve(own.recurrent).weight
    present = weight != 0
    assert 0.15 < float(present.mean()) < 0.25
    # Both time constants of a pair exist or neither; the variance of the sum is that of a dense layer.
    np.testing.assert_array_equal(present[:, 0], present[:, 1])
    assert float((weight**2).sum()) == pytest.approx(0.5**2 * 2 * 60, rel=0.15)
    after = trained(network(own)).layers[0].recurrent.weight
    np.testing.assert_array_equal(after != 0, present)
    assert float(jnp.abs(after - weight).max()) > 1e-4


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_a_mean_is_what_inputs_of_one_add_up_to(density):
    made = Dense.create((400,), (200,), scale=0.5, mean=3.0, density=density, key=KEY)
    sums = resolve(made.weight).sum(axis=1)
    # Of a sparse row the number of synapses varies, too.
    spread = np.sqrt(0.5**2 + 3.0**2 * (1 / density - 1) / 400)
    np.testing.assert_allclose(sums.mean(), 3.0, atol=4 * spread / np.sqrt(200))
    np.testing.assert_allclose(sums.std(), spread, rtol=0.2)


def test_dales_law_holds_after_training():
    own = layer(20, excitatory=0.8, density=0.5, bias=(1.0, 2.0))
    before = resolve(own.recurrent).weight
    after = trained(network(own)).layers[0].recurrent.weight
    for weight in (before, after):
        assert float(weight[..., :16].min()) >= 0
        assert float(weight[..., 16:].max()) <= 0
    assert float(jnp.abs(after - before).max()) > 1e-4
    np.testing.assert_allclose(dale_signs(20, 0.8).sum(), 0.0, atol=1e-12)


def test_the_layer_above_sees_the_sign():
    own = layer(4, shape=(2, 10), input_sign=dale_signs(10, 0.5))
    weight = resolve(own.feedforward).weight
    assert float(weight[..., :5].min()) > 0 > float(weight[..., 5:].max())


@pytest.mark.parametrize("fraction", [0.0, 0.01, 1.0])
def test_dales_law_needs_both(fraction):
    with pytest.raises(ValueError, match="some of both"):
        layer(10, excitatory=fraction)


def test_conductances_by_hand():
    """One neuron, one step: the LIF's closed form with I and g of the two ports."""
    weight = jnp.array([0.3, 0.7])
    ports = Ports((Dense(jnp.array([[0.2]]), (1,)), *(Dense(w.reshape(1, 1), (1,)) for w in weight)))
    own = Layer(
        ports,
        None,
        jnp.array([0.5]),
        LIF(tau_mem=10.0),
        Exponential(5.0, rate_unit=1.0),
        jnp.array([4.0, -0.5]),
    )
    found = simulate(network_of(own), jnp.ones((1, 1)), gate=Gate(), dt=1.0, save=("v", "current")).layers[0]
    np.testing.assert_allclose(found.current[0, :, 0], [0.7, 0.3, 0.7])
    total, target = 1 + 0.3 + 0.7, 0.7 + 0.3 * 4.0 - 0.7 * 0.5
    np.testing.assert_allclose(found.v[0], target / total * (1 - np.exp(-total / 10)), rtol=1e-12)


def network_of(own):
    return Network((own,), LinearReadout.create((1, 1), 1, key=KEY))


def conductance_network():
    first = layer(
        10,
        excitatory=0.6,
        density=0.7,
        reversal=(4.0, -0.5),
        bias=(0.6, 1.2),
        input_scale=0.4,
        recurrent_scale=0.4,
    )
    second = layer(
        5,
        shape=(2, 10),
        recurrent=False,
        input_sign=dale_signs(10, 0.6),
        reversal=(4.0, -0.5),
        bias=(0.6, 1.2),
    )
    return Network((first, second), LinearReadout.create((2, 5), 1, key=KEY))


def test_conductances_open_by_the_kind_of_neuron():
    own, above = resolve(conductance_network()).layers
    current, up, down = own.recurrent.connections
    assert current is None
    assert isinstance(own.recurrent, AbstractConnection)
    assert own.recurrent.out_shape == (3, 10)
    assert float(up.weight.min()) == float(down.weight.min()) == 0
    assert float(jnp.abs(up.weight[..., 6:]).max()) == float(jnp.abs(down.weight[..., :6]).max()) == 0
    assert float(up.weight[..., :6].max()) > 0
    assert float(down.weight[..., 6:].max()) > 0
    assert float(above.feedforward.connections[1].weight[..., 6:].max()) == 0


@pytest.mark.nightly
def test_gradients_through_conductances(relative):
    net = conductance_network()
    x = jax.random.uniform(jax.random.key(1), (60, 3))
    value = lambda adjoint: (
        lambda p: jnp.mean(
            simulate(eqx.combine(p, fixed), x, gate=Gate(), dt=0.5, adjoint=adjoint).readout ** 2
        )
    )
    params, fixed = eqx.partition(net, eqx.is_inexact_array)
    costate, exact = (jax.jit(jax.grad(value(adjoint)))(params) for adjoint in (Costate(), Autodiff()))
    assert relative(costate, exact) < 1e-10
    assert float(jnp.abs(exact.layers[0].reversal).min()) > 0
    assert float(simulate(net, x, gate=Gate().hard(), dt=0.5).counts[0].sum()) > 3
    f = jax.jit(
        lambda e: value(Autodiff())(
            eqx.tree_at(
                lambda p: p.layers[0].reversal, params, params.layers[0].reversal + jnp.array([e, 0.0])
            )
        )
    )
    assert (float(f(1e-6)) - float(f(-1e-6))) / 2e-6 == pytest.approx(
        float(exact.layers[0].reversal[0]), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reversal": (4.0, -0.5)}, "needs `excitatory`"),
        ({"reversal": (4.0, -0.5), "excitatory": 0.5, "input_norm": 2.0}, "input_norm"),
        ({"excitatory": 0.5, "self_excitation": (0.1, 0.2)}, "self_excitation"),
    ],
)
def test_wiring_that_makes_no_sense(options, words):
    with pytest.raises(ValueError, match=words):
        layer(10, **options)


def test_conductances_that_do_not_fit():
    with pytest.raises(ValueError, match="which Theta neurons do not take"):
        Layer.dense(
            (3,),
            5,
            Theta(),
            SYNAPSE,
            excitatory=0.5,
            reversal=(4.0, -0.5),
            key=KEY,
            bias=(0.0, 0.0),
            recurrent_scale=0.5,
        )
    with pytest.raises(ValueError, match="reversal potentials"):
        Layer(Dense(jnp.ones((5, 3)), (3,)), None, jnp.zeros(5), LIF(), SYNAPSE, jnp.array([4.0, -0.5]))
    with pytest.raises(ValueError, match="one shape"):
        Ports((None, Dense(jnp.ones((5, 3)), (3,)), Dense(jnp.ones((4, 3)), (3,))))


@pytest.mark.parametrize("dt", [0.1, 1.0])
def test_white_background_current(dt):
    """The membrane's variance is ``current^2/(2 tau_mem)`` at any dt (with 1 ms as the unit of the noise)."""
    own = Layer.dense(
        (1,),
        400,
        LIF(tau_mem=10.0, v_th=100.0),
        SYNAPSE,
        recurrent=False,
        input_scale=0.0,
        key=KEY,
        bias=(0.0, 0.0),
    )
    noise = Noise(current=2.0)
    steps = round(300 / dt)
    run = simulate(
        network(own),
        jnp.zeros((steps, 1)),
        gate=Gate(),
        dt=dt,
        key=jax.random.key(3),
        noise=noise,
        save=("v",),
    )
    v = np.asarray(run.layers[0].v[steps // 4 :])
    # Of 400 neurons and some 11 correlation times each: 2 % standard error of the variance.
    assert v.var() == pytest.approx(4.0 / 20.0, rel=0.08)


def test_correlated_background_current():
    current = np.asarray(Noise(current=2.0, tau=15.0).background(jax.random.key(0), 400, (2000,), 0.5))
    assert current[0].std() == pytest.approx(2.0, rel=0.06)
    assert current[-1].std() == pytest.approx(2.0, rel=0.06)
    assert np.mean(current[40] * current[10]) / 4.0 == pytest.approx(np.exp(-1), abs=0.06)
    assert abs(current.mean()) < 0.05


def test_noise_needs_a_key_and_repeats_with_it():
    net = network(layer(8, bias=(1.0, 1.5)))
    x = jnp.zeros((40, 3))
    run = lambda key, noise: (
        simulate(net, x, gate=Gate(), dt=0.5, key=key, noise=noise, save=("v",)).layers[0].v
    )
    one, again, other = (run(jax.random.key(k), Noise(current=0.5)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert float(jnp.abs(one - other).max()) > 0.01
    # Layers and neurons have their own.
    assert float(jnp.abs(jnp.diff(run(jax.random.key(1), Noise(current=0.5, tau=5.0)), axis=1)).min()) > 0
    with pytest.raises(ValueError, match="key"):
        run(None, Noise(current=0.5))


def test_noise_is_an_argument_and_differs_between_neurons(relative):
    # Nothing spikes, so that v is linear in the amounts.
    own = Layer.dense(
        (3,), 3, LIF(tau_mem=10.0, v_th=100.0), SYNAPSE, key=KEY, bias=(0.0, 0.0), recurrent_scale=0.5
    )
    net, x = network(own), jnp.zeros((20, 3))

    def voltages(noise):
        key = jax.random.key(1)
        return simulate(net, x, gate=Gate(), dt=0.5, key=key, noise=noise, save=("v",)).layers[0].v

    compiled = jax.jit(voltages)
    for noise in (Noise(0.1, 0.3, 4.0), Noise(0.1, 0.3), Noise(current=0.3), Noise()):
        if not noise.silent:
            assert relative(compiled(noise), voltages(noise)) < 1e-12
    assert compiled._cache_size() == 1
    # One amount for every neuron: each as if all had it.
    amounts = jnp.array([0.0, 0.2, 0.4])
    each = voltages(Noise(0.1 * amounts, amounts, jnp.array([0.0, 0.0, 5.0])))
    for i, tau in enumerate((0.0, 0.0, 5.0)):
        alone = voltages(Noise(float(0.1 * amounts[i]), float(amounts[i]), tau))
        np.testing.assert_allclose(each[:, i], alone[:, i], rtol=1e-12, atol=1e-14)
    slope = jax.grad(lambda a: jnp.sum(voltages(Noise(current=a, tau=3.0))[-1]))(0.2)
    rise = jnp.sum(voltages(Noise(current=1.2, tau=3.0))[-1] - voltages(Noise(current=0.2, tau=3.0))[-1])
    assert float(slope) == pytest.approx(float(rise), rel=1e-9)
    with pytest.raises(ValueError, match=r"Noise: `current` has shape \(2,\), but layer 0 has the neurons"):
        voltages(Noise(current=jnp.ones(2)))


@pytest.mark.parametrize("tau", by_day([0.0, 20.0], [20.0]))
def test_noise_goes_on_where_a_recording_was_cut(tau, relative):
    """The same key for every chunk: the whole in chunks is the whole in one go, under jit, vmap and scan."""
    noise, key, save = Noise(current=0.7, tau=tau), jax.random.key(1), ("current", "v")
    net = network(layer(4, bias=(1.0, 1.5)))
    x = jax.random.normal(jax.random.key(2), (30, 3))

    @jax.jit
    def run(x, state, key, mask=None):
        return simulate(net, x, gate=Gate(), dt=0.5, state=state, key=key, noise=noise, save=save, mask=mask)

    whole = run(x, net.init(noise=noise), key)
    assert int(whole.state.background.steps) == 30
    # From a state that knows of no noise, and through chunks of several lengths.
    state, parts = net.init(), []
    for part in (x[:11], x[11:12], x[12:]):
        parts.append(run(part, state, key))
        state = parts[-1].state
    current = jnp.concatenate([p.layers[0].current for p in parts])
    assert relative(current, whole.layers[0].current) < 1e-12
    assert relative(state, whole.state) < 1e-12
    # Noise of its own in every chunk, and the same in the trial that begins anew.
    assert float(jnp.abs(parts[0].layers[0].current[0] - parts[1].layers[0].current[0]).min()) > 1e-3
    np.testing.assert_array_equal(run(x[:11], net.init(), key).layers[0].current, current[:11])
    # As one scan, over a batch of trials with keys of their own.
    keys = jax.random.split(jax.random.key(5), 3)

    def chunked(key):
        advance = lambda state, part: (lambda s: (s.state, s.layers[0].v))(run(part, state, key))
        return jax.lax.scan(advance, net.init(noise=noise), x.reshape(3, 10, 3))

    end, v = jax.jit(jax.vmap(chunked))(keys)
    for i, k in enumerate(keys):
        alone = run(x, net.init(), k)
        assert relative(v[i].reshape(30, -1), alone.layers[0].v) < 1e-12
        assert relative(jax.tree.map(lambda a, i=i: a[i], end), alone.state) < 1e-12


@pytest.mark.parametrize("tau", [0.0, 20.0])
def test_noise_does_not_hang_on_the_padding(tau, relative):
    noise, key = Noise(current=0.7, tau=tau), jax.random.key(1)
    net, x = network(layer(4, bias=(1.0, 1.5))), jnp.zeros((12, 3))
    run = lambda x, mask=None, state=None: simulate(
        net, x, gate=Gate(), dt=0.5, key=key, noise=noise, save="v", mask=mask, state=state
    )
    short, padded = run(x), run(jnp.zeros((19, 3)), jnp.arange(19) < 12)
    assert relative(padded.layers[0].v[:12], short.layers[0].v) < 1e-12
    assert relative(padded.state, short.state) < 1e-12
    # A stretch of no step at all leaves everything where it is.
    still = run(x, jnp.zeros(12, bool), short.state)
    assert relative(still.state, short.state) < 1e-12


def test_a_state_without_noise_is_what_it_was():
    """No leaf is added: a state is differentiated, raveled and carried as before."""
    net, x = network(layer(4)), jnp.zeros((5, 3))
    state = net.init()
    assert state.background is None
    assert net.init(noise=Noise(initial=0.2), key=jax.random.key(0)).background is None
    end = simulate(net, x, gate=Gate(), dt=0.5, state=state).state
    assert jax.tree.structure(end) == jax.tree.structure(state)
    # What has begun is kept through a stretch without noise, so that no noise comes twice.
    noisy = simulate(net, x, gate=Gate(), dt=0.5, key=jax.random.key(0), noise=Noise(current=1.0)).state
    quiet = simulate(net, x, gate=Gate(), dt=0.5, state=noisy).state
    assert int(quiet.background.steps) == int(noisy.background.steps) == 5
