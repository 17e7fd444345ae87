"""An asyncio event loop whose time jumps to the next timer when nothing is left to do.

No real sleeping, no threads, no sockets: a run is a function of its seeds.
Tasks hash by number and not by address, because sets of tasks (in TaskGroup)
are walked in hash order.
"""

import asyncio
import functools
import itertools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from gateway.messages import ClockReading

T = TypeVar("T")
P = ParamSpec("P")

EPOCH = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class NothingWillHappen(RuntimeError):
    """Every task waits for another: a deadlock."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` starts at 0 and is exact. A deadlock raises NothingWillHappen."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._numbers = itertools.count()
        super().__init__(_JumpingSelector(self))
        self.set_task_factory(self._numbered_task)  # type: ignore[arg-type]  # the protocol has a generic for each version

    def time(self) -> float:
        return self._now_s

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
