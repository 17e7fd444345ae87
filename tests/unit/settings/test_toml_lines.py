"""Which line of a TOML text sets a key."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.toml_lines import Place, key_lines


@pytest.mark.parametrize(
    ("toml", "place", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("# a = 1\n\n  b = 2 # c = 3\nc = 4", ("c",), 4),
        ("[t]\na = 1", ("t", "a"), 2),
        ("[t.u]\n\na = 1", ("t", "u", "a"), 3),
        ("[ t . u ]\na = 1", ("t", "u"), 1),
        ("t.u.a = 1\nt.u.b = 2", ("t", "u", "b"), 2),
        ("t . u = 1", ("t", "u"), 1),
        ("\n\"t\".'u' = 1", ("t", "u"), 2),
        ('"a.b" = 1', ("a.b",), 1),
        ('"\\u0061" = 1', ("a",), 1),
        ("t = { a = 1, b = { c = 2 } }\nz = 1", ("t", "b", "c"), 1),
        ("t = { a = 1, b = { c = 2 } }\nz = 1", ("z",), 2),
        ('a = """\nx = 1\n"""\nb = 2', ("b",), 4),
        ("a = '''\n[t]\n''''\nb = 2", ("b",), 4),
        ('a = """\nhe said "#""""\nb = 2', ("b",), 3),
        ('a = "# \\" [t]"\nb = 2', ("b",), 2),
        ("a = '\\'\nb = 2", ("b",), 2),
        ("a = [\n  1,\n  2, # two\n]\nb = 2", ("a", 1), 3),
        ("a = [\n  1,\n  2, # two\n]\nb = 2", ("b",), 5),
        ("a = [ [1,\n2],\n [3] ]", ("a", 1, 0), 3),
        ("a = [{ b = 1 },\n { b = 2 }]", ("a", 1, "b"), 2),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 0, "a"), 2),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 1, "a"), 4),
        ("[[t]]\na = 1\n\n[[t]]\na = 2", ("t", 1), 4),
        ("[[t]]\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 2", ("t", 1, "u", "a"), 6),
        ("a = 1979-05-27 07:32:00\nb = 2", ("b",), 2),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
        ("[t]\na = 1\n[u]\na = 1", ("u", "a"), 4),
    ],
)
def test_a_key_is_found_on_its_line(toml: str, place: Place, line: int) -> None:
    tomllib.loads(toml)  # the case itself is right

    assert key_lines(toml)[place] == line


def test_a_key_that_is_absent_has_no_line() -> None:
    assert ("b",) not in key_lines("a = 1")


@given(st.text(alphabet="ab.=[]{}\"'\\#,1 \n\t", max_size=60))
def test_any_text_is_scanned_without_an_error(text: str) -> None:
    key_lines(text)


_NAMES = st.text(alphabet="abc", min_size=1, max_size=3)
_VALUES = st.sampled_from(
    [
        "1",
        "true",
        '"x # y"',
        "'[z]'",
        '"""\nq = 1\n\\""""',
        "[]",
        "[1, 2]",
        "[\n 'a',\n {b = 1},\n]",
        "{}",
        "{ a = [1] }",
    ]
)


@given(
    st.lists(
        st.tuples(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=4)), max_size=4, unique_by=lambda pair: pair[0]
    )
)
def test_every_key_of_every_table_is_found_where_it_was_written(tables: list[tuple[str, dict[str, str]]]) -> None:
    lines: list[str] = []
    expected: dict[Place, int] = {}
    for name, pairs in tables:
        lines.append(f"[{name}]")
        for key, value in pairs.items():
            expected[(name, key)] = len(lines) + 1
            lines.extend(f"{key} = {value}".split("\n"))
    text = "\n".join(lines)
    tomllib.loads(text)

    found = key_lines(text)

    assert {place: found.get(place) for place in expected} == expected
