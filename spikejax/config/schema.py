"""The one schema of a configuration file. Every key, type and range is checked; unknown keys are errors."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from .gate import Gate
from .neurons import LIF, ExponentialSynapse, Neuron, Synapse
from .table import Count, Decay, Finite, Fraction, NonNegative, PositiveFloat, Table


class BrailleTask(Table):
    """Braille letters read by an artificial fingertip: 27 classes, real recordings shipped with the
    package."""

    kind: Literal["braille"] = Field("braille", description="braille")
    thresholds: tuple[PositiveFloat, ...] = Field(
        (1.0, 2.0, 5.0, 10.0), min_length=1, description="steps of the delta modulation, taxel units"
    )
    clock: PositiveFloat = Field(
        12.5, description="period of the delta modulation, ms; dt divides it, and it divides 25"
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="fraction of the training trials held out"
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability that an input spike is deleted in training"
    )
    shift: NonNegative = Field(0.0, description="largest shift of a training trial in time, ms")
    folder: Path | None = Field(
        None, description="folder with other braille_train.npz and braille_test.npz", strict=False
    )


class PredictiveCodingTask(Table):
    """Reproduce random sums of sinusoids, now or a while later, by the spikes of a few neurons; generated."""

    kind: Literal["predictive_coding"] = Field("predictive_coding", description="predictive_coding")
    duration: PositiveFloat = Field(100.0, description="length of a training trial, ms")
    test_duration: PositiveFloat = Field(1200.0, description="length of a held-out trial, ms")
    channels: Count = Field(2, description="number of signals")
    components: Count = Field(6, description="sinusoids in a signal")
    frequencies: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.5, 4.0), description="lowest and highest frequency, Hz"
    )
    lag: NonNegative = Field(0.0, description="of the target behind the signal, ms")
    onset: NonNegative = Field(
        0.0, description="time over which the signal rises from 0 at the begin of a trial, ms"
    )
    held_out: tuple[Count, Count] = Field(
        (8, 24), description="trials of the validation and of the test split"
    )


class DelayedXORTask(Table):
    """Two pulses to remember, and whether their signs differ to answer after a go cue; generated."""

    kind: Literal["delayed_xor"] = Field("delayed_xor", description="delayed_xor")
    delays: tuple[NonNegative, PositiveFloat] = Field(
        (20.0, 700.0), description="shortest and longest delay of held-out trials, ms"
    )
    buckets: tuple[PositiveFloat, ...] = Field(
        (80.0, 248.0, 700.0),
        min_length=1,
        description="longest delays of training batches, ms, one drawn for each batch",
    )
    odds: tuple[NonNegative, ...] = Field(
        (0.25, 0.4, 0.35), min_length=1, description="probability of each bucket, up to a factor"
    )
    pulse: PositiveFloat = Field(24.0, description="duration of a pulse, ms")
    cue: PositiveFloat = Field(24.0, description="duration of the go cue, ms")
    lag: NonNegative = Field(20.0, description="from the cue's begin to the response window, ms")
    response: PositiveFloat = Field(80.0, description="response window, ms")
    baseline: PositiveFloat = Field(40.0, description="before the first pulse, ms")
    tail: PositiveFloat = Field(60.0, description="after the response window, ms")
    weights: tuple[NonNegative, NonNegative, NonNegative] = Field(
        (1.0, 0.3, 0.1), description="weight of response, baseline and tail in the squared error"
    )
    held_out: tuple[Count, Count] = Field(
        (240, 600), description="trials of the validation and of the test split"
    )


class SpokenDigitsTask(Table):
    """Spoken digits as spikes of a cochlea: files in the layout of the Spiking Heidelberg Digits, which are
    not part of the package."""

    kind: Literal["spoken_digits"] = Field("spoken_digits", description="spoken_digits")
    folder: Path = Field(description="folder with the recordings", strict=False)
    train: str = Field(
        "shd_train.h5", min_length=1, description="file of the training recordings; it may also end in .gz"
    )
    test: str = Field(
        "shd_test.h5", min_length=1, description="file of the test recordings; it may also end in .gz"
    )
    units: Count = Field(700, description="input units of the recordings")
    channels: Count = Field(
        140, description="bands that neighbouring units are summed in; a divisor of units"
    )
    window: PositiveFloat = Field(1400.0, description="length of a trial, ms; a multiple of bin")
    bin: PositiveFloat = Field(
        10.0, description="spikes are counted in bins of this, ms, held for bin/dt steps; dt divides it"
    )
    delays: tuple[NonNegative, ...] = Field(
        (0.0,), min_length=1, description="delays of copies of the bands, side by side, ms; multiples of bin"
    )
    overflow: Literal["refuse", "cut"] = Field(
        "refuse", description="recordings with spikes past the window: an error, or cut there"
    )
    value: Literal["count", "root", "binary"] = Field(
        "count", description="what a bin holds: the count, its square root, or 0 or 1"
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="fraction of the training recordings held out"
    )
    held_out_speakers: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="speakers whose recordings are the test split, and in no other; default: none, the test file is the test split",
    )
    blend: Fraction = Field(
        0.0, description="probability that a training recording is mixed with another one of its class"
    )
    stretch: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="largest relative stretch of a training recording in time"
    )
    shift: NonNegative = Field(0.0, description="largest shift of a training recording in time, ms")
    channel_shift: Annotated[int, Field(ge=0)] = Field(
        0, description="largest shift of a training recording along its units"
    )
    jitter: NonNegative = Field(
        0.0, description="standard deviation of noise on every spike's time in training, ms"
    )
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability that an input spike is deleted in training"
    )
    mask_units: Annotated[int, Field(ge=0)] = Field(
        0, description="a band of up to so many units is silenced in a training recording"
    )
    mask_time: NonNegative = Field(
        0.0, description="a stretch of up to so many ms is silenced in a training recording"
    )

    @model_validator(mode="after")
    def _whole_numbers(self):
        if self.units % self.channels:
            raise ValueError(f"channels ({self.channels}) must be a divisor of units ({self.units})")
        if self.window < self.bin or abs(self.window / self.bin - round(self.window / self.bin)) > 1e-6:
            raise ValueError(f"window ({self.window:g} ms) must be a multiple of bin ({self.bin:g} ms)")
        return self


class Layer(Table):
    """One population."""

    size: Count = Field(100, description="number of neurons")
    neuron: Neuron = LIF()
    synapse: Synapse = ExponentialSynapse()
    recurrent: bool = Field(True, description="connect the population with itself")
    autapses: bool = Field(True, description="let a neuron have a synapse onto itself")
    self_excitation: tuple[Finite, Finite] | None = Field(
        None,
        description="add to each neuron's slowest synapse onto itself a weight uniform between these (bistable neurons)",
    )
    input_scale: NonNegative | tuple[NonNegative, ...] = Field(
        1.0,
        description="initial input weights are N(0, scale^2/fan_in); a list gives each channel its own scale",
    )
    input_norm: PositiveFloat | None = Field(
        None, description="scale each neuron's initial input weights to this norm instead"
    )
    recurrent_scale: NonNegative | tuple[NonNegative, ...] = Field(
        0.5,
        description="initial recurrent weights are N(0, scale^2/fan_in); a list gives each time constant its own scale",
    )
    bias: tuple[Finite, Finite] = Field(
        (0.0, 0.0), description="initial bias currents are uniform between these"
    )
    density: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="fraction of the recurrent synapses that exist"
    )
    excitatory: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Dale's law: this fraction of the neurons is excitatory, the others are inhibitory; default: no such law",
    )
    reversal: tuple[Finite, Finite] | None = Field(
        None,
        description="conductance-based synapses with these reversal potentials, [excitatory, inhibitory], in units of v; default: currents",
    )

    @model_validator(mode="after")
    def _ordered(self):
        if self.bias[0] > self.bias[1]:
            raise ValueError(f"bias {list(self.bias)} must be [low, high]")
        if isinstance(self.recurrent_scale, tuple) and len(self.recurrent_scale) != len(self.synapse.tau_syn):
            raise ValueError(
                f"recurrent_scale has {len(self.recurrent_scale)} entries, synapse.tau_syn {len(self.synapse.tau_syn)}"
            )
        if self.self_excitation is not None and self.self_excitation[0] > self.self_excitation[1]:
            raise ValueError(f"self_excitation {list(self.self_excitation)} must be [low, high]")
        if self.input_norm is not None and self.input_scale == 0:
            raise ValueError("input_norm scales the initial input weights, which input_scale = 0 makes all 0")
        if not self.recurrent and self.self_excitation is not None:
            raise ValueError("self_excitation needs recurrent = true")
        if not self.autapses and self.self_excitation is not None:
            raise ValueError("self_excitation needs autapses = true")
        if self.self_excitation is not None and (
            self.density < 1 or self.excitatory is not None or self.reversal is not None
        ):
            raise ValueError(
                "self_excitation goes with a layer that has all synapses of either sign: no density, excitatory or reversal"
            )
        if self.reversal is not None and self.recurrent and self.excitatory is None:
            raise ValueError(
                "reversal needs excitatory, the fraction of neurons that open the first of the two conductances"
            )
        if self.reversal is not None and self.input_norm is not None:
            raise ValueError("input_norm scales the weights of currents: leave it out with reversal")
        if self.reversal is not None and self.neuron.kind == "theta":
            raise ValueError(
                "reversal makes conductances, but the v of theta neurons is a phase: use another kind of neuron"
            )
        return self


class Readout(Table):
    """The linear readout of the last layer."""

    kind: Literal["linear", "leaky"] = Field("linear", description="linear, or leaky (low-pass filtered)")
    init: Literal["normal", "transpose", "ridge"] = Field(
        "normal",
        description="normal; transpose: of the last layer's input weights, times scale; ridge: solved for on the untrained network",
    )
    scale: NonNegative = Field(1.0, description="initial weights are N(0, scale^2/n)")
    synapses: Literal["all", "slowest"] = Field("all", description="synapses that the readout reads")
    ridge: PositiveFloat = Field(
        1e-2, description="init ridge: strength, relative to the mean square of the activations"
    )
    batches: Count = Field(
        12,
        description="init ridge: training batches, half at the first and half at the last sharpness of the gate",
    )
    tau_out: PositiveFloat = Field(20.0, description="time constant of the leaky readout, ms")


class Network(Table):
    """A stack of layers and a readout."""

    layers: tuple[Layer, ...] = Field((Layer(),), min_length=1, description="from input to output")
    readout: Readout = Readout()


class Adjoint(Table):
    """How the gradient is computed. Without damping and clip it is exact."""

    kind: Literal["costate", "autodiff", "checkpointed"] = Field(
        "costate", description="costate, autodiff or checkpointed"
    )
    chunk: Count | None = Field(
        None, description="steps a chunk (checkpointed); default: square root of the trial"
    )
    damping: NonNegative = Field(0.0, description="BIASED unless 0: decay of the costate per ms")
    clip: PositiveFloat | None = Field(
        None, description="BIASED: largest norm of the costate of a trial; default: none"
    )


class Loss(Table):
    """What is minimised."""

    kind: Literal["cross_entropy", "squared_error", "response"] = Field(
        "cross_entropy",
        description="cross_entropy, squared_error, or response (squared error and decision; delayed_xor)",
    )
    margin: NonNegative = Field(0.0, description="response: weight of the cross-entropy of the decision")
    windows: Count = Field(1, description="cross_entropy: equal time windows with readouts of their own")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="cross_entropy: label smoothing")
    rate_weight: NonNegative = Field(0.0, description="weight of the firing-rate regulariser, per Hz^2")
    rate_low: NonNegative = Field(0.0, description="rates below this are pushed up, Hz")
    rate_high: NonNegative = Field(100.0, description="rates above this are pushed down, Hz")
    log_rate_weight: NonNegative = Field(
        0.0, description="weight of the mean squared distance of log(rate + 1) to its target"
    )
    log_rate: NonNegative = Field(20.0, description="that target's rate, Hz")
    activity_weight: NonNegative = Field(
        0.0, description="weight of the squared activation of the slowest synapses, summed over neurons"
    )
    voltage_weight: NonNegative = Field(0.0, description="weight of squared voltages below voltage_low")
    partial_weight: NonNegative = Field(
        0.0, description="weight of the fraction of time that neurons spend in the active zone"
    )
    voltage_low: Finite = Field(-1.0, description="membrane potentials below this are pushed up")

    @model_validator(mode="after")
    def _ordered(self):
        if self.rate_low > self.rate_high:
            raise ValueError(f"rate_low ({self.rate_low:g}) must not be above rate_high ({self.rate_high:g})")
        return self


class Noise(Table):
    """Randomness within a trial, in training and in evaluation."""

    initial: NonNegative = Field(
        0.0, description="standard deviation of the initial membrane potentials, in units of v"
    )
    current: NonNegative = Field(
        0.0,
        description="standard deviation of a background current into every neuron, in units of the current (white: of its mean over 1 ms)",
    )
    tau: NonNegative = Field(
        0.0, description="correlation time of the background current, ms; 0: white noise"
    )


class Rollback(Table):
    """Return to the best checkpoint when training loses its way."""

    patience: Count = Field(description="evaluations in a row that may be worse than the tolerance")
    tolerance: NonNegative = Field(
        0.05, description="by how much the held-out score may fall below the best one"
    )
    factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="factor of the learning rate from then on"
    )


class Training(Table):
    """The optimisation."""

    steps: Count = Field(500, description="number of updates")
    batch: Count = Field(90, description="trials an update")
    accumulate: Count = Field(1, description="run the batch in this many parts, to save memory")
    learning_rate: PositiveFloat = Field(4e-3, description="Adam's, at its largest")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="fraction of training over which the rate rises linearly"
    )
    final: Fraction = Field(0.0, description="final learning rate as a fraction, reached by a cosine")
    rates: dict[str, NonNegative] = Field(
        {},
        description="factors of the learning rate by (part of) a parameter's name, such as { recurrent = 0.1, bias = 0.5 }",
    )
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="Adam's decay rates")
    moments: Literal["element", "tensor"] = Field(
        "element", description="second moments of Adam: of every element, or one a tensor"
    )
    averaging: Decay = Field(
        0.0,
        description="decay of a running average of the parameters, which is what is judged and kept; 0: none",
    )
    finer: Fraction = Field(
        0.0, description="fraction of the updates made at dt/2; if not 0, held-out trials judge at dt/2 too"
    )
    weight_decay: NonNegative = Field(
        0.0, description="decoupled decay of weights (not of biases and time constants)"
    )
    clip: PositiveFloat | None = Field(1.0, description="largest global norm of the gradient")
    trainable: tuple[str, ...] = Field(
        ("weight", "bias"),
        min_length=1,
        description="fields that are trained: weight, bias, tau_syn, tau_out, v_init, and those of the neurons, such as tau_mem",
    )
    evaluate_every: Count = Field(50, description="steps between evaluations on held-out trials")
    checkpoint_every: Count = Field(50, description="steps between checkpoints")
    judge: Literal["smooth", "hard", "both", "all"] = Field(
        "smooth",
        description="gate at which held-out trials choose the best checkpoint; both: the mean; all: with the first gate too",
    )
    score: Literal["accuracy", "loss", "error"] | None = Field(
        None, description="what chooses the best checkpoint; default: accuracy with cross_entropy, else loss"
    )
    rollback: Rollback | None = Field(
        None, description="return to the best checkpoint when held-out trials get worse; default: never"
    )
    gradient_limit: PositiveFloat = Field(1e8, description="stop if the gradient norm stays above this")

    @model_validator(mode="after")
    def _divisible(self):
        if self.batch % self.accumulate:
            raise ValueError(f"batch ({self.batch}) must be a multiple of accumulate ({self.accumulate})")
        return self


STAGED = ("task", "gate", "adjoint", "loss", "noise", "training")
NOT_STAGED = {
    "task": (
        "kind",
        "validation",
        "folder",
        "held_out",
        "test_duration",
        "train",
        "test",
        "units",
        "channels",
        "delays",
        "held_out_speakers",
    ),
    "loss": ("kind", "windows"),
}
"""What the network's shape, or the comparison of checkpoints, hangs on."""
STAGED_TRAINING = ("steps", "batch", "accumulate", "learning_rate", "warmup", "final")


class Config(Table):
    """A training run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="of initial weights, batches and the validation split"
    )
    dt: PositiveFloat = Field(1.0, description="time step, ms")
    task: BrailleTask | PredictiveCodingTask | DelayedXORTask | SpokenDigitsTask = Field(
        BrailleTask(), discriminator="kind"
    )
    network: Network = Network()
    gate: Gate = Gate()
    adjoint: Adjoint = Adjoint()
    loss: Loss = Loss()
    noise: Noise = Noise()
    training: Training = Training()
    stages: tuple[dict[str, dict[str, Any]], ...] = Field(
        (),
        description="stages of training: tables of the keys of task, gate, adjoint, loss, noise and training that differ",
    )

    @model_validator(mode="after")
    def _valid_stages(self):
        if self.gate.layers not in (None, len(self.network.layers)):
            raise ValueError(
                f"gate has lists of {self.gate.layers} values, but the network {len(self.network.layers)} layers: give one for each"
            )
        for i in range(len(self.stages)):
            self.stage(i)
        return self

    def stage(self, i: int) -> "Config":
        """The configuration of one stage: this one with the stage's keys in place of its own.

        **Raises:** `ValueError` naming the first key that cannot be used.
        """
        tree = self.model_dump(mode="json", exclude={"stages"}, exclude_unset=True)
        for table, keys in self.stages[i].items():
            if table not in STAGED:
                raise ValueError(f"stages.{i}.{table}: a stage can change keys of {', '.join(STAGED)}")
            for key in keys:
                if table == "training" and key not in STAGED_TRAINING:
                    raise ValueError(
                        f"stages.{i}.training.{key}: of training, a stage can change {', '.join(STAGED_TRAINING)}"
                    )
                if key in NOT_STAGED.get(table, ()):
                    raise ValueError(
                        f"stages.{i}.{table}.{key}: the same for all stages; set it in [{table}]"
                    )
            tree[table] = tree.get(table, {}) | keys
        tree["task"] = {"kind": self.task.kind} | tree.get("task", {})
        try:
            return Config.model_validate_json(json.dumps(tree))
        except ValidationError as error:
            first = error.errors()[0]
            # A union's tag is no key.
            name = ".".join(str(part) for part in first["loc"] if part != self.task.kind)
            raise ValueError(f"stages.{i}: {name}: {first['msg'].removeprefix('Value error, ')}") from error
