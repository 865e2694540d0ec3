"""Going through all profiles when what their traits mean has changed."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.store import accounts, erasure, problems, profile_scan, profiles, remap_progress
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.remap_progress import RemapProgress
from prosperstack_destination.store.tables import profiles as table
from support.accounts import open_account
from support.clocks import SetClock
from support.intake import identify, pseudonym, take

pytestmark = pytest.mark.anyio

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT), Property("seats", "Seats", PropertyType.NUMBER)])


@dataclass
class World:
    """Profiles that are settled, and what goes through them."""

    database: Database
    clock: SetClock
    woken: list[str] = field(default_factory=list)

    async def call(self, email: str, status: Status = Status.IN_SYNC, **traits: Any) -> None:
        await self.database.write(take, identify(email, **traits))
        await self.database.write(self.settle, email, status)

    def settle(self, connection: Connection, email: str, status: Status) -> None:
        chosen = table.c.email == email
        connection.execute(update(table).where(chosen).values(status=status, due_at=None, pending_since=None))

    async def apply(self, *rules: dict[str, Any]) -> None:
        await self.database.write(self.applied, Rules.model_validate({"rules": rules}))

    def applied(self, connection: Connection, rules: Rules) -> None:
        account = accounts.get(connection, "acct_1")
        assert account is not None
        account_mapping.apply(connection, account, rules, author="ann", now=self.clock())

    async def go_through(self) -> RemapProgress:
        await Remapper(
            self.database, self.woken.extend, clock=self.clock, ticks=self.clock, sleep=self.clock.sleep
        ).run_once()
        found = await self.database.read(remap_progress.of_account, "acct_1")
        assert found is not None
        return found

    async def profile(self, email: str) -> Profile:
        profile = await self.database.read(profiles.find, "acct_1", email)
        assert profile is not None
        return profile


@pytest.fixture
async def world(database: Database, clock: SetClock) -> World:
    await database.write(open_account)
    await database.write(accounts.set_catalog, "acct_1", dump_catalog(CATALOG), clock())
    return World(database, clock)


async def test_only_what_differs_is_due(world: World) -> None:
    """A changed rule makes those profiles due whose properties it changes, and touches no other."""
    await world.call("changed@x.y", plan="a", tier="b")
    await world.call("same@x.y", plan="a", tier="a")
    await world.call("neither@x.y", seats=1)
    await world.apply({"property": "plan", "from": "traits.tier"})

    found = await world.go_through()

    assert (found.total, found.done, found.changed) == (3, 3, 1)
    assert found.finished_at is not None
    changed = await world.profile("changed@x.y")
    assert (changed.status, changed.pending_since, changed.version) == (Status.PENDING, world.clock(), 2)
    for email in ("same@x.y", "neither@x.y"):
        untouched = await world.profile(email)
        assert (untouched.status, untouched.version) == (Status.IN_SYNC, 1)
    assert world.woken == ["acct_1"]


async def test_nobody_is_looked_up_for_a_changed_rule(world: World) -> None:
    """A profile without a subscriber stays as it waits, with its problems as they are now; it costs nothing."""
    await world.call("stranger@x.y", Status.UNMATCHED, tier="many")
    await world.apply({"property": "seats", "from": "traits.tier"})

    await world.go_through()

    stranger = await world.profile("stranger@x.y")
    assert (stranger.status, stranger.pending_since, stranger.version) == (Status.UNMATCHED, None, 2)
    [problem] = await world.database.read(problems.of_profile, stranger.id)
    assert (problem.property, problem.trait, problem.value) == ("seats", "tier", "many")

    await world.apply()
    await world.go_through()
    assert await world.database.read(problems.of_profile, stranger.id) == []


async def test_a_change_in_the_middle_begins_anew(world: World) -> None:
    """What was judged by the one mapping or by the other is compared with both, so that nothing stays stale."""
    await world.call("a@x.y", plan="one", tier="two")
    await world.apply({"property": "plan", "from": "traits.tier"})
    await world.go_through()
    await world.database.write(world.settle, "a@x.y", Status.IN_SYNC)  # it has "two" now

    await world.apply({"property": "plan", "from": "traits.never"})
    await world.apply({"property": "plan", "from": "traits.tier"})  # back, before anybody looked
    again = await world.go_through()

    assert (len(again.before), again.changed) == (2, 1)


async def test_a_changed_catalog_is_gone_through(world: World) -> None:
    """A property that was created makes those due that have a value for it."""
    await world.call("a@x.y", plan="x", city="Berlin")
    await world.call("b@x.y", plan="x")
    more = Catalog([*CATALOG, Property("city", "City", PropertyType.TEXT)])
    await world.database.write(remap_progress.begin, "acct_1", world.clock())
    await world.database.write(accounts.set_catalog, "acct_1", dump_catalog(more), world.clock())

    assert (await world.go_through()).changed == 1
    assert (await world.profile("a@x.y")).status is Status.PENDING


async def test_many_pages(world: World) -> None:
    """More profiles than a page has are gone through to the last, and its progress is kept."""
    count = profile_scan.PAGE + 3
    await world.database.write(take, *(identify(f"p{number}@x.y", tier="x") for number in range(count)))
    await world.apply({"property": "plan", "from": "traits.tier"})

    found = await world.go_through()

    assert (found.total, found.done, found.changed) == (count, count, count)
    due = await world.database.read(
        lambda connection: connection.execute(
            select(func.count()).select_from(table).where(table.c.version == 2)
        ).scalar_one()
    )
    assert due == count


async def test_without_profiles_it_is_done_at_once(world: World) -> None:
    """Where there is nobody yet there is nothing to go through."""
    await world.apply({"property": "plan", "from": "traits.tier"})

    assert (await world.go_through()).finished_at == world.clock()


async def at(world: World) -> RemapProgress:
    found = await world.database.read(remap_progress.of_account, "acct_1")
    assert found is not None
    return found


async def begun(world: World, after: str) -> RemapProgress:
    """A re-projection that has reached an email."""
    await world.database.write(remap_progress.begin, "acct_1", world.clock())
    known = await at(world)
    await world.database.write(remap_progress.advance, known, after=after, done=2, changed=0, finished_at=None)
    return await at(world)


async def test_an_erased_email_is_no_place_to_go_on_from(world: World) -> None:
    """A re-projection that had reached an erased person goes on after the one before, and misses nobody."""
    for email in ("a@x.y", "b@x.y", "c@x.y"):
        await world.call(email, plan="one")
    await begun(world, "b@x.y")

    await world.database.write(erasure.erase_email, "acct_1", "b@x.y", pseudonym, "ann", world.clock())
    assert (await at(world)).after == "a@x.y"
    await world.database.write(erasure.erase_email, "acct_1", "a@x.y", pseudonym, "ann", world.clock())
    assert (await at(world)).after == ""
    found = await world.go_through()
    assert (found.after, found.finished_at) == ("", world.clock())


async def test_a_page_from_before_an_erasure_does_not_count(world: World) -> None:
    """A page that was read before an erasure cannot write the erased email back."""
    await world.call("a@x.y", plan="one")
    before = await begun(world, "")
    await world.database.write(erasure.erase_email, "acct_1", "a@x.y", pseudonym, "ann", world.clock())

    noted = await world.database.write(
        remap_progress.advance, before, after="a@x.y", done=1, changed=0, finished_at=None
    )
    assert not noted
    assert (await at(world)).after == ""


async def test_a_finished_one_keeps_no_email(world: World) -> None:
    """Once all profiles were looked at, no email is stored as the last one."""
    await world.call("a@x.y", plan="one")
    await world.apply({"property": "plan", "from": "traits.tier"})

    assert (await world.go_through()).after == ""


def break_profile(connection: Connection, email: str) -> None:
    """Store traits that nothing can read, as a fault of this service might."""
    connection.execute(update(table).where(table.c.email == email).values(traits="[not JSON"))


async def test_a_profile_that_cannot_be_read_stops_no_other(world: World) -> None:
    """The others of its account are gone through to the last."""
    for email in ("a@x.y", "broken@x.y", "c@x.y"):
        await world.call(email, tier="x")
    await world.database.write(break_profile, "broken@x.y")
    await world.apply({"property": "plan", "from": "traits.tier"})

    found = await world.go_through()

    assert found.finished_at is not None
    assert found.changed == 2
    assert (await world.profile("c@x.y")).status is Status.PENDING


async def test_an_account_that_cannot_be_read_stops_no_other(world: World) -> None:
    """Another account is gone through to its end, and the broken one is tried again by the next run."""
    await world.database.write(open_account, "acct_0")
    await world.database.write(remap_progress.begin, "acct_0", world.clock())
    await world.database.write(accounts.set_catalog, "acct_0", "[not JSON", world.clock())
    await world.database.write(take, replace(identify("z@x.y", tier="x"), account_id="acct_0"))
    await world.call("a@x.y", tier="x")
    await world.apply({"property": "plan", "from": "traits.tier"})

    assert (await world.go_through()).finished_at is not None

    await world.database.write(accounts.set_catalog, "acct_0", dump_catalog(CATALOG), world.clock())
    await world.go_through()
    mended = await world.database.read(remap_progress.of_account, "acct_0")
    assert mended is not None
    assert mended.finished_at is not None
