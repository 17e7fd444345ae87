"""Every mistake at once, each with where it stands and how to mend it."""

from pathlib import Path

import pytest

from gateway.errors import OperatorError
from gateway.settings import SettingsInvalid, load_settings
from tests.unit.settings.conftest import Load, Mistakes


def test_all_mistakes_of_all_sources_are_told_at_once_in_the_order_in_which_they_stand(mistakes: Mistakes) -> None:
    toml = '[http]\nlisten = "8080"\n\n[limits]\nmemory_budget_mb = 1\nspeed = 3\n'

    problems = mistakes(toml, environment={"GATEWAY_MODEL__WORKERS": "-1"}, overrides={"cloud.window": "99"})

    assert [(problem.where.rpartition("/")[2], problem.key) for problem in problems] == [
        ("gateway.toml:2", "http.listen"),
        ("gateway.toml:5", "limits.memory_budget_mb"),
        ("gateway.toml:6", "limits.speed"),
        ("environment GATEWAY_MODEL__WORKERS", "model.workers"),
        ("command line --set", "cloud.window"),
    ]


def test_the_error_stops_a_command_and_its_text_holds_every_mistake(load: Load) -> None:
    with pytest.raises(OperatorError) as caught:
        load('[http]\nlisten = "8080"\n[gateway]\nid = "a b"')

    text = str(caught.value)
    assert text.startswith("2 mistakes in the settings:")
    assert 'gateway.toml:2: http.listen = "8080": is a port without a host' in text
    assert 'gateway.toml:4: gateway.id = "a b"' in text


def test_a_file_below_the_current_folder_is_named_as_typed_there(cwd: Path) -> None:
    (cwd / "config").mkdir()
    (cwd / "config" / "gateway.toml").write_text("[http]\nenabled = 1")

    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Path("config/gateway.toml"), {}, {}, cwd)

    assert caught.value.problems[0].where == "config/gateway.toml:2"


# --- unknown keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "key", "cure"),
    [
        ("[http]\nlisten_on = 1", "http.listen_on", "Did you mean listen?"),
        ("[http]\ndata_dir = 1", "http.data_dir", "Did you mean data_dir under [gateway]?"),
        ("listen = 1", "listen", "Did you mean listen under [http]?"),
        ("[htttp]\nlisten = 1", "htttp", "Did you mean http?"),
        ("[http.ssl]\nx = 1", "http.ssl", "The keys of [http] are: enabled, listen"),
        ("[zigbee]\nhost = 1", "zigbee", "The tables are: [gateway], [limits]"),
        ("[cloud.nowhere.at.all]\nx = 1", "cloud.nowhere", "The keys of [cloud] are: connection_string"),
    ],
)
def test_an_unknown_key_of_the_file_is_a_mistake_that_leads_to_the_right_one(
    mistakes: Mistakes, toml: str, key: str, cure: str
) -> None:
    (problem,) = mistakes(toml)

    assert problem.key == key
    assert problem.text == "is not a setting"
    assert problem.cure.startswith(cure)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("GATEWAY_HTTP__LISTN", "Did you mean GATEWAY_HTTP__LISTEN?"),
        ("GATEWAY_HTTP_LISTEN", "Did you mean GATEWAY_HTTP__LISTEN?"),
        ("GATEWAY_CLOUD__DATA_DIR", "Did you mean GATEWAY_GATEWAY__DATA_DIR?"),
        ("GATEWAY_DATA_DIR", "Did you mean GATEWAY_GATEWAY__DATA_DIR?"),
        ("GATEWAY_ID", "Did you mean GATEWAY_GATEWAY__ID?"),
        ("GATEWAY_HTTP__XYZZY", "The keys of [http] are: enabled, listen"),
        ("GATEWAY_ZIGBEE__XYZZY", "The tables are: [gateway]"),
    ],
)
def test_an_unknown_variable_of_ours_is_a_mistake(mistakes: Mistakes, name: str, cure: str) -> None:
    (problem,) = mistakes(environment={name: "1"})

    assert problem.where == f"environment {name}"
    assert problem.cure.startswith(cure)


@pytest.mark.parametrize(
    ("key", "cure"),
    [
        ("http.listn", "Did you mean http.listen?"),
        ("listen", "Did you mean http.listen?"),
        ("http", "The keys of [http] are: enabled"),
        ("xyzzy.plugh", "The tables are: [gateway]"),
    ],
)
def test_an_unknown_key_on_the_command_line_is_a_mistake(mistakes: Mistakes, key: str, cure: str) -> None:
    (problem,) = mistakes(overrides={key: "1"})

    assert problem.where == "command line --set"
    assert problem.cure.startswith(cure)


def test_a_value_where_a_table_belongs_is_a_mistake(mistakes: Mistakes) -> None:
    (problem,) = mistakes("http = 8080")

    assert problem.text == "is a table, not a value"
    assert problem.cure.startswith("Write [http] and its keys below: enabled, listen")


# --- types and ranges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "cure"),
    [
        ('workers = "2"', "must be a whole number", "Write workers = 2."),
        ("workers = 1.5", "must be a whole number", "Write workers = 0."),
        ("workers = true", "must be a whole number", "Write workers = 0."),
        ("workers = 65", "is out of range: from 0 to 64", "the default is workers = 0"),
        ("workers = 2024-05-01", "must be a whole number", "Write workers = 0."),
        ('runtime = "lite"', "is not one of auto, litert, tflite-runtime", 'for example runtime = "litert"'),
        ("name = 5", "must be text", 'Write name = "5"'),
        ("name = 2024-05-01", "must be text", 'Write name = "2024-05-01"'),
        (f'name = "{"x" * 129}"', "is longer than 128 characters", "Shorten it."),
        ("path = 5", "must be a path", 'Write path = "5"'),
        ("path = ['a']", "must be a path", 'Write path = "models/fruit"'),
    ],
)
def test_a_wrong_type_or_range_is_told_with_an_example(mistakes: Mistakes, line: str, text: str, cure: str) -> None:
    (problem,) = mistakes(f"[model]\n{line}")

    assert problem.where.endswith("gateway.toml:2")
    assert problem.text.startswith(text)
    assert cure in problem.cure


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("timeout_s = 0", "is out of range: above 0, at most 60"),
        ("timeout_s = nan", "must be a finite number"),
        ("timeout_s = inf", "must be a finite number"),
        ('timeout_s = "5"', "must be a number"),
        ('allowed_hosts = "a"', "must be a list of texts"),
    ],
)
def test_numbers_and_lists_are_checked(mistakes: Mistakes, line: str, text: str) -> None:
    (problem,) = mistakes(f"[http.url_fetch]\n{line}")

    assert problem.text == text


def test_a_switch_must_be_true_or_false(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[http]\nenabled = "yes"')

    assert problem.text == "must be true or false"
    assert problem.cure == "Write enabled = true."


def test_the_example_is_written_as_the_source_writes_it(mistakes: Mistakes) -> None:
    from_environment, from_command_line = mistakes(
        environment={"GATEWAY_HTTP__ENABLED": "maybe"}, overrides={"model.workers": "many"}
    )

    assert from_environment.cure == "Write GATEWAY_HTTP__ENABLED=true."
    assert from_command_line.cure == "Write --set model.workers=0."


def test_each_wrong_element_of_a_list_is_told_with_its_own_line(mistakes: Mistakes) -> None:
    toml = '[http]\nallowed_networks = [\n  "10.0.0.1/8",\n  "192.168.0.0/16",\n  "office",\n]'

    first, second = mistakes(toml)

    assert first.where.endswith(":3")
    assert first.cure == 'The network that holds it is "10.0.0.0/8".'
    assert second.where.endswith(":5")
    assert second.value == '"office"'


@pytest.mark.parametrize(
    "text", ["", "8080", "localhost", "http://localhost:8080", "::1:8080", "[::1]", "a b:1", "[x]:1", ":65536"]
)
def test_a_malformed_listen_address_is_a_mistake(mistakes: Mistakes, text: str) -> None:
    (problem,) = mistakes(f'[http]\nlisten = "{text}"')

    assert problem.key == "http.listen"
    assert "port" in problem.cure


@pytest.mark.parametrize(
    "text", ["127.0.0.1:8080", "localhost:0", ":8080", "[::1]:8080", "[fe80::1%eth0]:8080", "0.0.0.0:80"]
)
def test_each_form_of_a_listen_address_is_accepted(load: Load, text: str) -> None:
    assert load(f'[http]\nlisten = "{text}"').http.listen == text


@pytest.mark.parametrize("text", ["a b", "käse", "x" * 129, "a/b"])
def test_a_gateway_id_has_a_bounded_alphabet_and_length(mistakes: Mistakes, text: str) -> None:
    (problem,) = mistakes(f'[gateway]\nid = "{text}"')

    assert 'for example "greenhouse-3"' in problem.cure


def test_a_host_name_that_can_be_no_id_asks_for_one(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Ann's box")

    (problem,) = mistakes()

    assert (problem.where, problem.key) == ("the host's name", "gateway.id")


# --- the file itself ----------------------------------------------------------------------------------


def test_a_missing_file_is_a_mistake_that_says_how_to_make_one(cwd: Path) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Path("nowhere.toml"), {}, {}, cwd)

    (problem,) = caught.value.problems
    assert problem.where == "nowhere.toml"
    assert "gateway config init" in problem.cure


def test_a_folder_in_place_of_the_file_is_a_mistake(cwd: Path) -> None:
    with pytest.raises(SettingsInvalid, match="is a directory"):
        load_settings(cwd, {}, {}, cwd)


def test_a_file_that_is_not_utf8_is_a_mistake(cwd: Path) -> None:
    (cwd / "gateway.toml").write_bytes(b'[gateway]\nid = "k\xe4se"')

    with pytest.raises(SettingsInvalid, match="not UTF-8"):
        load_settings(Path("gateway.toml"), {}, {}, cwd)


@pytest.mark.parametrize(
    ("toml", "line", "cure"),
    [
        ("[http]\nlisten = localhost:8080", 2, "Text needs quotes"),
        ('[http]\n\nlisten = ":1"\nlisten = ":2"', 4, "A key may stand once only"),
        ("[http]\n[admin]\n[http]", 3, "A table may stand once only"),
        ('[model]\npath = "C:\\models"', 2, "Use single quotes"),
        ("[http]\nlisten", 2, "Write one key = value a line"),
        ("[http", 1, "Write one key = value a line"),
        ('[model]\nname = """\nabc', 3, "Close the quotes"),
    ],
)
def test_a_syntax_error_is_told_with_line_and_cure(mistakes: Mistakes, toml: str, line: int, cure: str) -> None:
    (problem,) = mistakes(toml)

    assert problem.where.endswith(f"gateway.toml:{line}")
    assert problem.text.startswith("is not TOML: ")
    assert problem.cure.startswith(cure)


def test_a_syntax_error_does_not_hide_the_mistakes_of_other_sources(mistakes: Mistakes) -> None:
    syntax, other = mistakes("[http", environment={"GATEWAY_HTTP__LISTEN": "8080"})

    assert syntax.text.startswith("is not TOML")
    assert other.key == "http.listen"


def test_a_syntax_error_accuses_no_relation_of_values_that_could_not_be_read(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[cloud]\nbackoff_max_s = 900\n"', environment={"GATEWAY_CLOUD__BACKOFF_INITIAL_S": "600"})

    assert problem.text.startswith("is not TOML")
