"""The demo's ledger: what adds up, and every way in which it does not."""

import json
from typing import Any

import pytest

from gateway.simulators.demo.screen import sparkline, tell_verdict
from gateway.simulators.demo.timeline import Happening, timeline
from gateway.simulators.demo.verdict import Ledger, Received, StillHere, Verdict, judge

EPOCH = "epoch-1"


def message(
    *sequences: int, high: int, tombstones: tuple[tuple[int, int], ...] = (), tag: str = "", reason: str = "dead"
) -> bytes:
    envelope: dict[str, Any] = {
        "gateway_id": "gw",
        "epoch": EPOCH,
        "sequence_high": high,
        "tombstones": [
            {"epoch": EPOCH, "first_sequence": first, "last_sequence": last, "reason": reason}
            for first, last in tombstones
        ],
        "items": [{"sequence": n, "device_id": "cam", "submission_id": f"s{n}{tag}"} for n in sequences],
    }
    return json.dumps(envelope).encode()


def received(*messages: bytes) -> Received:
    found = Received()
    for one in messages:
        found.take(one)
    return found


def verdict(*messages: bytes, promised: int, ledger: Ledger | None = None) -> Verdict:
    promises = {("cam", f"s{n}"): n for n in range(1, promised + 1)}
    even = Ledger(accepted=promised, parts={"delivered": promised})
    return judge(promises, received(*messages), ledger or even)


def test_everything_delivered_adds_up() -> None:
    assert verdict(message(1, 2, high=2), message(3, high=3), promised=3).is_good


def test_a_repeat_is_removed_by_its_key_and_harmless() -> None:
    found = verdict(message(1, 2, high=2), message(2, high=2), promised=2)
    assert found.is_good
    assert found.repeats == 1


def test_what_was_promised_and_is_nowhere_is_lost() -> None:
    found = verdict(message(1, high=1), promised=2)
    assert not found.is_good
    assert found.lost == (("cam", "s2"),)


def test_what_still_waits_in_the_outbox_is_not_lost() -> None:
    ledger = Ledger(accepted=2, parts={"delivered": 1, "pending": 1})
    promises = {("cam", "s1"): 1, ("cam", "s2"): None}
    here = StillHere(events={("gw", EPOCH, 2): ("cam", "s2")})
    assert judge(promises, received(message(1, high=2)), ledger, still_here=here).is_good


def test_what_still_waits_excuses_no_other_sequence() -> None:
    ledger = Ledger(accepted=3, parts={"delivered": 2, "pending": 1})
    here = StillHere(events={("gw", EPOCH, 3): ("cam", "s3")})
    assert judge({}, received(message(1, high=3)), ledger, still_here=here).missing == 1


def test_what_a_policy_took_is_told_by_its_tombstone_and_what_was_damaged_is_lost() -> None:
    promises = {("cam", "s1"): 1, ("cam", "s2"): 2}
    even = Ledger(accepted=2, parts={"delivered": 1, "filtered": 1})
    kept = judge(promises, received(message(1, high=2, tombstones=((2, 2),), reason="filtered")), even)
    assert kept.is_good
    assert kept.told_by_tombstone == 1
    assert judge(promises, received(message(1, high=2, tombstones=((2, 2),), reason="damaged")), even).lost


def test_summaries_that_count_other_than_what_was_summarised_are_miscounted() -> None:
    ledger = Ledger(accepted=1, parts={"delivered": 1, "summarised": 3})
    body = json.loads(message(1, high=1))
    body["items"][0]["summary"] = {"count": 2}
    found = received(json.dumps(body).encode())
    assert judge({}, found, ledger).miscounted
    assert not judge({}, found, ledger, still_here=StillHere(open_windows=1)).miscounted


def test_one_submission_under_two_sequences_is_doubled() -> None:
    body = message(1, 2, high=2).replace(b"s2", b"s1")
    found = verdict(body, promised=1, ledger=Ledger(accepted=2, parts={"delivered": 2}))
    assert found.doubled == (("cam", "s1"),)
    assert not found.is_good


def test_a_sequence_that_never_came_is_missing_unless_it_is_buried() -> None:
    assert verdict(message(1, 3, high=3), promised=1).missing == 1
    assert verdict(message(1, 3, high=3, tombstones=((2, 2),)), promised=1).missing == 0


def test_one_key_with_two_contents_is_never_harmless() -> None:
    found = verdict(message(1, high=1), message(1, high=1, tag="x"), promised=1)
    assert found.contradictions == 1
    assert not found.is_good


def test_a_ledger_that_does_not_add_up_is_said_loudly() -> None:
    found = verdict(message(1, high=1), promised=1, ledger=Ledger(accepted=3, parts={"delivered": 1}))
    said: list[str] = []
    tell_verdict(found, said.append)
    assert "IS NOT" in said[0]
    assert "DOES NOT ADD UP" in said[-1]


def test_the_same_seed_tells_the_same_story_and_ends_with_the_uplink_up() -> None:
    story = timeline(duration_s=120, seed=7, kills=True)
    assert story == timeline(duration_s=120, seed=7, kills=True)
    assert story != timeline(duration_s=120, seed=8, kills=True)
    uplink = [moment.what for moment in story if moment.what in {Happening.UPLINK_DOWN, Happening.UPLINK_UP}]
    assert uplink[-1] is Happening.UPLINK_UP
    assert Happening.KILL in {moment.what for moment in story}


def test_without_kills_the_gateway_is_left_alone() -> None:
    assert {moment.what for moment in timeline(duration_s=120, seed=7, kills=False)} == {
        Happening.UPLINK_DOWN,
        Happening.UPLINK_UP,
    }


@pytest.mark.parametrize(("depths", "bars"), [([], ""), ([0, 0], "▁▁"), ([0, 7], "▁█"), ([9] * 99, "█" * 60)])
def test_depths_are_drawn_to_scale(depths: list[int], bars: str) -> None:
    assert sparkline(depths).replace("▇", "█") == bars
