"""How long the gradient of a network compiles, for every neuron and release.

    python experiments/compile_time.py

The gradient of 32 recurrent neurons in the weights, T = 50, 8 trials side by side, `Costate`, float32:
seconds of processor time from the call to the compiled program, without the cache on disk, and in brackets
the ratio to a LIF network with the same release. It does not grow with T. One LIF network is compiled before,
unmeasured, for what the first one sets up.
"""

import argparse
import time

import equinox as eqx
import jax
import jax.numpy as jnp

from spikejax import Costate, Exponential, Gate, Network, Refractory, gates, simulate, trainable
from spikejax.neurons import NEURONS

RELEASES = ("charge", "hard", "surrogate")


def neurons():
    """One of each neuron, and one with an addition."""
    made = {name: NEURONS.make(name) for name in NEURONS}
    return {"lif": made.pop("lif"), **made, "refractory adex": Refractory(made["adex"])}


def compile_seconds(neuron, release):
    """Processor time until the gradient is compiled, s."""
    network = Network.dense(10, (32,), 2, neuron=neuron, synapse=Exponential(10.0), key=jax.random.key(0))
    learned, fixed = eqx.partition(network, trainable(network, ("weight", "bias")))
    low, high = neuron.bounds()
    gate = Gate(width=0.1 * float(high - low), release=release)

    def loss(learned):
        run = lambda x: simulate(eqx.combine(learned, fixed), x, gate=gate, dt=0.1, adjoint=Costate()).readout
        return jnp.mean(jax.vmap(run)(jnp.ones((8, 50, 10))) ** 2)

    start = time.process_time()
    jax.jit(jax.grad(loss)).lower(learned).compile()
    return time.process_time() - start


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    compile_seconds(neurons()["lif"], "charge")
    print(f"| neuron | {' | '.join(RELEASES)} |\n" + "|---" * (1 + len(RELEASES)) + "|")
    base = {}
    for name, neuron in neurons().items():
        cells = []
        for release in RELEASES:
            try:
                gates.RELEASES.make(release).check(neuron)
            except ValueError:  # one that does not serve this neuron
                cells.append("-")
                continue
            seconds = compile_seconds(neuron, release)
            base.setdefault(release, seconds)
            cells.append(f"{seconds:.1f} ({seconds / base[release]:.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
