"""Overlap of two topic patterns, against brute force over all topics of a small alphabet."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.topic_patterns import TopicPattern

ALPHABET = ("", "a", "b")
LEVELS_MAX = 4
TOPICS = ["/".join(levels) for depth in range(1, LEVELS_MAX + 1) for levels in product(ALPHABET, repeat=depth)]

levels = st.sampled_from((*ALPHABET, "+", "{device_id}", "{submission_id}"))


@st.composite
def patterns(draw: st.DrawFn) -> TopicPattern:
    # Made without parse_pattern: a device id is not needed to compare shapes.
    chosen = tuple(draw(st.lists(levels, min_size=1, max_size=LEVELS_MAX)))
    return TopicPattern("/".join(chosen), chosen)


@given(one=patterns(), other=patterns())
def test_two_patterns_overlap_exactly_when_a_topic_matches_both(one: TopicPattern, other: TopicPattern) -> None:
    both = any(one.captures(topic) is not None and other.captures(topic) is not None for topic in TOPICS)

    assert one.overlaps(other) == both
    assert other.overlaps(one) == both


@given(pattern=patterns(), topic=st.sampled_from(TOPICS))
def test_a_pattern_matches_exactly_what_its_subscription_asks_for(pattern: TopicPattern, topic: str) -> None:
    asked = pattern.subscription.split("/")
    got = topic.split("/")
    delivered = len(asked) == len(got) and all(want in {"+", level} for want, level in zip(asked, got, strict=True))

    assert (pattern.captures(topic) is not None) == delivered
