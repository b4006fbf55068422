"""The farm behind a Jupyter server: one that is named, or one of its own on this machine."""

import getpass
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import httpx

from aifarm.local.farm import LocalFarm
from aifarm.sdk import AIFarmError, connect
from aifarm.sdk.config import FARM_FILE, Address, from_farm_file, read_token

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at whether the farm still runs."""

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

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Attached:
    """A farm elsewhere, which a trait, the environment or a configuration file names."""

    state: State = "attached"
    problem: str | None = None

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

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class Embedded:
    """A farm in `data_dir`, shared by all Jupyter servers of this person on this machine.

    Whoever comes first runs it, as processes beside its own; the others use it, and one of them
    takes over when the first ends. What trains goes on meanwhile: agents leave their workers, and
    the next ones take them up. `changed` is called, from another thread, when the address is
    another.
    """

    def __init__(self, data_dir: Path, agents: int, changed: Callable[[], None]) -> None:
        self.data_dir = data_dir
        self.state: State = "starting"
        self.problem: str | None = None
        self.address: Address | None = None
        self._agents = agents
        self._changed = changed
        self._ending = threading.Event()
        # The farm's processes are tied to the thread that starts them: it stays to the end.
        self._thread = threading.Thread(target=self._keep, name="aifarm-embedded", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns once the farm's own processes have ended; what trains goes on."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                if self._follow():
                    continue
                self._lead()
            except AIFarmError as error:
                if self.problem is None:
                    log.warning("The farm of this machine cannot be used: %s", error)
                self._now("away", None, str(error))
            except Exception:
                log.exception("The farm of this machine cannot be used.")
                self._now("away", None, "The Jupyter server's log says why the farm is away.")
            self._ending.wait(LOOK)

    def _follow(self) -> bool:
        """Uses the farm that another Jupyter server runs, for as long as it does; False where
        there is none."""
        address = from_farm_file(self.data_dir / "server" / FARM_FILE)
        if address is None or not _answers(address):
            return False
        self._now("following", self._personal(address))
        while not self._ending.wait(LOOK) and _answers(address):
            pass
        return True

    def _lead(self) -> None:
        """Runs the farm until it fails or is to end."""
        farm = LocalFarm(self.data_dir, agents=self._agents, lasting=True)
        try:
            farm.start()
            address = Address(farm.url, read_token(farm.token_file))
            self._now("leading", self._personal(address))
            while not self._ending.wait(LOOK):
                if problem := farm.problem():
                    raise AIFarmError(problem)
        finally:
            farm.stop()

    def _personal(self, address: Address) -> Address:
        """The same farm as the person who works here: the operating system's name, since Jupyter's
        own names for a token's holder differ from request to request."""
        path = self.data_dir / "lab-token"
        if not path.exists():
            with connect(address.url, address.token) as farm:
                token = farm.create_token(getpass.getuser(), "admin").token
            fresh = path.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{token}\n")
            fresh.replace(path)
        return Address(address.url, read_token(path), "this machine")

    def _now(self, state: State, address: Address | None, problem: str | None = None) -> None:
        self.state, self.problem, self.address = state, problem, address
        self._changed()


def _answers(address: Address) -> bool:
    try:
        return httpx.get(f"{address.url}/api/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
