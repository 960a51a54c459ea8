"""Gates: the smooth replacement of the spike threshold.

A gate is a density ``g >= 0`` with compact support (the *active zone*) and integral 1, and its integral
``G``. Here ``u`` is the membrane potential measured from the centre of the active zone. The neuron defines
that centre (`spikejax.neurons.AbstractNeuron.released`), and a release (`spikejax.releases`) how charge
passes the gate.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .component import Component, parameter, part
from .elementary import quotient, relative_decay
from .kernels import KERNELS, AbstractKernel
from .registry import Registry

RELEASES: "Registry[AbstractRelease]" = Registry("release")


class Released(NamedTuple):
    """The charge that a neuron releases in a step, and when in the step."""

    charge: Float[Array, "*n"]
    """``q``: 1 for a whole spike, at any speed."""
    prompt: Float[Array, "*n"]
    """``int (1 - t/dt) dq``, t being the time in the step: what arrives in the same step. The rest arrives in
    the next one; where all of it is prompt, this is the same array as `charge`."""

    @property
    def late(self) -> Float[Array, "*n"]:
        """What arrives in the next step."""
        return jnp.zeros_like(self.charge) if self.prompt is self.charge else self.charge - self.prompt


class Level(NamedTuple):
    """Where a membrane potential stands in a gate."""

    u: Float[Array, "*n"]
    """The potential, in units of v, from a point that is the same at both ends of a way."""
    charge: Float[Array, "*n"]
    """``G(u)``, the charge released on the way up to there."""
    area: Float[Array, "*n"]
    """The integral of G up to there."""


class Upswing(NamedTuple):
    """How a way ends whose speed grows."""

    pace: Float[Array, "*n"]
    """How far it would go in its time at the speed of its end, in units of v."""
    growth: Float[Array, "*n"]
    """The derivative of the speed in v, at the end, times the time of the way."""


class AbstractRelease(Component):
    """How charge passes a gate in one step of a neuron, and what its derivative is.

    A release is stateless and elementwise, and knows no weights.
    """

    needs_support: ClassVar[bool] = True
    """Whether the gate's kernel must have compact support."""
    from_below: ClassVar[bool] = False
    """Whether the active zone ends at the threshold; else it is centred on it."""
    exact: ClassVar[bool] = True
    """Whether the derivative is that of what is simulated."""
    width: ClassVar[float] = 0.5
    """Width of a gate that is given none, in units of v."""

    def check(self, neuron: Any) -> None:
        """Raise `ValueError` if `neuron` is none that this release serves."""
        del neuron

    @property
    def per_layer(self) -> dict[str, Float[Array, "*layers"]]:
        """Its arrays that may have one value for every layer, by name."""
        return {}

    def of_layer(self, i: int) -> "AbstractRelease":
        """The release of layer `i`: this one, unless an array of its own has one value a layer."""
        del i
        return self

    @abc.abstractmethod
    def step(self, neuron: Any, gate: "Gate", state: Any, current: Any, dt: Any) -> tuple[Any, Released]:
        """One step of `dt` ms.

        **Arguments:** `neuron`: an `AbstractNeuron`; `state`: its state, arrays ``(*n)``; `current` ``(*n)``,
        or a `Drive`.

        **Returns:** the state at the end of the step, and the charge `Released` in it.
        """


class Gate(Component):
    """A threshold gate ``g_a`` of width ``width/sharpness`` and the way charge is released through it.

    ```
    g(u)   = (2/width) k(2 u/width)                      the density, integral 1
    g_a(v) = a g(a (v - v0) + v0)                        sharpness a, about the fixed point v0
    ```
    so the zone of ``g_a`` is ``a`` times narrower and ``a -> inf`` is the ordinary threshold. ``width`` and
    ``sharpness`` are arrays: changing them recompiles nothing, and `jax.vmap` runs over them. Each may have
    one value for every layer of the network.

    **Arguments:** `kernel`: an `AbstractKernel` or its name in `KERNELS`; `width`: support at sharpness 1, in
    units of v (for `FastSigmoid`, `ArcTan` and `Laplace`: twice the inverse slope), by default what the
    release trains well with (0.5; graded and surrogate: 2); `sharpness`: dimensionless; `release`: an
    `AbstractRelease` or its name in `RELEASES`: ``"charge"``, ``"graded"``, ``"surrogate"`` or ``"hard"``
    (`spikejax.releases`).

    **Raises:** `ValueError` for an unknown kernel or release, a width or sharpness that is not above 0, and a
    kernel without compact support with a release that needs it.

    **Reference:** Huh & Sejnowski, NeurIPS 2018, eqs. 2-4.

    !!! example
        >>> import spikejax
        >>> gate = Gate("raised_cosine", width=0.5)
        >>> float(gate.cumulative(jnp.array(0.0)))
        0.5
        >>> gate.sharpen(4.0).support == gate.support / 4
        Array(True, dtype=bool)
    """

    kernel: AbstractKernel = part(KERNELS, "raised_cosine", doc="shape of the gate's density", kw_only=False)
    width: Float[Array, "*layers"] = parameter(
        None,
        doc="width of the active zone at sharpness 1, in units of v; default: 0.5, for graded and "
        "surrogate 2",
        positive=True,
        kw_only=False,
    )
    sharpness: Float[Array, "*layers"] = parameter(
        1.0, doc="by how much the zone is narrower than its width", positive=True, kw_only=False
    )
    release: AbstractRelease = part(RELEASES, "charge", doc="how charge passes the gate: the gradient method")

    def __post_init__(self):
        if self.width is None:
            self.width = RELEASES.coerce(self.release).width

    def __check_init__(self):
        if self.release.needs_support and not self.kernel.compact:
            compact = ", ".join(name for name, kernel in KERNELS.items() if kernel.compact)
            raise ValueError(
                f"kernel {KERNELS.name_of(self.kernel)!r} has no compact support and serves "
                f"release='surrogate' only, not {RELEASES.name_of(self.release)!r}: choose {compact}"
            )
        for name, x in self._per_layer.items():
            if x.ndim > 1:
                raise ValueError(f"Gate: `{name}` has shape {x.shape}: give a number, or one a layer")

    @property
    def _per_layer(self) -> dict[str, Float[Array, "*layers"]]:
        """What may have one value for every layer, by name."""
        return {"width": self.width, "sharpness": self.sharpness} | self.release.per_layer

    @property
    def support(self) -> Float[Array, "*layers"]:
        """Width of the active zone, in units of v."""
        return self.width / self.sharpness

    def check_layers(self, layers: int) -> None:
        """Raise `ValueError` if width, sharpness or an array of the release has one value a layer, but of
        another number of layers."""
        for name, x in self._per_layer.items():
            if x.ndim and x.shape[0] != layers:
                raise ValueError(
                    f"the gate's `{name}` has {x.shape[0]} values, one a layer, but the network has {layers} "
                    f"layer{'s' if layers > 1 else ''}: give one for each"
                )

    def of_layer(self, i: int) -> "Gate":
        """The gate of layer `i`: this one, unless its width, its sharpness or an array of its release has one
        value a layer."""
        if not any(x.ndim for x in self._per_layer.values()):
            return self
        width, sharpness = (x[i] if x.ndim else x for x in (self.width, self.sharpness))
        return Gate(self.kernel, width, sharpness, release=self.release.of_layer(i))

    def density(self, u: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``g_a`` at distance `u` from the zone's centre, in 1/v: its integral is 1 for a kernel with compact
        support."""
        x = u * (2 / self.support)
        return self.kernel.density(x) * (2 / self.support)

    def cumulative(self, u: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``G_a`` at distance `u` from the zone's centre; from 0 to 1."""
        return self.kernel.cumulative(u * (2 / self.support))

    def spike(
        self, u: Float[Array, "*n"], count: Float[Array, "*n"], peak: Float[Array, "..."] | float = 1.0
    ) -> Float[Array, "*n"]:
        """`count` in the forward direction; derivative ``peak k(2 u/support)/k(0) du`` in the backward one
        (the surrogate gradient), whose height does not depend on the width."""
        return _surrogate(self, u, count, peak)

    def level(self, u: Float[Array, "*n"]) -> Level:
        """Where a potential stands at distance `u` from the zone's centre."""
        half = 0.5 * self.support
        return Level(u, self.cumulative(u), half * self.kernel.area(u / half))

    def prompt(self, start: Level, end: Level, upswing: Upswing | None = None) -> Float[Array, "*n"]:
        """What a way from `start` to `end` releases, each part times the share of the way's time that is left
        after it.

        On a straight way, with x the share of the way that is left,
        ```
        int x dG = mean(G) - G(start),    mean(G) = (area(end) - area(start))/(end - start)
        ```
        Where the way is short against the zone the quotient is rounding, and the trapezoid, half of the
        charge, as good: the two are blended, ``(d^2 quotient + e^2 trapezoid)/(d^2 + e^2)`` for a way of
        length d and e a hundredth of the zone, which is smooth and divides by nothing small.

        An `upswing` passes its end faster than a straight way does: what is left of the way takes less time.
        With ``r = (end - start)/pace`` and ``k = r growth``, at least ``2 (1 - r)``, the share of the time
        that is left at x is taken to be
        ```
        r (exp(k x) - 1)/k,    at most 1
        ```
        which has the right speed and acceleration at the end and is exact where the speed grows
        exponentially in v. (The least k is that of a short way, which makes the whole of it last 1.) Where r
        is not below 1 the way is taken as straight. The charge is weighed with it at two points, the means of
        the two halves of the part of the way that lies in the zone.
        """
        way, short = end.u - start.u, 0.01 * self.support

        def share(a: Level, b: Level, middle: float):
            """``int x dG`` over the straight piece from a to b; on a short way, x at its `middle`."""
            charge = b.charge - a.charge
            left = (end.u - b.u) * charge + (b.area - a.area - (b.u - a.u) * a.charge)
            return quotient(left * way + middle * short**2 * charge, way**2 + short**2)

        if upswing is None:
            return share(start, end, 0.5)
        faster = upswing.pace * jnp.sign(way) > jnp.abs(way)
        ratio = jnp.where(faster, way / jnp.where(faster, upswing.pace, 1.0), 1.0)
        curve = jnp.maximum(jnp.where(faster, ratio * upswing.growth, 0.0), 2 * (1 - ratio))
        edge = -0.5 * self.support
        half = self.level(0.5 * (jnp.maximum(start.u, edge) + jnp.maximum(end.u, edge)))
        total = jnp.zeros_like(way)
        for a, b, middle in ((start, half, 0.75), (half, end, 0.25)):
            straight, charge = share(a, b, middle), b.charge - a.charge
            # The mean of x over the charge; where there is next to none, 0 does as well.
            x = jnp.clip(straight * charge / (charge**2 + 1e-8), 0.0, 1.0)
            shrink = ratio * relative_decay(-jnp.clip(curve * x, -30.0, 30.0))
            total = total + straight * jnp.minimum(shrink, 1 / jnp.maximum(x, 1e-3))
        return total

    def step(self, neuron: Any, state: Any, current: Any, dt: Any) -> tuple[Any, Released]:
        """One elementwise step of `dt` ms of a neuron through this gate: its state, and what it releases; see
        `AbstractRelease.step`."""
        return self.release.step(neuron, self, state, current, dt)

    def with_release(self, release: "str | AbstractRelease") -> "Gate":
        """The same gate with another release."""
        return Gate(self.kernel, self.width, self.sharpness, release=RELEASES.coerce(release))

    def sharpen(self, sharpness) -> "Gate":
        """The same gate at another sharpness."""
        return Gate(self.kernel, self.width, sharpness, release=self.release)

    def hard(self) -> "Gate":
        """The ordinary threshold, the limit ``a -> inf``, for evaluation."""
        return self.with_release("hard")


@jax.custom_jvp
def _surrogate(gate, u, count, peak):
    del gate, u, peak
    return count


@_surrogate.defjvp
def _surrogate_jvp(primals, tangents):
    gate, u, count, peak = primals
    centre = gate.kernel.density(jnp.zeros((), u.dtype))
    return count, (peak / centre) * gate.kernel.density(u * (2 / gate.support)) * tangents[1]


__all__ = [
    "RELEASES",
    "AbstractRelease",
    "Gate",
    "Level",
    "Released",
]
