"""Renamed keys: an error that names the new one, and run folders of the earlier version that are still
read."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from spikejax.configuration import build_gate, check, dump, load
from spikejax.configuration.load import override, read
from spikejax.configuration.upgrade import RENAMED, old_keys, upgrade
from spikejax.errors import ConfigError
from spikejax.jobs.evaluate import evaluate_run
from spikejax.jobs.train import train_run

OLD = Path(__file__).parent / "old_runs"
"""What the earlier version wrote into run folders, of the shipped configurations and of one with every
feature."""
CONFIGS = Path(__file__).parents[2] / "configs"


def run_folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / "config.toml").write_text((OLD / name).read_text())
    return tmp_path


@pytest.mark.parametrize("path", sorted(OLD.glob("*.toml")), ids=lambda path: path.stem)
def test_a_run_folder_of_the_earlier_version_is_read(path, tmp_path):
    data = tomllib.loads(path.read_text())
    assert list(old_keys(data))
    config = load(run_folder(tmp_path, path.name))
    assert not list(old_keys(upgrade(data)))
    # What it reads is what it writes, and is left as it is.
    written = tomllib.loads(dump(config))
    assert upgrade(written) == written
    assert check(written) == config


@pytest.mark.parametrize("name", ["braille", "delayed_xor", "predictive_coding", "spoken_digits"])
def test_an_old_run_is_that_of_the_configuration_as_it_is_now(name, tmp_path):
    old, now = load(run_folder(tmp_path, f"{name}.toml")), load(CONFIGS / f"{name}.toml")
    assert build_gate(old)[0].width == build_gate(now)[0].width  # which a file need not say any more
    tree = now.model_dump(mode="json", exclude_unset=True)
    tree["gate"]["width"] = old.gate.width
    assert old == check(tree)


def test_every_feature_arrives(tmp_path):
    config = load(run_folder(tmp_path, "features.toml"))
    first, second, third = config.network.layers
    assert first.neuron.refractory.tau_ref == 2.0
    assert first.neuron.accommodation.slope == 0.3
    assert first.neuron.v_init == (0.0, 0.5)
    assert (first.recurrent.density, first.excitatory, first.reversal) == (0.5, 0.5, (4.0, -0.5))
    assert second.recurrent is False
    assert second.neuron.kinetics == "cortical"
    assert (third.feedforward.norm, third.recurrent.autapses, third.recurrent.scale) == (3.0, False, 0.2)
    assert third.neuron.refractory is None
    assert config.network.readout.tau_out == 15.0
    assert config.gate.release.detach_reset
    assert config.gate.schedule.kind == "linear"
    assert (config.adjoint.chunk, config.adjoint.inner.damping, config.adjoint.inner.clip) == (4, 0.01, 2.0)
    rate, low = config.penalties.rate_band, config.penalties.low_voltage
    assert (rate.weight, rate.low, rate.high) == (1e-3, 1.0, 50.0)
    assert (low.weight, low.low) == (0.3, -2.0)
    assert config.penalties.log_rate.target == 10.0
    assert config.penalties.whole_charge.weight == 0.01
    training = config.training
    assert (training.learning_rate_scale, training.select_by) == ({"recurrent": 0.5}, "both")
    assert training.half_step_fraction == 0.5


def test_stages_and_schedules_of_an_old_run(tmp_path):
    config = load(run_folder(tmp_path, "annealing_then_surrogate.toml"))
    first, second = config.parts
    assert (first.gate.release.kind, second.gate.release.kind) == ("graded", "surrogate")
    assert (first.adjoint.damping, second.adjoint.damping, second.adjoint.clip) == (0.1, 0.0, 1e6)
    plateau = load(run_folder(tmp_path, "annealing_plateau.toml")).gate.schedule
    assert (plateau.kind, plateau.patience, plateau.factor) == ("plateau", 8, 1.5)
    last = load(run_folder(tmp_path, "predictive_coding.toml")).parts[-1]
    assert (last.penalties.activity.weight, last.penalties.low_voltage.weight) == (2e-4, 0.03)
    assert last.penalties.log_rate.weight == 0.1


VALUES = {
    "network.layers.*.autapses": True,
    "network.layers.*.self_excitation": [0.1, 0.2],
    "gate.detach_reset": True,
}
KINDS = {"task.channels": "task.kind", "adjoint.damping": "adjoint.kind", "adjoint.clip": "adjoint.kind"}
NAMES = {"task.kind": "spoken_digits", "adjoint.kind": "checkpointed"}


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_key_in_a_file_gets_an_error_that_names_the_new_one(old, tmp_path):
    path, new = tmp_path / "c.toml", RENAMED[old].replace("*", "0")
    path.write_text("[[network.layers]]\nsize = 3\n")
    overrides = [(old.replace("*", "0"), str(VALUES.get(old, 1.0)).lower())]
    if old in KINDS:
        overrides.append((KINDS[old], NAMES[KINDS[old]]))
    with pytest.raises(ConfigError) as error:
        load(path, overrides)
    assert str(error.value) == f"{path}: {old.replace('*', '0')} is now called {new}"


@pytest.mark.parametrize("new", sorted(set(RENAMED.values())))
def test_every_new_key_there_is(new):
    data = override({"network": {"layers": [{}]}}, [(new.replace("*", "0"), "1.0")])
    kinds = {"task": "spoken_digits", "gate.release": "surrogate", "gate.schedule": "plateau"}
    for where, kind in kinds.items():
        if new.startswith(f"{where}."):
            override(data, [(f"{where}.kind", kind)])
    if new.startswith("adjoint.inner"):
        override(data, [("adjoint.kind", "checkpointed")])
    with pytest.raises(ConfigError) as error:
        check(data | {"dt": -1.0})
    assert "unknown key" not in str(error.value)


def test_keys_that_are_old_with_one_kind_only():
    assert not list(old_keys({"task": {"kind": "predictive_coding", "channels": 3}}))
    assert not list(old_keys({"adjoint": {"damping": 0.1}}))


def test_a_file_is_not_upgraded(tmp_path):
    path = run_folder(tmp_path, "braille.toml") / "config.toml"
    assert "rate_weight" in read(path)["loss"]
    with pytest.raises(ConfigError, match="is now called"):
        load(path)


def test_keys_of_a_users_component_are_no_old_ones():
    mine = {
        "loss": {"kind": "mine", "margin": 0.5, "rate_low": 2.0, "log_rate": 0.0, "rate_weight": 0.0},
        "adjoint": {"kind": "mine", "damping": 0.0, "chunk": 3},
        "network": {
            "layers": [{"neuron": {"kind": "mine", "tau_ref": 0.0}}],
            "readout": {"kind": "mine", "tau_out": 3.0},
        },
        "gate": {"release": {"kind": "mine", "detach_reset": True}},
    }
    assert not list(old_keys(mine))
    assert upgrade(mine) == mine


# What the simulation, which has changed since by what is of second order in dt, makes of the trained network.
NOW = {
    "smooth": {"loss": 62.25880352725336, "error": 65.45676475143014, "rate/0": 117.64978907598268},
    "hard": {"loss": 61.428236664563144, "error": 63.980871908344035, "rate/0": 100.0},
}


def test_a_trained_run_of_the_earlier_version_is_read_whole(tmp_path):
    # Its checkpoints have the names that arrays had.
    run = tmp_path / "run"
    shutil.copytree(OLD / "trained", run)
    before = json.loads((run / "summary.json").read_text())
    with pytest.warns(UserWarning, match="best.ckpt is of an earlier version, without a checksum"):
        found = evaluate_run(run)
    for gate, expected in NOW.items():
        for name, value in expected.items():
            assert found[gate][name] == pytest.approx(value, rel=1e-8), (gate, name)
            assert value == pytest.approx(before[gate][name], rel=0.1), (gate, name)
    assert load(run).training.trainable == ("weight", "bias", "tau_mem", "tau")
    (run / "summary.json").unlink()
    with pytest.warns(UserWarning, match="without a checksum"):
        again = train_run(load(run), run, resume=True, progress=False, figures=False)
    assert again["hard"]["loss"] == pytest.approx(found["hard"]["loss"], rel=1e-9)
