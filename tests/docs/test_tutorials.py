"""The tutorials print what their pages show."""

import re

import numpy as np
import pytest

from . import tutorials

PAGES = tutorials.pages()
INDEX = (tutorials.FOLDER / "README.md").read_text(encoding="utf-8")
PAGE = """```python
x = 2.5
print("x is", x)
```

```text
x is 2.5
```

words

```sh
echo two   words
```
"""


@pytest.mark.nightly
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_prints_what_it_shows(page, tmp_path):
    done = tutorials.run(page, tmp_path)
    assert not tutorials.differences(page.read_text(encoding="utf-8"), done.outputs)


@pytest.mark.nightly
def test_the_equations_of_jaxpike_are_those_of_the_package():
    jaxpike = pytest.importorskip("jaxpike")
    text = (tutorials.FOLDER / "migrating.md").read_text(encoding="utf-8")
    namespace = {}
    exec(next(tutorials.BLOCK.finditer(text))["code"], namespace)
    current = np.random.default_rng(0).normal(1.5, 4.0, (200, 50))
    found, _ = jaxpike.unroll(jaxpike.LIF(tau=20.0), current[:, None])
    expected = namespace["jaxpike_lif"](current, tau=20.0)
    assert expected.sum() > 500
    np.testing.assert_array_equal(np.asarray(found)[:, 0], expected)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_is_listed_and_whole(page):
    assert f"({page.name})" in INDEX
    text = page.read_text(encoding="utf-8")
    blocks = list(tutorials.BLOCK.finditer(text))
    assert blocks
    for block in blocks:
        if block["kind"] == "python":
            compile(block["code"], page.name, "exec")
    drawn = {name for block in blocks for name in re.findall(r"\w+\.png", block["code"])}
    shown = set(re.findall(r"\]\((\w+\.png)\)", text))
    assert shown <= {path.name for path in tutorials.FOLDER.glob("*.png")}
    assert {name for name in drawn if name.startswith(page.stem)} <= shown


def test_no_picture_without_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in tutorials.FOLDER.glob("*.png"):
        assert f"({picture.name})" in text, picture.name


def test_a_page_runs_and_is_compared(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    done = tutorials.run(page, tmp_path)
    assert done.outputs == ["x is 2.5\n", "two words\n"]
    assert tutorials.differences(PAGE, done.outputs) == ["block 2 shows\nbut prints\ntwo words\n"]
    new = tutorials.written(PAGE, done.outputs)
    assert new.endswith("```sh\necho two   words\n```\n\n```text\ntwo words\n```\n")
    assert not tutorials.differences(new, done.outputs)
    assert tutorials.written(new, done.outputs) == new


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a 1.00", "a 1.01", True),
        ("a 1.00", "a 1.05", False),
        ("a 0.001", "a 0.002", True),  # one of the last digit
        ("a 1e-3", "a 1.5e-3", True),
        ("a  2", "a 2", True),
        ("a 2", "b 2", False),
        ("a 2", "a 2 2", False),
        ("a -0.50", "a 0.50", False),
    ],
)
def test_how_near_numbers_must_be(shown, printed, same):
    text = f"```python\nprint()\n```\n\n```text\n{shown}\n```\n"
    assert (not tutorials.differences(text, [printed])) == same


def test_a_page_says_how_far_its_numbers_may_differ():
    text = "<!-- numbers to 10 % -->\n```python\nprint()\n```\n\n```text\na 100\n```\n"
    assert not tutorials.differences(text, ["a 92"])
    assert tutorials.differences(text, ["a 80"])
