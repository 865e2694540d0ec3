"""Files of people, taken in as calls are."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from cli.conftest import Commands
from prosperstack_destination.cli import importing
from prosperstack_destination.cli.rows import BadRow, Reading, Rows, identity, rows
from prosperstack_destination.errors import BadCall, Misconfigured
from prosperstack_destination.segment.call import Understood
from prosperstack_destination.state import imports, profiles
from prosperstack_destination.state.profile import Lane, Profile
from support.clocks import NEW_YEAR
from support.intake import identify, take

AS_OF = "2025-12-01T00:00:00Z"


def people(folder: Path, count: int, name: str = "people.csv") -> Path:
    """A CSV file of people, and two rows that are no good."""
    file = folder / name
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["Email", "user_id", "logins", "Plan name", "updated_at", "uuid_ts"])
        writer.writerows(
            [f"Person.{n}@example.com", f"u{n}", n, "", "2025-12-05T00:00:00Z", "x"] for n in range(count)
        )
        writer.writerow(["nobody", "", "", "", "", ""])
        writer.writerow(["too", "few"])
    return file


def profile(commands: Commands, email: str) -> Profile | None:
    return commands.write(profiles.find, commands.account_id, email)


def traits(commands: Commands, email: str) -> dict[str, Any]:
    found = profile(commands, email)
    assert found is not None
    return found.values()


def test_a_csv_file(commands: Commands, tmp_path: Path) -> None:
    """A row is a call with its columns as traits, at its own time; what cannot be read is told with its number."""
    file = people(tmp_path, 3)
    told = commands.json("import", str(file), "--dry-run")
    nothing_yet = profile(commands, "person.1@example.com")
    done = commands.json("import", str(file), "--yes")

    assert told == {
        "rows": 5,
        "done_already": 0,
        "unreadable": 1,
        "people": 4,
        "most_requests": 8,
        "most_seconds": 6,
    }
    assert nothing_yet is None
    assert (done["rows"], done["accepted"], done["refused"]) == (5, 3, 2)
    assert [each["row"] for each in done["reasons"]] == [4, 5]
    found = profile(commands, "person.1@example.com")
    assert found is not None
    assert found.values() == {"email": "Person.1@example.com", "logins": "1"}
    assert found.user_id == "u1"
    assert {at for _, at in found.traits.values()} == {1_764_892_800_000_000}


def test_live_calls_go_first(commands: Commands, tmp_path: Path) -> None:
    """Who is imported waits in the bulk, so that what happens just now is not held up; live ones stay live."""
    commands.write(take, identify("person.1@example.com", account=commands.account_id, plan="x"))
    commands.json("import", str(people(tmp_path, 3)), "--yes")

    lanes = [each.lane for n in range(3) if (each := profile(commands, f"person.{n}@example.com")) is not None]
    assert lanes == [Lane.BULK, Lane.LIVE, Lane.BULK]


def test_it_asks_before_it_begins(commands: Commands, tmp_path: Path) -> None:
    """Without a yes nothing is taken in; what it costs is told first."""
    told = commands.fails("import", str(people(tmp_path, 3)))

    assert "--yes" in told
    assert profile(commands, "person.1@example.com") is None


def test_again_changes_nothing(commands: Commands, tmp_path: Path) -> None:
    """A file that was imported is not imported again unless asked to, and then overwrites nothing newer."""
    file = people(tmp_path, 3)
    commands.run("import", str(file), "--yes")
    commands.write(take, identify("person.1@example.com", account=commands.account_id, at=NEW_YEAR, logins="newer"))
    before = profile(commands, "person.1@example.com")
    again = commands.json("import", str(file), "--yes")
    restarted = commands.json("import", str(file), "--yes", "--restart")

    assert again["already_done"] is True
    assert restarted["accepted"] == 3
    assert profile(commands, "person.1@example.com") == before
    assert traits(commands, "person.1@example.com")["logins"] == "newer"


def test_it_goes_on_where_it_was_stopped(commands: Commands, tmp_path: Path) -> None:
    """Rows that are on disk are not read in again; those after them are."""
    file = people(tmp_path, 5)
    import_id = identity(file, commands.account_id, Reading())

    def interrupted(connection: Connection) -> None:
        imports.begin(connection, import_id, commands.account_id, file.name, 7, NEW_YEAR)
        call = identify("person.0@example.com", account=commands.account_id)
        imports.advance(connection, import_id, [call], 3, 0, str)

    commands.write(interrupted)
    told = commands.json("import", str(file), "--dry-run")
    done = commands.json("import", str(file), "--yes")

    assert told["done_already"] == 3
    assert done["accepted"] == 2
    assert profile(commands, "person.2@example.com") is None  # it was said to be on disk
    assert profile(commands, "person.3@example.com") is not None
    state = commands.write(imports.find, import_id)
    assert state is not None
    assert (state.done, state.refused) == (7, 2)
    assert state.ended_at is not None


def test_many_batches(commands: Commands, tmp_path: Path) -> None:
    """A file of more rows than fit a transaction is taken in whole."""
    count = importing.BATCH + 7
    done = commands.json("import", str(people(tmp_path, count)), "--yes")

    assert done["accepted"] == count
    assert profile(commands, f"person.{count - 1}@example.com") is not None


def test_segments_own_calls(commands: Commands, tmp_path: Path) -> None:
    """Calls as Segment keeps them are understood as those that it posts: deletions, ids, and other types too."""
    calls = [
        {"type": "identify", "userId": "u1", "traits": {"email": "a@b.c", "logins": 1}, "timestamp": AS_OF},
        {"type": "identify", "userId": "u1", "traits": {"logins": 2}, "timestamp": "2025-12-02T00:00:00Z"},
        {"type": "track", "userId": "u1", "traits": {}, "event": "x"},
        {"type": "identify", "userId": "u2", "traits": {"logins": 2}},
    ]
    file = tmp_path / "calls.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join([*map(json.dumps, calls), "{", ""]).encode()))
    done = commands.json("import", str(file), "--yes")

    assert traits(commands, "a@b.c")["logins"] == 2
    assert (done["accepted"], done["refused"]) == (2, 3)
    reasons = {each["row"]: each["reason"] for each in done["reasons"]}
    assert "'track' are not supported" in reasons[3]
    assert "no email" in reasons[4]
    assert "not valid JSON" in reasons[5]


def test_columns_by_name(commands: Commands, tmp_path: Path) -> None:
    """Columns are named, renamed and left out as asked; an empty cell deletes only where that is wanted."""
    file = tmp_path / "people.tsv"
    file.write_text("mail\tid\tplan\tsecret\nann@example.com\t7\t\tx\n")
    options = ["--email", "mail", "--user-id", "id", "--map", "plan=Plan name", "--skip", "secret"]
    commands.run("import", str(file), "--yes", *options)
    kept = traits(commands, "ann@example.com")
    commands.run("import", str(file), "--yes", *options, "--empty-deletes")

    assert kept == {"email": "ann@example.com"}
    assert traits(commands, "ann@example.com") == {"email": "ann@example.com", "Plan name": ""}
    assert "There is no column 'post'" in commands.fails("import", str(file), "--yes", "--email", "post")
    assert "COLUMN=TRAIT" in commands.fails("import", str(file), "--map", "plan")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("people.xlsx", b"x", "of no kind that is known"),
        ("people.csv", b"", "has no rows"),
        ("people.json", b"{", "is not JSON"),
        ("people.csv.gz", b"no gzip", "cannot be read"),
        ("people.csv", b"email\n\xff\xfe\n", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(
    commands: Commands, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """A file that is none is told with what it should be, before anything is done."""
    (tmp_path / name).write_bytes(content)

    assert said in commands.fails("import", str(tmp_path / name), "--yes")
    assert "There is no file" in commands.fails("import", str(tmp_path / "missing.csv"))


@pytest.mark.parametrize(("separator", "suffix"), [(",", ".csv"), (";", ".csv"), ("\t", ".tsv")])
def test_separators(tmp_path: Path, separator: str, suffix: str) -> None:
    """Columns are told apart by what separates them in the first line; a byte order mark is none of theirs."""
    file = tmp_path / f"people{suffix}"
    file.write_text(f"\ufeffemail{separator}note\na@b.c{separator}one\n")

    assert list(rows(file)) == [{"email": "a@b.c", "note": "one"}]


def test_json_arrays(tmp_path: Path) -> None:
    """A JSON file may hold one object or an array of them; what is no object is a bad row."""
    (tmp_path / "many.json").write_text('[{"email": "a@b.c"}, 5]')
    (tmp_path / "one.json").write_text('{"email": "a@b.c"}')

    assert list(rows(tmp_path / "many.json")) == [{"email": "a@b.c"}, BadRow("it is no JSON object")]
    assert list(rows(tmp_path / "one.json")) == [{"email": "a@b.c"}]


def test_a_parquet_file_without_pyarrow(tmp_path: Path) -> None:
    """Without the optional package a Parquet file is refused with what to install."""
    (tmp_path / "people.parquet").write_bytes(b"x")

    with pytest.raises(Misconfigured, match=r"pyarrow|cannot be read"):
        list(rows(tmp_path / "people.parquet"))


@pytest.mark.parametrize(
    ("row", "at"),
    [
        ({"email": "a@b.c", "timestamp": "2025-12-05T00:00:00Z"}, 1_764_892_800_000_000),
        ({"email": "a@b.c", "received_at": "2025-12-05T00:00:00Z"}, 1_764_892_800_000_000),
        ({"email": "a@b.c", "updated_at": ""}, 1_764_547_200_000_000),
        ({"email": "a@b.c"}, 1_764_547_200_000_000),
    ],
)
def test_the_time_of_a_row(row: dict[str, Any], at: int) -> None:
    """A row has its own time, or that of the file: the same each time that it is read."""
    understood = Rows(row, Reading(), AS_OF).understood(row, NEW_YEAR)

    assert isinstance(understood, Understood)
    assert understood.at == at


def test_warehouse_columns_are_nobodys_traits() -> None:
    """What Segment's warehouses add to a person's columns is left out."""
    row = {
        "email": "a@b.c",
        "uuid": "1",
        "received_at": AS_OF,
        "context_ip": "1.1.1.1",
        "plan": "x",
        "user_id": "u",
    }
    understood = Rows(row, Reading(), AS_OF).understood(row, NEW_YEAR)

    assert isinstance(understood, Understood)
    assert understood.traits == {"email": "a@b.c", "plan": "x"}
    with pytest.raises(BadCall, match="Missing email"):
        Rows({"plan": "x"}, Reading(), AS_OF).understood({"plan": "x"}, NEW_YEAR)
