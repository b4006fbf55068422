"""A farm of one's own, which the Jupyter servers of a person on a machine run in turn."""

import fcntl
import getpass
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from aifarm.local.farm import PORT, LocalFarm
from aifarm.sdk import AIFarmError, InvalidRequest, Unauthorized, connect
from aifarm.sdk.config import FARM_FILE, Address, from_farm_file, read_token, write_private
from aifarm.sdk.states import FINAL
from aifarm_jupyter.farms import State

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at whether the farm still runs."""
PATIENCE = 5.0
"""Seconds that its answer may take."""


class Embedded:
    """A farm in `data_dir`, shared by all Jupyter servers of this person on this machine.

    Whoever comes first runs it, as processes beside its own; the others use it, and one of them
    takes over when the first ends. What trains goes on meanwhile: agents leave their workers, and
    the next ones take them up. `changed` is called, from another thread, when the state or the
    address is another.
    """

    def __init__(self, data_dir: Path, agents: int, changed: Callable[[], None]) -> None:
        self.data_dir = data_dir
        self.logs: Path | None = data_dir / "logs"
        self.state: State = "starting"
        self.problem: str | None = None
        self.address: Address | None = None
        self.busy = False
        self._agents = agents
        self._changed = changed
        self._port = PORT
        self._http = httpx.Client(timeout=PATIENCE, trust_env=False, verify=False)  # loopback
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
        self._http.close()

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                self._use_or_lead()
            except AIFarmError as error:
                self._give_up(str(error))
            except OSError as error:
                self._give_up(
                    f"The folder {self.data_dir} cannot be used ({error.strerror}):"
                    " c.AIFarm.data_dir may name another one."
                )
            except Exception:
                log.exception("The farm of this machine cannot be used.")
                self._give_up("The farm failed; the Jupyter server's log says how.")
            self._ending.wait(LOOK)

    def _use_or_lead(self) -> None:
        address = from_farm_file(self.data_dir / "server" / FARM_FILE)
        if address is not None and self._answers(address):
            self._follow(address)
            return
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _leadership(self.data_dir) as lock:
            if self.state != "away":  # what went wrong stays said until it goes right
                self._now("starting", None)
            if lock is not None:
                self._lead(lock)

    def _follow(self, address: Address) -> None:
        """Uses the farm that another Jupyter server runs, for as long as it does."""
        self._now("following", self._personal(address))
        while not self._ending.wait(LOOK) and self._answers(address):
            pass

    def _lead(self, lock: int) -> None:
        """Runs the farm until it fails or is to end."""
        farm = LocalFarm(
            self.data_dir,
            agents=self._agents,
            # Where it was: programs that were connected go on.
            preferred=self._port,
            lasting=True,
            held=lock,
        )
        try:
            farm.start()
            address = Address(farm.url, read_token(farm.token_file))
            self._now("leading", self._personal(address))
            while not self._ending.wait(LOOK):
                if problem := farm.problem():
                    raise AIFarmError(problem)
                self.busy = self._is_busy(address)
        finally:
            self.busy = False
            farm.stop()

    def _personal(self, address: Address) -> Address:
        """The same farm as the person who works here: the operating system's name, since Jupyter's
        own names for a token's holder differ from request to request."""
        path = self.data_dir / "lab-token"
        try:
            mine = Address(address.url, read_token(path), "this machine")
            with connect(mine.url, mine.token) as farm:
                farm.my_token()
        except (InvalidRequest, Unauthorized):  # none yet, or one of an earlier farm
            with connect(address.url, address.token) as farm:
                token = farm.create_token(_me(), "admin").token
            write_private(path, f"{token}\n".encode())
            mine = Address(address.url, token, "this machine")
        return mine

    def _answers(self, address: Address) -> bool:
        try:
            return self._http.get(f"{address.url}/api/health").status_code == 200
        except httpx.HTTPError:
            return False

    def _is_busy(self, address: Address) -> bool:
        """Whether the farm has a task that is not over; so it is where it does not say."""
        headers = {"Authorization": f"Bearer {address.token}"}
        try:
            answer = self._http.get(f"{address.url}/api/v2/metrics", headers=headers)
            tasks = answer.raise_for_status().json()["tasks"]
        except httpx.HTTPError:
            return True
        return any(number for state, number in tasks.items() if state not in FINAL)

    def _give_up(self, problem: str) -> None:
        if self.problem != problem:
            log.warning("The farm of this machine cannot be used: %s", problem)
        self._now("away", None, problem)

    def _now(self, state: State, address: Address | None, problem: str | None = None) -> None:
        self.state, self.problem, self.address = state, problem, address
        if address is not None:
            self._port = urlsplit(address.url).port or self._port
        self._changed()


@contextmanager
def _leadership(data_dir: Path) -> Iterator[int | None]:
    """The lock of who runs the farm; None where another has it.

    It is the open file's, and the farm's processes keep that open: a next one begins when the last
    process of the one before has ended, however that was.
    """
    lock = os.open(data_dir / "lead.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
    finally:
        os.close(lock)


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return f"user {os.getuid()}"
