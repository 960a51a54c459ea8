"""Landscapes: directions, slices and what is said of them, against closed forms and finite differences."""

import csv

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import (
    LIF,
    Autodiff,
    ClockDriven,
    Convolution,
    Costate,
    Dense,
    Exponential,
    Gate,
    Network,
    Positive,
    simulate,
    trainable,
)
from spikejax.cli import main
from spikejax.configuration import build, check
from spikejax.gates import RELEASES
from spikejax.jobs.run import prepare, trained
from spikejax.kernels import ArcTan
from spikejax.landscape import (
    LandscapeOptions,
    Line,
    all_and_single,
    along_line,
    compared_simulators,
    gradient_direction,
    loss_at,
    on_plane,
    random_direction,
    reach,
    roughness,
    secants,
)
from spikejax.landscape.report import landscape_parts
from spikejax.losses import SquaredError
from spikejax.tasks import Trial
from spikejax.training import checkpoint

from ..command_line import fails

GATE, DT, LOSS = Gate("raised_cosine", 0.5), 1.0, SquaredError()
SIMULATOR = ClockDriven(GATE, DT)


@pytest.fixture(scope="module")
def network():
    return Network.dense(
        2, (4,), 1, neuron=LIF(tau_mem=10.0), synapse=Exponential((3.0, 8.0), 0.02), input_scale=2.0,
        bias=(1.0, 1.4),
        autapses=False, density=0.7, key=jax.random.key(0), recurrent_scale=0.5)  # fmt: skip


@pytest.fixture(scope="module")
def trials():
    x = jax.random.normal(jax.random.key(1), (3, 30, 2))
    return Trial(
        x,
        0.1 * jax.random.normal(jax.random.key(2), (3, 30, 1)),
        jnp.arange(30) < jnp.arange(28, 31)[:, None],
    )


@pytest.fixture(scope="module")
def direction(network):
    return random_direction(network, jax.random.key(3))


def test_a_random_direction_is_filter_normalised(network, direction):
    layer, way = network.layers[0], direction.layers[0]
    present = layer.recurrent.weight.mask
    assert not present.all()
    assert np.all(np.asarray(way.recurrent.weight.raw)[~present] == 0)
    assert np.all(np.asarray(way.recurrent.weight.raw)[present] != 0)
    pairs = (
        (layer.feedforward.weight, way.feedforward.weight),
        (layer.recurrent.weight.value, way.recurrent.weight.raw),
        (network.readout.connection.weight, direction.readout.connection.weight),
    )
    for own, other in pairs:
        own, other = (np.asarray(w).reshape(len(w), -1) for w in (own, other))
        np.testing.assert_allclose(np.linalg.norm(other, axis=1), np.linalg.norm(own, axis=1), rtol=1e-12)
        assert (
            np.all(np.abs(np.sum(own * other, axis=1)) < 0.99 * np.sum(own**2, axis=1) + 1e-12)
            or own.shape[1] < 3
        )
    # A bias is one value a neuron: scaled as a whole; one that is 0 stays so.
    assert float(jnp.linalg.norm(way.bias)) == pytest.approx(float(jnp.linalg.norm(layer.bias)))
    assert not np.any(direction.readout.bias)
    again, other = (random_direction(network, jax.random.key(k)) for k in (3, 4))
    assert eqx.tree_equal(again, direction)
    assert not eqx.tree_equal(other, direction)


def test_directions_of_other_parameters(network):
    wrapped = eqx.tree_at(lambda n: n.layers[0].neuron.tau_mem, network, Positive.of(jnp.full(4, 10.0)))
    way = random_direction(wrapped, jax.random.key(0), ("tau_mem", "v_th"))
    assert way.layers[0].feedforward.weight is None
    assert float(jnp.linalg.norm(way.layers[0].neuron.tau_mem.raw)) == pytest.approx(2 * np.log(10.0))
    assert float(abs(way.layers[0].neuron.v_th)) == pytest.approx(1.0)
    signed = eqx.tree_at(
        lambda n: n.layers[0].feedforward,
        network,
        network.layers[0].feedforward.signed(jnp.array([1.0, 0.0])),
    )
    assert np.all(
        np.asarray(random_direction(signed, jax.random.key(0)).layers[0].feedforward.weight.raw)[:, 1] == 0
    )
    # Of a convolution, output channels; of normalised weights the lengths as a whole, as biases.
    key, of = jax.random.key(1), lambda one: eqx.tree_at(lambda n: n.layers[0].feedforward, network, one)
    found = lambda one: random_direction(of(one), key).layers[0].feedforward.weight
    convolution = Convolution.create((2, 5), channels=3, weight_norm=True, key=key)
    way = found(convolution)
    rows = lambda w: np.linalg.norm(np.asarray(w).reshape(3, -1), axis=1)
    np.testing.assert_allclose(rows(way.raw), rows(convolution.weight.raw), rtol=1e-12)
    lengths = (way.raw_gain, convolution.weight.raw_gain)
    np.testing.assert_allclose(*(np.linalg.norm(x) for x in lengths), rtol=1e-12)
    sparse = Dense.create((4,), (4,), key=key, density=0.5, weight_norm=True)
    way = found(sparse).raw
    assert np.array_equal(np.asarray(way.raw) != 0, sparse.weight.mask)
    assert np.all(way.raw_gain != 0)
    with pytest.raises(ValueError, match="tau_meem"):
        random_direction(network, jax.random.key(0), ("tau_meem",))


def value(network, trials, gate):
    one = lambda t: LOSS(simulate(network, t.stimulus, gate=gate, dt=DT, mask=t.mask), t)[0]
    return float(np.mean([one(jax.tree.map(lambda a: a[i], trials)) for i in range(3)]))


@pytest.fixture(scope="module")
def at():
    """The loss along directions, compiled quickly."""
    run = jax.jit(
        lambda network, directions, c, trials, gate: loss_at(
            network, directions, c, trials, LOSS, ClockDriven(gate, DT)
        )
    )
    return lambda *args: np.asarray(run(*args))


@pytest.fixture(scope="module")
def line():
    return jax.jit(
        lambda network, way, x, trials, gate: along_line(
            network, way, x, trials, LOSS, ClockDriven(gate, DT), at_once=2
        )
    )


@pytest.mark.nightly
def test_the_slope_of_a_smooth_gate_is_that_of_its_slice(network, direction, trials, line, at):
    x, eps = np.linspace(-0.4, 0.4, 5), 1e-7
    found = line(network, direction, x, trials, GATE)
    moved = eqx.apply_updates(network, jax.tree.map(lambda d: x[1] * d, direction))
    assert found.loss[1] == pytest.approx(value(moved, trials, GATE), rel=1e-12)
    ends = at(network, (direction,), np.concatenate([x + eps, x - eps])[:, None], trials, GATE)
    np.testing.assert_allclose(found.slope, (ends[:5] - ends[5:]) / (2 * eps), rtol=1e-5, atol=1e-6)
    assert np.ptp(found.slope) > 0.01
    several = jax.jit(lambda spans: secants(network, direction, spans, trials, LOSS, SIMULATOR))(
        np.array([1e-7, 0.4])
    )
    assert several[0] == pytest.approx(float(found.slope[2]), rel=1e-5)
    assert several[1] == pytest.approx(float(found.loss[4] - found.loss[0]) / 0.8, rel=1e-9)
    # A single trial: the mean over the trials is that of their lines.
    copies = [jax.tree.map(lambda a, i=i: jnp.stack([a[i]] * 3), trials) for i in range(3)]
    each = [line(network, direction, x, copy, GATE).loss for copy in copies]
    assert np.ptp(each, axis=0).max() > 0.01 * found.loss.max()
    np.testing.assert_allclose(np.mean(each, axis=0), found.loss, rtol=1e-12)


def test_the_plane_is_spanned_by_its_directions(network, direction, trials, at):
    other = random_direction(network, jax.random.key(9))
    x, y = np.array([-0.2, 0.0, 0.3, 0.4, 0.5]), np.array([0.0, 0.1])
    plane = jax.jit(lambda n: on_plane(n, (direction, other), x, y, trials, LOSS, SIMULATOR, at_once=4))(
        network
    )
    assert plane.shape == (2, 5)
    line = np.concatenate([x, x])[:, None]
    np.testing.assert_allclose(plane[0], at(network, (direction,), line, trials, GATE)[:5], rtol=1e-12)
    moved = eqx.apply_updates(network, jax.tree.map(lambda a, b: 0.3 * a + 0.1 * b, direction, other))
    assert plane[1, 2] == pytest.approx(value(moved, trials, GATE), rel=1e-12)


@pytest.mark.nightly
def test_hard_and_surrogate_share_the_loss_not_the_slope(network, direction, trials, line):
    # Only what is before the spikes moves, the readout is fixed: the hard threshold's loss goes on with the
    # times of the spikes, and jumps where one appears.
    way = eqx.tree_at(
        lambda n: n.readout.connection.weight, direction, jnp.zeros_like(direction.readout.connection.weight)
    )
    x = np.linspace(0.0, 0.02, 41)
    surrogate = Gate("fast_sigmoid", 0.5, release="surrogate")
    hard, soft = (line(network, way, x, trials, gate) for gate in (GATE.hard(), surrogate))
    np.testing.assert_allclose(hard.loss, soft.loss, rtol=1e-10)
    steps, promised = np.diff(hard.loss), 0.5 * (hard.slope[1:] + hard.slope[:-1]) * np.diff(x)
    assert np.any(steps != 0)
    assert np.median(np.abs(steps - promised)) < 0.05 * np.median(np.abs(steps))
    assert np.all(soft.slope != hard.slope)


def test_the_gradient_direction_goes_down_and_is_as_long_as_the_parameters(network, trials):
    way = gradient_direction(network, trials, LOSS, SIMULATOR)
    params, fixed = eqx.partition(network, trainable(network))

    def mean(p, trials):
        one = lambda t: LOSS(
            simulate(eqx.combine(p, fixed), t.stimulus, gate=GATE, dt=DT, mask=t.mask, adjoint=Autodiff()),
            t,
        )[0]
        return jnp.mean(jax.vmap(one)(trials))

    gradient = jax.jit(jax.grad(mean))(params, trials)
    scale = optax.tree.norm(params) / optax.tree.norm(gradient)
    for found, expected in zip(jax.tree.leaves(way), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found, -scale * expected, rtol=1e-8, atol=1e-12)
    still = eqx.tree_at(lambda n: n.readout.connection.weight, network, replace_fn=jnp.zeros_like)
    with pytest.raises(ValueError, match="norm 0"):
        gradient_direction(still, trials._replace(target=jnp.zeros_like(trials.target)), LOSS, SIMULATOR)


def test_numbers_of_a_line():
    x = np.linspace(-1.0, 1.0, 201)
    bowl = roughness(Line(x, x**2, 2 * x))
    assert bowl.minima == 1
    assert bowl.variation == pytest.approx(2.0)
    assert bowl.steepness == pytest.approx(2.0, rel=0.02)
    assert bowl.cosine == pytest.approx(1.0, abs=1e-3)
    assert bowl.size == pytest.approx(1.0, rel=1e-2)
    # Wiggles finer than the points: the exact derivative is large and says nothing about the way from one
    # point to the next.
    rough = roughness(Line(x, x**2 + 1e-3 * np.sin(1e5 * x), 2 * x + 1e2 * np.cos(1e5 * x)))
    assert rough.minima > 1
    assert rough.steepness > 50
    assert abs(rough.cosine) < 0.3
    assert rough.size > 30
    wrong = roughness(Line(x, x**2, -0.5 * x))
    assert wrong.cosine == pytest.approx(-1.0, abs=1e-3)
    assert np.isnan(roughness(Line(x, x**2, 0 * x)).cosine)


def test_reach():
    spans = np.array([1e-3, 1e-2, 1e-1, 1.0])
    assert reach(spans, np.array([2.0, 2.1, 3.0, 2.0]), 2.0) == 1e-2
    assert reach(spans, np.full(4, 2.0), 2.0) == 1.0
    assert reach(spans, np.array([5.0, 2.0, 2.0, 2.0]), 2.0) == 0.0


TINY = {
    "dt": 1.0,
    "task": {"kind": "predictive_coding", "duration": 20.0, "test_duration": 20.0, "held_out": [3, 2]},
    "network": {
        "layers": [
            {
                "size": 4,
                "neuron": {"kind": "nif", "tau_mem": 10.0},
                "synapse": {"tau_syn": [2.0]},
                "bias": [0.5, 1.0],
                "feedforward": {"scale": 2.0},
            }
        ]
    },
    "gate": {"width": 0.5},
    "loss": {"kind": "squared_error"},
}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run, as far as the command reads it: its configuration and its network."""
    folder = tmp_path_factory.mktemp("landscape") / "run"
    config = check(TINY)
    prepare(folder, config)
    network = build(config).network
    checkpoint.save(
        folder / "best.ckpt", eqx.tree_at(lambda n: n.layers[0].bias, network, replace_fn=lambda b: b + 0.1)
    )
    return folder


def test_gates_that_are_compared():
    run = build(check(TINY))
    options = LandscapeOptions(sharpness=(1.0, 4.0), surrogate="arctan")
    found = compared_simulators(ClockDriven(run.final_gate, 1.0, Costate(damping=0.01)), options)
    names = [
        "smooth, a = 1",
        "smooth, a = 4",
        "smooth, a = 1, damped",
        "surrogate gradient",
        "hard threshold",
    ]
    assert list(found) == names
    assert [RELEASES.name_of(w.gate.release) for w in found.values()] == [
        "charge",
        "charge",
        "charge",
        "surrogate",
        "hard",
    ]
    assert [float(w.gate.support) for w in found.values()] == [0.5, 0.125, 0.5, 0.5, 0.5]
    assert [w.adjoint.exact for w in found.values()] == [True, True, False, True, True]
    assert isinstance(found["surrogate gradient"].gate.kernel, ArcTan)
    smooth = list(compared_simulators(ClockDriven(run.final_gate, 1.0), LandscapeOptions()))[:3]
    assert smooth == ["smooth, a = 1", "smooth, a = 4", "smooth, a = 16"]


def test_trials_all_and_single(trials):
    found = all_and_single(trials, 2)
    assert list(found) == ["3 trials", "trial 2"]
    assert found["3 trials"] is trials
    assert np.array_equal(found["trial 2"].stimulus, trials.stimulus[2:])
    assert list(all_and_single(found["trial 2"], 0)) == ["trial 0"]


@pytest.mark.nightly
def test_command(run_folder, capsys):
    options = ["--points", "5", "--sharpness", "1", "--trials", "1", "--directions", "gradient"]
    assert main(["landscape", str(run_folder), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line for line in lines if line.startswith(str(run_folder))]
    # Each part by name as it begins: as many as were counted before.
    parts = [line for line in lines if line not in names]
    assert len(parts) == landscape_parts(2, 1, 3, LandscapeOptions(directions=("gradient",))) == 10
    assert parts[0] == "trained network, gradient direction, trial 0, smooth, a = 1"
    assert parts[-1] == "initial network, plane, hard threshold"
    pages = {"scales", "trained-gradient", "initial-gradient", "plane"}
    assert {n.rsplit("/", 1)[1] for n in names} == {
        "landscape.csv",
        "landscape.npz",
        *(f"{p}.png" for p in pages),
    }
    for page in pages:
        assert (run_folder / "landscape" / f"{page}.png").stat().st_size > 10_000
    with open(run_folder / "landscape" / "landscape.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["gate"] for r in rows[:3]] == ["smooth, a = 1", "surrogate gradient", "hard threshold"]
    assert len(rows) == 2 * 3
    assert {r["trials"] for r in rows} == {"trial 0"}
    curves = np.load(run_folder / "landscape" / "landscape.npz")
    for row in rows:
        line = "/".join(row[k] for k in ("network", "direction", "trials", "gate"))
        assert curves[f"{line}/loss"][2] == pytest.approx(float(row["loss"]), rel=1e-3)
        assert curves[f"{line}/position"][-1] == 0.05
    here = {(r["network"], r["gate"]): float(r["loss"]) for r in rows}
    assert here["trained", "smooth, a = 1"] != here["initial", "smooth, a = 1"]
    assert here["trained", "surrogate gradient"] == here["trained", "hard threshold"]
    # What the rows are of: the networks as they are, on the first held-out trial.
    run, network, config = trained(run_folder)
    held = jax.tree.map(lambda x: x[0], run.task.split("validation"))
    solution = simulate(network, held.stimulus, gate=run.final_gate, dt=config.dt)
    assert here["trained", "smooth, a = 1"] == pytest.approx(float(run.loss(solution, held)[0]), rel=1e-3)
    plane = curves["trained/smooth, a = 1/plane/loss"]
    assert plane[10, 10] == pytest.approx(here["trained", "smooth, a = 1"], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--points", "10"], ["`points` is 10", "odd"]),
        (["--range", "0"], ["`range` is 0"]),
        (["--directions", "up"], ["`directions`", "random, gradient"]),
        (["--sharpness", "-1"], ["`sharpness` is -1"]),
        (["--sharpness", "0.1"], ["active zone", "larger sharpness"]),
        (["--surrogate", "boxer"], ["'boxer'", "boxcar"]),
        (["--split", "train"], ["`split` is 'train'", "validation, test"]),
        (["--trials", "0"], ["`trials` is 0"]),
        (["--trial", "40"], ["`trial` is 40", "39"]),
        (["--trial", "3"], ["`trial` is 3", "3 trials"]),
        (["--training.steps", "3"], ["the network and training of a run are fixed"]),
    ],
)
def test_bad_options(run_folder, capsys, options, words):
    error = fails(capsys, "landscape", run_folder, *options)
    for word in words:
        assert word in error


def test_options_that_are_no_numbers(run_folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["landscape", str(run_folder), "--points", "many"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
