"""The signature of Segment's Webhooks (Actions) destination."""

import hmac
from collections.abc import Iterable

from prosperstack_destination.errors import KeyRefused


def sign(text: bytes, secret: str) -> str:
    """Hex HMAC-SHA1, as Segment makes it: of the body, or of the first event's own text for an array."""
    return hmac.digest(secret.encode(), text, "sha1").hex()


def verify(signature: bytes, text: bytes, secrets: Iterable[str]) -> str:
    """The secret that made a signature; every one that may have is tried, in constant time.

    Raises `KeyRefused` where none has.
    """
    given = signature.lower()
    made_it = [secret for secret in secrets if hmac.compare_digest(given, sign(text, secret).encode())]
    if not made_it:
        raise KeyRefused(
            "X-Signature does not match the body: check that the shared secret in Segment is one of this account's."
        )
    return made_it[0]
