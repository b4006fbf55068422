"""The server's end of each client's connection, without any I/O: messages in, messages out.

A connection is `opened` once its token is known, brings `received` messages, and is `closed`. Its
first message decides how it is spoken to: `hello` makes it an agent; anything else makes it a
contract-only client, which is sent nothing beyond the documented messages.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Literal, Protocol

from msgspec.structs import replace

from aifarm.app.admission import Gate
from aifarm.app.draft import Draft
from aifarm.app.errors import FarmError, Forbidden, InvalidRequest
from aifarm.app.messages import about_rank, error_body
from aifarm.app.ownership import owned
from aifarm.app.ports import Clock
from aifarm.app.records import TaskRecord
from aifarm.app.samples import EVERY, sample_of
from aifarm.app.scopes import Principal
from aifarm.app.translate import (
    builds,
    capacity_of,
    held_rank,
    order,
    usage_only,
    verdict_of,
)
from aifarm.app.writer import Done, Operation
from aifarm.core.client import Verdict
from aifarm.core.task import Command, Look, Note
from aifarm.wire import agent as wire
from aifarm.wire.types import utc

log = logging.getLogger(__name__)

Submit = Callable[[Operation, Done], None]


class Connection(Protocol):
    """Sends without blocking, within a byte budget; over it, the transport closes."""

    def send(self, message: wire.ServerMessage) -> None: ...
    def close(self, code: int, reason: str) -> None: ...


class Link:
    """One connection of one client. `speaks` is None until its first message."""

    def __init__(self, client_id: str, principal: Principal, connection: Connection) -> None:
        self.client_id = client_id
        self.principal = principal
        self.connection = connection
        self.speaks: Literal["agent", "contract"] | None = None
        self.ready = False
        self.over = False
        self.resources: wire.Resources | None = None
        self.lends = True
        self.heard = 0.0


class Links:
    """All connections. `clock` is seconds since the epoch, `monotonic` what leases run on.

    `owner`: the valid token that a Client-ID belongs to. `clients`: how many of them one may have.
    `measured` is called with the id of a client that said anew what it uses.
    """

    def __init__(
        self,
        submit: Submit,
        clock: Clock,
        monotonic: Clock,
        records: Callable[[str], TaskRecord | None],
        owner: Callable[[str], str | None],
        measured: Callable[[str], None] = lambda _: None,
        *,
        lease: float,
        heartbeat: float,
        reattach: float,
        clients: int,
    ) -> None:
        self._submit = submit
        self._clock = clock
        self._monotonic = monotonic
        self._records = records
        self._owner = owner
        self._measured = measured
        self._lease = lease
        self._heartbeat = heartbeat
        self._reattach = reattach
        self._clients = clients
        self._links: dict[str, Link] = {}
        self._opened: set[Link] = set()
        self._away: dict[str, float] = {}
        self.lapsed = 0
        self._gate = Gate()
        self._greetings: Counter[str] = Counter()  # hellos that are being written
        self._left: set[str] = set()  # whose connection closed meanwhile
        self._sampled: dict[str, float] = {}
        self._acks: dict[tuple[Link, str, int, int], wire.Ack] = {}

    # ------------------------------------------------------------ connections

    def opened(self, client_id: str, principal: Principal, connection: Connection) -> Link:
        link = Link(client_id, principal, connection)
        link.heard = self._monotonic()
        self._opened.add(link)
        return link

    def received(self, link: Link, message: wire.FromClient) -> None:
        """One message, already decoded. What is wrong with it is answered, not raised."""
        if link.over:
            return
        link.heard = self._monotonic()
        try:
            if message.client_id is not None and message.client_id != link.client_id:
                raise InvalidRequest(
                    f"This connection is {link.client_id}'s, not {message.client_id}'s.",
                    field="client_id",
                    expected=link.client_id,
                )
            if link.speaks is None and (wrong := self._not_welcome(link, message)) is not None:
                self._turn_away(link, wrong)
                return
            match message:
                case wire.Hello():
                    self._hello(link, message)
                case wire.Heartbeat():
                    self._meet(link)
                    self._beat(link, message)
                case wire.TaskRequest():
                    self._meet(link)
                    self._request(link)
                case wire.Lending():
                    self._lend(link, message.lends)
                case wire.Readable():
                    self._see(link, message.paths)
                case _:
                    self._meet(link)
                    operation = about_rank(link.client_id, message)
                    works_on = message.task_id if isinstance(message, wire.TaskProgress) else None
                    self._submit(operation, self._answering(link, works_on))
        except FarmError as error:
            self.refuse(link, error)

    def closed(self, link: Link) -> None:
        """The connection is gone. The client keeps its ranks for as long as its lease lasts."""
        self._opened.discard(link)
        link.over = True
        if self._links.get(link.client_id) is not link:
            return
        del self._links[link.client_id]
        self._gone(link.client_id)

    def stop_listening(self) -> None:
        """The server goes down: nobody's lease begins to run by that."""
        for link in self._opened:
            link.over = True
        self._opened.clear()
        self._links.clear()

    def refuse(self, link: Link, error: FarmError) -> None:
        link.connection.send(wire.ErrorMessage(error=error_body(error), timestamp=self._now()))

    def connected(self, client_id: str) -> bool:
        return client_id in self._links

    def resources(self, client_id: str) -> wire.Resources | None:
        """The latest a connected client said of itself."""
        link = self._links.get(client_id)
        return link.resources if link is not None else None

    def lends(self, client_id: str) -> bool:
        """False while its owner has taken it back, as far as is known."""
        link = self._links.get(client_id)
        return link is None or link.lends

    # ------------------------------------------------------------ time

    def await_return(self, client_ids: Iterable[str]) -> None:
        """After a start of the server: these held ranks, and have this long to come back."""
        deadline = self._monotonic() + self._reattach
        self._away = dict.fromkeys(client_ids, deadline)

    def tick(self) -> None:
        """Ends the leases of those who stayed away too long. To be called each second or so."""
        now = self._monotonic()
        for client_id in [name for name, deadline in self._away.items() if deadline <= now]:
            del self._away[client_id]
            self.lapsed += 1
            self._submit(_lapse(client_id), _ignore)

    # ------------------------------------------------------------ first messages

    def _not_welcome(self, link: Link, message: wire.FromClient) -> Forbidden | None:
        """Why this connection may not be this client's. Asked before it replaces another one."""
        if self._owner(link.client_id) not in (None, link.principal.token_id):
            return Forbidden(f"Client-ID {link.client_id} belongs to another token.")
        label = link.principal.label
        if label is None:
            return None
        name, _, value = label.partition("=")
        if isinstance(message, wire.Hello) and message.labels.get(name) == value:
            return None
        words = f"This token is for agents that are started with --label {label}."
        return Forbidden(words, field="labels", expected=label)

    def _claim(self, link: Link, speaks: Literal["agent", "contract"]) -> None:
        """This connection is the client's now; an older one of the same client is replaced."""
        link.speaks = speaks
        older = self._links.get(link.client_id)
        self._links[link.client_id] = link
        self._away.pop(link.client_id, None)
        self._left.discard(link.client_id)
        if older is not None and older is not link:
            older.over = True
            self._opened.discard(older)
            older.connection.close(1008, "replaced")

    def _meet(self, link: Link) -> None:
        """A first message other than hello: a contract-only client."""
        if link.speaks is not None:
            return
        self._claim(link, "contract")
        client_id, token_id = link.client_id, link.principal.token_id

        def operation(draft: Draft) -> None:
            record = owned(draft, client_id, token_id, self._clients)
            draft.set_client(replace(record, speaks="contract", last_seen=draft.at))
            draft.take(draft.farm.meet(client_id, draft.at))

        self._submit(operation, self._admitting(link))

    def _hello(self, link: Link, hello: wire.Hello) -> None:
        if hello.protocol != wire.PROTOCOL:
            words = f"speaks protocol {hello.protocol}, the server {wire.PROTOCOL}"
            link.connection.close(1008, f"agent {hello.agent_version} {words}")
            return
        if link.speaks is not None:
            raise InvalidRequest("hello is the first message of a connection.", field="type")
        client_id, token_id = link.client_id, link.principal.token_id
        link.speaks = "agent"
        link.resources = hello.resources
        link.lends = hello.lends
        held = [held_rank(rank) for rank in hello.tasks]

        def operation(draft: Draft) -> tuple[Verdict, ...]:
            record = owned(draft, client_id, token_id, self._clients)
            if record.machine_id not in (None, hello.machine_id):
                raise Forbidden(
                    f"{client_id} is machine {record.machine_id}, and this is machine"
                    f" {hello.machine_id}; give each machine its own client id."
                )
            rebooted = record.boot_id not in (None, hello.boot_id)
            if rebooted:
                draft.note(Note("rebooted", f"{client_id} was rebooted.", None, client_id))
            draft.set_client(
                replace(
                    record,
                    speaks="agent",
                    last_seen=draft.at,
                    machine_id=hello.machine_id,
                    boot_id=hello.boot_id,
                    hostname=hello.hostname,
                    agent_version=hello.agent_version,
                    labels=hello.labels,
                    environments=hello.environments,
                    resources=hello.resources,
                )
            )
            capacity = capacity_of(hello.resources)
            outcome, verdicts = draft.farm.join(
                client_id,
                capacity,
                held,
                draft.at,
                lends=hello.lends,
                environments=builds(hello.environments),
            )
            draft.take(outcome)
            return verdicts

        def done(result: Any) -> None:
            self._gate.leave()
            self._greetings[client_id] -= 1
            if isinstance(result, FarmError):
                self._turn_away(link, result)
                self._take_leave(client_id)
                return
            if link.over:  # it closed meanwhile, and what was written says that it is here
                if client_id not in self._links:
                    self._gone(client_id)
                return
            self._claim(link, "agent")
            link.connection.send(
                wire.Welcome(
                    lease=self._lease,
                    heartbeat=self._heartbeat,
                    tasks=tuple(verdict_of(verdict) for verdict in result),
                    timestamp=self._now(),
                )
            )
            link.ready = True

        def admit() -> None:
            if link.over:
                self._gate.leave()
                self._greetings[client_id] -= 1
                self._take_leave(client_id)
            else:
                self._submit(operation, done)

        if client_id in self._away:  # it is back, however many stand before it
            self._away[client_id] = self._monotonic() + self._lease
        self._greetings[client_id] += 1
        self._gate.enter(admit)

    def _admitting(self, link: Link) -> Done:
        def done(result: Any) -> None:
            if isinstance(result, FarmError):
                self._turn_away(link, result)
            else:
                link.ready = True

        return done

    def _turn_away(self, link: Link, error: FarmError) -> None:
        """Ends the connection with the error as its last word; nothing more of it is heard."""
        self.refuse(link, error)
        link.over = True
        code = 1011 if error.code == "SERVICE_UNAVAILABLE" else 1008
        link.connection.close(code, error.message[:120])

    def _gone(self, client_id: str) -> None:
        """No connection is this client's: its lease runs."""
        self._away[client_id] = self._monotonic() + self._lease
        self._left.add(client_id)
        self._take_leave(client_id)

    def _take_leave(self, client_id: str) -> None:
        """Writes that a client whose connection closed is away: unless it says hello on another
        one, since that may be written first, and this would undo it."""
        if client_id in self._left and not self._greetings[client_id]:
            self._left.discard(client_id)
            self._submit(self._leave(client_id), _ignore)

    def _leave(self, client_id: str) -> Operation:
        def operation(draft: Draft) -> None:
            if client_id in draft.farm.clients:
                draft.take(draft.farm.leave(client_id, draft.at))
                self._touch(draft, client_id)

        return operation

    # ------------------------------------------------------------ later messages

    def _request(self, link: Link) -> None:
        if link.speaks == "agent":
            raise InvalidRequest("An agent is given tasks without asking.", field="type")
        client_id = link.client_id
        self._submit(
            lambda draft: draft.take(draft.farm.ask(client_id, draft.at)),
            self._answering(link, None),
        )

    def _lend(self, link: Link, lends: bool) -> None:
        if link.speaks != "agent":
            raise InvalidRequest("Only an agent lends; a client without hello asks.", field="type")
        client_id = link.client_id
        link.lends = lends
        self._submit(lambda draft: draft.take(draft.farm.lend(client_id, lends)), _ignore)

    def _see(self, link: Link, paths: dict[str, bool]) -> None:
        if link.speaks != "agent":
            raise InvalidRequest("Only an agent was asked what it can read.", field="type")
        client_id = link.client_id
        self._submit(lambda draft: draft.farm.see(client_id, paths), _ignore)

    def _beat(self, link: Link, beat: wire.Heartbeat) -> None:
        """Kept in memory; `last_seen` and a sample are written each 30 s, and capacity when it
        changes."""
        told = beat.system_info.resources
        changed = told is not None and (
            link.resources is None or capacity_of(told) != capacity_of(link.resources)
        )
        if told is not None:
            link.resources = told
        elif link.speaks == "contract":
            link.resources = usage_only(beat.system_info, link.resources)
        client_id, now = link.client_id, link.heard
        if changed and told is not None:
            capacity = capacity_of(told)
            self._submit(lambda draft: draft.farm.resize(client_id, capacity), _ignore)
        due = now - self._sampled.get(client_id, -inf) >= EVERY
        if changed or due:
            resources, info = link.resources, beat.system_info if due else None
            self._submit(lambda draft: self._touch(draft, client_id, resources, info), _ignore)
        else:
            self._measured(client_id)
        if due:
            self._sampled[client_id] = now

    def _touch(
        self,
        draft: Draft,
        client_id: str,
        resources: wire.Resources | None = None,
        info: wire.SystemInfo | None = None,
    ) -> None:
        """It was heard of; `info` becomes a sample of what it uses."""
        record = draft.clients.get(client_id)
        if record is None:
            return
        kept = resources or record.resources
        draft.set_client(replace(record, last_seen=draft.at, resources=kept))
        if info is not None:
            draft.put("add_sample", client_id, sample_of(draft.at, info))

    def _answering(self, link: Link, works_on: str | None) -> Done:
        def done(result: Any) -> None:
            if isinstance(result, FarmError):
                self.refuse(link, result)
                if works_on is not None and link.speaks == "contract":
                    # The task is no longer its own: let it stop.
                    stop = wire.Control(action="stop", task_id=works_on, timestamp=self._now())
                    link.connection.send(stop)
                return
            answers = result if isinstance(result, list) else []
            acks = [one for one in answers if isinstance(one, wire.Ack)]
            if link.speaks == "agent":
                for ack in acks:
                    self._acks[link, ack.task_id, ack.attempt, ack.rank] = ack
            for message in answers:
                # A numbered result of an agent is acknowledged by its number.
                said = acks and link.speaks == "agent" and isinstance(message, wire.TaskResultAck)
                if not (said or isinstance(message, wire.Ack)):
                    link.connection.send(replace(message, timestamp=self._now()))

        return done

    # ------------------------------------------------------------ commands

    def dispatch(self, commands: Iterable[Command]) -> None:
        """Sends what was decided, and the last acknowledgement of each rank that was answered.

        A client that is away learns it when it says hello.
        """
        for (answered, *_), ack in self._acks.items():
            if not answered.over:
                answered.connection.send(ack)
        self._acks.clear()
        for command in commands:
            link = self._links.get(command.client_id)
            if link is None or not link.ready:
                continue
            about = None if isinstance(command, Look) else command.key.task_id
            record = self._records(about) if about is not None else None
            message = order(command, record, link.speaks == "contract", self._now())
            if message is not None:
                link.connection.send(message)

    def _now(self) -> Any:
        return utc(self._clock())


def _lapse(client_id: str) -> Operation:
    def operation(draft: Draft) -> None:
        if client_id in draft.farm.clients:
            draft.take(draft.farm.lapse(client_id, draft.at))

    return operation


def _ignore(_: Any) -> None:
    pass
