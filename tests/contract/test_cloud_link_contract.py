"""What every CloudLink promises: the real one (SDK, process, stand-in) and the fake that other tests use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import LinkDown, MessageRefused
from gateway.messages import CloudMessage
from gateway.ports import CloudLink
from tests.fakes.cloud import FakeCloudLink
from tests.fakes.hub import running_hub
from tests.fakes.link import link_to, message

# The fake draws the line where the real one does.
TOO_LARGE = message(9, b"x" * (240 * 1024 + 1))


@dataclass(frozen=True, kw_only=True)
class World:
    """A link, and a hub that can be told how to behave."""

    link: CloudLink
    arrived: Callable[[], list[str]]
    refuse_sessions: Callable[[], None]
    stop_acknowledging: Callable[[], None]
    drop_on_poison: Callable[[], None]
    mend: Callable[[], None]
    drop: Callable[[], None]


@pytest.fixture(params=["real", "fake"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "fake":
        yield _fake_world()
        return
    async with running_hub(tmp_path) as hub, link_to(hub, send_timeout_s=1, connect_timeout_s=5) as link:
        yield World(
            link=link,
            arrived=lambda: [received.message_id for received in hub.messages],
            refuse_sessions=lambda: hub.set_faults(reject_connect=5),
            stop_acknowledging=lambda: hub.set_faults(no_puback=True),
            drop_on_poison=lambda: hub.set_faults(poison_text="poison"),
            mend=hub.set_faults,
            drop=hub.kick,
        )


def _fake_world() -> World:
    link = FakeCloudLink()

    def mend() -> None:
        link.refuses_session, link.acknowledges, link.drops_on = None, True, lambda _message: False

    def refuse() -> None:
        link.refuses_session = "credentials_refused"

    def stop_acknowledging() -> None:
        link.acknowledges = False
        asyncio.get_running_loop().call_later(0.1, link.drop, "ack_timeout")

    def drop_on_poison() -> None:
        link.drops_on = lambda sent: b"poison" in sent.body

    return World(
        link=link,
        arrived=lambda: [sent.message_id for sent in link.sent],
        refuse_sessions=refuse,
        stop_acknowledging=stop_acknowledging,
        drop_on_poison=drop_on_poison,
        mend=mend,
        drop=link.drop,
    )


async def test_a_send_that_returned_has_arrived(world: World) -> None:
    async with world.link.session() as session:
        await session.send(message(1))
        assert world.arrived() == ["m-1"]


async def test_sends_arrive_in_the_order_in_which_they_were_started(world: World) -> None:
    async with world.link.session() as session:
        await asyncio.gather(*(session.send(message(number)) for number in range(16)))
    assert world.arrived() == [f"m-{number}" for number in range(16)]


async def test_a_session_that_is_refused_is_a_link_that_is_down_with_its_reason(world: World) -> None:
    world.refuse_sessions()
    with pytest.raises(LinkDown) as down:
        async with world.link.session():
            pytest.fail("entered")
    assert down.value.reason == "credentials_refused"


async def test_a_link_that_was_refused_can_be_tried_again(world: World) -> None:
    world.refuse_sessions()
    with pytest.raises(LinkDown):
        async with world.link.session():
            pass
    world.mend()
    async with world.link.session() as session:
        await session.send(message(1))
    assert world.arrived() == ["m-1"]


async def test_a_send_that_is_never_acknowledged_ends_the_session(world: World) -> None:
    async with world.link.session() as session:
        world.stop_acknowledging()
        with pytest.raises(LinkDown) as down:
            await session.send(message(1))
        assert down.value.reason == "ack_timeout"
        with pytest.raises(LinkDown):
            await session.lost()


async def test_everything_in_flight_fails_when_the_session_is_lost(world: World) -> None:
    async with world.link.session() as session:
        world.drop_on_poison()
        sends = [session.send(message(1, b"poison")), session.send(message(2, b"poison"))]
        answers = await asyncio.gather(*sends, return_exceptions=True)
    assert all(isinstance(answer, LinkDown) for answer in answers)
    assert world.arrived() == []


async def test_a_lost_session_stays_lost(world: World) -> None:
    async with world.link.session() as session:
        world.drop()
        for _ in range(2):
            with pytest.raises(LinkDown):
                await session.lost()
            with pytest.raises(LinkDown):
                await session.send(message(1))


async def test_waiting_for_the_loss_can_be_given_up(world: World) -> None:
    async with world.link.session() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.lost()
        await session.send(message(1))
    assert world.arrived() == ["m-1"]


async def test_a_send_can_be_given_up_and_the_session_goes_on(world: World) -> None:
    async with world.link.session() as session:
        sending = asyncio.create_task(session.send(message(1)))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        await session.send(message(2))
    assert world.arrived()[-1] == "m-2"


async def test_a_refused_message_leaves_the_session_usable(world: World) -> None:
    if isinstance(world.link, FakeCloudLink):
        world.link.refuses_message = _is_too_large
    async with world.link.session() as session:
        with pytest.raises(MessageRefused) as refused:
            await session.send(TOO_LARGE)
        assert refused.value.reason == "too_large"
        await session.send(message(1))
    assert world.arrived() == ["m-1"]


async def test_the_next_session_works_after_a_lost_one(world: World) -> None:
    async with world.link.session() as session:
        world.drop()
        with pytest.raises(LinkDown):
            await session.lost()
    async with world.link.session() as session:
        await session.send(message(1))
    assert world.arrived() == ["m-1"]


async def test_an_error_inside_the_session_passes_through(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with world.link.session():
            raise ZeroDivisionError
    async with world.link.session() as session:
        await session.send(message(1))


async def test_closing_twice_is_harmless(world: World) -> None:
    async with world.link.session():
        pass
    await world.link.close()
    await world.link.close()


def _is_too_large(sent: CloudMessage) -> bool:
    return len(sent.body) > 240 * 1024
