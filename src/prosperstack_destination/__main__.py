"""``python -m prosperstack_destination``: the command line."""

from prosperstack_destination.cli import main

main()
