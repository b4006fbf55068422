"""Numbers, sizes and times as people read them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from aifarm.wire.types import Metrics

NONE = "-"

BARS = "▁▂▃▄▅▆▇█"


def label(name: str, version: str | None) -> str:
    return f"{name}:{version}" if version else name


def metrics(values: Metrics, names: Iterable[str] = ("loss", "accuracy")) -> str:
    """The named ones that there are, or else the first two of all."""
    shown = [name for name in names if name in values] or sorted(values)[:2]
    return "  ".join(f"{name} {number(values[name])}" for name in shown) or NONE


def number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def memory(mebibytes: float) -> str:
    return size(int(mebibytes) << 20)


def size(count: float) -> str:
    """Bytes, in the unit that leaves at most four digits."""
    units = iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while count >= 1024 and unit != "TiB":
        count, unit = count / 1024, next(units)
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """In the two largest units: 42 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def ago(moment: datetime) -> str:
    return duration((datetime.now(UTC) - moment).total_seconds())


def local(moment: datetime) -> str:
    """In the reader's own time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def sparkline(values: Sequence[float | None], width: int = 24) -> str:
    """The values in one line of text, thinned to `width`; unknown ones are gaps."""
    step = max(1.0, len(values) / width)
    shown = [values[int(place * step)] for place in range(min(width, len(values)))]
    known = [one for one in shown if one is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    top = len(BARS) - 1
    return "".join(
        " " if one is None else BARS[round((one - low) / ((high - low) or 1.0) * top)]
        for one in shown
    )
