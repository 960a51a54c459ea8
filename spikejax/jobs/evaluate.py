"""``spikejax evaluate``: results of a trained network on the test split."""

from pathlib import Path
from typing import Any

import numpy as np

from ..component import option
from ..configuration import Config, Run, evaluator, load
from ..files import write_json
from ..gates import RELEASES
from ..metrics import confusion
from ..network import Network
from ..simulators import ClockDriven
from .command import COMMANDS, AbstractCommand, Overrides, announce
from .run import changed, flat, trained


def evaluate_network(run: Run, network: Network, config: Config) -> dict[str, Any]:
    """Test-split results with the gate that training ended with, and with a hard threshold in its place;
    event-driven with pseudospikes and without."""
    evaluate = evaluator(config)
    test, clocked = run.task.parts("test"), isinstance(run.simulator, ClockDriven)
    summary: dict[str, Any] = {
        "release": RELEASES.name_of(run.final_gate.release) if clocked else config.simulator.kind,
        "score": run.plan.score,
        "ways": run.simulator.ways,
    }
    for name, simulator in (("smooth", run.simulator), ("hard", run.simulator.hard())):
        result = evaluate(network, test, simulator)
        summary["trials"] = len(result.durations)
        summary[name] = result.metrics
        if result.labels is not None:
            table = confusion(np.asarray(result.classes), np.asarray(result.labels), len(run.task.labels))
            summary[name]["confusion"] = table.tolist()
    return summary


def evaluate_run(folder: Path, config: Config | None = None) -> dict[str, Any]:
    """Evaluate a run on the test split; writes ``evaluation.json``.

    **Arguments:** `config`: the run's own, with changes.
    """
    run, network, config = trained(folder, config)
    there, here = flat(load(folder)), flat(config)
    summary = evaluate_network(run, network, config)
    summary["changed"] = {name: value for name, value in here.items() if there.get(name) != value}
    write_json(Path(folder) / "evaluation.json", summary)
    return summary


def shown_results(summary: dict[str, Any]) -> str:
    """A summary in lines for the terminal."""
    lines = []
    # A summary from before that was written down is of a threshold.
    ways = summary.get("ways", ClockDriven.ways)
    for name, way in zip(("smooth", "hard"), ways, strict=True):
        m = summary[name]
        # What the loss is judged by; of a summary from before that was written down, what there is.
        known = (summary.get("score"), "accuracy", "error")
        score = next((f"{key} {m[key]:.4f}, " for key in known if key in m and key != "loss"), "")
        layers = [key.removeprefix("rate/") for key in m if key.startswith("rate/")]
        rates = ", ".join(f"{m[f'rate/{i}']:.1f} Hz ({m[f'silent/{i}']:.0%} silent)" for i in layers)
        result = f"test, {way}: {score}loss {m['loss']:.4f}, rates {rates}"
        lines.append(f"{result}  [{summary['trials']} trials]")
    return "\n".join(lines)


@COMMANDS.register("evaluate")
class Evaluate(AbstractCommand):
    """Evaluate one run."""

    summary = "evaluate a finished run on the test split, with smooth and hard threshold"
    example = "spikejax evaluate runs/braille --gate.sharpness_end 8"

    run: Path = option(doc="folder of the run")

    def execute(self, overrides: Overrides) -> None:
        announce(shown_results(evaluate_run(self.run, changed(self.run, overrides))))


__all__ = ["Evaluate", "evaluate_network", "evaluate_run", "shown_results"]
