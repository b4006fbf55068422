"""Where data comes from: the farm, the web, and whatever else fsspec reads."""

import asyncio
import json
import logging
import os
import re
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from aifarm.wire.agent import DataRef
from aifarm_agent.backoff import delays
from aifarm_agent.environments import SECRETS
from aifarm_agent.rest import Refused, Rest

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds without a byte, until a source counts as dead."""
STALLED = 60.0
"""Seconds without a byte, until what was asked is asked again."""

T = TypeVar("T")


class Unobtainable(Exception):
    """The task names what cannot be had; the message is a sentence's end."""


class Passing(Exception):
    """Another try may succeed."""


class Seen(NamedTuple):
    """`size` in bytes, where it is told. `version`: another one where the bytes are; "" where
    nothing tells."""

    size: int | None
    version: str


class Source(Protocol):
    async def look(self) -> Seen:
        """What is there now. Raises Unobtainable."""

    async def fetch(self, part: Path, most: int) -> None:
        """Appends to `part` what it lacks; more than `most` bytes are not asked for. Raises
        Unobtainable, and OSError where they cannot be stored."""


def source_of(ref: DataRef, rest: Rest) -> Source:
    scheme = ref.url.partition(":")[0]
    if scheme == "aifarm":
        return FarmSource(ref, rest)
    return WebSource(ref.url) if scheme in ("http", "https") else OtherSource(ref.url)


class FarmSource:
    """What was put on the farm. The server is waited for as long as it takes."""

    def __init__(self, ref: DataRef, rest: Rest) -> None:
        self._seen = Seen(ref.size, "")
        self._path = f"/api/v2/data/{ref.url.partition(':')[2]}"
        self._rest = rest

    async def look(self) -> Seen:
        return self._seen

    async def fetch(self, part: Path, most: int) -> None:
        try:
            await self._rest.resume(self._path, part, self._seen.size or most)
        except Refused as error:
            raise Unobtainable(str(error)) from error


class WebSource:
    """By http and https; user and password in the URL stay with its host."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._validator = ""

    async def look(self) -> Seen:
        return await _insist(self._look, lambda: 0)

    async def fetch(self, part: Path, most: int) -> None:
        await _insist(lambda: self._fetch(part, most), lambda: size_of(part))

    async def _look(self) -> Seen:
        async with self._open() as client, client.stream("GET", self._url) as response:
            _check(response)
            headers = response.headers
            self._validator = headers.get("ETag") or headers.get("Last-Modified") or ""
            length = headers.get("Content-Length", "")
            return Seen(int(length) if length.isdecimal() else None, self._validator)

    async def _fetch(self, part: Path, most: int) -> None:
        have = size_of(part)
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self._validator and not self._validator.startswith("W/"):
            headers["If-Range"] = self._validator
        async with (
            self._open() as client,
            client.stream("GET", self._url, headers=headers) as response,
        ):
            if response.status_code == 416:  # all of it is there
                return
            _check(response)
            with open(part, "ab" if response.status_code == 206 else "wb") as file:  # noqa: ASYNC230
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                    if file.tell() > most:
                        return

    def _open(self) -> "httpx.AsyncClient":
        import httpx

        return httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(STALLED, connect=10),
            follow_redirects=True,
            verify=ssl.create_default_context(),
        )


def _check(response: "httpx.Response") -> None:
    """Raises Passing, Unobtainable."""
    if response.is_success:
        return
    words = f"its server answers {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in (408, 429) or response.status_code >= 500:
        raise Passing(words)
    raise Unobtainable(words)


async def _insist(once: Callable[[], Awaitable[T]], have: Callable[[], int]) -> T:
    """Tries again as long as bytes come. Raises Unobtainable, with the last reason."""
    import httpx

    alive, before = time.monotonic(), have()
    for delay in delays():
        try:
            return await once()
        except (Passing, httpx.TransportError) as error:
            if have() > before:
                alive, before = time.monotonic(), have()
            logger.info("data: %r", error)
            if time.monotonic() >= alive + PATIENCE:
                words = str(error) or type(error).__name__
                raise Unobtainable(words.rstrip(".")) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unobtainable(str(error).rstrip(".")) from error
        await asyncio.sleep(delay)
    raise AssertionError("delays never end")


class OtherSource:
    """Whatever fsspec has a driver for, read by a process of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def look(self) -> Seen:
        told = await _insist(lambda: self._ask({"url": self._url}, None), lambda: 0)
        return Seen(told["size"], told["version"])

    async def fetch(self, part: Path, most: int) -> None:
        order = {"url": self._url, "part": str(part), "most": most}
        await _insist(lambda: self._ask(order, part), lambda: size_of(part))

    async def _ask(self, order: dict[str, Any], part: Path | None) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aifarm_agent.fetch"),
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        work = asyncio.create_task(process.communicate(json.dumps(order).encode()))
        try:
            before = -1
            while not (await asyncio.wait({work}, timeout=STALLED))[0]:
                now = size_of(part) if part else 0
                if now == before or part is None:
                    raise Passing(f"nothing came for {STALLED:.0f} s")
                before = now
            told = json.loads((await work)[0] or b'{"failed": "its driver crashed"}')
        finally:
            work.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        if "refused" in told:
            raise Unobtainable(_plain(told["refused"]))
        if "failed" in told:
            raise Passing(_plain(told["failed"]))
        return dict(told)


def _plain(words: str) -> str:
    """One line, without what a URL in it must not tell."""
    return re.sub(r"://[^/?#\s]*@", "://***@", " ".join(words.split())).rstrip(".")[:500]


def size_of(part: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return part.stat().st_size
    except OSError:
        return 0
