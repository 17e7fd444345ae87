"""The list before a release: each line can fail, and says why."""

import subprocess
import tarfile
import zipfile
from datetime import date
from importlib import metadata
from pathlib import Path

import pytest

from release import bare_root, licences, packages, version
from release.checklist import Check, failed, go_through, ok

ROOT = Path(__file__).resolve().parents[2]


def tree(root: Path, *, project: str = "1.2.0", package: str = "1.2.0", changelog: str = "1.2.0 (2026-12-01)") -> Path:
    """Return a source tree as small as the checks of versions need."""
    (root / "gateway").mkdir(parents=True)
    (root / "config" / "iot-edge").mkdir(parents=True)
    (root / "pyproject.toml").write_text(f'[project]\nversion = "{project}"\n')
    (root / "gateway" / "__init__.py").write_text(
        f'__version__ = "{package}"\nRELEASED_AT = datetime(2026, 11, 1, tzinfo=UTC)\n'
    )
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n## {changelog}\n\n- all\n\n## 1.1.0 (2026-01-01)\n")
    (root / "config" / "iot-edge" / "deployment.amd64.json").write_text('"<registry>.azurecr.io/gateway:1.2.0-amd64"')
    return root


# --- the list -----------------------------------------------------------------------------------------


def test_every_line_is_told_and_one_failure_fails_the_list() -> None:
    def broken() -> object:
        raise OSError("no such tool")

    told: list[str] = []
    checks = (
        Check(name="first", run=lambda: ok("fine\nand more")),
        Check(name="second", run=broken),  # type: ignore[arg-type]
        Check(name="third", run=lambda: failed("bad")),
    )

    assert not go_through(checks, told.append)
    assert told == [
        "ok      first: fine",
        "        and more",
        "FAILED  second: OSError: no such tool",
        "FAILED  third: bad",
    ]
    assert go_through(checks[:1], told.append)


# --- versions -----------------------------------------------------------------------------------------


def test_one_version_everywhere_is_ok(tmp_path: Path) -> None:
    assert version.same_version(tree(tmp_path)).is_ok


@pytest.mark.parametrize(
    "other", [{"project": "1.2.1"}, {"package": "1.2.1"}, {"changelog": "1.2.1 (2026-12-01)"}], ids=str
)
def test_a_version_that_differs_somewhere_fails_with_the_places(tmp_path: Path, other: dict[str, str]) -> None:
    verdict = version.same_version(tree(tmp_path, **other))

    assert not verdict.is_ok
    assert "1.2.1" in verdict.facts


@pytest.mark.parametrize(
    ("changelog", "today", "is_ok"),
    [
        ("1.2.0 (2026-12-01)", date(2026, 12, 1), True),
        ("1.2.0 (unreleased)", date(2026, 12, 1), False),
        ("1.2.0 (2026-12-01)", date(2026, 11, 30), False),
        ("1.2.0 (2026-10-01)", date(2026, 12, 1), False),
    ],
)
def test_the_date_is_told_and_goes_forward(tmp_path: Path, changelog: str, today: date, is_ok: bool) -> None:
    assert version.dated(tree(tmp_path, changelog=changelog), today=today).is_ok is is_ok


def test_this_tree_has_one_version() -> None:
    assert version.same_version(ROOT).is_ok


def test_a_file_that_is_not_committed_fails(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "new.py").touch()

    verdict = version.committed(tmp_path)

    assert not verdict.is_ok
    assert "new.py" in verdict.facts


# --- licences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "Apache-2.0 OR BSD-3-Clause",
        "Apache Software License",
        "MPL-2.0 AND MIT",
        "ISC License (ISCL)",
        "PSF-2.0",
    ],
)
def test_licences_that_ask_for_notices_are_allowed(licence: str) -> None:
    assert licences.is_allowed(licence)


@pytest.mark.parametrize(
    "licence",
    ["GPL-3.0-only", "GNU General Public License v3 (GPLv3)", "MIT AND LGPL-2.1", "AGPL-3.0", "unknown", "Proprietary"],
)
def test_other_licences_need_a_reason(licence: str) -> None:
    assert not licences.is_allowed(licence)


def test_what_is_shipped_here_is_licensed_and_pyric_is_the_only_exception() -> None:
    verdict = licences.of_what_is_shipped()

    assert verdict.is_ok, verdict.facts
    assert set(licences.REASONS) == {"pyric"}
    assert "pyric" not in set(licences.closure(licences.PROJECT, ()))


def test_a_package_is_judged_by_its_metadata() -> None:
    assert licences.licence_of(metadata.distribution("numpy").metadata).startswith("BSD License")
    assert licences.licence_of(metadata.distribution("starlette").metadata) == "BSD-3-Clause"


# --- packages -----------------------------------------------------------------------------------------


def built(folder: Path, *, wheel: tuple[str, ...], sdist: tuple[str, ...], padding: int = 0) -> tuple[Path, Path]:
    wheel_file, sdist_file = folder / "g.whl", folder / "g.tar.gz"
    with zipfile.ZipFile(wheel_file, "w") as opened:
        for name in wheel:
            opened.writestr(name, b"x")
        opened.writestr("config/padding", bytes(padding))
    with tarfile.open(sdist_file, "w:gz") as opened_sdist:
        for name in sdist:
            opened_sdist.addfile(tarfile.TarInfo(f"g-1/{name}"))
    return wheel_file, sdist_file


WHEEL = packages._IN_WHEEL
SDIST = ("README.md", "LICENSE")


def test_whole_packages_are_ok(tmp_path: Path) -> None:
    assert packages.judged(*built(tmp_path, wheel=WHEEL, sdist=SDIST)).is_ok


@pytest.mark.parametrize(
    ("wheel", "sdist", "padding", "said"),
    [
        (WHEEL[1:], SDIST, 0, f"g.whl has no {WHEEL[0]}"),
        ((*WHEEL, "tests/conftest.py"), SDIST, 0, "g.whl has tests/conftest.py"),
        (WHEEL, SDIST[1:], 0, "g.tar.gz has no README.md"),
        (WHEEL, (*SDIST, "data/hub/ca.key"), 0, "data/hub/ca.key may be a secret"),
        (WHEEL, SDIST, packages.WHEEL_BYTES_MAX, "above 1.5"),
    ],
)
def test_packages_that_lack_leak_or_swell_fail(
    tmp_path: Path, wheel: tuple[str, ...], sdist: tuple[str, ...], padding: int, said: str
) -> None:
    verdict = packages.judged(*built(tmp_path, wheel=wheel, sdist=sdist, padding=padding))

    assert not verdict.is_ok
    assert said in verdict.facts


# --- README in a bare root ----------------------------------------------------------------------------


def test_every_command_of_readme_is_tried_or_left_out_for_a_reason() -> None:
    strangers = bare_root.unplanned((ROOT / "README.md").read_text())

    assert strangers == [], "say in release/bare_root.py how each is tried (PLAN), or why not (LEFT_OUT)"


def test_every_command_of_the_plan_stands_in_readme() -> None:
    told = bare_root.commands_of((ROOT / "README.md").read_text())

    assert [step.command for step in bare_root.PLAN if step.command not in told] == []
    assert [command for command in bare_root.LEFT_OUT if command not in told] == []


def test_commands_are_found_in_blocks_and_in_prose_and_others_are_not() -> None:
    readme = "```\nmake run   # starts\nprose\n```\nor `make hub`, `data/outbox.db`, and `.venv/bin/gateway doctor`."

    assert bare_root.commands_of(readme) == ["make run", "make hub", ".venv/bin/gateway doctor"]
    assert bare_root.unplanned("`make coffee`") == ["make coffee"]
