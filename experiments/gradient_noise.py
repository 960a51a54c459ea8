"""Stochastic against batch gradients, for a spiking network and its rate counterpart; and the broad gate's
limit, a rate network.

    python experiments/gradient_noise.py [--trained RUN] [--out runs/experiment-gradient-noise] [--trials 512]

The network of ``configs/predictive_coding.toml``, untrained and (``--trained``, a finished run of it)
trained. Its rate counterpart is the same network through a boxcar gate as wide as the whole way from reset to
threshold: a NIF neuron then releases its charge as continuously as it climbs. Prints, by batch size B,
``<|g_B - g|^2>/|g|^2`` with g the mean gradient over all trials, and the distance of a driven network to the
linear rate network as its gate widens. Draws ``gradient_noise.png`` and ``broad_gate.png``.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax.scipy.linalg import expm
from matplotlib.figure import Figure

from spikejax import NIF, Exponential, Gate, Network, simulate, trainable
from spikejax.configuration import build, load
from spikejax.jobs.run import trained
from spikejax.losses import SquaredError
from spikejax.plotting import STYLE

CONFIG = Path(__file__).parent.parent / "configs" / "predictive_coding.toml"
SIZES = (1, 2, 4, 8, 16, 32, 64)
WIDTHS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)


def per_trial(network: Network, trials, gate: Gate, dt: float) -> np.ndarray:
    """The gradient of every trial in all weights and biases, one row a trial. The loss is the squared error
    alone."""
    params, fixed = eqx.partition(network, trainable(network))

    @eqx.filter_jit
    def run(params, trials, gate):
        def one(trial):
            def objective(p):
                solution = simulate(eqx.combine(p, fixed), trial.stimulus, gate=gate, dt=dt)
                return SquaredError()(solution, trial)[0]

            return jnp.concatenate([x.reshape(-1) for x in jax.tree.leaves(jax.grad(objective)(params))])

        return jax.lax.map(one, trials, batch_size=32)

    return np.asarray(run(params, trials, gate), float)


def noise(gradients: np.ndarray, sizes=SIZES) -> np.ndarray:
    """``<|g_B - g|^2>/|g|^2`` over disjoint batches of each size."""
    mean = gradients.mean(axis=0)
    found = []
    for size in sizes:
        batches = (
            gradients[: len(gradients) // size * size].reshape(-1, size, gradients.shape[1]).mean(axis=1)
        )
        found.append(np.mean(np.sum((batches - mean) ** 2, axis=1)) / np.sum(mean**2))
    return np.array(found)


def compare(run: Path | None, count: int, out: Path) -> None:
    """Table and figure of the gradient noise."""
    config = load(CONFIG)
    built = build(config)
    networks = {"untrained": built.network}
    if run is not None:
        networks["trained"] = trained(run)[1]
    gates = {"spiking (zone 0.2)": built.gate, "rate (boxcar, zone 1)": Gate("boxcar", 1.0)}
    trials = built.task.batch(jax.random.key(5), 0, count)
    curves = {}
    for name, network in networks.items():
        for kind, gate in gates.items():
            curves[f"{name}, {kind}"] = noise(per_trial(network, trials, gate, config.dt))
    print(f"| batch size | {' | '.join(curves)} |")
    print(f"|---{'|---' * len(curves)}|")
    for i, size in enumerate(SIZES):
        print(f"| {size} | {' | '.join(f'{c[i]:.3g}' for c in curves.values())} |")
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(5.5, 3.8), layout="constrained")
        ax = page.subplots()
        for k, (name, curve) in enumerate(curves.items()):
            ax.loglog(
                SIZES, curve, "o-" if "spiking" in name else "s--", ms=3, color=f"C{k // 2}", label=name
            )
        ax.set(
            xlabel="batch size (trials)",
            ylabel="squared noise over squared gradient,\n<|g_B - g|^2>/|g|^2 (dimensionless)",
        )
        ax.legend(frameon=False, fontsize=7)
        page.savefig(out / "gradient_noise.png")


def rate_network(network: Network, stimulus, dt: float):
    """Readout of ``tau_k ds_k/dt = -s_k + I/(tau_mem rate_unit)``, ``I = U x + W s + b``: linear, exact for x
    constant in a step."""
    (layer,) = network.layers
    kinds, n = layer.synapse.kinds, layer.bias.size
    tau = jnp.repeat(layer.synapse.tau_syn, n)
    gain = 1 / (layer.neuron.tau_mem * layer.synapse.rate_unit)
    own = jnp.tile(layer.recurrent.weight.reshape(n, kinds * n) * gain, (kinds, 1))
    matrix = (own - jnp.eye(kinds * n)) / tau[:, None]
    # The input as two more state variables that stand still: one exponential integrates both.
    drive = jnp.tile(gain * (stimulus @ layer.feedforward.weight.T + layer.bias), (1, kinds)) / tau
    propagator = expm(matrix * dt)
    response = jnp.linalg.solve(matrix, propagator - jnp.eye(kinds * n))

    def step(s, u):
        s = propagator @ s + response @ u
        return s, s

    _, s = jax.lax.scan(step, jnp.zeros(kinds * n), drive)
    return s @ network.readout.connection.weight.reshape(-1, kinds * n).T + network.readout.bias


def broad(out: Path) -> None:
    """Distance of readout and gradient to the rate network's as the gate widens, where no voltage falls below
    the reset."""
    key, dt = jax.random.key(0), 0.1
    network = Network.dense(
        2, (20,), 2, neuron=NIF(tau_mem=10.0), synapse=Exponential((3.0, 10.0), 0.02),
        input_scale=0.1, recurrent_scale=0.04, bias=(0.7, 1.1), key=key,
    )  # fmt: skip
    t = jnp.arange(3000)[:, None] * dt * 1e-3
    x = jnp.sin(2 * jnp.pi * jnp.array([2.0, 5.0]) * t)
    target = x[:, ::-1]
    params, fixed = eqx.partition(network, trainable(network))

    def loss(readout):
        return jnp.mean((readout - target) ** 2)

    def flat(tree):
        return np.concatenate([np.asarray(x, float).reshape(-1) for x in jax.tree.leaves(tree)])

    reference = np.asarray(rate_network(network, x, dt))
    wanted = flat(jax.grad(lambda p: loss(rate_network(eqx.combine(p, fixed), x, dt)))(params))

    @eqx.filter_jit
    def run(params, gate):
        def objective(p):
            solution = simulate(eqx.combine(p, fixed), x, gate=gate, dt=dt, save="v")
            return loss(solution.readout), (solution.readout, solution.layers[0].v)

        return jax.value_and_grad(objective, has_aux=True)(params)

    rows = []
    for width in WIDTHS:
        (_, (readout, v)), gradient = run(params, Gate("boxcar", width))
        if float(v.min()) < 0:
            raise SystemExit(
                f"zone {width:g}: a voltage fell below the reset, where the limit is not the linear rate "
                "network"
            )
        g = flat(gradient)
        distance = np.linalg.norm(np.asarray(readout) - reference) / np.linalg.norm(
            reference - reference.mean(axis=0)
        )
        rows.append((width, distance, np.linalg.norm(g - wanted) / np.linalg.norm(wanted)))
    print(
        "\n| width of the zone | distance of the readout to the rate network's | distance of the gradient |"
    )
    print("|---|---|---|")
    for width, distance, far in rows:
        print(f"| {width:g} | {distance:.4f} | {far:.4f} |")
    rows = np.array(rows)
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(5.5, 3.6), layout="constrained")
        ax = page.subplots()
        ax.semilogy(rows[:, 0], rows[:, 1], "o-", ms=3, label="readout")
        ax.semilogy(rows[:, 0], rows[:, 2], "s--", ms=3, label="gradient")
        ax.set(
            xlabel="width of the active zone (1 = from reset to threshold)",
            ylabel="relative distance to the rate network",
        )
        ax.legend(frameon=False)
        page.savefig(out / "broad_gate.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trained", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-gradient-noise"))
    parser.add_argument("--trials", type=int, default=512)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    compare(args.trained, args.trials, args.out)
    broad(args.out)


if __name__ == "__main__":
    main()
