# Written by `make sdk` from aio/http.py; changes here are lost.
"""Sending calls over HTTP. The one place that tries again."""

import logging
import random
import re
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

import httpx

from aifarm.sdk import backoff, calls
from aifarm.sdk.call import Answer, Call, failure, interpret
from aifarm.sdk.config import Address
from aifarm.sdk.errors import FarmUnreachable, Unavailable
from aifarm.sdk.live import Live
from aifarm.sdk.runtime import sleep

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Http:
    """The connections to one farm: a pool for calls, and `live`, the one of the live feed.

    A repeatable call is tried again, with growing pauses, when the connection fails and when the
    farm answers 429 or 503; where the farm has several servers, at the next one. `transport` and
    `sleep` are given by tests.
    """

    def __init__(
        self,
        address: Address,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = sleep,
    ) -> None:
        self.address = address
        self._sleep = sleep
        # One trust store for REST and live feed: the system's, or what SSL_CERT_FILE names.
        secure = any(url.startswith("https") for url in (address.url, *address.others))
        tls = ssl.create_default_context() if secure else None
        self.live = Live(address, tls)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {address.token}"},
            verify=tls or False,
            transport=transport,
            # A proxy knows nothing of this machine's loopback.
            trust_env=not address.on_loopback,
        )

    def send(self, call: Call[T], *, once: bool = False) -> T:
        """The call's result. Raises the AIFarmError it ended with; `once` does not try again."""
        tries = 1
        while True:
            url = self.address.url
            try:
                response = self._client.send(self._request(url, call))
                answer = _answer(response)
            except httpx.TransportError as error:
                self.address.turn(url)
                wait = backoff.again(tries, random.random())
                if once or not call.repeatable or wait is None:
                    raise self.unreachable(url, error) from error
                logger.info(
                    "%s %s failed (%s); again in %.1f s", call.method, call.path, error, wait
                )
            else:
                if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    self.address.turn(url)
                wait = backoff.again(tries, random.random(), answer.retry_after)
                if once or not (call.repeatable and answer.try_later) or wait is None:
                    return interpret(call, answer)
                logger.info("The farm answered %s; again in %.1f s", answer.status, wait)
            self._sleep(wait)
            tries += 1

    def reach(self) -> None:
        """Finds the server that serves the farm. Raises as `send` where none answers."""
        for _ in self.address.others:
            url = self.address.url
            try:
                if (self.send(calls.health(), once=True)).status != "standby":
                    return
            except (FarmUnreachable, Unavailable):
                continue
            self.address.turn(url)
        self.send(calls.health(), once=True)

    @contextmanager
    def stream(self, call: Call[None]) -> Generator[tuple[bool, Iterator[bytes]], None, None]:
        """Whether the answer is the range asked for, and its body as it comes. Does not try again.

        Raises the AIFarmError that an error answer stands for, FarmUnreachable when the
        connection fails, also in the middle of the body.
        """
        url = self.address.url
        try:
            response = self._client.send(self._request(url, call), stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise failure(_answer(response))
                yield response.status_code == HTTPStatus.PARTIAL_CONTENT, response.iter_bytes()
            finally:
                response.close()
        except httpx.TransportError as error:
            self.address.turn(url)
            raise self.unreachable(url, error) from error

    def unreachable(self, url: str, error: Exception) -> FarmUnreachable:
        """What to tell a person when the connection fails."""
        return FarmUnreachable(
            f"The farm at {url} (from {self.address.where}) does not answer "
            f"({_reason(error)}): is it running, and is the address right?"
        )

    def close(self) -> None:
        self.live.close()
        self._client.close()

    def _request(self, url: str, call: Call[T]) -> httpx.Request:
        return self._client.build_request(
            call.method,
            url + call.path,
            params=call.query or None,
            content=call.body or None,
            headers=call.headers,
            timeout=httpx.Timeout(call.patience, connect=5.0),
        )


def _answer(response: httpx.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
    if "certificate verify failed" in text:
        return "its certificate is not trusted here; SSL_CERT_FILE may name the file of its CA"
    return text[:1].lower() + text[1:] or type(error).__name__
