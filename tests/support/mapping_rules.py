"""Rules of any kind, for Hypothesis."""

from typing import Any

from hypothesis import strategies as st

#: Any text that a call or a file may have: no half of a pair of signs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = TEXTS.filter(bool)
_SCALARS = st.one_of(
    st.booleans(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
_EXPRESSIONS = st.sampled_from(
    ["traits.plan", 'traits."Last contacted"', "userId", "length(traits.a[?b == 'c: #d'])", "traits.x || `1`"]
)
_CLEAN_UPS = st.one_of(
    st.sampled_from(["trim", "lower", "upper", "title", "count"]),
    st.builds(lambda decimals: {"round": decimals}, st.integers(-15, 15)),
    st.builds(lambda factor: {"scale": factor}, st.sampled_from([0.01, 100.0, -1.5])),
    st.builds(lambda between: {"join": between}, TEXTS),
    st.sampled_from(
        [
            {"date_format": "%d/%m/%Y"},
            {"date_format": ["%d/%m/%Y", "%Y"]},
            {"timezone": "Europe/Berlin"},
            {"max_length": 50},
        ]
    ),
)


@st.composite
def _rules(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {"property": draw(st.one_of(st.sampled_from(["plan", "name", "seats"]), _NAMES))}
    if draw(st.integers(0, 9)) == 0:
        return {**rule, "ignore": True}
    source = draw(st.sampled_from(["trait", "from", "first_of", "default"]))
    if source == "first_of":
        rule["first_of"] = draw(st.lists(_EXPRESSIONS, min_size=1, max_size=3))
    elif source != "default":
        rule[source] = draw(_NAMES if source == "trait" else _EXPRESSIONS)
    if draw(st.booleans()):
        rule["when"] = draw(_EXPRESSIONS)
    if draw(st.booleans()):
        rule["clean"] = draw(st.lists(_CLEAN_UPS, min_size=1, max_size=3))
    if draw(st.booleans()):
        rule["values"] = draw(st.dictionaries(TEXTS, st.one_of(_SCALARS, st.none()), min_size=1, max_size=3))
        if draw(st.booleans()):
            rule["fallback"] = draw(st.one_of(_SCALARS, st.none()))
    if source == "default" or draw(st.booleans()):
        rule["default"] = draw(_SCALARS)
    return rule


#: A rule, in the form of a mapping file, that has no fault.
RULES = _rules()
