"""What people ask of the farm, as operations on the writer's draft.

Each function returns an operation: `farm.write(set_status(...))`. Operations raise FarmError;
one that raises changes nothing.
"""

import hashlib
import re
from urllib.parse import urlsplit

from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, InvalidRequest, NotFound
from aifarm.app.records import PackageRecord, TaskRecord, TaskSpec, TokenRecord
from aifarm.app.scopes import Principal
from aifarm.app.writer import Operation
from aifarm.core.task import Desired, DesiredSet, Needs, Note, Task
from aifarm.wire.agent import PackageRef
from aifarm.wire.codec import encode
from aifarm.wire.rest import CreateTask, CreateToken, UpdateStatus
from aifarm.wire.types import JSON

_MODEL_PATH = re.compile(r"^/models/([^/]+)/([^/]+)/?$")
_DOCUMENTED = ("batch_size", "learning_rate", "epochs")


def create_task(
    body: CreateTask, by: Principal, own_hosts: frozenset[str], idempotency_key: str | None
) -> Operation:
    """A new task, pending. `own_hosts`: how a `url` names this farm itself ("host:port").

    The same idempotency key with the same body gives the same task; with another body, Conflict.
    """
    digest = hashlib.sha256(encode(body)).hexdigest()
    key = f"{by.token_id}:{idempotency_key}" if idempotency_key else None

    def operation(draft: Draft) -> TaskRecord:
        if key is not None and (known := draft.answered(key)) is not None:
            return _again(draft, known, digest)
        spec = _spec(draft, body, own_hosts)
        task = Task(
            id=draft.new_id(),
            submitter=by.name,
            created_at=draft.at,
            updated_at=draft.at,
            needs=Needs(
                gpu_memory=body.requirements.min_gpu_memory,
                cpu_cores=body.requirements.min_cpu_cores,
                ram=body.requirements.min_ram,
            ),
            world_size=body.n_clients,
            priority=body.priority,
            share_gpu=body.share_gpu,
            retries=body.max_retries,
            packaged=spec.package is not None,
        )
        record = TaskRecord(task, spec)
        draft.set_record(record)
        what = f"{spec.name} {spec.version}" if spec.version else spec.name
        note = Note("submitted", f"Submitted by {by.name}: {what}.", task.id)
        draft.take(draft.farm.submit(task, note))
        if key is not None:
            draft.answer(key, digest, task.id)
        return record

    return operation


def _again(draft: Draft, known: tuple[str, str], digest: str) -> TaskRecord:
    body, task_id = known
    if body != digest:
        raise Conflict("This Idempotency-Key was used with another body.")
    return task_record(draft, task_id)


def _spec(draft: Draft, body: CreateTask, own_hosts: frozenset[str]) -> TaskSpec:
    if body.n_clients > 1 and not body.distributed:
        raise InvalidRequest(
            "n_clients above 1 needs distributed: true.",
            field="distributed",
            expected="true where n_clients is above 1",
        )
    config: dict[str, JSON] = {}
    for name in _DOCUMENTED:
        value = getattr(body, name)
        if value is not None and name in body.config:
            raise InvalidRequest(
                f"{name} stands both in the body and in config; give it once.",
                field=f"config.{name}",
                expected="absent",
            )
        if value is not None:
            config[name] = value
    name, version = body.name, body.version
    package = None
    if body.url is None or _is_own(body.url, own_hosts):
        if body.url is not None:
            path = _MODEL_PATH.match(urlsplit(body.url).path)
            if path is None:
                raise NotFound(f"There is no model at {body.url}.", field="url")
            where = path[1], path[2]
        elif version is None:
            raise InvalidRequest(
                "Say which package: a url, or name and version.",
                field="version",
                expected="a published version of the package",
            )
        else:
            where = name, version
        package = _pinned(draft, *where)
        version = version or package.version
    elif urlsplit(body.url).scheme not in ("http", "https"):
        raise InvalidRequest(
            "A model's url begins with http:// or https://.",
            field="url",
            expected="an http or https URL",
        )
    return TaskSpec(
        type=body.type,
        name=name,
        config={**config, **body.config},
        version=version,
        url=body.url,
        distributed=body.distributed,
        package=package,
    )


def _is_own(url: str, own_hosts: frozenset[str]) -> bool:
    return url.startswith("/") or urlsplit(url).netloc.rpartition("@")[2].lower() in own_hosts


def _pinned(draft: Draft, name: str, version: str) -> PackageRef:
    record = draft.package(name, version)
    if record is None:
        versions = [package.version for package in draft.store.packages(name)]
        hint = f"published: {', '.join(versions)}" if versions else "publish it first"
        raise NotFound(f"There is no package {name} {version} on this farm ({hint}).")
    return PackageRef(record.name, record.version, record.sha256, record.size)


def task_record(draft: Draft, task_id: str) -> TaskRecord:
    """A task of any state. Raises NotFound, also for a deleted one."""
    record = draft.records.get(task_id)
    if record is not None:
        record = replace(record, task=draft.farm.tasks[task_id])
    else:
        record = draft.store.task(task_id)
    if record is None or record.deleted:
        raise NotFound(f"There is no task {task_id}.")
    return record


def set_status(task_id: str, body: UpdateStatus, by: Principal) -> Operation:
    """Sets what the submitter wants of a task. The same again is fine; a final task is not."""

    def operation(draft: Draft) -> TaskRecord:
        record = task_record(draft, task_id)
        by.need_control(record.task.submitter)
        desired = Desired(body.status)
        task = record.task
        if task.final or (task.desired is Desired.STOPPED and desired is not Desired.STOPPED):
            if task.state.value == body.status:
                return record
            raise Conflict(
                f"The task is already {task.state.value if task.final else 'being stopped'}.",
                status=task.state.value,
            )
        event = DesiredSet(at=draft.at, desired=desired, by=by.name, reason=body.reason)
        draft.take(draft.farm.apply(task_id, event))
        return task_record(draft, task_id)

    return operation


def delete_task(task_id: str, by: Principal) -> Operation:
    """The task is gone from every list; where it still runs, it is stopped."""

    def operation(draft: Draft) -> TaskRecord:
        record = task_record(draft, task_id)
        by.need_control(record.task.submitter)
        deleted = replace(record, deleted=True)
        if task_id in draft.records:
            draft.set_record(replace(draft.records[task_id], deleted=True))
            event = DesiredSet(at=draft.at, desired=Desired.STOPPED, by=by.name, reason="deleted")
            draft.take(draft.farm.apply(task_id, event))
        else:
            draft.put("put_task", deleted, record)
            draft.deleted(deleted)
        draft.note(Note("deleted", f"Deleted by {by.name}.", task_id))
        return deleted

    return operation


def why(task_id: str) -> Operation:
    """(record, [(client, first requirement it misses)]) of a task; empty when it is not waiting."""

    def operation(draft: Draft) -> tuple[TaskRecord, list[tuple[str, str]]]:
        record = task_record(draft, task_id)
        task = draft.farm.tasks.get(task_id)
        return record, draft.farm.why(task) if task is not None and task.waiting else []

    return operation


def add_package(record: PackageRecord) -> Operation:
    """(the package, whether it is new). Immutable: other content under the same name conflicts."""

    def operation(draft: Draft) -> tuple[PackageRecord, bool]:
        known = draft.package(record.name, record.version)
        if known is not None:
            if known.sha256 != record.sha256:
                raise Conflict(
                    f"{record.name} {record.version} is published with other content;"
                    " publish under a new version.",
                    sha256=known.sha256,
                )
            return known, False
        draft.add_package(record)
        words = f"{record.publisher} published {record.name} {record.version}."
        draft.note(Note("published", words))
        return record, True

    return operation


def create_token(body: CreateToken, digest: str, by: Principal) -> Operation:
    """A token whose secret hashes to `digest`."""

    def operation(draft: Draft) -> TokenRecord:
        if body.client_id is not None and body.role != "agent":
            raise InvalidRequest(
                "Only an agent's token is bound to a client.",
                field="client_id",
                expected="absent unless role is agent",
            )
        record = TokenRecord(
            id=draft.new_id(),
            name=body.name,
            role=body.role,
            digest=digest,
            created_at=draft.at,
            client_id=body.client_id,
            expires_at=draft.at + body.expires if body.expires is not None else None,
        )
        draft.set_token(record)
        draft.note(Note("token_created", f"{by.name} made a {body.role}'s token: {body.name}."))
        return record

    return operation


def revoke_token(token_id: str, by: Principal) -> Operation:
    def operation(draft: Draft) -> TokenRecord:
        record = draft.tokens.get(token_id)
        if record is None:
            raise NotFound(f"There is no token {token_id}.")
        if record.revoked_at is None:
            record = replace(record, revoked_at=draft.at)
            draft.set_token(record)
            draft.note(Note("token_revoked", f"{by.name} revoked the token {record.name}."))
        return record

    return operation
