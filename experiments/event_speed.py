"""What event-driven networks cost: CPU time, memory and compilation of the gradient of all weights in
float32.

    python -m experiments.benchmarks.environments eventax          (once: an environment of its own)
    python -m experiments.event_speed [compare] [events] [order] [recurrent] [--rounds 20]

``compare``: 5-100-3 neurons on Yin-Yang, batch 50, with the loss of ``configs/yin_yang.toml``: beside the
scheme of one update of all neurons for every event (``benchmarks/models/dense_events.py``; the same closed
forms, by plain autodiff), and beside eventax, whose outputs have no pseudospikes, so that there they are made
to fire within the trial. Losses and gradients are compared first. ``events``: cost and memory of one layer
against the number of events. ``order``: p and q of QIF neurons through their events, one after the other and
by an associative scan. ``recurrent``: cost of an event against the number of neurons.

Times are CPU time of the process, with all of its threads. All that is compared runs in turn, one step each
in a round, and ratios are those of a round: least, median and largest.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import environments
from experiments.benchmarks.client import Client
from experiments.benchmarks.compare import difference
from experiments.benchmarks.models import dense_events
from spikejax import LIF, QIF, EventDriven, Exponential, Layer, Network, Population, SpikeTimes
from spikejax.configuration import build, load
from spikejax.connections import ActivationShape, Dense

CONFIG = Path(__file__).parent.parent / "configs" / "yin_yang.toml"
TAU, BATCH, SPIKES, ROOM = 10.0, 50, 4, 1.2
"""Room for spikes of a neuron, and for events of the last layer by hidden neuron; the dense scheme gets both
too."""
PATIENCE = 1200.0


def compiled(f, *args):
    """The program, the CPU time that it took to make, s, and its temporaries, kB."""
    begun = time.process_time()
    program = jax.jit(f).lower(*args).compile()
    seconds = time.process_time() - begun
    return program, seconds, program.memory_analysis().temp_size_in_bytes / 1e3


def cpu(program, *args):
    """CPU time of one run, s."""
    begun = time.process_time()
    jax.block_until_ready(program(*args))
    return time.process_time() - begun


def in_turn(rounds, runs):
    """CPU times, ``(rounds, len(runs))``; the first round is left out."""
    return np.array([[run() for run in runs] for _ in range(rounds + 1)])[1:]


def shown(x, form=".1f"):
    """Median (least to largest)."""
    return " ".join([format(np.median(x), form), f"({format(np.min(x), form)} to {format(np.max(x), form)})"])


# --- One network, three ways


def weights_of(network):
    """Input weights ``(hidden, channels)`` and output weights ``(out, hidden)``."""
    return network.layers[0].feedforward.connection.weight, network.layers[1].feedforward.weight[:, 0]


def with_weights(network, into, out):
    return eqx.tree_at(
        lambda n: (n.layers[0].feedforward.connection.weight, n.layers[1].feedforward.weight),
        network,
        (into, out[:, None]),
    )


def ours(run, simulator):
    """The loss by the library."""
    network = eqx.combine(run.state.params, run.fixed)

    def loss(weights, trials):
        whole = with_weights(network, *weights)
        return jnp.mean(jax.vmap(lambda t: run.loss(simulator(whole, t.stimulus), t)[0])(trials))

    return loss


def dense(run, events):
    """The loss by one update of all neurons for each of this many events."""

    def loss(weights, trials):
        into, out = weights
        hidden, channels = into.shape
        n = hidden + len(out)
        between = jnp.zeros((n, n)).at[:hidden, hidden:].set(out.T)
        whole = dense_events.Population(between, jnp.zeros((channels, n)).at[:, :hidden].set(into.T))
        end = trials.stimulus.duration

        def one(trial):
            given = trial.stimulus
            times, _, reached = dense_events.spikes_of_all(
                whole, given.time / TAU, given.channel, end / TAU,
                events=events, spikes=SPIKES, sizes=(hidden, len(out)),
            )  # fmt: skip
            # All events are done when the end is reached.
            times = jnp.where(reached >= end / TAU, TAU * times[:, hidden:], jnp.nan)
            return run.loss(SimpleNamespace(spikes=(times,), duration=jnp.asarray(end)), trial)[0]

        return jnp.mean(jax.vmap(one)(trials))

    return loss


def compare(rounds):
    """The tables of one network, and of a larger one."""
    beside_dense(rounds, 400)
    beside_eventax(max(3, rounds // 3), *beside_dense(rounds, 100))


def plain(result):
    """Loss and gradients as the benchmarks have them."""
    return float(result[0]), dict(zip(("in", "out"), map(np.asarray, result[1]), strict=True))


def beside_dense(rounds, hidden):
    """The table of so many hidden neurons; gives the network and trials."""
    run = build(load(CONFIG, [("network.layers.0.size", str(hidden))]))
    trials = run.task.batch(jax.random.key(1), 0, BATCH)
    network = eqx.combine(run.state.params, run.fixed)
    weights = weights_of(network)
    room = int(ROOM * hidden)
    simulator = EventDriven(spikes=SPIKES, events=room)
    counts = jax.jit(jax.vmap(lambda t: sum(jnp.sum(c) for c in simulator(network, t.stimulus).counts)))(
        trials
    )
    least = int(jnp.max(counts)) + trials.stimulus.time.shape[1] + 1
    print(f"\n{hidden} hidden neurons, spikes of a trial: {shown(counts, '.0f')}\n")
    losses = {
        "spikejax": ours(run, simulator),
        f"dense scheme, {room} events": dense(run, room),
        f"dense scheme, {least} events, the least that do": dense(run, least),
    }
    programs = {name: compiled(jax.value_and_grad(f), weights, trials) for name, f in losses.items()}
    found = {name: p[0](weights, trials) for name, p in programs.items()}
    times = in_turn(rounds, [partial(cpu, p[0], weights, trials) for p in programs.values()])
    base = plain(found["spikejax"])
    print("| | CPU, ms | / spikejax | compilation, s | temporaries, kB | loss off by | gradient off by |")
    print("|---" * 7 + "|")
    for i, (name, (_, seconds, kilobytes)) in enumerate(programs.items()):
        apart = difference(*plain(found[name]), *base)
        if not apart.same():
            sys.exit(f"{name}: another model: {apart}")
        print(
            f"| {name} | {shown(1e3 * times[:, i])} | {shown(times[:, i] / times[:, 0])} | {seconds:.1f} "
            f"| {kilobytes:.0f} | {apart.loss:.0e} | {apart.gradient:.0e} |"
        )
    return run, trials, simulator


def beside_eventax(rounds, run, trials, simulator):
    """The table of eventax."""
    if not environments.python_of("eventax").exists():
        print("\nwithout eventax: python -m experiments.benchmarks.environments eventax")
        return
    # Of outputs that all fire eventax needs the first spikes alone.
    into, out = weights_of(eqx.combine(run.state.params, run.fixed))
    weights = into, jnp.abs(out)
    program, _, _ = compiled(jax.value_and_grad(ours(run, simulator.hard())), weights, trials)
    base = plain(program(weights, trials))
    with tempfile.TemporaryDirectory() as folder:
        problem, gradients = Path(folder) / "problem.npz", Path(folder) / "gradients.npz"
        np.savez(
            problem, time=trials.stimulus.time / TAU, channel=trials.stimulus.channel, label=trials.target,
            end=trials.stimulus.duration / TAU, scale=run.loss.scale / TAU, late=run.loss.late,
            **{"in": weights[0], "out": weights[1]},
        )  # fmt: skip
        peer = Client("eventax", Path(folder) / "log")
        said = peer.ask(
            PATIENCE, do="build", setting="yin_yang", problem=str(problem), gradients=str(gradients)
        )
        if "error" in said:
            print(f"\neventax: {said['error']}\n{(Path(folder) / 'log').read_text()[-2000:]}")
            return
        with np.load(gradients) as file:
            apart = difference(said["loss"], dict(file), *base)
        step = lambda: peer.ask(PATIENCE, do="time", steps=1)["cpu_s"][0]
        times = in_turn(rounds, [partial(cpu, program, weights, trials), step])
        peer.close()
    print("\n| outputs that fire, no pseudospikes | CPU, ms | / spikejax | loss off by | gradient off by |")
    print("|---" * 5 + "|")
    print(f"| spikejax | {shown(1e3 * times[:, 0])} | 1 | | |")
    print(
        f"| eventax | {shown(1e3 * times[:, 1], '.0f')} | {shown(times[:, 1] / times[:, 0], '.0f')} "
        f"| {apart.loss:.0e} | {apart.gradient:.0e} |"
    )


# --- One layer, more and more events


def layer(neuron, into, own=None):
    """A layer of these weights ``(n, channels)``, and those among its neurons."""
    shape = ActivationShape((1, len(into)))
    around = None if own is None else Dense(own[:, None], shape)
    one = Layer(
        Dense(into, (into.shape[1],)), around, jnp.zeros(len(into)), neuron, Exponential(TAU / 2, 2 / TAU)
    )
    return Network((one,), Population.create(shape, len(into)))


def gradient_of_times(neuron, simulator, into, own=None):
    """The sum of all spike times as a function of the weights and stimuli, with its gradient, and the
    number of spikes."""

    def total(weights, stimuli):
        def one(stimulus):
            found = simulator(layer(neuron, *weights), stimulus)
            times = jnp.where(jnp.isfinite(found.spikes[0]), found.spikes[0], 0.0)
            return jnp.sum(times), jnp.sum(found.counts[0])

        loss, spikes = jax.vmap(one)(stimuli)
        return jnp.mean(loss), spikes

    weights = (into,) if own is None else (into, own)
    return jax.value_and_grad(total, has_aux=True), weights


def stimuli(rng, batch, events, channels, duration):
    times = np.sort(rng.uniform(0, duration, (batch, events)).astype(np.float32), axis=1)
    return SpikeTimes(times, rng.integers(0, channels, (batch, events)), duration=duration, channels=channels)


def events(rounds):
    """Cost and memory of a layer of 100 neurons against its events in 50 ms, the weaker the more there
    are."""
    numbers, runs = (50, 100, 200, 400, 800, 1600), []
    rng = np.random.default_rng(0)
    normal = rng.normal(0.0, 40.0, (100, 20))
    print("| events | QIF: CPU, ms | temporaries, kB | LIF: CPU, ms | temporaries, kB |\n" + "|---" * 5 + "|")
    for number in numbers:
        given = stimuli(rng, 10, number, 20, 50.0)
        into = jnp.asarray(normal / number, jnp.float32)
        for neuron in (QIF(tau_mem=TAU), LIF(tau_mem=TAU)):
            f, weights = gradient_of_times(neuron, EventDriven(spikes=16), into)
            program, _, kilobytes = compiled(f, weights, given)
            runs.append((program, weights, given, kilobytes))
    times = 1e3 * np.median(in_turn(rounds, [partial(cpu, *run[:3]) for run in runs]), axis=0)
    times, kilobytes = times.reshape(-1, 2), np.array([run[3] for run in runs]).reshape(-1, 2)
    for number, ms, kb in zip(numbers, times, kilobytes, strict=True):
        print(f"| {number} | {ms[0]:.1f} | {kb[0]:.0f} | {ms[1]:.1f} | {kb[1]:.0f} |")
    slopes = np.polyfit(np.log(numbers), np.log(times), 1)[0]
    print(f"\ncost ~ events^e: e = {slopes[0]:.2f} (QIF), {slopes[1]:.2f} (LIF)")


# --- The order of a product


def product(x, y):
    """y after x, of 2x2 matrices with any common factor."""
    (a, b, c, d), (e, f, g, h) = x, y
    both = jnp.stack([e * a + f * c, e * b + f * d, g * a + h * c, g * b + h * d])
    return tuple(both / jax.lax.stop_gradient(jnp.max(jnp.abs(both), axis=0)))


def one_by_one(matrices):
    """p and q after every event, from (-1, 1)."""

    def step(pair, m):
        (p, q), (a, b, c, d) = pair, m
        p, q = a * p + b * q, c * p + d * q
        size = jax.lax.stop_gradient(1 / jnp.maximum(jnp.abs(p), jnp.abs(q)))
        return (size * p, size * q), (size * p, size * q)

    ones = jnp.ones_like(matrices[0][0])
    return jax.lax.scan(step, (-ones, ones), matrices)[1]


def associative(matrices):
    """The same from the products of all matrices up to each."""
    a, b, c, d = jax.lax.associative_scan(product, matrices)
    return b - a, d - c


def order(rounds):
    """Gradient of p and q of all events in the matrices."""
    print("| neurons | events | one by one, CPU, ms | associative scan / one by one |\n" + "|---" * 4 + "|")
    for n in (3, 100):
        for number in (32, 256):
            rng = np.random.default_rng(0)
            angle = jnp.asarray(rng.uniform(0, 1, (number, BATCH, n)), jnp.float32)
            matrices = (jnp.cos(angle), jnp.sin(angle), -jnp.sin(angle), jnp.cos(angle))
            # What does not hang on the common factor.
            loss = lambda f: lambda m: (lambda p, q: jnp.sum(p * q / (p**2 + q**2)))(*f(m))
            programs = [compiled(jax.grad(loss(f)), matrices)[0] for f in (one_by_one, associative)]
            for found, true in zip(programs[1](matrices), programs[0](matrices), strict=True):
                np.testing.assert_allclose(found, true, atol=1e-2)
            times = in_turn(rounds, [partial(cpu, p, matrices) for p in programs])
            print(
                f"| {n} | {number} | {shown(1e3 * times[:, 0], '.2f')} | {shown(times[:, 1] / times[:, 0])} |"
            )


# --- Recurrence


def recurrent(rounds):
    """Cost of an event of a recurrent layer, batch 1."""
    runs, counts = [], []
    sizes, inputs, duration = (10, 100, 400), 200, 200.0
    for n in sizes:
        rng = np.random.default_rng(0)
        into = jnp.asarray(rng.normal(1.0, 1.0, (n, 10)), jnp.float32)
        own = jnp.asarray(rng.normal(0.0, 1.0, (n, n)) / np.sqrt(n), jnp.float32)
        given = stimuli(rng, 1, inputs, 10, duration)
        # Room for as many events as there are.
        f, weights = gradient_of_times(QIF(tau_mem=TAU), EventDriven(spikes=64, events=64 * n), into, own)
        number = inputs + int(jax.jit(f)(weights, given)[0][1][0])
        f, weights = gradient_of_times(QIF(tau_mem=TAU), EventDriven(spikes=64, events=number), into, own)
        runs.append(partial(cpu, compiled(f, weights, given)[0], weights, given))
        counts.append(number)
    times = 1e6 * in_turn(rounds, runs)
    print("| neurons | events | microseconds of CPU for each |\n" + "|---" * 3 + "|")
    for i, (n, number) in enumerate(zip(sizes, counts, strict=True)):
        print(f"| {n} | {number} | {shown(times[:, i] / number)} |")


PARTS = {"compare": compare, "events": events, "order": order, "recurrent": recurrent}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all if none is named")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    # Compilations are timed, so that none comes from a cache.
    jax.config.update("jax_enable_compilation_cache", False)
    for name in asked.parts or PARTS:
        print(f"\n{name}\n")
        PARTS[name](asked.rounds)


if __name__ == "__main__":
    main()
