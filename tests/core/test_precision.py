"""The precision of a simulation is that of its network, whatever the rest is given in; what is a stimulus and
a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import LIF, ClockDriven, Costate, Events, Exponential, Gate, Network, Noise, simulate
from spikejax.parameters import cast, precision

from .variants import VARIANTS

NETWORK = Network.dense(
    2,
    (3,),
    1,
    neuron=LIF(),
    synapse=Exponential(10.0),
    bias=(1.2, 1.8),
    key=jax.random.key(0),
    recurrent_scale=0.5,
)
STIMULUS = np.random.default_rng(0).uniform(0.5, 1.5, (9, 2))
LOW = cast(NETWORK, jnp.float32)


def run(network, stimulus=STIMULUS, gate=None, dt=1.0, **options):
    return simulate(network, stimulus, gate=Gate() if gate is None else gate, dt=dt, **options)


GIVEN = {
    "stimulus": {"stimulus": jnp.asarray(STIMULUS)},
    "of numpy": {"stimulus": STIMULUS.astype(np.float16).astype(np.float64)},
    "gate": {"gate": Gate(width=jnp.asarray([0.5]))},
    "dt": {"dt": np.float64(1.0)},
    "dt of JAX": {"dt": jnp.asarray(1.0)},
    "state": {"state": NETWORK.init(key=jax.random.key(1))},
    "noise": {"noise": Noise(jnp.asarray(0.1), np.full(3, 0.2), np.float64(3.0)), "key": jax.random.key(0)},
    "adjoint": {"adjoint": Costate(damping=jnp.asarray(0.1))},
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, "float32") for name in GIVEN),
        ("stimulus", "bfloat16"),
        pytest.param("noise", "bfloat16", marks=pytest.mark.nightly),
    ],
)
def test_the_network_decides(name, dtype):
    network, given = cast(NETWORK, dtype), GIVEN[name]
    with jax.numpy_dtype_promotion("strict"):
        out = run(network, **given)
    floats = [x.dtype for x in jax.tree.leaves(out) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(floats) == {jnp.dtype(dtype)}
    # What was given in the network's own precision gives the same.
    own = {k: cast(v, dtype) if not isinstance(v, float) else v for k, v in given.items()}
    for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(run(network, **own)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("adjoint", "dtype", "error"),
    [("costate", "float32", 1e-3), pytest.param("autodiff", "bfloat16", 0.3, marks=pytest.mark.nightly)],
)
def test_a_gradient_has_the_precision_of_what_it_is_taken_in(adjoint, dtype, error, relative):
    loss = lambda network, x, gate: jnp.sum(run(network, x, gate, adjoint=VARIANTS[adjoint]).readout)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    given = jnp.asarray(STIMULUS), Gate()
    expected = gradient(NETWORK, *given)
    with jax.numpy_dtype_promotion("strict"):
        found = gradient(cast(NETWORK, dtype), *given)
    assert [precision(g) for g in found] == [dtype, "float64", "float64"]
    assert relative(cast(found, "float64"), expected) < error


def test_a_precision_with_too_little_range_is_one_line():
    with pytest.raises(ValueError, match="`network` is of float16, .* cast it to float32 or bfloat16"):
        run(cast(NETWORK, "float16"))


def test_a_network_of_several_precisions_takes_the_widest():
    mixed = Network((LOW.layers[0],), NETWORK.readout)
    assert precision(LOW) == "float32"
    assert precision(mixed) == "float64"
    assert run(mixed).readout.dtype == "float64"


@pytest.mark.parametrize(
    "stimulus",
    [
        STIMULUS.round().tolist(),
        [tuple(row) for row in STIMULUS.round()],
        STIMULUS.round().astype(int),
        STIMULUS.round() > 0,
        [list(jnp.asarray(row)) for row in STIMULUS.round()],
    ],
    ids=["lists", "tuples", "integers", "booleans", "lists of JAX's"],
)
def test_any_numbers_are_a_stimulus(stimulus):
    expected = np.asarray([[float(x) for x in row] for row in stimulus])
    np.testing.assert_array_equal(run(LOW, stimulus).readout, run(LOW, expected).readout)


@pytest.mark.parametrize(
    ("stimulus", "match"),
    [
        ([[1.0, 2.0], [1.0]], "`stimulus` is a list that makes no array of numbers"),
        ([["a", "b"]], "`stimulus` is a list that makes no array of numbers"),
        ([1.0, 2.0], r"`stimulus` has shape \(2,\), but one trial is \(time, 2\)"),
        ([], r"`stimulus` has shape \(0,\)"),
        (np.ones((4, 2), complex), "`stimulus` is of type complex128: give real numbers"),
        (np.array([[None, 1.0]]), "`stimulus` is a ndarray that makes no array of numbers"),
    ],
)
def test_what_is_no_stimulus_is_one_line(stimulus, match):
    with pytest.raises(ValueError, match=match) as caught:
        run(LOW, stimulus)
    assert "\n" not in str(caught.value)


def test_events_in_another_precision():
    events = Events([0, 3], [0, 1], [1.0, 2.0], steps=9, channels=2)
    assert events.value.dtype == "float64"
    np.testing.assert_array_equal(run(LOW, events).readout, run(LOW, cast(events, "float32")).readout)


def test_a_step_that_is_traced(relative):
    loss = lambda dt, adjoint=None: jnp.sum(run(NETWORK, dt=dt, adjoint=adjoint).readout)
    value, slope = jax.jit(jax.value_and_grad(loss))(0.7)
    assert float(value) == pytest.approx(float(loss(0.7)), rel=1e-13)
    # At a fixed number of steps, which no spike leaves here.
    assert float(slope) == pytest.approx(float(loss(0.7 + 1e-6) - loss(0.7 - 1e-6)) / 2e-6, rel=1e-6)
    both = jax.vmap(loss)(jnp.array([0.7, 0.9]))
    np.testing.assert_allclose(both, [loss(0.7), loss(0.9)], rtol=1e-12)


@pytest.mark.parametrize(
    ("dt", "match"),
    [
        (np.ones(2), r"`dt` is array\(\[1., 1.\]\), but must be one number"),
        (0, "`dt` is 0.0, but must be finite and above 0"),
    ],
)
def test_what_is_no_step_is_one_line(dt, match):
    with pytest.raises(ValueError, match=match):
        run(LOW, dt=dt)


@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
def test_a_step_that_is_compiled_in_is_not_traced():
    with pytest.raises(ValueError, match="ClockDriven: `dt` is traced, but is compiled in: give a number"):
        jax.jit(lambda dt: ClockDriven(Gate(), dt)(NETWORK, STIMULUS).readout)(1.0)
    # A number of numpy's has no precision to impose.
    assert type(ClockDriven(Gate(), np.float64(0.5)).dt) is float
    assert type(Exponential(10.0, np.float32(0.5)).rate_unit) is float
