"""Commands: what a class declares is what the parser reads; files that are whole; the compile cache."""

import argparse
import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikejax import cli
from spikejax.component import declarations, option
from spikejax.errors import ConfigError, input_errors
from spikejax.files import write_atomically, write_json, write_table
from spikejax.jobs.command import COMMANDS, AbstractCommand, add_options
from spikejax.landscape import LandscapeOptions

from ..by_day import by_day
from ..command_line import fails


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_a_command_declares(name, capsys):
    command = COMMANDS[name]
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert command.example in text
    assert command.example.split()[:2] == ["spikejax", name]
    fields = {field.name: field for field in dataclasses.fields(command)}
    for field, declared in declarations(command).items():
        required = fields[field].default is dataclasses.MISSING
        assert (field.upper() if required else f"--{field.replace('_', '-')}") in text
        assert declared.doc
        assert declared.doc in text


class Example(AbstractCommand):
    """A command with an option of every type."""

    summary = "do something"
    example = "spikejax example FILE"

    file: Path = option(doc="what it is about")
    times: int = option(3, doc="how often", at_least=1.0)
    sizes: tuple[float, ...] | None = option(None, doc="how large, in %")
    plain: bool = option(False, doc="without")
    fancy_frame: bool = option(True, doc="with")

    def execute(self, overrides):
        raise NotImplementedError


def test_options_of_every_type():
    parser = argparse.ArgumentParser(prog="example")
    add_options(parser, Example)
    given, rest = parser.parse_known_args(
        ["here.toml", "--sizes", "1", "2.5", "--no-fancy_frame", "--a.b", "3"]
    )
    assert vars(given) == {"file": Path("here.toml"), "sizes": [1.0, 2.5], "fancy_frame": False}
    assert rest == ["--a.b", "3"]
    assert parser.format_usage() == "usage: example FILE [options] [--any.key VALUE ...]\n"
    assert "how large, in %" in parser.format_help()
    assert "how often [3]" in parser.format_help()
    assert parser.parse_args(["here.toml", "--plain", "--no-fancy-frame"]).fancy_frame is False
    with pytest.raises(ValueError, match="`times` is 0, but must be .*at least 1"):
        Example(file=Path("here.toml"), times=0)


def test_options_of_a_command_are_checked_before_it_runs(capsys, tmp_path):
    assert "`points` is 3" in fails(capsys, "landscape", tmp_path, "--points", "3")
    assert "--devices is '0'" in fails(capsys, "train", tmp_path / "none.toml", "--devices", "0")


def test_landscape_options_stand_once():
    parser = argparse.ArgumentParser()
    add_options(parser, COMMANDS["landscape"])
    given = vars(parser.parse_args(["run"]))
    assert given == {"run": Path("run")}  # what is not given has the default of the field
    command = COMMANDS["landscape"](**given)
    for name in declarations(LandscapeOptions):
        assert getattr(command, name) == getattr(LandscapeOptions(), name)


def test_input_errors():
    with pytest.raises(ConfigError, match="wrong"), input_errors():
        raise ValueError("wrong")
    with pytest.raises(KeyError), input_errors():
        raise KeyError("a defect")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail(file):
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_a_table_has_every_key_that_a_row_has(tmp_path):
    write_table(tmp_path / "table.csv", [{"a": 1, "b": "x, y"}, {"a": 2, "c": None}])
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"a": "1", "b": "x, y", "c": ""}, {"a": "2", "b": "", "c": ""}]
    write_table(tmp_path / "empty.csv", [], ["a"])
    assert (tmp_path / "empty.csv").read_text().strip() == "a"


CACHE = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from spikejax.jobs.cache import use_compile_cache

wanted = sys.argv[1] == "wanted"
folder = use_compile_cache(wanted)
jax.jit(lambda x: jnp.sin(x) * 3)(1.0)
print(folder if folder is None else len(list(Path(folder).iterdir())) > 0, folder)
"""


@pytest.mark.parametrize(
    ("case", "kept"),
    by_day(
        [
            ("default", True),
            ("switched off", False),
            ("variable", False),
            ("set by hand", False),
            ("no folder", False),
        ],
        [("default", True), ("variable", False)],
    ),
)
def test_compile_cache(tmp_path, case, kept):
    here, by_hand = tmp_path / "cache", tmp_path / "by_hand"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "SPIKEJAX_"))}
    environment |= {"XDG_CACHE_HOME": str(here), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    if case == "variable":
        environment["SPIKEJAX_NO_COMPILE_CACHE"] = "1"
    if case in ("set by hand", "switched off"):
        environment["JAX_COMPILATION_CACHE_DIR"] = str(by_hand)
    if case == "no folder":
        here.write_text("in the way")
    wanted = "unwanted" if case == "switched off" else "wanted"
    script = [sys.executable, "-c", CACHE, wanted]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr
    assert done.stdout.startswith("True" if kept else "None")
    assert kept == (here / "spikejax" / "jax").is_dir()
    if case == "set by hand":
        assert list(by_hand.iterdir())
    if case == "switched off":
        assert not by_hand.exists()
