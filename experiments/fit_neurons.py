"""Real neurons: every patch-clamp recording with every model, and the grasshopper's receptor neuron, against
their baselines.

    python experiments/fit_neurons.py --patchclamp patchclamp.npz --grasshopper grasshopper.npz
        [--models lif glif] [--recordings NAME ...]

Runs ``configs/patchclamp.toml`` and ``configs/grasshopper.toml`` (finished runs in --out are read), and
prints the tables of docs/fitting.md. What is set here beside them belongs to these recordings.
"""

import argparse
import json
from pathlib import Path

from spikejax.configuration import load_fit
from spikejax.fitting import (
    MODELS,
    bits_per_spike,
    fit_glm,
    prepare_sound,
    read_sound_spikes,
    recording_names,
)
from spikejax.fitting.job import fit_run

CONFIGS = Path(__file__).parent.parent / "configs"
SEARCHED = {("2019_07_24_0055_fsi", "glif"): {"fit.draws": "4096"}}
"""Where the usual search ends at a loss of the fitted sweeps that a wider one halves: counts of a hundred
spikes."""
WINDOWS = {"18711001": "[750.0, 1450.0]", "18713001": "[750.0, 1450.0]"}
"""Where recordings are fitted, ms: around the step that makes spikes. Before it comes one to -100 pA, at
which these cells have half the resistance; a linear membrane can have one only."""
FIRST_STEP, SLOW = "[100.0, 700.0]", ("adex", "hodgkin_huxley")
"""Where slow models are fitted to the other recordings: around the first of two steps. All 3 s would take
half an hour."""
KINDS = ("stochastic", "deterministic")


def finished(name: str, config: str, overrides: dict[str, str], out: Path, quiet: bool) -> dict:
    """What ``fit.json`` of a run holds; the run is made if it is not there."""
    folder = out / name
    if not (folder / "fit.json").exists():
        fit_run(load_fit(CONFIGS / config, tuple(overrides.items())), folder, progress=not quiet)
    return json.loads((folder / "fit.json").read_text())


def settings(file: Path, recording: str, model: str) -> dict[str, str]:
    """What is changed in ``configs/patchclamp.toml``."""
    changes = {"data.file": str(file), "data.recording": recording, "model.kind": model}
    window = WINDOWS.get(recording, FIRST_STEP if model in SLOW else None)
    if window is not None:
        changes["data.window"] = window
    return changes | SEARCHED.get((recording, model), {})


def patchclamp(file: Path, recordings: list[str], models: list[str], out: Path, quiet: bool) -> None:
    """A row a recording and model."""
    print(
        "| recording | model | fitted sweeps: error, within 1 | left out: error, within 1 "
        "| Gamma, left out | minutes |"
    )
    print("|---|---|---|---|---|---|")
    for recording in recordings:
        result = None
        for model in models:
            changes = settings(file, recording, model)
            result = finished(f"{recording}-{model}", "patchclamp.toml", changes, out, quiet)
            for kind in (kind for kind in KINDS if kind in result):
                fitted, left = (result["scores"][f"{part} sweeps, {kind}"] for part in ("fitted", "left-out"))
                print(
                    f"| {recording} | {model}, {kind} | {cell(fitted)} | {cell(left)} | {gamma(left)} "
                    f"| {result['minutes']:.1f} |",
                    flush=True,
                )
        if result is not None:
            inter = result["scores"]["left-out sweeps, interpolated"]
            print(f"| {recording} | interpolation | | {cell(inter)} | {gamma(inter)} | |", flush=True)


def cell(score: dict) -> str:
    """Count error and fraction within 1."""
    return f"{score['count_error']:.2f}, {score['within_one']:.2f} of {len(score['recorded'])}"


def gamma(score: dict) -> str:
    """Gamma, or a dash where it is not defined."""
    return "-" if score["gamma"] is None else f"{score['gamma']:.2f}"


def grasshopper(file: Path, out: Path, quiet: bool) -> None:
    """Bits per spike of the model, of the GLM, and of a GLM for each trial alone."""
    result = finished("grasshopper", "grasshopper.toml", {"data.file": str(file)}, out, quiet)
    print("| bits per spike, bins of 1 ms | test part | trial 1, trial 2 | training part |")
    print("|---|---|---|---|")
    for name, score in result["bits_per_spike"].items():
        trials = ", ".join(f"{x:.3f}" for x in score["trials"])
        print(f"| {name} | {score['test']:.3f} | {trials} | {score['train']:.3f} |")
    data = prepare_sound(read_sound_spikes(file), 0.25, 1.0, 0.75, 30.0, "average")
    for name, history in (("stimulus alone", 0), ("with history", 15)):
        bits = []
        for i in range(len(data.spikes)):
            x, y = data.stimulus[i : i + 1], data.spikes[i : i + 1]
            p = fit_glm(x, y, data.train, history_lags=history).probability(x, y)
            bits.append(bits_per_spike(p[:, data.train :], y[:, data.train :]))
        print(f"| a GLM for each trial, {name} | | {', '.join(f'{b:.3f}' for b in bits)} | |")
    print(f"\n{result['minutes']:.1f} minutes")


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--patchclamp", type=Path)
    parser.add_argument("--grasshopper", type=Path)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--recordings", nargs="+", help="default: all of the file")
    parser.add_argument("--out", type=Path, default=Path("runs/experiment-fit"))
    parser.add_argument("--quiet", action="store_true")
    args = parser.parse_args()
    if args.grasshopper is not None:
        grasshopper(args.grasshopper, args.out, args.quiet)
        print()
    if args.patchclamp is not None:
        recordings = args.recordings or list(recording_names(args.patchclamp))
        patchclamp(args.patchclamp, recordings, args.models, args.out, args.quiet)


if __name__ == "__main__":
    main()
