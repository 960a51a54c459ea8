"""Connections over space: what they cost beside dense ones, and deep stacks before and after calibration: the
tables of docs/connections.md.

    python experiments/connections.py cost
    python experiments/connections.py sparse
    python experiments/connections.py deep
"""

import argparse
import time
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp

from spikejax import (
    LIF,
    Chain,
    ClockDriven,
    Convolution,
    Dense,
    Dropout,
    Exponential,
    Gate,
    Layer,
    LinearReadout,
    Network,
    Pool,
    Skip,
    Sparse,
    simulate,
    trainable,
)
from spikejax.activity import rates
from spikejax.connections import with_dropout
from spikejax.tasks import Trial
from spikejax.training import calibrate, run_trial

KEY = jax.random.key(0)
SHEET, CHANNELS = (2, 16, 16), 8
STEPS, TRIALS, ROUNDS = 100, 8, 5


def stack(shape: tuple[int, ...], *parts, skips=()) -> Network:
    """A network of layers, each of a size (None: it follows) and of keywords of `Layer.create`."""
    layers, keys = [], jax.random.split(KEY, len(parts) + 1)
    for key, (size, options) in zip(keys, parts, strict=False):
        given = {"recurrent": None, **options}
        layers.append(Layer.create(shape, size, LIF(), Exponential(5.0), key=key, **given))
        shape = layers[-1].activation_shape
    return Network(tuple(layers), LinearReadout.create(shape, 10, key=keys[-1]), tuple(skips))


def convolution(**options):
    """How a convolution to 8 channels is drawn."""
    return partial(Convolution.create, channels=CHANNELS, **options)


def two_layers() -> dict[str, Network]:
    """Networks of two layers of 2048 neurons, the second of 512 where there is a pool."""
    size, plain = CHANNELS * SHEET[1] * SHEET[2], {"feedforward": convolution()}
    local = partial(Convolution.create, kernel=3, scale=0.1)
    pooled = partial(Chain.create, connections=(Pool.create, convolution()))
    thinned = partial(Dropout.create, connection=convolution(weight_norm=True), rate=0.2)
    return {
        "dense": stack((512,), (size, {"feedforward": Dense.create}), (size, {"feedforward": Dense.create})),
        "convolution": stack(SHEET, (None, plain), (None, plain)),
        "convolution, the first layer recurrent": stack(
            SHEET, (None, plain | {"recurrent": local}), (None, plain)
        ),
        "convolution, pool and convolution": stack(SHEET, (None, plain), (None, {"feedforward": pooled})),
        "convolution with dropout and weight normalisation": stack(
            SHEET, (None, {"feedforward": thinned}), (None, {"feedforward": convolution(weight_norm=True)})
        ),
    }


def cost() -> None:
    """CPU time and memory of a gradient beside dense layers, the least of rounds in which all take turns."""

    def loss(network, stimulus, keys):
        one = lambda x, key: jnp.sum(
            simulate(with_dropout(network, key), x, gate=Gate(), dt=1.0).readout ** 2
        )
        return jnp.mean(jax.vmap(one)(stimulus, keys))

    runs, keys = {}, jax.random.split(KEY, TRIALS)
    for name, network in two_layers().items():
        stimulus = jax.random.bernoulli(KEY, 0.05, (TRIALS, STEPS, *network.in_shape)).astype(float)
        program = jax.jit(jax.grad(loss)).lower(network, stimulus, keys).compile()
        megabytes = program.memory_analysis().temp_size_in_bytes / 2**20
        runs[name] = (partial(program, network, stimulus, keys), megabytes, [])
    for _ in range(ROUNDS):
        for run, _, times in runs.values():
            begun = time.process_time()
            jax.block_until_ready(run())
            times.append(time.process_time() - begun)
    _, memory, times = runs["dense"]
    base = memory, min(times)
    print("\n| network | processor time, ratio | memory of the program, ratio |\n|---|---|---|")
    for name, (_, memory, times) in runs.items():
        print(f"| {name} | {min(times) / base[1]:.2f} | {memory / base[0]:.2f} |")


DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def sparse() -> None:
    """A gradient of 1000 neurons with a list of recurrent synapses, beside all pairs, trials 1 and 32."""
    drawn = {"dense": Dense.create} | {d: partial(Sparse.create, density=d) for d in DENSITIES}
    networks = {name: stack((100,), (1000, {"recurrent": own})) for name, own in drawn.items()}
    found = {}
    for trials in (1, 32):
        stimulus = jax.random.bernoulli(KEY, 0.05, (trials, 50, 100)).astype(float)

        def loss(params, fixed, x):
            run = partial(simulate, eqx.combine(params, fixed), gate=Gate(), dt=1.0)
            return jnp.mean(jax.vmap(lambda x: jnp.sum(run(x).readout ** 2))(x))

        programs = {}
        for name, network in networks.items():
            params, fixed = eqx.partition(network, trainable(network, ("weight",)))
            run = jax.jit(jax.grad(lambda p, x, loss=loss, fixed=fixed: loss(p, fixed, x)))
            programs[name] = partial(run.lower(params, stimulus).compile(), params, stimulus)
        times = {name: [] for name in programs}
        for _ in range(ROUNDS):
            for name, run in programs.items():
                begun = time.process_time()
                jax.block_until_ready(run())
                times[name].append(time.process_time() - begun)
        found[trials] = {name: min(own) / min(times["dense"]) for name, own in times.items()}
    print("\n| density | processor time, 1 trial | 32 trials | numbers kept |\n|---|---|---|---|")
    for name in networks:
        own = networks[name].layers[0].recurrent
        kept = sum(x.size for x in jax.tree.leaves(own)) / networks["dense"].layers[0].recurrent.weight.size
        print(f"| {name} | {found[1][name]:.2f} | {found[32][name]:.2f} | {kept:.2f} |", flush=True)


def deep_stack(kind: str, depth: int) -> Network:
    """A dense network, or one of convolutions with a pool in the middle, skips, and every second layer
    weight-normalised."""
    if kind == "dense":
        return stack((100,), *((100, {}) for _ in range(depth)))
    parts = []
    for i in range(depth):
        own = convolution(kernel=3, weight_norm=i % 2 == 1)
        into = partial(Chain.create, connections=(Pool.create, own)) if i == depth // 2 else own
        parts.append((None, {"feedforward": into, "bias_per": "channel"}))
    plain = stack(SHEET, *parts)
    skips = [
        Skip(Pool.create(plain.layers[i - 2].activation_shape, window=1, weight=0.3), i - 2, i)
        for i in range(2, depth, 3)
        if i < depth // 2 or i - 2 >= depth // 2
    ]
    return stack(SHEET, *parts, skips=skips)


def deep() -> None:
    """Rates of deep networks as they are made, and calibrated to 20 Hz."""
    print("\n| network | new, first and last layer, Hz | calibrated, all layers, Hz |\n|---|---|---|")
    simulator = ClockDriven()

    @eqx.filter_jit
    def fired(network, trials):
        solution = jax.vmap(lambda trial: run_trial(network, trial, simulator))(trials)
        return [jnp.mean(rates(count, solution.duration)) for count in solution.counts]

    for kind in ("dense", "convolution"):
        for depth in (12, 16):
            network = deep_stack(kind, depth)
            drawn = jax.random.bernoulli(jax.random.key(1), 0.03, (16, 150, *network.in_shape))
            trials = Trial(drawn.astype(float), jnp.zeros(16, int))
            new = [float(rate) for rate in fired(network, trials)]
            made = [float(rate) for rate in fired(calibrate(network, trials, 20.0, simulator), trials)]
            words = f"{new[0]:.1f}, {new[-1]:.2g} | {min(made):.1f} to {max(made):.1f}"
            print(f"| {depth} layers, {kind} | {words} |", flush=True)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = {"cost": cost, "sparse": sparse, "deep": deep}
    parser.add_argument("table", choices=tables)
    tables[parser.parse_args().table]()


if __name__ == "__main__":
    main()
