"""A crowd of agents that comes back at once (FAULTS row 33)."""

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aifarm.app.admission import AT_ONCE, Gate
from aifarm.app.errors import Forbidden
from aifarm.app.links import Links
from aifarm.app.scopes import Principal
from aifarm.app.writer import Done, Operation
from aifarm.wire import agent as wire

LEASE, REATTACH = 60.0, 120.0


class Socket:
    def __init__(self) -> None:
        self.sent: list[wire.ServerMessage] = []

    def send(self, message: wire.ServerMessage) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None:
        self.sent.clear()


class Crowd:
    """Agents that were all away, and a writer that takes its time."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.queue: deque[tuple[Operation, Done]] = deque()
        self.links = Links(
            lambda operation, done: self.queue.append((operation, done)),
            lambda: self.now,
            lambda: self.now,
            lambda _: None,
            lambda _: None,
            lease=LEASE,
            heartbeat=10.0,
            reattach=REATTACH,
            clients=count,
        )
        self.names = [f"ws{number}" for number in range(count)]
        self.links.await_return(self.names)
        self.sockets = {name: Socket() for name in self.names}

    def hello(self, name: str) -> Any:
        link = self.links.opened(name, Principal("token", "lab", "agent"), self.sockets[name])
        hello = wire.Hello(
            boot_id="b",
            machine_id=name,
            agent_version="0",
            protocol=wire.PROTOCOL,
            resources=wire.Resources(),
        )
        self.links.received(link, hello)
        return link

    def write_one(self) -> None:
        """What is first in the queue; only a hello has a value, its verdicts."""
        _, done = self.queue.popleft()
        done(())

    def write_all(self) -> None:
        while self.queue:
            self.write_one()

    def welcomed(self) -> set[str]:
        return {
            name
            for name, socket in self.sockets.items()
            if any(isinstance(message, wire.Welcome) for message in socket.sent)
        }


def test_a_crowd_is_welcomed_in_turn_and_nobody_in_it_is_declared_lost() -> None:
    crowd = Crowd(1000)
    crowd.now = REATTACH - 1
    for name in crowd.names[1:]:
        crowd.hello(name)
    assert len(crowd.queue) == AT_ONCE
    crowd.now = REATTACH + LEASE / 2
    crowd.links.tick()
    assert len(crowd.queue) == AT_ONCE + 1, "only the one that never came lost its lease"
    crowd.queue.pop()
    while crowd.queue:
        crowd.write_one()
        assert len(crowd.queue) <= AT_ONCE
    assert crowd.welcomed() == set(crowd.names[1:])


def test_one_that_gives_up_before_its_turn_is_passed_over() -> None:
    crowd = Crowd(AT_ONCE + 3)
    links = [crowd.hello(name) for name in crowd.names]
    crowd.links.closed(links[AT_ONCE])
    crowd.write_all()
    assert crowd.welcomed() == set(crowd.names) - {crowd.names[AT_ONCE]}


def test_a_connection_that_closes_while_a_newer_one_says_hello_does_not_take_the_client_away() -> (
    None
):
    crowd = Crowd(1)
    older = crowd.hello("ws0")
    crowd.write_all()
    crowd.hello("ws0")
    crowd.links.closed(older)
    assert len(crowd.queue) == 1, "the hello alone: nobody leaves behind it"
    crowd.write_all()
    assert crowd.links.connected("ws0")


def test_a_client_is_away_once_the_newer_connection_has_failed_too() -> None:
    crowd = Crowd(1)
    older = crowd.hello("ws0")
    crowd.write_all()
    newer = crowd.hello("ws0")
    crowd.links.closed(older)
    crowd.links.closed(newer)
    crowd.write_one()
    assert len(crowd.queue) == 1, "it leaves"
    crowd.hello("ws0")
    crowd.queue.popleft()
    _, done = crowd.queue.popleft()
    done(Forbidden())
    assert not crowd.queue, "a hello that was refused takes nobody away a second time"
    assert not crowd.links.connected("ws0")


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=40))
def test_a_gate_starts_everything_in_order_and_so_many_at_a_time(
    limit: int, moves: list[bool]
) -> None:
    gate, started, entered, left = Gate(limit), list[int](), 0, 0
    for enters in [*moves, *[False] * len(moves)]:
        if enters:
            gate.enter(lambda number=entered: started.append(number))  # type: ignore[misc]
            entered += 1
        elif left < len(started):
            left += 1
            gate.leave()
        assert started == list(range(min(entered, left + limit)))
