"""Command line as a module: ``python -m prosperstack_destination``."""

from prosperstack_destination.cli import main

main()
