"""The server's REST API as the agent uses it. httpx is loaded when the first transfer begins."""

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aifarm.wire.codec import encode
from aifarm.wire.requests import CreateUpload
from aifarm.wire.rest import OutputFull, OutputList, UploadFull
from aifarm.wire.types import Purpose
from aifarm_agent.backoff import delays
from aifarm_agent.checkpoints import intact
from aifarm_agent.events import RankKey

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

CHUNK = 1 << 20


class Refused(Exception):
    """The server will not do it, now or later; the message is its sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Rest:
    """Requests that are repeated until they are answered; whoever waits may cancel them.

    `base` is the server's URL as of now.
    """

    def __init__(
        self, base: Callable[[], str], headers: dict[str, str], verify: ssl.SSLContext | bool
    ) -> None:
        self._base = base
        self._headers = headers
        self._verify = verify
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def upload(
        self, key: RankKey, file: Path, size: int, sha256: str, purpose: Purpose
    ) -> str:
        """Stores the file's bytes, going on where it was cut off; returns the upload's id.

        Raises Refused, and OSError where the file cannot be read.
        """
        announced = CreateUpload(**key._asdict(), size=size, sha256=sha256, purpose=purpose)
        begun = await self._send("POST", "/api/v2/uploads", content=encode(announced))
        upload = msgspec.json.decode(begun, type=UploadFull)
        stored = set(upload.parts)
        for number in range(-(-size // upload.part_size)):
            if number in stored:
                continue
            part, digest = await asyncio.to_thread(
                _part, file, number * upload.part_size, upload.part_size
            )
            await self._send(
                "PUT",
                f"/api/v2/uploads/{upload.id}/parts/{number}",
                content=part,
                headers={"X-Content-SHA256": digest},
            )
        return upload.id

    async def outputs(self, task_id: str) -> list[OutputFull]:
        """What earlier attempts at a task kept. Raises Refused."""
        listed = await self._send("GET", f"/api/v2/tasks/{task_id}/outputs")
        return msgspec.json.decode(listed, type=OutputList).outputs

    async def download(self, path: str, target: Path, size: int, sha256: str) -> None:
        """Makes `target` hold these bytes, going on where it was cut off.

        Raises Refused, also where they are not what they should be, and OSError.
        """
        part = target.with_name(f"{target.name}.part")
        target.parent.mkdir(mode=0o700, exist_ok=True)
        await self.resume(path, part, size)
        if not await asyncio.to_thread(intact, part, size, sha256):
            part.unlink(missing_ok=True)
            raise Refused(0, f"What came of {path} does not have the sha256 {sha256}.")
        part.rename(target)

    async def resume(self, path: str, part: Path, size: int) -> None:
        """Appends to `part` what it lacks of `size` bytes, or what there is. Raises Refused, and
        OSError."""
        await self._repeat(lambda: self._fetch(path, part, size))

    async def _fetch(self, path: str, part: Path, size: int) -> "httpx.Response":
        have = _have(part, size)
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._open().stream("GET", self._base() + path, headers=headers) as response:
            if response.status_code == 416:  # all of it is there
                return response
            if not response.is_success:
                await response.aread()
                return response
            with open(part, "ab" if response.status_code == 206 else "wb") as file:  # noqa: ASYNC230
                async for chunk in response.aiter_bytes(CHUNK):
                    file.write(chunk)
                    if file.tell() > size:
                        break
            return response

    async def _send(self, method: str, path: str, **request: Any) -> bytes:
        async def once() -> "httpx.Response":
            return await self._open().request(method, self._base() + path, **request)

        return (await self._repeat(once)).content

    async def _repeat(self, once: Callable[[], Any]) -> "httpx.Response":
        """Until there is an answer that another try would not change. Raises Refused."""
        import httpx

        for delay in delays():
            wait = 0.0
            try:
                response: httpx.Response = await once()
            except httpx.TransportError as error:
                logger.debug("%r", error)
            else:
                status = response.status_code
                if response.is_success or status == 416:
                    return response
                if status != 429 and status < 500:
                    raise Refused(status, _sentence(response))
                wait = _seconds(response.headers.get("Retry-After", ""))
            await asyncio.sleep(max(delay, wait))
        raise AssertionError("delays never end")

    def _open(self) -> "httpx.AsyncClient":
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                headers=self._headers,
                verify=self._verify,
                timeout=httpx.Timeout(60, connect=10),
                follow_redirects=False,
            )
        return self._client


def _have(part: Path, size: int) -> int:
    """Bytes of an earlier try that are of use."""
    have = part.stat().st_size if part.exists() else 0
    return have if have <= size else 0


def _part(path: Path, first: int, size: int) -> tuple[bytes, str]:
    with open(path, "rb") as file:
        file.seek(first)
        data = file.read(size)
    return data, hashlib.sha256(data).hexdigest()


def _seconds(text: str) -> float:
    return min(float(text), 60.0) if text.isdecimal() else 0.0


def _sentence(response: "httpx.Response") -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {response.status_code}."
