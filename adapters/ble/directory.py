"""Which of the devices in reach are ours, under which id, and what kind each may be. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adapters.ble.profiles import Profile, profile_named
from gateway.settings import BleDeviceSettings, BleSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDevice:
    """A device that may be connected. ``profile`` is what the settings say; None: what its services match."""

    device_id: str
    address: str
    profile: Profile | None
    settings: BleDeviceSettings | None

    @property
    def photo_interval_s(self) -> float:
        """How often to ask it for a photo; 0: never."""
        return 0.0 if self.settings is None else self.settings.photo_interval_s


class Directory:
    """The settings' devices, and with ``ble.unlisted_cameras`` whoever advertises the service of a profile.

    Raises ProfileInvalid when a device names a profile that is not there.
    """

    def __init__(self, settings: BleSettings, profiles: Sequence[Profile]) -> None:
        self._by_address = {one.address.upper(): one for one in settings.device if one.address}
        self._by_name = {one.name: one for one in settings.device if one.name and not one.address}
        self._profile_of = {
            one.effective_device_id: profile_named(profiles, one.profile) for one in settings.device if one.profile
        }
        self._profiles = tuple(profiles)
        self._services = frozenset(profile.service for profile in profiles)
        self._unlisted = settings.unlisted_cameras

    @property
    def services(self) -> tuple[str, ...]:
        """The services of all profiles."""
        return tuple(sorted(self._services))

    def listed(self, address: str, name: str) -> BleDeviceSettings | None:
        """Return the settings of a device, or None if it is not listed."""
        return self._by_address.get(address) or self._by_name.get(name)

    def sensor_id(self, address: str, name: str, *, unlisted: bool) -> str | None:
        """Return whose readings an advertisement's are, or None if nobody asked for them."""
        listed = self.listed(address, name)
        if listed is not None:
            return listed.effective_device_id
        return unlisted_id(address) if unlisted else None

    def connectable(self, address: str, name: str, service_uuids: Iterable[str]) -> KnownDevice | None:
        """Return the device if it is to be connected: listed, or advertising a service of a profile."""
        listed = self.listed(address, name)
        advertises_one = not self._services.isdisjoint(service_uuids)
        if listed is None:
            if not (self._unlisted and advertises_one):
                return None
            return KnownDevice(device_id=unlisted_id(address), address=address, profile=None, settings=None)
        profile = self._profile_of.get(listed.effective_device_id)
        # A beacon is listed for its name and its silence: connecting to it would be in vain.
        if profile is None and not listed.readings and not advertises_one:
            return None
        return KnownDevice(device_id=listed.effective_device_id, address=address, profile=profile, settings=listed)

    def matching(self, services: Mapping[str, Mapping[str, frozenset[str]]]) -> Profile | None:
        """Return the first profile that a device's services, characteristics and properties match."""
        return next((profile for profile in self._profiles if profile.matches(services)), None)


def unlisted_id(address: str) -> str:
    """Return the device id of a device that the settings do not list."""
    return f"ble-{address.replace(':', '').lower()}"
