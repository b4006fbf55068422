"""Large files on their way in: begun, filled part by part, committed by a message.

Parts are hashed as they come and may be sent again; what is visible is decided by the committed
row of a checkpoint or package alone, so an upload cut in the middle leaves nothing to see.
"""

from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Forbidden, NotFound
from aifarm.app.outputs import need_room
from aifarm.app.records import Part, UploadRecord
from aifarm.app.writer import Operation
from aifarm.core.task import RankKey
from aifarm.wire.requests import PART_SIZE, CreateUpload


def begin(body: CreateUpload, client_id: str) -> Operation:
    """(the upload, whether it is new). The same file of the same attempt goes on where it was."""

    def operation(draft: Draft) -> tuple[UploadRecord, bool]:
        key = RankKey(body.task_id, body.attempt, body.rank)
        hold = draft.farm.holds.get(key)
        if hold is None or hold.client_id != client_id:
            raise Forbidden(f"{client_id} does not hold rank {key.rank} of task {key.task_id}.")
        wanted = (body.task_id, body.attempt, body.sha256, body.purpose)
        for upload in draft.uploads.values():
            if (upload.task_id, upload.attempt, upload.sha256, upload.purpose) == wanted:
                return upload, False
        known = draft.store.find_upload(*wanted)
        if known is not None:
            return known, False
        if body.purpose == "output":
            need_room(draft, key, body.size)
        upload_id = draft.new_id()
        upload = UploadRecord(
            id=upload_id,
            task_id=body.task_id,
            attempt=body.attempt,
            rank=body.rank,
            key=f"{body.purpose}s/{body.task_id}/{upload_id}",
            size=body.size,
            sha256=body.sha256,
            part_size=PART_SIZE,
            created_at=draft.at,
            purpose=body.purpose,
        )
        draft.set_upload(upload)
        return upload, True

    return operation


def find(upload_id: str, client_id: str) -> Operation:
    """The upload, where the client still holds the rank it belongs to."""

    def operation(draft: Draft) -> UploadRecord:
        upload = draft.upload(upload_id)
        if upload is None:
            raise NotFound(f"There is no upload {upload_id}.")
        hold = draft.farm.holds.get(RankKey(upload.task_id, upload.attempt, upload.rank))
        if hold is None or hold.client_id != client_id:
            raise Forbidden(f"{client_id} does not hold what upload {upload_id} belongs to.")
        return upload

    return operation


def add_part(upload_id: str, part: Part) -> Operation:
    """A part whose bytes are stored already."""

    def operation(draft: Draft) -> None:
        upload = draft.upload(upload_id)
        if upload is None:
            raise NotFound(f"There is no upload {upload_id}.")
        others = [known for known in upload.parts if known.number != part.number]
        parts = tuple(sorted([*others, part], key=lambda one: one.number))
        draft.set_upload(replace(upload, parts=parts))

    return operation
