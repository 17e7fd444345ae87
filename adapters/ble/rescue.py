"""The last rung: bluetooth-auto-recovery, which resets a controller through management sockets or its USB port.

It needs CAP_NET_ADMIN (and root for USB), and a Python with Bluetooth sockets for the half that takes the controller
down and up. `make test-bluez` runs it, on a controller that is not on USB.
"""

import re

import structlog

from adapters.ble.diagnosis import OTHER, RadioError
from adapters.ble.radio import within

log = structlog.get_logger(__name__)

# It waits itself: power off and on, rfkill, a USB reset, and the controller's coming back.
RESCUE_TIMEOUT_S = 60.0


async def auto_recover(adapter_path: str, address: str) -> None:
    """Reset the controller, or raise RadioError that says what is missing for it."""
    number = re.search(r"hci(\d+)$", adapter_path)
    if number is None:
        raise RadioError(OTHER, f"{adapter_path} is no HCI adapter")
    try:
        from bluetooth_auto_recovery import recover_adapter
    except ImportError as error:
        cure = "pip install 'gateway-bridge[ble]'"
        raise RadioError(OTHER, f"bluetooth-auto-recovery is not installed: {cure}") from error
    try:
        recovered = await within(RESCUE_TIMEOUT_S, recover_adapter(int(number[1]), address, gone_silent=True))
    except (OSError, TimeoutError) as error:
        raise RadioError(OTHER, f"the controller could not be reset (CAP_NET_ADMIN is needed): {error}") from error
    log.warning("ble_controller_reset", adapter=adapter_path, recovered=recovered)
