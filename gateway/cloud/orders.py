"""From settings, identity and message to what the SDK's process is told. Pure, but for the key's file."""

from datetime import UTC
from typing import Any
from urllib.parse import unquote, urlsplit

from gateway.cloud.child_protocol import Provision, Send
from gateway.cloud.identity import X509, EdgeModule, Identity, SymmetricKey
from gateway.cloud.provisioning import proof_fields
from gateway.messages import CloudMessage
from gateway.settings import CloudSettings


def provision_order(settings: CloudSettings) -> Provision:
    """Return what the child asks the provisioning service. Raises OSError and ValueError on its key's file."""
    asked = settings.provisioning
    return Provision(
        host=asked.host,
        id_scope=asked.id_scope,
        registration_id=asked.registration_id,
        **proof_fields(asked),
        **way(settings),
    )


def way(settings: CloudSettings) -> dict[str, Any]:
    """Return the fields of an order on how to connect."""
    proxy = urlsplit(settings.proxy)
    return {
        "ca_file": str(settings.ca_file or ""),
        "websockets": settings.transport == "websockets",
        "proxy_host": proxy.hostname or "",
        "proxy_port": proxy.port or 0,
        "proxy_user": unquote(proxy.username or ""),
        "proxy_password": unquote(proxy.password or ""),
        "keep_alive_s": settings.keep_alive_s,
    }


def proof(identity: Identity) -> dict[str, Any]:
    """Return the fields of Open that prove who we are."""
    match identity:
        case SymmetricKey():
            return {"connection_string": identity.connection.text}
        case X509():
            return {"certificate_file": str(identity.certificate_file), "key_file": str(identity.key_file)}
        case EdgeModule():
            return {"module_environment": dict(identity.environment)}


def to_send(session: int, number: int, message: CloudMessage) -> Send:
    created = message.created_at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    return Send(
        session=session,
        number=number,
        message_id=message.message_id,
        properties={**message.properties, "iothub-creation-time-utc": created},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        body=message.body,
    )
