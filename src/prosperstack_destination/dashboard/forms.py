"""What a form sent, within bounds."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.storable import storable_text

#: The most that a form may have: a mapping file of the largest size, encoded. In bytes.
MOST_BYTES: Final = 2 * 1024 * 1024
MOST_FIELDS: Final = 1_000

Form = Mapping[str, str]


async def read_form(request: Request, most_bytes: int = MOST_BYTES) -> Form:
    """The fields of a form; of those with the same name, the last. Raises `BadCall` where it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise InvalidCall(f"The form has more than {most_bytes // 1024:,} KB.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError:
        raise InvalidCall("The form cannot be read: go back, reload the page, and try again.") from None
    return {name: storable_text(content) for name, content in pairs}
