"""From tables to components."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from ..connections import AbstractConnection, Dropout
from ..errors import ConfigError
from .tables import Table, keywords

Made = TypeVar("Made")


def make(
    one: Table, where: str = "", /, *, component: Callable[..., Any] | None = None, **context: Any
) -> Any:
    """The component of a table, and those of the tables in it.

    **Arguments:** `where`: path of keys of the table, which an error begins with; `component`: another class
    than the table's, which takes those of the keys that it declares; `context`: what no table says, such as
    the time step.

    **Raises:** `ConfigError`.
    """
    component = component or one.component
    if component is None:
        raise TypeError(f"{type(one).__name__} is no component's table")
    known = keywords(component)
    values = {name: getattr(one, name) for name in known if name in one.model_fields_set}
    parts = {name: _part(value, f"{where}.{name}") for name, value in values.items()}
    return at(where, getattr(component, "create", component), **(parts | context))


def _part(value: Any, where: str) -> Any:
    """A value of a table, and a table in it as what it stands for."""
    if isinstance(value, Table):
        return make(value, where)
    if isinstance(value, tuple) and any(isinstance(one, Table) for one in value):
        return tuple(drawing(one, f"{where}.{i}") for i, one in enumerate(value))
    return value


def drawing(table: Table, where: str) -> Callable[..., AbstractConnection]:
    """How the connection of a table is drawn: a function of the shapes of input and output, and a key."""

    def draw(
        in_shape: tuple[int, ...], out_shape: tuple[int, ...] | None, *, key: jax.Array
    ) -> AbstractConnection:
        made = make(table, where, in_shape=in_shape, out_shape=out_shape, key=key)
        rate = getattr(table, "dropout", 0.0)
        return Dropout(made, rate=rate) if rate else made

    return draw


def at(where: str, call: Callable[..., Made], /, *args: Any, **kwargs: Any) -> Made:
    """Call a function whose `ValueError` is about the keys at `where`, and say so.

    **Raises:** `ConfigError`.
    """
    try:
        return call(*args, **kwargs)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


__all__ = ["at", "drawing", "make"]
