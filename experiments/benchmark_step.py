"""One gradient step of a recurrent layer: spikejax's adjoints against the same step written naively.

    python experiments/benchmark_step.py [--rounds 15]

256 recurrent LIF neurons, 700 inputs, T = 100, batch 128, float32, squared error on a readout of 20. The
naive step is what one writes first: everything inside one `lax.scan`, both products too, and `jax.grad`
through it; the neuron, its gate and the time of its release are spikejax's own. The batch is an argument of
the compiled step. All variants run in turn in every round; the table gives medians and the ratio to the
naive step within a round. Memory is XLA's own figure for temporaries.
"""

import argparse
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import LIF, Autodiff, Checkpointed, Costate, Exponential, Gate, Network, simulate, trainable
from spikejax.neurons import State

TIME, BATCH, CHANNELS, NEURONS, OUT, DT = 100, 128, 700, 256, 20, 1.0


def naive_loss(network, stimulus, target, gate):
    """The network of `main`, written out in one scan: per step, both products, the neuron with its gate, the
    synapse, the readout."""
    layer, readout = network.layers[0], network.readout
    neuron, tau = layer.neuron, layer.synapse.tau_syn[0]
    w_in, w_rec, w_out = (
        layer.feedforward.weight,
        layer.recurrent.weight[:, 0],
        readout.connection.weight[:, 0],
    )
    beta = jnp.exp(-DT / tau)

    def trial(x):
        def step(carry, x):
            v, s, pending = carry
            current = w_in @ x + w_rec @ s + layer.bias
            end, (charge, prompt) = gate.step(neuron, State(v), current, DT)
            s = beta * s + (1 - beta) / (DT * layer.synapse.rate_unit) * (prompt + pending)
            return (end.v, s, charge - prompt), w_out @ s + readout.bias

        return jax.lax.scan(step, (jnp.zeros(NEURONS),) * 3, x)[1]

    return jnp.mean((jax.vmap(trial)(stimulus) - target) ** 2)


def loss(network, stimulus, target, gate, adjoint):
    run = jax.vmap(lambda x: simulate(network, x, gate=gate, dt=DT, adjoint=adjoint).readout)
    return jnp.mean((run(stimulus) - target) ** 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds

    gate = Gate("raised_cosine", width=0.5)
    keys = jax.random.split(jax.random.key(0), 3)
    neuron, synapse = LIF(tau_mem=10.0), Exponential(10.0, rate_unit=0.02)
    network = Network.dense(
        CHANNELS,
        (NEURONS,),
        OUT,
        neuron=neuron,
        synapse=synapse,
        key=keys[0],
        input_scale=8.0,
        recurrent_scale=0.5,
        bias=(0.0, 0.0),
    )
    stimulus = (jax.random.uniform(keys[1], (BATCH, TIME, CHANNELS)) < 0.02).astype(jnp.float32)
    target = jax.random.normal(keys[2], (BATCH, TIME, OUT))

    adjoints = {"costate": Costate(), "autodiff": Autodiff(), "checkpointed": Checkpointed()}
    losses = {"naive scan": lambda n, x, y: naive_loss(n, x, y, gate)}
    losses |= {name: (lambda n, x, y, a=a: loss(n, x, y, gate, a)) for name, a in adjoints.items()}
    trained, fixed = eqx.partition(network, trainable(network))
    steps, memory, compile_s, grads = {}, {}, {}, {}
    for name, f in losses.items():
        start = time.perf_counter()
        step = jax.jit(jax.value_and_grad(lambda p, x, y, f=f: f(eqx.combine(p, fixed), x, y)))
        steps[name] = step.lower(trained, stimulus, target).compile()
        compile_s[name] = time.perf_counter() - start
        memory[name] = steps[name].memory_analysis().temp_size_in_bytes / 2**20
        grads[name] = jax.block_until_ready(steps[name](trained, stimulus, target))[1]

    truth = jax.tree.leaves(grads["naive scan"])
    error = {
        name: max(
            float(jnp.abs(a - b).max() / jnp.abs(b).max())
            for a, b in zip(jax.tree.leaves(g), truth, strict=True)
        )
        for name, g in grads.items()
    }
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(step(trained, stimulus, target))
            times[name].append(time.perf_counter() - start)

    base = np.array(times["naive scan"])
    print(f"{jax.devices()[0].device_kind}, {rounds} interleaved rounds, jax {jax.__version__}")
    print(
        "| step | ms | time / naive (quartiles) | temporaries, MiB | memory / naive | compile, s | gradient, "
        "relative difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, t in times.items():
        low, middle, high = np.quantile(np.array(t) / base, [0.25, 0.5, 0.75])
        print(
            f"| {name} | {1e3 * np.median(t):.0f} | {middle:.2f} ({low:.2f}-{high:.2f}) | {memory[name]:.0f} "
            f"| {memory[name] / memory['naive scan']:.2f} | {compile_s[name]:.1f} | {error[name]:.0e} |"
        )


if __name__ == "__main__":
    main()
