"""The shipped settings file and its schema, and copying them out."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from gateway.config_files import write_config_files
from gateway.errors import OperatorError
from gateway.settings import Settings, load_settings
from gateway.settings.generate import schema_text, toml_text

CONFIG = Path(str(files("config")))
TOML = (CONFIG / "gateway.toml").read_text(encoding="utf-8")


def uncommented(toml: str) -> str:
    """Remove the mark of every key that is commented out; explanations begin with "# "."""
    return re.sub(r"^#(?=[a-z_]+ = )", "", toml, flags=re.MULTILINE)


def keys(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def keys_of_tree(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from keys_of_tree(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def written_keys(toml: str) -> Iterator[str]:
    table = ""
    for line in toml.splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            table = header[1]
        elif pair := re.match(r"#?([a-z_]+) = ", line):
            yield f"{table}.{pair[1]}"


# --- the settings file --------------------------------------------------------------------------------


def test_the_settings_file_is_the_generated_one() -> None:
    assert toml_text() == TOML, "run: python -m gateway.settings.generate"


def test_the_schema_is_the_generated_one() -> None:
    shipped = (CONFIG / "gateway.schema.json").read_text(encoding="utf-8")

    assert schema_text() == shipped, "run: python -m gateway.settings.generate"


def test_the_settings_file_holds_every_key_exactly_once() -> None:
    assert Counter(written_keys(TOML)) == Counter(key for key, _ in keys(Settings()))


def test_the_settings_file_tells_every_default_truly() -> None:
    told = dict(keys_of_tree(tomllib.loads(uncommented(TOML))))

    for key, default in keys(Settings()):
        plain = (
            list(default)
            if isinstance(default, tuple)
            else ""
            if default is None
            else str(default)
            if isinstance(default, Path)
            else default
        )
        assert told[key] == plain, key


def test_the_settings_file_with_everything_uncommented_loads_as_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(uncommented(TOML), encoding="utf-8")

    told, default = (dict(keys(load_settings(source, {}, {}, tmp_path))) for source in (file, None))

    # The model of the file is beside it; that of the defaults in the package.
    assert told.pop("model.path") == tmp_path / "models" / "fruit"
    assert default.pop("model.path") == CONFIG / "models" / "fruit"
    assert told == default


def test_the_settings_file_as_shipped_is_safe_to_start_with(tmp_path: Path) -> None:
    settings = load_settings(CONFIG / "gateway.toml", {}, {}, tmp_path)

    assert settings.http.listen == "127.0.0.1:8080"
    assert settings.admin.listen == "127.0.0.1:8081"
    assert settings.model.path == CONFIG / "models" / "fruit"
    assert settings.gateway.data_dir == tmp_path / "data"
    assert not settings.cloud.configured


def test_every_key_has_an_explanation_above_it() -> None:
    lines = TOML.splitlines()

    bare = [line for above, line in pairwise(lines) if re.match(r"#?[a-z_]+ = ", line) and above[:2] != "# "]

    assert bare == []


# --- the schema ---------------------------------------------------------------------------------------


def test_the_schema_accepts_the_settings_file() -> None:
    schema = json.loads(schema_text())

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(uncommented(TOML)), schema)


@pytest.mark.parametrize("toml", ["[http]\nlistn = 1", "[model]\nworkers = 65", '[cloud]\ntransport = "x"', "[mqqt]"])
def test_the_schema_refuses_what_loading_refuses(toml: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(toml), json.loads(schema_text()))


# --- gateway config init ------------------------------------------------------------------------------


def shipped() -> set[Path]:
    return {
        path.relative_to(CONFIG)
        for path in CONFIG.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != "__init__.py"
    }


def test_all_that_ships_is_written_and_listed(tmp_path: Path) -> None:
    written = write_config_files(tmp_path / "new" / "config")

    relative = {path.relative_to(tmp_path / "new" / "config") for path in written}
    assert relative == shipped()
    assert Path("gateway.toml") in relative
    assert all(
        path.read_bytes() == (CONFIG / path.relative_to(tmp_path / "new" / "config")).read_bytes() for path in written
    )


def test_nothing_is_written_when_a_file_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("mine")

    with pytest.raises(OperatorError, match="--force") as caught:
        write_config_files(tmp_path)

    assert str(tmp_path / "gateway.toml") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.toml"]
    assert (tmp_path / "gateway.toml").read_text() == "mine"


def test_force_overwrites_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")

    write_config_files(tmp_path, force=True)

    assert (tmp_path / "gateway.toml").read_text(encoding="utf-8") == TOML
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OperatorError, match="can't write"):
        write_config_files(tmp_path / "file" / "config")


def test_what_was_written_can_be_loaded(tmp_path: Path) -> None:
    write_config_files(tmp_path)

    assert load_settings(tmp_path / "gateway.toml", {}, {}, tmp_path).model.path == tmp_path / "models" / "fruit"
