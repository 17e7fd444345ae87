"""What must hold between the settings of Bluetooth devices. Each check is a generator as in relations.py."""

from collections.abc import Iterator

from gateway.settings.keys import Key
from gateway.settings.problems import Fault, unreadable
from gateway.settings.sections import MIB, Settings

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


def memory(settings: Settings) -> Iterator[Fault]:
    """Keep half-come pictures, of all connections and of devices that are away, within a quarter of the budget."""
    ble, budget_mb = settings.ble, settings.limits.memory_budget_mb
    quarter = budget_mb * MIB // 4
    if ble.enabled and ble.connections_max * ble.image_bytes_max + ble.resume_bytes_max > quarter:
        most = max(quarter - ble.resume_bytes_max, 0) // ble.connections_max
        wrong = (
            f"times ble.connections_max = {ble.connections_max}, and ble.resume_bytes_max = {ble.resume_bytes_max}, "
            f"make more than a quarter of limits.memory_budget_mb = {budget_mb}"
        )
        cure = f"Set image_bytes_max to {most} or less, or fewer connections, or less to resume, or a larger budget."
        yield ("ble", "image_bytes_max"), wrong, cure


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
