"""Writes the blocking half of the SDK from its asynchronous half: `make sdk`. A test holds them
together; see docs/adr/0004.

What differs in words only is replaced word by word. What differs in substance is in the two
modules called `runtime`.
"""

import re
import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).parents[1] / "aifarm" / "sdk"

NOT_WRITTEN = {"__init__.py", "runtime.py"}

HEADER = "# Written by `make sdk` from aio/{}; changes here are lost.\n"

WORDS = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\baifarm\.sdk\.aio\b", "aifarm.sdk"),
    (r"\bwebsockets\.asyncio\b", "websockets.sync"),
    (r"\bAsyncGenerator\[(.+?), None\]", r"Generator[\1, None, None]"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAwaitable, ", ""),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b(connect|is|first)_async\b", r"\1"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\baclosing\b", "closing"),
    (r"\baclose\b", "close"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\baread\b", "read"),
    (r"\banext\b", "next"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
)


def blocking(source: str) -> str:
    """The blocking counterpart of a module's source, before it is formatted."""
    for pattern, word in WORDS:
        source = re.sub(pattern, word, source)
    return source


def written() -> dict[Path, str]:
    """Each file of the blocking half, as it should be."""
    return {
        SDK / path.name: _tidy(HEADER.format(path.name) + blocking(path.read_text("utf-8")))
        for path in sorted((SDK / "aio").glob("*.py"))
        if path.name not in NOT_WRITTEN
    }


def _tidy(source: str) -> str:
    """Imports in order, lines as long as they should be."""
    sorting = ["check", "--select", "I,F401,UP028", "--fix", "--unsafe-fixes", "--quiet"]
    for options in (sorting, ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *options, "--stdin-filename", SDK / "written.py", "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        )
        source = done.stdout
    return source


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
