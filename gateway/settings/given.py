"""A value that someone gave, and where. Knows how the same would be written rightly in that place."""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from gateway.settings.keys import Key, dotted, environment_name, is_secret
from gateway.settings.problems import Problem, shown


class Layer(IntEnum):
    """Where settings come from; the later wins."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    COMMAND_LINE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """``value`` is plain (text, number, switch, list), not yet validated; relative paths belong to ``folder``.

    ``element_places`` says where each element of an array stands, since an array may span lines.
    """

    key: Key
    value: object
    layer: Layer
    where: str
    folder: Path
    element_places: tuple[str, ...] = ()

    def assignment(self, value: object) -> str:
        """Return the text that would set the key to ``value`` in this place."""
        return assignment(self.key, value, self.layer)

    def problem(
        self, text: str, cure: str, *, where: str | None = None, value: object | None = None, inside: str = ""
    ) -> Problem:
        """Return a Problem about this value, or about the part of it that ``value`` is, of the name ``inside``."""
        quoted = self.value if value is None else value
        return Problem(
            where=where or self.where,
            key=dotted((*self.key, inside)) if inside else dotted(self.key),
            value=shown(quoted, secret=is_secret(self.key)),
            text=text,
            cure=cure,
        )


def assignment(key: Key, value: object, layer: Layer) -> str:
    """Return how ``key`` is set to ``value`` in a layer: ``listen = "x"``, ``GATEWAY_HTTP__LISTEN=x``..."""
    if layer in {Layer.DEFAULT, Layer.FILE}:
        return f"{key[-1]} = {json.dumps(value, default=str)}"
    plain = ",".join(map(str, value)) if isinstance(value, list | tuple) else _plain(value)
    return f"{environment_name(key)}={plain}" if layer is Layer.ENVIRONMENT else f"--set {dotted(key)}={plain}"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
