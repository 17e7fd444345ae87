import base64
import json
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.payloads import Picture, PictureFields, check_size, read_picture
from gateway.errors import PayloadInvalid, PayloadTooLarge, RequestInvalid, SubmissionError

FIELDS = PictureFields(image="image", id="id", captured_at="captured_at")
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\xfb\xff\xbe" + bytes(range(256))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
BASE64 = base64.b64encode(JPEG).decode()


def read(payload: bytes | str, fields: PictureFields = FIELDS) -> Picture:
    return read_picture(payload.encode() if isinstance(payload, str) else payload, fields)


@pytest.mark.parametrize(
    "picture", [JPEG, PNG, b"GIF89a" + b"\x00" * 9, b"RIFF\x00\x00\x00\x00WEBP", b"BM" + b"\x00" * 9]
)
def test_a_pictures_own_bytes_are_taken_as_they_are(picture: bytes) -> None:
    assert read(picture) == Picture(data=picture)


@pytest.mark.parametrize(
    "text",
    [
        BASE64,
        BASE64.rstrip("="),
        base64.urlsafe_b64encode(JPEG).decode(),
        base64.urlsafe_b64encode(JPEG).decode().rstrip("="),
        base64.encodebytes(JPEG).decode(),
        BASE64 + "\r\n",
    ],
)
def test_base64_is_taken_in_all_its_dialects(text: str) -> None:
    assert read(text).data == JPEG
    assert read(json.dumps({"image": text})).data == JPEG
    assert read(f"data:image/jpeg;base64,{text}").data == JPEG
    assert read(json.dumps({"image": f"data:image/jpeg;charset=x;base64,{text}"})).data == JPEG


@pytest.mark.parametrize("text", [JPEG.hex(), JPEG.hex().upper(), JPEG.hex(" "), JPEG.hex("\n", 32) + "\n", PNG.hex()])
def test_hex_of_a_picture_is_taken(text: str) -> None:
    assert read(text).data in {JPEG, PNG}


@pytest.mark.parametrize("break_every", [0, 76])
def test_a_large_text_costs_little_more_than_its_picture(break_every: int) -> None:
    """Measured, since what is worked on at once is bounded by the size of the text."""
    picture = JPEG + bytes(3_000_000)
    text = base64.encodebytes(picture) if break_every else base64.b64encode(picture)
    tracemalloc.start()
    try:
        assert read(b"data:image/jpeg;base64," + text).data == picture
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(text) + 1.3 * len(picture), "beside the data URL itself, which is made here"


def test_the_media_type_of_a_data_url_is_not_believed() -> None:
    assert read(f"DATA:text/plain;BASE64,{BASE64}").data == JPEG


@pytest.mark.parametrize(
    "payload", [b"hello", b"\x00\x01", b"ffd8ffe0zz", b"ff d8 ff e", b"/9j/4AA!", b"[1, 2]", "käse".encode()]
)
def test_what_is_no_known_form_goes_on_to_the_classifier_as_it_is(payload: bytes) -> None:
    assert read(payload).data == payload


def test_a_field_may_be_deeper() -> None:
    fields = PictureFields(image="data.frame.jpg", id="meta.n", captured_at="meta.t")
    document = {"data": {"frame": {"jpg": BASE64}}, "meta": {"n": 7, "t": "2026-05-04T10:30:00+02:00"}}

    picture = read(json.dumps(document), fields)

    assert picture == Picture(data=JPEG, submission_id="7", captured_at=datetime(2026, 5, 4, 8, 30, tzinfo=UTC))


def test_a_byte_order_mark_and_white_space_before_json_are_accepted() -> None:
    assert read("\ufeff \r\n" + json.dumps({"image": BASE64})).data == JPEG


def test_an_absent_or_null_id_and_time_are_none() -> None:
    assert read(json.dumps({"image": BASE64, "id": None})) == Picture(data=JPEG)


def test_fields_without_a_name_are_never_read() -> None:
    fields = PictureFields(image="image", id="", captured_at="")

    assert read(json.dumps({"image": BASE64, "id": "cam-1", "": "x"}), fields) == Picture(data=JPEG)


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ("{", "not JSON"),
        ('{"image": "a", "image": "b"}', "twice"),
        (b'{"image": "\xff"}', "not UTF-8"),
        ("{}", "no field image"),
        ('{"image": null}', "no field image"),
        ('{"image": 5}', "not a text"),
        ('{"image": ["x"]}', "not a text"),
        ('{"image": ""}', "empty"),
        ('{"image": "===="}', "empty"),
        ('{"image": "/9j/4*AQ"}', "not base64"),
        ('{"image": "/9j/4"}', "not base64"),
        ('{"image": "käse"}', "character 1"),
        ('{"image": "data:image/jpeg,abc"}', "not base64"),
        ('{"image": "data:image/jpeg;base64"}', "no comma"),
        ('{"image": "data:image/jpeg;base64,"}', "empty"),
        ("data:image/jpeg;base64", "no comma"),
        (b"data:image/jpeg;base64,\xff", "byte 23 of the picture is not ASCII"),
        ("data:image/jpeg;base64,/9j/4Q==/9j/", "not base64"),
        ("data:image/jpeg;base64,/9j/4Q==" + " " * 70_000 + "/9j/", "after the padding"),
        ('{"image": "=/9j/"}', "not base64"),
        (json.dumps({"image": BASE64, "id": 1.5}), "neither a text nor a whole number"),
        (json.dumps({"image": BASE64, "id": True}), "neither a text nor a whole number"),
        (json.dumps({"image": BASE64, "captured_at": 1714811400}), "not a text"),
        ('{"image": ' + "[" * 100_000, "nested"),
    ],
)
def test_a_wrong_envelope_is_refused_with_what_is_wrong(payload: bytes | str, fault: str) -> None:
    with pytest.raises(PayloadInvalid, match=fault):
        read(payload)


@pytest.mark.parametrize("extra", [{"id": "a/b"}, {"id": ""}, {"captured_at": "yesterday"}])
def test_an_id_or_time_that_is_unusable_is_refused(extra: dict[str, str]) -> None:
    with pytest.raises(RequestInvalid):
        read(json.dumps({"image": BASE64, **extra}))


def test_a_payload_beyond_the_limit_names_the_setting() -> None:
    check_size(b"x" * 10, 10, "limits.image_bytes_max")
    with pytest.raises(PayloadTooLarge, match=r"limits\.image_bytes_max = 10"):
        check_size(b"x" * 11, 10, "limits.image_bytes_max")


@given(st.binary(min_size=1))
def test_any_picture_survives_every_text_form(tail: bytes) -> None:
    picture = b"\xff\xd8\xff" + tail
    for text in (base64.b64encode(picture), base64.urlsafe_b64encode(picture).rstrip(b"="), picture.hex().encode()):
        assert read(text).data == picture


@given(
    st.binary(min_size=1)
    | st.text(min_size=1).map(str.encode)
    | st.text('{}[]":,0aimge\\u+=/', min_size=1).map(str.encode)
)
def test_any_bytes_are_a_picture_or_a_refusal(payload: bytes) -> None:
    try:
        assert isinstance(read(payload).data, bytes)
    except SubmissionError as error:
        assert error.detail  # noqa: PT017 -- any payload may go either way
