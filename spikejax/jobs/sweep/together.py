"""Training several networks side by side, as one vmapped program."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, PyTree
from tqdm import tqdm

from ...configuration import Run, alone, batch_key, build, initial_state, program, step_settings, structure
from ...network import Network
from ...parameters import as_parameter
from ...training import checkpoint, distributed, make_group_step
from ...training.log import MetricsLog
from ...training.loop import Interrupt, Progress, TrainingStopped, lost
from .points import Point


class Member(NamedTuple):
    """One of the networks that are trained together."""

    point: Point
    run: Run
    key: PRNGKeyArray
    """Of its batches."""


def groups(points: list[Point]) -> list[list[Point]]:
    """The points, those that are one program side by side, in the order of their first."""
    found: dict = {}
    for i, point in enumerate(points):
        config = point.config
        key = (i,) if alone(config) else (program(config), structure(config))
        found.setdefault(key, []).append(point)
    return list(found.values())


def stack(trees: list[PyTree]) -> PyTree:
    """Trees of equal structure as one, their arrays with one more axis in front."""
    return jax.tree.map(lambda *x: jnp.stack(x) if eqx.is_array(x[0]) else x[0], *trees)


def take(tree: PyTree, i: int) -> PyTree:
    """Number `i` of a stacked tree."""
    return jax.tree.map(lambda x: x[i] if eqx.is_array(x) else x, tree)


def layout(count: int) -> Mesh | None:
    """The devices that `count` networks are trained on: of one process no more than there are networks."""
    return distributed.mesh(0 if jax.process_count() > 1 else min(count, len(jax.devices())))


def spread(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """`tree`, stacked from several networks, cut over the mesh; the last network fills it up if need be."""
    if mesh is None:
        return tree

    def full(x):
        missing = -len(x) % mesh.size
        return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]) if missing else x

    return distributed.share(jax.tree.map(lambda x: full(x) if eqx.is_array(x) else x, tree), mesh)


def train_together(
    points: list[Point], folders: list[Path], checkpoint_path: Path, *, progress: bool = True
) -> list[tuple[Run, Network, str | None]]:
    """Train the networks of `points`, which are one program (`groups`), side by side: each as `train` would
    train it, to rounding.

    Writes ``metrics.jsonl`` and ``best.ckpt`` into each point's folder, and the state of all into
    `checkpoint_path`, from where a killed group goes on. With several processes each of them makes the same
    call; process 0 writes. A network that is lost (see `train`) keeps its best parameters; the others go on.

    **Returns:** for each point its run, its best network, and why it was lost, if it was.

    **Raises:** `Interrupted` on Ctrl-C, with everything saved.
    """
    members = [Member(p, build(p.config), batch_key(p.config)) for p in points]
    count, plans = len(members), [m.run.plan for m in members]
    plan = plans[0]
    states = [initial_state(p.config, m.run) for m, p in zip(members, points, strict=True)]
    so_far = [Progress(state.params) for state in states]
    reasons: list[str | None] = [None] * count
    state, first = stack(states), 0
    like = (state, stack([p.best for p in so_far]))
    saved = distributed.call(
        lambda: checkpoint.load(checkpoint_path, like) if checkpoint_path.exists() else None
    )
    if saved:
        (state, best), header = jax.tree.map(jnp.asarray, saved[0]), saved[1]
        first, reasons = header["step"], header["reasons"]
        for i, one in enumerate(so_far):
            one.best = take(best, i)
            vars(one).update(header["members"][i])
    logs = [MetricsLog(folder / "metrics.jsonl", resume_at=first) for folder in folders]
    # Points of one seed see the same trials.
    seeds = list(dict.fromkeys(p.config.seed for p in points))
    owners = [next(m for m in members if m.point.config.seed == seed) for seed in seeds]
    which = jnp.asarray([seeds.index(p.config.seed) for p in points])
    mesh = layout(count)
    fixed, state = spread(stack([m.run.fixed for m in members]), mesh), spread(state, mesh)
    steps, vote = {}, distributed.Vote()

    def keep(i: int):
        best = stack([p.best for p in so_far])
        real = jax.tree.map(lambda x: x[:count], distributed.gather(state, mesh))
        checkpoint.save(
            checkpoint_path, (real, best), step=i, reasons=reasons, members=[p.header() for p in so_far]
        )

    hidden = None if progress and distributed.leads() else True
    bar = tqdm(
        range(first, plan.steps),
        initial=first,
        total=plan.steps,
        disable=hidden,
        unit="step",
        dynamic_ncols=True,
    )
    with Interrupt() as interrupt:
        try:
            for i in bar:
                number, within = plan.number_at(i)
                stages = [p.stages[number] for p in plans]
                if number not in steps:
                    part = points[0].config.parts[number]
                    steps[number] = make_group_step(mesh=mesh, **step_settings(part))
                for one in so_far:
                    one.enter(number)
                pairs = list(zip(so_far, stages, strict=True))
                sharpness = [as_parameter(stage.sharpness_at(within, one.level)) for one, stage in pairs]
                lrs = [one.scale * stage.learning_rate_at(within) for one, stage in pairs]
                simulators = [
                    stage.simulators[0].sharpen(a) for a, stage in zip(sharpness, stages, strict=True)
                ]
                batches = stack(
                    [o.run.plan.stages[number].tasks[0].batch(o.key, i, stages[0].batch) for o in owners]
                )
                inputs = (fixed, *spread((stack(simulators), jnp.asarray(lrs), which), mesh))
                state, found = steps[number](inputs, batches, state)
                found = jax.device_get(found)
                judge, networks, helds = (i + 1) % plan.evaluate_every == 0 or i + 1 == plan.steps, {}, {}
                if judge:
                    judged = distributed.gather(state.judged, mesh)
                    networks = {
                        k: eqx.combine(take(judged, k), m.run.fixed)
                        for k, m in enumerate(members)
                        if not reasons[k]
                    }
                    helds = dict(
                        zip(
                            networks,
                            distributed.each([partial(plans[k].evaluate, x) for k, x in networks.items()]),
                            strict=True,
                        )
                    )
                for k, member in enumerate(members):
                    if reasons[k]:
                        continue
                    metrics = {
                        "sharpness": sharpness[k],
                        "learning_rate": lrs[k],
                        **{name: x[k] for name, x in found.items()},
                    }
                    if judge:
                        held = helds[k]
                        metrics |= {f"held_out/{name}": x for name, x in held.items()}
                        score = held[plan.score] if plan.score == "accuracy" else -held[plan.score]
                        if so_far[k].judge(score, take(judged, k), plan.rollback):
                            checkpoint.save(folders[k] / "best.ckpt", networks[k], step=i + 1, score=score)
                    so_far[k].note(float(metrics["loss"]), stages[k].plateau)
                    reason = lost(metrics, so_far[k], plan)
                    metrics["rollback"] = bool(reason and so_far[k].roll_back(plan))
                    logs[k].write(i + 1, metrics)
                    if metrics["rollback"]:
                        fresh = plans[k].restart(so_far[k].best, i + 1)
                        fresh = fresh if mesh is None else distributed.replicate(fresh, mesh)
                        state = jax.tree.map(lambda all_, one: all_.at[k].set(one), state, fresh)
                    elif reason:
                        reasons[k] = f"step {i + 1}: {reason}"
                        if distributed.leads():
                            bar.write(f"{member.point.name}: lost at {reasons[k]}")
                shown = {
                    "loss": f"{np.nanmedian(found['loss'][:count]):.3g}",
                    "lost": sum(map(bool, reasons)),
                }
                bar.set_postfix(shown, refresh=False)
                if (i + 1) % plan.checkpoint_every == 0 or i + 1 == plan.steps:
                    keep(i + 1)
                if vote(i + 1, interrupt.requested):
                    keep(i + 1)
                    raise TrainingStopped(
                        f"interrupted after step {i + 1} of {plan.steps}; saved: the same command goes on from there"
                    )
        finally:
            bar.close()
            for log in logs:
                log.close()
    return [
        (m.run, eqx.combine(p.best, m.run.fixed), r) for m, p, r in zip(members, so_far, reasons, strict=True)
    ]


__all__ = ["Member", "groups", "layout", "spread", "stack", "take", "train_together"]
