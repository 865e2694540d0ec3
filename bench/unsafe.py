"""The service with SQLite's ``synchronous=NORMAL``, to see what that would bring.

What it risks stands in docs/explanation/promises.md.
"""

from prosperstack_destination.cli import main
from prosperstack_destination.store import sqlite

sqlite.SYNCHRONOUS = "NORMAL"  # type: ignore[misc] # there is no such setting, and it is not meant to be one
main()
