"""Configurations and words of the command line that are damaged or absurd: refused in one line, or what they
say."""

import time

import numpy as np
import pytest

from spikejax.cli import key_values
from spikejax.configuration import Config, ConfigError, dump, load, load_fit
from spikejax.configuration.load import DEEPEST, LARGEST
from spikejax.errors import in_one_line

from ..by_day import by_day
from ..command_line import fails
from ..configs import BRAILLE, PREDICTIVE, XOR, toml

FIT = """kind = "current_clamp"
dt = 0.5
samples = 3
[data]
file = "a.npz"
recording = "R"
[fit]
draws = 16
"""
SOUND = """kind = "sound"
dt = 0.25
[data]
file = "a.npz"
[fit]
steps = 3
[score]
bin = 1.0
"""
TEXTS = {
    "predictive": toml(PREDICTIVE),
    "braille": toml(BRAILLE),
    "xor": toml(XOR),
    "clamp": FIT,
    "sound": SOUND,
}
VALUES = (
    *(
        "0",
        "-1",
        "1",
        "2",
        "9223372036854775808",
        "-9223372036854775809",
        "4294967296",
        "1" * 400,
        "1" * 5000,
    ),
    *("1e308", "-1e308", "5e-324", "1e-300", "inf", "-inf", "nan", "true", "''", "'lif'", "'\\u0000'", "[]"),
    *("{}", "[[]]", "[1]", "[1, 2, 3]", "[nan, 1.0]", "{kind = 'lif'}", "{kind = 1}", "{a = {b = {}}}"),
    *("2020-01-01", "07:00:00", "'''", '"', "[", "{", "0x", "'a\nb'", "[" * 900, "{a=" * 900),
)


def reads(text, path, overrides=(), fit=False):
    """The configuration, or None if it is refused in one line; soon in either case."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    begin = time.monotonic()
    try:
        config = (load_fit if fit else load)(path, overrides)
    except ConfigError as error:
        config, told = None, in_one_line(error)
        assert len(told.splitlines()) == 1
        assert len(told) < 1100
    assert time.monotonic() - begin < 10
    return config


def damaged(text: str, rng: np.random.Generator) -> str:
    """`text` with another value, or with lines or characters lost, doubled, exchanged or made up."""
    lines = text.splitlines()
    i, j = rng.integers(0, len(lines), 2)
    kind = rng.integers(8)
    if kind <= 2:
        values = [k for k, line in enumerate(lines) if "=" in line]
        k = values[rng.integers(len(values))]
        lines[k] = lines[k].split("=")[0] + "= " + VALUES[rng.integers(len(VALUES))]
    elif kind == 3:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 4:
        lines.insert(i, lines[j])
    elif kind == 5:
        del lines[i]
    else:
        text = "\n".join(lines)
        a = int(rng.integers(len(text)))
        b = a + int(rng.integers(0, 8))
        made = "".join(chr(c) for c in rng.integers(0, 300, rng.integers(0, 4)))
        return text[:a] + made + text[b:]
    return "\n".join(lines)


def survives(name, tmp_path, seed, times):
    rng, path, fit = np.random.default_rng(seed), tmp_path / "c.toml", name in ("clamp", "sound")
    taken = 0
    for _ in range(times):
        text = TEXTS[name]
        for _ in range(rng.integers(1, 4)):
            text = damaged(text, rng)
        config = reads(text, path, fit=fit)
        if config is not None:
            # What is taken is what is written out: nothing was dropped or changed in silence.
            taken += 1
            again = reads(dump(config), path, fit=fit)
            assert again == config
            assert isinstance(config, Config) or fit
    assert 0 < taken < times


@pytest.mark.parametrize("name", by_day(TEXTS, ["xor"]))
def test_damaged_configurations(tmp_path, name):
    survives(name, tmp_path, 0, 150)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("seed", range(1, 4))
def test_configurations_damaged_at_random(tmp_path, name, seed):
    survives(name, tmp_path, seed, 600)


KEYS = (
    *("dt", "seed", "training.steps", "training.batch", "network.layers.0.size", "network.layers.1.size"),
    *("gate.width", "network.layers.\u00b2.size", "network.layers.-1.size", f"network.layers.{10**20}.size"),
    *(
        "task",
        "task.kind",
        "network.layers.0.neuron.tau_mem",
        "network.layers",
        "network.layers.0",
        "plugins",
    ),
    *(
        "stages.0.gate.width",
        "penalties.rate_band.weight",
        "training.learning_rate_scale.x",
        "a.b.c",
        "",
        ".",
    ),
    *("..", "a" * 3000, "dt.x", ".".join("a" * 2000), "loss.windows", "noise.current", "adjoint", "\n"),
    *("network.readout.kind", "x\ny", "data.file", "data.recording", "fit.steps", "model.ranges.x"),
)


def overrides_survive(tmp_path, seed, times):
    rng, path = np.random.default_rng(seed), tmp_path / "c.toml"
    for _ in range(times):
        words = []
        for _ in range(rng.integers(1, 3)):
            key, value = KEYS[rng.integers(len(KEYS))], VALUES[rng.integers(len(VALUES))]
            words += [f"--{key}={value}"] if rng.random() < 0.5 and "=" not in key else [f"--{key}", value]
        name = list(TEXTS)[rng.integers(len(TEXTS))]
        config = reads(TEXTS[name], path, key_values(words), fit=name in ("clamp", "sound"))
        if config is not None:
            assert reads(dump(config), path, fit=name in ("clamp", "sound")) == config


def test_absurd_overrides(tmp_path):
    overrides_survive(tmp_path, 0, 100)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 4))
def test_absurd_overrides_at_random(tmp_path, seed):
    overrides_survive(tmp_path, seed, 800)


DEEP = f"more than {DEEPEST} deep"
XOR_TASK = "[loss]\nkind = 'response'\n[task]\nkind = 'delayed_xor'\n"
SIGNAL = "[loss]\nkind = 'squared_error'\n[task]\nkind = 'predictive_coding'\n"
DIGITS = "[task]\nkind = 'spoken_digits'\nfolder = 'x'\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = " + "[" * 900 + "]" * 900, DEEP),
        ("x = " + "[" * 60 + "]" * 60, DEEP),
        ("[" + ".".join("a" * 20000) + "]", DEEP),
        (". ".join(['"a b"'] * 20000) + " = 1", DEEP),
        ("x = " + "{a = " * 70 + "1" + "}" * 70, DEEP),
        ("seed = " + "1" * 5000, "cannot be read"),
        ("#" * (LARGEST + 1), "larger than"),
        ("seed = " + "1" * 400, "seed is 111"),
        ("dt = " + "1" * 400, "dt is 111"),
        ("dt = 12.5\n[[network.layers]]\nsize = 9223372036854775808", "size is 9223372036854775808"),
        ("dt = 12.5\n[loss]\nwindows = 9223372036854775808", "loss.windows is 9.22337e+18"),
        ("dt = 12.5\n[task]\nthresholds = [1e400]", "task.thresholds is inf"),
        (SIGNAL + "test_duration = 1e308", "`test_duration`"),
        (SIGNAL + "channels = 4294967296", "task.channels"),
        (DIGITS + "bin = 5e-324", "`window`"),
        ("dt = 1e-300\n" + DIGITS, "`window`"),
        (DIGITS + "bin = 1e300\nwindow = 1e300", "`window`"),
        ("dt = 5e-324", "steps of"),
        ("dt = 12.5\n[task]\nshift = 1e308", "`shift`"),
        ("dt = 5e-324\n" + XOR_TASK, "a trial of"),
        (XOR_TASK + "cue = 1e308", "`cue`"),
        (XOR_TASK + "tail = 1e308", "a trial of"),
        ('"a\\nb" = 1', "unknown key a b"),
    ],
)
def test_beyond_every_range(capsys, tmp_path, text, words):
    path = tmp_path / "c.toml"
    path.write_text(text)
    error = fails(capsys, "train", path, "--out", tmp_path / "run")
    assert str(path) in error
    assert words in error
    assert not (tmp_path / "run").exists()


def test_phases_outside_the_circle(capsys, tmp_path):
    path = tmp_path / "c.toml"
    for value in ("1.5", "-0.1", "[0.2, 1.5]"):
        path.write_text(f"dt = 12.5\n[[network.layers]]\nneuron = {{ kind = 'theta', v_init = {value} }}\n")
        assert "v_init" in fails(capsys, "train", path, "--out", tmp_path / "run")
    path.write_text("dt = 12.5\n[[network.layers]]\nneuron = { kind = 'theta', v_init = [0.0, 1.0] }\n")
    assert load(path).network.layers[0].neuron.v_init == (0.0, 1.0)
