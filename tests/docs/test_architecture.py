"""What the page on the architecture names exists: functions, tests, files, registries."""

import ast
import re

import pytest

from ..places import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)))
REGISTERED = re.findall(r"`(spikejax/[\w/.]+)` \| `@(\w+)\.register\(\"(\w+)\"\)`", PAGE)


def defined(path) -> set[str]:
    """Functions and classes of a file, those in a class by ``Class.function``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)
            }
    return names


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_is_named_exists(file, name):
    assert name in defined(ROOT / file)


@pytest.mark.parametrize(("place", "registry", "name"), REGISTERED)
def test_registries_stand_where_the_page_says(place, registry, name):
    files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
    assert any(f'@{registry}.register("{name}")' in file.read_text(encoding="utf-8") for file in files)


def test_every_equation_has_a_function_and_a_test():
    rows = [line for line in PAGE.split("## Equations")[1].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 12
    for row in rows:
        function, test = (cell.strip(" `").split(":")[0] for cell in row.split("|")[3:5])
        assert function.startswith("spikejax/")
        assert test.startswith("tests/")
    assert len(REGISTERED) >= 12
