"""Tests of commands on the data of hostile calls."""

import json
import random

import pytest

from cli.conftest import Commands
from prosperstack_destination.errors import CallError
from prosperstack_destination.ingest.parser import ParsedIdentify, parse_call
from prosperstack_destination.ingest.request_body import parse_object
from prosperstack_destination.store.models import Identify
from support import hostile
from support.clocks import NEW_YEAR
from support.intake import take


def calls(account_id: str, seed: int, count: int) -> list[Identify]:
    """Return the accepted ones of ``count`` hostile calls."""
    chance = random.Random(seed)  # noqa: S311 -- reproducible input
    found: list[Identify] = []
    for _ in range(count):
        try:
            read = parse_call(parse_object(json.dumps(hostile.call(chance)).encode()), NEW_YEAR)
        except CallError:
            continue
        if isinstance(read, ParsedIdentify) and read.email is not None:
            ids = (read.user_id, read.anonymous_id)
            found.append(
                Identify(account_id, read.email, read.address, read.traits, read.at, NEW_YEAR, *ids, read.source)
            )
    return found


@pytest.mark.parametrize("seed", range(2))
def test_commands_print_data_of_hostile_calls(commands: Commands, seed: int) -> None:
    """Commands that print data work with any data."""
    accepted = calls(commands.account_id, seed, 100)
    commands.write(take, *accepted)

    for command in ("status", "problems", "sources", "audit"):
        commands.run(command)
        commands.json(command)
    for email in {each.email for each in accepted if each.email is not None}:
        commands.run("profile", email)
        commands.json("profile", email)
    assert len(accepted) > 10
