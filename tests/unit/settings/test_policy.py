"""The settings of policies: the array of rules, and its mistakes."""

import pytest

from gateway.messages import Kind, Transport
from gateway.policies import Policies
from tests.unit.settings.conftest import Load, Mistakes

TWO = """
[[policy.rule]]
summary = "instead"
ttl_h = 24

[[policy.rule]]
device = "smoke-*"
kind = "reading"
priority = 0
summary = "off"
"""


def test_rules_apply_in_the_order_of_the_file(load: Load) -> None:
    policies = Policies(load(TWO).policy.rule)
    other = policies.of("cam-1", Kind.CLASSIFICATION, Transport.HTTP)
    smoke = policies.of("smoke-1", Kind.READING, Transport.BLE)
    assert (other.priority, other.ttl_s, other.summarise is None) == (5, 86_400, False)
    assert (smoke.priority, smoke.ttl_s, smoke.summarise) == (0, 86_400, None)


def test_what_is_no_json_in_the_environment_is_told_how_to_be_written_there(mistakes: Mistakes) -> None:
    (problem,) = mistakes(environment={"GATEWAY_POLICY__RULE": '[{"device": "cam-*"'})
    assert problem.text == "must be a JSON array of objects"
    assert problem.cure.startswith("Write GATEWAY_POLICY__RULE='[{")


def test_rules_may_come_from_the_environment(load: Load) -> None:
    (rule,) = load(environment={"GATEWAY_POLICY__RULE": '[{"device": "cam-*", "on_change": true}]'}).policy.rule
    assert (rule.device, rule.on_change, rule.on_change_max_s) == ("cam-*", True, 3600)


def test_without_rules_everything_is_sent(load: Load) -> None:
    assert load().policy.rule == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("ttl_h = 24", "ttl_h = -1", 2, "ttl_h: is out of range"),
        ("priority = 0", "priority = 10", 6, "priority: is out of range: from 0 to 9"),
        ("priority = 0", "priorty = 0", 6, "priorty: is not a setting"),
        ('summary = "instead"\nttl_h = 24', "", 2, "sets nothing"),
        ('kind = "reading"', 'transport = "gateway"', 6, "holds back what the gateway itself has to tell"),
        ('device = "smoke-*"', 'device = ""', 6, "device: matches no device"),
        ('summary = "off"', "min_probability = 60", 6, "min_probability: is out of range: from 0 to 1"),
        ('summary = "off"', 'summary = "both"', 6, "summary: "),
    ],
)
def test_a_mistake_is_told_where_it_stands(mistakes: Mistakes, old: str, new: str, line: int, told: str) -> None:
    (problem,) = mistakes(TWO.replace(old, new))
    assert told in f"{problem.key}: {problem.text}"
    assert problem.where.endswith(f":{line}")
