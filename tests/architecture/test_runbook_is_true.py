"""What the pages for operators name exists: settings, commands, reasons."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from gateway.cli import app
from gateway.settings.keys import leaves

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("RUNBOOK.md", "PROVISIONING.md", "IOT-EDGE.md")
SECTIONS = {key[0] for key in leaves()}

each_page = pytest.mark.parametrize("page", PAGES)


def code_of(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", (ROOT / "docs" / page).read_text())


@each_page
def test_every_setting_that_is_named_exists(page: str) -> None:
    known = {".".join(key[: depth + 1]) for key in leaves() for depth in range(len(key))}
    named = [match[0] for text in code_of(page) if (match := re.match(r"[a-z_]+(?:\.[a-z_]+)+(?= = |$)", text))]
    settings = [name for name in named if name.partition(".")[0] in SECTIONS and name != "outbox.db"]

    assert settings
    assert [name for name in settings if name not in known] == []


@each_page
def test_every_command_that_is_named_exists(page: str) -> None:
    commands = [text.split()[1:] for text in code_of(page) if text.startswith("gateway ")]
    top = get_command(app)

    assert commands
    for words in commands:
        command, rest = top, words
        while rest and (inner := getattr(command, "commands", {}).get(rest[0])) is not None:
            command, rest = inner, rest[1:]
        assert command is not top, words
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert [word for word in rest if word.startswith("--") and word not in options] == []


@each_page
def test_every_reason_that_is_named_is_one_that_the_gateway_gives(page: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    rows = [line for line in (ROOT / "docs" / page).read_text().splitlines() if line.startswith("| ")]
    reasons = [name for row in rows for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row.split(" | ")[0])]

    assert reasons
    assert [name for name in reasons if f'"{name}"' not in sources] == []
