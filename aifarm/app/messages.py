"""What clients say about the ranks they run, as operations on the writer's draft.

Each returns the messages to answer with, once the batch is durable. A message that was seen
before changes nothing and gets the same acknowledgement; one that skips a number is not applied,
and the acknowledgement says where to go on.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from aifarm.app import outputs, paces
from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, FarmError, InvalidRequest, NotFound
from aifarm.app.lookup import any_record, ref_of
from aifarm.app.records import CheckpointRecord
from aifarm.app.writer import Operation
from aifarm.core.client import Hold, Outcome
from aifarm.core.task import (
    Cause,
    Checkpointed,
    EndpointOpened,
    Note,
    Observed,
    Phase,
    RankEnded,
    RankKey,
)
from aifarm.wire.agent import (
    AboutRank,
    Ack,
    CheckpointRef,
    ErrorBody,
    ErrorMessage,
    GangEndpoint,
    Resumed,
    ServerMessage,
    TaskCheckpoint,
    TaskLog,
    TaskMeasured,
    TaskNote,
    TaskOutputs,
    TaskProgress,
    TaskResult,
    TaskResultAck,
    TaskState,
)

MAX_METRICS = 256
MAX_NAMES = 4_096
"""Different metric names in one message, and in one task: a row for each is kept."""


def about_rank(client_id: str, message: AboutRank) -> Operation:
    """Applies one message of a client about a rank. The value: messages to send back."""

    def operation(draft: Draft) -> list[ServerMessage]:
        hold = _hold(draft, client_id, message)
        if hold is None:
            return _unknown(draft, client_id, message)
        key = hold.key
        if message.seq is None:
            draft.farm.accept(key, hold.seq + 1, hold.seq + 1)
            return _apply(draft, key, message)
        seq_to = getattr(message, "seq_to", None) or message.seq
        if draft.farm.accept(key, message.seq, seq_to) != "new":
            return [_ack(key, hold.seq)]
        try:
            answers = _apply(draft, key, message)
        except FarmError as error:  # said again it would fail again: take it off the outbox
            answers = [ErrorMessage(error=error_body(error))]
        return [*answers, _ack(key, seq_to)]

    return operation


def _ack(key: RankKey, seq: int) -> Ack:
    return Ack(task_id=key.task_id, attempt=key.attempt, rank=key.rank, seq=seq)


def _hold(draft: Draft, client_id: str, message: AboutRank) -> Hold | None:
    """The rank the message is about; implied by (task, client) where it does not say."""
    if message.attempt is None or message.rank is None:
        return draft.hold_of(client_id, message.task_id)
    hold = draft.farm.holds.get(RankKey(message.task_id, message.attempt, message.rank))
    if hold is not None and hold.client_id != client_id:
        raise NotFound(f"{client_id} does not hold task {message.task_id}.", field="task_id")
    return hold


def _unknown(draft: Draft, client_id: str, message: AboutRank) -> list[ServerMessage]:
    """A rank that is over for the farm. What was said of it before is acknowledged again."""
    if message.seq is not None and message.attempt is not None and message.rank is not None:
        seq_to = getattr(message, "seq_to", None) or message.seq
        return [_ack(RankKey(message.task_id, message.attempt, message.rank), seq_to)]
    record = any_record(draft, message.task_id)
    ran_it = record is not None and any(rank.client_id == client_id for rank in record.task.ranks)
    if ran_it and isinstance(message, TaskResult):
        return [TaskResultAck(task_id=message.task_id, received=True)]
    raise NotFound(f"{client_id} does not hold task {message.task_id}.", field="task_id")


def _apply(draft: Draft, key: RankKey, message: AboutRank) -> list[ServerMessage]:
    return _HANDLERS[type(message)](draft, key, message)


def _current(draft: Draft, key: RankKey) -> bool:
    task = draft.farm.tasks.get(key.task_id)
    return task is not None and task.attempt == key.attempt and bool(task.ranks)


def _seen_running(draft: Draft, key: RankKey) -> None:
    """Progress of a rank says that it has started, and that its client is in contact."""
    rank = draft.farm.tasks[key.task_id].ranks[key.rank]
    if rank.phase is Phase.ASSIGNED or rank.lost:
        phase = Phase.RUNNING if rank.phase is Phase.ASSIGNED else rank.phase
        seen = Observed(at=draft.at, attempt=key.attempt, rank=key.rank, phase=phase)
        draft.take(draft.farm.apply(key.task_id, seen))


def _progress(draft: Draft, key: RankKey, message: TaskProgress) -> list[ServerMessage]:
    names = set(message.metrics).union(*(values for _, _, values in message.points))
    known = draft.records[key.task_id].metrics if key.task_id in draft.records else {}
    if len(names) > MAX_METRICS or (len(known) >= MAX_NAMES and not names <= known.keys()):
        raise InvalidRequest(
            f"At most {MAX_METRICS} different metrics in a message, {MAX_NAMES} in a task.",
            field="metrics",
            expected=f"at most {MAX_METRICS} names",
        )
    if not _current(draft, key):
        return _refused(key)
    _seen_running(draft, key)
    points = message.points
    if not points and message.metrics:
        points = [(draft.farm.holds[key].seq, draft.at, message.metrics)]
    if points:
        draft.add_points(key, points)
    if key.rank == 0:
        record = draft.records[key.task_id]
        latest = {**record.metrics, **message.metrics}
        for _, _, values in points[-1:]:
            latest.update(values)
        draft.set_record(replace(record, progress=message.progress, metrics=latest))
    return []


def _state(draft: Draft, key: RankKey, message: TaskState) -> list[ServerMessage]:
    if not _current(draft, key):
        return _refused(key)
    phase = Phase(message.state)
    seen = Observed(at=draft.at, attempt=key.attempt, rank=key.rank, phase=phase)
    draft.take(draft.farm.apply(key.task_id, seen))
    attempt = draft.attempts.get(key.task_id)
    if message.provenance and attempt is not None and attempt.attempt == key.attempt:
        told = {**attempt.provenance, str(key.rank): message.provenance}
        draft.set_attempt(replace(attempt, provenance=told))
    if message.how:
        draft.note(Note(message.state, message.how, key.task_id, None, key.attempt))
    if message.resumed is not None and key.rank == 0:
        draft.note(_resumed(key, message.step, message.resumed))
    return []


def _resumed(key: RankKey, step: int | None, found: Resumed) -> Note:
    """Whether the restored state computes what the saved one did."""
    words = f"Resumed at step {step}"
    if found.verified is None:
        return Note("resumed", f"{words}.", key.task_id, None, key.attempt)
    loss, expected = (
        "no number" if value is None else f"{value:.6g}" for value in (found.loss, found.expected)
    )
    if found.verified:
        words = f"{words}; the reference loss is the same ({loss})."
        return Note("resumed", words, key.task_id, None, key.attempt)
    words += f", but the reference loss is {loss} and was {expected}"
    words += ": the training may not be the same."
    return Note("resume_differs", words, key.task_id, None, key.attempt)


def _log(draft: Draft, key: RankKey, message: TaskLog) -> list[ServerMessage]:
    draft.add_log(key, message.lines, message.open)
    return []


def _checkpoint(draft: Draft, key: RankKey, message: TaskCheckpoint) -> list[ServerMessage]:
    """Its bytes are stored already; this makes it one to resume from, unless it is stale."""
    if not _current(draft, key):
        return _refused(key)
    upload = draft.upload(message.upload_id)
    stored = sum(part.size for part in upload.parts) if upload is not None else 0
    if upload is None or (upload.task_id, upload.attempt) != (key.task_id, key.attempt):
        raise NotFound(f"There is no upload {message.upload_id}.", field="upload_id")
    if stored != message.size or upload.sha256 != message.sha256:
        raise Conflict(
            f"Upload {message.upload_id} is not complete: {stored} of {message.size} bytes.",
            field="upload_id",
        )
    checkpoint = CheckpointRecord(
        id=upload.id,
        task_id=key.task_id,
        attempt=key.attempt,
        step=message.step,
        size=message.size,
        sha256=message.sha256,
        key=upload.key,
        parts=upload.parts,
        created_at=draft.at,
        epoch=message.epoch,
        progress=message.progress,
        metrics=message.metrics,
        final=message.final,
        best=message.best,
    )
    draft.put("put_checkpoint", checkpoint)
    draft.drop_upload(upload.id)
    record = draft.records[key.task_id]
    known = record.checkpoint
    inherited = known is not None and known.id == record.spec.from_checkpoint
    if known is None or inherited or known.step <= message.step:
        ref = CheckpointRef(upload.id, message.step, message.size, message.sha256)
        draft.set_record(replace(record, checkpoint=ref))
    event = Checkpointed(at=draft.at, attempt=key.attempt, step=message.step)
    draft.take(draft.farm.apply(key.task_id, event))
    words = f"Checkpoint at step {message.step} ({message.size / 2**20:.1f} MiB)."
    draft.note(Note("checkpoint", words, key.task_id, None, key.attempt))
    return []


def _outputs(draft: Draft, key: RankKey, message: TaskOutputs) -> list[ServerMessage]:
    """Their bytes are stored already; this makes them the task's, unless the attempt is stale."""
    if not _current(draft, key):
        return _refused(key)
    outputs.commit(draft, key, message)
    return []


def _endpoint(draft: Draft, key: RankKey, message: GangEndpoint) -> list[ServerMessage]:
    if key.rank != 0:
        raise InvalidRequest("Rank 0 says where a gang meets.", field="rank", expected=0)
    event = EndpointOpened(
        at=draft.at, attempt=key.attempt, address=message.address, port=message.port
    )
    draft.take(draft.farm.apply(key.task_id, event))
    return []


def _measured(draft: Draft, key: RankKey, message: TaskMeasured) -> list[ServerMessage]:
    if not _current(draft, key):
        return _refused(key)
    paces.keep(draft, draft.records[key.task_id], message)
    return []


def _note(draft: Draft, key: RankKey, message: TaskNote) -> list[ServerMessage]:
    if not _current(draft, key):
        return _refused(key)
    client_id = draft.farm.holds[key].client_id
    words = f"{client_id}: {message.message}"
    draft.note(Note(message.kind, words, key.task_id, client_id, key.attempt))
    return []


_CAUSES = {
    "user_error": Cause.USER_ERROR,
    "out_of_memory": Cause.OUT_OF_MEMORY,
    "agent_lost": Cause.AGENT_LOST,
    "peers_lost": Cause.AGENT_LOST,
    "checkpoint_damaged": Cause.AGENT_LOST,
    "package_invalid": Cause.PACKAGE_INVALID,
    "timeout": Cause.TIMEOUT,
    "owner_returned": Cause.OWNER_RETURNED,
    "no_room": Cause.OWNER_RETURNED,  # nobody's fault either
}


def _result(draft: Draft, key: RankKey, message: TaskResult) -> list[ServerMessage]:
    current = _current(draft, key)
    match message.status:
        case "completed":
            cause = Cause.COMPLETED
        case "stopped":
            cause = Cause.VACATED if message.cause == "vacated" else Cause.STOPPED
        case _:
            cause = _CAUSES.get(message.cause or "", Cause.USER_ERROR)
    if current and key.rank == 0 and message.status == "completed":
        record = draft.records[key.task_id]
        metrics = {**record.metrics, **message.metrics}
        draft.set_record(replace(record, metrics=metrics, progress=100.0))
    if current and message.cause == "checkpoint_damaged":
        _step_back(draft, key)
    event = RankEnded(
        at=draft.at,
        attempt=key.attempt,
        rank=key.rank,
        cause=cause,
        message=message.message,
        cut_off=message.cause == "peers_lost",
    )
    hold = draft.farm.holds[key]
    outcome: Outcome = draft.take(draft.farm.end_rank(key, event))
    if not outcome.stale:
        return [TaskResultAck(task_id=key.task_id, received=True)]
    if message.cause != "withdrawn":
        words = f"A {message.status} result of attempt {key.attempt} from {hold.client_id}"
        draft.note(
            Note("refused", f"{words} was refused: that attempt is over.", key.task_id, None)
        )
    return [*_refused(key), TaskResultAck(task_id=key.task_id, received=False)]


def _step_back(draft: Draft, key: RankKey) -> None:
    """What the task would resume from cannot be had: the one before it takes its place. The
    damaged one is not deleted, since it may be the client that is not to be trusted. What a task
    was to begin with has no other in its place."""
    record = draft.records[key.task_id]
    damaged = record.checkpoint
    if damaged is None or damaged.id == record.spec.from_checkpoint:
        return
    older = next(
        (
            one
            for one in draft.store.checkpoints(key.task_id)
            if one.step < damaged.step and not draft.is_out("checkpoint", one.id)
        ),
        None,
    )
    draft.set_record(replace(record, checkpoint=ref_of(older) if older else None))
    then = f"that of step {older.step} is used" if older else "there is none before it"
    words = f"The checkpoint of step {damaged.step} is damaged: {then}."
    draft.note(Note("checkpoint_damaged", words, key.task_id, None, key.attempt))


def _refused(key: RankKey) -> list[ServerMessage]:
    words = f"Attempt {key.attempt} of task {key.task_id} is over."
    return [ErrorMessage(error=error_body(Conflict(words, task_id=key.task_id)))]


def error_body(error: FarmError) -> ErrorBody:
    return ErrorBody(error.code, error.message, error.details)


_HANDLERS: dict[type[AboutRank], Callable[[Draft, RankKey, Any], list[ServerMessage]]] = {
    TaskProgress: _progress,
    TaskState: _state,
    TaskLog: _log,
    TaskCheckpoint: _checkpoint,
    TaskOutputs: _outputs,
    GangEndpoint: _endpoint,
    TaskMeasured: _measured,
    TaskNote: _note,
    TaskResult: _result,
}
