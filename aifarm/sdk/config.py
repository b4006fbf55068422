"""Which farm, and with which token: arguments, environment, config.toml, a farm on this machine."""

import ipaddress
import os
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import platformdirs
from msgspec import Struct

from aifarm.sdk.errors import FarmUnreachable, InsecureFarm, InvalidRequest, Unauthorized

FARM_FILE = "farm.json"
FARM_FILE_VARIABLE = "AIFARM_FARM_FILE"
"""Names a file like it: a Jupyter server tells its kernels so where its farm is. While that farm
starts, the file is empty."""
START_SECONDS, LOOK_SECONDS = 20.0, 0.05
"""How long a farm that starts is waited for, and how often the file is looked at."""


class Source(Struct, frozen=True):
    """What one place says about the farm. `where` names the place, for messages; `url` may be
    several, with spaces or commas between."""

    where: str
    url: str | None = None
    token: str | None = None
    allow_plaintext: bool = False


class Address(Struct):
    """A farm's URL without a slash at its end, and a token for it; never shown by repr.

    `others`: the farm's other servers, of which one takes over when the one at `url` is gone.
    """

    url: str
    token: str
    where: str = "the arguments"
    others: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Address({self.url!r})"

    @property
    def on_loopback(self) -> bool:
        return all(_on_loopback(url) for url in (self.url, *self.others))

    def turn(self, failed: str) -> None:
        """From the server at `failed`, which did not serve, to the next one, if there is one."""
        if self.others and self.url == failed:
            self.url, self.others = self.others[0], (*self.others[1:], failed)


class FarmFile(Struct, frozen=True):
    """`farm.json`, which a server keeps in its data folder while it runs: where programs of the
    same user on this machine find it. `url` may be several, with spaces between."""

    url: str
    token_file: str
    allow_plaintext: bool = False


class _ConfigFile(Struct, frozen=True, forbid_unknown_fields=True):
    url: str | list[str] | None = None
    token: str | None = None
    token_file: str | None = None
    allow_plaintext: bool = False


def data_folder(kind: str) -> Path:
    """Where a farm of this user keeps its data by default: `kind` is "server", "dev" or "lab"."""
    return platformdirs.user_data_path("aifarm") / kind


def config_file() -> Path:
    """The user's config.toml."""
    return platformdirs.user_config_path("aifarm") / "config.toml"


def named_elsewhere(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment or config.toml names a farm."""
    return bool(environ.get("AIFARM_URL") or _from_config(config_file()).url)


def find(
    url: str | Sequence[str] | None = None,
    token: str | None = None,
    *,
    allow_plaintext: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Address:
    """The farm that the arguments, or else the places after them, name.

    Raises FarmUnreachable where none is named, Unauthorized without a token, InsecureFarm where
    the token would travel in clear text.
    """
    given = Source("the arguments", _joined(url), token, allow_plaintext)
    return resolve(_sources(given, environ))


def resolve(sources: Iterator[Source]) -> Address:
    """The first URL, or URLs, with the first token that is meant for it.

    A place that names another URL keeps its token: a token never goes to a farm that the place
    it stands in does not name.
    """
    urls: tuple[str, ...] = ()
    token = None
    where = ""
    plaintext = False
    for source in sources:
        if urls and source.url and several(source.url) != urls:
            continue
        if source.url and not urls:
            urls, where = several(source.url), source.where
        token = token or source.token
        plaintext = plaintext or source.allow_plaintext
        if urls and token:
            break
    if not urls:
        raise FarmUnreachable(
            "No farm is known: start one on this machine with `aifarm dev`, or set AIFARM_URL and "
            f"AIFARM_TOKEN (or url and token in {config_file()})."
        )
    if not token:
        raise Unauthorized(
            f"No token for {urls[0]} is known: set AIFARM_TOKEN, or token in {config_file()}; "
            "the farm's administrator makes one with `aifarm token create`."
        )
    exposed = [url for url in urls if not secure(url)]
    if exposed and not plaintext:
        raise InsecureFarm(
            f"The token would cross the network to {exposed[0]} in clear text: use https, or allow "
            "it with allow_plaintext (an argument, --allow-plaintext, or a line in config.toml)."
        )
    return Address(urls[0], token, where, urls[1:])


def several(text: str) -> tuple[str, ...]:
    """The URLs in `text`, each as `normal`. Raises InvalidRequest."""
    return tuple(normal(url) for url in text.replace(",", " ").split())


def normal(url: str) -> str:
    """`url` checked and without a slash at its end. Raises InvalidRequest."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            f"{url!r} is not a farm's URL: write it as http://HOST:PORT or https://HOST:PORT."
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidRequest("A farm's URL holds no user, password, query or fragment.")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def secure(url: str) -> bool:
    """Whether what is sent there stays unreadable, or on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or _on_loopback(url)


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _sources(arguments: Source, environ: Mapping[str, str]) -> Iterator[Source]:
    yield arguments
    yield Source(
        "AIFARM_URL", environ.get("AIFARM_URL") or None, environ.get("AIFARM_TOKEN") or None
    )
    if named := environ.get(FARM_FILE_VARIABLE):
        _await_start(Path(named))
        yield from _from_farm_file(Path(named))
    yield _from_config(config_file())
    for folder in (data_folder(kind) / "server" for kind in ("lab", "dev")):
        yield from _from_farm_file(folder / FARM_FILE)
    yield from _from_farm_file(data_folder("server") / FARM_FILE)


def _from_config(path: Path) -> Source:
    try:
        config = msgspec.convert(tomllib.loads(path.read_text()), _ConfigFile)
    except FileNotFoundError:
        return Source(str(path))
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise InvalidRequest(f"{path} cannot be used: {error}.") from None
    token = config.token
    if config.token_file and not token:
        token = read_token(Path(config.token_file).expanduser())
    return Source(str(path), _joined(config.url), token, config.allow_plaintext)


def _joined(url: str | Sequence[str] | None) -> str | None:
    return url if url is None or isinstance(url, str) else " ".join(url)


def _from_farm_file(path: Path) -> Iterator[Source]:
    """A farm that ran here and left its file behind is named all the same: connecting tells."""
    try:
        farm = msgspec.json.decode(path.read_bytes(), type=FarmFile)
        token = read_token(Path(farm.token_file))
        yield Source(str(path), farm.url, token, farm.allow_plaintext)
    except (OSError, msgspec.DecodeError, InvalidRequest):
        return


def announce_start(path: Path) -> None:
    """Says that `write_farm_file` will follow; who looks for a farm meanwhile waits a while."""
    write_private(path, b"")


def withdraw_start(path: Path) -> None:
    """Says that it will not follow soon after all. What is known of a farm stays."""
    if _is_starting(path):
        path.unlink(missing_ok=True)


def _is_starting(path: Path) -> bool:
    return path.exists() and path.stat().st_size == 0


def _await_start(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while _is_starting(path) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def from_farm_file(path: Path) -> Address | None:
    """The farm that `path`, a farm.json, tells of; None where there is none."""
    source = next(_from_farm_file(path), None)
    if source is None or not (source.url and source.token):
        return None
    return Address(source.url, source.token, source.where)


def read_token(path: Path) -> str:
    """The token in a file. Raises InvalidRequest."""
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InvalidRequest(f"No token can be read from {path}: {error.strerror}.") from None
    if not token:
        raise InvalidRequest(f"No token can be read from {path}: the file is empty.")
    return token


def write_farm_file(
    path: Path, url: str, token_file: Path, *, allow_plaintext: bool = False
) -> Path:
    """Lets other programs of this user find a farm; mode 0600."""
    told = FarmFile(url, str(token_file.resolve()), allow_plaintext)
    return write_private(path, msgspec.json.encode(told))


def write_private(path: Path, content: bytes) -> Path:
    """Puts `content` in the place of what `path` holds, at once; mode 0600."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)
    return path
