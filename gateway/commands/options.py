"""Options that several commands share, and how settings are found."""

import os
import stat
from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import OperatorError
from gateway.settings import Settings, load_settings
from gateway.settings.loading import SYSTEM_CONFIG

CONFIG_VARIABLE = "GATEWAY_CONFIG"
# Where a settings file is looked for when none is named: the current folder, a checkout, the system.
CONFIG_PLACES = (Path("gateway.toml"), Path("config/gateway.toml"), SYSTEM_CONFIG)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The settings file. Default: $GATEWAY_CONFIG, ./gateway.toml, "
        "./config/gateway.toml, /etc/gateway-bridge/gateway.toml, else the built-in one.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, e.g. --set http.listen=0.0.0.0:8080. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def find_config(named: Path | None) -> Path:
    """Return the settings file to use; raises OperatorError when a named one does not exist."""
    if named is None and (variable := os.environ.get(CONFIG_VARIABLE)):
        named = Path(variable)
    if named is not None:
        if not named.is_file():
            raise OperatorError(f"no settings file at {named}; write one with: gateway config init")
        return named
    return next((place for place in CONFIG_PLACES if _is_there(place)), packaged_config())


def _is_there(place: Path) -> bool:
    """Return whether there is a settings file; raises OperatorError when that of the system is closed to this user."""
    try:
        return stat.S_ISREG(place.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        # The current folder may be somebody's closed home (Debian makes them so), with nothing of ours in it.
        if not place.is_absolute():
            return False
        raise OperatorError(
            f"the gateway of this machine has its settings in {place}, which is closed to you: put "
            "sudo -u gateway-bridge before the command"
        ) from error


def packaged_config() -> Path:
    """Return the settings file that ships with the package."""
    import config

    return Path(config.__file__).with_name("gateway.toml")


def load(named: Path | None, sets: list[str] | None = None, *, extra: dict[str, str] | None = None) -> Settings:
    """Return settings from file, environment and command line; raises OperatorError with every mistake."""
    overrides = dict(extra or {})
    for text in sets or []:
        key, sign, value = text.partition("=")
        if not sign or "." not in key:
            raise OperatorError(f"--set {text}: write --set section.key=value, e.g. --set http.listen=127.0.0.1:8090")
        overrides[key.strip()] = value
    return load_settings(file=find_config(named), environment=os.environ, overrides=overrides, cwd=Path.cwd())
