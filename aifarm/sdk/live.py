"""The live feed as an iterator that outlives the connection.

`Feed` is what a reader remembers between connections, without I/O; `listen` keeps one connected.
"""

import logging
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from aifarm.sdk import backoff
from aifarm.sdk.calls import API, Answer, failure, from_body
from aifarm.sdk.errors import AIFarmError, ServerError, WaitTimeout
from aifarm.sdk.http import Http
from aifarm.wire import live
from aifarm.wire.codec import encode, explain

logger = logging.getLogger(__name__)

MAX_MESSAGE = 16 << 20
"""Bytes: a snapshot of a farm with many tasks is larger than any single change."""

NOT_UNDERSTOOD = frozenset({1002, 1003, 1007, 1009, 1010})
"""Close codes that the same words on a new connection would meet again."""

OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 1.0


class Feed:
    """What was subscribed to, and the last event seen of it."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)
        self.since: int | None = None

    def subscribe(self) -> str:
        """The first message on each new connection."""
        return encode(live.Subscribe(topics=self._topics, since=self.since)).decode()

    def receive(self, frame: str | bytes) -> list[live.Message]:
        """The messages in `frame`, without events already seen.

        Only events move `since`: a change that came before its event must not hide the event.
        Raises AIFarmError when the farm refuses.
        """
        try:
            messages = _decoder.decode(frame)
        except msgspec.DecodeError as error:
            raise ServerError(
                f"The live feed sent what cannot be read: {explain(error).message}."
            ) from None
        return [message for message in messages if self._is_new(message)]

    def _is_new(self, message: live.Message) -> bool:
        if isinstance(message, live.Refused):
            raise from_body(message.error)
        if isinstance(message, live.Snapshot) and self.since is None:
            self.since = message.event
        if isinstance(message, live.Happened):
            if self.since is not None and message.event.id <= self.since:
                return False
            self.since = message.event.id
        return True


_decoder: msgspec.json.Decoder[live.Frame] = msgspec.json.Decoder(live.Frame)


def listen(
    http: Http,
    topics: Sequence[str],
    *,
    timeout: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[live.Message, None, None]:
    """Messages about `topics`, without end: a lost connection is made again and goes on.

    Raises WaitTimeout after `timeout` seconds, and the farm's AIFarmError when it refuses.
    """
    feed = Feed(topics)
    deadline = None if timeout is None else time.monotonic() + timeout
    tries = 0
    while True:
        url = http.address.url
        try:
            with _connected(http, url, deadline) as socket:
                socket.send(feed.subscribe())
                while True:
                    messages = feed.receive(socket.recv(timeout=_left(deadline)))
                    tries = 0
                    yield from messages
        except TimeoutError as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"Nothing more after {timeout:g} seconds.") from None
            problem: Exception = error
        except InvalidStatus as error:
            if (refusal := _refusal(error)) is not None:
                raise refusal from None
            problem = error
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code in NOT_UNDERSTOOD:
                raise ServerError(f"The farm refuses the live feed: {error.rcvd.reason}.") from None
            problem = error
        except (OSError, WebSocketException) as error:
            problem = error
        http.address.turn(url)
        tries += 1
        wait = backoff.delay(tries, random.random(), _retry_after(problem))
        (logger.warning if tries == 1 else logger.info)(
            "Lost contact with the farm at %s (%s); trying again.", url, problem
        )
        sleep(wait if deadline is None else min(wait, _left(deadline) or 0.0))


@contextmanager
def _connected(http: Http, url: str, deadline: float | None) -> Iterator[ClientConnection]:
    left = _left(deadline)
    connection = connect(
        "ws" + url.removeprefix("http") + f"{API}/live",
        additional_headers={"Authorization": f"Bearer {http.address.token}"},
        ssl=http.tls,
        proxy=None if http.address.on_loopback else True,
        compression=None,
        max_size=MAX_MESSAGE,
        open_timeout=OPEN_TIMEOUT if left is None else min(left, OPEN_TIMEOUT),
        close_timeout=CLOSE_TIMEOUT,
    )
    with connection as socket:
        yield socket


def _refusal(error: InvalidStatus) -> AIFarmError | None:
    """None: it may be otherwise soon, as while a server starts behind a proxy."""
    response = error.response
    if response.status_code == 429 or response.status_code >= 500:
        return None
    return failure(Answer(response.status_code, {}, bytes(response.body or b"")))


def _retry_after(error: Exception) -> float | None:
    if not isinstance(error, InvalidStatus):
        return None
    headers = {"retry-after": error.response.headers.get("Retry-After", "")}
    return Answer(error.response.status_code, headers, b"").retry_after


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
