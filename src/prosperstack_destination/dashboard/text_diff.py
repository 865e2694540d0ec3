"""Two texts, compared line by line, as people read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

#: Lines that differ, on either side, up to which they are compared one with the other: past it that takes too long.
MOST_LINES: Final = 1_000
#: Lines around a difference, what is shown of each line, and of all, in characters.
AROUND: Final = 3
MOST_OF_LINE: Final = 300
MOST: Final = 60_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison."""

    #: ``added``, ``gone``, ``same``, or ``left-out``: what stands there is not shown.
    kind: str
    text: str


def diff_lines(old: str, new: str) -> tuple[Line, ...]:
    """What was added to a text and what is gone from it, with some lines around; nothing where it is the same."""
    found: list[Line] = []
    size = 0
    for line in _lines(old.splitlines(), new.splitlines()):
        size += len(line.text)
        if size > MOST:
            found.append(Line("left-out", "and more"))
            break
        found.append(line)
    return tuple(found)


def _lines(old: list[str], new: list[str]) -> Iterator[Line]:
    if old == new:
        return
    head = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), None)
    head = min(len(old), len(new)) if head is None else head
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    before, after = old[head : len(old) - tail], new[head : len(new) - tail]
    above, below = old[max(head - AROUND, 0) : head], old[len(old) - tail : len(old) - tail + AROUND]
    if head > AROUND:
        yield Line("left-out", f"{head - AROUND:,} lines")
    yield from _shown("same", above)
    if max(len(before), len(after)) > MOST_LINES:
        yield from _shown("gone", before)
        yield from _shown("added", after)
    else:
        yield from _between(before, after)
    yield from _shown("same", below)
    if tail > AROUND:
        yield Line("left-out", f"{tail - AROUND:,} lines")


def _between(old: list[str], new: list[str]) -> Iterator[Line]:
    for kind, begin, end, from_, to in SequenceMatcher(None, old, new).get_opcodes():
        same = old[begin:end] if kind == "equal" else []
        if len(same) > 2 * AROUND + 1:
            yield from _shown("same", same[:AROUND])
            yield Line("left-out", f"{len(same) - 2 * AROUND:,} lines")
            yield from _shown("same", same[-AROUND:])
            continue
        yield from _shown("same", same)
        if kind != "equal":
            yield from _shown("gone", old[begin:end])
            yield from _shown("added", new[from_:to])


def _shown(kind: str, lines: list[str]) -> Iterator[Line]:
    for line in lines:
        yield Line(kind, line if len(line) <= MOST_OF_LINE else f"{line[:MOST_OF_LINE]}…")
