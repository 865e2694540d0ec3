"""Specs of the destinations that the service creates in Segment."""

import pytest

from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.segment_api.destination_specs import SPECS, send_action, webhook_url
from prosperstack_destination.segment_api.models import Action, CatalogEntry
from prosperstack_destination.store.segment_connections import ConnectionKind


@pytest.mark.parametrize(
    ("public_url", "url"),
    [
        ("https://destination.example.com", "https://destination.example.com/webhook/acct_1"),
        (" https://destination.example.com/ ", "https://destination.example.com/webhook/acct_1"),
        ("https://example.com:8443/below/", "https://example.com:8443/below/webhook/acct_1"),
        ("https://8.8.8.8", "https://8.8.8.8/webhook/acct_1"),
    ],
)
def test_webhook_url_is_below_the_public_url(public_url: str, url: str) -> None:
    """An account's calls are posted to a path below the public URL."""
    assert webhook_url(public_url, "acct_1") == url


@pytest.mark.parametrize(
    ("public_url", "why"),
    [
        ("", "does not begin with https"),
        ("destination.example.com", "does not begin with https"),
        ("http://destination.example.com", "is not HTTPS"),
        ("https://", "does not begin with https:// and a host"),
        ("https://localhost:8700", "localhost is within a network of your own"),
        ("https://127.0.0.1:8700", "127.0.0.1 is within a network of your own"),
        ("https://[::1]", "::1 is within a network of your own"),
        ("https://10.0.0.5", "within a network of your own"),
        ("https://[broken", "is not a URL"),
        ("https://example.com:port", "is not a URL"),
        ("https://destination", "within a network of your own"),
        ("https://destination.internal", "within a network of your own"),
        ("https://user@example.com", "more than a host and a path"),
        ("https://:secret@example.com", "more than a host and a path"),
        ("https://example.com/?x=1", "more than a host and a path"),
        ("https://example.com/#there", "more than a host and a path"),
        ("javascript:alert(1)", "does not begin with https"),
    ],
)
def test_unreachable_url_is_refused_with_a_reason(public_url: str, why: str) -> None:
    """A URL that is not reached from the internet, over HTTPS, is refused with the reason and what is wanted."""
    with pytest.raises(InvalidInput, match=rf"Segment cannot post to .*{why}.*https://destination.example.com"):
        webhook_url(public_url, "acct_1")


def test_entry_matches_by_slug_or_id() -> None:
    """A kind of destination is found by its slug or by its id, and others are not."""
    spec = SPECS[ConnectionKind.WEBHOOK]

    assert spec.matches_entry(CatalogEntry(id="x", slug="actions-webhook"))
    assert spec.matches_entry(CatalogEntry(id="614a3c7d791c91c41bae7599", slug="webhooks-actions"))
    assert not spec.matches_entry(CatalogEntry(id="x", slug="webhooks"))


def test_send_action_is_found_by_slug_or_alone() -> None:
    """A webhook's action is found by its slug, or is its only one."""
    send, other = Action(id="1", slug="send"), Action(id="2", slug="other")

    assert send_action(CatalogEntry(id="x", actions=(other, send))) == send
    assert send_action(CatalogEntry(id="x", actions=(other,))) == other
    assert send_action(CatalogEntry(id="x", actions=(other, other))) is None
    assert send_action(CatalogEntry(id="x")) is None
