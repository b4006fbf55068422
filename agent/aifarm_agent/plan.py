"""What a worker is started with."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from aifarm.wire.agent import AssignedTask
from aifarm_agent.data import Found
from aifarm_agent.events import RankKey
from aifarm_agent.rank import HOLD_LIMIT

CHECKPOINT_SECONDS = 300
KEEP_CHECKPOINTS = 2


class Settings(NamedTuple):
    """What the owner of the machine may choose.

    `grace`: seconds that a worker has to stop. `hold_limit`: seconds for which a paused task may
    hold this client. `orphan_limit`: seconds that workers go on without an agent. `offline_limit`:
    seconds that tasks go on without a server. `environments`: Pythons by the names that tasks may
    give, beside the agent's own. `advertise`: the address that a gang's peers are told; None is the
    one towards the server. `rank_ports`: where a gang may meet; None is any port. `cache`: bytes of
    data that are kept; None is a share of the disk.
    """

    grace: float = 30.0
    hold_limit: float = HOLD_LIMIT
    orphan_limit: float = 3600.0
    offline_limit: float = inf
    environments: Mapping[str, str] = MappingProxyType({})
    advertise: str | None = None
    rank_ports: range | None = None
    cache: int | None = None


class Package(NamedTuple):
    """An unpacked package."""

    folder: Path
    kind: str
    entry: str


class Plan(NamedTuple):
    """`resume`: the checkpoint to begin with; `data` by the names that the task gives it."""

    task: AssignedTask
    package: Package
    resume: Path | None
    data: Mapping[str, Found]

    def _arguments(self, key: RankKey, kept: bool) -> list[str]:
        """Of the script's command line."""
        if not self.task.farm:
            return []
        program = self.task.farm.program
        # Where nothing was kept of what it writes, there is nothing to resume from.
        resumes = kept if program.outputs else key.attempt > 1
        return [*program.args, *(program.resume_args if resumes else ())]

    def task_file(self, key: RankKey, kept: bool) -> dict[str, Any]:
        """What the worker finds in task.json, but for its sockets and desired state.

        `kept`: whether it finds outputs of an earlier attempt, or of an earlier task.
        """
        farm = self.task.farm
        return {
            **key._asdict(),
            "world_size": farm.world_size if farm else 1,
            "local_rank": farm.local_rank if farm else 0,
            "kind": self.package.kind,
            "entry": self.package.entry,
            "package": msgspec.structs.asdict(farm.package) if farm else {},
            "package_dir": str(self.package.folder),
            "config": self.task.config,
            "args": self._arguments(key, kept),
            "progress_from": farm.program.progress_from if farm else None,
            "outputs": farm.program.outputs if farm else [],
            "mounts": farm.program.mounts if farm else {},
            "resume": str(self.resume) if self.resume else None,
            "data": {name: msgspec.to_builtins(found.stored) for name, found in self.data.items()},
            "checkpoint_seconds": CHECKPOINT_SECONDS,
            "keep_checkpoints": KEEP_CHECKPOINTS,
        }
