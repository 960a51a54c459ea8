"""What docs/connections.md shows works as shown."""

import contextlib
import io
import re
import tomllib

import jax
import pytest

from spikejax.configuration import check
from spikejax.configuration.assemble_network import build_network

from ..places import ROOT

PAGE = (ROOT / "docs" / "connections.md").read_text(encoding="utf-8")


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::spikejax.ActivityWarning")
def test_its_snippets_print_what_they_say():
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(snippet, "connections.md", "exec"), namespace)
        shown = [
            line.split("  # ")[1]
            for line in snippet.splitlines()
            if line.startswith("print") and "  # " in line
        ]
        printed = out.getvalue().splitlines()
        for said, found in zip(shown, printed, strict=False):
            assert said.startswith(found)
        assert len(printed) >= len(shown)
    assert namespace["solution"].readout.shape == (20, 3)


def test_its_tables_are_a_network():
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    config = check(tomllib.loads(block) | {"dt": 12.5})
    network = build_network(config, (2, 34, 34), 3, jax.random.key(0))
    assert [layer.shape for layer in network.layers] == [(16, 34, 34), (16, 17, 17), (32, 8, 8), (4, 5)]
    assert network.layers[0].bias.shape == (16, 1, 1)
    assert network.layers[2].recurrent.rate == 0.1
    with pytest.raises(ValueError, match=r"network\.layers\.0\.feedforward: a convolution needs an input of"):
        build_network(config, 700, 3, jax.random.key(0))
