"""What researchers import: connect to a farm, publish a model, train it, get the weights back."""

import logging

from aifarm.sdk.checkpoint import Checkpoint
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
from aifarm.sdk.farm import Farm, Package, connect
from aifarm.sdk.task import Task

__all__ = [
    "connect",
    "Farm",
    "Task",
    "Checkpoint",
    "Package",
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
