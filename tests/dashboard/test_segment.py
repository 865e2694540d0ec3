"""Tests of the pages of Segment, against a simulated Public API."""

import html
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from dashboard.conftest import PASSWORD, Dashboard
from prosperstack_destination.dashboard.segment import MAX_SHOWN
from prosperstack_destination.ingest.signature import sign
from prosperstack_destination.store import segment_connections
from prosperstack_destination.store.database import Database
from support.segment_public_api import TOKEN, SegmentWorkspace, segment_public_api
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

SOURCE = "src_0001"
URL = "https://destination.example.com"
SUBSCRIBE = "POST /destinations/{id}/subscriptions"
DELETE = "DELETE /destinations/{id}"
HOSTILE = "<script>alert('x')</script> & \"quotes\" \u202e"


@pytest.fixture
def segment() -> SegmentWorkspace:
    """The workspace, to be looked into and changed."""
    return SegmentWorkspace(sources=250)


@pytest.fixture
async def service(tmp_path: Path, segment: SegmentWorkspace) -> AsyncIterator[Service]:
    """A running service whose requests to Segment reach the stand-in."""
    to_segment = httpx.ASGITransport(segment_public_api(segment))
    configured = settings(tmp_path, admin_password=PASSWORD)
    async with running(configured, segment_transport=to_segment) as service:
        yield service


def text_of(answer: httpx.Response) -> str:
    """What a page says, without its markup, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


async def look(dashboard: Dashboard, **fields: str) -> httpx.Response:
    """The first step: paste the token."""
    return await dashboard.post("segment/connect", **{"token": TOKEN, "region": "us", **fields})


async def connect(dashboard: Dashboard, kind: str = "webhook", **fields: str) -> httpx.Response:
    """The second step: choose a source."""
    given = {"source_id": SOURCE, "kind": kind, "public_url": URL, **fields}
    return await dashboard.post("segment/sources", **given)


async def connected(dashboard: Dashboard, kind: str = "webhook", **fields: str) -> str:
    """Both steps; the path of the connection's page."""
    await look(dashboard)
    return page_of(dashboard, await connect(dashboard, kind, **fields))


def page_of(dashboard: Dashboard, answer: httpx.Response) -> str:
    """The page that an answer leads to."""
    assert answer.status_code == 303, text_of(answer)
    return answer.headers["location"].removeprefix(f"{dashboard.home}/")


async def signed(dashboard: Dashboard, secret: str, **fields: Any) -> httpx.Response:
    """A call to the account's webhook."""
    body = json.dumps({"type": "identify", "traits": {"email": "ann@example.com"}, **fields}).encode()
    headers = {"X-Signature": sign(body, secret), "Content-Type": "application/json"}
    path = f"/webhook/{dashboard.account_id}"
    return await dashboard.service.client.request("POST", path, content=body, headers=headers, auth=None)


async def test_page_without_connections_has_instructions(dashboard: Dashboard) -> None:
    """Without a connection the page offers a token or the manual setup."""
    page = await dashboard.get("segment")

    assert page.status_code == 200
    assert "No source is connected yet" in page.text
    assert re.search(r'<input id="token" name="token" type="password" autocomplete="off"', page.text)
    assert "Access Management → Tokens" in page.text
    for way in ("webhook", "destination", "sdk"):
        assert f'href="{dashboard.home}/segment/by-hand/{way}"' in page.text


@pytest.mark.parametrize("kind", ["webhook", "destination"])
async def test_source_is_connected_and_sends(dashboard: Dashboard, segment: SegmentWorkspace, kind: str) -> None:
    """After the token and a choice the destination exists in Segment, and its first call appears."""
    looked = await look(dashboard)
    choice = await dashboard.get("segment/sources?q=source+1")
    made = await connect(dashboard, kind)
    page = page_of(dashboard, made)
    waiting = await dashboard.get(page)
    listed = await dashboard.get("segment")
    [destination] = segment.destinations.values()
    [credential] = destination["settings"].values()
    if kind == "webhook":
        await signed(dashboard, credential, projectId=SOURCE)
    else:
        await dashboard.service.identify("ann@example.com", key=credential)
    called = await dashboard.get(page)

    assert looked.headers["location"] == f"{dashboard.home}/segment/sources"
    assert f'value="{SOURCE}"' in choice.text
    assert "The source is connected." in waiting.text
    assert "Waiting for the first call…" in waiting.text
    assert f'<a id="name-{page.rpartition("/")[2]}" href="/dashboard' in listed.text
    assert "Waiting for the first call…" in listed.text
    assert "Waiting" not in called.text
    assert "Received" in called.text
    assert re.search("Last call (less than a second|1 s|2 s) ago", text_of(called))
    for answer in (made, waiting, listed, called):
        assert credential not in answer.text


async def test_first_call_appears_without_reload(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """The first call appears on the open page of the connection and in the list."""
    page = await connected(dashboard, "destination")
    [destination] = segment.destinations.values()
    called = f"called-{page.rpartition('/')[2]}"
    before = await dashboard.live(f"{page}/live", "call-status"), await dashboard.live("segment/live", called)
    await dashboard.service.identify("ann@example.com", key=destination["settings"]["apiKey"])
    after = await dashboard.live(f"{page}/live", "call-status"), await dashboard.live("segment/live", called)

    assert "Waiting for the first call…" in before[0]["call-status"]
    assert "Waiting for the first call…" in before[1][called]
    assert "Received" in after[0]["call-status"]
    assert " ago</time>" in after[0]["last-call"]
    assert " ago</time>" in after[1][called]


async def test_other_sources_are_listed_apart(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """Sources that were connected elsewhere are listed apart."""
    await connected(dashboard)
    [destination] = segment.destinations.values()
    await signed(dashboard, destination["settings"]["sharedSecret"], projectId=SOURCE)
    library = {"library": {"name": "analytics-python", "version": "2.3.4"}}
    await signed(dashboard, destination["settings"]["sharedSecret"], projectId="elsewhere", context=library)
    personas = {"computation_class": "audience", "computation_key": "shoppers", "computation_id": "aud_1"}
    traits = {"email": "ann@example.com", "shoppers": True}
    await signed(dashboard, destination["settings"]["sharedSecret"], traits=traits, context={"personas": personas})
    page = await dashboard.get("segment")
    [others] = re.findall(r"Other sources.*?</section>", page.text, re.DOTALL)

    assert '<bdi class="name">elsewhere</bdi>' in others
    assert "analytics-python" in others
    assert "Audience of Engage" in others
    assert SOURCE not in others
    assert "elsewhere" in (await dashboard.live("segment/live", "others"))["others"]


@pytest.mark.parametrize(
    ("token", "operation", "fault", "status", "said"),
    [
        ("", "", (), 422, "Paste a workspace token."),
        ("no token at all", "", (), 422, "is not a token of a Segment workspace"),
        ("sgp_wrong", "", (), 422, "Segment refuses the token"),
        (TOKEN, "GET /sources", (403, "role too low"), 422, "does not permit this to the token"),
        (
            TOKEN,
            "GET /sources",
            (429, "slow down", {"Retry-After": "7"}),
            503,
            "limits the rate of requests: try again in 7 s",
        ),
        (TOKEN, "GET /destinations", (500, "oh dear"), 503, "It says: oh dear"),
        (TOKEN, "GET /", (502, ""), 503, "answered 502"),
        (TOKEN, "GET /sources", (200, ""), 503, "sent an invalid response"),
    ],
)
async def test_failed_workspace_request_shows_its_error(
    dashboard: Dashboard,
    segment: SegmentWorkspace,
    token: str,
    operation: str,
    fault: tuple[Any, ...],
    status: int,
    said: str,
) -> None:
    """An error of the token is shown at its field, any other above the form; the token is not kept."""
    if operation:
        segment.fail(operation, *fault[:2], headers=fault[2] if len(fault) > 2 else {})
    answer = await look(dashboard, token=token, region="eu", keep="yes")
    field = re.search(r'<p id="token-wrong" class="wrong" role="alert">(.*?)</p>', answer.text)
    form = re.search(r'<p class="wrong" role="alert">(.*?)</p>', answer.text)
    told = field if status == 422 else form

    assert answer.status_code == status
    assert told is not None
    assert said in html.unescape(told[1])
    assert (field is None) is (status == 503)
    assert 'value="eu" checked' in answer.text
    assert "sgp_" not in answer.text
    assert "Connect Segment" in answer.text
    assert (await dashboard.get("segment/sources")).headers["location"].endswith("/segment/connect")
    assert "is kept, encrypted" not in (await dashboard.get("segment")).text


async def test_sources_are_limited_and_searchable(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """A limited number of sources is offered; the others are found by name, slug or ID."""
    await connected(dashboard)
    segment.make(
        {"sourceId": "src_0010", "metadataId": "6116daebcc926a434fe41bb3", "enabled": True, "settings": {}}
    )
    await look(dashboard)
    everything = await dashboard.get("segment/sources")
    by_name = await dashboard.get("segment/sources?q=sOURCE+249")
    by_id = await dashboard.get("segment/sources?q=src_000")
    none = await dashboard.get("segment/sources?q=%3Cb%3Enothing")

    assert everything.text.count('name="source_id"') == MAX_SHOWN
    assert f"Showing {MAX_SHOWN} of 250" in everything.text
    assert len(everything.content) < 200_000
    assert "already has a destination" in everything.text
    assert re.findall(r'name="source_id" value="(\w+)"', by_name.text) == ["src_0249"]
    assert len(re.findall('name="source_id"', by_id.text)) == 10
    assert re.search(rf'value="{SOURCE}" required disabled', by_id.text)
    assert "disabled in Segment" in by_id.text
    assert "No source matches" in none.text
    assert "<b>nothing" not in none.text


async def test_workspace_without_sources_has_advice(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """A workspace without sources shows advice."""
    segment.sources.clear()
    await look(dashboard)

    assert "No sources visible to the token" in (await dashboard.get("segment/sources")).text


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"source_id": ""}, "source-wrong", "Choose a source."),
        ({"source_id": "src_none"}, "source-wrong", "has no source 'src_none'"),
        ({"public_url": ""}, "url-wrong", "it does not begin with https://"),
        ({"public_url": "http://destination.example.com"}, "url-wrong", "it is not HTTPS"),
        ({"public_url": "https://10.0.0.5"}, "url-wrong", "10.0.0.5 is within a network of your own"),
        ({"public_url": "https://localhost:8700"}, "url-wrong", "localhost is within a network of your own"),
    ],
)
async def test_invalid_choice_shows_its_error(
    dashboard: Dashboard, segment: SegmentWorkspace, fields: dict[str, str], field: str, said: str
) -> None:
    """An error is shown at its field, the choice stays, and nothing is created."""
    await look(dashboard)
    answer = await connect(dashboard, **fields, q="source 1")
    told = re.search(rf'<p id="{field}" class="wrong" role="alert">(.*?)</p>', answer.text)

    assert answer.status_code == 422
    assert told is not None
    assert said in html.unescape(told[1])
    assert 'name="q" type="search" value="source 1"' in answer.text
    assert fields.get("public_url", URL) in answer.text
    if "source_id" not in fields:
        assert f'value="{SOURCE}" required checked' in answer.text
    assert segment.destinations == {}


@pytest.mark.parametrize(
    ("operation", "fault", "status", "said"),
    [
        (SUBSCRIBE, (403, "the feature is not enabled"), 422, "It was deleted again: connect the source by hand."),
        (SUBSCRIBE, (500, ""), 503, "It was deleted again"),
        ("POST /destinations", (401, "no"), 422, "Segment refuses the token"),
        ("POST /destinations", (422, "no such setting"), 422, "It says: no such setting"),
        ("POST /destinations", (429, "slow down"), 503, "limits the rate of requests"),
        ("GET /catalog/destinations", (500, ""), 503, "answered 500"),
    ],
)
async def test_refused_connection_is_undone(
    dashboard: Dashboard, segment: SegmentWorkspace, operation: str, fault: tuple[int, str], status: int, said: str
) -> None:
    """If Segment refuses a step nothing stays, and the form shows the reason."""
    await look(dashboard)
    segment.fail(operation, *fault)
    refused = await connect(dashboard)
    left = dict(segment.destinations)
    segment.faults.clear()
    again = await connect(dashboard)

    assert refused.status_code == status
    assert said in text_of(refused)
    assert f'href="{dashboard.home}/segment/by-hand/webhook">Connect it manually' in refused.text
    assert left == {}
    assert again.status_code == 303
    assert len(segment.destinations) == 1


async def test_second_submission_connects_nothing(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """A form that is sent twice connects the source once."""
    await connected(dashboard)
    again = await connect(dashboard, "destination")

    assert again.status_code == 422
    assert "'Source 1' is connected to this account already" in text_of(again)
    assert len(segment.destinations) == 1


async def test_held_token_leads_to_the_sources(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """While the token is held, connecting another source starts at the list."""
    page = await connected(dashboard)
    shown = await dashboard.get(page)
    await connect(dashboard, source_id="src_0002")

    assert f'href="{dashboard.home}/segment/sources">Connect another source' in shown.text
    assert f'href="{dashboard.home}/segment/sources">Connect a source' in (await dashboard.get("segment")).text
    assert len(segment.destinations) == 2


async def test_held_token_belongs_to_its_session(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """Another session, and one that dropped the token, has to enter it."""
    await look(dashboard)
    async with httpx.AsyncClient(transport=dashboard.service.transport, base_url="http://service") as client:
        await client.post("/dashboard/login", data={"password": PASSWORD})
        theirs = Dashboard(client, dashboard.service, dashboard.account_id)
        seen = await theirs.get("segment/sources")
        done = await connect(theirs)
        asked = await theirs.get("segment/connect")
    forgotten = await dashboard.post("segment/forget-token")

    for answer in (seen, done, await dashboard.get("segment/sources"), await connect(dashboard)):
        assert answer.headers["location"] == f"{dashboard.home}/segment/connect"
    assert "Enter the token again" in asked.text
    assert forgotten.status_code == 303
    assert segment.destinations == {}


async def test_kept_token_is_used_until_deleted(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """A token is kept if ticked and accepted, and is used until it is deleted."""
    await look(dashboard, keep="yes", region="eu")
    page = await dashboard.get("segment")
    await look(dashboard, token="", stored="yes")
    choice = await dashboard.get("segment/sources")
    made = await connect(dashboard, "destination")
    gone = await dashboard.post(page_of(dashboard, made), sure="yes")
    segment.tokens.clear()
    refused = await look(dashboard, token="", stored="yes")
    forgotten = await dashboard.post("segment/forget-token")
    said = await dashboard.get("segment")
    without = await look(dashboard, token="", stored="yes")

    assert "The token of Acme (EU) is stored encrypted since" in text_of(page)
    assert "The token is stored encrypted." in choice.text
    assert (made.status_code, gone.status_code, forgotten.status_code) == (303, 303, 303)
    assert segment.destinations == {}
    assert refused.status_code == 422
    assert "Segment refuses the token" in refused.text
    assert "It stays valid in Segment. Delete it there too." in said.text
    assert "is stored encrypted since" not in said.text
    assert without.status_code == 422
    assert "No token of a Segment workspace is kept" in without.text


async def test_public_url_is_filled_in_if_reachable(dashboard: Dashboard) -> None:
    """A public URL that Segment reaches is filled in; for another one the page has the reason."""
    await look(dashboard)
    private = await dashboard.get("segment/sources")
    headers = {"Host": "destination.example.com", "X-Forwarded-Proto": "https"}
    public = await dashboard.client.get(f"{dashboard.home}/segment/sources", headers=headers)
    plain = await dashboard.client.get(
        f"{dashboard.home}/segment/sources", headers={"Host": "destination.example.com"}
    )

    assert re.search(r'name="public_url"[^>]* value=""', private.text)
    assert "Segment cannot reach http://service, the address of this page." in private.text
    assert re.search(rf'name="public_url"[^>]* value="{URL}"', public.text)
    assert "the address of this page" not in public.text
    assert "Segment cannot reach http://destination.example.com, the address of this page" in plain.text


@pytest.mark.parametrize("kind", ["webhook", "destination"])
async def test_disconnection_deletes_and_revokes(
    dashboard: Dashboard, segment: SegmentWorkspace, kind: str
) -> None:
    """A disconnection deletes the destination in Segment, and its calls are refused."""
    page = await connected(dashboard, kind)
    other = page_of(dashboard, await connect(dashboard, "destination", source_id="src_0002"))
    [credential, *_] = [value for each in segment.destinations.values() for value in each["settings"].values()]
    held = await dashboard.post(page, sure="yes")
    await dashboard.post("segment/forget-token")
    pasted = await dashboard.post(other, sure="yes", token=TOKEN)
    said = await dashboard.get("segment")
    if kind == "webhook":
        refused = await signed(dashboard, credential)
    else:
        refused = await dashboard.service.identify("ann@example.com", key=credential)

    assert (held.status_code, pasted.status_code) == (303, 303)
    assert "The source is disconnected, and its destination in Segment is deleted." in said.text
    assert "No source is connected yet" in said.text
    assert segment.destinations == {}
    assert refused.status_code == 401
    assert (await dashboard.get(page)).status_code == 404


async def test_deleted_destination_can_be_disconnected(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """A destination that was deleted in Segment can be disconnected."""
    page = await connected(dashboard)
    segment.destinations.clear()
    await dashboard.post(page, sure="yes")

    assert "Its destination in Segment was already deleted." in (await dashboard.get("segment")).text


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("no token", 422, "No token of a Segment workspace is kept"),
        ("another workspace", 422, "belongs to the workspace 'Other'"),
        ("refused", 422, "It says: not yours"),
        ("away", 503, "answered 500"),
    ],
)
async def test_connection_can_be_deleted_here_only(
    dashboard: Dashboard, segment: SegmentWorkspace, fault: str, status: int, said: str
) -> None:
    """If Segment cannot be asked or refuses, the connection can be deleted here only."""
    page = await connected(dashboard)
    [destination] = segment.destinations.values()
    token = TOKEN
    if fault == "no token":
        await dashboard.post("segment/forget-token")
        token = ""
    elif fault == "another workspace":
        segment.id, segment.name, token = "ws_other", "Other", "sgp_of-another-workspace"
        segment.tokens.add(token)
    else:
        segment.fail(DELETE, *{"refused": (403, "not yours"), "away": (500, "")}[fault])
    refused = await dashboard.post(page, sure="yes", token=token)
    forgotten = await dashboard.post(page, sure="yes", here_only="yes")
    page_after = await dashboard.get("segment")

    assert refused.status_code == status
    assert said in text_of(refused)
    assert '<details class="dangerous" open>' in refused.text
    assert "Disconnect here only" in refused.text
    assert forgotten.status_code == 303
    assert "Delete its destination in Segment too." in page_after.text
    assert len(segment.destinations) == 1
    assert (await signed(dashboard, destination["settings"]["sharedSecret"])).status_code == 401


async def test_many_connections_stay_searchable(dashboard: Dashboard, tmp_path: Path) -> None:
    """With many connections the page stays small, and each is found."""
    page = await connected(dashboard)
    database = Database(settings(tmp_path).effective_database_url)
    await database.open()
    first = await database.read(segment_connections.get, dashboard.account_id, page.rpartition("/")[2])
    assert first is not None
    for number in range(100):
        name = f"{HOSTILE} {number} {'x' * 150}"
        more = replace(first, id=f"conn_{number}", source_id=f"more_{number}", source_name=name)
        await database.write(segment_connections.add, more)
    await database.close()
    everything = await dashboard.get("segment")
    found = await dashboard.get(f"segment?q={quote('Quotes')}")
    none = await dashboard.get("segment?q=nothing")

    assert len(everything.content) < 200_000
    assert "And 51 more" in everything.text
    assert everything.text.count("Waiting for the first call…") == 50
    assert "And 50 more" in found.text
    assert "No source or workspace matches" in none.text
    assert len(await dashboard.live("segment/live?q=quotes", "others")) == 51


async def test_hostile_names_stay_text(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """Names of sources and workspaces stay text on every page."""
    segment.name = HOSTILE
    segment.source(SOURCE).update(name=HOSTILE, slug=HOSTILE)
    await look(dashboard, keep="yes")
    choice = await dashboard.get(f"segment/sources?q={quote(HOSTILE)}")
    made = await connect(dashboard, q=HOSTILE)
    page = page_of(dashboard, made)
    pages = [
        choice,
        await dashboard.get(page),
        await dashboard.get("segment"),
        await dashboard.get("segment/connect"),
        await dashboard.get(f"segment?q={quote(HOSTILE)}"),
        await connect(dashboard, q=HOSTILE, public_url=HOSTILE, source_id=HOSTILE),
        await dashboard.post("segment/by-hand/webhook", name="", public_url=HOSTILE),
        await dashboard.post("segment/by-hand/sdk", name=HOSTILE),
    ]

    for answer in pages:
        assert "<script>alert" not in answer.text
        assert '& "quotes"' not in answer.text
        assert "<script>alert('x')</script> & " in html.unescape(answer.text)
        assert len(answer.content) < 200_000


async def test_connection_of_another_account_is_not_found(dashboard: Dashboard, segment: SegmentWorkspace) -> None:
    """A connection of another account is neither shown, used nor deleted."""
    page = await connected(dashboard)
    await look(dashboard, keep="yes")
    issued = await dashboard.post("segment/by-hand/sdk", name="mine")
    [at] = re.findall(r'data-address="([^"]*)"', issued.text)
    await dashboard.service.identify("ann@example.com", key="key_test_other")
    accounts = await dashboard.client.get("/dashboard/accounts")
    [other] = set(re.findall(r"/dashboard/a/(acct_[\w-]+)/", accounts.text)) - {dashboard.account_id}
    theirs = Dashboard(dashboard.client, dashboard.service, other)
    connect_page = await theirs.get("segment")
    key_page = await theirs.client.get(html.unescape(at).replace(dashboard.account_id, other))

    assert "No source is connected yet" in connect_page.text
    assert "is kept, encrypted" not in connect_page.text
    assert (await theirs.get(page)).status_code == 404
    assert (await theirs.get(f"{page}/live")).status_code == 404
    assert (await theirs.post(page, sure="yes", here_only="yes")).status_code == 404
    assert (await theirs.get("segment/sources")).status_code == 303
    assert "Issue key" in key_page.text
    assert len(segment.destinations) == 1


@pytest.mark.parametrize("way", ["webhook", "destination", "sdk"])
async def test_manual_credential_is_shown_once(dashboard: Dashboard, way: str) -> None:
    """An issued credential is shown once with instructions, and the page waits for its first call."""
    form = await dashboard.get(f"segment/by-hand/{way}")
    issued = await dashboard.post(f"segment/by-hand/{way}", name="Website", public_url=URL)
    await signed(dashboard, "forged")  # from here on it is remembered which secrets there are
    other = await dashboard.post(f"segment/by-hand/{way}", name="Other", public_url=URL)
    [clear] = re.findall(r'<code id="secret">([^<]+)</code>', issued.text)
    [other_clear] = re.findall(r'<code id="secret">([^<]+)</code>', other.text)
    [at] = [html.unescape(each) for each in re.findall(r'data-address="([^"]*)"', issued.text)]
    [live] = [html.unescape(each) for each in re.findall(r'data-live="([^"]*)"', issued.text)]
    live = live.removeprefix(f"{dashboard.home}/")
    for each in (other_clear, clear):
        before = await dashboard.live(live, "call-status")
        sent = (
            await signed(dashboard, each)
            if way == "webhook"
            else await dashboard.service.identify("ann@example.com", key=each)
        )
        assert sent.status_code == 202
    after = await dashboard.live(live, "call-status", "last-call")
    again = await dashboard.client.get(at)

    assert form.status_code == 200
    assert issued.headers["Cache-Control"] == "no-store"
    assert "Waiting for the first call…" in issued.text
    assert {"webhook": f"{URL}/webhook/{dashboard.account_id}", "destination": "API Key", "sdk": "host="}[
        way
    ] in issued.text
    assert "Waiting" in before["call-status"]  # the other one's call does not count
    assert "Received" in after["call-status"]
    assert "Last call" in after["last-call"]
    assert clear not in again.text
    assert "was already shown" in again.text
    assert "Received" in again.text
    assert (f"{URL}/webhook/" in again.text) is (way == "webhook")


async def test_invalid_manual_setup_issues_nothing(dashboard: Dashboard) -> None:
    """An error is shown at its field, and nothing is issued."""
    nameless = await dashboard.post("segment/by-hand/sdk", name=" ")
    private = await dashboard.post("segment/by-hand/webhook", name="x", public_url="http://127.0.0.1:8700")
    unknown = await dashboard.get("segment/by-hand/pigeon")
    settings_page = await dashboard.get("segment/by-hand/webhook?issued=sec_none")

    assert (nameless.status_code, private.status_code, unknown.status_code) == (422, 422, 404)
    assert '<p id="name-wrong" class="wrong" role="alert">Enter a name' in nameless.text
    assert '<p id="url-wrong" class="wrong" role="alert">Segment cannot post to' in private.text
    assert 'id="secret"' not in nameless.text + private.text
    assert "Issue shared secret" in settings_page.text


async def test_admin_port_offers_no_public_url(tmp_path: Path) -> None:
    """With an admin port the dashboard's own address is not offered."""
    configured = settings(tmp_path, admin_password=PASSWORD, admin_port=9000, prosperstack_api_key=KEY)
    async with (
        running(configured) as service,
        httpx.AsyncClient(transport=service.transport, base_url="https://inside.example.com:9000") as client,
    ):
        await client.post("/dashboard/login", data={"password": PASSWORD})
        start = await client.get("/dashboard")
        mine = Dashboard(client, service, start.headers["location"].split("/")[3])
        webhook = await mine.get("segment/by-hand/webhook")
        sdk = await mine.post("segment/by-hand/sdk", name="x")

    assert re.search(r'name="public_url"[^>]* value=""', webhook.text)
    assert f'<code id="host">{URL}</code>' in sdk.text


async def test_token_leaves_no_trace(
    tmp_path: Path, dashboard: Dashboard, segment: SegmentWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    """A token and issued credentials are in no page, redirect, cookie or log, nor in clear on the disk."""
    caplog.set_level("DEBUG")
    answers = [await look(dashboard)]
    answers += [await dashboard.get(page) for page in ("segment/sources", "segment/connect", "segment")]
    answers += [await connect(dashboard), await connect(dashboard), await connect(dashboard, source_id="")]
    page = page_of(dashboard, answers[-3])
    segment.fail(DELETE, 403, f"the token {TOKEN} may not")
    answers += [await dashboard.get(page), await dashboard.post(page, sure="yes", token=TOKEN)]
    answers += [await look(dashboard, keep="yes"), await dashboard.get("segment/sources")]
    segment.fail("GET /sources", 401, f"{TOKEN} is not good")
    answers += [await look(dashboard), await dashboard.get("segment"), await dashboard.get("segment/connect")]
    secrets = [TOKEN, *(value for each in segment.destinations.values() for value in each["settings"].values())]
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())

    assert [each.status_code for each in answers] == [
        303,
        200,
        200,
        200,
        303,
        422,
        422,
        200,
        422,
        303,
        200,
        422,
        200,
        200,
    ]
    assert len(secrets) == 2
    for secret in secrets:
        assert secret.encode() not in stored
        assert secret not in caplog.text
        assert secret not in str(list(dashboard.client.cookies.jar))
        for answer in answers:
            assert secret not in answer.text + str(answer.headers)
