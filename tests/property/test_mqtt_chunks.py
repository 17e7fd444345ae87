"""Any order, loss and repetition of chunks: what comes out is a picture that was sent, or nothing."""

import random

from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.chunks import Complete, PartialPictures, PictureKey, parse_chunk, split_picture
from gateway.errors import Rejected

BYTES_MAX = 4000
PARTIALS_MAX = 3


@st.composite
def journeys(draw: st.DrawFn) -> tuple[dict[int, bytes], list[tuple[int, bytes]]]:
    """Pictures by id, and their chunks as a bad network delivers them: shuffled, some lost, some repeated."""
    pictures = draw(st.dictionaries(st.integers(0, 5), st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
    rng = random.Random(draw(st.integers()))
    sent = [
        (picture_id, payload)
        for picture_id, picture in pictures.items()
        for payload in split_picture(picture, picture_id=picture_id, data_bytes=draw(st.integers(20, 300)))
        for _ in range(rng.choice((0, 1, 1, 1, 2)))
    ]
    rng.shuffle(sent)
    return pictures, sent


@given(journey=journeys(), step_s=st.sampled_from((0.0, 1.0, 30.0)))
def test_only_whole_pictures_come_out_and_memory_stays_bounded(
    journey: tuple[dict[int, bytes], list[tuple[int, bytes]]], step_s: float
) -> None:
    pictures, sent = journey
    partials: PartialPictures[str] = PartialPictures(
        timeout_s=60, bytes_max=BYTES_MAX, partials_max=PARTIALS_MAX, picture_bytes_max=10_000
    )
    now_s = 0.0
    for picture_id, payload in sent:
        chunk = parse_chunk(payload)
        key = PictureKey(device_id="cam-1", whole=chunk.whole)
        now_s += step_s
        if partials.settled(key, now_s) is None:
            progress = partials.add(key, chunk, now_s)
            if isinstance(progress, Complete):
                assert progress.picture == pictures[picture_id]
                partials.settle(key, "done", now_s)
        assert partials.bytes_held <= BYTES_MAX
        assert len(partials) <= PARTIALS_MAX
    partials.expire(now_s + 60)
    assert (len(partials), partials.bytes_held) == (0, 0)


@given(picture=st.binary(min_size=1, max_size=2000), data_bytes=st.integers(1, 500), seed=st.integers())
def test_every_chunk_at_least_once_in_any_order_makes_the_picture(picture: bytes, data_bytes: int, seed: int) -> None:
    rng = random.Random(seed)
    sent = split_picture(picture, picture_id=7, data_bytes=data_bytes)
    arriving = [*sent, *rng.choices(sent, k=len(sent))]
    rng.shuffle(arriving)
    partials: PartialPictures[str] = PartialPictures(
        timeout_s=60, bytes_max=1_000_000, partials_max=4, picture_bytes_max=1_000_000
    )

    last = [
        partials.add(PictureKey(device_id="m", whole=(c := parse_chunk(payload)).whole), c, 0) for payload in arriving
    ]

    assert last[-1] == Complete(picture=picture)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_chunk_or_a_refusal(payload: bytes) -> None:
    partials: PartialPictures[str] = PartialPictures(timeout_s=60, bytes_max=500, partials_max=2, picture_bytes_max=500)
    try:
        chunk = parse_chunk(b"C\x01\x00\x00" + payload)
        partials.add(PictureKey(device_id="x", whole=chunk.whole), chunk, 0)
    except Rejected as error:
        assert error.reason.startswith(("chunk", "payload_too_large"))  # noqa: PT017 -- any bytes may go either way
    assert partials.bytes_held <= 500
