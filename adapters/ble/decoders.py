"""Every decoder of advertisements that is installed, in the order in which they are asked."""

from collections.abc import Mapping

import structlog

from adapters.ble.advertisements import AdvertisementDecoder
from adapters.ble.sensor_families import installed_families
from adapters.ble.theengs import installed_theengs
from gateway.errors import AdapterUnavailable

log = structlog.get_logger(__name__)


def create_decoders(bind_keys: Mapping[str, bytes]) -> tuple[AdvertisementDecoder, ...]:
    """Return the decoders that are installed. Raises AdapterUnavailable if there is none."""
    families = installed_families(bind_keys=bind_keys)
    theengs = installed_theengs()
    if not families and not theengs:
        raise AdapterUnavailable(
            "sensors' advertisements need an extra: pip install 'gateway-bridge[ble]' for BTHome, "
            "'gateway-bridge[ble-sensors]' for other makers too"
        )
    log.info("ble_decoders", packages=[*(one.package for one in families), *("TheengsDecoder" for _ in theengs)])
    return (*families, *theengs)
