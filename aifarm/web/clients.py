"""The farm's workstations."""

from msgspec.structs import replace

from aifarm.app import clients as operations
from aifarm.app import views
from aifarm.app.errors import InvalidRequest, NotFound
from aifarm.app.records import ClientRecord
from aifarm.app.samples import history as history_of
from aifarm.web.http import Request, Response
from aifarm.web.paging import at_hand, part_of
from aifarm.wire import rest, v1

DAY = 86400.0


def _latest(request: Request, client: ClientRecord) -> ClientRecord:
    """The record, with what the client's last heartbeat said."""
    resources = request.facade.links.resources(client.id)
    return replace(client, resources=resources) if resources is not None else client


def _one(request: Request) -> ClientRecord:
    client_id = request.params["client_id"]
    client = request.facade.view.clients.get(client_id)
    if client is None:
        raise NotFound(f"There is no client {client_id}.")
    return _latest(request, client)


async def list_v1(request: Request) -> Response:
    """Lists the clients: which are active, and what each has and uses."""
    clients, connected = request.facade.view.clients, request.facade.links.connected
    rows = [
        views.client_row(_latest(request, clients[client_id]), connected(client_id))
        for client_id in sorted(clients)
    ]
    return Response(v1.ClientList(rows))


async def list_v2(request: Request) -> Response:
    """Lists the clients in full by their ids, with what their agents last said of them; by page,
    or by cursor as the list of tasks."""
    clients = request.facade.view.clients.values()
    part = await part_of(request, "clients", at_hand(clients, lambda client: (client.id,)))
    shown = [request.facade.show_client(client) for client in part.items]
    body = rest.ClientFullList(shown, part.total, part.page, part.next_cursor)
    return Response(body, headers=part.headers)


async def get_v1(request: Request) -> Response:
    """Shows one client: its resources, its tasks, and how it has done so far."""
    client = _one(request)
    facade = request.facade
    performance = await request.read(facade.store.performance, client.id)
    return Response(
        views.client_details(
            client, facade.links.connected(client.id), facade.view.tasks_on(client.id), performance
        )
    )


async def get_v2(request: Request) -> Response:
    """Everything about one client, and how its attempts went so far."""
    client = _one(request)
    performance = await request.read(request.facade.store.performance, client.id)
    shown = request.facade.show_client(client)
    return Response(views.client_full_details(shown, performance))


async def drain(request: Request) -> Response:
    """Gives a client no new tasks, or gives it tasks again. What it runs is not touched."""
    operation = operations.drain_client(request.params["client_id"], request.content, request.by)
    client: ClientRecord = await request.write(operation)
    return Response(request.facade.show_client(client))


async def forget(request: Request) -> Response:
    """Removes a retired client from the list. It must be away and hold no task; the attempts that
    it ran keep its name. An agent that connects with this Client-ID later is a new client."""
    await request.write(operations.forget_client(request.params["client_id"], request.by))
    return Response()


async def events(request: Request) -> Response:
    """What happened to a client, oldest first."""
    query = request.query
    found = await request.read(
        request.facade.store.events,
        after=query.after,
        client_id=_one(request).id,
        limit=query.limit,
    )
    return Response(views.event_list(found, query.after))


async def history(request: Request) -> Response:
    """What a client used over time. Samples are taken each 30 s and kept for 14 days, means of ten
    minutes for a year. What was unknown is null, and the time when it was away is left out."""
    query = request.query
    client = _one(request)
    now = request.facade.clock()
    until = query.until.timestamp() if query.until else now
    since = query.since.timestamp() if query.since else until - DAY
    if not since < until:
        raise InvalidRequest(
            "since must be earlier than until.", field="since", expected="a time before until"
        )
    store = request.facade.store

    def read() -> rest.ClientHistory:
        found = store.samples(client.id, since, until)
        return history_of(client.id, found, until - since, query.points)

    return Response(await request.read(read))
