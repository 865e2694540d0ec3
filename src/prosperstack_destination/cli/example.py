"""What examples are made of: the call of ProsperStack's documentation, and the sandbox that it is tried on."""

from typing import Final

from pydantic import JsonValue

DOCUMENTED_EMAIL: Final = "john.doe@example.com"
#: Four custom traits, nested as the documentation nests them.
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

#: What ``make run`` and ``sandbox`` use, so that ``send`` finds them.
SANDBOX_PORT: Final = 8701
SANDBOX_KEY: Final = "key_test_sandbox"
