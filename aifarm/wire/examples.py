"""One plausible body for each request that has one: what the reference shows."""

from msgspec import Struct

from aifarm.wire.requests import (
    BulkTasks,
    CreateTask,
    CreateToken,
    CreateUpload,
    DrainClient,
    EditTask,
    PinCheckpoint,
    RetryTask,
    UpdateStatus,
)
from aifarm.wire.types import JSON

EXAMPLES: dict[type[Struct], dict[str, JSON]] = {
    CreateTask: {
        "name": "digits",
        "version": "1.0",
        "batch_size": 32,
        "learning_rate": 0.001,
        "epochs": 10,
        "requirements": {"min_gpu_memory": 4096, "min_cpu_cores": 4, "min_ram": 8192},
        "config": {"hidden": 128},
    },
    EditTask: {"title": "Wider hidden layer", "tags": ["baseline"], "notes": None},
    RetryTask: {"from_checkpoint": "latest"},
    BulkTasks: {"action": "stop", "filter": {"project": "digits", "status": ["pending"]}},
    PinCheckpoint: {"pinned": True},
    DrainClient: {"drained": True, "reason": "New GPUs are being built in."},
    UpdateStatus: {"status": "paused", "reason": "The machine is needed for a demo."},
    CreateToken: {"name": "ada", "role": "researcher", "expires": 7776000},
    CreateUpload: {
        "task_id": "0b0e7b5c-4a51-4a3c-8a55-2f6f0f2f7a10",
        "attempt": 1,
        "rank": 0,
        "size": 1048576,
        "sha256": "0" * 64,
    },
}
