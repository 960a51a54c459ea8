"""What a component declares of its fields, once: unit, meaning, range. Checks and configuration follow from
it.

A field is declared by `parameter` (an array that can be trained, one value or one for each neuron), `option`
(a plain value that is compiled in) or `part` (another component). A keyword of a constructor that is not a
field, as the scale of random weights, is declared by ``Annotated[float, Declaration(...)]``.
"""

import dataclasses
import inspect
import numbers
import typing
from collections.abc import Callable, Iterator
from typing import Any, get_args

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

from .parameters import AbstractReparametrisation, as_parameter
from .registry import Registry

Number = int | float
MOST = 2**32 - 1
"""Largest whole number of an option: sizes, counts and seeds are of 32 bits."""


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What is known of a field or keyword beside its type and default."""

    doc: str = ""
    """What it is, in a few words."""
    unit: str = ""
    above: Number | None = None
    """Every number must be above this; likewise the next three."""
    at_least: Number | None = None
    below: Number | None = None
    at_most: Number | None = None
    choices: tuple[str, ...] | None = None
    """The words that are allowed."""
    trained: bool = False
    """An array, which can be trained and may differ between networks that are trained side by side."""
    positive: bool = False
    """Stays above 0 in training (see `spikejax.Positive`)."""
    kinds: bool = False
    """Has an axis of its own before those of the neurons."""
    drawn: bool = False
    """In a configuration also ``[low, high]``, of which every neuron gets a draw."""
    length: tuple[int, int | None] | None = None
    """Fewest and most entries of a tuple."""
    registry: Registry | None = None
    """Family of the component that the field holds."""
    default: str = ""
    """Name of the component that it holds if none is given."""
    staged: bool = True
    """Whether a stage of a curriculum may change it."""
    compiled: bool = False
    """A plain value, which must be known where something is compiled."""
    in_table: bool = True
    """Whether it is a key of a configuration's table; else what makes the component gives it, as the time
    step."""

    @property
    def text(self) -> str:
        """Meaning and unit, for a help text."""
        return f"{self.doc}, {self.unit}" if self.unit else self.doc

    def allowed(self) -> str:
        """The range in words, empty if there is none."""
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}"
        bounds = {
            "above": self.above,
            "at least": self.at_least,
            "below": self.below,
            "at most": self.at_most,
        }
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def check(self, owner: str, name: str, value: Any) -> None:
        """Raise one `ValueError` that names field, value and what is allowed; what is traced is not known."""
        problem = self.problem(value)
        if problem is not None:
            raise ValueError(f"{owner}: `{name}` {problem}")

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, as in "is -1 ms, but must be finite and above 0"; None if nothing
        is."""
        if value is None or self.registry is not None:
            return None
        if self.choices is not None:
            return None if value in self.choices else f"is {value!r}, but must be {self.allowed()}"
        if isinstance(value, tuple) and self.length is not None:
            fewest, most = self.length
            if len(value) < fewest or (most is not None and len(value) > most):
                count = (
                    f"{fewest}"
                    if fewest == most
                    else f"at least {fewest}"
                    if most is None
                    else f"{fewest} to {most}"
                )
                return f"has {len(value)} entries, but must have {count}"
        if isinstance(value, str) and self.allowed():
            return f"is {value!r}, but must be a number {self.allowed()}"
        numbers = known_numbers(value)
        if numbers is None:
            return None
        bad = ~np.isfinite(numbers)
        for bound, fails in (
            (self.above, lambda x, b: x <= b),
            (self.at_least, lambda x, b: x < b),
            (self.below, lambda x, b: x >= b),
            (self.at_most, lambda x, b: x > b),
        ):
            if bound is not None:
                bad |= fails(numbers, bound)
        if not bad.any() and _whole(value) and np.abs(numbers).max() > MOST:
            return f"is {numbers[np.argmax(np.abs(numbers))]:g}, but whole numbers go to {MOST}"
        if not bad.any():
            return None
        shown, allowed = numbers[bad].reshape(-1)[0], self.allowed()
        unit = f" {self.unit}" if self.unit else ""
        return f"is {shown:g}{unit}, but must be {f'finite and {allowed}' if allowed else 'finite'}"


def known_numbers(value: Any) -> np.ndarray | None:
    """The numbers in `value`, if it holds numbers and they are known (not traced)."""
    if isinstance(value, AbstractReparametrisation):
        value = value.value
    if isinstance(value, bool | str | Tracer):
        return None
    if isinstance(value, int | float):
        return np.array([_as_float(value)])
    if isinstance(value, tuple) and value and all(isinstance(x, int | float) for x in value):
        return np.array([_as_float(x) for x in value])
    if isinstance(value, jax.Array) and not value.is_fully_addressable:  # parts of it are in other processes
        return None
    if isinstance(value, jax.Array | np.ndarray) and np.issubdtype(value.dtype, np.floating):
        return np.asarray(value, float).reshape(-1)
    return None


def _as_float(x: Number) -> float:
    try:
        return float(x)
    except OverflowError:  # of a whole number of hundreds of digits
        return np.inf if x > 0 else -np.inf


def _whole(value: Any) -> bool:
    entries = value if isinstance(value, tuple) else (value,)
    return all(isinstance(x, int) for x in entries)


def parameter(
    default: Number | tuple[float, ...] | None,
    *,
    unit: str = "",
    doc: str = "",
    positive: bool = False,
    at_least: Number | None = None,
    below: Number | None = None,
    at_most: Number | None = None,
    kinds: bool = False,
    drawn: bool = False,
    **kwargs: Any,
) -> Any:
    """A field that holds an array which can be trained: given by keyword, converted by `as_parameter`,
    finite.

    **Arguments:** `default`: a number, or a tuple for a field with an axis of its own (`kinds`); None if the
    class fills it in; `unit`, `doc`: for help texts; `positive`: above 0, in training too; `at_least`,
    `below`, `at_most`: the range; `drawn`: a configuration may give ``[low, high]`` to draw every neuron's
    value from; `kwargs`: of `equinox.field`.
    """
    declared = Declaration(
        doc=doc,
        unit=unit,
        # A conductance may be 0 (a blocked channel) and is still positive where it is trained.
        above=0.0 if positive and at_least is None else None,
        at_least=at_least,
        below=below,
        at_most=at_most,
        trained=True,
        positive=positive,
        kinds=kinds or isinstance(default, tuple),
        drawn=drawn,
    )
    return _field(declared, default, **({"converter": _as_parameter_or_none} | kwargs))


def option(
    default: Any = dataclasses.MISSING,
    *,
    unit: str = "",
    doc: str = "",
    above: Number | None = None,
    at_least: Number | None = None,
    below: Number | None = None,
    at_most: Number | None = None,
    choices: tuple[str, ...] | None = None,
    length: tuple[int, int | None] | None = None,
    staged: bool = True,
    in_table: bool = True,
    **kwargs: Any,
) -> Any:
    """A field that holds a plain value (number, word, tuple), which is compiled into what uses it.

    **Arguments:** `default`: none if it has to be given; `unit`, `doc`: for help texts; `above`, `at_least`,
    `below`, `at_most`: the range of every number in it; `choices`: the words allowed; `length`: fewest and
    most entries of a tuple; `staged`: whether a stage of a curriculum may change it; `in_table`: whether a
    configuration has a key for it; `kwargs`: of `equinox.field`.
    """
    declared = Declaration(
        doc=doc,
        unit=unit,
        above=above,
        at_least=at_least,
        below=below,
        at_most=at_most,
        choices=choices,
        length=length,
        staged=staged,
        in_table=in_table,
        compiled=kwargs.get("static", True),
    )
    return _field(declared, default, **({"static": True, "converter": _plain} | kwargs))


def part(registry: Registry, default: str, *, doc: str = "", **kwargs: Any) -> Any:
    """A field that holds another component: given as such, or by its name in the `registry`."""
    return _field(
        Declaration(doc=doc, registry=registry, default=default),
        dataclasses.MISSING,
        converter=registry.coerce,
        default_factory=lambda: registry.make(default),
        **kwargs,
    )


def _field(declared: Declaration, default: Any, **kwargs: Any) -> Any:
    if default is not dataclasses.MISSING:
        kwargs["default"] = default
    return eqx.field(**({"kw_only": True, "metadata": {"declared": declared}} | kwargs))


def _plain(value: Any) -> Any:
    """A number of numpy's or JAX's as one of Python's, which has no precision of its own to impose and can be
    compared; anything else as it is."""
    known = isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, Tracer)
    return value.item() if known and not value.ndim and value.dtype.kind in "biuf" else value


def _as_parameter_or_none(value):
    return None if value is None else as_parameter(value)


class Component(eqx.Module):
    """A module whose declared fields are checked when it is made.

    A class with checks of its own in ``__check_init__`` calls that of `super` first if they rely on these.
    """

    def __check_init__(self):
        owner, hints = type(self).__name__, {field.name: field.type for field in dataclasses.fields(self)}
        for name, declared in declarations(type(self)).items():
            value = getattr(self, name)
            _check_type(owner, name, declared, hints[name], value)
            declared.check(owner, name, value)


def _check_type(owner: str, name: str, declared: Declaration, hint: Any, value: Any) -> None:
    """Raise `ValueError` for a number of things that is not whole, and for what is no component where one is
    asked for."""
    if declared.registry is not None:
        # The annotation of a user's own class may be text.
        family = hint if isinstance(hint, type) and issubclass(hint, Component) else Component
        if not isinstance(value, family):
            raise ValueError(
                f"{owner}: `{name}` is {_short(value)}, but must be a {declared.registry.family}, or one of "
                f"{', '.join(declared.registry)}"
            )
    elif declared.compiled and isinstance(value, Tracer):
        raise ValueError(f"{owner}: `{name}` is traced, but is compiled in: give a number")
    elif hint in (int, int | None, "int", "int | None") and not (
        value is None or isinstance(value, numbers.Integral)
    ):
        raise ValueError(f"{owner}: `{name}` is {_short(value)}, but must be a whole number")


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"


def declarations(cls: type) -> dict[str, Declaration]:
    """The declared fields of a class that can be given, in order."""
    return {
        field.name: field.metadata["declared"]
        for field in dataclasses.fields(cls)
        if "declared" in field.metadata and field.init
    }


def annotated(factory: Callable[..., Any]) -> dict[str, tuple[Any, Declaration, Any]]:
    """The annotated keywords of a classmethod ``create``: type, declaration and default
    (`dataclasses.MISSING` if it has to be given)."""
    found, hints = {}, typing.get_type_hints(factory, include_extras=True)
    for name, one in inspect.signature(factory).parameters.items():
        hint = hints.get(name)
        own = next((x for x in getattr(hint, "__metadata__", ()) if isinstance(x, Declaration)), None)
        if own is not None:
            default = dataclasses.MISSING if one.default is one.empty else one.default
            found[name] = get_args(hint)[0], own, default
    return found


def check_keywords(cls: type, **values: Any) -> None:
    """Raise `ValueError` for keywords of a classmethod ``create`` that are out of the range they declare:
    what fields have checked for them."""
    known = annotated(cls.create)  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in values.items():
        known[name][1].check(cls.__name__, name, value)


def fits(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of shape `own` is one value, or one each, for a population of this shape."""
    try:
        return np.broadcast_shapes(own, shape) == shape
    except ValueError:
        return False


def check_shapes(component: Component, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless every declared array fits a population of this shape: one value, or one
    each."""
    for name, declared in declarations(type(component)).items():
        value = getattr(component, name)
        if not declared.trained or value is None:
            continue
        own = tuple(value.shape)[1 if declared.kinds else 0 :]
        if not fits(own, shape):
            raise ValueError(
                f"{type(component).__name__}: `{name}` has shape {tuple(value.shape)}, but the population "
                f"has shape {shape}: give one value, or one for every neuron"
            )


def components(tree: Any) -> Iterator[Component]:
    """All components in a tree of modules, tuples and dictionaries, outer ones first."""
    if isinstance(tree, Component):
        yield tree
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        tree = {field.name: getattr(tree, field.name, None) for field in dataclasses.fields(tree)}
    if isinstance(tree, dict | tuple | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from components(branch)


def positive_fields(tree: Any) -> frozenset[str]:
    """Names of the fields of a network's components that stay above 0 in training."""
    return frozenset(
        name
        for one in components(tree)
        for name, declared in declarations(type(one)).items()
        if declared.positive
    )


def check_order(owner: object, low: str, high: str) -> None:
    """Raise `ValueError` unless the field `low` is below the field `high` everywhere, where both are
    known."""
    a, b = (known_numbers(getattr(owner, name)) for name in (low, high))
    if a is None or b is None:
        return
    name = type(owner).__name__
    try:
        bad = a >= b
        wrong = np.broadcast_to(a, bad.shape)[bad]
    except ValueError:
        raise ValueError(
            f"{name}: `{low}` has {a.size} values and `{high}` {b.size}: give one, or as many"
        ) from None
    if wrong.size:
        raise ValueError(
            f"{name}: `{low}` must be below `{high}`, but is {a.max():g} with a `{high}` of {b.min():g}"
        )


__all__ = [
    "Component",
    "Declaration",
    "annotated",
    "check_keywords",
    "check_order",
    "check_shapes",
    "components",
    "declarations",
    "fits",
    "known_numbers",
    "option",
    "parameter",
    "part",
    "positive_fields",
]
