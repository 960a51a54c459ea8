"""Spike times against a solver of differential equations that knows no closed form."""

import equinox as eqx
import numpy as np
import pytest

from . import reference
from .networks import END, KINDS, make, trains


def agree(kind, seed, recurrent):
    made = make(kind, seed, recurrent=recurrent)
    found = trains(eqx.filter_jit(made.simulator)(made.network, made.stimulus))
    expected = reference.spikes(made.reference, made.stimulus.time, made.stimulus.channel, END)
    assert [len(x) for x in found] == [len(x) for x in expected]
    assert sum(len(x) for x in found) >= 3
    for a, b in zip(found, expected, strict=True):
        # The solver's own error is larger where V is steep.
        np.testing.assert_allclose(a, b, atol=1e-7, rtol=0)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_those_of_a_solver(kind, recurrent):
    agree(kind, 1, recurrent)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 12))
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_those_of_a_solver_at_random(kind, recurrent, seed):
    agree(kind, seed, recurrent)
