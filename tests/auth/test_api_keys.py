"""Keys as they are held."""

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
def test_the_forms_of_keys(key: str, is_key: bool, live: bool) -> None:
    """ProsperStack's keys are told by their prefix, and so is their mode."""
    assert is_prosperstack_key(key) is is_key
    assert is_live_key(key) is live


def test_a_fingerprint_tells_keys_apart_and_nothing_else() -> None:
    """A fingerprint is stable, differs between keys, names the mode, and has nothing of the key."""
    assert fingerprint("key_test_abc") == fingerprint("key_test_abc")
    assert fingerprint("key_test_abc") != fingerprint("key_test_abd")
    assert fingerprint("key_test_abc").startswith("test-")
    assert fingerprint("key_abc").startswith("live-")
    assert key_hash("key_abc").startswith(fingerprint("key_abc").removeprefix("live-"))
