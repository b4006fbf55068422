"""Model code, immutable, by name and version."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from aifarm.app import assignments, care, operations, views
from aifarm.app.errors import InvalidRequest, NotFound
from aifarm.app.housekeeping import discard
from aifarm.app.ports import Artifacts
from aifarm.app.records import PackageRecord, Part
from aifarm.packages import PackageInvalid, verify
from aifarm.web.http import File, Request, Response
from aifarm.web.paging import part_of
from aifarm.web.quota import need_room
from aifarm.wire import requests, rest
from aifarm.wire.codec import encode

MAX_PACKAGE = 256 << 20


async def put(request: Request) -> Response:
    """Publishes a package: a zip archive with an aifarm.json, as `aifarm publish` makes it.

    A package never changes: the same content again is fine (200), other content under the same
    name and version is a conflict (409). An archive that is damaged or unsafe is refused.
    """
    name, version = request.params["name"], request.params["version"]
    path = request.spooled
    assert path is not None  # noqa: S101  the route spools
    await need_room(request, path.stat().st_size)
    record = await request.read(_checked, request, path, name, version)
    known, new = await request.write(operations.add_package(record))
    if not new:
        await request.read(request.facade.artifacts.delete, record.key)
    headers = {"ETag": f'"{known.sha256}"'}
    return Response(views.package_full(known), 201 if new else 200, headers)


def _checked(request: Request, path: Path, name: str, version: str) -> PackageRecord:
    """Verifies the archive and stores its bytes. Nobody sees them until the row is committed."""
    try:
        manifest, sha256 = verify(path), _sha256(path)
    except PackageInvalid as error:
        raise InvalidRequest(str(error), field="body") from None
    if (manifest.name, manifest.version) != (name, version):
        raise InvalidRequest(
            f"The archive is {manifest.name} {manifest.version}, not {name} {version}.",
            field="body",
            expected=f"{name} {version}",
        )
    key = f"packages/{request.facade.new_id()}"
    return PackageRecord(
        name=name,
        version=version,
        sha256=sha256,
        size=path.stat().st_size,
        kind=manifest.kind,
        manifest=encode(manifest).decode(),
        key=key,
        parts=tuple(_store(request.facade.artifacts, key, path)),
        publisher=request.by.name,
        created_at=request.facade.clock(),
    )


def _store(artifacts: Artifacts, key: str, path: Path) -> Iterator[Part]:
    with path.open("rb") as file:
        number = 0
        while data := file.read(requests.PART_SIZE):
            yield artifacts.put_part(key, number, data)
            number += 1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def get(request: Request) -> Response | File:
    """Downloads a package's archive, or the range of it that is asked for."""
    name, version = request.params["name"], request.params["version"]
    if request.by.role == "agent":
        await request.write(assignments.need_package(name, version, request.by))
    record = await request.read(request.facade.store.package, name, version)
    if record is None:
        raise NotFound(f"There is no package {name} {version} on this farm.")
    filename = f"{name}-{version}.zip"
    return File(record.key, record.parts, record.size, record.sha256, filename)


async def list_all(request: Request) -> Response:
    """Published packages by name, the oldest version of each first; by page, or by cursor as the
    list of tasks."""
    read = partial(request.read, request.facade.store.packages, request.query.name)
    part = await part_of(request, "packages", read)
    shown = [views.package_full(record) for record in part.items]
    body = rest.PackageList(shown, part.total, part.page, part.next_cursor)
    return Response(body, headers=part.headers)


async def show(request: Request) -> Response:
    """One published package, with its manifest."""
    name, version = request.params["name"], request.params["version"]
    record = await request.read(request.facade.store.package, name, version)
    if record is None:
        raise NotFound(f"There is no package {name} {version} on this farm.")
    manifest = msgspec.json.decode(record.manifest)
    return Response(replace(views.package_full(record), manifest=manifest))


async def delete(request: Request) -> Response:
    """Deletes a package. Refused with 409 while a task that is not over, or in the trash, uses it;
    only its publisher and administrators may."""
    name, version = request.params["name"], request.params["version"]
    key = await request.write(care.delete_package(name, version, request.by))
    await request.read(discard, request.facade.artifacts, [key])
    return Response()
