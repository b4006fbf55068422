"""Counting requests and sockets: never more than the limit, never without bound in memory."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifarm.app import limits
from aifarm.app.errors import RateLimited
from aifarm.app.limits import WINDOW, Limits, Window
from aifarm.app.scopes import Principal
from aifarm.app.sessions import Sessions

steps = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=60)


@given(st.integers(1, 5), steps)
def test_nobody_is_granted_more_than_the_limit_in_a_window(
    limit: int, requests: list[tuple[str, float]]
) -> None:
    now = 1_700_000_000.0
    window = Window(limit, lambda: now)
    granted: Counter[tuple[str, int]] = Counter()
    for key, pause in requests:
        now += pause
        mine = (key, int(now // WINDOW))
        allowance = window.take(key)
        assert allowance.granted == (granted[mine] < limit)
        granted[mine] += allowance.granted
        assert allowance.remaining == limit - granted[mine]
        assert 0 < allowance.reset - now <= WINDOW
        assert allowance.reset % WINDOW == 0
        assert now + allowance.retry_after > allowance.reset


@given(steps)
def test_one_who_waits_as_long_as_is_said_is_granted_again(
    requests: list[tuple[str, float]],
) -> None:
    now = 0.0
    window = Window(1, lambda: now)
    for key, pause in requests:
        now += pause
        allowance = window.take(key)
        if not allowance.granted:
            now += allowance.retry_after
            assert window.take(key).granted


def test_memory_is_bounded_and_the_rest_share_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS", 10)
    window = Window(5, lambda: 0.0)
    allowances = [window.take(f"address {number}") for number in range(1_000)]
    assert len(window._taken) == 11
    assert all(one.granted for one in allowances[:10])
    assert not allowances[-1].granted
    assert window.take("address 0").granted


def test_failed_logins_have_a_hundredth_of_what_a_token_has() -> None:
    farm = Limits(6_000, lambda: 0.0)
    assert farm.known("token").headers["X-RateLimit-Limit"] == "6000"
    assert [farm.failed("10.0.0.1").granted for _ in range(61)].count(True) == 60
    assert farm.failed("10.0.0.2").granted
    assert farm.open("10.0.0.1").granted
    assert not Limits(1, lambda: 0.0).failed("x").remaining


def test_what_is_not_metered_costs_nothing() -> None:
    farm = Limits(2, lambda: 0.0)
    farm.known("token")
    assert {farm.known("token", 0).remaining for _ in range(10)} == {1}


class Socket:
    def __init__(self, token_id: str, expires_at: float | None = None) -> None:
        self.principal = Principal(token_id, "ada", "researcher", expires_at=expires_at)
        self.closed_with: tuple[int, str] | None = None

    def close(self, code: int, reason: str) -> None:
        self.closed_with = (code, reason)


def test_a_token_has_no_more_sockets_than_the_limit() -> None:
    sessions = Sessions(2, lambda: 0.0)
    mine = [Socket("mine"), Socket("mine")]
    for socket in mine:
        sessions.admit(socket.principal)
        sessions.opened(socket)
    with pytest.raises(RateLimited, match="has 2 connections open"):
        sessions.admit(mine[0].principal)
    sessions.admit(Socket("other").principal)
    sessions.closed(mine[0])
    sessions.closed(mine[0])
    sessions.admit(mine[0].principal)


def test_sockets_end_with_their_token() -> None:
    now = 0.0
    sessions = Sessions(9, lambda: now)
    sockets = [Socket("short", 10.0), Socket("long", 1e9), Socket("stolen")]
    for socket in sockets:
        sessions.opened(socket)
    sessions.revoked("stolen")
    now = 10.0
    sessions.tick()
    assert [socket.closed_with for socket in sockets] == [
        (1008, "the token has expired"),
        None,
        (1008, "the token was revoked"),
    ]
