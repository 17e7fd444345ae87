"""From file, environment and command line to one :class:`Settings`, or to every mistake at once."""

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from gateway.settings.cures import problem_of
from gateway.settings.forms import GATEWAY_ID
from gateway.settings.given import Given, Layer
from gateway.settings.keys import Key, Kind, dotted, element_section, kind, leaves
from gateway.settings.problems import Problem, SettingsInvalid
from gateway.settings.relations import broken_relations
from gateway.settings.secret_files import exposure, read_secret, secret_pairs
from gateway.settings.sections import Provenance, Section, Settings
from gateway.settings.text_sources import EDGE_DEVICE_VARIABLE, CommandLineSource, EnvironmentSource
from gateway.settings.toml_source import TomlSource

# Of a gateway that is installed, by bundle or by hand: where its settings are, and its data unless they say otherwise.
SYSTEM_CONFIG = Path("/etc/gateway-bridge/gateway.toml")
SYSTEM_DATA = Path("/var/lib/gateway-bridge")

_DATA_DIR: Key = ("gateway", "data_dir")
_ID: Key = ("gateway", "id")
_CAMERAS: Key = ("camera_pull", "camera")
_MODEL_PATH: Key = ("model", "path")
_HOST = "the host's name"
# Secret files whose content stays where it is: OpenSSL or the listener reads them.
_SECRET_FILES: tuple[Key, ...] = (
    ("cloud", "key_file"),
    ("mqtt", "key_file"),
    ("mqtt", "listen_key_file"),
    ("mqtt", "listen_credentials_file"),
    ("ble", "bind_keys_file"),
)


def load_settings(
    file: Path | None, environment: Mapping[str, str], overrides: Mapping[str, str], cwd: Path
) -> Settings:
    """Return checked settings: defaults < ``file`` < ``environment`` < ``overrides`` (``section.key`` → text).

    Relative paths in the file belong to the file's folder, all others to ``cwd``. Raises SettingsInvalid with every
    mistake: of form, type, range, relation, and of files that are missing. Reads the host's name and the files that
    the settings name; changes nothing.
    """
    return _Load(file, environment, overrides, cwd.absolute()).settings()


def _data_dir(file: Path | None, environment: Mapping[str, str], cwd: Path) -> tuple[str, str]:
    """Return where the data is when nobody says so, and why there."""
    # systemd may give several state directories, separated by colons: the first is ours.
    state = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return str(cwd / state), "$STATE_DIRECTORY"
    # So that a command typed at the site finds the data of the service, whose $STATE_DIRECTORY it does not have.
    if file is not None and cwd / file == SYSTEM_CONFIG and SYSTEM_DATA.is_dir():
        return str(SYSTEM_DATA), f"default with {SYSTEM_CONFIG}"
    return str(cwd / "data"), "default"


_Source = TomlSource | EnvironmentSource | CommandLineSource


class _Load:
    """One loading: gathers what was given and what is wrong with it."""

    def __init__(
        self, file: Path | None, environment: Mapping[str, str], overrides: Mapping[str, str], cwd: Path
    ) -> None:
        from_file = [TomlSource(file, cwd)] if file is not None else []
        sources: list[_Source] = [*from_file, EnvironmentSource(environment, cwd), CommandLineSource(overrides, cwd)]
        self._problems = [problem for source in sources for problem in source.problems]
        self._warnings: list[Problem] = []
        self._bad: set[Key] = set()
        # Without the file's values, relations would accuse the wrong ones.
        self._file_is_readable = all(source.given or not source.problems for source in from_file)
        self._home = environment.get("HOME", "")
        self._given = self._merged([list(source.given) for source in sources])
        self._default(_DATA_DIR, *_data_dir(file, environment, cwd))
        self._add_defaults_of_this_machine(environment)

    def settings(self) -> Settings:
        self._read_secrets()
        settings = self._validated()
        if self._file_is_readable:
            self._problems.extend(broken_relations(settings, self._given, self._bad))
        if self._problems:
            raise SettingsInvalid(_in_order(self._problems))
        origins = {dotted(key): given.where for key, given in self._given.items()}
        return settings.with_provenance(Provenance(origins=MappingProxyType(origins), warnings=tuple(self._warnings)))

    def _merged(self, layers: Iterable[list[Given]]) -> dict[Key, Given]:
        """Let later layers win. A secret and its ``*_file`` are one setting: within a layer only one may be given."""
        merged: dict[Key, Given] = {}
        for layer in layers:
            by_key = {given.key: self._with_whole_path(given) for given in layer}
            for secret, file in secret_pairs():
                self._check_one_of(by_key, secret, file)
                if secret in by_key or file in by_key:
                    merged.pop(secret, None)
                    merged.pop(file, None)
            merged.update(by_key)
        return merged

    def _check_one_of(self, by_key: Mapping[Key, Given], secret: Key, file: Key) -> None:
        if secret in by_key and file in by_key and by_key[secret].value and by_key[file].value:
            self._bad |= {secret, file}
            self._problems.append(
                by_key[file].problem(
                    f"{dotted(secret)} is given too, at {by_key[secret].where}",
                    f"Keep one of the two; the file is safer: {by_key[file].assignment(by_key[file].value)}.",
                )
            )

    def _with_whole_path(self, given: Given) -> Given:
        """Return ``given`` with a path made whole: relative to where it was given, ``~/`` being the home folder."""
        section = element_section(leaves()[given.key])
        if section is not None and isinstance(given.value, list):
            return replace(given, value=[self._table_with_whole_paths(given, section, one) for one in given.value])
        if kind(leaves()[given.key]) is not Kind.PATH or not isinstance(given.value, str) or not given.value:
            return given
        return replace(given, value=self._whole_path(given, given.value))

    def _table_with_whole_paths(self, given: Given, section: type[Section], table: object) -> object:
        if not isinstance(table, dict):
            return table
        paths = {name for name, field in section.model_fields.items() if kind(field) is Kind.PATH}
        return {
            name: self._whole_path(given, value) if name in paths and isinstance(value, str) and value else value
            for name, value in table.items()
        }

    def _whole_path(self, given: Given, text: str) -> str:
        if text.startswith("~/") and self._home:
            text = self._home + text[1:]
        return str(given.folder / text)

    def _add_defaults_of_this_machine(self, environment: Mapping[str, str]) -> None:
        """Add what a default can't say in the schema: the host's name, the packaged model."""
        self._default(_MODEL_PATH, str(files("config") / str(Settings().model.path)), "default")
        # A container's host name changes with each deployment, the IoT Edge device's id does not.
        device = environment.get(EDGE_DEVICE_VARIABLE, "").strip()
        host, named_by = (device, f"environment {EDGE_DEVICE_VARIABLE}") if device else (socket.gethostname(), _HOST)
        if self._is_unset(_ID) and not GATEWAY_ID.fullmatch(host):
            self._bad.add(_ID)
            self._problems.append(
                Problem(
                    where=named_by,
                    key=dotted(_ID),
                    value=host,
                    text="can't serve as the gateway's id",
                    cure='Set gateway.id to 1 to 128 of A-Z a-z 0-9 . _ : @ -, for example id = "greenhouse-3".',
                )
            )
        self._default(_ID, host, named_by)

    def _default(self, key: Key, value: str, where: str) -> None:
        if self._is_unset(key):
            self._given[key] = Given(key=key, value=value, layer=Layer.DEFAULT, where=where, folder=Path())

    def _is_unset(self, key: Key) -> bool:
        return key not in self._given or self._given[key].value == ""

    def _read_secrets(self) -> None:
        for secret, file in secret_pairs():
            given = self._given.get(file)
            if given is None or not given.value or file in self._bad or not isinstance(given.value, str):
                continue
            self._warn_of_exposure(given)
            content = read_secret(secret, given)
            if isinstance(content, Problem):
                self._bad |= {secret, file}
                self._problems.append(content)
            else:
                self._given[secret] = content
        for key in _SECRET_FILES:
            secret_file = self._given.get(key)
            if secret_file is not None and isinstance(secret_file.value, str) and secret_file.value:
                self._warn_of_exposure(secret_file)
        cameras = self._given.get(_CAMERAS)
        if cameras is not None and isinstance(cameras.value, list):
            for camera in cameras.value:
                self._warn_of_password_file(cameras, camera)

    def _warn_of_password_file(self, cameras: Given, camera: object) -> None:
        password_file = camera.get("password_file") if isinstance(camera, dict) else None
        if isinstance(password_file, str) and password_file:
            self._warn_of_exposure(replace(cameras, value=password_file))

    def _warn_of_exposure(self, given: Given) -> None:
        warning = exposure(given)
        if warning is not None:
            self._warnings.append(warning)

    def _validated(self) -> Settings:
        """Return settings from all values that are right; the others are noted and stand at their defaults."""
        try:
            return self._parsed()
        except ValidationError as error:
            for fault in error.errors():
                self._note_fault(self._given_at(fault["loc"]), fault)
        return self._parsed()

    def _note_fault(self, given: Given, fault: Any) -> None:
        problem = problem_of(fault, given)
        # A union's members each complain about one value: say it once.
        if problem not in self._problems:
            self._problems.append(problem)
        self._bad.add(given.key)

    def _parsed(self) -> Settings:
        tree: dict[str, Any] = {}
        for key, given in self._given.items():
            is_unset_path = given.value == "" and kind(leaves()[key]) is Kind.PATH
            if key not in self._bad and not is_unset_path:
                table = tree
                for name in key[:-1]:
                    table = table.setdefault(name, {})
                table[key[-1]] = given.value
        # Strict JSON: no "8080" for 8080, no 1 for true; yet text for paths and networks, arrays for tuples.
        return Settings.model_validate_json(json.dumps(tree, default=_not_json), strict=True)

    def _given_at(self, location: tuple[int | str, ...]) -> Given:
        return next(given for key, given in self._given.items() if location[: len(key)] == key)


def _not_json(value: object) -> dict[str, str]:
    """Return a wrong type for what only TOML has (dates, times): no setting takes it."""
    return {"toml": str(value)}


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort: the file's by line, then the environment's, then the command line's."""

    def place(problem: Problem) -> tuple[int, int]:
        if problem.where.startswith("environment "):
            return 2, 0
        if problem.where.startswith("command line"):
            return 3, 0
        line = problem.where.rpartition(":")[2]
        return 1, int(line) if line.isdigit() else 0

    return sorted(problems, key=place)
