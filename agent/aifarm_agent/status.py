"""What `aifarm-agent status` shows: a small file that a running agent keeps up to date."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from aifarm_agent.data import Cache
from aifarm_agent.events import RankKey
from aifarm_agent.rank import Rank


class RankStatus(Struct, frozen=True):
    task_id: str
    attempt: int
    rank: int
    state: str
    progress: float


class Status(Struct, frozen=True):
    """`server`: the URL that the agent is connected to; None while there is no connection.
    `cache`: bytes of data that it keeps for tasks, at most `cache_limit`."""

    pid: int
    client_id: str
    server: str | None
    tasks: tuple[RankStatus, ...] = ()
    cache: int = 0
    cache_limit: int = 0


def describe(
    client_id: str, server: str | None, ranks: Mapping[RankKey, Rank], cache: Cache
) -> Status:
    return Status(
        os.getpid(),
        client_id,
        server,
        tuple(
            RankStatus(*key, state=rank.state, progress=rank.progress)
            for key, rank in ranks.items()
        ),
        cache.size,
        cache.limit,
    )


def write(folder: Path, status: Status) -> None:
    fresh = folder / "state.json.new"
    fresh.write_bytes(msgspec.json.encode(status))
    os.replace(fresh, folder / "state.json")


def read(folder: Path) -> Status | None:
    """None where no agent runs in this work dir."""
    try:
        status = msgspec.json.decode((folder / "state.json").read_bytes(), type=Status)
        os.kill(status.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return status
