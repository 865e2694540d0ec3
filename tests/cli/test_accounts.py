"""Tests of the settings of an account."""

import pytest

from cli.conftest import Commands


def test_set_changes_account_settings(commands: Commands) -> None:
    """`accounts set` changes the given settings, prints all of them, and is in the audit log."""
    on_delete = commands.json("accounts", "set", "--on-delete", "nothing", "--author", "ann")
    reserve = commands.json("accounts", "set", "--reserve", "0.25")
    printed = commands.run("accounts", "set", "--reserve", "0.5", "--on-delete", "clear")
    [listed] = commands.json("accounts", "list")
    back = commands.json("accounts", "set", "--reserve", "default")
    more = commands.json("accounts", "set", "--hold-unknown", "all", "--time-zone", "Europe/Vienna")

    changed = {"account": commands.account_id, "on_delete": "nothing", "hold_unknown": "engage", "time_zone": "UTC"}
    assert on_delete == {**changed, "reserve": None}
    assert reserve == {**changed, "reserve": 0.25}
    assert more == {**back, "hold_unknown": "all", "time_zone": "Europe/Vienna"}
    assert "kept free for your own tools: 50%" in printed
    assert (listed["on_delete"], listed["reserve"]) == ("clear", 0.5)
    assert back["reserve"] is None
    assert {each["who"] for each in commands.json("audit") if each["what"] == "set"} >= {"ann"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Nothing to change"),
        (["--time-zone", "Europe/Wien"], "did you mean Europe/Vienna?"),
        (["--reserve", "1"], "less than 1"),
        (["--reserve", "-0.1"], "0 to less than 1"),
        (["--reserve", "nan"], "0 to less than 1"),
        (["--reserve", "half"], "or default"),
        (["--on-delete", "everything"], "is not one of"),
    ],
)
def test_invalid_settings_are_rejected(commands: Commands, options: list[str], message: str) -> None:
    """An invalid setting is rejected with advice, and changes nothing."""
    assert message in " ".join(commands.fails("accounts", "set", *options).split())
    assert commands.json("accounts", "list")[0]["reserve"] is None


def test_forecast_uses_reserve_of_account(commands: Commands) -> None:
    """A forecast uses the rate that the account's own reserve leaves."""
    usual = commands.json("simulate", "1000")
    commands.run("accounts", "set", "--reserve", "0.5")
    chosen = commands.json("simulate", "1000")

    assert (usual["requests_a_minute"], chosen["requests_a_minute"]) == (90, 50)
