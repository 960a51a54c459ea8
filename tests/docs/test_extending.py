"""The page on adding components: its code runs, every class on it gives the exact gradient, and a
configuration that names them trains."""

import importlib
import json
import re
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, Autodiff, ClockDriven, Costate, Exponential, Gate, Layer, Network, cli
from spikejax.adjoints import ADJOINTS
from spikejax.configuration import build, check, load
from spikejax.connections import CONNECTIONS
from spikejax.errors import ConfigError
from spikejax.gates import RELEASES
from spikejax.kernels import KERNELS
from spikejax.loops import LOOPS
from spikejax.losses import LOSSES, SquaredError
from spikejax.neurons import NEURONS, RESETS, WRAPPERS
from spikejax.penalties import PENALTIES
from spikejax.readouts import READOUTS
from spikejax.synapses import SYNAPSES
from spikejax.tasks import TASKS, Trial
from spikejax.training.annealing import SCHEDULES, Annealing

from ..command_line import fails
from ..configs import toml
from ..places import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
USE, *MODULE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(EXAMPLE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
FAMILIES = (
    NEURONS, WRAPPERS, RESETS, KERNELS, RELEASES, SYNAPSES, CONNECTIONS, READOUTS, ADJOINTS, LOOPS, LOSSES,
    PENALTIES, TASKS, SCHEDULES,
)  # fmt: skip
REGISTRIES = {
    "NEURONS": NEURONS, "WRAPPERS": WRAPPERS, "RESETS": RESETS, "KERNELS": KERNELS, "RELEASES": RELEASES,
    "SYNAPSES": SYNAPSES, "CONNECTIONS": CONNECTIONS, "READOUTS": READOUTS, "ADJOINTS": ADJOINTS,
    "LOOPS": LOOPS, "LOSSES": LOSSES, "PENALTIES": PENALTIES, "TASKS": TASKS, "SCHEDULES": SCHEDULES,
}  # fmt: skip
NEW = re.findall(r"^@(\w+)\.register\(\"(\w+)\"\)", "\n".join(MODULE), re.MULTILINE)
KEY, DT, STEPS = jax.random.key(0), 0.5, 40


@pytest.fixture(scope="module", autouse=True)
def lab(tmp_path_factory):
    """The page's module as ``my_lab.components``, imported; what it registers is forgotten afterwards."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "components.py").write_text("\n\n".join(MODULE), encoding="utf-8")
    before = [dict(family) for family in FAMILIES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        yield importlib.import_module("my_lab.components")
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]
    for family, known in zip(FAMILIES, before, strict=True):
        for name in set(family) - set(known):
            del family._classes[name]


def test_every_kind_of_component_is_there():
    assert {family for family, _ in NEW} == set(REGISTRIES)


def test_use_in_python():
    namespace = {}
    exec(compile(USE, "extending.md", "exec"), namespace)
    assert float(namespace["solution"].counts[0].max()) > 1


def gradient_of(family: str, name: str, depth: int):
    """The gradient of a loss through a network that has the component, as a function of the adjoint."""
    made = lambda of, default: REGISTRIES[family].make(name) if family == of else default
    neuron = made("NEURONS", LIF(reset=name if family == "RESETS" else "split"))
    if family == "WRAPPERS":
        neuron = WRAPPERS[name](neuron=neuron)
    connection = CONNECTIONS[name] if family == "CONNECTIONS" else CONNECTIONS["dense"]
    readout = READOUTS[name] if family == "READOUTS" else READOUTS["linear"]
    keys, layers, shape = jax.random.split(KEY, depth + 1), [], (2,)
    for key in keys[:depth]:
        layers.append(
            Layer.create(
                shape, 6, neuron, made("SYNAPSES", Exponential(5.0)), feedforward=connection.create,
                recurrent=connection.create, bias=(1.1, 1.6), key=key,
            )
        )  # fmt: skip
        shape = layers[-1].activation_shape
    network = Network(tuple(layers), readout.create(shape, 2, key=keys[depth]))
    gate = Gate(
        name if family == "KERNELS" else "raised_cosine",
        0.4,
        release=name if family == "RELEASES" else "charge",
    )
    if family in ("LOSSES", "PENALTIES"):
        loss = REGISTRIES[family].make(name, **({"weight": 2.0} if family == "PENALTIES" else {}))
    else:
        loss = SquaredError()
    x = jax.random.uniform(KEY, (STEPS, 2))
    target = jnp.asarray(1) if "class" in loss.targets else 0.3 * x
    trial = Trial(x, target, jnp.arange(STEPS) < STEPS - 5)

    def value(network, adjoint):
        solution = ClockDriven(gate, DT, adjoint)(network, x, save=loss.series, mask=trial.mask)
        own, scalars = loss(solution, trial)
        assert scalars.keys() - {"label"} == loss.reports.keys()
        smooth = sum(jnp.sum(c**2) for c in solution.counts) if isinstance(loss, SquaredError) else 0.0
        return own + 1e-3 * smooth

    return lambda adjoint: jax.jit(jax.grad(value))(network, adjoint)


# The others compile slowly: their like is in tests/core, and the page's own are compared at night, and
# all of them in a second layer.
BY_DAY = ("WRAPPERS", "KERNELS", "RELEASES", "RESETS", "PENALTIES")


@pytest.mark.parametrize(
    ("family", "name", "depth"),
    [
        pytest.param(*x, depth, marks=() if depth == 1 and x[0] in BY_DAY else pytest.mark.nightly)
        for x in NEW
        if x[0] not in ("TASKS", "SCHEDULES", "ADJOINTS")
        for depth in (1, 2)
    ],
)
def test_the_gradient_is_exact(family, name, depth, relative):
    gradient = gradient_of(family, name, depth)
    costate = Costate(loop=name) if family == "LOOPS" else Costate()
    found, expected = gradient(costate), gradient(Autodiff())
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(found))
    assert all(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(found.layers[0].feedforward))
    own = {"NEURONS": "frequency", "WRAPPERS": "jump"}.get(family)
    if own:
        assert float(abs(getattr(found.layers[0].neuron, own))) > 0
    if family == "SYNAPSES":
        assert float(abs(found.layers[0].synapse.use)) > 0
    assert relative(found, expected) < 1e-9


@pytest.mark.parametrize("depth", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_the_adjoint_is_exact_in_one_chunk(depth, lab, relative):
    gradient = gradient_of("NEURONS", "lif", depth)
    expected, whole, cut = map(gradient, (Autodiff(), lab.Truncated(chunk=STEPS), lab.Truncated(chunk=7)))
    assert relative(whole, expected) < 1e-9
    assert relative(cut, expected) > 1e-2
    assert not lab.Truncated().exact


def test_the_kernel_is_the_derivative_of_its_integral(lab):
    kernel, x = lab.Epanechnikov(), jnp.linspace(-1.2, 1.2, 50)
    np.testing.assert_allclose(jax.vmap(jax.grad(kernel.cumulative))(x), kernel.density(x), atol=1e-12)
    assert float(kernel.cumulative(jnp.asarray(1.0))) == 1


def test_the_neuron_is_solved_exactly(lab):
    neuron, run = lab.ResonateAndFire(frequency=20.0), lab.Resonance(jnp.asarray(0.3), jnp.asarray(-0.2))
    current, turn = jnp.asarray(0.7), 2 * np.pi * 0.020
    speed = jax.jacfwd(lambda t: neuron.flow(run, current, t))(jnp.asarray(0.0))
    rest = 0.7 / (10.0 * turn)
    assert float(speed.v) == pytest.approx(-(0.3 - 0.7) / 10 + turn * (-0.2 - rest))
    assert float(speed.w) == pytest.approx(-(-0.2 - rest) / 10 - turn * (0.3 - 0.7))
    twice = neuron.flow(neuron.flow(run, current, 1.0), current, 2.0)
    np.testing.assert_allclose(twice, neuron.flow(run, current, 3.0), rtol=1e-12)


def test_a_part_of_the_step_for_every_spike(lab):
    """Two spikes in a step of a neuron driven hard are as exact as two steps of half the length."""
    state = LIF().init((1,))
    for neuron, steps in ((LIF(reset=lab.SplitOften(parts=4)), 4), (LIF(), 16)):
        end, count = state, 0.0
        for _ in range(steps):
            end, path = neuron.travel(end, jnp.array([4.0]), 16.0 / steps)
            count += float(path.count[0])
        if steps == 4:
            coarse = end.v, count
    np.testing.assert_allclose(coarse[0], end.v, rtol=1e-10)
    assert coarse[1] == count > 4


def test_the_schedule_goes_the_whole_way():
    way = Annealing(sharpness=1.0, sharpness_end=(2.0, 4.0), schedule="cosine")
    np.testing.assert_allclose(way.at(0, 11), [1.0, 1.0])
    np.testing.assert_allclose(way.at(5, 11), [1.5, 2.5])
    np.testing.assert_allclose(way.at(10, 11), [2.0, 4.0])


def test_the_task_draws_the_same_trials_again(lab):
    task = lab.Evidence(dt=2.0, coherence=1.0, duration=400.0)
    one, two = (task.batch(KEY, jnp.asarray(3), 50) for _ in range(2))
    np.testing.assert_array_equal(one.stimulus, two.stimulus)
    assert one.stimulus.shape == (50, 200, 2)
    right = jnp.argmax(one.stimulus.mean(axis=1), axis=1) == one.target
    assert float(right.mean()) > 0.95


def test_a_users_task_may_have_signals(lab, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("spikejax.plotting.save_figures", lambda *_: [])
    task = lab.Integrator(dt=1.0, duration=40.0)
    trials = task.split("test")
    assert trials.target.shape == trials.stimulus.shape == (50, 40, 1)
    np.testing.assert_allclose(np.diff(trials.target, axis=1), 0.1 * trials.stimulus[:, 1:], atol=1e-12)
    assert 20 <= int(trials.mask.sum(axis=1).min()) < 40
    config = {"plugins": ["my_lab.components"], "dt": 1.0, "loss": "squared_error"}
    config |= {"task": {"kind": "integrator", "duration": 10.0, "held_out": 4}}
    config |= {"network": {"layers": [{"size": 4, "bias": [1.1, 1.4]}]}}
    config |= {"training": {"steps": 2, "batch": 4, "evaluate_every": 2}}
    file = tmp_path / "signal.toml"
    file.write_text(toml(config), encoding="utf-8")
    assert cli.main(["train", str(file), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert "test, smooth threshold: error" in capsys.readouterr().out


@pytest.fixture(scope="module")
def small():
    """The page's configuration, smaller."""
    config = tomllib.loads(EXAMPLE)
    config["network"]["layers"][0]["size"] = 6
    return config | {
        "task": config["task"] | {"duration": 20.0, "held_out": 8},
        "training": {"steps": 4, "batch": 6, "evaluate_every": 2, "checkpoint_every": 2},
    }


def test_the_configuration_of_the_page():
    config = check(tomllib.loads(EXAMPLE))
    layer = config.network.layers[0]
    assert layer.neuron.after_current.jump == 0.2
    assert (layer.recurrent.tau, layer.recurrent.scale) == (30.0, 0.1)
    # Around the library's own neurons too.
    own = {"network": {"layers": [{"neuron": {"kind": "lif", "after_current": {"tau": 50.0}}}]}}
    assert check({"dt": 12.5} | own).network.layers[0].neuron.after_current.tau == 50.0


@pytest.mark.nightly
def test_a_users_components_are_trained_from_a_file(small, tmp_path, capsys, lab, monkeypatch):
    """In one go, and once more interrupted in the user's own task and resumed: the same to the last bit."""
    file = tmp_path / "mine.toml"
    file.write_text(toml(small), encoding="utf-8")
    command = lambda out: ["train", str(file), "--out", str(tmp_path / out), "--quiet"]
    assert cli.main(command("whole")) == 0
    assert "test, smooth threshold: accuracy" in capsys.readouterr().out
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert all(np.isfinite(json.loads(line)["loss"]) for line in lines)
    draw = lab.Evidence.batch

    def interrupted(self, key, step, size):
        if not isinstance(step, jax.core.Tracer) and int(step) == 3:
            raise KeyboardInterrupt
        return draw(self, key, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(lab.Evidence, "batch", interrupted)
        assert cli.main(command("cut")) == 130
    assert not (tmp_path / "cut" / "summary.json").exists()
    resumed = [*command("cut"), "--resume"]
    assert "did you mean coherence?" in fails(capsys, "train", file, "--task.coherense", "0.5")
    assert "task.coherence" in fails(capsys, *resumed, "--task.coherence", "0.5")
    assert cli.main(resumed) == 0
    for name in ("last.ckpt", "best.ckpt"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert cli.main(["evaluate", str(tmp_path / "whole"), "--loss.margin", "0.5"]) == 0
    assert "accuracy" in capsys.readouterr().out
    found = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    assert found["changed"] == {"loss.margin": 0.5}


def test_help_of_a_file_lists_its_plugins_keys(small, tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text(toml(small), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", str(file), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for key, text in (
        ("network.layers.0.neuron.frequency", "resonate_and_fire: of the swing, Hz [40.0]"),
        ("network.layers.0.neuron.after_current.jump", "current that a spike adds [0.1]"),
        ("network.layers.0.recurrent.tau", "of_change: time constant of the mean, ms [20.0]"),
        ("task.coherence", "evidence: difference of the means, in units of the noise [0.3]"),
        ("loss.margin", "hinge: by how much the right readout should exceed the others [1.0]"),
        ("penalties.synchrony.weight", "weight of the variance of the population's rate [required]"),
    ):
        assert f"  --{key}\n" in shown
        assert text in shown


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("task.coherense", "0.5", "unknown key task.coherense: did you mean coherence?"),
        ("task.coherence", "0", "task.coherence is 0, but must be finite and above 0"),
        ("loss.margn", "0.5", "unknown key loss.margn: did you mean margin?"),
        ("task", "evidense", "task: unknown task 'evidense': did you mean 'evidence'?"),
        (
            "network.layers.0.recurrent.tau",
            "0",
            "network.layers.0.recurrent.tau is 0 ms, but must be finite and above 0",
        ),
        ("network.layers.0.neuron.after_current.jmp", "1", "did you mean jump?"),
        ("network.layers.0.excitatory", "0.8", "this one is a OfChange"),
        (
            "network.layers.0.recurrent.self_excitation",
            "[0.1, 0.2]",
            "`self_excitation` is added to dense connections, and this one is a OfChange",
        ),
        ("network.readout.init", "ridge", "needs a linear readout and a task whose target is a response"),
        (
            "loss",
            "squared_error",
            "compares a readout with a signal, but the target of Evidence is a class",
        ),
        ("plugins", '["my_lab.nothing"]', "the plugin 'my_lab.nothing' cannot be imported: No module named"),
        (
            "plugins",
            '["my_lab.broken"]',
            "the plugin 'my_lab.broken' cannot be imported: there is a neuron 'lif'",
        ),
    ],
)
def test_one_line_for_a_slip(small, tmp_path, lab, key, value, line):
    (Path(lab.__file__).parent / "broken.py").write_text(
        "from spikejax.neurons import NEURONS\n@NEURONS.register('lif')\nclass Mine:\n    pass\n"
    )
    file = tmp_path / "mine.toml"
    file.write_text(toml(small), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        build(load(file, [(key, value)]))
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_help_says_which_plugin_is_missing(small, tmp_path, capsys):
    file = tmp_path / "mine.toml"
    file.write_text(toml(small, plugins=["no_such_lab"]), encoding="utf-8")
    assert "the plugin 'no_such_lab' cannot be imported" in fails(capsys, "train", file, "--help")
