"""From tables to components."""

from collections.abc import Callable
from typing import Any, TypeVar

from ..connections import Dropout
from ..errors import ConfigError
from .tables import Table, keywords

Made = TypeVar("Made")


def make(
    one: Table, where: str = "", /, *, component: Callable[..., Any] | None = None, **context: Any
) -> Any:
    """The component of a table, and those of the tables in it.

    A part that is drawn at random, as the connection within a connection, is handed over as the function that
    draws it, ``draw(in_shape, out_shape, key=key)`` for a connection, since only the whole knows its shapes.

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
    """A value of a table, and a table in it as the component that it stands for, or the function that draws
    it."""
    if isinstance(value, Table):
        return drawing(value, where) if hasattr(value.component, "create") else make(value, where)
    if isinstance(value, tuple) and any(isinstance(one, Table) for one in value):
        return tuple(drawing(one, f"{where}.{i}") for i, one in enumerate(value))
    return value


def drawing(one: Table, where: str, **context: Any) -> Callable[..., Any]:
    """How the component of a table is drawn: a function of the shapes of input and output, and a key."""

    def draw(in_shape: tuple[int, ...], out_shape: tuple[int, ...] | None, *, key: Any) -> Any:
        made = make(one, where, in_shape=in_shape, out_shape=out_shape, key=key, **context)
        rate = getattr(one, "dropout", 0.0)
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
