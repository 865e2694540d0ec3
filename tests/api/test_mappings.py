"""Tests of the API of mappings."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.clock import SECOND, system_clock
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.service import Service

pytestmark = pytest.mark.anyio

RULE = {"property": "preferred_name", "from": "traits.nickname", "upper": True}
JOHN = "john.doe@example.com"


async def applied(api: httpx.AsyncClient, based_on: int, **proposed: Any) -> httpx.Response:
    return await api.put("mapping", json={"based_on": based_on, **proposed})


async def test_mapping_is_previewed_applied_and_rolled_back(service: Service, api: httpx.AsyncClient) -> None:
    """A mapping is previewed, applied to stored profiles, shown with its author, and rolled back."""
    empty = (await api.get("mapping")).json()
    preview = (await api.post("mapping/preview", json={"mapping": {"rules": [RULE]}})).json()
    put = await applied(api, 0, mapping={"rules": [RULE]}, note="louder")
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "JO")
    shown = (await api.get("mapping")).json()

    assert (empty["version"], empty["mapping"], empty["applied_at"]) == (0, {"rules": []}, None)
    assert (preview["changed"], preview["by_property"]) == (1, {"preferred_name": 1})
    assert preview["examples"] == [
        {"email": JOHN, "before": {"preferred_name": None}, "after": {"preferred_name": "JO"}}
    ]
    assert (preview["requests_per_minute"], preview["exact"]) == (90, True)
    assert put.json() == {"version": 1, "changed": True, "profiles": 1}
    assert (shown["author"], shown["note"], shown["mapping"]["rules"][0]["clean"]) == ("ann", "louder", ["upper"])
    assert "from: traits.nickname" in shown["yaml"]

    back = await api.post("mapping/rollback", json={"version": 0, "based_on": 1})
    assert back.json()["version"] == 2
    history = (await api.get("mapping/history")).json()
    assert [(each["version"], each["note"]) for each in history] == [(2, "back to version 0"), (1, "louder")]
    assert (await api.get("mapping?version=1")).json()["mapping"] == shown["mapping"]
    assert (await api.get("mapping?version=9")).status_code == 404
    progress = (await api.get("mapping/progress")).json()
    while progress["finished_at"] is None:
        progress = (await api.get("mapping/progress")).json()
    assert (progress["total"], progress["done"]) == (1, 1)


async def test_mapping_file_keeps_its_comments(api: httpx.AsyncClient) -> None:
    """The text of a mapping file is stored and returned unchanged."""
    text = "# why\nrules:\n  - property: preferred_name\n    from: traits.nickname\n"

    assert (await applied(api, 0, yaml=text)).status_code == 200
    assert (await api.get("mapping")).json()["yaml"] == text


async def test_second_operator_gets_a_conflict(api: httpx.AsyncClient) -> None:
    """The second operator gets the current version and its author; nothing is applied."""
    await applied(api, 0, mapping={"rules": [RULE]})
    refused = await applied(api, 0, mapping={})
    rolled = await api.post("mapping/rollback", json={"version": 0, "based_on": 0})

    assert (refused.status_code, refused.json()["version"], rolled.status_code) == (409, 1, 409)
    assert "applied by ann" in refused.json()["message"]
    assert (await api.get("mapping")).json()["version"] == 1


@pytest.mark.parametrize(
    ("proposed", "key", "line", "said"),
    [
        ({"yaml": "rules:\n  - property: plan\n    form: x"}, "rules[0].form", 3, "did you mean from?"),
        (
            {"mapping": {"rules": [{**RULE, "property": "prefered_name"}]}},
            "rules[0].property",
            None,
            "preferred_name?",
        ),
        ({"mapping": {"rules": [{**RULE, "from": "nickname"}]}}, "rules[0].from", None, "traits.nickname"),
        ({"yaml": "a: b: c"}, "", 1, "the text is not YAML"),
    ],
)
async def test_faults_have_key_line_and_correction(
    api: httpx.AsyncClient, proposed: dict[str, Any], key: str, line: int | None, said: str
) -> None:
    """Each fault of a mapping has its key, its line and a correction."""
    refused = await applied(api, 0, **proposed)

    assert refused.status_code == 422
    faults = [each for each in refused.json()["faults"] if each["key"] == key]
    assert faults
    assert (faults[0]["line"], said in faults[0]["message"]) == (line, True)


async def test_check_applies_nothing(api: httpx.AsyncClient) -> None:
    """A check applies nothing; rules for unknown properties are listed."""
    waiting = {"mapping": {"rules": [{**RULE, "property": "soon"}]}}

    checked = (await api.post("mapping/check", json=waiting)).json()
    assert (checked["rules"], checked["unknown"][0]["key"]) == (1, "rules[0].property")
    assert (await applied(api, 0, **waiting, allow_unknown=True)).status_code == 200
    assert (await api.post("mapping/check", json={})).status_code == 422
    assert (await api.post("mapping/check", json={"yaml": "x" * 1_100_000})).status_code == 413


async def test_schema_needs_no_token(service: Service) -> None:
    """Editors get the JSON Schema of mapping files without a token."""
    schema = (await service.client.get("/api/mapping.schema.json", auth=None)).json()

    assert "rules" in schema["properties"]


async def test_trial_applies_nothing(api: httpx.AsyncClient) -> None:
    """A trial compares the mapping with the current one for one person, and applies nothing."""
    rule = {"property": "preferred_name", "from": "traits.nickname", "max_length": 1}
    tried = (await api.post("mapping/try", json={"mapping": {"rules": [rule]}, "email": "john"})).json()
    somebody = (await api.post("mapping/try", json={"mapping": {"rules": [rule]}})).json()
    nobody = await api.post("mapping/try", json={"mapping": {"rules": [rule]}, "email": "zoe@example.com"})

    rows = {each["property"]: each for each in tried["properties"]}
    assert (tried["email"], tried["context"]["traits"]["nickname"]) == (JOHN, "Jo")
    assert (rows["preferred_name"]["before"], rows["preferred_name"]["after"]) == (None, "J")
    assert rows["preferred_name"]["differs"]
    assert "is not a number" in rows["number_of_contacts"]["before_problem"]
    assert somebody["email"] == JOHN
    assert nobody.status_code == 404
    assert (await api.get("mapping")).json()["version"] == 0


async def test_increase_of_problems_needs_confirmation(service: Service, api: httpx.AsyncClient) -> None:
    """A mapping with more problems is applied only if that is allowed."""
    await service.identify(JOHN, plan="pro", is_professional=True)
    mapping = {"rules": [{"property": "is_professional", "trait": "plan"}]}

    preview = (await api.post("mapping/preview", json={"mapping": mapping})).json()
    refused = await applied(api, 0, mapping=mapping)
    done = await applied(api, 0, mapping=mapping, allow_problems=True)

    assert (preview["problems_before"], preview["problems_after"]) == (0, 1)
    [example] = preview["examples"]
    assert (example["before"], example["after"]) == ({"is_professional": True}, {})
    assert refused.status_code == 409
    assert "problems rise from 0 to 1" in refused.json()["message"]
    assert (done.status_code, done.json()["version"]) == (200, 1)


async def test_unknown_property_refreshes_the_catalog(
    tmp_path: Path, service: Service, api: httpx.AsyncClient
) -> None:
    """A mapping with an unknown property lists the properties again, at most once in 10 s."""
    account_id, listed = api.base_url.path.split("/")[3], "GET /v1/properties 200"
    await service.until(lambda: bool(service.values(JOHN)[0]))
    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    await database.write(accounts.set_catalog, account_id, "[]", system_clock() - 60 * SECOND)
    await database.close()
    made = {"key": "brand_new", "name": "Brand new", "type": "text", "entity": "subscriber"}
    created = await service.sandbox.post("properties", json=made)
    before = (await service.asked())[listed]

    async def check(key: str) -> list[dict[str, Any]]:
        mapping = {"rules": [{"property": key, "from": "traits.x"}]}
        found: list[dict[str, Any]] = (await api.post("mapping/check", json={"mapping": mapping})).json()["unknown"]
        return found

    known, wrong, again = await check("brand_new"), await check("brand_ne"), await check("brand_ne")

    assert created.is_success
    assert known == []
    assert "did you mean brand_new? (its properties were listed" in wrong[0]["message"]
    assert again[0]["key"] == "rules[0].property"
    assert (await service.asked())[listed] - before == 1
