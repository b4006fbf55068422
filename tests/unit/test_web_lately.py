from hypothesis import given
from hypothesis import strategies as st

from aifarm.web.lately import Lately


@given(st.lists(st.tuples(st.floats(0, 300), st.integers(1, 5)), max_size=40))
def test_what_was_added_lately_is_counted_to_a_sixtieth_of_the_time(
    added: list[tuple[float, int]],
) -> None:
    now = 0.0
    lately = Lately(120.0, lambda: now)
    for now, count in sorted(added):
        lately.add(count)
        surely = sum(n for at, n in added if now - 118.0 < at < now)
        perhaps = sum(n for at, n in added if now - 120.0 <= at <= now)
        assert surely <= lately.count <= perhaps
    now += 121.0
    assert (lately.count, lately.per_second) == (0, 0.0)


def test_a_mean_is_over_the_time_that_was_watched() -> None:
    now = 100.0
    lately = Lately(60.0, lambda: now)
    lately.add(10)
    assert lately.per_second == 10.0, "of one part at least"
    now = 110.0
    assert lately.per_second == 1.0
    now = 150.0
    assert lately.per_second == 0.2
