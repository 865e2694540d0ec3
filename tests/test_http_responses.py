"""The headers that keep answers safe in browsers."""

from prosperstack_destination.http_responses import with_security_headers


def test_what_an_answer_says_itself_is_not_said_twice() -> None:
    """Its own headers stay as they are, and in their order; what it leaves out comes after them."""
    own = [(b"cache-control", b"max-age=60"), (b"content-type", b"text/html"), (b"set-cookie", b"a=b")]

    headers = with_security_headers([*own, (b"set-cookie", b"c=d")])

    assert headers[:4] == [*own, (b"set-cookie", b"c=d")]
    assert [name for name, _ in headers[4:]] == [b"x-content-type-options", b"referrer-policy", b"x-frame-options"]


def test_prepared_headers_are_left_as_they_are() -> None:
    """Headers of an answer that was prepared once are not looked through again."""
    prepared = with_security_headers([(b"content-type", b"application/json")])

    assert len(prepared) == 6
    assert with_security_headers(prepared) is prepared
