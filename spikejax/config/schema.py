"""The one schema of a configuration file. Every key, type and range is checked; unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BrailleTask(_Table):
    """Braille letters read by an artificial fingertip: 27 classes, real recordings shipped with the package."""

    kind: Literal["braille"] = Field("braille", description="braille")
    thresholds: tuple[PositiveFloat, ...] = Field(
        (1.0, 2.0, 5.0, 10.0), min_length=1, description="steps of the delta modulation, taxel units"
    )
    clock: PositiveFloat = Field(12.5, description="period of the delta modulation, ms; dt divides it, and it divides 25")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="fraction of the training trials held out")
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="probability that an input spike is deleted in training")
    shift: NonNegative = Field(0.0, description="largest shift of a training trial in time, ms")
    folder: Path | None = Field(None, description="folder with other braille_train.npz and braille_test.npz", strict=False)


class Neuron(_Table):
    """The neurons of a layer."""

    kind: Literal["nif", "lif", "theta"] = Field("lif", description="nif, lif or theta")
    tau_mem: PositiveFloat = Field(10.0, description="membrane time constant, ms")
    v_th: Finite = Field(1.0, description="threshold (nif, lif)")
    v_reset: Finite = Field(0.0, description="reset (nif, lif)")
    v_init: Finite | None = Field(None, description="membrane potential at the start of a trial; default 0 (nif, lif), 0.5 (theta)")
    reset: Literal["split", "subtract", "zero"] = Field("split", description="split the step at the crossing, or reset on the grid")

    @model_validator(mode="after")
    def _consistent(self):
        if self.kind == "theta" and {"v_th", "v_reset", "reset"} & self.model_fields_set:
            raise ValueError("a theta neuron lives on a circle: v_th, v_reset and reset cannot be set")
        if self.kind != "theta" and self.v_init is not None and self.v_init >= self.v_th:
            raise ValueError(f"v_init ({self.v_init:g}) must be below v_th ({self.v_th:g})")
        if self.v_reset >= self.v_th:
            raise ValueError(f"v_reset ({self.v_reset:g}) must be below v_th ({self.v_th:g})")
        return self


class Synapse(_Table):
    """The outgoing synapses of a layer."""

    tau_syn: tuple[PositiveFloat, ...] = Field((10.0,), min_length=1, description="time constants side by side, ms")
    rate_unit: PositiveFloat = Field(0.02, description="rate at which the activation is 1, spikes per ms")


class Layer(_Table):
    """One population."""

    size: Count = Field(100, description="number of neurons")
    neuron: Neuron = Neuron()
    synapse: Synapse = Synapse()
    recurrent: bool = Field(True, description="connect the population with itself")
    autapses: bool = Field(True, description="let a neuron start with a synapse onto itself")
    input_scale: NonNegative = Field(1.0, description="initial input weights are N(0, scale^2/fan_in)")
    recurrent_scale: NonNegative = Field(0.5, description="initial recurrent weights are N(0, scale^2/fan_in)")
    bias: tuple[Finite, Finite] = Field((0.0, 0.0), description="initial bias currents are uniform between these")

    @model_validator(mode="after")
    def _ordered(self):
        if self.bias[0] > self.bias[1]:
            raise ValueError(f"bias {list(self.bias)} must be [low, high]")
        return self


class Readout(_Table):
    """The linear readout of the last layer."""

    kind: Literal["linear", "leaky"] = Field("linear", description="linear, or leaky (low-pass filtered)")
    scale: NonNegative = Field(1.0, description="initial weights are N(0, scale^2/n)")
    tau_out: PositiveFloat = Field(20.0, description="time constant of the leaky readout, ms")


class Network(_Table):
    """A stack of layers and a readout."""

    layers: tuple[Layer, ...] = Field((Layer(),), min_length=1, description="from input to output")
    readout: Readout = Readout()


class Gate(_Table):
    """The smooth threshold, and the gradient method."""

    kernel: Literal["boxcar", "triangle", "raised_cosine", "logistic", "fast_sigmoid", "arctan"] = Field(
        "raised_cosine", description="shape of the gate (fast_sigmoid, arctan: surrogate only)"
    )
    width: PositiveFloat = Field(0.5, description="width of the active zone at sharpness 1, in units of v")
    sharpness: PositiveFloat = Field(1.0, description="sharpness at the start of training")
    sharpness_end: PositiveFloat | None = Field(None, description="sharpness at the end of annealing; default: no annealing")
    anneal: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="fraction of training over which the sharpness grows, geometrically"
    )
    release: Literal["charge", "graded", "surrogate", "hard"] = Field(
        "charge", description="charge (exact, the paper's), graded (exact), surrogate, or hard (no gradient)"
    )
    detach_reset: bool = Field(False, description="surrogate: leave the reset out of the gradient")


class Adjoint(_Table):
    """How the gradient is computed. Without damping and clip it is exact."""

    kind: Literal["costate", "autodiff", "checkpointed"] = Field("costate", description="costate, autodiff or checkpointed")
    chunk: Count | None = Field(None, description="steps a chunk (checkpointed); default: square root of the trial")
    damping: NonNegative = Field(0.0, description="BIASED unless 0: decay of the costate per ms")
    clip: PositiveFloat | None = Field(None, description="BIASED: largest norm of the costate of a trial; default: none")


class Loss(_Table):
    """What is minimised."""

    kind: Literal["cross_entropy", "squared_error"] = Field("cross_entropy", description="cross_entropy or squared_error")
    windows: Count = Field(1, description="cross_entropy: equal time windows with readouts of their own")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="cross_entropy: label smoothing")
    rate_weight: NonNegative = Field(0.0, description="weight of the firing-rate regulariser, per Hz^2")
    rate_low: NonNegative = Field(0.0, description="rates below this are pushed up, Hz")
    rate_high: NonNegative = Field(100.0, description="rates above this are pushed down, Hz")

    @model_validator(mode="after")
    def _ordered(self):
        if self.rate_low > self.rate_high:
            raise ValueError(f"rate_low ({self.rate_low:g}) must not be above rate_high ({self.rate_high:g})")
        return self


class Training(_Table):
    """The optimisation."""

    steps: Count = Field(500, description="number of updates")
    batch: Count = Field(90, description="trials an update")
    accumulate: Count = Field(1, description="run the batch in this many parts, to save memory")
    learning_rate: PositiveFloat = Field(4e-3, description="Adam's, at its largest")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="fraction of training over which the rate rises linearly")
    final: Fraction = Field(0.0, description="final learning rate as a fraction, reached by a cosine")
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="Adam's decay rates")
    weight_decay: NonNegative = Field(0.0, description="decoupled decay of weights (not of biases and time constants)")
    clip: PositiveFloat | None = Field(1.0, description="largest global norm of the gradient")
    trainable: tuple[str, ...] = Field(
        ("weight", "bias"), min_length=1, description="fields that are trained: weight, bias, tau_mem, tau_syn, tau_out, v_th, v_init"
    )
    evaluate_every: Count = Field(50, description="steps between evaluations on held-out trials")
    checkpoint_every: Count = Field(50, description="steps between checkpoints")
    judge: Literal["smooth", "hard"] = Field("smooth", description="gate at which held-out trials choose the best checkpoint")
    gradient_limit: PositiveFloat = Field(1e8, description="stop if the gradient norm stays above this")

    @model_validator(mode="after")
    def _divisible(self):
        if self.batch % self.accumulate:
            raise ValueError(f"batch ({self.batch}) must be a multiple of accumulate ({self.accumulate})")
        return self


class Config(_Table):
    """A training run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="of initial weights, batches and the validation split")
    dt: PositiveFloat = Field(1.0, description="time step, ms")
    task: BrailleTask = BrailleTask()
    network: Network = Network()
    gate: Gate = Gate()
    adjoint: Adjoint = Adjoint()
    loss: Loss = Loss()
    training: Training = Training()
