"""Sensors in reach of the fake: a BTHome beacon, and one whose standard characteristics are read or notified."""

from dataclasses import dataclass, field

from gateway.simulators.bluez.peripheral import Characteristic, Peripheral, Service, short_uuid
from gateway.simulators.devices.ble_sensors import bthome, characteristics, weather

BTHOME = short_uuid(0xFCD2)
ENVIRONMENTAL_SENSING = short_uuid(0x181A)


@dataclass(kw_only=True, eq=False)
class SimulatedSensor(Peripheral):
    """One that measures the weather of its ``place``."""

    place: int = 0

    def __post_init__(self) -> None:
        self.measure(0)

    def measure(self, elapsed_s: float) -> None:
        """Say from now on what it is like after so many seconds."""
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class Beacon(SimulatedSensor):
    """Advertises BTHome, and is never connected to."""

    def measure(self, elapsed_s: float) -> None:
        self.service_data = {BTHOME: bthome(weather(elapsed_s, place=self.place))}


@dataclass(kw_only=True, eq=False)
class Thermometer(SimulatedSensor):
    """Has temperature, humidity and battery level as standard characteristics."""

    _rows: dict[int, Characteristic] = field(default_factory=dict)

    def measure(self, elapsed_s: float) -> None:
        for number, value in characteristics(weather(elapsed_s, place=self.place)).items():
            self._row(number).value = value
            if self.air is not None:
                self.air.notify(short_uuid(number), value)

    def _row(self, number: int) -> Characteristic:
        if number not in self._rows:
            row = Characteristic(uuid=short_uuid(number), flags=("read", "notify"))
            self._rows[number] = row
            self.services = [Service(uuid=ENVIRONMENTAL_SENSING, characteristics=list(self._rows.values()))]
        return self._rows[number]
