"""Answers of cameras, byte for byte (tests/data/camera_wire), over a real socket; and what httpx makes of them."""

import asyncio
import gzip
import itertools

import httpx
import pytest

from adapters.camera_pull.bodies import STEP_BYTES, Contents, PictureReader
from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.heads import HEAD_BYTES_MAX, HeadReader
from adapters.camera_pull.snapshot import Admission
from tests.fakes.raw_camera import PICTURE, WIRE_FORMS, answer, fetch, raw_camera, snapshot_of

FORMS = {file.stem: file.read_bytes() for file in sorted(WIRE_FORMS.glob("*.wire"))}
# Why pulled cameras are not read with httpx (docs/PROTOCOLS-pull.md). A form that it learns may leave this list.
REFUSED_BY_HTTPX = {
    "begin-twice.close",
    "chunked-bare-lf.open",
    "chunked-no-end.close",
    "chunked-not-at-all.close",
    "chunked-spaces.close",
    "control-characters.close",
    "empty-lines-first.close",
    "gzip-not-at-all.close",
    "gzip-not-told.close",
    "icy.close",
    "identity.close",
    "junk-before.close",
    "junk-behind-dahua.close",
    "junk-behind.close",
    "length-negative.close",
    "length-no-number.close",
    "length-too-large.close",
    "length-too-small.close",
    "length-too-small.open",
    "length-zero.close",
    "line-without-colon.close",
    "lower-case-version.close",
    "no-head-at-all.close",
    "no-length.open",
    "no-space-after-status.close",
    "space-before-colon.close",
    "two-lengths.close",
}


def stays_open(form: str) -> bool:
    return form.endswith(".open")


@pytest.mark.parametrize("form", FORMS)
async def test_every_wire_form_gives_its_picture_byte_for_byte(form: str) -> None:
    async with raw_camera(FORMS[form], stays_open=stays_open(form)) as camera:
        assert await fetch(snapshot_of(camera.url)) == PICTURE


@pytest.mark.parametrize("form", FORMS)
def test_every_wire_form_may_come_in_any_pieces(form: str) -> None:
    data = FORMS[form]
    for piece_bytes in (1, 7, 1460):
        for chunk_end in (piece_bytes, len(data)):
            assert read_in_pieces(data, first=chunk_end, others=piece_bytes) == PICTURE


def read_in_pieces(data: bytes, *, first: int, others: int) -> bytes:
    """Read without a socket: the first piece of one size, the others of another."""
    sizes = [first, *([others] * (len(data) // others))]
    heads, reader, at = HeadReader(), None, 0
    for size in sizes:
        piece, at = data[at : at + size], at + size
        if reader is None:
            head = heads.feed(piece)
            if head is None:
                continue
            reader = PictureReader(head, bytes_max=100_000, grow=lambda _: None)
            piece = heads.rest
        reader.feed(piece)
        while reader.unfinished:
            reader.feed(b"")
        if reader.whole:
            break
    assert reader is not None
    return reader.picture()


async def test_httpx_would_have_refused_or_changed_these_and_no_others() -> None:
    refused = set()
    async with httpx.AsyncClient() as client:
        for form, data in FORMS.items():
            if form.startswith("mjpeg"):
                continue  # a stream needs another call of it
            async with raw_camera(data, stays_open=stays_open(form)) as camera:
                # It waits for the end of every form that stays open; the others end by themselves.
                timeout_s = 0.25 if stays_open(form) else 30
                try:
                    found = (await client.get(camera.url, timeout=timeout_s)).content
                except httpx.HTTPError:
                    found = b""
            if found != PICTURE:
                refused.add(form)
    assert refused == REFUSED_BY_HTTPX


LOGIN_PAGE = b"<html><title>Login</title>" + b" " * 500
REFUSED = {
    "a login page in place of a picture": (answer(LOGIN_PAGE, "Content-Type: text/html"), Reason.NO_PICTURE),
    "a page in place of a stream": (
        answer(LOGIN_PAGE * 30, "Content-Type: multipart/x-mixed-replace; boundary=x"),
        Reason.NO_PICTURE,
    ),
    "nothing": (answer(b""), Reason.NO_PICTURE),
    "not HTTP": (b"SSH-2.0-dropbear_2017.75\r\n", Reason.NOT_HTTP),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", Reason.NOT_HTTP),
    "a head without an end": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * HEAD_BYTES_MAX, Reason.NOT_HTTP),
    "a closed connection": (b"", Reason.NOT_REACHED),
    "busy": (answer(b"busy", status="503 Service Unavailable"), Reason.STATUS),
    "half a picture, its length told": (answer()[:-500], Reason.TRUNCATED),
    "half a picture, no length": (b"HTTP/1.0 200 OK\r\n\r\n" + PICTURE[:-500], Reason.TRUNCATED),
    "half a picture in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + PICTURE[:1024],
        Reason.TRUNCATED,
    ),
    "damaged chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + PICTURE[:1024] + b"\r\nnone\r\n",
        Reason.TRUNCATED,
    ),
    "more than the cap": (answer(b"\xff\xd8\xff\xe0\x00\x10" + bytes(100_001)), Reason.TOO_LARGE),
    "a stream without an end": (
        b"HTTP/1.0 200 OK\r\n\r\n\xff\xd8\xff\xda\x00\x02" + b"\x01" * 200_000,
        Reason.TOO_LARGE,
    ),
    "a gzip bomb": (answer(gzip.compress(b"\xff\xd8\xff\xda\x00\x02" + bytes(50_000_000))), Reason.TOO_LARGE),
    "damaged gzip": (answer(gzip.compress(PICTURE)[:100] + bytes(200)), Reason.NO_PICTURE),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_whole_picture_is_never_handed_on(case: str) -> None:
    data, reason = REFUSED[case]
    async with raw_camera(data) as camera:
        with pytest.raises(CameraFault) as told:
            await fetch(snapshot_of(camera.url))
    assert told.value.reason is reason
    assert len(told.value.detail) < 200


async def test_never_more_than_the_cap_is_held() -> None:
    held = 0

    def grow(byte_count: int) -> None:
        nonlocal held
        held += byte_count

    async def admit() -> Admission:
        return Admission(grow=grow)

    bomb = answer(gzip.compress(b"\xff\xd8\xff\xda\x00\x02" + bytes(50_000_000)))
    async with raw_camera(bomb) as camera:
        with pytest.raises(CameraFault, match="100000"):
            await snapshot_of(camera.url).fetch(admit)
    assert held <= 100_000


def test_a_bomb_is_never_unpacked_beyond_the_cap_nor_in_one_go() -> None:
    contents = Contents("gzip", bytes_max=STEP_BYTES + 1000)
    bomb = gzip.compress(bytes(1_000_000))
    steps = [(len(contents.feed(data)), contents.unfinished) for data in (bomb, b"", b"more")]
    assert steps == [(STEP_BYTES, True), (1001, False), (0, False)]


HOSTILE = {
    "empty lines before the head": b"\r\n" * 500_000,
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
    "fill bytes": b"HTTP/1.0 200 OK\r\n\r\n\xff\xd8\xff" + b"\xff" * 1_000_000,
    "the shortest segments": b"HTTP/1.0 200 OK\r\n\r\n\xff\xd8" + b"\xff\xfe\x00\x02" * 250_000,
    "the shortest chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\n\xff\n" * 250_000,
    "part heads without an end": b"HTTP/1.0 200 OK\r\n\r\n--x\r\n" + b"a: b\r\n" * 200_000,
    "lines before a boundary": b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x;boundary=b\r\n\r\n" + b"x\r\n" * 200_000,
    "a challenge of 30 kB": b"HTTP/1.1 401 no\r\nWWW-Authenticate: Digest " + b' = ",' * 6000 + b"\r\n\r\n",
    "packed segments": b"HTTP/1.0 200 OK\r\n\r\n" + gzip.compress(b"\xff\xd8\xff\xfe" + b"\x00\x02\xff\xfe" * 500_000),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_answer_neither_grows_nor_stalls_the_loop(case: str) -> None:
    """Asked in a thread of its own, so that the stall measured is the reader's, not the sender's."""
    held = 0

    def grow(byte_count: int) -> None:
        nonlocal held
        held += byte_count

    async def admit() -> Admission:
        return Admission(grow=grow)

    async def ask(url: str) -> float:
        """Return the longest turn of the loop."""
        turns: list[float] = [asyncio.get_running_loop().time()]

        async def watch() -> None:
            while True:
                await asyncio.sleep(0)
                turns.append(asyncio.get_running_loop().time())

        watching = asyncio.create_task(watch())
        with pytest.raises(CameraFault):
            await snapshot_of(url, username="u", password="p").fetch(admit)
        watching.cancel()
        return max(later - sooner for sooner, later in itertools.pairwise(turns))

    async with raw_camera(HOSTILE[case]) as camera:
        longest_s = await asyncio.to_thread(asyncio.run, ask(camera.url))
    assert held <= 100_000
    # A few ms on an idle machine; what costs its square takes many seconds.
    assert longest_s < 1.5
