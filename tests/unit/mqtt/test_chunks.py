import struct
import zlib
from dataclasses import replace

import pytest

from adapters.mqtt.chunks import (
    CHUNK_COST_BYTES,
    MISSING_RANGES_MAX,
    Chunk,
    Complete,
    Dropped,
    Held,
    PartialPictures,
    PictureKey,
    parse_chunk,
    split_picture,
)
from adapters.mqtt.refusals import ChunkInvalid, ChunksConflict, ChunksCorrupt
from gateway.errors import PayloadTooLarge

PICTURE = bytes(range(256)) * 4


def partials(
    *, timeout_s: float = 60, bytes_max: int = 1_000_000, partials_max: int = 8, picture_bytes_max: int = 1_000_000
) -> PartialPictures[str]:
    return PartialPictures(
        timeout_s=timeout_s, bytes_max=bytes_max, partials_max=partials_max, picture_bytes_max=picture_bytes_max
    )


def chunks(picture: bytes = PICTURE, *, picture_id: int = 1, data_bytes: int = 100) -> list[Chunk]:
    return [parse_chunk(payload) for payload in split_picture(picture, picture_id=picture_id, data_bytes=data_bytes)]


def key(chunk: Chunk, device_id: str = "cam-1") -> PictureKey:
    return PictureKey(device_id=device_id, whole=chunk.whole)


def add(held: PartialPictures[str], chunk: Chunk, *, device_id: str = "cam-1", now_s: float = 0) -> Held | Complete:
    return held.add(key(chunk, device_id), chunk, now_s)


def question(chunk: Chunk) -> Chunk:
    return replace(chunk, data=b"")


# --- the form of a chunk ------------------------------------------------------------------------------


def test_a_chunk_is_what_the_documentation_says_byte_by_byte() -> None:
    payload = bytes.fromhex("43 01 0000 0102030405060708 0002 0003 00000400") + struct.pack(">I", zlib.crc32(PICTURE))

    chunk = parse_chunk(payload + b"data")

    assert chunk.whole.picture_id == 0x0102030405060708
    assert (chunk.index, chunk.whole.count, chunk.whole.picture_bytes) == (2, 3, 1024)
    assert chunk.whole.crc32 == zlib.crc32(PICTURE)
    assert chunk.data == b"data"


def test_the_crc_is_the_one_that_everybody_means() -> None:
    (payload,) = split_picture(b"123456789", picture_id=0, data_bytes=100)

    assert payload[20:24] == bytes.fromhex("cbf43926")  # the check value of CRC-32/ISO-HDLC


def header(
    *, magic: int = 0x43, version: int = 1, zero: int = 0, index: int = 0, count: int = 2, size: int = 10
) -> bytes:
    return struct.pack(">BBHQHHII", magic, version, zero, 1, index, count, size, 0)


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", "24 bytes of header"),
        (header()[:-1], "24 bytes of header"),
        (header(magic=0x44), "byte 0"),
        (header(version=2), "version 2"),
        (header(zero=1), "bytes 2-3"),
        (header(index=2), "index 2 is not below count 2"),
        (header(count=0), "0 chunks"),
        (header(size=1), "2 chunks can't make 1 bytes"),
        (header() + b"x" * 10, "too few for the others"),
    ],
)
def test_a_chunk_of_another_form_is_refused_with_the_bytes_that_are_wrong(payload: bytes, fault: str) -> None:
    with pytest.raises(ChunkInvalid, match=fault):
        parse_chunk(payload)


# --- putting together ---------------------------------------------------------------------------------


def test_chunks_in_reverse_order_make_the_picture() -> None:
    held = partials()
    *earlier, last = reversed(chunks())

    assert all(isinstance(add(held, chunk), Held) for chunk in earlier)
    assert add(held, last) == Complete(picture=PICTURE)


def test_chunks_may_differ_in_length() -> None:
    held = partials()
    whole = chunks(data_bytes=512)[0].whole

    add(held, Chunk(whole=whole, index=1, data=PICTURE[7:]))

    assert add(held, Chunk(whole=whole, index=0, data=PICTURE[:7])) == Complete(picture=PICTURE)


def test_a_repeated_chunk_changes_nothing() -> None:
    held = partials()
    first, *_ = chunks()

    assert add(held, first) == add(held, first) == Held(missing_count=10)
    assert held.bytes_held == 100 + CHUNK_COST_BYTES


def test_a_complete_picture_stays_complete_until_it_is_settled() -> None:
    held = partials()
    for chunk in chunks():
        add(held, chunk)

    assert add(held, chunks()[3]) == Complete(picture=PICTURE)
    assert add(held, question(chunks()[3])) == Complete(picture=PICTURE)


def test_a_settled_picture_is_remembered_and_its_chunks_are_gone() -> None:
    held = partials(timeout_s=60)
    (chunk,) = chunks(data_bytes=2000)
    add(held, chunk)

    held.settle(key(chunk), "on disk", 10)

    assert (held.settled(key(chunk), 69), held.bytes_held, len(held)) == ("on disk", 0, 0)
    assert held.settled(key(chunk), 70) is None


def test_no_more_settled_pictures_are_remembered_than_partials_may_be_held() -> None:
    held = partials(partials_max=2)
    keys = [key(chunks(picture_id=n)[0]) for n in range(3)]

    for each in keys:
        held.settle(each, "done", 0)

    assert [held.settled(each, 0) for each in keys] == [None, "done", "done"]


def test_pictures_of_one_id_from_two_devices_do_not_mix() -> None:
    held = partials()
    other = bytes(reversed(PICTURE))
    for mine, theirs in zip(chunks(), chunks(other), strict=True):
        last = add(held, mine, device_id="cam-1"), add(held, theirs, device_id="cam-2")

    assert last == (Complete(picture=PICTURE), Complete(picture=other))


# --- contradictions -----------------------------------------------------------------------------------


def test_other_data_for_a_known_index_is_a_conflict_and_what_is_held_stays() -> None:
    held = partials()
    first, second, *_ = chunks()
    add(held, first)

    with pytest.raises(ChunksConflict, match="other data"):
        add(held, replace(first, data=second.data))

    assert add(held, second) == Held(missing_count=9)


def test_more_data_than_announced_is_a_conflict() -> None:
    held = partials()
    whole = chunks(data_bytes=512)[0].whole
    add(held, Chunk(whole=whole, index=0, data=b"x" * 600))

    with pytest.raises(ChunksConflict, match="more data"):
        add(held, Chunk(whole=whole, index=1, data=b"x" * 600))


def test_a_wrong_crc_is_told_and_the_picture_begins_anew() -> None:
    held = partials()
    good = chunks()
    add(held, replace(good[0], data=b"?" * 100))
    for chunk in good[1:-1]:
        add(held, chunk)

    with pytest.raises(ChunksCorrupt, match="announced were 1024 bytes in 11 chunks"):
        add(held, good[-1])

    assert (held.bytes_held, len(held)) == (0, 0)
    for chunk in good[:-1]:
        add(held, chunk)
    assert add(held, good[-1]) == Complete(picture=PICTURE)


def test_another_size_than_announced_is_corrupt_even_if_the_crc_is_that_of_what_came() -> None:
    held = partials()
    whole = replace(chunks(b"ab", data_bytes=1)[0].whole, picture_bytes=3)
    add(held, Chunk(whole=whole, index=0, data=b"a"))

    with pytest.raises(ChunksCorrupt, match="2 bytes"):
        add(held, Chunk(whole=whole, index=1, data=b"b"))


def test_too_few_bytes_are_corrupt() -> None:
    held = partials()
    whole = chunks(data_bytes=512)[0].whole
    add(held, Chunk(whole=whole, index=0, data=PICTURE[:1]))

    with pytest.raises(ChunksCorrupt, match="2 bytes"):
        add(held, Chunk(whole=whole, index=1, data=PICTURE[1:2]))


def test_a_device_that_restarts_and_counts_anew_replaces_its_unfinished_picture() -> None:
    held = partials()
    add(held, chunks()[0])
    (new,) = chunks(b"another", picture_id=1)

    assert add(held, new) == Complete(picture=b"another")
    (dropped,) = held.take_dropped()
    assert dropped.key == key(chunks()[0])
    assert dropped.reason == "chunks_replaced"


# --- what is missing ----------------------------------------------------------------------------------


def test_a_question_tells_what_is_missing_and_holds_nothing() -> None:
    held = partials()
    sent = chunks()

    assert add(held, question(sent[0])) == Held(missing_count=11)
    assert held.missing(key(sent[0])) == ((0, 10),)
    assert len(held) == 0

    for index in (0, 3, 4, 10):
        add(held, sent[index])
    assert held.missing(key(sent[0])) == ((1, 2), (5, 9))


def test_missing_ranges_are_bounded() -> None:
    held = partials()
    sent = chunks(data_bytes=1)
    for chunk in sent[::2]:
        add(held, chunk)

    assert held.missing(key(sent[0])) == tuple((n, n) for n in range(1, 2 * MISSING_RANGES_MAX, 2))


# --- bounds -------------------------------------------------------------------------------------------


def test_an_unfinished_picture_times_out_after_its_last_chunk() -> None:
    held = partials(timeout_s=60)
    first, second, *_ = chunks()
    add(held, first, now_s=0)
    add(held, second, now_s=59)

    held.expire(118.9)
    assert held.take_dropped() == []

    held.expire(119)
    (dropped,) = held.take_dropped()
    assert dropped.reason == "chunks_timed_out"
    assert "2 of 11 chunks" in dropped.detail
    assert (held.bytes_held, len(held)) == (0, 0)


def test_too_many_pictures_drop_the_one_that_waited_longest() -> None:
    held = partials(partials_max=2)
    for picture_id, now_s in ((1, 0), (2, 1), (1, 2), (3, 3)):
        add(held, chunks(picture_id=picture_id)[now_s], now_s=now_s)

    (dropped,) = held.take_dropped()
    assert dropped.key.whole.picture_id == 2
    assert dropped.reason == "chunks_crowded_out"
    assert len(held) == 2


def test_too_many_bytes_drop_the_one_that_waited_longest_and_never_the_newest() -> None:
    held = partials(bytes_max=1500)
    for device in ("a", "b", "c"):
        add(held, chunks(data_bytes=600)[0], device_id=device)

    assert [dropped.key.device_id for dropped in held.take_dropped()] == ["a"]
    assert held.bytes_held <= 1500


def test_a_picture_that_could_never_be_held_is_refused_at_its_first_chunk() -> None:
    held = partials(bytes_max=4096)

    with pytest.raises(PayloadTooLarge, match="1024 bytes in 1024 chunks"):
        add(held, chunks(data_bytes=1)[0])
    with pytest.raises(PayloadTooLarge):
        add(partials(picture_bytes_max=1000), chunks()[0])


def test_what_was_dropped_is_told_once_and_bounded_when_nobody_asks() -> None:
    held = partials(partials_max=2)
    for picture_id in range(10):
        add(held, chunks(picture_id=picture_id)[0])

    told = held.take_dropped()
    assert [dropped.key.whole.picture_id for dropped in told] == [6, 7]
    assert all(isinstance(dropped, Dropped) for dropped in told)
    assert held.take_dropped() == []
