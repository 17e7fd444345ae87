"""Which policy applies to whom, and what it decides of a result."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.messages import (
    Classification,
    Kind,
    ModelIdentity,
    OnChange,
    Prediction,
    Reading,
    Result,
    Summarise,
    SummaryMode,
    Transport,
)
from gateway.policies import NO_POLICIES, Policies, Policy, essence, has_changed, is_unsure
from gateway.settings import PolicyRuleSettings
from gateway.summaries import LABELS_MAX, OTHERS, VALUES_MAX, Tally

ALWAYS = OnChange(max_s=None)


def policies(*rules: dict[str, Any]) -> Policies:
    return Policies([PolicyRuleSettings(**rule) for rule in rules])


def of(found: Policies, device_id: str = "cam-1", kind: Kind = Kind.CLASSIFICATION, **also: Any) -> Policy:
    return found.of(device_id, kind, also.pop("transport", Transport.HTTP), **also)


def picture(**probabilities: float) -> Classification:
    return Classification(
        predictions=tuple(Prediction(label=label, probability=p) for label, p in probabilities.items()),
        model=ModelIdentity(name="m", model_sha256="", labels_sha256="", runtime="litert"),
        image_format="JPEG",
        image_width=1,
        image_height=1,
        decode_ms=0,
        preprocess_ms=0,
        inference_ms=0,
    )


def reading(**values: Any) -> Reading:
    return Reading(values_json=json.dumps(values))


def changed(new: Result, old: Result, on_change: OnChange = ALWAYS) -> bool:
    return has_changed(new, essence(old, on_change), on_change)


# --- rules --------------------------------------------------------------------------------------------


def test_without_rules_everything_is_sent_at_the_usual_priority() -> None:
    assert of(NO_POLICIES) == Policy(priority=5)


def test_later_rule_overrides_what_it_sets_and_nothing_else() -> None:
    found = policies(
        {"priority": 7, "ttl_h": 2, "min_probability": 0.5},
        {"device": "cam-*", "priority": 1},
        {"device": "cam-2", "min_probability": 0},
    )
    assert of(found, "sensor-1") == Policy(priority=7, ttl_s=7200, min_probability=0.5)
    assert of(found, "cam-1") == Policy(priority=1, ttl_s=7200, min_probability=0.5)
    assert of(found, "cam-2") == Policy(priority=1, ttl_s=7200, min_probability=0)


def test_a_value_that_equals_the_default_overrides_too() -> None:
    found = policies({"ttl_h": 2, "on_change": True}, {"device": "cam-1", "ttl_h": 0, "on_change": False})
    assert of(found, "cam-1") == Policy()


def test_rule_is_for_its_kind_and_way_only() -> None:
    found = policies({"kind": "reading", "priority": 9}, {"transport": "ble", "ttl_h": 1})
    assert of(found).priority == 5
    assert of(found, kind=Kind.READING) == Policy(priority=9)
    assert of(found, transport=Transport.BLE) == Policy(ttl_s=3600)


def test_device_ids_are_compared_with_their_case() -> None:
    assert of(policies({"device": "Cam-[12]", "priority": 0}), "cam-1").priority == 5
    assert of(policies({"device": "Cam-[12]", "priority": 0}), "Cam-2").priority == 0


def test_the_gateways_own_word_is_never_held_back() -> None:
    found = policies(
        {"priority": 9, "min_probability": 1, "on_change": True, "summary": "instead"},
        {"transport": "gateway", "priority": 1},
    )
    assert of(found, kind=Kind.READING, is_notice=True) == Policy(priority=1)
    assert of(policies({"priority": 9, "ttl_h": 1}), is_notice=True) == Policy(), "any means devices"
    assert of(found, kind=Kind.READING, transport=Transport.MQTT, is_notice=True) == Policy(priority=1)


def test_summary_and_on_change_carry_what_the_writer_needs() -> None:
    found = policies(
        {"summary": "instead", "summary_window_s": 60},
        {"on_change": True, "on_change_max_s": 0, "on_change_min": 0.5, "on_change_of": ("t",)},
    )
    assert of(found).summarise == Summarise(mode=SummaryMode.INSTEAD, window_s=60)
    assert of(found).on_change == OnChange(max_s=None, band=0.5, values=("t",))


def test_made_up_device_ids_do_not_make_it_grow_without_bound() -> None:
    found = policies({"device": "cam-*", "priority": 1})
    for n in range(5000):
        of(found, f"cam-{n}")
    assert found.remembered <= 1024


@pytest.mark.parametrize(
    "rule", [{"device": "cam-1"}, {"transport": "gateway", "on_change": True}, {"device": "", "priority": 1}]
)
def test_rule_that_can_not_be_meant_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PolicyRuleSettings(**rule)


# --- min_probability, on_change -----------------------------------------------------------------------


def test_unsure_is_a_picture_whose_top_label_has_less() -> None:
    assert is_unsure(picture(a=0.5, b=0.4), 0.6)
    assert not is_unsure(picture(a=0.6, b=0.4), 0.6)
    assert not is_unsure(picture(a=0.1), 0)
    assert is_unsure(picture(), 0.1)
    assert not is_unsure(reading(t=1), 1)


def test_picture_has_changed_when_its_top_label_has() -> None:
    assert not changed(picture(a=0.6, b=0.4), picture(a=0.9, b=0.1))
    assert changed(picture(a=0.4, b=0.6), picture(a=0.9, b=0.1))


def test_reading_has_changed_when_a_value_has() -> None:
    assert not changed(reading(t=1, on=True), reading(t=1.0, on=True))
    assert changed(reading(t=1, on=True), reading(t=1, on=False))
    assert changed(reading(t=1), reading(t=1, humidity=2))
    assert changed(reading(a={"b": [1, 2]}), reading(a={"b": [1, 3]}))
    assert changed(reading(on=True), reading(on=1)), "true is no number"


def test_numbers_within_the_band_are_equal() -> None:
    band = OnChange(max_s=None, band=0.5)
    assert not changed(reading(t=21.5, at={"x": 1}), reading(t=21, at={"x": 1.5}), band)
    assert changed(reading(t=21.6), reading(t=21), band)


def test_only_named_values_count() -> None:
    only = OnChange(max_s=None, values=("t",))
    assert not changed(reading(t=1, counter=2), reading(t=1, counter=1), only)
    assert changed(reading(t=2, counter=1), reading(t=1, counter=1), only)
    assert changed(reading(counter=1), reading(t=1, counter=1), only)


# --- summaries ----------------------------------------------------------------------------------------


def tally(*results: Result, unsure: int = 0) -> Tally:
    found = Tally()
    for n, result in enumerate(results):
        # Over the disk after each, as the writer does.
        found = Tally.from_json(found.to_json())
        found.add(result, is_unsure=n < unsure)
    return found


def test_pictures_are_counted_by_their_top_label() -> None:
    found = tally(picture(a=0.1), picture(a=0.75, b=0.25), picture(a=0.2, b=0.8), picture(a=0.25, b=0.75), unsure=1)
    assert found.counts() == {
        "count": 4,
        "below_min_probability": 1,
        "labels": {
            "a": {"count": 1, "probability": {"min": 0.75, "mean": 0.75, "max": 0.75}},
            "b": {"count": 2, "probability": {"min": 0.75, "mean": 0.775, "max": 0.8}},
        },
    }


def test_readings_are_told_as_ranges_of_their_numbers() -> None:
    found = tally(reading(t=20, at={"x": 1}, on=True, text="a"), reading(t=22.5), reading(t=-1.5, huge=1e300))
    assert found.counts() == {
        "count": 3,
        "values": {
            "t": {"count": 3, "min": -1.5, "mean": 13.6666667, "max": 22.5},
            "at.x": {"count": 1, "min": 1, "mean": 1, "max": 1},
        },
        "numbers_left_out": 1,
    }


def test_summary_is_bounded_whatever_comes() -> None:
    labels = tally(*(picture(**{f"label-{n}": 1.0}) for n in range(LABELS_MAX + 10)), picture())
    assert len(labels.labels) == LABELS_MAX + 1
    assert labels.labels[OTHERS].count == 11
    values = tally(reading(**{f"v{n}": n for n in range(VALUES_MAX + 3)}))
    assert (len(values.values), values.left_out) == (VALUES_MAX, 3)
    assert tally(Reading(values_json='{"n":1' + "0" * 400 + "}")).left_out == 1
