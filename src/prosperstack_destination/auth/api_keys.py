"""Keys as we hold them: never in clear, found by a hash, told apart by a fingerprint."""

import hashlib
from typing import Final

#: How ProsperStack's keys begin; test mode's are told by the longer prefix.
KEY_PREFIX: Final = "key_"
TEST_KEY_PREFIX: Final = "key_test_"
#: How issued keys begin, so that none is taken for a ProsperStack key; and those of them that are public.
ISSUED_PREFIX: Final = "psd_"
PUBLIC_PREFIX: Final = "psp_"
#: A longer text is no key of anybody's, in characters.
MAX_KEY_LENGTH: Final = 500


def is_prosperstack_key(key: str) -> bool:
    """Whether a text has the form of a ProsperStack key."""
    return key.startswith(KEY_PREFIX) and len(KEY_PREFIX) < len(key) <= MAX_KEY_LENGTH


def is_public_key(key: str) -> bool:
    """Whether a text has the form of a public key, which web pages and apps show."""
    return key.startswith(PUBLIC_PREFIX)


def is_live_key(key: str) -> bool:
    """Whether a ProsperStack key is of live mode (test mode is an account of its own)."""
    return not key.startswith(TEST_KEY_PREFIX)


def key_hash(key: str) -> str:
    """What a key is found by. Keys are long and random, so that a plain SHA-256 does not give them away."""
    return hashlib.sha256(key.encode()).hexdigest()


def fingerprint(key: str) -> str:
    """The short form for people and logs, as in ``test-9f86d081``; it tells nothing of the key itself."""
    mode = "" if not is_prosperstack_key(key) else "live-" if is_live_key(key) else "test-"
    return mode + key_hash(key)[:8]
