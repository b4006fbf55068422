"""The researcher's code: loading it, and saying in one sentence what went wrong in it."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

MESSAGE_LIMIT = 400


class PackageInvalid(Exception):
    """The package cannot be used as it is; the message is one sentence."""


def load(folder: Path, entry: str, required: tuple[str, ...]) -> ModuleType:
    """Imports `entry` (model.py) from within `folder`, as `python entry` would there.

    Raises PackageInvalid when it does not import or lacks a required function.
    """
    path = folder / entry
    if not path.is_file():
        raise PackageInvalid(f"the package has no {entry}")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # the folder stays what its hash says
    # Loaded by path: an entry may be called like a module of the standard library, which then
    # keeps its own name.
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of the package"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PackageInvalid(f"{entry} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise PackageInvalid(f"{entry} does not import: {explain(error, folder, entry)}") from error
    for function in required:
        if not callable(getattr(module, function, None)):
            raise PackageInvalid(f"{entry} has no function {function}(cfg)")
    return module


def explain(error: BaseException, folder: Path, entry: str = "") -> str:
    """The reason of `error` and, where it passed through the package, the place: one sentence.

    Lines of `entry` are named without the file.
    """
    where = place(error, folder)
    if where is None:
        return reason(error)
    file, line = where
    return (
        f"{reason(error)} (line {line})"
        if file == entry
        else f"{reason(error)} ({file} line {line})"
    )


def reason(error: BaseException) -> str:
    """What `error` says, in one line."""
    if isinstance(error, SystemExit):
        said = f"it called sys.exit({'' if error.code is None else error.code})"
    elif isinstance(error, SyntaxError):
        said = error.msg
    else:
        lines = str(error).strip().splitlines()
        said = lines[0].rstrip(".:") if lines else ""
        if not said or isinstance(error, LookupError):  # str(KeyError("x")) is just 'x'
            said = f"{type(error).__name__} {said}".strip()
    return said[:MESSAGE_LIMIT]


def trace(error: BaseException) -> str:
    """The traceback of `error` and its causes as text."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def place(error: BaseException, folder: Path) -> tuple[str, int] | None:
    """The last line of the package that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        inside = _inside(error.filename, folder)
        if inside:
            return inside, error.lineno
    found = None
    frame: TracebackType | None = error.__traceback__
    while frame is not None:
        inside = _inside(frame.tb_frame.f_code.co_filename, folder)
        if inside:
            found = inside, frame.tb_lineno
        frame = frame.tb_next
    return found


def _inside(filename: str, folder: Path) -> str | None:
    path = Path(filename)
    return str(path.relative_to(folder)) if folder in path.parents else None
