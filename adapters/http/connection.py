"""h11's server side for the clients of this world. No I/O: bytes in, events out, as in h11.

Odd spelling is put right, large headers are refused, answers leave whole.
"""

import re
from typing import Any

import h11

from gateway.identifiers import shortened

# Custom Vision and IoT clients send below 1 kB; browsers with cookies reach 8.
HEADER_BYTES_MAX = 16 * 1024
# Line ends before a request that are forgiven at a time; a flood of them is no request.
LINE_END_BYTES_MAX = 8

# The end of the head, or a line that goes on in the next: whichever comes first.
_FOLD_OR_END = re.compile(rb"\n(?:[ \t]|\r?\n)")
_ABSOLUTE_SCHEMES = (b"http://", b"https://")
# h11 frames an answer by the method that it parsed, so "head" is not put right: it would get a body.
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})


class TolerantConnection(h11.Connection):
    """h11's server side that puts method and target right, caps the header and counts what nobody reads."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX)
        self.requests_seen = 0
        self.discarded_bytes = 0
        self.error_status = 400
        self.error_text = ""
        self._head = b""

    def send(self, event: Any) -> Any:
        """Return the bytes of ``event``; the head of an answer is held back and leaves with its body, in one packet.

        A system call less for each picture, and a wake-up less for its client.
        """
        output = super().send(event)
        if isinstance(event, h11.Response):
            self._head = output or b""
            return b""
        if self._head and output is not None:
            self._head, output = b"", self._head + output
        return output

    def next_event(self) -> Any:
        """Return h11's next event, a Request in canonical spelling."""
        self._skip_line_ends()
        try:
            self._refuse_folds()
            event = super().next_event()
            if isinstance(event, h11.Request):
                self.requests_seen += 1
                self.discarded_bytes = 0
                return canonical(event)
            if isinstance(event, h11.Data) and self.our_state is h11.DONE:
                self.discarded_bytes += len(event.data)
        except h11.RemoteProtocolError as error:
            self.error_status = error.error_status_hint
            self.error_text = shortened(str(error))
            raise
        return event

    def _skip_line_ends(self) -> None:
        """Drop line ends before a request line: weak clients send one more after a body (RFC 9112 section 2.2)."""
        if self.their_state is h11.IDLE:
            # h11 offers no way to do it; tests/integration/test_http_weak_clients.py tells when this one is gone.
            begin = bytes(self._receive_buffer._data[:LINE_END_BYTES_MAX])  # noqa: SLF001
            self._receive_buffer.maybe_extract_at_most(len(begin) - len(begin.lstrip(b"\r\n")))

    def _refuse_folds(self) -> None:
        """Refuse a header line that goes on in the next (RFC 9112 section 5.2): readers disagree on what it says."""
        if self.their_state is h11.IDLE:
            # h11 joins such lines without a word; test_http_smuggling.py tells when its buffer has another name.
            found = _FOLD_OR_END.search(self._receive_buffer._data)  # noqa: SLF001
            if found is not None and found[0][-1:] in b" \t":
                raise h11.RemoteProtocolError("a header line that begins with a space")


def canonical(request: h11.Request) -> h11.Request:
    """Return ``request`` with an upper-case method and an origin-form target; RemoteProtocolError for huge headers."""
    if sum(len(name) + len(value) + 4 for name, value in request.headers) + len(request.target) > HEADER_BYTES_MAX:
        raise h11.RemoteProtocolError("header too large", error_status_hint=431)
    _check_framing(request)
    _check_protocol(request)
    upper = request.method.upper()
    method = upper if upper in _METHODS else request.method
    target = request.target
    if target[:8].lower().startswith(_ABSOLUTE_SCHEMES):
        # RFC 9112 section 3.2.2: a server must accept the absolute form.
        _, _, rest = target.partition(b"://")
        slash = rest.find(b"/")
        target = rest[slash:] if slash >= 0 else b"/"
    if method == request.method and target == request.target:
        return request
    return h11.Request(method=method, target=target, headers=request.headers, http_version=request.http_version)


def _check_framing(request: h11.Request) -> None:
    """Refuse a body whose end two readers would see in two places: what is behind it could pass for a request.

    h11 has refused two different lengths already; two equal ones are one (RFC 9110 section 8.6).
    """
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise h11.RemoteProtocolError("both Transfer-Encoding and Content-Length")
        if request.http_version < b"1.1":
            raise h11.RemoteProtocolError("Transfer-Encoding in HTTP/1.0")


def _check_protocol(request: h11.Request) -> None:
    """Refuse what is not meant for an HTTP/1 server that stands for itself."""
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("neither HTTP/1.1 nor 1.0", error_status_hint=505)
    if request.method == b"CONNECT":
        raise h11.RemoteProtocolError("this is no proxy", error_status_hint=501)
