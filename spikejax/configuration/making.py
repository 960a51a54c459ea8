"""From tables to components."""

from collections.abc import Callable
from typing import Any, TypeVar

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
    parts = {
        name: _part(value, f"{where}.{name}") if isinstance(value, Table) else value
        for name, value in values.items()
    }
    return at(where, getattr(component, "create", component), **(parts | context))


def _part(one: Table, where: str) -> Any:
    """The component of a table within a component's table, or the function that draws it."""
    return drawing(one, where) if hasattr(one.component, "create") else make(one, where)


def drawing(one: Table, where: str, **context: Any) -> Callable[..., Any]:
    """How the component of a table is drawn: a function of the shapes of input and output, and a key."""

    def draw(in_shape: tuple[int, ...], out_shape: tuple[int, ...], *, key: Any) -> Any:
        return make(one, where, in_shape=in_shape, out_shape=out_shape, key=key, **context)

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
