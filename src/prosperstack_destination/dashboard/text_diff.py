"""Line diff of two texts, with context lines and bounded size."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

#: Maximum differing lines on either side for a line-by-line comparison, which is quadratic.
MAX_LINES: Final = 1_000
#: Context lines around a change.
CONTEXT_LINES: Final = 3
#: Maximum length of a shown line and of the whole diff, in characters.
MAX_LINE: Final = 300
MAX_DIFF: Final = 60_000


@dataclass(frozen=True, slots=True)
class Line:
    """Line of a diff."""

    #: ``added``, ``gone`` (removed), ``same``, or ``left-out`` (number of hidden lines).
    kind: str
    text: str


def diff_lines(old: str, new: str) -> tuple[Line, ...]:
    """Return the added and removed lines with their context; empty if the texts are equal."""
    lines: list[Line] = []
    size = 0
    for line in _lines(old.splitlines(), new.splitlines()):
        size += len(line.text)
        if size > MAX_DIFF:
            lines.append(Line("left-out", "and more"))
            break
        lines.append(line)
    return tuple(lines)


def _lines(old: list[str], new: list[str]) -> Iterator[Line]:
    if old == new:
        return
    head = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), None)
    head = min(len(old), len(new)) if head is None else head
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    before, after = old[head : len(old) - tail], new[head : len(new) - tail]
    above, below = old[max(head - CONTEXT_LINES, 0) : head], old[len(old) - tail : len(old) - tail + CONTEXT_LINES]
    if head > CONTEXT_LINES:
        yield Line("left-out", f"{head - CONTEXT_LINES:,} lines")
    yield from _shown("same", above)
    if max(len(before), len(after)) > MAX_LINES:
        yield from _shown("gone", before)
        yield from _shown("added", after)
    else:
        yield from _between(before, after)
    yield from _shown("same", below)
    if tail > CONTEXT_LINES:
        yield Line("left-out", f"{tail - CONTEXT_LINES:,} lines")


def _between(old: list[str], new: list[str]) -> Iterator[Line]:
    for kind, begin, end, from_, to in SequenceMatcher(None, old, new).get_opcodes():
        same = old[begin:end] if kind == "equal" else []
        if len(same) > 2 * CONTEXT_LINES + 1:
            yield from _shown("same", same[:CONTEXT_LINES])
            yield Line("left-out", f"{len(same) - 2 * CONTEXT_LINES:,} lines")
            yield from _shown("same", same[-CONTEXT_LINES:])
            continue
        yield from _shown("same", same)
        if kind != "equal":
            yield from _shown("gone", old[begin:end])
            yield from _shown("added", new[from_:to])


def _shown(kind: str, lines: list[str]) -> Iterator[Line]:
    for line in lines:
        yield Line(kind, line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…")
