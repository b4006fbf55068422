"""How long to wait before trying again."""

import random
from collections.abc import Iterator


def delays(first: float = 0.2, longest: float = 30.0) -> Iterator[float]:
    """Seconds, doubling up to `longest`, each drawn from the whole of its interval ("full
    jitter"), so that a thousand agents do not come back at once."""
    bound = first
    while True:
        yield random.uniform(0, bound)
        bound = min(longest, 2 * bound)
