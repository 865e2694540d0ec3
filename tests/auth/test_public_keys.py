"""Authentication by public keys, on both databases."""

from functools import partial

import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.auth.public_keys import CACHE_TTL, MAX_ORIGINS, MISS_TTL, PublicKeys, read_origins
from prosperstack_destination.clock import MINUTE
from prosperstack_destination.errors import ApiKeyForbidden, InvalidApiKey, InvalidInput
from prosperstack_destination.store import accounts, credentials
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import CredentialKind, KeyKind
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import SetClock

pytestmark = pytest.mark.anyio

PAGE, OTHER = "https://app.example.com", "https://other.example.com"


@pytest.fixture
async def account(database: Database) -> Account:
    return await database.write(open_account)


@pytest.fixture
def keys(database: Database, clock: SetClock) -> PublicKeys:
    async def by_id(account_id: str) -> Account:
        account = await database.read(accounts.get, account_id)
        assert account is not None
        return account

    return PublicKeys(database, by_id, clock)


async def issue(database: Database, account: Account, clock: SetClock, *origins: str) -> str:
    """Issue a public key for the pages of origins."""
    return (await database.write(partial(issuing.issue_key, origins=origins), account, "name", "ann", clock())).text


async def test_key_opens_its_account_for_its_origins(
    database: Database, account: Account, keys: PublicKeys, clock: SetClock
) -> None:
    """A key for pages is valid for its origins only; one for apps is valid without an origin."""
    of_page = await issue(database, account, clock, PAGE)
    of_app = await issue(database, account, clock)

    assert (await keys.open(of_page, PAGE)).id == account.id
    assert (await keys.open(of_app, None)).id == account.id
    for key, origin in ((of_page, OTHER), (of_page, None), (of_app, PAGE)):
        with pytest.raises(ApiKeyForbidden):
            await keys.open(key, origin)
    with pytest.raises(InvalidApiKey):
        await keys.open("psp_unknown", PAGE)
    assert (await keys.has_origin(PAGE), await keys.has_origin(OTHER)) == (True, False)


async def test_keys_are_listed_with_their_kind(database: Database, account: Account, clock: SetClock) -> None:
    """Public keys are listed with their origins, and an invalid origin issues no key."""
    public = await issue(database, account, clock, PAGE.upper(), OTHER)
    secret = (await database.write(issuing.issue_key, account, "", "ann", clock())).text
    with pytest.raises(InvalidInput):
        await issue(database, account, clock, "*")

    keys = await database.read(credentials.of_kind, CredentialKind.KEY, account.id)
    listed = {each.id: each for each in keys}
    assert (listed[fingerprint(public)].key_kind, listed[fingerprint(public)].origins) == (
        KeyKind.PUBLIC,
        (PAGE, OTHER),
    )
    assert (listed[fingerprint(secret)].key_kind, listed[fingerprint(secret)].origins) == (KeyKind.SECRET, None)


async def test_new_key_is_found_and_revoked_key_refused(
    database: Database, account: Account, keys: PublicKeys, clock: SetClock
) -> None:
    """The keys are read again for an unknown one, and when the cache expires."""
    assert not await keys.has_origin(PAGE)
    key = await issue(database, account, clock, PAGE)
    clock.now += MISS_TTL
    await keys.open(key, PAGE)

    def revoke(connection: Connection) -> None:
        issuing.revoke(connection, CredentialKind.KEY, account, fingerprint(key), "ann", clock())

    await database.write(revoke)
    await keys.open(key, PAGE)
    clock.now += CACHE_TTL
    with pytest.raises(InvalidApiKey):
        await keys.open(key, PAGE)
    assert not await keys.has_origin(PAGE)


async def test_invalidating_reads_the_keys_again(
    database: Database, account: Account, keys: PublicKeys, clock: SetClock
) -> None:
    """After an operator's change the next request reads the database."""
    assert not await keys.has_origin(PAGE)
    await issue(database, account, clock, PAGE)
    assert not await keys.has_origin(PAGE)
    keys.invalidate()

    assert await keys.has_origin(PAGE)


async def test_use_of_a_key_is_stored_once_a_minute(
    database: Database, account: Account, keys: PublicKeys, clock: SetClock
) -> None:
    """The latest use of a key is known to the minute, and costs one write a minute."""
    key = await issue(database, account, clock, PAGE)
    used = []
    for passed in (0, MINUTE - 1, 1):
        clock.now += passed
        await keys.open(key, PAGE)
        [listed] = await database.read(credentials.of_kind, CredentialKind.KEY, account.id)
        used.append(listed.last_used_at)

    assert used == [clock() - MINUTE, clock() - MINUTE, clock()]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        (" HTTPS://App.Example.com/ ", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
    ],
)
def test_origin_is_normalized_as_browsers_send_it(text: str, origin: str) -> None:
    """Scheme and host become lower case; a default port and a slash are removed."""
    assert read_origins([text]) == (origin,)


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "app.example.com", "https://", "https://*.example.com", "ftp://example.com", "file:///x"),
        *("https://example.com/path", "https://example.com?x", "https://example.com#x", "https://user@example.com"),
        *("https://example.com:x", "https://example.com:99999", "https://example.com:0", "https://exa mple.com"),
        *("https://münchen.example", "https://a\\b", "https://" + "a" * 300),
    ],
)
def test_invalid_origin_is_rejected(text: str) -> None:
    """A wildcard, a path, a host alone and the like are rejected, and the message shows the right form."""
    with pytest.raises(InvalidInput, match=r"https://app\.example\.com"):
        read_origins([text])


def test_origins_are_unique_and_bounded() -> None:
    """Each origin counts once, empty ones do not count, and their number is bounded."""
    assert read_origins(["http://a", "", "http://A/", "http://b"]) == ("http://a", "http://b")
    with pytest.raises(InvalidInput, match="may have 20 origins"):
        read_origins(f"http://a{number}" for number in range(MAX_ORIGINS + 1))
