# Written by `make sdk` from aio/events.py; changes here are lost.
"""Stories: of a task, a client, or the whole farm."""

from aifarm.sdk import calls
from aifarm.sdk.http import Http
from aifarm.wire import rest


def all_events(
    http: Http,
    *,
    task_id: str | None = None,
    client_id: str | None = None,
    after: int = 0,
) -> list[rest.EventFull]:
    """Every event behind number `after`, oldest first."""
    story: list[rest.EventFull] = []
    while True:
        call = calls.events(task_id=task_id, client_id=client_id, after=after)
        page = http.send(call)
        if not page.events:
            return story
        story += page.events
        after = page.next
