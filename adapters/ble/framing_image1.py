"""The gateway's side of ``gateway-image-1``: asks for what is missing until the whole is right. Pure.

The device announces, the gateway asks for ranges of chunks, the device sends them and an end mark, and so on until
nothing is missing; then the status, which means *on disk*. What has come is kept through lost links. Invariants: one
transfer at a time; a payload is handed on only if every chunk came and its CRC-32 is the announced one; every
transfer that is dropped with something in it leaves an :class:`Incomplete`.
"""

from collections import OrderedDict
from collections.abc import Sequence

from adapters.ble.contract import Action, Complete, ContentKind, Incomplete, Verdict, Write
from adapters.ble.image1 import (
    CHUNK_MARK,
    CHUNKS_MAX,
    RANGES_MAX,
    VERSION,
    Announce,
    Command,
    CommandCode,
    Content,
    End,
    FromGateway,
    Hello,
    Request,
    Status,
    StatusCode,
    encode_from_gateway,
    parse_from_device,
)
from adapters.ble.image1_partial import PartialTransfer
from adapters.ble.profiles import Profile

# Silence after which the rest is asked for again: an end mark may be lost, and no connection interval is above 4 s.
ASK_AGAIN_S = 2.0
# Times that nothing new came for a request. Each that brings a single chunk starts the count again.
ASKS_MAX = 5
# Outcomes remembered, so that a device that missed its status gets it again without sending the whole again.
SETTLED_MAX = 16
KINDS = {Content.IMAGE: ContentKind.IMAGE, Content.READING: ContentKind.READING}
RETRY_AFTER_S_MAX = 0xFFFF
# Payloads handed on whose outcome is awaited; a device that announces more is told to wait.
UNJUDGED_MAX = 4
UNJUDGED_RETRY_S = 5


class GatewayImage1Framing:
    """Implements :class:`adapters.ble.contract.Framing`; keep it through reconnects, so that transfers resume."""

    def __init__(
        self,
        profile: Profile,
        *,
        image_bytes_max: int,
        reading_bytes_max: int,
        attempts_max: int,
        resume_keep_s: float,
    ) -> None:
        self._with_response = profile.write_with_response
        self._bytes_max = {
            Content.IMAGE: min(image_bytes_max, profile.limits.image_bytes_max),
            Content.READING: reading_bytes_max,
        }
        self._attempts_max = attempts_max
        self._resume_keep_s = resume_keep_s
        self._partial: PartialTransfer | None = None
        self._unjudged: dict[int, Announce] = {}
        self._settled: OrderedDict[tuple[int, ...], StatusCode] = OrderedDict()
        self._transfers = 0
        self._crc_failures = 0
        self._idle_asks = 0
        self._came_at_last_ask = 0
        self._last_heard_s = 0.0

    # --- the contract -------------------------------------------------------------------------------

    def connected(self, now_s: float, *, att_payload_max: int) -> Sequence[Action]:
        dropped = self._expired(now_s)
        self._last_heard_s = now_s
        self._idle_asks = 0
        hello = Hello(version=VERSION, notification_bytes_max=min(max(att_payload_max, 0), 0xFFFF))
        return [*dropped, self._write(hello)]

    def notified(self, role: str, data: bytes, now_s: float) -> Sequence[Action]:
        if role != "data":
            return ()
        if data.startswith(CHUNK_MARK):
            return self._take(data, now_s)
        packet = parse_from_device(data)
        if isinstance(packet, Announce):
            self._last_heard_s = now_s
            return self._announced(packet)
        partial = self._partial
        if not isinstance(packet, End) or partial is None or packet.id_low != partial.id_low:
            return ()
        self._last_heard_s = now_s
        return self._ask(partial)

    def ticked(self, now_s: float) -> Sequence[Action]:
        partial = self._partial
        if partial is None or self._awaits_outcome(partial.announce) or now_s - self._last_heard_s < ASK_AGAIN_S:
            return ()
        self._last_heard_s = now_s
        return self._ask(partial)

    def judged(self, transfer: int, verdict: Verdict, now_s: float, *, retry_after_s: float = 0) -> Sequence[Action]:
        announce = self._unjudged.pop(transfer, None)
        if announce is None:
            return ()
        self._last_heard_s = now_s
        if verdict is Verdict.LATER:
            # What came stays: when the device announces it again it is handed on again, without being sent again.
            return [self._status(StatusCode.TRY_LATER, announce, retry_after_s=retry_after_s)]
        code = StatusCode.ON_DISK if verdict is Verdict.COMMITTED else StatusCode.REFUSED
        return self._settle(announce, code)

    def disconnected(self, now_s: float) -> Sequence[Action]:
        self._last_heard_s = now_s
        return ()

    @property
    def held_bytes(self) -> int:
        return 0 if self._partial is None else self._partial.held_bytes

    def forget(self, reason: str, why: str) -> Sequence[Action]:
        return self._dropped(why, reason=reason)

    def command(self, name: str, value: int | None, now_s: float) -> Sequence[Action]:  # noqa: ARG002
        if name == "photo":
            return [self._write(Command(code=CommandCode.PHOTO, value=0))]
        if name == "interval" and value is not None and 0 <= value <= 0xFFFFFFFF:
            return [self._write(Command(code=CommandCode.INTERVAL, value=value))]
        return ()

    # --- a transfer ---------------------------------------------------------------------------------

    def _announced(self, announce: Announce) -> Sequence[Action]:
        known = self._settled.get(announce.identity)
        if known is not None:
            return [self._status(known, announce)]
        if self._awaits_outcome(announce):
            return ()  # its outcome is on the way
        if len(self._unjudged) >= UNJUDGED_MAX:
            return [self._status(StatusCode.TRY_LATER, announce, retry_after_s=UNJUDGED_RETRY_S)]
        fault = self._fault(announce)
        if fault is not None:
            return [*self._dropped("another transfer was announced"), self._status(fault, announce), *_counted(fault)]
        actions: list[Action] = []
        if self._partial is None or self._partial.announce != announce:
            actions += self._dropped("another transfer was announced")
            self._begin(announce)
        assert self._partial is not None
        return [*actions, *(self._checked(self._partial) if self._partial.is_full else self._ask_anew(self._partial))]

    def _fault(self, announce: Announce) -> StatusCode | None:
        if announce.version != VERSION:
            return StatusCode.VERSION_UNKNOWN
        bytes_max = {int(content): most for content, most in self._bytes_max.items()}.get(announce.content)
        if bytes_max is None or not announce.total_bytes or not announce.chunk_bytes or announce.orientation > 8:
            return StatusCode.ANNOUNCEMENT_INVALID
        if announce.total_bytes > bytes_max:
            return StatusCode.TOO_LARGE
        return StatusCode.ANNOUNCEMENT_INVALID if announce.chunks > CHUNKS_MAX else None

    def _begin(self, announce: Announce) -> None:
        self._partial = PartialTransfer(announce)
        self._crc_failures = 0

    def _take(self, packet: bytes, now_s: float) -> Sequence[Action]:
        partial = self._partial
        if partial is None or not packet.startswith(partial.chunk_start):
            return ()
        self._last_heard_s = now_s
        return self._checked(partial) if partial.put(packet) else ()

    def _ask_anew(self, partial: PartialTransfer) -> Sequence[Action]:
        self._idle_asks = 0
        self._came_at_last_ask = partial.came
        return [self._request(partial)]

    def _ask(self, partial: PartialTransfer) -> Sequence[Action]:
        """Ask for what is missing; give up when ASKS_MAX requests brought nothing new."""
        if partial.is_full:
            return ()  # handed on and put off: the device announces it again when it likes
        if partial.came != self._came_at_last_ask:
            return self._ask_anew(partial)
        self._idle_asks += 1
        if self._idle_asks < ASKS_MAX:
            return [self._request(partial)]
        dropped = self._dropped(f"{ASKS_MAX} requests for the rest brought nothing", reason="idle_timeout")
        return [*dropped, self._status(StatusCode.DAMAGED, partial.announce)]

    def _checked(self, partial: PartialTransfer) -> Sequence[Action]:
        payload = partial.payload()
        if payload is None:
            return self._corrupt(partial)
        self._transfers += 1
        announce = partial.announce
        self._unjudged[self._transfers] = announce
        return [
            Complete(
                transfer=self._transfers,
                kind=KINDS[Content(announce.content)],
                payload=payload,
                submission_id=str(announce.transfer_id),
                orientation=announce.orientation or 1,
            )
        ]

    def _corrupt(self, partial: PartialTransfer) -> Sequence[Action]:
        partial.clear()
        self._crc_failures += 1
        if self._crc_failures < self._attempts_max:
            return self._ask_anew(partial)
        self._partial = None
        detail = f"transfer {partial.announce.transfer_id} came {self._attempts_max} times with a wrong CRC-32"
        return [Incomplete(reason="crc", detail=detail), self._status(StatusCode.DAMAGED, partial.announce)]

    def _settle(self, announce: Announce, code: StatusCode) -> Sequence[Action]:
        if self._partial is not None and self._partial.announce.identity == announce.identity:
            self._partial = None
        self._settled[announce.identity] = code
        while len(self._settled) > SETTLED_MAX:
            self._settled.popitem(last=False)
        return [self._status(code, announce)]

    def _expired(self, now_s: float) -> Sequence[Action]:
        if self._partial is None or now_s - self._last_heard_s < self._resume_keep_s:
            return ()
        return self._dropped(f"the device stayed away for {self._resume_keep_s:g} s", reason="idle_timeout")

    def _dropped(self, why: str, *, reason: str = "gap") -> Sequence[Action]:
        """Forget the transfer in hand. A full one is not incomplete: it was handed on, and its device knows."""
        partial, self._partial = self._partial, None
        if partial is None or partial.is_full or not partial.came:
            return ()
        announce = partial.announce
        detail = f"transfer {announce.transfer_id}: {why}; {partial.came} of {announce.chunks} chunks had come"
        return [Incomplete(reason=reason, detail=detail)]

    def _awaits_outcome(self, announce: Announce) -> bool:
        return any(other.identity == announce.identity for other in self._unjudged.values())

    # --- packets ------------------------------------------------------------------------------------

    def _request(self, partial: PartialTransfer) -> Write:
        return self._write(Request(id_low=partial.id_low, ranges=partial.missing(RANGES_MAX)))

    def _status(self, code: StatusCode, announce: Announce, *, retry_after_s: float = 0) -> Write:
        seconds = min(max(int(retry_after_s + 0.999), 0), RETRY_AFTER_S_MAX)
        return self._write(Status(code=code, transfer_id=announce.transfer_id, retry_after_s=seconds))

    def _write(self, packet: FromGateway) -> Write:
        return Write(role="control", data=encode_from_gateway(packet), with_response=self._with_response)


def _counted(fault: StatusCode) -> Sequence[Action]:
    reason = "too_large" if fault is StatusCode.TOO_LARGE else "protocol"
    return [Incomplete(reason=reason, detail=f"the announcement was refused: {fault.name.lower()}")]
