"""AI Farm: submit PyTorch training to a lab's workstations, watch it, get the weights back.

    import aifarm
    farm = aifarm.connect()

What a researcher needs stands in this namespace. It is loaded at first use: this module also
serves interpreters that hold nothing of AI Farm but `aifarm.train`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aifarm.sdk import (
        AIFarmError,
        AsyncFarm,
        AsyncTask,
        Checkpoint,
        Client,
        Data,
        DataRef,
        Farm,
        Output,
        Package,
        Task,
        TaskFailed,
        connect,
        connect_async,
    )

    __version__: str

__all__ = [
    "connect",
    "Farm",
    "Task",
    "Client",
    "Checkpoint",
    "Output",
    "Package",
    "Data",
    "DataRef",
    "connect_async",
    "AsyncFarm",
    "AsyncTask",
    "AIFarmError",
    "TaskFailed",
]


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("aifarm")
    elif name in __all__:
        from importlib import import_module

        value = getattr(import_module("aifarm.sdk"), name)
    else:
        raise AttributeError(f"module 'aifarm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__, "__version__"})
