"""The server itself: whether it is well, and what it measures."""

import asyncio
import shutil
import time

import aifarm
from aifarm.app import operations
from aifarm.app.errors import Unavailable
from aifarm.web.http import Request, Response
from aifarm.wire import rest

READY_SECONDS = 5.0
"""What takes longer to answer is not ready."""


async def health(_: Request) -> Response:
    """Says that the server runs. No token is needed.

    Whether it can also store something is told by `/api/ready`.
    """
    return Response(rest.Health("ok", aifarm.__version__))


async def ready(request: Request) -> Response:
    """Says that the farm can do its work: 200 when the database answers and can be written.

    Else 503, with the reason. No token is needed.
    """
    try:
        async with asyncio.timeout(READY_SECONDS):
            await request.read(request.facade.store.package, "", "")
            await request.write(operations.probe())
    except TimeoutError:
        raise Unavailable(f"The database has not answered for {READY_SECONDS:.0f} s.") from None
    return Response(rest.Health("ready", aifarm.__version__))


async def system(request: Request) -> Response:
    """Shows how the server is: its version, its database, its queue, its disk."""
    facade = request.facade
    disk = await request.read(shutil.disk_usage, request.host.spool)
    return Response(
        rest.System(
            version=aifarm.__version__,
            database=facade.store.kind,
            uptime=round(time.monotonic() - request.host.started, 1),
            queued=facade.queued,
            clients=sum(facade.links.connected(client) for client in facade.view.clients),
            sockets=sum(request.host.monitor.sockets.values()),
            disk_total=disk.total >> 20,
            disk_free=disk.free >> 20,
        )
    )


async def metrics(request: Request) -> Response:
    """Shows what the server measures, as Prometheus reads it.

    Scrape it with a viewer's token; docs/how-to/monitor.md has a configuration.
    """
    exposition = request.host.monitor.exposition
    content, kind = await request.read(exposition, request.headers.get("Accept", ""))
    return Response(content, headers={"Content-Type": kind})
