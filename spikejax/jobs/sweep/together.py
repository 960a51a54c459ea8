"""Training several networks side by side, in one vmapped step."""

from collections.abc import Sequence
from pathlib import Path

import equinox as eqx

from ...configuration import Run, alone, batch_key, build, initial_state, program, step_settings, structure
from ...network import Network
from ...training import make_group_step
from ...training.log import MakeLogger
from ...training.loop import restore, run_sessions
from ...training.program import GroupProgram, Member, group_mesh
from ...training.session import Session
from ..memory import check_batch_memory, check_network_memory
from .points import Point


def groups(points: list[Point]) -> list[list[Point]]:
    """The points, those that are one program side by side, in the order of their first."""
    found: dict = {}
    for i, point in enumerate(points):
        config = point.config
        key = (i,) if alone(config) else (program(config), structure(config))
        found.setdefault(key, []).append(point)
    return list(found.values())


def train_together(
    points: list[Point],
    folders: list[Path],
    checkpoint_path: Path,
    *,
    progress: bool = True,
    loggers: Sequence[MakeLogger] = (),
) -> list[tuple[Run, Network, str | None]]:
    """Train the networks of `points`, which are one program (`groups`), side by side: each as `train` would
    train it, to rounding.

    Writes ``metrics.jsonl`` and ``best.ckpt`` into each point's folder, and the state of all into
    `checkpoint_path`, from where a killed group goes on. With several processes each of them makes the same
    call; process 0 writes. A network whose training stops (see `train`) keeps its best parameters; the others
    go on.

    **Arguments:** `loggers`: of each point, see `train`.

    **Returns:** for each point its run, its best network, and why its training stopped early, if it did.

    **Raises:** `Interrupted` on Ctrl-C, with everything saved.
    """
    configs = [point.config for point in points]
    check_network_memory(configs[0], len(configs))
    runs = [build(config) for config in configs]
    check_batch_memory(configs[0], runs[0])
    members = [
        Member(run.plan, initial_state(config, run), run.fixed, batch_key(config))
        for config, run in zip(configs, runs, strict=True)
    ]
    sessions = [
        Session(member.plan, member.state.params, name=point.name, folder=folder, loggers=loggers)
        for member, point, folder in zip(members, points, folders, strict=True)
    ]
    mesh = group_mesh(len(members))
    networks = GroupProgram(
        members, lambda number: make_group_step(mesh=mesh, **step_settings(configs[0].parts[number])), mesh
    )
    restore(networks, sessions, checkpoint_path)
    run_sessions(
        networks,
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


__all__ = ["groups", "train_together"]
