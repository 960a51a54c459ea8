"""Event-driven QIF, event-driven LIF and the smooth gate on the same network: which trains best, and is it
because LIF landscapes are fragmented?

    python experiments/lif_or_qif.py [--data yin_yang digits] [--contenders NAME ..] [--folder FOLDER]
        [--points FOLDER] [--trials 10] [--seeds 5] [--parts search seeds] [--out runs/lif_or_qif]

Feed-forward networks with one hidden layer whose outputs answer by the times of their first spikes. LIF
neurons have tau_syn = tau_mem/2 too, so that nothing but the neuron, or what simulates it, differs. In this
order, for every data set and contender:

- *search*: ``spikejax search`` over mean and scale of both layers' initial weights and the learning rate, the
  same ranges and as many trials for all;
- *seeds*: the best trial again, longer, from other initial weights.

Prints the tables of docs/lif_or_qif.md. Everything is kept in --out, where `landscape_of_times.py` and
`side_by_side.py` read it: finished runs are read, interrupted ones go on. The digits need --folder, with
files in the layout of the Spiking Heidelberg Digits; --points takes published points of Yin-Yang from .npz
files in the place of drawn ones.
"""

import argparse
import csv
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from spikejax.jobs.search.job import search_run
from spikejax.jobs.search.space import load_search
from spikejax.jobs.sweep.job import sweep_run
from spikejax.jobs.sweep.points import load_sweep


class Contender(NamedTuple):
    """What trains."""

    neuron: str
    event_driven: bool = True
    """Or in steps, through a gate."""
    pseudospikes: bool = True


CONTENDERS = {
    "QIF, event-driven": Contender("qif"),
    "LIF, event-driven": Contender("lif"),
    "LIF, smooth gate": Contender("lif", event_driven=False),
}
CONTROLS = {"QIF, no pseudospikes": Contender("qif", pseudospikes=False)}
"""Not among those that are compared by default."""
FIRST, SECOND = "network.layers.0.feedforward.connection", "network.layers.1.feedforward"
RATE = "training.learning_rate"


def _space(first: float, second: float) -> dict[str, dict[str, Any]]:
    """Ranges of the initial weights, up to these means and scales of what they add up to."""
    return {
        f"{FIRST}.mean": {"low": 0.0, "high": 0.75 * first},
        f"{FIRST}.scale": {"low": 0.15 * first, "high": first, "log": True},
        f"{SECOND}.mean": {"low": 0.0, "high": second},
        f"{SECOND}.scale": {"low": 0.1 * second, "high": second, "log": True},
        RATE: {"low": 0.005, "high": 0.1, "log": True},
    }


SPACE = {"yin_yang": _space(16.0, 32.0), "digits": _space(0.35, 10.0)}
"""What is searched, the same ranges for all. Means above 0 are what LIF neurons need: of an output that is
silent a gradient of spike times says nothing, and the loss drives those that fire to silence, too."""
UPDATES = {"yin_yang": (200, 50), "digits": (150, 32)}
"""Updates of a trial, and trials in each. Those that are judged have `LONGER` times as many."""
ROOM = {
    ("yin_yang", "qif"): (80, 400),
    ("yin_yang", "lif"): (80, 400),
    ("digits", "qif"): (150, 2000),
    ("digits", "lif"): (600, 12_000),
}
"""Most spikes of a neuron in a trial, and of all that a layer is given. The rate of LIF neurons grows like
their current, that of QIF neurons like its root."""
LONGER = 2
PARTS = ("search", "seeds")


def table_of(data: str, contender: str, folders: dict[str, Path | None], updates: int) -> dict[str, Any]:
    """The configuration of a contender on a data set, but for what is searched."""
    neuron, event_driven, pseudospikes = (CONTENDERS | CONTROLS)[contender]
    yin_yang = data == "yin_yang"
    tau = 10.0 if yin_yang else 80.0
    synapse = {"kind": "exponential", "tau_syn": [tau / 2], "rate_unit": 2 / tau}
    hidden = {
        "size": 30 if yin_yang else 48,
        "feedforward": {"kind": "filtered", "connection": {"kind": "dense"}, "synapse": synapse},
    }
    outputs = {"size": 3 if yin_yang else 10, "feedforward": {"kind": "dense"}}
    both = {"recurrent": False, "bias": [0.0, 0.0], "synapse": synapse}
    both["neuron"] = {"kind": neuron, "tau_mem": tau}
    found: dict[str, Any] = {
        "dt": 0.25 if yin_yang else 10.0,
        "network": {"layers": [hidden | both, outputs | both], "readout": {"kind": "population"}},
        "loss": {"kind": "first_spike", "scale": tau / 5, "late": 0.3},
        "training": {
            "steps": updates,
            "batch": UPDATES[data][1],
            "trainable": ["weight"],
            "clip": 1.0,
            "score": "accuracy",
            "select_by": "hard",
            "evaluate_every": max(updates // 3, 1),
            "checkpoint_every": max(updates // 3, 1),
        },
    }
    if yin_yang:
        found["task"] = {"kind": "yin_yang", "duration": 30.0, "late": 14.0, "points": [5000, 300, 1000]}
    else:
        found["task"] = {
            "kind": "spoken_digits",
            "train": "fsdd_train.h5",
            "test": "fsdd_test.h5",
            "bands": 35,
            "bin": 10.0,
            "window": 600.0,
            "overflow": "cut",
            "validation": 0.1,
            "value": "root",
        }
    if folders[data] is not None:
        found["task"]["folder"] = str(folders[data])
    if event_driven:
        spikes, events = ROOM[data, neuron]
        found["simulator"] = {"kind": "event_driven", "spikes": spikes, "events": events}
        if not pseudospikes:
            found["simulator"]["pseudospikes"] = False
    else:
        found["simulator"] = {"kind": "clock_driven", "spikes": 1}
        found["gate"] = {"width": 0.5, "sharpness": 1.0, "sharpness_end": 10.0, "release": "charge"}
    return found


def searched(data: str, contender: str, folder: Path, table: dict[str, Any], trials: int) -> list[dict]:
    """The rows of the search's table, made if it is not there, the best first."""
    settings = {"trials": trials, "objective": "hard", "seed": 0, "space": SPACE[data]}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "search.toml"
    file.write_text(tomli_w.dumps(table | {"search": settings}))
    search_run(load_search(file), folder / "search")
    with (folder / "search" / "table.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    score = next(name for name in rows[0] if "accuracy" in name)
    for row in rows:
        row["accuracy"] = float(row[score]) if row[score] else 0.0
    return sorted(rows, key=lambda row: -row["accuracy"])


def seeded(folder: Path, best: Path, seeds: int, updates: int) -> list[dict[str, Any]]:
    """The rows of a sweep of the best trial's configuration, from other initial weights side by side."""
    table = tomllib.loads((best / "config.toml").read_text())
    table["training"] |= dict.fromkeys(("steps", "evaluate_every", "checkpoint_every"), updates)
    file = folder / "seeds.toml"
    file.write_text(tomli_w.dumps(table | {"sweep": {"seeds": list(range(1, seeds + 1))}}))
    return sweep_run(load_sweep(file), folder / "seeds")


def seed_of(out: Path, data: str, contender: str, seed: int = 1) -> Path:
    """The run of a contender from these initial weights."""
    return folder_of(out, data, contender) / "seeds" / "points" / f"seed={seed}"


def spread(values: list[float]) -> str:
    """Mean, standard deviation and range."""
    x = np.array(values)
    if not x.size:
        return "-"
    return f"{x.mean():.3f} +- {x.std(ddof=min(1, x.size - 1)):.3f} [{x.min():.3f}, {x.max():.3f}]"


def folder_of(out: Path, data: str, contender: str) -> Path:
    """Where the runs of a contender are."""
    return out / data / contender.replace(", ", "-").replace(" ", "-").lower()


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    """Read the command line, run what is missing, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=UPDATES, default=["yin_yang"])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS | CONTROLS, default=list(CONTENDERS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--points", type=Path)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/lif_or_qif"))
    args = parser.parse_args()
    folders = {"yin_yang": args.points, "digits": args.folder}
    if "digits" in args.data and args.folder is None:
        parser.error("the digits need --folder, with fsdd_train.h5 and fsdd_test.h5")
    for data in args.data:
        rows = []
        for contender in args.contenders:
            folder = folder_of(args.out, data, contender)
            updates = args.updates or UPDATES[data][0]
            table = table_of(data, contender, folders, updates)
            trials = searched(data, contender, folder, table, args.trials)
            best = folder / "search" / trials[0]["folder"]
            rows.append([contender, *(f"{float(trials[0][name]):.3g}" for name in SPACE[data])])
            in_order = sorted(
                (row for row in trials if row["state"] != "no result"), key=lambda row: int(row["trial"])
            )
            rows[-1].append(", ".join(f"{row['accuracy']:.2f}" for row in in_order))
            print("search:", rows[-1], flush=True)
            if "seeds" in args.parts:
                found = seeded(folder, best, args.seeds, LONGER * updates)
                rows[-1] += [spread([one[f"{way} accuracy"] for one in found]) for way in ("smooth", "hard")]
                rows[-1] += [str(sum(bool(one["lost"]) for one in found))]
                print("seeds:", rows[-1][-3:], flush=True)
        heads = ["contender", "mean 1", "scale 1", "mean 2", "scale 2", "learning rate",
                 "held out, each trial", "test, as trained", "test, spikes alone", "lost"]  # fmt: skip
        print(f"\n{data}\n\n" + markdown(heads[: len(rows[0])], rows), flush=True)


if __name__ == "__main__":
    main()
