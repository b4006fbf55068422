"""Clients over REST, and the farm's own health."""

from msgspec.structs import replace

import aifarm
from aifarm.app import views
from aifarm.app.errors import NotFound
from aifarm.app.records import ClientRecord
from aifarm.web.http import Request, Response
from aifarm.wire import rest


def _latest(request: Request, client: ClientRecord) -> ClientRecord:
    """The record, with what the client's last heartbeat said."""
    resources = request.facade.links.resources(client.id)
    return replace(client, resources=resources) if resources is not None else client


def _all(request: Request) -> list[ClientRecord]:
    clients = request.facade.view.clients
    return [_latest(request, clients[client_id]) for client_id in sorted(clients)]


def _one(request: Request) -> ClientRecord:
    client_id = request.params["client_id"]
    client = request.facade.view.clients.get(client_id)
    if client is None:
        raise NotFound(f"There is no client {client_id}.")
    return _latest(request, client)


async def list_v1(request: Request) -> Response:
    connected = request.facade.links.connected
    rows = [views.client_row(client, connected(client.id)) for client in _all(request)]
    return Response(rest.ClientList(rows))


async def list_v2(request: Request) -> Response:
    return Response(rest.ClientFullList([request.facade.show_client(c) for c in _all(request)]))


async def get_v1(request: Request) -> Response:
    client = _one(request)
    facade = request.facade
    performance = await request.read(facade.store.performance, client.id)
    return Response(
        views.client_details(
            client, facade.links.connected(client.id), facade.view.tasks_on(client.id), performance
        )
    )


async def get_v2(request: Request) -> Response:
    return Response(request.facade.show_client(_one(request)))


async def health(_: Request) -> Response:
    return Response(rest.Health("ok", aifarm.__version__))
