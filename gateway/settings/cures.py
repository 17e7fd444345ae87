"""From pydantic's errors to sentences: what is wrong with one value, and how to write it rightly."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.settings.given import Given, Layer
from gateway.settings.keys import Kind, choices, dotted, element_section, kind, leaves, range_text
from gateway.settings.problems import Problem

_WANTED = {
    Kind.TEXT: "must be text",
    Kind.PATH: "must be a path, as text",
    Kind.WHOLE: "must be a whole number",
    Kind.NUMBER: "must be a number",
    Kind.SWITCH: "must be true or false",
    Kind.LIST: "must be a list of texts",
    Kind.TABLES: "must be an array of tables",
}
_LIST_EXAMPLES = {
    "allowed_networks": ["192.168.10.0/24"],
    "images": ["devices/{device_id}/images"],
    "readings": ["devices/{device_id}/readings"],
    "chunks": ["devices/{device_id}/chunks"],
}
# In the environment, as a shell takes it.
_TABLES_EXAMPLE = """'[{"key": "value"}, ...]'"""
_BOUND_ERRORS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})


def problem_of(error: ErrorDetails, given: Given) -> Problem:  # noqa: PLR0911 -- one case of pydantic's a line
    """Return what a validation error of ``given`` means to a person."""
    field = leaves()[given.key]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind(field) is Kind.TABLES:
        return _in_table(error, given, field)
    if error["type"] == "setting":
        return _bad_form(given, _element(error, given), context["text"], context["cure"])
    if error["type"] in _BOUND_ERRORS:
        return _out_of_range(given, field)
    if error["type"] == "literal_error":
        return _not_a_choice(given, field)
    if error["type"] == "string_too_long":
        return given.problem(f"is longer than {context['max_length']} characters", "Shorten it.")
    element = _element(error, given)
    if element is not None:
        return _bad_element(given, element)
    return given.problem(_wanted(given, field), _by_example(given, field))


def _in_table(error: ErrorDetails, given: Given, field: FieldInfo) -> Problem:
    """Return what is wrong in one table of an array of tables, or with the array."""
    index = _element(error, given)
    section = element_section(field)
    assert section is not None
    if index is None or not isinstance(given.value, list):
        heading = f"[[{dotted(given.key)}]]"
        if given.layer in {Layer.ENVIRONMENT, Layer.COMMAND_LINE}:
            cure = f"Write {given.assignment(_TABLES_EXAMPLE)}, or tables headed {heading} in the settings file."
            return given.problem("must be a JSON array of objects", cure, value="...")
        return given.problem(_WANTED[Kind.TABLES], f"Write each under a heading of its own, {heading}.", value="...")
    where = _element_place(given, index)
    inside = [str(step) for step in error["loc"][len(given.key) + 1 :] if not str(step).startswith("function")]
    name = inside[0] if inside else ""
    context: Mapping[str, Any] = error.get("ctx", {})
    table = given.value[index]
    value = table.get(name, "...") if isinstance(table, dict) else table
    if error["type"] == "setting":
        return given.problem(context["text"], context["cure"], where=where, value=value, inside=name)
    if name not in section.model_fields:
        keys = f"The keys of [[{dotted(given.key)}]] are: {', '.join(section.model_fields)}."
        return given.problem(
            "is not a setting" if name else "must be a table", keys, where=where, value=value, inside=name
        )
    inner = section.model_fields[name]
    bounds = range_text(inner)
    if kind(inner) is Kind.CHOICE:
        text = f"is not one of {', '.join(choices(inner))}"
    else:
        text = f"is out of range: {bounds}" if error["type"] in _BOUND_ERRORS else _WANTED[kind(inner)]
    default = json.dumps(inner.default, default=str)
    return given.problem(text, f"For example {name} = {default}.", where=where, value=value, inside=name)


def _wanted(given: Given, field: FieldInfo) -> str:
    if isinstance(given.value, float) and kind(field) is Kind.NUMBER:
        return "must be a finite number"
    return _WANTED[kind(field)]


def _by_example(given: Given, field: FieldInfo) -> str:
    value: object = field.default
    if kind(field) is Kind.LIST:
        value = _LIST_EXAMPLES.get(given.key[-1], ["camera.example"])
    elif kind(field) in {Kind.TEXT, Kind.PATH} and not isinstance(given.value, dict | list):
        value = str(given.value)
    elif kind(field) in {Kind.WHOLE, Kind.NUMBER} and isinstance(given.value, str) and _digits(given.value):
        value = int(given.value)
    return (
        f"Write {given.assignment(value)} (the quotes count)."
        if _quotes_count(given)
        else f"Write {given.assignment(value)}."
    )


def _digits(text: str) -> bool:
    return re.fullmatch(r"\d{1,12}", text) is not None


def _quotes_count(given: Given) -> bool:
    return given.layer is Layer.FILE and kind(leaves()[given.key]) in {Kind.TEXT, Kind.PATH}


def _out_of_range(given: Given, field: FieldInfo) -> Problem:
    return given.problem(
        f"is out of range: {range_text(field)}",
        f"Choose a value in that range, or leave it out: the default is {given.assignment(field.default)}.",
    )


def _not_a_choice(given: Given, field: FieldInfo) -> Problem:
    known = choices(field)
    close = get_close_matches(str(given.value).lower(), known, n=1, cutoff=0.5)
    example = close[0] if close else field.default
    return given.problem(
        f"is not one of {', '.join(known)}", f"Write one of these, for example {given.assignment(example)}."
    )


def _element(error: ErrorDetails, given: Given) -> int | None:
    """Return the index of the array element that is wrong, if it is one."""
    at = error["loc"][len(given.key) :]
    return at[0] if at and isinstance(at[0], int) else None


def _bad_form(given: Given, index: int | None, text: str, cure: str) -> Problem:
    if index is None:
        return given.problem(text, cure)
    assert isinstance(given.value, list)
    return given.problem(text, cure, where=_element_place(given, index), value=given.value[index])


def _element_place(given: Given, index: int) -> str:
    return given.element_places[index] if index < len(given.element_places) else given.where


def _bad_element(given: Given, index: int) -> Problem:
    assert isinstance(given.value, list)
    element = given.value[index]
    where = _element_place(given, index)
    if given.key[-1] != "allowed_networks" or not isinstance(element, str):
        example = given.assignment(_LIST_EXAMPLES.get(given.key[-1], ["camera.example"]))
        return given.problem("must be a list of texts", f"Put each in quotes: {example}.", where=where, value=element)
    return given.problem("is not a network", _network_cure(element), where=where, value=element)


def _network_cure(text: str) -> str:
    try:
        return f'The network that holds it is "{ip_network(text, strict=False)}".'
    except ValueError:
        return 'Write an address and a prefix length, for example "192.168.10.0/24" or "fd00::/8".'
