"""The connection to the server, against a scripted one."""

import asyncio
import contextlib
import http
import json
import logging
import socket

import pytest
from websockets.asyncio.server import serve

from aifarm.wire.agent import Ack, Heartbeat
from aifarm_agent.link import Link, Refusal, Unauthorized, rest_url

HEADERS = {"Authorization": "Bearer secret", "Client-ID": "ws1"}
ACK = Ack(task_id="t", attempt=1, rank=0, seq=1)
ACK_TEXT = '{"type":"ack","task_id":"t","attempt":1,"rank":0,"seq":1}'


class Ear:
    """Hears what the link tells."""

    def __init__(self):
        self.heard = asyncio.Queue()

    def opened(self, url):
        self.heard.put_nowait("opened")

    def received(self, message):
        self.heard.put_nowait(message)

    def closed(self, reason):
        self.heard.put_nowait("closed")

    async def hears(self, expected):
        assert await asyncio.wait_for(self.heard.get(), 20) == expected


@contextlib.asynccontextmanager
async def scripted(handler, **options):
    """A server's URL."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def linked(*urls):
    ear = Ear()
    link = Link(urls, HEADERS, None, ear)
    running = asyncio.create_task(link.run())
    try:
        yield link, ear, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{probe.getsockname()[1]}"


async def test_messages_travel_both_ways_in_order():
    got = asyncio.Queue()

    async def handler(connection):
        assert connection.request.headers["Client-ID"] == "ws1"
        assert connection.request.headers["Authorization"] == "Bearer secret"
        await connection.send(ACK_TEXT)
        async for frame in connection:
            await got.put(json.loads(frame)["client_id"])

    async with scripted(handler) as url, linked(url) as (link, ear, _):
        await ear.hears("opened")
        await ear.hears(ACK)
        for number in range(100):
            link.send(Heartbeat(client_id=f"{number}"))
        assert [await got.get() for _ in range(100)] == [f"{number}" for number in range(100)]
        assert (link.url, link.address) == (url, "127.0.0.1")


async def test_what_is_no_message_is_left_out():
    async def handler(connection):
        for frame in ("no json", '{"type":"unheard_of"}', ACK_TEXT):
            await connection.send(frame)
        await connection.wait_closed()

    async with scripted(handler) as url, linked(url) as (_, ear, _):
        await ear.hears("opened")
        await ear.hears(ACK)


async def test_a_lost_connection_is_made_again_and_what_waited_is_dropped():
    connections = asyncio.Queue()

    async def handler(connection):
        await connections.put(connection)
        await connection.wait_closed()

    async with scripted(handler) as url, linked(url) as (link, ear, _):
        await ear.hears("opened")
        (await connections.get()).transport.abort()
        await ear.hears("closed")
        link.send(Heartbeat(client_id="nobody hears it"))
        await ear.hears("opened")
        link.send(Heartbeat(client_id="new"))
        assert json.loads(await (await connections.get()).recv())["client_id"] == "new"


async def test_a_connection_can_be_dropped():
    async def handler(connection):
        await connection.wait_closed()

    async with scripted(handler) as url, linked(url) as (link, ear, _):
        await ear.hears("opened")
        link.drop("no answer")
        await ear.hears("closed")
        await ear.hears("opened")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_ends_the_link_with_the_servers_words(status):
    def refuse(connection, request):
        answer = {"error": {"code": "UNAUTHORIZED", "message": "The token is not known."}}
        response = connection.respond(http.HTTPStatus(status), json.dumps(answer))
        response.headers["Content-Type"] = "application/json"
        return response

    async with scripted(None, process_request=refuse) as url, linked(url) as (_, _, running):
        with pytest.raises(Unauthorized, match=rf"{url} refuses this agent: The token is not kno"):
            await running


@pytest.mark.parametrize(
    ("reason", "words"),
    [("replaced", "took a newer agent"), ("ws1 is machine a, this is b", "ws1 is machine a")],
)
async def test_a_policy_ends_the_link_in_one_sentence(reason, words):
    async def handler(connection):
        await connection.close(1008, reason)

    async with scripted(handler) as url, linked(url) as (_, _, running):
        with pytest.raises(Refusal, match=words):
            await running


async def test_a_slow_reader_comes_back():
    async def handler(connection):
        await connection.close(1008, "reads too slowly")

    async with scripted(handler) as url, linked(url) as (_, ear, _):
        for word in ("opened", "closed", "opened"):
            await ear.hears(word)


async def test_a_busy_server_is_tried_again_with_one_line(caplog):
    tries = []

    def busy(connection, request):
        tries.append(request)
        if len(tries) < 4:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "")
        return None

    async def handler(connection):
        await connection.wait_closed()

    with caplog.at_level(logging.INFO, "aifarm_agent"):
        async with scripted(handler, process_request=busy) as url, linked(url) as (_, ear, _):
            await ear.hears("opened")
    assert [record.getMessage() for record in caplog.records] == [
        f"{url} answers 503; trying again"
    ]


async def test_the_next_server_is_tried_where_one_is_down():
    async def handler(connection):
        await connection.wait_closed()

    async with scripted(handler) as url, linked(closed_port(), url) as (link, ear, _):
        await ear.hears("opened")
        assert link.url == url


async def test_a_message_over_the_limit_ends_the_connection_not_the_agent():
    async def handler(connection):
        await connection.send("x" * (1 << 21))
        await connection.wait_closed()

    async with scripted(handler) as url, linked(url) as (_, ear, _):
        for word in ("opened", "closed", "opened"):
            await ear.hears(word)


def test_where_the_rest_api_of_a_server_is():
    assert rest_url("ws://host:8765") == "http://host:8765"
    assert rest_url("wss://host:8765/") == "https://host:8765"
    assert rest_url("ws://host:8888/aifarm/") == "http://host:8888/aifarm"
