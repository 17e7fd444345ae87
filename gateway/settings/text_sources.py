"""Settings from text: environment variables and ``--set`` on the command line.

``GATEWAY_<SECTION>__<KEY>`` (any case) sets a key; an empty variable counts as not set, since compose files
pass unset ones as empty. Lists are comma separated, or JSON. Variables without ``__`` are not ours, save those
that are plainly a misspelt key (``GATEWAY_HTTP_LISTEN``).
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic.fields import FieldInfo

from gateway.settings.given import Given, Layer
from gateway.settings.keys import Key, Kind, dotted, environment_name, kind, leaves, meant, tables
from gateway.settings.problems import Problem
from gateway.settings.toml_source import known_names

CONNECTION_STRING_VARIABLE = "IOTHUB_DEVICE_CONNECTION_STRING"  # the name that Azure's own samples use
EDGE_DEVICE_VARIABLE = "IOTEDGE_DEVICEID"
# Names that are not ours: Azure's own samples', and those that the runtime of IoT Edge gives to its modules (source:
# azure-iot-device, create_from_edge_environment).
_FOREIGN: Mapping[str, Key] = {
    CONNECTION_STRING_VARIABLE: ("cloud", "connection_string"),
    "IOTEDGE_IOTHUBHOSTNAME": ("cloud", "edge", "hub_hostname"),
    "IOTEDGE_GATEWAYHOSTNAME": ("cloud", "edge", "gateway_hostname"),
    EDGE_DEVICE_VARIABLE: ("cloud", "edge", "device_id"),
    "IOTEDGE_MODULEID": ("cloud", "edge", "module_id"),
    "IOTEDGE_MODULEGENERATIONID": ("cloud", "edge", "generation_id"),
    "IOTEDGE_WORKLOADURI": ("cloud", "edge", "workload_uri"),
    "IOTEDGE_APIVERSION": ("cloud", "edge", "api_version"),
    "IOTEDGE_AUTHSCHEME": ("cloud", "edge", "auth_scheme"),
    "EdgeHubConnectionString": ("cloud", "edge", "connection_string"),
    "EdgeModuleCACertificateFile": ("cloud", "edge", "ca_file"),
}
_PREFIX = "GATEWAY_"
# Read elsewhere: which settings file, and the failpoints of crash tests.
_RESERVED = frozenset({"GATEWAY_CONFIG", "GATEWAY_FAILPOINT"})
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class EnvironmentSource:
    """What the environment sets. ``given`` and ``problems`` are set when it has been made; nothing is raised."""

    def __init__(self, environment: Mapping[str, str], cwd: Path) -> None:
        self.given: list[Given] = []
        self.problems: list[Problem] = []
        self._cwd = cwd
        self._by_key: dict[Key, Given] = {}
        for name, text in sorted(environment.items()):
            if text.strip():
                self._variable(name, text)
        self.given.extend(self._by_key.values())

    def _variable(self, name: str, text: str) -> None:
        upper = name.upper()
        if name in _FOREIGN:
            self._set(name, _FOREIGN[name], text)
        elif upper.startswith(_PREFIX) and upper not in _RESERVED:
            key = tuple(upper.removeprefix(_PREFIX).lower().split("__"))
            if key in leaves():
                self._set(name, key, text)
            elif len(key) > 1:
                self._unknown(name, meant(key), known_names(key[:-1]))
            else:
                self._misspelt(name)

    def _set(self, name: str, key: Key, text: str) -> None:
        given = Given(
            key=key,
            value=from_text(leaves()[key], text),
            layer=Layer.ENVIRONMENT,
            where=f"environment {name}",
            folder=self._cwd,
        )
        other = self._by_key.setdefault(key, given)
        if other.value != given.value:
            self.problems.append(
                given.problem(f"differs from {other.where.removeprefix('environment ')}", "Set only one of the two.")
            )

    def _unknown(self, name: str, found: Key | None, otherwise: str) -> None:
        cure = f"Did you mean {environment_name(found)}?" if found in leaves() and found else otherwise
        self.problems.append(Problem(where=f"environment {name}", key="", value="", text="is not a setting", cure=cure))

    def _misspelt(self, name: str) -> None:
        """Tell ``GATEWAY_HTTP_LISTEN`` and ``GATEWAY_DATA_DIR`` from variables that are none of our business."""
        single = {"_".join(key): key for key in leaves()}
        lower = name.lower()
        for spelling in (lower.removeprefix(_PREFIX.lower()), lower):
            close = get_close_matches(spelling, single, n=1, cutoff=0.93)
            if close:
                self._unknown(name, single[close[0]], "")
                return


class CommandLineSource:
    """What ``--set section.key=text`` sets. ``given`` and ``problems`` are set when it has been made."""

    def __init__(self, overrides: Mapping[str, str], cwd: Path) -> None:
        self.given: list[Given] = []
        self.problems: list[Problem] = []
        for name, text in overrides.items():
            key = tuple(name.strip().lower().split("."))
            if key in leaves():
                self.given.append(
                    Given(
                        key=key,
                        value=from_text(leaves()[key], text),
                        layer=Layer.COMMAND_LINE,
                        where="command line --set",
                        folder=cwd,
                    )
                )
            else:
                self.problems.append(self._unknown(name, key))

    @staticmethod
    def _unknown(name: str, key: Key) -> Problem:
        if key in tables():
            text, cure = "is a table, not a setting", known_names(key)
        else:
            found = meant(key)
            text, cure = "is not a setting", f"Did you mean {dotted(found)}?" if found else known_names(key[:-1])
        return Problem(where="command line --set", key=name, value="", text=text, cure=cure)


def from_text(field: FieldInfo, text: str) -> object:
    """Return the value that ``text`` stands for, or ``text`` itself where it stands for none (validation tells)."""
    stripped = text.strip()
    of_kind = kind(field)
    if of_kind is Kind.SWITCH:
        return _SWITCHES.get(stripped.lower(), text)
    if of_kind in {Kind.WHOLE, Kind.NUMBER}:
        return _number(stripped, int if of_kind is Kind.WHOLE else float)
    if of_kind in {Kind.LIST, Kind.TABLES}:
        return _list(stripped)
    return stripped


def _number(text: str, number: type[int] | type[float]) -> object:
    try:
        return number(text)
    except ValueError:
        return text


def _list(text: str) -> object:
    if not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text
