"""Data on its way to the farm: hashed first, so that nothing is sent twice."""

from collections.abc import Callable

from aifarm.sdk import calls
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.aio.runtime import aside
from aifarm.sdk.call import valid
from aifarm.sdk.content import Content
from aifarm.wire.requests import CreateData
from aifarm.wire.rest import DataFull


async def put(
    http: AsyncHttp, content: Content, progress: Callable[[int, int], None] | None
) -> DataFull:
    """Sends the parts that the farm does not have, and has it check the whole."""
    try:
        size, sha256 = await aside(content.measured)
        body = valid(CreateData, sha256=sha256, size=size, name=content.name, kind=content.kind)
        begun = await http.send(calls.begin_data(body))
        if begun.data is not None:
            return begun.data
        stored, done = set(begun.parts), 0
        parts = enumerate(content.parts(begun.part_size))
        while (numbered := await aside(next, parts, None)) is not None:
            number, part = numbered
            if number not in stored:
                await http.send(calls.put_data_part(sha256, number, part))
            done += len(part)
            if progress is not None:
                progress(done, size)
        return await http.send(calls.commit_data(sha256, size))
    finally:
        content.close()
