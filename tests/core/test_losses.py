"""The registered losses and penalties: what they declare, refuse and report."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, ClockDriven, Exponential, Gate, Network
from spikejax.component import declarations
from spikejax.losses import LOSSES, CrossEntropy, ResponseError, SquaredError, Sum
from spikejax.penalties import PENALTIES, ActivityCost, RateBand, firing_rates
from spikejax.tasks import AbstractTask, Trial
from spikejax.tasks.delayed_xor import Response

STEPS, DT = 12, 0.5


def network(tau=(2.0, 6.0)):
    return Network.dense(
        2,
        (4,),
        3,
        neuron=LIF(tau_mem=5.0),
        synapse=Exponential(tau, 0.02),
        key=jax.random.key(0),
        bias=(1.2, 1.6),
    )


def task(kind: str, width: int = 3) -> AbstractTask:
    """A task with a target of this kind."""

    class Given(AbstractTask):
        target: ClassVar[str] = kind
        channels: int = 2
        outputs: int = width
        labels: tuple[str, ...] = ()

        def batch(self, key, step, size):
            raise NotImplementedError

        def split(self, name):
            raise NotImplementedError

    return Given()


def trial(target: str, steps: int | None = None) -> Trial:
    """One trial with a target of this kind, of so many steps."""
    x = jnp.ones((STEPS, 2))
    targets = {
        "class": jnp.asarray(1),
        "signal": jnp.ones((STEPS, 3)),
        "response": Response(jnp.ones((STEPS, 1)), jnp.ones(STEPS) / STEPS, jnp.ones(STEPS) / STEPS),
    }
    mask = None if steps is None else jnp.arange(STEPS) < steps
    return Trial(x, targets[target], mask, jnp.asarray(1))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_declares_what_it_does(name):
    loss = LOSSES.make(name)
    assert LOSSES.name_of(loss) == name
    assert loss.score in {"loss", *loss.reports}
    for target in loss.targets:
        loss.check(task(target))
        assert loss.outputs(task(target)) == 3
        solution = ClockDriven(Gate(), DT)(network(), trial(target).stimulus, save=loss.series)
        value, scalars = loss(solution, trial(target))
        assert value.shape == ()
        assert scalars.keys() - {"label"} == loss.reports.keys()
    with pytest.raises(ValueError, match=f"{type(loss).__name__} .*Given is a melody"):
        loss.check(task("melody"))
    assert all(declared.doc for declared in declarations(type(loss)).values())


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_is_zero_at_weight_zero_and_has_a_finite_gradient(name):
    net, given, simulator = network(), trial("signal", steps=9), ClockDriven(Gate(), DT)

    @jax.jit
    def cost(bias, weight):
        moved = eqx.tree_at(lambda n: n.layers[0].bias, net, bias)
        one, two = (PENALTIES.make(name, weight=w) for w in (1.0, 3.0))
        solution = simulator(moved, given.stimulus, save=one.series, mask=given.mask)
        return jnp.stack([one(solution, given)[0], two(solution, given)[0]]) @ weight

    bias = net.layers[0].bias - 20.0 * (jnp.arange(4) == 0)  # one far below
    one, two = (float(cost(bias, w)) for w in (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])))
    assert two == pytest.approx(3 * one)
    assert np.all(np.isfinite(jax.grad(cost)(bias, jnp.array([1.0, 0.0]))))
    loss = PENALTIES.make(name, weight=1.0)
    loss.check(task("anything"))
    assert not loss.reports
    assert all(declared.doc for declared in declarations(type(loss)).values())
    with pytest.raises(ValueError, match="`weight` is -1"):
        PENALTIES.make(name, weight=-1.0)


def test_the_sum_is_what_its_first_part_is():
    given = task("class", 5)
    total = Sum((CrossEntropy(windows=2), RateBand(weight=1.0), ActivityCost(weight=1.0)))
    assert (total.score, total.outputs(given), total.reports) == ("accuracy", 10, {"accuracy": True})
    assert total.maximised("accuracy")
    assert not total.maximised("loss")
    assert total.series == {"activation"}
    total.check(given)
    total.check_network(network())
    with pytest.raises(ValueError, match="CrossEntropy compares a readout with a class"):
        total.check(task("signal"))
    with pytest.raises(ValueError, match="layer 0 slowest last"):
        total.check_network(network((6.0, 2.0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(windows=0), "`windows` is 0, but must be .*at least 1"),
        (
            lambda: CrossEntropy(smoothing=1.0),
            "`smoothing` is 1, but must be .*at least 0 and below 1",
        ),
        (lambda: ResponseError(margin=-0.1), "`margin`"),
        (
            lambda: RateBand(weight=1.0, low=5.0, high=2.0),
            "`low` is 5 Hz, but must not be above `high`, 2 Hz",
        ),
        (lambda: Sum(()), "`parts` is empty"),
        (lambda: LOSSES.make("squared_eror"), "did you mean 'squared_error'"),
    ],
)
def test_losses_that_cannot_be_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rates_and_duration_leave_masked_steps_out():
    net, simulator = network(), ClockDriven(Gate(), DT)
    short = trial("signal", steps=7)
    solution = simulator(net, short.stimulus, mask=short.mask)
    alone = simulator(net, short.stimulus[:7])
    assert solution.duration.dtype == solution.readout.dtype
    assert float(solution.duration) == float(alone.duration) == 7 * DT
    np.testing.assert_allclose(
        firing_rates(solution), 1e3 * np.asarray(alone.counts[0]) / (7 * DT), rtol=1e-12
    )
    nothing = simulator(net, short.stimulus, mask=jnp.zeros(STEPS, bool))
    assert np.array_equal(firing_rates(nothing), np.zeros(4))
    assert np.isfinite(SquaredError()(nothing, short._replace(mask=jnp.zeros(STEPS, bool)))[0])


def test_a_target_of_zero_has_an_error():
    solution = ClockDriven(Gate(), DT)(network(), trial("signal").stimulus)
    zero = trial("signal")._replace(target=jnp.zeros_like(solution.readout), mask=None)
    loss, scalars = SquaredError()(solution, zero)
    assert float(scalars["error"]) == pytest.approx(2 * float(loss), rel=1e-12)
    assert float(scalars["error"]) == pytest.approx(float((solution.readout**2).sum(1).mean()), rel=1e-12)
    # A checkpoint is chosen by its mean over trials, which stays finite and gets better with the readout.
    half = solution._replace(readout=0.5 * solution.readout)
    assert float(SquaredError()(half, zero)[1]["error"]) == pytest.approx(0.25 * float(scalars["error"]))
