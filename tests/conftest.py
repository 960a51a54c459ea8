"""Float64 and run-time checks of every annotation, before the package is imported."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)

with install_import_hook("spikejax", "beartype.beartype"):
    import spikejax  # noqa: F401
    import spikejax.adjoints.paper  # noqa: F401
    import spikejax.references.lif_events  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _no_surprises():
    assert jax.config.jax_enable_x64
