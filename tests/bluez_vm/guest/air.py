"""The air between simulated controllers, and the guest's own controller behind /dev/vhci. Bumble's, with faults.

The kernel and bluetoothd see a Bluetooth 5.0 controller without extended advertising and without link-layer privacy:
Bumble's of that kind confuse BlueZ. There are no radio waves: nothing is lost or delayed unless a scenario says so.
"""

from bumble import hci, ll
from bumble.controller import Controller
from bumble.core import PhysicalTransport
from bumble.link import LocalLink
from bumble.transport.vhci import open_vhci_transport

ADAPTER_ADDRESS = "02:00:00:00:00:01"
# The most that one LE packet carries (Bluetooth 4.2 and later); Bumble's 27 would make ten of each notification.
ACL_BYTES = 251
# Bumble's address of a device that a lost link did not tell: Core Vol 1 Part F, connection timeout.
TIMED_OUT = hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR


class Air(LocalLink):  # type: ignore[misc]  # Bumble is not there where types are checked
    """Carries packets between controllers under the addresses of the connection, public or random."""

    def send_acl_data(
        self, sender_controller: Controller, destination_address: hci.Address, transport: PhysicalTransport, data: bytes
    ) -> None:
        # Bumble's own sends everything under the sender's random address, which a public one does not have.
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if connection is not None and receiver is not None:
            receiver.on_link_acl_data(connection.self_address, transport, data)

    def lose(self, camera: Controller) -> bool:
        """Cut every link of a camera as distance does: both sides see a timeout. Returns whether there was one."""
        links = list(camera.le_connections.values())
        for link in links:
            other = self.find_le_controller(link.peer_address)
            camera.on_le_disconnected(link, TIMED_OUT)
            back = None if other is None else other.le_connections.get(link.self_address)
            if other is not None and back is not None:
                other.on_le_disconnected(back, TIMED_OUT)
        return bool(links)


class Radio(Controller):  # type: ignore[misc]
    """A controller that carries 251 bytes a packet."""

    le_acl_data_packet_length = ACL_BYTES
    acl_data_packet_length = ACL_BYTES
    supported_max_tx_octets = ACL_BYTES
    supported_max_rx_octets = ACL_BYTES
    suggested_max_tx_octets = ACL_BYTES


class OwnRadio(Radio):
    """The guest's own. ``deaf_for_resets``: it reports no advertisement until it was reset so often."""

    le_features = hci.LeFeatureMask.LE_ENCRYPTION | hci.LeFeatureMask.LE_DATA_PACKET_LENGTH_EXTENSION

    def __init__(self, air: Air) -> None:
        super().__init__("own", link=air, public_address=ADAPTER_ADDRESS)
        self.deaf_for_resets = 0
        self.resets = 0

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        # Bumble's leaves everything as it was.
        self.le_scan_enable = False
        self.pending_le_connection = None
        self.resets += 1
        self.deaf_for_resets = max(0, self.deaf_for_resets - 1)
        return super().on_hci_reset_command(command)

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        if not self.deaf_for_resets:
            super().on_advertising_pdu(pdu)


async def plug_in(air: Air) -> OwnRadio:
    """Return the guest's controller, as the kernel's hci0."""
    transport = await open_vhci_transport(None)
    radio = OwnRadio(air)
    transport.source.set_packet_sink(radio)
    radio.host = transport.sink
    return radio
