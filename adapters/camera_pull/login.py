"""Who asks, told as the camera wants it: Basic (RFC 7617) and Digest (RFC 7616, and 2617 and 2069 before it). Pure.

Challenges are read as cameras write them: parameters without quotes, in single quotes, with spaces around "=", with
or without commas; names and algorithms in any case; several schemes in one header or in several. Of those that we
know the strongest is answered. Digest's ``auth-int`` is answered where ``auth`` is not offered: our bodies are empty.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from adapters.camera_pull.faults import CameraFault, Reason

Mode = Literal["auto", "none", "basic", "digest"]

_TOKEN = re.compile(
    r"""(?P<name>[\w.!#$%&'*+^`|~-]+)
        (?:\s*=\s*(?P<value>"(?:[^"\\]|\\.)*"?|'[^']*'|[^\s,;"]+))?""",
    re.VERBOSE | re.ASCII,
)
# One for a challenge, and one more for a nonce that is stale.
ANSWERS_MAX = 2
_SCHEMES = frozenset({"basic", "digest", "bearer", "negotiate", "ntlm", "wsse"})
# The strongest first.
_HASHES: Mapping[str, Callable[[bytes], "hashlib._Hash"]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
    "SHA-256": hashlib.sha256,
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One scheme that a camera offers. Names of parameters are in lower case, values without quotes."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def algorithm(self) -> str:
        """The hash's name as in ``_HASHES``; another text for one that we do not know."""
        name = self.parameters.get("algorithm", "MD5").upper().replace("_", "-").removesuffix("-SESS")
        return re.sub(r"^SHA(?=\d)", "SHA-", name).replace("512/256", "512-256")

    @property
    def is_session(self) -> bool:
        return self.parameters.get("algorithm", "").upper().replace("_", "-").endswith("-SESS")

    @property
    def qop(self) -> str:
        """What of the offered is answered; empty where none is offered (RFC 2069)."""
        offered = re.split(r"[\s,;]+", self.parameters.get("qop", "").lower())
        return next((one for one in ("auth", "auth-int") if one in offered), "")

    @property
    def is_stale(self) -> bool:
        return self.parameters.get("stale", "").lower() == "true"

    @property
    def is_answerable(self) -> bool:
        """Whether it is Basic, or a Digest that we can compute."""
        if self.scheme == "basic":
            return True
        has_qop = bool(self.qop) or not self.parameters.get("qop")
        return self.scheme == "digest" and self.algorithm in _HASHES and "nonce" in self.parameters and has_qop


def parse_challenges(values: Sequence[str]) -> tuple[Challenge, ...]:
    """Return what the ``WWW-Authenticate`` headers offer, in their order."""
    found: list[tuple[str, dict[str, str]]] = []
    for value in values:
        for token in _TOKEN.finditer(value):
            name = token["name"].lower()
            if token["value"] is not None and found:
                found[-1][1].setdefault(name, _unquoted(token["value"]))
            elif name in _SCHEMES:
                found.append((name, {}))
            elif found and name.startswith("auth"):  # qop=auth,auth-int without quotes
                found[-1][1]["qop"] = f"{found[-1][1].get('qop', '')},{name}"
    return tuple(Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in found)


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text.strip("'")
    if text.startswith('"'):
        return re.sub(r"\\(.)", r"\1", text.removeprefix('"').removesuffix('"'))
    return text


class Login:
    """What a camera is told of who asks; remembers its last challenge, so that the next picture needs one request."""

    def __init__(self, *, mode: Mode, username: str, password: str, cnonce: Callable[[], str]) -> None:
        self._mode = mode
        self._username = _on_the_wire(username)
        self._password = _on_the_wire(password)
        self._cnonce = cnonce
        self._challenge: Challenge | None = None
        self._count = 0
        self._answers = 0
        self._sent = False
        self._digest_seen = False
        self.begin()

    def begin(self) -> None:
        """Begin another picture: what was answered before may have aged."""
        self._answers = 0
        if self._challenge is None and self._mode == "basic":
            self._challenge = Challenge(scheme="basic")

    def header(self, target: str) -> str:
        """Return the Authorization for a GET of ``target``; empty as long as the camera has not asked for one."""
        self._sent = self._challenge is not None and bool(self._username)
        if self._challenge is None or not self._username:
            return ""
        if self._challenge.scheme == "basic":
            pair = f"{self._username}:{self._password}".encode("latin-1")
            return f"Basic {base64.b64encode(pair).decode()}"
        self._count += 1
        return digest_answer(
            self._challenge,
            username=self._username,
            password=self._password,
            target=target,
            count=self._count,
            cnonce=self._cnonce(),
        )

    def challenged(self, values: Sequence[str]) -> None:
        """Take the challenges of a 401, to be answered by the next header. Raises CameraFault when that is no use.

        The password is taken for wrong when it was told in answer to a challenge of this very picture, or as Basic;
        but for a nonce that is stale, once.
        """
        last = self._challenge if self._sent else None
        chosen = self._chosen(values)
        self._challenge = chosen
        self._count = 0
        if chosen is None:
            raise CameraFault(Reason.LOGIN_UNKNOWN, self._unanswerable(values))
        is_same_basic = last is not None and last.scheme == chosen.scheme == "basic"
        is_answered = last is not None and self._answers >= 1 and not (chosen.is_stale and self._answers < ANSWERS_MAX)
        if is_same_basic or is_answered:
            self._challenge = None
            raise CameraFault(Reason.LOGIN_REFUSED, "it refuses username and password")
        self._answers += 1

    def _chosen(self, values: Sequence[str]) -> Challenge | None:
        usable = [one for one in parse_challenges(values) if self._accepts(one)]
        self._digest_seen |= any(one.scheme == "digest" for one in usable)
        return min(usable, key=_rank, default=None)

    def _accepts(self, challenge: Challenge) -> bool:
        if not self._username or self._mode == "none" or not challenge.is_answerable:
            return False
        if challenge.scheme == "basic":
            # A camera that knew Digest does not lose it: somebody in between would like to read the password.
            return self._mode == "basic" or (self._mode == "auto" and not self._digest_seen)
        return self._mode in {"auto", "digest"}

    def _unanswerable(self, values: Sequence[str]) -> str:
        if not self._username:
            return "it asks for a login: set username and password_file"
        offered = ", ".join(one.scheme for one in parse_challenges(values)) or "nothing"
        return f"it asks for a login and offers {offered}, which auth = {self._mode} does not answer"


def _rank(challenge: Challenge) -> int:
    if challenge.scheme == "basic":
        return len(_HASHES)
    return list(_HASHES).index(challenge.algorithm)


def digest_answer(
    challenge: Challenge, *, username: str, password: str, target: str, count: int, cnonce: str, method: str = "GET"
) -> str:
    """Return the Authorization that answers ``challenge``: RFC 7616 section 3.4.

    ``algorithm`` is told as the camera wrote it, and only if it did, since some compare letters. All texts are of
    Latin-1 characters, one for each byte.
    """
    hashed = _HASHES[challenge.algorithm]

    def h(*parts: str) -> str:
        return hashed(":".join(parts).encode("latin-1")).hexdigest()

    given = challenge.parameters
    realm, nonce, qop = given.get("realm", ""), given["nonce"], challenge.qop
    secret = h(username, realm, password)
    if challenge.is_session:
        secret = h(secret, nonce, cnonce)
    asked = h(method, target, h("")) if qop == "auth-int" else h(method, target)
    nc = f"{count:08x}"
    response = h(secret, nonce, nc, cnonce, qop, asked) if qop else h(secret, nonce, asked)
    is_hashed = given.get("userhash", "").lower() == "true"
    fields = [
        f'username="{_quoted(h(username, realm) if is_hashed else username)}"',
        f'realm="{_quoted(realm)}"',
        f'nonce="{_quoted(nonce)}"',
        f'uri="{target}"',
        *([f'cnonce="{cnonce}"'] if qop or challenge.is_session else []),
        *([f"nc={nc}", f"qop={qop}"] if qop else []),
        f'response="{response}"',
        *([f'opaque="{_quoted(given["opaque"])}"'] if "opaque" in given else []),
        *([f"algorithm={given['algorithm']}"] if "algorithm" in given else []),
        *(["userhash=true"] if is_hashed else []),
    ]
    return f"Digest {', '.join(fields)}"


def _on_the_wire(text: str) -> str:
    """Return UTF-8, one character for each byte: what cameras send comes in that form too, and goes back as it was."""
    return text.encode().decode("latin-1")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
