"""Room for pictures that are read or worked on: bounded for all, and again for cameras that make others wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Places:
    """``most`` places, of which slow cameras have half at most: so those delay no other, however many they are."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._for_slow = asyncio.Semaphore(most // 2)
        self.taken = 0

    @asynccontextmanager
    async def place(self, *, slow: bool) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        async with AsyncExitStack() as held:
            if slow:
                await held.enter_async_context(self._for_slow)
            await held.enter_async_context(self._all)
            self.taken += 1
            try:
                yield
            finally:
                self.taken -= 1
