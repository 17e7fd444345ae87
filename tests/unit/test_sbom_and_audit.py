"""The bill of materials lists what is shipped, always the same; the audit tells clean, vulnerable and unknown apart."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.audit import CLEAN, NOT_CHECKED, VULNERABLE, judged
from release.lock import read_lock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def boms(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The bill of materials, made twice."""
    folder = tmp_path_factory.mktemp("bom")
    for name in ("one.json", "two.json"):
        command = [sys.executable, "-W", "error", "-m", "release.sbom", "--out", str(folder / name)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return (folder / "one.json").read_text(), (folder / "two.json").read_text()


def test_bill_is_valid_cyclonedx_and_the_same_each_time(boms: tuple[str, str]) -> None:
    assert boms[0] == boms[1]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(boms[0]) is None


def test_bill_has_what_is_shipped_in_the_locked_versions_and_no_tools(boms: tuple[str, str]) -> None:
    bom = json.loads(boms[0])
    found = {part["name"]: part for part in bom["components"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {one.name: one.version for one in read_lock() if one.is_for_here()}
    for text in project["dependencies"]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if requirement.marker is None or requirement.marker.evaluate():
            assert (found[name]["version"], found[name]["scope"]) == (locked[name], "required")
    assert found["bthome-ble"]["scope"] == "optional"
    assert found.keys().isdisjoint({"pytest", "mypy", "hypothesis", "pip-audit", "cyclonedx-python-lib"})
    needs = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
    assert found["h11"]["purl"] in needs[found["uvicorn"]["purl"]]


def test_nearly_every_component_has_its_licence(boms: tuple[str, str]) -> None:
    parts = json.loads(boms[0])["components"]
    without = [part["name"] for part in parts if "licenses" not in part]
    assert len(without) < len(parts) / 20, without


def report(*packages: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SOUND = {"name": "h11", "version": "0.16.0", "vulns": []}
BAD = {"name": "h11", "version": "0.14.0", "vulns": [{"id": "CVE-2025-43859", "fix_versions": ["0.16.0"]}]}
SKIPPED = {"name": "x", "skip_reason": "could not be found"}


def test_audit_tells_clean_from_vulnerable() -> None:
    assert judged(report(SOUND), "", 1).status == CLEAN
    verdict = judged(report(SOUND, BAD), "", 2)
    assert verdict.status == VULNERABLE
    assert "h11 0.14.0: CVE-2025-43859 (mended in 0.16.0)" in verdict.text


@pytest.mark.parametrize("answer", ["", "{}", "null", report(), report(SKIPPED)])
def test_audit_without_an_answer_for_each_package_is_not_clean(answer: str) -> None:
    verdict = judged(answer, "Traceback\nConnectionError: no route", 1)
    assert verdict.status == NOT_CHECKED
    assert verdict.text.startswith("NOT CHECKED")


def test_audit_that_reaches_no_advisories_says_so(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("h11==0.16.0\n")
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "release.audit", "--lock", str(lock)],
        cwd=ROOT,
        env=nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == NOT_CHECKED, done.stdout + done.stderr
    assert "could not be reached" in done.stdout


def test_every_line_of_the_lock_file_is_a_pin() -> None:
    assert len(read_lock()) > 100
