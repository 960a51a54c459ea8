"""What a check of a component says: a table of named checks, each with its number, its bound and what to
do."""

from collections.abc import Iterator
from typing import NamedTuple

NAME, NUMBER = 16, 9
"""Widths of the columns of a table."""


class Check(NamedTuple):
    """One check."""

    name: str
    question: str
    """What was asked."""
    passed: bool
    measured: float | None = None
    """The number found; None where there is no number."""
    bound: float | None = None
    """The largest number that passes (for a name that says so, the smallest)."""
    note: str = ""
    """What was found, in words."""
    hint: str = ""
    """What to do if it failed."""
    skipped: bool = False
    """Whether it could not be asked, because a check before it failed; it has then not passed."""


class NeuronReport(NamedTuple):
    """What `spikejax.check_neuron` found; printed, it is a table."""

    title: str
    """Neuron, step, drive and spikes."""
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed, those that could not be made left out."""
        return tuple(check.name for check in self.checks if not check.passed and not check.skipped)

    def __getitem__(self, name) -> Check:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The check of that name.

        **Raises:** `KeyError` for a name that there is not.
        """
        for check in self.checks:
            if check.name == name:
                return check
        names = ", ".join(check.name for check in self.checks)
        raise KeyError(f"there is no check {name!r}: choose from {names}")

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.title
        yield ""
        yield f"{'check':{NAME}} {'':8} {'measured':>{NUMBER}} {'bound':>{NUMBER}}  what was asked"
        for check in self.checks:
            state = "not made" if check.skipped else "ok" if check.passed else "FAILED"
            numbers = f"{_short(check.measured):>{NUMBER}} {_short(check.bound):>{NUMBER}}"
            yield f"{check.name:{NAME}} {state:8} {numbers}  {check.question}".rstrip()
        for check in self.checks:
            if check.passed or check.skipped:
                continue
            yield ""
            yield f"{check.name}: {check.note}".rstrip(": ")
            yield f"  {check.hint}"
        yield ""
        yield self._verdict()

    def _verdict(self) -> str:
        asked = [check for check in self.checks if not check.skipped]
        missing = len(self.checks) - len(asked)
        left = f", and {missing} could not be made because of {'it' if len(self.failed) == 1 else 'them'}"
        if self.passed:
            return f"all {len(asked)} checks passed"
        return f"{len(self.failed)} of {len(asked)} checks failed{left if missing else ''}"


def _short(x: float | None) -> str:
    return "" if x is None else f"{x:.3g}"


__all__ = ["Check", "NeuronReport"]
