"""What policies decide of one event: how urgent it is, how long it is of use, whether it is to be sent. Pure.

Rules apply in their order; a later one overrides, key by key, what earlier ones
set. What only the result itself can tell (``min_probability``) is decided
here; what needs to know what came before it (``on_change``, ``summary``) is
handed on with the draft and decided in the transaction that stores it
(gateway/outbox/holding.py), so that it is exact whatever happens.

The gateway's own word (outcomes of commands, devices that come and go) is never held back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from gateway.messages import (
    PRIORITY_DEFAULT,
    Classification,
    Kind,
    OnChange,
    Reading,
    Result,
    Summarise,
    SummaryMode,
    Transport,
)
from gateway.settings import PolicyRuleSettings

# A site has tens of devices; whoever makes up ids must not make this grow.
REMEMBERED_MAX = 1024
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What applies to the events of one device, kind and way in."""

    priority: int = PRIORITY_DEFAULT
    ttl_s: float | None = None
    min_probability: float = 0.0
    on_change: OnChange | None = None
    summarise: Summarise | None = None


class Policies:
    """The rules of a site, compiled."""

    def __init__(self, rules: Sequence[PolicyRuleSettings] = ()) -> None:
        self._rules = tuple(rules)
        self._for = lru_cache(REMEMBERED_MAX)(self._compile)

    @property
    def remembered(self) -> int:
        """How many compiled policies are held in memory."""
        return self._for.cache_info().currsize

    def of(self, device_id: str, kind: Kind, transport: Transport, *, is_notice: bool = False) -> Policy:
        """Return what applies. ``is_notice``: it is the gateway's own word."""
        return self._for(device_id, kind, Transport.GATEWAY if is_notice else transport)

    def _compile(self, device_id: str, kind: Kind, transport: Transport) -> Policy:
        set_by_rules: dict[str, Any] = {}
        for rule in self._rules:
            if _matches(rule, device_id, kind, transport):
                set_by_rules.update({name: getattr(rule, name) for name in rule.model_fields_set})
        return _policy(PolicyRuleSettings.model_construct(**set_by_rules), is_notice=transport is Transport.GATEWAY)


NO_POLICIES = Policies()


def _matches(rule: PolicyRuleSettings, device_id: str, kind: Kind, transport: Transport) -> bool:
    any_way = rule.transport == "any" and transport is not Transport.GATEWAY
    return (
        (any_way or rule.transport == transport) and rule.kind in {"any", kind} and fnmatchcase(device_id, rule.device)
    )


def _policy(rule: PolicyRuleSettings, *, is_notice: bool) -> Policy:
    ttl_s = rule.ttl_h * HOUR_S or None
    if is_notice:
        return Policy(priority=rule.priority, ttl_s=ttl_s)
    on_change = OnChange(max_s=rule.on_change_max_s or None, band=rule.on_change_min, values=tuple(rule.on_change_of))
    return Policy(
        priority=rule.priority,
        ttl_s=ttl_s,
        min_probability=rule.min_probability,
        on_change=on_change if rule.on_change else None,
        summarise=None
        if rule.summary == "off"
        else Summarise(mode=SummaryMode(rule.summary), window_s=rule.summary_window_s),
    )


def is_unsure(result: Result, min_probability: float) -> bool:
    """Return whether a picture's most probable label has less than ``min_probability``; a reading never has."""
    if min_probability <= 0 or not isinstance(result, Classification):
        return False
    return max((prediction.probability for prediction in result.predictions), default=0.0) < min_probability


def essence(result: Result, on_change: OnChange) -> str:
    """Return what of a result is compared with the next one, as text: its top label, or the values that count."""
    if isinstance(result, Classification):
        return result.top_label or ""
    assert isinstance(result, Reading), "summaries are not filtered"
    if not on_change.values:
        return result.values_json
    values = json.loads(result.values_json)
    return json.dumps({name: values[name] for name in on_change.values if name in values}, ensure_ascii=False)


def has_changed(result: Result, last: str, on_change: OnChange) -> bool:
    """Return whether ``result`` is another than the one whose :func:`essence` is ``last``."""
    now = essence(result, on_change)
    if now == last:
        return False
    if isinstance(result, Classification):
        return True
    try:
        return _differs(json.loads(now), json.loads(last), on_change.band)
    except (ValueError, OverflowError):
        return True  # a number that is beyond all comparing


def _differs(one: object, other: object, band: float) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() != other.keys() or any(_differs(one[name], other[name], band) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(_differs(a, b, band) for a, b in zip(one, other, strict=True))
    if _is_number(one) and _is_number(other):
        return bool(abs(one - other) > band)  # type: ignore[operator]  # both are numbers
    return one != other or isinstance(one, bool) != isinstance(other, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
