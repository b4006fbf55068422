"""Composition root of `aifarm server`: puts store, artifacts, facade and web together."""

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
from msgspec import Struct
from tornado.netutil import bind_sockets

from aifarm.app.draft import Draft
from aifarm.app.errors import Deposed, FarmError
from aifarm.app.facade import Facade, digest_of
from aifarm.app.facade import Settings as FarmSettings
from aifarm.app.housekeeping import Housekeeper
from aifarm.app.ports import Artifacts
from aifarm.app.records import TokenRecord
from aifarm.app.writer import WriterThread
from aifarm.artifacts import ArtifactError, open_artifacts
from aifarm.core.task import Note
from aifarm.sdk.config import FARM_FILE, write_farm_file
from aifarm.store import (
    DatabaseAway,
    DatabaseLed,
    SqlStore,
    StoreConflict,
    StoreError,
    StoreUnavailable,
    open_store,
)
from aifarm.web.app import FarmServer, Front
from aifarm.web.http import Host
from aifarm.web.monitor import Monitor
from aifarm.web.tokens import new_secret

log = logging.getLogger(__name__)

TIDY_SECONDS = 3600.0
THIN_SECONDS = 60.0
"""Between two rounds of throwing away what is no longer kept: of everything, of checkpoints."""

BLOCKING_THREADS = 4
"""Threads for reads and artifact I/O: enough to keep a disk busy, few beside the loop."""


class ServerError(Exception):
    """The server cannot serve, in one sentence for whoever started it."""


class ServerStopped(ServerError):
    """It did, and must not go on."""


class Settings(Struct, frozen=True, kw_only=True):
    """As the options of `aifarm server`. Times in seconds; see `facade.Settings`."""

    host: str = "127.0.0.1"
    port: int = 8765
    data_dir: Path = Path(platformdirs.user_data_dir("aifarm")) / "server"
    database: str | None = None
    artifacts: str | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    allowed_host: tuple[str, ...] = ()
    allow_plaintext: bool = False
    lease: float = 60.0
    heartbeat: float = 10.0
    reattach: float = 120.0
    rate_limit: int = 6_000
    connections: int = 4_096
    clients_per_token: int = 4_096
    storage_per_submitter: int | None = None


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises ServerError, or ServerStopped in the middle."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    with ThreadPoolExecutor(BLOCKING_THREADS, "aifarm-io") as executor:
        await _Server(settings, executor).serve()


class _Server:
    """One process: it stands by until the database is its own, then leads the farm; where it loses
    the database, it stands by again."""

    def __init__(self, settings: Settings, executor: ThreadPoolExecutor) -> None:
        _check(settings)
        self._settings = settings
        self._executor = executor
        self._data_dir = _data_dir(settings.data_dir)
        self._database = settings.database or f"sqlite:///{self._data_dir / 'farm.db'}"
        self._sockets = _listen(settings.host, settings.port)
        try:
            # Not as_uri(): fsspec takes %20 for three letters, and a space for a space.
            url = settings.artifacts or f"file://{(self._data_dir / 'artifacts').as_posix()}"
            self._artifacts = open_artifacts(url)
        except ArtifactError as error:
            raise ServerError(str(error)) from None
        self._answering = False
        self._ending = asyncio.Event()
        self._front = Front()
        self._http = FarmServer(self._front, ssl_options=_tls(settings))

    async def serve(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._ending.set)
        while (store := await self._take_over()) is not None:
            try:
                await self._lead(store)
            finally:
                store.close()
        self._http.stop()
        await self._http.close_all_connections()

    async def _take_over(self) -> SqlStore | None:
        """The store, once this server may write it; None when the server is to end first.

        A database that does not answer is an error of whoever starts the server; later it is
        waited for.
        """
        told = ""
        while not self._ending.is_set():
            try:
                return await asyncio.to_thread(open_store, self._database)
            except (DatabaseLed, DatabaseAway) as error:
                away = isinstance(error, DatabaseAway)
                if away and not self._answering:
                    raise ServerError(str(error)) from None
                if str(error) != told:
                    told = str(error)
                    log.warning("standing by: %s", told)
                self._answer()
                if away:
                    await self._pause()
            except StoreError as error:
                raise ServerError(str(error)) from None
        return None

    async def _lead(self, store: SqlStore) -> None:
        """Until the server is to end or may not write any more. Raises ServerStopped."""
        _clear_spool(self._data_dir)
        monitor = Monitor()
        facade = _facade(self._settings, store, self._artifacts, monitor)
        try:
            facade.start()
        except StoreUnavailable as error:
            if not self._answering:
                raise ServerError(error.message) from None
            return  # and stand by again
        monitor.watch(facade)
        beside = [asyncio.create_task(monitor.watch_loop())]
        try:
            await self._serve_farm(facade, monitor, beside)
        finally:
            for task in beside:
                task.cancel()
            facade.say_goodbye()
            await asyncio.to_thread(facade.stop)
        if isinstance(facade.deposed, StoreConflict):
            raise ServerStopped(facade.deposed.message)
        if facade.deposed is not None:
            log.warning("standing by: %s", facade.deposed.message)

    async def _serve_farm(
        self, facade: Facade, monitor: Monitor, beside: list[asyncio.Task[None]]
    ) -> None:
        """`beside` gets what goes on meanwhile."""
        settings, data_dir = self._settings, self._data_dir
        token_file = data_dir / "admin-token"
        await _first_token(facade, token_file)
        port = self._sockets[0].getsockname()[1]
        self._front.lead(_host(settings, facade, monitor, self._executor, data_dir, port))
        self._answer()
        scheme = "https" if settings.certfile else "http"
        log.info("serving %s://%s:%d, data in %s", scheme, settings.host, port, data_dir)
        beside.append(asyncio.create_task(_keep_house(facade, self._executor)))
        known_here = write_farm_file(data_dir / FARM_FILE, _url_here(settings, port), token_file)
        while not self._ending.is_set() and facade.deposed is None:
            facade.tick()
            await self._pause()
        known_here.unlink(missing_ok=True)
        self._front.stand_by()

    def _answer(self) -> None:
        """From now on requests are taken; those that came before have waited."""
        if not self._answering:
            self._answering = True
            self._http.add_sockets(self._sockets)

    async def _pause(self) -> None:
        """A second, or until the server is to end."""
        try:
            async with asyncio.timeout(1.0):
                await self._ending.wait()
        except TimeoutError:
            return


def _facade(settings: Settings, store: SqlStore, artifacts: Artifacts, monitor: Monitor) -> Facade:
    return Facade(
        store,
        artifacts,
        clock=time.time,
        monotonic=time.monotonic,
        new_id=lambda: str(uuid.uuid4()),
        executor=WriterThread(),
        post=asyncio.get_running_loop().call_soon_threadsafe,
        settings=FarmSettings(
            lease=settings.lease,
            heartbeat=settings.heartbeat,
            reattach=settings.reattach,
            rate_limit=settings.rate_limit,
            connections=settings.connections,
            clients=settings.clients_per_token,
            storage=settings.storage_per_submitter,
        ),
        observer=monitor,
    )


def _check(settings: Settings) -> None:
    """Refuses what would send tokens in the clear over a network."""
    loopback = settings.host in ("127.0.0.1", "::1", "localhost")
    if not (loopback or settings.certfile or settings.allow_plaintext):
        raise ServerError(
            f"Serving on {settings.host} needs TLS (--certfile, --keyfile), or --allow-plaintext"
            " on a network you trust: tokens would travel in the clear."
        )
    if not (loopback or settings.certfile):
        log.warning("%s: tokens and data travel readable on this network", settings.host)
    if (settings.certfile is None) != (settings.keyfile is None):
        raise ServerError("--certfile and --keyfile go together.")


def _data_dir(path: Path) -> Path:
    """The folder, made where it is missing."""
    path = path.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / "spool").mkdir(exist_ok=True)
    except OSError as error:
        raise ServerError(f"The data folder {path} cannot be used: {error.strerror}.") from None
    return path


def _clear_spool(data_dir: Path) -> None:
    """Removes what a killed server left half received."""
    for leftover in (data_dir / "spool").iterdir():
        leftover.unlink()


def _listen(host: str, port: int) -> list[socket.socket]:
    """Binds before anything else, so that a taken port changes nothing on disk."""
    try:
        return bind_sockets(port, host)
    except socket.gaierror:
        raise ServerError(f"{host} is not an address of this machine.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            words = f"Port {port} on {host} is taken; choose another with --port."
        else:
            words = f"Cannot listen on {host}:{port}: {error.strerror}."
        raise ServerError(words) from None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certfile, settings.keyfile)
    except OSError as error:
        raise ServerError(f"The certificate or its key cannot be read: {error}.") from None
    return context


def _url_here(settings: Settings, port: int) -> str:
    """As programs on this machine reach it: by loopback, or by a name that the certificate has."""
    everywhere = settings.host in ("0.0.0.0", "::", "")
    if settings.certfile is not None:
        names = (*settings.allowed_host, socket.gethostname() if everywhere else settings.host)
        return f"https://{names[0]}:{port}"
    host = "127.0.0.1" if everywhere else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _host(
    settings: Settings,
    facade: Facade,
    monitor: Monitor,
    executor: ThreadPoolExecutor,
    data_dir: Path,
    port: int,
) -> Host:
    local = {"localhost", "127.0.0.1", "::1", settings.host, socket.gethostname()}
    names = {name.lower() for name in (*local, *settings.allowed_host)}
    return Host(
        facade=facade,
        executor=executor,
        spool=data_dir / "spool",
        names=frozenset(f"{name}:{port}" for name in names) | names,
        allowed=frozenset(names),
        monitor=monitor,
        started=time.monotonic(),
        origins=frozenset(_origins(settings, names, port)),
    )


def _origins(settings: Settings, names: set[str], port: int) -> Iterator[str]:
    """Our own pages', by every name; a proxy may serve those of --allowed-host on usual ports."""
    for name in names:
        named = f"[{name}]" if ":" in name else name
        for scheme, usual in (("http", 80), ("https", 443)):
            yield f"{scheme}://{named}:{port}"
            if port == usual or name in settings.allowed_host:
                yield f"{scheme}://{named}"


async def _first_token(facade: Facade, path: Path) -> None:
    """A farm without an administrator gets one, whose secret only this machine's user can read."""
    if any(t.role == "admin" and t.revoked_at is None for t in facade.view.tokens):
        return
    secret = new_secret()
    _write_secret(path, secret)

    def operation(draft: Draft) -> None:
        record = TokenRecord(draft.new_id(), "admin", "admin", digest_of(secret), draft.at)
        draft.set_token(record)
        draft.note(Note("token_created", "The server made the first administrator's token."))

    try:
        await facade.write(operation)
    except Deposed:
        return  # the next start finds no administrator either
    except FarmError as error:
        raise ServerError(error.message) from None
    log.info("the administrator's token is in %s", path)


def _write_secret(path: Path, secret: str) -> None:
    """Whoever waits for the file finds it whole."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


async def _keep_house(facade: Facade, executor: ThreadPoolExecutor) -> None:
    """Tidies up now and then, for as long as it is not cancelled."""

    async def read(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, partial(function, *args, **options))

    keeper = Housekeeper(facade.store, facade.artifacts, facade.clock, facade.write, read)
    tidied = -TIDY_SECONDS
    while True:
        try:
            await keeper.thin()
            if time.monotonic() >= tidied + TIDY_SECONDS:
                tidied = time.monotonic()
                await keeper.tidy()
        except FarmError as error:
            log.warning("tidying up is put off: %s", error.message)
        except Exception:
            log.exception("tidying up failed, and is tried again later")
        await asyncio.sleep(THIN_SECONDS)
