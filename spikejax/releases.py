"""Four ways to release charge through a gate, and their gradients: where reset and release meet.

With `Charge` the charge reads the path of the reset model, ``q = G(v_end) - G(v_start) + resets``. With
`Graded` and `Surrogate` the reset reads the charge.
"""

from typing import ClassVar

import jax
from jaxtyping import Array, Float

from .component import option
from .gates import RELEASES, AbstractRelease, Gate
from .neurons import AbstractNeuron, AnyState, Input

Level = Float[Array, "*n"] | None
"""``G(v)`` where the last step ended, so that each step evaluates the gate once; None unless charge is
released."""


@RELEASES.register("charge")
class Charge(AbstractRelease):
    """The paper's synapse, driven by ``g(v) dv/dt`` and integrated over the step: exact.

    ``q = G(v_end) - G(v_start)``, plus 1 for a reset inside the step. Smooth in every parameter.

    **Reference:** Huh & Sejnowski, NeurIPS 2018, eqs. 2-4.
    """

    from_below: ClassVar[bool] = True

    def start(self, neuron: AbstractNeuron, gate: Gate, state: AnyState) -> Level:
        return neuron.released(gate, state)

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, level: Level, current: Input, dt
    ) -> tuple[AnyState, Level, Float[Array, "*n"]]:
        end, path = neuron.travel(state, current, dt)
        reached = neuron.released(gate, end)
        assert level is not None, "from `start`"
        return end, reached, neuron.charge(level, reached, path.count)


@RELEASES.register("graded")
class Graded(AbstractRelease):
    """``q = G(v_free)`` and a reset in proportion, with the zone centred on the threshold: exact for *that*
    model."""

    def check(self, neuron: AbstractNeuron) -> None:
        if not neuron.partial_reset:
            raise ValueError(
                f"release='graded' takes a part of the reset, which {type(neuron).__name__} neurons do not "
                "have: use charge, surrogate or hard"
            )

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, level: Level, current: Input, dt
    ) -> tuple[AnyState, Level, Float[Array, "*n"]]:
        free = neuron.flow(state, current, dt)
        q = gate.cumulative(neuron.height(free))
        target = neuron.landing(free)
        return jax.tree.map(lambda a, b: a + q * (b - a), free, target), level, q


@RELEASES.register("surrogate")
class Surrogate(AbstractRelease):
    """``q`` is the number of threshold crossings, its derivative is taken to be ``g``: biased by
    construction.

    **Arguments:** `detach_reset`: leave the reset out of the gradient.

    **Reference:** Neftci, Mostafa & Zenke, IEEE Signal Process. Mag. 2019.
    """

    needs_support: ClassVar[bool] = False
    exact: ClassVar[bool] = False

    detach_reset: bool = option(False, doc="leave the reset out of the gradient")

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, level: Level, current: Input, dt
    ) -> tuple[AnyState, Level, Float[Array, "*n"]]:
        end, path = neuron.travel(state, current, dt)
        q = neuron.crossed(gate, state, path)
        return neuron.surrogate_reset(end, path, q, self.detach_reset), level, q


@RELEASES.register("hard")
class Hard(AbstractRelease):
    """``q`` is the number of threshold crossings, its derivative is 0: for evaluation."""

    needs_support: ClassVar[bool] = False

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, level: Level, current: Input, dt
    ) -> tuple[AnyState, Level, Float[Array, "*n"]]:
        del gate
        end, path = neuron.travel(state, current, dt)
        return end, level, path.count


__all__ = ["Charge", "Graded", "Hard", "Surrogate"]
