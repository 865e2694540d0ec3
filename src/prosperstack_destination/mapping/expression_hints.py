"""Expression hints: corrections of common mistakes in JMESPath expressions.

Each repair rewrites one kind of mistake to the JMESPath form. Repairs run in order until the text is a valid
expression, so that every hint is an expression that can be run.
"""

import re
from collections.abc import Callable
from typing import Final

from prosperstack_destination.mapping.name_matching import closest

#: Longest text that gets a hint, in characters. Each repair parses the whole text.
MAX_HINTED: Final = 300

Repair = Callable[[str], str]

#: Functions of other languages, without underscores, with the function that does the same here.
FUNCTION_ALIASES: Final = {
    **dict.fromkeys(("lowercase", "tolower", "tolowercase", "lcase", "downcase"), "lower"),
    **dict.fromkeys(("uppercase", "toupper", "touppercase", "ucase", "upcase"), "upper"),
    **dict.fromkeys(("strip", "trimspace", "trimmed"), "trim"),
    **dict.fromkeys(("capitalize", "proper", "initcap", "titlecase"), "title"),
    **dict.fromkeys(("len", "count", "size"), "length"),
    **dict.fromkeys(("ifnull", "isnull", "nvl", "default", "firstof"), "coalesce"),
    **dict.fromkeys(("str", "string", "tostring", "text"), "to_string"),
    **dict.fromkeys(("int", "float", "number", "tonumber", "parseint", "parsefloat"), "to_number"),
    **dict.fromkeys(("includes", "has", "inarray"), "contains"),
    **dict.fromkeys(("average", "mean"), "avg"),
    **dict.fromkeys(("iff", "iif", "ifelse", "cond"), "if"),
    **dict.fromkeys(("substr", "slice", "mid"), "substring"),
    **dict.fromkeys(("indexof", "strpos", "position"), "find_first"),
    **dict.fromkeys(("dayssince", "daysago", "age"), "days_since"),
    **dict.fromkeys(("strftime", "dateformat", "formatdatetime"), "format_date"),
    **dict.fromkeys(("strptime", "todate", "date"), "parse_date"),
    **dict.fromkeys(("dateadd", "adddays"), "date_add"),
    **dict.fromkeys(("jsonparse", "parsejson", "loads"), "from_json"),
    **dict.fromkeys(("jsonstringify", "stringify", "dumps"), "to_json"),
    **dict.fromkeys(("gsub", "regexpreplace", "resub"), "regex_replace"),
    **dict.fromkeys(("match", "regex", "regexp", "test", "matches", "regexpmatch"), "regex_match"),
    **dict.fromkeys(("sha256", "md5", "sha1", "digest"), "hash"),
    **dict.fromkeys(("plus",), "add"),
    **dict.fromkeys(("minus", "sub"), "subtract"),
    **dict.fromkeys(("mul", "times"), "multiply"),
    **dict.fromkeys(("div",), "divide"),
    **dict.fromkeys(("lpad", "padstart", "zfill"), "pad_left"),
    **dict.fromkeys(("rpad", "padend"), "pad_right"),
    "replaceall": "replace",
    "startswith": "starts_with",
    "endswith": "ends_with",
}
#: Roots in other tools for values that are traits here.
FOREIGN_ROOTS: Final = frozenset({"properties", "user", "event", "profile", "this", "data", "trait"})
#: Literals of other languages, with JMESPath's.
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

_ROOTS: Final = ("traits", "context", "source", "audiences")
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


def repair_expression(text: str, is_valid: Callable[[str], bool]) -> str | None:
    """Return the most likely intended expression, for which ``is_valid`` returns true; None without one."""
    if len(text) > MAX_HINTED:
        return None
    repaired = text
    for repair in _REPAIRS:
        repaired, before = repair(repaired), repaired
        if repaired != before and is_valid(repaired):
            return repaired
    return None


def _outside_quotes(change: Repair) -> Repair:
    """Return a repair that leaves quoted parts unchanged."""

    def repair(text: str) -> str:
        parts = _QUOTED.split(text)
        parts[::2] = [change(part) for part in parts[::2]]
        return "".join(parts)

    return repair


def _substitute(pattern: str | re.Pattern[str], by: str | Callable[[re.Match[str]], str]) -> Repair:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(by, text)


def _name(name: str) -> str:
    """Return a name as a step of a path."""
    return name if re.fullmatch(_NAME, name) else f'"{name}"'


def _function(match: re.Match[str]) -> str:
    return f"{_function_name(match[1])}("


def _function_name(name: str) -> str:
    return FUNCTION_ALIASES.get(name.lower().replace("_", ""), name)


def _method(match: re.Match[str]) -> str:
    """Rewrite ``traits.tags.contains('vip')`` to a function call."""
    receiver, name, arguments = match[1], match[2], match[3].strip()
    return f"{_function_name(name)}({receiver}{', ' if arguments else ''}{arguments})"


def _add(text: str) -> str:
    """Rewrite ``+`` to ``concat()`` for text and to ``add()`` for numbers."""
    if not re.search(r"\s\+\s", text):
        return text
    parts = [part.strip() for part in re.split(r"\s\+\s", text)]
    is_text = any(part.startswith(("'", '"')) for part in parts)
    return f"{'concat' if is_text else 'add'}({', '.join(parts)})"


def _calculate(match: re.Match[str]) -> str:
    name = {"*": "multiply", "/": "divide", "-": "subtract"}[match[2]]
    return f"{name}({match[1]}, {match[3]})"


def _use_contains(text: str) -> str:
    """Rewrite ``x in ['a', 'b']`` to ``contains``."""
    match = re.fullmatch(r"\s*(\S+)\s+in\s+(.+?)\s*", text, re.IGNORECASE)
    if match is None:
        return text
    items = match[2]
    if items.startswith("(") and items.endswith(")"):
        items = f"[{items[1:-1]}]"
    return f"contains({items}, {match[1]})"


def _unwrap(text: str) -> str:
    """Remove quotes or template marks around an expression."""
    unquoted = text.strip()
    for opening, closing in (("{{", "}}"), ("${", "}"), ('"', '"'), ("'", "'"), ("<%=", "%>")):
        inside = unquoted[len(opening) : len(unquoted) - len(closing)]
        if unquoted.startswith(opening) and unquoted.endswith(closing) and re.match(rf"\s*\$?\.?{_NAME}\.", inside):
            return inside.strip()
    if re.fullmatch(r'"[^"\\.]+"', unquoted):
        return f"traits.{unquoted}"
    return text


def _add_root(text: str) -> str:
    """Put ``traits.`` before names without a root, and in place of roots of other tools."""
    text = re.sub(r"(?<![\w.\"])(?:user_id|userid|user\.id|UserId)\b(?!\()", "userId", text)
    text = re.sub(r"(?<![\w.\"])(?:anonymous_id|anonymousid|user\.anonymous_?[iI]d)\b(?!\()", "anonymousId", text)
    roots = "|".join(sorted(FOREIGN_ROOTS))
    text = re.sub(rf"(?<![\w.\"])(?:{roots})\.(?:traits\.)?(?=[A-Za-z_\"])", "traits.", text)
    text = re.sub(r"(?<![\w.\"])context\.traits\b", "traits", text)
    for name in dict.fromkeys(re.findall(rf"(?<![\w.\"@&'])({_NAME})\.", text)):
        root = None if name in _ROOTS else closest(name, _ROOTS, min_similarity=85)
        if root is not None:
            text = re.sub(rf"(?<![\w.\"@&]){name}\.", f"{root}.", text)
    known = "traits|userId|anonymousId|audiences|context|source|now"
    return re.sub(rf"(?<![\w.\"@&])(?!(?:{known})\b)({_NAME})\b(?!\s*[(:\"])", r"traits.\1", text)


def _close(text: str) -> str:
    """Close quotes and brackets that are open at the end."""
    for quote in "'\"`":
        if text.count(quote) % 2:
            text += quote
    missing: list[str] = []
    for character in "".join(_QUOTED.split(text)[::2]):
        if character in "([{":
            missing.append({"(": ")", "[": "]", "{": "}"}[character])
        elif missing and character == missing[-1]:
            missing.pop()
    return text + "".join(reversed(missing))


#: Repairs in order: each works on the result of the earlier ones.
_REPAIRS: Final[tuple[Repair, ...]] = (
    _substitute("[\u2018\u2019]", "'"),
    _substitute("[\u201c\u201d]", '"'),
    _unwrap,
    _close,
    _outside_quotes(_substitute(r"\$\.?(?=[A-Za-z_])", "")),
    _substitute(r"""([=!]==?|[^=!<>]=|<>)\s*"([^"'\\]*)"(?![.:\[])""", r"\1 '\2'"),
    _outside_quotes(_substitute(r"(?i)\sis\s+not\s+(?=null|none)", " != ")),
    _outside_quotes(_substitute(r"(?i)\sis\s+(?=null|none)", " == ")),
    _outside_quotes(_substitute(r"===|!==|<>|\?\?|(?<![=!<>])=(?!=)", lambda match: _OPERATORS[match[0]])),
    _outside_quotes(_substitute(r"(?i)(?<=\s)(and|or)(?=\s)", lambda match: _WORDS[match[1].lower()])),
    _outside_quotes(_substitute(rf"(?i)(?<![\w.])not\s+((?:{_NAME}\.)*{_NAME}(?:\([^()]*\))?)", r"!(\1)")),
    _substitute(rf"(?<![\w.)])!((?:{_NAME}\.)+{_NAME})(?![\w.(])", r"!(\1)"),
    _substitute(_KEY, lambda match: "." + _name(match[1] if match[1] is not None else match[2])),
    _outside_quotes(_substitute(r"(?<=[A-Za-z_\"\]]\.)([A-Za-z_]\w*(?:-\w+)+|\d\w*|[$@]\w+)", r'"\1"')),
    _outside_quotes(_substitute(r"(?<=\.)([A-Za-z_]\w*(?: [A-Za-z_]\w*)+)(?=\s*(?:$|[|=<>!&,)\]]))", r'"\1"')),
    _outside_quotes(_substitute(_NUMBER, r"`\g<0>`")),
    _outside_quotes(_substitute(_LITERAL, lambda match: f"`{LITERALS[match[1]]}`")),
    _substitute(r"^(.+?)\s*\?\s+(.+?)\s+:\s+(.+)$", r"if(\1, \2, \3)"),
    _substitute(_TEXT, r"'\1'"),
    _outside_quotes(_substitute(r"(?<![\w.\"])source(?=\s*[=!]=)", "source.id")),
    _use_contains,
    _add,
    _substitute(r"^\s*(\S+)\s*([*/-])\s+?(\S+)\s*$", _calculate),
    _substitute(r"^\s*(\S+?)\s*([*/])\s*(\S+)\s*$", _calculate),
    _substitute(_METHOD, _method),
    _outside_quotes(_substitute(_CALL, _function)),
    _outside_quotes(_add_root),
)
