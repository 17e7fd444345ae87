"""Makes outbox-vN.db, a file as this version writes it: run once before adding migration N+1, and commit the result.

python -m tests.data.outbox.make_old_file
"""

import asyncio
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from gateway.outbox.schema import load_migrations
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import StillClock, opened


async def fill(data_dir: Path) -> None:
    clock = StillClock()
    async with opened(data_dir, clock=clock) as outbox:
        await outbox.commit([draft("old-pruned", payload_sha256="cc" * 32)])
        await outbox.mark_delivered([1], [])
        clock.advance(timedelta(hours=100))
        await outbox.prune_step(clock.now())
        await outbox.commit([draft("old-delivered")])
        await outbox.commit([draft("old-pending", item=0)])
        await outbox.commit([draft("old-dead")])
        await outbox.mark_delivered([2], [])
        await outbox.mark_dead(4, "too_large")


def main() -> None:
    target = Path(__file__).parent / f"outbox-v{len(load_migrations())}.db"
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(fill(Path(folder) / "data"))
        shutil.copy(Path(folder) / "data" / "outbox.db", target)


if __name__ == "__main__":
    main()
