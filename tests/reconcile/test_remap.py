"""Remapping of profiles after a change of mapping or catalog."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.call_facts import context_fact
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.store import accounts, erasure, mappings, problems, profile_queries, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.mappings import RemapProgress
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.tables import profiles as table
from support.accounts import open_account
from support.clocks import SetClock
from support.intake import identify, pseudonym, take

pytestmark = pytest.mark.anyio

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT), Property("seats", "Seats", PropertyType.NUMBER)])


@dataclass
class World:
    """Settled profiles, and the remapper."""

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

    async def remap(self) -> RemapProgress:
        await Remapper(
            self.database, self.woken.extend, clock=self.clock, ticks=self.clock, sleep=self.clock.sleep
        ).run_once()
        progress = await self.database.read(mappings.latest_remap, "acct_1")
        assert progress is not None
        return progress

    async def profile(self, email: str) -> Profile:
        profile = await self.database.read(profiles.find, "acct_1", email)
        assert profile is not None
        return profile


@pytest.fixture
async def world(database: Database, clock: SetClock) -> World:
    await database.write(open_account)
    await database.write(accounts.set_catalog, "acct_1", dump_catalog(CATALOG), clock())
    return World(database, clock)


async def test_only_changed_profiles_become_due(world: World) -> None:
    """A changed rule makes the profiles due whose desired values it changes, and no other."""
    await world.call("changed@x.y", plan="a", tier="b")
    await world.call("same@x.y", plan="a", tier="a")
    await world.call("neither@x.y", seats=1)
    await world.apply({"property": "plan", "from": "traits.tier"})

    progress = await world.remap()

    assert (progress.total, progress.done, progress.changed) == (3, 3, 1)
    assert progress.finished_at is not None
    changed = await world.profile("changed@x.y")
    assert (changed.status, changed.pending_since, changed.version) == (Status.PENDING, world.clock(), 2)
    for email in ("same@x.y", "neither@x.y"):
        untouched = await world.profile(email)
        assert (untouched.status, untouched.version) == (Status.IN_SYNC, 1)
    assert world.woken == ["acct_1"]


async def test_new_day_remaps_the_profiles_whose_values_it_changes(world: World) -> None:
    """At the end of a day in the account's time zone, only profiles whose values depend on it become due."""
    account = await world.database.read(accounts.get, "acct_1")
    assert account is not None  # one in the afternoon of January 1st in Auckland, whose day ends in 11 hours
    await world.database.write(account_mapping.change_time_zone, account, "Pacific/Auckland", world.clock())
    await world.call("new@x.y", since="2025-12-31", plan="a")
    await world.call("old@x.y", since="2020-01-01", plan="a")
    await world.apply({"property": "seats", "from": "if(days_since(traits.since) < `2`, `1`, `2`)"})
    began = (await world.remap()).started_at
    for email in ("new@x.y", "old@x.y"):
        await world.database.write(world.settle, email, Status.IN_SYNC)

    world.clock.advance(11 * 3_600 - 1)
    assert (await world.remap()).started_at == began
    world.clock.advance(1)
    progress = await world.remap()

    assert (progress.started_at, progress.done, progress.changed) == (world.clock(), 2, 1)
    statuses = [(await world.profile(f"{each}@x.y")).status for each in ("new", "old")]
    assert statuses == [Status.PENDING, Status.IN_SYNC]
    world.clock.advance(24 * 3_600)
    assert (await world.remap()).changed == 0


async def test_remap_removes_what_the_mapping_does_not_keep_any_more(world: World) -> None:
    """Facts that no rule reads any more, and traits that a mapping drops, leave the stored profiles."""
    facts: dict[str, Any] = {context_fact(["ip"]): "1.2.3.4", context_fact(["locale"]): "de"}
    await world.call("a@x.y", plan="a", ssn="1", **facts)
    rules = Rules.model_validate({"drop": ["ssn"], "rules": [{"property": "seats", "from": "context.locale"}]})
    await world.database.write(world.applied, rules)

    await world.remap()

    kept = await world.profile("a@x.y")
    assert [*kept.traits, *kept.facts] == ["plan", context_fact(["locale"])]
    await world.apply()
    await world.remap()
    assert (await world.profile("a@x.y")).facts == {}


async def test_change_of_the_time_zone_remaps_a_mapping_of_the_day(world: World) -> None:
    """Another time zone makes all profiles due for a mapping that depends on the day, and none for another."""
    await world.call("a@x.y", since="2025-12-31")
    account = await world.database.read(accounts.get, "acct_1")
    assert account is not None
    await world.database.write(account_mapping.change_time_zone, account, "Pacific/Auckland", world.clock())
    assert await world.database.read(mappings.latest_remap, "acct_1") is None
    await world.apply({"property": "plan", "from": "now"})
    await world.remap()
    account = await world.database.read(accounts.get, "acct_1")
    assert account is not None

    await world.database.write(account_mapping.change_time_zone, account, "UTC", world.clock())

    assert (await world.remap()).changed == 1


async def test_unmatched_profile_is_not_looked_up_after_a_rule_change(world: World) -> None:
    """A profile without a subscriber keeps waiting, with its current problems, at no cost."""
    await world.call("stranger@x.y", Status.UNMATCHED, tier="many")
    await world.apply({"property": "seats", "from": "traits.tier"})

    await world.remap()

    stranger = await world.profile("stranger@x.y")
    assert (stranger.status, stranger.pending_since, stranger.version) == (Status.UNMATCHED, None, 2)
    [problem] = await world.database.read(problems.of_profile, stranger.id)
    assert (problem.property, problem.trait, problem.value) == ("seats", "tier", "many")

    await world.apply()
    await world.remap()
    assert await world.database.read(problems.of_profile, stranger.id) == []


async def test_change_during_a_remap_starts_over(world: World) -> None:
    """Profiles are compared with all earlier mappings of an unfinished remap, so that none stays stale."""
    await world.call("a@x.y", plan="one", tier="two")
    await world.apply({"property": "plan", "from": "traits.tier"})
    await world.remap()
    await world.database.write(world.settle, "a@x.y", Status.IN_SYNC)  # it has "two" now

    await world.apply({"property": "plan", "from": "traits.never"})
    await world.apply({"property": "plan", "from": "traits.tier"})  # back, before the remap
    again = await world.remap()

    assert (len(again.previous), again.changed) == (2, 1)


async def test_changed_catalog_is_remapped(world: World) -> None:
    """A new property makes the profiles due that have a value for it."""
    await world.call("a@x.y", plan="x", city="Berlin")
    await world.call("b@x.y", plan="x")
    more = Catalog([*CATALOG, Property("city", "City", PropertyType.TEXT)])
    await world.database.write(mappings.begin_remap, "acct_1", world.clock())
    await world.database.write(accounts.set_catalog, "acct_1", dump_catalog(more), world.clock())

    assert (await world.remap()).changed == 1
    assert (await world.profile("a@x.y")).status is Status.PENDING


async def test_all_pages_are_remapped(world: World) -> None:
    """More profiles than a page holds are remapped to the last, and the progress is stored."""
    count = profile_queries.PAGE_SIZE + 3
    await world.database.write(take, *(identify(f"p{number}@x.y", tier="x") for number in range(count)))
    await world.apply({"property": "plan", "from": "traits.tier"})

    progress = await world.remap()

    assert (progress.total, progress.done, progress.changed) == (count, count, count)
    due = await world.database.read(
        lambda connection: connection.execute(
            select(func.count()).select_from(table).where(table.c.version == 2)
        ).scalar_one()
    )
    assert due == count


async def test_remap_without_profiles_finishes_at_once(world: World) -> None:
    """An account without profiles has nothing to remap."""
    await world.apply({"property": "plan", "from": "traits.tier"})

    assert (await world.remap()).finished_at == world.clock()


async def current_progress(world: World) -> RemapProgress:
    progress = await world.database.read(mappings.latest_remap, "acct_1")
    assert progress is not None
    return progress


async def remap_up_to(world: World, after: str) -> RemapProgress:
    """Start a remap, and set its progress to an email."""
    await world.database.write(mappings.begin_remap, "acct_1", world.clock())
    progress = await current_progress(world)
    await world.database.write(mappings.advance_remap, progress, after=after, done=2, changed=0, finished_at=None)
    return await current_progress(world)


async def test_remap_continues_before_an_erased_email(world: World) -> None:
    """A remap that had reached an erased person continues after the one before, and skips no profile."""
    for email in ("a@x.y", "b@x.y", "c@x.y"):
        await world.call(email, plan="one")
    await remap_up_to(world, "b@x.y")

    await world.database.write(erasure.erase_email, "acct_1", "b@x.y", pseudonym, "ann", world.clock())
    assert (await current_progress(world)).after == "a@x.y"
    await world.database.write(erasure.erase_email, "acct_1", "a@x.y", pseudonym, "ann", world.clock())
    assert (await current_progress(world)).after == ""
    progress = await world.remap()
    assert (progress.after, progress.finished_at) == ("", world.clock())


async def test_page_read_before_an_erasure_is_discarded(world: World) -> None:
    """A page that was read before an erasure does not write the erased email back."""
    await world.call("a@x.y", plan="one")
    before = await remap_up_to(world, "")
    await world.database.write(erasure.erase_email, "acct_1", "a@x.y", pseudonym, "ann", world.clock())

    noted = await world.database.write(
        mappings.advance_remap, before, after="a@x.y", done=1, changed=0, finished_at=None
    )
    assert not noted
    assert (await current_progress(world)).after == ""


async def test_finished_remap_keeps_no_email(world: World) -> None:
    """After the last profile no email is stored as the position."""
    await world.call("a@x.y", plan="one")
    await world.apply({"property": "plan", "from": "traits.tier"})

    assert (await world.remap()).after == ""


def break_profile(connection: Connection, email: str) -> None:
    """Store traits that cannot be read, as a bug might."""
    connection.execute(update(table).where(table.c.email == email).values(traits="[not JSON"))


async def test_unreadable_profile_does_not_stop_the_remap(world: World) -> None:
    """The other profiles of its account are remapped to the last."""
    for email in ("a@x.y", "broken@x.y", "c@x.y"):
        await world.call(email, tier="x")
    await world.database.write(break_profile, "broken@x.y")
    await world.apply({"property": "plan", "from": "traits.tier"})

    progress = await world.remap()

    assert progress.finished_at is not None
    assert progress.changed == 2
    assert (await world.profile("c@x.y")).status is Status.PENDING


async def test_unreadable_account_does_not_stop_others(world: World) -> None:
    """Another account is remapped to its end, and the broken one is retried by the next run."""
    await world.database.write(open_account, "acct_0")
    await world.database.write(mappings.begin_remap, "acct_0", world.clock())
    await world.database.write(accounts.set_catalog, "acct_0", "[not JSON", world.clock())
    await world.database.write(take, replace(identify("z@x.y", tier="x"), account_id="acct_0"))
    await world.call("a@x.y", tier="x")
    await world.apply({"property": "plan", "from": "traits.tier"})

    assert (await world.remap()).finished_at is not None

    await world.database.write(accounts.set_catalog, "acct_0", dump_catalog(CATALOG), world.clock())
    await world.remap()
    mended = await world.database.read(mappings.latest_remap, "acct_0")
    assert mended is not None
    assert mended.finished_at is not None
