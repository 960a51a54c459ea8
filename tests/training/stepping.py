"""Steps and loops on the fixture `problem`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from spikejax import trainable
from spikejax.losses import CrossEntropy
from spikejax.training import make_evaluate, make_train_step, start
from spikejax.training.loop import Plan, Stage

DT = 1.0


def stepper(network, optimiser, loss=None, **kwargs):
    loss = CrossEntropy() if loss is None else loss
    params, fixed = eqx.partition(network, trainable(network))
    # The step donates its state; the fixture's arrays must survive it.
    state = start(jax.tree.map(jnp.copy, params), optimiser)
    return make_train_step(fixed, loss, optimiser, dt=DT, **kwargs), state, fixed


def plan_for(problem, **changes):
    network, trials, gate = problem
    step, state, fixed = stepper(network, optax.adam(1e-2))
    evaluate = make_evaluate(CrossEntropy(), dt=DT, at_once=4)

    class Task:
        def batch(self, key, step, size):
            return trials

    def restart(params, at):
        return start(params, optax.adam(1e-2), step=at)

    stage = Stage(
        (changes.pop("task", Task()),),
        (step,),
        lambda i, level: gate,
        lambda i: 1.0,
        changes.pop("steps", 6),
        8,
    )
    plan = Plan((stage,), lambda n: evaluate(n, trials, gate).metrics, restart, 2, 2)
    return plan._replace(**changes), state, fixed
