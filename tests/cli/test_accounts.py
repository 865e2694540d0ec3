"""What is chosen for an account by a command."""

import pytest

from cli.conftest import Commands


def test_set(commands: Commands) -> None:
    """accounts set changes what it is told to, says how the account stands then, and is on the trail."""
    on_delete = commands.json("accounts", "set", "--on-delete", "nothing", "--author", "ann")
    reserve = commands.json("accounts", "set", "--reserve", "0.25")
    said = commands.run("accounts", "set", "--reserve", "0.5", "--on-delete", "clear")
    [listed] = commands.json("accounts", "list")
    back = commands.json("accounts", "set", "--reserve", "default")

    assert on_delete == {"account": commands.account_id, "on_delete": "nothing", "reserve": None}
    assert reserve == {"account": commands.account_id, "on_delete": "nothing", "reserve": 0.25}
    assert "its owner is left 50%" in said
    assert (listed["on_delete"], listed["reserve"]) == ("clear", 0.5)
    assert back["reserve"] is None
    assert {each["who"] for each in commands.json("audit") if each["what"] == "set"} >= {"ann"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "Say what to change"),
        (["--reserve", "1"], "less than 1"),
        (["--reserve", "-0.1"], "0 or more"),
        (["--reserve", "nan"], "0 or more"),
        (["--reserve", "half"], "or default"),
        (["--on-delete", "everything"], "is not one of"),
    ],
)
def test_what_cannot_be_set(commands: Commands, given: list[str], said: str) -> None:
    """What cannot be is refused with what would be right, and changes nothing."""
    assert said in " ".join(commands.fails("accounts", "set", *given).split())
    assert commands.json("accounts", "list")[0]["reserve"] is None


def test_forecasts_go_by_the_accounts_reserve(commands: Commands) -> None:
    """What something costs is told at the rate that the account's own reserve leaves."""
    usual = commands.json("simulate", "1000")
    commands.run("accounts", "set", "--reserve", "0.5")
    chosen = commands.json("simulate", "1000")

    assert (usual["requests_a_minute"], chosen["requests_a_minute"]) == (90, 50)
