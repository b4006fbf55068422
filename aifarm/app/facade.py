"""The Farm facade: what every host (server, Jupyter, simulation) talks to.

Data flows one way: an operation goes to the writer, the writer applies it and commits, and only
then do callers get their answer, clients their commands and readers the news.
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from aifarm.app.draft import Changes, Draft
from aifarm.app.errors import Deposed, FarmError
from aifarm.app.limits import Limits
from aifarm.app.links import Links
from aifarm.app.live import Feed, Mailbox
from aifarm.app.observer import Observer
from aifarm.app.ports import Artifacts, Clock, NewId, Store
from aifarm.app.records import ClientRecord, LoginRecord, TaskRecord, TokenRecord
from aifarm.app.scopes import Principal, principal
from aifarm.app.sessions import Sessions
from aifarm.app.views import client_full, task_full
from aifarm.app.writer import Done, Executor, Operation, Writer
from aifarm.wire import live
from aifarm.wire.rest import ClientFull

RECENT = 2_000
"""Final tasks kept in memory, since they are asked for soon after their end."""

SNAPSHOT = 500
"""Tasks in one part of a snapshot."""


class Settings(Struct, frozen=True):
    """Seconds. `lease`: how long a client may be away before others get its tasks; `reattach`:
    how long all may be after a start of the server. `rate_limit`: requests of one token in a
    minute; `connections`: sockets it may have open; `clients`: how many Client-IDs may be its own.
    `storage`: MiB of packages and checkpoints that each submitter may have, None for no limit."""

    lease: float = 60.0
    heartbeat: float = 10.0
    reattach: float = 120.0
    rate_limit: int = 6_000
    connections: int = 4_096
    clients: int = 4_096
    storage: int | None = None


class View:
    """What is committed, for readers on the event loop. Holds immutable values only."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.clients: dict[str, ClientRecord] = {}
        self._on_client: dict[str, dict[str, None]] = {}
        self._recent: OrderedDict[str, TaskRecord] = OrderedDict()
        self._tokens: dict[str, TokenRecord] = {}
        self._token_ids: dict[str, TokenRecord] = {}
        self._logins: dict[str, LoginRecord] = {}

    def task(self, task_id: str) -> TaskRecord | None:
        return self.tasks.get(task_id) or self._recent.get(task_id)

    def token(self, secret: str) -> TokenRecord | None:
        digest = digest_of(secret)
        known = self._tokens.get(digest)
        return known if known and hmac.compare_digest(known.digest, digest) else None

    def login(self, secret: str) -> LoginRecord | None:
        digest = digest_of(secret)
        known = self._logins.get(digest)
        return known if known and hmac.compare_digest(known.digest, digest) else None

    def token_of(self, token_id: str) -> TokenRecord | None:
        return self._token_ids.get(token_id)

    @property
    def tokens(self) -> list[TokenRecord]:
        return list(self._tokens.values())

    def tasks_on(self, client_id: str) -> list[TaskRecord]:
        """Tasks with a rank on this client, in the order in which they got there."""
        return [self.tasks[task_id] for task_id in self._on_client.get(client_id, ())]

    def update(self, changes: Changes) -> frozenset[str]:
        """Takes a batch in. Returns the tasks whose state is another than before."""
        moved = set()
        for record in changes.tasks:
            task_id = record.task.id
            before = self.task(task_id)
            if before is None or (before.task.state, before.deleted) != (
                record.task.state,
                record.deleted,
            ):
                moved.add(task_id)
            self._move(task_id, record)
            if record.task.final:
                self.tasks.pop(task_id, None)
                self._remember(record)
            else:
                self.tasks[task_id] = record
        for record in changes.settled:
            self._remember(record)
        self.clients.update((client.id, client) for client in changes.clients)
        for client_id in changes.forgotten:
            self.clients.pop(client_id, None)
        self._tokens.update((token.digest, token) for token in changes.tokens)
        self._token_ids.update((token.id, token) for token in changes.tokens)
        self._logins.update((login.digest, login) for login in changes.logins)
        for digest in changes.logged_out:
            self._logins.pop(digest, None)
        return frozenset(moved)

    def _move(self, task_id: str, record: TaskRecord) -> None:
        """Where a task runs: asked for with each client that is shown, however many wait."""
        known = self.tasks.get(task_id)
        before = {rank.client_id for rank in known.task.ranks} if known is not None else set()
        after = () if record.task.final else {rank.client_id for rank in record.task.ranks}
        for client_id in before.difference(after):
            del self._on_client[client_id][task_id]
            if not self._on_client[client_id]:
                del self._on_client[client_id]
        for client_id in after:
            self._on_client.setdefault(client_id, {})[task_id] = None

    def _remember(self, record: TaskRecord) -> None:
        self._recent[record.task.id] = record
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)


class Facade:
    """The whole farm behind one door. `post` brings a call from the writer to this side."""

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        *,
        clock: Clock,
        monotonic: Clock,
        new_id: NewId,
        executor: Executor,
        post: Callable[[Callable[[], None]], None],
        settings: Settings,
        observer: Observer | None = None,
    ) -> None:
        self.store = store
        self.artifacts = artifacts
        self.clock = clock
        self.new_id = new_id
        self.view = View()
        self.feed = Feed(self.show_client)
        self.limits = Limits(settings.rate_limit, clock)
        self.sessions = Sessions(settings.connections, clock)
        self.storage = settings.storage
        self._draft = Draft(store, new_id)
        self._observer = observer or Observer()
        self._writer = Writer(
            store, self._draft, clock, executor, post, self._deliver, self._observer
        )
        self.links = Links(
            self._writer.submit,
            clock,
            monotonic,
            self.view.task,
            self._owner,
            self._measured,
            lease=settings.lease,
            heartbeat=settings.heartbeat,
            reattach=settings.reattach,
            clients=settings.clients,
        )

    def start(self) -> None:
        """Takes up what the store holds. Every client is away until it connects."""
        draft = self._draft
        draft.load(self.clock())
        self.view.update(
            Changes(
                tasks=tuple(draft.records.values()),
                clients=tuple(draft.clients.values()),
                tokens=tuple(draft.tokens.values()),
                logins=tuple(draft.logins.values()),
            )
        )
        self.feed.last_event = draft.last_event
        holding = [client.id for client in draft.farm.clients.values() if client.holds]
        self._writer.start()
        self.links.await_return(holding)
        for client_id in holding:
            self.submit(_away(client_id), lambda _: None)

    def stop(self) -> None:
        """Ends when what was queued is written; blocks until then. To be called after
        `say_goodbye`."""
        self._writer.stop()

    @property
    def queued(self) -> int:
        """Operations that wait for the writer."""
        return self._writer.queued

    def say_goodbye(self) -> None:
        """Closes every connection; nobody's lease begins to run by that."""
        self.links.stop_listening()
        self.sessions.close_all(1001, "the server is shutting down")

    def submit(self, operation: Operation, done: Done) -> None:
        """`done` gets the operation's value, or the FarmError, once it is durable."""
        self._writer.submit(operation, done)

    async def write(self, operation: Operation) -> Any:
        """The operation's value once it is durable. Raises the FarmError it ended with."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(value: Any) -> None:
            if future.done():
                return  # whoever asked went away
            if isinstance(value, FarmError):
                future.set_exception(value)
            else:
                future.set_result(value)

        self.submit(operation, done)
        return await future

    @property
    def deposed(self) -> Deposed | None:
        """Why this farm is over, where it is: another server may write now, or somebody does."""
        return self._writer.deposed

    def tick(self) -> None:
        """To be called each second: ends lapsed leases and expired sessions, and finds out whether
        it may still write, so that a farm where nothing happens does not go on after another has
        taken over."""
        self.links.tick()
        self.sessions.tick()
        self.submit(_empty_transaction, lambda _: None)

    def authenticate(self, secret: str) -> Principal | None:
        """Whose token this is, if it is one and still valid."""
        return self._valid(self.view.token(secret))

    def logged_in(self, secret: str) -> Principal | None:
        """Whose browser this is, while its log-in and the token behind it are valid."""
        login = self.view.login(secret)
        return None if login is None else self._valid(self.view.token_of(login.token_id), login)

    def _valid(
        self, token: TokenRecord | None, login: LoginRecord | None = None
    ) -> Principal | None:
        if token is None or token.revoked_at is not None:
            return None
        known = principal(token, login)
        return None if known.expired(self.clock()) else known

    def _owner(self, client_id: str) -> str | None:
        """The token that used this Client-ID first, while it is valid."""
        client = self.view.clients.get(client_id)
        token = self.view.token_of(client.token_id) if client is not None else None
        known = self._valid(token)
        return None if known is None else known.token_id

    def _measured(self, client_id: str) -> None:
        client = self.view.clients.get(client_id)
        if client is not None:
            self.feed.client(client, urgent=False)

    def show_client(self, client: ClientRecord) -> ClientFull:
        """With what it last said of itself."""
        told = self.links.resources(client.id)
        if told is not None:
            client = replace(client, resources=told)
        links, tasks = self.links, self.view.tasks_on(client.id)
        return client_full(client, links.connected(client.id), links.lends(client.id), tasks)

    @contextmanager
    def following(self, topics: Iterable[str], wake: Callable[[bool], None]) -> Iterator[Mailbox]:
        """A mailbox that gets all news of these topics meanwhile; see `Mailbox`."""
        mailbox = Mailbox(topics, wake)
        self.feed.add(mailbox)
        try:
            yield mailbox
        finally:
            self.feed.remove(mailbox)

    def snapshot(self, mailbox: Mailbox, missed: bool = False) -> Iterator[live.Snapshot]:
        """The present state of what a reader follows, in parts; finished tasks it names are
        included. What changes while the parts are taken comes to the mailbox."""
        named = (self.view.task(topic[5:]) for topic in mailbox.topics if topic[:5] == "task:")
        records = {record.task.id: record for record in named if record is not None}
        everyone = "farm" in mailbox.topics
        if everyone:
            records.update(self.view.tasks)
        tasks = [record for record in records.values() if not record.deleted]
        clients = [
            self.show_client(client)
            for client in self.view.clients.values()
            if everyone or f"client:{client.id}" in mailbox.topics
        ]
        event = self.feed.last_event
        for first in range(0, max(len(tasks), 1), SNAPSHOT):
            yield live.Snapshot(
                event=event,
                tasks=[task_full(record) for record in tasks[first : first + SNAPSHOT]],
                clients=clients if first == 0 else [],
                more=first + SNAPSHOT < len(tasks),
                missed=missed,
            )

    def _deliver(self, changes: Changes, answer: Callable[[], None]) -> None:
        """Answers before commands: a client is welcomed before it is given work."""
        self._observer.delivered(changes, self.view.task)
        moved = self.view.update(changes)
        answer()
        self.links.dispatch(changes.commands)
        self.feed.publish(changes, moved)
        for token in changes.tokens:
            if token.revoked_at is not None:
                self.sessions.revoked(token.id)
        for login in changes.logged_out:
            self.sessions.logged_out(login)


def digest_of(secret: str) -> str:
    """How a token is kept: secrets are random and long, so one round of sha256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _empty_transaction(draft: Draft) -> None:
    with draft.store.transaction():
        pass


def _away(client_id: str) -> Operation:
    def operation(draft: Draft) -> Any:
        return draft.take(draft.farm.leave(client_id, draft.at))

    return operation
