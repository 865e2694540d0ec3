"""Tests of the commands that monitor the service and act on people."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from cli.conftest import SECRET, Commands, open_account
from prosperstack_destination.auth.vault import Vault, pseudonym_of_email
from prosperstack_destination.clock import SECOND, system_clock
from prosperstack_destination.store import (
    account_stats,
    accounts,
    activity,
    mappings,
    problems,
    profiles,
    rollups,
    segment_connections,
    subscribers,
)
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.merge_calls import ingest_calls
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.rollups import Rollup
from prosperstack_destination.store.segment_connections import Region, StoredToken
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import directories
from support.clocks import NEW_YEAR
from support.intake import apply_values, identify, stored, take

ANN = "ann@example.com"


def ingest(commands: Commands, *emails: str) -> None:
    """Ingest a call about each person."""
    for email in emails:
        commands.write(take, identify(email, account=commands.account_id, user_id="u1", logins="many", plan="x"))


def status_of(commands: Commands) -> dict[str, Any]:
    [only] = commands.json("status")
    found: dict[str, Any] = only
    return found


def test_status_reports_backlog_and_budget(commands: Commands) -> None:
    """`status` reports the backlog, its age, the rate, the time left and the remaining requests."""
    empty = status_of(commands)
    ingest(commands, "a@b.c", "b@b.c", "c@b.c")
    limit = ReportedLimit(100, 40, 60.0, NEW_YEAR)
    commands.write(account_stats.record_rate_limits, {commands.account_id: limit})
    untouched = status_of(commands)
    commands.write(rollups.add, {commands.account_id: Rollup(delivered=10)}, system_clock())
    going = status_of(commands)
    commands.write(mappings.begin_remap, commands.account_id, NEW_YEAR)

    assert status_of(commands)["going_through"] == {"total": 3, "done": 0}
    assert "0 of 3 profiles are compared" in commands.run("status")
    assert going["going_through"] is None
    assert (empty["backlog"], empty["oldest_pending_at"], empty["seconds_left"]) == (0, None, None)
    assert (untouched["backlog"], untouched["oldest_pending_at"]) == (3, "2026-01-01T00:00:00+00:00")
    assert untouched["rate_limit_remaining"] == 40
    assert untouched["seconds_left"] == pytest.approx(6 / 1.5)  # two requests each, 90 of 100 a minute are ours
    assert going["settled_per_minute"] == 2  # ten in five minutes
    assert going["seconds_left"] == untouched["seconds_left"]


def test_status_is_a_table(commands: Commands) -> None:
    """`status` and `watch` print a table; --count adds the profiles by status."""
    ingest(commands, ANN)
    shown = commands.run("status", "--count")
    live = commands.run("watch", "--times", "1")
    lines = commands.run("watch", "--times", "2", "--every", "0.1", "--json").splitlines()

    assert "1 profiles (1 pending)" in shown
    assert "Backlog" in live
    assert [each["backlog"] for line in lines for each in json.loads(line)] == [1, 1]


def test_waiting_account_is_retried(commands: Commands) -> None:
    """`status` shows why an account waits, with advice; `retry` ends the wait."""

    def refuse(connection: Connection) -> None:
        until = system_clock() + 600 * SECOND
        status = AccountStatus.KEY_REFUSED
        accounts.set_status(connection, commands.account_id, status, reason="no such key", until=until)

    commands.write(refuse)
    shown = commands.run("status")
    commands.run("retry")

    assert "no such key" in shown
    assert "`retry` tries now" in shown
    assert status_of(commands)["status_until"] is None
    assert status_of(commands)["status"] == "key_refused"  # until it works


def test_profile_shows_traits_and_properties(commands: Commands) -> None:
    """`profile` prints traits with their times, and the desired, observed and applied properties."""
    ingest(commands, ANN)
    commands.write(take, identify(ANN, account=commands.account_id, preferred_name="Ann"))
    commands.write(
        subscribers.replace_for_email,
        commands.account_id,
        ANN,
        [SubscriberSnapshot("subr_1", ANN, {"preferred_name": "A"})],
        1,
    )
    shown = commands.json("profile", f" {ANN.upper()} ")
    by_id = commands.json("profile", "u1", "--user-id")

    assert shown == by_id
    assert shown["traits"]["preferred_name"] == {"value": "Ann", "at": "2026-01-01T00:00:00+00:00"}
    name, logins = shown["properties"]
    assert name == {
        "property": "preferred_name",
        "from": "preferred_name (key)",
        "desired": "Ann",
        "observed": "A",
        "applied": None,
        "subscriber": "subr_1",
        "state": "to_be_sent",
        "reason": None,
    }
    assert (logins["from"], logins["state"]) == ("logins", "problem")
    assert (shown["lane"], shown["next_step"], shown["ids"][0]["id"]) == ("live", "update", "u1")
    assert "subr_1" in commands.run("profile", ANN)
    assert "audit log records deletions" in commands.fails("profile", "nobody@example.com")


def test_control_characters_are_escaped(commands: Commands) -> None:
    """Control characters and markup in a trait are printed as text."""
    hostile = "\x1b[31mred\x1b]0;title\x07[bold]x[/bold]\u202e"
    commands.write(take, identify(ANN, account=commands.account_id, preferred_name=hostile))
    shown = commands.run("profile", ANN)

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]x[/bold]" in shown
    assert commands.json("profile", ANN)["traits"]["preferred_name"]["value"] == hostile


def test_events_are_listed_and_filtered(commands: Commands) -> None:
    """`events` prints recent events, one a line, of all people or of one, without emails."""
    about_ann = pseudonym_of_email(Vault(SECRET), ANN)
    commands.write(
        activity.append,
        [
            Event(commands.account_id, NEW_YEAR, EventKind.CALL, "accepted", about_ann, {"traits": 2}),
            Event(commands.account_id, NEW_YEAR, EventKind.REQUEST, "503", None, {"request": "PATCH"}),
        ],
    )
    lines = [json.loads(line) for line in commands.run("events", "--json").splitlines()]
    of_ann = commands.run("events", "--email", ANN, "--follow", "--times", "1")

    assert [line["outcome"] for line in lines] == ["accepted", "503"]
    assert lines[1] == {
        "at": "2026-01-01T00:00:00+00:00",
        "kind": "request",
        "outcome": "503",
        "person": None,
        "request": "PATCH",
    }
    assert f"person {about_ann}" in of_ann
    assert "503" not in of_ann


@pytest.fixture
def with_problems(commands: Commands) -> Callable[[], list[str]]:
    """Settle two people with one problem; return a function that lists the due emails."""
    ingest(commands, ANN, "bob@example.com", "fine@example.com")

    def work(connection: Connection) -> None:
        for email in (ANN, "bob@example.com", "fine@example.com"):
            profile = stored(connection, email, commands.account_id)
            profiles.settle(connection, profile, Status.IN_SYNC)
            if email != "fine@example.com":
                problem = RecordedProblem("logins", "logins", email, "the text is not a number", NEW_YEAR)
                problems.replace(connection, commands.account_id, {profile.id: [problem]})

    commands.write(work)

    def due() -> list[str]:
        found = commands.write(profiles.due, commands.account_id, system_clock(), None, 10)
        return sorted(each.email for each in found)

    return due


def test_people_with_problems_are_retried(commands: Commands, with_problems: Callable[[], list[str]]) -> None:
    """`problems` groups equal problems, with samples; `retry` makes one person or all of them due."""
    [group] = commands.json("problems")
    one = commands.json("retry", "--email", ANN)
    due_then = with_problems()
    everyone = commands.json("retry")

    assert (group["property"], group["people"], len(group["samples"])) == ("logins", 2, 2)
    assert "not a number" in commands.run("problems")
    assert (one, due_then) == ({"profiles": 1}, [ANN])
    assert (everyone, with_problems()) == ({"profiles": 2}, [ANN, "bob@example.com"])
    assert "No profile with this email" in commands.fails("retry", "--email", "nobody@example.com")


def test_replay_makes_all_profiles_due(commands: Commands, with_problems: Callable[[], list[str]]) -> None:
    """`replay` shows its cost, and after a confirmation makes all profiles due."""
    message = commands.fails("replay")
    due_before = with_problems()
    done = commands.run("replay", "--yes")

    assert "3 profiles" in message
    assert "At most 6 requests" in message
    assert "--yes" in message
    assert due_before == []
    assert "3 profiles are due" in done
    assert len(with_problems()) == 3


def test_replay_clears_applied_values(commands: Commands) -> None:
    """After `replay` an applied value is compared with ProsperStack again."""
    ingest(commands, ANN)

    def work(connection: Connection) -> None:
        subscribers.replace_for_email(
            connection, commands.account_id, ANN, [SubscriberSnapshot("subr_1", ANN, {})], 1
        )
        apply_values(connection, commands.account_id, "subr_1", {"logins": 1}, observed=None, now=1)

    commands.write(work)
    commands.run("replay", "--email", ANN, "--yes")
    [subscriber] = commands.write(subscribers.with_email, commands.account_id, ANN)

    assert subscriber.applied == {}


def test_erased_person_stays_erased(commands: Commands) -> None:
    """`erase` deletes a person after a confirmation. Older calls do not restore them; the log has no email."""
    ingest(commands, ANN)
    refused = commands.fails("erase", ANN)
    erased = commands.json("erase", ANN.upper(), "--yes", "--author", "me")
    older = [identify(ANN, account=commands.account_id, received_at=system_clock(), logins=1)]
    commands.write(ingest_calls, older, Vault(SECRET).pseudonym)
    trail = commands.run("audit")

    by_id = commands.json("erase", "u1", "--user-id", "--yes")

    assert "--yes" in refused
    assert by_id["profiles"] == 0  # the person is erased already
    assert erased == {"profiles": 1, "subscribers": 0, "in_prosperstack": "clear"}
    assert "No profile with this email" in commands.fails("profile", ANN)
    assert "erase" in trail
    assert "ann" not in trail


def test_secret_key_is_rotated(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `reencrypt` the former SECRET_KEY is not needed, and erased people stay erased."""
    token = StoredToken(Region.US, Vault(SECRET).encrypt("sgp_1"), "Acme", NEW_YEAR)
    commands.write(segment_connections.store_token, commands.account_id, token)
    commands.run("secrets", "issue")
    commands.run("erase", ANN, "--yes")
    monkeypatch.setenv("SECRET_KEY", "another secret, also long enough")
    without = commands.fails("reencrypt")
    monkeypatch.setenv("FORMER_SECRET_KEYS", SECRET)
    done = commands.json("reencrypt", "--author", "me")
    again = commands.json("reencrypt")
    monkeypatch.delenv("FORMER_SECRET_KEYS")
    commands.run("doctor", "--offline")
    file = commands.folder.parent / "ann.jsonl"
    file.write_text(json.dumps({"email": ANN, "timestamp": "2025-12-01T00:00:00Z"}))
    imported = commands.json("import", str(file), "--yes")
    kept = commands.write(segment_connections.stored_token, commands.account_id)

    assert "Put the former one back" in without
    assert done == again == {"account_keys": 1, "shared_secrets": 1, "segment_tokens": 1}
    assert kept is not None
    assert Vault("another secret, also long enough").decrypt(kept.encrypted) == "sgp_1"
    assert "reencrypt" in commands.run("audit")
    assert (imported["accepted"], imported["ignored"]) == (0, 1)


def test_simulate_prints_requests_and_time(commands: Commands) -> None:
    """`simulate` prints requests and time, with lookups or a listing, the cheaper of both."""
    looked_up = commands.json("simulate", "18000")
    listed = commands.json(
        "simulate", "18000", "--subscribers", "50000", "--matching", "0.8333333", "--limit", "200"
    )

    assert looked_up["requests_to_learn"] == looked_up["requests_to_write"] == 18_000
    assert looked_up["seconds"] == looked_up["forwarder_seconds"] == 36_000 / 1.5
    assert (listed["requests_to_learn"], listed["requests_to_write"]) == (500, 15_000)
    assert listed["seconds"] == pytest.approx(15_500 / 3)
    assert "Requests to write" in commands.run("simulate", "1000")
    few = commands.json("simulate", "18000", "--subscribers", "4999")
    assert (few["requests_to_learn"], few["requests_to_write"]) == (
        50,
        4_999,
    )  # 18,000 people are not 18,000 writes


def test_simulate_uses_listed_subscribers(commands: Commands) -> None:
    """`simulate` uses the listed number of subscribers."""
    size = {"account_id": commands.account_id, "size": 4_999}
    commands.write(lambda connection: connection.execute(insert(directories).values(size)).rowcount)
    found = commands.json("simulate", "18000")

    assert (found["subscribers"], found["requests_to_write"]) == (4_999, 4_999)


def test_doctor_reports_faults(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` checks everything, gives advice, and fails if an action is needed."""
    name = fingerprint(commands)
    good = {each["what"]: each["health"] for each in commands.json("doctor", "--offline")}
    monkeypatch.setenv("SECRET_KEY", "another secret, also long enough")
    wrong_secret = commands.fails("doctor", "--offline")
    monkeypatch.setenv("PORT", "many")
    wrong_setting = commands.fails("doctor")
    monkeypatch.delenv("PORT")
    monkeypatch.setenv("DATA_DIR", str(commands.folder / "elsewhere"))
    no_database = commands.fails("doctor")

    assert good.pop(f"{name}, catalog") == "warning"  # it was listed at the new year
    assert set(good.values()) == {"ok"}
    assert "Restore the former" in wrong_secret
    assert "PORT" in wrong_setting
    assert "Start the service" in no_database


def test_doctor_names_what_a_restored_backup_lacks(commands: Commands) -> None:
    """`doctor --after-restore` has a step for each kind of data, with the time of the latest in the database."""
    ingest(commands, ANN)
    found = commands.json("doctor", "--after-restore", "--offline")
    steps = {each["what"]: each for each in found if each["what"].startswith("restore")}
    commands.json("erase", ANN, "--yes")
    after = {each["what"]: each for each in commands.json("doctor", "--after-restore", "--offline")}

    assert list(steps) == [
        f"restore, {step}" for step in ("integrity", "calls", "deletions", "credentials", "mapping", "ProsperStack")
    ]
    assert steps["restore, integrity"] == {
        "what": "restore, integrity",
        "health": "ok",
        "found": "1 profiles",
        "advice": "",
    }
    assert steps["restore, calls"]["found"].startswith("the latest is of 20")
    assert "import" in steps["restore, calls"]["advice"]
    assert steps["restore, deletions"]["found"] == "there is none in this database"
    assert after["restore, deletions"]["found"].startswith("the latest is of 20")
    assert not {each["what"] for each in commands.json("doctor", "--offline")} & set(steps)


def fingerprint(commands: Commands) -> str:
    [only] = commands.json("accounts", "list")
    found: str = only["fingerprint"]
    return found


def test_public_keys_have_origins(commands: Commands) -> None:
    """A public key is listed with its kind and origins; an invalid origin is rejected."""
    key = commands.json("keys", "issue", "--public", "--origin", "https://a.example", "--origin", "http://b:81/")[
        "key"
    ]
    app = commands.json("keys", "issue", "--public")["key"]
    commands.json("keys", "issue", "--name", "server")
    listed = {(each["kind"], each["origins"]) for each in commands.json("keys", "list")}

    assert key.startswith("psp_")
    assert app.startswith("psp_")
    assert {("public", "https://a.example, http://b:81"), ("public", ""), ("secret", "")} <= listed
    assert "add --public" in commands.fails("keys", "issue", "--origin", "https://a.example")
    assert "is not an origin" in commands.fails("keys", "issue", "--public", "--origin", "*")


def test_lists_have_json_output(commands: Commands) -> None:
    """Every list has JSON output with ISO 8601 times; credentials are printed once."""
    key = commands.json("keys", "issue", "--name", "one")["key"]
    secret = commands.json("secrets", "issue")
    connector = commands.json("connectors", "issue", "--name", "flow")
    lists = {name: commands.json(name, "list") for name in ("keys", "secrets", "connectors")}
    revoked = commands.json("connectors", "revoke", lists["connectors"][0]["connector"])
    text = json.dumps(lists)

    assert secret["path"] == f"/webhook/{commands.account_id}"
    assert connector["data_connector"].startswith("/data-connector/psc_")
    assert lists["keys"][0]["created"].endswith("+00:00")
    assert lists["connectors"][0]["revoked"] is None
    assert commands.json("connectors", "list")[0]["revoked"] is not None
    assert revoked == {"revoked": lists["connectors"][0]["connector"]}
    assert not any(hidden in text for hidden in (key, secret["secret"], connector["data_connector"][16:]))
    assert [each["what"] for each in commands.json("audit")][:2] == ["revoke connector", "issue connector"]
    assert commands.json("sources") == []


def test_several_accounts_need_a_choice(commands: Commands) -> None:
    """With several accounts, a command needs --account, and does not change the others."""
    ingest(commands, ANN)
    other = commands.write(open_account, "key_test_other")
    message = commands.fails("profile", ANN)

    assert "choose one with --account" in message
    assert commands.json("profile", ANN, "--account", commands.account_id)["email"] == ANN
    assert "No profile" in commands.fails("profile", ANN, "--account", other)
    assert commands.json("erase", ANN, "--account", other, "--yes")["profiles"] == 0
    assert commands.json("retry", "--account", other) == {"profiles": 0}
    assert commands.json("profile", ANN, "--account", commands.account_id)["email"] == ANN


def test_missing_database_is_not_created(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that reads creates no database; its message has the path and advice."""
    monkeypatch.setenv("DATA_DIR", str(commands.folder / "elsewhere"))

    assert "Run `serve`" in commands.fails("status")
    assert not (commands.folder / "elsewhere").exists()
