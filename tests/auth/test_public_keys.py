"""Authentication by public keys, on both databases."""

import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.auth.public_keys import CACHE_TTL, MISS_TTL, PublicKeys
from prosperstack_destination.clock import MINUTE
from prosperstack_destination.errors import ApiKeyForbidden, ConfigurationError, InvalidApiKey
from prosperstack_destination.store import accounts, credentials
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import KeyKind
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
    return await database.write(credential_service.issue_public_key, account, "name", origins, "ann", clock())


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
    secret = await database.write(credential_service.issue_key, account, "", "ann", clock())
    with pytest.raises(ConfigurationError):
        await issue(database, account, clock, "*")

    listed = {each.fingerprint: each for each in await database.read(credentials.list_keys, account.id)}
    assert (listed[fingerprint(public)].kind, listed[fingerprint(public)].origins) == (
        KeyKind.PUBLIC,
        (PAGE, OTHER),
    )
    assert (listed[fingerprint(secret)].kind, listed[fingerprint(secret)].origins) == (KeyKind.SECRET, None)


async def test_new_key_is_found_and_revoked_key_refused(
    database: Database, account: Account, keys: PublicKeys, clock: SetClock
) -> None:
    """The keys are read again for an unknown one, and when the cache expires."""
    assert not await keys.has_origin(PAGE)
    key = await issue(database, account, clock, PAGE)
    clock.now += MISS_TTL
    await keys.open(key, PAGE)

    def revoke(connection: Connection) -> None:
        credential_service.revoke_key(connection, account, fingerprint(key), "ann", clock())

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
        [listed] = await database.read(credentials.list_keys, account.id)
        used.append(listed.last_used_at)

    assert used == [clock() - MINUTE, clock() - MINUTE, clock()]
