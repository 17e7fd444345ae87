"""A device on the wire: sends the packets it is told to, right or wrong, and shows what comes back."""

import asyncio
from types import TracebackType
from typing import Self

from adapters.mqtt.codec import PacketDecoder, encode
from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Will,
)
from adapters.mqtt.codec_properties import NO_PROPERTIES, Properties

RECEIVE_TIMEOUT_S = 10.0
VERSIONS = (V3_1_1, V5)


class RawDevice:
    """One TCP connection. Use it as an async context manager, or ``abort`` it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: int) -> None:
        self.version = version
        self.connack: Connack | None = None
        self._reader = reader
        self._writer = writer
        self._decoder = PacketDecoder(packet_bytes_max=10_000_000, version=version)

    @classmethod
    async def dial(cls, port: int, version: int = V3_1_1, *, local: str = "127.0.0.1") -> Self:
        """Return a connection without a CONNECT, from the address ``local``."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(local, 0))
        return cls(reader, writer, version)

    @classmethod
    async def connect(
        cls,
        port: int,
        client_id: str = "cam-1",
        *,
        version: int = V3_1_1,
        clean: bool = True,
        keep_alive_s: int = 60,
        properties: Properties = NO_PROPERTIES,
        will: Will | None = None,
        login: tuple[str, bytes] | None = None,
        local: str = "127.0.0.1",
    ) -> Self:
        """Return a connection whose CONNECT was answered; ``connack`` is the answer."""
        device = await cls.dial(port, version, local=local)
        device.send(
            Connect(
                version=version,
                client_id=client_id,
                clean_start=clean,
                keep_alive_s=keep_alive_s,
                properties=properties,
                will=will,
                username=None if login is None else login[0],
                password=None if login is None else login[1],
            )
        )
        answer = await device.receive()
        assert isinstance(answer, Connack), answer
        device.connack = answer
        return device

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def send(self, packet: Packet) -> None:
        self._writer.write(encode(packet, self.version))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def drained(self) -> None:
        """Return when what was sent left this process."""
        await self._writer.drain()

    def publish(
        self,
        payload: bytes = b"{}",
        *,
        qos: int = 1,
        packet_id: int | None = 1,
        topic: str = "devices/cam-1/readings",
        dup: bool = False,
        properties: Properties = NO_PROPERTIES,
    ) -> None:
        self.send(
            Publish(
                topic=topic,
                payload=payload,
                qos=qos,
                packet_id=packet_id if qos else None,
                dup=dup,
                properties=properties,
            )
        )

    async def subscribe(self, *topic_filters: str, qos: int = 1) -> tuple[int, ...]:
        """Return the codes of the SUBACK."""
        wanted = tuple(Subscription(topic_filter=one, qos=qos) for one in topic_filters)
        self.send(Subscribe(packet_id=999, subscriptions=wanted))
        answer = await self.receive()
        assert isinstance(answer, Suback), answer
        return answer.codes

    async def receive(self) -> Packet | None:
        """Return the next packet, or None when the other side closed."""
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            while (packet := self._decoder.next_packet()) is None:
                try:
                    data = await self._reader.read(65_536)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self._decoder.feed(data)
            return packet

    async def receive_until_closed(self) -> list[Packet]:
        received = []
        while (packet := await self.receive()) is not None:
            received.append(packet)
        return received

    async def receive_bytes_until_closed(self) -> bytes:
        """Return what came, MQTT or not."""
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def is_answered_within(self, seconds: float) -> bool:
        """Whether a PING is answered: False shows that we are not read."""
        self.send(Pingreq())
        try:
            async with asyncio.timeout(seconds):
                while not isinstance(await self.receive(), Pingresp):
                    pass
        except TimeoutError:
            return False
        return True

    async def ping(self) -> None:
        """Return when all that was sent before is read and handled."""
        self.send(Pingreq())
        answer = await self.receive()
        assert isinstance(answer, Pingresp), answer

    async def leave(self, code: int = 0, properties: Properties = NO_PROPERTIES) -> None:
        """Send a DISCONNECT and wait for the end."""
        self.send(Disconnect(code=code, properties=properties))
        await self.receive_until_closed()
        self.abort()

    def stop_reading(self) -> None:
        """Read nothing any more, so that what is sent to us piles up."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    @property
    def certificate(self) -> bytes:
        """What the listener showed; nothing without TLS."""
        tls = self._writer.transport.get_extra_info("ssl_object")
        return b"" if tls is None else tls.getpeercert(binary_form=True) or b""

    def abort(self) -> None:
        self._writer.transport.abort()
