"""The receiving endpoints in the OpenAPI document."""

import pytest

from prosperstack_destination.ingest.openapi import add_schemas, describe


def test_no_model_takes_the_place_of_another() -> None:
    """Two models that are called the same would leave one of them undocumented."""
    document = {"components": {"schemas": {"MessageResponse": {"type": "object"}}}}

    with pytest.raises(ValueError, match="two models are called MessageResponse"):
        describe(document)
    assert document["components"]["schemas"]["MessageResponse"] == {"type": "object"}


def test_the_same_model_may_be_there() -> None:
    """Models have parts in common."""
    document = {"components": {"schemas": {"Part": {"type": "string"}}}}

    add_schemas(document, {"Part": {"type": "string"}, "Whole": {"type": "object"}})

    assert set(document["components"]["schemas"]) == {"Part", "Whole"}
