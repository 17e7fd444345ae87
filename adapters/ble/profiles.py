"""Profiles: what a kind of camera looks like and how it speaks, as data in TOML, checked when loaded.

Built-in ones are shipped in ``config/ble-profiles``; a folder of the operator's adds to them, and replaces one of the
same name. A profile names one of our framings; a new camera whose framing is ours needs no Python.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from adapters.ble.contract import Verdict
from gateway.errors import AdapterUnavailable

# Bluetooth Core, Vol 3 Part B 2.5.1: short UUIDs stand for this one with their digits in front.
_BASE_UUID = "0000{}-0000-1000-8000-00805f9b34fb"
_MIB = 1024 * 1024
PROFILE_FILES_MAX = 256


class NotifyMode(StrEnum):
    """How BlueZ hands notifications over: D-Bus signals, or a file descriptor of our own (fewer losses, newer)."""

    START_NOTIFY = "start-notify"
    ACQUIRE_NOTIFY = "acquire-notify"


class FramingName(StrEnum):
    """The ways of putting a picture together that profiles may choose from."""

    GATEWAY_IMAGE_1 = "gateway-image-1"
    INDEXED_CHUNKS = "indexed-chunks"
    ANNOUNCED_SIZE = "announced-size"
    CAFEBABE = "cafebabe"
    JPEG_STREAM = "jpeg-stream"


def whole_uuid(text: str) -> str:
    """Return a UUID in full and lower case, as bleak tells them: ``ffe0`` → ``0000ffe0-0000-1000-...``."""
    lower = text.lower()
    return _BASE_UUID.format(lower) if len(lower) == 4 else lower


def _check_uuid(text: str) -> str:
    whole = whole_uuid(text)
    groups = whole.split("-")
    if [len(group) for group in groups] != [8, 4, 4, 4, 12] or not set(whole) <= set("0123456789abcdef-"):
        raise ValueError("is no UUID: write all 36 characters, or four hex digits")
    return whole


def _check_hex(text: str) -> str:
    try:
        if len(bytes.fromhex(text)) <= 512:  # the longest value of a characteristic
            return text
    except ValueError:
        pass
    raise ValueError('is no bytes in hex: write for example "be ba fe ca", at most 512')


Uuid = Annotated[str, AfterValidator(_check_uuid)]
HexBytes = Annotated[str, AfterValidator(_check_hex)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Characteristic(_Table):
    """One that must be there, with at least these properties (bleak's words), for the profile to match."""

    role: str = Field(pattern=r"^[a-z_]{1,32}$")
    uuid: Uuid
    properties: frozenset[Literal["read", "write", "write-without-response", "notify", "indicate"]] = frozenset()
    subscribe: bool = False


class CommandForm(_Table):
    """What to write for a command: fixed bytes, then its value where it has one."""

    role: str
    hex: HexBytes = ""
    value: Literal["", "u8", "u16le", "u32le", "u16be", "u32be"] = ""
    value_min: int = Field(default=0, ge=0)
    value_max: int = Field(default=0xFFFFFFFF, ge=0, le=0xFFFFFFFF)

    def data(self, value: int | None) -> bytes:
        """Return the bytes to write; a value outside the bounds becomes the nearest bound."""
        start = bytes.fromhex(self.hex)
        if not self.value:
            return start
        width = int(self.value[1:].rstrip("lbe")) // 8
        most = min(self.value_max, (1 << 8 * width) - 1)
        number = min(max(self.value_min if value is None else value, self.value_min), most)
        order: Literal["big", "little"] = "big" if self.value.endswith("be") else "little"
        return start + number.to_bytes(width, order)


class StartCommand(_Table):
    """A command to give when a link is up."""

    command: str
    value: int | None = None


class Answer(_Table):
    """What to write once a picture's outcome is known."""

    role: str
    hex: HexBytes


class ProfileLimits(_Table):
    """Bounds of one transfer. A setting that is stricter wins."""

    image_bytes_max: int = Field(default=16 * _MIB, ge=1024, le=16 * _MIB)
    idle_timeout_s: float = Field(default=3, gt=0, le=120)
    answer_timeout_s: float = Field(default=15, gt=0, le=600)


class FramingParameters(_Table):
    """What varies between cameras of one framing; each framing reads its own and ignores the rest."""

    index_order: Literal["little", "big"] = "little"
    end_hex: HexBytes = "ff ff"
    orientation_byte: bool = False


class Profile(_Table):
    """One kind of camera."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    aliases: tuple[str, ...] = ()
    description: str = ""
    service: Uuid
    framing: FramingName
    notify_mode: NotifyMode = NotifyMode.START_NOTIFY
    write_with_response: bool = False
    characteristic: tuple[Characteristic, ...] = Field(min_length=1, max_length=16)
    commands: Mapping[str, CommandForm] = {}
    on_connect: tuple[StartCommand, ...] = ()
    retake: str = ""
    answers: Mapping[Verdict, Answer] = {}
    limits: ProfileLimits = ProfileLimits()
    parameters: FramingParameters = FramingParameters()

    @model_validator(mode="after")
    def _names_exist(self) -> "Profile":
        roles = [one.role for one in self.characteristic]
        if len(set(roles)) != len(roles):
            raise ValueError("two characteristics have the same role")
        if not any(one.subscribe for one in self.characteristic):
            raise ValueError("no characteristic has subscribe = true: nothing could arrive")
        used_roles = [form.role for form in self.commands.values()] + [answer.role for answer in self.answers.values()]
        _known("role", (*used_roles, *_ROLES_OF[self.framing]), roles)
        if self.framing is not FramingName.GATEWAY_IMAGE_1:
            used = [start.command for start in self.on_connect] + ([self.retake] if self.retake else [])
            _known("command", used, self.commands)
        return self

    @property
    def roles(self) -> Mapping[str, str]:
        """Role → UUID of its characteristic."""
        return {one.role: one.uuid for one in self.characteristic}

    @property
    def subscribed(self) -> tuple[Characteristic, ...]:
        """The characteristics whose notifications to turn on."""
        return tuple(one for one in self.characteristic if one.subscribe)

    def goes_by(self, name: str) -> bool:
        return name == self.name or name in self.aliases

    def matches(self, services: Mapping[str, Mapping[str, Iterable[str]]]) -> bool:
        """Return whether a device is of this kind. ``services``: UUID → UUID of characteristic → its properties.

        UUIDs are reused by unrelated makers: characteristics and their properties must be right too.
        """
        present = {uuid.lower(): set(properties) for uuid, properties in services.get(self.service, {}).items()}
        return all(one.uuid in present and one.properties <= present[one.uuid] for one in self.characteristic)


# The roles that a framing itself uses.
_ROLES_OF: Mapping[FramingName, tuple[str, ...]] = {
    FramingName.GATEWAY_IMAGE_1: ("data", "control"),
    FramingName.INDEXED_CHUNKS: ("data",),
    FramingName.ANNOUNCED_SIZE: ("data", "info"),
    FramingName.CAFEBABE: ("data",),
    FramingName.JPEG_STREAM: ("data",),
}


class ProfileInvalid(AdapterUnavailable):
    """A profile file can't be used; the text names the file, the key and the cure."""


def load_profiles(user_dir: Path | None = None) -> tuple[Profile, ...]:
    """Return the operator's profiles, then the built-in ones that none of them replaces.

    The first that matches a device is its kind. Raises ProfileInvalid with every mistake of every file.
    """
    own = [] if user_dir is None else _read_folder(user_dir)
    built_in = [(f"built-in {name}", text) for name, text in _built_in_texts()]
    mistakes: list[str] = []
    profiles: dict[str, Profile] = {}
    for where, text in (*own, *built_in):
        profile = _parsed(where, text, mistakes)
        if profile is None:
            continue
        if profile.name in profiles and not where.startswith("built-in"):
            mistakes.append(f"{where}: another file has the profile {profile.name} too; rename one")
        profiles.setdefault(profile.name, profile)
    if mistakes:
        raise ProfileInvalid("; ".join(mistakes))
    return tuple(profiles.values())


def profile_named(profiles: Sequence[Profile], name: str) -> Profile:
    """Return the profile of that name or alias. Raises ProfileInvalid, listing those there are."""
    found = next((profile for profile in profiles if profile.goes_by(name)), None)
    if found is None:
        known = ", ".join(profile.name for profile in profiles)
        raise ProfileInvalid(f'there is no BLE profile "{name}". Those known are: {known}.')
    return found


def parse_profile(text: str) -> Profile:
    """Return the profile in a TOML text. Raises ProfileInvalid with every mistake."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileInvalid(f"is not TOML: {error}") from error
    try:
        return Profile.model_validate(tree)
    except ValidationError as error:
        raise ProfileInvalid("; ".join(_told(fault["loc"], fault["msg"]) for fault in error.errors())) from error


def _parsed(where: str, text: str, mistakes: list[str]) -> Profile | None:
    try:
        return parse_profile(text)
    except ProfileInvalid as error:
        mistakes.append(f"{where}: {error}")
        return None


def _read_folder(folder: Path) -> list[tuple[str, str]]:
    try:
        paths = sorted(folder.glob("*.toml")) if folder.is_dir() else None
        if paths is None:
            raise ProfileInvalid(f"ble.profiles_dir = {folder} is no folder: make it, or remove the setting")
        if len(paths) > PROFILE_FILES_MAX:
            raise ProfileInvalid(f"ble.profiles_dir = {folder} has more than {PROFILE_FILES_MAX} files")
        return [(path.name, path.read_text(encoding="utf-8")) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileInvalid(f"ble.profiles_dir = {folder} can't be read: {error}") from error


def _built_in_texts() -> list[tuple[str, str]]:
    folder = files("config") / "ble-profiles"
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [(entry.name, entry.read_text(encoding="utf-8")) for entry in entries if entry.name.endswith(".toml")]


def _known(what: str, used: Iterable[str], known: Iterable[str]) -> None:
    missing = sorted(set(used) - set(known))
    if missing:
        raise ValueError(f"no such {what}: {', '.join(missing)}")


def _told(location: tuple[int | str, ...], message: str) -> str:
    at = ".".join(str(step) for step in location)
    text = message.removeprefix("Value error, ")
    return f"{at}: {text}" if at else text
