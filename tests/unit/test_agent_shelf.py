"""What goes from a full cache, and what never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifarm_agent.shelf import NoRoom, Shelf

NAMES = st.sampled_from("abcdef")
WANTED = st.lists(st.tuples(NAMES, st.integers(0, 60), st.sets(NAMES, max_size=3)), max_size=30)


@given(WANTED)
def test_the_limit_is_kept_and_what_is_in_use_stays(wanted):
    shelf, there = Shelf(100), {}
    for name, size, in_use in wanted:
        before = dict(there)
        there.pop(name, None)
        try:
            going = shelf.put(name, size, in_use)
        except NoRoom:
            kept = sum(there[other] for other in there if other in in_use)
            assert kept + size > 100, "there was room"
        else:
            assert not in_use & set(going) - {name}
            for other in going:
                del there[other]
            there[name] = size
        assert shelf.size == sum(there.values()) <= 100
        assert all(other in shelf for other in before.keys() & in_use - {name})


def test_what_was_used_longest_ago_goes_first():
    shelf = Shelf(30)
    for name in "abc":
        shelf.put(name, 10)
    shelf.use("a")
    assert shelf.put("d", 15) == ["b", "c"]


def test_a_lower_limit_is_kept_but_for_what_is_in_use():
    shelf = Shelf(10)
    for name in "abc":
        shelf.keep(name, 10)
    assert shelf.trim({"a"}) == ["b", "c"]
    assert shelf.trim({"a"}) == []
    with pytest.raises(NoRoom):
        shelf.put("d", 1, {"a"})
