"""docs/configuration.md says what there is: the tables of all families, and every renamed key."""

import tomllib
from pathlib import Path

import pytest

from spikejax.adjoints import ADJOINTS
from spikejax.configuration import check, components_table
from spikejax.configuration.upgrade import RENAMED
from spikejax.connections import CONNECTIONS
from spikejax.gates import RELEASES
from spikejax.kernels import KERNELS
from spikejax.loops import LOOPS
from spikejax.losses import LOSSES
from spikejax.neurons import NEURONS, RESETS, WRAPPERS
from spikejax.penalties import PENALTIES
from spikejax.readouts import READOUTS
from spikejax.simulators import SIMULATORS
from spikejax.synapses import SYNAPSES
from spikejax.tasks import TASKS
from spikejax.training.annealing import SCHEDULES

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
FAMILIES = [
    TASKS, NEURONS, WRAPPERS, RESETS, SYNAPSES, CONNECTIONS, READOUTS, KERNELS, RELEASES, SCHEDULES, ADJOINTS,
    LOOPS, SIMULATORS,
    LOSSES, PENALTIES,
]  # fmt: skip


@pytest.mark.parametrize("registry", FAMILIES, ids=lambda registry: registry.family)
def test_every_component_is_listed(registry):
    # Scripts that other tests import may have added their own.
    theirs = {f"| `{name}` |" for name, cls in registry.items() if not cls.__module__.startswith("spikejax.")}
    for line in components_table(registry).splitlines():
        if line.startswith(tuple(theirs)):
            continue
        assert line in TEXT.splitlines(), f"docs/configuration.md lacks\n{components_table(registry)}"


def test_the_readme_names_every_neuron():
    readme = (Path(__file__).parents[2] / "README.md").read_text().lower().replace("-", "")
    for name in NEURONS:
        assert NEURONS[name].__name__.lower() in readme


def test_every_renamed_key_is_listed():
    rows = [line for line in TEXT.split("| was | is |")[1].splitlines() if line.startswith("| `")]
    listed = dict((cell.strip(" `") for cell in row.strip("|").split("|")) for row in rows)
    assert listed == RENAMED


def test_its_examples_are_configurations():
    example, plugins = (part.split("```")[0] for part in TEXT.split("```toml\n")[1:])
    config = check(tomllib.loads(example) | {"dt": 12.5})
    assert config.network.layers[0].neuron.refractory.tau_ref == 2.0
    assert tomllib.loads(plugins)["plugins"]
