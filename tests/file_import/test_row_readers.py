"""Tests of the file readers: damaged rows are invalid, and the others are read."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.file_import.json_reader import LONGEST_ROW
from prosperstack_destination.file_import.row_parser import ColumnOptions, identity, rows
from prosperstack_destination.file_import.source import InvalidRow


def read(folder: Path, name: str, content: bytes | str, encoding: str | None = None) -> list[Any]:
    """Return the rows of a file, with the reasons of invalid ones."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row.reason if isinstance(row, InvalidRow) else dict(row) for row in rows(file, encoding)]


@pytest.mark.parametrize(("separator", "suffix"), [(",", ".csv"), (";", ".csv"), ("\t", ".tsv"), ("|", ".csv")])
def test_separator_is_detected(tmp_path: Path, separator: str, suffix: str) -> None:
    """The first line decides on the separator; a byte order mark is no part of a column."""
    content = f"\ufeffemail{separator}note\na@b.c{separator}one\n"

    assert read(tmp_path, f"people{suffix}", content) == [{"email": "a@b.c", "note": "one"}]


@pytest.mark.parametrize(
    "head",
    [
        "email,note\n",
        "\n\nemail,note\n",
        " email , note \n",
        '"email","note"\r\n',
        "email,note,,\n",
        "sep=,\nemail,note\n",
    ],
)
def test_header_is_normalized(tmp_path: Path, head: str) -> None:
    """Blank lines and `sep=` before the names are skipped, names are trimmed, nameless columns left out."""
    more = "," * (head.count(",,") * 2)

    assert read(tmp_path, "people.csv", f"{head}a@b.c,one{more}\n,{more}\n") == [{"email": "a@b.c", "note": "one"}]


def test_declared_separator_is_used(tmp_path: Path) -> None:
    """A spreadsheet's `sep=` declares the separator, even if the names contain another one."""
    assert read(tmp_path, "a.csv", "\ufeffsep=;\nemail;a,b,c\nx@y.z;1\n") == [{"email": "x@y.z", "a,b,c": "1"}]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("b@b.c," + "x" * 200_000, "more than 131,072 characters"),
        ('b@b.c,"never closed', "quote is not closed"),
        ('b@b.c,"closed" late', "quote is not closed"),
        ("b@b.c", "1 cells, but the file has 2 columns"),
        ("b@b.c,x,y", "3 cells, but the file has 2 columns"),
    ],
)
@pytest.mark.parametrize("after", ["c@b.c,fine\n", 'c@b.c,"fine"\n', '"c@b.c",fine\nd@b.c,"fi""ne"\n'])
def test_malformed_csv_line_is_one_invalid_row(tmp_path: Path, broken: str, reason: str, after: str) -> None:
    """A malformed line is one invalid row; the next line begins a new row."""
    before, bad, *rest = read(tmp_path, "people.csv", f"email,note\na@b.c,\\N\n{broken}\n{after}")

    assert before == {"email": "a@b.c", "note": None}
    assert reason in bad
    assert [each["email"] for each in rest] == ["c@b.c", "d@b.c"][: after.count("\n")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "name\nJosé\n"), ("a.jsonl", '{"name": "José"}\n'), ("a.json", '[{"name": "José"}]')],
)
def test_unicode_encoding_is_detected(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    """UTF-8, UTF-16 and UTF-32 are detected from the first bytes."""
    assert read(tmp_path, name, content.encode(encoding)) == [{"name": "José"}]


def test_named_encoding_is_used(tmp_path: Path) -> None:
    """A named encoding is used; an unknown or a wrong one is rejected."""
    content = "name\nJosé €\n".encode("cp1252")

    assert read(tmp_path, "a.csv", content, "windows-1252") == [{"name": "José €"}]
    assert read(tmp_path, "a.csv", "\ufeffname\nJosé\n", "utf8") == [{"name": "José"}]
    for wrong in ("klingon", "base64"):
        with pytest.raises(InvalidInput, match="There is no encoding"):
            read(tmp_path, "a.csv", content, wrong)
    with pytest.raises(InvalidInput, match="cannot be read as ascii"):
        read(tmp_path, "a.csv", content, "ascii")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_gzip_is_detected_from_bytes(tmp_path: Path, name: str) -> None:
    """The first bytes decide on gzip, not the name."""
    assert read(tmp_path, name, gzip.compress(b"name\nAnn\n")) == [{"name": "Ann"}]
    assert read(tmp_path, name, b"name\nAnn\n") == [{"name": "Ann"}]


def test_undecodable_row_is_invalid(tmp_path: Path) -> None:
    """A row whose bytes are not UTF-8 is invalid; the others of the file are read."""
    found = read(tmp_path, "a.csv", b"name\nJos\xe9\n" + "Zoë\n".encode())
    lines = read(tmp_path, "a.jsonl", b'{"name": "Jos\xe9"}\n' + '{"name": "Zoë"}\n'.encode())

    assert found == lines == ["its byte 0xE9 is not UTF-8", {"name": "Zoë"}]


DEEP = '{"x": ' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (r'{"name": "\ud83d"}', "half of a character"),
        (DEEP, "nests deeper than 32 levels"),
        ('{"x": ' * 40 + "1" + "}" * 40, "nests deeper than 32 levels"),
        ('{"name": }', "not valid JSON"),
        ('{"name": "cut}', "not valid JSON"),
        ('{"name": 1e999}', "too large"),
        ('{"name": ' + "9" * 5_000 + "}", "too many digits"),
        ("5", "not a JSON object"),
        ('["a"]', "not a JSON object"),
        ('{"name": "' + "x" * LONGEST_ROW + '"}', "longer than"),
        ('{"name": ' + "x" * LONGEST_ROW + "}", "it is "),  # too long, or not JSON
    ],
)
@pytest.mark.parametrize("form", ["a.jsonl", "a.jsonl.gz", "a.gz", "a.json", "array.json"])
def test_malformed_json_value_is_one_invalid_row(tmp_path: Path, broken: str, reason: str, form: str) -> None:
    """A malformed value is one invalid row, in lines and in arrays; its neighbours are read."""
    values = ['{"name": "A"}', broken, '{"name": "C"}', '{"name": "D"}']
    content = "[" + ",\n".join(values) + "]" if form == "array.json" else "\n".join(values)
    data = gzip.compress(content.encode()) if form.endswith(".gz") else content.encode()
    first, bad, *rest = read(tmp_path, form, data)

    assert first == {"name": "A"}
    assert reason in bad
    assert rest == [{"name": "C"}, {"name": "D"}]


def test_json_layouts_are_detected(tmp_path: Path) -> None:
    """A .json file has an array, an object, consecutive objects, or one object a line."""
    pair = [{"a": 1}, {"a": 2}]

    assert read(tmp_path, "a.json", json.dumps(pair)) == pair
    assert read(tmp_path, "a.json", json.dumps(pair, indent=2)) == pair
    assert read(tmp_path, "a.json", "\ufeff" + json.dumps(pair[0])) == pair[:1]
    assert read(tmp_path, "a.json", "".join(json.dumps(each, indent=1) for each in pair)) == pair
    assert read(tmp_path, "a.json", "\n".join(map(json.dumps, pair))) == pair
    assert read(tmp_path, "a.jsonl", json.dumps(pair)) == pair
    assert read(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + b'{"a": 1}\r\n\r\n{"a": 2}') == pair
    assert read(tmp_path, "a.json", "[]") == []
    assert read(tmp_path, "a.json", "") == []
    assert read(tmp_path, "a.json", '[{"a": 1}] x')[1].startswith("the file has more text")
    assert read(tmp_path, "a.json", '[{"a": 1}')[1].startswith("the file ends within")
    assert len(read(tmp_path, "a.json", '[{"a": 1}, {"a": "')) == 2
    assert read(tmp_path, "a.json", '[{"a": 1}, {"a": }, foo, 5, {"a": 2},]')[::4] == pair


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_nan_is_missing(tmp_path: Path, name: str) -> None:
    """NaN and Infinity count as missing; as strings they are text."""
    content = '{"a": NaN, "b": [1, -Infinity], "c": {"d": Infinity}, "e": "NaN", "f": "\\u0000"}'

    assert read(tmp_path, name, content) == [{"b": [1], "c": {}, "e": "NaN", "f": "\ufffd"}]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text() | st.lists(st.text()))))
def test_arrays_are_read_in_pieces(tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]]) -> None:
    """Every array is read with its values unchanged."""
    folder = tmp_path_factory.mktemp("values")
    expected = [{name.replace("\0", "\ufffd"): value for name, value in each.items()} for each in values]
    found = read(folder, "a.json", json.dumps(values, indent=len(values) % 2 or None))

    assert json.dumps(found).replace("\\u0000", "\\ufffd") == json.dumps(expected).replace("\\u0000", "\\ufffd")


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["a.csv", "a.json", "a.jsonl", "a.csv.gz", "a.gz"]))
def test_any_bytes_are_rows_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    """Any content gives rows, invalid rows, or `InvalidInput`."""
    data = gzip.compress(content) if name.endswith(".gz") else content
    try:
        read(tmp_path_factory.mktemp("bytes"), name, data)
    except InvalidInput:
        return


def test_import_id_is_stable(tmp_path: Path) -> None:
    """The ID of an import is that of earlier versions, and does not depend on the order of a set."""
    file = tmp_path / "a.csv"
    file.write_bytes(b"email\n")
    columns = [f"c{n}" for n in range(20)]
    skip = ", ".join(map(repr, sorted(columns)))

    assert identity(file, "acct_1", ColumnOptions()) == import_id("skip=frozenset()")
    assert identity(file, "acct_1", ColumnOptions(skip=frozenset(["a"]))) == import_id("skip=frozenset({'a'})")
    assert identity(file, "acct_1", ColumnOptions(skip=frozenset(columns))) == import_id(
        f"skip=frozenset({{{skip}}})"
    )


def import_id(skip: str) -> str:
    """Return the stored ID of an import of one line with otherwise default options."""
    defaults = "email=None, user_id=None, time=None, time_format=None, encoding=None, renames=()"
    return hashlib.sha256(f"acct_1\nReading({defaults}, {skip}, empty_deletes=False)\nemail\n".encode()).hexdigest()
