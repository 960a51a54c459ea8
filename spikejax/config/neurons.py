"""Neurons and synapses in a configuration: a table for each kind, whose defaults are those of the classes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .table import Count, Finite, NonNegative, PositiveFloat, Table

Initial = Finite | tuple[Finite, Finite] | None
INITIAL = "membrane potential at the start of a trial, or [low, high] to draw from; default: "


class _Neuron(Table):
    v_init: Initial = Field(None, description=INITIAL + "the neuron's own")

    @model_validator(mode="after")
    def _ordered(self):
        if isinstance(self.v_init, tuple) and self.v_init[0] > self.v_init[1]:
            raise ValueError(f"v_init {list(self.v_init)} must be [low, high]")
        return self


class Accommodation(Table):
    """Threshold accommodation: the threshold follows the membrane potential."""

    tau: PositiveFloat = Field(20.0, description="time constant of the threshold, ms")
    slope: NonNegative = Field(
        0.5, description="rise of the steady threshold with the potential, far above v_half"
    )
    v_half: Finite = Field(0.5, description="potential above which the threshold follows")
    width: PositiveFloat = Field(0.1, description="width of the bend there, in units of the potential")


class _Resetting(_Neuron):
    """Neurons with a threshold and a reset; the numbers are in the subclasses."""

    v_th: Finite = Field(1.0, description="threshold")
    v_reset: Finite = Field(0.0, description="reset")
    tau_ref: NonNegative = Field(0.0, description="absolute refractory period, ms")
    reset: Literal["split", "subtract", "zero"] = Field(
        "split", description="split the step at the crossing, or reset on the grid"
    )
    accommodation: Accommodation | None = Field(None, description="threshold accommodation; default: none")

    @model_validator(mode="after")
    def _below_threshold(self):
        highest = max(self.v_init) if isinstance(self.v_init, tuple) else self.v_init
        if highest is not None and highest >= self.v_th:
            raise ValueError(f"v_init ({highest:g}) must be below v_th ({self.v_th:g})")
        if self.v_reset >= self.v_th:
            raise ValueError(f"v_reset ({self.v_reset:g}) must be below v_th ({self.v_th:g})")
        return self


class NIF(_Resetting):
    """Non-leaky integrate-and-fire."""

    kind: Literal["nif"] = Field("nif", description="nif")
    tau_mem: PositiveFloat = Field(10.0, description="membrane time constant, ms")


class LIF(_Resetting):
    """Leaky integrate-and-fire."""

    kind: Literal["lif"] = Field("lif", description="lif")
    tau_mem: PositiveFloat = Field(10.0, description="membrane time constant, ms")


class Theta(_Neuron):
    """Theta (QIF) neuron on the circle."""

    kind: Literal["theta"] = Field("theta", description="theta")
    tau_mem: PositiveFloat = Field(25.0, description="membrane time constant, ms")


class ALIF(_Resetting):
    """LIF with an adapting threshold."""

    kind: Literal["alif"] = Field("alif", description="alif")
    tau_mem: PositiveFloat = Field(20.0, description="membrane time constant, ms")
    tau_adapt: PositiveFloat = Field(200.0, description="time constant of the threshold, ms")
    beta: Finite = Field(0.2, description="what a spike adds to the threshold")


class GLIF(_Resetting):
    """LIF with spike-triggered currents and threshold."""

    kind: Literal["glif"] = Field("glif", description="glif")
    tau_mem: PositiveFloat = Field(20.0, description="membrane time constant, ms")
    tau_asc: tuple[PositiveFloat, ...] = Field(
        (10.0, 100.0), min_length=1, description="time constants of the spike-triggered currents, ms"
    )
    jump_asc: tuple[Finite, ...] = Field(
        (0.0, -0.2), min_length=1, description="what a spike adds to each of these currents"
    )
    tau_theta: PositiveFloat = Field(50.0, description="time constant of the spike-triggered threshold, ms")
    jump_theta: Finite = Field(0.1, description="what a spike adds to the threshold")

    @model_validator(mode="after")
    def _as_many(self):
        if len(self.tau_asc) != len(self.jump_asc):
            raise ValueError(f"tau_asc has {len(self.tau_asc)} entries, jump_asc {len(self.jump_asc)}")
        return self


class _Exponential(_Resetting):
    v_th: Finite = Field(-40.4, description="cut-off of the upswing, mV")
    v_reset: Finite = Field(-70.6, description="reset, mV")
    C: PositiveFloat = Field(281.0, description="capacitance, pF")
    g_L: PositiveFloat = Field(30.0, description="leak conductance, nS")
    E_L: Finite = Field(-70.6, description="leak reversal potential, mV")
    V_T: Finite = Field(-50.4, description="threshold of the upswing, mV")
    Delta_T: PositiveFloat = Field(2.0, description="slope of the upswing, mV")
    substeps: Count = Field(1, description="Runge-Kutta steps to a time step")


class EIF(_Exponential):
    """Exponential integrate-and-fire; currents in pA."""

    kind: Literal["eif"] = Field("eif", description="eif")


class AdEx(_Exponential):
    """Adaptive exponential integrate-and-fire; currents in pA."""

    kind: Literal["adex"] = Field("adex", description="adex")
    tau_w: PositiveFloat = Field(144.0, description="time constant of the adaptation, ms")
    a: Finite = Field(4.0, description="subthreshold adaptation, nS")
    b: Finite = Field(80.5, description="what a spike adds to the adaptation current, pA")


class Izhikevich(_Resetting):
    """Izhikevich's neuron; currents in mV/ms."""

    kind: Literal["izhikevich"] = Field("izhikevich", description="izhikevich")
    v_th: Finite = Field(30.0, description="peak, mV")
    v_reset: Finite = Field(-65.0, description="reset (c), mV")
    a: PositiveFloat = Field(0.02, description="rate of the recovery variable, 1/ms")
    b: Finite = Field(0.2, description="its sensitivity, 1/ms")
    d: Finite = Field(8.0, description="what a spike adds to it, mV/ms")
    substeps: Count = Field(4, description="Runge-Kutta steps to a time step")


class HodgkinHuxley(_Neuron):
    """Hodgkin-Huxley; currents in uA/cm2. Numbers that are not given are those of the kinetics."""

    kind: Literal["hodgkin_huxley"] = Field("hodgkin_huxley", description="hodgkin_huxley")
    kinetics: Literal["squid", "cortical"] = Field(
        "squid", description="squid (1952), or cortical (Pospischil et al. 2008)"
    )
    v_th: Finite = Field(0.0, description="a spike is an upward passage of this, mV")
    C: PositiveFloat | None = Field(None, description="capacitance, uF/cm2")
    g_Na: NonNegative | None = Field(None, description="sodium conductance, mS/cm2")
    g_K: NonNegative | None = Field(None, description="potassium conductance, mS/cm2")
    g_L: NonNegative | None = Field(None, description="leak conductance, mS/cm2")
    g_M: NonNegative | None = Field(None, description="slow potassium conductance (cortical), mS/cm2")
    E_Na: Finite | None = Field(None, description="sodium reversal potential, mV")
    E_K: Finite | None = Field(None, description="potassium reversal potential, mV")
    E_L: Finite | None = Field(None, description="leak reversal potential, mV")
    V_T: Finite | None = Field(None, description="shift of the kinetics (cortical), mV")
    substeps: Count = Field(1, description="steps of the solver to a time step")


Neuron = Annotated[
    NIF | LIF | Theta | ALIF | GLIF | EIF | AdEx | Izhikevich | HodgkinHuxley,
    Field(discriminator="kind"),
]


class ExponentialSynapse(Table):
    """Exponential synapses."""

    kind: Literal["exponential"] = Field("exponential", description="exponential")
    tau_syn: tuple[PositiveFloat, ...] = Field(
        (10.0,), min_length=1, description="time constants side by side, ms"
    )
    rate_unit: PositiveFloat = Field(0.02, description="rate at which the activation is 1, spikes per ms")


class DoubleExponentialSynapse(Table):
    """Synapses with a rise time."""

    kind: Literal["double_exponential"] = Field("double_exponential", description="double_exponential")
    tau_rise: tuple[PositiveFloat, ...] = Field(
        (2.0,), min_length=1, description="rise times, one for all or one for each tau_syn, ms"
    )
    tau_syn: tuple[PositiveFloat, ...] = Field(
        (10.0,), min_length=1, description="decay times side by side, ms"
    )
    rate_unit: PositiveFloat = Field(0.02, description="rate at which the activation is 1, spikes per ms")

    @model_validator(mode="after")
    def _as_many(self):
        if len(self.tau_rise) not in (1, len(self.tau_syn)):
            raise ValueError(
                f"tau_rise has {len(self.tau_rise)} entries, tau_syn {len(self.tau_syn)}: give one, or as many"
            )
        return self


Synapse = Annotated[ExponentialSynapse | DoubleExponentialSynapse, Field(discriminator="kind")]
