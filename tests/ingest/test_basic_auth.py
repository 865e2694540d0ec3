"""The key in the headers."""

import base64
import re

import pytest

from prosperstack_destination.errors import InvalidApiKey
from prosperstack_destination.ingest.basic_auth import basic_key


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    "header", [basic("key_1:"), basic("key_1"), basic(" key_1 :"), basic("key_1:x"), b"bAsIc a2V5XzE6"]
)
def test_the_key_is_the_user_name(header: bytes) -> None:
    """The user name of basic authentication is the key, whatever the password."""
    assert basic_key(header) == "key_1"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "The API key is missing"),
        (b"Bearer x", "not of the kind Basic"),
        (b"", "not of the kind Basic"),
        (b"Basic %%%", "not valid base64"),
        (b"Basic " + base64.b64encode(b"\xff\xff:"), "not valid base64"),
        (basic(":"), "The API key is empty"),
        (basic(""), "The API key is empty"),
        (basic("x" * 501), "too long"),
    ],
)
def test_what_is_no_key_says_what_is_wrong(header: bytes | None, reason: str) -> None:
    """A header without a key is refused with what is wrong with it."""
    with pytest.raises(InvalidApiKey, match=re.escape(reason)):
        basic_key(header)
