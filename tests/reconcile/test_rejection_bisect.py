"""Finding the property at fault."""

import math

from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.reconcile.rejection_bisect import RejectionBisect


@given(st.integers(1, 40), st.data())
def test_the_fault_is_found_in_few_requests(count: int, data: st.DataObject) -> None:
    """One property at fault among n is found in at most ceil(log2 n) requests after the rejected one."""
    properties: dict[str, PropertyValue] = {f"p{n}": n for n in range(count)}
    culprits = data.draw(st.sets(st.sampled_from(sorted(properties)), min_size=1))
    search, requests = RejectionBisect(properties, "first"), 0
    while search.fault is None:
        requests += 1
        assert 0 < len(search.attempt) < len(search.candidates)
        search = search.rejected("again") if culprits & search.attempt.keys() else search.accepted()

    assert search.fault.key in culprits
    assert search.fault.value == properties[search.fault.key]
    assert requests <= math.ceil(math.log2(count))


def test_the_words_about_the_smallest_update_are_kept() -> None:
    """The reason is what ProsperStack said of the smallest update that it rejected."""
    search = RejectionBisect({"a": 1, "b": 2}, "something is wrong")

    assert search.accepted().fault is not None
    rejected = search.rejected("a is wrong").fault
    accepted = search.accepted().fault

    assert rejected is not None
    assert (rejected.key, rejected.reason) == ("a", "a is wrong")
    assert accepted is not None
    assert (accepted.key, accepted.reason) == ("b", "something is wrong")
