"""Tests of the API of coverage."""

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_coverage_shows_causes_and_likely_properties(api: httpx.AsyncClient) -> None:
    """Coverage has the traits of each property, and the likeliest property of an unmapped trait."""
    found = (await api.get("coverage")).json()

    contacts = next(each for each in found["properties"] if each["property"] == "number_of_contacts")
    loose = next(each for each in found["traits"] if each["trait"] == "contactCount")
    assert (found["profiles"], contacts["problems"], contacts["filled"]) == (1, 1, 0)
    assert (loose["feeds"], loose["likeliest"], loose["type"]) == ([], "number_of_contacts", "number")
