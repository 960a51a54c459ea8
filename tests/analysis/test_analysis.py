"""Analyses on constructed examples whose answer is known."""

import json
import os
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import (
    LIF,
    ClockDriven,
    Costate,
    Dense,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Noise,
    Skip,
    simulate,
    trainable,
)
from spikejax.analysis import (
    ablate_neurons,
    ablate_synapses,
    balance,
    decode,
    gradient_report,
    grouping,
    growth,
    interval_statistics,
    lagged_error,
    one_step_eigenvalues,
    principal_components,
    raster_similarity,
    record,
    split_currents,
)
from spikejax.analysis.linearisation import jacobians
from spikejax.cli import main
from spikejax.losses import SquaredError
from spikejax.starting import one_thread_for_small_matrices
from spikejax.tasks import Trial
from spikejax.training import run_trial

from ..configs import XOR, toml

GATE = Gate("raised_cosine", 0.5)
SIMULATOR = ClockDriven(GATE, 1.0)


@pytest.fixture(scope="module")
def network():
    return Network.dense(
        2,
        (5,),
        1,
        neuron=LIF(tau_mem=10.0),
        synapse=Exponential((3.0, 8.0), 0.02),
        input_scale=2.0,
        bias=(1.0, 1.4),
        key=jax.random.key(0),
        recurrent_scale=0.5,
    )


@pytest.fixture(scope="module")
def trials():
    x = jax.random.normal(jax.random.key(1), (6, 40, 2))
    return Trial(
        x,
        0.1 * jax.random.normal(jax.random.key(2), (6, 40, 1)),
        jnp.arange(40) < jnp.arange(35, 41)[:, None],
    )


def test_record(network, trials):
    run = record(network, trials, SIMULATOR, at_once=4)
    one = simulate(
        network,
        trials.stimulus[2],
        gate=GATE,
        dt=1.0,
        mask=trials.mask[2],
        save=("release", "v", "activation"),
    )
    np.testing.assert_allclose(run.readout[2], one.readout, atol=1e-12)
    np.testing.assert_allclose(run.release[2], one.layers[0].release, atol=1e-12)
    np.testing.assert_allclose(run.v[2], one.layers[0].v, atol=1e-12)
    np.testing.assert_allclose(run.activation[2], one.layers[0].activation[:, 1], atol=1e-12)
    assert run.mask[0].sum() == 35


def test_lagged_error_finds_the_lag():
    t = np.arange(2000) * 0.5
    y = np.sin(2 * np.pi * t / 150)[None, :, None]
    lags, errors = lagged_error(np.sin(2 * np.pi * (t - 4.0) / 150)[None, :, None], y, 0.5)
    assert lags[errors.argmin()] == 4.0
    assert errors.min() < 1e-12
    assert np.isclose(errors[0], np.sum((np.sin(2 * np.pi * (t - 4) / 150) - y[0, :, 0]) ** 2) / np.sum(y**2))


def test_interval_statistics():
    rng = np.random.default_rng(0)
    poisson = (rng.random((2, 200_000, 3)) < 0.01).astype(float)
    found = interval_statistics(poisson, 1.0)
    assert found.trains == 6
    assert abs(found.cv - 1) < 0.03
    assert abs(found.cv2 - 1) < 0.03
    regular = np.zeros((1, 1000, 1))
    regular[0, ::20] = 1
    assert interval_statistics(regular, 1.0)[:2] == (0, 0)
    # A rate that doubles half-way: irregular as a whole, regular locally.
    slow = np.zeros((1, 4000, 1))
    slow[0, :2000:40] = slow[0, 2000::10] = 1
    found = interval_statistics(slow, 1.0)
    assert found.cv > 0.5
    assert found.cv2 < 0.02
    assert np.isnan(interval_statistics(np.zeros((1, 100, 2)), 1.0).cv)


def test_similarity_groups_alike_rasters():
    rng = np.random.default_rng(1)
    group = np.arange(20) % 2
    rate = np.where(rng.random((2, 30)) < 0.5, 0.08, 0.0)
    release = (rng.random((20, 300, 30)) < rate[group][:, None]).astype(float)
    matrix = raster_similarity(release, 1.0, 0.0, 300.0)
    assert np.allclose(np.diag(matrix), 1)
    same, different = grouping(matrix, group)
    assert same > 0.25
    assert different < -0.2
    assert abs(np.subtract(*grouping(matrix, np.arange(20) // 10))) < 0.1


def test_currents_add_up_and_balance(network, trials):
    x = trials.stimulus[0]
    solution = simulate(network, x, gate=GATE, dt=1.0, save=("activation", "current"))
    after = np.asarray(solution.layers[0].activation)
    before = np.concatenate([np.zeros_like(after[:1]), after[:-1]])
    e, i = split_currents(network.layers[0], np.asarray(x), before)
    np.testing.assert_allclose(e + i, solution.layers[0].current, atol=1e-10)
    assert e.min() >= 0
    assert i.max() <= 0
    rng = np.random.default_rng(0)
    drive = 5 + np.cumsum(rng.normal(size=(2000, 3)), axis=0)
    perfect = balance(drive, -0.9 * drive, 1.0)
    assert np.isclose(perfect.correlation, 1)
    assert np.isclose(perfect.ratio, 0.1)


def test_principal_components():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(7, 50, 2)) * np.array([3.0, 1.0])
    directions = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    found = principal_components(hidden @ directions + 4.0, 3)
    assert np.isclose(found.explained[:2].sum(), 1)
    assert found.explained[0] > 0.85
    np.testing.assert_allclose(found.directions[:2] @ found.directions[:2].T, np.eye(2), atol=1e-10)
    back = found.trajectories[..., :2] @ found.directions[:2]
    mean = (hidden @ directions).reshape(-1, 6).mean(axis=0)
    np.testing.assert_allclose(back, hidden @ directions - mean, atol=1e-8)


def test_decode_knows_when():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 150)
    activity = rng.normal(size=(150, 6, 8))
    activity[:, 3:] += 4 * np.eye(3, 8)[label][:, None]
    activity[:, 5] = activity[:, 5, ::-1]  # the code moves to other neurons
    curve = decode(activity, label)
    assert curve[:3].max() < 0.5
    assert curve[3:].min() > 0.95
    frozen = decode(activity, label, train_at=3)
    assert frozen[4] > 0.95
    assert frozen[5] < 0.6
    with pytest.raises(ValueError, match="4 trials for 5 folds"):
        decode(activity[:4], label[:4])


def test_jacobian_and_its_eigenvalues(network, trials):
    x = trials.stimulus[0]
    found = np.asarray(jacobians(network, x, SIMULATOR))
    assert found.shape == (40, 20, 20)  # v, two activations and what is pending, of five neurons
    # The product of the one-step maps is the derivative of the whole trial's.
    from jax.flatten_util import ravel_pytree

    z, unravel = ravel_pytree(network.init())

    def whole(z):
        return ravel_pytree(simulate(network, x, gate=GATE, dt=1.0, state=unravel(z)).state)[0]

    np.testing.assert_allclose(np.linalg.multi_dot(found[::-1]), jax.jacrev(whole)(z), rtol=1e-6, atol=1e-9)
    values = one_step_eigenvalues(found)
    np.testing.assert_allclose(np.prod(values, axis=1), np.linalg.det(found), rtol=1e-6, atol=1e-12)
    # Without spikes and recurrence: decay with the neurons' and synapses' time constants.
    quiet = Layer.dense(
        (2,),
        3,
        LIF(tau_mem=10.0),
        Exponential((3.0, 8.0), 0.02),
        recurrent=False,
        key=jax.random.key(0),
        bias=(0.0, 0.0),
    )
    single = Network(
        (quiet,),
        Network.dense(
            2,
            (3,),
            1,
            neuron=LIF(),
            synapse=Exponential((3.0, 8.0), rate_unit=1.0),
            key=jax.random.key(0),
            bias=(0.0, 0.0),
            recurrent_scale=0.5,
        ).readout,
    )
    decays = np.asarray(jacobians(single, jnp.zeros((10, 2)), SIMULATOR))
    expected = np.sort(np.repeat(np.exp(-1 / np.array([3.0, 8.0, 10.0])), 3))
    # What is pending has arrived after a step.
    found = np.sort(one_step_eigenvalues(decays)[4].real)
    np.testing.assert_allclose(found, [0, 0, 0, *expected], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(growth(decays, 1.0)[:9], np.sort(1e3 * np.log(expected))[::-1], rtol=1e-8)


def test_ablation(network, trials):
    loss = SquaredError()
    found = ablate_neurons(network, trials, loss, SIMULATOR)

    def score(n):
        return float(
            jnp.mean(
                jax.vmap(lambda t: loss(simulate(n, t.stimulus, gate=GATE, dt=1.0, mask=t.mask), t)[0])(
                    trials
                )
            )
        )

    assert np.isclose(found.whole[0], score(network))
    assert np.isnan(found.whole[1])
    for i in (0, 3):
        own, out = (
            network.layers[0].recurrent.weight.at[:, :, i].set(0.0),
            network.readout.connection.weight.at[:, :, i].set(0.0),
        )
        lesioned = eqx.tree_at(
            lambda n: (n.layers[0].recurrent.weight, n.readout.connection.weight), network, (own, out)
        )
        assert np.isclose(found.loss[i], score(lesioned))
    weak = eqx.tree_at(
        lambda n: n.layers[0].recurrent, network, Dense(1e-4 * network.layers[0].recurrent.weight, (2, 5))
    )
    synapses = ablate_synapses(weak, trials, loss, SIMULATOR, count=10)
    assert synapses.parts.shape == (10, 3)
    change = synapses.loss - synapses.whole[0]
    # Of weak synapses the gradient tells the whole effect.
    np.testing.assert_allclose(change, synapses.predicted, rtol=1e-2, atol=1e-3 * np.abs(change).max())
    s = jax.vmap(
        lambda t: (
            simulate(weak, t.stimulus, gate=GATE, dt=1.0, mask=t.mask, save="activation").layers[0].activation
        )
    )(trials)
    carried = np.abs(weak.layers[0].recurrent.weight) * np.abs(s).mean(axis=(0, 1))
    assert np.array_equal(synapses.parts[0], np.unravel_index(np.argmax(carried), carried.shape))


@pytest.mark.nightly
def test_what_is_ablated_reaches_nobody():
    """A population of two axes, the neurons of which also skip a layer."""
    keys, neuron, synapse = jax.random.split(jax.random.key(0), 5), LIF(), Exponential((3.0, 8.0), 0.02)
    first = Layer.create((2,), (2, 3), neuron, synapse, bias=(2.0, 3.0), key=keys[0])
    second = Layer.create(first.activation_shape, 3, neuron, synapse, bias=(2.0, 3.0), key=keys[1])
    third = Layer.create(second.activation_shape, 2, neuron, synapse, bias=(2.0, 3.0), key=keys[2])
    skip = Skip(Dense.create(first.activation_shape, (2,), scale=3.0, key=keys[3]), 0, 2)
    readout = LinearReadout.create(third.activation_shape, 1, key=keys[4])
    network = Network((first, second, third), readout, (skip,))
    x = jax.random.normal(jax.random.key(1), (2, 30, 2))
    given, loss = Trial(x, jnp.zeros((2, 30, 1))), SquaredError()
    score = jax.jit(lambda n: jnp.mean(jax.vmap(lambda t: loss(SIMULATOR(n, t.stimulus), t)[0])(given)))
    found = ablate_neurons(network, given, loss, SIMULATOR)
    where = lambda n: (
        n.layers[0].recurrent.weight, n.layers[1].feedforward.weight, n.skips[0].connection.weight
    )  # fmt: skip
    silenced = eqx.tree_at(where, network, tuple(w.at[..., 1, 2].set(0.0) for w in where(network)))
    assert found.loss[5] == pytest.approx(float(score(silenced)), rel=1e-10)
    assert abs(found.loss[5] - found.whole[0]) > 1e-6
    assert ablate_synapses(network, given, loss, SIMULATOR, count=4).parts.shape == (4, 5)
    shared = eqx.tree_at(lambda one: one.bias, first, first.bias[:, :1])
    shown = simulate(
        eqx.tree_at(lambda n: n.layers[0], network, shared), x[0], gate=GATE, dt=1.0,
        save=("activation", "current"),
    ).layers[0]  # fmt: skip
    s = np.asarray(shown.activation)
    e, i = split_currents(shared, np.asarray(x[0]), np.concatenate([np.zeros_like(s[:1]), s[:-1]]))
    np.testing.assert_allclose(e + i, np.asarray(shown.current).reshape(30, -1), atol=1e-10)


@pytest.mark.nightly
def test_ablation_and_gradients_are_of_the_noisy_network(network, trials):
    loss, noise, simulator = SquaredError(), Noise(0.3), ClockDriven(GATE, 1.0)
    given = trials._replace(key=jax.random.split(jax.random.key(4), 6))

    def mean(noise):
        run = lambda t: loss(run_trial(network, t, simulator, noise=noise), t)[0]
        return float(jnp.mean(jax.vmap(run)(given)))

    assert not np.isclose(mean(None), mean(noise))
    for found in (ablate_neurons, ablate_synapses):
        assert np.isclose(found(network, given, loss, SIMULATOR, noise=noise).whole[0], mean(noise))
    report = gradient_report(network, given, loss, SIMULATOR, noise=noise)
    assert np.isclose(report.loss, mean(noise))


@pytest.mark.nightly
def test_analyse_command(tmp_path, capsys):
    path = tmp_path / "xor.toml"
    path.write_text(toml(XOR))
    assert main(["train", str(path), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    # The trained network, evaluated at half the step and with noise: both are free.
    assert main(["evaluate", str(tmp_path / "run"), "--dt", "1.0", "--noise.initial", "0.2"]) == 0
    assert main(["analyse", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    for name in ("trajectories", "decoding", "similarity", "ablation", "stability"):
        assert (tmp_path / "run" / "analysis" / f"{name}.png").stat().st_size > 10_000
        assert f"{name}.png" in printed
    summary = json.loads((tmp_path / "run" / "analysis" / "analysis.json").read_text())
    assert set(summary["raster_similarity"]) == {"after pulse 1", "after the cue"}
    assert len(summary["ablation"]["neuron_loss"]) == 10


def test_gradient_report(network, trials):
    report = lambda adjoint, span=1e-9: jax.jit(
        lambda n: gradient_report(n, trials, SquaredError(), ClockDriven(GATE, 1.0, adjoint), span=span)
    )(network)
    exact = report(Costate())
    params, fixed = eqx.partition(network, trainable(network))

    def loss(params, trial, adjoint=None):
        solution = simulate(
            eqx.combine(params, fixed), trial.stimulus, gate=GATE, dt=1.0, mask=trial.mask, adjoint=adjoint
        )
        return SquaredError()(solution, trial)[0]

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, trials)
    flat = np.concatenate([np.asarray(x).reshape(6, -1) for x in jax.tree.leaves(each)], axis=1)
    assert float(exact.norm) == pytest.approx(np.linalg.norm(flat.mean(0)), rel=1e-9)
    assert float(exact.noise) == pytest.approx(flat.var(0).sum() / np.sum(flat.mean(0) ** 2), rel=1e-9)
    # The exact gradient keeps its promise, to the curvature over the span; a damped one does not.
    assert float(exact.agreement) == pytest.approx(1.0, abs=5e-3)
    damped = report(Costate(damping=0.3))
    assert abs(float(damped.agreement) - 1) > 5 * abs(float(exact.agreement) - 1)
    # Beside the damped gradient stands the exact one.
    biased = jax.jit(
        jax.grad(lambda p: jnp.mean(jax.vmap(lambda t: loss(p, t, Costate(damping=0.3)))(trials)))
    )(params)
    other = np.concatenate([np.asarray(x).reshape(-1) for x in jax.tree.leaves(biased)])
    cosine = other @ flat.mean(0) / np.linalg.norm(other) / np.linalg.norm(flat.mean(0))
    assert cosine < 0.999
    assert float(damped.alignment) == pytest.approx(cosine, rel=1e-9)
    assert float(exact.alignment) == pytest.approx(1, rel=1e-12)
    for report_ in (exact, damped):
        assert float(report_.exact_norm) == pytest.approx(float(exact.norm), rel=1e-9)
        assert float(report_.exact_noise) == pytest.approx(float(exact.noise), rel=1e-9)


def test_the_first_exponents_are_those_of_all():
    rng = np.random.default_rng(0)
    rates = np.array([0.5, 0.2, -0.1, -0.4, -0.8, -1.5])  # per ms
    jacobian = np.diag(np.exp(rates)) + np.triu(0.01 * rng.normal(size=(400, 6, 6)), 1)
    every = growth(jacobian, 1.0)
    np.testing.assert_allclose(every, 1e3 * rates, rtol=0.02)
    np.testing.assert_allclose(growth(jacobian, 1.0, directions=3), every[:3], rtol=1e-12)


def test_one_thread_for_the_command_line_only(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "run.py"])
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    one_thread_for_small_matrices()
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    monkeypatch.setattr(sys, "argv", ["/usr/bin/spikejax"])
    one_thread_for_small_matrices()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")  # the user's
    one_thread_for_small_matrices()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"
