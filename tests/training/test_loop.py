"""One loop for a single network and for several side by side: the same numbers, files and interruptions."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import Autodiff, ClockDriven, Costate, Gate
from spikejax.losses import CrossEntropy
from spikejax.training import (
    GroupProgram,
    Interrupted,
    Member,
    Session,
    SingleProgram,
    TrainingStopped,
    make_group_step,
    run_sessions,
    train,
)
from spikejax.training.log import read_metrics
from spikejax.training.loop import remedies, restore

from ..by_day import by_day
from .stepping import plan_for


def make_step(stage: int):
    return make_group_step(loss=CrossEntropy(), optimiser=optax.adam(1e-2))


def members(problem, count: int) -> list[Member]:
    """Networks that differ in their parameters and learning rates."""
    found = []
    for k in range(count):
        plan, state, fixed = plan_for(problem)
        stage = plan.stages[0]._replace(learning_rate_at=lambda i, k=k: 1.0 / (1 + k))
        params = jax.tree.map(lambda x, k=k: x * (1 + 0.1 * k), state.params)
        found.append(
            Member(plan._replace(stages=(stage,)), plan.restart(params, 0), fixed, jax.random.key(0))
        )
    return found


def run(program, plans_and_params, folder, **options):
    sessions = []
    for k, (plan, params) in enumerate(plans_and_params):
        (folder / str(k)).mkdir(parents=True, exist_ok=True)
        sessions.append(Session(plan, params, name=str(k), folder=folder / str(k)))
    if options.pop("resume", False):
        assert restore(program, sessions, folder / "all.ckpt")
    run_sessions(
        program, sessions, folder / "all.ckpt", progress=False, how_to_resume="run it again", **options
    )
    return sessions


def group(problem, count, folder, **options):
    found = members(problem, count)
    program = GroupProgram(found, make_step)
    return run(program, [(m.plan, m.state.params) for m in found], folder, **options)


@pytest.mark.parametrize("count", by_day([1, 2], [2]))
def test_a_group_is_as_single_runs(problem, tmp_path, count):
    sessions = group(problem, count, tmp_path / "group")
    for k, member in enumerate(members(problem, count)):
        single = SingleProgram(*member)
        (alone,) = run(single, [(member.plan, member.state.params)], tmp_path / f"single{k}")
        ours, theirs = (
            read_metrics(f / "metrics.jsonl")
            for f in (tmp_path / f"single{k}" / "0", tmp_path / "group" / str(k))
        )
        assert len(ours) == len(theirs) == 6
        for a, b in zip(ours, theirs, strict=True):
            assert list(a) == list(b)
            for name in a:
                assert a[name] == pytest.approx(b[name], rel=1e-6, abs=1e-9), name
        # Adam divides by the root of a gradient that may be next to 0.
        for a, b in zip(*(jax.tree.leaves(s.best) for s in (alone, sessions[k])), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.nightly
def test_an_interrupted_group_goes_on(problem, tmp_path):
    whole = group(problem, 2, tmp_path / "whole")

    def stop(step, session, score):
        if step == 4 and session.name == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="interrupted after step 4 of 6; saved: run it again"):
        group(problem, 2, tmp_path / "parts", report=stop)
    parts = group(problem, 2, tmp_path / "parts", resume=True, keep_log=True)
    for k in range(2):
        logs = [read_metrics(tmp_path / name / str(k) / "metrics.jsonl") for name in ("whole", "parts")]
        assert logs[0] == logs[1]
        assert whole[k].saved() == parts[k].saved()


def test_a_network_that_stops_leaves_the_others(problem, tmp_path):
    found = members(problem, 2)
    bad = found[1].state.params
    bad = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), bad)
    found[1] = found[1]._replace(state=found[1].plan.restart(bad, 0))
    program = GroupProgram(found, make_step)
    first, second = run(program, [(m.plan, m.state.params) for m in found], tmp_path)
    assert first.stopped is None
    assert (second.stopped or "").startswith("step 1: ")
    assert len(read_metrics(tmp_path / "0" / "metrics.jsonl")) == 6
    assert len(read_metrics(tmp_path / "1" / "metrics.jsonl")) == 1


def test_a_report_can_stop_training(problem, tmp_path):
    plan, state, fixed = plan_for(problem)
    seen = []

    def report(step, score):
        seen.append((step, score))
        if step == 4:
            raise TrainingStopped("enough")

    with pytest.raises(TrainingStopped, match="enough"):
        train(
            plan._replace(score="loss"),
            state,
            fixed,
            tmp_path,
            key=jax.random.key(0),
            progress=False,
            report=report,
        )
    assert [step for step, _ in seen] == [2, 4]
    assert (tmp_path / "last.ckpt").exists()
    assert [m["held_out/loss"] for m in read_metrics(tmp_path / "metrics.jsonl")[1::2]] == [
        score for _, score in seen
    ]


@pytest.mark.parametrize(
    ("adjoint", "gate", "said", "left_out"),
    [
        (Costate(), Gate(), ["adjoint.damping", "adjoint.clip", "gate.release surrogate", "gate.width"], []),
        (Costate(damping=0.1), Gate(), ["adjoint.clip", "gate.release surrogate"], ["adjoint.damping"]),
        (
            Costate(damping=0.1, clip=1.0),
            Gate(release="surrogate"),
            ["training.rollback", "training.learning_rate"],
            ["adjoint", "gate"],
        ),
        (
            Autodiff(damping=0.1, clip=1.0),
            Gate(release="hard"),
            ["gate.release surrogate"],
            ["adjoint", "gate.width"],
        ),
    ],
)
def test_what_is_set_already_is_not_recommended(problem, adjoint, gate, said, left_out):
    plan, _, _ = plan_for(problem)
    stage = plan.stages[0]._replace(simulators=(ClockDriven(gate, 1.0, adjoint),))
    words = remedies(plan._replace(stages=(stage,)))
    assert all(word in words for word in said)
    assert not any(word in words for word in left_out)
