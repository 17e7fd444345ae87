"""The settings of Bluetooth Low Energy: ``[ble]`` and a ``[[ble.device]]`` for each known device."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.forms import check_ble_adapter, check_ble_address, check_gateway_id, invalid
from gateway.settings.section import MIB, Section


class BleDeviceSettings(Section):
    """A device that the gateway knows. One of address and name is needed; a name serves where addresses change."""

    address: Annotated[str, AfterValidator(check_ble_address)] = Field(
        default="", description='Its Bluetooth address, "AA:BB:CC:DD:EE:FF".'
    )
    name: str = Field(default="", max_length=248, description="The name that it advertises, whole.")
    device_id: Annotated[str, AfterValidator(check_gateway_id)] = Field(
        default="", description='Who it is in every event. Empty: "ble-" and its address, or its name.'
    )
    profile: str = Field(
        default="",
        max_length=64,
        description="A camera's profile. Empty: the one that its services match. A sensor needs none.",
    )
    photo_interval_s: int = Field(
        default=0, ge=0, le=86_400, description="Ask a camera for a photo this often. 0: only what it sends by itself."
    )
    readings: tuple[str, ...] = Field(
        default=(),
        description='Standard characteristics to read, by name: ["battery", "temperature"]. docs/PROTOCOLS-ble.md '
        "lists them.",
    )
    read_interval_s: float = Field(default=300, ge=1, le=604_800, description="Seconds between two such reads.")
    notify: bool = Field(default=False, description="Take these characteristics as notifications instead.")
    silent_after_s: float | None = Field(
        default=None, gt=0, le=2_592_000, description="Overrides ble.silent_after_s for this one."
    )

    @model_validator(mode="after")
    def _is_somebody(self) -> "BleDeviceSettings":
        if not self.address and not self.name:
            raise invalid("has neither address nor name", 'Write for example address = "AA:BB:CC:DD:EE:FF".')
        return self

    @property
    def effective_device_id(self) -> str:
        """The device id of its events: as set, else made of its address, else of its name."""
        if self.device_id:
            return self.device_id
        if self.address:
            return f"ble-{self.address.replace(':', '').lower()}"
        return "".join(c if c.isascii() and (c.isalnum() or c in "._:@-") else "-" for c in self.name)[:128]


class BleSettings(Section):
    """Devices that speak Bluetooth Low Energy, through BlueZ. Each known one is a [[ble.device]] below."""

    enabled: bool = Field(default=False, description="Whether to look for them. Off: no Bluetooth library is loaded.")
    adapter: Annotated[str, AfterValidator(check_ble_adapter)] = Field(
        default="", description='Which radio, for example "hci0". Empty: the first one.'
    )
    unlisted_cameras: bool = Field(
        default=False,
        description="Also connect to devices without a [[ble.device]] whose advertised service a profile matches. "
        "Anybody's camera within radio reach is one.",
    )
    unlisted_sensors: bool = Field(
        default=False, description="Also take readings from advertisements of sensors without a [[ble.device]]."
    )
    profiles_dir: Path | None = Field(
        default=None, description="A folder of profiles of your own (*.toml): new cameras, or built-in ones by name."
    )
    bind_keys_file: Path | None = Field(
        default=None,
        description="Keys of sensors that encrypt their advertisements: an address and 32 hex digits a line; readable "
        "by the gateway's user only.",
    )
    connections_max: int = Field(
        default=5, ge=1, le=32, description="Connections at once. Common radios carry five to seven; others wait."
    )
    connect_timeout_s: float = Field(
        default=20, gt=0, le=120, description="Seconds for a connection and its services. Cheap cameras need ten."
    )
    gatt_timeout_s: float = Field(
        default=10, gt=0, le=60, description="Seconds for one read or write. ATT itself gives up after 30."
    )
    turn_max_s: float = Field(
        default=60,
        ge=1,
        le=86_400,
        description="Seconds that a device keeps its connection while others wait for one. A 40 kB photo takes 1 to 4.",
    )
    scan_silent_max_s: float = Field(
        default=90,
        ge=5,
        le=3600,
        description="Seconds without any advertisement after which the scan is made anew: a bluetoothd that was "
        "restarted ends scans without a word.",
    )
    image_bytes_max: int = Field(
        default=MIB,
        ge=1024,
        le=16 * MIB,
        description="Bytes of one picture; limits.image_bytes_max holds too. Each connection may hold one: five MiB.",
    )
    attempts_max: int = Field(
        default=3, ge=1, le=20, description="How often a picture that came damaged is asked for before it is given up."
    )
    resume_keep_s: float = Field(
        default=600, ge=0, le=86_400, description="Seconds that half a picture waits in memory for its device's return."
    )
    resume_bytes_max: int = Field(
        default=8 * MIB,
        ge=0,
        le=256 * MIB,
        description="Bytes of all half pictures of devices that are away; the longest away is dropped first. 0: none "
        "is resumed. Eight pictures of a MiB, or 200 of 40 kB; 16 devices at most.",
    )
    repeat_window_s: float = Field(
        default=60,
        ge=0,
        le=86_400,
        description="Seconds in which equal readings of one sensor are one event: beacons say everything many times.",
    )
    silent_after_s: float = Field(
        default=3600, gt=0, le=2_592_000, description="Seconds after which a device not heard is reported as silent."
    )
    device: tuple[BleDeviceSettings, ...] = Field(
        default=(),
        max_length=512,
        description="The devices, each under a heading of its own. In the environment: a JSON array of objects.",
    )
