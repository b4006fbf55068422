"""The `aifarm-agent` command."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import ssl
import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import msgspec

from aifarm.wire.types import Identifier, Name
from aifarm_agent import __version__, status, workdir
from aifarm_agent.environments import OWN
from aifarm_agent.events import Identity
from aifarm_agent.gpus import Gpus
from aifarm_agent.kept import Kept
from aifarm_agent.outbox import OutboxError
from aifarm_agent.plan import Settings
from aifarm_agent.rank import HOLD_LIMIT
from aifarm_agent.workdir import Unusable, WorkDir

if TYPE_CHECKING:
    from aifarm_agent.runtime import Server

logger = logging.getLogger(__name__)

FAILED, REFUSED = 1, 3
TOKEN = "AIFARM_TOKEN"
UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

WORK_DIR = click.option(
    "--work-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=workdir.default,
    show_default="the platform's folder for state",
    help="Where this agent keeps its state: a folder on a local disk.",
)


def _servers(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    for url in given:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username:
            raise click.BadParameter(f"{url!r} is not a URL like ws://HOST:8765.")
    return given


def _name(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    try:
        return msgspec.convert(given, Identifier | None)
    except msgspec.ValidationError:
        raise click.BadParameter(
            "a client id has 1 to 128 letters, digits or . _ @ : + -"
        ) from None


def _labels(context: click.Context, parameter: click.Parameter, given: Any) -> dict[str, str]:
    labels = dict(text.partition("=")[::2] for text in given)
    if not all("=" in text for text in given) or "" in labels:
        raise click.BadParameter("a label is written NAME=VALUE.")
    return labels


def _environments(context: click.Context, parameter: click.Parameter, given: Any) -> dict[str, str]:
    """Name to path. That of a venv's Python is left as it is: resolved, it would be another's."""
    environments = {}
    for text in given:
        name, _, python = text.partition("=")
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            python = ""
        if not python:
            raise click.BadParameter(f"{text!r} is not written NAME=PYTHON.")
        if name == OWN or name in environments:
            raise click.BadParameter(f"the name {name} is taken: name each environment once.")
        found = shutil.which(os.path.expanduser(python))
        environments[name] = os.path.abspath(found or python)
    return environments


def _ports(context: click.Context, parameter: click.Parameter, given: str | None) -> range | None:
    if given is None:
        return None
    low, _, high = given.partition("-")
    if not (low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) < 65536):
        raise click.BadParameter("ports are written LOW-HIGH, as 29500-29599.")
    return range(int(low), int(high) + 1)


def _size(context: click.Context, parameter: click.Parameter, given: str | None) -> int | None:
    """Bytes."""
    if given is None:
        return None
    number, unit = given[:-1], given[-1:].upper()
    if unit not in UNITS or not number.isdecimal():
        raise click.BadParameter("a size is written 50G, or with M or T.")
    return int(number) * UNITS[unit]


@click.group(invoke_without_command=True)
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="URL",
    callback=_servers,
    help="As ws://HOST:8765; once for each of the farm's servers.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file with this agent's token; or set AIFARM_TOKEN.",
)
@click.option(
    "--client-id",
    callback=_name,
    help="This machine's name in the farm.  [default: kept in work dir]",
)
@WORK_DIR
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_labels,
    help="What people see of it, and tokens may ask for; may be repeated.",
)
@click.option("--gpus", default="all", show_default=True, help="all, none, or numbers as 0,1.")
@click.option(
    "--env",
    "environments",
    multiple=True,
    metavar="NAME=PYTHON",
    callback=_environments,
    help="Another Python that tasks may train with; may be repeated.",
)
@click.option("--advertise", metavar="ADDRESS", help="Where other machines reach this one.")
@click.option("--rank-ports", metavar="LOW-HIGH", callback=_ports, help="Where gangs may meet.")
@click.option("--grace", default=30.0, show_default=True, help="Seconds a worker has to stop.")
@click.option(
    "--hold-limit",
    type=click.FloatRange(min=0),
    default=HOLD_LIMIT,
    show_default=True,
    help="Seconds for which a paused task may stay in memory here; then it leaves.",
)
@click.option(
    "--cache",
    metavar="SIZE",
    callback=_size,
    help="Disk for the data of tasks, as 50G.  [default: a quarter of the disk]",
)
@click.option(
    "--offline-limit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=inf,
    show_default="no limit",
    help="How long tasks go on without a server, before they write a checkpoint and end.",
)
@click.option("--cafile", type=click.Path(exists=True, dir_okay=False), help="Trust for wss://.")
@click.option("--verbose", is_flag=True)
@click.version_option(__version__)
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Runs tasks of an AI Farm on this machine, until it is ended.

    SIGTERM leaves running tasks to the next agent; Ctrl-C has them write a checkpoint, gives them
    back to the farm and leaves no process.
    """
    if context.invoked_subcommand is None:
        sys.exit(_run(**options))


@main.command(name="status")
@WORK_DIR
@click.option("--json", "as_json", is_flag=True)
def status_command(work_dir: Path, as_json: bool) -> None:
    """Shows what the agent on this machine does."""
    told = status.read(work_dir)
    if as_json:
        click.echo(msgspec.json.encode(told).decode())
    elif told is None:
        click.echo(f"No agent runs in {work_dir}.")
    else:
        click.echo(f"{told.client_id} (pid {told.pid}): {told.server or 'not connected'}")
        for rank in told.tasks:
            click.echo(
                f"  task {rank.task_id} attempt {rank.attempt} rank {rank.rank}: "
                f"{rank.state}, {rank.progress:.0f} %"
            )
        used, limit = (f"{size / UNITS['G']:.1f} GiB" for size in (told.cache, told.cache_limit))
        click.echo(f"  data: {used} of {limit}")
    held = Kept(work_dir / "kept").held()
    if held.folders and not as_json:
        words = f"{held.folders} ended attempts, {held.size / 2**20:.1f} MiB"
        click.echo(f"Files of {words}: {work_dir / 'kept'}")
    sys.exit(0 if told else FAILED)


def _run(
    servers: tuple[str, ...],
    token_file: Path | None,
    client_id: str | None,
    work_dir: Path,
    labels: dict[str, str],
    gpus: str,
    environments: dict[str, str],
    advertise: str | None,
    rank_ports: range | None,
    grace: float,
    hold_limit: float,
    cache: int | None,
    offline_limit: float,
    cafile: str | None,
    verbose: bool,
) -> int:
    from aifarm_agent.link import Refusal, Unauthorized
    from aifarm_agent.runtime import Server

    _log_to_stderr(verbose)
    if not servers:
        raise click.UsageError("Missing option '--server': as ws://HOST:8765.")
    token = _token(token_file)
    secure = any(url.startswith("wss:") for url in servers)
    for url in filter(_exposed, servers):
        logger.warning("%s: token and data travel unencrypted; wss:// would protect them", url)
    try:
        context = ssl.create_default_context(cafile=cafile) if secure else None
        settings = Settings(
            grace=grace,
            hold_limit=hold_limit,
            offline_limit=offline_limit,
            environments=environments,
            advertise=advertise,
            rank_ports=rank_ports,
            cache=cache,
        )
        with contextlib.closing(WorkDir(work_dir)) as folder:
            identity = Identity(
                client_id or folder.client_id,
                workdir.machine_id(),
                workdir.boot_id(),
                socket.gethostname(),
                __version__,
                labels,
            )
            server = Server(servers, token, context)
            asyncio.run(_serve(folder, identity, server, Gpus(gpus), settings))
    except Refusal as error:
        where = f" Check the token in {token_file or TOKEN}." * isinstance(error, Unauthorized)
        click.echo(f"aifarm-agent: {error}{where}", err=True)
        return REFUSED
    except (Unusable, OutboxError, OSError) as error:
        click.echo(f"aifarm-agent: {error}", err=True)
        return FAILED
    return 0


async def _serve(
    folder: WorkDir, identity: Identity, server: "Server", gpus: Gpus, settings: Settings
) -> None:
    from aifarm_agent.environments import advertised
    from aifarm_agent.runtime import Agent, Stop, serve

    identity = identity._replace(environments=await advertised(settings.environments))
    stop: asyncio.Queue[Stop] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.put_nowait, "leave")
    loop.add_signal_handler(signal.SIGINT, stop.put_nowait, "give_back")
    await serve(lambda: Agent(folder, identity, server, gpus, settings), stop, folder.reserve)


def _exposed(url: str) -> bool:
    """Whether plain text leaves this machine."""
    parts = urlsplit(url)
    return parts.scheme == "ws" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _token(file: Path | None) -> str:
    """From the file, or else the environment; never from the command line, which all can see."""
    if file is None:
        token = os.environ.get(TOKEN, "").strip()
        if not token:
            raise click.UsageError(f"Missing option '--token-file', or {TOKEN} in the environment.")
        return token
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"The token file {file} cannot be read: {error}.") from None
    if not token or not token.isascii() or not token.isprintable():
        raise click.UsageError(f"The token file {file} holds no token.")
    return token


def _log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    level = logging.DEBUG if verbose else logging.INFO
    logging.getLogger("aifarm_agent").setLevel(level)
