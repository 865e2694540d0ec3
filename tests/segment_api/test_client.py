"""The client of Segment's Public API, and its errors for invalid responses."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import respx

from prosperstack_destination.errors import (
    DestinationError,
    SegmentApiError,
    SegmentInvalidToken,
    SegmentNotFound,
    SegmentNotPermitted,
    SegmentUnavailable,
)
from prosperstack_destination.http_client import MAX_RESPONSE_BYTES
from prosperstack_destination.segment_api import client as client_module
from prosperstack_destination.segment_api.client import PublicApiClient, WorkspaceCredentials
from prosperstack_destination.segment_api.destination_specs import SPECS
from prosperstack_destination.store.segment_connections import ConnectionKind, Region
from segment_api.conftest import ACCESS
from support.clocks import VIRTUAL_TIME
from support.segment_public_api import TOKEN, SegmentWorkspace

pytestmark = pytest.mark.anyio

US, EU = "https://api.segmentapis.com", "https://eu1.api.segmentapis.com"


@pytest.fixture
def api(http: httpx.AsyncClient) -> PublicApiClient:
    """Return a client of the simulated Public API."""
    return PublicApiClient(http, ACCESS)


@pytest.fixture
def router() -> respx.Router:
    """Return a router for made-up responses."""
    return respx.Router(assert_all_called=False)


@pytest.fixture
def odd(router: respx.Router) -> PublicApiClient:
    """Return a client of the made-up responses."""
    return PublicApiClient(httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler)), ACCESS)


async def test_all_pages_are_read(api: PublicApiClient, segment: SegmentWorkspace) -> None:
    """A list is read to its end; what has no name is called by its slug; a source's write keys are not taken in."""
    sources = await api.sources()

    assert [each.id for each in sources] == [each["id"] for each in segment.sources]
    assert segment.asked["GET /sources"] == 3
    assert (sources[0].title, sources[1].title, sources[9].enabled) == ("source-0", "Source 1", False)
    assert "write" not in repr(sources)


async def test_token_gives_its_workspace(api: PublicApiClient) -> None:
    """The client returns the token's workspace."""
    assert (await api.workspace()).name == "Acme"


async def test_the_catalog_is_read_as_far_as_it_is_needed(api: PublicApiClient, segment: SegmentWorkspace) -> None:
    """An entry of the first page costs one request; one that is not there is None."""
    entry = await api.find_in_catalog(SPECS[ConnectionKind.DESTINATION])
    first = segment.asked["GET /catalog/destinations"]
    segment.catalog = segment.catalog[:20]

    assert entry is not None
    assert (entry.slug, first) == ("prosperstack", 1)
    assert await api.find_in_catalog(SPECS[ConnectionKind.WEBHOOK]) is None


async def test_a_destination_comes_and_goes(api: PublicApiClient, segment: SegmentWorkspace) -> None:
    """A destination is made, listed, enabled and deleted; deleting it again says that it was gone."""
    entry = await api.find_in_catalog(SPECS[ConnectionKind.DESTINATION])
    assert entry is not None
    made = await api.create_destination("src_0001", entry.id, "ProsperStack", {"apiKey": "psd_1"}, enabled=False)
    [listed] = await api.destinations()
    await api.enable_destination(made.id)

    assert listed == made
    assert segment.destinations[made.id]["settings"] == {"apiKey": "psd_1"}
    assert segment.destinations[made.id]["enabled"] is True
    assert [await api.delete_destination(made.id), await api.delete_destination(made.id)] == [True, False]


@pytest.mark.parametrize(("region", "base_url"), [(Region.US, US), (Region.EU, EU)])
async def test_regions(router: respx.Router, region: Region, base_url: str) -> None:
    """A workspace of the EU's is asked for there, and the token is shown to nobody else."""
    route = router.get(f"{base_url}/").respond(json={"data": {"workspace": {"id": "w", "new": 1}}})
    http = httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler))
    await PublicApiClient(http, WorkspaceCredentials(f" {TOKEN}\n", region)).workspace()

    assert route.calls.last.request.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nbreak", "ümlaut", "x" * 1_001, "nul\0"])
async def test_invalid_token_is_never_sent(http: httpx.AsyncClient, segment: SegmentWorkspace, token: str) -> None:
    """Text that cannot be a token is refused without a request."""
    with pytest.raises(SegmentInvalidToken, match="Access Management → Tokens"):
        PublicApiClient(http, WorkspaceCredentials(token))
    assert not segment.asked


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, SegmentApiError, "Segment refuses the request (400). It says: it is so"),
        (401, SegmentInvalidToken, "create one in Segment under Settings → Workspace settings"),
        (403, SegmentNotPermitted, "give it the role Workspace Owner"),
        (404, SegmentNotFound, "It says: it is so"),
        (408, SegmentUnavailable, "try again"),
        (422, SegmentApiError, "It says: it is so"),
        (429, SegmentUnavailable, "try again in 60 s"),
        (500, SegmentUnavailable, "try again in a minute"),
        (302, SegmentUnavailable, "answered 302"),
    ],
)
async def test_statuses_become_errors(
    api: PublicApiClient, segment: SegmentWorkspace, status: int, kind: type[DestinationError], said: str
) -> None:
    """Each status becomes the error that says what to do, with Segment's own words."""
    segment.fail("GET /sources", status, "it is so", headers={"Location": f"{US}/elsewhere"})

    with pytest.raises(kind) as caught:
        await api.sources()

    assert type(caught.value) is kind
    assert said in str(caught.value)
    assert getattr(caught.value, "said", "it is so") == "it is so"
    assert segment.asked == {"GET /sources": 1}  # no redirect is followed


async def test_429_gives_the_wait(api: PublicApiClient, segment: SegmentWorkspace) -> None:
    """A 429 gives Segment's ``Retry-After``, at most an hour."""
    waits = []
    for header in ("7", "99999", "soon"):
        segment.fail("GET /", 429, "slow down", headers={"Retry-After": header})
        with pytest.raises(SegmentUnavailable) as caught:
            await api.workspace()
        waits.append(caught.value.retry_after)

    assert waits == [7, 3600, 60]


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, html="<h1>Maintenance</h1>"),
        httpx.Response(200, text=""),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"data": {"sources": [{"id": 5}]}}),
        httpx.Response(200, json={"data": {"warehouses": []}}),
        httpx.Response(502, html="<h1>Oops</h1>"),
    ],
)
async def test_invalid_response_is_unavailable(
    router: respx.Router, odd: PublicApiClient, response: httpx.Response
) -> None:
    """HTML, invalid JSON and unexpected JSON raise `SegmentUnavailable`, which quotes nothing of them."""
    router.get(f"{US}/sources").mock(return_value=response)

    with pytest.raises(SegmentUnavailable) as caught:
        await odd.sources()

    assert "<h1>" not in str(caught.value)


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("no"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut off")]
)
async def test_connection_error_is_unavailable(
    router: respx.Router, odd: PublicApiClient, failure: Exception
) -> None:
    """A connection error raises `SegmentUnavailable` without the token."""
    router.get(f"{US}/").mock(side_effect=failure)

    with pytest.raises(SegmentUnavailable, match="could not be reached") as caught:
        await odd.workspace()

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_slow_response_times_out(api: PublicApiClient, segment: SegmentWorkspace) -> None:
    """An answer that takes too long is given up."""
    segment.fail("GET /", 0, seconds=client_module.REQUEST_SECONDS + 1)

    with pytest.raises(SegmentUnavailable, match="did not answer within 20 s"):
        await api.workspace()


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_a_list_that_takes_too_long(api: PublicApiClient, segment: SegmentWorkspace) -> None:
    """A list whose pages come slowly is given up after a minute, however many follow."""
    segment.sources *= 30
    segment.fail("GET /sources", 0, seconds=16)

    with pytest.raises(SegmentUnavailable, match="does not end"):
        await api.sources()

    assert segment.asked["GET /sources"] <= 4


@pytest.mark.parametrize("cursors", [["a"], ["a", "b"]])
async def test_list_with_repeated_cursors_is_given_up(
    router: respx.Router, odd: PublicApiClient, cursors: list[str]
) -> None:
    """A list whose cursors go round is given up."""
    pages = [{"data": {"sources": [], "pagination": {"next": each}}} for each in cursors]
    route = router.get(f"{US}/sources").mock(
        side_effect=[httpx.Response(200, json=pages[number % len(pages)]) for number in range(60)]
    )

    with pytest.raises(SegmentUnavailable, match="does not end"):
        await odd.sources()

    assert route.call_count <= client_module.MAX_PAGES


async def test_a_large_answer_is_not_read(router: respx.Router, odd: PublicApiClient) -> None:
    """An answer that is larger than any real one is given up."""
    router.get(f"{US}/").respond(content=b" " * (MAX_RESPONSE_BYTES + 1))

    with pytest.raises(SegmentUnavailable, match="more than 8 MB"):
        await odd.workspace()


class _Sent(httpx.AsyncByteStream):
    """A body that is sent as it is."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


async def test_a_compressed_answer_is_not_inflated(router: respx.Router, odd: PublicApiClient) -> None:
    """A compressed answer, which was not asked for, is refused."""
    compressed = _Sent(gzip.compress(b"{}"))
    router.get(f"{US}/").mock(
        return_value=httpx.Response(200, headers={"Content-Encoding": "gzip, gzip"}, stream=compressed)
    )

    with pytest.raises(SegmentUnavailable, match="is compressed"):
        await odd.workspace()


@pytest.mark.parametrize(
    "listed",
    [
        {"sources": [], "pagination": {"next": "c" * 1_025}},
        {"sources": [{"id": "i" * 1_025}]},
        {"sources": [{"id": "i"}] * 1_001},
    ],
    ids=["cursor", "id", "items"],
)
async def test_ids_and_lists_are_bounded(
    router: respx.Router, odd: PublicApiClient, listed: dict[str, Any]
) -> None:
    """A cursor or id of more than 1 KB, or a page of more than 1,000, is no answer."""
    router.get(f"{US}/sources").respond(json={"data": listed})

    with pytest.raises(SegmentUnavailable, match="more than"):
        await odd.sources()


async def test_an_id_stays_one_segment_of_the_path(router: respx.Router, odd: PublicApiClient) -> None:
    """An id with slashes stays one segment of the path."""
    route = router.delete(url__regex=r".*").respond(json={"data": {"status": "SUCCESS"}})

    await odd.delete_destination("../sources/x?y")

    assert route.calls.last.request.url.raw_path == b"/destinations/..%2Fsources%2Fx%3Fy"


async def test_message_of_segment_is_bounded(router: respx.Router, odd: PublicApiClient) -> None:
    """Segment's message is quoted on one line, up to a length, and without the token."""
    errors = [{"type": "x", "message": f"the token {TOKEN}\nis"}, {"message": None}, {"message": "w" * 9_000}]
    router.get(f"{US}/").respond(422, json={"errors": errors})

    with pytest.raises(SegmentApiError) as caught:
        await odd.workspace()

    assert caught.value.segment_message.startswith("the token … is; www")
    assert len(caught.value.segment_message) == client_module.MAX_MESSAGE


def test_repr_hides_the_token() -> None:
    """The ``repr`` of credentials does not contain the token."""
    assert TOKEN not in repr(ACCESS)
