"""Coverage by the API."""

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_coverage(api: httpx.AsyncClient) -> None:
    """What feeds a property and where a trait goes, with the likeliest property for one that goes nowhere."""
    found = (await api.get("coverage")).json()

    contacts = next(each for each in found["properties"] if each["property"] == "number_of_contacts")
    loose = next(each for each in found["traits"] if each["trait"] == "contactCount")
    assert (found["profiles"], contacts["problems"], contacts["filled"]) == (1, 1, 0)
    assert (loose["feeds"], loose["likeliest"], loose["type"]) == ([], "number_of_contacts", "number")
