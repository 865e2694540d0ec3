"""What to do about a problem: a pure function of its reason.

A reason is a sentence of the mapping's (`mapping.coercion`, `mapping.transforms`, `mapping.expression_runner`) or
ProsperStack's own words. Whatever is not known here gets advice that holds for all.
"""

from typing import Final

from prosperstack_destination.store.problems import is_rejection

#: What is in a reason, and what helps; the first that fits. No advice makes a problem of a value that is good now:
#: a lookup table goes with `fallback: keep`, and what holds for some values alone goes with a condition.
_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    (
        "is not a single value",
        "Add a rule that takes one part of it, as in from: traits.address.city, or makes text of an array: join.",
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
        'Add a rule with date_format, as in date_format: "%d/%m/%Y" (ISO dates are read as well), or send dates as '
        "2026-12-31.",
    ),
    (
        "date of the form",
        'Add the other form to the rule\'s date_format, as in date_format: ["%d/%m/%Y", "%d.%m.%Y"]. ISO dates are '
        "read as well.",
    ),
    ("is not a date", "Map the property to a trait that is a date, or make it a boolean property in ProsperStack."),
    ("not the year of a date", "Send null where there is no date: a placeholder such as 0001-01-01 is none."),
    (
        "less than nine digits",
        "Send dates as 2026-12-31, or as 20261231: years and days of Excel are no dates here.",
    ),
    ("not a Unix time", "Send Unix times in seconds, milliseconds or microseconds, or dates as 2026-12-31."),
    (
        "is no date and time",
        "Put date_format before timezone in the rule, or send times as 2026-12-31T18:00:00Z.",
    ),
    (
        "table (values) lacks it",
        "Add the value to the rule's values, or a fallback for all that are not listed: fallback: keep sends them "
        "as they are where the property can take them.",
    ),
    (
        "text is compared as a number",
        "Put the trait into to_number() in the rule's expression, as in to_number(traits.mrr) >= `1000`, or send a "
        "number.",
    ),
    ("too much work", "Make the rule's expression simpler, or send the result as a trait of its own."),
    (
        "expression cannot be evaluated",
        "Try the rule on this person on the page Mapping: some of their traits are not as its expression takes "
        "them.",
    ),
    (
        "() takes",
        "Give the rule a condition that leaves out people whose traits are of another type, as in "
        "when: type(traits.contacts) == 'array'.",
    ),
    ("items cannot be joined", "Join one part of each item, as in from: traits.items[*].name."),
    (
        "items of an array can be counted",
        "Leave out what is no array by a condition, as in when: type(traits.contacts) == 'array'.",
    ),
    ("it cannot be rounded", "Send a number, or leave such texts out by a condition: when: to_number(traits.mrr)."),
    ("it cannot be scaled", "Send a number, or leave such texts out by a condition: when: to_number(traits.mrr)."),
    ("too large", "Correct the number at its source: it is larger than ProsperStack could keep."),
    ("not a finite number", "Correct the number at its source: JSON has no form for it."),
    (
        "is not a number",
        "Add a rule with values for such texts and fallback: keep, as in values: {many: 100}; map the property to "
        "another trait, or send a number.",
    ),
)
_OF_ALL: Final = "Correct the trait at its source, or add a rule that makes a value of the property's type of it."
_REJECTED: Final = (
    "Correct the value at its source or by a rule: another value is sent by itself. If something was changed in "
    "ProsperStack instead, try again."
)


def advice(reason: str) -> str:
    """What helps against a problem, in a sentence or two."""
    if is_rejection(reason):
        return _REJECTED
    return next((helps for words, helps in _ADVICE if words in reason), _OF_ALL)
