"""The sandbox that examples are tried on: what ``make run`` and ``sandbox`` use, so that ``send`` finds it."""

from typing import Final

SANDBOX_PORT: Final = 8701
SANDBOX_KEY: Final = "key_test_sandbox"
