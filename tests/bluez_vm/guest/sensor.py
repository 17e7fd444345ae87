"""Sensors: one whose standard characteristics are read, and one that says everything in its advertisements (BTHome)."""

import struct

from bumble.core import UUID, AdvertisingData
from bumble.gatt import Characteristic, Service

from tests.bluez_vm.guest.air import Air
from tests.bluez_vm.guest.peripheral import AdvertisingField, AiredPeripheral

BATTERY_PERCENT = 87
TEMPERATURE_C = 21.5


class AiredSensor(AiredPeripheral):
    """Battery Service and Environmental Sensing. bluetoothd claims the first for itself (org.bluez.Battery1)."""

    def __init__(self, air: Air, *, address: str) -> None:
        battery = _readable(0x2A19, bytes([BATTERY_PERCENT]))
        temperature = _readable(0x2A6E, struct.pack("<h", round(TEMPERATURE_C * 100)))
        services = [Service(UUID.from_16_bits(0x180F), [battery]), Service(UUID.from_16_bits(0x181A), [temperature])]
        said = ((AdvertisingData.Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, struct.pack("<H", 0x181A)),)
        super().__init__(air, address=address, services=services, said=said)


class AiredBeacon(AiredPeripheral):
    """BTHome version 2, unencrypted (bthome.io/format): a temperature."""

    def __init__(self, air: Air, *, address: str) -> None:
        super().__init__(air, address=address, services=(), said=(_bthome(TEMPERATURE_C),))

    async def sense(self, temperature_c: float) -> None:
        """Say this from now on."""
        self._said = (_bthome(temperature_c),)
        await self.say(*self._said)


def _readable(short: int, value: bytes) -> Characteristic[bytes]:
    return Characteristic(UUID.from_16_bits(short), Characteristic.Properties.READ, Characteristic.READABLE, value)


def _bthome(temperature_c: float) -> AdvertisingField:
    # UUID FCD2, device information 40 (version 2), object 02: temperature, 0.01 degrees.
    data = struct.pack("<HBBh", 0xFCD2, 0x40, 0x02, round(temperature_c * 100))
    return AdvertisingData.Type.SERVICE_DATA_16_BIT_UUID, data
