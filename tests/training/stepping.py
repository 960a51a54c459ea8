"""Steps and loops on the fixture `problem`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spikejax import ClockDriven, trainable
from spikejax.losses import CrossEntropy
from spikejax.training import make_evaluate, make_train_step, start
from spikejax.training.plan import Plan, Stage

DT = 1.0


def stepper(network, optimiser, loss=None, **kwargs):
    loss = CrossEntropy() if loss is None else loss
    params, fixed = eqx.partition(network, trainable(network))
    # The step donates its state; the fixture's arrays must survive it.
    state = start(jax.tree.map(jnp.copy, params), optimiser)
    return make_train_step(fixed, loss, optimiser, **kwargs), state, fixed


def plan_for(problem, **changes):
    network, trials, gate = problem
    step, state, fixed = stepper(network, optax.adam(1e-2))
    evaluate, simulator = make_evaluate(CrossEntropy(), at_once=4), ClockDriven(gate, DT)

    class Task:
        def batch(self, key, step, size):
            return trials

    def restart(params, at):
        return start(params, optax.adam(1e-2), step=at)

    stage = Stage(
        tasks=(changes.pop("task", Task()),),
        simulators=(simulator,),
        update=step,
        sharpness_at=lambda i, level: np.asarray(1.0),
        learning_rate_at=lambda i: 1.0,
        steps=changes.pop("steps", 6),
        batch=8,
    )
    plan = Plan((stage,), lambda n: evaluate(n, trials, simulator).metrics, restart, 2, 2)
    return plan._replace(**changes), state, fixed
