"""The example of ProsperStack's documentation: four custom traits, nested as its page nests them."""

from typing import Final

from pydantic import JsonValue

DOCUMENTED_EMAIL: Final = "john.doe@example.com"
DOCUMENTED_CALL: Final[dict[str, JsonValue]] = {
    "type": "identify",
    "userId": "userId123",
    "traits": {
        "email": DOCUMENTED_EMAIL,
        "traits": {
            "Number of contacts": 5800,
            "Is professional": True,
            "Last contacted": "2021-05-04",
            "Preferred name": "Johnny",
        },
    },
}
