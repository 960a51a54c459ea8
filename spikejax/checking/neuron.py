"""`check_neuron`: everything a neuron owes, in one table."""

import contextlib
import traceback
from pathlib import Path

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from ..errors import in_one_line
from ..neurons import AbstractNeuron
from ..parameters import cast, is_floating, resolve
from . import gradients, motion, structure
from .asking import PLACE, Case, Finding, Question
from .report import Check, NeuronReport
from .trial import Setting, population, sensible_step, with_drive

QUESTIONS: tuple[Question, ...] = (*structure.QUESTIONS, *motion.QUESTIONS, *gradients.QUESTIONS)
DURATION = 50.0
"""Of the trial, ms."""
PACKAGE = Path(__file__).parents[1]


def check_neuron(
    neuron: AbstractNeuron,
    *,
    dt: float | None = None,
    drive: float | None = None,
    duration: float = DURATION,
    sets: tuple[str, ...] = (),
    idle: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
) -> NeuronReport:
    """Check what every neuron owes: that it is an elementwise function of arrays, moves as it says, spikes,
    and has the gradient of what it simulates.

    A few neurons run for one trial under a slowly varying current, found by itself, in double precision.
    Their gradient is compared between the adjoints, with central differences, with a secant over a range of
    currents, and between steps of dt, dt/2 and dt/4. A neuron whose own code raises an error has its message
    in the table. It takes 10 to 20 s for a simple neuron, most of which is compilation.

    **Arguments:** `neuron`: an instance, with one value or one a neuron for each parameter; `dt`: the step
    that it is to be used at, ms (default: a twentieth of its shortest time constant, at most 0.5); `drive`:
    mean current, in the neuron's unit (default: one for which it spikes four to eight times); `duration` of
    the trial, ms; `sets`: names of state variables that a spike sets to a constant on purpose; `idle`: names
    of parameters that are without effect on purpose, as those of a variant; `only`: names of checks, to make
    no others but those that they need (default: all).

    **Returns:** a `NeuronReport`: ``print`` shows the table, ``passed`` says whether all is well, and
    ``report["flow"]`` is one check.

    **Raises:** `ValueError` for what is no neuron, a dt or duration that is not above 0, and a name in `only`
    that is no check.

    !!! example
        >>> from spikejax import LIF, check_neuron
        >>> report = check_neuron(LIF(), only=("types", "flow"))
        >>> report.passed, report["flow"].measured < 1e-12
        (True, True)
    """
    _check_arguments(neuron, dt, duration)
    asked = _asked(only)
    with (
        _on_cpu(),
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        return _check(neuron, dt, drive, duration, (sets, idle), asked)


def _check_arguments(neuron, dt, duration) -> None:
    if isinstance(neuron, type):
        raise ValueError(f"`neuron` is the class {neuron.__name__}: give an instance, {neuron.__name__}()")
    if not isinstance(neuron, AbstractNeuron):
        raise ValueError(
            f"`neuron` is a {type(neuron).__name__}, but must be an AbstractNeuron: subclass "
            "AbstractResetNeuron"
        )
    for name, value in (("dt", dt), ("duration", duration)):
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"`{name}` is {value}, but must be finite and above 0: give it in ms")


def _on_cpu() -> contextlib.AbstractContextManager:
    """A context that computes on the CPU where there is one: small programs in double precision."""
    try:
        return jax.default_device(jax.devices("cpu")[0])
    except RuntimeError:
        return contextlib.nullcontext()


def _asked(only: tuple[str, ...]) -> list[Question]:
    """The questions of those names, and what they need, in order."""
    known = {question.name: question for question in QUESTIONS}
    wanted = list((only,) if isinstance(only, str) else only) or list(known)
    for name in wanted:  # grows
        if name not in known:
            raise ValueError(f"`only` names {name!r}: choose from {', '.join(known)}")
        wanted += [other for other in known[name].needs if other not in wanted]
    return [question for question in QUESTIONS if question.name in wanted]


def _check(neuron, dt, drive, duration, allowed, asked) -> NeuronReport:
    # Through numpy, from whatever device its arrays are on.
    neuron = jax.tree.map(lambda x: np.asarray(x) if is_floating(x) else x, resolve(neuron))
    neuron = cast(neuron, jnp.float64)
    name, shape = type(neuron).__name__, population(neuron)
    dt = sensible_step(neuron) if dt is None else float(dt)
    # A square, which a checkpointed run cuts into equal chunks.
    steps = max(2, round((duration / dt) ** 0.5)) ** 2
    case = Case(Setting(neuron, shape, dt, steps, 1.0 if drive is None else float(drive)), *allowed)
    checks: dict[str, Check] = {}
    for question in asked:
        if question.name == "spikes" and drive is None and _all_passed(checks, question.needs):
            case.searched = True
            # The question meets the same error, and says so.
            with contextlib.suppress(Exception):
                case.trial = with_drive(case.trial)
        checks[question.name] = _answer(question, case, checks)
    title = f"check_neuron({name}), dt = {dt:g} ms, {steps * dt:g} ms"
    if "spikes" in checks and checks["spikes"].passed:
        title += f", {checks['spikes'].note}"
    return NeuronReport(title, tuple(checks.values()))


def _all_passed(checks: dict[str, Check], names: tuple[str, ...]) -> bool:
    return all(checks[name].passed for name in names)


def _answer(question: Question, case: Case, checks: dict[str, Check]) -> Check:
    make = lambda finding, **more: Check(
        question.name, question.question, finding.passed, finding.measured, finding.bound, finding.note,
        question.hint, **more,
    )  # fmt: skip
    if not _all_passed(checks, question.needs):
        return make(Finding(False), skipped=True)
    try:
        return make(question.ask(case))
    except Exception as error:
        return make(Finding(False, _message(error)))


def _message(error: Exception) -> str:
    """An error in the neuron's code in one line: what, in which of its functions, and where in its file."""
    # JAX adds notes of its own, and says what it was tracing, which is not the user's.
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(PLACE)]
    ours = [Path(module.__file__ or "").parent for module in (jax, equinox)] + [PACKAGE]
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not any(Path(f.filename).is_relative_to(folder) for folder in ours)]
    if theirs:
        notes.append(f"({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})")
    text = in_one_line(error).split("The error occurred while tracing")[0]
    return f"{' '.join([type(error).__name__, *notes])}: {text.strip()[:400]}"


__all__ = ["check_neuron"]
