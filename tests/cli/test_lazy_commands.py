"""Commands are loaded when they run, and listed without being loaded."""

import subprocess
import sys

import pytest

from prosperstack_destination.cli import COMMANDS, LazyCommand


@pytest.mark.parametrize(("name", "module", "help_line"), COMMANDS)
def test_help_line_is_that_of_the_command(name: str, module: str, help_line: str) -> None:
    """The list of commands shows the first line of each command's own help."""
    command = LazyCommand(name, module, help_line).load()

    assert command.name == name
    assert " ".join(command.help.partition("\n\n")[0].split()) == help_line


def test_list_of_commands_loads_no_database_driver() -> None:
    """`--help` imports neither the modules of the commands nor what they need, so that it is quick."""
    code = (
        "import sys; from prosperstack_destination.cli import main; sys.argv = ['x', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'sqlalchemy', 'pydantic', 'httpx', 'fastapi'} & sys.modules.keys()))"
    )

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S603 -- our own code

    assert output.splitlines()[-1] == "[]"
    assert "Show each account" in output
