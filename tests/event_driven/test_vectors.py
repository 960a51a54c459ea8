"""The script that checks event-driven QIF neurons against published closed-form values of 40 digits."""

import json

import pytest

from ..places import DATA, experiment

FILE = DATA / "qif_events.json"
SCRIPT = experiment("event_vectors")


def test_all_kinds_are_within_their_bounds(capsys):
    assert SCRIPT.main([str(FILE)]) == 0
    last = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ": " in line]
    assert last[:6] == ["times", "pseudospikes", "J_w", "J_tin", "J_V0", "J_I0"]
    assert last[6:] == ["loss", "dW_net_offdiag", "dW_in", "dV0", "dI0"]


@pytest.mark.parametrize(("name", "shift", "kind"), [("t_spikes", 2e-10, "times"), ("J_V0", 2e-8, "J_V0")])
def test_a_value_that_is_off_is_noticed(tmp_path, capsys, name, shift, kind):
    case = json.loads(FILE.read_text())["single"][0]
    case["exact"][name][0] += shift
    path = tmp_path / "off.json"
    path.write_text(json.dumps({"single": [case]}))
    assert SCRIPT.main([str(path)]) == 1
    assert f"{kind}: 2.0e" in capsys.readouterr().out


def test_a_missing_spike_is_noticed(tmp_path):
    case = json.loads(FILE.read_text())["single"][0]
    case["exact"]["t_spikes"].pop()
    path = tmp_path / "off.json"
    path.write_text(json.dumps({"single": [case]}))
    assert SCRIPT.main([str(path)]) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"single": [{}]}', '{"nets": 3}', None])
def test_a_damaged_file_is_one_line(tmp_path, capsys, text):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        SCRIPT.main([str(path)])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert "file.json" in said[-1]
    assert not any(line.startswith("Traceback") for line in said)
