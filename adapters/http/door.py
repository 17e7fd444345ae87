"""From a request's body to a receipt: reserve, read, submit, release. Every route that takes something uses this door.

A place in the intake is held from before the first byte until the receipt. What is refused here for the payload's
sake is noted through ``intake.refuse``; what the intake refuses, it notes itself.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from adapters.http.body import Body
from adapters.http.form_values import form_fields, reading_of_fields
from adapters.http.multipart import ENVELOPE_BYTES_MAX, ClaimedForm, RawBody, boundary_of, is_multipart
from adapters.http.picture_body import picture_of_body
from adapters.http.url_fetch import UrlFetcher, url_of_document
from gateway.errors import PayloadTooLarge, Rejected
from gateway.messages import IdReuse, Image, Readings, Receipt, Refusal, Submission, Transport
from gateway.picture_forms import HEAD_BYTES, is_picture
from gateway.ports import Clock, Intake, Reservation
from gateway.readings import parse_readings
from gateway.settings import LimitsSettings

# {"url": "..."} with the longest URL that browsers agree on.
URL_DOCUMENT_BYTES_MAX = 4096
# Text around a picture is taken off in a thread beyond this: below it, some 10 ms at worst.
INLINE_BYTES_MAX = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends, under which id, captured when, and what a reused id means on this route."""

    device_id: str
    submission_id: str | None
    captured_at: datetime | None
    on_id_reuse: IdReuse


class SubmissionDoor:
    """Turns bodies into submissions. Raises what the intake raises, and Rejected for what can't be read."""

    def __init__(self, *, intake: Intake, limits: LimitsSettings, clock: Clock, fetcher: UrlFetcher) -> None:
        self._intake = intake
        self._limits = limits
        self._clock = clock
        self._fetcher = fetcher

    async def submit_image(self, body: Body, content_type: str, sender: Sender) -> Receipt:
        """Return when the picture in ``body`` (raw, or in a form) is classified and on disk."""
        reservation = await self._reserve(body, self._image_bytes_max(content_type), sender)
        try:
            try:
                data = await self._read_image(body, content_type, reservation)
            except Rejected as error:
                await self._note(error, sender, None, body.received_bytes)
                raise
            return await self._submit(Image(data=data), sender)
        finally:
            reservation.release()

    async def submit_readings(self, body: Body, content_type: str, sender: Sender) -> Receipt:
        """Return when the readings in ``body`` are on disk, all of them."""
        bytes_max = self._limits.reading_bytes_max
        reservation = await self._reserve(body, bytes_max, sender)
        data: bytes | None = None
        try:
            try:
                data = await _read_raw(body, bytes_max, reservation)
                readings = parse_readings(data, content_type=content_type, now=self._clock.now())
            except Rejected as error:
                await self._note(error, sender, data, body.received_bytes)
                raise
            return await self._submit(readings, sender)
        finally:
            reservation.release()

    async def submit_values(self, fields: Sequence[tuple[str, str]], body: Body, sender: Sender) -> Receipt:
        """Return when the reading made of ``fields`` and of the form in ``body``, if there is one, is on disk."""
        bytes_max = self._limits.reading_bytes_max
        reservation = await self._reserve(body, bytes_max, sender)
        try:
            try:
                sink = RawBody()
                await body.read_into(sink, bytes_max=bytes_max, reservation=reservation)
                data = reading_of_fields([*fields, *form_fields(sink.taken)])
                readings = parse_readings(data, content_type="application/json", now=self._clock.now())
            except Rejected as error:
                await self._note(error, sender, None, body.received_bytes or len(fields))
                raise
            return await self._submit(readings, sender)
        finally:
            reservation.release()

    async def submit_url(self, body: Body, sender: Sender) -> Receipt:
        """Return when the picture behind the URL in ``body`` is fetched, classified and on disk."""
        self._fetcher.check_enabled()
        reservation = await self._reserve(body, URL_DOCUMENT_BYTES_MAX, sender)
        try:
            url = url_of_document(await _read_raw(body, URL_DOCUMENT_BYTES_MAX, reservation))
            data = await self._fetcher.fetch(url, bytes_max=self._limits.image_bytes_max, reservation=reservation)
            return await self._submit(Image(data=data), sender)
        finally:
            reservation.release()

    def _image_bytes_max(self, content_type: str) -> int:
        envelope = ENVELOPE_BYTES_MAX if is_multipart(content_type) else 0
        return self._limits.image_bytes_max + envelope

    async def _reserve(self, body: Body, bytes_max: int, sender: Sender) -> Reservation:
        try:
            body.check_declared(bytes_max)
        except PayloadTooLarge as error:
            await self._note(error, sender, None, body.declared_bytes)
            raise
        return self._intake.reserve(body.declared_bytes or 0, source=body.source, give_way=body.give_way)

    async def _read_image(self, body: Body, content_type: str, reservation: Reservation) -> bytes:
        sink = ClaimedForm(boundary_of(content_type)) if is_multipart(content_type) else RawBody()
        await body.read_into(sink, bytes_max=self._image_bytes_max(content_type), reservation=reservation)
        data = sink.finish()
        if not is_multipart(content_type):
            data = await _picture_of(data, content_type)
        if len(data) > self._limits.image_bytes_max:
            raise PayloadTooLarge(
                f"the picture has {len(data)} bytes; at most {self._limits.image_bytes_max} are taken"
            )
        return data

    async def _submit(self, payload: Image | Readings, sender: Sender) -> Receipt:
        return await self._intake.submit(
            Submission(
                device_id=sender.device_id,
                transport=Transport.HTTP,
                payload=payload,
                submission_id=sender.submission_id,
                captured_at=sender.captured_at,
                on_id_reuse=sender.on_id_reuse,
            )
        )

    async def _note(self, error: Rejected, sender: Sender, data: bytes | None, byte_count: int | None) -> None:
        if not byte_count:
            return  # nothing was sent: an operator learns nothing from it
        await self._intake.refuse(
            Refusal(
                device_id=sender.device_id,
                transport=Transport.HTTP,
                refused_at=self._clock.now(),
                reason=error.reason,
                detail=error.detail,
                payload_sha256=hashlib.sha256(data).hexdigest() if data else None,
                payload_bytes=byte_count,
            )
        )


async def _picture_of(data: bytes, content_type: str) -> bytes:
    if len(data) <= INLINE_BYTES_MAX or is_picture(data[:HEAD_BYTES]):
        return picture_of_body(data, content_type)
    # A form with every byte escaped takes a quarter of a second; the loop has others to serve meanwhile.
    return await asyncio.to_thread(picture_of_body, data, content_type)


async def _read_raw(body: Body, bytes_max: int, reservation: Reservation) -> bytes:
    sink = RawBody()
    await body.read_into(sink, bytes_max=bytes_max, reservation=reservation)
    return sink.finish()
