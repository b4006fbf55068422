"""The checks of `aifarm doctor`, each with one sentence that says what to do."""

import ssl
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import httpx
from msgspec import Struct

from aifarm.cli.words import ago, duration, memory
from aifarm.sdk import AIFarmError, Farm, Forbidden, WaitTimeout, connect
from aifarm.sdk.config import Address, find, read_token

State = Literal["ok", "note", "wrong"]

SKEW = 30.0
"""Seconds that two clocks may differ before times in lists mislead."""

SOON = 14
"""Days before the end of a certificate or token that one should know of it."""

LITTLE = 5.0
"""Percent of free disk below which a farm is about to refuse work."""

PATIENCE = 10.0
"""Seconds for the live feed's first words."""


class Finding(Struct, frozen=True):
    """`note`: it works, and somebody should know; `wrong`: it does not."""

    check: str
    state: State
    message: str


def findings(
    urls: Sequence[str], token_file: Path | None, allow_plaintext: bool
) -> Iterator[Finding]:
    """One after the other; what cannot be looked at after a failure is left out."""
    try:
        token = read_token(token_file) if token_file else None
        address = find(urls or None, token, allow_plaintext=allow_plaintext)
    except AIFarmError as error:
        yield Finding("address", "wrong", error.message)
        return
    named = " and ".join((address.url, *address.others))
    yield Finding("address", "ok", f"{named}, from {address.where}.")
    try:
        with connect(urls or None, token, allow_plaintext=allow_plaintext) as farm:
            yield from _transport(address)
            yield _version(farm)
            yield from _token(farm)
            yield from _disk(farm)
            yield _live(farm)
            yield from _clients(farm)
    except AIFarmError as error:
        yield Finding("server", "wrong", error.message)


def _transport(address: Address) -> Iterator[Finding]:
    begun = time.time()
    tls = ssl.create_default_context() if address.url.startswith("https") else False
    with (
        httpx.Client(verify=tls, trust_env=not address.on_loopback, timeout=PATIENCE) as client,
        client.stream("GET", f"{address.url}/api/health") as answer,
    ):
        took = time.time() - begun
        yield Finding("server", "ok", f"It answers within {1000 * took:.0f} ms.")
        yield _tls(address, answer)
        yield _clock(answer, begun + took / 2)


def _tls(address: Address, answer: httpx.Response) -> Finding:
    stream = answer.extensions["network_stream"]
    secured = stream.get_extra_info("ssl_object")
    if secured is None:
        if address.on_loopback:
            return Finding("TLS", "ok", "None, and none is needed on this machine.")
        words = "The token crosses the network in clear text: serve with --certfile and --keyfile."
        return Finding("TLS", "note", words)
    ends = ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"])
    days = (ends - time.time()) / 86400
    if days < SOON:
        words = f"The certificate ends in {days:.0f} days: give the server a new one."
        return Finding("TLS", "note", words)
    return Finding("TLS", "ok", f"{secured.version()}, with a certificate for {days:.0f} days.")


def _clock(answer: httpx.Response, here: float) -> Finding:
    told = answer.headers.get("Date")
    if told is None:
        return Finding("clock", "note", "The server does not say what time it has.")
    apart = here - parsedate_to_datetime(told).timestamp()
    if abs(apart) <= SKEW:
        return Finding("clock", "ok", "The server's clock and this machine's agree.")
    ahead = "ahead of" if apart > 0 else "behind"
    words = (
        f"This machine's clock is {duration(abs(apart))} {ahead} the server's: set both by NTP, "
        "else times and ages in lists are wrong."
    )
    return Finding("clock", "wrong", words)


def _version(farm: Farm) -> Finding:
    own, theirs = version("aifarm"), farm.version
    if own == theirs:
        return Finding("version", "ok", f"{own}, here and on the server.")
    words = f"The server has aifarm {theirs}, this machine {own}: bring both to the same version."
    return Finding("version", "note", words)


def _token(farm: Farm) -> Iterator[Finding]:
    try:
        own = farm.my_token()
    except Forbidden:
        yield Finding("token", "wrong", "It is an agent's: ask for a researcher's or a viewer's.")
        return
    who = f"{own.name}, {own.role}"
    if own.expires_at is None:
        yield Finding("token", "ok", f"{who}; it does not expire.")
        return
    left = (own.expires_at - datetime.now(UTC)).total_seconds()
    if left < SOON * 86400:
        words = f"{who}; it expires in {duration(left)}: ask for a new one."
        yield Finding("token", "note", words)
    else:
        yield Finding("token", "ok", f"{who}; valid until {own.expires_at:%Y-%m-%d}.")


def _disk(farm: Farm) -> Iterator[Finding]:
    """Only administrators are told."""
    try:
        system = farm.system()
    except Forbidden:
        return
    share = 100 * system.disk_free / max(1, system.disk_total)
    words = f"{memory(system.disk_free)} ({share:.0f} %) are free in the server's data folder"
    if share < LITTLE:
        yield Finding("disk", "wrong", f"{words}: delete old tasks, or give it more space.")
    else:
        yield Finding("disk", "ok", f"{words}.")


def _live(farm: Farm) -> Finding:
    try:
        next(farm.live(timeout=PATIENCE))
    except WaitTimeout:
        words = (
            "No WebSocket can be opened, so nothing can be watched: let the proxy on the way "
            "pass upgrades of /api/v2/live."
        )
        return Finding("live feed", "wrong", words)
    return Finding("live feed", "ok", "It can be followed.")


def _clients(farm: Farm) -> Iterator[Finding]:
    found = farm.clients()
    if not found:
        words = "None has ever joined: start one with aifarm-agent --server URL --token-file FILE."
        yield Finding("clients", "wrong", words)
        return
    active = [client for client in found if client.status == "active"]
    if active:
        yield Finding("clients", "ok", f"{len(active)} of {len(found)} are connected.")
    else:
        words = f"None of {len(found)} is connected: start their agents, or see their logs."
        yield Finding("clients", "wrong", words)
    for client in found:
        if client.drained:
            words = f"{client.id} gets no new tasks ({client.drained}): aifarm undrain {client.id}"
            yield Finding("clients", "note", f"{words}.")
        elif client.status != "active":
            words = f"{client.id} has not been heard for {ago(client.info.last_seen)}"
            yield Finding("clients", "note", f"{words}: is it on, and its agent running?")
