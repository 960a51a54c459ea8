"""What docs/activity.md shows works as shown."""

import re
import tomllib

import pytest

from spikejax.configuration import check

from ..places import ROOT

PAGE = (ROOT / "docs" / "activity.md").read_text(encoding="utf-8")


@pytest.mark.nightly
def test_its_script_calibrates():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict = {}
    exec(compile(block, "activity.md", "exec"), namespace)
    assert namespace["network"].layers[0].bias.shape == (50,)


def test_its_table_is_a_configuration():
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    config = check(tomllib.loads(block) | {"dt": 12.5})
    assert (config.network.calibrate.rate, config.network.calibrate.each) == (20.0, "layer")
