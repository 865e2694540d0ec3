"""Input that somebody means harm with, made from a seed: the same seed gives the same input."""

import json
import random
from typing import Any

#: Texts that databases, JSON, YAML or Python have trouble with.
TEXTS = (
    *("", " ", "plan", "a\0b", "\0", "\ud83d", "\ude00x", "\ud83d\ude00", "\ufeff", "\ufffd", "\u200b"),
    *(
        "%00",
        "..",
        "/",
        "'",
        '"',
        "\\",
        "{{7*7}}",
        "<script>",
        "null",
        "NaN",
        "1e999",
        "9" * 40,
        "x" * 600,
        "\x1b[",
    ),
)
NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 10**4_298, 0.1, 1e308, 5e-324, -0.0)
TRAITS = (*TEXTS, "plan", "seats", "preferred_name", "Preferred name", "number_of_contacts", "traits", "email")
EMAILS = (
    "john.doe@example.com",
    "JOHN.doe@example.com",
    "jane@example.com",
    "a\0@b.c",
    "\ud800@b.c",
    "",
    "no email",
)

#: Parts of paths, and values of queries.
ODD = ("%00", "a%00b", "%ED%A0%80", "%F0%9F%98%80", "9" * 4_400, str(2**31), str(2**63), "-1", "x")


def value(chance: random.Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kind = chance.randrange(8 if depth else 5)
    if kind < 2:
        return chance.choice(TEXTS)
    if kind == 2:
        return chance.choice(NUMBERS)
    if kind < 5:
        return chance.choice((None, True, False, "2021-05-04", 1_700_000_000))
    if kind == 5:
        return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(TRAITS): value(chance, depth - 1) for _ in range(chance.randrange(4))}


def call(chance: random.Random) -> dict[str, Any]:
    """Something like an Identify call."""
    made: dict[str, Any] = {"type": chance.choice(("identify",) * 8 + ("delete", "track", "\0", ""))}
    made["traits"] = {chance.choice(TRAITS): value(chance) for _ in range(chance.randrange(6))}
    if chance.random() < 0.8:
        made["traits"]["email"] = chance.choice(EMAILS)
    for name in ("userId", "anonymousId", "messageId", "projectId"):
        if chance.random() < 0.4:
            made[name] = chance.choice((*TEXTS, *NUMBERS, None))
    if chance.random() < 0.4:
        made["context"] = {
            "library": {"name": chance.choice(TEXTS), "version": chance.choice(TEXTS)},
            "personas": {"computation_class": "audience", "computation_key": chance.choice(TRAITS)},
        }
    if chance.random() < 0.3:
        made["timestamp"] = chance.choice((*TEXTS, "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-23:59", 2**70))
    if chance.random() < 0.1:
        made[chance.choice(TEXTS)] = value(chance)
    return made


def request(chance: random.Random, account_id: str) -> tuple[str, str, bytes]:
    """A method, a path with its query, and a body."""
    odd = chance.choice(
        ("%00", "a%00b", "%ED%A0%80", "%F0%9F%98%80", "9" * 4_400, str(2**31), str(2**63), "-1", "x")
    )
    kind = chance.randrange(10)
    if kind < 5:
        return "POST", "/identify", json.dumps(call(chance)).encode()
    if kind == 5:
        return "POST", "/identify", json.dumps([call(chance) for _ in range(chance.randrange(5))]).encode()
    if kind == 6:
        batch = {"batch": [call(chance) for _ in range(chance.randrange(5))]}
        return "POST", "/v1/batch", json.dumps(batch).encode()
    if kind == 7:
        return "POST", f"/webhook/{odd}", json.dumps(call(chance)).encode()
    api = f"/api/accounts/{account_id}"
    return (
        "GET",
        chance.choice(
            (
                f"/api/accounts/{odd}",
                f"{api}/profiles?email={odd}",
                f"{api}/profiles?user_id={odd}&after={odd}",
                f"{api}/profiles/{odd}",
                f"{api}/mapping?version={odd}",
                f"{api}/calls?before={odd}",
                f"{api}/calls?source={odd}",
                f"/data-connector/{odd}",
            )
        ),
        b"",
    )
