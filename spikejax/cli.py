"""The command line: ``spikejax train | evaluate | plot | analyse | landscape | sweep | search | fit``.

argparse reads the command; the keys of the configuration are checked by the schema that also checks the
files, so that a wrong key gets the same one-line answer in both places.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from . import __version__
from .config import FITS, Config, describe, load, load_fit
from .errors import ConfigError, input_errors
from .training import distributed
from .training.checkpoint import CheckpointError
from .training.loop import TrainingStopped

BAD_INPUT = 2
FREE = ("dt", "task", "gate", "loss", "noise")
"""Parts of the configuration that a finished run can be evaluated and plotted with changes in."""


def _listed(keys) -> str:
    return "\n".join(f"  --{name}\n      {text}" for name, text in keys)


def _keys() -> str:
    return (
        "keys of the configuration, with [defaults]; --network.layers.1... is the second layer:\n"
        + _listed(describe())
    )


def _fit_keys() -> str:
    parts = (
        f'keys with kind = "{kind}", with [defaults]:\n{_listed(describe(schema))}'
        for kind, schema in FITS.items()
    )
    return "\n\n".join(parts)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"spikejax: {message}; see spikejax --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="spikejax", description="Train spiking neural networks by exact gradients.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, what: str, example: str, keys=_keys) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.\n\nexample:\n  {example}",
            epilog=keys(),
            usage=f"spikejax {name} {what} [options] [--any.key VALUE ...]",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument(what.lower(), metavar=what, type=Path)
        return sub

    train = add("train", "train a network from a configuration file, then evaluate it and draw figures", "CONFIG",
                "spikejax train configs/braille.toml --seed 1 --gate.release surrogate")  # fmt: skip
    train.add_argument("--out", type=Path, help="folder of the run (default: a new folder runs/NAME)")
    train.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out, or the newest of runs/NAME, bit for bit",
    )
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.add_argument(
        "--devices",
        type=_devices,
        metavar="N",
        help="cut every batch over N devices of this machine, or all [1]",
    )
    _join_options(train)
    sweep = add("sweep", "train every point of a sweep ([sweep] table), those that are one program side by side", "CONFIG",
                "spikejax sweep configs/sharpness_braille.toml --training.steps 100")  # fmt: skip
    sweep.add_argument(
        "--out",
        type=Path,
        help="folder of the sweep (default: runs/NAME); one that was interrupted goes on there",
    )
    sweep.add_argument("--quiet", action="store_true", help="no progress bar")
    _join_options(sweep)
    search = add("search", "search for the best configuration ([search] table), in as many workers as this command is started", "CONFIG",
                 "spikejax search my_search.toml --search.trials 50")  # fmt: skip
    search.add_argument(
        "--out",
        type=Path,
        help="folder of the search (default: runs/NAME), the same for all workers of one machine",
    )
    search.add_argument("--quiet", action="store_true", help="no progress bar, no line for each trial")
    add("evaluate", "evaluate a finished run on the test split, with smooth and hard threshold", "RUN",
        "spikejax evaluate runs/braille --gate.sharpness_end 8")  # fmt: skip
    add("plot", "draw the figures of a run again", "RUN", "spikejax plot runs/braille")
    add("analyse", "analyse a trained network: state space, decoding, rasters, ablation, stability", "RUN",
        "spikejax analyse runs/delayed_xor")  # fmt: skip
    around = add("landscape", "draw the loss around a trained network and around its initialisation, and what gradients say", "RUN",
                 "spikejax landscape runs/braille --directions random --sharpness 2.5 10 --no-plane")  # fmt: skip
    _landscape_options(around)
    fit = add("fit", "fit a model to recordings of a real neuron, and predict what was left out", "CONFIG",
              "spikejax fit configs/patchclamp.toml --data.file FILE --model.kind adex", _fit_keys)  # fmt: skip
    fit.add_argument("--out", type=Path, help="folder of the run (default: a new folder runs/NAME)")
    fit.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _landscape_options(parser: argparse.ArgumentParser) -> None:
    """Those of `spikejax.analysis.landscape_report.Options`, where the defaults are: what is not given is
    left out."""

    def option(name: str, text: str, **kwargs):
        parser.add_argument(f"--{name}", help=text, default=argparse.SUPPRESS, **kwargs)

    option(
        "directions",
        "random (filter-normalised) and gradient (downhill); default: both",
        nargs="+",
        metavar="NAME",
    )
    option(
        "range",
        "largest change of the parameters along a random direction, relative to their norm (default 0.5)",
        type=float,
        metavar="X",
    )
    option(
        "gradient_range",
        "the same along the gradient, which is steep (default 0.05)",
        type=float,
        metavar="X",
    )
    option("points", "of a line, an odd number (default 41)", type=int, metavar="N")
    option(
        "sharpness",
        "of the smooth gates (default: 1, 4 and 16 times what training ended with)",
        nargs="+",
        type=float,
        metavar="A",
    )
    option("surrogate", "kernel of the surrogate gradient (default fast_sigmoid)", metavar="KERNEL")
    option("split", "validation (default) or test", metavar="NAME")
    option("trials", "number of trials, the first of the split (default 40)", type=int, metavar="N")
    option("trial", "the one of them that is looked at alone (default 0)", type=int, metavar="I")
    option("seed", "of the random direction (default 0)", type=int, metavar="N")
    option("plane", "the loss on a plane too (default) or not", action=argparse.BooleanOptionalAction)


def _devices(text: str) -> int:
    if text == "all":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of devices, or all")
    return int(text)


def _join_options(parser: argparse.ArgumentParser) -> None:
    """How several processes find each other (docs/many_machines.md)."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="one of several processes, started by Slurm, Open MPI or on a TPU pod",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="one of several processes, started by hand: address of the first",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="their number")
    parser.add_argument("--process", type=int, metavar="I", help="which one this is, from 0")


def _join(args: argparse.Namespace) -> None:
    """Become one of several processes, if that is asked for."""
    given = (args.coordinator, args.processes, args.process)
    if args.distributed or any(x is not None for x in given):
        with input_errors():
            distributed.join(*given)


def key_values(words: list[str]) -> list[tuple[str, str]]:
    """``--a.b VALUE`` and ``--a.b=VALUE`` as pairs."""
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"unexpected argument {word!r}: options are written --key VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{name} has no value")
            value = rest.pop(0)
        pairs.append((name, value))
    return pairs


def _show(summary: dict[str, Any]) -> str:
    lines = []
    for name in ("smooth", "hard"):
        m = summary[name]
        score = (
            f"accuracy {m['accuracy']:.4f}" if "accuracy" in m else f"error {m.get('error', m['loss']):.4f}"
        )
        layers = [key.removeprefix("rate/") for key in m if key.startswith("rate/")]
        rates = ", ".join(f"{m[f'rate/{i}']:.1f} Hz ({m[f'silent/{i}']:.0%} silent)" for i in layers)
        lines.append(
            f"test, {name} threshold: {score}, loss {m['loss']:.4f}, rates {rates}  [{summary['trials']} trials]"
        )
    return "\n".join(lines)


def _run(args: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from . import runs

    if args.command == "train":
        config: Config = load(args.config, overrides)
        name = args.config.resolve().name if args.config.is_dir() else args.config.stem
        _join(args)
        folder = distributed.call(
            lambda: args.out or (runs.newest_folder(name) if args.resume else runs.free_folder(name))
        )
        say = print if distributed.leads() else lambda *_, **__: None
        say(f"run folder: {folder}", flush=True)
        summary = runs.train_run(
            config, folder, resume=args.resume, progress=not args.quiet, devices=args.devices
        )
        say(_show(summary))
        say(f"figures and summary.json: {folder}")
        return
    if args.command == "sweep":
        from .sweeps import load_sweep, sweep_run

        points = load_sweep(args.config, overrides)
        folder = args.out or Path("runs") / args.config.stem
        _join(args)
        say = print if distributed.leads() else lambda *_, **__: None
        say(f"{len(points)} points in {folder}", flush=True)
        rows = sweep_run(points, folder, progress=not args.quiet)
        say(
            f"{sum(bool(row['lost']) for row in rows)} of {len(rows)} were lost; table.csv and figures: {folder}"
        )
        return
    if args.command == "search":
        from .search import load_search, search_run

        plan = load_search(args.config, overrides)
        folder = args.out or Path("runs") / args.config.stem
        print(f"{plan.search.trials} trials in {folder}", flush=True)
        best = search_run(plan, folder, progress=not args.quiet).best_trial
        print(
            f"best: {folder / best.user_attrs['folder']} with {best.value:.6g} (held-out); table.csv and figures: {folder}"
        )
        return
    if args.command == "fit":
        from .fitting.run import fit_run, show

        wanted = load_fit(args.config, overrides)
        name = args.config.resolve().name if args.config.is_dir() else args.config.stem
        folder = args.out or runs.free_folder(name)
        print(f"run folder: {folder}", flush=True)
        print(show(fit_run(wanted, folder, progress=not args.quiet)))
        print(f"figures and fit.json: {folder}")
        return
    for name, _ in overrides:
        if name.split(".")[0] not in FREE:
            raise ConfigError(
                f"--{name}: the network and training of a run are fixed; {args.command} takes keys of {', '.join(FREE)}"
            )
        table, _, key = name.partition(".")
        stages = load(args.run).stages
        if stages and key in stages[-1].get(table, {}):
            raise ConfigError(f"--{name}: the last stage of the run sets it, and would hide this")
    if args.command == "evaluate":
        print(_show(runs.evaluate_run(args.run, load(args.run, overrides))))
    elif args.command == "landscape":
        options = {name: value for name, value in vars(args).items() if name not in ("command", "run")}
        for path in runs.landscape_run(args.run, load(args.run, overrides), **options):
            print(path)
    else:
        draw = runs.plot_run if args.command == "plot" else runs.analyse_run
        for path in draw(args.run, load(args.run, overrides)):
            print(path)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, or 2 for bad input and for training that stopped early."""
    args, rest = _parser().parse_known_args(argv)
    try:
        _run(args, key_values(rest))
    except (ConfigError, CheckpointError, TrainingStopped) as error:
        print(f"spikejax: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        hint = (
            "; --resume continues from the last checkpoint, if there is one"
            if args.command == "train"
            else ""
        )
        print(f"spikejax: interrupted; what was written stays{hint}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"spikejax: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
