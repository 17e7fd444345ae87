"""What leaves for the bus, in order, as fast as its socket takes it."""

import asyncio
import select
from collections import deque
from collections.abc import Callable

from dbus_fast import Message
from dbus_fast.aio import MessageBus

# A full socket is looked at again after this.
PUMP_AGAIN_S = 0.0005
# Messages that may wait before a peripheral must: a radio has credits, too.
CREDITS = 64


def _nothing() -> None:
    """After most messages there is nothing to do."""


class Outlet:
    """Sends on the bus that it is ``opened`` with; without one, messages are lost as with a dead bluetoothd."""

    def __init__(self) -> None:
        self._bus: MessageBus | None = None
        self._outgoing: deque[tuple[Message, Callable[[], None]]] = deque()
        self._pump_waits = False

    def open(self, bus: MessageBus) -> None:
        """Send on that bus from now on."""
        self._bus = bus

    def close(self) -> None:
        """Forget the bus and what waits for it."""
        self._bus = None
        self._lose()

    def send(self, message: Message, *, after: Callable[[], None] = _nothing) -> None:
        """Send it after all that were given before; ``after`` is called once it is on the bus, or lost."""
        self._outgoing.append((message, after))
        if not self._pump_waits:
            self._pump()

    async def room(self) -> None:
        """Return when few messages wait."""
        while len(self._outgoing) > CREDITS:  # noqa: ASYNC110  a full socket is looked at again, too
            await asyncio.sleep(PUMP_AGAIN_S)

    def _pump(self) -> None:
        # dbus-fast 5.2 takes a full socket for a broken one and closes it: write only where there is room.
        self._pump_waits = False
        bus = self._bus
        if bus is None or not bus.connected:
            self._lose()
            return
        poll = select.poll()
        assert bus._sock is not None  # noqa: SLF001  dbus-fast has no question for "is there room"
        poll.register(bus._sock, select.POLLOUT)  # noqa: SLF001
        while self._outgoing:
            if not poll.poll(0):
                self._pump_waits = True
                asyncio.get_running_loop().call_later(PUMP_AGAIN_S, self._pump)
                return
            message, after = self._outgoing.popleft()
            bus.send(message).add_done_callback(_then(after))

    def _lose(self) -> None:
        while self._outgoing:
            self._outgoing.popleft()[1]()


def _then(after: Callable[[], None]) -> "Callable[[asyncio.Future[None]], None]":
    def done(sent: "asyncio.Future[None]") -> None:
        # A message that a dying bus did not take is lost, as it is for bluetoothd.
        if not sent.cancelled():
            sent.exception()
        after()

    return done
