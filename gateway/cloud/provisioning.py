"""The Device Provisioning Service (DPS), as far as the gateway decides: what it is asked, and when it is asked again.

DPS says once which hub this gateway belongs to. The answer is kept in the data directory, so that a site that is
offline at its next start needs nobody. It is asked again when the hub refuses us or its name is gone: devices are
moved between hubs. While it does not answer, the last answer counts: a DPS that is down stops no site.

An answer belongs to the question: another scope, registration id or host is a question that was never answered.
The SDK's process asks (azure_iot_hub.py); keys go to it through the pipe. No text here ever holds a key.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.cloud.connection_string import ConnectionString
from gateway.cloud.identity import X509, SymmetricKey
from gateway.errors import LinkDown
from gateway.settings import CloudProvisioningSettings

log = structlog.get_logger(__name__)

ASSIGNMENT_NAME = "cloud-assignment.json"
# The hub's word that it does not know us (any more), and a hub whose name is gone.
REASONS_TO_ASK_AGAIN = frozenset({"credentials_refused", "dns_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What DPS answered, and to which question. No secret."""

    host: str
    id_scope: str
    registration_id: str
    hub: str
    device_id: str
    assigned_at: str  # by the wall clock, for people

    def answers(self, asked: CloudProvisioningSettings) -> bool:
        """Return whether it belongs to this question."""
        return (self.host, self.id_scope, self.registration_id) == (asked.host, asked.id_scope, asked.registration_id)


class AssignmentFile:
    """Owns ``cloud-assignment.json`` in the data directory (0600). Blocks on the disk."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / ASSIGNMENT_NAME

    def load(self, asked: CloudProvisioningSettings) -> Assignment | None:
        """Return what was answered to this question, or None. A file that can't be used is logged: DPS is asked."""
        try:
            found = Assignment(**json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("cloud_assignment_unreadable", file=str(self.path), error=str(error))
            return None
        return found if found.answers(asked) else None

    def keep(self, assignment: Assignment) -> None:
        """Return when it is on disk. Raises OSError."""
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(asdict(assignment), indent=2).encode())
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            # `gateway provision` run by root, for a service that runs as somebody: the file is the folder's owner's.
            owner = self.path.parent.stat()
            os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.replace(self.path)


class Provisioner:
    """Knows the assignment, and when to doubt it. Used by one session at a time."""

    def __init__(self, asked: CloudProvisioningSettings, file: AssignmentFile) -> None:
        self._asked = asked
        self._file = file
        self._doubts = False

    def doubt(self, reason: str) -> None:
        """Take note of why a session could not be opened."""
        if reason in REASONS_TO_ASK_AGAIN:
            self._doubts = True

    async def assignment(self, ask: Callable[[], Awaitable[Assignment]]) -> Assignment:
        """Return the hub to use: the one known, or DPS's answer. Raises LinkDown when there is neither."""
        known = self._file.load(self._asked)
        if known is not None and not self._doubts:
            return known
        try:
            answer = await ask()
        except LinkDown as error:
            if known is None:
                raise
            log.warning("provisioning_failed", reason=error.reason, detail=error.detail, hub=known.hub)
            return known
        self._doubts = False
        self._keep(answer)
        return answer

    def _keep(self, answer: Assignment) -> None:
        log.info("provisioned", hub=answer.hub, device_id=answer.device_id)
        try:
            self._file.keep(answer)
        except OSError as error:
            # Costs a question to DPS at the next start, not service.
            log.warning("cloud_assignment_not_kept", file=str(self._file.path), error=str(error))


def device_key(asked: CloudProvisioningSettings) -> str:
    """Return this device's symmetric key in base64, derived if the file holds a group's; empty with X.509.

    Reads the key's file. Raises OSError, and ValueError for what is no key.
    """
    if asked.group_key_file is not None:
        return derived_key(asked.group_key_file.read_text().strip(), asked.registration_id)
    if asked.key_file is not None:
        return asked.key_file.read_text().strip()
    return ""


def derived_key(group_key: str, registration_id: str) -> str:
    """Return a device's key in an enrolment group. Raises ValueError for a group key that is not base64.

    Source: "Symmetric key attestation", group enrollments: base64 of HMAC-SHA256 over the registration id, with the
    decoded group key.
    """
    digest = hmac.digest(base64.b64decode(group_key, validate=True), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def proof_fields(asked: CloudProvisioningSettings) -> dict[str, Any]:
    """Return the fields of an order to the SDK's process that prove who we are. Raises as device_key does."""
    return {
        "symmetric_key": device_key(asked),
        "certificate_file": str(asked.certificate_file or ""),
        "key_file": str(asked.certificate_key_file or ""),
    }


def identity_at(assignment: Assignment, asked: CloudProvisioningSettings) -> SymmetricKey | X509:
    """Return who we are to the assigned hub: DPS gives a hub, not a key. Raises as device_key does."""
    if asked.certificate_file is not None and asked.certificate_key_file is not None:
        return X509(
            hostname=assignment.hub,
            device_id=assignment.device_id,
            certificate_file=asked.certificate_file,
            key_file=asked.certificate_key_file,
        )
    key = device_key(asked)
    text = f"HostName={assignment.hub};DeviceId={assignment.device_id};SharedAccessKey={key}"
    return SymmetricKey(
        connection=ConnectionString(
            hostname=assignment.hub, device_id=assignment.device_id, shared_access_key=key, text=text
        )
    )
