"""The table of the gate: its shape, the gradient method, and how sharp it is at every update."""

from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from .table import Count, Decay, Fraction, PositiveFloat, Table

Value = TypeVar("Value")
PerLayer = Value | Annotated[tuple[Value, ...], Field(min_length=1)]
"""One value, or one for every layer of the network."""
UpToOne = Annotated[float, Field(gt=0, le=1)]


class Plateau(Table):
    """When the gate gets sharper with gate.schedule plateau."""

    patience: Count = Field(
        20, description="updates over which the loss is averaged, to be compared with those before"
    )
    tolerance: Fraction = Field(
        0.02, description="by what fraction it has to fall, or else the gate gets sharper"
    )
    factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        1.25, description="by which it then gets sharper"
    )


class Gate(Table):
    """The smooth threshold, and the gradient method."""

    kernel: Literal["boxcar", "triangle", "raised_cosine", "logistic", "fast_sigmoid", "arctan"] = Field(
        "raised_cosine", description="shape of the gate (fast_sigmoid, arctan: surrogate only)"
    )
    width: PositiveFloat = Field(0.5, description="width of the active zone at sharpness 1, in units of v")
    sharpness: PerLayer[PositiveFloat] = Field(
        1.0, description="sharpness at the start of training; a list: one a layer"
    )
    sharpness_end: PerLayer[PositiveFloat] | None = Field(
        None, description="sharpness at the end of annealing; a list: one a layer; default: no annealing"
    )
    schedule: Literal["constant", "linear", "geometric", "plateau"] = Field(
        "geometric",
        description="how the sharpness goes from one to the other; plateau: whenever the loss stops falling",
    )
    hold: PerLayer[Decay] = Field(
        0.0, description="fraction of training at the first sharpness, before annealing; a list: one a layer"
    )
    anneal: PerLayer[UpToOne] = Field(
        1.0, description="fraction of training at which the last sharpness is reached; a list: one a layer"
    )
    plateau: Plateau = Plateau()
    mixture: tuple[Fraction, Fraction] | None = Field(
        None,
        description="fractions of the updates at the first and at the annealed sharpness, the others log-uniform between; default: [0, 1]",
    )
    release: Literal["charge", "graded", "surrogate", "hard"] = Field(
        "charge", description="charge (exact, the paper's), graded (exact), surrogate, or hard (no gradient)"
    )
    detach_reset: bool = Field(False, description="surrogate: leave the reset out of the gradient")

    @model_validator(mode="after")
    def _mixable(self):
        if self.mixture is not None and sum(self.mixture) > 1:
            raise ValueError(f"mixture {list(self.mixture)} are two fractions whose sum is at most 1")
        if self.mixture is not None and self.sharpness_end is None:
            raise ValueError("mixture draws between sharpness and sharpness_end: set sharpness_end")
        if self.mixture is not None and self.schedule not in ("linear", "geometric"):
            raise ValueError(
                f"mixture draws up to a sharpness that grows with time: schedule {self.schedule} has none"
            )
        if self.schedule == "constant" and self.sharpness_end is not None:
            raise ValueError("schedule constant stays at sharpness: leave out sharpness_end")
        if self.schedule == "plateau" and self.sharpness_end is None:
            raise ValueError("schedule plateau sharpens up to sharpness_end: set it")
        if self.layers == 0:
            raise ValueError(
                "lists of sharpness, sharpness_end, hold and anneal must be equally long: one value a layer"
            )
        if self.schedule == "plateau" and np.any(np.asarray(self.sharpness_end) < np.asarray(self.sharpness)):
            raise ValueError("schedule plateau only sharpens: sharpness_end must not be below sharpness")
        if np.any(np.asarray(self.hold) >= np.asarray(self.anneal)):
            raise ValueError("hold must be below anneal: annealing begins before it ends")
        return self

    @property
    def layers(self) -> int | None:
        """Number of values a layer; None if all are plain numbers, and 0 if lists differ in length."""
        lengths = {
            len(x)
            for x in (self.sharpness, self.sharpness_end, self.hold, self.anneal)
            if isinstance(x, tuple)
        }
        return None if not lengths else lengths.pop() if len(lengths) == 1 else 0
