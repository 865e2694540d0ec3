"""Forms of API keys."""

import pytest

from prosperstack_destination.auth.api_keys import fingerprint, is_live_key, is_prosperstack_key, key_hash


@pytest.mark.parametrize(
    ("key", "is_key", "live"),
    [
        ("key_abc", True, True),
        ("key_test_abc", True, False),
        ("key_", False, True),
        ("KEY_abc", False, True),
        ("segment-1", False, True),
        ("key_" + "x" * 500, False, True),
    ],
)
def test_key_prefixes_name_the_mode(key: str, is_key: bool, live: bool) -> None:
    """The prefix identifies ProsperStack's keys, and their mode."""
    assert is_prosperstack_key(key) is is_key
    assert is_live_key(key) is live


def test_fingerprint_reveals_nothing_of_the_key() -> None:
    """A fingerprint is stable, differs between keys, names the mode, and contains nothing of the key."""
    assert fingerprint("key_test_abc") == fingerprint("key_test_abc")
    assert fingerprint("key_test_abc") != fingerprint("key_test_abd")
    assert fingerprint("key_test_abc").startswith("test-")
    assert fingerprint("key_abc").startswith("live-")
    assert key_hash("key_abc").startswith(fingerprint("key_abc").removeprefix("live-"))
