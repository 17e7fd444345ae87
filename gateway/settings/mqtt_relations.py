"""What must hold between the settings of MQTT. Each check is a generator as in relations.py."""

from collections.abc import Iterator
from itertools import combinations

from gateway.settings.forms import HostPort, parse_broker_url, parse_listen
from gateway.settings.keys import Key
from gateway.settings.problems import Fault, unreadable
from gateway.settings.sections import Settings
from gateway.settings.topic_patterns import DEVICE_ID, TopicPattern, parse_pattern

# What the gateway itself publishes on: a pattern that meets it would feed the gateway its own words.
_OWN_TOPICS = ("results", "commands", "status")
TOPIC_KEYS: tuple[Key, ...] = tuple(("mqtt", "topics", name) for name in ("images", "readings", "chunks"))


def topics(settings: Settings) -> Iterator[Fault]:
    patterns = [(key, parse_pattern(text)) for key in TOPIC_KEYS for text in getattr(settings.mqtt.topics, key[-1])]
    for (first, one), (second, other) in combinations(patterns, 2):
        if one.overlaps(other):
            yield (
                second,
                f'"{other.text}" can match the same topic as "{one.text}" of {first[-1]}',
                "Remove one, or make a level of theirs differ, as .../images and .../readings do.",
            )
    for key, pattern in patterns:
        yield from _own_topic(key, pattern)


def _own_topic(key: Key, pattern: TopicPattern) -> Iterator[Fault]:
    for name in _OWN_TOPICS:
        own = f"devices/{{{DEVICE_ID}}}/{name}"
        if pattern.overlaps(parse_pattern(own)):
            yield key, f'"{pattern.text}" can match {own}, which is the gateway\'s own', "Use another last level."


def self(settings: Settings) -> Iterator[Fault]:
    """Refuse our own listener as the broker: the gateway would wait for itself."""
    mqtt = settings.mqtt
    if not mqtt.url or not mqtt.listen:
        return
    broker, listen = parse_broker_url(mqtt.url), parse_listen(mqtt.listen)
    if HostPort(broker.host, broker.port).is_loopback and listen.meets(HostPort(broker.host, broker.port)):
        yield (
            ("mqtt", "url"),
            f"is our own listener, mqtt.listen = {mqtt.listen}",
            'Turn the listener off (mqtt.listen = ""), or move it: mqtt.listen = "127.0.0.1:1884".',
        )


def login(settings: Settings) -> Iterator[Fault]:
    if settings.mqtt.password and not settings.mqtt.username:
        yield ("mqtt", "password"), "is given without mqtt.username", 'Set both, for example username = "gateway-1".'


def tls(settings: Settings) -> Iterator[Fault]:
    mqtt = settings.mqtt
    for certificate, key in (("certificate_file", "key_file"), ("listen_certificate_file", "listen_key_file")):
        given = [name for name in (certificate, key) if getattr(mqtt, name)]
        if len(given) == 1:
            missing = key if given == [certificate] else certificate
            yield ("mqtt", given[0]), f"needs {missing} too", f'Set both, for example {missing} = "mqtt.pem".'
    tls_only = [name for name in ("ca_file", "certificate_file") if getattr(mqtt, name)]
    if tls_only and mqtt.url and not parse_broker_url(mqtt.url).tls:
        yield (
            ("mqtt", tls_only[0]),
            f"is for TLS, and mqtt.url = {mqtt.url} is without",
            f'Write url = "mqtts://{parse_broker_url(mqtt.url).host}", or remove {", ".join(tls_only)}.',
        )


def credentials_file(settings: Settings) -> Iterator[Fault]:
    path = settings.mqtt.listen_credentials_file
    if path is None:
        return
    try:
        path.read_bytes()
    except OSError as error:
        yield (
            ("mqtt", "listen_credentials_file"),
            unreadable(error),
            f"Make it with: mosquitto_passwd -c {path.name} DEVICE-ID; the gateway's user must be able to read it.",
        )
