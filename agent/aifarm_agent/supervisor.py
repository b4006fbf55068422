"""Runs the workers: starts them through the warm process, reads what they write, ends them.

It decides nothing about tasks. What it sees goes to `Desk`, in batches of one wake-up each.
"""

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from aifarm.wire.agent import AssignedTask, Endpoint
from aifarm.wire.types import DesiredState
from aifarm_agent import events, gang
from aifarm_agent.checkpoints import Checkpoints
from aifarm_agent.data import Found
from aifarm_agent.events import Mark, RankKey, Report, Restored
from aifarm_agent.gpulocks import GpuTaken
from aifarm_agent.gpus import Gpus
from aifarm_agent.kept import Kept
from aifarm_agent.plan import Package, Plan, Settings
from aifarm_agent.processes import Process, kill_session, look
from aifarm_agent.run import Run, folder_of, key_of
from aifarm_agent.warm import WarmError, WarmProcess
from aifarm_agent.warmth import WarmProcesses
from aifarm_agent.workdir import WorkDir

logger = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two looks at every run, for what no doorbell tells: logs, silent deaths."""

Items = Sequence[tuple[Report, Mark | None]]


class Desk(Protocol):
    """Who takes the reports."""

    def report(self, key: RankKey, items: Items) -> None:
        """Stores what comes of them in one transaction, then acts on it."""

    def marks(self, key: RankKey) -> dict[str, Mark]:
        """How far a rank's files were consumed, safely stored."""

    def knows(self, key: RankKey) -> bool: ...

    def wants_log(self, key: RankKey) -> bool: ...


class Supervisor:
    """`address`: ours, on the way to the server."""

    def __init__(
        self,
        workdir: WorkDir,
        checkpoints: Checkpoints,
        kept: Kept,
        desk: Desk,
        gpus: Gpus,
        address: Callable[[], str],
        settings: Settings,
    ) -> None:
        self._workdir = workdir
        self._checkpoints = checkpoints
        self._kept = kept
        self._desk = desk
        self._gpus = gpus
        self._address = address
        self._settings = settings
        self._runs: dict[RankKey, Run] = {}
        self._plans: dict[RankKey, Plan] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._warm = WarmProcesses(
            workdir, settings.environments, self._warm_lost, settings.orphan_limit
        )
        self._used: dict[RankKey, WarmProcess] = {}

    # ------------------------------------------------------------ its life

    async def restore(self) -> list[Restored]:
        """Takes up the runs that an earlier agent left; the rest of it is removed."""
        workers = await self._warm.find()
        for folder in self._workdir.runs.iterdir():
            key = key_of(folder)
            if key is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            run = self._open(key)
            if folder in workers:
                worker, self._used[key] = workers[folder]
                if run.worker is None:
                    run.spawned(worker)
            run.abandoned = run.worker is None and run.begun
            if run.worker is not None:
                self._gpus.locks.reclaim(key, run.gpus)
            if not run.begun and not self._desk.knows(key):
                self.forget(key)
        return [
            Restored(key, run.begun or run.can_meet, run.begun) for key, run in self._runs.items()
        ]

    def begin(self) -> None:
        """Reads what happened meanwhile, and goes on looking."""
        for run in list(self._runs.values()):
            self._look(run)
        self._spawn(self._watch())

    async def close(self, end_warm: bool) -> None:
        """Leaves the workers to a later agent, unless `end_warm` ends what they live by."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for run in self._runs.values():
            self._loop.remove_reader(run.fileno())
            run.close()
        await self._warm.close(end_warm)

    async def end_workers(self) -> None:
        """However it stands with their tasks."""
        while any(run.worker is not None and not run.settled for run in self._runs.values()):
            for run in list(self._runs.values()):
                run.kill()
                self._look(run)
            await asyncio.sleep(0.05)

    @property
    def busy(self) -> bool:
        """Whether a worker lives, or soon will."""
        return any(
            run.launching or (run.worker is not None and not run.settled)
            for run in self._runs.values()
        )

    # ------------------------------------------------------------ orders

    def prepare(
        self,
        key: RankKey,
        task: AssignedTask,
        package: Package,
        resume: Path | None,
        data: Mapping[str, Found],
    ) -> None:
        self._plans[key] = Plan(task, package, resume, data)
        self._open(key).link_data({name: found.path for name, found in data.items()})

    def warm_up(self) -> None:
        """Gets the warm process ready before it is needed."""
        self._spawn(self._warm_up())

    def open_endpoint(self, key: RankKey, task: AssignedTask) -> None:
        self._spawn(self._open_endpoint(self._open(key), task))

    def launch(self, key: RankKey, endpoint: Endpoint | None, desired: DesiredState) -> None:
        plan = self._plans.pop(key, None)
        if plan is not None:  # else an earlier agent launched it
            run = self._runs[key]
            run.launching = True
            self._spawn(self._launch(run, plan, endpoint, desired))

    def steer(self, key: RankKey, desired: DesiredState) -> None:
        if key in self._runs:
            self._runs[key].steer(desired)
            self._loop.call_soon(self._insist, self._runs[key])

    def kill(self, key: RankKey) -> None:
        """Answered by the rank's end, at once where there is no worker."""
        run = self._runs.get(key)
        if run is None:
            self._loop.call_soon(self._desk.report, key, [(events.Died(), None)])
        else:
            run.kill()
            self._loop.call_soon(self._look, run)

    def forget(self, key: RankKey) -> None:
        self._plans.pop(key, None)
        self._used.pop(key, None)
        run = self._runs.pop(key, None)
        if run is None:  # it never came so far that it could start
            shutil.rmtree(folder_of(self._workdir.runs, key), ignore_errors=True)
            return
        self._loop.remove_reader(run.fileno())
        self._kept.take(key, run.folder / "work")
        run.remove()
        self._gpus.locks.release(run.key)

    # ------------------------------------------------------------ what is seen

    def _look(self, run: Run) -> None:
        """Passes on what is new of a run; its end once nothing is left to read."""
        if run.settled:
            return
        gone = run.gone(self._loop.time())  # looked at first: what it wrote before is read below
        items: list[tuple[Report, Mark | None]] = []
        found = [line for journal in run.journals for line in journal.read()]
        for report, mark in found:
            items += self._noted(run, report, mark)
        if self._desk.wants_log(run.key) and not gone:
            lines, mark = run.log.read()
            if run.log.news(self._loop.time()) or lines:
                items.append((events.LogLines(lines, run.log.open), mark))
        if found:
            self._loop.call_soon(self._look, run)  # there may be more
        elif gone:
            run.settled = True
            lines, mark = run.log.read(final=True)
            if lines:
                items.append((events.LogLines(lines), mark))
            items.append(run.end())
            self._gpus.locks.release(run.key)
        if items:
            self._desk.report(run.key, items)

    def _noted(self, run: Run, report: Report, mark: Mark) -> Items:
        """What of a journal line is passed on now."""
        match report:
            case events.Finished() | events.Stopped() | events.Failed():
                run.last = (report, mark)  # told once the worker has let go of its GPU
                return []
            case events.Started():
                run.send()  # it listens now
                if run.guest:
                    run.guest.begun = True
            case events.CheckpointWritten(checkpoint):
                kept = self._checkpoints.keep(run.key.task_id, run.folder, checkpoint)
                return [(events.CheckpointWritten(kept), mark)] if kept else []
        return [(report, mark)]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self._warm.rest(self._used.values(), self._loop.time())
            for run in list(self._runs.values()):
                self._insist(run)
                self._look(run)
                if run.outputs_due(self._loop.time()):
                    self._desk.report(run.key, [(events.OutputsDue(), None)])
                for journal in run.journals:
                    mark = self._desk.marks(run.key).get(journal.source)
                    if mark and journal.discardable:
                        journal.discard(mark)

    def _insist(self, run: Run) -> None:
        done = run.insist(self._loop.time(), self._settings.grace)
        if done is not None:
            self._desk.report(run.key, [(done, None)])

    # ------------------------------------------------------------ the warm processes

    async def _warm_up(self) -> None:
        try:
            await self._warm.own.ask("hello")
        except WarmError as error:
            logger.warning("%s", error)

    def _warm_lost(self, warm: WarmProcess) -> None:
        logger.warning("a warm process ended")
        for run in self._runs.values():
            self._loop.call_soon(self._look, run)
        if warm is self._warm.own:
            self.warm_up()

    def _warm_for(self, run: Run, task: AssignedTask) -> WarmProcess:
        """The one of the task's environment, kept while it has this run. Raises WarmError."""
        warm = self._warm.of(task.farm.environment if task.farm else None)
        self._used[run.key] = warm
        return warm

    async def _open_endpoint(self, run: Run, task: AssignedTask) -> None:
        try:
            opened = await self._serve_store(run, task)
        except (WarmError, OSError) as error:
            failed = events.Failed("agent_lost", f"No rendezvous could be opened: {error}")
            self._desk.report(run.key, [(failed, None)])
        else:
            self._desk.report(run.key, [(opened, None)])

    async def _serve_store(self, run: Run, task: AssignedTask) -> events.EndpointOpened:
        """At one of the ports that are allowed. Raises WarmError, OSError."""
        address = gang.meeting_place(task, self._settings.advertise or self._address())
        refusal = WarmError("No port is free.")
        for port in gang.ports(self._settings.rank_ports):
            try:
                opened = await self._warm_for(run, task).ask(
                    "store", run_dir=str(run.folder), host=gang.bind_address(address), port=port
                )
            except WarmError as error:
                refusal = error
                continue
            store = look(opened["pid"])
            if store is not None:
                self._keep_store(run, store)
            return events.EndpointOpened(address, opened["port"])
        raise refusal

    async def _launch(
        self, run: Run, plan: Plan, endpoint: Endpoint | None, desired: DesiredState
    ) -> None:
        try:
            await self._start(run, plan, endpoint, desired)
        except (WarmError, OSError, GpuTaken) as error:
            failed = events.Failed("agent_lost", f"This machine cannot run tasks: {error}")
            run.give_up()
            self._gpus.locks.release(run.key)
            self._desk.report(run.key, [(failed, None)])
        finally:
            run.launching = False
        self._look(run)

    async def _start(
        self, run: Run, plan: Plan, endpoint: Endpoint | None, desired: DesiredState
    ) -> None:
        """Raises WarmError, OSError, GpuTaken."""
        farm = plan.task.farm
        assert farm  # noqa: S101 - for mypy; the session takes no task without
        uuids = self._gpus.uuids
        gpus = [uuids[number] for number in farm.gpus if number < len(uuids)]
        own = gpus[farm.local_rank : farm.local_rank + 1]  # the others are its neighbours'
        locks = await self._gpus.locks.claim(run.key, own)
        place = gang.meeting_place(plan.task, self._address())
        interface = gang.interface_of(place) if endpoint else None
        env = gang.environment(run.key, plan.task, gpus, endpoint, interface)
        kept = any(path.is_file() for path in (run.folder / "outputs").rglob("*"))
        task = {**plan.task_file(run.key, kept), "gpus": own, "gpu_locks": locks}
        run.write_task(run.desired or desired, task)
        warm = self._warm_for(run, plan.task)
        spawned = await warm.ask("spawn", run_dir=str(run.folder), env=env)
        run.spawned(Process(spawned["pid"], spawned["start_time"]))

    def _keep_store(self, run: Run, store: Process) -> None:
        if self._runs.get(run.key) is run:
            run.store_opened(store)
        else:
            kill_session(store, signal.SIGKILL)

    def _open(self, key: RankKey) -> Run:
        run = self._runs.get(key)
        if run is None:
            folder = folder_of(self._workdir.runs, key)
            run = Run(key, folder, self._workdir.sockets, self._desk.marks(key), self._look)
            self._runs[key] = run
            self._loop.add_reader(run.fileno(), run.heard)
        return run

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
