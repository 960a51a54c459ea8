"""Tables made from classes: names, types, ranges, defaults and help follow from one declaration."""

import dataclasses
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from spikejax import Gate
from spikejax.component import Component, Declaration, option, parameter, part
from spikejax.configuration.explain import describe, explain
from spikejax.configuration.making import make
from spikejax.configuration.programs import compiled
from spikejax.configuration.schema import Config
from spikejax.configuration.tables import (
    Each,
    Family,
    Holds,
    Table,
    components_table,
    keywords,
    read,
    table,
)
from spikejax.errors import ConfigError
from spikejax.neurons import NEURONS
from spikejax.registry import Registry

FILTERS: Registry["Filter"] = Registry("filter")


class Filter(Component):
    """Something with keys of every sort."""


@FILTERS.register("low_pass")
class LowPass(Filter):
    """Lets slow things through. And more of it."""

    tau: Any = parameter(5.0, unit="ms", doc="time constant", positive=True)
    gains: Any = parameter((1.0, 2.0), doc="one a port")
    start: Any = parameter(0.5, doc="value at the start", drawn=True)
    order: int = option(2, doc="number of poles", at_least=1.0)
    mode: str = option("same", doc="where it ends", choices=("same", "valid"))
    seed: int = option(0, in_table=False)

    def __check_init__(self):
        if self.order == 13:
            raise ValueError("`order` is 13, of all numbers")


@FILTERS.register("chain")
class Chain(Filter):
    """One after the other."""

    first: Filter = part(FILTERS, "low_pass", doc="the first filter")
    drop: float | None = option(None, doc="what is left out", at_least=0.0, below=1.0, staged=False)


@FILTERS.register("drawn")
class Drawn(Filter):
    """Made by a factory."""

    scale: float = option(1.0)

    @classmethod
    def create(cls, size: int, *, scale: Annotated[float, Declaration(doc="scale", at_least=0.0)] = 3.0):
        return cls(scale=scale * size)


class Root(Table):
    """The whole."""

    filter: Annotated[Any, Family(FILTERS, "low_pass")] = Field({}, description="filter")
    maybe: Annotated[Any, Family(FILTERS, "drawn", defaults={"scale": 7.0}, switch=True)] = Field(
        {}, description="another, or false"
    )
    each: Annotated[Any, Each(FILTERS)] = Field({})
    gate: Annotated[Any, Holds(table(Gate))] = Field({})
    dt: float = Field(1.0, gt=0, description="time step")


def problem(**data) -> str:
    with pytest.raises(ValidationError) as error:
        read(Root, data)
    text = explain(error.value, data, Root)
    assert "\n" not in text
    return text


def test_a_key_that_is_absent_is_left_to_the_class():
    root = read(Root, {"filter": {"tau": 3}})
    found = make(root.filter)
    assert (float(found.tau), found.order, found.mode) == (3.0, 2, "same")
    assert root.filter.order == LowPass().order
    assert make(Root().filter) == LowPass()
    assert make(root.gate).release == Gate().release


def test_a_word_is_a_table_of_that_kind():
    root = read(Root, {"filter": "chain", "maybe": True})
    assert isinstance(make(root.filter), Chain)
    assert read(Root, {"filter": {"kind": "chain"}}).filter == root.filter
    assert root.maybe.kind == "drawn"
    assert read(Root, {"maybe": False}).maybe is False
    nested = read(Root, {"filter": {"kind": "chain", "first": {"kind": "chain", "first": {"order": 5}}}})
    assert make(nested.filter).first.first.order == 5


def test_keywords_of_a_factory_are_keys():
    root = Root()
    assert root.maybe.scale == 7.0
    assert make(root.maybe, size=2).scale == 14.0
    assert make(read(Root, {"filter": "drawn"}).filter, size=2).scale == 6.0
    assert list(keywords(Drawn)) == ["scale"]


def test_what_the_context_gives_is_no_key():
    assert "seed" not in table(LowPass).model_fields
    assert make(Root().filter, seed=4).seed == 4


def test_a_family_by_name():
    root = read(Root, {"each": {"low_pass": {"order": 3}, "chain": {}}})
    assert root.each.low_pass.order == 3
    assert root.each.drawn is None
    assert "did you mean low_pass?" in problem(each={"lo_pass": {}})


def test_what_is_registered_later_counts():
    @FILTERS.register("late")
    class Late(Filter):
        """Comes later."""

        much: float = option(1.0, doc="how much")

    try:
        assert read(Root, {"filter": {"kind": "late", "much": 2.0}}).filter.much == 2.0
        assert read(Root, {"each": {"late": {}}}).each.late.much == 1.0
        assert "filter.much" in {name for name, _ in describe(Root)}
    finally:
        del FILTERS._classes["late"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"filtr": 1}, "unknown key filtr: did you mean filter?"),
        ({"filter": {"tua": 1.0}}, "unknown key filter.tua: did you mean tau?"),
        ({"tau": 1.0}, "unknown key tau: did you mean filter.tau?"),
        ({"filter": "lowpass"}, "filter: unknown filter 'lowpass': did you mean 'low_pass'?"),
        ({"filter": {"kind": "lowpass"}}, "filter.kind: unknown filter 'lowpass': did you mean 'low_pass'?"),
        ({"filter": {"kind": 3}}, "filter.kind is 3, but must be a word"),
        ({"filter": 3}, "filter is 3, but must be a filter: the name of one, or a table"),
        ({"maybe": 3}, "maybe is 3, but must be a filter: the name of one, a table, true or false"),
        ({"filter": {"tau": -1.0}}, "filter.tau is -1 ms, but must be finite and above 0"),
        ({"filter": {"tau": float("nan")}}, "filter.tau is nan ms, but must be finite and above 0"),
        ({"filter": {"tau": "x"}}, "filter.tau is 'x', but must be a number"),
        ({"filter": {"gains": []}}, "filter.gains has 0 entries, but must have at least 1"),
        ({"filter": {"gains": [1.0, "a"]}}, "filter.gains.1 is 'a', but must be a number"),
        ({"filter": {"start": [1.0, 0.5]}}, "filter.start is [1.0, 0.5], but must be [low, high]"),
        ({"filter": {"start": "x"}}, "filter.start is 'x', but must be a number or a list"),
        ({"filter": {"order": 2.5}}, "filter.order is 2.5, but must be a whole number"),
        ({"filter": {"order": 0}}, "filter.order is 0, but must be finite and at least 1"),
        ({"filter": {"mode": "sane"}}, "filter.mode is 'sane', but must be one of same, valid"),
        (
            {"filter": {"kind": "chain", "drop": 1.0}},
            "filter.drop is 1, but must be finite and at least 0 and below 1",
        ),
        ({"filter": {"kind": "chain", "first": {"tau": 0.0}}}, "filter.first.tau is 0 ms"),
        ({"gate": {"release": "chrage"}}, "gate.release: unknown release 'chrage': did you mean 'charge'?"),
        ({"gate": 3}, "gate is 3, but must be a table"),
        ({"dt": -1.0}, "dt is -1.0, but must be above 0"),
        ({"dt": 0.0, "filter": {"tau": 0.0}}, "(and 1 more)"),
    ],
)  # fmt: skip
def test_an_error_names_key_value_and_what_is_allowed(data, words):
    assert words in problem(**data)


def test_what_a_class_refuses_names_the_table():
    root = read(Root, {"filter": {"kind": "chain", "first": {"order": 13}}})
    with pytest.raises(ConfigError, match=r"^filter\.first: `order` is 13, of all numbers$"):
        make(root.filter, "filter")


def test_help_names_every_key_once_for_kinds_that_agree():
    lines = dict(describe(Root))
    assert lines["filter"] == "filter: one of low_pass, chain, drawn [low_pass]"
    assert lines["filter.tau"] == "low_pass: time constant, ms [5.0]"
    assert "or [low, high] to draw from" in lines["filter.start"]
    assert lines["filter.first.order"] == "chain: low_pass: number of poles [2]"
    assert lines["maybe.scale"] == "drawn: scale [7.0]"
    assert lines["gate.release.detach_reset"].startswith("surrogate: ")


@pytest.mark.parametrize("kind", NEURONS)
def test_every_declared_field_of_a_neuron_is_a_key_with_its_default(kind):
    own = table(NEURONS[kind], kind)
    for name, (_, declared, default) in keywords(NEURONS[kind]).items():
        field = own.model_fields[name]
        assert declared.text in field.description
        if not declared.drawn and declared.registry is None:
            assert field.is_required() == (default is dataclasses.MISSING)
            assert field.is_required() or field.default == default


def test_tables_are_values():
    one, other = read(Root, {"filter": {"tau": 3.0}}), read(Root, {"filter": {"tau": 3.0}})
    assert one == other
    assert hash(one) == hash(other)
    assert one != Root()
    with pytest.raises(ValidationError, match="frozen"):
        one.filter.tau = 4.0


def test_what_a_program_is_compiled_for():
    a, b, c = (
        compiled(read(Root, {"filter": x}).filter)
        for x in ({"tau": 1.0}, {"tau": 2.0}, {"tau": 2.0, "order": 3})
    )
    assert a == b != c


def test_a_family_in_markdown():
    text = components_table(FILTERS).splitlines()
    assert text[2] == "| `low_pass` | `LowPass` | Lets slow things through |"
    assert len(text) == 2 + len(FILTERS)


def test_every_component_has_a_sentence_for_the_help():
    for name, field in Config.model_fields.items():
        family = next((x for x in field.metadata if isinstance(x, Family | Each)), None)
        for kind, cls in family.registry.items() if family else ():
            assert table(cls).__doc__, (name, kind)
