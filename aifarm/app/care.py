"""What people do with tasks beside running them: describe, delete and restore them, keep or
delete their checkpoints and packages. Operations, as in `operations`."""

from collections.abc import Iterable

from msgspec import UNSET
from msgspec.structs import asdict, replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, Forbidden, NotFound
from aifarm.app.lookup import checkpoint_of, ref_of, task_record, trashed_record
from aifarm.app.records import About, CheckpointRecord, PackageRecord, TaskRecord
from aifarm.app.scopes import Principal, Scope
from aifarm.app.writer import Operation
from aifarm.core.task import Desired, DesiredSet, Note
from aifarm.wire.requests import EditTask


def edit_task(task_id: str, body: EditTask, by: Principal) -> Operation:
    """Changes what is said about a task, also after its end."""

    def operation(draft: Draft) -> TaskRecord:
        record = task_record(draft, task_id)
        by.need_control(record.task.submitter)
        given = {name: value for name, value in asdict(body).items() if value is not UNSET}
        if "tags" in given:
            given["tags"] = tuple(dict.fromkeys(given["tags"]))
        return _described(draft, record, replace(record.about, **given), by)

    return operation


def tag_task(task_id: str, add: Iterable[str], remove: Iterable[str], by: Principal) -> Operation:
    """Gives a task some tags and takes others away; those that are so already do no harm."""
    added, removed = tuple(add), frozenset(remove)

    def operation(draft: Draft) -> TaskRecord:
        record = task_record(draft, task_id)
        by.need_control(record.task.submitter)
        kept = (tag for tag in record.about.tags if tag not in removed)
        tags = tuple(dict.fromkeys((*kept, *added)))
        return _described(draft, record, replace(record.about, tags=tags), by)

    return operation


def _described(draft: Draft, record: TaskRecord, about: About, by: Principal) -> TaskRecord:
    before = asdict(record.about)
    changed = [name for name, value in asdict(about).items() if value != before[name]]
    if not changed:
        return record
    record = replace(record, about=about)
    _keep(draft, record)
    if "tags" in changed:
        draft.put("put_tags", record.task.id, about.tags)
    draft.note(Note("edited", f"{by.name} changed its {', '.join(changed)}.", record.task.id))
    return record


def _keep(draft: Draft, record: TaskRecord) -> None:
    """What is changed of a task beside its life, whether that is over or not."""
    if record.task.id in draft.records:
        draft.set_record(record)
    else:
        draft.settle(record)


def delete_task(task_id: str, by: Principal) -> Operation:
    """Puts a task into the trash; where it still runs, it is stopped."""

    def operation(draft: Draft) -> TaskRecord:
        record = task_record(draft, task_id)
        by.need_control(record.task.submitter)
        deleted = replace(record, deleted_at=draft.at)
        _keep(draft, deleted)
        if not record.task.final:
            event = DesiredSet(at=draft.at, desired=Desired.STOPPED, by=by.name, reason="deleted")
            draft.take(draft.farm.apply(task_id, event))
        draft.note(Note("deleted", f"Deleted by {by.name}.", task_id))
        return deleted

    return operation


def restore_task(task_id: str, by: Principal) -> Operation:
    """Takes a task out of the trash; one that ran when it was deleted stays stopped."""

    def operation(draft: Draft) -> TaskRecord:
        record = trashed_record(draft, task_id)
        by.need_control(record.task.submitter)
        record = replace(record, deleted_at=None)
        _keep(draft, record)
        draft.note(Note("restored", f"Restored by {by.name}.", task_id))
        return record

    return operation


def pin_checkpoint(task_id: str, checkpoint_id: str, pinned: bool, by: Principal) -> Operation:
    """A pinned checkpoint is kept, whatever becomes of its task, until it is unpinned."""

    def operation(draft: Draft) -> CheckpointRecord:
        by.need_control(task_record(draft, task_id).task.submitter)
        checkpoint = checkpoint_of(draft, task_id, checkpoint_id)
        if checkpoint.pinned == pinned:
            return checkpoint
        checkpoint = replace(checkpoint, pinned=pinned)
        draft.put("put_checkpoint", checkpoint)
        done = "pinned" if pinned else "unpinned"
        words = f"{by.name} {done} the checkpoint of step {checkpoint.step}."
        draft.note(Note(done, words, task_id))
        return checkpoint

    return operation


def delete_checkpoint(task_id: str, checkpoint_id: str, by: Principal) -> Operation:
    """Forgets a checkpoint that nobody needs. The value: where its bytes lie."""

    def operation(draft: Draft) -> str:
        record = task_record(draft, task_id)
        by.need_control(record.task.submitter)
        checkpoint = checkpoint_of(draft, task_id, checkpoint_id)
        if checkpoint.pinned:
            raise Conflict("The checkpoint is pinned; unpin it first.")
        for other in draft.records.values():
            if other.checkpoint is not None and other.checkpoint.id == checkpoint_id:
                raise Conflict(
                    f"Task {other.task.id} is not over and would resume from this checkpoint.",
                    task_id=other.task.id,
                )
        if record.checkpoint is not None and record.checkpoint.id == checkpoint_id:
            rest = [one for one in draft.store.checkpoints(task_id) if _left(draft, one)]
            rest = [one for one in rest if one.id != checkpoint_id]
            draft.settle(replace(record, checkpoint=ref_of(rest[0]) if rest else None))
        draft.take_out("checkpoint", checkpoint_id)
        draft.put("drop_checkpoint", checkpoint_id)
        words = f"{by.name} deleted the checkpoint of step {checkpoint.step}."
        draft.note(Note("checkpoint_deleted", words, task_id))
        return checkpoint.key

    return operation


def _left(draft: Draft, checkpoint: CheckpointRecord) -> bool:
    return not draft.is_out("checkpoint", checkpoint.id)


def delete_package(name: str, version: str, by: Principal) -> Operation:
    """Forgets a package that no task needs. The value: where its bytes lie."""

    def operation(draft: Draft) -> str:
        record = draft.package(name, version)
        if record is None:
            raise NotFound(f"There is no package {name} {version} on this farm.")
        if record.publisher != by.name and not by.may(Scope.CONTROL_ALL):
            raise Forbidden(f"{record.publisher} published this package; only they may delete it.")
        _need_unused(draft, record)
        draft.drop_package(record)
        draft.note(Note("unpublished", f"{by.name} deleted the package {name} {version}."))
        return record.key

    return operation


def _need_unused(draft: Draft, package: PackageRecord) -> None:
    """Raises Conflict where a task that is not over, or may be restored, is pinned to it."""
    for where, records in (("not over", draft.records.values()), ("in the trash", _trash(draft))):
        for record in records:
            pinned = record.spec.package
            if pinned is not None and (pinned.name, pinned.version) == (
                package.name,
                package.version,
            ):
                raise Conflict(
                    f"Task {record.task.id} uses this package and is {where}.",
                    task_id=record.task.id,
                )


def _trash(draft: Draft) -> Iterable[TaskRecord]:
    known = {record.task.id: record for record in draft.store.trash()} | draft.settled
    return (record for record in known.values() if record.deleted)
