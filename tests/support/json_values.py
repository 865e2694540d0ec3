"""Whatever JSON can be."""

from hypothesis import strategies as st

#: Any JSON value, with the numbers that Python reads and JSON has no form for.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
