"""The library against SLAYER in plain NumPy, by the script that also reads files of vectors."""

import copy
import json
import sys

import pytest

from ..places import experiment
from .slayer_by_hand import vectors

script = experiment("slayer_vectors")
DEFAULT = [(1, "spikeTime", 1.0), (2, "numSpikes", 0.5)]
RANDOM = [
    (seed, kind, dt) for seed in range(3, 15) for kind in ("spikeTime", "numSpikes") for dt in (1.0, 0.5)
]


@pytest.fixture(scope="module")
def cases():
    """Vectors by hand, and what the library makes of them."""
    made = [vectors(*which) for which in DEFAULT]
    return made, {case["name"]: script.run(case) for case in made}


def holds(case, found):
    assert len(case["float64"]["s1"]) > 10
    assert len(case["float64"]["s2"]) > 5
    errors = script.errors(case, found)
    assert errors.keys() == set(script.KINDS)
    assert errors["spikes"] == 0
    assert max(errors.values()) < script.BOUND, errors


def test_equal_to_rounding(cases):
    for case in cases[0]:
        holds(case, cases[1][case["name"]])


@pytest.mark.nightly
@pytest.mark.parametrize("which", RANDOM, ids=lambda w: f"{w[1]}-{w[0]}-{w[2]}")
def test_random_networks(which):
    case = vectors(*which)
    holds(case, script.run(case))


def test_the_script_judges_a_file(cases, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "run", lambda case, dtype, whole: cases[1][case["name"]])
    path = tmp_path / "vectors.json"
    monkeypatch.setattr(sys, "argv", ["slayer_vectors.py", str(path)])

    def judged(changed):
        path.write_text(json.dumps({"cases": changed}))
        code, (out, err) = script.main(), capsys.readouterr()
        return code, out, err

    code, out, _ = judged(cases[0])
    assert code == 0
    assert out.splitlines()[-1] == "all within 1e-10, and no spike differs"
    assert [line.split(":")[0] for line in out.splitlines()[-8:-1]] == list(script.KINDS)
    for name, kind in (("dDelay", "dDelay"), ("u1_post", "membrane"), ("loss", "loss")):
        wrong = copy.deepcopy(cases[0])
        value = wrong[1]["float64"][name]
        while isinstance(value, list) and isinstance(value[0], list):
            value = value[0]
        if isinstance(value, list):
            value[0] += 1e-3
        else:
            wrong[1]["float64"][name] = value + 1e-3
        code, out, _ = judged(wrong)
        assert (code, out.splitlines()[-1]) == (1, f"above the bound: {kind}")
    missing = copy.deepcopy(cases[0])
    del missing[0]["float64"]
    code, _, err = judged(missing)
    assert code == 2
    assert err == f"{path}: has no 'float64': it is to be a file of vectors as its README says\n"
    path.write_text("{")
    assert script.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
