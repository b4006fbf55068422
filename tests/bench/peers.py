"""Neighbours to measure beside, in an environment of their own that shares our torch."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HOME = Path("build/peers")
RAY = "ray==2.60.0"


def python() -> Path:
    """The interpreter of an environment with Ray, made at the first call (one download)."""
    home = HOME.resolve()
    interpreter = home / "bin" / "python"
    ready = home / RAY
    if not ready.exists():
        venv.create(home, clear=True, with_pip=True)
        # Behind its own packages: what Ray brings comes first.
        (packages,) = home.glob("lib/python*/site-packages")
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        install = [str(interpreter), "-m", "pip", "install", "--quiet", RAY]
        subprocess.run(install, check=True, stdout=sys.stderr)
        ready.touch()
    return interpreter
