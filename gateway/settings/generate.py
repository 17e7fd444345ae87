"""Writes ``config/gateway.toml`` and ``config/gateway.schema.json`` from the sections.

Run ``python -m gateway.settings.generate`` after changing a setting; a test tells when it was forgotten.
"""

import json
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from gateway.settings.keys import Key, Kind, choices, dotted, element_section, kind, leaves, range_text, tables
from gateway.settings.sections import Settings

TOML_NAME = "gateway.toml"
SCHEMA_NAME = "gateway.schema.json"

# What the file says outright, so that a reader sees at once where the gateway listens and what it runs.
_SPELT_OUT: frozenset[Key] = frozenset({("model", "path"), ("http", "listen"), ("mqtt", "listen"), ("admin", "listen")})
_WIDTH = 110

_HEAD = """\
#:schema ./gateway.schema.json
#
# Settings of the gateway. Every key stands here with its default; remove the "#" before a key to change it.
# Each can also be set in the environment (GATEWAY_HTTP__LISTEN=127.0.0.1:8090) or on the command line
# (--set http.listen=127.0.0.1:8090); the command line wins over the environment, that over this file.
# Relative paths in this file start from its folder. Check the whole with: gateway check
#
# Generated from gateway/settings/sections.py by: python -m gateway.settings.generate
"""


def toml_text() -> str:
    """Return the annotated settings file: every key once, with its default, reason and bounds."""
    return "\n".join([_HEAD, *(_table(key) for key in tables())])


def schema_text() -> str:
    """Return the JSON Schema (2020-12) of the settings file, for editors."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Settings of the gateway"
    return json.dumps(_without_field_titles(schema), indent=2, ensure_ascii=False) + "\n"


def _table(table: Key) -> str:
    lines = [f"[{dotted(table)}]", *_comment((tables()[table].__doc__ or "").strip()), ""]
    for key, field in leaves().items():
        if key[:-1] == table:
            lines += [*_comment(field.description or ""), *_elements(key, field)]
            lines += [*_bounds(field), _assignment(key, field), ""]
    return "\n".join(lines)


def _elements(key: Key, field: FieldInfo) -> Iterator[str]:
    """Tell what each table of an array of tables may hold."""
    section = element_section(field)
    if section is None:
        return
    yield f"#   [[{dotted(key)}]]"
    for name, inner in section.model_fields.items():
        bounds = f"one of {', '.join(choices(inner))}" if kind(inner) is Kind.CHOICE else range_text(inner)
        about = f"{inner.description or ''}{f' {bounds[:1].upper()}{bounds[1:]}.' if bounds else ''}"
        default = "" if inner.default is None else inner.default
        for line in textwrap.wrap(about, _WIDTH - 4, break_long_words=False, break_on_hyphens=False):
            yield f"#   # {line}"
        yield f"#   {name} = {json.dumps(default, default=str)}"


def _bounds(field: FieldInfo) -> Iterator[str]:
    bounds = f"one of {', '.join(choices(field))}" if kind(field) is Kind.CHOICE else range_text(field)
    if bounds:
        yield f"# {bounds[:1].upper()}{bounds[1:]}."


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"


def _assignment(key: Key, field: FieldInfo) -> str:
    mark = "" if key in _SPELT_OUT else "#"
    default = "" if field.default is None else field.default
    return f"{mark}{key[-1]} = {json.dumps(default, default=str)}"


def _without_field_titles(node: Any) -> Any:
    """Drop pydantic's invented titles ("Listen" for ``listen``): editors show them instead of the key."""
    if isinstance(node, list):
        return [_without_field_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        name: _without_field_titles(value)
        for name, value in node.items()
        if not (name == "title" and isinstance(value, str) and "type" in node and node.get("type") != "object")
    }
    if "anyOf" in kept:
        kept.pop("title", None)
    return kept


def main() -> None:
    """Write both files into the ``config`` package."""
    folder = Path(str(files("config")))
    (folder / TOML_NAME).write_text(toml_text(), encoding="utf-8")
    (folder / SCHEMA_NAME).write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
