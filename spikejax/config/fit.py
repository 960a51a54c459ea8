"""The schema of a fit to recordings: of a current-clamped neuron, or of one driven by sound."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .table import Count, Finite, NonNegative, PositiveFloat, Table

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class ClampData(Table):
    """Which recording, and which of its sweeps are left out of the fit."""

    file: Path = Field(description="file of recordings (.npz)", strict=False)
    recording: str = Field(min_length=1, description="name of the recording in the file")
    resample: Literal["refuse", "average"] = Field(
        "refuse",
        description="dt above the sampling step: an error, or the current averaged over every step and the voltage taken at its end",
    )
    hold_out_every: Annotated[int, Field(ge=2)] = Field(
        4, description="every how many sweeps one is left out of the fit and predicted"
    )
    hold_out_first: Annotated[int, Field(ge=0)] = Field(
        2, description="position of the first sweep left out, from 0"
    )
    test_file: Path | None = Field(
        None, description="another file with further sweeps of the recording to predict", strict=False
    )
    window: tuple[NonNegative, PositiveFloat] | None = Field(
        None,
        description="begin and end of the part of the sweeps that is fitted, ms; default: all; whole sweeps are predicted",
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
        "glif", description="lif, glif, adex or hodgkin_huxley"
    )
    ranges: dict[str, tuple[Finite, Finite]] = Field(
        {}, description="other physical ranges of parameters: --model.ranges.v_th '[-55.0, -30.0]'"
    )


class ClampGate(Table):
    """The smooth gate that the model runs through in the second stage."""

    kernel: Literal["boxcar", "triangle", "raised_cosine", "logistic"] = Field(
        "raised_cosine", description="shape of the density: boxcar, triangle, raised_cosine, logistic"
    )
    width: PositiveFloat | None = Field(
        None, description="width of the active zone at sharpness 1, mV; default: 1.5, Hodgkin-Huxley 30"
    )
    sharpness: PositiveFloat = Field(1.0, description="at the start of the second stage")
    sharpness_end: PositiveFloat = Field(4.0, description="at its end")


class ClampFitTable(Table):
    """How the parameters are found."""

    draws: Count = Field(
        1024, description="random starts inside the ranges, simulated once with an ordinary threshold"
    )
    starts: Count = Field(8, description="the best of them, which go on to the first stage as one program")
    driven_steps: Annotated[int, Field(ge=0)] = Field(
        400,
        description="first stage, the neuron with escape noise: steps of Adam in which the recording drives the model; Hodgkin-Huxley, "
        "which has no reset, has none of these",
    )
    driven_rate: PositiveFloat = Field(
        0.08, description="learning rate of the first stage, of parameters as logits of their ranges"
    )
    keep: Count = Field(4, description="best starts that go on to the second stage")
    search_rounds: Annotated[int, Field(ge=0)] = Field(
        6,
        description="rounds of a random search around every kept start, of `draws` simulations with an ordinary threshold in all",
    )
    search_step: PositiveFloat = Field(
        0.3, description="standard deviation of its steps in the first round; 0.7 of it is left in the next"
    )
    free_steps: Annotated[int, Field(ge=0)] = Field(
        60,
        description="second stage, the neuron without noise: steps of Adam in which it runs freely through the gate; 0: no such stage",
    )
    free_rate: PositiveFloat = Field(0.003, description="learning rate of the second stage")
    driven_weight: NonNegative = Field(
        0.003, description="of the first stage's loss in the second; Hodgkin-Huxley: of the voltage error"
    )
    trains_weight: NonNegative = Field(1.0, description="of the distance of the filtered spike trains")
    counts_weight: NonNegative = Field(1.0, description="of the distance of the running spike counts")
    sigma: PositiveFloat = Field(
        4.0, description="voltage error that counts as 1, mV; larger ones count linearly"
    )
    tau: PositiveFloat = Field(20.0, description="of the filter of the spike trains, ms")

    @model_validator(mode="after")
    def _kept(self):
        if self.keep > self.starts:
            raise ValueError(f"keep ({self.keep}) is more than starts ({self.starts})")
        if self.starts > self.draws:
            raise ValueError(f"starts ({self.starts}) is more than draws ({self.draws})")
        return self


class CurrentClampFit(Table):
    """Fit a neuron to current-clamp sweeps."""

    kind: Literal["current_clamp"] = Field("current_clamp", description="current_clamp")
    seed: Seed = Field(0, description="of the random starts")
    dt: PositiveFloat = Field(1.0, description="time step, ms; a whole multiple of the sampling step")
    data: ClampData
    model: ClampModelTable = ClampModelTable()
    gate: ClampGate = ClampGate()
    fit: ClampFitTable = ClampFitTable()
    samples: Count = Field(
        100, description="free runs that a prediction of the neuron with escape noise is the mean of"
    )
    coincidence: PositiveFloat = Field(
        4.0, description="window of the coincidence factor on either side of a spike, ms"
    )


class SoundData(Table):
    """Which recording, and how much of it is fitted."""

    file: Path = Field(description="file with stimulus and spikes (.npz)", strict=False)
    resample: Literal["refuse", "average"] = Field(
        "refuse", description="dt above the sampling step: an error, or the stimulus averaged over every step"
    )
    train: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.75, description="part of every trial, from its start, that is fitted; the rest is predicted"
    )


class SoundModelTable(Table):
    """The receptor neuron."""

    filter: PositiveFloat = Field(30.0, description="length of the stimulus filters, ms")


class SoundFitTable(Table):
    """How the parameters are found."""

    steps: Count = Field(150, description="iterations of L-BFGS")
    ridge: NonNegative = Field(2.0, description="penalty on the filters' weights")
    samples: Count = Field(
        500, description="free runs that the prediction from the stimulus alone is the mean of"
    )


class SoundScore(Table):
    """How predictions are compared."""

    bin: PositiveFloat = Field(1.0, description="width of a bin, ms; dt divides it")
    glm_stimulus: PositiveFloat = Field(30.0, description="length of the baseline's stimulus filter, ms")
    glm_history: PositiveFloat = Field(15.0, description="length of the baseline's spike history, ms")


class SoundFit(Table):
    """Fit a receptor neuron to a sound envelope and spikes."""

    kind: Literal["sound"] = Field("sound", description="sound")
    seed: Seed = Field(0, description="of the free runs")
    dt: PositiveFloat = Field(0.25, description="time step, ms; a whole multiple of the sampling step")
    data: SoundData
    model: SoundModelTable = SoundModelTable()
    fit: SoundFitTable = SoundFitTable()
    score: SoundScore = SoundScore()


FITS: dict[str, type[Table]] = {"current_clamp": CurrentClampFit, "sound": SoundFit}
