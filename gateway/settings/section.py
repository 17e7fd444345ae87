"""What all sections of the settings share: the frozen table, and the types of values."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.config import JsonDict

from gateway.settings.forms import check_listen, check_listen_or_off, parse_listen

MIB = 1024 * 1024

Network = IPv4Network | IPv6Network

Listen = Annotated[str, AfterValidator(check_listen)]
ListenOrOff = Annotated[str, AfterValidator(check_listen_or_off)]

# Secrets are fields with repr=False: hidden from listings and errors too. JSON Schema's word for it is writeOnly.
WRITE_ONLY: JsonDict = {"writeOnly": True}


Access = Literal["auto", "open", "known", "authenticated"]
EffectiveAccess = Literal["open", "known", "authenticated"]
ACCESS_TEXT = (
    "Who may send: open (anybody), known (what names a device that `gateway devices add` made known), authenticated "
    "(what proves it with the device's token or password). auto: open on loopback, authenticated elsewhere."
)


def effective_access(access: Access, listen: str) -> EffectiveAccess:
    """Return what ``auto`` means for a listener: whoever is on this machine can read the data directory anyway."""
    if access != "auto":
        return access
    return "open" if parse_listen(listen).is_loopback else "authenticated"


class Section(BaseModel):
    """A table of the settings file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
