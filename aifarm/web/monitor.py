"""What a server measures, for Prometheus: counted where it happens, or read at a scrape."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Any

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from aifarm.app.draft import Changes
from aifarm.app.facade import Facade
from aifarm.app.observer import Observer
from aifarm.app.records import TaskRecord
from aifarm.core.task import FINAL, State
from aifarm.web.lately import Lately
from aifarm.web.outgoing import Outgoing

LAG_SECONDS = 0.25
"""Between two looks at how late the event loop is."""

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
WAITS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
BATCHES = (1, 2, 5, 10, 25, 50, 100, 250, 512)


class Monitor(Observer):
    """One per server, with a registry of its own."""

    def __init__(self) -> None:
        prometheus.disable_created_metrics()  # a second series for each, which nobody reads
        self.registry = prometheus.CollectorRegistry()
        self._sockets: dict[Outgoing, str] = {}
        prometheus.ProcessCollector(registry=self.registry)
        self._ended = self._counter("tasks_ended", "Tasks that reached their end.", "state")
        self._events = self._counter("events", "Events of the farm's story.", "kind")
        self._points = self._counter("metric_points", "Metric points stored.")
        self._messages = self._counter("agent_messages", "Messages received from clients.")
        self._bytes = self._counter("agent_message_bytes", "Bytes of them.")
        self._requests = self._counter(
            "http_requests", "REST requests answered.", "method", "route", "status"
        )
        self._took = self._histogram(
            "http_request_seconds", "Time to answer a REST request.", QUICK, "method", "route"
        )
        self._waited = self._histogram(
            "queue_wait_seconds", "Time from pending to assigned.", WAITS
        )
        self._commits = self._histogram("commit_seconds", "Time to write one batch.", QUICK)
        self._batches = self._histogram("batch_operations", "Operations in one batch.", BATCHES)
        self.ended_lately = Lately(3600.0)
        self.points_lately = Lately(60.0)
        self._lag = self._histogram("loop_lag_seconds", "How late the event loop was.", QUICK)

    def watch(self, facade: Facade) -> None:
        """Shows this farm's present state at each scrape."""
        self.registry.register(_Present(facade, self))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """(text, content type) in the form that the scraper accepts. Callable from any thread."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind

    # ------------------------------------------------------------ what happens

    def committed(self, operations: int, seconds: float) -> None:
        self._commits.observe(seconds)
        self._batches.observe(operations)

    def delivered(self, changes: Changes, before: Callable[[str], TaskRecord | None]) -> None:
        for event in changes.events:
            self._events.labels(event.kind).inc()
            if event.kind == "assigned" and event.task_id is not None:
                waiting = before(event.task_id)
                since = waiting.task.updated_at if waiting is not None else event.at
                self._waited.observe(max(event.at - since, 0.0))
        for record in changes.tasks:
            if record.task.final:
                known = before(record.task.id)
                if known is None or not known.task.final:
                    self._ended.labels(record.task.state.value).inc()
                    self.ended_lately.add()
        if changes.points:
            count = sum(len(points) for _, points in changes.points)
            self._points.inc(count)
            self.points_lately.add(count)

    def heard(self, size: int) -> None:
        """A client's message of so many bytes."""
        self._messages.inc()
        self._bytes.inc(size)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request to a route ("" for no route)."""
        self._requests.labels(method, route, str(status)).inc()
        self._took.labels(method, route).observe(seconds)

    def opened(self, kind: str, outgoing: Outgoing) -> None:
        """A socket, and what waits to be sent on it."""
        self._sockets[outgoing] = kind

    def closed(self, outgoing: Outgoing) -> None:
        self._sockets.pop(outgoing, None)

    async def watch_loop(self) -> None:
        """Measures the running event loop until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._lag.observe(max(loop.time() - due, 0.0))

    # ------------------------------------------------------------ what is

    @property
    def sockets(self) -> dict[str, int]:
        """Open sockets by kind."""
        return Tally(list(self._sockets.values()))

    @property
    def waiting_bytes(self) -> int:
        """Bytes that peers have not taken yet."""
        return sum(outgoing.waiting for outgoing in list(self._sockets))

    def _counter(self, name: str, about: str, *labels: str) -> prometheus.Counter:
        return prometheus.Counter(f"aifarm_{name}", about, labels, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: tuple[float, ...], *labels: str
    ) -> prometheus.Histogram:
        return prometheus.Histogram(
            f"aifarm_{name}", about, labels, buckets=buckets, registry=self.registry
        )


class _Present(Collector):
    """What is so at this moment, read from the facade's view; from any thread."""

    def __init__(self, facade: Facade, monitor: Monitor) -> None:
        self._facade = facade
        self._monitor = monitor

    def describe(self) -> list[Metric]:
        return []  # else registering would collect once, before there is anything

    def collect(self) -> Iterator[Metric]:
        facade, monitor = self._facade, self._monitor
        states: Any = Tally(record.task.state for record in list(facade.view.tasks.values()))
        yield _gauge(
            "tasks",
            "Tasks that have not ended, by state.",
            {state.value: states[state] for state in State if state not in FINAL},
            "state",
        )
        clients = Tally(
            "away" if not facade.links.connected(one.id) else "drained" if one.drained else "ready"
            for one in list(facade.view.clients.values())
        )
        kinds = {kind: clients[kind] for kind in ("ready", "drained", "away")}
        yield _gauge("clients", "Clients: ready for work, drained, or away.", kinds, "state")
        sockets = {kind: monitor.sockets.get(kind, 0) for kind in ("agent", "live")}
        yield _gauge("sockets", "Open sockets.", sockets, "kind")
        yield _gauge("outgoing_bytes", "Waiting for slow peers.", {"": monitor.waiting_bytes})
        yield _gauge("queued_operations", "Waiting for the writer.", {"": facade.queued})
        lapsed = "Leases that ended while their client was away."
        yield CounterMetricFamily("aifarm_leases_lapsed", lapsed, value=facade.links.lapsed)


def _gauge(name: str, about: str, values: dict[str, int], label: str | None = None) -> Metric:
    family = GaugeMetricFamily(f"aifarm_{name}", about, labels=[label] if label else [])
    for value, count in values.items():
        family.add_metric([value] if label else [], count)
    return family
