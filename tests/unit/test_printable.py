"""What a device sent, made fit for a terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.printable import block, one_line, printable_json

HARMFUL = ["\x1b[2J", "\r\n", "\x00", "\x7f", "\x9b31m", "\u2028", "\u202e", "\u2066", "\u061c", "\ufeff", "\ud800"]


@pytest.mark.parametrize("text", HARMFUL)
def test_what_a_terminal_obeys_is_spelled_out(text: str) -> None:
    for shown in (one_line(text), block(text).replace("\n", "")):
        assert all(character.isprintable() for character in shown)


def test_ordinary_text_of_any_language_stays() -> None:
    text = "Größe 3 €; 温度 21,5 °C, مرحبا"
    assert one_line(text) == text
    assert block(f"{text}\n\t{text}") == f"{text}\n\t{text}"


@given(st.text())
def test_no_control_character_is_left_in_a_line(text: str) -> None:
    shown = one_line(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
    shown.encode()


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_json_says_the_same_when_it_is_made_printable(document: object) -> None:
    shown = printable_json(json.dumps(document, ensure_ascii=False))
    assert json.loads(shown) == document
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
