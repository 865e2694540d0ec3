"""One account's data."""

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


def test_a_value_at_fault_keeps_the_others_out(account: AccountData, john: Record) -> None:
    """One bad value rejects the whole update, and is named."""
    before = john.shown()

    with pytest.raises(Refused, match="number_of_contacts: must be a number"):
        update(account, john, {"preferred_name": "Johnny", "number_of_contacts": "many"})
    assert john.shown() == before


def test_an_update_without_a_change_moves(account: AccountData, john: Record) -> None:
    """Every update that is accepted moves updated_at, also one that sets what was there."""
    update(account, john, {"preferred_name": "John"})

    assert john.shown()["updated_at"] == AT


def test_a_property_belongs_to_its_entity(account: AccountData, john: Record) -> None:
    """A subscription's property is none of a subscriber's, though both may have one of the same key."""
    with pytest.raises(Refused, match="seats"):
        update(account, john, {"seats": 3})

    account.create_property("prop_seats", "seats", "Seats", "subscriber", "text", None)
    update(account, john, {"seats": "three"})
    with pytest.raises(Refused) as refused:
        account.create_property("prop_again", "seats", "Seats", "subscriber", "text", None)
    assert refused.value.status == 409


def test_a_subscriber_goes_with_their_subscriptions(account: AccountData, john: Record) -> None:
    """Nothing finds a subscriber who was deleted, or what was theirs; the others stay."""
    account.delete_subscriber(john.fields["id"])

    assert list(account.subscribers.after(0, john.fields["email"])) == []
    assert list(account.subscriptions.after(0, subscriber_id=john.fields["id"])) == []
    assert len(account.subscribers) == len(account.subscriptions) == 4
    with pytest.raises(Refused) as refused:
        account.delete_subscriber(john.fields["id"])
    assert refused.value.status == 404


def test_filters_are_met_together(account: AccountData, john: Record) -> None:
    """A list has the records that meet all of its filters, whether they are indexed or not."""
    fields = john.fields
    found = account.subscribers.after(
        0, fields["email"], platform_id=fields["platform_id"], status=fields["status"]
    )

    assert list(found) == [john]
    assert list(account.subscribers.after(0, fields["email"], platform_id="cus_other")) == []
    assert list(account.subscribers.after(john.number, fields["email"])) == []
