"""`python -m aifarm_agent.fetch`: one look at a URL, or its bytes, through fsspec.

A process of its own, since a file system that hangs can be ended only with it, and since its
drivers are nothing that an agent should carry. Its order comes by stdin, as a URL may hold a
password; its answer is one line of JSON.
"""

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
PR_SET_PDEATHSIG = 1

VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated")
"""What file systems call that which changes when a file does."""


def main() -> None:
    # Nobody else writes the file when an agent that was killed is started again.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    print(json.dumps(answer(json.load(sys.stdin))))  # noqa: T201


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """`{"url"}`: a look, `{"size", "version"}`. With "part" and "most": fetches into that file,
    going on where it ends, at most so many bytes. `{"refused"}` and `{"failed"}` say why not;
    the second may succeed another time."""
    try:
        if "part" in order:
            fetch(order["url"], Path(order["part"]), order["most"])
            return {}
        return look(order["url"])
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        return {"refused": error.strerror or str(error) or type(error).__name__}
    except (ImportError, ValueError) as error:  # no driver, or no such scheme
        return {"refused": str(error)}
    except Exception as error:
        return {"failed": str(error) or type(error).__name__}


def look(url: str) -> dict[str, Any]:
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    system, path = url_to_fs(url)
    info = system.info(path)
    if info.get("type") == "directory":
        raise ValueError("it is a folder; name a file, or a tar archive of the folder")
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), "")
    return {"size": info.get("size"), "version": version}


def fetch(url: str, part: Path, most: int) -> None:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    have = part.stat().st_size if part.exists() else 0
    with system.open(path, "rb") as source:
        try:
            source.seek(have)
        except (OSError, ValueError, NotImplementedError):
            have = 0
        with open(part, "r+b" if have else "wb") as file:
            file.seek(have)
            while (chunk := source.read(CHUNK)) and file.tell() <= most:
                file.write(chunk)


if __name__ == "__main__":
    main()
