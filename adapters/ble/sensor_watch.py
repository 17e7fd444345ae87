"""What was said before, and who has fallen silent. Pure: time is passed in.

Memory is bounded: those longest unheard are forgotten first.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from adapters.ble.advertisements import DEVICES_MAX, Heard, SensedValues

# Whole advertisements, of strangers too where ble.unlisted_sensors is on: about a megabyte.
ADVERTS_MAX = 1024

K = TypeVar("K")
V = TypeVar("V")


class RepeatWindow:
    """Tells news from repeats: equal values of one device within ``window_s`` of the first are one event.

    Values are compared with the last ones of the same names: a sensor that tells temperature and humidity in turn, in
    two advertisements, repeats both.
    """

    def __init__(self, *, window_s: float) -> None:
        self._window_s = window_s
        self._last: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def repeats(self, device_id: str, sensed: SensedValues, now_s: float) -> bool:
        """Return whether an event of just this was made within the window."""
        last = self._last.get((device_id, sensed.names))
        return last is not None and last[0] == sensed.fingerprint and now_s - last[1] < self._window_s

    def is_news(self, device_id: str, sensed: SensedValues, now_s: float) -> bool:
        """Return whether to make an event of it. Call :meth:`forget` if it could not be committed."""
        if self.repeats(device_id, sensed, now_s):
            return False
        _keep(self._last, (device_id, sensed.names), (sensed.fingerprint, now_s), DEVICES_MAX)
        return True

    def forget(self, device_id: str, sensed: SensedValues) -> None:
        """Let the next repeat count as news."""
        self._last.pop((device_id, sensed.names), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheard:
    """An advertisement, and what it told: None if no decoder knew it."""

    heard: Heard
    manufacturer_data: Mapping[int, bytes] = field(repr=False)
    sensed: SensedValues | None

    def is_same(self, heard: Heard) -> bool:
        """Return whether another one is the same, word for word; only the signal's strength may differ."""
        return self.manufacturer_data == heard.manufacturer_data and self.heard.service_data == heard.service_data


class AdvertMemory:
    """The last advertisement of each address: most are said again and again, and need no second look.

    It also tells which manufacturer's data are new. BlueZ keeps all that a device ever sent, by company id, and some
    makers (Inkbird, ThermoPro, SensorPush) put values where the id belongs: there every reading is another "company".
    """

    def __init__(self) -> None:
        self._last: OrderedDict[str, Overheard] = OrderedDict()

    def last(self, heard: Heard) -> Overheard | None:
        """Return the last one of that address, if it was the same."""
        known = self._last.get(heard.address)
        return known if known is not None and known.is_same(heard) else None

    def new_data(self, heard: Heard) -> Mapping[int, bytes]:
        """Return the manufacturer's data that were not there the last time; all of them the first time."""
        known = self._last.get(heard.address)
        if known is None or len(heard.manufacturer_data) <= 1:
            return heard.manufacturer_data
        before = known.manufacturer_data
        return {company: data for company, data in heard.manufacturer_data.items() if before.get(company) != data}

    def remember(self, heard: Heard, sensed: SensedValues | None) -> None:
        """Take note of what it told."""
        overheard = Overheard(heard=heard, manufacturer_data=dict(heard.manufacturer_data), sensed=sensed)
        _keep(self._last, heard.address, overheard, ADVERTS_MAX)


class SilenceWatch:
    """Which devices have not been heard for their time; each is told once, and again when it is back."""

    def __init__(self, *, expected: Mapping[str, float], now_s: float) -> None:
        self._limits_s = dict(expected)
        self._heard_s = dict.fromkeys(expected, now_s)
        # Heard, and not silent since.
        self._present: set[str] = set()
        self._silent: set[str] = set()

    def limit_s(self, device_id: str) -> float:
        """Return after how many seconds a device is silent."""
        return self._limits_s[device_id]

    def listens_from(self, now_s: float) -> None:
        """Take note that nobody listened until now: what was not heard then is no silence."""
        for device_id in self._limits_s.keys() - self._silent:
            self._heard_s[device_id] = now_s

    def heard(self, device_id: str, now_s: float) -> bool:
        """Take note of a sign of life; return whether it is the first, or the first since the device was silent."""
        if device_id not in self._limits_s:
            return False
        self._heard_s[device_id] = now_s
        if device_id in self._present:
            return False
        self._present.add(device_id)
        self._silent.discard(device_id)
        return True

    def newly_silent(self, now_s: float) -> Sequence[str]:
        """Return the devices that have become silent since the last call."""
        due = [one for one, limit_s in self._limits_s.items() if now_s - self._heard_s[one] >= limit_s]
        fresh = [one for one in due if one not in self._silent]
        self._silent.update(fresh)
        self._present.difference_update(fresh)
        return fresh

    @property
    def silent(self) -> int:
        """How many are silent now."""
        return len(self._silent)


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
