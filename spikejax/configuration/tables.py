"""Tables of a configuration, made from the classes that they describe.

A component says its fields once, by `spikejax.parameter`, `spikejax.option` and `spikejax.component.part`, or
by annotated keywords of a classmethod ``create``. `table` turns that into the pydantic model of a TOML table:
names and types by pydantic, ranges by the declarations themselves, defaults those of the class. A table knows
which keys were given, and `make` passes on only those, so that a default stands in one place.

A field that holds one component of a family is annotated by `Family`: its table has a key `kind`, or is just
that word. Which kinds there are is looked up when a configuration is read, so that those of a plugin count.

Errors of a nested table carry the path of keys from the root and no tags of unions: `Family` reads a table by
itself, and pydantic joins the locations of an error that passes through.
"""

import dataclasses
import difflib
import functools
import inspect
import itertools
import json
import operator
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    LiteralString,
    NoReturn,
    TypeVar,
    get_args,
    get_origin,
)

from jaxtyping import AbstractArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from ..component import Declaration, annotated, declarations
from ..registry import Registry

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
MOST = 2**31 - 1
"""Largest number of things: arrays are counted in 32 bits."""
Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrNone = Annotated[int, Field(ge=0, le=MOST)]


class Table(BaseModel):
    """A table of a configuration: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)
    component: ClassVar[Callable[..., Any] | None] = None
    """What `make` calls with the keys; None for a table that is no component's."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # keys that come from a declaration
        def __hash__(self) -> int: ...  # which `frozen` makes


Model = TypeVar("Model", bound=BaseModel)
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Free:
    """Metadata of a key written by hand: where its value may differ from one place to the other.

    Of a component's keys the declarations say it: `staged` and `trained`.
    """

    stages: bool = False
    """Between the stages of a curriculum."""
    networks: bool = False
    """Between networks that are trained side by side as one program: it becomes an array, or stays on the
    host."""


STAGED = Free(stages=True)


# From declarations to tables.


def keywords(component: Callable[..., Any]) -> dict[str, tuple[Any, Declaration, Any]]:
    """The keys of a component: type, declaration and default (`dataclasses.MISSING` if it has to be given).

    They are the declared fields of a class, or the annotated keywords of its classmethod ``create`` if it has
    one.
    """
    factory = getattr(component, "create", None)
    if factory is not None:
        return {name: about for name, about in annotated(factory).items() if about[1].in_table}
    return dict(_fields(component))


def _fields(cls: Any) -> Iterator[tuple[str, tuple[Any, Declaration, Any]]]:
    declared = declarations(cls)
    for field in dataclasses.fields(cls):
        if field.name not in declared or not declared[field.name].in_table:
            continue
        hint = typing.get_type_hints(cls)[field.name] if isinstance(field.type, str) else field.type
        own = declared[field.name]
        default = field.default
        if (
            default is dataclasses.MISSING
            and own.registry is None
            and field.default_factory is not dataclasses.MISSING
        ):
            default = field.default_factory()
        yield field.name, (hint, own, default)


def key(hint: Any, declared: Declaration, default: Any) -> Any:
    """The definition of one key for `pydantic.create_model`."""
    description = declared.text
    if declared.registry is not None:
        if get_origin(hint) is tuple:
            held = Several(declared.registry, declared.default)
            return Annotated[Any, held, declared], Field(..., description=description)
        held = Family(declared.registry, declared.default)
        return Annotated[Any, held, declared], Field({}, description=description)
    required = default is dataclasses.MISSING
    if declared.trained:
        # The annotation of an array says nothing of how it is written.
        hint = tuple[float, ...] if declared.kinds else float
        if declared.drawn:
            # Not the class's default: a value that is given is one for every neuron.
            hint, default = hint | tuple[float, float], None
            description += ", or [low, high] to draw from; default: the component's own"
    # A file has no arrays: of a field that may also hold one, the rest.
    written = [x for x in get_args(hint) if not (isinstance(x, type) and issubclass(x, AbstractArray))]
    if 0 < len(written) < len(get_args(hint)):
        hint = functools.reduce(operator.or_, written)
    if not required and default is None:
        hint = hint | None
    return Annotated[hint, AfterValidator(functools.partial(_within, declared)), declared], Field(
        ... if required else default, description=description
    )


def _within(declared: Declaration, value: Any) -> Any:
    problem = declared.problem(value)
    if problem is None and declared.kinds and value == ():
        problem = "has 0 entries, but must have at least 1"
    if problem is None and declared.drawn and isinstance(value, tuple) and value[0] > value[1]:
        problem = f"is {list(value)}, but must be [low, high]"
    if problem is not None:
        raise PydanticCustomError("declared", "{problem}", {"problem": problem})
    return value


@functools.cache
def table(component: Callable[..., Any], kind: str | None = None, base: type[Table] = Table) -> type[Table]:
    """The table of a component: its keys, with those of `base` before them, and `kind` as its name.

    **Arguments:** `component`: a class, whose declared fields are the keys; or one with a classmethod
    ``create``, whose annotated keywords are; `kind`: its name in its family, None if the key says which it
    is.
    """
    return _model(component, kind, base, ())


def _model(
    component: Callable[..., Any], kind: str | None, base: type[Table], more: Sequence[tuple[str, Any]]
) -> type[Table]:
    own: dict[str, Any] = {name: key(*about) for name, about in keywords(component).items()}
    if kind is not None:
        own = {"kind": (Literal[kind], Field(kind, description=first_sentence(component)))} | own
    name = getattr(component, "__name__", "Table")
    made = create_model(name, __base__=base, __doc__=first_sentence(component), **(own | dict(more)))
    made.component = component
    return made


def first_sentence(component: Any) -> str:
    """The first sentence of a docstring, without its equation."""
    text = " ".join((inspect.getdoc(component) or "").split("\n\n")[0].split())
    return re.split(r"(?<! al)\.(?: |$)", text, maxsplit=1)[0]


class Family:
    """Metadata of a key that holds one component of a family, ``Annotated[Any, Family(NEURONS, "lif")]``.

    The key's value is a table with `kind`, or just the word. With the default ``{}`` of the field an absent
    key is the default kind.

    **Arguments:** `registry`: of the family; `default`: the kind of a table that says none; `base`: a table
    whose keys all kinds have; `extras`: further keys of a class, as for `pydantic.create_model`; `defaults`:
    of keys that have another default here than by themselves; `staged`: whether a stage may change the kind;
    `switch`: whether ``true`` (the default kind) and ``false`` (none) will do too.
    """

    def __init__(
        self,
        registry: Registry,
        default: str,
        *,
        base: type[Table] = Table,
        extras: Callable[[type], Mapping[str, Any]] | None = None,
        defaults: Mapping[str, Any] | None = None,
        staged: bool = True,
        switch: bool = False,
    ):
        self.registry, self.default, self.base = registry, default, base
        self.extras, self.defaults, self.staged, self.switch = extras, defaults or {}, staged, switch
        self._made: dict[tuple[type | str, ...], type[Table]] = {}

    def tables(self) -> dict[str, type[Table]]:
        """The table of every kind there is at this moment."""
        return {kind: self.table(kind) for kind in self.registry}

    def table(self, kind: str) -> type[Table]:
        """The table of one kind."""
        cls = self.registry.find(kind)
        if self.extras is None and not self.defaults:
            return table(cls, kind, self.base)
        extras = dict(self.extras(cls)) if self.extras else {}
        made = (cls, *extras)  # a plugin may have added to them
        if made not in self._made:
            known = keywords(cls)
            own = {
                name: key(*known[name][:2], default)
                for name, default in self.defaults.items()
                if name in known
            }
            self._made[made] = _model(cls, kind, self.base, tuple((own | extras).items()))
        return self._made[made]

    def read(self, value: Any) -> Any:
        """The table that a value stands for."""
        if isinstance(value, Table):
            return value
        if self.switch and isinstance(value, bool):
            if not value:
                return False
            value = {}
        given = {"kind": value} if isinstance(value, str) else value
        if not isinstance(given, dict):
            words = (
                "the name of one, a table, true or false" if self.switch else "the name of one, or a table"
            )
            raise PydanticCustomError(
                "family",
                "{problem}",
                {"problem": f"is {value!r}, but must be a {self.registry.family}: {words}"},
            )
        kind = given.get("kind", self.default)
        try:
            found = self.table(kind)
        except (ValueError, TypeError) as error:
            problem = str(error) if isinstance(kind, str) else f"is {kind!r}, but must be a word"
            refuse("family", problem, kind, () if isinstance(value, str) else ("kind",))
        self._refuse_key_of_another(found, given)
        known = {name: x for name, x in self.defaults.items() if name in found.model_fields}
        return read(found, {"kind": kind} | known | given)

    def _refuse_key_of_another(self, found: type[Table], given: Mapping[str, Any]) -> None:
        for name in given.keys() - found.model_fields.keys():
            owners = [kind for kind, other in self.tables().items() if name in other.model_fields]
            if owners:
                shown = ", ".join(owners[:3]) + (f" and {len(owners) - 3} more" if len(owners) > 3 else "")
                hint = f"{shown} {'has' if len(owners) == 1 else 'have'} it, but known here: "
                refuse("unknown_key", hint + ", ".join(found.model_fields), given[name], (name,), near=True)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self.read)


class Several(Family):
    """Metadata of a key that holds a list of components of a family, at least one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        one = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.tuple_schema([one], variadic_item_index=0, min_length=1)


class Each:
    """Metadata of a key that holds a table of components of a family by their names, such as
    ``[penalties.rate_band]``."""

    def __init__(self, registry: Registry):
        self.registry = registry
        self._made: dict[tuple[type, ...], type[Table]] = {}

    def table(self) -> type[Table]:
        """The table with a key for every member of the family that there is at this moment."""
        members = tuple(self.registry.values())
        if members not in self._made:
            own: dict[str, Any] = {
                name: (Annotated[table(cls) | None, STAGED], Field(None, description=first_sentence(cls)))
                for name, cls in self.registry.items()
            }
            self._made[members] = create_model(f"{self.registry.family} tables", __base__=Table, **own)
        return self._made[members]

    def read(self, value: Any) -> Any:
        """The table that a value stands for."""
        return value if isinstance(value, Table) else read(self.table(), value)

    __get_pydantic_core_schema__ = Family.__get_pydantic_core_schema__


class Holds:
    """Metadata of a key that holds this one table, such as that of a component without kinds, or with
    `optional` none."""

    def __init__(self, model: type[Table], *, optional: bool = False):
        self.model, self.optional = model, optional

    def table(self) -> type[Table]:
        """That table."""
        return self.model

    def read(self, value: Any) -> Any:
        """The table that a value stands for."""
        absent = self.optional and value is None
        return value if isinstance(value, Table) or absent else read(self.model, value)

    __get_pydantic_core_schema__ = Family.__get_pydantic_core_schema__


def metadata(field: FieldInfo, sort: Any) -> Any:
    """What a key is annotated with that is of this sort, or None."""
    return next((x for x in field.metadata if isinstance(x, sort)), None)


# Reading.


def read(model: type[Model], data: Any) -> Model:
    """Validate data as it comes from a TOML file.

    **Raises:** pydantic's `ValidationError`.
    """
    if isinstance(data, dict):
        # The first is what is reported, with the number of the others.
        problems = list(itertools.islice(_unknown(model, data, ()), 100))
        if problems:
            raise ValidationError.from_exception_data(model.__name__, problems)
    # Through JSON: strict mode in Python refuses lists where the schema has tuples.
    return model.model_validate_json(json.dumps(data, default=str))


def refuse(
    kind: LiteralString, problem: str, value: Any, where: tuple[str | int, ...], **more: Any
) -> NoReturn:
    """Raise pydantic's error for one value at a place below the present one."""
    error = PydanticCustomError(kind, "{problem}", {"problem": problem, **more})
    raise ValidationError.from_exception_data(kind, [InitErrorDetails(type=error, loc=where, input=value)])


def _unknown(model: type[BaseModel], data: dict[str, Any], where: tuple) -> Iterator[InitErrorDetails]:
    """Errors for keys that a table, or one written by hand within it, does not have."""
    for name, value in data.items():
        field = model.model_fields.get(name)
        if field is None:
            known = list(model.model_fields)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            error = PydanticCustomError("unknown_key", "{problem}", {"problem": hint, "near": bool(near)})
            yield InitErrorDetails(type=error, loc=(*where, name), input=value)
            continue
        for inner in plain_tables(field):
            if isinstance(value, dict):
                yield from _unknown(inner, value, (*where, name))
            elif isinstance(value, list | tuple):
                for i, one in enumerate(value):
                    if isinstance(one, dict):
                        yield from _unknown(inner, one, (*where, name, i))


def plain_tables(field: FieldInfo) -> list[type[BaseModel]]:
    """The table that a key holds, itself or in a list, if it is no family's."""

    return list(_tables_within(field.annotation))


def _tables_within(hint: Any) -> Iterator[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    elif get_origin(hint) is not dict:
        for part in get_args(hint):
            yield from _tables_within(part)


def tables_of(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The tables that a key can hold, by kind; of one without kinds the name is empty."""
    family, one = metadata(field, Family), metadata(field, Each | Holds)
    if family is not None:
        return dict(family.tables())
    if one is not None:
        return {"": one.table()}
    return dict(zip([""], plain_tables(field), strict=False))


def components_table(registry: Registry) -> str:
    """A family as a table in Markdown: name, class, and what it is."""
    what = {
        name: first_sentence(cls).replace("``", "`").replace("|", r"\|") for name, cls in registry.items()
    }
    rows = [f"| `{name}` | `{cls.__name__}` | {what[name]} |" for name, cls in registry.items()]
    return "\n".join([f"| {registry.family} | class | |", "|---|---|---|", *rows])


__all__ = [
    "STAGED",
    "Count",
    "CountOrNone",
    "Decay",
    "Each",
    "Family",
    "Finite",
    "Fraction",
    "Free",
    "Holds",
    "NonNegative",
    "PositiveFloat",
    "Several",
    "Table",
    "components_table",
    "key",
    "keywords",
    "metadata",
    "read",
    "table",
    "tables_of",
]
