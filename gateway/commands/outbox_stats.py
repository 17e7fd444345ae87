"""What ``gateway outbox stats`` tells: the same facts for people, in groups, and with --json for programs, flat.

Read from the file and, where a gateway runs, from it. Limits and policies that are settings come from the settings
that the command was given.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.control import ask_running_gateway
from gateway.forwarding.spending_file import SpendingFile
from gateway.messages import OutboxState
from gateway.outbox.ballast import BALLAST_NAME
from gateway.outbox.inspection import (
    read_flash_wear,
    read_pending_by_priority,
    read_policy_counts,
    read_salvages,
    read_state,
)
from gateway.outbox.salvage import SalvageState
from gateway.outbox.wear import FlashWear
from gateway.settings import CloudSettings, OutboxSettings, PolicyRuleSettings, Settings

Facts = dict[str, Any]


def gathered_facts(settings: Settings) -> tuple[Facts, ...]:
    """Return the facts in the order in which people read them, in groups. Raises OperatorError."""
    data_dir = settings.gateway.data_dir
    state = read_state(data_dir)
    running = ask_running_gateway(data_dir, "status")
    return (
        _account(state),
        _waiting(state, read_pending_by_priority(data_dir)),
        _file(state, settings.outbox, data_dir) | _soundness(running, read_salvages(data_dir)),
        _rules(settings.policy.rule) | _held_back(read_policy_counts(data_dir)),
        _allowance(running, settings.cloud, data_dir),
        _flash(running, read_flash_wear(data_dir)),
        _clock(running) | _uplink(running),
    )


def _account(state: OutboxState) -> Facts:
    """Return what became of every event: sequence_high + taken_over is the sum of the next seven."""
    facts: Facts = {"epoch": state.epoch.epoch, "sequence_high": state.sequence_high}
    if state.former:
        facts["taken_over"] = state.taken_over
    facts |= {
        "pending": state.pending,
        "delivered": state.delivered_total,
        "dead": state.dead,
        "evicted": state.evicted_total,
        "expired": state.expired_total,
        "filtered": state.filtered_total,
        "summarised": state.summarised_total,
    }
    for former in state.former:
        facts[f"former_epoch_{former.epoch.epoch}"] = f"known up to sequence {former.sequence_high}"
    return facts


def _waiting(state: OutboxState, since: Mapping[int, datetime]) -> Facts:
    """Return what waits and since when, the most urgent first."""
    oldest = state.oldest_pending_received_at
    told = [f"{priority}: since {moment.isoformat(timespec='seconds')}" for priority, moment in since.items()]
    return {
        "tombstones_pending": state.tombstones_pending,
        "oldest_pending_received_at": None if oldest is None else oldest.isoformat(timespec="seconds"),
        "waiting_by_priority": ", ".join(told) or None,
    }


def _file(state: OutboxState, settings: OutboxSettings, data_dir: Path) -> Facts:
    """Return how full the file is, and what happens when it is full."""
    return {
        "rows": state.rows,
        "rows_max": settings.rows_max,
        "bytes_used": state.bytes_used,
        "bytes_max": settings.bytes_max,
        "when_full": settings.when_full,
        "ballast": _ballast(data_dir, settings.ballast_bytes),
        "in_file_delivered": state.delivered,
        "in_file_held_back": state.held_back,
        "refusals": state.refusals,
    }


def _ballast(data_dir: Path, byte_count: int) -> str:
    if not byte_count:
        return "none: outbox.ballast_bytes is 0"
    if (data_dir / BALLAST_NAME).exists():
        return f"kept, {byte_count} bytes"
    return f"let go, {byte_count} bytes: the disk is full, or nearly so"


def _held_back(counts: Mapping[str, int]) -> Facts:
    """Return what policies have held back since the file was made, and summaries made and being counted."""
    return {
        "held_back_by_min_probability": counts.get("min_probability", 0),
        "held_back_by_on_change": counts.get("on_change", 0),
        "held_back_by_summary": counts.get("summary", 0),
        "summaries_made": counts.get("summaries", 0),
        "summary_windows_open": counts["windows"],
    }


def _rules(rules: Sequence[PolicyRuleSettings]) -> Facts:
    """Return each rule in a line: whom it is for, and what it sets."""
    return {f"policy_rule_{number}": _rule(rule) for number, rule in enumerate(rules, 1)} or {"policy_rules": "none"}


def _rule(rule: PolicyRuleSettings) -> str:
    fields = {name: getattr(rule, name) for name in type(rule).model_fields if name in rule.model_fields_set}
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())


def _allowance(running: Any, settings: CloudSettings, data_dir: Path) -> Facts:
    """Return what the uplink may spend, and has spent. Without a gateway: what was set aside when it ended."""
    now = None if running is None else running["uplink"].get("allowance")
    saved = SpendingFile(data_dir).load() if now is None else None
    if now is not None:
        spent, day = now["bytes_spent"], now["day"] or "24 hours of powered time: the clock is not trusted"
    elif saved is not None:
        spent, day = saved.byte_count, saved.day and saved.day.isoformat()
    else:
        spent, day = 0, None
    quiet = ", ".join(settings.quiet_hours) or None
    if quiet and now is not None and not now["quiet_hours_hold"]:
        quiet += ": not kept, the clock is not trusted"
    facts: Facts = {
        "drain_order": settings.drain_order,
        "messages_per_s_max": settings.messages_per_s_max,
        "bytes_per_day_max": settings.bytes_per_day_max or None,
    }
    if settings.bytes_per_day_max:
        facts |= {"bytes_spent_today": spent, "today": day}
    facts["quiet_hours"] = quiet
    return facts if now is None else facts | {"uplink_may_be_used_in_s": now["rests_for_s"] or 0}


def _flash(running: Any, saved: FlashWear) -> Facts:
    """Return what was written to the disk: from the gateway that runs, else what it saved last."""
    return asdict(saved) if running is None else dict(running["flash"])


def _soundness(running: Any, salvages: Sequence[SalvageState]) -> Facts:
    """Return how far the file was read through, and what became of those that were damaged."""
    facts = {}
    if running is not None:
        check = running["outbox"]["check"]
        now = f"reading {check['table']}, {check['rows']} rows so far; " if check["table"] else ""
        facts["checked"] = now + (f"sound at {check['sound_at']}" if check["sound_at"] else "not through yet")
    for salvage in salvages:
        facts[f"set aside {salvage.file}"] = (
            f"{salvage.why}; {salvage.stage}: {salvage.rows} events and ids taken over, "
            f"{salvage.damaged} sequences are gone"
        )
    return facts


def _clock(running: Any) -> Facts:
    if running is None:
        return {}
    clock = running["clock"]
    return {"clock": f"trusted ({clock['source']})" if clock["trusted"] else "not trusted: events are marked unsynced"}


def _uplink(running: Any) -> Facts:
    if running is None:
        return {"gateway": "not running"}
    uplink = {f"uplink_{key}": value for key, value in running["uplink"].items() if key != "allowance"}
    return {"gateway": "running"} | uplink
