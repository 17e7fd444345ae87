"""Settings from a TOML file: plain values with the line of each, and every mistake of form."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.settings.given import Given, Layer
from gateway.settings.keys import Key, dotted, leaves, meant, tables
from gateway.settings.problems import Problem
from gateway.settings.toml_lines import Place, key_lines

_AT = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")

# What people most often mean when tomllib says this (its messages, CPython 3.11 to 3.14).
_SYNTAX_CURES = (
    ("Invalid value", 'Text needs quotes, true and false are lower-case: listen = "127.0.0.1:8080".'),
    ("Unescaped '\\'", "Use single quotes around a text with backslashes: path = 'C:\\models'."),
    ("Cannot overwrite", "A key may stand once only: remove one of the two."),
    ("Cannot declare", "A table may stand once only: put its keys together under one heading."),
    ("Cannot mutate", "A table may stand once only: put its keys together under one heading."),
    ("Expected '=' after", 'Write one key = value a line, for example listen = "127.0.0.1:8080".'),
    ("Unterminated", "Close the quotes or brackets that the line opens."),
)
_SYNTAX_CURE = 'Write one key = value a line, text in quotes: listen = "127.0.0.1:8080".'
_GET_ONE = "Make one with: gateway config init; or leave the option out to run with the defaults."


class TomlSource:
    """One settings file. ``given`` and ``problems`` are set when it has been made; nothing is raised."""

    def __init__(self, file: Path, cwd: Path) -> None:
        self.given: list[Given] = []
        self.problems: list[Problem] = []
        self._path = cwd / file
        self._name = _name_for_people(self._path, cwd)
        text = self._text()
        if text is not None:
            self._read(text)

    def _text(self) -> str | None:
        try:
            # A byte order mark is what Windows' Notepad leaves; TOML has no use for it.
            return self._path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._fault(self._name, f"is not UTF-8 text (byte {error.start})", "Save the file as UTF-8.")
        except FileNotFoundError:
            self._fault(self._name, "this settings file does not exist", _GET_ONE)
        except OSError as error:
            reason = (error.strerror or "can't be read").lower()
            self._fault(
                self._name,
                f"this settings file can't be read: {reason}",
                "Name a file that the gateway's user may read.",
            )
        return None

    def _fault(self, where: str, text: str, cure: str, key: str = "") -> None:
        self.problems.append(Problem(where=where, key=key, value="", text=text, cure=cure))

    def _read(self, text: str) -> None:
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self._syntax_fault(str(error), last_line=text.count("\n") + 1)
            return
        self._lines = key_lines(text)
        self.given.extend(self._flatten(tree, ()))

    def _syntax_fault(self, message: str, last_line: int) -> None:
        at = _AT.search(message)
        what = message[: at.start()] if at else message
        line = int(at["line"]) if at and at["line"] else last_line
        column = f", column {at['column']}" if at and at["column"] else ""
        cure = next((cure for start, cure in _SYNTAX_CURES if what.startswith(start)), _SYNTAX_CURE)
        self._fault(f"{self._name}:{line}", f"is not TOML: {what[:1].lower()}{what[1:]} (line {line}{column})", cure)

    def _flatten(self, tree: Mapping[str, object], prefix: Key) -> Iterator[Given]:
        for name, value in tree.items():
            key = (*prefix, name)
            if key in tables() and isinstance(value, dict):
                yield from self._flatten(value, key)
            elif key in leaves():
                yield self._leaf(key, value)
            elif key in tables():
                keys = ", ".join(leaf[-1] for leaf in leaves() if leaf[:-1] == key)
                self._fault(
                    self._where(key),
                    "is a table, not a value",
                    f"Write [{dotted(key)}] and its keys below: {keys}.",
                    dotted(key),
                )
            else:
                self._fault(self._where(key), "is not a setting", unknown_cure(key), dotted(key))

    def _leaf(self, key: Key, value: object) -> Given:
        elements = len(value) if isinstance(value, list) else 0
        return Given(
            key=key,
            value=value,
            layer=Layer.FILE,
            where=self._where(key),
            folder=self._path.parent,
            element_places=tuple(self._where((*key, index)) for index in range(elements)),
        )

    def _where(self, place: Place) -> str:
        line = self._lines.get(place)
        return f"{self._name}:{line}" if line else self._name


def unknown_cure(key: Key) -> str:
    """Return the sentence that leads from an unknown key to the right one."""
    found = meant(key)
    if found is not None:
        elsewhere = f" under [{dotted(found[:-1])}]" if found[:-1] != key[:-1] and found[:-1] else ""
        return f"Did you mean {dotted(found) if found in tables() else found[-1]}{elsewhere}?"
    return known_names(key[:-1])


def known_names(parent: Key) -> str:
    """Return the sentence that lists what a table (or the nearest one around it) may hold."""
    while parent and parent not in tables():
        parent = parent[:-1]
    if not parent:
        return f"The tables are: {', '.join(f'[{dotted(table)}]' for table in tables())}."
    return f"The keys of [{dotted(parent)}] are: {', '.join(leaf[-1] for leaf in leaves() if leaf[:-1] == parent)}."


def _name_for_people(path: Path, cwd: Path) -> str:
    """Return the path as it is typed from the current folder, else the whole of it."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 -- tidies "..", and keeps symbolic links as typed
    return str(absolute.relative_to(cwd)) if absolute.is_relative_to(cwd) else str(absolute)
