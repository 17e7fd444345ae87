"""A TCP proxy in front of a broker that reads along: what was delivered to the gateway, and what it answered.

MQTT 3.1.1 without TLS. Payloads are remembered by their SHA-256. Survives both ends; each connection is its own.
"""

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from adapters.mqtt.broker_framing import Framer, Packet

_PUBLISH, _PUBACK, _PINGREQ, _DUP = 0x30, 0x40, 0xC0, 0x08
_BODY_BYTES_MAX = 16 * 1024 * 1024


class MqttWitness:
    """Listens on a free port of loopback and passes on to ``broker_port``. Use as a context manager."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.acknowledged: set[str] = set()
        self.redelivered: set[str] = set()
        self.pings = 0
        # For who wants to know at once: the SHA-256 of what was acknowledged; how much was unanswered at an end.
        self.on_acknowledged: Callable[[str], None] = self.acknowledged.add
        self.on_cut: Callable[[int], None] = _ignore

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="witness", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for opened in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                gateway, _ = self._server.accept()
                self._sockets.append(gateway)
                try:
                    broker = socket.create_connection(("127.0.0.1", self._broker_port))
                except OSError:
                    gateway.close()
                    continue
                self._sockets.append(broker)
                _Witnessed(self, gateway, broker).start()


class _Witnessed:
    """One connection: two threads that pass bytes on and read along."""

    def __init__(self, witness: MqttWitness, gateway: socket.socket, broker: socket.socket) -> None:
        self._witness = witness
        self._gateway = gateway
        self._broker = broker
        self._delivered: dict[int, str] = {}
        self._unanswered: set[int] = set()

    def start(self) -> None:
        for target in (self._to_gateway, self._to_broker):
            threading.Thread(target=target, daemon=True).start()

    def _to_gateway(self) -> None:
        framer = Framer(body_bytes_max=_BODY_BYTES_MAX)
        with contextlib.suppress(OSError):
            while data := self._broker.recv(65536):
                framer.feed(data)
                while (packet := framer.next_packet()) is not None:
                    if packet.command & 0xF0 == _PUBLISH and packet.packet_id is not None:
                        self._note_delivery(packet)
                self._gateway.sendall(data)
        _end(self._gateway)

    def _note_delivery(self, packet: Packet) -> None:
        name = hashlib.sha256(packet.payload or b"").hexdigest()
        assert packet.packet_id is not None
        self._delivered[packet.packet_id] = name
        self._unanswered.add(packet.packet_id)
        if packet.command & _DUP:
            self._witness.redelivered.add(name)

    def _to_broker(self) -> None:
        framer = Framer(body_bytes_max=_BODY_BYTES_MAX)
        with contextlib.suppress(OSError):
            while data := self._gateway.recv(65536):
                framer.feed(data)
                while (packet := framer.next_packet()) is not None:
                    self._witness.pings += packet.command == _PINGREQ
                    if packet.command == _PUBACK:
                        self._note_acknowledgement(struct.unpack("!H", packet.body)[0])
                self._broker.sendall(data)
        if unanswered := len(self._unanswered):
            self._witness.on_cut(unanswered)
        _end(self._broker)

    def _note_acknowledgement(self, packet_id: int) -> None:
        self._unanswered.discard(packet_id)
        name = self._delivered[packet_id]
        self._witness.acknowledged.add(name)
        self._witness.on_acknowledged(name)


def _end(other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)


def _ignore(_unanswered: int) -> None:
    """The default of ``MqttWitness.on_cut``."""
