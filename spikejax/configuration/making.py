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
        name: make(value, f"{where}.{name}") if isinstance(value, Table) else value
        for name, value in values.items()
    }
    return at(where, getattr(component, "create", component), **(parts | context))


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


__all__ = ["at", "make"]
