"""Records as the API shows them. Version 1 shows fewer states and never an unknown number."""

from collections.abc import Iterable, Mapping

from msgspec.structs import asdict, replace

from aifarm.app.data import SCHEME
from aifarm.app.records import (
    AttemptRecord,
    CheckpointRecord,
    ClientRecord,
    DataRecord,
    EventRecord,
    OutputRecord,
    PackageRecord,
    Series,
    SummaryRecord,
    TaskRecord,
    TokenRecord,
)
from aifarm.app.search import direction
from aifarm.app.translate import requirements
from aifarm.core.task import Rank, RankKey, State, Task
from aifarm.wire import rest, v1
from aifarm.wire.agent import DataRef, Resources
from aifarm.wire.types import utc, whole_seconds

V1_STATUS = {State.ASSIGNED: "pending", State.UNREACHABLE: "running"}
"""What version 1 shows instead (DESIGN section 5); the other states are shown as they are."""


def v1_status(record: TaskRecord) -> str:
    state = record.task.state
    return V1_STATUS.get(state, state.value)


def task_row(record: TaskRecord) -> v1.TaskRow:
    return v1.TaskRow(
        id=record.task.id,
        type=record.spec.type,
        status=v1_status(record),
        progress=record.progress,
        created_at=whole_seconds(record.task.created_at),
        updated_at=whole_seconds(record.task.updated_at),
    )


def task_created(record: TaskRecord) -> v1.TaskCreated:
    return v1.TaskCreated(record.task.id, v1_status(record), whole_seconds(record.task.created_at))


def task_details(record: TaskRecord) -> v1.TaskDetails:
    return v1.TaskDetails(
        id=record.task.id,
        type=record.spec.type,
        status=v1_status(record),
        progress=record.progress,
        metrics={name: value or 0.0 for name, value in record.metrics.items()},
        config=record.spec.config,
        requirements=requirements(record),
        created_at=whole_seconds(record.task.created_at),
        updated_at=whole_seconds(record.task.updated_at),
    )


def task_full(record: TaskRecord, private: bool = False) -> rest.TaskFull:
    """`private`: the reader may see what is secret of it: the values of its environment, the
    passwords in the URLs of its data."""
    task, spec, about = record.task, record.spec, record.about
    return rest.TaskFull(
        id=task.id,
        type=spec.type,
        name=spec.name,
        version=spec.version,
        url=spec.url,
        package_sha256=spec.package.sha256 if spec.package else None,
        status=task.state.value,
        desired=task.desired.value,
        attempt=task.attempt,
        cause=task.cause.value if task.cause else None,
        message=task.message,
        progress=record.progress,
        metrics=record.metrics,
        config=spec.config,
        requirements=requirements(record),
        distributed=spec.distributed,
        n_clients=task.n_clients,
        processes_per_client=task.processes or "gpu",
        priority=task.priority,
        share_gpu=task.share_gpu,
        max_retries=task.retries,
        submitter=task.submitter,
        clients=[rank.client_id for rank in task.ranks],
        checkpoint_id=record.checkpoint.id if record.checkpoint else None,
        created_at=utc(task.created_at),
        updated_at=utc(task.updated_at),
        started_at=utc(task.started_at) if task.started_at is not None else None,
        ended_at=utc(task.ended_at) if task.ended_at is not None else None,
        project=about.project,
        title=about.title,
        tags=list(about.tags),
        notes=about.notes,
        parent=spec.parent,
        from_checkpoint=spec.from_checkpoint,
        best=spec.best,
        env={name: value if private else None for name, value in spec.env.items()},
        environment=spec.environment,
        args=spec.program.args,
        resume_args=spec.program.resume_args,
        outputs=spec.program.outputs,
        mounts=spec.program.mounts,
        progress_from=spec.program.progress_from,
        data=spec.data if private else _shown(spec.data),
        deleted_at=utc(record.deleted_at) if record.deleted_at is not None else None,
    )


def _shown(data: Mapping[str, DataRef]) -> dict[str, DataRef]:
    """Without the passwords in their URLs."""
    return {name: replace(ref, url=ref.shown) for name, ref in data.items()}


def client_status(connected: bool) -> str:
    return "active" if connected else "offline"


def client_tasks(records: list[TaskRecord]) -> list[v1.ClientTask]:
    return [v1.ClientTask(one.task.id, v1_status(one), one.progress) for one in records]


def _gpus(resources: Resources) -> list[v1.GpuRow]:
    return [
        v1.GpuRow(gpu.id, gpu.name, v1.GpuMemory(gpu.memory.total, gpu.memory.used))
        for gpu in resources.gpu
    ]


def _cpu_and_ram(resources: Resources) -> tuple[v1.CpuRow, v1.RamRow]:
    return (
        v1.CpuRow(resources.cpu.cores, resources.cpu.usage),
        v1.RamRow(resources.ram.total, resources.ram.used),
    )


def client_row(client: ClientRecord, connected: bool) -> v1.ClientRow:
    resources = client.resources or Resources()
    gpus = {str(gpu.id): gpu for gpu in _gpus(resources)}
    return v1.ClientRow(
        id=client.id,
        status=client_status(connected),
        resources=v1.ResourcesRow(*_cpu_and_ram(resources), gpus),
        last_seen=whole_seconds(client.last_seen),
    )


def client_details(
    client: ClientRecord,
    connected: bool,
    tasks: list[TaskRecord],
    performance: tuple[int, int, float],
) -> v1.ClientDetails:
    """`performance`: attempts completed here, attempts ended here, their mean seconds."""
    completed, ended, seconds = performance
    resources = client.resources or Resources()
    return v1.ClientDetails(
        id=client.id,
        status=client_status(connected),
        resources=v1.ResourcesDetails(*_cpu_and_ram(resources), _gpus(resources)),
        tasks=client_tasks(tasks),
        performance=v1.Performance(completed, seconds, completed / ended if ended else 0.0),
        last_seen=whole_seconds(client.last_seen),
    )


def _on_client(record: TaskRecord, client_id: str) -> rest.ClientTaskFull:
    task = record.task
    gpus = sorted({gpu for rank in task.ranks if rank.client_id == client_id for gpu in rank.gpus})
    return rest.ClientTaskFull(task.id, task.state.value, record.progress, gpus)


def client_full(
    client: ClientRecord, connected: bool, lends: bool, tasks: list[TaskRecord]
) -> rest.ClientFull:
    return rest.ClientFull(
        id=client.id,
        status=client_status(connected),
        speaks=client.speaks,
        hostname=client.hostname,
        agent_version=client.agent_version,
        labels=client.labels,
        environments=list(client.environments),
        resources=client.resources,
        tasks=[_on_client(one, client.id) for one in tasks],
        lends=lends,
        drained=client.drained,
        last_seen=utc(client.last_seen),
    )


def client_full_details(
    client: rest.ClientFull, performance: tuple[int, int, float]
) -> rest.ClientFullDetails:
    """`performance` as in `client_details`."""
    completed, ended, seconds = performance
    return rest.ClientFullDetails(
        **asdict(client),
        performance=rest.PerformanceFull(
            completed_tasks=completed,
            ended_attempts=ended,
            average_time=seconds if completed else None,
            success_rate=completed / ended if ended else None,
        ),
    )


def event_full(event: EventRecord) -> rest.EventFull:
    return rest.EventFull(
        id=event.id,
        at=utc(event.at),
        kind=event.kind,
        message=event.message,
        task_id=event.task_id,
        client_id=event.client_id,
        attempt=event.attempt,
    )


def attempt_full(
    attempt: AttemptRecord, task: Task, holds: Mapping[RankKey, int]
) -> rest.AttemptFull:
    """`holds`: the last durable message's number of each rank that holds its client."""
    latest = task.ranks if attempt.attempt == task.attempt else ()
    return rest.AttemptFull(
        attempt=attempt.attempt,
        clients=list(attempt.clients),
        assigned_at=utc(attempt.assigned_at),
        started_at=utc(attempt.started_at) if attempt.started_at is not None else None,
        ended_at=utc(attempt.ended_at) if attempt.ended_at is not None else None,
        outcome=attempt.outcome,
        message=attempt.message,
        provenance=attempt.provenance,
        ranks=[
            rest.RankFull(
                rank=number,
                client=client_id,
                seq=holds.get(RankKey(task.id, attempt.attempt, number)),
                state=_rank_state(latest[number]) if number < len(latest) else None,
                provenance=attempt.provenance.get(str(number), {}),
            )
            for number, client_id in enumerate(attempt.clients)
        ],
    )


def event_list(events: list[EventRecord], after: int) -> rest.EventList:
    """A page of events, asked for from `after` on."""
    following = events[-1].id if events else after
    return rest.EventList([event_full(event) for event in events], following)


def _rank_state(rank: Rank) -> str:
    return State.UNREACHABLE.value if rank.lost and not rank.ended else rank.phase.value


def checkpoint_full(checkpoint: CheckpointRecord) -> rest.CheckpointFull:
    return rest.CheckpointFull(
        id=checkpoint.id,
        attempt=checkpoint.attempt,
        step=checkpoint.step,
        epoch=checkpoint.epoch,
        progress=checkpoint.progress,
        size=checkpoint.size,
        sha256=checkpoint.sha256,
        metrics=checkpoint.metrics,
        final=checkpoint.final,
        path=f"/api/v2/tasks/{checkpoint.task_id}/checkpoints/{checkpoint.id}/data",
        created_at=utc(checkpoint.created_at),
        pinned=checkpoint.pinned,
        best=checkpoint.best,
    )


def output_full(output: OutputRecord) -> rest.OutputFull:
    return rest.OutputFull(
        path=output.path,
        size=output.size,
        sha256=output.sha256,
        attempt=output.attempt,
        created_at=utc(output.created_at),
    )


def package_full(package: PackageRecord) -> rest.PackageFull:
    return rest.PackageFull(
        name=package.name,
        version=package.version,
        kind=package.kind,
        sha256=package.sha256,
        size=package.size,
        publisher=package.publisher,
        path=f"/models/{package.name}/{package.version}",
        created_at=utc(package.created_at),
    )


def data_full(record: DataRecord) -> rest.DataFull:
    return rest.DataFull(
        sha256=record.sha256,
        name=record.name,
        kind=record.kind,
        size=record.size,
        putter=record.putter,
        url=f"{SCHEME}{record.sha256}",
        created_at=utc(record.created_at),
    )


def token_full(token: TokenRecord) -> rest.TokenFull:
    return rest.TokenFull(
        id=token.id,
        name=token.name,
        role=token.role,
        client_id=token.client_id,
        created_at=utc(token.created_at),
        expires_at=utc(token.expires_at) if token.expires_at is not None else None,
        revoked_at=utc(token.revoked_at) if token.revoked_at is not None else None,
        label=token.label,
    )


def metric_summaries(
    record: TaskRecord, summaries: Iterable[SummaryRecord]
) -> list[rest.MetricSummary]:
    def best(one: SummaryRecord) -> float:
        return one.min if direction(record.spec.best, one.name) == "min" else one.max

    return [
        rest.MetricSummary(
            name=one.name,
            count=one.count,
            last=one.last,
            min=one.min,
            max=one.max,
            last_step=one.last_step,
            best=best(one),
        )
        for one in summaries
    ]


def metric_history(
    record: TaskRecord, series: list[Series], summaries: list[SummaryRecord]
) -> rest.MetricHistory:
    return rest.MetricHistory(
        series=[
            rest.MetricSeries(
                name=one.name,
                step=one.step,
                time=one.time,
                value=list(one.value),
                min=list(one.min),
                max=list(one.max),
                total=one.total,
            )
            for one in series
        ],
        summaries=metric_summaries(record, summaries),
    )
