"""The agent put together: carries out what the session decides, tells it what happened."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aifarm.wire.agent import AssignedTask, FromServer
from aifarm_agent import events, status
from aifarm_agent.checkpoints import KEEP, Checkpoints
from aifarm_agent.data import Cache, Found
from aifarm_agent.events import Effect, Identity, Mark, RankKey, Report
from aifarm_agent.gpus import Gpus
from aifarm_agent.kept import Kept
from aifarm_agent.link import Link, rest_url
from aifarm_agent.outbox import Outbox, OutboxError
from aifarm_agent.outputs import Outputs
from aifarm_agent.paths import Paths
from aifarm_agent.plan import Package, Settings
from aifarm_agent.reserve import Reserve
from aifarm_agent.resources import Machine
from aifarm_agent.rest import Rest
from aifarm_agent.run import TERM_SECONDS
from aifarm_agent.session import NEVER, Session
from aifarm_agent.supervisor import Items, Supervisor
from aifarm_agent.transfers import Transfers
from aifarm_agent.workdir import WorkDir

logger = logging.getLogger(__name__)

LAST_WORDS = 5.0
"""Seconds, beyond what the workers have, for the server to take their results."""
STATUS_PERIOD = 0.5
TIDY_PERIOD = 3600.0
RESERVE_PERIOD = 10.0
"""Seconds between two looks whether the disk has room again."""

Stop = Literal["leave", "give_back"]


class Server(NamedTuple):
    """`urls`: WebSocket URLs of one farm. `context`: None is the system's certificates."""

    urls: Sequence[str]
    token: str
    context: ssl.SSLContext | None = None


class Agent:
    """Runs in the current event loop, once."""

    def __init__(
        self, workdir: WorkDir, identity: Identity, server: Server, gpus: Gpus, settings: Settings
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._workdir = workdir
        self._client_id = identity.client_id
        self._grace = settings.grace
        self._checkpoints = Checkpoints(workdir.checkpoints)
        self._kept = Kept(workdir.kept)
        self._outbox = Outbox(workdir.outbox)
        self._session = Session(
            identity,
            self._outbox,
            Machine(gpus),
            hold_limit=settings.hold_limit,
            offline_limit=settings.offline_limit,
        )
        headers = {"Authorization": f"Bearer {server.token}", "Client-ID": identity.client_id}
        self._link = Link(server.urls, headers, server.context, self)
        self._supervisor = Supervisor(
            workdir,
            self._checkpoints,
            self._kept,
            self,
            gpus,
            lambda: self._link.address,
            settings,
        )
        rest = Rest(lambda: rest_url(self._link.url), headers, server.context or True)
        self._outputs = Outputs(workdir.runs, workdir.kept, rest, self._told)
        self._cache = Cache(workdir.data, workdir.runs, rest, settings.cache)
        self._transfers = Transfers(
            workdir.packages,
            self._checkpoints,
            self._outputs,
            self._cache,
            rest,
            self._prepared,
            self._told,
        )
        self._paths = Paths(self._seen)
        self._resumed: dict[RankKey, str] = {}
        self._server: str | None = None
        self._gave_back = False
        self._timer: asyncio.TimerHandle | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._failed: asyncio.Future[None] = self._loop.create_future()

    async def run(self, stop: asyncio.Queue[Stop]) -> None:
        """Until `stop` says how to end. Raises Refusal, and OutboxError: then start over.

        "leave": the workers go on, for a later agent. "give_back": they checkpoint and end, and
        their tasks go back to the queue; said once more, they end at once.
        """
        link = asyncio.create_task(self._live())
        reserve = asyncio.create_task(self._keep_reserve())
        stopped = asyncio.create_task(stop.get())
        tidying = asyncio.create_task(self._tidy())
        try:
            waited: list[asyncio.Future[Any]] = [link, stopped, self._failed]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done() and stopped.result() == "give_back":
                await self._give_back(stop)
            for ended in (link, self._failed):
                if ended.done():
                    ended.result()
        finally:
            for task in (link, stopped, tidying, reserve):
                task.cancel()
            await asyncio.gather(link, stopped, tidying, reserve, return_exceptions=True)
            await self._close()

    async def _live(self) -> None:
        """Until cancelled. Raises Refusal, OutboxError."""
        effects = self._session.restored(await self._supervisor.restore())
        self._checkpoints.expire({key.task_id for key in self._session.ranks})
        self._supervisor.begin()
        self._act(effects)
        await self._link.run()

    async def _tidy(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._kept.sweep)
            except OSError as error:
                logger.warning("what ended attempts left cannot be tidied: %s", error)
            await asyncio.sleep(TIDY_PERIOD)

    async def _keep_reserve(self) -> None:
        while True:
            stands = await asyncio.to_thread(self._workdir.reserve.keep)
            with self._step():
                self._act(self._session.reserve(stands, self._loop.time()))
            await asyncio.sleep(RESERVE_PERIOD)

    async def _give_back(self, stop: asyncio.Queue[Stop]) -> None:
        logger.info("giving the tasks back; once more to end at once")
        with self._step():
            self._act(self._session.give_back(self._loop.time()))
        given_back = asyncio.create_task(self._given_back())
        again = asyncio.create_task(stop.get())
        waited: list[asyncio.Future[Any]] = [given_back, again, self._failed]
        await asyncio.wait(
            waited,
            timeout=self._grace + TERM_SECONDS + LAST_WORDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in (given_back, again):
            task.cancel()
        await asyncio.gather(given_back, again, return_exceptions=True)
        await self._supervisor.end_workers()
        self._gave_back = True

    async def _given_back(self) -> None:
        """Until the server has every result, or cannot be told now: the outbox keeps them."""
        while self._session.ranks and (self._supervisor.busy or self._server):
            self._changed.clear()
            await self._changed.wait()

    async def _close(self) -> None:
        starts_over = self._failed.done()
        end_warm = self._gave_back or not (self._supervisor.busy or starts_over)
        for timer in (self._timer, self._status_timer):
            if timer is not None:
                timer.cancel()
        await self._outputs.close()
        self._paths.clear()
        await self._transfers.close()
        await self._supervisor.close(end_warm)
        self._outbox.close()
        (self._workdir.path / "state.json").unlink(missing_ok=True)

    # ------------------------------------------------------------ what the others tell

    def opened(self, url: str) -> None:
        logger.info("connected to %s as %s", url, self._client_id)
        self._server = url
        self._paths.clear()
        self._supervisor.warm_up()
        with self._step():
            self._act(self._session.connected(self._loop.time()))

    def received(self, message: FromServer) -> None:
        with self._step():
            self._act(self._session.received(message, self._loop.time()))

    def closed(self, reason: str) -> None:
        logger.info("connection closed: %s", reason)
        self._server = None
        with self._step():
            self._act(self._session.disconnected(self._loop.time()))

    def _seen(self, paths: dict[str, bool]) -> None:
        self._act(self._session.seen(paths))

    def report(self, key: RankKey, items: Items) -> None:
        effects: list[Effect] = []
        with self._step():
            with self._outbox.transaction():
                for report, mark in items:
                    effects += self._session.reported(key, report, self._loop.time(), mark)
            self._act(effects)

    def marks(self, key: RankKey) -> dict[str, Mark]:
        return self._outbox.marks(key)

    def knows(self, key: RankKey) -> bool:
        return self._outbox.knows(key)

    def wants_log(self, key: RankKey) -> bool:
        return self._session.wants_log(key)

    def _prepared(
        self,
        key: RankKey,
        task: AssignedTask,
        package: Package,
        resume: Path | None,
        data: Mapping[str, Found],
    ) -> None:
        if resume is not None:
            self._resumed[key] = str(resume)
        self._supervisor.prepare(key, task, package, resume, data)
        self._told(key, events.Prepared())

    def _told(self, key: RankKey, report: Report) -> bool:
        """Whether what comes of it is in the outbox."""
        self.report(key, [(report, None)])
        if isinstance(report, events.CheckpointStored | events.CheckpointDropped):
            self._prune(key.task_id)
        return not self._failed.done()

    def _tick(self) -> None:
        self._timer = None
        with self._step():
            self._act(self._session.tick(self._loop.time()))

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Around everything that uses the outbox: where that fails, this agent ends."""
        try:
            yield
        except OutboxError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
        self._changed.set()
        if self._status_timer is None:
            self._status_timer = self._loop.call_later(STATUS_PERIOD, self._write_status)
        self._schedule()

    def _schedule(self) -> None:
        due = self._session.due()
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due < NEVER and not self._failed.done():
            self._timer = self._loop.call_at(due, self._tick)

    # ------------------------------------------------------------ what the session wants

    def _act(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case events.Send(message):
                    self._link.send(message)
                case events.Disconnect(reason):
                    self._link.drop(reason)
                case events.Prepare(key, task):
                    self._transfers.prepare(key, task)
                case events.OpenEndpoint(key, task):
                    self._supervisor.open_endpoint(key, task)
                case events.Launch(key, endpoint, desired):
                    self._supervisor.launch(key, endpoint, desired)
                case events.Steer(key, desired):
                    self._supervisor.steer(key, desired)
                case events.Kill(key):
                    self._transfers.cancel(key)
                    self._supervisor.kill(key)
                case events.Upload(key, checkpoint):
                    self._transfers.upload(key, checkpoint)
                case events.Collect(key, final):
                    self._outputs.collect(key, final)
                case events.Forget(key):
                    self._forget(key)
                case events.Look(paths):
                    self._paths.watch(paths)

    def _forget(self, key: RankKey) -> None:
        self._transfers.cancel(key)
        self._outputs.forget(key)
        self._supervisor.forget(key)
        self._resumed.pop(key, None)
        self._prune(key.task_id)
        self._checkpoints.expire({other.task_id for other in self._session.ranks})

    def _prune(self, task_id: str) -> None:
        """Keeps what may be needed of a task's checkpoints."""
        ranks = [rank for key, rank in self._session.ranks.items() if key.task_id == task_id]
        needed = {checkpoint.path for rank in ranks for checkpoint in rank.uploads}
        self._checkpoints.prune(task_id, KEEP if ranks else 1, needed | set(self._resumed.values()))

    def _write_status(self) -> None:
        self._status_timer = None
        try:
            told = status.describe(self._client_id, self._server, self._session.ranks, self._cache)
            status.write(self._workdir.path, told)
        except OSError as error:
            logger.debug("the state file cannot be written: %s", error)


async def serve(make: Callable[[], Agent], stop: asyncio.Queue[Stop], reserve: Reserve) -> None:
    """Runs an agent; where its outbox fails (a full disk), another one takes up what is there,
    with the room that was kept in `reserve`.

    Raises Refusal, and OutboxError where it cannot even be opened.
    """
    while True:
        agent = make()
        try:
            await agent.run(stop)
            return
        except OutboxError as error:
            logger.error("%s Starting over.", error)
            if not reserve.spend():
                await asyncio.sleep(LAST_WORDS)
