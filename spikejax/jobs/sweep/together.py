"""Training several networks side by side, as one vmapped program."""

import json
from pathlib import Path

import equinox as eqx

from ...build import Run, batch_key, build, initial_state, step_settings
from ...config import Config
from ...network import Network
from ...training import make_group_step
from ...training.loop import restore, run_sessions
from ...training.program import GroupProgram, Member, group_mesh
from ...training.session import Session
from .points import Point

ARRAYS = {
    "gate": ("width", "sharpness", "sharpness_end", "schedule", "hold", "anneal", "plateau", "mixture"),
    "adjoint": ("damping", "clip"),
    "training": ("learning_rate", "warmup", "final"),
}
"""Keys that become arrays or schedules: two points that differ in these alone are one program."""


def program(config: Config) -> str:
    """What a configuration's train step is compiled for, but for shapes: configurations of which this is
    equal, and whose networks have the same structure, can be trained together."""
    tree = config.model_dump(mode="json", exclude={"seed", "network"})
    for table, keys in ARRAYS.items():
        for key in keys:
            value = tree[table].pop(key)
            # On or off is another program.
            tree[table][f"{key} is set"] = bool(value) if table == "adjoint" else None
    # The length of a batch is drawn by the seed: only points of one seed have batches of one shape.
    parts = [config.stage(i) for i in range(len(config.stages))] or [config]
    if any(part.task.kind == "delayed_xor" and len(part.task.buckets) > 1 for part in parts):
        tree["seed"] = config.seed
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
    return any(
        stage.training.finer for stage in ([config.stage(i) for i in range(len(config.stages))] or [config])
    )


def _structure(config: Config) -> str:
    """The network's configuration with its numbers blanked: equal for networks that share one compiled
    program."""
    if alone(config):
        return config.model_dump_json()

    def blank(x):
        if isinstance(x, dict):
            return {k: v if k in ("size", "substeps", "rate_unit") else blank(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [blank(v) for v in x]
        return "number" if isinstance(x, int | float) and not isinstance(x, bool) else x

    return json.dumps(blank(config.network.model_dump(mode="json")), sort_keys=True)


def train_together(
    points: list[Point], folders: list[Path], checkpoint_path: Path, *, progress: bool = True
) -> list[tuple[Run, Network, str | None]]:
    """Train the networks of `points`, which are one program (`groups`), side by side: each as `train` would
    train it, to rounding.

    Writes ``metrics.jsonl`` and ``best.ckpt`` into each point's folder, and the state of all into
    `checkpoint_path`, from where a killed group goes on. With several processes each of them makes the same
    call; process 0 writes. A network whose training stops (see `train`) keeps its best parameters; the others
    go on.

    **Returns:** for each point its run, its best network, and why its training stopped early, if it did.

    **Raises:** `Interrupted` on Ctrl-C, with everything saved.
    """
    configs = [point.config for point in points]
    runs = [build(config) for config in configs]
    members = [
        Member(run.plan, initial_state(config, run), run.fixed, batch_key(config))
        for config, run in zip(configs, runs, strict=True)
    ]
    sessions = [
        Session(member.plan, member.state.params, name=point.name, folder=folder)
        for member, point, folder in zip(members, points, folders, strict=True)
    ]
    mesh = group_mesh(len(members))
    parts = [configs[0].stage(i) for i in range(len(configs[0].stages))] or [configs[0]]
    program = GroupProgram(
        members, lambda number: make_group_step(mesh=mesh, **step_settings(parts[number])), mesh
    )
    restore(program, sessions, checkpoint_path)
    run_sessions(
        program,
        sessions,
        checkpoint_path,
        keep_log=True,
        progress=progress,
        how_to_resume="the same command goes on from there",
    )
    return [
        (run, eqx.combine(session.best, run.fixed), session.stopped)
        for run, session in zip(runs, sessions, strict=True)
    ]


__all__ = ["alone", "groups", "program", "train_together"]
