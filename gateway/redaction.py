"""Secrets out of text: what may never reach a log line, a settings listing or an error.

Pure. Redacts by shape, not by place, because secrets travel inside foreign exceptions:
connection strings (``SharedAccessKey=``), SAS tokens (``sig=``), ``Authorization`` and bearer
values, passwords in URLs. Limit: a secret without such a mark around it is not recognised.
"""

import re

HIDDEN = "***"

# Names of fields whose whole value is secret, wherever they stand.
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:connection[_-]?string|password|passwd|secret|authorization|token|credentials?|api[_-]?key|"
    r"(?:shared[_-]?access|primary|secondary|private|account|prediction)[_-]?key)$",
    re.IGNORECASE,
)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # The key of an IoT Hub, Storage or Service Bus connection string, up to its separator.
    (
        re.compile(r"((?:SharedAccess|Account|Primary|Secondary)Key\s*[=:]\s*[\"']?)[^;\s\"',&]+", re.IGNORECASE),
        r"\1***",
    ),
    # The signature of a SAS token, in a header, an MQTT password or a URL's query.
    (re.compile(r"(\b(?:sig|SharedAccessSignature)=)[^&\s\"',;]+", re.IGNORECASE), r"\1***"),
    (re.compile(r"(\bPrediction-key[\"']?\s*[=:]\s*[\"']?)[^\s\"',;]+", re.IGNORECASE), r"\1***"),
    # "Authorization: <scheme> <value>": the scheme may stay, the value may not.
    (
        re.compile(
            r"(\bAuthorization[\"']?\s*[=:]\s*[\"']?(?:(?:Bearer|Basic|Digest|Negotiate)\s+)?)"
            r"(?!SharedAccessSignature\b)[^\s\"',;]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1***"),
    # user:password@ in a URL. The password may hold an "@" itself: greedy up to the last one before the path.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/]+@", re.IGNORECASE), r"\1***@"),
)


def is_secret_name(name: str) -> bool:
    """Return whether a field of that name holds nothing but a secret (``connection_string``, ``password``...)."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Return ``text`` with the secrets in it replaced by ``***``; all else is as it was. Idempotent."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
