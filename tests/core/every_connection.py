"""Every connection there is, and a user's own with a memory, to be tested as one of many."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spikejax.component import annotated
from spikejax.connections import CONNECTIONS, AbstractConnection, Convolution, Pool

KEY = jax.random.key(0)
DT = 0.5


class Echo(AbstractConnection):
    """A user's connection with a memory: weights of the present input and of those 1 and 3 steps ago."""

    weight: Float[Array, "taps *out_in"]
    in_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def out_shape(self):
        return self.weight.shape[1 : self.weight.ndim - len(self.in_shape)]

    def init(self, dtype):
        return jnp.zeros((3, *self.in_shape), dtype)

    def step(self, x, memory=None):
        past = self.init(x.dtype) if memory is None else memory
        taps = jnp.stack([x, past[-1], past[-3]])
        y = jnp.tensordot(self.weight, taps, axes=([0, *range(-x.ndim, 0)], [0, *range(-x.ndim, 0)]))
        return y, jnp.concatenate([past[1:], x[None]])

    @classmethod
    def create(cls, in_shape, out_shape, *, key, scale: float = 1.0):
        return cls(scale * jax.random.normal(key, (3, *out_shape, *in_shape)), in_shape)


OF_SPACE = {
    "convolution": {"channels": 4, "weight_norm": True},
    "pool": {"pad": True},
    "unpool": {"weight": 0.7},
    "chain": {
        "connections": (Pool.create, partial(Convolution.create, channels=3), partial(Echo.create, scale=0.5))
    },
}
"""Options of the connections whose outputs have a shape that follows; a chain has one with a memory."""


def drawn(name, in_shape, out_shape, key=KEY):
    """One by the name of its kind."""
    kind = Echo if name == "echo" else CONNECTIONS[name]
    options = {"longest": 1.7} if "longest" in annotated(kind.create) else OF_SPACE.get(name, {})
    shape = None if name in ("convolution", "pool", "unpool") else out_shape
    return kind.create(in_shape, shape, key=key, **options)


def make(name, in_shape, out_shape, key=KEY):
    """One that is bound to a time step."""
    return drawn(name, in_shape, out_shape, key).at(DT)


EVERY = [*CONNECTIONS, "echo"]
