"""`aifarm server` and `aifarm dev`."""

import time
import tomllib
from pathlib import Path
from typing import Any

import click

LOOK = 0.5
"""Seconds between two looks at whether the processes of `aifarm dev` live."""

seconds = click.FloatRange(min=0, min_open=True)


def _from_file(context: click.Context, parameter: click.Parameter, file: Path | None) -> None:
    """What FILE says becomes the options' defaults: the command line wins."""
    if file is None:
        return
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file} cannot be used: {error}.") from None
    given = {name.replace("-", "_"): value for name, value in found.items()}
    known = {option.name for option in context.command.params}
    if unknown := sorted(given.keys() - known):
        raise click.BadParameter(f"{file} has {unknown[0]!r}, which is no option of the server.")
    context.default_map = given


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_from_file,
    is_eager=True,
    expose_value=False,
    metavar="FILE",
    help="Options as TOML, such as rate-limit = 6000; those on the command line win.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: _folder("server"),
    show_default="the platform's data folder",
    help="Database, checkpoints, packages and the first administrator's token.",
)
@click.option(
    "--database",
    metavar="URL",
    help="postgresql+psycopg://NAME:PASSWORD@HOST/DATABASE; default: SQLite in the data folder.",
)
@click.option("--artifacts", metavar="URL", help="Any fsspec URL; default: the data folder.")
@click.option("--certfile", type=click.Path(path_type=Path, dir_okay=False), help="TLS.")
@click.option("--keyfile", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--allowed-host", multiple=True, metavar="NAME", help="A name that clients use.")
@click.option("--allow-plaintext", is_flag=True, help="Serve a network without TLS.")
@click.option("--lease", type=seconds, default=60.0, show_default=True, metavar="SECONDS")
@click.option("--heartbeat", type=seconds, default=10.0, show_default=True, metavar="SECONDS")
@click.option("--reattach", type=seconds, default=120.0, show_default=True, metavar="SECONDS")
@click.option("--rate-limit", type=click.IntRange(1), default=6_000, show_default=True)
@click.option("--connections", type=click.IntRange(1), default=4_096, show_default=True)
@click.option("--clients-per-token", type=click.IntRange(1), default=4_096, show_default=True)
@click.option("--storage-per-submitter", type=click.IntRange(1), metavar="MIB")
def server(**options: Any) -> None:
    """Run the farm's server until Ctrl-C.

    \b
    --lease      how long a client may be away before others get its tasks
    --heartbeat  how often an agent reports
    --reattach   how long clients may be away after a start of the server
    --rate-limit   requests that one token may make in a minute; failed logins of
                   one address are held to a hundredth of it
    --connections  sockets that one token may have open
    --clients-per-token      Client-IDs that one agent's token may take
    --storage-per-submitter  MiB of packages and checkpoints that one person may have;
                   who has more cannot publish or submit (default: no limit)

    The first start writes the administrator's token to admin-token in the data folder.

    A second server on the same PostgreSQL database stands by and takes over when the first is
    gone; give both the same --artifacts.
    """
    import logging

    try:
        from aifarm.server import ServerError, ServerStopped, Settings, run
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"The server needs {error.name}: install aifarm with the extra `server`."
        ) from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.getLogger("aifarm").setLevel(logging.INFO)
    try:
        run(Settings(**options))
    except ServerStopped as error:
        raise click.ClickException(str(error)) from None
    except ServerError as error:
        raise click.UsageError(str(error)) from None


@click.command()
@click.option("--agents", type=click.IntRange(0, 64), default=2, show_default=True)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Default: 8765, or a free one if that is taken."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: _folder("dev"),
    show_default="the platform's data folder",
)
def dev(agents: int, port: int | None, data_dir: Path) -> int:
    """Run a whole farm on this machine until Ctrl-C.

    It is a server and some agents. Your other programs find it by themselves: aifarm.connect()
    needs no URL and no token.
    """
    from aifarm.local.farm import PORT, LocalFarm, end_on_signals, port_is_free

    if port and not port_is_free(port):
        raise click.UsageError(f"Port {port} is taken: choose another, or leave --port out.")
    end_on_signals()
    farm = LocalFarm(data_dir, agents=agents, port=port)
    click.echo(f"Starting a server and {_count(agents, 'agent')} in {farm.data_dir} …")
    with farm:
        if not port and farm.port != PORT:
            click.echo(f"Port {PORT} is taken, so this farm uses {farm.port}.")
        click.echo(_welcome(farm.url, farm.token_file, farm.logs, data_dir))
        try:
            while not (problem := farm.problem()):
                time.sleep(LOOK)
        except KeyboardInterrupt:
            click.echo("\nEnding the farm …")
            return 0
    raise click.ClickException(problem)


def _welcome(url: str, token_file: Path, logs: Path, data_dir: Path) -> str:
    known = data_dir == _folder("dev")
    how = "" if known else f"  url and token: export AIFARM_URL={url} AIFARM_TOKEN=$(cat FILE)\n"
    return (
        f"The farm is up: {url}\n"
        f"  token in {token_file}\n"
        f"  logs in  {logs}\n{how}"
        "In Python: farm = aifarm.connect()    In a shell: aifarm clients    End it: Ctrl-C"
    )


def _folder(kind: str) -> Path:
    from aifarm.sdk.config import data_folder

    return data_folder(kind)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
