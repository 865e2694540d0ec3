"""Advice on mapping problems and rejections, chosen by their reason. Pure functions.

A reason is a message of the mapping (`mapping.coercion`, `mapping.transforms`, `mapping.expression_runner`) or of
ProsperStack. An unknown reason gets general advice.
"""

from typing import Final

from prosperstack_destination.store.problems import is_rejection

#: Pairs of a text in the reason and its advice; the first match counts. No advice may turn a valid value into a
#: problem: a lookup table needs `fallback: keep`, and a rule for some values only needs a condition.
_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    (
        "is not a single value",
        "Add a rule that takes one part of it, as in from: traits.address.city, or turns an array into text: join.",
    ),
    (
        "none of true, t, 1, false, f, 0",
        "Add a rule with values: {yes: true, no: false} and fallback: keep, or send true and false.",
    ),
    (
        "only 1 and 0 are booleans",
        "Add a rule that compares numbers and keeps the rest, as in from: type(traits.logins) == 'number' && "
        "traits.logins > `0` || traits.logins, or send true and false.",
    ),
    (
        "is not an ISO 8601 date",
        'Add a rule with date_format, as in date_format: "%d/%m/%Y" (ISO dates are accepted as well), or send '
        "dates as 2026-12-31.",
    ),
    (
        "date of the form",
        'Add the other form to the rule\'s date_format, as in date_format: ["%d/%m/%Y", "%d.%m.%Y"]. ISO dates are '
        "accepted as well.",
    ),
    ("is not a date", "Map the property to a trait that is a date, or make it a boolean property in ProsperStack."),
    ("not the year of a date", "Send null if there is no date: a placeholder such as 0001-01-01 is not a date."),
    (
        "less than nine digits",
        "Send dates as 2026-12-31, or as 20261231: years and Excel's day numbers are not dates here.",
    ),
    ("not a Unix time", "Send Unix times in seconds, milliseconds or microseconds, or dates as 2026-12-31."),
    (
        "is no date and time",
        "Put date_format before timezone in the rule, or send times as 2026-12-31T18:00:00Z.",
    ),
    (
        "table (values) lacks it",
        "Add the value to the rule's values, or a fallback for all other values: fallback: keep sends them "
        "unchanged if the property accepts them.",
    ),
    (
        "means neither yes nor no",
        "Replace yes_no by values in the rule, as in values: {active: true, paused: false}.",
    ),
    (
        "do not make a number",
        "Say what points and commas mean, as in number: de for 1.299,00 and number: en for 1,299.00.",
    ),
    (
        "text is compared as a number",
        "Wrap the trait in to_number() in the rule's expression, as in to_number(traits.mrr) >= `1000`, or send a "
        "number.",
    ),
    ("too much work", "Simplify the rule's expression, or send the result as a trait of its own."),
    (
        "expression cannot be evaluated",
        "Try the rule on this person on the page Mapping: some traits do not have the type that its expression "
        "expects.",
    ),
    (
        "() takes",
        "Give the rule a condition that excludes people whose traits have another type, as in "
        "when: type(traits.contacts) == 'array'.",
    ),
    ("items cannot be joined", "Join one part of each item, as in from: traits.items[*].name."),
    (
        "items of an array can be counted",
        "Exclude other values by a condition, as in when: type(traits.contacts) == 'array'.",
    ),
    ("it cannot be rounded", "Send a number, or exclude such texts by a condition: when: to_number(traits.mrr)."),
    ("it cannot be scaled", "Send a number, or exclude such texts by a condition: when: to_number(traits.mrr)."),
    ("too large", "Correct the number at its source: it is larger than ProsperStack can store."),
    ("not a finite number", "Correct the number at its source: JSON cannot represent it."),
    (
        "is not a number",
        "Add a rule with values for such texts and fallback: keep, as in values: {many: 100}; map the property to "
        "another trait, or send a number.",
    ),
)
_OF_ALL: Final = "Correct the trait at its source, or add a rule that converts it to the property's type."
_REJECTED: Final = (
    "Correct the value at its source or by a rule: a new value is sent automatically. If you corrected "
    "ProsperStack instead, retry."
)


def advice(reason: str) -> str:
    """Return advice on a problem, in one or two sentences."""
    if is_rejection(reason):
        return _REJECTED
    return next((helps for words, helps in _ADVICE if words in reason), _OF_ALL)
