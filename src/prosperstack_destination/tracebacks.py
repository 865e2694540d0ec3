"""Tracebacks without values: where each error arose and of which kind it is, and never its message.

The message of an unforeseen error may quote anything: a database driver quotes rows, a parser quotes its input.
"""

import os
import traceback
from collections.abc import Iterator
from typing import Final

#: Attributes of errors that name a kind of fault or a part of the schema, and no value.
_SAFE_ATTRIBUTES: Final = ("sqlstate", "table_name", "column_name", "constraint_name", "sqlite_errorname")


def traceback_without_values(error: BaseException) -> str:
    """Return the traceback of an error, of its causes and of its group's errors; source lines, but no messages."""
    return "\n".join(_lines(error, set())).rstrip("\n")


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _lines(earlier, seen)
        yield ""
        yield "It led to:" if error.__cause__ is not None else "While that was handled:"
        yield ""
    yield "Traceback (most recent call last):"
    for frame in traceback.format_tb(error.__traceback__):
        yield frame.rstrip("\n")
    yield _name(error)
    for member in getattr(error, "exceptions", ()):
        if isinstance(member, BaseException) and id(member) not in seen:
            yield from (f"  {line}" for line in _lines(member, seen))


def _name(error: BaseException) -> str:
    """Return the error's class, and what is known of the fault besides its message."""
    kind = type(error)
    facts = [f"{name} {value}" for name in _SAFE_ATTRIBUTES if isinstance(value := getattr(error, name, None), str)]
    if isinstance(error, OSError) and error.errno is not None:
        facts.append(os.strerror(error.errno))
    named = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{named} ({', '.join(facts)})" if facts else named
