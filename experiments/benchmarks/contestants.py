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
    same_as: str | None = None
    """Of one that differs, the loop in `REFERENCES` that does so too; None: there is none."""


BASE = "hand_naive"
"""What the others are measured against."""


def _ours(release: str, adjoint: str, events: bool) -> Contestant:
    differs = "its reset splits the step, its charge comes in the course of it" if release == "charge" else ""
    return Contestant("ours", {"release": release, "adjoint": adjoint, "events": events}, differs=differs)


CONTESTANTS = {
    BASE: Contestant("hand"),
    "hand_hoisted": Contestant("hand", {"hoisted": True}),
} | {
    f"spikejax {release}, {adjoint}, {'events' if events else 'dense'}": _ours(release, adjoint, events)
    for release, adjoint in (("surrogate", "costate"), ("surrogate", "checkpointed"), ("charge", "costate"))
    for events in (False, True)
}
CONTESTANTS["spikejax charge, autodiff, dense"] = _ours("charge", "autodiff", False)

LATE, SLOPE_1 = "reset after the leak", "a surrogate of slope 1"
DETACHED = "reset after the leak, and detached"
REFERENCES = {
    LATE: Contestant("hand", {"late": True}),
    DETACHED: Contestant("hand", {"late": True, "detached": True}),
    SLOPE_1: Contestant("hand", {"slope": 1.0}),
}
"""Loops by hand with what peers do in another way: to compare with, not timed."""


def _peer(name: str, same_as: str | None = None) -> Contestant:
    return Contestant(f"with_{name}", environment=name, differs=same_as or "", same_as=same_as)


CONTESTANTS |= {
    "spyx": _peer("spyx", same_as=LATE),
    "jaxpike": _peer("jaxpike"),
    "brainpy.state": _peer("brainpy"),
    "snntorch": _peer("snntorch", same_as=DETACHED),
    "norse": _peer("norse", same_as=SLOPE_1),
    "spikingjelly": _peer("spikingjelly"),
}
BY_EVENTS = {"eventax": _peer("eventax")}
"""Of the benchmark of event-driven networks (`experiments/event_speed.py`)."""
EVERYONE = CONTESTANTS | REFERENCES | BY_EVENTS
