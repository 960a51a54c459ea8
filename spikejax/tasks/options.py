"""Fields that several tasks on recordings have, each declared once."""

from typing import Any

from ..component import option
from ..event_path import FORMS

VALUES = ("count", "root", "binary")


def form_option(default: str = "dense") -> Any:
    """The field `form` of a task whose stimuli may be lists of events: what they are handed on as."""
    return option(
        default,
        doc="the stimulus: dense arrays; lists of events; auto: lists where these are sparse; rows, loop, "
        "scatter: lists, and how their products are computed",
        choices=FORMS,
        staged=False,
    )


def value_option(of: str) -> Any:
    """The field `value`: what becomes of the number of events `of` a place, such as "a step holds of a
    unit"."""
    return option(
        "count", doc=f"what {of}: the count of its events, its square root, or 0 or 1", choices=VALUES
    )


def overflow_option() -> Any:
    """The field `overflow`: what becomes of events past the end of their trial."""
    return option(
        "refuse", doc="events past the end of their trial: an error, or cut there", choices=("refuse", "cut")
    )


def fraction_option(default: float, doc: str) -> Any:
    """A fraction of the recordings, between 0 and 1, that is held out."""
    return option(default, doc=doc, above=0.0, below=1.0, staged=False)


def drop_option(what: str) -> Any:
    """The field `drop`: probability that `what` is deleted in training."""
    return option(0.0, doc=f"probability that {what} is deleted in training", at_least=0.0, below=1.0)


def spikes_form_option() -> Any:
    """The field `form` of a task of spike times: what they are handed on as."""
    return option(
        "times",
        doc="the stimulus: exact spike times; steps: an array with a row for every step of dt, in which a "
        "spike is 1",
        choices=("times", "steps"),
        staged=False,
    )


def shift_option() -> Any:
    """The field `shift`, ms: how far a training trial may be moved in time."""
    return option(0.0, unit="ms", doc="largest shift of a training trial in time", at_least=0.0)


def rotate_option() -> Any:
    """The field `rotate`, degrees: see `spikejax.tasks.image_changes.ImageChanges`."""
    return option(
        0.0, unit="degrees", doc="largest rotation of a training trial", at_least=0.0, at_most=180.0
    )


def zoom_option() -> Any:
    """The field `zoom`, a fraction: see `spikejax.tasks.image_changes.ImageChanges`."""
    return option(0.0, doc="largest relative change of size of a training trial", at_least=0.0, below=1.0)


def shear_option() -> Any:
    """The field `shear`, columns for a row: see `spikejax.tasks.image_changes.ImageChanges`."""
    return option(
        0.0, doc="largest shear of a training trial: columns moved for a row further down", at_least=0.0
    )


def seed_option() -> Any:
    """The field `seed` of the validation split."""
    return option(0, doc="of the validation split", at_least=0.0, in_table=False)


__all__ = [
    "VALUES",
    "drop_option",
    "form_option",
    "fraction_option",
    "overflow_option",
    "rotate_option",
    "seed_option",
    "shear_option",
    "shift_option",
    "spikes_form_option",
    "value_option",
    "zoom_option",
]
