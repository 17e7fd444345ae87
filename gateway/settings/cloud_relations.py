"""What must hold between the settings of the cloud's identity. Each check is a generator as in relations.py."""

import base64
import binascii
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import OperatorError
from gateway.settings.keys import Key, dotted
from gateway.settings.problems import Fault, unreadable
from gateway.settings.sections import Settings

_X509_EXAMPLE = (
    'For example hostname = "myhub.azure-devices.net", device_id = "gateway-1", '
    'certificate_file = "device.pem", key_file = "device.key".'
)
_X509_KEYS = ("hostname", "device_id", "certificate_file", "key_file")
_PROVISIONING_NAMES = ("id_scope", "registration_id", "key_file", "group_key_file", "certificate_file")
_KEY_NAMES = ("key_file", "group_key_file")
_EDGE_NAMES = (
    *("hub_hostname", "gateway_hostname", "device_id", "module_id"),
    *("generation_id", "workload_uri", "api_version"),
)

# systemd gives a service its credentials by an access control list, whose mask shows as rights of the group.
SYSTEMD_CREDENTIALS = Path("/run/credentials")

PROVISIONING: tuple[Key, ...] = tuple(
    ("cloud", "provisioning", name) for name in (*_PROVISIONING_NAMES, "certificate_key_file")
)
PROVISIONING_FILES: tuple[Key, ...] = tuple(
    ("cloud", "provisioning", name) for name in (*_KEY_NAMES, "certificate_key_file")
)
CREDENTIALS: tuple[Key, ...] = (
    ("cloud", "connection_string"),
    *(("cloud", name) for name in _X509_KEYS),
    PROVISIONING[0],
)
EDGE: tuple[Key, ...] = tuple(("cloud", "edge", name) for name in _EDGE_NAMES)
EDGE_FALLBACK: tuple[Key, ...] = (("cloud", "edge", "connection_string"), ("cloud", "edge", "ca_file"))


def credentials(settings: Settings) -> Iterator[Fault]:
    """Ask for one way to be known to the hub."""
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
    elif cloud.provisioning.id_scope and (cloud.connection_string or given):
        other = "connection_string" if cloud.connection_string else ", ".join(given)
        yield (
            PROVISIONING[0],
            f"belongs to the provisioning service, and cloud.{other} is given too",
            f"Keep one way: remove [cloud.provisioning], or remove {other}.",
        )


def connection_string(settings: Settings) -> Iterator[Fault]:
    """Ask for a connection string that has what it needs."""
    text = settings.cloud.connection_string
    if not text:
        return
    if said := _fault_of_connection_string(text):
        yield (
            ("cloud", "connection_string"),
            said,
            "Copy it whole from the device's page in the hub: HostName=...;DeviceId=...;SharedAccessKey=....",
        )


def provisioning(settings: Settings) -> Iterator[Fault]:
    """Ask for a scope, a registration id, and one proof: a key, a group's key, or a certificate with its key."""
    asked = settings.cloud.provisioning
    given = [key for key in PROVISIONING if getattr(asked, key[-1])]
    if not given:
        return
    for name in ("id_scope", "registration_id"):
        if not getattr(asked, name):
            yield (
                given[0],
                f"provisioning needs {name} too",
                f'Set it, for example {name} = "{"0ne000A1B2C" if name == "id_scope" else "gateway-1"}".',
            )
    if bool(asked.certificate_file) != bool(asked.certificate_key_file):
        missing = "certificate_key_file" if asked.certificate_file else "certificate_file"
        yield given[0], f"X.509 needs {missing} too", f'Set both, for example {missing} = "device.pem".'
    proofs = [name for name in (*_KEY_NAMES, "certificate_file") if getattr(asked, name)]
    if (len(proofs) != 1 and not asked.certificate_key_file) or len(proofs) > 1:
        yield (
            given[0],
            f"has {' and '.join(proofs) or 'nothing'} to prove who this is",
            "Set one of key_file, group_key_file, or certificate_file with certificate_key_file.",
        )


def provisioning_files(settings: Settings) -> Iterator[Fault]:
    """Ask for keys that the gateway's user alone can reach, and that are what they should be."""
    for key in PROVISIONING_FILES:
        path: Path | None = getattr(settings.cloud.provisioning, key[-1])
        if path is None:
            continue
        try:
            mode = path.stat().st_mode
            text = path.read_bytes()
        except OSError as error:
            yield key, unreadable(error), "Name a file that the gateway's user may read."
            continue
        if stat.S_IMODE(mode) & 0o077 and not path.is_relative_to(SYSTEMD_CREDENTIALS):
            yield (
                key,
                f"others than the gateway's user can reach this key (mode {stat.S_IMODE(mode):04o})",
                f"Close it: chmod 600 {path} (and chown it to the gateway's user).",
            )
        elif key[-1] in _KEY_NAMES and not _is_symmetric_key(text):
            yield (
                key,
                "holds no symmetric key",
                "It must hold the key in base64 and nothing else, as the enrolment's page shows it.",
            )


def edge(settings: Settings) -> Iterator[Fault]:
    """Ask for all that the runtime of IoT Edge says, or nothing."""
    told = settings.cloud.edge
    missing = [key for key in EDGE if not getattr(told, key[-1])]
    if missing and len(missing) < len(EDGE):
        given = next(key for key in EDGE if key not in missing)
        yield (
            given,
            f"an IoT Edge module is told {', '.join(dotted(key) for key in missing)} too",
            "The runtime sets these; by hand set all or none. Which variable is which stands in gateway.toml.",
        )


def edge_fallback(settings: Settings) -> Iterator[Fault]:
    """Ask for a module's connection string through a gateway, and the authority of its certificate."""
    told = settings.cloud.edge
    key = EDGE_FALLBACK[0]
    if not told.connection_string or told.uses_workload_api:
        return
    if said := _fault_of_connection_string(told.connection_string):
        yield key, said, "It is HostName=...;DeviceId=...;ModuleId=...;SharedAccessKey=...;GatewayHostName=...."
    elif missing := [name for name in ("ModuleId", "GatewayHostName") if f"{name}=" not in told.connection_string]:
        yield key, f"it has no {' and no '.join(missing)}", "A module's connection string through edgeHub has both."
    elif told.ca_file is None:
        yield key, "needs cloud.edge.ca_file too", "Set $EdgeModuleCACertificateFile to the PEM of edgeHub's authority."


def _fault_of_connection_string(text: str) -> str:
    from gateway.cloud.connection_string import parse_connection_string

    try:
        parse_connection_string(text)
    except (ValueError, OperatorError) as error:
        return str(error)
    return ""


def _is_symmetric_key(text: bytes) -> bool:
    try:
        return 16 <= len(base64.b64decode(text.strip(), validate=True)) <= 64  # what DPS takes
    except binascii.Error:
        return False
