"""Who takes part: from where, with which options, and what each computes that is not the problem's model."""

from typing import Any, NamedTuple


class Contestant(NamedTuple):
    """One way to compute the gradient step."""

    module: str
    """Name of its file in `models`."""
    options: dict[str, Any] = {}  # noqa: RUF012
    """What its `build` is given beside the problem."""
    environment: str | None = None
    """Whose packages it runs with; None: those that the driver has."""
    differs: str = ""
    """What is not the problem's model; nothing: loss and gradients are the same to rounding."""


BASE = "hand_naive"
"""What the others are measured against."""


def _ours(release: str, adjoint: str, events: bool) -> Contestant:
    differs = "its reset splits the step, its charge comes in the course of it" if release == "charge" else ""
    return Contestant("ours", {"release": release, "adjoint": adjoint, "events": events}, differs=differs)


CONTESTANTS = {
    BASE: Contestant("hand", {"hoisted": False}),
    "hand_hoisted": Contestant("hand", {"hoisted": True}),
} | {
    f"spikejax {release}, {adjoint}, {'events' if events else 'dense'}": _ours(release, adjoint, events)
    for release in ("surrogate", "charge")
    for adjoint in ("costate", "checkpointed")
    for events in (False, True)
}
