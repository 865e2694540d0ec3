"""Tests of the generated data."""

import re

from prosperstack_destination.sandbox.seed import seed_account


def test_equal_seeds_give_equal_data() -> None:
    """Two accounts of one seed are equal; that of another seed differs."""
    one, two, other = (seed_account(20, seed).subscribers for seed in ("1/0", "1/0", "2/0"))

    assert [each.shown() for each in one.after(0)] == [each.shown() for each in two.after(0)]
    assert [each.shown() for each in one.after(0)] != [each.shown() for each in other.after(0)]


def test_generated_data_has_the_documented_forms() -> None:
    """IDs have the documented forms, emails are of example.com, and each subscriber has one subscription."""
    account = seed_account(300, "1/0")
    for subscriber, subscription in zip(account.subscribers.after(0), account.subscriptions.after(0), strict=True):
        assert re.fullmatch("subr_[A-Za-z0-9]{24}", subscriber.fields["id"])
        assert re.fullmatch("cus_[A-Za-z0-9]{14}", subscriber.fields["platform_id"])
        assert re.fullmatch("subn_[A-Za-z0-9]{24}", subscription.fields["id"])
        assert subscriber.fields["email"].endswith("@example.com")
        assert subscription.fields["subscriber_id"] == subscriber.fields["id"]


def test_one_in_two_hundred_emails_is_shared() -> None:
    """One in 200 subscribers has the email of another; a third have values."""
    subscribers = list(seed_account(1000, "1/0").subscribers.after(0))

    assert len(subscribers) - len({each.fields["email"] for each in subscribers}) == 5
    assert 250 < sum(bool(each.values) for each in subscribers) < 420
    few = list(seed_account(199, "1/0").subscribers.after(0))
    assert len({each.fields["email"] for each in few}) == 199


def test_account_may_have_no_subscribers() -> None:
    """An account without subscribers has the properties, too."""
    account = seed_account(0, "1/0")

    assert len(account.subscribers) == 0
    assert len(account.properties) == 5
