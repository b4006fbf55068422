"""The files that a task keeps: what its current attempt says of them becomes the set.

A file's bytes come as an upload; files of the same content share them. What a newer version
replaced is stray from then on, and swept by the housekeeper.
"""

import hashlib

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, InvalidRequest, NotFound, TooLarge
from aifarm.app.records import OutputRecord, Part, UploadRecord
from aifarm.core.task import Note, RankKey
from aifarm.wire.agent import MAX_OUTPUT_BYTES, MAX_OUTPUTS, OutputFile, TaskOutputs

_EMPTY = hashlib.sha256().hexdigest()


def commit(draft: Draft, key: RankKey, message: TaskOutputs) -> None:
    """Makes the change part of the task's outputs, whole or not at all. Raises FarmError."""
    if key.rank != 0:
        raise InvalidRequest("Rank 0 says what a task keeps.", field="rank", expected=0)
    before = draft.outputs(key.task_id)
    by_content = {record.sha256: record for record in before.values()}
    uploads: dict[str, UploadRecord] = {}
    files = []
    for file in message.files:
        upload = draft.upload(file.upload_id) if file.upload_id is not None else None
        if upload is None:  # or it is an earlier message's already
            files.append(_known(draft, key, file, by_content))
            continue
        _need_complete(key, upload)
        uploads[upload.id] = upload
        files.append(_arrived(draft, key, file, upload))
    kept = {path: record.size for path, record in before.items() if path not in message.removed}
    kept |= {record.path: record.size for record in files}
    _need_limits(len(kept), sum(kept.values()))
    for upload_id in uploads:
        draft.drop_upload(upload_id)
    draft.change_outputs(key.task_id, files, message.removed)
    if message.final or (files and not before):
        words = f"Outputs: {len(kept)} files ({sum(kept.values()) / 2**20:.1f} MiB)."
        draft.note(Note("outputs", words, key.task_id, None, key.attempt))


def need_room(draft: Draft, key: RankKey, size: int) -> None:
    """Raises TooLarge where a file of `size` bytes alone is more than a task may keep."""
    _need_limits(1, size)


def _need_limits(count: int, size: int) -> None:
    if count > MAX_OUTPUTS:
        raise TooLarge(
            f"A task keeps at most {MAX_OUTPUTS:,} files: name fewer in `outputs`.",
            field="files",
            expected=f"at most {MAX_OUTPUTS}",
        )
    if size > MAX_OUTPUT_BYTES:
        raise TooLarge(
            f"The files that a task keeps have at most {MAX_OUTPUT_BYTES / 2**30:,.0f} GiB:"
            " name fewer in `outputs`.",
            field="files",
            expected=f"at most {MAX_OUTPUT_BYTES} bytes",
        )


def _known(
    draft: Draft, key: RankKey, file: OutputFile, by_content: dict[str, OutputRecord]
) -> OutputRecord:
    """A file that brings no bytes: empty, or another of the task's files has them."""
    if file.size == 0 and file.sha256 == _EMPTY:
        return _record(draft, key, file, f"outputs/{key.task_id}/empty", ())
    same = by_content.get(file.sha256)
    if same is None or same.size != file.size:
        raise NotFound(f"No output of task {key.task_id} has the sha256 {file.sha256}.")
    return _record(draft, key, file, same.key, same.parts)


def _arrived(draft: Draft, key: RankKey, file: OutputFile, upload: UploadRecord) -> OutputRecord:
    if (upload.size, upload.sha256) != (file.size, file.sha256):
        raise Conflict(f"Upload {upload.id} is of another file than {file.path}.", field="files")
    return _record(draft, key, file, upload.key, upload.parts)


def _need_complete(key: RankKey, upload: UploadRecord) -> None:
    of = (upload.purpose, upload.task_id, upload.attempt)
    if of != ("output", key.task_id, key.attempt):
        raise NotFound(f"There is no upload {upload.id}.", field="upload_id")
    stored = sum(part.size for part in upload.parts)
    if stored != upload.size:
        raise Conflict(
            f"Upload {upload.id} is not complete: {stored} of {upload.size} bytes.",
            field="upload_id",
        )


def _record(
    draft: Draft, key: RankKey, file: OutputFile, where: str, parts: tuple[Part, ...]
) -> OutputRecord:
    return OutputRecord(
        task_id=key.task_id,
        path=file.path,
        attempt=key.attempt,
        size=file.size,
        sha256=file.sha256,
        key=where,
        parts=parts,
        created_at=draft.at,
    )
