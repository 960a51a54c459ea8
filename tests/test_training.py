"""The training step and loop: what they compute, and that a run can be killed."""

import json
import os
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import LIF, ClockDriven, Costate, Exponential, Gate, Leash, Network, simulate, trainable
from spikejax.losses import CrossEntropy, SquaredError, Sum
from spikejax.penalties import RateBand
from spikejax.tasks import Trial
from spikejax.training import (
    TrainingStopped,
    apply,
    checkpoint,
    gradient,
    make_evaluate,
    make_train_step,
    start,
    train,
)
from spikejax.training.log import read_metrics
from spikejax.training.loop import Plan, Stage

from .conftest import QUICK
from .test_cli import TINY

DT = 1.0


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 3)
    network = Network.dense(
        4,
        (6,),
        3,
        neuron=LIF(tau_mem=10.0),
        synapse=Exponential((5.0,), 0.02),
        key=keys[0],
        input_scale=4.0,
        bias=(0.8, 1.3),
    )
    x = (jax.random.uniform(keys[1], (8, 20, 4)) < 0.3).astype(float)
    return network, Trial(x, jnp.arange(8) % 3), Gate("raised_cosine", 0.5)


def stepper(network, optimiser, loss=None, **kwargs):
    loss = CrossEntropy() if loss is None else loss
    params, fixed = eqx.partition(network, trainable(network))
    # The step donates its state; the fixture's arrays must survive it.
    state = start(jax.tree.map(jnp.copy, params), optimiser)
    return make_train_step(fixed, loss, optimiser, **kwargs), state, fixed


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
    simulator, optimiser = ClockDriven(gate, DT), optax.adam(0.1)
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
            simulator = ClockDriven(gate, DT, Costate(Leash(damping))).sharpen(sharpness)
            state, _ = step(state, trials, simulator, 1 / sharpness)
    assert len(traces) == 1
    # The step is compiled in.
    step(state, trials, ClockDriven(gate, DT / 2, Costate(Leash(0.1))))
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
        CrossEntropy(windows=2).logits(solution, mask), o[:10, :3].mean(0) + o[10:14, 3:].mean(0)
    )


def plan_for(problem, **changes):
    network, trials, gate = problem
    step, state, fixed = stepper(network, optax.adam(1e-2))
    evaluate, simulator = make_evaluate(CrossEntropy(), at_once=4), ClockDriven(gate, DT)

    class Task:
        def batch(self, key, step, size):
            return trials

    def restart(params, at):
        return start(params, optax.adam(1e-2), step=at)

    stage = Stage(
        tasks=(changes.pop("task", Task()),),
        simulators=(simulator,),
        update=step,
        sharpness_at=lambda i, level: np.asarray(1.0),
        learning_rate_at=lambda i: 1.0,
        steps=changes.pop("steps", 6),
        batch=8,
    )
    plan = Plan((stage,), lambda n: evaluate(n, trials, simulator).metrics, restart, 2, 2)
    return plan._replace(**changes), state, fixed


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


def test_killed_and_resumed_is_bit_identical(tmp_path):
    killed_and_resumed(tmp_path, TINY.replace("steps = 4", "steps = 40").replace("_every = 2", "_every = 4"))


def killed_and_resumed(tmp_path, text):
    """Train 40 steps of a configuration in one go, and once more killed on the way and resumed; the files
    must be the same."""
    config = tmp_path / "tiny.toml"
    config.write_text(text)
    # Both processes compile the same programs, quickly: they share them.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    cache["XLA_FLAGS"] = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | cache

    def command(out, *more):
        return ["train", str(config), "--out", str(tmp_path / out), "--quiet", *more]

    killed = subprocess.Popen(
        [sys.executable, "-m", "spikejax", *command("killed")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    log = tmp_path / "killed" / "metrics.jsonl"
    wanted = int(np.random.default_rng().integers(5, 30))
    deadline = time.monotonic() + 300
    while not (log.exists() and len(log.read_text().splitlines()) >= wanted):
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "summary.json").exists()
    # What is left of it, and all of it, in one other process.
    script = f"from spikejax.cli import main; raise SystemExit(main({command('killed', '--resume')}) or main({command('whole')}))"
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True)
    for name in ("last.ckpt", "best.ckpt"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (
            f"killed at {wanted}"
        )
    assert read_metrics(log) == read_metrics(tmp_path / "whole" / "metrics.jsonl")
    a, b = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("killed", "whole"))
    assert a["hard"] == b["hard"]


def test_interrupt_saves_and_says_so(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(TINY.replace("steps = 4", "steps = 5000"))
    command = [
        sys.executable,
        "-m",
        "spikejax",
        "train",
        str(config),
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in error
    assert error.strip().splitlines()[-1].startswith("spikejax: interrupted after step")
    with open(tmp_path / "run" / "last.ckpt", "rb") as file:
        header = json.loads(file.readline())
    assert header["step"] == read_metrics(log)[-1]["step"]
