"""`check_neuron` passes the neurons that are right, and each check sees the mistake that it is for."""

import re

import jax
import pytest

from spikejax import LIF, Costate, HodgkinHuxley, Refractory, Theta, check_neuron
from spikejax.checking import gradients, neuron
from spikejax.neurons import NEURONS, WRAPPERS

from ..by_day import by_day
from .neurons import RIGHT, WRONG, Plain, Right

FIRST = ("state", "jit", "types", "elementwise", "vmap", "conductances")
"""Checks that take no more than a second."""
TOLD = {
    "hodgkin_huxley": {"dt": 0.05, "idle": ("g_M", "V_T", "tau_max")},
    "spike_response": {
        "only": (*FIRST, "spikes", "reset", "strong input", "finite", "parameters", "adjoints", "differences")
    },
}
"""What a neuron has to be told: the first names no time constants, and these are of other kinetics; the
second is a model on the grid of steps, which another step changes."""


def marked(name: str, slow: bool):
    return pytest.param(name, marks=pytest.mark.nightly) if slow else name


def test_neurons_of_the_library_pass():
    """The fast checks of two; all of all at night, and of the neuron of a page in ``tests/docs``."""
    for one in (LIF(), Theta()):
        report = check_neuron(one, only=("types", "flow", "spike times", "trajectory", "differences"))
        assert report.passed, str(report)
        assert report["spikes"].measured >= 4
        assert 0 < report["differences"].measured < 1e-6


@pytest.mark.nightly
def test_a_report_of_what_is_right():
    report = check_neuron(LIF())
    assert report.passed, str(report)
    assert report.failed == ()
    assert [check.name for check in report.checks] == [question.name for question in neuron.QUESTIONS]
    assert not any(check.skipped for check in report.checks)
    # What is compared is not 0 with 0.
    assert report["spikes"].measured >= 4
    assert 0 < report["adjoints"].measured < 1e-12
    assert 0 < report["differences"].measured < 1e-6
    lines = str(report).splitlines()
    assert lines[0].startswith("check_neuron(LIF), dt = 0.5 ms, 50 ms, ")
    assert lines[-1] == f"all {len(report.checks)} checks passed"


@pytest.mark.parametrize("name", by_day(NEURONS, ["lif", "alif", "theta", "eif", "izhikevich"]))
def test_every_neuron_keeps_the_precision_of_its_parameters(name):
    report = check_neuron(NEURONS.make(name), only=("types",))
    assert report.passed, str(report)


@pytest.mark.nightly
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_passes(name):
    report = check_neuron(NEURONS.make(name), **TOLD.get(name, {}))
    assert report.passed, str(report)


@pytest.mark.nightly
@pytest.mark.parametrize("name", WRAPPERS)
def test_every_addition_passes(name):
    report = check_neuron(WRAPPERS[name](neuron=LIF()))
    assert report.passed, str(report)


@pytest.mark.nightly
@pytest.mark.parametrize("name", RIGHT)
def test_right_neurons_pass(name):
    report = check_neuron(RIGHT[name])
    assert report.passed, str(report)


@pytest.mark.nightly
def test_it_passes_at_other_steps_and_durations():
    for given in ({"dt": 0.1}, {"duration": 120.0}, {"drive": 3.0}):
        report = check_neuron(Right(), **given)
        assert report.passed, str(report)


@pytest.mark.parametrize("name", [marked(name, check not in FIRST) for name, (_, check) in WRONG.items()])
def test_a_mistake_is_seen(name):
    wrong, check = WRONG[name]
    report = check_neuron(wrong, only=(check,))
    assert report.failed == (check,), str(report)
    assert not report.passed
    # What the check needs is made, and what cannot be made is not.
    assert report[check].hint in str(report)
    assert f"\n{check}: " in str(report)


@pytest.mark.parametrize("name", ["deaf", "Euler", "forgets", "reset on the grid"])
def test_a_mistake_of_its_motion_is_seen(name):
    wrong, check = WRONG[name]
    report = check_neuron(wrong, only=(check,))
    assert report.failed == (check,), str(report)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", [name for name in WRONG if "steps" not in name and name != "moves in no time"]
)
def test_a_mistake_is_seen_among_all_checks(name):
    wrong, check = WRONG[name]
    assert check in check_neuron(wrong).failed


@pytest.mark.nightly
def test_adjoints_that_differ_are_seen(monkeypatch):
    # No neuron makes them differ: an adjoint that is biased does.
    monkeypatch.setattr(gradients, "Costate", lambda: Costate(damping=0.05))
    report = check_neuron(LIF(), only=("adjoints",))
    assert report.failed == ("adjoints",)
    assert report["adjoints"].measured > 1e-3


def test_a_spike_may_set_a_variable_anew_if_it_says_so():
    forgets, _ = WRONG["forgets"]
    assert check_neuron(forgets, only=("memory",), sets=("w",)).passed
    # Set to a parameter, as a refractory period is: on purpose.
    report = check_neuron(Refractory(LIF()), only=("memory",))
    assert report.passed
    assert "left" in report["memory"].note


@pytest.mark.nightly
def test_a_parameter_may_be_without_effect_if_it_says_so():
    idle, _ = WRONG["a parameter without effect"]
    assert check_neuron(idle, only=("parameters",), idle=("jump",)).passed


def test_what_comes_after_a_neuron_without_spikes_is_not_made():
    report = check_neuron(WRONG["deaf"][0])
    assert report.failed == ("spikes",)
    left = [check.name for check in report.checks if check.skipped]
    assert {"adjoints", "differences", "secant", "refinement", "flow"} <= set(left)
    assert "could not be made" in str(report).splitlines()[-1]
    assert "no spike for any current from" in report["spikes"].note


def test_a_current_that_is_given_is_used():
    report = check_neuron(LIF(), drive=0.9, only=("spikes",))
    assert report.failed == ("spikes",)
    assert "at a current of 0.9" in report["spikes"].note


@pytest.mark.nightly
def test_a_neuron_without_time_constants_is_checked_at_the_step_given():
    assert check_neuron(HodgkinHuxley(), only=("flow",)).failed == ("flow",)
    assert check_neuron(HodgkinHuxley(), dt=0.05, only=("flow",)).passed


def test_a_step_that_is_too_long_is_refused_in_its_row():
    report = check_neuron(LIF(tau_mem=1.0), dt=2.0, only=("flow",))
    assert report.failed == ("spikes",)
    assert "too large" in report["spikes"].note


def test_it_leaves_the_precision_as_it_was():
    before = jax.config.jax_enable_x64
    check_neuron(Plain(), only=("types",))
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize(
    ("given", "keywords", "line"),
    [
        (LIF, {}, "`neuron` is the class LIF: give an instance, LIF()"),
        ("lif", {}, "`neuron` is a str, but must be an AbstractNeuron"),
        (LIF(), {"dt": 0.0}, "`dt` is 0.0, but must be finite and above 0"),
        (LIF(), {"duration": float("inf")}, "`duration` is inf"),
        (LIF(), {"only": ("flows",)}, "`only` names 'flows': choose from state, jit"),
    ],
)
def test_arguments(given, keywords, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        check_neuron.__wrapped__(given, **keywords)


def test_an_unknown_check_is_named():
    with pytest.raises(KeyError, match="choose from state"):
        check_neuron(LIF(), only=("state",))["flows"]
