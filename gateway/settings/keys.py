"""The tree of keys, read off the sections: which exist, of what kind, which are secret, which one was meant."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import Enum, auto
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from gateway.settings.sections import Section, Settings

Key = tuple[str, ...]


class Kind(Enum):
    """How a value is written."""

    TEXT = auto()
    CHOICE = auto()
    WHOLE = auto()
    NUMBER = auto()
    SWITCH = auto()
    LIST = auto()
    TABLES = auto()
    PATH = auto()


def dotted(key: Key) -> str:
    return ".".join(key)


def environment_name(key: Key) -> str:
    """Return the variable that sets ``key``: ``GATEWAY_HTTP__LISTEN``."""
    return "GATEWAY_" + "__".join(key).upper()


@cache
def leaves() -> Mapping[Key, FieldInfo]:
    """Return every key with its field, in the order of the file."""
    return MappingProxyType(dict(_walk(Settings, ())))


@cache
def tables() -> Mapping[Key, type[Section]]:
    """Return every table with its section, in the order of the file: ``("http", "url_fetch")``."""
    return MappingProxyType(dict(_walk_tables(Settings, ())))


def _walk(section: type[Section], prefix: Key) -> Iterator[tuple[Key, FieldInfo]]:
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            yield (*prefix, name), field
        else:
            yield from _walk(inner, (*prefix, name))


def _walk_tables(section: type[Section], prefix: Key) -> Iterator[tuple[Key, type[Section]]]:
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner is not None:
            yield (*prefix, name), inner
            yield from _walk_tables(inner, (*prefix, name))


def _section_of(field: FieldInfo) -> type[Section] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def element_section(field: FieldInfo) -> type[Section] | None:
    """Return the section of each element of an array of tables (``[[ble.device]]``); None for other keys."""
    members = get_args(field.annotation) if get_origin(field.annotation) is tuple else ()
    first = members[0] if members else None
    return first if isinstance(first, type) and issubclass(first, Section) else None


def kind(field: FieldInfo) -> Kind:
    annotation: Any = field.annotation
    if element_section(field) is not None:
        return Kind.TABLES
    if get_origin(annotation) is Literal:
        return Kind.CHOICE
    if get_origin(annotation) is tuple:
        return Kind.LIST
    if annotation is Path or Path in get_args(annotation):
        return Kind.PATH
    return {bool: Kind.SWITCH, int: Kind.WHOLE, float: Kind.NUMBER}.get(annotation, Kind.TEXT)


def choices(field: FieldInfo) -> tuple[str, ...]:
    return tuple(str(choice) for choice in get_args(field.annotation))


def is_secret(key: Key) -> bool:
    field = leaves().get(key)
    return field is not None and not field.repr


def is_secret_file(key: Key) -> bool:
    """Return whether ``key`` names a file that holds the secret of a sibling key."""
    return key[-1].endswith("_file") and is_secret((*key[:-1], key[-1].removesuffix("_file")))


def range_text(field: FieldInfo) -> str:
    """Return the bounds as text: ``from 128 to 65536``, ``above 0, at most 60``; empty if there are none."""
    low = next((f"from {bound.ge}" for bound in field.metadata if isinstance(bound, Ge)), "")
    low = low or next((f"above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)), "")
    high = next((f"{bound.le}" for bound in field.metadata if isinstance(bound, Le)), "")
    if low and high:
        return f"{low} to {high}" if low.startswith("from") else f"{low}, at most {high}"
    assert not any(isinstance(bound, Lt) for bound in field.metadata), "write bounds as ge, gt and le"
    return low.replace("from ", "at least ") or (high and f"at most {high}")


def meant(key: Key) -> Key | None:
    """Return the key that an unknown one most likely stands for: misspelt, or right in the wrong table."""
    known = (*leaves(), *tables())
    siblings = {candidate[-1]: candidate for candidate in known if candidate[:-1] == key[:-1]}
    others = {candidate[-1]: candidate for candidate in reversed(known)}  # the first of equal names wins
    for names in (siblings, others):
        close = get_close_matches(key[-1], names, n=1, cutoff=0.75)
        if close:
            return names[close[0]]
    return None
