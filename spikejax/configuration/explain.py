"""Errors of validation in one line, and the keys of a configuration as a help text."""

import json
import re
from collections.abc import Iterator
from typing import Any, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..registry import Registry
from .tables import Family, Several, metadata, tables_of

ALLOWED = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "finite",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "text",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "dict_type": "a table",
    "model_type": "a table",
    "literal_error": "{expected}",
}
"""What is allowed where pydantic reports an error of this type."""


def explain(error: ValidationError, data: Any, schema: type[BaseModel]) -> str:
    """The first problem of a validation: key, value, what is allowed, and how many more there are.

    **Arguments:** `data`: what was validated; `schema`: as what.
    """
    problems: dict[tuple, list[ErrorDetails]] = {}
    for one in error.errors():
        problems.setdefault(_keys(one, data), []).append(one)
    # One value that none of several types takes is one problem, and where a part of it is named, that part.
    deepest = [x for x in problems if not any(x == y[: len(x)] for y in problems if x != y)]
    where, count = deepest[0], len(deepest)
    name = dotted(*where)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return _sentence(name, problems[where], schema) + more


def dotted(*keys: int | str) -> str:
    """Keys as one path, those with dots of their own in quotes: ``sweep.grid."gate.sharpness"``."""
    return ".".join(f'"{key}"' if "." in str(key) else str(key) for key in keys)


def _keys(problem: ErrorDetails, data: Any) -> tuple[int | str, ...]:
    """The place of a problem as keys of the data: pydantic also names the branch of a union."""
    found: list[int | str] = []
    for i, part in enumerate(problem["loc"]):
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        ):
            data = cast(Any, data)[part]
        elif not (problem["type"] == "missing" and i == len(problem["loc"]) - 1):
            continue
        found.append(part)
    return tuple(found)


def _sentence(name: str, problems: list[ErrorDetails], schema: type[BaseModel]) -> str:
    first = problems[0]
    kind, context, value = first["type"], first.get("ctx", {}), first["input"]
    if kind == "missing":
        return f"{name} is required: give it a value"
    if kind == "unknown_key":
        hint, last = context["problem"], name.split(".")[-1]
        # A key that is right elsewhere is the other common slip.
        elsewhere = [n for n, _ in describe(schema) if n.split(".")[-1] == last and n != name]
        if not context["near"] and elsewhere:
            hint = f"did you mean {elsewhere[0]}?"
        return f"unknown key {name}: {hint}"
    if kind == "family":
        return (
            f"{name}: {context['problem']}"
            if "unknown" in context["problem"]
            else f"{name} {context['problem']}"
        )
    if kind in ("too_short", "too_long"):
        bound = "at least {min_length}" if kind == "too_short" else "at most {max_length}"
        return f"{name} has {context['actual_length']} entries, but must have {bound.format(**context)}"
    if kind == "declared":
        return f"{name} {context['problem']}"
    allowed = [
        _plain(ALLOWED[one["type"]].format(**one.get("ctx", {})))
        for one in problems
        if one["type"] in ALLOWED
    ]
    if len(allowed) < len(problems):
        message = first["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(value, dict) else f", but it is {value!r}"
        return f"{name}{': ' if name else ''}{message[0].lower()}{message[1:]}{shown}"
    return f"{name or 'it'} is {value!r}, but must be {' or '.join(dict.fromkeys(allowed))}"


def _plain(allowed: str) -> str:
    """Numbers without a needless ``.0``."""
    return re.sub(r"(?<=\d)\.0$", "", allowed)


def describe(
    schema: type[BaseModel], prefix: str = "", within: tuple[Registry, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Every key of a schema with its description and default, for ``--help``; a key that not all kinds have,
    or not in the same way, says whose it is.

    **Arguments:** `prefix` of the keys; `within`: the families that they are in, as an adjoint in an adjoint:
    shown once, though it could hold another.
    """
    for name, field in schema.model_fields.items():
        tables = tables_of(field)
        if not tables:
            if name != "kind":
                yield f"{prefix}{name}", f"{field.description} [{_default(field)}]"
            continue
        path = f"{prefix}{name}{'.0' if get_origin(field.annotation) is tuple else ''}"
        family = metadata(field, Family)
        if isinstance(family, Several):  # whose kinds are those of what they are in
            yield f"{prefix}{name}", f"{field.description} [required]"
            continue
        if family is not None:
            if within.count(family.registry) > 1:
                continue
            what = field.description or family.registry.family
            yield path, f"{what}: one of {', '.join(tables)} [{family.default}]"
        kinds: dict[tuple[str, str], list[str]] = {}
        for kind, table in tables.items():
            for line in describe(table, f"{path}.", within if family is None else (*within, family.registry)):
                kinds.setdefault(line, []).append(kind)
        for (key, text), whose in kinds.items():
            yield key, text if len(whose) == len(tables) else f"{', '.join(whose)}: {text}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "none" if default is None else json.dumps(default, default=str)


__all__ = ["describe", "dotted", "explain"]
