"""Pages of profiles, for any number of them."""

import pytest
from sqlalchemy import Connection

from prosperstack_destination.clock import HOUR, MINUTE
from prosperstack_destination.store import profile_queries, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.profile_queries import ProfilePage
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio


def fill(connection: Connection) -> None:
    """Add twelve profiles: every third settled, every third unmatched, one of the others with a rejected value."""
    open_account(connection)
    open_account(connection, "acct_2")
    take(connection, *(identify(f"p{number:02}@x.y", user_id=f"u{number}") for number in range(12)))
    take(connection, identify("p99@x.y", account="acct_2"))
    for number in range(12):
        profile = stored(connection, f"p{number:02}@x.y")
        if number % 3 == 0:
            profiles.settle(connection, profile, Status.IN_SYNC)
        elif number % 3 == 1:
            profiles.settle(connection, profile, Status.UNMATCHED)
        elif number == 5:
            profiles.settle(connection, profile, Status.REJECTED, reason="no email")


def numbers(listing: ProfilePage) -> list[int]:
    return [int(each.email[1:3]) for each in listing.profiles]


async def test_pages_list_all_profiles(database: Database) -> None:
    """Profiles are listed page by page in the order of their emails, without other accounts'."""
    await database.write(fill)
    first = await database.read(lambda it: profile_queries.list_page(it, ACCOUNT, after="", limit=10))
    assert first.after is not None
    rest = await database.read(lambda it: profile_queries.list_page(it, ACCOUNT, after=first.after or "", limit=10))
    exactly = await database.read(lambda it: profile_queries.list_page(it, ACCOUNT, after="", limit=12))

    assert numbers(first) == list(range(10))
    assert (numbers(rest), rest.after) == ([10, 11], None)
    assert exactly.after is None
    assert (first.profiles[0].user_id, first.profiles[0].status) == ("u0", Status.IN_SYNC)


async def test_prefix_filters_emails(database: Database) -> None:
    """A prefix narrows the list, also on its later pages."""
    await database.write(fill)
    first = await database.read(lambda it: profile_queries.list_page(it, ACCOUNT, after="", limit=1, prefix="p1"))
    second = await database.read(
        lambda it: profile_queries.list_page(it, ACCOUNT, after="p10@x.y", limit=5, prefix="p1")
    )

    assert (numbers(first), first.after) == ([10], "p10@x.y")
    assert (numbers(second), second.after) == ([11], None)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([Status.REJECTED], [5]),
        (UNSETTLED, [2, 8, 11]),
        ([Status.IN_SYNC], [0, 3, 6, 9]),
        ([Status.UNMATCHED, Status.IN_SYNC], [0, 1, 3, 4, 6, 7, 9, 10]),
    ],
)
@pytest.mark.parametrize("scan_limit", [1, 2, 5, 100])
async def test_status_filter_finds_all_profiles(
    database: Database, statuses: list[Status], expected: list[int], scan_limit: int
) -> None:
    """For any number of profiles scanned for a page, the pages together have every match once."""
    await database.write(fill)
    found: list[int] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = await database.read(
            lambda it, after: profile_queries.list_page(
                it, ACCOUNT, after=after, limit=2, statuses=statuses, scan_limit=scan_limit
            ),
            after,
        )
        found += numbers(page)
        after = page.after
        pages += 1

    assert found == expected
    assert pages <= 13


async def test_rare_status_is_on_the_first_page(database: Database) -> None:
    """Profiles of a rare status are on the first page, with any emails."""
    await database.write(fill)
    for statuses in ([Status.REJECTED], UNSETTLED):
        page = await database.read(
            lambda it, wanted: profile_queries.list_page(
                it, ACCOUNT, after="", limit=5, statuses=wanted, scan_limit=3
            ),
            statuses,
        )
        assert page.after is None
        assert page.profiles
    [aside] = (
        await database.read(
            lambda it: profile_queries.list_page(
                it, ACCOUNT, after="", limit=5, prefix="p0", statuses=[Status.REJECTED]
            )
        )
    ).profiles
    assert aside.status_reason == "no email"


async def test_failed_profiles_are_listed_by_their_next_attempt(database: Database) -> None:
    """A profile whose attempt failed is listed until it is settled, the next attempt first."""
    await database.write(fill)
    for number, until in ((2, HOUR), (8, MINUTE)):
        profile = await database.read(stored, f"p{number:02}@x.y")
        await database.write(profiles.postpone, profile.id, NEW_YEAR + until, "away")

    both = await database.read(profile_queries.failed, ACCOUNT, 5)
    await database.write(profiles.settle, await database.read(stored, "p08@x.y"), Status.IN_SYNC)
    later = await database.read(profile_queries.failed, ACCOUNT, 5)

    assert [each.email for each in both] == ["p08@x.y", "p02@x.y"]
    assert [(each.email, each.status_reason, each.due_at) for each in later] == [
        ("p02@x.y", "away", NEW_YEAR + HOUR)
    ]


async def test_unmatched_profiles_are_found_among_many(database: Database) -> None:
    """A page of unmatched profiles is full for any number of others between them."""
    await database.write(fill)

    def page(connection: Connection) -> ProfilePage:
        return profile_queries.list_page(
            connection, ACCOUNT, after="", limit=3, statuses=[Status.UNMATCHED], scan_limit=1
        )

    found = await database.read(page)

    assert numbers(found) == [1, 4, 7]
    assert found.after == "p07@x.y"
