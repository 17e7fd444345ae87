"""Whatever a camera sends, in whatever pieces: a whole picture within the cap, or a fault; and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.camera_pull.bodies import PictureReader
from adapters.camera_pull.faults import CameraFault
from adapters.camera_pull.heads import Head, HeadReader
from adapters.camera_pull.login import Login, parse_challenges
from adapters.camera_pull.picture_end import PictureEnd, is_picture
from tests.fakes.raw_camera import WIRE_FORMS

BYTES_MAX = 6000
FORMS = [file.read_bytes() for file in sorted(WIRE_FORMS.glob("*.wire"))]


def read(pieces: list[bytes]) -> bytes | None:
    """Return the picture, or None for a fault."""
    held = 0

    def grow(byte_count: int) -> None:
        nonlocal held
        held += byte_count
        assert held <= BYTES_MAX

    heads, reader = HeadReader(), None
    try:
        for piece in pieces:
            if reader is None:
                head = heads.feed(piece)
                if head is None:
                    continue
                reader = PictureReader(head, bytes_max=BYTES_MAX, grow=grow)
                reader.feed(heads.rest)
            else:
                reader.feed(piece)
            while reader.unfinished:
                reader.feed(b"")
            if reader.whole:
                break
        return None if reader is None else reader.picture()
    except CameraFault:
        return None


@st.composite
def damaged_answers(draw: st.DrawFn) -> list[bytes]:
    data = bytearray(draw(st.sampled_from(FORMS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(len(data), 400)))
        data[at : at + draw(st.integers(0, 30))] = draw(st.binary(max_size=30))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(damaged_answers())
def test_a_damaged_answer_is_a_picture_or_a_fault(pieces: list[bytes]) -> None:
    picture = read(pieces)
    assert picture is None or (is_picture(picture) and len(picture) <= BYTES_MAX)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_noise_is_a_picture_or_a_fault(pieces: list[bytes]) -> None:
    read([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", *pieces])
    read([b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n--", *pieces])
    read(pieces)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


@st.composite
def jpegs(draw: st.DrawFn) -> bytes:
    """Make what has the structure of a JPEG: segments that may hold a thumbnail's end, and stuffed scans."""
    contents = st.binary(max_size=60).map(lambda data: data + draw(st.sampled_from([b"", b"\xff\xd9", b"\xff\xda"])))
    segments = st.builds(segment, st.sampled_from([0xE0, 0xE1, 0xFE, 0xDB, 0xC4]), contents)
    scan = st.binary(max_size=80).map(lambda data: data.replace(b"\xff", b"\xff\x00") + b"\xff\xd3\x01")
    whole = b"\xff\xd8" + segment(0xE0, b"JFIF") + b"".join(draw(st.lists(segments, max_size=4)))
    for _ in range(draw(st.integers(1, 3))):
        whole += b"".join(draw(st.lists(segments, max_size=2))) + segment(0xDA, b"\x01") + draw(scan)
    return whole + b"\xff\xd9"


@given(jpegs(), st.binary(max_size=40), st.lists(st.integers(0, 600), max_size=5))
def test_a_jpeg_ends_at_its_own_end_whatever_is_in_it_and_behind_it(
    jpeg: bytes, behind: bytes, cuts: list[int]
) -> None:
    data, buffer, finder, found = jpeg + behind, bytearray(), PictureEnd(), None
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for begin, end in zip([0, *ends], ends, strict=False):
        buffer += data[begin:end]
        found = found or finder.find(buffer)
        assert found is None or len(buffer) >= len(jpeg)
    assert found == len(jpeg)


TYPED = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(st.text(max_size=200), TYPED, st.text(max_size=20))
def test_any_challenge_is_answered_in_one_line_or_not_at_all(text: str, username: str, password: str) -> None:
    wire = text.encode("utf-8", "replace").decode("latin-1")
    head = Head(status=401, headers=HeadReader().feed(_as_answer(wire)).headers)  # type: ignore[union-attr]
    login = Login(mode="auto", username=username, password=password, cnonce=lambda: "c")
    try:
        login.challenged(head.every("www-authenticate"))
    except CameraFault:
        return
    header = login.header("/x.jpg").encode("latin-1")
    assert header.startswith((b"Digest ", b"Basic "))
    assert b"\n" not in header
    assert b"\r" not in header


def _as_answer(challenge: str) -> bytes:
    return b"HTTP/1.1 401 no\r\nWWW-Authenticate: Digest nonce=n, " + challenge.encode("latin-1") + b"\r\n\r\nxxxxxxxx"


@given(st.text(max_size=100))
def test_any_text_is_taken_for_challenges_or_for_none(text: str) -> None:
    parse_challenges([text, f"Digest {text}"])
