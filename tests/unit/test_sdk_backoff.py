"""Pauses between tries grow, are bounded, and obey the farm."""

from hypothesis import given
from hypothesis import strategies as st

from aifarm.sdk.backoff import CAP, FIRST, PATIENCE, TRIES, again, delay

chance = st.floats(0, 1)
tries = st.integers(1, 10_000)


@given(tries, chance)
def test_a_pause_is_never_nothing_and_never_longer_than_the_cap(number: int, luck: float) -> None:
    assert FIRST / 2 <= delay(number, luck) <= CAP


@given(st.integers(1, 5), chance)
def test_a_later_pause_is_not_shorter_with_the_same_luck(number: int, luck: float) -> None:
    assert delay(number, luck) <= delay(number + 1, luck)


@given(tries, chance, st.floats(0, 1000))
def test_the_farm_is_not_asked_again_before_it_wishes(
    number: int, luck: float, wish: float
) -> None:
    assert delay(number, luck, wish) >= wish


@given(chance)
def test_one_request_is_given_up_after_its_tries_or_for_a_long_wait(luck: float) -> None:
    assert again(TRIES - 1, luck) is not None
    assert again(TRIES, luck) is None
    assert again(1, luck, PATIENCE + 1) is None
