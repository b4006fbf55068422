"""Counts and use at this moment, as documented; histories are a task's own (`tasks.metrics`)."""

from collections.abc import Iterable
from statistics import fmean

from aifarm.core.task import State
from aifarm.web.http import Request, Response
from aifarm.web.tasks import find
from aifarm.wire import rest
from aifarm.wire.agent import Resources
from aifarm.wire.types import whole_seconds


async def system(request: Request) -> Response:
    facade = request.facade
    counts = await request.read(facade.store.counts)
    active = [client for client in facade.view.clients if facade.links.connected(client)]
    running = counts.get(State.RUNNING, 0) + counts.get(State.UNREACHABLE, 0)
    return Response(
        rest.SystemMetrics(
            clients=rest.ClientCounts(len(facade.view.clients), len(active)),
            tasks=rest.TaskCounts(
                total=sum(counts.values()),
                running=running,
                completed=counts.get(State.COMPLETED, 0),
                failed=counts.get(State.FAILED, 0),
            ),
            resources=_usage(request, active),
            timestamp=whole_seconds(facade.clock()),
        )
    )


async def task(request: Request) -> Response:
    record = await find(request)
    return Response(
        rest.TaskMetrics(
            progress=record.progress,
            metrics={name: value or 0.0 for name, value in record.metrics.items()},
            resources=_usage(request, [rank.client_id for rank in record.task.ranks]),
            timestamp=whole_seconds(request.facade.clock()),
        )
    )


def _usage(request: Request, client_ids: Iterable[str]) -> rest.Usage:
    told = [request.facade.links.resources(client_id) for client_id in client_ids]
    known = [resources for resources in told if resources is not None]
    return rest.Usage(
        cpu_usage=_mean(resources.cpu.usage for resources in known),
        ram_usage=_mean(_share(resources) for resources in known if resources.ram.total),
        gpu_usage=_mean(
            gpu.utilization
            for resources in known
            for gpu in resources.gpu
            if gpu.utilization is not None
        ),
    )


def _share(resources: Resources) -> float:
    return 100.0 * resources.ram.used / resources.ram.total


def _mean(values: Iterable[float]) -> float:
    """Rounded to tenths; 0.0 of nothing."""
    found = list(values)
    return round(fmean(found), 1) if found else 0.0
