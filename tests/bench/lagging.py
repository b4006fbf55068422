"""`aifarm server` as it is, with two things around it: its loop's lag is sampled, and each commit
may be delayed. Run as a process: lagging.py PORT DATA_DIR COMMIT_DELAY LAG_FILE."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aifarm.server as server
from aifarm.store import open_store

PERIOD = 0.005


async def sample_lag(lags: list[float]) -> None:
    """How much later than asked the loop comes back, each few milliseconds."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(PERIOD)
        lags.append(time.perf_counter() - before - PERIOD)


def delayed(url: str, seconds: float) -> Any:
    """The real store, whose transactions take `seconds` longer: as a slower disk."""
    store = open_store(url)
    transaction = store.transaction

    @contextmanager
    def slower() -> Iterator[Any]:
        with transaction() as tx:
            yield tx
            time.sleep(seconds)

    store.transaction = slower
    return store


async def serve(settings: server.Settings, lags: list[float]) -> None:
    sampler = asyncio.create_task(sample_lag(lags))
    await server._serve(settings)
    sampler.cancel()


def main() -> None:
    port, data_dir, delay, lag_file = sys.argv[1:]
    if float(delay):
        server.open_store = lambda url: delayed(url, float(delay))
    lags: list[float] = []
    # What is measured is the farm, not its limits.
    settings = server.Settings(port=int(port), data_dir=Path(data_dir), rate_limit=10**9)
    asyncio.run(serve(settings, lags))
    Path(lag_file).write_text(json.dumps(lags))


main()
