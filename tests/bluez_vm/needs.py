"""What the check on bluetoothd needs beside a virtual machine: its kernel modules, the daemons of this machine."""

from pathlib import Path

from tests.vm.machine import QEMU_TOOLS, CannotRun, Tool

TOOLS = (
    *QEMU_TOOLS,
    Tool(command="dbus-daemon", package="dbus"),
    Tool(command="bluetoothctl", package="bluez"),
)
# What the guest loads, each with what it depends on: its disk over 9p, an overlay so that it may write, a virtual
# Bluetooth controller, and the ciphers that the Bluetooth core asks for when a controller is switched on.
MODULES = (
    "virtio_pci", "9pnet_virtio", "9p", "overlay",
    "ecb", "cmac", "aesni-intel", "algif_hash", "algif_skcipher", "bluetooth", "uhid", "hci_vhci",
)  # fmt: skip
# Debian's bluez has it in the first, older Ubuntu's in the second.
BLUETOOTHD_PLACES = (Path("/usr/libexec/bluetooth/bluetoothd"), Path("/usr/lib/bluetooth/bluetoothd"))


def bluetoothd() -> Path:
    """Return where bluetoothd is. Raises CannotRun."""
    found = next((place for place in BLUETOOTHD_PLACES if place.exists()), None)
    if found is None:
        raise CannotRun(f"bluez is installed, but there is no {' or '.join(map(str, BLUETOOTHD_PLACES))}.")
    return found
