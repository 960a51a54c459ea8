"""What is declared is checked, at construction, in one line that names field, value and what is allowed."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import spikejax as sj
from spikejax.adjoints import ADJOINTS
from spikejax.component import declarations, option, part
from spikejax.connections import CONNECTIONS, Dense
from spikejax.gates import RELEASES
from spikejax.kernels import KERNELS, AbstractKernel, TruncatedLogistic
from spikejax.loops import LOOPS
from spikejax.losses import LOSSES
from spikejax.neurons import NEURONS, RESETS, WRAPPERS
from spikejax.penalties import PENALTIES, ActivityCost, LogRate, LowVoltage, RateBand, WholeCharge
from spikejax.readouts import READOUTS, LeakyReadout, LinearReadout
from spikejax.registry import Registry
from spikejax.synapses import SYNAPSES
from spikejax.tasks import TASKS, Braille, DelayedXOR, PredictiveCoding, Recordings, SpokenDigits, Trial
from spikejax.training import Plateau, Rollback
from spikejax.training.annealing import SCHEDULES, Annealing

FAMILIES = (
    NEURONS, WRAPPERS, RESETS, KERNELS, RELEASES, SYNAPSES, CONNECTIONS, READOUTS, ADJOINTS, LOOPS, LOSSES,
    PENALTIES,
    TASKS, SCHEDULES,
)  # fmt: skip
EVERY = [(family, name) for family in FAMILIES for name in family]


@pytest.mark.parametrize(("family", "name"), EVERY, ids=lambda x: x if isinstance(x, str) else x.family)
def test_every_component_says_what_it_is(family, name):
    cls = family[name]
    assert cls.__doc__
    assert cls.__doc__.strip().splitlines()[0]
    assert family.name_of(cls) == name
    for field, declared in declarations(cls).items():
        assert declared.doc, f"{cls.__name__}.{field} does not say what it is"
        for number in (declared.above, declared.at_least, declared.below, declared.at_most):
            assert number is None or number == number


@pytest.mark.parametrize("name", NEURONS)
def test_ranges_of_neurons(name):
    cls = NEURONS[name]
    for field, declared in declarations(cls).items():
        if not declared.trained:
            continue
        shape = (2,) if declared.kinds else ()
        with pytest.raises(ValueError, match=rf"{cls.__name__}: `{field}` is nan.*must be finite"):
            cls(**{field: jnp.full(shape, jnp.nan)})
        if declared.positive:
            bad = -1.0 if declared.at_least == 0 else 0.0
            with pytest.raises(
                ValueError, match=rf"{cls.__name__}: `{field}` is {bad:g}.*must be finite and"
            ):
                cls(**{field: jnp.full(shape, bad)})
    if issubclass(cls, sj.AbstractResetNeuron):
        with pytest.raises(ValueError, match="`v_reset` must be below `v_th`"):
            cls(v_reset=cls().v_th)
        with pytest.raises(ValueError, match="unknown reset 'Split': did you mean 'split'"):
            cls(reset="Split")
        with pytest.raises(ValueError, match=r"`v_th` has shape \(4,\), but the population has shape \(5,\)"):
            one = cls(v_th=jnp.full(4, float(cls().v_th)))
            sj.Network.dense(
                2,
                (5,),
                1,
                neuron=one,
                synapse=sj.Exponential(5.0),
                key=jax.random.key(0),
                bias=(0.0, 0.0),
                recurrent_scale=0.5,
            )


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: sj.HodgkinHuxley(kinetics="squd"),
            "`kinetics` is 'squd', but must be one of squid, cortical",
        ),
        (lambda: sj.Gate("raised_cosin"), "unknown gate kernel 'raised_cosin': did you mean 'raised_cosine'"),
        (lambda: sj.Gate(release="chrge"), "unknown release 'chrge': did you mean 'charge'"),
        (lambda: sj.Gate(width=0.0), "Gate: `width` is 0, but must be finite and above 0"),
        (lambda: sj.Gate(sharpness=-2.0), "Gate: `sharpness` is -2"),
        (lambda: sj.Gate(width=jnp.ones((2, 2))), "give a number, or one a layer"),
        (lambda: sj.Gate("arctan"), "serves release='surrogate' only, not 'charge'"),
        (lambda: sj.Exponential(0.0), "Exponential: `tau_syn` is 0 ms, but must be finite and above 0"),
        (lambda: sj.Exponential(5.0, rate_unit=0.0), "`rate_unit` is 0 spikes per ms"),
        (lambda: sj.DoubleExponential((1.0, 2.0), (3.0, 4.0, 5.0)), "2 time constants, `tau_syn` 3"),
        (
            lambda: sj.Costate(damping=-1.0),
            "Costate: `damping` is -1 per ms, but must be finite and at least 0",
        ),
        (lambda: sj.Costate(clip=0.0), "Costate: `clip` is 0"),
        (lambda: sj.Costate(loop="scn"), "unknown loop 'scn': did you mean 'scan'"),
        (lambda: sj.Checkpointed(0), "Checkpointed: `chunk` is 0, but must be finite and at least 1"),
        (lambda: sj.Refractory(sj.Theta()), "a Theta neuron has no reset"),
        (lambda: sj.Refractory(sj.LIF(), tau_ref=-1.0), "`tau_ref` is -1 ms"),
        (lambda: sj.AdEx(substeps=0), "`substeps` is 0"),
        (lambda: sj.GLIF(tau_asc=(1.0, 2.0, 3.0)), "`tau_asc` has 3 entries and `jump_asc` 2"),
    ],
)
def test_one_line_names_field_value_and_range(make, match):
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


NETWORK = sj.Network.dense(
    2,
    (3,),
    2,
    neuron=sj.LIF(),
    synapse=sj.Exponential(5.0),
    key=jax.random.key(0),
    bias=(0.0, 0.0),
    recurrent_scale=0.5,
)
DENSE = NETWORK.readout.connection


def recordings(channels=3, targets=4, labels=None, **stimuli):
    """Recordings, all of 4 trials of 5 steps and 3 channels unless told otherwise."""
    x = jnp.zeros((4, 5, 3), jnp.uint8)
    given = dict.fromkeys(("train", "validation", "test"), x) | {
        "test": jnp.zeros((4, 5, channels), jnp.uint8)
    }
    classes = dict.fromkeys(given, jnp.zeros(4, int)) | {"validation": jnp.zeros(targets, int)}
    classes |= {} if labels is None else {"train": jnp.asarray(labels)}
    return Recordings(given | stimuli, classes, labels=("a", "b"))


def evaluated(loss, target, network=NETWORK):
    x = jnp.ones((6, 2))
    return loss(sj.ClockDriven()(network, x), Trial(x, target, None, jnp.asarray(1)))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        # Tasks.
        (lambda: Braille(dt=0.0), "Braille: `dt` is 0 ms, but must be finite and above 0"),
        (lambda: Braille(dt=25.0, drop=1.0), "Braille: `drop` is 1, but must be"),
        (lambda: DelayedXOR(dt=float("nan")), "DelayedXOR: `dt` is nan ms, but must be finite and above 0"),
        (lambda: DelayedXOR(dt=1.0, odds=(1.0,)), "`odds` has 1 entries, `buckets` 3"),
        (lambda: DelayedXOR(dt=1.0, held_out=(0, 5)), "`held_out` is 0, but must be finite and at least 1"),
        (lambda: PredictiveCoding(dt=1.0, channels=0), "`channels` is 0, but must be finite and at least 1"),
        (lambda: PredictiveCoding(dt=1.0, duration=-5.0), "`duration` is -5 ms"),
        (lambda: SpokenDigits(dt=-1.0, folder=Path("digits")), "SpokenDigits: `dt` is -1 ms"),
        (lambda: recordings(labels=[0, 1, 2, 1]), "`targets` of train has classes from 0 to 2, but"),
        (lambda: recordings(labels=[-1, 0, 1, 0]), "`targets` of train has classes from -1 to 1"),
        (lambda: recordings(targets=3), "validation has 4 `stimuli` and 3 `targets`"),
        (lambda: recordings(channels=2), "test has 2 channels in `stimuli`, and train 3"),
        (lambda: recordings(more=jnp.zeros((4, 5, 3), jnp.uint8)), "`stimuli` is of more, test, train"),
        # Losses and penalties.
        (lambda: sj.losses.CrossEntropy(windows=0), "CrossEntropy: `windows` is 0"),
        (lambda: sj.losses.CrossEntropy(smoothing=1.0), "CrossEntropy: `smoothing` is 1, but must be"),
        (lambda: sj.losses.ResponseError(margin=-0.1), "ResponseError: `margin` is -0.1"),
        (lambda: sj.losses.Sum(()), "`parts` is empty"),
        (
            lambda: evaluated(sj.losses.CrossEntropy(windows=3), jnp.asarray(1)),
            "CrossEntropy: the network has 2 outputs, which 3 `windows` cannot share",
        ),
        (
            lambda: evaluated(sj.losses.SquaredError(), jnp.ones((6, 1))),
            r"SquaredError: the readout has shape \(6, 2\), but the target \(6, 1\)",
        ),
        (lambda: RateBand(weight=-1.0), "RateBand: `weight` is -1 1/Hz.2, but must be finite and at least 0"),
        (lambda: RateBand(weight=1.0, low=20.0, high=10.0), "`low` is 20 Hz, but must not be above"),
        (lambda: LogRate(weight=1.0, target=-1.0), "LogRate: `target` is -1 Hz"),
        (lambda: ActivityCost(weight=float("inf")), "ActivityCost: `weight` is inf"),
        (lambda: LowVoltage(weight=1.0, low=float("nan")), "LowVoltage: `low` is nan, but must be finite"),
        (lambda: WholeCharge(weight=-2.0), "WholeCharge: `weight` is -2"),
        # Schedules.
        (lambda: Annealing(schedule="geometrc"), "unknown schedule 'geometrc': did you mean 'geometric'"),
        (lambda: Annealing(sharpness=0.0), "Annealing: `sharpness` is 0, but must be finite and above 0"),
        (lambda: Annealing(sharpness_end=2.0, hold=0.5, anneal=0.5), "`hold` must be below `anneal`"),
        (lambda: Annealing(sharpness=(1.0, 2.0), sharpness_end=(3.0, 4.0, 5.0)), "lists of 2 and 3 values"),
        (lambda: Annealing(sharpness_end=2.0, schedule="constant"), "leave out `sharpness_end`"),
        (lambda: Annealing(schedule="plateau"), "sharpens up to `sharpness_end`: set it"),
        (lambda: Annealing(sharpness_end=2.0, mixture=(0.6, 0.6)), "two fractions whose sum is at most 1"),
        (lambda: Plateau(patience=0), "Plateau: `patience` is 0, but must be finite and at least 1"),
        (lambda: Plateau(tolerance=-0.1), "Plateau: `tolerance` is -0.1"),
        (lambda: Plateau(factor=1.0), "Plateau: `factor` is 1, but must be finite and above 1"),
        (lambda: Rollback(patience=0), "Rollback: `patience` is 0, but must be finite and at least 1"),
        (lambda: Rollback(patience=1, factor=1.5), "Rollback: `factor` is 1.5, but must be"),
        (lambda: Rollback(patience=1, tolerance=-1.0), "Rollback: `tolerance` is -1"),
        # Kernels, connections, readouts.
        (lambda: TruncatedLogistic(slope=0.0), "TruncatedLogistic: `slope` is 0, but must be"),
        (
            lambda: Dense.create((2,), (3,), key=jax.random.key(0), density=1.5),
            "Dense: `density` is 1.5, but must be finite and above 0 and at most 1",
        ),
        (lambda: Dense.create((2,), (3,), key=jax.random.key(0), scale=-1.0), "Dense: `scale` is -1"),
        (lambda: Dense.create((2,), (3,), key=jax.random.key(0), norm=0.0), "Dense: `norm` is 0"),
        (
            lambda: sj.Layer.dense(
                (2,), 3, sj.LIF(), sj.Exponential(5.0), bias=(1.0, 0.0), key=jax.random.key(0)),
            r"`bias` is \[1.0, 0.0\], but must be \[low, high\]",
        ),
        (
            lambda: LinearReadout(connection=DENSE, bias=jnp.zeros(3)),
            r"LinearReadout: `bias` has shape \(3,\), but the connection has outputs \(2,\)",
        ),
        (
            lambda: LeakyReadout(connection=DENSE, bias=jnp.zeros(2), tau_out=jnp.ones(3)),
            r"LeakyReadout: `tau_out` has shape \(3,\), but the population has shape \(2,\)",
        ),
        (
            lambda: LeakyReadout.create((1, 3), 2, key=jax.random.key(0), tau_out=0.0),
            "LeakyReadout: `tau_out` is 0 ms, but must be finite and above 0",
        ),
        # What simulates, and noise.
        (lambda: sj.ClockDriven(dt=0.0), "ClockDriven: `dt` is 0 ms, but must be finite and above 0"),
        (lambda: sj.ClockDriven(dt=float("inf")), "ClockDriven: `dt` is inf ms"),
        (lambda: sj.ClockDriven(dt=float("nan")), "ClockDriven: `dt` is nan ms"),
        (
            lambda: sj.simulate(NETWORK, jnp.ones((6, 2)), gate=sj.Gate(), dt=float("inf")),
            "`dt` is inf, but must be finite and above 0",
        ),
        (lambda: sj.Noise(initial=-0.1), "Noise: `initial` is -0.1, but must be finite and at least 0"),
        (lambda: sj.Noise(current=float("nan")), "Noise: `current` is nan"),
        (lambda: sj.Noise(tau=-1.0), "Noise: `tau` is -1 ms"),
    ],
)  # fmt: skip
def test_one_line_of_what_surrounds_a_network(make, match):
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


class Held(sj.component.Component):
    """A component of a user, whose annotations nothing else checks."""

    count: int = option(1, doc="of things", at_least=1)
    several: int | None = option(None, doc="of others")
    share: float = option(0.5, doc="of the whole", at_least=0.0, at_most=1.0)
    kernel: AbstractKernel = part(KERNELS, "triangle", doc="shape")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"count": 1.5}, "Held: `count` is 1.5, but must be a whole number"),
        ({"several": 2.0}, "Held: `several` is 2.0, but must be a whole number"),
        ({"share": "half"}, "Held: `share` is 'half', but must be a number at least 0 and at most 1"),
        ({"kernel": 3}, "Held: `kernel` is 3, but must be a gate kernel, or one of boxcar, triangle"),
        ({"kernel": None}, "Held: `kernel` is None, but must be a gate kernel"),
        ({"kernel": sj.Exponential(5.0)}, "Held: `kernel` is a Exponential, but must be a gate kernel"),
        ({"kernel": "triangel"}, "unknown gate kernel 'triangel': did you mean 'triangle'"),
    ],
)
def test_what_is_of_another_type(fields, match):
    with pytest.raises(ValueError, match=match):
        Held(**fields)
    assert Held(count=3, several=2, share=1).count == 3


def test_noise_is_one_value_under_a_transformation():
    noise = sj.Noise(0.1, 0.2)
    draw = jax.vmap(lambda key: noise.background(key, 5, (3,), 1.0))
    assert draw(jax.random.split(jax.random.key(0), 2)).shape == (2, 5, 3)


def test_what_is_traced_is_not_refused():
    # Under a transformation the value is not known; the shape is.
    assert jax.jit(lambda tau: sj.LIF(tau_mem=tau).tau_mem)(-1.0) == -1.0


def test_counts_that_must_match():
    network = sj.Network.dense(
        2,
        (3, 3),
        1,
        neuron=sj.LIF(),
        synapse=sj.Exponential(5.0),
        key=jax.random.key(0),
        bias=(0.0, 0.0),
        recurrent_scale=0.5,
    )
    with pytest.raises(
        ValueError, match=r"`sharpness` has 3 values, one a layer, but the network has 2 layers"
    ):
        sj.simulate(network, jnp.ones((4, 2)), gate=sj.Gate(sharpness=jnp.ones(3)), dt=1.0)


def test_a_name_is_taken_once():
    family = Registry("toy")

    @family.register("a")
    class First:
        """One."""

    with pytest.raises(ValueError, match="there is a toy 'a' already"):

        @family.register("a")
        class Second:
            """Two."""

    assert family.name_of(First()) == "a"
