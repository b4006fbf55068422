"""A seeded network between agents and the server: real frames, unreliable delivery.

A connection keeps the order of what it carries, as TCP does, unless the seed says that messages
of ranks are doubled or overtake each other: their numbers must bear that. A cut loses what is
under way. In a partition a connection carries nothing, and each side finds out by its pings.
"""

import random
from collections.abc import Callable
from typing import Any

from aifarm.wire.agent import AboutRank, ServerMessage
from aifarm.wire.codec import decode_client, decode_server, encode
from simulation.clockwork import Clockwork

PING_TIMEOUT = 20.0


class Channel:
    """One connection. The server sees it as `Connection` (send, close)."""

    def __init__(self, clock: Clockwork, chance: random.Random, unruly: bool) -> None:
        self._clock = clock
        self._chance = chance
        self._unruly = unruly
        self._arrival = {"up": 0.0, "down": 0.0}
        self.open = True
        self.silent = False
        self.to_server: Callable[[Any], None] = lambda message: None
        self.to_agent: Callable[[Any], None] = lambda message: None
        self.server_lost: Callable[[], None] = lambda: None
        self.agent_lost: Callable[[], None] = lambda: None

    # the agent's end

    def say(self, message: Any) -> None:
        frame = encode(message)
        unruly = self._unruly and isinstance(message, AboutRank)
        copies = 2 if unruly and self._chance.random() < 0.1 else 1
        for _ in range(copies):
            overtakes = unruly and self._chance.random() < 0.1
            self._carry("up", lambda: self.to_server(decode_client(frame)), overtakes)

    # the server's end

    def send(self, message: ServerMessage) -> None:
        frame = encode(message)
        self._carry("down", lambda: self.to_agent(decode_server(frame)), False)

    def close(self, code: int, reason: str) -> None:
        self.cut()

    # what happens to it

    def cut(self) -> None:
        """Both ends learn of it, each in its own time; what is under way is lost."""
        if self.open:
            self.open = False
            self._clock.after(self._delay(), self.server_lost)
            self._clock.after(self._delay(), self.agent_lost)

    def fall_silent(self) -> None:
        """Half-open: nothing arrives any more, and pings find out."""
        if self.open and not self.silent:
            self.silent = True
            self._clock.after(self._chance.uniform(1, PING_TIMEOUT), self.cut)

    def _carry(self, way: str, deliver: Callable[[], None], overtakes: bool) -> None:
        if not self.open or self.silent:
            return
        arrival = self._clock.now + self._delay()
        if not overtakes:
            arrival = self._arrival[way] = max(arrival, self._arrival[way])

        def arrive() -> None:
            if self.open and not self.silent:
                deliver()

        self._clock.after(arrival - self._clock.now, arrive)

    def _delay(self) -> float:
        slow = self._chance.random() < 0.02
        return self._chance.uniform(0.5, 5.0) if slow else self._chance.uniform(0.001, 0.05)
