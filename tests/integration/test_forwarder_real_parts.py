"""The forwarder between the real outbox and the real SDK, against the stand-in."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.forwarder import Forwarder
from gateway.forwarding.lanes import DrainOrder
from gateway.metrics import Metrics
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import CloudSettings, OutboxSettings
from tests.fakes.hub import RunningHub, running_hub
from tests.fakes.link import link_to
from tests.fakes.lossy_cloud import LossyCloud, Weather
from tests.fakes.outbox import draft


async def commit(outbox: SqliteOutbox, *texts: str) -> None:
    for text in texts:
        await outbox.commit([draft(f"s-{text}", values_json=json.dumps({"text": text}))])


def bodies(hub: RunningHub) -> list[Any]:
    return [json.loads(message.body) for message in hub.messages]


def arrived(hub: RunningHub) -> set[int]:
    return {item["sequence"] for body in bodies(hub) for item in body["items"]}


def buried(hub: RunningHub) -> set[int]:
    return {tombstone["first_sequence"] for body in bodies(hub) for tombstone in body["tombstones"]}


async def test_event_that_the_hub_drops_us_for_is_told_by_a_tombstone_and_the_rest_arrives(tmp_path: Path) -> None:
    clock, meter = SystemClock(), Metrics()
    outbox = open_outbox(tmp_path / "data", settings=OutboxSettings(), clock=clock, meter=meter)
    outbox.start()
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        hub.set_faults(poison_text="poison")
        await commit(outbox, *(f"a{n}" for n in range(20)), "poison", *(f"b{n}" for n in range(400)))
        forwarder = Forwarder(
            queue=outbox,
            signal=outbox,
            link=link,
            settings=hub.cloud_settings(batch_wait_s=0.1),
            gateway_id="site-1",
            clock=clock,
            meter=meter,
            rng=random.Random(1),
        )
        task = asyncio.create_task(forwarder.run())
        async with asyncio.timeout(90):
            count = 0
            while 21 not in buried(hub):
                await commit(outbox, f"c{count}")
                count += 1
                await asyncio.sleep(0.2)
            while (await outbox.state()).pending:  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        state = await outbox.state()
        assert arrived(hub) == set(range(1, state.sequence_high + 1)) - {21}
        assert state.dead == 1
    await asyncio.to_thread(outbox.close)


@pytest.mark.parametrize("order", list(DrainOrder))
async def test_real_outbox_drains_by_priority_and_in_every_order(tmp_path: Path, order: DrainOrder) -> None:
    clock, meter = SystemClock(), Metrics()
    outbox = open_outbox(tmp_path / "data", settings=OutboxSettings(), clock=clock, meter=meter)
    outbox.start()
    cloud = LossyCloud(rng=random.Random(1), weather=Weather(latency_s=0.001))
    for n in range(300):  # more than a page
        await outbox.commit([draft(f"s-{n}", priority=(9, 5, 5, 0)[n % 4])])
    forwarder = Forwarder(
        queue=outbox,
        signal=outbox,
        link=cloud,
        settings=CloudSettings(
            drain_order=order.value,
            window=1,
            batch_bytes_max=1024,
            drain_batch_bytes_max=1024,
            messages_per_s_max=10_000,
        ),
        gateway_id="site-1",
        clock=clock,
        meter=meter,
        rng=random.Random(1),
    )
    task = asyncio.create_task(forwarder.run())
    async with asyncio.timeout(60):
        while not cloud.received:  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.001)
        await outbox.commit([draft("news", priority=0)])
        sent_before = len(cloud.received)
        while (await outbox.state()).pending:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.to_thread(outbox.close)
    assert cloud.sequences == set(range(1, 302))
    first_sent = {s: n for n, arrival in reversed(list(enumerate(cloud.received))) for s in arrival.sequences}
    by_priority = {p: [s for s in range(1, 301) if (9, 5, 5, 0)[(s - 1) % 4] == p] for p in (0, 5, 9)}
    places = {p: [first_sent[s] for s in own] for p, own in by_priority.items()}
    for own in places.values():
        assert own == sorted(own, reverse=order is DrainOrder.NEWEST_FIRST)
    means = [sum(own) / len(own) for _, own in sorted(places.items())]
    assert means == sorted(means)
    news = first_sent[301]
    if order is DrainOrder.OLDEST_FIRST:
        assert news >= max(places[0])
    else:
        assert news <= sent_before + 3
