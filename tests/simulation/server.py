"""The real facade, inline on the virtual clock, over a real database; it can crash."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aifarm.app.errors import FarmError, Unavailable
from aifarm.app.facade import Facade, Settings, digest_of
from aifarm.app.links import Link
from aifarm.app.records import PackageRecord, Part, TaskRecord, TokenRecord
from aifarm.app.scopes import Principal
from aifarm.app.writer import Inline, Operation
from aifarm.artifacts import open_artifacts
from aifarm.store import open_store
from simulation.clockwork import Clockwork
from simulation.network import Channel

EPOCH = 1_700_000_000.0
SETTINGS = Settings(lease=60.0, heartbeat=10.0, reattach=120.0)
AGENT = Principal("agent-token", "agents", "agent")
USERS = {name: Principal(f"{name}-token", name, "researcher") for name in ("ada", "ben")}


class FaultyStore:
    """The real store; its disk refuses a commit now and then."""

    def __init__(self, store: Any, fails: Callable[[], bool]) -> None:
        self._store = store
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._store.transaction() as tx:
            yield tx
            if self._fails():
                raise Unavailable("The database's disk is full.")


class SimServer:
    """`facade` is None while it is down; `deaf` in the instant between a commit and the crash."""

    def __init__(self, clock: Clockwork, chance: random.Random, url: str) -> None:
        self._clock = clock
        self._chance = chance
        self._url = url
        self._channels: list[Channel] = []
        self._ids = 0
        self.crash_chance = 0.0
        self.fail_chance = 0.0
        self.crashes = 0
        self.deaf = False
        self.facade: Facade | None = None
        clock.every(1.0, self._tick)
        self.start()
        self.must(_seed_rows)

    def start(self) -> None:
        store = open_store(self._url)
        self._store = store
        self.facade = Facade(
            FaultyStore(store, lambda: self._chance.random() < self.fail_chance),
            open_artifacts("memory://simulation"),
            clock=lambda: EPOCH + self._clock.now,
            monotonic=lambda: self._clock.now,
            new_id=self._new_id,
            executor=Inline(),
            post=self._post,
            settings=SETTINGS,
        )
        self.facade.start()

    def crash(self) -> None:
        """As SIGKILL: what is committed stays, everything else is gone."""
        if self.facade is None:
            return
        self.crashes += 1
        self.facade, self.deaf = None, False
        self._store.close()
        for channel in self._channels:
            channel.cut()
        self._channels.clear()
        self._clock.after(self._chance.uniform(1, 90), self.start)

    def accept(self, client_id: str, channel: Channel) -> bool:
        """A new connection, if there is somebody to take it."""
        if self.facade is None:
            return False
        links = self.facade.links
        link: Link = links.opened(client_id, AGENT, channel)
        born = self.facade

        def arrived(message: Any) -> None:
            if self.facade is born:
                links.received(link, message)

        def lost() -> None:
            if self.facade is born:
                links.closed(link)

        channel.to_server, channel.server_lost = arrived, lost
        self._channels.append(channel)
        return True

    def ask(self, operation: Operation) -> Any:
        """The operation's value; a FarmError or None where there is no answer."""
        answers: list[Any] = []
        if self.facade is not None:
            self.facade.submit(operation, answers.append)
        return answers[0] if answers else None

    def must(self, operation: Operation) -> Any:
        value = self.ask(operation)
        assert not isinstance(value, FarmError), value
        return value

    def tasks(self) -> list[TaskRecord]:
        assert self.facade is not None
        return list(self.facade.store.tasks(limit=1000).items)

    def _post(self, call: Callable[[], None]) -> None:
        """Between the commit and what follows from it there is room for a crash."""
        if self._chance.random() < self.crash_chance:
            self._clock.after(0.0, self.crash)
            self.deaf = True
        if not self.deaf:
            call()

    def _tick(self) -> None:
        if self.facade is not None:
            self.facade.links.tick()

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:08x}-{self._chance.getrandbits(32):08x}"


def _seed_rows(draft: Any) -> None:
    draft.set_token(TokenRecord("agent-token", "agents", "agent", digest_of("x"), draft.at))
    draft.add_package(
        PackageRecord(
            name="model",
            version="1",
            sha256="0" * 64,
            size=1,
            kind="declarative",
            manifest="{}",
            key="packages/model",
            parts=(Part(0, 1, "0" * 64),),
            publisher="ada",
            created_at=draft.at,
        )
    )
