"""The signature of Segment's Webhooks (Actions) destination."""

import hmac
from collections.abc import Iterable

from prosperstack_destination.errors import KeyRefused


def sign(text: bytes, secret: str) -> str:
    """Hex HMAC-SHA1, as Segment makes it: of the body, or of the first event's own text for an array."""
    return hmac.digest(secret.encode(), text, "sha1").hex()


def verify(signature: bytes, text: bytes, secrets: Iterable[str]) -> None:
    """Check a signature against every secret that may have made it, in constant time.

    Raises `KeyRefused` where none has.
    """
    matches = [hmac.compare_digest(signature.lower(), sign(text, secret).encode()) for secret in secrets]
    if not any(matches):
        raise KeyRefused(
            "X-Signature does not match the body: check that the shared secret in Segment is one of this account's."
        )
