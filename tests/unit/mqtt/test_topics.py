import pytest

from adapters.mqtt.refusals import TopicUnknown
from adapters.mqtt.topics import Content, Route, TopicTable, commands_topic, results_topic
from gateway.errors import RequestInvalid
from gateway.settings import MqttTopicsSettings
from gateway.settings.topic_patterns import PatternInvalid, parse_pattern


@pytest.fixture
def table() -> TopicTable:
    return TopicTable(MqttTopicsSettings())


@pytest.mark.parametrize(
    ("topic", "route"),
    [
        ("devices/cam-1/images", Route(content=Content.IMAGE, device_id="cam-1")),
        ("devices/cam-1/images/7", Route(content=Content.IMAGE, device_id="cam-1", submission_id="7")),
        ("devices/a.b:c@d_e/readings", Route(content=Content.READINGS, device_id="a.b:c@d_e")),
        ("devices/s/readings/x-1", Route(content=Content.READINGS, device_id="s", submission_id="x-1")),
        ("devices/m/chunks", Route(content=Content.CHUNK, device_id="m")),
    ],
)
def test_default_topics_say_what_they_carry_and_who_sent(table: TopicTable, topic: str, route: Route) -> None:
    assert table.route(topic) == route


@pytest.mark.parametrize(
    "topic",
    [
        "devices/cam-1",
        "devices/cam-1/images/7/8",
        "devices/cam-1/Images",
        "/devices/cam-1/images",
        "devices/cam-1/images/7/",
        "images",
        "",
        "$SYS/broker/uptime",
    ],
)
def test_unknown_topic_is_refused_with_the_known_patterns(table: TopicTable, topic: str) -> None:
    with pytest.raises(TopicUnknown) as caught:
        table.route(topic)

    assert "devices/{device_id}/images," in caught.value.cure


def test_topics_of_the_broker_never_match_a_wildcard() -> None:
    pattern = parse_pattern("+/{device_id}/images")

    assert pattern.captures("$SYS/cam-1/images") is None
    assert pattern.captures("site/cam-1/images") == {"device_id": "cam-1"}


@pytest.mark.parametrize("device_id", ["", "cam 1", "käse", "x" * 129, "a\x00b"])
def test_a_capture_that_is_no_device_id_is_refused(table: TopicTable, device_id: str) -> None:
    with pytest.raises(RequestInvalid, match="device id"):
        table.route(f"devices/{device_id}/images")


@pytest.mark.parametrize("submission_id", ["", "a b", "x" * 129])
def test_a_capture_that_is_no_submission_id_is_refused(table: TopicTable, submission_id: str) -> None:
    with pytest.raises(RequestInvalid, match="the id"):
        table.route(f"devices/cam-1/images/{submission_id}")


def test_an_authenticated_device_overrides_what_the_topic_claims(table: TopicTable) -> None:
    assert table.route("devices/somebody-else/images", device_id="cam-1").device_id == "cam-1"


def test_captures_become_wildcards_in_subscriptions_without_repetition() -> None:
    table = TopicTable(
        MqttTopicsSettings(images=("site/+/cam/{device_id}",), readings=("{device_id}/r",), chunks=("a/{device_id}",))
    )

    assert table.subscriptions == ("site/+/cam/+", "+/r", "a/+")


def test_empty_levels_are_levels() -> None:
    assert parse_pattern("/{device_id}/images").captures("/cam/images") == {"device_id": "cam"}
    assert parse_pattern("+/{device_id}").captures("/cam") == {"device_id": "cam"}


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("", "empty"),
        ("devices/images", "nobody knows who sent"),
        ("devices/{device_id}/#", "depths are exact"),
        ("#", "depths are exact"),
        ("devices/{device_id}/{device_id}", "captures device_id twice"),
        ("devices/{device_id}/{camera}", "captures camera, which means nothing"),
        ("devices/cam-{device_id}", "inside a level"),
        ("devices/{device_id}/a+", "inside a level"),
        ("devices/{device_id}/a#", "inside a level"),
        ("devices/{device_id}/\x00", "inside a level"),
        ("$SYS/{device_id}", "begins with \\$"),
        ("{device_id}/" + "x" * 512, "longer"),
    ],
)
def test_a_text_that_is_no_pattern_is_told_why(pattern: str, fault: str) -> None:
    with pytest.raises(PatternInvalid, match=fault):
        parse_pattern(pattern)


def test_the_gateway_answers_on_topics_of_the_device() -> None:
    assert results_topic("cam-1") == "devices/cam-1/results"
    assert commands_topic("cam-1") == "devices/cam-1/commands"
