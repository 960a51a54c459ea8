"""What a session decides after an update: best network, rollbacks, stops, plateaus. Nothing is trained."""

import json
import math

import numpy as np
import pytest

from spikejax.training import Action, Plan, Plateau, Rollback, Session
from spikejax.training.checkpoint import CheckpointError
from spikejax.training.log import read_metrics
from spikejax.training.session import MAX_LARGE_GRADIENTS, MIN_LEARNING_RATE_SCALE


def session(folder=None, **changes) -> Session:
    def never(*_):
        raise AssertionError("a session evaluates and restarts nothing")

    plan = Plan((), never, never, evaluate_every=1, checkpoint_every=1, score="loss")
    return Session(plan._replace(**changes), np.zeros(1), folder=folder)


def metrics(loss=1.0, gradient=1.0, **more):
    return {"loss": loss, "gradient": gradient, "finite": math.isfinite(loss), "gradient/w": gradient, **more}


def scored(one: Session, scores, name="loss") -> list[Action]:
    return [one.after(i, metrics(), {name: s}, np.full(1, float(i))) for i, s in enumerate(scores)]


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ({"score": "loss"}, 1.0),
        ({"score": "accuracy"}, 2.0),
        ({"score": "error"}, 1.0),
        ({"score": "information", "maximise": True}, 2.0),
        ({"score": "accuracy", "maximise": False}, 1.0),
    ],
)
def test_the_best_score_selects_the_parameters(changes, best):
    one = session(**changes)
    # Parameters 1 have the lowest, 2 the highest score; one that is not finite never counts.
    assert set(scored(one, [2.0, 1.0, 3.0, math.nan], changes["score"])) == {Action.CONTINUE}
    assert one.best == best
    assert not one.improved


def test_an_equal_score_is_the_newer_parameters():
    one = session()
    scored(one, [1.0, 1.0])
    assert one.best == 1.0
    assert one.improved
    one.after(3, metrics())
    assert not one.improved


def test_rollback_after_evaluations_that_are_worse():
    one = session(rollback=Rollback(tolerance=0.5, patience=2, factor=0.25))
    # Worse by no more than the tolerance starts the count anew.
    actions = scored(one, [1.0, 2.0, 1.4, 1.6, math.nan, 1.6])
    assert actions == [Action.CONTINUE] * 4 + [Action.ROLL_BACK, Action.CONTINUE]
    assert one.learning_rate_scale == 0.25
    assert one.best == 0.0
    assert one.after(7, metrics(loss=math.inf)) is Action.ROLL_BACK
    assert "not finite" in one.messages[0]
    assert "learning rate times 0.0625" in one.messages[0]


def test_rollbacks_end_when_the_learning_rate_is_too_low():
    one = session(rollback=Rollback(tolerance=0.5, patience=1, factor=0.05))
    actions = [one.after(i, metrics(math.nan)) for i in range(3)]
    assert actions == [Action.ROLL_BACK, Action.ROLL_BACK, Action.STOP]
    assert MIN_LEARNING_RATE_SCALE < one.learning_rate_scale == pytest.approx(0.05**2)
    assert (one.stopped or "").startswith("step 2: the loss is not finite")


def test_a_gradient_that_is_not_finite_is_named():
    one = session()
    assert one.after(4, metrics() | {"gradient/w": math.inf, "finite": False}) is Action.STOP
    assert one.stopped == "step 4: the gradient of w is not finite (loss 1)"


def test_a_gradient_that_explodes():
    one = session(gradient_limit=10.0)
    large = [one.after(i, metrics(gradient=11.0)) for i in range(MAX_LARGE_GRADIENTS - 1)]
    one.after(0, metrics(gradient=9.0))
    again = [one.after(i, metrics(gradient=11.0)) for i in range(MAX_LARGE_GRADIENTS)]
    assert set(large + again[:-1]) == {Action.CONTINUE}
    assert again[-1] is Action.STOP
    assert (one.stopped or "").endswith(
        "the gradient exploded, above 1e+01 for 20 steps, most in w (1.1e+01)"
    )


def test_plateaus_of_the_loss():
    plateau = Plateau(patience=2, tolerance=0.1, factor=2.0)
    one, found = session(rollback=Rollback(tolerance=0.0, patience=1, factor=0.9999)), []
    one.enter(0, plateau)
    # Windows of two: 4, 3 (lower), 2.9 (not by a tenth: a plateau), 5 (the first after it), 4.6 (not by a
    # tenth). Losses that are not finite are left out.
    for loss in (4, 4, 3, 3, 2.9, 2.9, 5, 5, 4.6, 4.6):
        one.after(0, metrics(math.nan))
        one.after(0, metrics(float(loss)))
        found.append(one.plateaus)
    assert found == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    again = session()
    again.restore(json.loads(json.dumps(one.saved())), one.best)
    for same in (one, again):
        same.enter(0, plateau)
        for _ in range(4):
            same.after(0, metrics(3.0))
        assert same.plateaus == 3
    one.enter(1, plateau)
    assert (one.plateaus, one.window_updates, one.lowest_loss) == (0, 0, None)


def test_saved_and_restored():
    one = session(rollback=Rollback(tolerance=0.1, patience=2, factor=0.5), gradient_limit=0.5)
    scored(one, [1.0, 2.0, 1.5, 3.0])
    again = session()
    again.restore(json.loads(json.dumps(one.saved())), one.best)
    assert again.saved() == one.saved()
    # As checkpoints had it before: a group's with the reason of a stop, a single run's in the header itself.
    older = {
        "score": -1.0, "loud": 2, "worse": 1, "scale": 0.5, "stage": 1, "level": 3, "total": 0.1, "count": 1,
        "lowest": None,
    }  # fmt: skip
    again.restore(older | {"step": 7, "format": 1}, one.best)
    assert (again.best_score, again.large_gradients, again.plateaus, again.stopped) == (-1.0, 2, 3, None)
    del older["loud"]
    with pytest.raises(CheckpointError, match="no large_gradients in the checkpoint of an earlier"):
        again.restore(older, one.best)


def test_the_log_and_warnings_once(tmp_path):
    one = session(tmp_path)
    one.open_log()
    one.after(1, metrics(**{"silent/0": 0.9}), {"loss": 2.0, "multiple_spikes": 0.5}, np.zeros(1))
    assert [m.split(":")[0] for m in one.messages] == ["warning"] * 2
    one.after(
        2,
        metrics(**{"silent/0": 0.9, "saturated/0": 0.4}),
        {"loss": 2.0, "multiple_spikes": 0.5},
        np.zeros(1),
    )
    assert not one.messages
    one.close_log()
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert (first["step"], second["step"]) == (1, 2)
    assert first["held_out/loss"] == 2.0
    assert first["rollback"] is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best_score", "abc"),
        ("best_score", []),
        ("best_score", math.nan),
        ("best_score", True),
        ("best_step", -1),
        ("learning_rate_scale", "x"),
        ("learning_rate_scale", 0),
        ("learning_rate_scale", 2.0),
        ("stage", -1),
        ("stage", 1.0),
        ("large_gradients", True),
        ("worse_evaluations", -3),
        ("stopped", 3),
        ("window_sum", math.inf),
        ("window_updates", 1.5),
        ("lowest_loss", {}),
        ("plateaus", None),
    ],
)
def test_a_state_that_training_never_had_is_refused(name, value):
    one = session()
    before = one.saved()
    with pytest.raises(CheckpointError, match=f"^{name} is .*, which training does not write: start anew"):
        one.restore(before | {name: value}, one.best)
    assert one.saved() == before
    one.restore(before, one.best)
