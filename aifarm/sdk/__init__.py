"""What researchers import: connect to a farm, publish a model, train it, get the weights back.

Everything is there twice: blocking (`connect`, `Farm`, `Task`), and to be awaited (`connect_async`,
`AsyncFarm`, `AsyncTask`).
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from aifarm.sdk.checkpoint import Checkpoint
from aifarm.sdk.client import Client
from aifarm.sdk.errors import (
    AIFarmError,
    Conflict,
    CorruptDownload,
    FarmUnreachable,
    Forbidden,
    InsecureFarm,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    ServerError,
    TaskFailed,
    TooLarge,
    Unauthorized,
    Unavailable,
    WaitTimeout,
)
from aifarm.sdk.farm import Data, Farm, Package, connect
from aifarm.sdk.frames import TaskList
from aifarm.sdk.output import Output
from aifarm.sdk.task import Task
from aifarm.wire.agent import DataRef

if TYPE_CHECKING:
    from aifarm.sdk.aio.checkpoint import AsyncCheckpoint
    from aifarm.sdk.aio.client import AsyncClient
    from aifarm.sdk.aio.farm import AsyncFarm, connect_async
    from aifarm.sdk.aio.output import AsyncOutput
    from aifarm.sdk.aio.task import AsyncTask

__all__ = [
    "connect",
    "Farm",
    "Task",
    "TaskList",
    "Client",
    "Checkpoint",
    "Output",
    "Package",
    "Data",
    "DataRef",
    "connect_async",
    "AsyncFarm",
    "AsyncTask",
    "AsyncClient",
    "AsyncCheckpoint",
    "AsyncOutput",
    "AIFarmError",
    "InvalidRequest",
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "MethodNotAllowed",
    "Conflict",
    "TooLarge",
    "RateLimited",
    "ServerError",
    "Unavailable",
    "FarmUnreachable",
    "InsecureFarm",
    "CorruptDownload",
    "WaitTimeout",
    "TaskFailed",
]

# Quiet unless the program that imports us sets up logging.
logging.getLogger("aifarm").addHandler(logging.NullHandler())

_AWAITED = {
    "AsyncCheckpoint": "checkpoint",
    "AsyncClient": "client",
    "AsyncFarm": "farm",
    "AsyncOutput": "output",
    "AsyncTask": "task",
    "connect_async": "farm",
}


def __getattr__(name: str) -> object:
    """The asynchronous half is loaded when it is first asked for: a command has no use for it."""
    if name not in _AWAITED:
        raise AttributeError(f"module 'aifarm.sdk' has no attribute {name!r}")
    value: object = getattr(import_module(f"aifarm.sdk.aio.{_AWAITED[name]}"), name)
    globals()[name] = value
    return value
