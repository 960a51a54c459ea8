"""Imports point downwards, and the library stays light; the rooms and their order stand in
docs/architecture.md."""

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

PACKAGE = ROOT / "spikejax"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"h5py", "matplotlib", "optuna", "pydantic", "tomli_w"}
"""What only configurations, figures, files and searches need: none of it is loaded by the library."""


def rooms() -> list[str]:
    """The rooms, low to high: the first column of the first table of the page."""
    lines = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    rows = list(itertools.dropwhile(lambda line: not line.startswith("| room |"), lines))[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), rows)
    return [name.strip(" `") for row in rows for name in row.split("|")[1].split(",")]


ROOMS = rooms()
LIBRARY = ROOMS[: ROOMS.index("configuration")]


def room_of(module: tuple[str, ...]) -> str:
    """Room of the module ``("spikejax", room, ...)``; that of the package itself is ``__init__``."""
    return module[1] if len(module) > 1 else "__init__"


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts


def imported(path: Path, node: ast.AST) -> list[tuple[str, ...]]:
    """The modules that an import statement of the file names, of whatever package."""
    if isinstance(node, ast.Import):
        return [tuple(alias.name.split(".")) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    folder = path.relative_to(ROOT).parent.parts
    base = folder[: len(folder) - node.level + 1] if node.level else ()
    base += tuple(node.module.split(".")) if node.module else ()
    # `from . import gates` names a module, `from .gates import Gate` does not.
    inner = [(*base, alias.name) for alias in node.names]
    return [
        name if ROOT.joinpath(*name).is_dir() or ROOT.joinpath(*name).with_suffix(".py").exists() else base
        for name in inner
    ]


def upward(path: Path, source: str) -> list[str]:
    """The imports of a file that point to a higher room, wherever in it they stand."""
    own = room_of(module_of(path))
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {room_of(name)}, which is above {own}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(path, node)
        if name[0] == "spikejax" and ROOMS.index(room_of(name)) > ROOMS.index(own)
    ]


def test_every_room_is_listed_once():
    there = {room_of(module_of(path)) for path in FILES}
    assert len(ROOMS) == len(set(ROOMS))
    assert set(ROOMS) == there


def test_imports_point_downwards():
    assert [line for path in FILES for line in upward(path, path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("gates.py", "from .simulate import simulate"),
        ("gates.py", "from . import simulate"),
        ("gates.py", "from . import Gate"),
        ("training/step.py", "from ..configuration.schema import Config"),
        ("training/step.py", "import spikejax.jobs.run"),
        ("neurons/base.py", "def late():\n    from spikejax.network import Network"),
    ],
)
def test_an_upward_import_is_found(file, line):
    assert len(upward(PACKAGE / file, line)) == 1


@pytest.mark.parametrize("line", ["from .base import State", "from ..gates import Gate", "import jax"])
def test_other_imports_are_allowed(line):
    assert upward(PACKAGE / "neurons" / "theta.py", line) == []


def loaded(statement: str) -> set[str]:
    """Those of the heavy packages that a new process has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(ran.stdout.split())


def test_the_library_is_light():
    modules = [".".join(module_of(path)) for path in FILES if room_of(module_of(path)) in LIBRARY]
    assert loaded("import spikejax, spikejax.training") == set()
    assert loaded("import " + ", ".join(modules)) == set()


def test_a_heavy_package_is_noticed():
    assert loaded("import tomli_w") == {"tomli_w"}
