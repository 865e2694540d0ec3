"""Tests of the data of an account."""

import pytest

from prosperstack_destination.sandbox.seed import seed_account
from prosperstack_destination.sandbox.store import AccountData, Record, Refused

AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def account() -> AccountData:
    return seed_account(5, "1/0")


@pytest.fixture
def john(account: AccountData) -> Record:
    return next(account.subscribers.after(0, "John.Doe@Example.com"))


def update(account: AccountData, record: Record, properties: dict[str, object]) -> None:
    account.update(account.subscribers, "subscriber", record_id=record.fields["id"], properties=properties, at=AT)


def test_invalid_value_rejects_the_update(account: AccountData, john: Record) -> None:
    """One invalid value rejects the whole update, and is named."""
    before = john.shown()

    with pytest.raises(Refused, match="number_of_contacts: must be a number"):
        update(account, john, {"preferred_name": "Johnny", "number_of_contacts": "many"})
    assert john.shown() == before


def test_update_without_change_sets_updated_at(account: AccountData, john: Record) -> None:
    """Every accepted update sets updated_at, even one that changes no value."""
    update(account, john, {"preferred_name": "John"})

    assert john.shown()["updated_at"] == AT


def test_property_belongs_to_its_entity(account: AccountData, john: Record) -> None:
    """Subscribers and subscriptions have separate properties, even with equal keys."""
    with pytest.raises(Refused, match="seats"):
        update(account, john, {"seats": 3})

    account.create_property("prop_seats", "seats", "Seats", "subscriber", "text", None)
    update(account, john, {"seats": "three"})
    with pytest.raises(Refused) as refused:
        account.create_property("prop_again", "seats", "Seats", "subscriber", "text", None)
    assert refused.value.status == 409


def test_deleted_subscriber_has_no_subscriptions(account: AccountData, john: Record) -> None:
    """A deleted subscriber and their subscriptions are not found; the others stay."""
    account.delete_subscriber(john.fields["id"])

    assert list(account.subscribers.after(0, john.fields["email"])) == []
    assert list(account.subscriptions.after(0, subscriber_id=john.fields["id"])) == []
    assert len(account.subscribers) == len(account.subscriptions) == 4
    with pytest.raises(Refused) as refused:
        account.delete_subscriber(john.fields["id"])
    assert refused.value.status == 404


def test_filters_are_combined(account: AccountData, john: Record) -> None:
    """A list has the records that match all filters, with or without an index."""
    fields = john.fields
    found = account.subscribers.after(
        0, fields["email"], platform_id=fields["platform_id"], status=fields["status"]
    )

    assert list(found) == [john]
    assert list(account.subscribers.after(0, fields["email"], platform_id="cus_other")) == []
    assert list(account.subscribers.after(john.number, fields["email"])) == []
