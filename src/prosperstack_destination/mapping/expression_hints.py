"""Hints that mend the common mistakes in expressions.

Each repair turns one mistake into what JMESPath has for it. They are tried one after the other until the text is an
expression: a hint is given only where what it says can be run.
"""

import re
from collections.abc import Callable
from typing import Final

#: Longer texts get no hint, in characters: each repair is tried by parsing the whole.
MAX_HINTED: Final = 300

Repair = Callable[[str], str]

#: Functions of other languages that are clean-ups here.
CLEAN_UP_FUNCTIONS: Final = {
    **dict.fromkeys(("lower", "lowercase", "tolower", "tolowercase", "lcase", "downcase"), "lower: true"),
    **dict.fromkeys(("upper", "uppercase", "toupper", "touppercase", "ucase", "upcase"), "upper: true"),
    **dict.fromkeys(("trim", "strip"), "trim: true"),
    **dict.fromkeys(("title", "capitalize", "proper", "initcap", "titlecase"), "title: true"),
    "round": "round: 2",
}
#: Functions of other languages, and JMESPath's own.
FUNCTIONS: Final = {
    **dict.fromkeys(("len", "count", "size"), "length"),
    **dict.fromkeys(("coalesce", "ifnull", "isnull", "nvl", "default", "firstof"), "not_null"),
    **dict.fromkeys(("str", "string", "tostring", "text"), "to_string"),
    **dict.fromkeys(("int", "float", "number", "tonumber", "parseint", "parsefloat"), "to_number"),
    **dict.fromkeys(("includes", "has", "in_array"), "contains"),
    **dict.fromkeys(("average", "mean"), "avg"),
    "startswith": "starts_with",
    "endswith": "ends_with",
}
#: Roots of other tools, for what is among the traits here.
ELSEWHERE: Final = frozenset({"context", "properties", "user", "event", "profile", "this", "data", "trait"})
#: Literals, as others write them.
LITERALS: Final = {
    "null": "null",
    "None": "null",
    "nil": "null",
    "undefined": "null",
    "NULL": "null",
    "true": "true",
    "True": "true",
    "TRUE": "true",
    "false": "false",
    "False": "false",
    "FALSE": "false",
}

_QUOTED: Final = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`)""")
_OPERATORS: Final = {"===": "==", "!==": "!=", "<>": "!=", "??": "||", "=": "=="}
_WORDS: Final = {"and": "&&", "or": "||"}
_NUMBER: Final = re.compile(r"(?<![\w.\[:`\"-])-?\d+(?:\.\d+)?(?![\w.])")
_LITERAL: Final = re.compile(rf"(?<![\w.\"`'])({'|'.join(LITERALS)})\b(?!\s*[.(:\[])")
_TEXT: Final = re.compile(r"""(?<![.\w])"([^"'\\]*)"(?!\s*[.:\[])""")
_CALL: Final = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\(")
_METHOD: Final = re.compile(
    r"""((?:[A-Za-z_]\w*|"[^"]*")(?:\.(?:[A-Za-z_]\w*|"[^"]*"))+)\.([A-Za-z_]\w*)\(([^()]*)\)"""
)
_KEY: Final = re.compile(r"""(?<=[\w\]"])\[\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\]""")
_NAME: Final = r"[A-Za-z_]\w*"


def mended(text: str, is_good: Callable[[str], bool]) -> str | None:
    """What was most likely meant, in a form that is good; None where that is not known."""
    if len(text) > MAX_HINTED:
        return None
    now = text
    for repair in _REPAIRS:
        now, before = repair(now), now
        if now != before and is_good(now):
            return now
    return None


def _outside(change: Repair) -> Repair:
    """A repair of what is in no quotes."""

    def repair(text: str) -> str:
        parts = _QUOTED.split(text)
        parts[::2] = [change(each) for each in parts[::2]]
        return "".join(parts)

    return repair


def _replaced(pattern: str | re.Pattern[str], by: str | Callable[[re.Match[str]], str]) -> Repair:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(by, text)


def _name(name: str) -> str:
    """A name as a step of a path."""
    return name if re.fullmatch(_NAME, name) else f'"{name}"'


def _function(match: re.Match[str]) -> str:
    return f"{_function_name(match[1])}("


def _function_name(name: str) -> str:
    return FUNCTIONS.get(name.lower(), FUNCTIONS.get(name.lower().replace("_", ""), name))


def _method(match: re.Match[str]) -> str:
    """``traits.tags.contains('vip')`` as the call of a function; of a clean-up only what it is to clean."""
    receiver, name, arguments = match[1], match[2], match[3].strip()
    if name.lower() in CLEAN_UP_FUNCTIONS:
        return receiver
    return f"{_function_name(name)}({receiver}{', ' if arguments else ''}{arguments})"


def _without_clean_ups(text: str) -> str:
    """``lower(traits.x)`` as ``traits.x``: the rule's clean-ups do the rest."""
    names = "|".join(CLEAN_UP_FUNCTIONS)
    return re.sub(rf"(?i)(?<![\w.])(?:{names})\(([^(),]*)(?:,[^()]*)?\)", r"\1", text)


def _concatenated(text: str) -> str:
    """Text that is put together with ``+`` or ``concat()``; numbers are added up."""
    called = re.fullmatch(r"\s*concat\((.*)\)\s*", text, re.IGNORECASE)
    if called is not None:
        return f"join('', [{called[1]}])"
    if not re.search(r"\s\+\s", text):
        return text
    parts = [each.strip() for each in re.split(r"\s\+\s", text)]
    texts = any(each.startswith(("'", '"')) for each in parts)
    return f"join('', [{', '.join(parts)}])" if texts else f"sum([{', '.join(parts)}])"


def _contained(text: str) -> str:
    """``x in ['a', 'b']`` by ``contains``."""
    found = re.fullmatch(r"\s*(\S+)\s+in\s+(.+?)\s*", text, re.IGNORECASE)
    if found is None:
        return text
    items = found[2]
    if items.startswith("(") and items.endswith(")"):
        items = f"[{items[1:-1]}]"
    return f"contains({items}, {found[1]})"


def _unwrapped(text: str) -> str:
    """An expression in quotes, or in the marks of a template."""
    bare = text.strip()
    for opening, closing in (("{{", "}}"), ("${", "}"), ('"', '"'), ("'", "'"), ("<%=", "%>")):
        inside = bare[len(opening) : len(bare) - len(closing)]
        if bare.startswith(opening) and bare.endswith(closing) and re.match(rf"\s*\$?\.?{_NAME}\.", inside):
            return inside.strip()
    if re.fullmatch(r'"[^"\\.]+"', bare):
        return f"traits.{bare}"
    return text


def _rooted(text: str) -> str:
    """Names that stand alone as traits; those of other tools' roots too."""
    text = re.sub(r"(?<![\w.\"])(?:user_id|userid|user\.id|UserId)\b(?!\()", "userId", text)
    text = re.sub(r"(?<![\w.\"])(?:anonymous_id|anonymousid|user\.anonymous_?[iI]d)\b(?!\()", "anonymousId", text)
    roots = "|".join(sorted(ELSEWHERE))
    text = re.sub(rf"(?<![\w.\"])(?:{roots})\.(?:traits\.)?(?=[A-Za-z_\"])", "traits.", text)
    return re.sub(
        rf"(?<![\w.\"@&])(?!(?:traits|userId|anonymousId|audiences)\b)({_NAME})\b(?!\s*[(:\"])", r"traits.\1", text
    )


def _closed(text: str) -> str:
    """Quotes and brackets closed that are open at the end."""
    for quote in "'\"`":
        if text.count(quote) % 2:
            text += quote
    open_ones: list[str] = []
    for each in "".join(_QUOTED.split(text)[::2]):
        if each in "([{":
            open_ones.append({"(": ")", "[": "]", "{": "}"}[each])
        elif open_ones and each == open_ones[-1]:
            open_ones.pop()
    return text + "".join(reversed(open_ones))


#: In this order: what a later one looks at is as the earlier ones leave it.
_REPAIRS: Final[tuple[Repair, ...]] = (
    _replaced("[\u2018\u2019]", "'"),
    _replaced("[\u201c\u201d]", '"'),
    _unwrapped,
    _closed,
    _outside(_replaced(r"\$\.?(?=[A-Za-z_])", "")),
    _replaced(r"""([=!]==?|[^=!<>]=|<>)\s*"([^"'\\]*)"(?![.:\[])""", r"\1 '\2'"),
    _outside(_replaced(r"(?i)\sis\s+not\s+(?=null|none)", " != ")),
    _outside(_replaced(r"(?i)\sis\s+(?=null|none)", " == ")),
    _outside(_replaced(r"===|!==|<>|\?\?|(?<![=!<>])=(?!=)", lambda match: _OPERATORS[match[0]])),
    _outside(_replaced(r"(?i)(?<=\s)(and|or)(?=\s)", lambda match: _WORDS[match[1].lower()])),
    _outside(_replaced(rf"(?i)(?<![\w.])not\s+((?:{_NAME}\.)*{_NAME}(?:\([^()]*\))?)", r"!(\1)")),
    _replaced(rf"(?<![\w.)])!((?:{_NAME}\.)+{_NAME})(?![\w.(])", r"!(\1)"),
    _replaced(_KEY, lambda match: "." + _name(match[1] if match[1] is not None else match[2])),
    _outside(_replaced(r"(?<=[A-Za-z_\"\]]\.)([A-Za-z_]\w*(?:-\w+)+|\d\w*|[$@]\w+)", r'"\1"')),
    _outside(_replaced(r"(?<=\.)([A-Za-z_]\w*(?: [A-Za-z_]\w*)+)(?=\s*(?:$|[|=<>!&,)\]]))", r'"\1"')),
    _outside(_replaced(_NUMBER, r"`\g<0>`")),
    _outside(_replaced(_LITERAL, lambda match: f"`{LITERALS[match[1]]}`")),
    _replaced(r"^(.+?)\s*\?\s+(.+?)\s+:\s+(.+)$", r"\1 && \2 || \3"),
    _replaced(_TEXT, r"'\1'"),
    _contained,
    _concatenated,
    _replaced(r"^\s*(\S+)\s*[*/]\s*`?[\d.]+`?\s*$", r"\1"),
    _replaced(_METHOD, _method),
    _without_clean_ups,
    _outside(_replaced(_CALL, _function)),
    _outside(_rooted),
)


def remark(text: str) -> str:
    """What belongs into the rule besides the expression, as a clause that goes on after it; "": nothing."""
    bare = "".join(_QUOTED.split(text)[::2])
    for name in re.findall(rf"({_NAME})\(", bare):
        clean_up = CLEAN_UP_FUNCTIONS.get(name.lower())
        if clean_up is not None:
            return f", with the clean-up {clean_up} in the rule"
    scaled = re.search(r"([*/])\s*([\d.]+)\s*$", bare)
    if scaled is not None and float(scaled[2].strip(".") or 0):
        factor = float(scaled[2].strip("."))
        return f", with the clean-up scale: {factor if scaled[1] == '*' else 1 / factor:g} in the rule"
    return ""
