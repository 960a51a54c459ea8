"""Keys that were renamed: one table of them, an error that names the new key, and old run folders that are
still read.

A configuration that somebody wrote with an old key gets an error, so that no file is in two languages. The
``config.toml`` of a run folder, which this library wrote, is upgraded when it is read.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

RENAMED: dict[str, str] = {
    "task.channels": "task.bands",
    "network.layers.*.input_scale": "network.layers.*.feedforward.scale",
    "network.layers.*.input_norm": "network.layers.*.feedforward.norm",
    "network.layers.*.recurrent_scale": "network.layers.*.recurrent.scale",
    "network.layers.*.density": "network.layers.*.recurrent.density",
    "network.layers.*.autapses": "network.layers.*.recurrent.autapses",
    "network.layers.*.self_excitation": "network.layers.*.recurrent.self_excitation",
    "network.layers.*.neuron.tau_ref": "network.layers.*.neuron.refractory.tau_ref",
    "gate.detach_reset": "gate.release.detach_reset",
    "gate.plateau.patience": "gate.schedule.patience",
    "gate.plateau.tolerance": "gate.schedule.tolerance",
    "gate.plateau.factor": "gate.schedule.factor",
    "loss.rate_weight": "penalties.rate_band.weight",
    "loss.rate_low": "penalties.rate_band.low",
    "loss.rate_high": "penalties.rate_band.high",
    "loss.log_rate_weight": "penalties.log_rate.weight",
    "loss.log_rate": "penalties.log_rate.target",
    "loss.activity_weight": "penalties.activity.weight",
    "loss.voltage_weight": "penalties.low_voltage.weight",
    "loss.voltage_low": "penalties.low_voltage.low",
    "loss.partial_weight": "penalties.whole_charge.weight",
    "adjoint.damping": "adjoint.inner.damping",
    "adjoint.clip": "adjoint.inner.clip",
    "training.rates": "training.learning_rate_scale",
    "training.judge": "training.select_by",
    "training.finer": "training.half_step_fraction",
}
"""Old key -> new key; a ``*`` stands for the number of a layer."""
ONLY_WITH = {
    "task.channels": ("task.kind", "spoken_digits"),
    "adjoint.damping": ("adjoint.kind", "checkpointed"),
    "adjoint.clip": ("adjoint.kind", "checkpointed"),
}
"""Of these keys, where the kind stands with which alone they are old."""
THEN = {
    "task.kind": ("braille", "delayed_xor", "predictive_coding", "spoken_digits"),
    "loss.kind": ("cross_entropy", "squared_error", "response"),
    "adjoint.kind": ("autodiff", "checkpointed", "costate"),
    "network.readout.kind": ("linear", "leaky"),
    "network.layers.*.neuron.kind": (
        "nif", "lif", "alif", "glif", "eif", "adex", "izhikevich", "theta", "hodgkin_huxley",
    ),
    "gate.release": ("charge", "graded", "surrogate", "hard"),
    "gate.schedule": ("constant", "linear", "geometric", "plateau"),
}  # fmt: skip
"""The kinds that there were: a key of a user's own component is never an old one, whatever it is called."""
UNUSED = {
    "loss.margin": ("loss.kind", "response"),
    "loss.windows": ("loss.kind", "cross_entropy"),
    "loss.smoothing": ("loss.kind", "cross_entropy"),
    "adjoint.chunk": ("adjoint.kind", "checkpointed"),
    "network.readout.tau_out": ("network.readout.kind", "leaky"),
    "gate.detach_reset": ("gate.release", "surrogate"),
    "gate.plateau.patience": ("gate.schedule", "plateau"),
    "gate.plateau.tolerance": ("gate.schedule", "plateau"),
    "gate.plateau.factor": ("gate.schedule", "plateau"),
}
"""Keys that the old run folders have with every kind, where the kind stands, and the one that used them."""
FIELDS = {"tau_accommodation": "tau"}
"""Fields of components that have another name now; `training` says what of them is trained, and how fast."""
WEIGHTS = {
    "loss.rate_weight": ("loss.rate_low", "loss.rate_high"),
    "loss.log_rate_weight": ("loss.log_rate",),
    "loss.activity_weight": (),
    "loss.voltage_weight": ("loss.voltage_low",),
    "loss.partial_weight": (),
    "network.layers.*.neuron.tau_ref": (),
    "adjoint.damping": (),
}
"""Old keys whose 0 meant that there is no such thing, and the keys that say more of it."""


def old_keys(data: dict[str, Any], renamed: Mapping[str, str] = RENAMED) -> Iterator[tuple[str, str]]:
    """Every old key that is set in the tables of a configuration, and what it is called now."""
    for old, new in _expanded(data, renamed):
        if _get(data, old) is not None and _is_old(data, data, old):
            yield old, new


def upgrade(data: dict[str, Any], renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The tables of an old run folder's ``config.toml`` in the new keys; those of a new one as they are.

    **Arguments:** `renamed`: other keys than those of a training run, which have only moved.
    """
    data = copy.deepcopy(data)
    if renamed is not None:
        for old, new in list(old_keys(data, renamed)):
            _put(data, new, _pop(data, old))
        return data
    # The stages first: what they do not say stands in the rest, in the old keys.
    for stage in data.get("stages", ()):
        _move(stage, data)
    for pattern, more in WEIGHTS.items():
        for key in _places(data, pattern):
            if _get(data, key) == 0 and _is_there(data, data, key):
                for one in (key, *more):
                    _pop(data, one)
    _move(data, data)
    training = data.get("training", {})
    if "trainable" in training:
        training["trainable"] = [FIELDS.get(name, name) for name in training["trainable"]]
    for old, new in FIELDS.items():
        scales = training.get("learning_rate_scale", {})
        if scales:
            training["learning_rate_scale"] = {name.replace(old, new): x for name, x in scales.items()}
    return data


def _move(data: dict[str, Any], whole: dict[str, Any]) -> None:
    """Give the keys of one table of tables their new names."""
    for key, (where, kind) in UNUSED.items():
        found = _kind(data, whole, where)
        if _get(data, key) is not None and found != kind and (found is None or found in THEN[where]):
            _pop(data, key)
    for old, new in list(_expanded(data)):
        if _get(data, old) is not None and _is_old(data, whole, old):
            _put(data, new, _pop(data, old))
    for key in ("gate.plateau", "loss"):
        if _get(data, key) == {}:
            _pop(data, key)


def _kind(data: dict[str, Any], whole: dict[str, Any], where: str) -> Any:
    found = _get(data, where)
    return _get(whole, where) if found is None else found


def _is_old(data: dict[str, Any], whole: dict[str, Any], key: str) -> bool:
    where = ONLY_WITH.get(key)
    return _is_there(data, whole, key) and (where is None or _kind(data, whole, where[0]) == where[1])


def _is_there(data: dict[str, Any], whole: dict[str, Any], key: str) -> bool:
    """Whether the component that a key is of is one of those that there were."""
    where = f"{key.rpartition('.')[0]}.kind"
    kinds = THEN.get(re.sub(r"\.\d+\.", ".*.", where))
    return kinds is None or _kind(data, whole, where) in (None, *kinds)


def _expanded(data: dict[str, Any], renamed: Mapping[str, str] = RENAMED) -> Iterator[tuple[str, str]]:
    for old, new in renamed.items():
        for key in _places(data, old):
            number = key.split(".")[2] if "*" in old else ""
            yield key, new.replace("*", number)


def _places(data: dict[str, Any], pattern: str) -> list[str]:
    """A pattern with the number of every layer in the place of its ``*``."""
    if "*" not in pattern:
        return [pattern]
    layers = _get(data, "network.layers")
    return [pattern.replace("*", str(i)) for i in range(len(layers) if isinstance(layers, list) else 0)]


def _parent(data: Any, path: str) -> tuple[Any, str]:
    """The table that a key is in, or None, and the key's last part."""
    *tables, last = path.split(".")
    for part in tables:
        if isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            data = data.get(part) if isinstance(data, dict) else None
    return data, last


def _get(data: Any, path: str) -> Any:
    table, last = _parent(data, path)
    return table.get(last) if isinstance(table, dict) else None


def _pop(data: Any, path: str) -> Any:
    table, last = _parent(data, path)
    return table.pop(last, None) if isinstance(table, dict) else None


def _put(data: Any, path: str, value: Any) -> None:
    """Set a key, making the tables it is in; a bare word becomes a table of that kind, false stays."""
    *tables, last = path.split(".")
    for part in tables:
        if isinstance(data, list):
            data = data[int(part)]
            continue
        inner = data.get(part, {})
        if inner is False:
            return
        data[part] = {"kind": inner} if isinstance(inner, str) else {} if inner is True else inner
        data = data[part]
    data[last] = value


__all__ = ["RENAMED", "old_keys", "upgrade"]
