"""How busy the farm is at this moment, in numbers, and whole histories as CSV."""

import io
from collections.abc import Iterable, Iterator
from csv import writer
from math import inf, isnan
from statistics import fmean

from aifarm.app.records import MetricPart
from aifarm.core.task import State
from aifarm.web.http import Request, Response, Stream
from aifarm.web.tasks import find
from aifarm.wire import rest, v1
from aifarm.wire.agent import Resources
from aifarm.wire.types import whole_seconds


async def system(request: Request) -> Response:
    """Counts clients and tasks, and tells how busy the active clients are."""
    counts = await request.read(request.facade.store.counts)
    active = _active(request)
    running = counts.get(State.RUNNING, 0) + counts.get(State.UNREACHABLE, 0)
    return Response(
        v1.SystemMetrics(
            clients=v1.ClientCounts(len(request.facade.view.clients), len(active)),
            tasks=v1.TaskCounts(
                total=sum(counts.values()),
                running=running,
                completed=counts.get(State.COMPLETED, 0),
                failed=counts.get(State.FAILED, 0),
            ),
            resources=_usage_v1(request, active),
            timestamp=whole_seconds(request.facade.clock()),
        )
    )


async def farm(request: Request) -> Response:
    """How busy the farm is: clients, tasks by state, how much of the active clients is in use,
    and how fast tasks end and metric points come in."""
    counts = await request.read(request.facade.store.counts)
    active, monitor = _active(request), request.host.monitor
    return Response(
        rest.FarmMetrics(
            clients=v1.ClientCounts(len(request.facade.view.clients), len(active)),
            tasks={state.value: counts.get(state, 0) for state in State},
            usage=_usage(request, active),
            ended_last_hour=monitor.ended_lately.count,
            points_per_second=round(monitor.points_lately.per_second, 3),
        )
    )


async def task(request: Request) -> Response:
    """Shows a task's progress, its latest metrics, and how busy its clients are."""
    record = await find(request)
    return Response(
        v1.TaskMetrics(
            progress=record.progress,
            metrics={name: value or 0.0 for name, value in record.metrics.items()},
            resources=_usage_v1(request, [rank.client_id for rank in record.task.ranks]),
            timestamp=whole_seconds(request.facade.clock()),
        )
    )


async def csv(request: Request) -> Stream:
    """Every point of a task's metrics as CSV: name, step, time (seconds since the epoch), value.
    One metric after the other, each as one line over all attempts; a value that is no number is
    empty. Made as it is read, so that its size does not matter."""
    record = await find(request)
    query = request.query
    names = [name for name in query.names.split(",") if name]
    last = inf if query.last_step is None else query.last_step
    parts = request.facade.store.points(record.task.id, names=names)
    pieces = _csv(parts, query.first_step, last)
    return Stream(pieces, f"{record.task.id}-metrics.csv")


def _csv(parts: Iterator[MetricPart], first: int, last: float) -> Iterator[bytes]:
    text = io.StringIO()
    rows = writer(text, lineterminator="\n")
    rows.writerow(("name", "step", "time", "value"))
    for part in parts:
        rows.writerows(
            (part.name, step, time, "" if isnan(value) else value)
            for step, time, value in zip(part.step, part.time, part.value, strict=True)
            if first <= step <= last
        )
        if text.tell():
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    if text.tell():  # there were no points: the names of the columns alone
        yield text.getvalue().encode()


def _active(request: Request) -> list[str]:
    facade = request.facade
    return [client for client in facade.view.clients if facade.links.connected(client)]


def _usage(request: Request, client_ids: Iterable[str]) -> rest.UsageFull:
    told = [request.facade.links.resources(client_id) for client_id in client_ids]
    known = [resources for resources in told if resources is not None]
    return rest.UsageFull(
        cpu=_mean(resources.cpu.usage for resources in known),
        ram=_mean(_share(resources) for resources in known if resources.ram.total),
        gpu=_mean(
            gpu.utilization
            for resources in known
            for gpu in resources.gpu
            if gpu.utilization is not None
        ),
    )


def _usage_v1(request: Request, client_ids: Iterable[str]) -> v1.Usage:
    usage = _usage(request, client_ids)
    return v1.Usage(usage.cpu or 0.0, usage.ram or 0.0, usage.gpu or 0.0)


def _share(resources: Resources) -> float:
    return 100.0 * resources.ram.used / resources.ram.total


def _mean(values: Iterable[float]) -> float | None:
    """Rounded to tenths; None of nothing."""
    found = list(values)
    return round(fmean(found), 1) if found else None
