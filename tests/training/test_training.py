"""The training step and loop: what they compute, when they stop, and what they write."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import LIF, ClockDriven, Costate, Exponential, Gate, Network, Noise, simulate, trainable
from spikejax.losses import CrossEntropy, SquaredError, Sum
from spikejax.parameters import cast
from spikejax.penalties import PENALTIES, RateBand
from spikejax.tasks import Trial
from spikejax.training import TrainingStopped, apply, checkpoint, gradient, make_evaluate, train

from ..by_day import by_day
from .stepping import DT, plan_for, stepper


def test_step_is_gradient_descent(problem):
    network, trials, gate = problem
    step, state, fixed = stepper(network, optax.sgd(0.1))

    def loss(params):
        model = eqx.combine(params, fixed)

        def one(x, y):
            o = simulate(model, x, gate=gate, dt=DT).readout.mean(axis=0)
            return -jax.nn.log_softmax(o)[y]

        return jnp.mean(jax.vmap(one)(trials.stimulus, trials.target))

    params = eqx.filter(network, trainable(network))
    value, grads = jax.value_and_grad(loss)(params)
    new, metrics = step(state, trials, ClockDriven(gate, DT))
    assert jnp.allclose(metrics["loss"], value, rtol=1e-12)
    assert jnp.allclose(metrics["gradient"], optax.tree.norm(grads), rtol=1e-12)
    for a, b, g in zip(*map(jax.tree.leaves, (new.params, params, grads)), strict=True):
        assert jnp.allclose(a, b - 0.1 * g, rtol=1e-12, atol=1e-14)


def test_accumulation_is_the_whole_batch(problem):
    network, trials, gate = problem
    results = []
    for parts in (1, 4):
        step, state, _ = stepper(network, optax.sgd(0.1), accumulate=parts)
        results.append(step(state, trials, ClockDriven(gate, DT)))
    (a, metrics_a), (b, metrics_b) = results
    for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        assert jnp.allclose(x, y, rtol=1e-12, atol=1e-14)
    assert metrics_a.keys() == metrics_b.keys()
    for name in metrics_a:
        assert jnp.allclose(metrics_a[name], metrics_b[name], rtol=1e-10), name


def test_a_step_that_is_not_finite_is_not_made(problem):
    network, trials, gate = problem
    step, state, _ = stepper(network, optax.adam(0.1))
    before = jax.device_get(state.params)
    bad = trials._replace(stimulus=trials.stimulus.at[0, 3, 1].set(jnp.nan))
    new, metrics = step(state, bad, ClockDriven(gate, DT))
    assert not bool(metrics["finite"])
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(new.params), strict=True):
        assert np.array_equal(a, b)


def test_gradient_and_apply_are_the_step(problem):
    network, trials, gate = problem
    # A gradient that is 0 but for rounding must not be made a whole update.
    simulator, optimiser = ClockDriven(gate, DT), optax.adam(0.1, eps=1e-3)
    step, state, fixed = stepper(network, optimiser)
    grads, metrics = gradient(state.params, fixed, trials, simulator, loss=CrossEntropy())
    by_hand = apply(state, grads, 0.5, optimiser=optimiser)
    # The state is not donated: it can be differentiated, which an inner loop of meta-learning does.
    assert all(not x.is_deleted() for x in jax.tree.leaves(state))
    new, found = step(state, trials, simulator, 0.5)
    assert metrics.keys() == found.keys()
    assert jnp.allclose(metrics["loss"], found["loss"], rtol=1e-12)
    for a, b in zip(*map(jax.tree.leaves, (by_hand.params, new.params)), strict=True):
        assert jnp.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_what_is_in_arrays_does_not_retrace(problem):
    network, trials, gate = problem
    traces = []

    class Counting(CrossEntropy):
        def __call__(self, *args):
            traces.append(1)
            return super().__call__(*args)

    step, state, _ = stepper(network, optax.adam(1e-3), Counting())
    for sharpness in (1.0, 1.5, 2.0, 4.0):
        for damping in (0.01, 0.1):
            simulator = ClockDriven(gate, DT, Costate(damping=damping)).sharpen(sharpness)
            state, _ = step(state, trials, simulator, 1 / sharpness)
    assert len(traces) == 1
    # The step is compiled in.
    step(state, trials, ClockDriven(gate, DT / 2, Costate(damping=0.1)))
    assert len(traces) == 2


def test_losses(problem):
    network, trials, gate = problem
    solution = simulate(network, trials.stimulus[0], gate=gate, dt=DT)
    trial = Trial(trials.stimulus[0], jnp.ones((20, 3)), jnp.arange(20) < 10)
    value, scalars = SquaredError()(solution, trial)
    by_hand = np.mean(np.sum((np.asarray(solution.readout)[:10] - 1) ** 2, axis=1))
    assert np.isclose(value, by_hand / 2)
    assert np.isclose(scalars["error"], by_hand / 3)
    rates = np.asarray(solution.counts[0]) / 20e-3
    value, _ = RateBand(weight=0.5, low=5.0, high=20.0)(solution, trial._replace(mask=None))
    assert np.isclose(value, 0.5 * np.mean(np.maximum(5 - rates, 0) ** 2 + np.maximum(rates - 20, 0) ** 2))
    total, _ = Sum((SquaredError(), RateBand(weight=0.5)))(solution, trial)
    assert np.isclose(total, SquaredError()(solution, trial)[0] + RateBand(weight=0.5)(solution, trial)[0])


def test_windows_of_the_cross_entropy(problem):
    network, trials, gate = problem
    solution = simulate(network, trials.stimulus[0], gate=gate, dt=DT)
    solution = solution._replace(readout=jnp.concatenate([solution.readout, 2 * solution.readout], axis=1))
    o = np.asarray(solution.readout)
    logits = CrossEntropy(windows=2).logits(solution)
    assert np.allclose(logits, o[:10, :3].mean(0) + o[10:, 3:].mean(0))
    mask = jnp.arange(20) < 14
    assert np.allclose(
        CrossEntropy(windows=2).logits(solution, mask), o[:7, :3].mean(0) + o[7:14, 3:].mean(0)
    )


def test_training_stops_when_it_is_senseless(problem, tmp_path):
    network, trials, _ = problem

    class Task:
        def batch(self, key, step, size):
            bad = trials.stimulus.at[0, 3, 1].set(jnp.where(step == 3, jnp.nan, 0.0))
            return trials._replace(stimulus=bad)

    plan, state, fixed = plan_for(problem, task=Task())
    with pytest.raises(TrainingStopped, match=r"step 4: .*not finite.*adjoint\.damping"):
        train(plan, state, fixed, tmp_path, key=jax.random.key(0), progress=False)
    like = stepper(network, optax.adam(1e-2))[1]
    (kept, _), header = checkpoint.load(tmp_path / "last.ckpt", (like, like.params))
    assert header["step"] == 4
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(kept.params))

    plan, state, fixed = plan_for(problem, gradient_limit=1e-9, steps=50)
    (tmp_path / "b").mkdir()
    with pytest.raises(TrainingStopped, match=r"step 20: the gradient exploded.*layers\.0|readout"):
        train(plan, state, fixed, tmp_path / "b", key=jax.random.key(0), progress=False)


def test_checkpoints_are_atomic(problem, tmp_path, monkeypatch):
    network = problem[0]
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, network, step=1)

    def broken(file, tree):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(eqx, "tree_serialise_leaves", broken)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, network, step=2)
    monkeypatch.undo()
    loaded, header = checkpoint.load(path, network)
    assert header["step"] == 1
    assert eqx.tree_equal(loaded, network)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("precision", by_day(["float32", "float64"], ["float32"]))
def test_a_step_under_strict_promotion(problem, precision):
    """No step promotes axes or types without saying so, with every loss and penalty beside the first."""
    network, trials, gate = cast(problem, precision)
    signal = trials._replace(target=jnp.ones((8, 20, 3)))
    penalties = [PENALTIES.make(name, weight=1e-3) for name in PENALTIES]
    simulator = ClockDriven(gate, DT)
    noise = Noise(0.01, 0.1, 2.0)
    given = trials._replace(key=jax.random.split(jax.random.key(0), 8), mask=jnp.ones((8, 20), bool))
    for loss, batch in (
        (CrossEntropy(windows=1), given),
        (SquaredError(), given._replace(target=signal.target)),
    ):
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            step, state, fixed = stepper(
                network,
                # Adam is optax's, and promotes types.
                optax.sgd(1e-2, momentum=0.9),
                loss=Sum((loss, *penalties)),
                accumulate=2,
                noise=noise,
                averaging=0.9,
            )
            new, metrics = step(state, batch, simulator)
            found = make_evaluate(loss)(eqx.combine(new.params, fixed), batch, simulator)
        assert bool(metrics["finite"])
        assert np.isfinite(found.metrics["loss"])
        assert {x.dtype for x in jax.tree.leaves(new.params)} == {jnp.dtype(precision)}


def test_metrics_do_not_hang_on_the_padding():
    """Every metric of an evaluation, the fraction of steps with several spikes among them."""
    network = Network.dense(
        2,
        (6,),
        4,
        neuron=LIF(tau_mem=5.0),
        synapse=Exponential(5.0),
        key=jax.random.key(0),
        bias=(20.0, 90.0),
        recurrent_scale=0.5,
    )
    evaluate, steps, found = make_evaluate(CrossEntropy(windows=2)), 12, []
    for extra in (0, 5, 20):
        x = jnp.ones((3, steps + extra, 2))
        mask = jnp.broadcast_to(jnp.arange(steps + extra) < steps, x.shape[:2])
        label = jnp.array([0, 1, 0])
        found.append(
            evaluate(network, Trial(x, label, mask, label), ClockDriven(Gate(width=0.4), 1.0)).metrics
        )
    assert 0 < found[0]["multiple_spikes"] < 1
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in found[0].items():
            assert other[name] == pytest.approx(value, rel=1e-12), name
