"""Data that tasks name, by the sha256 of its bytes: brought part by part, then there for good."""

import hashlib
import re
from collections.abc import Iterator
from functools import partial

from aifarm.app import assignments, data, views
from aifarm.app.errors import Conflict, NotFound
from aifarm.app.housekeeping import discard
from aifarm.app.records import DataRecord
from aifarm.web.http import File, Request, Response
from aifarm.web.paging import part_of
from aifarm.web.quota import need_room
from aifarm.web.uploads import store_part
from aifarm.wire import rest
from aifarm.wire.requests import PART_SIZE


async def begin(request: Request) -> Response:
    """Announces data by its size and sha256, and answers which parts are stored already.

    Where `data` is not null the farm has all of it, and nothing needs to be sent. Otherwise send
    the parts, each of `part_size` bytes but for the last, and commit. A repeat goes on with what
    was begun (200); what is not committed within a day is forgotten.
    """
    await need_room(request, request.content.size)
    record, new = await request.write(data.begin(request.content, request.by))
    upload = rest.DataUpload(
        PART_SIZE,
        [part.number for part in record.parts],
        views.data_full(record) if record.complete else None,
    )
    return Response(upload, 201 if new else 200)


async def put_part(request: Request) -> Response:
    """Stores one part of data that was announced; the answer comes once its bytes are durable.

    The same part again is fine.
    """
    record = await _announced(request)
    async with request.host.turns.of(record.key):
        record = await _announced(request)  # it may have been committed meanwhile
        if not record.complete:
            part = await store_part(request, record.key, record.size, PART_SIZE)
            await request.write(data.add_part(record.sha256, part, request.by))
    return Response()


async def commit(request: Request) -> Response:
    """Hashes all parts and makes the data usable; a repeat gives the same answer.

    Bytes that do not have the sha256 are thrown away (400): announce the data again.
    """
    record = await _announced(request)
    async with request.host.turns.of(record.key):  # no part changes while all are hashed
        record = await _announced(request)
        if not record.complete:
            await _verify(request, record)
        operation = data.commit(record.sha256, request.by, record.parts)
        known, needless = await request.write(operation)
    await request.read(discard, request.facade.artifacts, needless)
    return Response(views.data_full(known))


async def _announced(request: Request) -> DataRecord:
    record: DataRecord = await request.write(data.find(request.params["sha256"], request.by))
    return record


async def _verify(request: Request, record: DataRecord) -> None:
    stored = sum(part.size for part in record.parts)
    if stored != record.size:
        raise Conflict(f"{stored} of {record.size} bytes are stored; send the other parts first.")
    artifacts = request.facade.artifacts
    pieces = artifacts.read(record.key, record.parts, 0, record.size)
    digest = hashlib.sha256()
    while await request.read(_hash_next, digest, pieces):
        pass  # piece by piece: others want to read from disks too
    if digest.hexdigest() != record.sha256:
        keys = await request.write(data.give_up(record.sha256, record.putter))
        await request.read(discard, artifacts, keys)
        raise Conflict(  # the request is in order; what was stored before it is not
            f"What was sent does not have the sha256 that was announced, {record.sha256}:"
            " send it again."
        )


def _hash_next(digest: "hashlib._Hash", pieces: Iterator[bytes]) -> bool:
    """False where there is no more."""
    piece = next(pieces, None)
    if piece is not None:
        digest.update(piece)
    return piece is not None


async def list_all(request: Request) -> Response:
    """Data on the farm, the newest first; by page, or by cursor as the list of tasks."""
    read = partial(request.read, request.facade.store.data_page, request.query.name)
    part = await part_of(request, "data", read)
    shown = [views.data_full(record) for record in part.items]
    body = rest.DataList(shown, part.total, part.page, part.next_cursor)
    return Response(body, headers=part.headers)


async def get(request: Request) -> Response | File:
    """Downloads data, or the range of it that is asked for: a folder as a tar archive, an array
    as a .npy file. Agents get what their tasks name."""
    sha256 = request.params["sha256"]
    if request.by.role == "agent":
        await request.write(assignments.need_data(sha256, request.by))
    record = await request.read(request.facade.store.data, sha256)
    if record is None:
        raise NotFound(f"There is no data {data.SCHEME}{sha256} on this farm.")
    return File(record.key, record.parts, record.size, record.sha256, _filename(record))


def _filename(record: DataRecord) -> str:
    suffix = {"folder": ".tar", "array": ".npy"}.get(record.kind, "")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", record.name)  # it stands in a header
    return name if name.endswith(suffix) else name + suffix


async def delete(request: Request) -> Response:
    """Deletes data. Refused with 409 while a task that is not over names it; only who put it and
    administrators may."""
    key = await request.write(data.delete(request.params["sha256"], request.by))
    await request.read(discard, request.facade.artifacts, [key])
    return Response()
