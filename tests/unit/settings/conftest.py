"""Loading as a test wants it: from texts, in a folder of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from gateway.settings import Problem, Settings, SettingsInvalid, load_settings


class Load(Protocol):
    def __call__(
        self,
        toml: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> Settings: ...


class Mistakes(Protocol):
    def __call__(
        self,
        toml: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> tuple[Problem, ...]: ...


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of the settings file; not the current one."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def load(cwd: Path, site: Path) -> Load:
    def load(
        toml: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> Settings:
        file = None
        if toml is not None:
            file = site / "gateway.toml"
            file.write_text(toml, encoding="utf-8")
        return load_settings(file, environment or {}, overrides or {}, cwd)

    return load


@pytest.fixture
def mistakes(load: Load) -> Mistakes:
    def mistakes(
        toml: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> tuple[Problem, ...]:
        with pytest.raises(SettingsInvalid) as caught:
            load(toml, environment=environment, overrides=overrides)
        return caught.value.problems

    return mistakes
