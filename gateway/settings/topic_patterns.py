"""MQTT topic patterns: ``devices/{device_id}/images``, ``site/+/cam/{device_id}``. Pure.

A pattern is levels between slashes: a literal, ``+`` (any one level), or a capture, which is a whole level and matches
any one level too. Depth is exact: there is no ``#``. Matching is by shape alone (a capture also matches a level that
is no usable id; that is refused afterwards, with its reason), so whether two patterns can meet is decidable at start.
Wildcards, ``$`` topics and empty levels follow MQTT 3.1.1 section 4.7.
"""

import re
from dataclasses import dataclass

DEVICE_ID = "device_id"
SUBMISSION_ID = "submission_id"
CAPTURES = (DEVICE_ID, SUBMISSION_ID)
ANY_LEVEL = "+"
# No vendor's topics come near it; MQTT itself allows 65,535 bytes.
PATTERN_CHARS_MAX = 512
EXAMPLES = '"devices/{device_id}/images", "site/+/cam/{device_id}"'

_CAPTURE = re.compile(r"\{([^{}]*)\}")
_NOT_LITERAL = re.compile(r"[+#{}\x00-\x1f\x7f]")


class PatternInvalid(ValueError):
    """A text that is no pattern. ``text`` says what is wrong, ``cure`` how to write it."""

    def __init__(self, text: str, cure: str = f"Write it like {EXAMPLES}.") -> None:
        super().__init__(f"{text}. {cure}")
        self.text = text
        self.cure = cure


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """A pattern, parsed: ``levels`` are literals, ``+``, or captures in braces."""

    text: str
    levels: tuple[str, ...]

    @property
    def subscription(self) -> str:
        """The MQTT topic filter that asks a broker for what this pattern matches."""
        return "/".join(ANY_LEVEL if _is_any(level) else level for level in self.levels)

    def captures(self, topic: str) -> dict[str, str] | None:
        """Return what the captures stand for in ``topic``, or None when it does not match."""
        levels = topic.split("/")
        # Wildcards never match topics of the broker itself (MQTT 3.1.1 section 4.7.2).
        if len(levels) != len(self.levels) or topic.startswith("$"):
            return None
        found: dict[str, str] = {}
        for own, level in zip(self.levels, levels, strict=True):
            if own.startswith("{"):
                found[own[1:-1]] = level
            elif own not in {ANY_LEVEL, level}:
                return None
        return found

    def overlaps(self, other: "TopicPattern") -> bool:
        """Return whether some topic matches both."""
        return len(self.levels) == len(other.levels) and all(
            _is_any(one) or _is_any(two) or one == two for one, two in zip(self.levels, other.levels, strict=True)
        )


def parse_pattern(text: str) -> TopicPattern:
    """Return the pattern that ``text`` writes; raises PatternInvalid."""
    if not text:
        raise PatternInvalid("is empty")
    if len(text) > PATTERN_CHARS_MAX:
        raise PatternInvalid(f"is longer than {PATTERN_CHARS_MAX} characters", "Shorten it.")
    if text.startswith("$"):
        raise PatternInvalid("begins with $, which is the broker's own", "Begin with another level.")
    levels = tuple(text.split("/"))
    for level in levels:
        _check_level(level)
    for name in CAPTURES:
        if levels.count(f"{{{name}}}") > 1:
            raise PatternInvalid(f"captures {name} twice")
    if f"{{{DEVICE_ID}}}" not in levels:
        raise PatternInvalid(f"has no level {{{DEVICE_ID}}}, so nobody knows who sent")
    return TopicPattern(text, levels)


def _check_level(level: str) -> None:
    capture = _CAPTURE.fullmatch(level)
    if capture is not None:
        if capture[1] not in CAPTURES:
            known = " and ".join(f"{{{name}}}" for name in CAPTURES)
            raise PatternInvalid(f"captures {capture[1]}, which means nothing", f"The captures are {known}.")
        return
    if level == "#":
        raise PatternInvalid(
            "has a #: depths are exact", f"Write one pattern for each depth, with + levels: {EXAMPLES}."
        )
    if level != ANY_LEVEL and (found := _NOT_LITERAL.search(level)):
        raise PatternInvalid(f"has {found[0]!a} inside a level: + and captures are whole levels")


def _is_any(level: str) -> bool:
    return level == ANY_LEVEL or level.startswith("{")
