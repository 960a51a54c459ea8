"""The fidelity ledger: every entry within its bound."""

import pytest

from spikejax.neurons import NEURONS, Accommodating

from ..places import experiment

ledger = experiment("ledger")


def test_every_registered_neuron_is_in_the_ledger():
    found = [*(model.neuron for model in ledger.MODELS.values()), *ledger.GRID.values()]
    assert set(map(type, found)) == {*NEURONS.values(), Accommodating}


# Another of the same equations is measured by day.
AT_NIGHT = ("AdEx, refractory", "Hodgkin-Huxley, cortical", "EIF")
# Of these the state below threshold is measured by day, or a network of them.
SPIKES_AT_NIGHT = ("LIF, refractory", "LIF, accommodating", "GLIF", "ALIF", "QIF", "theta")
# The same at the other time step, or the times whose gradient is measured, is measured by day.
CHECKS_AT_NIGHT = {
    ("QIF network", "first spikes of two layers, dt 0.1 ms"),
    ("QIF network", "first spikes of two layers, dt 0.02 ms"),
    ("QIF network", "gradient of these in weights and input times, dt 0.1 ms"),
    ("LIF network", "first spikes of two layers, dt 0.1 ms"),
}


def at_night(entry) -> bool:
    spikes = entry.model in SPIKES_AT_NIGHT and entry.check.startswith("spikes of")
    return entry.model in AT_NIGHT or spikes or (entry.model, entry.check) in CHECKS_AT_NIGHT


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(
            entry,
            id=f"{entry.model}: {entry.check}",
            marks=pytest.mark.nightly if at_night(entry) else (),
        )
        for entry in ledger.entries()
    ],
)
def test_entry(entry):
    assert entry.measure() <= entry.bound


def test_a_wrong_equation_is_noticed(monkeypatch):
    # The ledger's own check: a leak that is 1 % off, and a reset that is.
    model = ledger.MODELS["LIF"]
    monkeypatch.setitem(
        ledger.MODELS, "wrong", model._replace(field=lambda y, i, g: ((-1.01 * y[0] + i - g * y[0]) / 10,))
    )
    assert ledger.flow_error("wrong") > 1e-4
    assert ledger.spike_time_error(model._replace(reset=lambda y: (0.05,))) > 0.1


def test_brian2_and_the_simulation_converge():
    errors = [ledger.brian2_error(dt) for dt in (0.1, 0.05, 0.01)]
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2]
