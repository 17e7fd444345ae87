"""What is wrong in the settings, told so that one reading is enough to mend it all."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import OperatorError
from gateway.redaction import redact

# What a check of relations finds: the key to change, what is wrong, how to mend it.
Fault = tuple[tuple[str, ...], str, str]

_VALUE_LENGTH_MAX = 80  # more would push the cure off the screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake (or one warning).

    ``where`` is ``gateway.toml:12``, ``environment GATEWAY_HTTP__LISTEN`` or ``command line --set``; ``key`` is dotted;
    ``value`` is as it may be shown: shortened, secrets hidden, empty if there is none to show;
    ``text`` says what is wrong, ``cure`` is a sentence with an example.
    """

    where: str
    key: str
    value: str
    text: str
    cure: str

    def __str__(self) -> str:
        subject = f"{self.key} = {self.value}" if self.value else self.key
        subject = f"{subject}: " if subject else ""
        return f"{self.where}: {subject}{self.text}\n    {self.cure}"


class SettingsInvalid(OperatorError):
    """The settings can't be used. ``problems`` holds every mistake, in the order in which they stand."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{count} in the settings:\n{lines}")


def shown(value: object, *, secret: bool = False) -> str:
    """Return ``value`` as TOML-like text for a person: one line, short, without secrets."""
    if secret:
        return "(hidden)" if value else '""'
    text = redact(json.dumps(value, ensure_ascii=True, default=str))
    return text if len(text) <= _VALUE_LENGTH_MAX else text[: _VALUE_LENGTH_MAX - 1] + "…"


def unreadable(error: OSError) -> str:
    """Return what is wrong with a file that can't be read."""
    return f"this file can't be read: {(error.strerror or 'unknown reason').lower()}"
