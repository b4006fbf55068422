"""The farm behind a Jupyter server, where it is one that somebody else runs, or none."""

from pathlib import Path
from typing import Literal, Protocol

from aifarm.sdk.config import Address

State = Literal["starting", "leading", "following", "attached", "away"]


class Source(Protocol):
    """Where the farm is, at this moment."""

    @property
    def state(self) -> State: ...

    @property
    def problem(self) -> str | None:
        """Why there is none, in one sentence."""

    @property
    def address(self) -> Address | None: ...

    @property
    def logs(self) -> Path | None:
        """The folder in which its processes log, where that is on this machine."""

    @property
    def busy(self) -> bool:
        """Whether tasks need this Jupyter server to go on."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Attached:
    """A farm elsewhere, which a trait, the environment or a configuration file names."""

    state: State = "attached"
    problem: str | None = None
    logs: Path | None = None
    busy = False

    def __init__(self, address: Address) -> None:
        self.address: Address | None = address

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Missing:
    """No farm, and none may be started here."""

    state: State = "away"
    address: Address | None = None
    logs: Path | None = None
    busy = False

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass
