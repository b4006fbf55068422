"""Reading a worker's output: bytes of its log into lines."""

from pathlib import Path

from aifarm_agent.events import Mark

LINE = 8 << 10
WINDOW = 64 << 10
LAST = 1 << 20
"""Bytes that are read of what is left when the worker has ended."""


def cut(data: bytes, final: bool) -> tuple[list[str], int]:
    """The lines in `data`, and how many of its bytes they take.

    A line longer than LINE bytes is cut into several. What follows the last line end waits for
    more, unless it is `final`. Of what a progress bar wrote over itself, the last remains.
    """
    lines: list[str] = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start, start + LINE + 1)
        if end >= 0:
            lines.append(_text(data[start:end]))
            start = end + 1
        elif len(data) - start > LINE or final:
            end = _boundary(data, min(start + LINE, len(data)))
            lines.append(_text(data[start:end]))
            start = end
        else:
            break
    return lines, start


def _boundary(data: bytes, end: int) -> int:
    """`end`, or a little less: never inside a UTF-8 character."""
    for back in range(4):
        if end == len(data) or data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


class LogTail:
    """The log of one run folder, read from `mark` on; it need not exist yet."""

    def __init__(self, path: Path, mark: Mark | None) -> None:
        self._path = path
        self._offset = mark.offset if mark else 0

    def read(self, final: bool = False) -> tuple[list[str], Mark]:
        """The next lines, about WINDOW bytes; with `final` all that is left, but at most LAST."""
        skipped = ""
        try:
            with open(self._path, "rb") as file:
                left = file.seek(0, 2) - self._offset
                if final and left > LAST:
                    skipped = f"[aifarm] {left - LAST} bytes of the log are left out here."
                    self._offset += left - LAST
                file.seek(self._offset)
                data = file.read(LAST if final else WINDOW)
        except FileNotFoundError:
            data = b""
        lines, taken = cut(data, final)
        self._offset += taken
        return [skipped] * bool(skipped) + lines, Mark("log", 1, self._offset)
