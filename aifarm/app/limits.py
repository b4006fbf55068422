"""How often somebody may ask: fixed windows of a minute, counted without any I/O."""

from collections.abc import Hashable

from msgspec import Struct

from aifarm.app.ports import Clock

WINDOW = 60
"""Seconds; windows begin at whole multiples of it since the epoch."""

KEYS = 10_000
"""Different keys counted in one window: what comes after them shares one count."""

STRANGERS = 100
"""A failed login costs an address as much as so many requests cost a token."""


class Allowance(Struct, frozen=True):
    """What is left of `limit` requests until `reset`, in seconds since the epoch."""

    granted: bool
    limit: int
    remaining: int
    reset: int
    retry_after: int

    @property
    def headers(self) -> dict[str, str]:
        """As the contract names them."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


class Window:
    """Counts `limit` requests of each key per window. Memory is bounded by KEYS."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._number = 0
        self._taken: dict[Hashable, int] = {}

    def take(self, key: Hashable, cost: int = 1) -> Allowance:
        """Counts one request of `key`, and says whether it is within the limit."""
        now = self._clock()
        number = int(now // WINDOW)
        if number != self._number:
            self._number = number
            self._taken.clear()
        if key not in self._taken and len(self._taken) >= KEYS:
            key = None
        taken = min(self._taken.get(key, 0) + cost, self._limit + 1)
        self._taken[key] = taken
        reset = (number + 1) * WINDOW
        return Allowance(
            granted=taken <= self._limit,
            limit=self._limit,
            remaining=max(self._limit - taken, 0),
            reset=reset,
            retry_after=max(1, int(reset - now) + 1),
        )


class Limits:
    """The farm's limits: `per_token` requests a minute, and for who has no valid token as many
    open requests, but only a hundredth of failed logins, by address."""

    def __init__(self, per_token: int, clock: Clock) -> None:
        self._tokens = Window(per_token, clock)
        self._addresses = Window(per_token, clock)
        self._failures = Window(max(1, per_token // STRANGERS), clock)

    def known(self, token_id: str, cost: int = 1) -> Allowance:
        return self._tokens.take(token_id, cost)

    def open(self, address: str) -> Allowance:
        return self._addresses.take(address)

    def failed(self, address: str) -> Allowance:
        return self._failures.take(address)
