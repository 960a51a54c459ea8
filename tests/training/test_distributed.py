"""Many devices and processes: as one device to rounding, one writer, stops that are agreed on."""

import json
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from spikejax.jobs.run import trained
from spikejax.training import distributed

from ..command_line import environment, fails
from ..configs import PREDICTIVE, changed, toml

CONFIG = changed(PREDICTIVE, noise={"initial": 0.1}, training={"checkpoint_every": 4})

PAIR = """
import os, signal, sys
from pathlib import Path
import jax
jax.config.update("jax_enable_x64", True)
from spikejax.training import distributed
from spikejax.configuration import load
from spikejax.errors import ConfigError
from spikejax.files import write_json
from spikejax.jobs.train import train_run
from spikejax.jobs.sweep import job as sweep, load_sweep
from spikejax.training import Interrupted

address, process, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
distributed.join(address, 2, process)
distributed.VOTE_INTERVAL = 0.0
assert distributed.mesh().size == 4 and jax.local_device_count() == 2
assert distributed.each([lambda i=i: (i, jax.process_index()) for i in range(3)]) == [(0, 0), (1, 1), (2, 0)]
config = load(folder / "run.toml")

def say(what):  # Gloo writes to the standard output, into the middle of lines
    with open(folder / f"said{process}", "a") as file:
        print(what, file=file)

def stop(step, score):
    if step == 2 and process == 1:
        os.kill(os.getpid(), signal.SIGTERM)

out = folder / f"out{process}"  # only the first's may be written
try:
    train_run(config, out, progress=False, report=stop, figures=False)
except Interrupted as error:
    say(error)
try:
    train_run(config, out, progress=False)
except ConfigError as error:
    say(str(error).split()[1])
summary = train_run(config, out, resume=True, progress=False, figures=False)
say(summary["hard"]["loss"])

# The end of a point is that of one process, and takes longest to compile.
sweep._finish = lambda config, place, *rest: write_json(place / "summary.json", {"gradient": {}})
sweep._row = lambda point, place: {"name": point.name}
sweep._draw = lambda *rest: None
say(sweep.sweep_run(load_sweep(folder / "sweep.toml"), folder / f"sweep{process}", progress=False))
"""

DEVICES = """
import sys
import equinox as eqx, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from functools import partial
from pathlib import Path
from spikejax import ClockDriven
from spikejax.training import distributed
from spikejax.configuration import batch_key, build, build_adjoint, step_settings
from spikejax.configuration import load
from spikejax.errors import ConfigError
from spikejax.jobs.train import train_run
from spikejax.training import make_train_step
from spikejax.training.step import update

config = load(Path(sys.argv[1]))
run, mesh = build(config), distributed.mesh(0)
assert distributed.mesh() is None and mesh.size == 2
trials, rate = run.task.batch(batch_key(config), 0, 4), jnp.asarray(0.01)
simulator = ClockDriven(run.gate, config.dt, build_adjoint(config))
for parts in (1, 2):
    settings = step_settings(config) | {"accumulate": parts}
    found = []
    for m in (None, mesh):
        step, state = make_train_step(run.fixed, mesh=m, **settings), run.plan.restart(run.state.params, 0)
        for _ in range(2):
            state, metrics = step(state, trials, simulator, rate)
        found.append((distributed.local(state), metrics))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
try:
    step(state, jax.tree.map(lambda x: x[:2], trials), simulator, rate)
except ValueError as error:
    print(error)
try:
    build(load(Path(sys.argv[1]), [("training.batch", "5")]), mesh)
except ConfigError as error:
    print(error)
dynamic, static = eqx.partition((run.fixed, distributed.share(trials, mesh), simulator, rate), eqx.is_array)
distributed.mesh = lambda devices: None
summary = train_run(config, Path(sys.argv[1]).parent / "alone", progress=False, figures=False)
print("SUMMARY", summary["hard"]["loss"])
whole = lambda x, state: update(eqx.combine(x, static), state, mesh=mesh, **step_settings(config))
print(jax.jit(whole).lower(dynamic, distributed.replicate(run.state, mesh)).compile().as_text())
"""


def free_address() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("distributed")
    (place / "run.toml").write_text(toml(CONFIG))
    (place / "sweep.toml").write_text(toml(CONFIG, sweep={"seeds": [0, 1, 2]}))
    return place


@pytest.fixture(scope="module")
def alone(folder):
    """What a process with two devices says, which also trains on one."""
    command = [sys.executable, "-c", DEVICES, str(folder / "run.toml")]
    done = subprocess.run(command, env=environment(2), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.nightly
def test_two_processes_are_as_one(folder, alone):
    address, pair = free_address(), []
    try:
        for i in range(2):
            command = [sys.executable, "-c", PAIR, address, str(i), str(folder)]
            pair.append(
                subprocess.Popen(
                    command, env=environment(2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
        said = [p.communicate(timeout=240) for p in pair]
    finally:
        for p in pair:
            p.kill()
    assert [p.returncode for p in pair] == [0, 0], said
    lines = [(folder / f"said{i}").read_text().splitlines() for i in range(2)]
    assert lines[0] == lines[1]
    assert lines[0][0] == "interrupted after step 2 of 5; saved: continue with --resume"
    assert lines[0][1] == "already"
    assert not (folder / "out1").exists()
    assert not (folder / "sweep1").exists()

    loss = next(line.split()[1] for line in alone.splitlines() if line.startswith("SUMMARY"))
    assert float(loss) == pytest.approx(float(lines[0][2]), rel=1e-8)
    steps = [
        [json.loads(x) for x in (folder / f / "metrics.jsonl").read_text().splitlines()]
        for f in ("alone", "out0")
    ]
    assert [m["step"] for m in steps[1]] == [1, 2, 3, 4, 5]
    for a, b in zip(*steps, strict=True):
        assert a == {name: pytest.approx(x, rel=1e-8) for name, x in b.items()}
    places = [folder / "alone", folder / "out0", folder / "sweep0" / "points" / "seed=0"]
    networks = [
        [x for x in jax.tree.leaves(trained(f)[1]) if np.issubdtype(x.dtype, np.floating)] for f in places
    ]
    for one, *others in zip(*networks, strict=True):
        for other in others:
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_two_devices_of_a_process_exchange_the_gradient_alone(alone):
    assert "1 trials at a time cannot be cut into equal parts for 2 devices" in alone
    assert "training.batch is 5, which 2 devices cannot share equally: make it a multiple of 2" in alone
    for other in (" all-gather(", " all-to-all(", " collective-permute(", " reduce-scatter("):
        assert other not in alone
    sums = [line for line in alone.splitlines() if " all-reduce(" in line]
    # Outside the loop over time, whose body would be another computation than the entry.
    entry = alone[alone.index("ENTRY ") :]
    assert sums
    assert all(line in entry for line in sums)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--processes", "2"], "go together"),
        (["--coordinator", "here", "--processes", "2", "--process", "0"], "HOST:PORT"),
        (["--coordinator", "here:1", "--processes", "2", "--process", "2"], "numbered from 0 to 1"),
        (["--devices", "9999"], "--devices is 9999, but there"),
    ],
)
def test_one_line_for_what_cannot_be(folder, capsys, options, words):
    assert words in fails(capsys, "train", folder / "run.toml", "--out", folder / "never", *options)
    assert not (folder / "never").exists()


def test_one_process_asks_nobody():
    assert distributed.leads()
    assert distributed.call(lambda: 3) == 3
    assert distributed.each([lambda: 1, lambda: 2]) == [1, 2]
    assert [distributed.Vote()(1, wanted) for wanted in (False, True)] == [False, True]
    assert distributed.mesh() is None
    with pytest.raises(ValueError, match="go together"):
        distributed.join(process=1)
