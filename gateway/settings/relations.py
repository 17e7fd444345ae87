"""What must hold between settings, and of the files that they name.

Each check is a generator of ``(key to change, text, cure)``. A check whose keys are already known to be wrong is
skipped, so that one mistake is told once.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path

from gateway.errors import OperatorError
from gateway.settings.forms import HostPort, parse_listen
from gateway.settings.given import Given, Layer
from gateway.settings.keys import Key, is_secret, leaves
from gateway.settings.problems import Problem
from gateway.settings.sections import CloudSettings, Section, Settings

Fault = tuple[Key, str, str]

_X509_EXAMPLE = (
    'For example hostname = "myhub.azure-devices.net", device_id = "gateway-1", '
    'certificate_file = "device.pem", key_file = "device.key".'
)
_X509_KEYS = ("hostname", "device_id", "certificate_file", "key_file")


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
    http, admin = parse_listen(settings.http.listen), parse_listen(settings.admin.listen)
    if settings.http.enabled and settings.admin.enabled and _collide(http, admin):
        yield (
            ("admin", "listen"),
            f"is the same port as http.listen = {settings.http.listen}",
            f'Give each a port of its own, for example admin.listen = "127.0.0.1:{http.port % 65535 + 1}".',
        )


def _collide(one: HostPort, other: HostPort) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    same = one.host == other.host or (one.is_loopback and other.is_loopback)
    return same or one.is_every_interface or other.is_every_interface


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
    if data_dir.exists() and not data_dir.is_dir():
        yield ("gateway", "data_dir"), "is a file, not a folder", 'Name a folder, for example data_dir = "data".'


# --- the cloud's credentials --------------------------------------------------------------------------


def _credentials(settings: Settings) -> Iterator[Fault]:
    cloud = settings.cloud
    given = [name for name in _X509_KEYS if getattr(cloud, name)]
    missing = [name for name in _X509_KEYS if name not in given]
    if cloud.connection_string and given:
        yield (
            ("cloud", given[0]),
            "belongs to X.509, and a connection string is given too",
            f"Keep one way: remove {', '.join(given)}, or remove connection_string.",
        )
    elif given and missing:
        yield (
            ("cloud", given[0]),
            f"X.509 needs {', '.join(missing)} too",
            f"Set all four. {_X509_EXAMPLE}",
        )


def _connection_string(settings: Settings) -> Iterator[Fault]:
    text = settings.cloud.connection_string
    if not text:
        return
    from gateway.cloud.connection_string import parse_connection_string

    try:
        parse_connection_string(text)
    except (ValueError, OperatorError) as error:
        yield (
            ("cloud", "connection_string"),
            str(error),
            "Copy it whole from the device's page in the hub: HostName=...;DeviceId=...;SharedAccessKey=....",
        )


def _ca_file(settings: Settings) -> Iterator[Fault]:
    yield from _certificates(settings.cloud.ca_file, ("cloud", "ca_file"))


def _certificate_file(settings: Settings) -> Iterator[Fault]:
    yield from _certificates(settings.cloud.certificate_file, ("cloud", "certificate_file"))


def _certificates(path: Path | None, key: Key) -> Iterator[Fault]:
    """Check that a file holds certificates in PEM which OpenSSL can read."""
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        yield key, "holds no PEM certificate", _pem_cure(path)
    except OSError as error:
        yield key, _unreadable(error), "Name a PEM file that the gateway's user may read."


def _pem_cure(path: Path) -> str:
    return (
        "It must hold -----BEGIN CERTIFICATE-----; from DER it is made with: "
        f"openssl x509 -inform der -in {path.name} -out {path.stem}.pem"
    )


def _key_file(settings: Settings) -> Iterator[Fault]:
    cloud = settings.cloud
    if cloud.key_file is None:
        return
    key: Key = ("cloud", "key_file")
    try:
        text = cloud.key_file.read_bytes()
    except OSError as error:
        yield key, _unreadable(error), "Name a PEM file that the gateway's user may read."
        return
    if b"ENCRYPTED" in text:
        # OpenSSL would ask for the pass phrase on the terminal.
        out = f"{cloud.key_file.stem}-plain.key"
        yield (
            key,
            "is encrypted",
            f"Decrypt it: openssl pkey -in {cloud.key_file.name} -out {out}; then chmod 600 {out}",
        )
    elif b"PRIVATE KEY-----" not in text:
        yield key, "holds no PEM private key", "It must hold -----BEGIN PRIVATE KEY-----, as openssl pkey writes it."
    elif cloud.certificate_file is not None:
        yield from _key_pair(cloud)


def _key_pair(cloud: CloudSettings) -> Iterator[Fault]:
    assert cloud.certificate_file is not None
    assert cloud.key_file is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cloud.certificate_file, cloud.key_file)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield (
                ("cloud", "key_file"),
                "is not the key of certificate_file",
                'Name the key that the certificate was made with, for example key_file = "device.key".',
            )
    except OSError:
        return  # the certificate's own check tells


def _unreadable(error: OSError) -> str:
    return f"this file can't be read: {(error.strerror or 'unknown reason').lower()}"


def _cloud(*names: str) -> tuple[Key, ...]:
    return tuple(("cloud", name) for name in names)


# Each check with the keys that it looks at.
_CHECKS: tuple[tuple[tuple[Key, ...], Callable[[Settings], Iterator[Fault]]], ...] = (
    ((("http", "listen"), ("admin", "listen"), ("http", "enabled"), ("admin", "enabled")), _listeners),
    ((("gateway", "data_dir"),), _data_dir),
    ((("limits", "memory_budget_mb"), ("limits", "image_bytes_max"), ("model", "workers")), _memory),
    (_cloud("backoff_initial_s", "backoff_max_s"), _backoff),
    (_cloud("batch_bytes_max", "drain_batch_bytes_max"), _batches),
    (_cloud("connect_timeout_s", "keep_alive_s"), _keep_alive),
    (_cloud("connection_string", *_X509_KEYS), _credentials),
    (_cloud("connection_string"), _connection_string),
    (_cloud("ca_file"), _ca_file),
    (_cloud("certificate_file"), _certificate_file),
    (_cloud("key_file", "certificate_file"), _key_file),
)

assert all(key in leaves() for key in chain.from_iterable(keys for keys, _ in _CHECKS))
assert is_secret(("cloud", "connection_string"))
