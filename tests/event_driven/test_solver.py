"""Spike times against a solver of differential equations that knows no closed form, and gradients against
differences of the times."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import trainable
from spikejax.event_driven import SpikeTimes, stretches
from spikejax.event_driven import recurrent as loop

from . import reference
from .networks import END, KINDS, make, trains


def check(kind, seed, recurrent, delays, exact):
    made = make(kind, seed, recurrent=recurrent, delays=delays)
    rng = np.random.default_rng(seed)
    fields = ("weight", "v_init") + (("v_reset", "v_th") if kind.startswith("lif") else ())
    fields += () if kind == "qif" else ("bias",)
    fields += ("delay",) if delays else ()
    learned, fixed = eqx.partition(made.network, trainable(made.network, fields))
    given = learned, made.stimulus.time, made.stimulus.value
    shapes = jax.eval_shape(lambda: made.simulator(made.network, made.stimulus)).spikes
    factors = [rng.normal(size=x.shape) for x in shapes]

    @jax.jit
    def run(given):
        def loss(given):
            learned, time, value = given
            stimulus = SpikeTimes(time, made.stimulus.channel, value, duration=END, channels=3)
            found = made.simulator(eqx.combine(learned, fixed), stimulus)
            finite = (jnp.where(jnp.isfinite(x), x, 0.0) for x in found.spikes)
            return sum(jnp.sum(f * x) for f, x in zip(factors, finite, strict=True)), found

        return jax.value_and_grad(loss, has_aux=True)(given)

    (_, solution), gradient = run(given)
    found = trains(solution)
    expected = reference.spikes(made.reference, made.stimulus.time, made.stimulus.channel, END)
    assert [len(x) for x in found] == [len(x) for x in expected]
    assert sum(len(x) for x in found) >= 3
    for a, b in zip(found, expected, strict=True):
        # The solver's own error grows where neurons are unstable.
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)

    way = jax.tree.map(lambda x: rng.normal(size=x.shape) * (1 + abs(x)), given)
    moved = lambda h: run(jax.tree.map(lambda x, d: x + h * d, given, way))[0][0]
    along = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, way)))
    h = 1e-6
    # Of order 4.
    secant = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    assert abs(along) > 1
    assert float(along) == pytest.approx(float(secant), rel=exact)


@pytest.mark.parametrize(
    ("kind", "recurrent", "delays"),
    [
        pytest.param("qif", False, False, marks=pytest.mark.nightly),
        ("qif", True, True),
        ("lif equal", False, False),
        pytest.param("delta", False, True, marks=pytest.mark.nightly),
        pytest.param("lif", True, False, marks=pytest.mark.nightly),
    ],
)
def test_times_and_gradients(kind, recurrent, delays, monkeypatch):
    # Several chunks, of which the last is not full.
    monkeypatch.setattr(stretches, "LENGTH", 5)
    monkeypatch.setattr(loop, "CHUNK", 9)
    check(kind, 1, recurrent, delays, 1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("delays", [False, True])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_times_and_gradients_at_random(kind, recurrent, delays, seed):
    check(kind, seed, recurrent, delays, 1e-4)
