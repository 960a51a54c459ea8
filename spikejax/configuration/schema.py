"""The schema of a configuration: which components it holds, and the few keys that belong to none.

The table of a component follows from its class (`tables`); written by hand are a layer's wiring, what else a
readout's table says, and how to train.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, create_model, model_validator

from ..adjoints import ADJOINTS
from ..component import Declaration
from ..connections import CONNECTIONS
from ..errors import ConfigError
from ..gates import Gate
from ..losses import LOSSES
from ..network import WEAK
from ..neurons import NEURONS, WRAPPERS, AbstractResetNeuron
from ..noise import Noise
from ..penalties import PENALTIES
from ..readouts import READOUTS
from ..simulators import SIMULATORS
from ..synapses import SYNAPSES
from ..tasks import TASKS
from ..training.annealing import Annealing
from ..training.calibrate import Calibration
from ..training.plan import Rollback
from .explain import explain
from .tables import (
    MOST,
    STAGED,
    Count,
    CountOrNone,
    Decay,
    Each,
    Family,
    Finite,
    Fraction,
    Free,
    Holds,
    NonNegative,
    PositiveFloat,
    Table,
    key,
    keywords,
    metadata,
    read,
    table,
)

SCHEDULED = Free(stages=True, networks=True)
"""What becomes a schedule on the host: free in a stage, and in networks that are trained side by side."""


def _wrapper_tables(cls: type) -> Mapping[str, Any]:
    """Keys of a neuron for what can be put around it."""
    if not issubclass(cls, AbstractResetNeuron):
        return {}
    return {
        name: (table(wrapper) | None, Field(default=None, description=f"{wrapper.__name__}; default: none"))
        for name, wrapper in WRAPPERS.items()
    }


def _derives_shape(connection: Table) -> bool:
    """Whether the population of a connection has the shape that follows from it."""
    inner = connection
    while inner is not None:
        connection = inner
        inner = getattr(connection, "connection", None)
        if isinstance(several := getattr(connection, "connections", None), tuple):
            inner = several[-1]
    return getattr(connection.component, "derives_shape", False)


class Connection(Table):
    """What the table of every connection has beside its own keys."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="probability that an input is left out, for the whole of a training trial",
    )


class Recurrent(Connection):
    """What the table of a recurrent connection has beside its own keys."""

    self_excitation: tuple[Finite, Finite] | None = Field(
        default=None,
        description="add to each neuron's slowest synapse onto itself a weight uniform between these "
        "(bistable neurons)",
    )

    @model_validator(mode="after")
    def _ordered(self):
        if self.self_excitation is not None and self.self_excitation[0] > self.self_excitation[1]:
            raise ValueError(f"self_excitation is {list(self.self_excitation)}, but must be [low, high]")
        return self


class Layer(Table):
    """One population."""

    size: Count | Annotated[tuple[Count, ...], Field(min_length=1)] | None = Field(
        default=100,
        description="number of neurons, or shape of the population; left out where it follows from the "
        "connection, as with convolutions",
    )
    neuron: Annotated[Any, Family(NEURONS, "lif", extras=_wrapper_tables)] = Field(
        default={}, description="model of neuron"
    )
    synapse: Annotated[Any, Family(SYNAPSES, "exponential")] = Field(
        default={}, description="outgoing synapses"
    )
    feedforward: Annotated[Any, Family(CONNECTIONS, "dense", base=Connection)] = Field(
        default={}, description="input of the population"
    )
    recurrent: Annotated[
        Any, Family(CONNECTIONS, "dense", base=Recurrent, defaults={"scale": WEAK}, switch=True)
    ] = Field(default={}, description="connection of the population with itself, or false")
    bias: tuple[Finite, Finite] | None = Field(
        default=None,
        description="initial bias currents are uniform between these; default: from 0 to 1.2 times the "
        "rheobase of the neuron",
    )
    bias_per: Literal["neuron", "channel"] = Field(
        default="neuron",
        description="whether every neuron has a bias of its own, or the neurons of a channel (the first axis "
        "of size) one together",
    )
    excitatory: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Dale's law: this fraction of the neurons is excitatory, the others are inhibitory; "
        "default: no such law",
    )
    reversal: tuple[Finite, Finite] | None = Field(
        default=None,
        description="conductance-based synapses with these reversal potentials, [excitatory, inhibitory], "
        "in units of v; default: currents",
    )

    @model_validator(mode="after")
    def _sized(self):
        """No default size where it follows from the connection."""
        known = "size" not in self.model_fields_set and _derives_shape(self.feedforward)
        return self.model_copy(update={"size": None}) if known else self

    @model_validator(mode="after")
    def _ordered(self):
        if self.bias is not None and self.bias[0] > self.bias[1]:
            raise ValueError(f"bias is {list(self.bias)}, but must be [low, high]")
        return self


class Skip(Table):
    """A connection that leaves layers out."""

    source: Annotated[int, Field(ge=-1, le=MOST)] = Field(
        description="number of the layer that it comes from, -1 for the stimulus"
    )
    target: CountOrNone = Field(description="number of the layer that it leads to, above the source")
    connection: Annotated[Any, Family(CONNECTIONS, "dense", base=Connection)] = Field(
        default={}, description="the connection, whose current is added to that of feedforward"
    )


class Readout(Table):
    """What every readout's table has."""

    init: Literal["normal", "transpose", "ridge"] = Field(
        default="normal",
        description="normal; transpose: of the last layer's input weights, times scale; ridge: solved for "
        "on the untrained network",
    )
    synapses: Literal["all", "slowest"] = Field(default="all", description="synapses that the readout reads")
    ridge: PositiveFloat = Field(
        default=1e-2, description="init ridge: strength, relative to the mean square of the activations"
    )
    batches: Count = Field(
        default=12,
        description="init ridge: training batches, half at the first and half at the last sharpness of the "
        "gate",
    )


class Network(Table):
    """A stack of layers and a readout."""

    layers: tuple[Layer, ...] = Field(default=(Layer(),), min_length=1, description="from input to output")
    skips: tuple[Skip, ...] = Field(default=(), description="connections that leave layers out")
    readout: Annotated[Any, Family(READOUTS, "linear", base=Readout)] = Field(
        default={}, description="readout"
    )
    calibrate: Annotated[Any, Holds(table(Calibration), optional=True)] = Field(
        default=None,
        description="scale the input weights and biases of the new network to a firing rate; default: not",
    )


def _gate_table() -> type[Table]:
    """The gate's own keys, and those of its annealing, whose first sharpness is the gate's."""
    own = {name: key(*about) for name, about in keywords(Gate).items()}
    for name, about in keywords(Annealing).items():
        hint, field = key(*about)
        own[name] = (Annotated[hint, SCHEDULED], field)
    made = create_model(
        "Gate", __base__=Table, __doc__="The smooth threshold, and the gradient method", **own
    )
    made.component = Gate
    return made


class Training(Table):
    """The optimisation."""

    steps: Annotated[Count, STAGED] = Field(default=500, description="number of updates")
    batch: Annotated[Count, STAGED] = Field(default=90, description="trials an update")
    accumulate: Annotated[Count, STAGED] = Field(
        default=1, description="run the batch in this many parts, to save memory"
    )
    learning_rate: Annotated[PositiveFloat, SCHEDULED] = Field(
        default=4e-3, description="Adam's, at its largest"
    )
    warmup: Annotated[float, Field(ge=0, lt=1), SCHEDULED] = Field(
        default=0.0, description="fraction of training over which the rate rises linearly"
    )
    final: Annotated[Fraction, SCHEDULED] = Field(
        default=0.0, description="final learning rate as a fraction, reached by a cosine"
    )
    learning_rate_scale: dict[str, NonNegative] = Field(
        default={},
        description="factors of the learning rate by (part of) a parameter's name, such as { recurrent = "
        "0.1, bias = 0.5 }; the longest name that fits counts",
    )
    optimiser: Literal["adam", "amsgrad", "slayer_nadam"] = Field(
        default="adam",
        description="adam; amsgrad: with the largest second moment so far; slayer_nadam: that of SLAYER's "
        "code, which looks ahead",
    )
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="Adam's decay rates")
    moments: Literal["element", "tensor"] = Field(
        default="element", description="second moments of Adam: of every element, or one a tensor"
    )
    averaging: Decay = Field(
        default=0.0,
        description="decay of a running average of the parameters, which is what is evaluated and kept; "
        "0: none",
    )
    half_step_fraction: Fraction = Field(
        default=0.0,
        description="fraction of the updates made at dt/2; if not 0, held-out trials are run at dt/2 too",
    )
    weight_decay: NonNegative = Field(
        default=0.0, description="decoupled decay of weights (not of biases and time constants)"
    )
    clip: PositiveFloat | None = Field(default=1.0, description="largest global norm of the gradient")
    trainable: tuple[str, ...] = Field(
        default=("weight", "bias"),
        min_length=1,
        description="fields that are trained: weight, bias, tau_syn, tau_out, v_init, and those of the "
        "neurons, such as tau_mem",
    )
    evaluate_every: Count = Field(default=50, description="steps between evaluations on held-out trials")
    checkpoint_every: Count = Field(default=50, description="steps between checkpoints")
    select_by: Literal["smooth", "hard", "both", "all"] = Field(
        default="smooth",
        description="gate at which held-out trials choose the best checkpoint; both: the mean; all: with "
        "the first gate too",
    )
    score: str | None = Field(
        default=None,
        description="what chooses the best checkpoint: loss, or what the loss reports; default: the loss "
        "says",
    )
    rollback: Annotated[Any, Holds(table(Rollback), optional=True)] = Field(
        default=None,
        description="return to the best checkpoint when held-out trials get worse; default: never",
    )
    gradient_limit: PositiveFloat = Field(
        default=1e8, description="stop if the gradient norm stays above this"
    )

    @model_validator(mode="after")
    def _divisible(self):
        if self.batch % self.accumulate:
            raise ValueError(f"batch ({self.batch}) must be a multiple of accumulate ({self.accumulate})")
        return self

    @model_validator(mode="after")
    def _one_optimiser(self):
        if self.moments != "element" and self.optimiser != "adam":
            raise ValueError(
                f"moments is {self.moments}, which is of the optimiser adam, not {self.optimiser}"
            )
        return self


class Config(Table):
    """A training run."""

    plugins: tuple[str, ...] = Field(
        default=(), description="modules that register components, imported first, such as my_lab.neurons"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="of initial weights, batches and the validation split"
    )
    dt: PositiveFloat = Field(
        default=1.0, description="time step, ms; event-driven that of a stimulus in steps"
    )
    task: Annotated[Any, Family(TASKS, "braille", staged=False), STAGED] = Field(
        default={}, description="task"
    )
    network: Network = Network()
    simulator: Annotated[Any, Family(SIMULATORS, "clock_driven"), STAGED] = Field(
        default={}, description="what simulates: in steps of dt, with a gate, or from spike to spike"
    )
    gate: Annotated[Any, Holds(_gate_table()), STAGED] = Field(default={})
    adjoint: Annotated[Any, Family(ADJOINTS, "costate"), STAGED] = Field(
        default={}, description="how the gradient is computed; exact without damping and clip"
    )
    loss: Annotated[Any, Family(LOSSES, "cross_entropy", staged=False), STAGED] = Field(
        default={}, description="what is minimised"
    )
    penalties: Annotated[Any, Each(PENALTIES), STAGED] = Field(
        default={}, description="what is added to the loss"
    )
    noise: Annotated[Any, Holds(table(Noise)), STAGED] = Field(default={})
    training: Annotated[Training, STAGED] = Training()
    stages: tuple[dict[str, dict[str, Any]], ...] = Field(
        default=(),
        description="stages of training: tables of the keys of task, simulator, gate, adjoint, loss, "
        "penalties, noise and training that differ",
    )

    @property
    def parts(self) -> "tuple[Config, ...]":
        """The configuration of every stage: this one if there are none."""
        return tuple(self.stage(i) for i in range(len(self.stages))) or (self,)

    def stage(self, i: int) -> "Config":
        """The configuration of one stage: this one with the stage's keys in place of its own.

        **Raises:** `ConfigError` naming the first key that cannot be used.
        """
        changes = self.stages[i]
        _check_staged(self, changes, f"stages.{i}")
        tree = self.model_dump(mode="json", exclude={"stages"}, exclude_unset=True)
        tree = _merged(tree, changes)
        try:
            return read(Config, tree)
        except ValidationError as error:
            raise ConfigError(f"stages.{i}: {explain(error, tree, Config)}") from error


def _check_staged(one: Table, changes: Mapping[str, Any], where: str, top: str = "") -> None:
    """Raise `ConfigError` for a key that is the same for all stages."""
    for name, value in changes.items():
        field = type(one).model_fields.get(name)
        if field is None or name == "kind":
            continue  # what is not known is reported when the stage is read
        free, declared, family = (metadata(field, sort) for sort in (Free, Declaration, Family))
        if not (free.stages if free is not None else declared is not None and declared.staged):
            if not top:
                known = [n for n, f in type(one).model_fields.items() if metadata(f, Free) is not None]
                raise ConfigError(f"{where}.{name}: a stage can change keys of {', '.join(known)}")
            raise ConfigError(f"{where}.{name}: the same for all stages; set it in [{top}]")
        inner = getattr(one, name)
        if family is not None and not family.staged and _kind_of(value) not in (None, inner.kind):
            raise ConfigError(f"{where}.{name}.kind: the same for all stages; set it in [{top or name}]")
        if (
            isinstance(inner, Table)
            and isinstance(value, Mapping)
            and _kind_of(value) in (None, _kind_of(inner))
        ):
            _check_staged(inner, value, f"{where}.{name}", top or name)


def _kind_of(value: Any) -> str | None:
    """The kind that a component's table or word says, if it says one."""
    if isinstance(value, str):
        return value
    return value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)


def _merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` with the keys of `changes`; a table of another kind takes the place of the one there is."""
    found = dict(tree)
    for name, value in changes.items():
        old = found.get(name)
        same = isinstance(value, Mapping) and value.get("kind") in (None, _kind_of(old))
        found[name] = _merged(old, value) if isinstance(old, Mapping) and same else value
    return found


__all__ = [
    "SCHEDULED",
    "Config",
    "Connection",
    "Layer",
    "Network",
    "Readout",
    "Recurrent",
    "Skip",
    "Training",
]
