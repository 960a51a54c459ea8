"""Components by name: what a configuration, the command line and a user's plugin can name.

A family of components (neurons, losses, ...) has one registry. A class enters it with one line,
```
@NEURONS.register("lif")
class LIF(AbstractResetNeuron): ...
```
and everything else (its table in a configuration, its help text, its checks) follows from the class itself.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

Family = TypeVar("Family")
Member = TypeVar("Member", bound=type)


class Registry(Mapping[str, type[Family]], Generic[Family]):
    """The classes of one family by their names, in the order in which they were registered.

    **Arguments:** `family`: what one of them is called in a message, such as ``"neuron"``.
    """

    def __init__(self, family: str):
        self.family = family
        self._classes: dict[str, type[Family]] = {}

    def register(self, name: str) -> Callable[[Member], Member]:
        """A decorator that enters a class as `name`.

        **Raises:** `ValueError` if another class has that name.
        """

        def enter(cls: Member) -> Member:
            known = self._classes.get(name)
            # The same class again is a module that was reloaded.
            if known is not None and (known.__module__, known.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(
                    f"there is a {self.family} {name!r} already, {known.__module__}.{known.__qualname__}"
                )
            self._classes[name] = cast("type[Family]", cls)
            return cls

        return enter

    def __getitem__(self, name: str) -> type[Family]:
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def make(self, name: str, **fields: Any) -> Family:
        """The component called `name`, with these fields.

        **Raises:** `ValueError` for a name that is not registered.
        """
        return self.find(name)(**fields)

    def find(self, name: str) -> type[Family]:
        """The class called `name`.

        **Raises:** `ValueError` that lists the names there are.
        """
        if name not in self._classes:
            near = difflib.get_close_matches(str(name), self._classes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(self._classes)}"
            raise ValueError(f"unknown {self.family} {name!r}: {hint}")
        return self._classes[name]

    def coerce(self, value: Any) -> Any:
        """`value`, or the component it names with its default fields: what a field that accepts both converts
        by."""
        return self.make(value) if isinstance(value, str) else value

    def name_of(self, component: object) -> str:
        """The name that the component's class is registered as; of a class that is not, its own name."""
        cls = component if isinstance(component, type) else type(component)
        return next((name for name, known in self._classes.items() if known is cls), cls.__name__)


__all__ = ["Registry"]
