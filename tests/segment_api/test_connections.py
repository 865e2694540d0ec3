"""Connecting and disconnecting sources; a failed step leaves nothing here or in Segment."""

from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import fingerprint, key_hash
from prosperstack_destination.clock import MINUTE, SECOND
from prosperstack_destination.errors import (
    AlreadyConnected,
    DestinationError,
    InvalidInput,
    NotFoundError,
    SegmentApiError,
    SegmentInvalidToken,
    SegmentNotPermitted,
    SegmentUnavailable,
    StoreUnavailable,
)
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import MAX_CACHED_WORKSPACES, WORKSPACE_TTL, WorkspaceService
from prosperstack_destination.store import activity, credentials
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import CallSource, SourceKind
from prosperstack_destination.store.segment_connections import ConnectionKind, Region, SegmentConnection
from segment_api.conftest import ACCESS, VAULT, World, register
from support.clocks import NEW_YEAR, SetClock
from support.intake import identify, take
from support.segment_public_api import PROSPERSTACK, TOKEN, SegmentWorkspace

pytestmark = pytest.mark.anyio

SOURCE = "src_0001"
PUBLIC_URL = "https://destination.example.com"
SUBSCRIBE = "POST /destinations/{id}/subscriptions"
DELETE = "DELETE /destinations/{id}"


async def connected(
    world: World, kind: ConnectionKind = ConnectionKind.DESTINATION, **more: Any
) -> SegmentConnection:
    given = {"actor": "ann", "credentials": ACCESS, "public_url": PUBLIC_URL, "source_id": SOURCE, **more}
    return await world.workspaces.connect(world.account, kind=kind, **given)


async def trail(world: World) -> list[str]:
    """Return the actions of the audit log, oldest first."""
    entries = await world.database.read(activity.recent_actions, world.account.id, 100)
    return [each.action for each in reversed(entries)][1:]  # after its registration


async def good_credentials(world: World) -> int:
    """Return the number of valid keys and secrets of the account."""
    keys = await world.database.read(credentials.of_kind, CredentialKind.KEY, world.account.id)
    shared = await world.database.read(credentials.of_kind, CredentialKind.SECRET, world.account.id)
    return sum(each.revoked_at is None for each in keys) + sum(each.revoked_at is None for each in shared)


async def test_snapshot_shows_sources_and_connections(world: World) -> None:
    """Sources are sorted by name, with their connections and with destinations that others created."""
    connection = await connected(world)
    body = {"sourceId": "src_0002", "metadataId": PROSPERSTACK, "enabled": True, "settings": {"apiKey": "mine"}}
    world.segment.make(body)
    look = await world.workspaces.load_snapshot(world.account, ACCESS)

    found = {each.id: each for each in look.sources}
    assert (look.workspace.name, look.region, len(found)) == ("Acme", Region.US, 450)
    assert [each.name for each in look.sources[:3]] == ["Source 1", "Source 10", "Source 100"]
    assert (found[SOURCE].connection_id, found[SOURCE].has_another) == (connection.id, False)
    assert (found["src_0002"].connection_id, found["src_0002"].has_another) == (None, True)
    assert not found["src_0009"].enabled


async def test_a_source_is_connected_by_a_destination(world: World) -> None:
    """Segment gets ProsperStack's destination with a key that opens the account, named after the source."""
    connection = await connected(world)
    [destination] = world.segment.destinations.values()
    key = destination["settings"]["apiKey"]
    opened = await world.database.read(credentials.find_key, key_hash(key))

    assert (destination["sourceId"], destination["enabled"]) == (SOURCE, True)
    assert destination["metadata"]["slug"] == "prosperstack"
    assert opened is not None
    assert (opened[0].id, opened[1].name) == (world.account.id, "Source 1")
    assert connection.credential == fingerprint(key)
    assert connection.destination_id == destination["id"]
    assert await trail(world) == ["issue key", "connect source"]


async def test_a_source_is_connected_by_a_webhook(world: World) -> None:
    """Segment gets a webhook with a shared secret, and a mapping that posts every Identify call to the account."""
    connection = await connected(world, ConnectionKind.WEBHOOK)
    [destination] = world.segment.destinations.values()
    [subscription] = world.segment.subscriptions[destination["id"]]
    [secret] = await world.database.read(credentials.active, CredentialKind.SECRET, world.account.id)
    [listed] = await world.database.read(credentials.of_kind, CredentialKind.SECRET, world.account.id)

    assert destination["settings"] == {"sharedSecret": VAULT.decrypt(secret.encrypted)}
    assert destination["enabled"] is True
    assert (subscription["actionId"], subscription["trigger"]) == ("act_send", 'type = "identify"')
    assert subscription["settings"]["url"] == f"{PUBLIC_URL}/webhook/{world.account.id}"
    assert subscription["settings"]["data"] == {"@path": "$."}
    assert (connection.credential, listed.id, listed.name) == (secret.id, secret.id, "Source 1")


async def test_webhook_without_mapping_is_deleted_again(world: World) -> None:
    """If Segment refuses the mapping, the destination is deleted, nothing is kept, and the error says so."""
    world.segment.fail(SUBSCRIBE, 403, "the feature is not enabled")

    with pytest.raises(SegmentNotPermitted, match="is not enabled") as caught:
        await connected(world, ConnectionKind.WEBHOOK)

    assert "Destination Subscriptions" in str(caught.value)
    assert "It was deleted again" in str(caught.value)
    assert world.segment.destinations == {}
    assert await world.workspaces.connections(world.account) == []
    assert await good_credentials(world) == 0
    assert await trail(world) == ["issue secret", "revoke secret"]


async def test_webhook_that_cannot_be_deleted_stays_disabled(world: World) -> None:
    """If the destination cannot be deleted, it never sends, and the error says what to delete."""
    world.segment.fail(SUBSCRIBE, 500)
    world.segment.fail(DELETE, 500)

    with pytest.raises(SegmentUnavailable, match=r"is left: delete it in Segment"):
        await connected(world, ConnectionKind.WEBHOOK)

    [left] = world.segment.destinations.values()
    assert left["enabled"] is False
    assert await good_credentials(world) == 0


@pytest.mark.parametrize("kind", list(ConnectionKind))
@pytest.mark.parametrize("fault", [(401, "no"), (422, "no such setting"), (500, "")])
async def test_refused_destination_revokes_its_credential(
    world: World, kind: ConnectionKind, fault: tuple[int, str]
) -> None:
    """If Segment refuses the destination, its credential is revoked and no connection is stored."""
    world.segment.fail("POST /destinations", *fault)

    with pytest.raises((SegmentApiError, SegmentUnavailable)) as caught:
        await connected(world, kind)

    assert fault[1] in str(caught.value)
    assert ("delete it there" in str(caught.value)) == (fault[0] == 500)  # it may have been made
    assert await good_credentials(world) == 0
    assert await world.workspaces.connections(world.account) == []


async def test_connection_that_cannot_be_stored_is_undone(
    world: World, http: httpx.AsyncClient, clock: SetClock
) -> None:
    """If the connection cannot be stored, its destination is deleted and its key revoked."""

    class Full(Database):
        """A database that takes what is issued and revoked, and no connection."""

        def __init__(self) -> None:
            pass

        async def read(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            return await world.database.read(work, *args, **kwargs)

        async def write(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(args[0], SegmentConnection):
                raise StoreUnavailable("The disk is full.", retry_after=1.0)
            return await world.database.write(work, *args, **kwargs)

    workspaces = WorkspaceService(Full(), VAULT, http, clock, lambda: None)
    with pytest.raises(StoreUnavailable):
        await workspaces.connect(world.account, SOURCE, ConnectionKind.DESTINATION, actor="ann", credentials=ACCESS)

    assert world.segment.destinations == {}
    assert await good_credentials(world) == 0


async def test_a_source_is_connected_once(world: World) -> None:
    """The same source again is refused, by whichever kind; another account may have it as well."""
    connection = await connected(world)
    for kind in ConnectionKind:
        with pytest.raises(AlreadyConnected, match="'Source 1' is connected") as caught:
            await connected(world, kind)
        assert caught.value.connection_id == connection.id
    other = await world.database.write(register, "key_test_other")
    await world.workspaces.connect(other, SOURCE, ConnectionKind.DESTINATION, actor="ann", credentials=ACCESS)

    assert len(world.segment.destinations) == 2


async def test_concurrent_connects_leave_one_connection(world: World) -> None:
    """Of two operators who connect a source at once, one is refused, and that destination is deleted."""
    results: list[Any] = []

    async def one() -> None:
        try:
            results.append(await connected(world))
        except AlreadyConnected as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        group.start_soon(one)

    [first] = await world.workspaces.connections(world.account)
    assert sorted(isinstance(each, AlreadyConnected) for each in results) == [False, True]
    assert list(world.segment.destinations) == [first.connection.destination_id]
    assert await good_credentials(world) == 1


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"source_id": "src_none"}, NotFoundError, "has no source 'src_none'"),
        ({"credentials": WorkspaceCredentials("sgp_wrong")}, SegmentInvalidToken, "refuses the token"),
        ({"credentials": None}, InvalidInput, "No token of a Segment workspace is kept"),
        (
            {"kind": ConnectionKind.WEBHOOK, "public_url": "http://127.0.0.1:8700"},
            InvalidInput,
            "cannot post to",
        ),
    ],
)
async def test_invalid_request_changes_nothing(
    world: World, given: dict[str, Any], kind: type[DestinationError], said: str
) -> None:
    """An invalid request is refused before a credential or a destination is created."""
    with pytest.raises(kind, match=said):
        await connected(world, **given)

    assert await trail(world) == []
    assert world.segment.destinations == {}


@pytest.mark.parametrize(
    ("kind", "said"), [(ConnectionKind.DESTINATION, "as 'webhook'"), (ConnectionKind.WEBHOOK, "as 'destination'")]
)
async def test_missing_catalog_entry_suggests_the_other_kind(world: World, kind: ConnectionKind, said: str) -> None:
    """If the catalog lacks the destination, the error suggests the other kind."""
    world.segment.catalog = world.segment.catalog[:10]

    with pytest.raises(SegmentApiError, match=said):
        await connected(world, kind)


async def test_webhook_without_action_is_refused(world: World) -> None:
    """If the catalog has no action that sends calls, the error says so."""
    world.segment.catalog[-1]["actions"] = []

    with pytest.raises(SegmentApiError, match="has no action"):
        await connected(world, ConnectionKind.WEBHOOK)


async def test_last_call_counts_from_the_connection(world: World, clock: SetClock) -> None:
    """A connection waits until its source sends, and shows the last call; what came before it does not count."""
    source = CallSource(SourceKind.SOURCE, SOURCE)
    before = identify(account=world.account.id, source=source, received_at=NEW_YEAR)
    await world.database.write(take, before)
    clock.advance(60)
    await connected(world)
    [waiting] = await world.workspaces.connections(world.account)
    clock.advance(60)
    await world.database.write(take, identify(account=world.account.id, source=source, received_at=clock()))
    [called] = await world.workspaces.connections(world.account)

    assert waiting.last_call_at is None
    assert called.last_call_at == clock()


async def test_last_call_is_found_by_the_key(world: World, clock: SetClock) -> None:
    """Calls that name no source count by their key."""
    await connected(world)
    [destination] = world.segment.destinations.values()
    used = clock() + 5 * MINUTE
    await world.database.write(
        credentials.mark_used, CredentialKind.KEY, [key_hash(destination["settings"]["apiKey"])], used
    )

    [connection] = await world.workspaces.connections(world.account)
    assert connection.last_call_at == used


@pytest.mark.parametrize("kind", list(ConnectionKind))
async def test_disconnect_deletes_destination_and_credential(world: World, kind: ConnectionKind) -> None:
    """The destination is deleted, the credential refused and the connection deleted; connecting again works."""
    connection = await connected(world, kind)
    deleted = await world.workspaces.disconnect(world.account, connection.id, actor="ann", credentials=ACCESS)

    assert deleted is True
    assert world.segment.destinations == {}
    assert await good_credentials(world) == 0
    assert await world.workspaces.connections(world.account) == []
    assert (await trail(world))[-1] == "disconnect source"
    await connected(world, kind)


async def test_disconnect_works_after_deletion_in_segment(world: World) -> None:
    """A source can be disconnected after its destination was deleted in Segment and its key revoked."""
    connection = await connected(world)
    world.segment.destinations.clear()

    def revoke(database: Connection) -> None:
        issuing.revoke(database, CredentialKind.KEY, world.account, connection.credential, "bob", NEW_YEAR)

    await world.database.write(revoke)
    assert not await world.workspaces.disconnect(world.account, connection.id, actor="ann", credentials=ACCESS)
    assert await world.workspaces.connections(world.account) == []


async def test_disconnect_here_only_needs_no_segment(world: World) -> None:
    """While Segment is down a connection stays, unless ``here_only`` deletes it and refuses its calls."""
    connection = await connected(world)
    world.segment.fail(DELETE, 500)
    with pytest.raises(SegmentUnavailable):
        await world.workspaces.disconnect(world.account, connection.id, actor="ann", credentials=ACCESS)
    before = await world.workspaces.connections(world.account)
    deleted = await world.workspaces.disconnect(world.account, connection.id, actor="ann", here_only=True)

    assert len(before) == 1
    assert deleted is False
    assert len(world.segment.destinations) == 1
    assert await good_credentials(world) == 0
    assert await world.workspaces.connections(world.account) == []


async def test_token_of_another_workspace_is_refused(world: World, clock: SetClock) -> None:
    """A token of another workspace deletes nothing, because that workspace has no such destination."""
    connection = await connected(world)
    world.segment.id, world.segment.name = "ws_other", "Other"
    clock.advance(WORKSPACE_TTL / SECOND + 1)

    with pytest.raises(InvalidInput, match=r"belongs to the workspace 'Other'.*connected in 'Acme'"):
        await world.workspaces.disconnect(world.account, connection.id, actor="ann", credentials=ACCESS)

    assert len(await world.workspaces.connections(world.account)) == 1


async def test_kept_token_is_encrypted_used_and_deleted(world: World) -> None:
    """A token is kept only on request, encrypted; it is used until it is deleted."""
    await connected(world)
    assert await world.workspaces.kept_token(world.account) is None
    kept = await world.workspaces.keep_token(
        world.account, WorkspaceCredentials(f" {TOKEN} ", Region.EU), actor="ann"
    )
    look = await world.workspaces.load_snapshot(world.account)
    connection = await connected(world, source_id="src_0002", credentials=None)

    assert (kept.workspace_name, kept.region, look.region, connection.region) == ("Acme", "eu", "eu", "eu")
    assert TOKEN not in kept.encrypted
    assert VAULT.decrypt(kept.encrypted) == TOKEN
    assert await world.workspaces.forget_token(world.account, actor="ann")
    assert not await world.workspaces.forget_token(world.account, actor="ann")
    with pytest.raises(InvalidInput):
        await world.workspaces.load_snapshot(world.account)
    assert [each for each in await trail(world) if "token" in each] == [
        "keep Segment token",
        "forget Segment token",
    ]


async def test_a_token_is_kept_while_connecting(world: World) -> None:
    """A token may be kept with the first connection; another one takes its place."""
    await connected(world, keep_token=True)
    world.segment.tokens.add("sgp_newer")
    await world.workspaces.keep_token(world.account, WorkspaceCredentials("sgp_newer"), actor="ann")
    kept = await world.workspaces.kept_token(world.account)

    assert kept is not None
    assert VAULT.decrypt(kept.encrypted) == "sgp_newer"


async def test_a_bad_token_is_not_kept(world: World) -> None:
    """A token that Segment refuses is not kept, and the earlier one stays."""
    await world.workspaces.keep_token(world.account, ACCESS, actor="ann")
    with pytest.raises(SegmentInvalidToken):
        await world.workspaces.keep_token(world.account, WorkspaceCredentials("sgp_wrong"), actor="ann")
    kept = await world.workspaces.kept_token(world.account)

    assert kept is not None
    assert VAULT.decrypt(kept.encrypted) == TOKEN


async def test_workspace_of_a_token_is_cached(world: World, clock: SetClock) -> None:
    """The workspace of a token is requested once in ten minutes; a revoked token is refused."""
    for _ in range(7):
        await world.workspaces.load_snapshot(world.account, ACCESS)
    asked = world.segment.asked["GET /"]
    clock.advance(WORKSPACE_TTL / SECOND + 1)
    await world.workspaces.load_snapshot(world.account, ACCESS)
    world.segment.tokens.clear()

    assert (asked, world.segment.asked["GET /"]) == (1, 2)
    with pytest.raises(SegmentInvalidToken):
        await world.workspaces.load_snapshot(world.account, ACCESS)


async def test_workspace_cache_is_bounded(world: World) -> None:
    """The cache of workspaces is bounded, for any number of tokens."""
    tokens = [f"sgp_{number}" for number in range(MAX_CACHED_WORKSPACES + 1)]
    world.segment.tokens.update(tokens)
    for token in [*tokens, tokens[0]]:
        await world.workspaces.keep_token(world.account, WorkspaceCredentials(token), actor="ann")
    before = world.segment.asked["GET /"]
    await world.workspaces.load_snapshot(world.account, WorkspaceCredentials(tokens[2]))
    await world.workspaces.load_snapshot(world.account, WorkspaceCredentials(tokens[1]))

    assert world.segment.asked["GET /"] == before + 1


async def test_connections_of_another_account_are_unreachable(world: World) -> None:
    """Another account cannot see, use or delete an account's connections and token."""
    connection = await connected(world, keep_token=True)
    other = await world.database.write(register, "key_test_other")

    assert await world.workspaces.connections(other) == []
    assert await world.workspaces.kept_token(other) is None
    assert not await world.workspaces.forget_token(other, actor="eve")
    for here_only in (True, False):
        with pytest.raises(NotFoundError):
            await world.workspaces.disconnect(
                other, connection.id, actor="eve", credentials=ACCESS, here_only=here_only
            )
    with pytest.raises(InvalidInput):
        await world.workspaces.load_snapshot(other)
    assert len(await world.workspaces.connections(world.account)) == 1
    assert await good_credentials(world) == 1


async def test_hostile_name_is_stored_unchanged(world: World, segment: SegmentWorkspace) -> None:
    """A name is stored unchanged up to a length, and is never interpreted."""
    name = "<script>alert('x')</script> \"; DROP TABLE accounts; -- \u202e🦊" + "x" * 500
    segment.source(SOURCE)["name"] = name
    connection = await connected(world)
    [key] = await world.database.read(credentials.of_kind, CredentialKind.KEY, world.account.id)

    assert connection.source_name == key.name == name[:200]
    assert (await world.workspaces.connections(world.account))[0].connection == connection
