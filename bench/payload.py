"""The calls of `calls.lua`, for load that Python sends."""

import json
import time
from collections.abc import Iterator

#: Number of people before the first call's.
Seed = int


def events(count: int, seed: Seed = 0) -> Iterator[str]:
    """Yield Identify calls of about 900 bytes with their headers, half of them about new people."""
    people = 0
    for number in range(1, count + 1):
        people += number % 2
        person = seed + (people if number % 2 else 1 + number * 7919 % people)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + number)) + ".000Z"
        yield json.dumps(_event(person, number, at), separators=(",", ":"))


def _event(person: int, number: int, at: str) -> dict[str, object]:
    return {
        "type": "identify",
        "userId": f"user-{person}",
        "anonymousId": f"507f191e810c19729d-{person}",
        "messageId": f"ajs-{number}",
        "traits": {
            "name": "Jane Doe",
            "email": f"jane.doe.{person}@example.com",
            "plan": "premium",
            "logins": number,
            "company": {"name": "Initech", "employees": 50, "industry": "Manufacturing"},
            "address": {"street": "1 Main Street", "city": "Springfield", "postalCode": "12345", "country": "USA"},
            "title": "Vice President",
            "phone": "+1-555-0100",
            "Number of contacts": number % 6000,
            "Is professional": True,
            "Last contacted": "2021-05-04",
            "Preferred name": "Jane",
        },
        "context": {
            "ip": "8.8.8.8",
            "userAgent": "Mozilla/5.0 (Macintosh)",
            "library": {"name": "analytics.js", "version": "3.8.2"},
        },
        "integrations": {"All": True},
        "channel": "client",
        "version": "1.1",
        "sentAt": at,
        "timestamp": at,
    }
