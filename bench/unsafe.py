"""Service with SQLite's ``synchronous=NORMAL``, to measure its gain.

The risks are listed in docs/explanation/promises.md.
"""

from prosperstack_destination.cli import main
from prosperstack_destination.store import sqlite

sqlite.SYNCHRONOUS = "NORMAL"  # type: ignore[misc] # deliberately not a setting
main()
