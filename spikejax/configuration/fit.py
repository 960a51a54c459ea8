"""The schema of a fit to recordings: of a current-clamped neuron, or of one driven by sound."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from .tables import MOST, Count, CountOrNone, Finite, NonNegative, PositiveFloat, Table

__all__ = ["FITS", "RENAMED", "CurrentClampFit", "SoundFit"]

Seed = Annotated[int, Field(ge=0, lt=2**32)]

RENAMED = {
    "fit.driven_steps": "fit.stochastic.steps",
    "fit.driven_rate": "fit.stochastic.learning_rate",
    "fit.search_rounds": "fit.search.rounds",
    "fit.search_step": "fit.search.step",
    "fit.free_steps": "fit.deterministic.steps",
    "fit.free_rate": "fit.deterministic.learning_rate",
    "fit.driven_weight": "fit.deterministic.anchor_weight",
    "fit.trains_weight": "fit.deterministic.trains_weight",
    "fit.counts_weight": "fit.deterministic.counts_weight",
    "fit.tau": "fit.deterministic.tau",
}
"""Keys that have another name now: an error names it, and the folder of an earlier fit is read with it."""


def by_model(default: Any, description: str, **others: Any) -> Any:
    """A field whose default depends on ``model.kind``: `default`, and `others` by kind.

    `CurrentClampFit` fills them in.
    """
    listed = ", ".join(f"{kind} {value:g}" for kind, value in others.items())
    return Field(
        default=default,
        description=f"{description}; other defaults: {listed}",
        json_schema_extra={"by_model": others},
    )


class ClampDataTable(Table):
    """Which recording, and which of its sweeps are left out of the fit."""

    file: Path = Field(description="file of recordings (.npz)", strict=False)
    recording: str = Field(min_length=1, description="name of the recording in the file")
    resample: Literal["refuse", "average"] = Field(
        default="refuse",
        description="dt above the sampling step: an error, or the current averaged over every step and the "
        "voltage taken at its end",
    )
    hold_out_every: Annotated[int, Field(ge=2, le=MOST)] = Field(
        default=4, description="every how many sweeps one is left out of the fit and predicted"
    )
    hold_out_first: CountOrNone = Field(default=2, description="position of the first sweep left out, from 0")
    test_file: Path | None = Field(
        default=None, description="another file with further sweeps of the recording to predict", strict=False
    )
    window: tuple[NonNegative, PositiveFloat] | None = Field(
        default=None,
        description="begin and end of the part of the sweeps that is fitted, ms; default: all; whole sweeps "
        "are predicted",
    )

    @model_validator(mode="after")
    def _ordered(self):
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError(
                f"window begins at {self.window[0]:g} ms, not before its end at {self.window[1]:g} ms"
            )
        if self.hold_out_first >= self.hold_out_every:
            raise ValueError(
                f"hold_out_first ({self.hold_out_first}) must be below hold_out_every ({self.hold_out_every})"
            )
        return self


class ClampModelTable(Table):
    """The family of neurons to fit."""

    kind: Literal["lif", "glif", "adex", "hodgkin_huxley"] = Field(
        default="glif", description="lif, glif, adex or hodgkin_huxley"
    )
    ranges: dict[str, tuple[Finite, Finite]] = Field(
        default={}, description="other physical ranges of parameters: --model.ranges.v_th '[-55.0, -30.0]'"
    )


class ClampGate(Table):
    """The smooth gate that the model runs through in the deterministic fit."""

    kernel: Literal["boxcar", "triangle", "raised_cosine", "logistic"] = Field(
        default="raised_cosine", description="shape of the density: boxcar, triangle, raised_cosine, logistic"
    )
    # Less than the least way from reset to threshold: a neuron that waits inside the zone would count as half
    # a spike. The way up of a Hodgkin-Huxley spike is part of the equations.
    width: PositiveFloat = by_model(1.5, "width of the active zone at sharpness 1, mV", hodgkin_huxley=30.0)
    sharpness: PositiveFloat = Field(
        default=1.0, description="sharpness at the start of the deterministic fit"
    )
    sharpness_end: PositiveFloat = Field(default=4.0, description="sharpness at its end")


class ClampStochasticTable(Table):
    """The neuron with escape noise, which recorded spikes reset."""

    # An upswing and its crossing are found by iteration, which makes every step of AdEx slow.
    steps: CountOrNone = by_model(
        400,
        "steps of Adam on the likelihood of the recorded spikes; 0: no such fit; Hodgkin-Huxley, which has "
        "no reset, has none",
        adex=250,
    )
    learning_rate: PositiveFloat = Field(
        default=0.08, description="learning rate of Adam, of parameters as logits of their ranges"
    )


class ClampSearchTable(Table):
    """The random search around every kept start, before the deterministic fit."""

    rounds: CountOrNone = by_model(
        6,
        "rounds of the random search, of `draws` simulations with an ordinary threshold in all",
        adex=4,
        hodgkin_huxley=3,
    )
    step: PositiveFloat = Field(
        default=0.3,
        description="standard deviation of the search's steps in the first round, of parameters as logits of "
        "their ranges; 0.7 of it is left in the next",
    )


class ClampDeterministicTable(Table):
    """The neuron without noise, which runs freely."""

    steps: CountOrNone = by_model(
        60, "steps of Adam in which the neuron runs freely through the gate; 0: no such fit", adex=30
    )
    learning_rate: PositiveFloat = by_model(
        0.003, "learning rate of Adam, of parameters as logits of their ranges", hodgkin_huxley=0.03
    )
    anchor_weight: NonNegative = by_model(
        0.003,
        "weight of the stochastic fit's loss (without its prior) in this one's; Hodgkin-Huxley: of the "
        "voltage error",
        hodgkin_huxley=0.05,
    )
    trains_weight: NonNegative = Field(
        default=1.0, description="weight of the distance of the filtered spike trains"
    )
    counts_weight: NonNegative = Field(
        default=1.0, description="weight of the distance of the running spike counts"
    )
    tau: PositiveFloat = Field(
        default=20.0, description="time constant of the filter of the spike trains, ms"
    )


class ClampFitTable(Table):
    """How the parameters are found."""

    draws: Count = by_model(
        1024, "random starts inside the ranges, simulated once with an ordinary threshold", adex=512
    )
    starts: Count = Field(
        default=8, description="number of the best of them that the stochastic fit begins from"
    )
    # A fit that begins with screening alone keeps as many starts as the others' stochastic fits.
    keep: Count = by_model(
        4, "number of starts kept for the search and the deterministic fit", adex=2, hodgkin_huxley=8
    )
    sigma: PositiveFloat = Field(
        default=4.0, description="voltage error that counts as 1, mV; larger ones count linearly"
    )
    stochastic: ClampStochasticTable = Field(default_factory=lambda: ClampStochasticTable())
    search: ClampSearchTable = Field(default_factory=lambda: ClampSearchTable())
    deterministic: ClampDeterministicTable = Field(default_factory=lambda: ClampDeterministicTable())

    @model_validator(mode="after")
    def _kept(self):
        if self.keep > self.starts:
            raise ValueError(f"keep ({self.keep}) is more than starts ({self.starts})")
        if self.starts > self.draws:
            raise ValueError(f"starts ({self.starts}) is more than draws ({self.draws})")
        return self


class CurrentClampFit(Table):
    """Fit a neuron to current-clamp sweeps.

    Some defaults depend on the kind of model (`by_model`).
    """

    kind: Literal["current_clamp"] = Field(default="current_clamp", description="current_clamp")
    seed: Seed = Field(default=0, description="seed of the random starts, the search and the free runs")
    # Hodgkin-Huxley's equations are not resolved by a coarse step.
    dt: PositiveFloat = by_model(
        1.0, "time step, ms; a whole multiple of the sampling step", hodgkin_huxley=0.2
    )
    data: ClampDataTable
    model: ClampModelTable = Field(default_factory=lambda: ClampModelTable())
    gate: ClampGate = Field(default_factory=lambda: ClampGate())
    fit: ClampFitTable = Field(default_factory=lambda: ClampFitTable())
    samples: Count = Field(
        default=100, description="free runs that a prediction of the neuron with escape noise is the mean of"
    )
    coincidence: PositiveFloat = Field(
        default=4.0, description="window of the coincidence factor on either side of a spike, ms"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_model(cls, data: Any) -> Any:
        """What is not given is the default of the model's kind."""
        if not isinstance(data, Mapping):
            return data
        # A validator makes Python objects of a JSON document; tuples are lists there, and strict fields
        # refuse them.
        data = _with_tuples(data)
        model = data.get("model", {})
        kind = model.get("kind") if isinstance(model, Mapping) else getattr(model, "kind", None)
        return _filled(data, cls, kind)


def _with_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value


def _filled(data: Any, table: type[BaseModel], kind: Any) -> Any:
    """`data` with the defaults of models of a `kind` where it has no value."""
    if not isinstance(data, Mapping):
        return data
    filled = dict(data)
    for name, field in table.model_fields.items():
        extra = field.json_schema_extra
        others = extra.get("by_model") if isinstance(extra, dict) else None
        if isinstance(others, dict) and isinstance(kind, str) and kind in others:
            filled.setdefault(name, others[kind])
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            own = _filled(filled.get(name, {}), field.annotation, kind)
            if own or name in filled:
                filled[name] = own
    return filled


class SoundDataTable(Table):
    """Which recording, and how much of it is fitted."""

    file: Path = Field(description="file with stimulus and spikes (.npz)", strict=False)
    resample: Literal["refuse", "average"] = Field(
        default="refuse",
        description="dt above the sampling step: an error, or the stimulus averaged over every step",
    )
    train: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.75, description="part of every trial, from its start, that is fitted; the rest is predicted"
    )
    test_file: Path | None = Field(
        default=None,
        description="another file with further trials of the neuron to predict, whole",
        strict=False,
    )


class SoundModelTable(Table):
    """The receptor neuron."""

    filter: PositiveFloat = Field(default=30.0, description="length of the stimulus filters, ms")


class SoundFitTable(Table):
    """How the parameters are found."""

    steps: Count = Field(default=150, description="iterations of L-BFGS")
    ridge: NonNegative = Field(default=2.0, description="weight of the penalty on the filters' weights")
    samples: Count = Field(
        default=500, description="free runs that the prediction from the stimulus alone is the mean of"
    )


class SoundScore(Table):
    """How predictions are compared."""

    bin: PositiveFloat = Field(default=1.0, description="width of a bin, ms; dt divides it")
    glm_stimulus: PositiveFloat = Field(
        default=30.0, description="length of the baseline's stimulus filter, ms"
    )
    glm_history: PositiveFloat = Field(default=15.0, description="length of the baseline's spike history, ms")


class SoundFit(Table):
    """Fit a receptor neuron to a sound envelope and spikes."""

    kind: Literal["sound"] = Field(default="sound", description="sound")
    seed: Seed = Field(default=0, description="seed of the free runs")
    dt: PositiveFloat = Field(
        default=0.25, description="time step, ms; a whole multiple of the sampling step"
    )
    data: SoundDataTable
    model: SoundModelTable = Field(default_factory=lambda: SoundModelTable())
    fit: SoundFitTable = Field(default_factory=lambda: SoundFitTable())
    score: SoundScore = Field(default_factory=lambda: SoundScore())


FITS: dict[str, type[CurrentClampFit] | type[SoundFit]] = {
    "current_clamp": CurrentClampFit,
    "sound": SoundFit,
}
"""The schemas by the key `kind`."""
