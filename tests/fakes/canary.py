"""Looks for secrets in whatever the suite makes the program print: logs, standard output, banners, metrics.

Two ways to know one: by its form (tokens, keys of connection strings, signatures, private keys, logins in URLs), and
because a test said so (``secret("correct horse")``). tests/conftest.py scans the captured output of every test, every
command that runs as a process of its own or through CliRunner, and all that a GatewayProcess wrote.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Shorter ones turn up by chance.
CHARS_MIN = 6

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a device's token", re.compile(r"gwt_[A-Za-z0-9_-]{32}")),
    ("a connection string's key", re.compile(r"SharedAccessKey=(?!\*\*\*)[^;\s\"']{8,}")),
    ("a SAS signature", re.compile(r"\bsig=(?!\*\*\*)[A-Za-z0-9%+/]{16,}")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a Basic login", re.compile(r"\bBasic (?!\*\*\*)[A-Za-z0-9+/]{12,}={0,2}(?![\w\"'])")),
    ("a login in a URL", re.compile(r"\b[a-z]{2,8}://[^\s/:@\"']+:(?!\*\*\*)[^\s/@\"']+@")),
)
# What `gateway devices add` is for: it shows a token once.
SHOWS_A_TOKEN = ("devices", "add")


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret that came out, told without repeating it."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} came out in {self.where}"


class Canary:
    """The secrets that are known, and what has leaked since it was last asked."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._leaks: list[Leak] = []
        self.chars_seen = 0

    def secret(self, text: str) -> str:
        """Note a secret and return it."""
        assert len(text) >= CHARS_MIN, "it would be found by chance"
        self._secrets.add(text)
        return text

    def look_at(self, text: str, where: str) -> None:
        """Scan what came out."""
        self.chars_seen += len(text)
        found = [name for name, form in _FORMS if form.search(text)]
        found += ["a secret that a test gave" for one in self._secrets if one in text]
        self._leaks += [Leak(name, where) for name in found]

    def look_at_command(self, arguments: Sequence[str], text: str) -> None:
        """Scan what a command printed."""
        at = next((at for at, one in enumerate(arguments) if one == SHOWS_A_TOKEN[0]), -1)
        if at < 0 or tuple(arguments[at : at + 2]) != SHOWS_A_TOKEN:
            self.look_at(text, f"the output of gateway {' '.join(arguments[:3])}")

    def take_leaks(self) -> list[Leak]:
        """Return what has leaked, and forget it."""
        leaks, self._leaks = self._leaks, []
        return leaks


THE_CANARY = Canary()
secret = THE_CANARY.secret
