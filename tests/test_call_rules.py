"""Call rules of a mapping, from the call to the database and to the pages."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from prosperstack_destination import account_mapping
from prosperstack_destination.file_import import job as import_job
from prosperstack_destination.file_import.row_parser import ColumnOptions
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Identify, Profile
from prosperstack_destination.store.tables import metadata
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, outcomes, stored, take
from support.operators import issued, operator
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"


@pytest.fixture
async def account(database: Database) -> Account:
    """Return an open account."""
    return await database.write(open_account)


async def test_alias_leads_a_former_id_to_the_same_email(database: Database, account: Account) -> None:
    """After an Alias call, calls with the former ID belong to the email of the new ID, and the other way round."""
    known = identify(user_id="new")
    alias = Identify(account.id, None, "", {}, NEW_YEAR + 1, NEW_YEAR + 1, "new", previous_id="old")
    later = identify(None, user_id="old", at=NEW_YEAR + 2, received_at=NEW_YEAR + 2, plan="pro")
    anonymous = identify(None, anonymous_id="old", at=NEW_YEAR + 3, received_at=NEW_YEAR + 3, seats=5)
    unknown = replace(alias, user_id="x", previous_id="y")

    taken = await database.write(take, known, alias, later, anonymous, unknown)

    assert outcomes(taken) == ["accepted", "accepted", "accepted", "accepted", "unknown"]
    assert (await database.read(stored)).values() == {"plan": "pro", "seats": 5}
    backwards = replace(alias, user_id="newer", previous_id="new", at=NEW_YEAR + 4)
    by_newer = identify(None, user_id="newer", at=NEW_YEAR + 5, received_at=NEW_YEAR + 5, plan="team")
    assert outcomes(await database.write(take, backwards, by_newer)) == ["accepted", "accepted"]
    assert (await database.read(stored)).values()["plan"] == "team"


@pytest.mark.usefixtures("account")
async def test_user_id_that_is_an_email_counts_for_unknown_ids(database: Database) -> None:
    """A user ID that is an email is the email, unless another email is known for it."""
    first = replace(identify(None, user_id="Jo@x.org", plan="a"), id_email="Jo@x.org")
    moved = identify("new@x.org", user_id="Jo@x.org", at=NEW_YEAR + 1, received_at=NEW_YEAR + 1)
    again = replace(first, at=NEW_YEAR + 2, traits={"plan": "b"})

    assert outcomes(await database.write(take, first)) == ["accepted"]
    assert (await database.read(stored, "jo@x.org")).address == "Jo@x.org"
    await database.write(take, moved, again)

    assert (await database.read(stored, "jo@x.org")).values() == {"plan": "a"}
    assert (await database.read(stored, "new@x.org")).values() == {"plan": "b"}


@pytest.mark.usefixtures("account")
async def test_any_call_is_held_if_the_account_says_so(database: Database) -> None:
    """A call with an ID but without a known email is held, and merged when the email is known."""
    held = replace(identify(None, user_id="u", plan="pro"), may_be_held=True)

    assert outcomes(await database.write(take, held)) == ["held"]
    await database.write(take, identify(user_id="u", at=NEW_YEAR + 1, received_at=NEW_YEAR + 1))

    assert (await database.read(stored)).values() == {"plan": "pro"}


def _rows(connection: Connection) -> str:
    found = [str(tuple(row)) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    return "\n".join(found)


def _files(folder: Path) -> str:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).decode("latin-1")


async def test_mapping_filters_drops_and_keeps_parts_of_calls(tmp_path: Path) -> None:
    """Dropped traits reach no table and no file, calls are left out with their reason, and rules read the rest."""
    configured = settings(tmp_path)
    async with running(configured) as service:
        await service.identify(JOHN, nickname="Jo")
        async with operator(service, await issued(tmp_path)) as api:
            account = api.base_url.path.rstrip("/").rpartition("/")[2]
            mapping = {
                "email": {"first_of": ["traits.mail", "traits.email"]},
                "accept": "source.id != 'src_test'",
                "drop": ["ssn", "*.password"],
                "consent": {"required_categories": ["Ads"], "missing": "accept"},
                "rules": [
                    {"property": "preferred_name", "from": "context.campaign.name"},
                    {"property": "number_of_contacts", "from": "traits.seats", "sources": ["src_web"]},
                ],
            }
            applied = await api.put("mapping", json={"mapping": mapping, "based_on": 0})
            assert applied.status_code == 200, applied.text
            refused = {"consent": {"categoryPreferences": {"Ads": False}}}
            secret = {"ssn": "078-05-1120", "user": {"password": "hunter2"}, "mail": JOHN}
            answers = [
                await _send(service, traits={**secret, "seats": 5}, projectId="src_web",
                            context={"campaign": {"name": "Spring", "term": "hidden"}, "ip": "203.0.113.9"}),
                await _send(service, traits={"mail": JOHN, "seats": 7}, projectId="src_crm"),
                await _send(service, traits=secret, projectId="src_test"),
                await _send(service, traits=secret, context=refused),
                await _send(service, traits={"contact": JOHN, "ssn": "078-05-1120"}, userId="u"),
                await _send(service, traits=secret, projectId="src_test", query="?dry_run=true"),
            ]  # fmt: skip
            assert [each.status_code for each in answers] == [202, 202, 200, 200, 400, 200]
            assert "Left out: the account's mapping does not take this call" in answers[2].text
            assert "has not consented" in answers[3].text
            assert "an email address at traits.contact:" in answers[4].text
            explained = (await _send(service, traits={**secret, "seats": 9}, query="?dry_run=true")).json()
            assert {"trait": "ssn", "reason": "the mapping drops it: it is not stored"} in explained["ignored"]
            for _ in range(100):
                [values] = service.values(JOHN)
                overview = (await api.get("overview")).json()["day"]
                if values.get("number_of_contacts") == 5 and overview["filtered"] == 2:
                    break
                await asyncio.sleep(0.1)
            assert (values["preferred_name"], values["number_of_contacts"]) == ("Spring", 5)
            assert (overview["filtered"], overview["no_consent"]) == (2, 1)
            page = (await api.get(f"people?email={JOHN}")).text
            assert "Spring" not in page
    database = Database(configured.effective_database_url)
    kept = await database.read(_rows)
    profile: Profile = await database.read(stored, JOHN, account)
    await database.close()
    for text in (kept, _files(tmp_path)):
        assert "078-05-1120" not in text
        assert "hunter2" not in text
    assert "203.0.113.9" not in json.dumps(profile.facts)
    assert "hidden" not in json.dumps(profile.facts)
    assert profile.traits.keys() == {"email", "nickname", "user", "mail", "seats"}


async def _send(service: Service, *, query: str = "", **call: Any) -> Any:
    return await service.client.post(f"/identify{query}", json={"type": "identify", **call})


async def test_import_follows_call_rules(database: Database, account: Account, tmp_path: Path) -> None:
    """Rows that the call rules leave out are not imported, and dropped traits reach no table."""
    rules = {"accept": "traits.plan != 'test'", "drop": ["ssn"], "consent": {"required_categories": ["Ads"]}}
    mapping = Rules.model_validate(rules)
    await database.write(lambda at: account_mapping.apply(at, account, mapping, author="me", now=NEW_YEAR))
    consents = {"consent": {"categoryPreferences": {"Ads": True}}}
    calls: list[dict[str, Any]] = [
        {"traits": {"email": "in@x.org", "plan": "pro", "ssn": "078-05-1120"}, "context": consents},
        {"traits": {"email": "test@x.org", "plan": "test"}, "context": consents},
        {"traits": {"email": "no@x.org", "plan": "pro"}},
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(json.dumps({"type": "identify", **each}) + "\n" for each in calls))
    current = await database.read(accounts.get, account.id)
    assert current is not None
    job = await import_job.prepare(database, current, file, ColumnOptions(), lambda: NEW_YEAR, 0.1)

    counts = await import_job.run(database, lambda email: email, job, "me", lambda: NEW_YEAR, lambda _: None)

    assert (counts.accepted, counts.ignored) == (1, 2)
    kept = await database.read(_rows)
    assert "in@x.org" in kept
    for left_out in ("078-05-1120", "test@x.org", "no@x.org"):
        assert left_out not in kept
