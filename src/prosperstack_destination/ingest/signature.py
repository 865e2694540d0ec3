"""The signature of Segment's Webhooks (Actions) destination."""

import hmac
from collections.abc import Iterable, Sequence

from prosperstack_destination.errors import InvalidApiKey


def sign(text: bytes, secret: str) -> str:
    """Return the hex HMAC-SHA1 of a text, as Segment makes it.

    Segment signs the body, and of an array the first event's own text; an array may be signed as a whole as well.
    """
    return hmac.digest(secret.encode(), text, "sha1").hex()


def verify(signature: bytes, texts: Sequence[bytes], secrets: Iterable[str]) -> str:
    """Return the secret that signed one of these texts; each that may have is tried, in constant time.

    Raises `InvalidApiKey` where none has.
    """
    given = signature.strip().lower()
    made_it = [
        secret for secret in secrets for text in texts if hmac.compare_digest(given, sign(text, secret).encode())
    ]
    if not made_it:
        raise InvalidApiKey(
            "X-Signature does not match the body: check that the shared secret in Segment is one of this account's."
        )
    return made_it[0]
