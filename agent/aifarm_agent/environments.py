"""The Pythons on this machine that tasks may name, and what a training process in one needs."""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import aifarm
from aifarm.wire.agent import Environment

logger = logging.getLogger(__name__)

OWN = "default"
"""The name of the agent's own."""
OLDEST = (3, 9)
PATIENCE = 60.0
"""Seconds that a Python may take to say what it is; a cold network disk takes its time."""
SECRETS = ("AIFARM_TOKEN", "AIFARM_FARM_FILE")

# Torch itself is not imported, which would take seconds: its versions stand in a file of its own.
PROBE = """
import json, os, sys
told = {"python": "%d.%d.%d" % sys.version_info[:3], "torch": None, "cuda": None}
if sys.version_info >= (3, 9):
    import importlib.util
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin:
        found = {}
        with open(os.path.join(os.path.dirname(spec.origin), "version.py")) as file:
            exec(file.read(), found)
        told.update(torch=str(found["__version__"]), cuda=found.get("cuda"))
print("\\n" + json.dumps(told))
"""


class Unfit(Exception):
    """No training can be done with this Python; the message is one sentence."""


async def advertised(named: Mapping[str, str]) -> tuple[Environment, ...]:
    """The agent's own and the `named` ones (name to Python), but for those that are unfit."""
    pythons = {OWN: sys.executable, **named}
    looks = (examine(name, python) for name, python in pythons.items())
    found = await asyncio.gather(*looks, return_exceptions=True)
    for one in found:
        if isinstance(one, Unfit):
            logger.error("%s", one)
        elif isinstance(one, BaseException):
            raise one
    return tuple(one for one in found if isinstance(one, Environment))


async def examine(name: str, python: str) -> Environment:
    """What this Python says of itself. Raises Unfit."""
    env = surroundings(python) if name != OWN else None
    try:
        process = await asyncio.create_subprocess_exec(
            *(python, "-c", PROBE),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=env,
        )
    except OSError as error:
        words = f"{python} cannot be run ({error.strerror})"
        raise Unfit(f"The environment {name} is left out: {words}.") from None
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate()
        told = json.loads(said.strip().splitlines()[-1])
        version = tuple(map(int, told["python"].split(".")[:2]))
    except TimeoutError:
        words = f"{python} did not answer within {PATIENCE:.0f} s"
        raise Unfit(f"The environment {name} is left out: {words}.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        words = f"{python} is no Python that works"
        raise Unfit(f"The environment {name} is left out: {words}.") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if version < OLDEST:
        words = f"{python} is Python {told['python']}, and training needs 3.9 or newer"
        raise Unfit(f"The environment {name} is left out: {words}.")
    if not told["torch"]:
        words = f"{python} has no torch; install it there, as with its own pip"
        raise Unfit(f"The environment {name} is left out: {words}.")
    return msgspec.convert({"name": name, **told}, Environment)


def surroundings(python: str, path: Path | None = None) -> dict[str, str]:
    """The environment variables for a Python that is not ours: nothing of ours leads it astray.

    `path`: what it finds beside its own packages.
    """
    ours = ("PYTHON", "VIRTUAL_ENV", "CONDA_")
    env = {name: v for name, v in own_surroundings().items() if not name.startswith(ours)}
    env["PATH"] = os.pathsep.join([str(Path(python).parent), env.get("PATH", os.defpath)])
    if path is not None:
        env["PYTHONPATH"] = str(path)
    return env


def own_surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SECRETS}


def runtime(folder: Path) -> Path:
    """`folder`, with the training runtime in it and nothing else of this Python's packages."""
    source = Path(aifarm.__file__).parent
    (folder / "aifarm").mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("__init__.py", "train"):
        fresh, link = folder / f"{name}.new", folder / "aifarm" / name
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(source / name)
        os.replace(fresh, link)
    return folder
