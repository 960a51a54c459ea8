"""What the changelog says of configurations."""

import pytest

from spikejax.configuration import fit, upgrade

from ..places import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("old", "new"), [*upgrade.RENAMED.items(), *fit.RENAMED.items()])
def test_a_renamed_key_is_listed(old, new):
    assert f"| `{old}` | `{new}` |" in CHANGELOG
