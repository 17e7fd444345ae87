import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.multipart import PARTS_MAX, ClaimedForm, FormPicture, RawBody, boundary_of
from gateway.errors import RequestInvalid

PICTURE = b"\xff\xd8\xff\r\n--bound\r\n-\r\n--boun\r\n\r\n\x00\xff" * 3


def form(*parts: tuple[str, bytes], boundary: bytes = b"xyz", closed: bool = True) -> bytes:
    body = b"".join(
        b"--" + boundary + b"\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"
        for disposition, data in parts
    )
    return body + (b"--" + boundary + b"--\r\n" if closed else b"")


def picture_in(*chunks: bytes, boundary: bytes = b"xyz") -> bytes:
    reader = FormPicture(boundary)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish()


def test_field_image_data_is_the_picture_without_a_filename() -> None:
    assert picture_in(form(('name="imageData"', PICTURE))) == PICTURE


def test_field_image_data_is_the_picture_with_a_filename() -> None:
    assert picture_in(form(('name="imageData"; filename="a.jpg"', PICTURE))) == PICTURE


def test_first_file_is_the_picture_where_no_part_is_named_so() -> None:
    body = form(('name="note"', b"x"), ('name="cam"; filename="a"', PICTURE), ('name="b"; filename="b"', b"other"))
    assert picture_in(body) == PICTURE


def test_image_data_outranks_an_earlier_file() -> None:
    assert picture_in(form(('name="a"; filename="a"', b"other"), ('name="imageData"', PICTURE))) == PICTURE


def test_second_image_data_is_ignored() -> None:
    assert picture_in(form(('name="imageData"', PICTURE), ('name="imageData"', b"other"))) == PICTURE


def test_a_part_that_begins_like_a_picture_is_taken_under_any_name() -> None:
    assert picture_in(form(('name="snapshot"', PICTURE))) == PICTURE
    assert picture_in(form(('name="serial"; filename="id.txt"', b"7"), ('name="snapshot"', PICTURE))) == PICTURE
    assert picture_in(form(('name="imageData"', b"see snapshot"), ('name="snapshot"', PICTURE))) == PICTURE


def test_a_part_may_hold_base64_or_a_data_url() -> None:
    text = base64.b64encode(PICTURE)
    assert picture_in(form(('name="snapshot"', text))) == PICTURE
    assert picture_in(form(('name="serial"', b"7"), ('name="img"', b"data:image/jpeg;base64," + text))) == PICTURE


def test_header_names_are_case_insensitive_and_others_are_skipped() -> None:
    body = (
        b'--xyz\r\ncontent-type: image/jpeg\r\ncontent-disposition: form-data; name="imageData"\r\n\r\n'
        + PICTURE
        + b"\r\n--xyz--\r\n"
    )
    assert picture_in(body) == PICTURE


@given(st.lists(st.integers(1, 300), max_size=8), st.binary(max_size=120))
def test_any_split_gives_the_same_picture(cuts: list[int], data: bytes) -> None:
    picture = b"\xff" + data + b"\r\n--xy"
    body = form(('name="imageData"', picture))
    chunks, rest = [], body
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    assert picture_in(*[chunk for chunk in chunks if chunk], rest or b"") == picture


@given(st.binary(max_size=300))
def test_any_bytes_are_a_picture_or_refused(data: bytes) -> None:
    try:
        assert picture_in(b"--xyz\r\n" + data)
    except RequestInvalid:
        return


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xd8\xff no form at all",
        form(('name="note"', b"x")),
        form(('name="imageData"', b"")),
        form(('name="imageData"', PICTURE), closed=False),
        form(*[('name="note"', b"x")] * (PARTS_MAX + 1)),
        b"--xyz\r\n" + b"X: y\r\n" * 50,
        b"--xyz\r\nX: " + b"y" * 10_000,
    ],
)
def test_form_that_is_broken_or_without_picture_is_refused(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        picture_in(body)


def test_boundary_is_read_only_from_multipart_types() -> None:
    assert boundary_of("multipart/form-data; boundary=xyz") == b"xyz"
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="x y"') == b"x y"
    assert boundary_of("multipart/form-data") is None
    assert boundary_of("image/jpeg") is None
    assert boundary_of("") is None


def claimed(body: bytes, declared: bytes | None, piece_bytes: int) -> bytes:
    reader = ClaimedForm(declared)
    for at in range(0, len(body), piece_bytes):
        reader.feed(body[at : at + piece_bytes])
    return reader.finish()


@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
@pytest.mark.parametrize("declared", [b"xyz", b"other", b"--xyz", None])
def test_the_boundary_that_is_sent_counts_and_not_the_one_that_is_named(
    declared: bytes | None, piece_bytes: int
) -> None:
    assert claimed(form(('name="a"; filename="a.jpg"', PICTURE)), declared, piece_bytes) == PICTURE


@pytest.mark.parametrize("piece_bytes", [1, 100_000])
def test_line_ends_before_the_first_part_are_passed_over(piece_bytes: int) -> None:
    assert claimed(b"\r\n" + form(('name="a"', PICTURE)), b"xyz", piece_bytes) == PICTURE


@pytest.mark.parametrize("piece_bytes", [1, 100_000])
@pytest.mark.parametrize("declared", [b"xyz", None])
def test_a_bare_picture_that_claims_to_be_a_form_is_a_picture(declared: bytes | None, piece_bytes: int) -> None:
    picture = b"\xff\xd8\xff\xe0" + bytes(1000)
    assert claimed(picture, declared, piece_bytes) == picture


@pytest.mark.parametrize("body", [b"", b"--", b"--xyz", b"-- \r\n", b"--" + b"x" * 1000, b"--" + b"x" * 1000 + b"\r\n"])
@pytest.mark.parametrize("declared", [b"xyz", None])
def test_what_only_claims_to_be_a_form_is_refused_or_handed_on_as_it_is(body: bytes, declared: bytes | None) -> None:
    try:
        found = claimed(body, declared, 3)
    except RequestInvalid:
        found = body
    assert found == body


def test_boundary_that_is_too_long_is_refused() -> None:
    with pytest.raises(RequestInvalid):
        FormPicture(b"x" * 300)


def test_raw_body_is_what_was_fed() -> None:
    raw = RawBody()
    raw.feed(b"ab")
    raw.feed(b"c")
    assert raw.finish() == b"abc"


def test_empty_raw_body_is_refused() -> None:
    with pytest.raises(RequestInvalid):
        RawBody().finish()
