"""What makes the updates of the training loop: one network, or several side by side in one compiled step."""

import abc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ..network import Network
from ..tasks import Trial
from . import distributed
from .ahead import Ahead
from .finite import first_not_finite
from .plan import Plan, Position, Stage
from .step import TrainState


class AbstractProgram(abc.ABC):
    """The networks of one or several sessions, and how they are updated. Network k is that of session k."""

    @property
    @abc.abstractmethod
    def step(self) -> int:
        """Updates made so far."""

    @abc.abstractmethod
    def update(
        self, at: Position, sharpness: Sequence[Float[Array, "*layers"]], learning_rates: Sequence[float]
    ) -> list[dict[str, Any]]:
        """One update of every network.

        **Arguments:** `sharpness` of the gate and `learning_rates` (factors of the update), one for each
        network.

        **Returns:** the metrics of each network (`make_train_step`), on the host.
        """

    @abc.abstractmethod
    def evaluated(self) -> list[tuple[PyTree, Network]]:
        """Of each network, the parameters that are evaluated, and the network with them.

        Collective: every process must call this.
        """

    @abc.abstractmethod
    def networks(self, params: Sequence[PyTree]) -> list[Network]:
        """The networks with these parameters, one for each."""

    @abc.abstractmethod
    def not_finite(self, k: int, at: Position, sharpness: Float[Array, "*layers"]) -> str | None:
        """What was the first not to be finite in the update of network `k` that was not made
        (`first_not_finite`).

        Collective: every process must call this.
        """

    @abc.abstractmethod
    def restart(self, k: int, state: TrainState) -> None:
        """Give network `k` another training state."""

    @abc.abstractmethod
    def saved(self, best: Sequence[PyTree]) -> PyTree:
        """What a checkpoint holds: the training state and the best parameters of each network.

        Collective: every process must call this.
        """

    @abc.abstractmethod
    def restore(self, saved: PyTree) -> list[PyTree]:
        """Go on from the arrays that `saved` returned; the best parameters of each network."""


class SingleProgram(AbstractProgram):
    """One network, updated by the train steps of its plan (`Stage.update`).

    **Arguments:** `state`: where training starts; the first update takes its memory; `fixed`: the part of the
    network that is not trained; `key`: of the training batches.
    """

    def __init__(self, plan: Plan, state: TrainState, fixed: Network, key: PRNGKeyArray):
        self.plan, self.state, self.fixed, self.key = plan, state, fixed, key
        self.batches = Ahead[Trial]()
        """What makes the batches, the next one while the present one is trained on."""

    @property
    def step(self):
        return int(self.state.step)

    def update(self, at, sharpness, learning_rates):
        stage = self.plan.stages[at.stage]
        trials = self.batches.take(at, partial(self._batch, at))
        simulator = stage.simulators[stage.choose(at.within)].sharpen(sharpness[0])
        self.state, metrics = stage.update(self.state, trials, simulator, learning_rates[0])
        after = self.plan.after(at)
        if after is not None:
            self.batches.begin(after, partial(self._batch, after))
        return [jax.device_get(metrics)]

    def _batch(self, at: Position) -> Trial:
        stage = self.plan.stages[at.stage]
        return stage.tasks[stage.choose(at.within)].batch(self.key, at.step, stage.batch)

    def evaluated(self):
        params = distributed.local(self.state.evaluated)
        return [(params, eqx.combine(params, self.fixed))]

    def networks(self, params):
        return [eqx.combine(params[0], self.fixed)]

    def not_finite(self, k, at, sharpness):
        stage = self.plan.stages[at.stage]
        network = eqx.combine(distributed.local(self.state.params), self.fixed)
        return _not_finite(stage, stage.choose(at.within), network, self.key, at, sharpness)

    def restart(self, k, state):
        self.state = state

    def saved(self, best):
        return distributed.local(self.state), best[0]

    def restore(self, saved):
        self.state, best = jax.tree.map(jnp.asarray, saved)
        return [best]


class Member(NamedTuple):
    """One of the networks that are trained side by side."""

    plan: Plan
    state: TrainState
    """Where its training starts."""
    fixed: Network
    """The part of the network that is not trained."""
    key: PRNGKeyArray
    """Of its training batches; members with equal keys see the same batches."""


class GroupProgram(AbstractProgram):
    """Networks of one structure, side by side: a vmapped step, each network as `SingleProgram` updates it, to
    rounding.

    The plans may differ in their schedules, simulators' arrays and tasks' batches; each stage has one task.

    **Arguments:** `members`: the networks; `make_step`: the step of a stage, by its number
    (`make_group_step`, with the same mesh); `mesh`: devices that the networks are cut over (`group_mesh`).
    """

    def __init__(
        self, members: Sequence[Member], make_step: Callable[[int], Callable], mesh: Mesh | None = None
    ):
        self.members, self.mesh = list(members), mesh
        self._make_step, self._steps = make_step, {}
        self._fixed = spread(stack([m.fixed for m in self.members]), mesh)
        self._state = spread(stack([m.state for m in self.members]), mesh)
        self._step = int(self.members[0].state.step)
        # A batch is made once for all members that see it.
        keys = [jax.random.key_data(m.key).tolist() for m in self.members]
        distinct = [k for i, k in enumerate(keys) if k not in keys[:i]]
        self._owners = [self.members[keys.index(k)] for k in distinct]
        self.batches = Ahead[Trial]()
        self._which: Int[Array, " members"] = jnp.asarray([distinct.index(k) for k in keys])

    @property
    def step(self):
        return self._step

    def _stages(self, number: int, members: Sequence[Member]) -> list[Stage]:
        return [m.plan.stages[number] for m in members]

    def update(self, at, sharpness, learning_rates):
        if at.stage not in self._steps:
            self._steps[at.stage] = self._make_step(at.stage)
        stages = self._stages(at.stage, self.members)
        simulators = [stage.simulators[0].sharpen(a) for stage, a in zip(stages, sharpness, strict=True)]
        batches = self.batches.take(at, partial(self._batches, at))
        arrays = (stack(simulators), jnp.asarray(learning_rates), self._which)
        networks = (self._fixed, *spread(arrays, self.mesh))
        self._state, metrics = self._steps[at.stage](networks, batches, self._state)
        self._step = at.step + 1
        after = self.members[0].plan.after(at)
        if after is not None:
            self.batches.begin(after, partial(self._batches, after))
        metrics = jax.device_get(metrics)
        return [{name: x[k] for name, x in metrics.items()} for k in range(len(self.members))]

    def _batches(self, at: Position) -> Trial:
        """The batches of all owners, one for each on the first axis."""
        stages = self._stages(at.stage, self._owners)
        size = self.members[0].plan.stages[at.stage].batch
        each = zip(stages, self._owners, strict=True)
        return stack([stage.tasks[0].batch(owner.key, at.step, size) for stage, owner in each])

    def evaluated(self):
        params = distributed.gather(self._state.evaluated, self.mesh)
        each = [take(params, k) for k in range(len(self.members))]
        return [(own, eqx.combine(own, m.fixed)) for own, m in zip(each, self.members, strict=True)]

    def networks(self, params):
        return [eqx.combine(own, m.fixed) for own, m in zip(params, self.members, strict=True)]

    def not_finite(self, k, at, sharpness):
        member = self.members[k]
        params = take(distributed.gather(self._state.params, self.mesh), k)
        network = eqx.combine(params, member.fixed)
        return _not_finite(member.plan.stages[at.stage], 0, network, member.key, at, sharpness)

    def restart(self, k, state):
        if self.mesh is not None:
            state = distributed.replicate(state, self.mesh)
        self._state = jax.tree.map(lambda all_, one: all_.at[k].set(one), self._state, state)

    def saved(self, best):
        # Without the copies of the last network that fill up the mesh.
        count = len(self.members)
        state = jax.tree.map(lambda x: x[:count], distributed.gather(self._state, self.mesh))
        return state, stack(list(best))

    def restore(self, saved):
        state, best = jax.tree.map(jnp.asarray, saved)
        self._step, self._state = int(state.step[0]), spread(state, self.mesh)
        return [take(best, k) for k in range(len(self.members))]


def _not_finite(
    stage: Stage,
    chosen: int,
    network: Network,
    key: PRNGKeyArray,
    at: Position,
    sharpness: Float[Array, "*layers"],
) -> str | None:
    trials = stage.tasks[chosen].batch(key, at.step, stage.batch)
    return first_not_finite(network, trials, stage.simulators[chosen].sharpen(sharpness), stage.objective)


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Trees of equal structure as one, their arrays with one more axis in front; what is no array is that of
    the first tree."""
    return jax.tree.map(lambda *x: jnp.stack(x) if eqx.is_array(x[0]) else x[0], *trees)


def take(tree: PyTree, k: int) -> PyTree:
    """Entry `k` of a stacked tree."""
    return jax.tree.map(lambda x: x[k] if eqx.is_array(x) else x, tree)


def group_mesh(count: int) -> Mesh | None:
    """The devices that `count` networks are cut over: at most one for each network, or those of all processes
    if there are several."""
    return distributed.mesh(0 if jax.process_count() > 1 else min(count, len(jax.devices())))


def spread(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """A stacked tree, cut over the mesh. Its last entry is repeated where the number of entries is no
    multiple of the number of devices."""
    if mesh is None:
        return tree

    def full(x):
        missing = -len(x) % mesh.size
        return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]) if missing else x

    return distributed.share(jax.tree.map(lambda x: full(x) if eqx.is_array(x) else x, tree), mesh)


__all__ = [
    "AbstractProgram",
    "GroupProgram",
    "Member",
    "Position",
    "SingleProgram",
    "group_mesh",
    "spread",
    "stack",
    "take",
]
