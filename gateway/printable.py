"""Text from devices made fit for a terminal and for a line of a log. Pure.

What a device sends may hold characters that end a line, move the cursor, colour what follows, change a window's title
or turn the direction of reading. Such characters are shown as their escapes: C0 and C1 controls, DEL, the separators
that editors take for line ends, bidirectional overrides and isolates, and lone surrogates, which can't be written.
"""

_ORDINARY_ESCAPES = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
_CODES = (
    *range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F),
    *range(0x2066, 0x206A), 0xFEFF, *range(0xD800, 0xE000),
)  # fmt: skip
_CONTROLS = {code: f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}" for code in _CODES} | _ORDINARY_ESCAPES
_CONTROLS_IN_BLOCKS = {code: text for code, text in _CONTROLS.items() if code not in {0x0A, 0x09}}
# JSON's own spelling; what is below a space JSON escapes anyway.
_CONTROLS_IN_JSON = {code: f"\\u{code:04x}" for code in _CODES if code >= 0x7F}


def one_line(text: str) -> str:
    """Return ``text`` as one line without control characters."""
    return text.translate(_CONTROLS)


def block(text: str) -> str:
    """Return ``text`` without control characters but line feeds and tabs."""
    return text.translate(_CONTROLS_IN_BLOCKS)


def printable_json(text: str) -> str:
    """Return a JSON document that says the same, with control characters spelled out; other letters stay readable."""
    return text.translate(_CONTROLS_IN_JSON)
