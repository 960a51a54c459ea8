"""Every command that the README and the docs print is one: its words, files, flags and keys exist, and the
first that changes the gradient method trains."""

import json
import re
import shlex

import pytest

from spikejax import cli
from spikejax.cli import key_values
from spikejax.configuration import load, load_fit
from spikejax.jobs.command import COMMANDS
from spikejax.jobs.sweep import load_sweep

from ..places import ROOT

PAGES = [ROOT / "README.md", ROOT / "experiments" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACEHOLDER = re.compile(r"FILE|FOLDER|NAME|MODEL|RUN|my_|runs?/")
"""What a user puts something in the place of, or has made before."""


def commands() -> list[str]:
    """The commands in the pages' indented and fenced blocks, without what is said beside them."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            match = re.match(r"^(?: {4})?(?:\$ )?(?:\.venv/bin/)?(spikejax [a-z]+ .*?)(?: {3,}.*)?$", line)
            if match and match[1].split()[1] in COMMANDS:
                # Without what follows it in the shell, or on the next line.
                found.append(re.split(r" && | &$| \\$| \| tail", match[1])[0].strip())
    return sorted(set(found))


def test_there_are_some():
    assert len(commands()) > 15


@pytest.mark.parametrize("line", commands())
def test_it_is_a_command(line):
    words = shlex.split(line)[1:]
    if "|" in words:  # several commands on one run
        assert all(word in COMMANDS for word in words if word.isalpha())
        return
    args, rest = cli._parser().parse_known_args([*words] if words[-1] != "--help" else [words[0], "runs/x"])
    for path in (word for word in words if word.startswith("configs/")):
        assert (ROOT / path).exists(), f"{path} of {line!r} is not there"
        keys = [(key, value) for key, value in key_values(rest) if not PLACEHOLDER.search(value)]
        if args.command == "fit":
            keys = [*keys, ("data.file", "recordings.npz")]
        {"fit": load_fit, "sweep": load_sweep}.get(args.command, load)(ROOT / path, keys)
    assert args.command in COMMANDS


@pytest.mark.nightly
def test_the_first_one_trains(tmp_path, capsys):
    (line,) = (one for one in commands() if "--gate.release surrogate" in one and "--seed 1" in one)
    words = shlex.split(line)[1:]
    small = {"training.steps": 4, "training.evaluate_every": 4, "training.checkpoint_every": 4}
    extra = [word for key, value in small.items() for word in (f"--{key}", str(value))]
    config, out = str(ROOT / words[1]), str(tmp_path / "run")
    layers = "[{size = 16, neuron = {kind = 'lif', tau_mem = 100.0}, synapse = {tau_syn = [50.0]}}]"
    code = cli.main(
        [words[0], config, *words[2:], *extra, "--network.layers", layers, "--out", out, "--quiet"]
    )
    assert code == 0, capsys.readouterr().err
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert all(line["finite"] for line in lines)
