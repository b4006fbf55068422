"""Making a package: the same files give the same bytes, and so the same sha256, anywhere."""

import ast
import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from aifarm.packages.archive import verify
from aifarm.packages.choice import Choice
from aifarm.packages.manifest import (
    LIMITS,
    MANIFEST,
    Kind,
    Limits,
    Manifest,
    Origin,
    PackageInvalid,
    check_path,
    encode,
)
from aifarm.wire.agent import DataRef
from aifarm.wire.types import JSON

_UNIX = 3


def pack(
    folder: Path,
    name: str,
    version: str,
    *,
    entry: str = "model.py",
    kind: Kind = "declarative",
    requires: Iterable[str] = (),
    defaults: Mapping[str, JSON] | None = None,
    origin: Origin | None = None,
    data: Mapping[str, DataRef] | None = None,
) -> bytes:
    """The archive of the files in `folder`, without hidden ones, byte code and an old manifest,
    what git ignores, and what `.aifarmignore` names.

    A symbolic link is packed as what it leads to, which must lie in `folder`. Without `defaults`
    the manifest has those that the entry declares; `data` is what it names, `origin` where the
    files come from. Raises PackageInvalid.
    """
    try:
        paths = _collect(Path(folder).resolve(strict=True), LIMITS)
        files = {path: file.read_bytes() for path, file in paths.items()}
    except OSError as error:
        raise PackageInvalid(
            f"The package cannot be read from {error.filename or folder}: {error.strerror}."
        ) from error
    return _build(files, name, version, entry, kind, requires, defaults, data, origin)


def pack_source(
    source: str,
    name: str,
    version: str,
    *,
    entry: str = "model.py",
    kind: Kind = "declarative",
    requires: Iterable[str] = (),
    defaults: Mapping[str, JSON] | None = None,
    data: Mapping[str, DataRef] | None = None,
) -> bytes:
    """The archive of one file, `entry`, given as text. Raises PackageInvalid."""
    files = {entry: source.encode()}
    return _build(files, name, version, entry, kind, requires, defaults, data, None)


def _build(
    files: Mapping[str, bytes],
    name: str,
    version: str,
    entry: str,
    kind: Kind,
    requires: Iterable[str],
    defaults: Mapping[str, JSON] | None,
    data: Mapping[str, DataRef] | None,
    origin: Origin | None,
) -> bytes:
    manifest = Manifest(
        name=name,
        version=version,
        kind=kind,
        entry=entry,
        requires=tuple(requires),
        defaults=declared(files.get(entry, b"")) if defaults is None else dict(defaults),
        origin=origin,
        data=dict(data or {}),
        files={path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
    )
    archive = _zip({**files, MANIFEST: encode(manifest)})
    verify(archive)
    return archive


def declared(source: bytes) -> dict[str, JSON]:
    """The dict that Python `source` names `defaults` at its top level; {} where it has none, or
    one that is not plain JSON as it stands there. The code is read, never run."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    for statement in reversed(tree.body):
        value = _assigned(statement, "defaults")
        if value is not None:
            try:
                found = json.loads(json.dumps(ast.literal_eval(value), allow_nan=False))
            except (ValueError, TypeError, RecursionError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    """What `statement` gives the name, if it does."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
    return statement.value if named else None


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for path in sorted(files):
            info = ZipInfo(path)  # dated 1980-01-01
            # Not deflated: zlib and its faster replacements give different bytes for one input.
            info.compress_type = ZIP_STORED
            info.create_system = _UNIX
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[path])
    return buffer.getvalue()


def _collect(root: Path, limits: Limits) -> dict[str, Path]:
    """Path in the package to file on disk; within the limits before any file is read."""
    found: dict[str, Path] = {}
    size = 0
    for path, source in _walk(root, Choice(root), root, ""):
        found[path] = source
        size += source.stat().st_size
        if len(found) > limits.files or size > limits.archive:
            raise PackageInvalid(
                f"The folder {root} is too large for a package (at most {limits.files} files and "
                f"{limits.archive} bytes): keep data, weights and environments out of it."
            )
    return found


def _walk(root: Path, choice: Choice, folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for item in sorted(folder.iterdir()):
        path = prefix + item.name
        if _left_out(path, item.name) or not choice.takes(path, item.is_dir()):
            continue
        check_path(path)
        if item.is_symlink():
            _check_link(root, item, path)
        if item.is_dir():
            yield from _walk(root, choice, item, path + "/")
        elif item.is_file():
            yield path, item
        else:
            raise PackageInvalid(f"The package's {path!r} is not a regular file: remove it.")


def _left_out(path: str, name: str) -> bool:
    return (
        name.startswith(".") or name == "__pycache__" or name.endswith(".pyc") or path == MANIFEST
    )


def _check_link(root: Path, link: Path, path: str) -> None:
    try:
        inside = link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        raise PackageInvalid(f"The link {path!r} leads nowhere: remove it.") from None
    if not inside:
        raise PackageInvalid(
            f"The link {path!r} leaves the folder {root}: put a copy of its target there instead."
        )
