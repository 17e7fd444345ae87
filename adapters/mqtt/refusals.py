"""Refusals that only MQTT can make; they travel like every other :class:`~gateway.errors.SubmissionError`."""

from gateway.errors import PayloadTooLarge, Rejected


class TopicUnknown(Rejected):
    reason = "topic_unknown"
    http_status = 404
    hint = "publish on a topic that mqtt.topics names"


class PayloadEmpty(Rejected):
    reason = "payload_empty"
    hint = "send the picture or the readings as the message's payload"


class ChunkInvalid(Rejected):
    """One chunk can't be used; what was held of its picture stays."""

    reason = "chunk_invalid"
    http_status = 422
    hint = "docs/PROTOCOLS.md describes a chunk byte by byte"


class ChunksConflict(Rejected):
    """Chunks of one id contradict each other: other sizes, other data for the same index."""

    reason = "chunks_conflict"
    http_status = 422
    hint = "give each picture an id of its own, and send all of its chunks again"


class ChunksCorrupt(Rejected):
    """All chunks came, and their CRC-32 is not the announced one: the picture is dropped."""

    reason = "chunks_corrupt"
    http_status = 422
    hint = "send all chunks of the picture again; crc32 is that of zlib, over the whole picture"


def packet_too_large(payload_bytes: int, *, packet_bytes_max: int) -> PayloadTooLarge:
    """Return the refusal of a message whose payload was not even kept."""
    return PayloadTooLarge(
        f"the message has {payload_bytes} bytes; a packet of at most {packet_bytes_max} is taken",
        hint="send fewer bytes, or raise limits.image_bytes_max",
    )
