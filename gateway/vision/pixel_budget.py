"""One budget of pixels for all decoders: the memory of decoded pictures is bounded, whatever arrives at once."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator


class PixelBudget:
    """Grants pixels in the order of asking, so that a large picture is not starved by small ones.

    A thread must not ask while it holds a grant; then nothing can deadlock, since every grant comes back by itself.
    """

    def __init__(self, *, pixels_max: int) -> None:
        self._free = pixels_max
        self._pixels_max = pixels_max
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextlib.contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until ``pixels`` fit, and keep them until the block ends. More than the whole budget is our bug."""
        assert pixels <= self._pixels_max, "check_pixels comes before the budget"
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._waiting[0] is turn and self._free >= pixels)
            self._waiting.popleft()
            self._free -= pixels
            self._changed.notify_all()  # the next in line may fit as well
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
