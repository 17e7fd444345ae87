"""What must hold between settings, and of the files that they name.

Each check is a generator of ``(key to change, text, cure)``. A check whose keys are already known to be wrong is
skipped, so that one mistake is told once.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import chain, combinations
from pathlib import Path

from gateway.settings import ble_relations, camera_relations, cloud_relations, mqtt_relations, tls_relations
from gateway.settings.forms import parse_listen
from gateway.settings.given import Given, Layer
from gateway.settings.keys import Key, is_secret, leaves
from gateway.settings.problems import Fault, Problem, unreadable
from gateway.settings.sections import Section, Settings


def broken_relations(settings: Settings, given: Mapping[Key, Given], bad: AbstractSet[Key]) -> list[Problem]:
    """Return a problem for each relation that does not hold, save those that touch keys in ``bad``."""
    return [
        _given_or_default(fault[0], keys, settings, given).problem(fault[1], fault[2])
        for keys, check in _CHECKS
        if bad.isdisjoint(keys)
        for fault in check(settings)
    ]


def _given_or_default(key: Key, related: tuple[Key, ...], settings: Settings, given: Mapping[Key, Given]) -> Given:
    """Return ``key`` as given; if it stands at its default, placed where the first key related to it was given."""
    if key in given:
        return given[key]
    section: Section = settings
    for name in key[:-1]:
        section = getattr(section, name)
    cause = next(
        (given[other] for other in related if other in given and given[other].layer is not Layer.DEFAULT), None
    )
    return Given(
        key=key,
        value=getattr(section, key[-1]),
        layer=Layer.DEFAULT,
        where=cause.where if cause else "default",
        folder=Path(),
    )


def _listeners(settings: Settings) -> Iterator[Fault]:
    open_ones = [
        ("http", settings.http.listen if settings.http.enabled else ""),
        ("mqtt", settings.mqtt.listen),
        ("admin", settings.admin.listen if settings.admin.enabled else ""),
    ]
    for (first, one), (second, other) in combinations(open_ones, 2):
        if one and other and parse_listen(one).meets(parse_listen(other)):
            free = parse_listen(one).port % 65535 + 1
            yield (
                (second, "listen"),
                f"is the same port as {first}.listen = {one}",
                f'Give each a port of its own, for example {second}.listen = "127.0.0.1:{free}".',
            )


def _aliases(settings: Settings) -> Iterator[Fault]:
    for one, other in combinations(settings.http.alias, 2):
        both = set(one.methods) & set(other.methods)
        if one.path == other.path and both:
            yield (
                ("http", "alias"),
                f"names {min(both)} {one.path} twice",
                "Give the two other methods or paths, or remove one.",
            )


def _backoff(settings: Settings) -> Iterator[Fault]:
    cloud = settings.cloud
    if cloud.backoff_initial_s > cloud.backoff_max_s:
        yield (
            ("cloud", "backoff_initial_s"),
            f"is above cloud.backoff_max_s = {cloud.backoff_max_s:g}",
            f"Set backoff_initial_s to {cloud.backoff_max_s:g} or less, or raise backoff_max_s.",
        )


def _batches(settings: Settings) -> Iterator[Fault]:
    cloud = settings.cloud
    if cloud.batch_bytes_max > cloud.drain_batch_bytes_max:
        yield (
            ("cloud", "batch_bytes_max"),
            f"is above cloud.drain_batch_bytes_max = {cloud.drain_batch_bytes_max}",
            f"Raise drain_batch_bytes_max to {cloud.batch_bytes_max} or more, for example {cloud.batch_bytes_max}.",
        )


def _keep_alive(settings: Settings) -> Iterator[Fault]:
    cloud = settings.cloud
    if cloud.connect_timeout_s <= cloud.keep_alive_s:
        yield (
            ("cloud", "connect_timeout_s"),
            f"is not above cloud.keep_alive_s = {cloud.keep_alive_s}, so the first ping could come too late to help",
            f"Set connect_timeout_s to {2 * cloud.keep_alive_s}, or lower keep_alive_s.",
        )


def _memory(settings: Settings) -> Iterator[Fault]:
    from gateway.limits import LimitsImpossible, derive_limits

    try:
        derive_limits(settings, cpu_count=1)
    except LimitsImpossible as error:
        yield tuple(error.key.split(".")), error.text, error.cure


def _data_dir(settings: Settings) -> Iterator[Fault]:
    data_dir = settings.gateway.data_dir
    try:
        is_something_else = data_dir.exists() and not data_dir.is_dir()
    except OSError as error:  # a name too long, a loop of links
        yield ("gateway", "data_dir"), f"can't be a folder here ({error.strerror})", 'Name one: data_dir = "data".'
        return
    if is_something_else:
        yield ("gateway", "data_dir"), "is a file, not a folder", 'Name a folder, for example data_dir = "data".'


# --- files in PEM -------------------------------------------------------------------------------------


def _certificates(settings: Settings, key: Key) -> Iterator[Fault]:
    """Check that a file holds certificates in PEM which OpenSSL can read."""
    path = _path(settings, key)
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        yield key, "holds no PEM certificate", _pem_cure(path)
    except OSError as error:
        yield key, unreadable(error), "Name a PEM file that the gateway's user may read."


def _pem_cure(path: Path) -> str:
    return (
        "It must hold -----BEGIN CERTIFICATE-----; from DER it is made with: "
        f"openssl x509 -inform der -in {path.name} -out {path.stem}.pem"
    )


def _key_file(settings: Settings, key: Key, certificate: Key) -> Iterator[Fault]:
    """Check that a file holds a plain private key, and that of ``certificate`` if there is one."""
    path = _path(settings, key)
    if path is None:
        return
    try:
        text = path.read_bytes()
    except OSError as error:
        yield key, unreadable(error), "Name a PEM file that the gateway's user may read."
        return
    certificate_file = _path(settings, certificate)
    if b"ENCRYPTED" in text:
        # OpenSSL would ask for the pass phrase on the terminal.
        out = f"{path.stem}-plain.key"
        yield (
            key,
            "is encrypted",
            f"Decrypt it: openssl pkey -in {path.name} -out {out}; then chmod 600 {out}",
        )
    elif b"PRIVATE KEY-----" not in text:
        yield key, "holds no PEM private key", "It must hold -----BEGIN PRIVATE KEY-----, as openssl pkey writes it."
    elif certificate_file is not None:
        yield from _key_pair(certificate_file, path, key, certificate[-1])


def _key_pair(certificate_file: Path, key_file: Path, key: Key, certificate_name: str) -> Iterator[Fault]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_file, key_file)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield (
                key,
                f"is not the key of {certificate_name}",
                f'Name the key that the certificate was made with, for example {key[-1]} = "device.key".',
            )
    except OSError:
        return  # the certificate's own check tells


def _path(settings: Settings, key: Key) -> Path | None:
    section: Section = settings
    for name in key[:-1]:
        section = getattr(section, name)
    path: Path | None = getattr(section, key[-1])
    return path


def _mqtt(*names: str) -> tuple[Key, ...]:
    return tuple(("mqtt", name) for name in names)


def _cloud(*names: str) -> tuple[Key, ...]:
    return tuple(("cloud", name) for name in names)


_KEYS_WITH_CERTIFICATES: tuple[tuple[Key, Key], ...] = (
    (("cloud", "key_file"), ("cloud", "certificate_file")),
    (("cloud", "provisioning", "certificate_key_file"), ("cloud", "provisioning", "certificate_file")),
    (("mqtt", "key_file"), ("mqtt", "certificate_file")),
    (("mqtt", "listen_key_file"), ("mqtt", "listen_certificate_file")),
    (("tls", "key_file"), ("tls", "certificate_file")),
)
_CERTIFICATES: tuple[Key, ...] = (
    ("cloud", "ca_file"),
    ("cloud", "edge", "ca_file"),
    ("mqtt", "ca_file"),
    ("tls", "client_ca_file"),
    *(certificate for _, certificate in _KEYS_WITH_CERTIFICATES),
)

_MEMORY_KEYS: tuple[Key, ...] = (
    ("limits", "memory_budget_mb"),
    ("limits", "image_bytes_max"),
    ("model", "workers"),
    ("http", "connections_max"),
    ("http", "enabled"),
    ("http", "tls"),
    *_mqtt("connections_max", "sessions_max", "listen", "listen_tls", "listen_certificate_file", "url"),
    ("mqtt", "chunks", "partial_bytes_max"),
    ("ble", "connections_max"),
    ("ble", "image_bytes_max"),
    ("ble", "enabled"),
    ("camera_pull", "camera"),
    ("camera_pull", "at_once_max"),
    *_cloud("window", "drain_batch_bytes_max"),
)

# Each check with the keys that it looks at.
_CHECKS: tuple[tuple[tuple[Key, ...], Callable[[Settings], Iterator[Fault]]], ...] = (
    (
        (("http", "listen"), ("mqtt", "listen"), ("admin", "listen"), ("http", "enabled"), ("admin", "enabled")),
        _listeners,
    ),
    ((("gateway", "data_dir"),), _data_dir),
    ((("http", "alias"),), _aliases),
    ((("tls", "certificate_file"), ("tls", "key_file")), tls_relations.pair),
    ((("http", "client_certificates"), ("http", "tls")), tls_relations.http),
    (_mqtt("listen_client_certificates", "listen_tls", "listen_certificate_file"), tls_relations.mqtt),
    (_MEMORY_KEYS, _memory),
    (_cloud("backoff_initial_s", "backoff_max_s"), _backoff),
    (_cloud("batch_bytes_max", "drain_batch_bytes_max"), _batches),
    (_cloud("connect_timeout_s", "keep_alive_s"), _keep_alive),
    (cloud_relations.CREDENTIALS, cloud_relations.credentials),
    (_cloud("connection_string"), cloud_relations.connection_string),
    (cloud_relations.PROVISIONING, cloud_relations.provisioning),
    (cloud_relations.PROVISIONING_FILES, cloud_relations.provisioning_files),
    (cloud_relations.EDGE, cloud_relations.edge),
    (cloud_relations.EDGE_FALLBACK, cloud_relations.edge_fallback),
    (mqtt_relations.TOPIC_KEYS, mqtt_relations.topics),
    (_mqtt("url", "listen"), mqtt_relations.self),
    (_mqtt("password", "username"), mqtt_relations.login),
    (
        _mqtt("certificate_file", "key_file", "listen_certificate_file", "listen_key_file", "ca_file", "url"),
        mqtt_relations.tls,
    ),
    (_mqtt("listen_credentials_file"), mqtt_relations.credentials_file),
    ((ble_relations.DEVICE,), ble_relations.devices),
    ((ble_relations.BIND_KEYS_FILE,), ble_relations.bind_keys_file),
    ((ble_relations.PROFILES_DIR,), ble_relations.profiles_dir),
    ((camera_relations.CAMERA, camera_relations.AT_ONCE, ("limits", "in_flight_max")), camera_relations.cameras),
    *(((key,), partial(_certificates, key=key)) for key in _CERTIFICATES),
    *(
        ((key, certificate), partial(_key_file, key=key, certificate=certificate))
        for key, certificate in _KEYS_WITH_CERTIFICATES
    ),
)

assert all(key in leaves() for key in chain.from_iterable(keys for keys, _ in _CHECKS))
assert is_secret(("cloud", "connection_string"))
