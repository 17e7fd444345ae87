"""The settings as a listing for people: ``gateway check``."""

from dataclasses import dataclass
from pathlib import Path

from gateway.redaction import redact
from gateway.settings.keys import dotted, is_secret, leaves
from gateway.settings.problems import shown
from gateway.settings.sections import Section, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One key: dotted, its value as it may be shown, and where it came from (``default``, ``gateway.toml:12``...)."""

    key: str
    value: str
    origin: str


def describe(settings: Settings) -> tuple[SettingRow, ...]:
    """Return a row for every key, in the order of the settings file; secrets are redacted."""
    origins = settings.provenance.origins
    rows = []
    for key in leaves():
        value: object = settings
        for name in key:
            value = getattr(value, name)
        origin = origins.get(dotted(key), "default")
        text = _secret_text(str(value)) if is_secret(key) else _text(value)
        rows.append(SettingRow(key=dotted(key), value=text, origin=origin))
    return tuple(rows)


def _text(value: object) -> str:
    if value is None:
        return '""'
    if isinstance(value, tuple):
        if value and isinstance(value[0], Section):
            return f"{len(value)} of them"
        return shown([str(part) for part in value])
    return shown(str(value) if isinstance(value, Path) else value)


def _secret_text(value: str) -> str:
    """Show what surrounds the secret (which hub, which proxy) only where redaction has surely found it."""
    holds_no_secret = "://" in value and "@" not in value  # a proxy without a password
    return shown(value) if holds_no_secret or redact(value) != value else shown(value, secret=True)
