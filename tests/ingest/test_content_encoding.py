"""Compressed bodies."""

import asyncio
import gzip
import zlib
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.errors import CallTooLarge, InvalidCall, UnsupportedEncoding
from prosperstack_destination.ingest.content_encoding import decompress, read_content

LIMIT = 500_000


def raw_deflate(content: bytes) -> bytes:
    """Deflate without zlib's header."""
    return zlib.compress(content, wbits=-zlib.MAX_WBITS)


def read(body: bytes, encoding: str, limit: int = LIMIT, array_limit: int | None = None) -> bytes:
    """The content of a request with this body and encoding."""

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body}

    return asyncio.run(read_content(receive, {b"content-encoding": encoding.encode()}, limit, array_limit))


@given(st.binary(max_size=500))
def test_each_coding_is_undone(content: bytes) -> None:
    """Gzip, in one member or several, and deflate, with zlib's header or raw, come back as they were."""
    assert decompress(gzip.compress(content), "gzip", LIMIT) == content
    assert decompress(gzip.compress(content) + gzip.compress(b"more"), "gzip", LIMIT) == content + b"more"
    assert decompress(zlib.compress(content), "deflate", LIMIT) == content
    assert decompress(raw_deflate(content), "deflate", LIMIT) == content


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip ", "gzip, identity"])
def test_names_of_gzip(encoding: str) -> None:
    """A coding is known in any case, and beside the one that does nothing."""
    assert read(gzip.compress(b"{}"), encoding) == b"{}"
    assert read(b"{}", "identity") == b"{}"
    assert read(b"{}", "") == b"{}"


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "deflate, br", "utf-8"])
def test_other_codings_are_named(encoding: str) -> None:
    """A coding that is not understood is refused by its name, before the body is read."""
    with pytest.raises(UnsupportedEncoding, match=encoding) as caught:
        read(b"{}", encoding)

    assert caught.value.encoding == encoding


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, raw_deflate])
def test_a_bomb_is_not_inflated(compress: Any) -> None:
    """What inflates past the limit is refused as soon as it does; the limit itself is within."""
    encoding = "gzip" if compress is gzip.compress else "deflate"

    with pytest.raises(CallTooLarge):
        read(compress(b"0" * 50_000_000), encoding)
    with pytest.raises(CallTooLarge):
        read(compress(b"x" * 1001), encoding, 1000)
    assert read(compress(b"x" * 1000), encoding, 1000) == b"x" * 1000


def test_members_together_keep_to_the_limit() -> None:
    """Several members of gzip may have what one may have, and there may not be any number of them."""
    member = gzip.compress(b"x" * 600)

    with pytest.raises(CallTooLarge):
        decompress(member + member, "gzip", 1000)
    with pytest.raises(InvalidCall, match="goes on after its end"):
        decompress(gzip.compress(b"") * 100, "gzip", 1000)


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"{}", "gzip", "not valid gzip"),
        (b"\xff\xff", "deflate", "not valid deflate"),
        (b"", "gzip", "its end is missing"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-10], "gzip", "its end is missing"),
        (zlib.compress(b"x" * 1000)[:-6], "deflate", "its end is missing"),
        (gzip.compress(b"{}", mtime=0) + b"{}", "gzip", "not valid gzip"),
        (zlib.compress(b"{}") + b"{}", "deflate", "goes on after its end"),
    ],
)
def test_what_is_not_compressed_as_it_says(body: bytes, encoding: str, reason: str) -> None:
    """A body of another coding, cut off, or with something after its end, is refused in words."""
    with pytest.raises(InvalidCall, match=reason):
        read(body, encoding)


def test_an_array_has_a_limit_of_its_own() -> None:
    """A compressed array may have what an array may have, another body what an event may have."""
    array, one = b'[{"a": 1}' + b" " * 1000 + b"]", b'{"a": 1' + b" " * 1000 + b"}"

    assert read(gzip.compress(array), "gzip", 100, 2000) == array
    with pytest.raises(CallTooLarge):
        read(gzip.compress(one), "gzip", 100, 2000)
    with pytest.raises(CallTooLarge):
        read(gzip.compress(array), "gzip", 100, 500)
