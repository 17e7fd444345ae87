"""Which line of a TOML text sets a key.

tomllib gives values without positions. This scanner reads a text that tomllib has already accepted and notes
where each key and each array element first stands; it understands structure, not values. Grammar: TOML 1.0.
"""

import json
import re
from bisect import bisect_right
from contextlib import suppress

Place = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Multi-line forms first: """ would match as an empty string followed by a quote. Up to two quotes may end the content.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[Place, int]:
    """Return the line (from 1) of every table, key and array element of a valid TOML text, by path.

    Of a text that it can't follow, it returns what it found up to there.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    with suppress(_LostError):  # a position is a courtesy: the caller then names the file alone
        scanner.document()
    return scanner.lines


class _LostError(Exception):
    """The text does not go on as TOML would."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._elements: dict[Place, int] = {}  # arrays of tables, with how many have begun
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def document(self) -> None:
        table: Place = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Place:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        table = self._key(())
        self._at += brackets
        return self._next_element(table) if brackets == 2 else self._in_last_element(table)

    def _next_element(self, table: Place) -> Place:
        """Note ``[[table]]`` as one more element of its array, by index."""
        index = self._elements.get(table, 0)
        self._elements[table] = index + 1
        self._note((*table, index))
        return (*table, index)

    def _in_last_element(self, table: Place) -> Place:
        """Return the path of ``[array.table]``, which belongs to the array's last element."""
        for length in range(len(table), 0, -1):
            if table[:length] in self._elements:
                return (*table[:length], self._elements[table[:length]] - 1, *table[length:])
        return table

    def _pair(self, table: Place) -> None:
        path = self._key(table)
        self._expect("=")
        self._value(path)

    def _key(self, prefix: Place) -> Place:
        """Read a dotted key and note each of its steps."""
        path = prefix
        while True:
            self._skip(_SPACE)
            self._note(path := (*path, self._key_part()))
            self._skip(_SPACE)
            if self._peek() != ".":
                return path
            self._at += 1

    def _key_part(self) -> str:
        if self._peek() not in {'"', "'"}:
            return self._take(_BARE_KEY)
        quoted = self._take(_STRING)
        if quoted.startswith("'"):
            return quoted[1:-1]
        try:
            return str(json.loads(quoted))
        except ValueError:  # \U0001F600 and \e, which JSON does not know
            return quoted[1:-1]

    def _value(self, path: Place) -> None:
        self._skip(_SPACE)
        first = self._peek()
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._take(_STRING if first in {'"', "'"} else _SCALAR)

    def _array(self, path: Place) -> None:
        self._at += 1
        index = 0
        while self._next_in("]"):
            self._note((*path, index))
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Place) -> None:
        self._at += 1
        while self._next_in("}"):
            self._pair(path)

    def _next_in(self, closing: str) -> bool:
        """Go to the next element of an array or inline table; past ``closing`` and False when there is none."""
        self._skip(_BLANK)
        if self._peek() == ",":
            self._at += 1
            self._skip(_BLANK)
        if self._peek() != closing:
            return True
        self._at += 1
        return False

    def _note(self, path: Place) -> None:
        self.lines.setdefault(path, bisect_right(self._starts, self._at))

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise _LostError
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None or not found[0]:
            raise _LostError
        self._at = found.end()
        return found[0]
