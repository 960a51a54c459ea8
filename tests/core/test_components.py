"""What is declared is checked, at construction, in one line that names field, value and what is allowed."""

import jax
import jax.numpy as jnp
import pytest

import spikejax as sj
from spikejax.adjoints import ADJOINTS
from spikejax.component import declarations
from spikejax.connections import CONNECTIONS
from spikejax.gates import KERNELS, RELEASES
from spikejax.loops import LOOPS
from spikejax.losses import LOSSES
from spikejax.neurons import NEURONS, RESETS, WRAPPERS
from spikejax.penalties import PENALTIES
from spikejax.readouts import READOUTS
from spikejax.registry import Registry
from spikejax.synapses import SYNAPSES
from spikejax.tasks import TASKS
from spikejax.training.annealing import SCHEDULES

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
            sj.Network.dense(2, (5,), 1, neuron=one, synapse=sj.Exponential(5.0), key=jax.random.key(0))


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


def test_what_is_traced_is_not_refused():
    # Under a transformation the value is not known; the shape is.
    assert jax.jit(lambda tau: sj.LIF(tau_mem=tau).tau_mem)(-1.0) == -1.0


def test_counts_that_must_match():
    network = sj.Network.dense(
        2, (3, 3), 1, neuron=sj.LIF(), synapse=sj.Exponential(5.0), key=jax.random.key(0)
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
