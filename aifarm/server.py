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
from aifarm.app.errors import FarmError
from aifarm.app.facade import Facade, digest_of
from aifarm.app.facade import Settings as FarmSettings
from aifarm.app.housekeeping import Housekeeper
from aifarm.app.records import TokenRecord
from aifarm.app.writer import WriterThread
from aifarm.artifacts import ArtifactError, open_artifacts
from aifarm.core.task import Note
from aifarm.sdk.config import write_farm_file
from aifarm.store import StoreError, open_store
from aifarm.web.app import FarmServer
from aifarm.web.http import Host
from aifarm.web.monitor import Monitor
from aifarm.web.tokens import new_secret

log = logging.getLogger(__name__)

TIDY_SECONDS = 3600.0
"""Between two rounds of throwing away what is no longer kept."""

BLOCKING_THREADS = 4
"""Threads for reads and artifact I/O: enough to keep a disk busy, few beside the loop."""


class ServerError(Exception):
    """The server cannot start, in one sentence for whoever started it."""


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


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises ServerError."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    _check(settings)
    data_dir = _data_dir(settings.data_dir)
    sockets = _listen(settings.host, settings.port)
    port = sockets[0].getsockname()[1]
    token_file = data_dir / "admin-token"
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    try:
        store = open_store(settings.database or f"sqlite:///{data_dir / 'farm.db'}")
        artifacts = open_artifacts(settings.artifacts or (data_dir / "artifacts").as_uri())
    except (StoreError, ArtifactError) as error:
        raise ServerError(str(error)) from None
    monitor = Monitor()
    facade = Facade(
        store,
        artifacts,
        clock=time.time,
        monotonic=time.monotonic,
        new_id=lambda: str(uuid.uuid4()),
        executor=WriterThread(),
        post=loop.call_soon_threadsafe,
        settings=FarmSettings(
            lease=settings.lease,
            heartbeat=settings.heartbeat,
            reattach=settings.reattach,
            rate_limit=settings.rate_limit,
            connections=settings.connections,
        ),
        observer=monitor,
    )
    monitor.watch(facade)
    measuring = asyncio.create_task(monitor.watch_loop())
    try:
        facade.start()
        await _first_token(facade, token_file)
        with ThreadPoolExecutor(BLOCKING_THREADS, "aifarm-io") as executor:
            host = _host(settings, facade, monitor, executor, data_dir, port)
            server = FarmServer(host, ssl_options=_tls(settings))
            server.add_sockets(sockets)
            scheme = "https" if settings.certfile else "http"
            log.info("serving %s://%s:%d, data in %s", scheme, settings.host, port, data_dir)
            keeping = loop.create_task(_keep_house(facade, executor))
            known_here = write_farm_file(data_dir, _url_here(settings, port), token_file)
            await _tick_until(ending, facade)
            known_here.unlink(missing_ok=True)
            keeping.cancel()
            server.stop()
            facade.say_goodbye()
            await server.close_all_connections()
    finally:
        measuring.cancel()
        await loop.run_in_executor(None, facade.stop)
        store.close()


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
    """The folder, made where it is missing, without what a killed server left half received."""
    path = path.resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / "spool").mkdir(exist_ok=True)
    except OSError as error:
        raise ServerError(f"The data folder {path} cannot be used: {error.strerror}.") from None
    for leftover in (path / "spool").iterdir():
        leftover.unlink()
    return path


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

    await facade.write(operation)
    log.info("the administrator's token is in %s", path)


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())


async def _keep_house(facade: Facade, executor: ThreadPoolExecutor) -> None:
    """Tidies up now and then, for as long as it is not cancelled."""

    async def read(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, partial(function, *args, **options))

    keeper = Housekeeper(facade.store, facade.artifacts, facade.clock, facade.write, read)
    while True:
        try:
            await keeper.tidy()
        except FarmError as error:
            log.warning("tidying up is put off: %s", error.message)
        except Exception:
            log.exception("tidying up failed, and is tried again later")
        await asyncio.sleep(TIDY_SECONDS)


async def _tick_until(ending: asyncio.Event, facade: Facade) -> None:
    """Ends lapsed leases and sessions until the server is to end."""
    while not ending.is_set():
        facade.tick()
        try:
            async with asyncio.timeout(1.0):
                await ending.wait()
        except TimeoutError:
            continue
