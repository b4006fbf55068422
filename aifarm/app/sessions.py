"""Open sockets by the token they were opened with: how many, and until when."""

from collections import Counter
from typing import Protocol

from aifarm.app.errors import RateLimited
from aifarm.app.ports import Clock
from aifarm.app.scopes import Principal

EXPIRED, REVOKED = "the token has expired", "the token was revoked"
LOGGED_OUT = "logged out"
POLICY_VIOLATION = 1008


class Session(Protocol):
    """A socket. Once it is closed, nothing that it still says is heard."""

    principal: Principal

    def close(self, code: int, reason: str) -> None: ...


class Sessions:
    """All open sockets, of agents and of readers. `limit`: how many one token may have open."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._open: set[Session] = set()
        self._count: Counter[str] = Counter()

    def admit(self, principal: Principal) -> None:
        """Raises RateLimited where the token has as many sockets open as it may."""
        if self._count[principal.token_id] >= self._limit:
            raise RateLimited(f"This token has {self._limit} connections open; close some first.")

    def opened(self, session: Session) -> None:
        self._open.add(session)
        self._count[session.principal.token_id] += 1

    def closed(self, session: Session) -> None:
        if session not in self._open:
            return
        self._open.discard(session)
        token_id = session.principal.token_id
        self._count[token_id] -= 1
        if not self._count[token_id]:
            del self._count[token_id]

    def revoked(self, token_id: str) -> None:
        """Its sockets end now."""
        for session in [one for one in self._open if one.principal.token_id == token_id]:
            session.close(POLICY_VIOLATION, REVOKED)

    def logged_out(self, login: str) -> None:
        """The sockets that this browser opened end now."""
        for session in [one for one in self._open if one.principal.login == login]:
            session.close(POLICY_VIOLATION, LOGGED_OUT)

    def tick(self) -> None:
        """Ends the sockets of tokens that expired. To be called each second or so."""
        now = self._clock()
        for session in [one for one in self._open if one.principal.expired(now)]:
            session.close(POLICY_VIOLATION, EXPIRED)

    def close_all(self, code: int, reason: str) -> None:
        for session in list(self._open):
            session.close(code, reason)
