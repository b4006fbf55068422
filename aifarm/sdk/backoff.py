"""How long to wait before trying again; pure, chance comes from outside."""

FIRST = 0.25
CAP = 8.0
TRIES = 8
"""Times that one request is sent, at most: about half a minute, enough for a server's restart."""

PATIENCE = 120.0
"""Seconds of Retry-After that are waited for; a longer one is an answer of its own."""


def delay(tries: int, chance: float, retry_after: float | None = None) -> float:
    """Seconds to wait after try number `tries` (from 1) failed; `chance` in 0..1.

    Doubles from FIRST to CAP, between half and all of it by chance so that many who failed at
    once do not come back at once; never shorter than `retry_after`.
    """
    step: float = min(CAP, FIRST * 2.0 ** min(tries - 1, 16))
    jittered = step * (0.5 + chance / 2)
    return jittered if retry_after is None else max(retry_after, jittered)


def again(tries: int, chance: float, retry_after: float | None = None) -> float | None:
    """As `delay`, or None where one request has been tried often enough."""
    if tries >= TRIES or (retry_after or 0.0) > PATIENCE:
        return None
    return delay(tries, chance, retry_after)
