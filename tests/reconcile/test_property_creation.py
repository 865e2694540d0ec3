"""Creation of missing properties."""

from pathlib import Path
from typing import Any

import pytest

from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coverage import TraitCoverage
from prosperstack_destination.reconcile.property_creation import NewProperty, missing_audiences, missing_traits
from support.operators import issued, operator
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"


def seen(trait: str, kind: PropertyType | None, *feeds: str, audience: bool = False) -> TraitCoverage:
    return TraitCoverage(trait, 1, feeds, None, 0, kind, None, audience)


def test_unmapped_audience_gets_a_boolean_property() -> None:
    """An unmapped audience gets a boolean property, with the key that ProsperStack would derive."""
    assert list(missing_audiences(["vip", "Big spenders", "known", "!!!"], {"known"})) == [
        NewProperty("big_spenders", "Big spenders", PropertyType.BOOLEAN, "Big spenders"),
        NewProperty("vip", "Vip", PropertyType.BOOLEAN, "vip"),
    ]


def test_unmapped_trait_gets_a_property_of_its_type() -> None:
    """An unmapped trait with values of one type gets a property, unless it identifies a person."""
    traits = [
        seen("seatCount", PropertyType.NUMBER),
        seen("plan", PropertyType.TEXT, "plan"),
        seen("email", PropertyType.TEXT),
        seen("address", None),
        seen("vip", PropertyType.TEXT, audience=True),
        seen("tried", PropertyType.TEXT),
    ]

    assert [(each.key, each.name, each.type) for each in missing_traits(traits, {"tried"})] == [
        ("seat_count", "seatCount", PropertyType.NUMBER),
        ("vip", "Vip", PropertyType.BOOLEAN),
    ]


def created(service: Service) -> dict[str, str]:
    """Return the properties of subscribers in the sandbox that its documented example does not have."""
    every = service.account().data.properties.values()
    return {each.key: each.type for each in every if each.entity == "subscriber" and each.number > 5}


def engage(key: str, computation: str, value: Any) -> dict[str, Any]:
    personas = {"computation_class": computation, "computation_key": key, "namespace": "users"}
    return {"type": "identify", "context": {"personas": personas}, "traits": {"email": JOHN, key: value}}


async def test_missing_properties_are_created(tmp_path: Path) -> None:
    """Where the mapping asks for it a property is created and filled from stored traits; each is tried once."""
    async with running(settings(tmp_path)) as service:
        await service.client.post("/identify", json=engage("big_spenders", "audience", True))
        await service.identify(JOHN, plan_name="pro", orders=[1], number_of_contacts=1)
        async with operator(service, await issued(tmp_path)) as api:
            await api.put("mapping", json={"based_on": 0, "mapping": {"create_missing": "audiences"}})
            await service.until(lambda: service.values(JOHN)[0].get("big_spenders") is True)
            assert created(service) == {"big_spenders": "boolean"}

            await api.put("mapping", json={"based_on": 1, "mapping": {"create_missing": "traits"}})
            await service.until(lambda: service.values(JOHN)[0].get("plan_name") == "pro")
            assert created(service) == {"big_spenders": "boolean", "plan_name": "text"}

        counts = await service.asked()
        assert counts["POST /v1/properties 201"] == 2


async def test_existing_property_counts_as_created(tmp_path: Path) -> None:
    """A property that was created elsewhere meanwhile is used; a rejected one is not tried again."""
    async with running(settings(tmp_path)) as service:
        await service.identify(JOHN, number_of_contacts=1)
        await service.until(lambda: service.values(JOHN)[0]["number_of_contacts"] == 1)
        service.account().data.create_property("prop_x", "vip", "Very important", "subscriber", "boolean", None)
        await service.client.post("/identify", json=engage("vip", "audience", True))
        async with operator(service, await issued(tmp_path)) as api:
            await api.put("mapping", json={"based_on": 0, "mapping": {"create_missing": "audiences"}})
            await service.until(lambda: service.values(JOHN)[0].get("vip") is True)
