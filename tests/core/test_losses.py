"""The registered losses and penalties: what they declare, refuse and report."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, ClockDriven, Exponential, Gate, Network, Noise, Solution
from spikejax.component import declarations
from spikejax.losses import LOSSES, CrossEntropy, ResponseError, SquaredError, Sum
from spikejax.penalties import PENALTIES, ActivityCost, RateBand, firing_rates
from spikejax.state import Record
from spikejax.tasks import AbstractTask, Trial
from spikejax.tasks.delayed_xor import Response

from ..by_day import by_day

STEPS, DT = 12, 0.5


def network(tau=(2.0, 6.0), size=4):
    return Network.dense(
        2,
        (size,),
        3,
        neuron=LIF(tau_mem=5.0),
        synapse=Exponential(tau, 0.02),
        key=jax.random.key(0),
        bias=(1.2, 1.6),
        recurrent_scale=0.5,
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
        "spikes": jnp.ones((STEPS, 3)),
        "times": jnp.ones((1, 3)),
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
        simulator = ClockDriven(Gate(), DT, spikes=3)
        solution = simulator(network(size=3), trial(target).stimulus, save=loss.series)
        value, scalars = loss(solution, trial(target))
        assert value.shape == ()
        assert scalars.keys() - {"label"} == loss.reports.keys()
    with pytest.raises(ValueError, match=f"{type(loss).__name__} .*Given is a melody"):
        loss.check(task("melody"))
    assert all(declared.doc for declared in declarations(type(loss)).values())


@pytest.mark.parametrize("name", by_day(PENALTIES, ["rate_band", "low_voltage"]))
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


def classifying():
    """The registered losses that take labels: a loss, and its trial with one."""
    for name in LOSSES:
        loss = LOSSES.make(name)
        if {"class", "response"} & loss.targets:
            target = "class" if "class" in loss.targets else "response"
            yield (
                name,
                loss,
                lambda label, target=target: trial(target)._replace(
                    label=label, **({"target": label} if target == "class" else {})
                ),
            )


@pytest.mark.parametrize(("name", "loss", "labelled"), list(classifying()))
def test_a_label_outside_the_classes_is_never_taken_for_one(name, loss, labelled):
    """Loss, accuracy and gradient of the trial are NaN, those of others are not; a fraction is refused."""
    o = jax.random.normal(jax.random.key(0), (STEPS, 1 if name == "response" else 3))

    def value(o, label):
        layers = (Record(release=o),)  # of which some losses read the spikes
        solution = Solution(o, (), layers, None, jnp.asarray(STEPS * DT), spikes=(o,))
        found, scalars = loss(solution, labelled(label))
        return found, scalars["accuracy"]

    for label in (-1, 3, 1000, -(2**31)):
        assert np.isnan(value(o, jnp.asarray(label))).all()
    for wrong in (jnp.asarray(0.5), jnp.asarray(jnp.nan), jnp.asarray(True), None):
        with pytest.raises(ValueError, match="must be a whole number"):
            value(o, wrong)
    labels = jnp.array([0, 3, 2, -1, 1])
    run = jax.jit(jax.vmap(jax.value_and_grad(value, has_aux=True), in_axes=(None, 0)))
    (values, accuracy), gradient = run(o, labels)
    known = np.array([True, False, True, False, True])
    np.testing.assert_array_equal(np.isfinite(values), known)
    np.testing.assert_array_equal(np.isfinite(accuracy), known)
    np.testing.assert_array_equal(np.isfinite(gradient).all(axis=(1, 2)), known)
    if "spikes" not in loss.series:  # of which it reads the first
        # A spike in the last step may be without effect.
        assert np.isnan(gradient[1][:-1]).all()
    # The right value is what it was.
    if name == "cross_entropy":
        np.testing.assert_allclose(values[2], -jax.nn.log_softmax(o.mean(axis=0))[2], rtol=1e-12)


@pytest.mark.nightly
@pytest.mark.parametrize("windows", [1, 3, 4])
def test_logits_do_not_hang_on_the_padding(windows):
    o = jax.random.normal(jax.random.key(0), (20, 2 * windows))
    loss, found = CrossEntropy(windows=windows), []
    for steps in (20, 21, 30, 47, 80):
        full = np.concatenate([o, np.full((steps - 20, o.shape[1]), 7.0)])
        solution = Solution(jnp.asarray(full), (), (), None, jnp.asarray(20.0))
        found.append(jax.jit(loss.logits)(solution, jnp.arange(steps) < 20))
    plain = loss.logits(Solution(o, (), (), None, jnp.asarray(20.0)))
    np.testing.assert_allclose(found, jnp.broadcast_to(plain, (5, 2)), rtol=1e-12)
    # Of equal windows: by hand.
    o = np.asarray(o)
    by_hand = sum(
        o[[t for t in range(20) if t * windows // 20 == w], 2 * w : 2 * w + 2].mean(axis=0)
        for w in range(windows)
    )
    np.testing.assert_allclose(plain, by_hand, rtol=1e-12)
    # A trial with fewer steps than windows, and one without any.
    short = Solution(jnp.asarray(o), (), (), None, jnp.asarray(2.0))
    assert np.isfinite(loss.logits(short, jnp.arange(20) < 2)).all()
    assert not loss.logits(short, jnp.zeros(20, bool)).any()


PADDING = (0, 1, 13)


@pytest.fixture(scope="module")
def padded():
    """A simulated trial with noise in it, with all that a loss reads: alone, and with steps after its end."""
    losses = [*(LOSSES.make(name) for name in LOSSES), *(PENALTIES.make(x, weight=1.0) for x in PENALTIES)]
    series = frozenset().union(*(loss.series for loss in losses))
    key, noise, net = jax.random.key(1), Noise(current=0.5, tau=3.0), network(size=3)

    def simulated(extra):
        steps = STEPS + extra
        mask, simulator = jnp.arange(steps) < STEPS, ClockDriven(Gate(), DT, spikes=3)
        run = lambda x: simulator(net, x, save=series, mask=mask, key=key, noise=noise)
        return jax.jit(run)(jnp.ones((steps, 2))), mask

    return [simulated(extra) for extra in PADDING]


@pytest.mark.parametrize("name", [*LOSSES, *PENALTIES])
def test_no_loss_hangs_on_the_padding(name, padded):
    family = LOSSES if name in LOSSES else PENALTIES
    loss = family.make(name) if name in LOSSES else family.make(name, weight=1.0)
    own = trial(next(iter(loss.targets & {"class", "signal", "response", "spikes", "times"}), "signal"))
    found = []
    for extra, (solution, mask) in zip(PADDING, padded, strict=True):
        pad = lambda x, extra=extra: np.concatenate([x, np.ones((extra, *x.shape[1:]))])
        over = jax.tree.map(lambda x: pad(x) if x.ndim and len(x) == STEPS else x, own.target)
        if isinstance(over, Response):  # whose weights say themselves when it is over
            over = over._replace(**{k: np.where(mask, getattr(over, k), 0.0) for k in ("weight", "template")})
        given = own._replace(stimulus=pad(own.stimulus), target=over, mask=mask)
        found.append(jax.jit(lambda s, t: loss(s, t)[0])(solution, jax.tree.map(jnp.asarray, given)))
    assert float(found[0]) != 0 or name in ("rate_band", "low_voltage")
    np.testing.assert_allclose(found, found[0], rtol=1e-12)
