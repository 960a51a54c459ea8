"""How the time and memory of a gradient grow: with steps, neurons, trials, synapses and devices; and how long
training waits for its data. The tables of docs/scaling.md.

    python experiments/scaling.py sizes                       (5 minutes on 2 cores)
    python experiments/scaling.py devices
    python experiments/scaling.py waiting --folder FOLDER     (spoken digits, docs/spoken_digits.md)

One recurrent layer of LIF neurons, float32. Time is CPU time, the least of rounds in which all sizes take
turns; memory is what the compiled program holds beside its arguments and results. The exponent b of ``a x^b``
is fitted to the larger half of the sizes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import (
    LIF,
    Checkpointed,
    Costate,
    Dense,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Sparse,
    Surrogate,
    simulate,
    trainable,
)
from spikejax.configuration import load
from spikejax.jobs.train import finished_run
from spikejax.training import program
from spikejax.training.ahead import Ahead, Made

CONFIG = Path(__file__).parent.parent / "configs" / "spoken_digits.toml"
KEY, INPUTS = jax.random.key(0), 100
METHODS = {
    "surrogate": (Gate("fast_sigmoid", release=Surrogate()), Costate()),
    "charge": (Gate(), Costate()),
    "charge, checkpointed": (Gate(), Checkpointed()),
}


class Size(NamedTuple):
    """What is simulated."""

    steps: int = 100
    neurons: int = 128
    trials: int = 16
    density: float = 1.0
    """Of the recurrent synapses; below 1 they are a list."""


AXES = {
    "steps": [Size(steps=n, trials=8) for n in (100, 300, 1000, 3000, 10_000)],
    "neurons": [Size(neurons=n) for n in (64, 128, 256, 512, 1024)],
    "trials": [Size(trials=n) for n in (4, 16, 64, 256)],
    "synapses": [Size(neurons=1000, trials=1, density=d) for d in (0.01, 0.02, 0.04, 0.08, 0.16)],
}


def gradient(size: Size, method: str):
    """The gradient of all weights, jitted, and its arguments."""
    gate, adjoint = METHODS[method]
    own = partial(Sparse.create, density=size.density) if size.density < 1 else Dense.create
    keys = jax.random.split(KEY)
    layer = Layer.create((INPUTS,), (size.neurons,), LIF(), Exponential(5.0), recurrent=own, key=keys[0])
    network = Network((layer,), LinearReadout.create(layer.activation_shape, 2, key=keys[1]))
    params, fixed = eqx.partition(network, trainable(network, ("weight",)))
    x = jax.random.bernoulli(KEY, 0.02, (size.trials, size.steps, INPUTS)).astype(jnp.float32)

    def loss(params, x):
        run = partial(simulate, eqx.combine(params, fixed), gate=gate, dt=1.0, adjoint=adjoint)
        return jnp.mean(jax.vmap(lambda x: jnp.mean(run(x).readout ** 2))(x))

    return jax.jit(jax.grad(loss)), (params, x)


def least(programs: dict, rounds: int) -> dict:
    """CPU time of every program, s, the least of rounds in which all take turns."""
    times: dict = {name: [] for name in programs}
    for _ in range(rounds):
        for name, (run, arguments) in programs.items():
            begun = time.process_time()
            jax.block_until_ready(run(*arguments))
            times[name].append(time.process_time() - begun)
    return {name: min(own) for name, own in times.items()}


def exponent(x, y) -> float:
    """b of ``a x^b`` through the larger half of the points."""
    half = len(x) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0])


def sizes(rounds: int) -> None:
    """Time and memory along every axis."""
    for axis, points in AXES.items():
        x = [p.density * p.neurons**2 if axis == "synapses" else getattr(p, axis) for p in points]
        head = " | ".join(f"{n:.0f}" for n in x)
        print(f"\n| {axis} | {head} | exponent |\n|{'---|' * (len(x) + 2)}")
        for method in METHODS:
            made = {}
            for i, point in enumerate(points):
                run, arguments = gradient(point, method)
                made[i] = run.lower(*arguments).compile(), arguments
            memory = [run.memory_analysis().temp_size_in_bytes / 2**20 for run, _ in made.values()]
            times = [1e3 * t for t in least(made, rounds).values()]
            for name, unit, found in (("time", "ms", times), ("memory", "MiB", memory)):
                shown = " | ".join(f"{v:.3g}" for v in found)
                print(f"| {method}: {name}, {unit} | {shown} | {exponent(x, found):.2f} |", flush=True)


def devices(rounds: int) -> None:
    """Wall time of training steps over one and two devices, which are parts of this CPU."""
    print("\n| devices | wall time of a step, ms | speed-up |\n|---|---|---|")
    found = []
    for n in (1, 2):
        # One thread for each device, so that a second device is a second core.
        flags = f"--xla_force_host_platform_device_count={n} --xla_cpu_multi_thread_eigen=false"
        command = [sys.executable, __file__, "one", "--rounds", str(rounds)]
        environment = os.environ | {"XLA_FLAGS": flags}
        out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(out.splitlines()[-1]))
        print(f"| {n} | {found[-1]:.0f} | {found[0] / found[-1]:.2f} |", flush=True)


def one(rounds: int) -> None:
    """Wall time of a gradient whose trials lie on all devices of this process, ms, as the last line."""
    run, (params, x) = gradient(Size(neurons=256, trials=64), "charge")
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("trials",))
    place = lambda *axes: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
    arguments = jax.device_put(params, place()), jax.device_put(x, place("trials"))
    found = []
    for _ in range(rounds + 1):  # the first one compiles
        begun = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        found.append(1e3 * (time.perf_counter() - begun))
    print(min(found[1:]))


class Watched(Ahead[Made]):
    """One that is remembered."""

    every: ClassVar[list["Watched"]] = []

    def __init__(self):
        super().__init__()
        self.every.append(self)


class Late(Watched[Made]):
    """One that makes nothing in advance."""

    def begin(self, name, make):
        pass


def waiting(folder: Path, updates: int) -> None:
    """The part of the time of a training that it waits for batches, made in advance and not."""
    given = {
        "task.folder": folder, "training.steps": updates, "training.evaluate_every": updates,
        "training.checkpoint_every": updates,
    }  # fmt: skip
    config = load(CONFIG, [(key, str(value)) for key, value in given.items()])
    print(f"\n| {updates} updates, batches made | waited, s | of the time of training |\n|---|---|---|")
    for name, how in (("in advance", Watched), ("when they are wanted", Late)):
        program.Ahead = how
        with tempfile.TemporaryDirectory() as place:
            found = finished_run(config, Path(place) / "run", figures=False, progress=False)
        waited, whole = Watched.every[-1].waited, 60 * found["training_minutes"]
        print(f"| {name} | {waited:.2f} | {waited / whole:.1%} |", flush=True)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("sizes", "devices", "one", "waiting"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="waiting: of the spoken digits' files")
    parser.add_argument("--updates", type=int, default=80, help="waiting: of each training")
    asked = parser.parse_args()
    if asked.table == "waiting":
        if asked.folder is None:
            parser.error("waiting takes --folder")
        waiting(asked.folder, asked.updates)
    else:
        {"sizes": sizes, "devices": devices, "one": one}[asked.table](asked.rounds)


if __name__ == "__main__":
    main()
