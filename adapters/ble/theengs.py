"""The optional door to TheengsDecoder: one native library for some hundred makes of sensors, where it is installed.

It has no wheel for ARM and is under the GPL, so no extra brings it: ``pip install TheengsDecoder``. It is asked last.
It is C++ fed with bytes that anybody within reach may send: an error there would end the process, which
``gateway run`` starts again.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from adapters.ble.advertisements import Heard, Scalar, SensedValues
from adapters.ble.sensor_families import key_of

_MODULE = "TheengsDecoder"
# Words of theirs that are no units, and properties that tell of the packet and the radio.
_NO_UNIT = frozenset({"int", "status", "bool", "string"})
_NOT_A_VALUE = frozenset({"tx", "mac", "seq", "device", "id"})
Property = Mapping[str, str]


@dataclass
class TheengsDecoder:
    """Implements AdvertisementDecoder. ``decode_ble`` and ``properties_of`` are the library's: JSON in, JSON out."""

    decode_ble: Callable[[str], str | None]
    properties_of: Callable[[str], str | None]

    def decode(self, heard: Heard, now_s: float) -> SensedValues | None:  # noqa: ARG002 -- it keeps no state
        for question in _questions(heard):
            answer = self.decode_ble(json.dumps(question))
            values = self._values(json.loads(answer)) if answer else {}
            if values:
                return SensedValues(values=values, fingerprint=json.dumps(values, sort_keys=True))
        return None

    def _values(self, told: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return what its properties name, under our names: ``tempc`` → ``temperature_c``."""
        answer = self.properties_of(str(told.get("model_id", "")))
        properties: Mapping[str, Property] = json.loads(answer)["properties"] if answer else {}
        return {
            _key(one): told[key]
            for key, one in properties.items()
            if key not in _NOT_A_VALUE and isinstance(told.get(key), bool | int | float | str)
        }


def installed_theengs() -> tuple[TheengsDecoder, ...]:
    """Return the decoder, or nothing where the library is not there."""
    if find_spec(_MODULE) is None:
        return ()
    library = importlib.import_module(_MODULE)
    return (TheengsDecoder(decode_ble=library.decodeBLE, properties_of=library.getProperties),)


def _key(one: Property) -> str:
    unit = one.get("unit", "")
    return key_of(one["name"].lower().replace(" ", "_"), None if unit in _NO_UNIT else unit)


def _questions(heard: Heard) -> list[dict[str, str]]:
    """Return an advertisement in their words, one for each company and service: it takes one of each only."""
    who = {"id": heard.address, "name": heard.name}
    asked = [
        who | {"manufacturerdata": company.to_bytes(2, "little").hex() + data.hex()}
        for company, data in heard.manufacturer_data.items()
    ]
    asked += [
        who | {"servicedata": data.hex(), "servicedatauuid": _short(uuid)} for uuid, data in heard.service_data.items()
    ]
    return asked


def _short(uuid: str) -> str:
    """Return the four digits of a short UUID, which is how they know services; others whole."""
    return uuid[4:8] if uuid.endswith("-0000-1000-8000-00805f9b34fb") and uuid.startswith("0000") else uuid
