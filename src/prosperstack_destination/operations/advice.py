"""What to do about a problem: a pure function of its reason.

A reason is a sentence of the mapping's (`mapping.coercion`, `mapping.cleaning`, `mapping.evaluation`) or
ProsperStack's own words. Whatever is not known here gets advice that holds for all.
"""

from typing import Final

from prosperstack_destination.state.problems import is_rejection

#: What is in a reason, and what helps; the first that fits.
_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    (
        "is not a single value",
        "Add a rule that takes one part of it, as in from: traits.address.city, or that makes one value of an "
        "array: join or count.",
    ),
    (
        "none of true, t, 1, false, f, 0",
        "Add a rule with values, as in values: {yes: true, no: false}, or send true and false.",
    ),
    (
        "only 1 and 0 are booleans",
        "Add a rule that compares the number, as in from: traits.logins > `0`, or send true and false.",
    ),
    (
        "is not an ISO 8601 date",
        'Add a rule with date_format, as in date_format: "%d/%m/%Y", or send dates as 2026-12-31.',
    ),
    (
        "date of the form",
        "These dates are written in another form than the rule's date_format: correct it, or take the dates that "
        "differ from another trait with first_of.",
    ),
    ("is not a date", "Map the property to a trait that is a date, or make it a boolean property in ProsperStack."),
    ("not a Unix time", "Add a rule with scale that makes seconds of it, or send dates as 2026-12-31."),
    (
        "is no date and time",
        "Put date_format before timezone in the rule, or send times as 2026-12-31T18:00:00Z.",
    ),
    ("none of the rule's values", "Add the value to the rule's values, or a fallback for all that are not listed."),
    ("too much work", "Make the rule's expression simpler, or send the result as a trait of its own."),
    (
        "expression cannot be evaluated",
        "Try the rule on this person on the page Mapping: some of their traits are not as its expression takes "
        "them.",
    ),
    ("() takes", "Give the rule a condition (when) that leaves out people whose traits are of another type."),
    ("items cannot be joined", "Join one part of each item, as in from: traits.items[*].name."),
    ("items of an array can be counted", "Count an array, or leave the count out of the rule."),
    ("it cannot be rounded", "Give the rule values that turn such texts into numbers, or send a number."),
    ("it cannot be scaled", "Give the rule values that turn such texts into numbers, or send a number."),
    ("too large", "Correct the number at its source: it is larger than ProsperStack could keep."),
    ("not a finite number", "Correct the number at its source: JSON has no form for it."),
    (
        "is not a number",
        "Add a rule with values that turns such texts into numbers, map the property to another trait, or send a "
        "number.",
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
