"""The two sockets as an AsyncAPI 3.0 document, drawn from the wire's messages."""

import inspect
from collections.abc import Iterable
from typing import Any, get_args

from msgspec import Struct
from msgspec import inspect as types

import aifarm
from aifarm.web.openapi import REF, Document, schemas
from aifarm.wire import agent, live

ABOUT = """\
The farm's two WebSockets. Both ask for `Authorization: Bearer TOKEN` before the upgrade, and both
carry JSON in text frames of at most 1 MiB.

Fields that a reader does not know are ignored, so that server and agents can be updated one by one.
A message that cannot be understood is answered by an `error`; the connection stays open where that
is safe. It is closed with 1001 when the server shuts down, 1003 after a binary frame, 1008 when the
token is revoked or another connection takes its place, 1011 when the server is at fault.
"""

AGENT = """\
What a workstation and the farm tell each other. A program that sends only `task_request`,
`task_progress`, `task_result` and `heartbeat` is a complete client: it gets `task`, `control`,
`task_result_ack` and `error`, one task at a time. One whose first message is `hello` is an agent,
and speaks all of these.

What a message says of a task stands flat, as here, or under `data`.
"""

LIVE = """\
What changes, as it changes. The first message subscribes; a snapshot follows, then frames, each a
list of messages in order. A slow reader gets the latest value of each thing rather than every
value; `since` continues after a lost connection without missing an event.
"""


def asyncapi() -> Document:
    from_client, from_server = get_args(agent.FromClient), get_args(agent.FromServer)
    subscribe, news = (live.Subscribe,), get_args(live.Message)
    client_id = {
        "type": "object",
        "required": ["Client-ID"],
        "properties": {"Client-ID": {"type": "string", "description": "Which client this is."}},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "AI Farm", "version": aifarm.__version__, "description": ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "farm": {
                "host": "127.0.0.1:8765",
                "protocol": "ws",
                "description": "`wss` where the server has a certificate.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            "agent": {
                "address": "/",
                "description": AGENT,
                "messages": _named((*from_client, *from_server)),
                "bindings": {"ws": {"method": "GET", "headers": client_id}},
            },
            "live": {
                "address": "/api/v2/live",
                "description": LIVE,
                "messages": _named(subscribe) | {"frame": {"$ref": "#/components/messages/frame"}},
                "bindings": {"ws": {"method": "GET"}},
            },
        },
        "operations": {
            "hear_client": _operation("receive", "agent", _names(from_client)),
            "tell_client": _operation("send", "agent", _names(from_server)),
            "hear_reader": _operation("receive", "live", _names(subscribe)),
            "tell_reader": _operation("send", "live", ["frame"]),
        },
        "components": {
            "messages": {
                **{_id(one): _message(one) for one in (*from_client, *from_server, *subscribe)},
                "frame": {
                    "name": "frame",
                    "summary": "What gathered since the last frame, in order.",
                    "payload": {
                        "type": "array",
                        "items": {"oneOf": [_ref(one) for one in news]},
                    },
                },
            },
            "schemas": schemas((*from_client, *from_server, *subscribe, *news)),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _id(message: type[Struct]) -> str:
    """The word in its `type`."""
    info: Any = types.type_info(message)
    return str(info.tag)


def _names(messages: Iterable[type[Struct]]) -> list[str]:
    return [_id(one) for one in messages]


def _named(messages: Iterable[type[Struct]]) -> Document:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in _names(messages)}


def _ref(message: type[Struct]) -> Document:
    return {"$ref": REF.format(name=message.__name__)}


def _message(message: type[Struct]) -> Document:
    summary = (inspect.getdoc(message) or "").partition("\n\n")[0]
    return {"name": _id(message), "summary": " ".join(summary.split()), "payload": _ref(message)}


def _operation(action: str, channel: str, names: Iterable[str]) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }
