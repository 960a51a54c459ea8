"""Layers and networks: parameters and their composition in space. Time is elsewhere."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .component import Component, check_shapes, option
from .connections import AbstractConnection, ActivationShape, Dense
from .connections.base import check_shapes as check_input
from .initialise import bistable, dale_signs, wired
from .neurons import AbstractNeuron, Wrapper
from .noise import Noise
from .parameters import as_parameter, resolve
from .readouts import AbstractReadout, LinearReadout
from .state import Background, LayerState, NetworkState
from .synapses import AbstractSynapse

Create = Callable[..., AbstractConnection]
"""``create(in_shape, out_shape, key=key)``: how a connection is drawn, as `AbstractConnection.create` with
its options given."""
WEAK = 0.1
"""Scale of recurrent weights: a default network of them does not run away."""
_RECURRENT = partial(Dense.create, scale=WEAK)


class Layer(Component):
    """A population of neurons with its input, its recurrence and its outgoing synapses.

    ```
    I(t) = U x(t) + W s(t) + b
    ```
    with U the connection `feedforward`, W `recurrent` and b the `bias`; x is the stimulus or the activation
    of the layer below, its mean over the step, and s the layer's own activation in the step before: a
    transmission delay of dt.

    With `reversal` potentials the synapses are conductances, held within a step. The connections then have
    ``1 + ports`` outputs for every neuron: a plain current ``I_0``, and the conductance of every port,
    ```
    I(t) = I_0 + b + sum_k g_k (E_k - v)
    ```

    **Arguments:** `feedforward`, `recurrent` (or None): connections to ``(*n)``, or to ``(1 + ports, *n)``;
    `bias`: current, broadcast to ``(*n)``; `neuron`; `synapse`; `reversal`: ``(ports,)`` or ``(ports, *n)``,
    in units of v, or None. Conductances are in units of the neuron's leak (LIF, ALIF, GLIF), in nS (EIF,
    AdEx), mS/cm2 (Hodgkin-Huxley), 1/ms (Izhikevich); they must not be negative: see `spikejax.Signed`.

    **Raises:** `ValueError` where shapes do not fit, and for conductances onto neurons that do not take them.
    """

    feedforward: AbstractConnection
    recurrent: AbstractConnection | None
    bias: Float[Array, "..."]
    neuron: AbstractNeuron
    synapse: AbstractSynapse
    reversal: Float[Array, "ports ..."] | None = None

    def __check_init__(self):
        shape = self.feedforward.out_shape
        if self.reversal is not None:
            if not self.neuron.conductances:
                raise ValueError(
                    f"`reversal` makes conductances, which {type(self.neuron).__name__} neurons do not take: "
                    "one that does says `conductances = True` and takes a `Drive` in its `flow`"
                )
            if shape[:1] != (1 + self.reversal.shape[0],):
                raise ValueError(
                    f"`feedforward` has outputs {shape}, but with {self.reversal.shape[0]} reversal "
                    f"potentials they are ({1 + self.reversal.shape[0]}, neurons): the current, and every "
                    "conductance"
                )
        try:
            fits = np.broadcast_shapes(self.bias.shape, self.shape) == self.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"`bias` has shape {self.bias.shape}, the layer's neurons {self.shape}")
        neuron = self.neuron
        check_shapes(neuron, self.shape)
        while isinstance(neuron, Wrapper):
            neuron = neuron.neuron
            check_shapes(neuron, self.shape)
        check_shapes(self.synapse, self.shape)
        own = (self.synapse.kinds, *self.shape)
        if self.recurrent is not None and (self.recurrent.in_shape, self.recurrent.out_shape) != (own, shape):
            raise ValueError(
                f"`recurrent` maps {self.recurrent.in_shape} to {self.recurrent.out_shape}, but the layer's "
                f"activation has shape {own} (time constants, neurons) and its current {shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the population."""
        shape = self.feedforward.out_shape
        return shape if self.reversal is None else shape[1:]

    @property
    def activation_shape(self) -> ActivationShape:
        """Shape of the activation of the layer's outgoing synapses, ``(kinds, *n)``."""
        return ActivationShape((self.synapse.kinds, *self.shape))

    @classmethod
    def create(
        cls,
        in_shape: tuple[int, ...],
        size: int | tuple[int, ...] | None,
        neuron: AbstractNeuron,
        synapse: AbstractSynapse,
        *,
        feedforward: Create = Dense.create,
        recurrent: Create | None = _RECURRENT,
        self_excitation: tuple[float, float] | None = None,
        bias: tuple[float, float] | None = None,
        bias_per: str = "neuron",
        excitatory: float | None = None,
        input_sign: Float[Array, "*n"] | None = None,
        reversal: tuple[float, float] | None = None,
        key: PRNGKeyArray,
    ) -> "Layer":
        """A layer of random connections, and of biases ``U(*bias)``, by default from 0 to 1.2 times the
        neuron's rheobase: so a sixth of the neurons fires without input, and weak input reaches others.

        **Arguments:** `in_shape`: shape of the input, that of a stimulus or the `activation_shape` of the
        layer below; `size`: shape of the population, or the number of neurons, or None where it follows from
        the connection, as with convolutions; `feedforward`, `recurrent`: how the connections are drawn, such
        as ``partial(Dense.create, scale=2.0)``; None: no recurrence; `self_excitation`: see
        `spikejax.initialise.bistable`; `bias_per`: whether every neuron has a bias of its own, or a channel,
        the first axis of the population, shares one.

        `excitatory`: Dale's law; this fraction of the neurons, the first ones, has positive recurrent weights
        only and the others negative ones (see `dale_signs`); `input_sign`: the same of the neurons of the
        layer below. `reversal`: ``(E_exc, E_inh)`` makes all synapses conductances (absolute weights): see
        `spikejax.initialise.wired`.

        **Raises:** `ValueError` for `self_excitation` that a mask or a sign would take away, and for
        `reversal` without `excitatory` in a recurrent layer.
        """
        if bias is not None and bias[0] > bias[1]:
            raise ValueError(f"`bias` is {list(bias)}, but must be [low, high]")
        if self_excitation is not None and recurrent is None:
            raise ValueError("`self_excitation` is recurrent: leave it out, or connect the layer with itself")
        if self_excitation is not None and (excitatory is not None or reversal is not None):
            raise ValueError(
                "`self_excitation` needs all synapses, of either sign: leave out density, excitatory and "
                "reversal"
            )
        if reversal is not None and recurrent is not None and excitatory is None:
            raise ValueError(
                "`reversal` needs `excitatory`, the fraction of neurons that open the first of the two "
                "conductances"
            )
        key_in, key_recurrent, key_bias = jax.random.split(key, 3)
        if bias_per not in ("neuron", "channel"):
            raise ValueError(f"`bias_per` is {bias_per!r}, but must be neuron or channel")
        asked = (size,) if isinstance(size, int) else None if size is None else tuple(size)
        into = feedforward(in_shape, asked, key=key_in)
        shape = into.out_shape
        own = None
        if recurrent is not None:
            own = recurrent(ActivationShape((synapse.kinds, *shape)), shape, key=key_recurrent)
            if self_excitation is not None:
                own = bistable(own, synapse, self_excitation, key=key_recurrent)
            sign = None
            if excitatory is not None:
                sign = dale_signs(shape, excitatory)
            own = wired(own, sign, reversal is not None)
        into = wired(into, input_sign, reversal is not None)
        low, high = (0.0, 1.2) if bias is None else bias
        own_shape = shape if bias_per == "neuron" else (*shape[:1], *(1 for _ in shape[1:]))
        start = jax.random.uniform(key_bias, own_shape, minval=low, maxval=high)
        if bias is None:
            rheobase = jnp.broadcast_to(resolve(neuron).rheobase(), shape)
            shared = tuple(a for a, n in enumerate(own_shape) if n != shape[a])
            start = start * jnp.mean(rheobase, axis=shared, keepdims=True)
        return cls(into, own, start, neuron, synapse, None if reversal is None else as_parameter(reversal))

    @classmethod
    def dense(
        cls,
        in_shape: tuple[int, ...],
        size: int,
        neuron: AbstractNeuron,
        synapse: AbstractSynapse,
        *,
        recurrent: bool = True,
        input_scale: float | tuple[float, ...] = 1.0,
        input_norm: float | None = None,
        recurrent_scale: float | tuple[float, ...] = WEAK,
        density: float = 1.0,
        autapses: bool = True,
        key: PRNGKeyArray,
        **options,
    ) -> "Layer":
        """`create` with dense connections.

        **Arguments:** `input_scale`, `input_norm`: `scale` and `norm` of the feed-forward connection;
        `recurrent_scale`, `density`, `autapses`: those of the recurrent one (see `Dense.create`); `options`:
        of `create`.

        Scales are in units of current. With `input_scale` 1 a stimulus, or a layer below, whose values are of
        the order of 1 makes a current of the order of 1, which is the threshold of a LIF neuron; a layer's
        activation is 1 where it fires at the synapse's `rate_unit`. At high rates a LIF neuron without a
        refractory period adds ``recurrent_scale/(rate_unit tau_mem)`` of activation for each that it gets:
        above 1 the population runs away. `spikejax.training.calibrate` finds scales for a rate.

        **Raises:** `ValueError` as `create`, and for an `input_norm` of conductances.
        """
        if options.get("reversal") is not None and input_norm is not None:
            raise ValueError("`input_norm` scales the weights of currents: leave it out with `reversal`")
        own = partial(Dense.create, scale=recurrent_scale, density=density, autapses=autapses)
        return cls.create(
            in_shape,
            size,
            neuron,
            synapse,
            feedforward=partial(Dense.create, scale=input_scale, norm=input_norm),
            recurrent=own if recurrent else None,
            key=key,
            **options,
        )

    def init(
        self, *, key: PRNGKeyArray | None = None, noise: Float[Array, "..."] | float | None = None
    ) -> LayerState:
        """State at the start of a trial; with a `key` voltages are drawn (see `AbstractNeuron.init`)."""
        # A neuron that sets up its state itself need not know about noise unless it is asked for.
        asked = {} if noise is None else {"noise": noise}
        synapse, dtype = self.synapse, self.bias.dtype
        return LayerState(
            resolve(self.neuron).init(self.shape, key=key, **asked),
            synapse.init(self.shape, dtype),
            jnp.zeros(self.shape, dtype),
            synapse.init_hidden(self.shape, dtype),
            None if self.recurrent is None else self.recurrent.init(dtype),
            self.feedforward.init(dtype),
        )

    def at(self, dt: float | Float[Array, ""]) -> "Layer":
        """The layer with its connections at a time step (ms); an activation is seen by its own layer in the
        next step, which is a delay of dt."""
        found = eqx.tree_at(lambda layer: layer.feedforward, self, self.feedforward.at(dt))
        if self.recurrent is None:
            return found
        return eqx.tree_at(lambda layer: layer.recurrent, found, self.recurrent.at(dt, dt))


class Skip(Component):
    """A connection that leaves layers out: its current is added to that of the feed-forward connection.

    **Arguments:** `connection`; `source`: number of the layer whose activation it takes, -1 for the stimulus;
    `target`: number of the layer that it feeds, further up than the next one or not.

    **Raises:** `ValueError` unless the target comes after the source.
    """

    connection: AbstractConnection
    source: int = option(doc="layer it comes from; -1: the stimulus", at_least=-1, kw_only=False)
    target: int = option(doc="layer it leads to", at_least=0, kw_only=False)

    def __check_init__(self):
        if self.target <= self.source:
            raise ValueError(
                f"Skip: `target` is layer {self.target}, which does not come after the `source`, layer "
                f"{self.source}: a layer's own activation is for its `recurrent` connection"
            )


class Network(Component):
    """A stack of layers, each recurrent or not, with a readout of the last.

    **Arguments:** `layers`: at least one; `readout`; `skips`: connections that leave layers out.

    **Raises:** `ValueError` where the shapes of what is connected do not fit.
    """

    layers: tuple[Layer, ...]
    readout: AbstractReadout
    skips: tuple[Skip, ...] = ()

    def __check_init__(self):
        if not self.layers:
            raise ValueError("`layers` is empty: a network has at least one layer")
        given = "the layer below gives {} (time constants, neurons)"
        for i, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            check_input(above.feedforward, below.activation_shape, f"layers[{i + 1}].feedforward", given)
        check_input(self.readout.connection, self.layers[-1].activation_shape, "readout.connection", given)
        for k, skip in enumerate(self.skips):
            self._check_skip(skip, f"skips[{k}]")

    def _check_skip(self, skip: Skip, name: str) -> None:
        if skip.target >= len(self.layers):
            raise ValueError(
                f"`{name}` leads to layer {skip.target}, but the last of {len(self.layers)} is layer "
                f"{len(self.layers) - 1}"
            )
        if skip.source < 0:
            shape, given = self.in_shape, "the stimulus is {} (layers[0].feedforward.in_shape)"
        else:
            shape, given = self.layers[skip.source].activation_shape, f"layer {skip.source} gives {{}}"
        check_input(skip.connection, shape, f"{name}.connection", given)
        current = self.layers[skip.target].feedforward.out_shape
        if skip.connection.out_shape != current:
            raise ValueError(
                f"`{name}.connection` has outputs {skip.connection.out_shape}, but the current of layer "
                f"{skip.target} is {current}"
            )

    @classmethod
    def dense(
        cls,
        channels: int | tuple[int, ...],
        sizes: tuple[int, ...],
        outputs: int,
        *,
        neuron: AbstractNeuron,
        synapse: AbstractSynapse,
        recurrent: bool = True,
        key: PRNGKeyArray,
        **init,
    ) -> "Network":
        """A stack of dense layers of equal neurons with a linear readout; `init` goes to `Layer.dense`.

        **Arguments:** `channels`: of the stimulus, their number or the shape they lie in; `sizes`: neurons
        per layer; `outputs`: of the readout.
        """
        keys = jax.random.split(key, len(sizes) + 1)
        lie = (channels,) if isinstance(channels, int) else channels
        shapes = [lie, *(ActivationShape((synapse.kinds, n)) for n in sizes)]
        layers = tuple(
            Layer.dense(shape, n, neuron, synapse, recurrent=recurrent, key=k, **init)
            for shape, n, k in zip(shapes, sizes, keys, strict=False)
        )
        return cls(layers, LinearReadout.create(shapes[-1], outputs, key=keys[-1]))

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of the stimulus at one moment."""
        return self.layers[0].feedforward.in_shape

    @property
    def wires(self) -> tuple[tuple[int, int, AbstractConnection], ...]:
        """Every feed-forward connection with the layers that it leads from (-1: the stimulus) and to: those
        of the layers, then the skips."""
        stack = tuple((i - 1, i, layer.feedforward) for i, layer in enumerate(self.layers))
        return stack + tuple((skip.source, skip.target, skip.connection) for skip in self.skips)

    def init(
        self,
        *,
        key: PRNGKeyArray | None = None,
        noise: Noise | Float[Array, "..."] | float | None = None,
        dt: float | None = None,
    ) -> NetworkState:
        """State at the start of a trial; with a `key` voltages are drawn (see `AbstractNeuron.init`).

        **Arguments:** `noise`: what is random in the trial, or the standard deviation of the voltages alone.
        With a background current the state has room for it from the start, as a `jax.lax.scan` over the
        chunks of a recording needs. `dt`: the time step (ms), which that needs where connections remember the
        past, as with delays.
        """
        if dt is not None:
            return self.at(dt).init(key=key, noise=noise)
        background = None
        if isinstance(noise, Noise):
            background = self._background() if noise.drives else None
            noise = noise.initial
        keys = [None] * len(self.layers) if key is None else jax.random.split(key, len(self.layers))
        states = (layer.init(key=k, noise=noise) for layer, k in zip(self.layers, keys, strict=True))
        skips = tuple(skip.connection.init(self.layers[skip.target].bias.dtype) for skip in self.skips)
        return NetworkState(tuple(states), self.readout.init(), background, skips)

    def at(self, dt: float | Float[Array, ""]) -> "Network":
        """The network with its parameters resolved and its connections at a time step of `dt` ms
        (`AbstractConnection.at`), as a simulation runs it."""
        network = resolve(self)
        moved = lambda where, one: eqx.tree_at(where, one, where(one).at(dt))
        return Network(
            tuple(layer.at(dt) for layer in network.layers),
            moved(lambda readout: readout.connection, network.readout),
            tuple(moved(lambda skip: skip.connection, skip) for skip in network.skips),
        )

    def _background(self) -> Background:
        """A background current that has not begun."""
        last = tuple(jnp.zeros(layer.shape, layer.bias.dtype) for layer in self.layers)
        return Background(jnp.zeros((), jnp.int32), last)


__all__ = ["WEAK", "Create", "Layer", "Network", "Skip"]
