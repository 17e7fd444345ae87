"""What must hold between the settings of Bluetooth devices. Each check is a generator as in relations.py."""

from collections.abc import Iterator

from gateway.settings.keys import Key
from gateway.settings.problems import Fault, unreadable
from gateway.settings.sections import Settings

DEVICE: Key = ("ble", "device")
BIND_KEYS_FILE: Key = ("ble", "bind_keys_file")
PROFILES_DIR: Key = ("ble", "profiles_dir")


def devices(settings: Settings) -> Iterator[Fault]:
    """Refuse two entries for one device, and two devices under one id: their events could not be told apart."""
    for what in ("address", "effective_device_id"):
        seen: set[str] = set()
        for one in settings.ble.device:
            text = str(getattr(one, what))
            if text and text in seen:
                named = "device_id" if what == "effective_device_id" else what
                yield DEVICE, f"has two devices with the {named} {text}", "Remove one, or tell them apart."
            seen.add(text)


def bind_keys_file(settings: Settings) -> Iterator[Fault]:
    file = settings.ble.bind_keys_file
    if not settings.ble.enabled or file is None:
        return
    try:
        file.read_bytes()
    except OSError as error:
        yield BIND_KEYS_FILE, unreadable(error), "Name a file with an address and 32 hex digits a line."


def profiles_dir(settings: Settings) -> Iterator[Fault]:
    folder = settings.ble.profiles_dir
    if settings.ble.enabled and folder is not None and not folder.is_dir():
        yield PROFILES_DIR, "is no folder", "Make it, put *.toml profiles into it, or remove the setting."
