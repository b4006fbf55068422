"""What administrators do with clients, as operations on the writer's draft."""

from aifarm.app.draft import Draft
from aifarm.app.errors import Conflict, NotFound
from aifarm.app.records import ClientRecord
from aifarm.app.scopes import Principal
from aifarm.app.writer import Operation
from aifarm.core.task import Note
from aifarm.wire.requests import DrainClient


def drain_client(client_id: str, body: DrainClient, by: Principal) -> Operation:
    """Whether a client is to get no new tasks. The same again changes nothing."""
    reason = f"{body.reason or 'no reason given'} (by {by.name})" if body.drained else None

    def operation(draft: Draft) -> ClientRecord:
        record = _record(draft, client_id)
        if record.drained != reason:
            draft.take(draft.farm.drain(client_id, reason))
        return draft.clients[client_id]

    return operation


def forget_client(client_id: str, by: Principal) -> Operation:
    """A retired client leaves the list; what it ran keeps its name. One that still has a part in
    the farm is a Conflict."""

    def operation(draft: Draft) -> None:
        _record(draft, client_id)
        client = draft.farm.clients[client_id]
        if client.connected:
            raise Conflict(f"{client_id} is connected; stop its agent first.")
        if client.holds:
            tasks = ", ".join(sorted({key.task_id for key in client.holds}))
            raise Conflict(
                f"{client_id} may still run {tasks}; stop it, or wait until it goes elsewhere."
            )
        draft.forget_client(client_id)
        draft.note(Note("forgotten", f"{by.name} removed {client_id}.", None, client_id))

    return operation


def _record(draft: Draft, client_id: str) -> ClientRecord:
    record = draft.clients.get(client_id)
    if record is None:
        raise NotFound(f"There is no client {client_id}.")
    return record
