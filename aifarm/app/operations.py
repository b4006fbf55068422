"""What people ask of the farm, as operations on the writer's draft.

Each function returns an operation: `farm.write(set_status(...))`. Operations raise FarmError;
one that raises changes nothing.
"""

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec.structs import replace

from aifarm.app import origins, paces
from aifarm.app.configs import check_config
from aifarm.app.data import declared, pinned
from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, InvalidRequest, NotFound
from aifarm.app.logins import log_out_all
from aifarm.app.lookup import ref_of, task_record
from aifarm.app.origins import Origin
from aifarm.app.records import (
    About,
    PackageRecord,
    TaskRecord,
    TaskSpec,
    TokenRecord,
)
from aifarm.app.scopes import Principal
from aifarm.app.writer import Operation
from aifarm.core.task import OWN, PER_GPU, Desired, DesiredSet, Needs, Note, Task
from aifarm.core.why import Explanation, explain
from aifarm.wire.agent import DataRef, PackageRef, Program
from aifarm.wire.codec import encode
from aifarm.wire.requests import CreateTask, CreateToken, RetryTask, UpdateStatus
from aifarm.wire.rules import DOCUMENTED
from aifarm.wire.types import JSON

_MODEL_PATH = re.compile(r"^/models/([^/]+)/([^/]+)/?$")


def create_task(
    body: CreateTask, by: Principal, own_hosts: frozenset[str], idempotency_key: str | None
) -> Operation:
    """A new task, pending. `own_hosts`: how a `url` names this farm itself ("host:port").

    The same idempotency key with the same body gives the same task; with another body, Conflict.
    """
    digest = hashlib.sha256(encode(body)).hexdigest()

    def operation(draft: Draft) -> TaskRecord:
        return _submitted(draft, *_new_task(draft, body, by, own_hosts))

    return _once(operation, digest, by, idempotency_key)


def check_task(
    body: CreateTask, by: Principal, own_hosts: frozenset[str], unpublished: bool = False
) -> Operation:
    """(Explanation, paces.Expected or None): what would become of a submission. Raises what
    `create_task` raises, and stores nothing. `unpublished`: its package is still to come."""

    def operation(draft: Draft) -> tuple[Explanation, paces.Expected | None]:
        record, _ = _new_task(draft, body, by, own_hosts, unpublished)
        explained = explain(draft.farm, record.task)
        return explained, paces.expected(draft, record, explained)

    return operation


def _new_task(
    draft: Draft,
    body: CreateTask,
    by: Principal,
    own_hosts: frozenset[str],
    unpublished: bool = False,
) -> tuple[TaskRecord, Origin | None]:
    """The task that a valid submission makes, and what it begins with."""
    spec = _spec(draft, body, own_hosts, unpublished)
    origin = None
    if body.parent is not None:
        task_record(draft, body.parent, "parent")
    if body.from_checkpoint is not None:
        origin = origins.named_by(draft, body.from_checkpoint, spec)
        spec = replace(spec, parent=body.parent or origin.task_id)
    task = Task(
        id=draft.new_id(),
        submitter=by.name,
        created_at=draft.at,
        updated_at=draft.at,
        needs=_needs(body),
        n_clients=body.n_clients,
        processes=PER_GPU if body.processes_per_client == "gpu" else body.processes_per_client,
        priority=body.priority,
        share_gpu=body.share_gpu,
        retries=body.max_retries,
        packaged=unpublished or spec.package is not None,
    )
    about = About(body.project, body.title, tuple(dict.fromkeys(body.tags)), body.notes)
    return TaskRecord(task, spec, about=about), origin


def _needs(body: CreateTask) -> Needs:
    """What its requirements, mounts and environment ask of a client."""
    wanted = body.requirements
    places = [PurePosixPath(inside) for inside in body.mounts]
    for place in places:
        if any(place in other.parents for other in places) or places.count(place) > 1:
            raise InvalidRequest(
                f"The mount {place} holds another one: name paths that lie beside each other.",
                field="mounts",
                expected="paths of which none is in another",
            )
    per_gpu = body.processes_per_client == "gpu"
    return Needs(
        gpu_memory=max(wanted.min_gpu_memory, 1) if per_gpu else wanted.min_gpu_memory,
        cpu_cores=wanted.min_cpu_cores,
        ram=wanted.min_ram,
        environment=body.environment or OWN,
        reads=tuple(sorted(set(body.mounts.values()))),
    )


def retry_task(
    task_id: str, body: RetryTask, by: Principal, idempotency_key: str | None
) -> Operation:
    """A new task like one that is over, which is its parent; the key is as in `create_task`."""
    digest = hashlib.sha256(f"retry {task_id} ".encode() + encode(body)).hexdigest()

    def operation(draft: Draft) -> TaskRecord:
        parent = task_record(draft, task_id)
        by.need_control(parent.task.submitter)
        if not parent.task.final:
            raise Conflict(
                f"The task is {parent.task.state.value}, so there is nothing to try again: stop"
                " it first, or submit another from its checkpoint.",
                status=parent.task.state.value,
            )
        origin = origins.of_retry(draft, parent, body.from_checkpoint)
        package = parent.spec.package
        if package is not None:
            _package(draft, package.name, package.version)
        task = Task(
            id=draft.new_id(),
            submitter=by.name,
            created_at=draft.at,
            updated_at=draft.at,
            needs=parent.task.needs,
            n_clients=parent.task.n_clients,
            processes=parent.task.processes,
            priority=parent.task.priority,
            share_gpu=parent.task.share_gpu,
            retries=parent.task.retries,
            packaged=parent.task.packaged,
        )
        spec = replace(
            parent.spec,
            parent=task_id,
            data=pinned(draft, parent.spec.data),
        )
        return _submitted(draft, TaskRecord(task, spec, about=parent.about), origin)

    return _once(operation, digest, by, idempotency_key)


def _submitted(draft: Draft, record: TaskRecord, origin: Origin | None) -> TaskRecord:
    task = record.task
    checkpoint = origin.checkpoint if origin is not None else None
    spec = replace(record.spec, from_checkpoint=checkpoint.id if checkpoint is not None else None)
    record = replace(record, spec=spec, checkpoint=ref_of(checkpoint) if checkpoint else None)
    draft.set_record(record)
    what = f"{spec.name} {spec.version}" if spec.version else spec.name
    if origin is not None:
        origins.inherit(draft, task.id, origin.files)
        what += origin.words
    note = Note("submitted", f"Submitted by {task.submitter}: {what}.", task.id)
    draft.take(draft.farm.submit(task, note))
    return record


def _once(
    operation: Operation, digest: str, by: Principal, idempotency_key: str | None
) -> Operation:
    """The same operation, which under the same key makes one task and no other."""
    if idempotency_key is None:
        return operation
    key = f"{by.token_id}:{idempotency_key}"

    def once(draft: Draft) -> TaskRecord:
        known = draft.answered(key)
        if known is None:
            record: TaskRecord = operation(draft)
            draft.answer(key, digest, record.task.id)
            return record
        body, task_id = known
        if body != digest:
            raise Conflict("This Idempotency-Key was used with another body.")
        return task_record(draft, task_id)

    return once


def _spec(draft: Draft, body: CreateTask, own_hosts: frozenset[str], unpublished: bool) -> TaskSpec:
    own = {name: getattr(body, name) for name in DOCUMENTED}
    config: dict[str, JSON] = {name: value for name, value in own.items() if value is not None}
    config |= body.config
    name, version = body.name, body.version
    package = None
    named: dict[str, DataRef] = {}
    url = _split(body.url)
    ours = url is None or url.netloc.rpartition("@")[2].lower() in {"", *own_hosts}
    if ours and not unpublished:
        if url is not None:
            path = _MODEL_PATH.match(url.path)
            if path is None:
                raise NotFound(f"There is no model at {body.url}.", field="url")
            where = path[1], path[2]
        else:
            where = name, version or ""
        record = _package(draft, *where)
        package = PackageRef(record.name, record.version, record.sha256, record.size)
        version = version or package.version
        named = declared(record)
        check_config(config, record, frozenset(DOCUMENTED) - body.config.keys())
    return TaskSpec(
        type=body.type,
        name=name,
        config=config,
        version=version,
        url=body.url,
        distributed=body.distributed,
        package=package,
        parent=body.parent,
        best=body.best,
        env=body.env,
        environment=body.environment,
        program=Program(
            args=body.args,
            resume_args=body.resume_args,
            outputs=body.outputs,
            mounts=body.mounts,
            progress_from=body.progress_from,
        ),
        data=pinned(draft, {**named, **body.data}),
    )


def _split(url: str | None) -> SplitResult | None:
    try:
        return urlsplit(url) if url is not None else None
    except ValueError:
        raise NotFound(f"Nothing can be at {url}: it is no URL.", field="url") from None


def _package(draft: Draft, name: str, version: str) -> PackageRecord:
    record = draft.package(name, version)
    if record is None:
        versions = [package.version for package in draft.store.packages(name).items]
        hint = f"published: {', '.join(versions)}" if versions else "publish it first"
        raise NotFound(f"There is no package {name} {version} on this farm ({hint}).")
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


def why(task_id: str) -> Operation:
    """(record, its Explanation) of a task; None when it is not waiting."""

    def operation(draft: Draft) -> tuple[TaskRecord, Explanation | None]:
        record = task_record(draft, task_id)
        task = draft.farm.tasks.get(task_id)
        return record, explain(draft.farm, task) if task is not None and task.waiting else None

    return operation


def probe() -> Operation:
    """Shows that the writer works: after a commit that failed, by writing what is so already."""

    def operation(draft: Draft) -> None:
        if not draft.sound:
            for token in draft.tokens.values():
                draft.put("put_token", token)

    return operation


def add_package(record: PackageRecord) -> Operation:
    """(the package, whether it is new). Immutable: other content under the same name conflicts."""

    def operation(draft: Draft) -> tuple[PackageRecord, bool]:
        known = draft.package(record.name, record.version)
        if known is not None:
            if known.sha256 != record.sha256 and _content(known) != _content(record):
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


def _content(package: PackageRecord) -> JSON:
    """What a package is, wherever its files come from."""
    content: dict[str, JSON] = msgspec.json.decode(package.manifest)
    content.pop("origin", None)
    return content


def create_token(body: CreateToken, digest: str, by: Principal) -> Operation:
    """A token whose secret hashes to `digest`."""

    def operation(draft: Draft) -> TokenRecord:
        record = TokenRecord(
            id=draft.new_id(),
            name=body.name,
            role=body.role,
            digest=digest,
            created_at=draft.at,
            client_id=body.client_id,
            label=body.label,
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
            log_out_all(draft, token_id)
            draft.note(Note("token_revoked", f"{by.name} revoked the token {record.name}."))
        return record

    return operation
