"""From a TOML file to a configuration: overrides, words, stages, plugins, and back."""

import sys
import tomllib

import pytest

from spikejax.configuration import check, dump, load
from spikejax.configuration.load import place, read
from spikejax.configuration.programs import compiled
from spikejax.errors import ConfigError
from spikejax.training.annealing import SCHEDULES

from ..configs import BRAILLE, PREDICTIVE, XOR, changed, toml


def test_round_trip(tmp_path):
    for data in (BRAILLE, PREDICTIVE, XOR):
        config = check(data)
        (tmp_path / "config.toml").write_text(dump(config))
        assert load(tmp_path) == config
        assert load(tmp_path / "config.toml") == config


def test_a_component_without_keys_is_written_as_a_word():
    written = tomllib.loads(dump(check(BRAILLE)))
    assert written["gate"]["release"] == "charge"
    assert written["network"]["layers"][0]["neuron"]["reset"] == "split"


def test_overrides(tmp_path):
    (tmp_path / "c.toml").write_text(toml(BRAILLE, gate={"release": "charge"}))
    found = load(
        tmp_path / "c.toml",
        [
            ("network.layers.0.size", "5"),
            ("network.layers.0.synapse.tau_syn", "[30.0, 60.0]"),
            ("network.layers.0.recurrent", "false"),
            ("network.layers.0.neuron.refractory.tau_ref", "3"),
            ("gate.release", "surrogate"),
            ("gate.release.detach_reset", "true"),
            ("penalties.rate_band.weight", "1e-3"),
        ],
    )
    layer = found.network.layers[0]
    assert (layer.size, layer.synapse.tau_syn, layer.recurrent) == (5, (30.0, 60.0), False)
    assert layer.neuron.refractory.tau_ref == 3.0
    assert (found.gate.release.kind, found.gate.release.detach_reset) == ("surrogate", True)
    assert found.penalties.rate_band.high == 100.0


def test_places_that_are_not_there():
    with pytest.raises(ConfigError, match="there is no '3'"):
        place({"network": {"layers": [{}]}}, "network.layers.3.size", 1)
    with pytest.raises(ConfigError, match="is a value, not a table"):
        place({"dt": 1.0}, "dt.x", 1)
    with pytest.raises(ConfigError, match="name a field of one item"):
        place({"network": {"layers": [{}]}}, "network.layers", 1)
        place({"network": {"layers": [{}]}}, "network.layers.0", 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"seed": "1"}, r"seed is '1', but must be a whole number"),
        ({"dt": float("nan")}, r"dt is nan, but must be"),
        ({"task": {"kind": "cifar"}}, r"task\.kind: unknown task 'cifar': choose from"),
        ({"learning_rate": 1.0}, r"unknown key learning_rate: did you mean training\.learning_rate\?"),
        ({"gate": 3}, r"gate is 3, but must be a table"),
        ({"dt": 7.0}, r"task: .*does not divide"),
        ({"gate": {"kernel": "arctan"}}, r"gate: kernel 'arctan' has no compact support"),
        ({"gate": {"width": 0.0}}, r"gate\.width is 0, but must be"),
        ({"loss": "squared_error"}, r"loss: SquaredError compares a readout with a signal, but .* a class"),
        (
            {"penalties": {"rate_band": {"weight": 1.0, "low": 9.0, "high": 3.0}}},
            r"penalties\.rate_band: .*`low`",
        ),
        ({"penalties": {"rate_band": {}}}, r"penalties\.rate_band\.weight is required"),
        ({"training": {"batch": 5, "accumulate": 2}}, r"batch \(5\) must be a multiple of accumulate"),
        ({"adjoint": {"kind": "checkpointed", "inner": {"clip": -1.0}}}, r"adjoint\.inner\.clip is -1"),
        ({"gate": {"sharpness": [1.0, 2.0]}}, r"gate: .*2 values, one a layer, but the network has 1 layer"),
    ],
)
def test_one_line_for_what_cannot_be(data, message):
    with pytest.raises(ConfigError, match=message) as error:
        check(changed(BRAILLE, **data))
    assert "\n" not in str(error.value)


def test_a_stage_changes_some_keys():
    stages = [
        {"training": {"steps": 3}, "gate": {"release": {"kind": "surrogate", "detach_reset": True}}},
        {
            "task": {"kind": "delayed_xor", "buckets": [60.0], "odds": [1.0]},
            "gate": {"sharpness": 2.0, "release": "graded"},
            "penalties": {"activity": {"weight": 0.0}, "rate_band": {"weight": 1.0}},
            "adjoint": {"kind": "checkpointed", "inner": {"damping": 0.1}},
        },
    ]
    penalties = {"activity": {"weight": 0.5}, "rate_band": {"weight": 0.1, "low": 2.0}}
    adjoint = {"kind": "costate", "damping": 0.02}
    config = check(changed(XOR, stages=stages, penalties=penalties, adjoint=adjoint))
    first, second = config.parts
    assert (first.training.steps, first.training.batch, second.training.steps) == (3, 12, 4)
    assert (first.gate.release.detach_reset, first.gate.width) == (True, 1.0)
    assert second.task.buckets == (60.0,)
    assert (second.gate.sharpness, second.gate.width, second.gate.release.kind) == (2.0, 1.0, "graded")
    assert (second.penalties.activity.weight, second.penalties.rate_band.low) == (0.0, 2.0)
    assert (first.adjoint.damping, second.adjoint.kind, second.adjoint.inner.damping) == (
        0.02,
        "checkpointed",
        0.1,
    )
    assert check(tomllib.loads(dump(config))).parts == config.parts
    assert check(XOR).parts == (check(XOR),)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            {"network": {"layers": []}},
            r"stages\.0\.network: a stage can change keys of task, simulator, gate",
        ),
        ({"training": {"averaging": 0.5}}, r"stages\.0\.training\.averaging: the same for all stages"),
        ({"gate": {"width": -1.0}}, r"stages\.0: gate\.width is -1"),
        ({"task": {"bucket": [1.0]}}, r"stages\.0: unknown key task\.bucket: did you mean buckets\?"),
        (
            {"task": {"held_out": [1, 1]}},
            r"stages\.0\.task\.held_out: the same for all stages; set it in \[task\]",
        ),
        ({"task": {"kind": "braille"}}, r"stages\.0\.task\.kind: the same for all stages"),
        ({"loss": {"kind": "squared_error"}}, r"stages\.0\.loss\.kind: the same for all stages"),
    ],
)
def test_a_stage_that_cannot_be(stage, message):
    with pytest.raises(ConfigError, match=message):
        check(changed(XOR, stages=[stage]))


PLUGIN = '''
from spikejax import option
from spikejax.training.annealing import SCHEDULES, AbstractSchedule

@SCHEDULES.register("{name}")
class Steps(AbstractSchedule):
    """In steps."""

    number: int = option(3, doc="of steps", at_least=1.0)

    def at(self, start, end, x, level):
        return start + (end - start) * (x * self.number // 1) / self.number
'''


def test_plugins_are_imported_first(tmp_path, monkeypatch):
    monkeypatch.setattr(SCHEDULES, "_classes", dict(SCHEDULES._classes))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "schedules.py").write_text(PLUGIN.format(name="in_steps"))
    gate = {"sharpness_end": 4.0, "schedule": {"kind": "in_steps", "number": 4}}
    config = check(changed(PREDICTIVE, plugins=["my_lab.schedules"], gate=gate))
    assert config.gate.schedule.number == 4
    assert check(tomllib.loads(dump(config))) == config
    with pytest.raises(ConfigError, match=r"gate\.schedule\.nmber: did you mean number\?"):
        check(
            changed(
                PREDICTIVE, plugins=["my_lab.schedules"], gate={"schedule": {"kind": "in_steps", "nmber": 4}}
            )
        )
    with pytest.raises(ConfigError, match=r"gate\.schedule\.number is 0, but must be"):
        check(
            changed(
                PREDICTIVE, plugins=["my_lab.schedules"], gate={"schedule": {"kind": "in_steps", "number": 0}}
            )
        )
    sys.modules.pop("my_lab.schedules")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No module named 'my_other_lab'"),
        ("raise RuntimeError('boom\\nbang')", "boom"),
        ("x = = 3", "invalid syntax"),
    ],
)
def test_a_plugin_that_cannot_be_imported(text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "my_other_lab" if text is None else f"broken_{abs(hash(text))}"
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(ConfigError, match=f"the plugin '{name}' cannot be imported: .*{words}") as error:
        check({"plugins": [name]}, "c.toml")
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("dt = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "broken.toml")
    with pytest.raises(ConfigError, match="not a run folder"):
        read(tmp_path)


def test_what_makes_another_program():
    same = [
        changed(PREDICTIVE, gate={"width": 0.3, "sharpness_end": 2.0, "schedule": "linear"}),
        changed(PREDICTIVE, training={"learning_rate": 0.1, "warmup": 0.2}),
    ]
    other = [
        changed(PREDICTIVE, gate={"kernel": "boxcar"}),
        changed(PREDICTIVE, training={"batch": 2}),
        changed(PREDICTIVE, adjoint={"damping": 0.1}),
        changed(PREDICTIVE, penalties={"activity": {"weight": 0.1}}),
    ]
    program = compiled(check(PREDICTIVE))
    assert all(compiled(check(one)) == program for one in same)
    assert all(compiled(check(one)) != program for one in other)
    damped = [compiled(check(changed(PREDICTIVE, adjoint={"damping": x}))) for x in (0.1, 0.2)]
    assert damped[0] == damped[1]
