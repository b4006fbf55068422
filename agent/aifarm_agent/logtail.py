"""Reading a worker's output: bytes of its log into lines."""

from pathlib import Path
from typing import IO

from aifarm_agent.events import Mark

LINE = 8 << 10
WINDOW = 64 << 10
LAST = 1 << 20
"""Bytes by which the reader may be behind; what is before them is left out, and that is said."""
OPEN_SECONDS = 1.0
COUNTED = 256 << 20
"""Bytes left out at once whose lines are counted; of more only the size is said."""


def cut(data: bytes, final: bool) -> tuple[list[str], int]:
    """The lines in `data`, and how many of its bytes they take.

    A line longer than LINE bytes is cut into several. What follows the last line end waits for
    more, unless it is `final`. Of what a progress bar wrote over itself, the last remains.
    """
    lines: list[str] = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        line = data[start : end if end >= 0 else None]
        start += _overwritten(line)
        line = line[_overwritten(line) :]
        if len(line.rstrip(b"\r")) > LINE:
            end = _boundary(data, start + LINE)
            lines.append(_text(data[start:end]))
            start = end
        elif end >= 0:
            lines.append(_text(line))
            start = end + 1
        elif final and line:
            lines.append(_text(line))
            start = len(data)
        else:
            break
    return lines, start


def _overwritten(line: bytes) -> int:
    """How many bytes of the line were written over after a carriage return."""
    return line.rstrip(b"\r").rfind(b"\r") + 1


def _boundary(data: bytes, end: int) -> int:
    """`end`, or a little less: never inside a UTF-8 character."""
    for back in range(4):
        if end == len(data) or data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")


class LogTail:
    """The log of one run folder, read from `mark` on; it need not exist yet."""

    def __init__(self, path: Path, mark: Mark | None) -> None:
        self._path = path
        self._offset = mark.offset if mark else 0
        self.open = ""  # what the line that has not ended shows so far
        self._told = ""
        self._told_at = 0.0

    def news(self, now: float) -> bool:
        """Whether it is time to tell `open`: it has changed, and was not told just now."""
        if self.open == self._told or now < self._told_at + OPEN_SECONDS:
            return False
        self._told, self._told_at = self.open, now
        return True

    def read(self, final: bool = False) -> tuple[list[str], Mark]:
        """The next lines, about WINDOW bytes; with `final` all that is left.

        A reader that is more than LAST bytes behind goes on near the end: at the end with the
        last LAST bytes.
        """
        skipped: list[str] = []
        try:
            with open(self._path, "rb") as file:
                end = file.seek(0, 2)
                if end - self._offset > LAST:
                    skipped = [self._skip(file, end - (LAST if final else WINDOW))]
                file.seek(self._offset)
                data = file.read(2 * LAST if final else WINDOW)
        except FileNotFoundError:
            data = b""
        lines, taken = cut(data, final)
        self._offset += taken
        self.open = _text(data[taken : taken + LINE])
        return skipped + lines, Mark("log", 1, self._offset)

    def _skip(self, file: IO[bytes], goal: int) -> str:
        """Goes on at the first line after `goal`. Returns what to say of it."""
        file.seek(self._offset)
        left, lines = goal - self._offset, 0
        if left > COUNTED:
            file.seek(goal)
        while file.tell() < goal:
            lines += file.read(min(LAST, goal - file.tell())).count(b"\n")
        lines += file.readline(LINE).count(b"\n")
        self._offset = file.tell()
        amount = f"{left >> 20} MiB" if left > COUNTED else f"{lines} lines"
        return f"[aifarm] {amount} of the log are left out here: more than can be read in time."
