"""The call of ProsperStack's documentation, which examples and tests are made of."""

from typing import Final

from pydantic import JsonValue

DOCUMENTED_EMAIL: Final = "john.doe@example.com"
#: Four custom traits, one of each type.
DOCUMENTED_TRAITS: Final[dict[str, JsonValue]] = {
    "Number of contacts": 5800,
    "Is professional": True,
    "Last contacted": "2021-05-04",
    "Preferred name": "Johnny",
}
#: They are nested, as the documentation nests them.
DOCUMENTED_CALL: Final[dict[str, JsonValue]] = {
    "type": "identify",
    "userId": "userId123",
    "traits": {"email": DOCUMENTED_EMAIL, "traits": DOCUMENTED_TRAITS},
}
