"""The forms of ids and times that devices give, over whatever protocol. Pure."""

import re
from datetime import UTC, datetime

from gateway.errors import RequestInvalid

DEVICE_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
# Visible ASCII, but no slash: ``/n`` is what the elements of an array submission add to their id.
SUBMISSION_ID = re.compile(r"[!-.0-~]{1,128}")
ITEM_ID = re.compile(r"[!-.0-~]{1,128}(/[0-9]{1,6})?")
# RFC 3339 section 5.6; the offset may follow a space because "+" in a query string means one.
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?(?:([Zz])|([+ -])(\d\d:\d\d))")


def submission_id_checked(submission_id: str) -> str:
    """Return ``submission_id``; RequestInvalid if it is not 1 to 128 visible ASCII characters without a slash."""
    if SUBMISSION_ID.fullmatch(submission_id) is None:
        raise RequestInvalid(
            f"the id {shortened(submission_id)} is not usable",
            hint="an id has 1 to 128 visible ASCII characters and no slash",
        )
    return submission_id


def device_id_checked(device_id: str) -> str:
    """Return ``device_id``; RequestInvalid if it is not 1 to 128 of ``A-Za-z0-9._:@-``."""
    if DEVICE_ID.fullmatch(device_id) is None:
        raise RequestInvalid(
            f"the device id {shortened(device_id)} is not usable",
            hint="a device id has 1 to 128 characters out of A-Z a-z 0-9 . _ : @ -",
        )
    return device_id


def timestamp(text: str) -> datetime:
    """Parse an RFC 3339 date-time to UTC; RequestInvalid with the form that is expected."""
    found = TIMESTAMP.fullmatch(text)
    if found is not None:
        date, time, fraction, zulu, sign, offset = found.groups()
        zone = "+00:00" if zulu else ("-" if sign == "-" else "+") + offset
        try:
            return datetime.fromisoformat(f"{date}T{time}{(fraction or '')[:7]}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # the shape is right but there is no such moment: refused below like any other
    raise RequestInvalid(
        f"captured_at {shortened(text)} is not a time", hint="send RFC 3339 with an offset: 2026-05-04T08:30:00Z"
    )


def shortened(text: str) -> str:
    """Return ``text`` quoted for a message: one line, bounded, ASCII."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")
