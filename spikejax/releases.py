"""Four ways to release charge through a gate, and their gradients: where reset and release meet.

With `Charge` the charge reads the path of the reset model, ``q = G(v_end) - G(v_start) + resets``. With
`Graded` and `Surrogate` the reset reads the charge.

All of them say, beside the charge of a step, when in the step it was released (`Released`), so that they
simulate the same network and differ in their gradient only.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .component import option, parameter
from .elementary import beneath, once
from .gates import RELEASES, AbstractRelease, Gate, Released
from .neurons import AbstractNeuron, AnyState, Input


@RELEASES.register("charge")
class Charge(AbstractRelease):
    """The paper's synapse, driven by ``g(v) dv/dt`` and integrated over the step: exact.

    ``q = G(v_end) - G(v_start)``, plus 1 for a reset inside the step. Smooth in every parameter, and as the
    zone narrows its gradient goes to that of the spike times (`Hard`): a zone that is crossed within a step
    is no worse than another, because the time of the crossing is known.

    **Reference:** Huh & Sejnowski, NeurIPS 2018, eqs. 2-4; the time of the release is derived in
    `AbstractNeuron.released`.
    """

    from_below: ClassVar[bool] = True

    def check(self, neuron: AbstractNeuron) -> None:
        if neuron.jumps:
            raise ValueError(
                f"release='charge' follows the potential on its way through the zone, and that of "
                f"{type(neuron).__name__} neurons jumps with the input of every step: use graded (the smooth "
                "gate), surrogate or hard"
            )

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Released]:
        end, path = neuron.travel(state, current, dt)
        if path.first is None:
            return end, neuron.released(gate, end, path)
        end, first, last = once((end, path.first, path.last))
        released = neuron.released(gate, end, path._replace(first=first, last=last))
        return end, Released(*once(tuple(released)))


@RELEASES.register("graded")
class Graded(AbstractRelease):
    """``q = G(v_free)`` and a reset in proportion, with the zone centred on the threshold: exact for *that*
    model. It has no crossing, and releases its charge evenly over the step; where v jumps with the input of
    the step, at its start, as a spike there does.

    Its derivative of v through the reset, ``1 - q - g (v - v_reset)``, exceeds 1 in size for a narrow gate:
    the default width is 2.
    """

    width: ClassVar[float] = 2.0

    def check(self, neuron: AbstractNeuron) -> None:
        if not neuron.partial_reset:
            raise ValueError(
                f"release='graded' takes a part of the reset, which {type(neuron).__name__} neurons do not "
                "have: use charge, surrogate or hard"
            )

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Released]:
        free = neuron.flow(state, current, dt)
        q = gate.cumulative(neuron.height(free))
        target = neuron.landing(free)

        def part(a, b):
            # What is no real number, such as a count, jumps as a whole: at the threshold, where q is 1/2.
            share = beneath(q, a)
            if jnp.issubdtype(a.dtype, jnp.inexact):
                return a + share * (b - a)
            return jnp.where(share < 0.5, a, b)

        prompt = q if neuron.jumps else 0.5 * q
        return jax.tree.map(part, free, target), Released(q, prompt)


@RELEASES.register("surrogate")
class Surrogate(AbstractRelease):
    """``q`` is the number of threshold crossings, its derivative is taken to be the gate's shape with a peak
    of ``scale/(v_th - v_reset)`` (`AbstractNeuron.crossed`): biased by construction.

    A narrow gate leaves neurons far from their threshold without a gradient; the default width, 2, reaches
    from ``v_th - 1`` to ``v_th + 1``.

    **Arguments:** `detach_reset`: leave the reset out of the gradient; `time_gradient`: give the times of the
    crossings their exact derivative, beside the surrogate one of their number; `scale`: factor of the
    derivative, one or one for each layer. Through many layers the gradient grows or vanishes with its powers.

    **Reference:** Neftci, Mostafa & Zenke, IEEE Signal Process. Mag. 2019.
    """

    needs_support: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    width: ClassVar[float] = 2.0

    detach_reset: bool = option(False, doc="leave the reset out of the gradient")
    time_gradient: bool = option(
        False, doc="give the times of the spikes their exact derivative, beside the surrogate of their number"
    )
    scale: Float[Array, "*layers"] = parameter(1.0, doc="factor of the surrogate derivative", positive=True)

    @property
    def per_layer(self) -> dict[str, Float[Array, "*layers"]]:
        return {"scale": self.scale}

    def of_layer(self, i: int) -> "Surrogate":
        if not self.scale.ndim:
            return self
        return Surrogate(
            detach_reset=self.detach_reset, time_gradient=self.time_gradient, scale=self.scale[i]
        )

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Released]:
        end, path = neuron.travel(state, current, dt)
        # The number is as it is; the factor is that of its derivative.
        q = path.count + self.scale * (neuron.crossed(gate, path) - path.count)
        left = path.left if self.time_gradient else jax.lax.stop_gradient(path.left)
        end = neuron.surrogate_reset(end, path, q, self.detach_reset)
        return end, Released(q, q if path.first is None else q * left)


@RELEASES.register("hard")
class Hard(AbstractRelease):
    """The ordinary threshold: ``q`` is the number of crossings, which has no derivative; their times have
    their exact one.

    The limit of `Charge` for a narrow zone. Its gradient is that of the spike times (of EventProp, on the
    grid), exact as long as no spike appears or vanishes.

    **Reference:** Wunderlich & Pehle, Sci. Rep. 2021, for the gradient in continuous time.
    """

    needs_support: ClassVar[bool] = False

    def step(
        self, neuron: AbstractNeuron, gate: Gate, state: AnyState, current: Input, dt
    ) -> tuple[AnyState, Released]:
        del gate
        end, path = neuron.travel(state, current, dt)
        return end, Released(path.count, path.count if path.first is None else path.count * path.left)


__all__ = ["Charge", "Graded", "Hard", "Surrogate"]
