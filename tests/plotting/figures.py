"""Every kind of figure that the package draws, of made-up data with few or many of everything."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from spikejax import LIF, Exponential, Gate, Network
from spikejax.analysis import Ablation, Components, Recording
from spikejax.fitting.clamp.figures import Shown, clamp_figures
from spikejax.fitting.clamp.predict import Predicted
from spikejax.fitting.recordings import CurrentClamp
from spikejax.fitting.sound.figures import sound_figures
from spikejax.fitting.sound.fit import BinnedSound, FittedSound, Score
from spikejax.fitting.sound.model import Basis, SoundModel
from spikejax.kernels import KERNELS
from spikejax.landscape import Landscapes, Slice
from spikejax.landscape.report import Plane, SliceKey
from spikejax.landscape.slices import Line
from spikejax.plotting import analysis
from spikejax.plotting.landscape import landscape_figures
from spikejax.plotting.run import ShownTrial, run_figures
from spikejax.plotting.search import SearchedKey, SearchResult, search_figures
from spikejax.plotting.sweep import sweep_figures
from spikejax.simulate import Record, Solution
from spikejax.tasks import Trial
from spikejax.tasks.base import Probe
from spikejax.training import Evaluation

NEURONS, STEPS, DT = 20, 80, 2.5


def names(classes):
    return tuple(f"word {i}" if i % 3 else chr(65 + i % 26) for i in range(classes))


def shown_trial(rng, outputs, *, signal=False, layers=1, windows=1, labels=(), channels=3):
    """A trial with a neuron that falls to -20."""
    network = Network.dense(
        channels,
        (NEURONS,) * layers,
        outputs,
        neuron=LIF(),
        synapse=Exponential((5.0, 50.0)),
        key=jax.random.key(0),
    )
    release = np.where(rng.random((layers, STEPS, NEURONS)) < 0.1, rng.uniform(-0.5, 1, (STEPS, NEURONS)), 0)
    v = rng.uniform(0, 1, (layers, STEPS, NEURONS))
    v[:, 40] = -20.0
    records = tuple(
        Record(
            release=jnp.asarray(release[i]),
            v=jnp.asarray(v[i]),
            activation=jnp.asarray(rng.exponential(size=(STEPS, 2, NEURONS))),
        )
        for i in range(layers)
    )
    readout = rng.normal(size=(STEPS, outputs))
    counts = tuple(jnp.asarray(release[i].sum(axis=0)) for i in range(layers))
    solution = Solution(jnp.asarray(readout), counts, records, network.init(), jnp.asarray(STEPS * DT))
    stimulus = rng.normal(size=(STEPS, channels)) if signal else rng.random((STEPS, channels)) < 0.05
    gate = Gate(KERNELS.make("raised_cosine"), width=jnp.asarray(0.2))
    return ShownTrial(
        "test trial 0",
        np.asarray(stimulus, float),
        solution,
        network,
        gate,
        DT,
        target=np.sin(np.arange(STEPS)[:, None] / 9 + np.arange(outputs)) if signal else None,
        windows=windows,
        labels=labels,
    )


def metrics(rng, score, layers=1):
    found = []
    for step in range(1, 41):
        entry = {"step": step, "loss": float(rng.exponential()), "gradient": float(10 ** rng.uniform(-2, 3))}
        for i in range(layers):
            entry[f"gradient/layers.{i}.recurrent.weight"] = float(10 ** rng.uniform(-2, 3))
        entry["sharpness"] = [1.0 + step / 10] * layers
        if step % 10 == 0:
            entry |= {"held_out/loss": float(rng.exponential()), f"held_out/{score}": float(rng.random())}
        found.append(entry)
    return found


def run(classes):
    """Of a classification, and of a regression."""
    rng, labels = np.random.default_rng(0), names(classes)
    trials = 8 * classes
    counts = (jnp.asarray(rng.poisson(4, (trials, NEURONS)).astype(float)),) * 2
    durations, known = jnp.full(trials, 200.0), np.arange(trials) % classes
    guess = np.where(rng.random(trials) < 0.8, known, rng.integers(0, classes, trials))
    classified = Evaluation(
        metrics={}, counts=counts, durations=durations, labels=jnp.asarray(guess), classes=jnp.asarray(known)
    )
    regressed = Evaluation(metrics={}, counts=counts[:1], durations=durations, labels=None, classes=None)
    layers = 1 if classes < 10 else 2
    shown = shown_trial(rng, 3 * classes, layers=layers, windows=3, labels=labels, channels=20)
    one = run_figures(metrics(rng, "accuracy", 6 * layers), shown, classified, labels)
    shown = shown_trial(rng, min(classes, 4), signal=True, channels=min(classes, 4))
    two = run_figures(metrics(rng, "error"), shown, regressed, ())
    plain = shown_trial(rng, classes, labels=labels, signal=True, channels=classes)._replace(target=None)
    three = run_figures([], plain, regressed, ())
    return (
        one
        | {f"{name} of a signal": draw for name, draw in two.items()}
        | {f"{name}, one window": draw for name, draw in three.items()}
    )


def analyses(classes):
    rng, trials = np.random.default_rng(1), 6 * classes
    labels, group = names(classes), np.arange(trials) % classes
    noise = lambda *shape: rng.normal(size=shape)
    moments = {"pulse 1": 20.0, "pulse 2": 100.0, "cue": 150.0, "response": 155.0}
    windows = {"after pulse 1": (20.0, 100.0, "class"), "after the cue": (150.0, 200.0, "sign")}
    groups, called = {"class": group, "sign": group % 2}, {"class": labels, "sign": ("-", "+")}
    batch = Trial(jnp.zeros((trials, STEPS, 2)), jnp.asarray(group))
    probe = Probe(batch, groups, called, moments, windows)
    series, mask = [noise(trials, STEPS, NEURONS) for _ in range(3)], np.ones((trials, STEPS), bool)
    recording = Recording(noise(trials, STEPS, 2), *series, mask, DT)
    found = Components(noise(trials, STEPS, 4), noise(4, NEURONS), np.array([0.5, 0.3, 0.1, 0.1]))
    curves = {name: rng.random(STEPS) for name in groups}
    similar = np.clip(noise(trials, trials), -1, 1)
    parts = np.arange(60)[:, None]
    change = 1e-4 * noise(60)
    change[0] = 0.1  # one neuron matters
    removed = Ablation((0.5, 0.9), 0.5 + change, rng.random(60), parts)
    unstable = Ablation((0.5, 0.9), 0.5 + change, rng.random(60), parts, 1e6 * noise(60))
    stable = unstable._replace(predicted=1.2e-4 * noise(60))
    eigenvalues = {f"at {100 * i} ms": noise(40) + 1j * noise(40) for i in range(4)}
    exponents = {f"from {a} to {b}": np.sort(-(noise(100) ** 2))[::-1] * 100 for a, b in ("12", "23", "34")}
    radius = 1 + noise(STEPS) ** 2
    radius[9] = 300.0
    scores = {window: {name: (0.5, -0.1) for name in groups} for window in windows}
    return {
        "trajectories": partial(analysis.trajectories, found, recording, probe),
        "decoding": partial(analysis.decoding, curves, curves, recording.time, probe),
        "similarity": partial(analysis.similarity, dict.fromkeys(windows, similar), scores, probe),
        "ablation": partial(analysis.ablation, removed, unstable),
        "ablation, stable": partial(analysis.ablation, removed, stable),
        "stability": partial(analysis.stability, eigenvalues, exponents, radius, recording.time, probe),
    }


def landscapes(gates):
    rng, slices, planes = np.random.default_rng(2), {}, {}
    labels = [f"smooth, a = {2.5 * 4**i:g}" for i in range(gates)] + ["surrogate gradient", "hard threshold"]
    x = 0.5 * np.linspace(-1, 1, 11)
    for network in ("trained", "initial"):
        for direction in ("random", "gradient"):
            for which in ("40 trials", "trial 0"):
                for k, gate in enumerate(labels):
                    loss = 3 + x**2 + 0.1 * rng.normal(size=11)
                    line = Line(x, loss, 10.0 ** (3 * k) * rng.normal(size=11))
                    spans = 0.5 * 10.0 ** np.arange(-7, 0.25, 0.5)
                    one = Slice(line, spans, rng.normal(size=len(spans)))
                    slices[SliceKey(network, direction, which, gate)] = one
        for gate in (labels[0], labels[-1]):
            loss = 3 + x[:, None] ** 2 + x[None] ** 2 + 1e-3 * rng.random((11, 11))
            planes[network, gate] = Plane(x, x, loss, ("random", "gradient"))
    return landscape_figures(Landscapes(slices, planes))


def sweeps(many):
    rng = np.random.default_rng(3)
    words = [f"leaky readout: method {i}" for i in range(18 if many else 2)]
    numbers = 0.5 * 2.0 ** np.arange(12 if many else 3)
    points = [{"name": word, "seed": s} for word in words for s in (0, 1)]
    grid = [
        {"gate.sharpness": float(a), "gate.kernel": k, "seed": s}
        for a in numbers
        for k in ("boxcar", "raised_cosine", "triangle")
        for s in (0, 1)
    ]

    def rows(count, score):
        return [
            {
                f"smooth {score}": rng.uniform(0.8, 1),
                f"hard {score}": rng.uniform(0.8, 1),
                "gradient norm": 10 ** rng.uniform(-1, 6),
                "gradient noise": rng.uniform(20, 30),
                "gradient agreement": -40.0 if i == 0 else rng.uniform(0.5, 1),
            }
            for i in range(count)
        ]

    one = sweep_figures(points, rows(len(points), "error"))
    two = sweep_figures(grid, rows(len(grid), "accuracy"))
    named = {f"{name} of words": draw for name, draw in one.items()}
    return named | {f"{name} of numbers": draw for name, draw in two.items()}


def searches(trials):
    rng = np.random.default_rng(4)
    keys = [
        SearchedKey("training.learning_rate", (10 ** rng.uniform(-2.6, -0.8, trials)).tolist(), True),
        SearchedKey("network.layers.0.size", rng.integers(32, 256, trials).tolist(), True),
        SearchedKey("network.layers.0.feedforward.scale", rng.uniform(0.0001, 0.001, trials).tolist()),
        SearchedKey("gate.release", rng.choice(["charge", "surrogate", "graded"], trials).tolist()),
    ]
    importance = {key.name: 0.25 for key in keys}
    objective = 10 ** rng.uniform(-3, 0, trials)
    label = "held-out error, hard gate"
    return search_figures(SearchResult(list(range(trials)), objective, label, False, keys, importance))


def fits(sweeps):
    rng = np.random.default_rng(5)
    sample, samples = 0.5, 400
    spikes = tuple(np.sort(rng.uniform(0, 200, i)) for i in range(sweeps))
    recording = CurrentClamp(
        "cell",
        sample,
        np.tile(np.arange(sweeps)[:, None] * 20.0, (1, samples)),
        rng.normal(-60, 5, (sweeps, samples)),
        np.arange(sweeps),
        spikes,
    )
    runs = [Predicted(spikes, recording.voltage) for _ in range(3)]
    left_out = np.arange(2, sweeps, 4)
    shown = Shown(
        "cell, glif",
        recording,
        {"stochastic": runs, "deterministic": runs[:1]},
        sample,
        np.setdiff1d(np.arange(sweeps), left_out),
        left_out,
        tuple(float(i) for i in left_out),
    )
    bins, knots = 300, np.linspace(0, 30, 12)
    data = BinnedSound(
        0.25, 4, 100, rng.exponential(size=(2, bins)), np.zeros((3 * 11 + 4, 4 * bins, 2)),
        (rng.random((2, bins)) < 0.1).astype(float), np.zeros((bins, 4, 2)),
        Basis(knots, np.zeros(3), np.ones(3), 0.1, 0.25),
    )  # fmt: skip
    fitted = FittedSound(SoundModel.start(3 * 11 + 4), 1.0, rng.random((2, bins)), rng.random((2, bins)))
    kinds = ("stimulus alone", "with history")
    scores = {f"{a}, {b}": Score(1.0, [0.9, 1.1], 1.2) for a in ("model", "glm") for b in kinds}
    return clamp_figures(shown) | sound_figures(data, fitted, scores)


FEW = {name: draw for name, draw in run(2).items() if "one window" not in name}
MANY = run(27) | analyses(27) | landscapes(2) | sweeps(True) | searches(60) | fits(40)
for name in ("trained-gradient", "initial-random", "initial-gradient"):  # as trained-random
    del MANY[name]
NIGHTLY = run(2) | analyses(2) | landscapes(1) | landscapes(4) | sweeps(False) | searches(6) | fits(4)
