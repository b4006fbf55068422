"""The `aifarm` command, run as people run it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from integration.running import RunningServer


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Runs `aifarm` as a person with this token does."""

    def __init__(self, server: RunningServer, home: Path) -> None:
        self.environ = {
            **os.environ,
            "AIFARM_URL": server.url,
            "AIFARM_TOKEN": server.admin_token,
            "XDG_CONFIG_HOME": str(home),
            "XDG_DATA_HOME": str(home),
        }

    def __call__(self, *arguments: str, **environ: str) -> Done:
        with self.start(*arguments, **environ) as running:
            out, err = running.communicate(timeout=60)
        assert "Traceback" not in err
        return Done(running.returncode, out, err)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "aifarm.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environ, **environ},
        )
