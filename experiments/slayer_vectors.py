"""SLAYER's test vectors: spikes, potentials, losses, gradients and updates, against those of a file.

    python experiments/slayer_vectors.py FILE

Every case of the file is a network of two layers without recurrence, with delays of the hidden neurons'
axons: its spikes, potentials before and after the refractory kernel, loss, and gradients in both weights and
the delays, and weights after three updates with one gradient. The file's README key says what is what. Here
it is the library's network with kernels cut off as the authors cut them (`spikejax.references.slayer`).

Prints a table of the largest errors, relative to the largest entry, in float64 and float32, and the distance
of the library's own recursions, whose kernels are whole; the largest of each kind last. Ends with 1 where
float64 exceeds its bound: no spike may differ, anything else by 1e-10; with 2 for a file that cannot be read.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spikejax import (
    Dense,
    Filtered,
    Gate,
    Layer,
    Network,
    Population,
    SampledAlpha,
    SpikeResponse,
    Surrogate,
    simulate,
)
from spikejax.connections import Delayed
from spikejax.losses import SpikeCount, SpikeTime
from spikejax.parameters import cast
from spikejax.references.slayer import CutAlpha, CutSpikeResponse, kernel_length
from spikejax.tasks import Trial
from spikejax.training import scale_by_slayer_nadam

BOUND = 1e-10
KINDS = ("spikes", "membrane", "loss", "dW1", "dW2", "dDelay", "optimiser")


def raster(events: list, shape: tuple[int, ...]) -> np.ndarray:
    """Lists ``[trial, neuron, step]`` as an array ``(trials, time, neurons)``."""
    found = np.zeros(shape)
    for trial, neuron, step in events:
        found[trial, step, neuron] += 1
    return found


def network_of(case: dict[str, Any], whole: bool) -> Network:
    """The network of a case, with kernels cut off or `whole`."""
    given = case["config"]
    dt, steps, theta = given["Ts"], case["shapes"]["T"], given["theta"]
    kernel = {"tau_ref": given["tauRef"], "scale_ref": given["scaleRef"], "v_th": theta}
    if whole:
        synapse, neuron = SampledAlpha(given["tauSr"]), SpikeResponse(**kernel)
    else:
        synapse = CutAlpha(tau_syn=(given["tauSr"],), length=kernel_length(dt, given["tauSr"], 1.0, steps))
        length = kernel_length(dt, given["tauRef"], given["scaleRef"] * theta, steps)
        neuron = CutSpikeResponse(**kernel, length=length)
    first, second = (jnp.asarray(case[name]) for name in ("W1", "W2"))
    hidden, outputs = len(first), len(second)
    delay = jnp.asarray(case["delay_ms"])
    layers = (
        Layer(Filtered(Dense(first, (first.shape[1],)), synapse), None, jnp.zeros(hidden), neuron, synapse),
        Layer(
            Delayed(
                connection=Dense(second[:, None], (1, hidden)),
                in_shape=(1, hidden),
                delay=delay,
                longest=float(delay.max()) + dt,
                interpolation="truncated",
            ),
            None,
            jnp.zeros(outputs),
            neuron,
            synapse,
        ),
    )
    return Network(layers, Population.create((1, outputs), outputs))


def loss_of(case: dict[str, Any], synapse):
    """The loss of a case, and the target of every trial."""
    given, shapes = case["config"], case["shapes"]
    if case["loss_kind"] == "spikeTime":
        target = raster(case["target"], (shapes["B"], shapes["T"], shapes["Nout"]))
        return SpikeTime(synapse=synapse), jnp.asarray(target)
    if case["loss_kind"] != "numSpikes":
        raise ValueError(f"loss_kind is {case['loss_kind']!r}, but must be spikeTime or numSpikes")
    counts = {"true": given["true"], "false": given["false"], "region": tuple(given["tgtRegion"])}
    return SpikeCount(**counts, synapse=synapse), jnp.argmax(jnp.asarray(case["target"]), axis=1)


def run(case: dict[str, Any], dtype=np.float64, whole: bool = False) -> dict[str, np.ndarray]:
    """What the library makes of a case, by the names that the file has."""
    given, shapes = case["config"], case["shapes"]
    dt, rho = given["Ts"], given["tauRho"] * given["theta"]
    network = cast(network_of(case, whole), dtype)
    loss, target = loss_of(case, network.layers[0].synapse)
    stimulus = raster(case["input_spikes"], (shapes["B"], shapes["T"], shapes["Nin"])).astype(dtype)
    # A spike of the file is as high as 1/Ts, of which a charge of 1 is the area.
    scale = given["scaleRho"] / given["tauRho"] * dt
    gate = Gate("laplace", 2 * rho, release=Surrogate(detach_reset=True, scale=scale))
    where = lambda n: (
        n.layers[0].feedforward.connection.weight,
        n.layers[1].feedforward.connection.weight,
        n.layers[1].feedforward.delay,
    )

    @jax.jit
    def total(parameters):
        own = eqx.tree_at(where, network, parameters)

        def one(x, target):
            solution = simulate(own, x, gate=gate, dt=dt, save=("release", "v", "current"))
            trial = Trial(x, target.astype(dtype) if target.ndim else target)
            return loss(solution, trial)[0], solution.layers

        values, layers = jax.vmap(one)(jnp.asarray(stimulus), target)
        return jnp.sum(values), layers

    (value, layers), slopes = jax.value_and_grad(total, has_aux=True)(where(network))
    found = {"loss": value, "dW1": slopes[0], "dW2": slopes[1][:, 0], "dDelay": dt * slopes[2]}
    for i, layer in enumerate(layers, 1):
        found[f"s{i}"] = layer.release
        found[f"u{i}_pre"], found[f"u{i}_post"] = (jnp.swapaxes(x, 1, 2) for x in (layer.current, layer.v))
    return {name: np.asarray(x, float) for name, x in found.items()}


def updated(case: dict[str, Any], optimiser: optax.GradientTransformation) -> np.ndarray:
    """W2 after three updates with the gradient of the file, at a learning rate of 0.01."""
    weight, slope = jnp.asarray(case["W2"]), jnp.asarray(case["float64"]["dW2"])
    state = optimiser.init(weight)
    for _ in range(3):
        update, state = optimiser.update(slope, state)
        weight = weight - 0.01 * update
    return np.asarray(weight)


def distance(a, b) -> float:
    """Largest difference, relative to the largest entry of b."""
    b = np.asarray(b, float)
    a = np.asarray(a, float).reshape(b.shape)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))


def errors(
    case: dict[str, Any], found: dict[str, np.ndarray], precision: str = "float64"
) -> dict[str, float]:
    """The largest error of each kind; of spikes, how many differ."""
    shapes, expected = case["shapes"], case["float64"]
    sizes = {"s1": shapes["Nh"], "s2": shapes["Nout"]}
    rasters = {s: raster(expected[s], (shapes["B"], shapes["T"], n)) for s, n in sizes.items()}
    potentials = [f"u{i}_{when}" for i in (1, 2) for when in ("pre", "post")]
    made = {
        "spikes": float(sum(np.sum(found[s] != rasters[s]) for s in sizes)),
        "membrane": max(distance(found[u], expected[u]) for u in potentials),
    }
    made |= {name: distance(found[name], case[precision][name]) for name in ("loss", "dW1", "dW2", "dDelay")}
    known = {
        "nadam_W2_after_3_steps_same_grad_lr0p01": scale_by_slayer_nadam(),
        "adam_amsgrad_W2_after_3_steps_same_grad_lr0p01": optax.scale_by_amsgrad(),
    }
    if precision == "float64":
        updates = [distance(updated(case, o), case[name]) for name, o in known.items() if name in case]
        made |= {"optimiser": max(updates)} if updates else {}
    return made


def table(cases: list[dict[str, Any]]) -> tuple[list[str], dict[str, float]]:
    """Rows of the table, and the largest error of each kind in float64."""
    rows = [
        "| case | kernels | precision | spikes different | " + " | ".join(KINDS[1:]) + " |",
        "|---|---|---|" + "---|" * len(KINDS),
    ]
    largest: dict[str, float] = {}
    for case in cases:
        for kernels, dtype in (("cut off", np.float64), ("cut off", np.float32), ("whole", np.float64)):
            precision = np.dtype(dtype).name
            found = errors(case, run(case, dtype, kernels == "whole"), precision)
            shown = [f"{found['spikes']:.0f}"] + [f"{found[k]:.1e}" if k in found else "" for k in KINDS[1:]]
            rows.append(f"| {case['name']} | {kernels} | {precision} | " + " | ".join(shown) + " |")
            if (kernels, precision) == ("cut off", "float64"):
                largest = {name: max(x, largest.get(name, 0.0)) for name, x in found.items()}
    return rows, largest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path, help="JSON file of vectors")
    path = parser.parse_args().file
    try:
        cases = json.loads(path.read_text())["cases"]
        with jax.enable_x64(True):
            rows, largest = table(cases)
    except KeyError as error:
        print(f"{path}: has no {error}: it is to be a file of vectors as its README says", file=sys.stderr)
        return 2
    except (OSError, ValueError, TypeError, IndexError) as error:
        print(f"{path}: cannot be read as vectors: {' '.join(str(error).split())[:200]}", file=sys.stderr)
        return 2
    print("\n".join(rows) + "\n")
    for name, error in largest.items():
        print(f"{name}: {error:.0f} differ" if name == "spikes" else f"{name}: {error:.1e}")
    wrong = [name for name, error in largest.items() if not error <= (0 if name == "spikes" else BOUND)]
    print(f"above the bound: {', '.join(wrong)}" if wrong else f"all within {BOUND:g}, and no spike differs")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
