"""Checkpoints: written whole or not at all, and never read into the wrong network."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
from jaxtyping import PyTree

from ..files import write_atomically
from ..metrics import leaf_name

FORMAT = 1
RENAMED = {"log": "raw", "tau_accommodation": "tau"}
"""Parts of an array's name that an earlier version wrote otherwise; arrays and order are the same."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line."""


def _layout(tree: PyTree) -> dict[str, str]:
    leaves, _ = jtu.tree_flatten_with_path(tree)
    return {leaf_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves if eqx.is_array(leaf)}


def save(path: Path, tree: PyTree, **header: Any) -> None:
    """Write the arrays of `tree`, behind one line of JSON with the `header` and the name, type and shape of
    every array."""
    line = json.dumps({"format": FORMAT, "layout": _layout(tree), **header}) + "\n"
    host = jax.device_get(tree)

    def write(file):
        file.write(line.encode())
        eqx.tree_serialise_leaves(file, host)

    write_atomically(path, write)


def load(path: Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read a checkpoint into the structure of `like`: the tree and the header.

    **Raises:** `CheckpointError` in one line if the file is missing, damaged, of another format, or of
    another network (naming the first array that differs).
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.readline())
            if header["format"] != FORMAT:
                raise CheckpointError(
                    f"{path} has checkpoint format {header['format']}; this version reads {FORMAT}"
                )
            there = {_renamed(name): layout for name, layout in header["layout"].items()}
            _compare(path, there, _layout(like))
            return eqx.tree_deserialise_leaves(file, like), header
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, EOFError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is not a complete checkpoint: {reason}") from error


def _renamed(name: str) -> str:
    return ".".join(RENAMED.get(part, part) for part in name.split("."))


def _compare(path: Path, there: dict[str, str], here: dict[str, str]) -> None:
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{path} is a checkpoint of another network: {name} is {there.get(name, 'absent')} "
                f"in the file and {here.get(name, 'absent')} in the configured network"
            )
    # Arrays are read in the order in which they were written.
    for one, other in zip(there, here, strict=True):
        if one != other:
            raise CheckpointError(
                f"{path} is of another version, with {one} in the place of {other}: it cannot be read"
            )


__all__ = ["FORMAT", "CheckpointError", "load", "save"]
