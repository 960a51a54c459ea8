"""The benchmark compares what it says: its loops by hand and spikejax compute the same."""

import importlib.util
import json

import numpy as np
import pytest

from experiments.benchmarks import accelerator, client, compare, settings, table, worker
from experiments.benchmarks.contestants import BASE, CONTESTANTS, EVERYONE, REFERENCES
from experiments.benchmarks.environments import PACKAGES
from experiments.benchmarks.models import axes, hand, ours
from experiments.benchmarks.settings import Setting

from ..by_day import by_day

TINY = {
    "ff": Setting((12,), (9,), 3, steps=30, batch=4),
    "rec": Setting((12,), (9,), 3, steps=30, batch=4, recurrent=True),
    "conv": Setting((2, 8, 8), (3, 6, 6), 3, steps=12, batch=2, kernel=3, pool=2),
}


def problem(name: str):
    """A small problem in double precision, whose neurons spike."""
    drawn = settings.draw(TINY[name], seed=1)
    scale = {"in": 4.0, "recurrent": 2.0, "out": 1.0}
    return drawn._replace(weights={key: scale[key] * w.astype(float) for key, w in drawn.weights.items()})


def found(built):
    return built.result(built.step())


@pytest.fixture(scope="module", params=TINY)
def case(request):
    given = problem(request.param)
    return given, found(hand.build(given))


@pytest.mark.parametrize("events", by_day([False, True], [True]))
@pytest.mark.parametrize("adjoint", list(ours.ADJOINTS))
def test_spikejax_is_the_loop_by_hand(case, adjoint, events):
    given, (loss, gradients) = case
    mine, own = found(ours.build(given, "surrogate", adjoint, events))
    assert mine == pytest.approx(loss, rel=1e-12)
    assert own.keys() == gradients.keys() == given.weights.keys()
    for name, gradient in gradients.items():
        assert np.linalg.norm(gradient) > 1e-3
        np.testing.assert_allclose(own[name], gradient, rtol=1e-9, atol=1e-12)


def test_the_loops_by_hand_differ_where_they_are_to(case):
    given, (loss, gradients) = case
    same = compare.difference(*found(hand.build(given, hoisted=True)), loss, gradients)
    assert max(same) < 1e-12
    for name, reference in REFERENCES.items():
        apart = compare.difference(*found(hand.build(given, **reference.options)), loss, gradients)
        assert not apart.same(), name
    # A surrogate of another slope changes no spike.
    assert apart.loss < 1e-12


def test_the_charge_gradient_is_another_model():
    given = problem("rec")
    loss, gradients = found(hand.build(given))
    apart = compare.difference(*found(ours.build(given, "charge", "costate", False)), loss, gradients)
    assert not apart.same()
    assert CONTESTANTS["spikejax charge, costate, dense"].differs


def test_a_missing_or_wrong_gradient_is_noticed():
    true = {"in": np.arange(6.0).reshape(2, 3), "out": np.ones((1, 2))}
    assert compare.difference(2.0, true, 2.0, true) == (0.0, 0.0)
    # In long trials rounding moves spikes, and so the loss.
    moved = compare.Difference(3e-5, 7e-3)
    assert moved.same(10_000)
    assert not moved.same(1000)
    assert not compare.Difference(2e-4, 0.0).same(10_000)
    wrong = true | {"out": np.array([[1.0, 1.1]])}
    assert compare.difference(2.0, wrong, 2.0, true).gradient == pytest.approx(0.1 / np.sqrt(2))
    for bad in ({"in": true["in"]}, true | {"in": true["in"].T}):
        with pytest.raises(ValueError, match="gradients of the shapes"):
            compare.difference(2.0, bad, 2.0, true)


@pytest.mark.parametrize("dense", ["out, in", "in, out"])
@pytest.mark.parametrize("name", TINY)
def test_channels_last_is_the_same_network(name, dense):
    given = problem(name)
    for key, weight in given.weights.items():
        there = axes.turned(given.setting, key, weight, dense=dense)
        np.testing.assert_array_equal(axes.turned(given.setting, key, there, True, dense), weight)
    if name == "conv":
        # What a readout is given, and what it makes of it, in both orders.
        pooled = np.arange(27.0).reshape(3, 3, 3)
        out = axes.turned(given.setting, "out", given.weights["out"], dense="out, in")
        there = out @ pooled.transpose(1, 2, 0).reshape(-1)
        np.testing.assert_allclose(there, given.weights["out"] @ pooled.reshape(-1))


def test_a_problem_survives_its_file(tmp_path, monkeypatch):
    monkeypatch.setitem(settings.SETTINGS, "tiny", TINY["rec"])
    given = problem("rec")
    settings.store(given, tmp_path / "problem.npz")
    back = settings.load("tiny", tmp_path / "problem.npz")
    np.testing.assert_array_equal(back.dense(), given.dense())
    assert given.dense().sum() == len(given.step) == given.count.sum() > 0
    assert back.weights.keys() == given.weights.keys()


def test_a_worker_answers(tmp_path, monkeypatch):
    monkeypatch.setitem(settings.SETTINGS, "tiny", TINY["ff"])
    given = problem("ff")
    settings.store(given, tmp_path / "problem.npz")
    one = worker.Worker(BASE)
    said = one.build("tiny", str(tmp_path / "problem.npz"), str(tmp_path / "gradients.npz"))
    json.dumps(said)
    with np.load(tmp_path / "gradients.npz") as gradients:
        assert {name: g.shape for name, g in gradients.items()} == {"in": (9, 12), "out": (3, 9)}
        assert said["norms"]["in"] == pytest.approx(np.linalg.norm(gradients["in"]))
    timed = one.time(3)
    assert len(timed["cpu_s"]) == len(timed["wall_s"]) == 3
    assert said["traces"] == timed["traces"] == 1
    assert said["temporaries_mib"] > 0


def test_a_worker_that_fails_says_why_and_goes_on(tmp_path):
    one = client.Client(BASE, tmp_path / "log")
    said = [one.ask(60, do="build", setting="ff", problem="nowhere.npz", gradients="x") for _ in range(2)]
    assert all("nowhere.npz" in answer["error"] for answer in said)
    one.process.kill()
    one.process.wait()
    assert "ended" in one.ask(60, do="time", steps=1)["error"]
    one.close()


def test_everyone_has_a_model_and_an_environment():
    for name, contestant in EVERYONE.items():
        module = f"experiments.benchmarks.models.{contestant.module}"
        assert importlib.util.find_spec(module), name
        assert contestant.environment in (None, *PACKAGES)
        assert contestant.same_as in (None, *REFERENCES)
    assert {c.environment for c in EVERYONE.values()} == {None, *PACKAGES}


def test_tables():
    base = {"cpu_s": [1.0, 2.0, 4.0], "wall_s": [1.0, 1.0, 1.0], "difference": [0.0, 0.0], "traces": 1}
    base |= {"temporaries_mib": 27.65, "compile_s": 2.0}
    fast = {"cpu_s": [0.5, 1.5, 1.0], "wall_s": [2.0, 3.0, 4.0], "difference": [1e-7, 2e-6]}
    results = {"ff": {BASE: base, "fast": fast}, "rec": {BASE: base, "fast": {"error": "it broke"}}}
    assert table.ratios(fast, base) == (0.25, 0.5, 0.75)
    head, _, first, second = table.overview(results, BASE).splitlines()
    assert head == "| | ff | rec |"
    assert first == f"| {BASE} | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |"
    assert second == "| fast | 0.50 (0.25 to 0.75) | failed |"
    assert table.details(results["ff"], BASE).splitlines()[2:] == [
        f"| {BASE} | 2000 | 1.00 | 27.6 | 2.0 | 1 | 0e+00 | 0e+00 |",
        "| fast | 1000 | 3.00 | - | - | - | 1e-07 | 2e-06 |",
    ]
    assert "| fast | it broke |" in table.details(results["rec"], BASE)


def test_the_script_for_accelerators_measures_on_a_cpu(capsys, monkeypatch):
    monkeypatch.setattr(accelerator, "SETTINGS", TINY)
    assert accelerator.copy(2, 1000)["gb_per_s"] > 0
    (row,) = accelerator.scan(1, (16,), (4,), 10, 2)
    assert row["gradient_us_per_step"] > 0
    names = {row["contestant"] for row in accelerator.gradients(1, 0.5, ("rec",)) if row["least_ms"] > 0}
    assert names == set(accelerator.GRADIENTS)
    found = accelerator.peers(1, 4, (2, 8))
    assert found[0]["forward_us_per_step"] > 0
    assert importlib.util.find_spec("spikingjelly") or "not installed" in found[1]["error"]
    accelerator.main(["--parts", "copy", "--rounds", "1"])
    machine, copied = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert machine["machine"]["platform"] == "cpu"
    assert copied["copy"]["least_ms"] > 0
