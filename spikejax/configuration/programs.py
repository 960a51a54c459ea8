"""Which configurations are trained by one compiled program, and so can be trained side by side."""

import functools
import json
from collections.abc import Hashable
from typing import Any, cast

import equinox as eqx
import jax

from ..component import Declaration
from .assemble_network import build_network
from .assemble_parts import build_annealing, build_loss, build_task
from .schema import Config
from .tables import Free, Table, metadata


def compiled(one: Table) -> dict[str, Any]:
    """The values of a table but for those that may differ between networks that are trained as one
    program."""
    found: dict[str, Any] = {}
    for name, field in type(one).model_fields.items():
        free, declared, value = metadata(field, Free), metadata(field, Declaration), getattr(one, name)
        if free is not None and free.networks:
            continue
        if declared is not None and declared.trained:
            # On or off is another program, the number is not.
            found[name] = bool(value)
        else:
            found[name] = compiled(value) if isinstance(value, Table) else value
    return found


def program(config: Config) -> str:
    """What a configuration's train step is compiled for, but for the network: where this and `structure` are
    equal, networks can be trained together.

    Left out is what the schema and the declarations of components say that may differ: what becomes an array,
    or a schedule on the host.
    """
    tree: dict[str, Any] = compiled(config)
    del tree["seed"], tree["network"]
    # A loss is compiled in as it is, with the numbers of its parts.
    tree["loss"] = config.loss.model_dump(mode="json")
    # The length of a batch is drawn by the seed: only points of one seed have batches of one shape.
    if any(build_task(part).draws_length for part in config.parts):
        tree["seed"] = config.seed
    # One value a layer is an array of another shape.
    tree["layers"] = build_annealing(config).layers
    # The schedules of stages are read from the points' own plans; what else a stage sets is compiled in.
    return json.dumps(tree, sort_keys=True, default=str)


def structure(config: Config) -> Hashable:
    """Static fields, shapes and types of a configuration's network: everything but numbers."""
    task, network = build_task(config), cast(Hashable, config.network)
    return _structure(network, config.training.trainable, task.channels, build_loss(config).outputs(task))


@functools.lru_cache(maxsize=256)
def _structure(
    network: Any, trainable: tuple[str, ...], channels: int | tuple[int, ...], outputs: int
) -> Hashable:
    config = Config(network=network)
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"trainable": trainable})}
    )
    shapes = eqx.filter_eval_shape(build_network, config, channels, outputs, jax.random.key(0))
    leaves, tree = jax.tree.flatten(shapes)
    return tree, tuple((x.shape, x.dtype) if hasattr(x, "shape") else x for x in leaves)


def alone(config: Config) -> bool:
    """Whether a configuration is trained by itself: the time step of an update is drawn by its seed."""
    return any(part.training.half_step_fraction for part in config.parts)


__all__ = ["alone", "compiled", "program", "structure"]
