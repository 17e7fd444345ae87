"""Who may send over this listener, and as which device: ``http.access``.

``open``: anybody; a right token still tells which device it is. ``known``: what claims the id of a known device, or
proves it. ``authenticated``: what proves it. A proof overrides whatever id the request claims; a certificate, which
the handshake has verified, is one and outweighs every secret.
"""

from typing import Literal

from starlette.requests import Request

from adapters.http.credentials import KEY_QUERY, Shown, shown_by
from gateway.errors import DeviceUnknown, NotAuthenticated
from gateway.ports import Gatekeeper

# Where protocol.py leaves the device id of the connection's certificate; empty: it names none.
CERTIFIED = "certified"
CERTIFICATE_HINT = "its common name must be the device id: 1 to 128 characters out of A-Z a-z 0-9 . _ : @ -"
REVOKED_HINT = "`gateway devices add` lets it in again"

Access = Literal["open", "known", "authenticated"]


class Admission:
    """Decides for each request."""

    def __init__(self, *, access: Access, gatekeeper: Gatekeeper | None) -> None:
        assert gatekeeper is not None or access == "open", "nobody knows the devices"
        self._access = access
        self._gatekeeper = gatekeeper

    async def device_of(self, request: Request, claimed: str, *, key_query: str = KEY_QUERY) -> str:
        """Return which device sends this. Raises NotAuthenticated, DeviceUnknown or TooManyFailures.

        ``key_query`` names the parameter of the query that may hold the secret.
        """
        certified: str | None = request.scope.get("state", {}).get(CERTIFIED)
        if certified is not None:
            return self._certified(certified)
        shown = shown_by(request.query_params, request.headers, key_query=key_query)
        if self._gatekeeper is None:
            return claimed
        if self._access == "open":
            # Clients of the cloud's Custom Vision send its Prediction-Key: here it means nothing, and is no failure.
            return (self._gatekeeper.recognise(shown.secret) if shown is not None else None) or claimed
        if shown is not None:
            return await self._prove(self._gatekeeper, request, shown, claimed)
        if self._access == "authenticated":
            raise NotAuthenticated("this listener serves devices that prove who they are (http.access)")
        if not self._gatekeeper.is_known(claimed):
            raise DeviceUnknown(f"{claimed} is not a known device, and this listener serves no others (http.access)")
        return claimed

    def _certified(self, device_id: str) -> str:
        if not device_id:
            raise NotAuthenticated("the certificate's names are no device ids", hint=CERTIFICATE_HINT)
        if self._gatekeeper is not None and self._gatekeeper.is_revoked(device_id):
            raise NotAuthenticated(f"{device_id} was revoked", hint=REVOKED_HINT)
        return device_id

    async def _prove(self, gatekeeper: Gatekeeper, request: Request, shown: Shown, claimed: str) -> str:
        source = request.client.host if request.client else ""
        device_id = shown.device_id
        if shown.by_query and gatekeeper.recognise(shown.secret) is None:
            device_id = claimed  # ?user=cam-3&pwd=...: what fits into such a device is a password, not a token
        return await gatekeeper.prove(device_id=device_id, secret=shown.secret, source=source)
