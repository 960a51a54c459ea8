"""Dropout is drawn in training, by each trial's key, and nowhere else."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from spikejax import (
    LIF,
    ClockDriven,
    Convolution,
    Dropout,
    Exponential,
    Layer,
    LinearReadout,
    Network,
    trainable,
)
from spikejax.connections import with_dropout
from spikejax.losses import CrossEntropy
from spikejax.tasks import Trial
from spikejax.training import make_evaluate
from spikejax.training.step import gradient

KEY = jax.random.key(0)


def networks():
    """With dropout and without."""
    layer = partial(
        Layer.create, (2, 6), None, LIF(), Exponential(5.0), recurrent=None, bias=(1.0, 2.0), key=KEY
    )
    plain = layer(feedforward=partial(Convolution.create, channels=3, scale=2.0))
    readout = LinearReadout.create(plain.activation_shape, 2, key=KEY)
    thinned = eqx.tree_at(lambda one: one.feedforward, plain, Dropout(plain.feedforward, rate=0.5))
    return tuple(Network((one,), readout) for one in (thinned, plain))


def test_of_training_only(relative):
    thinned, plain = networks()
    keys = jax.random.split(KEY, 3)
    trials = Trial(
        jax.random.uniform(KEY, (3, 20, 2, 6)), jnp.array([0, 1, 1]), label=jnp.array([0, 1, 1]), key=keys
    )
    simulator, loss = ClockDriven(), CrossEntropy()

    @eqx.filter_jit
    def grad(network, trials):
        params, fixed = eqx.partition(network, trainable(network))
        return gradient(params, fixed, trials, simulator, loss=loss)[0]

    def weight_of(grads):
        own = grads.layers[0].feedforward
        return own.connection.weight if isinstance(own, Dropout) else own.weight

    found = weight_of(grad(thinned, trials))
    # By hand: each trial's own mask on its stimulus.
    masks = jax.vmap(lambda k: with_dropout(thinned, k).layers[0].feedforward.mask)(keys)
    assert len(np.unique(np.asarray(masks).reshape(3, -1), axis=0)) == 3
    by_hand = trials._replace(stimulus=trials.stimulus * masks[:, None])
    assert relative(found, weight_of(grad(plain, by_hand))) < 1e-12
    assert relative(found, weight_of(grad(plain, trials))) > 1e-3
    # Without keys, and in evaluation, nothing is left out.
    assert (
        relative(weight_of(grad(thinned, trials._replace(key=None))), weight_of(grad(plain, trials))) < 1e-12
    )
    evaluate = make_evaluate(loss, warn=False)
    assert evaluate(thinned, trials, simulator).metrics == evaluate(plain, trials, simulator).metrics
