"""Between the core's values and the wire's: what an agent is told, and what it says it has."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from aifarm.app.records import TaskRecord
from aifarm.core.client import HeldRank, Verdict
from aifarm.core.room import Capacity, Environments, own_alone
from aifarm.core.task import Assign, Command, Launch, Look, Phase, RankKey, Steer, Withdraw
from aifarm.wire import agent as wire
from aifarm.wire.types import Requirements

_ACTIONS: dict[str, Literal["pause", "resume", "stop"]] = {
    "paused": "pause",
    "running": "resume",
    "stopped": "stop",
}


def order(
    command: Command, record: TaskRecord | None, contract: bool, now: datetime
) -> wire.ServerMessage | None:
    """A command as the client is told it, in the documented messages alone where it knows no
    others; `record`: the command's task. None where there is nothing to tell any more."""
    if isinstance(command, Look):
        return wire.Look(paths=command.paths, timestamp=now)
    key = command.key
    match command:
        case Assign():
            return _assignment(record, key, contract, now) if record is not None else None
        case Steer():
            action = _ACTIONS[command.desired.value]
            if contract:
                return wire.Control(action=action, task_id=key.task_id, timestamp=now)
            return wire.Control(
                action=action, task_id=key.task_id, attempt=key.attempt, timestamp=now
            )
        case Withdraw():
            if contract:
                return wire.Control(action="stop", task_id=key.task_id, timestamp=now)
            return wire.Withdraw(
                task_id=key.task_id, attempt=key.attempt, rank=key.rank, timestamp=now
            )
        case Launch():
            if contract or record is None or record.task.endpoint is None:
                return None
            return wire.GangStart(
                task_id=key.task_id,
                attempt=key.attempt,
                rank=key.rank,
                endpoint=wire.Endpoint(*record.task.endpoint),
                timestamp=now,
            )


def _assignment(
    record: TaskRecord, key: RankKey, contract: bool, now: datetime
) -> wire.TaskAssignment | None:
    """The `task` message for one rank; for a contract-only client the documented fields alone."""
    task, spec = record.task, record.spec
    if task.attempt != key.attempt or key.rank >= len(task.ranks):
        return None
    config = {"name": spec.name, **spec.config}
    if spec.url is not None:
        config["url"] = spec.url
    if spec.version is not None:
        config["version"] = spec.version
    config.update(distributed=spec.distributed, rank=key.rank, world_size=task.world_size)
    farm = None
    if not contract and spec.package is not None:
        local = task.local(key.rank)
        farm = wire.FarmAssignment(
            attempt=key.attempt,
            rank=key.rank,
            world_size=task.world_size,
            package=spec.package,
            desired=task.desired.value,
            local_rank=local.index(key.rank),
            local_world_size=len(local),
            gpus=tuple(gpu for rank in local for gpu in task.ranks[rank].gpus),
            resume=record.checkpoint,
            endpoint=wire.Endpoint(*task.endpoint) if task.endpoint else None,
            env=spec.env,
            environment=spec.environment,
            program=spec.program,
            data=spec.data,
        )
    assigned = wire.AssignedTask(
        id=task.id, type=spec.type, config=config, requirements=requirements(record)
    )
    if farm is not None:
        assigned = replace(assigned, farm=farm)
    return wire.TaskAssignment(data=assigned, timestamp=now)


def requirements(record: TaskRecord) -> Requirements:
    needs = record.task.needs
    return Requirements(needs.gpu_memory, needs.cpu_cores, needs.ram)


def capacity_of(resources: wire.Resources) -> Capacity:
    """What a client can lend, of what it says it has; unknown is as little as can be."""
    return Capacity(
        cpu_cores=resources.cpu.cores or 1,
        ram=resources.ram.total or 1,
        gpus=tuple(gpu.memory.total for gpu in resources.gpu),
        held=tuple(number for number, gpu in enumerate(resources.gpu) if gpu.held),
    )


def builds(environments: Iterable[wire.Environment]) -> Environments:
    """Equal words are for Pythons that can train together."""
    return {one.name: _build(one) for one in environments} or own_alone()


def _build(one: wire.Environment) -> str:
    python, torch = ".".join(one.python.split(".")[:2]), one.torch.partition("+")[0]
    cuda = f"CUDA {one.cuda}" if one.cuda else "no CUDA"
    return f"Python {python}, torch {torch}, {cuda}"


def usage_only(info: wire.SystemInfo, known: wire.Resources | None) -> wire.Resources:
    base = known or wire.Resources()
    usage = min(max(info.cpu_usage or 0.0, 0.0), 100.0)
    return replace(base, cpu=replace(base.cpu, usage=usage))


def held_rank(rank: wire.HeldRank) -> HeldRank:
    phases = {"starting": Phase.ASSIGNED, "running": Phase.RUNNING, "paused": Phase.PAUSED}
    return HeldRank(RankKey(rank.task_id, rank.attempt, rank.rank), phases.get(rank.state))


def verdict_of(verdict: Verdict) -> wire.Verdict:
    return wire.Verdict(
        task_id=verdict.key.task_id,
        attempt=verdict.key.attempt,
        rank=verdict.key.rank,
        verdict="continue" if verdict.goes_on else "stop",
        ack_seq=verdict.seq,
        desired=verdict.desired.value,
    )
