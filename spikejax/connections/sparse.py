"""The connection of few synapses, which are kept as a list."""

import math
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..component import Declaration, check_keywords, option
from ..event_product import sparse_product
from ..parameters import AbstractReparametrisation, Signed, resolve
from ..stimulus import PATHS
from .base import CONNECTIONS, AbstractInstant, ActivationShape
from .dense import Autapses, Norm, Scale, check_own, scales_of

AT_ONCE = 1 << 22
"""Random numbers that are drawn together to choose inputs, at most, unless one neuron has more."""


@CONNECTIONS.register("sparse")
class Sparse(AbstractInstant):
    """Each neuron has synapses from `degree` of its inputs, chosen at random and kept as a list: ``I_i =
    sum_k W_ik x_source(i,k)``.

    Time and memory go with the number of synapses, where those of `Dense` go with the number of all pairs,
    even if most of them are absent. The product is that of lists of events, with its exact derivative in the
    weights (`spikejax.event_product`); under `jax.vmap` all trials are one product.

    **Arguments:** `weight` (units of the current): ``(*out, degree)``, or ``(*out, degree, kinds)`` from
    neurons with one or several synaptic time constants; `source`: ``(*out, degree)``, numbers of the inputs,
    counted through all axes but the kinds; `in_shape`, the shape of the input; `path` of the product, chosen
    by density and shape if "auto".

    **Raises:** `ValueError` where the shapes do not belong together, or a source is none of the inputs.
    """

    weight: Float[Array, "..."] | AbstractReparametrisation
    source: Int[Array, "*out degree"]
    order: Int[Array, " synapses"]
    """The synapses in the order of what they come from: a costate takes them in this one."""
    in_shape: tuple[int, ...] = eqx.field(static=True)
    path: str = option("auto", doc="how the product is computed", choices=PATHS)

    def __init__(self, weight, source, in_shape: tuple[int, ...], *, path: str = "auto"):
        self.weight, self.source, self.in_shape, self.path = weight, source, in_shape, path
        self.order = jnp.argsort(self._lists()[1])

    def __check_init__(self):
        kinds = tuple(self.in_shape[:1] if self._kinds else ())
        expected, inputs = self.source.shape + kinds, math.prod(self.in_shape[len(kinds) :])
        if tuple(self.weight.shape) != expected:
            raise ValueError(
                f"Sparse: `weight` has shape {tuple(self.weight.shape)}, but `source` has shape "
                f"{self.source.shape} and the input {tuple(self.in_shape)}: give {expected}"
            )
        if isinstance(self.source, Tracer) or not self.source.size:
            return
        low, high = int(self.source.min()), int(self.source.max())
        if low < 0 or high >= inputs:
            raise ValueError(f"Sparse: `source` goes from {low} to {high}, but must lie in 0 to {inputs - 1}")

    @property
    def _kinds(self) -> bool:
        """Whether the input has an axis of synaptic time constants."""
        return isinstance(self.in_shape, ActivationShape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the current."""
        return self.source.shape[:-1]

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...] | None,
        *,
        key: PRNGKeyArray,
        scale: Scale = 1.0,
        norm: Norm = None,
        density: Annotated[
            float,
            Declaration(
                doc="fraction of its inputs that each neuron has a synapse from, the same number for all",
                above=0.0,
                at_most=1.0,
            ),
        ] = 0.1,
        autapses: Autapses = True,
        path: Annotated[str, Declaration(doc="how the product is computed", choices=PATHS)] = "auto",
    ) -> "Sparse":
        """Inputs drawn without repetition, and weights from ``N(0, scale^2/degree)``, degree being `density`
        times the number of inputs, rounded, and at least 1.

        **Arguments:** `scale`, `norm`: as of `Dense.create`; `autapses`: whether a neuron may have a synapse
        onto itself (of a population to itself).

        **Raises:** `ValueError` for numbers out of their range, and without a population to connect to.
        """
        check_keywords(cls, scale=scale, norm=norm, density=density, path=path)
        if out_shape is None:
            raise ValueError("`size` is not given, but a sparse connection leads to any number of neurons")
        kinds = in_shape[:1] if isinstance(in_shape, ActivationShape) else ()
        plain = tuple(in_shape[len(kinds) :])
        inputs, outputs = math.prod(plain), math.prod(out_shape)
        if not autapses:
            check_own(in_shape, out_shape)
        choices = inputs if autapses else inputs - 1
        degree = min(max(round(density * inputs), 1), choices)
        if not degree:
            raise ValueError("`autapses` is false, but there is one neuron, which has no other to hear")
        own = jnp.arange(outputs, dtype=jnp.int32)

        def choose(i):
            numbers = jax.random.uniform(jax.random.fold_in(key, i), (choices,))
            found = jnp.sort(jax.lax.top_k(numbers, degree)[1].astype(jnp.int32))
            return found if autapses else found + (found >= i)

        source = jax.lax.map(choose, own, batch_size=max(AT_ONCE // choices, 1))
        scales = scales_of(scale, in_shape)
        if scales.ndim and not kinds:  # of the channels of a stimulus, the first of its axes
            scales = scales[source // math.prod(in_shape[1:])]
        shape = (outputs, degree, *kinds)
        weight = scales * jax.random.normal(jax.random.fold_in(key, outputs), shape) / math.sqrt(degree)
        if norm is not None:
            lengths = jnp.linalg.norm(weight.reshape(outputs, -1), axis=1)
            weight = norm * weight / lengths.reshape(-1, *(1 for _ in shape[1:]))
        full = lambda x: x.reshape(*out_shape, *x.shape[1:])
        return cls(full(weight), full(source), in_shape, path=path)

    def signed(self, sign: Float[Array, "..."] | float) -> "Sparse":
        """The connection with weights of the signs of their inputs, one for each but for the kinds, or one
        for all; where 0, there is no current. Their size is what it was."""
        weight = resolve(self.weight)
        signs = jnp.asarray(sign, weight.dtype)
        plain = tuple(self.in_shape[1:] if self._kinds else self.in_shape)
        signs = jnp.broadcast_to(signs, plain).reshape(-1)[self.source]
        signs = jnp.broadcast_to(signs.reshape(signs.shape + (1,) * self._kinds), weight.shape)
        there = jnp.where(signs != 0, weight, 0.0)
        return eqx.tree_at(lambda one: one.weight, self, Signed(there, signs))

    def __call__(self, x):
        """Current of shape ``(*out)`` for one input of shape ``(*in)``."""
        return self._currents(x[None])[0]

    def over_time(self, x, memory=None, mask=None):
        if not isinstance(x, jax.Array):
            return super().over_time(x, memory, mask)
        return self._currents(x), memory

    def _currents(self, x: Float[Array, "time *in"]) -> Float[Array, "time *out"]:
        """All steps are columns of one product."""
        target, source = self._lists()
        # The way back from an order is its inverse.
        every = jnp.arange(len(target), dtype=jnp.int32)
        orders = self.order, jnp.zeros_like(every).at[self.order].set(every)
        weight, columns = resolve(self.weight).reshape(-1), x.reshape(x.shape[0], -1).T
        outputs = math.prod(self.out_shape)
        y = sparse_product(weight, target, source, orders, columns, outputs, path=self.path)
        return y.T.reshape(x.shape[0], *self.out_shape)

    def _lists(self) -> tuple[Int[Array, " synapses"], Int[Array, " synapses"]]:
        """Target and source of every synapse, in the order of the targets; each synaptic time constant has
        synapses of its own."""
        kinds = self.in_shape[0] if self._kinds else 1
        outputs, inputs = math.prod(self.out_shape), math.prod(self.in_shape) // kinds
        kind = inputs * jnp.arange(kinds, dtype=jnp.int32)[None, None]
        source = self.source.reshape(outputs, -1, 1) + kind
        target = jnp.broadcast_to(jnp.arange(outputs, dtype=jnp.int32)[:, None, None], source.shape)
        return target.reshape(-1), source.reshape(-1)


__all__ = ["Sparse"]
