"""Checkpoints on their way in, part by part, from the agents that made them."""

import hashlib

from aifarm.app import uploads
from aifarm.app.errors import Forbidden, InvalidRequest
from aifarm.app.records import Part, UploadRecord
from aifarm.web.http import Request, Response
from aifarm.wire import rest


def client_of(request: Request) -> str:
    """The client that speaks: from its header, which its token may be bound to."""
    client_id = request.headers["Client-ID"]
    if request.by.client_id not in (None, client_id):
        raise Forbidden(f"This token is {request.by.client_id}'s, not {client_id}'s.")
    owner = request.facade.view.clients.get(client_id)
    if owner is None or owner.token_id != request.by.token_id:
        raise Forbidden(f"{client_id} is not a client of this token.")
    return client_id


async def begin(request: Request) -> Response:
    """Announces a checkpoint that an agent wants to store, and answers which parts to send.

    A repeat continues the upload that was begun (200). Only the client that holds the rank may.
    """
    upload, new = await request.write(uploads.begin(request.content, client_of(request)))
    return Response(_full(upload), 201 if new else 200)


async def get(request: Request) -> Response:
    """Tells which parts of an upload are stored, so that a cut one goes on from there."""
    return Response(_full(await _find(request)))


async def put_part(request: Request) -> Response:
    """Stores one part of an upload; the answer comes once its bytes are durable.

    Every part but the last has `part_size` bytes. The same part again is fine.
    """
    upload = await _find(request)
    part = await store_part(request, upload.key, upload.size, upload.part_size)
    await request.write(uploads.add_part(upload.id, part))
    return Response()


async def store_part(request: Request, key: str, size: int, part_size: int) -> Part:
    """The request's part of a file of `size` bytes, once it is durable under `key`."""
    number = _number(request.params["number"], -(-size // part_size))
    expected = min(part_size, size - number * part_size)
    if len(request.body) != expected:
        raise InvalidRequest(
            f"Part {number} has {expected} bytes, not {len(request.body)}.",
            field="body",
            expected=expected,
        )
    claimed = request.headers.get("X-Content-SHA256")
    digest = await request.read(lambda: hashlib.sha256(request.body).hexdigest())
    if claimed is not None and claimed != digest:
        raise InvalidRequest("The part was damaged on its way; send it again.", field="body")
    return await request.read(request.facade.artifacts.put_part, key, number, request.body)


async def _find(request: Request) -> UploadRecord:
    operation = uploads.find(request.params["upload_id"], client_of(request))
    upload: UploadRecord = await request.write(operation)
    return upload


def _number(text: str, count: int) -> int:
    if not text.isdecimal() or int(text) >= count:
        raise InvalidRequest(
            f"Parts are numbered 0 to {count - 1}.", field="number", expected=f"0..{count - 1}"
        )
    return int(text)


def _full(upload: UploadRecord) -> rest.UploadFull:
    return rest.UploadFull(upload.id, upload.part_size, [part.number for part in upload.parts])
