import base64
from urllib.parse import quote_from_bytes, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http import picture_body
from adapters.http.picture_body import FIELDS_MAX, percent_decoded, picture_of_body
from gateway.errors import RequestInvalid

JPEG = b"\xff\xd8\xff" + bytes(range(256))
FORM = "application/x-www-form-urlencoded"


@given(st.binary(max_size=60), st.integers(3, 12))
def test_escapes_are_decoded_whatever_piece_they_lie_in(data: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_body, "_PIECE", piece)
        assert percent_decoded(quote_from_bytes(data, safe="").encode()) == data
        assert percent_decoded(b"".join(b"%%%02x" % byte for byte in data)) == data


@pytest.mark.parametrize("text", [b"%", b"%4", b"a%zzb", b"%%41", b"100%"])
def test_what_is_no_escape_stays(text: bytes) -> None:
    assert percent_decoded(text) in {text, b"%A"}


@given(st.binary(max_size=200))
def test_every_form_gives_back_the_picture(tail: bytes) -> None:
    picture = b"\xff\xd8\xff" + tail + b"\x00"
    text = base64.b64encode(picture)
    for body in (
        picture,
        text,
        b"pic=" + text,
        b"pic=" + quote_plus(text).encode() + b"&x=1",
        b"x=1&pic=" + quote_plus(picture).encode(),
        b'{"a": [1], "b": {"c": "' + text + b'"}}',
    ):
        assert picture_of_body(body, FORM) == picture


@given(st.binary(max_size=300), st.sampled_from(["", FORM, "application/json", "image/jpeg"]))
def test_any_bytes_end_in_a_body_or_a_refusal(data: bytes, content_type: str) -> None:
    try:
        picture_of_body(data, content_type)
    except Exception as error:
        assert type(error).__name__ in {"RequestInvalid", "PayloadInvalid"}, error  # noqa: PT017


def test_form_with_many_fields_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="fields"):
        picture_of_body(b"a=1&" * FIELDS_MAX + b"b=2", FORM)


def test_json_deeper_than_devices_send_is_not_searched() -> None:
    text = base64.b64encode(JPEG)
    deep = b'{"a": {"b": {"c": {"d": {"e": "' + text + b'"}}}}}'
    assert picture_of_body(deep, "") == deep
