"""A CloudLink in memory that keeps its contract: for the forwarder's tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.errors import LinkDown, MessageRefused
from gateway.messages import CloudMessage
from gateway.ports import CloudSession


class FakeCloudLink:
    """``sent`` is what the hub acknowledged, in order. The switches may be turned at any time."""

    def __init__(self) -> None:
        self.sent: list[CloudMessage] = []
        self.sessions_opened = 0
        self.closed = False
        self.refuses_session: str | None = None  # a reason
        self.acknowledges = True
        self.refuses_message: Callable[[CloudMessage], bool] = lambda _message: False
        self.drops_on: Callable[[CloudMessage], bool] = lambda _message: False
        self._session: _FakeSession | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[CloudSession]:
        assert self._session is None, "one session at a time"
        if self.refuses_session:
            raise LinkDown(self.refuses_session)
        self.sessions_opened += 1
        session = self._session = _FakeSession(self)
        try:
            yield session
        finally:
            session.drop("closed")
            self._session = None

    def drop(self, reason: str = "dropped") -> None:
        """Lose the session, if there is one."""
        if self._session:
            self._session.drop(reason)

    async def close(self) -> None:
        self.closed = True


class _FakeSession:
    def __init__(self, link: FakeCloudLink) -> None:
        self._link = link
        self._down: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(self, message: CloudMessage) -> None:
        if self._link.refuses_message(message):
            raise MessageRefused("too_large")
        await asyncio.sleep(0)
        if self._link.drops_on(message):
            self.drop("dropped")
        if not self._link.acknowledges or self._down.done():
            raise LinkDown(await asyncio.shield(self._down))
        self._link.sent.append(message)

    async def lost(self) -> None:
        raise LinkDown(await asyncio.shield(self._down))

    def drop(self, reason: str) -> None:
        if not self._down.done():
            self._down.set_result(reason)
