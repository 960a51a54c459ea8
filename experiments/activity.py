"""How active new networks are, when they run away, what calibration does, and how large the gradients of all
releases are: the tables of docs/activity.md.

    python experiments/activity.py

Every table is of networks of one or two layers of 100 neurons, dt = 1 ms, 500 ms, 8 trials of 100 channels.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import LIF, ClockDriven, Exponential, Gate, Network, Refractory, trainable
from spikejax.activity import rates
from spikejax.gates import RELEASES
from spikejax.losses import CrossEntropy
from spikejax.neurons import NEURONS
from spikejax.tasks import Trial
from spikejax.training import calibrate, gradient, run_trial

KEY = jax.random.key(0)
CHANNELS, SIZE, STEPS, TRIALS = 100, 100, 500, 8


def trials(kind: str) -> Trial:
    """Poisson spikes of 20 Hz, as 0 and 1 or in units of that rate, or ones."""
    draws = jax.random.uniform(jax.random.key(1), (TRIALS, STEPS, CHANNELS))
    spikes = jnp.where(draws < 0.02, 1.0, 0.0)
    stimulus = {"0/1": spikes, "rate": spikes / 0.02, "ones": jnp.ones_like(draws)}[kind]
    return Trial(stimulus, jnp.arange(TRIALS) % 3)


def network(neuron, *, layers: int = 2, **options) -> Network:
    """A network of default weights."""
    return Network.dense(
        CHANNELS, (SIZE,) * layers, 3, neuron=neuron, synapse=Exponential(10.0), key=KEY, **options
    )


@eqx.filter_jit
def fired(network: Network, trials: Trial, simulator: ClockDriven) -> list[jax.Array]:
    """Rates of every neuron, Hz."""
    solution = jax.vmap(lambda trial: run_trial(network, trial, simulator))(trials)
    return [rates(count, solution.duration) for count in solution.counts]


def words(found: list[jax.Array]) -> str:
    """Mean rate and share of silent neurons of every layer."""
    return " | ".join(f"{float(x.mean()):.3g} Hz, {float((x < 0.1).mean()):.0%} silent" for x in found)


def new_networks() -> None:
    """What default networks do."""
    print("\n| neuron | stimulus | layer 0 | layer 1 |\n|---|---|---|---|")
    made = {name: NEURONS.make(name) for name in ("lif", "alif", "nif", "theta", "izhikevich")}
    made["lif, tau_mem 100"] = LIF(tau_mem=100.0)
    made["lif, refractory 2 ms"] = Refractory(LIF(), tau_ref=2.0)
    for name, neuron in made.items():
        for kind in ("0/1", "rate", "ones"):
            print(f"| {name} | {kind} | {words(fired(network(neuron), trials(kind), ClockDriven()))} |")


def running_away() -> None:
    """Where recurrence runs away, by the gain at high rates."""
    print("\n| recurrent_scale | gain | LIF | refractory 2 ms |\n|---|---|---|---|")
    for scale in (0.05, 0.1, 0.2, 0.3, 0.5):
        both = [
            words(fired(network(n, layers=1, recurrent_scale=scale), trials("ones"), ClockDriven()))
            for n in (LIF(), Refractory(LIF(), tau_ref=2.0))
        ]
        print(f"| {scale} | {scale / (0.02 * 10.0):.3g} | {' | '.join(both)} |")


def calibrated() -> None:
    """Before and after a calibration to 20 Hz."""
    print("\n| neuron | network | layer 0 | layer 1 |\n|---|---|---|---|")
    simulator, given = ClockDriven(), trials("0/1")
    for name in ("lif", "theta", "izhikevich"):
        new = network(NEURONS.make(name))
        print(f"| {name} | new | {words(fired(new, given, simulator))} |")
        for each in ("layer", "neuron"):
            made = calibrate(new, given, 20.0, simulator, each=each)
            print(f'| {name} | calibrated, each="{each}" | {words(fired(made, given, simulator))} |')


def gradients() -> None:
    """Norms of the gradient by all releases, on one network."""
    print("\n| release | width | loss | norm of the gradient of the hidden weights |\n|---|---|---|---|")
    new = calibrate(network(LIF(tau_mem=20.0)), trials("0/1"), 20.0, ClockDriven())
    params, fixed = eqx.partition(new, trainable(new))
    gates = {name: Gate(release=name) for name in RELEASES}
    gates["surrogate, width 0.5"] = Gate(width=0.5, release="surrogate")
    gates["surrogate, fast_sigmoid"] = Gate("fast_sigmoid", release="surrogate")
    for name, gate in gates.items():
        run = eqx.filter_jit(lambda p, t, s: gradient(p, fixed, t, s, loss=CrossEntropy())[1])
        metrics = run(params, trials("0/1"), ClockDriven(gate))
        hidden = np.sqrt(sum(float(x) ** 2 for k, x in metrics.items() if k.startswith("gradient/layers")))
        print(f"| {name} | {float(gate.width):g} | {float(metrics['loss']):.3f} | {hidden:.3g} |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    for table in (new_networks, running_away, calibrated, gradients):
        table()


if __name__ == "__main__":
    main()
