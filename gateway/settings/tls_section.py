"""``[tls]``: the certificate that the listeners show, and those that they believe."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.settings.forms import check_host_name
from gateway.settings.section import Section

ClientCertificates = Literal["off", "optional", "required"]
TLS_TEXT = "Whether devices speak TLS here, with the certificate of [tls]."
CLIENT_CERTIFICATES_TEXT = (
    "Whether a device may (optional) or must (required) prove itself by a certificate: its common name, or else an "
    "alternative name, is then the device's id, whatever the device claims. Needs TLS."
)
PLAIN_NETWORKS_TEXT = (
    'Devices that know no TLS, and may do without where it is on, by address: ["192.168.10.20/32"]. What they send can '
    "be read and changed on the way, their secrets too."
)
INTERFACE_TEXT = (
    'Serve only what comes in by this network interface, for example "eth1"; an address alone lets in who is routed '
    "to it from another side. Linux 5.7 or newer, or CAP_NET_RAW. Empty: any."
)


class TlsSettings(Section):
    """The certificate that the listeners show. Nothing set: a local authority makes one that never runs out."""

    certificate_file: Path | None = Field(
        default=None,
        description="A certificate chain of your own, PEM. Read again when the file changes. Unset: tls/server.pem in "
        "the data directory, signed by tls/authority.pem there, for the names and addresses of this host.",
    )
    key_file: Path | None = Field(
        default=None, description="Its private key, PEM, not encrypted; readable by the gateway's user only."
    )
    names: tuple[Annotated[str, AfterValidator(check_host_name)], ...] = Field(
        default=(),
        max_length=16,
        description='More names or addresses for the local certificate: ["gateway.farm.example"].',
    )
    client_ca_file: Path | None = Field(
        default=None,
        description="The authorities whose certificates devices may show, PEM. Unset: the local one, which issues "
        "them: `gateway devices add cam-1 --certificate FOLDER`.",
    )
    check_client_dates: bool = Field(
        default=False,
        description="Whether a device's certificate that has run out is refused. Off: a site without a right clock, or "
        "without a link when it runs out, would lock its devices out; `gateway devices revoke` ends one for good.",
    )
