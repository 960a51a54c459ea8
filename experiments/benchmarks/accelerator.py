"""What a gradient step costs on this machine's accelerator, as JSON: prepared for machines that are lent for
minutes.

    python -m experiments.benchmarks.accelerator [--scale 8] [--rounds 5] [--parts copy scan gradients peers]

``copy``: the bandwidth of a copy, which bounds everything else. ``scan``: microseconds of a step of
`jax.lax.scan` over a LIF neuron with a surrogate, forward and with its gradient, against neurons and
unrolling: as long as they do not grow with the neurons, launching kernels is what costs. ``gradients``: the
settings of `settings`, their batches ``--scale`` times as large, by the loops by hand and spikejax: wall
time, temporaries, compile time. ``peers``: the forward and backward pass of SpikingJelly's LIF neuron by its
torch, CuPy and Triton back ends, where they are installed. Each part is printed as a line of its own when it
is done, so that nothing is lost with the machine.
"""

import argparse
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .models import hand, ours
from .settings import BETA, SETTINGS, SLOPE, draw

COPIED = 64 << 20
"""Numbers of an array that is copied, of 4 bytes."""
NEURONS, UNROLL, STEPS, TRIALS = (128, 256, 512, 1024, 4096, 16384), (1, 4, 16), 500, 16
GRADIENTS = {
    "hand_naive": (hand.build, {}),
    "hand_hoisted": (hand.build, {"hoisted": True}),
} | {
    f"spikejax {release}, {events}": (
        ours.build,
        {"release": release, "adjoint": "costate", "events": events == "events"},
    )
    for release in ("surrogate", "charge")
    for events in ("dense", "events")
}


def timed(run: Callable[[], object], rounds: int) -> dict[str, float]:
    """Least and median wall time, ms, of some runs after a first one."""
    run()
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        found.append(1e3 * (time.perf_counter() - begun))
    return {"least_ms": min(found), "median_ms": float(np.median(found))}


def copy(rounds: int, numbers: int = COPIED) -> dict:
    """Of an array onto another one; it is read and written once."""
    x = jnp.arange(numbers, dtype=jnp.float32)
    run = jax.jit(lambda x: x + 1)
    found = timed(lambda: jax.block_until_ready(run(x)), rounds)
    return found | {"gb_per_s": 8e-6 * numbers / found["least_ms"]}


def scan(rounds: int, neurons=NEURONS, unroll=UNROLL, steps: int = STEPS, trials: int = TRIALS) -> list[dict]:
    """Microseconds of a step of the loop over elementwise neurons."""
    found = []
    for n in neurons:
        current = jax.random.uniform(jax.random.key(0), (steps, trials, n), maxval=0.3)
        for u in unroll:

            def loss(current, u=u):
                def step(carry, i):
                    v, s = carry
                    v = BETA * (v - s) + i
                    return (v, hand.spike(v - 1, SLOPE)), v

                rest = jnp.zeros(current.shape[1:])
                return jnp.sum(jax.lax.scan(step, (rest, rest), current, unroll=u)[1])

            row = {"neurons": n, "trials": trials, "unroll": u}
            for name, run in (("forward", jax.jit(loss)), ("gradient", jax.jit(jax.grad(loss)))):
                least = timed(lambda run=run: jax.block_until_ready(run(current)), rounds)["least_ms"]
                row[f"{name}_us_per_step"] = 1e3 * least / steps
            found.append(row)
    return found


def gradients(rounds: int, scale: float, names=("ff", "rec", "long", "conv")) -> list[dict]:
    """The settings by hand and by spikejax."""
    found = []
    for name in names:
        setting = SETTINGS[name]
        problem = draw(setting._replace(batch=max(int(scale * setting.batch), 1)))
        for contestant, (build, options) in GRADIENTS.items():
            row = {"setting": name, "batch": problem.setting.batch, "contestant": contestant}
            try:
                built = build(problem, **options)
                row |= timed(built.step, rounds) | built.facts
            except Exception as error:  # one that does not fit leaves the others
                row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            found.append(row)
    return found


def peers(rounds: int, steps: int = 32, shape: tuple[int, int] = (64, 65536)) -> list[dict]:
    """SpikingJelly's neuron by each of its back ends, beside the loop of `scan` at that size."""
    found = [{"backend": "jax.lax.scan", **scan(rounds, (shape[1],), (1,), steps, shape[0])[0]}]
    try:
        import torch
        from spikingjelly.activation_based import neuron
    except ImportError as error:
        return [*found, {"backend": "spikingjelly", "error": f"not installed: {error}"}]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for backend in ("torch", "cupy", "triton"):
        row = {"backend": f"spikingjelly, {backend}", "device": device}
        try:
            node = neuron.LIFNode(step_mode="m", backend=backend).to(device)
            x = torch.rand(steps, *shape, device=device, requires_grad=True)

            def run(node=node, x=x):
                node.reset()
                node(x).sum().backward()
                if device == "cuda":
                    torch.cuda.synchronize()

            row |= timed(run, rounds)
        except Exception as error:  # a back end that is not there
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
        found.append(row)
    return found


PARTS = ("copy", "scan", "gradients", "peers")


def main(arguments: list[str] | None = None) -> None:
    """Print a line of JSON for the machine, and one for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=8.0, help="factor of the batches of the settings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    asked = parser.parse_args(arguments)
    device = jax.devices()[0]
    machine = {"platform": device.platform, "device": device.device_kind, "jax": jax.__version__}
    print(json.dumps({"machine": machine}), flush=True)
    runs = {
        "copy": lambda: copy(asked.rounds),
        "scan": lambda: scan(asked.rounds),
        "gradients": lambda: gradients(asked.rounds, asked.scale),
        "peers": lambda: peers(asked.rounds),
    }
    for part in asked.parts:
        begun = time.perf_counter()
        found = runs[part]()
        print(json.dumps({part: found, "seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main()
