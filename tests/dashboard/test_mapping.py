"""Tests of the pages of a mapping: coverage, editor, preview, history."""

import html
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboard.conftest import PASSWORD, Dashboard
from prosperstack_destination.mapping.yaml_reader import read_yaml
from prosperstack_destination.storable_text import REPLACEMENT
from prosperstack_destination.store.database import Database
from support.intake import settle_all
from support.service import running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
#: A file whose rule for the preferred name takes the nickname.
FILE = "# why\nrules:\n  # theirs\n  - property: preferred_name\n    trait: nickname\n"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(2)>",
    "a line\nand another\r\n\tone",
    "right\u202eto left\u2066",
    "{{ 7 * 7 }} {% raw %}",
    "x" * 10_000,
    "\u0000\u0007\u009f\ufeff",
    "%3Cscript%3E&lt;script&gt;",
]


async def counted(dashboard: Dashboard, query: str = "") -> str:
    """The tables, once everything is counted."""
    while True:
        answer = await dashboard.get(f"mapping/coverage{query}")
        if "refresh-after" not in answer.headers:
            return answer.text


def draft_in(text: str) -> str:
    """The draft that a page has in its form, as a browser sends it."""
    found = re.search(r"<textarea[^>]* name=\"draft\"[^>]*>\n(.*?)</textarea>", text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1]).replace("\n", "\r\n")


def hidden(text: str, name: str) -> str:
    """What a hidden field of a page has."""
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)"', text)
    assert found is not None
    return html.unescape(found[1])


def said(text: str) -> str:
    """The text of a page, on one line."""
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", text))).strip()
    return re.sub(r" ([.,:])", r"\1", words)


async def applied(dashboard: Dashboard, draft: str, based_on: int = 0, **fields: str) -> Any:
    return await dashboard.post("mapping/apply", draft=draft, based_on=f"{based_on}", **fields)


async def test_the_catalog_shows_at_once(dashboard: Dashboard) -> None:
    """The page does not wait for what is counted: properties and rules are there, and the rest comes by itself."""
    page = await dashboard.get("mapping")

    assert page.status_code == 200
    assert "Number of contacts" in page.text
    assert "Counting…" in page.text
    assert 'data-load="' in page.text
    tables = said(await counted(dashboard))
    assert "Counted 1 of 1 profiles" in tables
    assert "Preferred name preferred_name text preferred_name by key 1 100% Johnny 0" in tables
    assert "Is professional is_professional boolean no trait 0 0%" in tables


async def test_a_trait_is_mapped_by_one_click(dashboard: Dashboard) -> None:
    """A trait that feeds nothing is mapped to the likeliest property, tried out, applied, and gets there."""
    await dashboard.service.until(  # what was called first is delivered, so that they are known by now
        lambda: dashboard.service.values(JOHN)[0]["preferred_name"] == "Johnny"
    )
    await dashboard.service.identify(JOHN, contactCount=17)
    tables = await counted(dashboard)
    assert "contactCount number 1 17 Number of contacts" in said(tables)
    trait = hidden(tables, "trait")
    assert (trait, 'name="to" value="number_of_contacts"' in tables) == ('"contactCount"', True)

    page = await dashboard.post("mapping/map", trait=trait, to="number_of_contacts")
    draft = draft_in(page.text)
    assert draft == "rules:\r\n  - property: number_of_contacts\r\n    trait: contactCount\r\n"
    assert "In this draft contactCount feeds number_of_contacts. The draft is not applied yet" in said(page.text)
    assert "Number of contacts (changes) \N{EN DASH} 17 contactCount" in said(page.text)
    assert (await dashboard.service.client.get("/readyz")).status_code == 200

    fields = {"draft": draft, "based_on": hidden(page.text, "based_on")}
    review = await dashboard.post("mapping/review", **fields)
    assert "+ trait: contactCount" in said(review.text)
    figures = said((await dashboard.post("mapping/figures", **fields)).text)
    assert "Would change 1 of 1 profile " in figures
    assert "john.doe@example.com number_of_contacts \N{EN DASH} 17" in figures
    assert "Requests to ProsperStack 1" in figures

    done = await applied(dashboard, draft_in(review.text), note="by one click")
    assert (done.status_code, done.headers["location"]) == (303, f"{dashboard.home}/mapping")
    assert "Version 1 is applied. One profile is evaluated again" in (await dashboard.get("mapping")).text
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["number_of_contacts"] == 17)
    assert "contactCount by rule 1 100% 17" in said(await counted(dashboard))


async def test_a_trait_is_mapped_to_another_one(dashboard: Dashboard) -> None:
    """Where no property is likely, or another one is meant, the editor has the trait in its form already."""
    page = await dashboard.post("mapping/map", trait='"a\\r\\n b"', to="")

    assert draft_in(page.text) == "rules: []\r\n"
    assert 'name="rule-trait" value="&#34;a\\r\\n b&#34;"' in page.text
    fields = {"draft": draft_in(page.text), "based_on": "0", "rule-mark": hidden(page.text, "rule-mark")}
    chosen = {"rule-property": "preferred_name", "rule-kind": "trait", "rule-trait": '"a\\r\\n b"'}
    put = await dashboard.post("mapping/edit", **fields, **chosen)
    assert '- property: preferred_name\r\n    trait: "a\\r\\n b"' in draft_in(put.text)


async def test_a_rule_from_the_form(dashboard: Dashboard) -> None:
    """Who writes no YAML fills in a form; its rule gets into the file, and nothing else of the file changes."""
    await dashboard.service.identify(JOHN, nickname="  JOAN ", plan="pro")
    fields = {
        "draft": FILE.replace("\n", "\r\n"),
        "based_on": "0",
        "rule-mark": "of other fields",
        "rule-property": "preferred_name",
        "rule-kind": "from",
        "rule-expression": "traits.nickname",
        "rule-clean-0": "trim",
        "rule-clean-2": "title",
        "rule-default": "Friend",
    }

    preview = said((await dashboard.post("mapping/preview", **fields, email=JOHN.upper())).text)
    put = await dashboard.post("mapping/edit", **fields, do="put")
    page = await dashboard.post(
        "mapping/edit",
        **{**fields, "draft": draft_in(put.text), "rule-mark": hidden(put.text, "rule-mark")},
        do="remove",
    )

    assert "Preferred name (changes) Johnny preferred_name Joan nickname" in preview
    assert draft_in(put.text).replace("\r\n", "\n") == (
        "# why\nrules:\n  # theirs\n  - property: preferred_name\n    from: traits.nickname\n"
        "    clean:\n      - trim\n      - title\n    default: Friend\n"
    )
    assert '<option value="title" selected>' in put.text
    assert draft_in(page.text).replace("\r\n", "\n") == "# why\nrules: []\n  # theirs\n"


async def test_fields_that_nobody_touched(dashboard: Dashboard) -> None:
    """The form's rule counts when somebody changed it: else what was written in the file by hand is what counts."""
    await applied(dashboard, FILE)
    page = await dashboard.get("mapping/edit?rule=preferred_name")
    assert 'name="rule-trait" value="nickname"' in page.text
    fields = {
        "draft": draft_in(page.text).replace("nickname", "by_hand"),
        "based_on": "1",
        "rule-property": "preferred_name",
        "rule-kind": "trait",
        "rule-trait": "nickname",
    }

    kept = await dashboard.post("mapping/edit", **fields, **{"rule-mark": hidden(page.text, "rule-mark")})
    replaced = await dashboard.post("mapping/edit", **fields, **{"rule-mark": "x"})

    assert "trait: by_hand" in draft_in(kept.text)
    assert "trait: nickname" in draft_in(replaced.text)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"rule-kind": "trait", "rule-trait": "nickname"}, "Choose the property of the rule."),
        (
            {"rule-property": "preferred_name", "rule-values": "a"},
            "'a' does not have the form `value = value to send`",
        ),
        ({"draft": "a: b: c", "rule-property": "preferred_name", "rule-trait": "x"}, "the text is not YAML"),
    ],
)
async def test_a_form_that_makes_no_rule(dashboard: Dashboard, fields: dict[str, str], why: str) -> None:
    """What is wrong with the form is said, what was typed stays, and nothing is applied without it."""
    sent = {"draft": FILE, "based_on": "0", "rule-mark": "", **fields}

    edit, review = await dashboard.post("mapping/edit", **sent), await dashboard.post("mapping/review", **sent)

    for page, status in ((edit, 200), (review, 422)):
        assert (page.status_code, why in said(page.text)) == (status, True)
        assert hidden(page.text, "rule-mark") == ""
        assert draft_in(page.text) == sent["draft"].replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("draft", "where", "why"),
    [
        ("rules:\n  - property: plan\n    form: x\n", "line 3 rules[0].form", "did you mean from? form: x"),
        ("rules:\n  - property: preferred_name\n    from: nickname\n", "line 3 rules[0].from", "traits.nickname"),
        ("a: b: c", "line 1", "the text is not YAML"),
        ("rules:\n  - property: preferred_name\n    default: [1]\n", "line 3", "write one value here"),
        ("x" * 300_000, "", "shorten it to 262,144"),
    ],
)
async def test_faults(dashboard: Dashboard, draft: str, where: str, why: str) -> None:
    """What is wrong with a file is told by line and key while it is typed, and it is not applied."""
    preview = said((await dashboard.post("mapping/preview", draft=draft, based_on="0")).text)
    review = await dashboard.post("mapping/review", draft=draft, based_on="0")
    refused = await applied(dashboard, draft)

    assert where in preview
    assert why in preview
    assert (review.status_code, refused.status_code) == (422, 422)
    assert draft_in(refused.text) == draft.replace("\n", "\r\n")
    assert "errors" in (await dashboard.post("mapping/figures", draft=draft, based_on="0")).text
    assert (await dashboard.service.client.get("/readyz")).status_code == 200
    assert "No mapping applied yet" in (await dashboard.get("mapping/history")).text


async def test_unknown_properties_are_confirmed(dashboard: Dashboard) -> None:
    """A rule for a property that the account does not have is applied when somebody says so."""
    draft = FILE.replace("preferred_name", "prefered_name")

    review = await dashboard.post("mapping/review", draft=draft, based_on="0")
    refused = await applied(dashboard, draft, note="soon")
    done = await applied(dashboard, draft, allow_unknown="yes")

    for page in (review, refused):
        assert (
            "line 4: the account has no subscriber property 'prefered_name': did you mean preferred_name?"
            in said(page.text)
        )
        assert 'name="allow_unknown"' in page.text
    assert (refused.status_code, 'value="soon"' in refused.text) == (422, True)
    assert done.status_code == 303
    assert "prefered_name prefered_name not in ProsperStack its rule takes effect when it exists" in said(
        await counted(dashboard)
    )


async def test_rising_problems_are_confirmed(dashboard: Dashboard) -> None:
    """A draft with which problems rise is shown in red, and applied after a tick that says so."""
    await dashboard.service.identify(JOHN, plan="pro", is_professional=True)
    draft = "rules:\n  - property: is_professional\n    trait: plan\n"

    figures = await dashboard.post("mapping/figures", draft=draft, based_on="0")
    refused = await dashboard.post("mapping/apply", draft=draft, based_on="0")
    done = await dashboard.post("mapping/apply", draft=draft, based_on="0", allow_problems="yes")

    assert 'class="figure bad"' in figures.text
    assert "Problems rise from 0 to 1" in said(figures.text)
    assert "true no value: unchanged" in said(figures.text)
    assert refused.status_code == 409
    assert 'name="allow_problems"' in refused.text
    assert done.status_code == 303


async def test_somebody_else_was_first(dashboard: Dashboard) -> None:
    """The second of two drafts is kept, shown what changed meanwhile, and goes on from there when that was seen."""
    other = "forgiving_names: true\nrules: []\n"
    await applied(dashboard, other, note="theirs")

    refused = await applied(dashboard, FILE)
    assert refused.status_code == 409
    assert "Version 1 was applied in the meantime" in refused.text
    assert "+ forgiving_names: true" in said(refused.text)
    assert "\N{MINUS SIGN} forgiving_names: true" in said(refused.text)
    assert draft_in(refused.text) == FILE.replace("\n", "\r\n")
    assert "disabled" in refused.text

    gone_on = await dashboard.post("mapping/review", draft=FILE, based_on="0", rebase="1")
    assert "was applied in the meantime" not in gone_on.text
    assert (await applied(dashboard, FILE, int(hidden(gone_on.text, "based_on")))).status_code == 303


async def test_a_file_that_says_what_it_is_based_on(dashboard: Dashboard) -> None:
    """What a file says of its version counts as it does on the command line, and follows the editor."""
    await applied(dashboard, f"based_on: 0\n{FILE}")
    await applied(dashboard, "rules: []", 1)
    await dashboard.post("mapping/rollback", version="1", based_on="2")

    assert draft_in((await dashboard.get("mapping/edit")).text).startswith("based_on: 3\r\n")
    stale = await applied(dashboard, f"based_on: 1\n{FILE}", 3)
    assert (stale.status_code, "Your draft is based on version 1" in said(stale.text)) == (409, True)
    gone_on = await dashboard.post("mapping/review", draft=f"based_on: 1\n{FILE}", based_on="3", rebase="3")
    assert draft_in(gone_on.text).startswith("based_on: 3\r\n")


async def test_history(dashboard: Dashboard) -> None:
    """Every version is there with its author, what it was for, and what differed; and can be put in force again."""
    await applied(dashboard, FILE, note="nicknames <b>")
    await applied(dashboard, FILE.replace("nickname", "first_name"), 1)

    history = said((await dashboard.get("mapping/history")).text)
    first, second = await dashboard.get("mapping/history/1"), await dashboard.get("mapping/history/2")
    assert re.search(r"Version 2 current .*? dashboard . 1 Export Version 1 .*? dashboard nicknames <b> 1", history)
    assert "+ trait: nickname" in said(first.text)
    assert "\N{MINUS SIGN} trait: nickname + trait: first_name" in said(second.text)
    assert "Roll back to version 1" in first.text
    assert "Go back" not in second.text

    back = await dashboard.post("mapping/rollback", version="1", based_on="2", sure="yes")
    assert back.headers["location"] == f"{dashboard.home}/mapping"
    assert "Version 1 is applied again, as version 3." in (await dashboard.get("mapping")).text
    assert (await dashboard.post("mapping/rollback", version="1", based_on="2")).status_code == 409
    assert "back to version 1" in (await dashboard.get("mapping/history?before=4")).text
    assert "Version 3" not in (await dashboard.get("mapping/history?before=3")).text


async def test_a_rollback_is_previewed(dashboard: Dashboard) -> None:
    """What going back would do is shown before, as for any draft."""
    await applied(dashboard, f"based_on: 0\n{FILE}")
    await applied(dashboard, "rules: []\n", 1)
    page = await dashboard.get("mapping/history/1")

    review = await dashboard.post(
        "mapping/review",
        draft=draft_in(page.text),
        based_on=hidden(page.text, "based_on"),
        rebase="2",
        note=hidden(page.text, "note"),
    )

    assert review.status_code == 200
    assert 'value="back to version 1"' in review.text
    assert draft_in(review.text).startswith("based_on: 2\r\n")


async def test_export_is_what_was_applied(dashboard: Dashboard) -> None:
    """A version is exported to the letter, as a file that can be imported again."""
    await applied(dashboard, FILE)
    await applied(dashboard, "rules: []", 1)

    first, current = await dashboard.get("mapping/export?version=1"), await dashboard.get("mapping/export")
    assert (first.text, current.text) == (FILE, "rules: []")
    assert first.headers["content-disposition"] == 'attachment; filename="mapping-v1.yaml"'
    assert first.headers["x-content-type-options"] == "nosniff"
    again = await applied(dashboard, first.text, 2)
    assert again.status_code == 303


@pytest.mark.parametrize(
    "page", ["mapping/history/9", "mapping/history/99999999999999999999", "mapping/export?version=9"]
)
async def test_versions_that_are_not_there(dashboard: Dashboard, page: str) -> None:
    """A version that the account does not have is nowhere."""
    assert (await dashboard.get(page)).status_code == 404


async def test_nothing_new_is_not_applied(dashboard: Dashboard) -> None:
    """The same file again makes no version."""
    await applied(dashboard, FILE)
    await applied(dashboard, FILE, 1)

    assert "The draft equals version 1" in html.unescape((await dashboard.get("mapping")).text)


async def test_another_account(dashboard: Dashboard) -> None:
    """Versions, drafts and traits of one account are nowhere in another one."""
    await applied(dashboard, FILE, note="ours")
    await dashboard.service.identify("a@b.c", key="key_test_other", theirs="x")
    accounts = re.findall(
        r"/dashboard/a/([^/]+)/overview", (await dashboard.client.get("/dashboard/accounts")).text
    )
    [other] = {each for each in accounts if each != dashboard.account_id}
    theirs = Dashboard(dashboard.client, dashboard.service, other)

    assert "No mapping applied yet" in (await theirs.get("mapping/history")).text
    assert (await theirs.get("mapping/history/1")).status_code == 404
    assert (await theirs.get("mapping/export?version=1")).status_code == 404
    assert (await theirs.post("mapping/rollback", version="1", based_on="0")).status_code == 422
    assert "nickname" not in draft_in((await theirs.get("mapping/edit")).text)
    assert "john.doe" not in (await theirs.post("mapping/preview", draft=FILE, email="john")).text
    assert "preferred_name by key" not in said(await counted(theirs))
    assert "theirs text 1 x" in said(await counted(theirs))


async def test_hostile_names_stay_text(dashboard: Dashboard) -> None:
    """Whatever traits are called and say, it is text, short, and turns nothing round; and any can be mapped."""
    call = {"type": "identify", "traits": {"email": JOHN, **dict(zip(HOSTILE, reversed(HOSTILE), strict=True))}}
    assert (await dashboard.service.client.post("/identify", json=call)).status_code == 202
    tables = await counted(dashboard)

    assert_harmless(tables)
    assert "the name is too long for a rule" in said(tables)
    names = [html.unescape(each) for each in re.findall(r'name="trait" value="([^"]*)"', tables)]
    names.remove('"email"')
    assert len(names) == len(HOSTILE) - 1
    draft = ""
    for name in names:
        page = await dashboard.post("mapping/map", trait=name.replace("\n", "\r\n"), to="preferred_name")
        assert_harmless(page.text)
        draft = draft_in(page.text)
        done = await applied(dashboard, draft, int(hidden(page.text, "based_on")), note=HOSTILE[0])
        assert done.status_code == 303
    exported = [
        read_yaml((await dashboard.get(f"mapping/export?version={1 + each}")).text) for each in range(len(names))
    ]
    files: list[Any] = [each.data for each in exported]
    kept = {each.replace("\0", REPLACEMENT) for each in HOSTILE} - {"x" * 10_000}
    assert {each["rules"][0]["trait"] for each in files} == kept
    for path in ("mapping", "mapping/edit?rule=preferred_name", "mapping/history", "mapping/history/3"):
        assert_harmless((await dashboard.get(path)).text)
    for path in ("mapping/review", "mapping/figures", "mapping/preview"):
        assert_harmless((await dashboard.post(path, draft=draft, based_on="0", email=HOSTILE[0])).text)


def assert_harmless(text: str) -> None:
    """No markup of others', nothing that turns the direction of text outside of its own place, nothing endless."""
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "{{ 7 * 7 }}" not in text or "49 " not in said(text)
    own_places = r'<textarea.*?</textarea>|<pre.*?</pre>|<bdi.*?</bdi>|"[^"]*"'
    rest = re.sub(own_places, "", text, flags=re.DOTALL)
    assert not re.search("[\u202e\u2066]", rest)
    assert "x" * 100 not in rest
    assert len(text.encode()) < 200_000


async def test_find(dashboard: Dashboard) -> None:
    """Who looks for a property or a trait types a part of its name."""
    await dashboard.service.identify(JOHN, other=1)

    await counted(dashboard)
    found = said(await counted(dashboard, "?find=OTHER"))
    assert "No property matches the search." in found
    assert "other number 1 1" in found
    nothing = said(await counted(dashboard, "?find=preferred"))
    assert "Preferred name" in nothing
    assert "No unmapped trait matches the search." in nothing
    assert 'value="&lt;b&gt;"' in (await dashboard.get("mapping?find=<b>")).text


async def test_a_rule_that_replaces_another_one(dashboard: Dashboard) -> None:
    """Who maps a trait to a property that has a rule is told so."""
    await applied(dashboard, FILE)

    page = await dashboard.post("mapping/map", trait='"other"', to="preferred_name")
    assert "other feeds preferred_name instead of the source in its previous rule" in said(page.text)


async def test_whom_a_draft_is_tried_out_on(dashboard: Dashboard) -> None:
    """By itself on empty: a person whom the draft changes; else on the people whose email has this beginning."""
    await dashboard.service.identify("ada@example.com", plan="x")
    await dashboard.service.identify("zoe@example.com", nickname="Zo")

    async def preview(email: str) -> str:
        return said((await dashboard.post("mapping/preview", draft=FILE, email=email)).text)

    assert "john.doe@example.com: 1 property changes" in await preview("")
    assert "zoe@example.com: 1 property changes" in await preview(" ZOE@example.com ")
    assert "ada@example.com: nothing changes (the first matching email)" in await preview("ada")
    assert "No profile's email starts with nobody" in await preview("nobody")


async def test_going_through(tmp_path: Path, stored: Database) -> None:
    """While an applied mapping goes through the profiles the page shows how far it is, and goes on showing it.

    So does the overview, which does not say meanwhile that everything was done.
    """
    async with (
        running(settings(tmp_path, admin_password=PASSWORD, role="receive")) as service,
        httpx.AsyncClient(transport=service.transport, base_url="http://service") as client,
    ):
        await service.identify(JOHN, nickname="Jo")
        await client.post("/dashboard/login", data={"password": PASSWORD})
        start = await client.get("/dashboard")
        dashboard = Dashboard(client, service, start.headers["location"].split("/")[3])

        assert "goes through" not in (await dashboard.get("mapping")).text
        await stored.write(settle_all)
        before = (await dashboard.get("overview")).text
        await applied(dashboard, FILE)
        page = await dashboard.get("mapping")
        overview = (await dashboard.get("overview")).text

    assert "Applying the mapping to stored profiles 0%" in said(page.text)
    assert "0 of 1 profiles checked" in said(page.text)
    assert f'data-live="{dashboard.home}/mapping/live"' in page.text
    assert "Up to date" in before
    assert "Up to date" not in overview
    assert "0 of 1 profiles checked" in said(overview)
    assert "of the profiles checked so far" in said(overview)


async def test_choices_for_the_whole(dashboard: Dashboard) -> None:
    """Names are matched forgivingly, and properties created, by a form: it is reviewed, and then applied."""
    await applied(dashboard, FILE)
    page = await dashboard.post("mapping/options", forgiving_names="yes", create_missing="audiences")
    assert page.status_code == 200
    assert "+" not in draft_in(page.text)
    draft = draft_in(page.text).replace("\r\n", "\n")
    assert draft == f"{FILE.rstrip()}\nforgiving_names: true\ncreate_missing: audiences\n"
    await applied(dashboard, draft, 1)

    shown = (await dashboard.get("mapping")).text
    assert "forgiving names · creates properties for audiences" in said(shown)
    assert 'value="yes" checked' in shown
    same = await dashboard.post("mapping/options", forgiving_names="yes", create_missing="audiences")
    assert same.headers["location"] == f"{dashboard.home}/mapping"
    assert (await dashboard.post("mapping/options", create_missing="x: y")).status_code == 400
    back = await dashboard.post("mapping/options", create_missing="none")
    assert draft_in(back.text).replace("\r\n", "\n") == draft.replace("true", "false").replace("audiences", "none")


async def test_a_long_file(dashboard: Dashboard) -> None:
    """A file of nearly the largest size goes through the editor to the letter, on a page that is small."""
    rule = "  - property: p{0}\n    from: traits.address.city{0}  # of somebody who lives there\n"
    draft = "rules:\n" + "".join(rule.format(number) for number in range(900))
    draft += "# " + "what there is to say of it, " * 6_500
    assert 240_000 < len(draft) < 256 * 1024
    page = await dashboard.post("mapping/edit", draft=draft, based_on="0")

    assert page.status_code == 200
    assert draft_in(page.text).replace("\r\n", "\n") == draft
    assert page.num_bytes_downloaded < 200_000
    plain = await dashboard.client.get(f"{dashboard.home}/mapping", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


async def test_draft_is_stored_and_shared(dashboard: Dashboard) -> None:
    """A draft survives leaving the editor, collects one-click rules, and warns of another window's changes."""
    await dashboard.post("mapping/map", trait="nickname", to="preferred_name")
    await dashboard.post("mapping/map", trait="contactCount", to="number_of_contacts")

    bars = [(await dashboard.get(page)).text for page in ("mapping", "mapping/history", "mapping/edit")]
    assert all("2 rules and options changed" in bar for bar in bars)
    editor = (await dashboard.get("mapping/edit")).text
    assert "trait: nickname" in editor
    assert "trait: contactCount" in editor
    assert "Changes in the file" in (await dashboard.get("mapping/review")).text
    revision = re.search('name="revision" value="([0-9]+)"', editor)
    assert revision is not None
    mine = {"draft": "rules: []\n# mine\n", "based_on": "0", "revision": revision[1]}
    theirs = await dashboard.post("mapping/preview", **{**mine, "draft": "rules: []\n# theirs\n"})
    assert f'name="revision" value="{int(revision[1]) + 1}"' in theirs.text

    stale = await dashboard.post("mapping/preview", **mine)
    submitted = await dashboard.post("mapping/edit", **mine)

    assert "changed or discarded in another window" in stale.text
    assert "Replace it by mine" in submitted.text
    assert "# theirs" in (await dashboard.get("mapping/edit")).text
    await dashboard.post("mapping/edit", **mine, do="take-over")
    assert "# mine" in (await dashboard.get("mapping/edit")).text
    assert (await dashboard.post("mapping/discard")).status_code == 303
    assert "draft-bar" not in (await dashboard.get("mapping")).text


async def test_applied_draft_is_no_draft_any_more(dashboard: Dashboard) -> None:
    """Applying discards the stored draft; a text with errors is kept as a draft."""
    text = "rules:\n  - {property: preferred_name, trait: nickname}\n"
    await dashboard.post("mapping/edit", draft=text, based_on="0")
    assert "1 rule or option changed" in (await dashboard.get("mapping")).text
    await dashboard.post("mapping/apply", draft=text, based_on="0")
    assert "draft-bar" not in (await dashboard.get("mapping")).text

    await dashboard.post("mapping/edit", draft="rules: {", based_on="1")

    page = (await dashboard.get("mapping")).text
    assert "it has errors" in page
    assert "mapping/review" not in page


async def submit_call_rules(dashboard: Dashboard, **fields: str) -> httpx.Response:
    """Submit the form of the call rules, as it is shown now."""
    page = (await dashboard.get("mapping/calls")).text
    shown = {name: hidden(page, name) for name in ("revision", "based_on")}
    return await dashboard.post("mapping/calls", **{**shown, **fields})


CALL_FIELDS = {
    "emails": "traits.mail\r\ntraits.email",
    "rule-clean-0": "lower",
    "accept": "source.id != 'src_test'",
    "drop": "ssn\r\n*.password",
    "categories": "Ads",
    "missing": "accept",
}


async def test_call_rules_are_edited_by_form(dashboard: Dashboard) -> None:
    """The form of the call rules changes them in the draft, shows them again, and removes what is emptied."""
    await applied(dashboard, f"accept: type == 'identify'  # ours\n{FILE}")

    done = await submit_call_rules(dashboard, **CALL_FIELDS)

    assert (done.status_code, done.headers["location"]) == (303, f"{dashboard.home}/mapping/calls")
    page = (await dashboard.get("mapping/calls")).text
    draft = draft_in((await dashboard.get("mapping/edit")).text).replace("\r\n", "\n")
    assert draft.startswith("accept: source.id != 'src_test'  # ours\n# why\nrules:\n  # theirs\n")
    rules: Any = read_yaml(FILE).data
    assert read_yaml(draft).data == {
        **rules,
        "email": {"first_of": ["traits.mail", "traits.email"], "clean": ["lower"]},
        "accept": "source.id != 'src_test'",
        "drop": ["ssn", "*.password"],
        "consent": {"required_categories": ["Ads"], "missing": "accept"},
    }
    assert "The call rules are in the draft" in page
    assert "4 rules and options changed" in page
    assert "traits.mail\ntraits.email</textarea>" in page
    assert 'value="accept" selected' in page
    unchanged = await submit_call_rules(dashboard, **CALL_FIELDS)
    assert unchanged.headers["location"] == f"{dashboard.home}/mapping/calls"
    assert "are unchanged" in (await dashboard.get("mapping/calls")).text
    await submit_call_rules(dashboard, emails="traits.mail")
    draft = draft_in((await dashboard.get("mapping/edit")).text).replace("\r\n", "\n")
    assert read_yaml(draft).data == {**rules, "email": {"from": "traits.mail"}}


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"emails": "traits.mail\r\ntraits.+"}, "emails", "Entry 2: "),
        ({"rule-clean-0": "lower"}, "emails", "write one source: from"),
        (
            {"emails": "traits.mail", "rule-clean-0": "lower", "rule-clean-1": "round", "rule-argument-1": "x"},
            "clean",
            "Entry 2: ",
        ),
        ({"accept": "source = 'x'"}, "accept", "did you mean source.id == 'x'?"),
        ({"drop": f"ssn\r\n{'x' * 201}"}, "drop", "Entry 2: "),
        ({"categories": "x" * 201}, "categories", "Entry 1: "),
    ],
)
async def test_error_in_call_rules_is_shown_at_its_field(
    dashboard: Dashboard, fields: dict[str, str], name: str, message: str
) -> None:
    """An error is shown at its field with the number of the entry; the entries stay, and no draft is saved."""
    page = await submit_call_rules(dashboard, **fields)

    assert page.status_code == 422
    found = re.search(rf'<p class="wrong" id="{name}-error" role="alert">(.*?)</p>', page.text, re.DOTALL)
    assert found is not None
    assert message in html.unescape(found[1])
    assert html.escape(fields.get(name, "")).replace("&#x27;", "&#39;").replace("\r\n", "\n") in page.text
    assert "draft-bar" not in (await dashboard.get("mapping")).text


async def test_call_rules_of_an_outdated_form_are_not_saved(dashboard: Dashboard) -> None:
    """A form that was shown before the draft changed is refused, and keeps its entries for another try."""
    await dashboard.post("mapping/map", trait="nickname", to="preferred_name")

    stale = await dashboard.post("mapping/calls", revision="0", based_on="0", accept="type == 'identify'")

    assert stale.status_code == 409
    assert "changed in another window" in stale.text
    assert "type == &#39;identify&#39;" in stale.text
    shown = {name: hidden(stale.text, name) for name in ("revision", "based_on")}
    again = await dashboard.post("mapping/calls", **shown, accept="type == 'identify'")
    assert again.status_code == 303
    draft = draft_in((await dashboard.get("mapping/edit")).text)
    assert "nickname" in draft
    assert "accept: type == 'identify'" in draft


async def test_unreadable_draft_has_no_call_rules_to_edit(dashboard: Dashboard) -> None:
    """A draft that is no YAML is named, and the form cannot change it; an invalid option is shown at its field."""
    await dashboard.post("mapping/edit", draft="rules: {", based_on="0")
    page = await dashboard.get("mapping/calls")
    refused = await submit_call_rules(dashboard, accept="type == 'identify'")
    await dashboard.post("mapping/edit", draft="drop: [ssn]\nemail: {form: x}\n", based_on="0")
    invalid = (await dashboard.get("mapping/calls")).text
    saved = await submit_call_rules(dashboard, drop="ssn\r\npin")

    assert (page.status_code, refused.status_code) == (200, 422)
    assert "The form cannot change the mapping file" in page.text
    assert 'id="emails-error"' in invalid
    assert "did you mean from?" in invalid
    assert saved.status_code == 303
    assert "email: {form: x}" in (await dashboard.get("mapping/edit")).text


async def test_left_out_calls_are_counted_with_coverage(dashboard: Dashboard) -> None:
    """Calls that the call rules leave out are counted by reason next to the coverage, and on their own page."""
    assert "left out" not in said(await counted(dashboard))
    await applied(dashboard, "accept: traits.plan != 'test'\nconsent: {required_categories: [Ads]}\nrules: []\n")
    consents = {"consent": {"categoryPreferences": {"Ads": True}}}
    call = {"type": "identify", "traits": {"email": JOHN, "plan": "test"}}
    for context in ({}, consents, consents):
        await dashboard.service.client.post("/identify", json={**call, "context": context})

    await dashboard.until("mapping/coverage", "left out 3 calls: 2 by the condition, 1 without consent")
    figures = said((await dashboard.get("mapping/calls")).text)
    assert "Left out 2 by the condition Without consent 1 left out" in figures
