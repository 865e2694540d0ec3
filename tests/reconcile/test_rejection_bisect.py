"""Bisection of rejected updates."""

import math

from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.reconcile.rejection_bisect import RejectionBisect


@given(st.integers(1, 40), st.data())
def test_fault_is_found_in_log2_requests(count: int, data: st.DataObject) -> None:
    """One rejected property among n is found in at most ceil(log2 n) requests after the rejected one."""
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


def test_reason_is_that_of_the_smallest_update() -> None:
    """The reason is ProsperStack's for the smallest rejected update."""
    search = RejectionBisect({"a": 1, "b": 2}, "something is wrong")

    assert search.accepted().fault is not None
    rejected = search.rejected("a is wrong").fault
    accepted = search.accepted().fault

    assert rejected is not None
    assert (rejected.key, rejected.reason) == ("a", "a is wrong")
    assert accepted is not None
    assert (accepted.key, accepted.reason) == ("b", "something is wrong")
