"""The only door to paho-mqtt. What is changed in it, and why.

1.6.1 is the last 1.x release, so its private names are stable; tests/integration/test_mqtt_broker_canaries.py notices
if one is not. Replaced or used:

- PUBLISH never reaches it: paho acknowledges when ``on_message`` returns, and copies a payload four times. The link
  cuts it out of the stream, and :meth:`acknowledge` answers it when the event is on disk. A PUBREL is paho's to answer.
- ``_in_packet`` and ``_packet_handle``: paho reads packets of any size, a system call for each byte of a header. We
  read in whole chunks, with a cap, and hand over whole packets.
- ``_packet_queue``: several acknowledgements leave as one write (and one TLS record); DISCONNECT without a close.
- ``_out_messages``, ``_out_packet``: how many of our own publishes and packets wait.
- ``_create_socket_connection``: connecting and the TLS handshake within a deadline of ours, and closed when they fail.

Only the network thread calls anything here.
"""

import socket
import ssl
import struct
from collections.abc import Sequence

import paho.mqtt.client as mqtt

from adapters.mqtt.broker_framing import Packet
from adapters.mqtt.broker_options import BrokerOptions

CONNACK: int = mqtt.CONNACK
SUCCESS: int = mqtt.MQTT_ERR_SUCCESS


class DeferredClient(mqtt.Client):  # type: ignore[misc]  # paho 1.6 has no types
    """A client for one connection whose acknowledgements leave when we say so."""

    def __init__(self, options: BrokerOptions, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            client_id=options.client_id, clean_session=False, protocol=mqtt.MQTTv311, reconnect_on_failure=False
        )
        self._options = options
        self._tls = tls
        # paho's own queue of publishes has no bound; the link counts what is unacknowledged.
        self.max_inflight_messages_set(0)
        # With this set, paho queues what is to be sent and leaves the writing to us.
        self.on_socket_register_write = lambda _client, _userdata, _sock: None
        if options.username:
            self.username_pw_set(options.username, options.password)

    def _create_socket_connection(self) -> socket.socket:
        options = self._options
        sock = socket.create_connection((options.host, options.port), timeout=options.connect_timeout_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1500 * options.keepalive_s))
            return sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=options.host)
        except (OSError, ValueError):
            sock.close()
            raise

    def acknowledge(self, packet_ids: Sequence[int], *, at_qos_2: set[int]) -> None:
        """Queue a PUBACK for each, in this order; a PUBREC for those that came at QoS 2, which are forgotten there."""
        packets = bytearray()
        for packet_id in packet_ids:
            command = mqtt.PUBREC if packet_id in at_qos_2 else mqtt.PUBACK
            at_qos_2.discard(packet_id)
            packets += struct.pack("!BBH", command, 2, packet_id)
        self._packet_queue(mqtt.PUBACK, bytes(packets), packet_ids[-1], 1)

    def ping(self) -> None:
        """Queue a PINGREQ."""
        self._send_simple_command(mqtt.PINGREQ)

    def take_leave(self) -> None:
        """Queue a DISCONNECT; the socket stays open.

        paho's own closes it at once, and closing with unread messages resets the connection, which can undo the
        acknowledgements sent just before.
        """
        self._packet_queue(mqtt.PINGREQ, struct.pack("!BB", mqtt.DISCONNECT, 0), 0, 0)

    @property
    def unacknowledged(self) -> int:
        """How many of our own messages the broker has not acknowledged."""
        return len(self._out_messages)

    @property
    def unwritten(self) -> int:
        """How many packets wait for the socket."""
        return len(self._out_packet)

    def handle(self, packet: Packet) -> int:
        """Let paho act on one packet; returns paho's error code. Raises what a malformed one makes paho raise."""
        self._in_packet = {
            "command": packet.command,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(packet.body),
            "packet": packet.body,
            "to_process": 0,
            "pos": 0,
        }
        return int(self._packet_handle())


def tls_context(options: BrokerOptions) -> ssl.SSLContext:
    """Return the TLS settings, with files read now. Raises OSError (ssl.SSLError is one) for unusable files."""
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.certificate_file is not None:
        # An empty password: for an encrypted key OpenSSL would else ask on the terminal.
        context.load_cert_chain(options.certificate_file, options.key_file, password="")
    return context
