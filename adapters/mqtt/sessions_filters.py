"""Topic filters of SUBSCRIBE: which are well formed, which a device may use, and what they match. Pure.

The listener is an endpoint for devices, not a broker: a device hears what the gateway tells it, on
``devices/{device_id}/results`` and ``devices/{device_id}/commands/...``, and nothing of others.
"""

RESULTS = "results"
COMMANDS = "commands"
# MQTT 5.0 section 4.8.2; refused, since each device hears its own topics only.
SHARED_PREFIX = "$share/"


def is_well_formed(topic_filter: str) -> bool:
    """Whether wildcards stand alone in their level, and # last (section 4.7.1)."""
    levels = topic_filter.split("/")
    if not topic_filter or "#" in levels[:-1]:
        return False
    return all(level in {"#", "+"} or ("#" not in level and "+" not in level) for level in levels)


def may_subscribe(topic_filter: str, device_id: str | None) -> bool:
    """Whether a device may subscribe to ``topic_filter``; ``device_id`` None is a client that proved no identity.

    Such a client may name any one device, as it may publish for any; wildcards across devices are refused to all.
    """
    levels = topic_filter.split("/")
    if len(levels) < 3 or levels[0] != "devices" or levels[1] in {"", "+", "#"}:
        return False
    if device_id is not None and levels[1] != device_id:
        return False
    return levels[2:] in ([RESULTS], ["#"]) or levels[2] == COMMANDS


def matches(topic_filter: str, topic: str) -> bool:
    """Whether ``topic`` is meant by ``topic_filter`` (section 4.7)."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(given) or level not in {"+", given[place]}:
            return False
    return len(wanted) == len(given)


def device_of(topic: str) -> str | None:
    """Return the device whose topic this is (``devices/{device_id}/...``), or None."""
    levels = topic.split("/", 2)
    return levels[1] if len(levels) == 3 and levels[0] == "devices" else None
