"""Generated data of an account. Equal seeds give equal data."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from prosperstack_destination.sandbox.store import AccountData, Record, Value

#: Properties of ProsperStack's documented example, and one of subscriptions.
_PROPERTIES: Final = (
    ("number_of_contacts", "Number of contacts", "subscriber", "number", "number"),
    ("is_professional", "Is professional", "subscriber", "boolean", None),
    ("last_contacted", "Last contacted", "subscriber", "date", None),
    ("preferred_name", "Preferred name", "subscriber", "text", None),
    ("seats", "Seats", "subscription", "number", "number"),
)
#: Initial values of the documented example's subscriber.
_JOHN: Final[dict[str, Value]] = {
    "number_of_contacts": 120,
    "is_professional": False,
    "last_contacted": "2020-01-15",
    "preferred_name": "John",
}
_FIRST: Final = [
    "Ada",
    "Alan",
    "Barbara",
    "Claude",
    "Donald",
    "Edith",
    "Frances",
    "Grace",
    "Hedy",
    "Ida",
    "Joan",
    "Katherine",
    "Leslie",
    "Mary",
]
_LAST: Final = [
    "Archer",
    "Baker",
    "Carter",
    "Draper",
    "Fisher",
    "Glover",
    "Hooper",
    "Mason",
    "Parker",
    "Sawyer",
    "Tanner",
    "Weaver",
]
#: Every subscriber with a multiple of this number has the email of the previous one.
_SHARED_EVERY: Final = 200
_BEGINNING: Final = datetime(2024, 1, 1, tzinfo=UTC)
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def emails_of(subscribers: int, seed: int) -> list[str]:
    """Return the emails of the first account's subscribers; two subscribers may share one."""
    return [each.fields["email"] for each in seed_account(subscribers, account_seed(seed, 0)).subscribers]


def account_seed(seed: int, number: int) -> str:
    """Return the seed of the account with a number in a sandbox with a seed."""
    return f"{seed}/{number}"


def seed_account(subscribers: int, seed: str) -> AccountData:
    """Return an account of generated subscribers with one subscription each, the documented example's first.

    More subscribers with the same seed begin with the same ones.
    """
    random = Random(seed)  # noqa: S311 -- generated data, reproducible
    account = AccountData()
    for key, name, entity, kind, display in _PROPERTIES:
        account.create_property(_identifier(random, "prop"), key, name, entity, kind, display)
    by_key = {each.key: each for each in account.properties.values()}
    email = ""
    for number in range(1, subscribers + 1):
        first, last = random.choice(_FIRST), random.choice(_LAST)
        if number % _SHARED_EVERY != 0:
            email = f"{first}.{last}.{number}@example.com".lower()
        if number == 1:
            first, last, email = "John", "Doe", "john.doe@example.com"
        subscriber = _subscriber(random, number, f"{first} {last}", email)
        values: Mapping[str, Value] = _JOHN if number == 1 else _values(random)
        subscriber.values = {key: (by_key[key], value) for key, value in values.items()}
        account.subscribers.add(subscriber)
        account.subscriptions.add(_subscription(random, number, subscriber))
    return account


def _subscriber(random: Random, number: int, name: str, email: str) -> Record:
    fields = {
        "id": _identifier(random, "subr"),
        "platform_id": _identifier(random, "cus", 14),
        "name": name,
        "email": email,
        "status": random.choice(("active", "active", "active", "canceled", "saved", "reactivated")),
    }
    created = _BEGINNING + timedelta(minutes=number)
    return Record(number, fields, created, created)


def _subscription(random: Random, number: int, subscriber: Record) -> Record:
    fields = {
        "id": _identifier(random, "subn"),
        "platform_id": _identifier(random, "sub", 14),
        "subscriber_id": subscriber.fields["id"],
        "mrr": f"{random.randrange(500, 50_000) / 100:.2f}",
        "status": "active" if subscriber.fields["status"] != "canceled" else "canceled",
    }
    return Record(number, fields, subscriber.created_at, subscriber.updated_at)


def _values(random: Random) -> dict[str, Value]:
    """Return generated values for a third of the subscribers, and none for the others."""
    if random.random() > 1 / 3:
        return {}
    return {
        "number_of_contacts": random.randrange(10_000),
        "is_professional": random.random() < 0.5,
        "last_contacted": f"2025-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}",
    }


def _identifier(random: Random, prefix: str, length: int = 24) -> str:
    return f"{prefix}_{''.join(random.choices(_ALPHABET, k=length))}"
