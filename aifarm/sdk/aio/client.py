"""A client, which is a workstation, as one holds it."""

from datetime import datetime

from aifarm.sdk import calls
from aifarm.sdk.aio.events import all_events
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.call import valid
from aifarm.wire import requests, rest
from aifarm.wire.agent import Environment, Resources
from aifarm.wire.query import HistoryQuery


class AsyncClient:
    """One workstation of the farm, as it was when it was listed; `refresh()` asks again."""

    def __init__(self, http: AsyncHttp, info: rest.ClientFull) -> None:
        self._http = http
        self.info = info

    def __repr__(self) -> str:
        return f"<Client {self.id}: {'drained' if self.drained else self.status}>"

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def status(self) -> str:
        """active or offline."""
        return self.info.status

    @property
    def drained(self) -> str | None:
        """Why it gets no new tasks, or None where it does."""
        return self.info.drained

    @property
    def resources(self) -> Resources | None:
        """Cores, memory and GPUs (MiB, percent), as last heard; None where it never said."""
        return self.info.resources

    @property
    def environments(self) -> list[Environment]:
        """The Pythons that a task may name, "default" is the agent's own, and their versions."""
        return self.info.environments

    @property
    def lends(self) -> bool:
        """False while its owner has taken it back."""
        return self.info.lends

    @property
    def tasks(self) -> list[rest.ClientTaskFull]:
        """What runs there, and on which of its GPUs."""
        return self.info.tasks

    async def refresh(self) -> rest.ClientFullDetails:
        """The client as it is now, with its `performance`. Raises NotFound once forgotten."""
        details = await self._http.send(calls.get_client(self.id))
        self.info = details
        return details

    async def drain(self, reason: str | None = None) -> None:
        """Gives it no new tasks; what it runs goes on. For administrators."""
        await self._drain(True, reason)

    async def undrain(self) -> None:
        """Gives it tasks again. For administrators."""
        await self._drain(False, None)

    async def _drain(self, drained: bool, reason: str | None) -> None:
        body = valid(requests.DrainClient, drained=drained, reason=reason)
        self.info = await self._http.send(calls.drain_client(self.id, body))

    async def forget(self) -> None:
        """Takes a retired client off the list. For administrators. Raises Conflict while it is
        connected or holds a task."""
        await self._http.send(calls.forget_client(self.id))

    async def events(self) -> list[rest.EventFull]:
        """The client's story so far, oldest first."""
        return await all_events(self._http, client_id=self.id)

    async def history(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        points: int | None = None,
    ) -> rest.ClientHistory:
        """What it used: columns of percent, MiB and °C, means over `seconds` each.

        The last day, or from `since` to `until` (with a time zone), in at most `points` entries.
        """
        wanted = valid(HistoryQuery, since=since, until=until, points=points)
        return await self._http.send(calls.client_history(self.id, wanted))
