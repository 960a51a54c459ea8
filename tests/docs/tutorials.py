"""Runs the pages of ``docs/tutorials``, so that what they print and draw is never typed by hand.

    python -m tests.docs.tutorials [NAME ...]      writes output and pictures of these pages, or of all, anew

The ``python`` and ``sh`` blocks of a page run in order in a folder of their own, the Python ones in one
namespace. A ``text`` block right after one is what it printed. A page may say how far its numbers may differ
on another machine: ``<!-- numbers to 20 % -->``.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
END = "\x1e"
"""Printed after every block."""
BLOCK = re.compile(
    r"```(?P<kind>python|sh)\n(?P<code>.*?)```\n(?P<printed>\n```text\n(?P<text>.*?)```\n)?", re.S
)
NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
WITHIN = 0.02


class Run(NamedTuple):
    """What a page did."""

    outputs: list[str]
    """What every block printed."""
    pictures: list[Path]


def pages() -> list[Path]:
    """The tutorials."""
    return sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def execute(page: Path) -> None:
    """Run the blocks of a page here, with `END` printed after each."""
    namespace = {"__name__": "__main__"}
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["kind"] == "python":
            exec(compile(block["code"], page.name, "exec"), namespace)
        else:
            done = subprocess.run(block["code"], shell=True, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                sys.exit(f"{block['code']}ended with {done.returncode}")
            print(done.stdout, end="")
        print(END, end="", flush=True)


def run(page: Path, folder: Path) -> Run:
    """Run a page in `folder`, as a user would: in a new process, which compiles as his does."""
    root = Path(__file__).parents[2]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
    }
    # Pages are read in a clone of the repository.
    (folder / "configs").symlink_to(root / "configs")
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment["PYTHONPATH"] = str(root)
    environment["MPLBACKEND"] = "agg"
    command = [sys.executable, "-m", "tests.docs.tutorials", "--execute", str(page.resolve())]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{page.name}: block {done.stdout.count(END) + 1} fails\n{done.stderr[-4000:]}")
    # Trailing blanks differ from what an editor keeps.
    outputs = [re.sub(r" +$", "", text, flags=re.M) for text in done.stdout.split(END)[:-1]]
    return Run(outputs, sorted(folder.glob("*.png")))


def written(text: str, outputs: list[str]) -> str:
    """The page with these outputs."""
    following = iter(outputs)

    def block(match: re.Match) -> str:
        printed = next(following)
        output = f"\n```text\n{printed.rstrip()}\n```\n" if printed.strip() else ""
        return f"```{match['kind']}\n{match['code']}```\n{output}"

    return BLOCK.sub(block, text)


def differences(text: str, outputs: list[str]) -> list[str]:
    """Where what a page shows is not what was printed: words must be equal, numbers nearly."""
    said = re.search(r"<!-- numbers to ([\d.]+) % -->", text)
    within = float(said[1]) / 100 if said else WITHIN
    found = []
    for i, (match, printed) in enumerate(zip(BLOCK.finditer(text), outputs, strict=True)):
        shown = match["text"] or ""
        words = [" ".join(re.sub(r"[-\s]+", " ", NUMBER.sub("#", x)).split()) for x in (shown, printed)]
        numbers = [NUMBER.findall(x) for x in (shown, printed)]
        if words[0] != words[1] or len(numbers[0]) != len(numbers[1]):
            found.append(f"block {i + 1} shows\n{shown}but prints\n{printed}")
            continue
        for a, b in zip(*numbers, strict=True):
            decimals = len(a.partition("e")[0].partition(".")[2])
            last = 1.01 * 10.0 ** (-decimals + int(a.partition("e")[2] or 0))  # one of the last digit
            if abs(float(a) - float(b)) > max(last, within * max(abs(float(a)), abs(float(b)))):
                found.append(f"block {i + 1} shows {a}, but prints {b}")
    return found


def main(names: list[str]) -> None:
    for page in [FOLDER / f"{name.removesuffix('.md')}.md" for name in names] or pages():
        with tempfile.TemporaryDirectory() as folder:
            outputs, pictures = run(page, Path(folder))
            page.write_text(written(page.read_text(encoding="utf-8"), outputs), encoding="utf-8")
            for picture in pictures:
                shutil.copy(picture, FOLDER / picture.name)
        print(f"{page.name}: {len(outputs)} blocks, {len(pictures)} pictures")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--execute"]:
        execute(Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
