"""Losses of spike times: values by hand, derivatives by differences, and silence, which has neither."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Exponential, Network, Solution, trainable
from spikejax.event_driven import QIF, EventDriven, SpikeTimes
from spikejax.losses import FirstSpike, Sum, TimedCount, TimeError
from spikejax.tasks import Trial

END = 20.0
TIMES = jnp.array([[7.0, 4.0, 11.0], [12.0, 9.0, 25.0], [26.0, 30.0, jnp.inf]])
"""Of the first, second, third spike of three neurons; those after 20 ms are pseudospikes."""
SILENT = jnp.full((3, 3), jnp.inf)


def value(loss, times, target):
    solution = Solution(jnp.zeros((0, 1)), (), (), None, jnp.asarray(END), spikes=(times,))
    return loss(solution, Trial(jnp.zeros((0, 1)), jnp.asarray(target)))


def slope(loss, times, target):
    return np.asarray(jax.grad(lambda t: value(loss, t, target)[0])(times))


def by_differences(loss, times, target, h=1e-6):
    found = np.zeros(times.shape)
    for place in np.argwhere(np.isfinite(times)):
        ends = [float(value(loss, times.at[tuple(place)].add(e), target)[0]) for e in (h, -h)]
        found[tuple(place)] = (ends[0] - ends[1]) / (2 * h)
    return found


LOSSES = [
    (FirstSpike(scale=3.0), 2),
    (FirstSpike(scale=3.0, late=0.2), 1),
    (FirstSpike(scale=3.0, late=1e-4, horizon=0.5), 0),
    (TimeError(scale=4.0), [[5.0, jnp.inf, 9.0], [jnp.inf, 30.0, 12.0]]),
    (TimeError(scale=4.0, relative=True), [[5.0, jnp.inf, 9.0], [jnp.inf, 30.0, 12.0]]),
    (TimedCount(true=1, false=2, margin=3.0, scale=5.0), 0),
    (TimedCount(true=2, false=0), 2),
]


@pytest.mark.parametrize(("loss", "target"), LOSSES)
def test_derivatives_are_those_of_differences(loss, target):
    for times in (TIMES, TIMES.at[:, 1].set(jnp.inf), SILENT):
        found = slope(loss, times, target)
        np.testing.assert_allclose(found, by_differences(loss, times, target), atol=1e-7)
        assert np.isfinite(float(value(loss, times, target)[0]))
        assert not found[np.isinf(times)].any()
    assert slope(loss, TIMES, target).any()


def test_first_spike_by_hand():
    p = np.exp(-np.array([7.0, 4.0, 11.0]) / 3)
    p = p / p.sum()
    found, scalars = value(FirstSpike(scale=3.0, late=0.2), TIMES, 0)
    assert float(found) == pytest.approx(-np.log(p[0]) + 0.2 * (np.exp(7 / 20) - 1), rel=1e-12)
    assert (int(scalars["label"]), float(scalars["accuracy"])) == (1, 0.0)
    assert float(value(FirstSpike(), TIMES, 1)[1]["accuracy"]) == 1.0
    # The penalty goes on as its tangent at ten times the horizon.
    late = FirstSpike(late=1.0, horizon=0.5)
    rest = float(value(FirstSpike(), TIMES, 0)[0])
    assert float(value(late, TIMES, 0)[0]) == pytest.approx(rest + np.exp(10) * (1 + 4) - 1, rel=1e-12)


def test_silence_is_wrong_and_counts_as_the_end():
    one = TIMES.at[:, 1].set(jnp.inf)
    found, scalars = value(FirstSpike(scale=3.0), one, 1)
    late = TIMES.at[0, 1].set(END)
    assert float(found) == pytest.approx(float(value(FirstSpike(scale=3.0), late, 1)[0]), rel=1e-12)
    assert (int(scalars["label"]), float(scalars["accuracy"])) == (0, 0.0)
    for loss in (FirstSpike(), TimedCount()):
        for target in range(3):
            found, scalars = value(loss, SILENT, target)
            assert np.isfinite(float(found))
            assert (int(scalars["label"]), float(scalars["accuracy"])) == (-1, 0.0)
    assert float(value(FirstSpike(), SILENT, 0)[0]) == pytest.approx(np.log(3), rel=1e-12)
    found, scalars = value(TimeError(scale=4.0), SILENT, [[5.0, jnp.inf, 20.0]])
    assert float(found) == pytest.approx((15 / 4) ** 2 / 3, rel=1e-12)
    assert float(scalars["error"]) == pytest.approx(np.sqrt(15**2 / 3), rel=1e-12)


def test_time_error_by_hand():
    wanted = [[5.0, jnp.inf, 9.0], [jnp.inf, 10.0, jnp.inf]]
    # A second spike of neuron 2 comes after the end, so that there is none; neuron 1 has one too many at 4.
    errors = np.array([2.0, -16.0, 2.0, -8.0, -1.0, 0.0])
    found, scalars = value(TimeError(scale=4.0), TIMES, wanted)
    assert float(found) == pytest.approx(np.mean((errors / 4) ** 2), rel=1e-12)
    assert float(scalars["error"]) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    sizes = np.array([9.0, 4.0, 13.0, 4.0, 14.0, 4.0])
    relative = value(TimeError(scale=4.0, relative=True), TIMES, wanted)[0]
    assert float(relative) == pytest.approx(np.mean((errors / sizes) ** 2), rel=1e-12)
    for target in ([[5.0, 3.0]], np.full((4, 3), 1.0), [5.0, 3.0, 2.0]):
        with pytest.raises(ValueError, match=r"TimeError: the target has shape .*room for spikes") as caught:
            value(TimeError(), TIMES, target)
        assert "\n" not in str(caught.value)


def test_timed_count_by_hand():
    loss = TimedCount(true=1, false=2, margin=3.0, scale=5.0)
    # Of neuron 0, the second spike at 12 should come after 23; of 1 the third does and the second, at 9, is
    # before 17; of 2 the second, at 25, should be before 17, and the third is none.
    found, scalars = value(loss, TIMES, 0)
    assert float(found) == pytest.approx(((23 - 12) / 5) ** 2 + ((25 - 17) / 5) ** 2, rel=1e-12)
    assert (int(scalars["label"]), float(scalars["accuracy"])) == (0, 1.0)
    assert float(value(TimedCount(true=1, false=2), TIMES.at[1, 2].set(15.0), 0)[0]) > 0
    assert float(value(TimedCount(true=2, false=2), TIMES.at[1, 2].set(15.0), 0)[0]) == 0
    with pytest.raises(ValueError, match="3 spikes are asked for, but there is room for 3"):
        value(TimedCount(true=3), TIMES, 0)


@pytest.mark.parametrize("loss", [FirstSpike(), FirstSpike(late=0.1), TimedCount()])
@pytest.mark.parametrize("target", [-1, 3])
def test_a_class_that_is_none_makes_nan(loss, target):
    found, scalars = value(loss, TIMES, target)
    assert np.isnan(float(found))
    assert np.isnan(float(scalars["accuracy"]))
    compiled = jax.jit(jax.grad(lambda t, y: value(loss, t, y)[0]))(TIMES, jnp.asarray(target))
    assert np.isnan(compiled).any()
    with pytest.raises(ValueError, match="must be a whole number"):
        value(loss, TIMES, 1.0)


def test_without_spike_times_it_says_what_to_ask_for():
    solution = Solution(jnp.zeros((3, 1)), (), (), None, jnp.asarray(END))
    with pytest.raises(ValueError, match="gives no spike times"):
        FirstSpike()(solution, Trial(jnp.zeros((3, 1)), jnp.asarray(0)))


def network(key=1):
    neuron, synapse = QIF(tau_mem=10.0), Exponential(5.0, rate_unit=0.2)
    return Network.dense(
        2, (6, 3), 1, neuron=neuron, synapse=synapse, recurrent=False, input_scale=5.0, bias=(0.0, 0.0),
        key=jax.random.key(key),
    )  # fmt: skip


STIMULUS = SpikeTimes([1.0, 4.0, 6.0], [0, 1, 0], duration=30.0, channels=2)


@pytest.mark.nightly
def test_a_silent_network_has_a_gradient_and_learns():
    loss = Sum((FirstSpike(late=0.1), TimedCount(true=1)))
    made, simulator = network(), EventDriven(spikes=3)
    params, fixed = eqx.partition(made, trainable(made, ("weight",)))

    @jax.jit
    @jax.value_and_grad
    def cost(params):
        solution = simulator(eqx.combine(params, fixed), STIMULUS)
        return loss(solution, Trial(STIMULUS, jnp.asarray(2)))[0]

    alone = lambda params: simulator.hard()(eqx.combine(params, fixed), STIMULUS)
    assert int(loss(alone(params), Trial(STIMULUS, jnp.asarray(2)))[1]["label"]) == -1
    for _ in range(100):
        _, gradient = cost(params)
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
        params = jax.tree.map(lambda w, g, s=size: w - 0.2 * g / jnp.maximum(s, 1e-3), params, gradient)
    scalars = loss(alone(params), Trial(STIMULUS, jnp.asarray(2)))[1]
    assert (int(scalars["label"]), float(scalars["accuracy"])) == (2, 1.0)


def test_a_loss_is_continuous_where_a_spike_passes_the_end():
    """Also without pseudospikes, since what is silent counts as the end."""
    made, simulator = network(), EventDriven(spikes=2)

    @jax.jit
    def both(scale):
        strong = eqx.tree_at(
            lambda n: n.layers[1].feedforward.weight, made, scale * made.layers[1].feedforward.weight
        )
        runs = [s(strong, STIMULUS) for s in (simulator, simulator.hard())]
        trial = Trial(STIMULUS, jnp.asarray(2))
        losses = jnp.stack([FirstSpike()(run, trial)[0] for run in runs])
        return losses, runs[1].counts[1].sum(), runs[0].spikes[1][0]

    losses, counts, times = jax.vmap(both)(jnp.linspace(0.1, 8.0, 8000))
    # All of them begin to fire within the trial, on the way.
    assert counts[0] == 0 < counts[-1]
    assert (times[:-1] > 30.0).any() > (times[-1] > 30.0).all()
    assert np.abs(np.diff(losses, axis=0)).max() < 0.1
