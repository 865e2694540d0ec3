"""Forms of API keys and tokens. Keys are never stored in clear: a hash finds a key, a fingerprint names it."""

import hashlib
from typing import Final

#: Prefix of ProsperStack's keys; those of test mode have the longer one.
KEY_PREFIX: Final = "key_"
TEST_KEY_PREFIX: Final = "key_test_"
#: Prefix of issued keys, so that none is taken for a ProsperStack key; and of the public ones among them.
ISSUED_PREFIX: Final = "psd_"
PUBLIC_PREFIX: Final = "psp_"
#: Prefixes of connector tokens and operator tokens, so that none is taken for a key.
CONNECTOR_TOKEN_PREFIX: Final = "psc_"  # noqa: S105 -- a prefix, not a token
OPERATOR_TOKEN_PREFIX: Final = "pso_"  # noqa: S105 -- a prefix, not a token
#: Prefixes of all keys and tokens, which logs hide.
CREDENTIAL_PREFIXES: Final = (
    KEY_PREFIX,
    ISSUED_PREFIX,
    PUBLIC_PREFIX,
    CONNECTOR_TOKEN_PREFIX,
    OPERATOR_TOKEN_PREFIX,
)
#: Longest possible key, in characters.
MAX_KEY_LENGTH: Final = 500


def is_prosperstack_key(key: str) -> bool:
    """Return whether a text has the form of a ProsperStack key."""
    return key.startswith(KEY_PREFIX) and len(KEY_PREFIX) < len(key) <= MAX_KEY_LENGTH


def is_public_key(key: str) -> bool:
    """Return whether a text has the form of a public key, which web pages and apps contain."""
    return key.startswith(PUBLIC_PREFIX)


def is_live_key(key: str) -> bool:
    """Return whether a ProsperStack key is of live mode (test mode is an account of its own)."""
    return not key.startswith(TEST_KEY_PREFIX)


def key_hash(key: str) -> str:
    """Return the hash that finds a key. Keys are long and random, so a plain SHA-256 does not reveal them."""
    return hashlib.sha256(key.encode()).hexdigest()


def fingerprint(key: str) -> str:
    """Return the short form for people and logs, e.g. ``test-9f86d081``; it reveals nothing of the key."""
    mode = "" if not is_prosperstack_key(key) else "live-" if is_live_key(key) else "test-"
    return mode + key_hash(key)[:8]
