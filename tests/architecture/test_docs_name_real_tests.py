"""What the documents promise names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("document", ["DELIVERY.md", "SECURITY.md"])
def test_every_test_that_a_promise_names_exists(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    sources = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    everything = "\n".join(sources.values())
    functions = set(re.findall(r"\b(test_\w+)(?!\.py)\b(?!\w*\.py)", text)) - set(re.findall(r"(test_\w+)\.py", text))
    files = set(re.findall(r"`([\w/]+/test_\w+\.py)", text))
    assert functions
    assert files
    assert [name for name in sorted(functions) if f"def {name}(" not in everything] == []
    assert [name for name in sorted(files) if not (ROOT / "tests" / name).is_file()] == []


def test_documents_name_no_missing_file() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links {target}"


def test_every_guarantee_has_a_number_of_its_own() -> None:
    numbers = re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs" / "DELIVERY.md").read_text(), flags=re.MULTILINE)
    assert len(numbers) > 50
    assert sorted({number for number in numbers if numbers.count(number) > 1}) == []
