"""Which topic carries what, and on which topics the gateway answers. Pure.

The patterns themselves (captures, overlap, subscription filters) are in gateway/settings/topic_patterns.py, since
settings that contradict each other are told at start.
"""

from dataclasses import dataclass
from enum import StrEnum

from adapters.mqtt.refusals import TopicUnknown
from gateway.identifiers import device_id_checked, shortened, submission_id_checked
from gateway.settings import MqttTopicsSettings
from gateway.settings.topic_patterns import DEVICE_ID, SUBMISSION_ID, parse_pattern


class Content(StrEnum):
    """What a topic carries."""

    IMAGE = "image"
    READINGS = "readings"
    CHUNK = "chunk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a topic says: the content, who sent it, and under which id if it names one."""

    content: Content
    device_id: str
    submission_id: str | None = None


class TopicTable:
    """The patterns of the settings, ready to be asked. At most one matches a topic: overlaps are refused at start."""

    def __init__(self, settings: MqttTopicsSettings) -> None:
        kinds = (
            (Content.IMAGE, settings.images),
            (Content.READINGS, settings.readings),
            (Content.CHUNK, settings.chunks),
        )
        self._patterns = [(content, parse_pattern(text)) for content, texts in kinds for text in texts]

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The topic filters that ask a broker for everything the gateway takes, without repetitions."""
        return tuple(dict.fromkeys(pattern.subscription for _, pattern in self._patterns))

    def route(self, topic: str, *, device_id: str | None = None) -> Route:
        """Return what ``topic`` says; a known ``device_id`` overrides its capture.

        Raises TopicUnknown, naming the known patterns, and RequestInvalid for captures that are no usable ids.
        """
        for content, pattern in self._patterns:
            captures = pattern.captures(topic)
            if captures is not None:
                submission_id = captures.get(SUBMISSION_ID)
                return Route(
                    content=content,
                    device_id=device_id_checked(captures[DEVICE_ID]) if device_id is None else device_id,
                    submission_id=None if submission_id is None else submission_id_checked(submission_id),
                )
        known = ", ".join(pattern.text for _, pattern in self._patterns)
        raise TopicUnknown(f"no pattern matches the topic {shortened(topic)}", hint=f"the patterns are: {known}")


def results_topic(device_id: str) -> str:
    """Return where a device hears what became of its messages."""
    return f"devices/{device_id}/results"


def commands_topic(device_id: str) -> str:
    """Return where a device hears what the cloud wants of it."""
    return f"devices/{device_id}/commands"
