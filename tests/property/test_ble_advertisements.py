"""Anybody within radio reach may advertise anything: no decoder raises, and what it tells is JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ble.advertisements import AdvertisementDecoder, Heard
from adapters.ble.decoders import create_decoders
from adapters.ble.profiles import whole_uuid
from adapters.ble.sensor_families import FAMILIES

pytest.importorskip("bthome_ble", reason="bthome-ble is not installed")

# Those that the families look for, and one that nobody does.
UUIDS = sorted({whole_uuid("fcd2"), whole_uuid("fff0"), whole_uuid("abcd")} | {u for f in FAMILIES for u in f.services})
COMPANIES = sorted({0x0001, 0x0010, 0xEC88, 0xFFC2} | {company for family in FAMILIES for company in family.companies})
NAMES = ("", "s", "sps", "iBBQ", "TP359 (0C87)", "TP960R (1)", "GVH5104_1", "Govee_H5074_1", "GV5124", "ThermoBeacon")
SERVICES = frozenset(
    {
        whole_uuid("fee5"),
        whole_uuid("fff0"),
        whole_uuid("ec88"),
        "ef090000-11d6-42ba-93b8-9dd7ec090ab0",
        "ef090000-11d6-42ba-93b8-9dd7ec090aa9",
    }
)
DATA = st.binary(max_size=31)


@pytest.fixture(scope="module")
def decoders() -> tuple[AdvertisementDecoder, ...]:
    return create_decoders({"AA:BB:CC:DD:EE:FF": bytes(16)})


@given(
    name=st.sampled_from(NAMES),
    service_data=st.dictionaries(st.sampled_from(UUIDS), DATA, max_size=2),
    manufacturer_data=st.dictionaries(st.sampled_from(COMPANIES) | st.integers(0, 0xFFFF), DATA, max_size=2),
)
def test_no_decoder_is_upset_by_any_advertisement(
    decoders: tuple[AdvertisementDecoder, ...],
    name: str,
    service_data: dict[str, bytes],
    manufacturer_data: dict[int, bytes],
) -> None:
    heard = Heard(
        address="AA:BB:CC:DD:EE:FF",
        name=name,
        rssi=-60,
        service_data=service_data,
        manufacturer_data=manufacturer_data,
        service_uuids=SERVICES,
    )

    for decoder in decoders:
        told = decoder.decode(heard, 1.0)
        assert told is None or isinstance(json.loads(told.body), dict)
