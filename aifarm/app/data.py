"""Data that tasks name: brought part by part, known by the sha256 of its bytes. Operations, as in
`operations`.

It becomes visible when its putter commits it, after its bytes were hashed: whoever names it gets
what they mean, whoever brought it.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, Forbidden, InvalidRequest, NotFound
from aifarm.app.records import DataRecord, PackageRecord, Part
from aifarm.app.scopes import Principal, Scope
from aifarm.app.writer import Operation
from aifarm.core.task import Note
from aifarm.wire.agent import DataRef
from aifarm.wire.requests import CreateData

SCHEME = "aifarm:"
"""Of URLs of data on the farm itself; its sha256 follows."""


def begin(body: CreateData, by: Principal) -> Operation:
    """(the data, whether it is newly begun). What is there already is not brought again."""

    def operation(draft: Draft) -> tuple[DataRecord, bool]:
        known = _complete(draft, body.sha256) or _of(draft, body.sha256, by.name)
        if known is not None:
            if known.size != body.size:
                raise Conflict(
                    f"What has this sha256 has {known.size} bytes, not {body.size}.",
                    field="size",
                )
            return known, False
        record = DataRecord(
            sha256=body.sha256,
            putter=by.name,
            name=body.name,
            kind=body.kind,
            size=body.size,
            key=f"data/{draft.new_id()}",
            created_at=draft.at,
        )
        _set(draft, record)
        return record, True

    return operation


def find(sha256: str, by: Principal) -> Operation:
    """The data: complete, or on its way from this putter. Raises NotFound."""

    def operation(draft: Draft) -> DataRecord:
        return _found(draft, sha256, by)

    return operation


def add_part(sha256: str, part: Part, by: Principal) -> Operation:
    """A part whose bytes are stored already."""

    def operation(draft: Draft) -> None:
        record = _found(draft, sha256, by)
        if record.complete:
            return
        others = [known for known in record.parts if known.number != part.number]
        parts = tuple(sorted([*others, part], key=lambda one: one.number))
        _set(draft, replace(record, parts=parts))

    return operation


def commit(sha256: str, by: Principal, hashed: tuple[Part, ...]) -> Operation:
    """(the data, where bytes lie that nobody needs): all of it is stored, and its `hashed` parts
    have the sha256. Raises Conflict where it has others by now."""

    def operation(draft: Draft) -> tuple[DataRecord, list[str]]:
        record = _found(draft, sha256, by)
        own = _of(draft, sha256, by.name)
        if record.complete:  # perhaps another brought the same meanwhile
            if own is None or own.complete:
                return record, []
            _drop(draft, own)
            return record, [own.key]
        if record.parts != hashed:
            raise Conflict("Its parts changed while they were hashed: commit it again.")
        record = replace(record, complete=True, created_at=draft.at)
        _set(draft, record)
        words = f"{by.name} put {record.name} on the farm ({record.size / 2**20:.1f} MiB)."
        draft.note(Note("data_put", words))
        return record, []

    return operation


def give_up(sha256: str, putter: str) -> Operation:
    """Forgets data that did not arrive. The value: where its bytes lie."""

    def operation(draft: Draft) -> list[str]:
        record = _of(draft, sha256, putter)
        if record is None or record.complete:
            return []
        _drop(draft, record)
        return [record.key]

    return operation


def delete(sha256: str, by: Principal) -> Operation:
    """Forgets data that no task needs. The value: where its bytes lie."""

    def operation(draft: Draft) -> str:
        record = _complete(draft, sha256)
        if record is None:
            raise NotFound(f"There is no data {SCHEME}{sha256} on this farm.")
        if record.putter != by.name and not by.may(Scope.CONTROL_ALL):
            raise Forbidden(f"{record.putter} put this data; only they may delete it.")
        url = f"{SCHEME}{sha256}"
        for task in draft.records.values():
            if any(ref.url == url for ref in task.spec.data.values()):
                raise Conflict(
                    f"Task {task.task.id} names this data and is not over.", task_id=task.task.id
                )
        _drop(draft, record)
        draft.note(Note("data_deleted", f"{by.name} deleted the data {record.name}."))
        return record.key

    return operation


class _Manifest(Struct):
    """What concerns us of a package's."""

    data: dict[str, DataRef] = {}


def declared(package: PackageRecord) -> dict[str, DataRef]:
    """The data that a package names for all its tasks."""
    return msgspec.json.decode(package.manifest, type=_Manifest).data


def pinned(draft: Draft, named: Mapping[str, DataRef]) -> dict[str, DataRef]:
    """What a task names, with all that the farm knows of it. Raises NotFound, InvalidRequest."""
    return {name: _pinned(draft, f"data.{name}", ref) for name, ref in named.items()}


def _pinned(draft: Draft, field: str, ref: DataRef) -> DataRef:
    if not ref.url.startswith(SCHEME):
        return ref
    sha256 = ref.url.removeprefix(SCHEME)
    if ref.sha256 not in (None, sha256):
        raise InvalidRequest(
            f"{ref.url} cannot have the sha256 {ref.sha256}.",
            field=f"{field}.sha256",
            expected=sha256,
        )
    record = _complete(draft, sha256)
    if record is None:
        raise NotFound(
            f"There is no data {ref.url} on this farm: put it there first.", field=f"{field}.url"
        )
    return DataRef(ref.url, sha256, record.kind == "folder", record.size)


def _complete(draft: Draft, sha256: str) -> DataRecord | None:
    for (known, _), record in draft.data.items():
        if known == sha256 and record.complete:
            return record
    return _left(draft, draft.store.data(sha256))


def _of(draft: Draft, sha256: str, putter: str) -> DataRecord | None:
    record = draft.data.get((sha256, putter))
    return record or _left(draft, draft.store.data(sha256, putter))


def _left(draft: Draft, record: DataRecord | None) -> DataRecord | None:
    """Unless it was deleted in this batch."""
    if record is None or draft.is_out("data", record.sha256, record.putter):
        return None
    return record


def _found(draft: Draft, sha256: str, by: Principal) -> DataRecord:
    record = _complete(draft, sha256) or _of(draft, sha256, by.name)
    if record is None:
        raise NotFound(f"No data with the sha256 {sha256} was announced by {by.name}.")
    return record


def _set(draft: Draft, record: DataRecord) -> None:
    draft.farm.ledger.put(draft.data, (record.sha256, record.putter), record)
    draft.put("put_data", record)


def _drop(draft: Draft, record: DataRecord) -> None:
    draft.farm.ledger.put(draft.data, (record.sha256, record.putter), None)
    draft.take_out("data", record.sha256, record.putter)
    draft.put("drop_data", record.sha256, record.putter)
