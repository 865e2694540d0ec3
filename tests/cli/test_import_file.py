"""Tests of `import`."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from cli.conftest import Commands
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import InvalidCall, InvalidInput, InvalidTime
from prosperstack_destination.file_import.job import BATCH
from prosperstack_destination.file_import.row_parser import ColumnOptions, RowParser, identity
from prosperstack_destination.ingest.parser import ParsedIdentify
from prosperstack_destination.store import import_progress, listing_state, profiles
from prosperstack_destination.store.models import Lane, Profile
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from support.clocks import NEW_YEAR
from support.intake import identify, take

AS_OF = 1_764_547_200_000_000  # 2025-12-01


def people(folder: Path, count: int, name: str = "people.csv") -> Path:
    """Write a CSV file of people, with two invalid rows at its end."""
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


def test_csv_file_is_imported(commands: Commands, tmp_path: Path) -> None:
    """A row is a call with its columns as traits, at its own time. Invalid rows are reported by number."""
    file = people(tmp_path, 3)
    survey = commands.json("import", str(file), "--dry-run")
    nothing_yet = profile(commands, "person.1@example.com")
    done = commands.json("import", str(file), "--yes")

    assert survey == {
        "rows": 5,
        "done_already": 0,
        "unreadable": 1,
        "refused": 2,
        "ignored": 0,
        "deletions": 0,
        "reasons": done["reasons"],
        "people": 3,
        "email_columns": ["Email"],
        "user_id_columns": ["user_id"],
        "rows_with_user_id": 3,
        "time_example": {
            "row": 1,
            "column": "updated_at",
            "value": "2025-12-05T00:00:00Z",
            "understood": "2025-12-05T00:00:00+00:00",
        },
        "unreadable_times": 0,
        "rows_without_time": 0,
        "requests": None,
        "seconds": None,
        "most_requests": 6,
        "most_seconds": 4,
    }
    assert nothing_yet is None
    assert (done["rows"], done["accepted"], done["refused"]) == (5, 3, 2)
    assert [each["row"] for each in done["reasons"]] == [4, 5]
    found = profile(commands, "person.1@example.com")
    assert found is not None
    assert found.values() == {"email": "Person.1@example.com", "logins": "1"}
    assert found.user_id == "u1"
    assert {at for _, at in found.traits.values()} == {1_764_892_800_000_000}


def test_imported_people_are_in_the_bulk_lane(commands: Commands, tmp_path: Path) -> None:
    """Imported profiles are delivered after live ones; a live profile stays live."""
    commands.write(take, identify("person.1@example.com", account=commands.account_id, plan="x"))
    commands.json("import", str(people(tmp_path, 3)), "--yes")

    lanes = [each.lane for n in range(3) if (each := profile(commands, f"person.{n}@example.com")) is not None]
    assert lanes == [Lane.BULK, Lane.LIVE, Lane.BULK]


def test_import_asks_for_confirmation(commands: Commands, tmp_path: Path) -> None:
    """Without a confirmation nothing is imported."""
    message = commands.fails("import", str(people(tmp_path, 3)))

    assert "--yes" in message
    assert profile(commands, "person.1@example.com") is None


def test_second_import_changes_nothing(commands: Commands, tmp_path: Path) -> None:
    """An imported file is imported again only with --restart, which overwrites no newer values."""
    file = people(tmp_path, 3)
    commands.run("import", str(file), "--yes")
    newer = identify(
        "person.1@example.com", account=commands.account_id, received_at=system_clock(), logins="newer"
    )
    commands.write(take, newer)
    before = profile(commands, "person.1@example.com")
    again = commands.json("import", str(file), "--yes")
    restarted = commands.json("import", str(file), "--yes", "--restart")

    assert again["already_done"] is True
    assert restarted["accepted"] == 3
    assert profile(commands, "person.1@example.com") == before
    assert traits(commands, "person.1@example.com")["logins"] == "newer"


def test_interrupted_import_is_resumed(commands: Commands, tmp_path: Path) -> None:
    """Committed rows are skipped; the rows after them are imported."""
    file = people(tmp_path, 5)
    import_id = identity(file, commands.account_id, ColumnOptions())

    def interrupted(connection: Connection) -> None:
        import_progress.begin(connection, import_id, commands.account_id, file.name, 7, NEW_YEAR)
        call = identify("person.0@example.com", account=commands.account_id)
        import_progress.advance(connection, import_id, [call], 3, 0, str)

    commands.write(interrupted)
    survey = commands.json("import", str(file), "--dry-run")
    done = commands.json("import", str(file), "--yes")

    assert survey["done_already"] == 3
    assert done["accepted"] == 2
    assert profile(commands, "person.2@example.com") is None  # the recorded progress covers its row
    assert profile(commands, "person.3@example.com") is not None
    state = commands.write(import_progress.find, import_id)
    assert state is not None
    assert (state.done, state.refused) == (7, 2)
    assert state.ended_at is not None


def test_large_file_is_imported_in_batches(commands: Commands, tmp_path: Path) -> None:
    """A file with more rows than a batch is imported completely."""
    count = BATCH + 7
    done = commands.json("import", str(people(tmp_path, count)), "--yes")

    assert done["accepted"] == count
    assert profile(commands, f"person.{count - 1}@example.com") is not None


def test_archived_calls_are_imported(commands: Commands, tmp_path: Path) -> None:
    """Calls of Segment's archive are imported as posted ones: IDs, times and other types."""
    calls = [
        {"type": "identify", "userId": "u1", "traits": {"email": "a@b.c", "logins": 1}, "timestamp": "2025-12-01"},
        {"type": "identify", "userId": "u1", "traits": {"logins": 2}, "timestamp": "2025-12-02T00:00:00Z"},
        {"type": "track", "userId": "u1", "event": "x"},
        {"type": "identify", "userId": "u2", "traits": {"logins": 2}},
    ]
    file = tmp_path / "1639526400000_1639526452021.4c7.1.2.b6d1.gz"  # as Segment's archive names them
    file.write_bytes(gzip.compress("\n".join([*map(json.dumps, calls), "{", ""]).encode()))
    done = commands.json("import", str(file), "--yes")

    assert traits(commands, "a@b.c")["logins"] == 2
    assert (done["accepted"], done["refused"], done["ignored"]) == (2, 2, 1)
    reasons = {each["row"]: each["reason"] for each in done["reasons"]}
    assert "no email" in reasons[4]
    assert "not valid JSON" in reasons[5]


def test_deletions_are_counted_before_the_confirmation(commands: Commands, tmp_path: Path) -> None:
    """Delete calls in a file are counted apart from people, and shown before any erasure."""
    commands.write(take, identify("a@b.c", account=commands.account_id, user_id="u1", at=AS_OF))
    file = tmp_path / "calls.jsonl"
    file.write_text('{"type": "delete", "userId": "u1", "timestamp": "2025-12-02"}\n')
    shown = commands.run("import", str(file), "--dry-run")
    kept = profile(commands, "a@b.c")
    commands.run("import", str(file), "--yes")

    assert "about 0 people; 1 Delete calls" in shown
    assert kept is not None
    assert profile(commands, "a@b.c") is None


def test_named_columns_are_used(commands: Commands, tmp_path: Path) -> None:
    """Options name, rename and leave out columns; an empty cell deletes only with --empty-deletes."""
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
    ("name", "content", "message"),
    [
        ("people.xlsx", b"x", "of an unknown kind"),
        ("people.gz", gzip.compress(b"email", mtime=0), "of an unknown kind"),
        ("people.csv", b"", "has no rows"),
        ("people.csv.gz", b"email", "has no rows"),
        ("people.csv", b"PK\x03\x04\x14\x00\x06", "is a spreadsheet"),
        ("calls.jsonl", b'{"type": "track", "userId": "u1"}\n{"email": "x"}\n', "every row is rejected"),
        ("people.csv.gz", gzip.compress(b"email" * 9_000, mtime=0)[:-9], "cannot be read"),
        ("people.csv.gz", gzip.compress(b"email\n", mtime=0)[:12] + b"\xff" * 20, "cannot be read"),
        ("people.csv", b"email,name\na@b.c,Jos\xe9\n", "--encoding windows-1252"),
        ("people.csv", b"email,pr\xe9nom\na@b.c,x\n", "--encoding windows-1252"),
        ("people.csv", b"email,plan,email\na@b.c,x,d@e.f\n", "more than one column 'email'"),
        ("people.csv", b"email,plan, email \na@b.c,x,d@e.f\n", "more than one column 'email'"),
        ("people.csv", b"email,plan,Email\na@b.c,x,d@e.f\n", "'email' and 'Email'"),
        ("people.jsonl", b'{"email": "a@b.c", "email": "d@e.f"}\n', "more than one column 'email'"),
        ("people.json", b'[{"email": "a@b.c", "x": {"n": 1, "n": 2}}]', "more than one column 'n'"),
    ],
)
def test_unreadable_file_is_rejected(
    commands: Commands, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """An unreadable file is rejected with advice, before any row is imported."""
    (tmp_path / name).write_bytes(content)

    assert message in commands.fails("import", str(tmp_path / name), "--yes")
    assert "There is no file" in commands.fails("import", str(tmp_path / "missing.csv"))


@pytest.mark.parametrize(
    ("row", "at"),
    [
        ({"email": "a@b.c", "timestamp": "2025-12-05T00:00:00Z"}, 1_764_892_800_000_000),
        ({"email": "a@b.c", "received_at": "2025-12-05 00:00:00 UTC"}, 1_764_892_800_000_000),
        ({"email": "a@b.c", "updated_at": "1764892800"}, 1_764_892_800_000_000),
        ({"email": "a@b.c", "timestamp": None, "updated_at": 1_764_892_800_000}, 1_764_892_800_000_000),
        ({"email": "a@b.c", "updated_at": ""}, AS_OF),
        ({"email": "a@b.c"}, AS_OF),
        ({"type": "identify", "userId": "u1"}, AS_OF),
        ({"traits": {"email": "a@b.c"}, "timestamp": "x", "sentAt": "2025-12-05"}, 1_764_892_800_000_000),
    ],
)
def test_row_gets_its_time(row: dict[str, Any], at: int) -> None:
    """A row has its own time, or that of the file."""
    parsed = RowParser(ColumnOptions(), AS_OF).parse(row, NEW_YEAR)

    assert isinstance(parsed, ParsedIdentify)
    assert parsed.at == at


@pytest.mark.parametrize(
    "row",
    [
        {"email": "a@b.c", "updated_at": "05/04/2021 12:00"},
        {"email": "a@b.c", "updated_at": "not a time", "received_at": "2025-12-05"},
        {"email": "a@b.c", "timestamp": 0},
        {"email": "a@b.c", "timestamp": "0001-01-01T00:00:00+00:01"},
        {"email": "a@b.c", "timestamp": "2099-01-01"},
        {"email": "a@b.c", "timestamp": {"of": "a record"}},
        {"traits": {"email": "a@b.c"}, "timestamp": "not a time"},
        {"type": "delete", "userId": "u1", "timestamp": "not a time"},
    ],
)
def test_invalid_time_is_rejected(row: dict[str, Any]) -> None:
    """A row with an invalid time is rejected; it never gets the file's time."""
    with pytest.raises(InvalidTime) as caught:
        RowParser(ColumnOptions(), AS_OF).parse(row, NEW_YEAR)

    assert caught.value.column in ("timestamp", "updated_at")
    assert caught.value.value == row[caught.value.column]


@pytest.mark.parametrize("row", [{"email": "a@b.c"}, {"traits": {"email": "a@b.c"}}])
def test_row_without_any_time_is_rejected(row: dict[str, Any]) -> None:
    """A row without a time is rejected if the file's own time is too old, as after unpacking an archive."""
    with pytest.raises(InvalidCall, match="own time is 1980-01-01"):
        RowParser(ColumnOptions(), 315_532_800_000_000).parse(row, NEW_YEAR)


def test_times_are_shown_before_the_confirmation(commands: Commands, tmp_path: Path) -> None:
    """The survey shows an example of a parsed time, and the number of invalid ones."""
    file = tmp_path / "people.csv"
    file.write_text("email,updated_at\na@b.c,1620129600\nb@b.c,05/04/2021 12:00\nc@b.c,25/04/2021 12:00\n")
    shown = commands.run("import", str(file), "--dry-run")
    done = commands.json("import", str(file), "--yes")
    commands.run("import", str(file), "--yes", "--restart", "--time-format", "%d/%m/%Y %H:%M")

    assert "row 1 has '1620129600' in 'updated_at', read as 2021-05-04 12:00:00 UTC" in shown
    assert "Invalid times: 2 rows, the first in row 2 with '05/04/2021 12:00'" in shown
    assert "--time-format" in shown
    assert [each["row"] for each in done["reasons"]] == [2, 3]
    found = profile(commands, "b@b.c")
    assert found is not None
    assert found.traits["email"][1] == 1_617_624_000_000_000  # 5 April
    assert "does not parse a date" in commands.fails("import", str(file), "--time-format", "%H:%M")


def test_warehouse_tables_are_imported(commands: Commands, tmp_path: Path) -> None:
    """Segment's table `users` has the user ID in `id`, in any case; `identifies` has it in `user_id`."""
    users, identifies = tmp_path / "users.csv", tmp_path / "identifies.csv"
    users.write_text("ID,RECEIVED_AT,UUID_TS,EMAIL,PLAN\nu1,2025-12-05 00:00:00 UTC,x,a@b.c,pro\n")
    identifies.write_text(
        "id,received_at,uuid_ts,user_id,anonymous_id,timestamp,email\n"
        "m1,2025-12-05,x,u2,an2,2025-12-05,b@b.c\nm2,2025-12-05,x,,an3,2025-12-05,c@b.c\n"
    )
    printed = commands.run("import", str(users), "--yes")
    commands.run("import", str(identifies), "--yes")
    one, two, three = (profile(commands, f"{name}@b.c") for name in "abc")

    assert "user ID from 'ID'" in printed
    assert one is not None
    assert two is not None
    assert three is not None
    assert (one.user_id, one.values()) == ("u1", {"email": "a@b.c", "PLAN": "pro"})
    assert (two.user_id, two.anonymous_id, two.values()) == ("u2", "an2", {"email": "b@b.c"})
    assert (three.user_id, three.anonymous_id) == (None, "an3")


def test_file_without_user_ids_warns(commands: Commands, tmp_path: Path) -> None:
    """A file without user IDs gives a warning: a Delete call names a user ID."""
    file = tmp_path / "people.csv"
    file.write_text("email,plan\na@b.c,pro\n")

    assert "no user IDs" in commands.run("import", str(file), "--dry-run")
    assert "no user IDs" not in commands.run("import", str(people(tmp_path, 2, "more.csv")), "--dry-run")


def test_file_of_rejected_rows_fails(commands: Commands, tmp_path: Path) -> None:
    """If every row is rejected, the command fails, imports nothing and names the columns."""
    file = tmp_path / "people.csv"
    file.write_text("mail,plan\na@b.c,pro\n")
    message = commands.fails("import", str(file), "--yes")

    assert "--email COLUMN; the file has mail, plan" in message
    assert "Row 1" in message
    assert json.loads(commands.fails("import", str(file), "--yes", "--json"))["refused"] == 1
    (tmp_path / "ids.csv").write_text("user_id,plan\nu99,pro\n")
    assert "--email COLUMN" in commands.fails("import", str(tmp_path / "ids.csv"), "--yes")


def test_cost_is_estimated_from_stored_subscribers(commands: Commands, tmp_path: Path) -> None:
    """People who are not subscribers, or are up to date, cost no update in the estimate."""
    file = tmp_path / "people.csv"
    file.write_text("email,preferred_name\na@b.c,Ann\nb@b.c,Bob\nc@b.c,Cy\n")

    def listed(connection: Connection) -> None:
        listing_state.begin(connection, commands.account_id, NEW_YEAR)
        seen = [
            SubscriberSnapshot("s1", "a@b.c", {"preferred_name": "Ann"}),
            SubscriberSnapshot("s2", "b@b.c", {"preferred_name": "Bo"}),
        ]
        listing_state.store_page(
            connection, commands.account_id, seen, None, server_time=NEW_YEAR, now=NEW_YEAR, refresh_after=1
        )

    before = commands.json("import", str(file), "--dry-run")
    commands.write(listed)
    after = commands.json("import", str(file), "--dry-run")

    assert (before["requests"], before["most_requests"]) == (None, 6)
    assert (after["requests"], after["most_requests"]) == (2, 3)  # a listing, and Bob's update


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"a": 1, "plan": 2}, ColumnOptions(renames=(("a", "plan"),)), "both become the trait 'plan'"),
        ({"a": 1, "b": 2}, ColumnOptions(renames=(("a", "x"), ("b", "x"))), "both become the trait 'x'"),
        ({"email": "a@b.c", "b": 2}, ColumnOptions(renames=(("b", "email"),)), "both become the trait 'email'"),
        ({"user_id": 1, "User ID": 2}, ColumnOptions(), "'user_id' and 'User ID'"),
    ],
)
def test_ambiguous_columns_are_rejected(row: dict[str, Any], columns: ColumnOptions, message: str) -> None:
    """Two columns with one meaning reject the file."""
    with pytest.raises(InvalidInput, match=message):
        RowParser(columns, AS_OF).parse(row, NEW_YEAR)


def test_columns_of_json_rows_may_differ() -> None:
    """Lines of JSON may leave out fields: each line's email is found."""
    parser = RowParser(ColumnOptions(), AS_OF)
    calls = [parser.parse(row, NEW_YEAR) for row in ({"user_id": 7.0}, {"email": "a@b.c", "plan": "x"})]

    assert [each.email for each in calls if isinstance(each, ParsedIdentify)] == [None, "a@b.c"]
    assert isinstance(calls[0], ParsedIdentify)
    assert calls[0].user_id == "7"


def test_warehouse_columns_are_no_traits() -> None:
    """Columns that Segment's warehouses add are left out."""
    row = {
        "email": "a@b.c",
        "uuid": "1",
        "RECEIVED_AT": "2025-12-01",
        "context_ip": "1.1.1.1",
        "plan": "x",
        "user_id": "u",
    }
    parsed = RowParser(ColumnOptions(), AS_OF).parse(row, NEW_YEAR)

    assert isinstance(parsed, ParsedIdentify)
    assert parsed.traits == {"email": "a@b.c", "plan": "x"}
    with pytest.raises(InvalidCall, match="--email"):
        RowParser(ColumnOptions(), AS_OF).parse({"plan": "x"}, NEW_YEAR)
