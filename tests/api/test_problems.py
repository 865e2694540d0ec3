"""Tests of the API of problems and failures."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.settings import Role
from prosperstack_destination.store import accounts, profiles, remote_erasures
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from support.intake import stored
from support.operators import issued, operator
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
#: 2100, in microseconds since the epoch.
NEXT_CENTURY = 4_102_444_800_000_000


async def test_problems_are_grouped_until_solved(service: Service, api: httpx.AsyncClient) -> None:
    """Problems are grouped with samples, and disappear when they are solved."""
    while not (groups := (await api.get("problems")).json()):
        pass
    [group] = groups
    assert (group["property"], group["count"]) == ("number_of_contacts", 1)
    assert "Add a rule with values" in group["advice"]
    assert group["samples"] == [{"profile_id": 1, "email": JOHN, "trait": "number_of_contacts", "value": "many"}]

    call = {"traits": {"email": JOHN, "number_of_contacts": 5}}
    await service.client.post("http://service/identify", json=call)
    while (await api.get("problems")).json():
        pass


async def test_problems_are_retried(api: httpx.AsyncClient) -> None:
    """One problem or all of them are retried; an unknown problem has no people."""
    while not (groups := (await api.get("problems")).json()):
        pass
    which = {"property": groups[0]["property"], "reason": groups[0]["reason"]}
    one = await api.post("problems/retry", json=which)
    none = await api.post("problems/retry", json={**which, "reason": "another"})
    every = await api.post("problems/retry", json={})
    half = await api.post("problems/retry", json={"property": "x"})

    assert groups[0]["set_aside"] is False
    assert [each.json() for each in (one, none, every)] == [{"profiles": 1}, {"profiles": 0}, {"profiles": 1}]
    assert half.status_code == 422
    audit = (await api.get("audit")).json()
    assert [(each["actor"], each["action"], each["details"]["profiles"]) for each in audit][:3] == [
        *(("ann", "retry", 1), ("ann", "retry", 0), ("ann", "retry", 1))
    ]


async def test_failures_have_reason_and_retry_time(tmp_path: Path) -> None:
    """Failed and rejected people and failed erasures are listed with reason and next attempt."""

    def fail(connection: Connection) -> None:
        [account] = accounts.all_accounts(connection)
        for email, until in (("failed@example.com", NEXT_CENTURY), ("rejected@example.com", None)):
            profile = stored(connection, email, account.id)
            if until is not None:
                profiles.postpone(connection, profile.id, until, "ProsperStack is away.")
            else:
                profiles.settle(connection, profile, Status.REJECTED, reason="ProsperStack rejects the email: no")
        remote_erasures.add(connection, account.id, {"subr_1": ["plan"]}, delete_subscriber=False, now=1)
        [due] = remote_erasures.due(connection, account.id, 1, 1)
        remote_erasures.postpone(connection, account.id, due, NEXT_CENTURY, "no")

    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    token = await issued(tmp_path)
    async with running(settings(tmp_path, role=Role.RECEIVE)) as service:  # nobody reconciles meanwhile
        await service.identify("failed@example.com", plan="x")
        await service.identify("rejected@example.com", plan="x")
        async with operator(service, token) as api:
            nothing = (await api.get("failures")).json()
            await database.write(fail)
            found = (await api.get("failures")).json()
            retried = (await api.post("problems/retry", json={})).json()
            after = (await api.get("failures")).json()
    await database.close()

    assert nothing == {"waiting": [], "set_aside": [], "clearings": []}
    [failed], [rejected] = found["waiting"], found["set_aside"]
    assert (failed["email"], failed["reason"]) == ("failed@example.com", "ProsperStack is away.")
    assert failed["next_attempt_at"][:4] == "2100"
    assert (rejected["email"], rejected["next_attempt_at"]) == ("rejected@example.com", None)
    assert [(each["subscriber_id"], each["reason"], each["attempts"]) for each in found["clearings"]] == [
        ("subr_1", "no", 1)
    ]
    assert retried == {"profiles": 2}
    assert (after["waiting"], after["set_aside"]) == ([], [])


async def test_replay_has_a_cost_and_overwrites_edits(service: Service, api: httpx.AsyncClient) -> None:
    """A replay has a cost, and overwrites edits made in ProsperStack."""
    await service.identify(JOHN, preferred_name="Segment")
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "Segment")
    [record] = service.account().data.subscribers.after(0, JOHN)
    await service.sandbox.patch(
        f"subscribers/{record.fields['id']}", json={"properties": {"preferred_name": "by hand"}}
    )
    cost = (await api.get("replay")).json()
    [john] = (await api.get("profiles")).json()["profiles"]
    one = (await api.get(f"replay?profile_id={john['id']}")).json()
    replayed = (await api.post("replay", json={"profile_id": john["id"]})).json()
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "Segment")

    assert cost["profiles"] == one["profiles"] == 1
    assert cost["most_requests"] == one["most_requests"] == 2
    assert cost["most_seconds"] > 0
    assert replayed == {"profiles": 1}
    assert (await api.post("replay", json={"profile_id": 999})).status_code == 404
    everybody = await api.post("replay", json={})
    assert (everybody.status_code, everybody.json()) == (202, {"profiles": 1})
    while (latest := (await api.get("replay")).json()["latest"])["finished_at"] is None:
        pass
    assert (latest["total"], latest["done"], latest["failed"]) == (1, 1, None)
    assert cost["latest"] is None
