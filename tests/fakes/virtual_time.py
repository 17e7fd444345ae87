"""An asyncio event loop whose time jumps to the next timer when nothing is left to do.

No real sleeping, no threads, no sockets: a run is a function of its seeds. Where
threads take part (the outbox on its file), ``loop.real_work()`` holds the time
while they are at it: then their work takes none, and a run depends on them only
in what they do at the same virtual moment. Tasks hash by number and not by
address, because sets of tasks (in TaskGroup) are walked in hash order.
"""

import asyncio
import contextlib
import functools
import itertools
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from gateway.messages import ClockReading

T = TypeVar("T")
P = ParamSpec("P")

# Of a thread that is waited for: a disk that hangs, or a test that held the time for nothing.
REAL_WORK_TIMEOUT_S = 60.0
EPOCH = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class NothingWillHappen(RuntimeError):
    """Every task waits for another: a deadlock."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0 and is exact. A deadlock raises NothingWillHappen."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._working = 0
        self._woken = threading.Event()
        self._numbers = itertools.count()
        super().__init__(_JumpingSelector(self))
        # Half a year is 1.5e7 s, where neighbouring floats are 2e-9 apart: with asyncio's own nanosecond a jump could
        # end just before its timer, for ever.
        self._clock_resolution = 1e-6
        self.set_task_factory(self._numbered_task)  # type: ignore[arg-type]  # the protocol has a generic for each version

    def time(self) -> float:
        return self._now_s

    @contextlib.contextmanager
    def real_work(self) -> Iterator[None]:
        """Hold the time: what is awaited within is done by a thread, which calls back."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def wait_for_thread(self) -> bool:
        """Return when a thread has called back; False at once if none works."""
        if not self._working:
            return False
        assert self._woken.wait(REAL_WORK_TIMEOUT_S), "a thread did not call back"
        self._woken.clear()
        return True

    def _write_to_self(self) -> None:
        # asyncio's wake-up after call_soon_threadsafe: its callback waits in the loop's queue already.
        self._woken.set()

    def jump(self, seconds: float) -> None:
        self._now_s += seconds

    def _numbered_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        return _NumberedTask(coroutine, number=next(self._numbers), loop=loop, **options)


class _NumberedTask(asyncio.Task[T]):
    def __init__(self, coroutine: Coroutine[Any, Any, T], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0 and self._loop.wait_for_thread():
            return []
        if timeout is None:
            raise NothingWillHappen(f"at {self._loop.time():.3f} s")
        if timeout > 0:
            self._loop.jump(timeout)
        return []


class VirtualClock:
    """The BootClock of a virtual loop."""

    boot_id = "boot-1"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()

    def reading(self) -> ClockReading:
        return ClockReading(wall=self.now(), boottime_s=self.monotonic())


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a fresh virtual loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_virtual_time(test(*args, **kwargs))

    return run
