"""Losses of spikes against their formulas, the population as a readout, and their words in a configuration.

Values and gradients of whole networks: `tests.references.test_slayer_vectors`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spikejax import Dense, Exponential, Population, SampledAlpha, Solution, trainable
from spikejax.configuration import build, check
from spikejax.configuration.assemble_parts import build_optimiser
from spikejax.configuration.programs import program
from spikejax.errors import ConfigError
from spikejax.losses import CountProbability, SpikeCount, SpikeTime
from spikejax.state import Record
from spikejax.tasks import Trial

from ..configs import BRAILLE, changed

STEPS, DT = 30, 0.5
SPIKES = jax.random.bernoulli(jax.random.key(0), 0.3, (STEPS, 3)).astype(float)


def value(loss, spikes, target, mask=None):
    duration = jnp.asarray(DT * STEPS) if mask is None else DT * mask.sum().astype(float)
    solution = Solution(spikes, (), (Record(release=spikes),), None, duration)
    return loss(solution, Trial(spikes, target, mask))


@pytest.mark.parametrize("synapse", [SampledAlpha(4.0), Exponential((3.0, 8.0))])
def test_spike_time_is_the_distance_of_filtered_trains(synapse):
    target = jax.random.bernoulli(jax.random.key(1), 0.3, (STEPS, 3)).astype(float)
    loss = SpikeTime(synapse=synapse)

    def kernel(k):
        s, hidden = synapse.init((1,)), synapse.init_hidden((1,))
        for t in range(k + 1):
            s, hidden = synapse.step(s, jnp.full(1, float(t == 0)), DT, hidden)
        return np.asarray(s[:, 0])

    samples = np.stack([kernel(k) for k in range(STEPS)])
    power = lambda x: (
        DT / 2 * sum(np.sum(np.convolve(x[:, n], own)[:STEPS] ** 2) for n in range(3) for own in samples.T)
    )
    found, scalars = value(loss, SPIKES, target)
    assert float(found) == pytest.approx(power(np.asarray(SPIKES - target)), rel=1e-12)
    assert float(scalars["error"]) == pytest.approx(float(found) / power(np.asarray(target)), rel=1e-12)
    assert float(value(loss, target, target)[0]) == 0


def test_spike_count_counts_in_its_region():
    loss = SpikeCount(true=9.0, false=2.0, region=(2.0, 10.0), credit="count")
    counts = np.asarray(SPIKES[4:20].sum(0))
    wanted = np.array([2.0, 9.0, 2.0])
    found, scalars = value(loss, SPIKES, jnp.asarray(1))
    assert float(found) == pytest.approx(DT / 2 / 16 * np.sum((counts - wanted) ** 2), rel=1e-12)
    assert int(scalars["label"]) == np.argmax(counts)
    slope = jax.grad(lambda s: value(loss, s, jnp.asarray(1))[0])(SPIKES)
    expected = np.zeros((STEPS, 3))
    expected[4:20] = DT / 16 * (counts - wanted)
    np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-15)
    # The original's credit: the same value where nothing fires outside of the region, other slopes.
    inside = SPIKES.at[:4].set(0).at[20:].set(0)
    original = SpikeCount(true=9.0, false=2.0, region=(2.0, 10.0), synapse=SampledAlpha(4.0))
    assert float(value(original, inside, jnp.asarray(1))[0]) == pytest.approx(float(found), rel=1e-12)
    slope = jax.grad(lambda s: value(original, s, jnp.asarray(1))[0])(inside)
    t = np.arange(STEPS) * DT / 4.0
    eps, e = t * np.exp(1 - t), np.zeros((STEPS, 3))
    e[4:20] = (counts - wanted) / 16
    by_hand = DT * np.stack([eps[: STEPS - k] @ e[k:] for k in range(STEPS)])
    np.testing.assert_allclose(slope, by_hand, rtol=1e-12, atol=1e-15)
    assert np.abs(slope[0]).min() > 0


def test_count_probability_is_the_softmax_of_counts():
    loss, mask = CountProbability(scale=0.3), jnp.arange(STEPS) < 22
    counts = np.asarray(SPIKES[:22].sum(0))
    expected = optax.softmax_cross_entropy_with_integer_labels(0.3 * counts, jnp.asarray(2))
    found, scalars = value(loss, SPIKES, jnp.asarray(2), mask)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    assert float(scalars["accuracy"]) == (np.argmax(counts) == 2)
    slope = jax.grad(lambda s: value(loss, s, jnp.asarray(2), mask)[0])(SPIKES)
    by_hand = np.zeros((STEPS, 3))
    by_hand[:22] = 0.3 * (np.asarray(jax.nn.softmax(0.3 * counts)) - np.array([0, 0, 1]))
    np.testing.assert_allclose(slope, by_hand, rtol=1e-12, atol=1e-15)


SLOW = {"kind": "lif", "tau_mem": 100.0}
LAYER = {"size": 27, "neuron": SLOW, "synapse": {"tau_syn": [50.0]}, "bias": [0.5, 1.2]}
COUNTING = changed(
    BRAILLE,
    network={"layers": [LAYER], "readout": {"kind": "population"}},
    loss={"kind": "spike_count", "true": 20, "false": 2, "synapse": {"tau_syn": [50.0]}},
)


def test_the_layer_itself_is_the_readout():
    run = build(check(COUNTING))
    assert isinstance(run.network.readout, Population)
    assert not jax.tree.leaves(run.network.readout)
    assert jax.tree.leaves(run.state.params.readout) == []
    x = jax.random.normal(jax.random.key(0), (5, 2, 27))
    readout = Population.create((2, 27), 27)
    np.testing.assert_allclose(readout(readout.init(), x, None, 1.0)[1], x.sum(1))
    assert not any(jax.tree.leaves(trainable(readout, ())))
    with pytest.raises(ValueError, match="has 30 neurons, but 27 outputs"):
        Population.create((1, 30), 27)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"loss": {"kind": "spike_count", "region": [5.0, 5.0]}}, "`region` is .* must end after its begin"),
        (
            {"network": {"layers": [LAYER | {"size": 30}], "readout": {"kind": "population"}}},
            "has 30 neurons, but 27 outputs",
        ),
        (
            {"network": {"layers": [LAYER | {"size": 30}], "readout": {"kind": "linear"}}},
            "SpikeCount is of the spikes of the last layer, which has 30 neurons, but the task has 27",
        ),
        ({"training": {"optimiser": "amsgrad", "moments": "tensor"}}, "moments is tensor, .* optimiser adam"),
        (
            {"network": {"layers": [LAYER | {"neuron": {"kind": "spike_response", "tau_ref": 25.0}}]}},
            "jumps with the input of every step: use graded",
        ),
    ],
)
def test_what_is_refused_in_a_line(tables, message):
    with pytest.raises(ConfigError, match=message):
        build(check(changed(COUNTING, **tables)))


def test_optimisers_by_their_word():
    steps = {}
    for word in ("adam", "amsgrad", "slayer_nadam"):
        made = build_optimiser(check(changed(COUNTING, training={"optimiser": word})))
        weights = lambda w: Dense(jnp.asarray([w]), (2,))
        state, x = made.init(weights([0.0, 0.0])), []
        for g in ([0.3, -0.1], [0.01, 0.2], [0.02, -0.05]):
            update, state = made.update(weights(g), state, weights([0.0, 0.0]))
            x.append(update.weight[0])
        steps[word] = jnp.stack(x)
    # Where a gradient falls, the largest second moment makes smaller steps; the first step that looks ahead
    # is (b1 m + (1 - b1) g)/m = 1 + b1 times as large, but for the epsilon.
    assert float(jnp.abs(steps["amsgrad"][2, 0])) < float(jnp.abs(steps["adam"][2, 0]))
    np.testing.assert_allclose(steps["slayer_nadam"][0], 1.9 * steps["adam"][0], rtol=1e-4)


def test_kernels_of_the_loss_are_compiled_in():
    one, other = ({"kind": "spike_count", "synapse": {"tau_syn": [tau]}} for tau in (20.0, 50.0))
    programs = {program(check(changed(COUNTING, loss=loss))) for loss in (one, other)}
    assert len(programs) == 2
