"""The script that checks event-driven QIF neurons against published closed-form values of 40 digits."""

import copy
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


def test_what_is_off_is_noticed(tmp_path, capsys):
    case = json.loads(FILE.read_text())["single"][0]
    cases = [copy.deepcopy(case) | {"id": name} for name in ("late", "steep", "missing", "right")]
    cases[0]["exact"]["t_spikes"][0] += 2e-10
    cases[1]["exact"]["J_V0"][0] += 2e-8
    cases[2]["exact"]["t_spikes"].pop()
    path = tmp_path / "off.json"
    path.write_text(json.dumps({"single": cases}))
    assert SCRIPT.main([str(path)]) == 1
    said = capsys.readouterr().out.splitlines()
    late, steep, missing, right = (line.split() for line in said[:4])
    assert late[:3] == ["late", "times", "2.0e-10"]
    assert steep[steep.index("J_V0") + 1] == "2.0e-08"
    assert missing[:3] == ["missing", "times", "inf"]
    assert all(float(error) < 1e-13 for error in right[2::2])
    assert said[4] == "times: inf (bound 1e-10)"


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
