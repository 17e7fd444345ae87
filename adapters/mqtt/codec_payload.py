"""A large payload while it comes: in a buffer of its own, which becomes the payload without another copy. Pure.

``io.BytesIO`` hands its buffer out as bytes instead of copying it (CPython, since 3.5), so a picture of 8 MiB takes
8 MiB and not twice that, at the moment at which it is complete.
"""

import io


class PayloadBuffer:
    """Takes exactly ``byte_count`` bytes, at least one. Memory: all of them from the start."""

    __slots__ = ("_buffer", "_missing")

    def __init__(self, byte_count: int) -> None:
        self._missing = byte_count
        self._buffer = io.BytesIO()
        # Allocated once: growing would copy, and for a moment hold it twice.
        self._buffer.seek(byte_count - 1)
        self._buffer.write(b"\0")
        self._buffer.seek(0)

    @property
    def missing(self) -> int:
        """How many bytes have not come."""
        return self._missing

    def take(self, data: memoryview) -> memoryview:
        """Keep what belongs to the payload and return the rest."""
        part = data[: self._missing]
        self._buffer.write(part)
        self._missing -= len(part)
        return data[len(part) :]

    def payload(self) -> bytes:
        """Return the whole; ask once, when nothing is missing."""
        assert self._missing == 0, "ask only when nothing is missing"
        return self._buffer.getvalue()
