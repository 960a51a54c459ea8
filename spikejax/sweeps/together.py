"""Training several networks side by side, as one vmapped program."""

import json
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree
from tqdm import tqdm

from ..build import Run, batch_key, build, build_adjoint, solve_readout, step_settings
from ..config import Config
from ..network import Network
from ..training import checkpoint, make_group_step
from ..training.log import MetricsLog
from ..training.loop import Interrupt, Progress, TrainingStopped, lost
from .points import Point

ARRAYS = {
    "gate": ("width", "sharpness", "sharpness_end", "schedule", "hold", "anneal", "plateau", "mixture"),
    "adjoint": ("damping", "clip"),
    "training": ("learning_rate", "warmup", "final"),
}
"""Keys that become arrays or schedules: two points that differ in these alone are one program."""


class Member(NamedTuple):
    """One of the networks that are trained together."""

    point: Point
    run: Run
    key: PRNGKeyArray
    """Of its batches."""


def program(config: Config) -> str:
    """What a configuration's train step is compiled for, but for shapes: configurations of which this is equal, and whose networks have
    the same structure, can be trained together."""
    tree = config.model_dump(mode="json", exclude={"seed", "network"})
    for table, keys in ARRAYS.items():
        for key in keys:
            value = tree[table].pop(key)
            # On or off is another program.
            tree[table][f"{key} is set"] = bool(value) if table == "adjoint" else None
    # One value a layer is an array of another shape.
    tree["gate"]["layers"] = config.gate.layers
    # The schedules of stages are read from the points' own plans; what else a stage sets is compiled in.
    return json.dumps(tree, sort_keys=True)


def groups(points: list[Point]) -> list[list[Point]]:
    """The points, those that are one program side by side, in the order of their first."""
    found: dict = {}
    for point in points:
        found.setdefault((program(point.config), _structure(point.config)), []).append(point)
    return list(found.values())


def alone(config: Config) -> bool:
    """Whether a point is trained by itself: the time step of an update is drawn by its seed."""
    return any(stage.training.finer for stage in ([config.stage(i) for i in range(len(config.stages))] or [config]))


def _structure(config: Config) -> str:
    """Of the network's tables, what shapes and static fields follow from: everything but numbers."""
    if alone(config):
        return config.model_dump_json()

    def blank(x):
        if isinstance(x, dict):
            return {k: v if k in ("size", "substeps", "rate_unit") else blank(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [blank(v) for v in x]
        return "number" if isinstance(x, int | float) and not isinstance(x, bool) else x

    return json.dumps(blank(config.network.model_dump(mode="json")), sort_keys=True)


def stack(trees: list[PyTree]) -> PyTree:
    """Trees of equal structure as one, their arrays with one more axis in front."""
    return jax.tree.map(lambda *x: jnp.stack(x) if eqx.is_array(x[0]) else x[0], *trees)


def take(tree: PyTree, i: int) -> PyTree:
    """Number `i` of a stacked tree."""
    return jax.tree.map(lambda x: x[i] if eqx.is_array(x) else x, tree)


def spread(tree: PyTree, count: int) -> PyTree:
    """`tree`, stacked from `count` networks, laid out over all devices if `count` is a multiple of their number."""
    devices = jax.devices()
    if len(devices) == 1 or count % len(devices):
        return tree
    sharding = NamedSharding(Mesh(np.array(devices), ("networks",)), PartitionSpec("networks"))
    return jax.tree.map(lambda x: jax.device_put(x, sharding) if eqx.is_array(x) else x, tree)


def train_together(
    points: list[Point], folders: list[Path], checkpoint_path: Path, *, progress: bool = True
) -> list[tuple[Run, Network, str | None]]:
    """Train the networks of `points`, which are one program (`groups`), side by side: each as `train` would train it, to rounding.

    Writes ``metrics.jsonl`` and ``best.ckpt`` into each point's folder, and the state of all into `checkpoint_path`, from where a killed
    group goes on. A network that is lost (see `train`) keeps its best parameters; the others go on.

    **Returns:** for each point its run, its best network, and why it was lost, if it was.

    **Raises:** `Interrupted` on Ctrl-C, with everything saved.
    """
    members = [Member(p, build(p.config), batch_key(p.config)) for p in points]
    count, plans = len(members), [m.run.plan for m in members]
    plan = plans[0]
    states = [
        m.run.state if p.config.network.readout.init != "ridge" else solve_readout(p.config, m.run)
        for m, p in zip(members, points, strict=True)
    ]
    so_far = [Progress(state.params) for state in states]
    reasons: list[str | None] = [None] * count
    state, first = stack(states), 0
    if checkpoint_path.exists():
        like = (state, stack([p.best for p in so_far]))
        (state, best), header = checkpoint.load(checkpoint_path, like)
        first, reasons = header["step"], header["reasons"]
        for i, one in enumerate(so_far):
            one.best = take(best, i)
            vars(one).update(header["members"][i])
    logs = [MetricsLog(folder / "metrics.jsonl", resume_at=first) for folder in folders]
    # Points of one seed see the same trials.
    seeds = list(dict.fromkeys(p.config.seed for p in points))
    owners = [next(m for m in members if m.point.config.seed == seed) for seed in seeds]
    which = jnp.asarray([seeds.index(p.config.seed) for p in points])
    fixed = spread(stack([m.run.fixed for m in members]), count)
    state = spread(state, count)
    steps = {}

    def keep(i: int):
        best = stack([p.best for p in so_far])
        checkpoint.save(checkpoint_path, (state, best), step=i, reasons=reasons, members=[p.header() for p in so_far])

    bar = tqdm(
        range(first, plan.steps), initial=first, total=plan.steps, disable=None if progress else True, unit="step", dynamic_ncols=True
    )
    with Interrupt() as interrupt:
        try:
            for i in bar:
                number, within = plan.number_at(i)
                stages = [p.stages[number] for p in plans]
                if number not in steps:
                    parts = [p.config.stage(number) if p.config.stages else p.config for p in points]
                    adjoint = spread(stack([build_adjoint(c) for c in parts]), count)
                    steps[number] = (make_group_step(**step_settings(parts[0])), adjoint)
                step, adjoint = steps[number]
                for one in so_far:
                    one.enter(number)
                gates = [stage.gate_at(within, one.level) for one, stage in zip(so_far, stages, strict=True)]
                rates = [one.scale * stage.rate_at(within) for one, stage in zip(so_far, stages, strict=True)]
                batches = stack([o.run.plan.stages[number].tasks[0].batch(o.key, i, stages[0].batch) for o in owners])
                inputs = (fixed, adjoint, *spread((stack(gates), jnp.asarray(rates), which), count))
                state, found = step(inputs, batches, state)
                found = jax.device_get(found)
                judge = (i + 1) % plan.evaluate_every == 0 or i + 1 == plan.steps
                for k, member in enumerate(members):
                    if reasons[k]:
                        continue
                    metrics = {"sharpness": gates[k].sharpness, "learning_rate": rates[k], **{name: x[k] for name, x in found.items()}}
                    if judge:
                        judged = take(state.judged, k)
                        network = eqx.combine(judged, member.run.fixed)
                        held = plans[k].evaluate(network)
                        metrics |= {f"held_out/{name}": x for name, x in held.items()}
                        score = held[plan.score] if plan.score == "accuracy" else -held[plan.score]
                        if so_far[k].judge(score, judged, plan.rollback):
                            checkpoint.save(folders[k] / "best.ckpt", network, step=i + 1, score=score)
                    so_far[k].note(float(metrics["loss"]), stages[k].plateau)
                    reason = lost(metrics, so_far[k], plan)
                    metrics["rollback"] = bool(reason and so_far[k].roll_back(plan))
                    logs[k].write(i + 1, metrics)
                    if metrics["rollback"]:
                        fresh = plans[k].restart(so_far[k].best, i + 1)
                        state = jax.tree.map(lambda all_, one: all_.at[k].set(one), state, fresh)
                    elif reason:
                        reasons[k] = f"step {i + 1}: {reason}"
                        bar.write(f"{member.point.name}: lost at {reasons[k]}")
                shown = {"loss": f"{np.nanmedian(found['loss']):.3g}", "lost": sum(map(bool, reasons))}
                bar.set_postfix(shown, refresh=False)
                if (i + 1) % plan.checkpoint_every == 0 or i + 1 == plan.steps:
                    keep(i + 1)
                if interrupt.requested:
                    keep(i + 1)
                    raise TrainingStopped(f"interrupted after step {i + 1} of {plan.steps}; saved: the same command goes on from there")
        finally:
            bar.close()
            for log in logs:
                log.close()
    return [(m.run, eqx.combine(p.best, m.run.fixed), r) for m, p, r in zip(members, so_far, reasons, strict=True)]
