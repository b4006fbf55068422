"""What a package says about itself (`aifarm.json`), and the rules that its paths obey."""

import json
import unicodedata
from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from aifarm.wire.agent import DataRef
from aifarm.wire.codec import WireError, decode_body, explain
from aifarm.wire.types import JSON, Name, Sha256

FORMAT = 1
MANIFEST = "aifarm.json"
MAX_MANIFEST = 8 << 20
MAX_DIFF = 64 << 10
MAX_PATH = 512
MAX_COMPONENT = 255
MAX_FOLDERS = 32

Kind = Literal["declarative", "script"]


class PackageInvalid(ValueError):
    """A package that is refused; the message is one sentence that says why."""


class Limits(Struct, frozen=True):
    """What a package may cost; sizes in bytes, `ratio` is unpacked size over archive size."""

    files: int = 10_000
    archive: int = 256 << 20
    unpacked: int = 1 << 30
    ratio: int = 100


LIMITS = Limits()


class Origin(Struct, frozen=True, omit_defaults=True):
    """Where code was taken from: a commit of git, and how the packed files differed from it.

    `diff` is cut at MAX_DIFF characters; `diff_sha256` is of the whole of it.
    """

    commit: Annotated[str, Meta(pattern="^[0-9a-f]{40,64}$")]
    dirty: bool = False
    diff: Annotated[str, Meta(max_length=MAX_DIFF)] = ""
    diff_sha256: Sha256 | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """`aifarm.json`. Unknown fields are ignored, so that a format may grow.

    `entry` is the file that training code is loaded from, one of `files`, which gives the sha256
    of each path. `requires` are requirement strings, for the reader only. `defaults` are the
    values of `config` that the code declares; `data`, by a name, is what a client fetches for it.
    `origin`, where it is known, is where its files come from.
    """

    format: int = FORMAT
    name: Name
    version: Name
    kind: Kind
    entry: str
    requires: tuple[str, ...] = ()
    defaults: dict[str, JSON] = {}
    origin: Origin | None = None
    data: dict[Name, DataRef] = {}
    files: dict[str, Sha256]


class _Format(Struct):
    format: int


def decode(data: bytes) -> Manifest:
    """The manifest in `data`. Raises PackageInvalid."""
    try:
        made_as = decode_body(data, _Format).format
        if made_as != FORMAT:
            raise PackageInvalid(
                f"The package has format {made_as}, this version of aifarm reads format {FORMAT}: "
                "update aifarm, or pack it again."
            )
        manifest = decode_body(data, Manifest)
    except WireError as error:
        raise PackageInvalid(f"The package's {MANIFEST} is not valid: {error.message}") from None
    _check_entry(manifest)
    return manifest


def encode(manifest: Manifest) -> bytes:
    """The same bytes for the same manifest, on any machine. Raises PackageInvalid."""
    for what, value in (("name", manifest.name), ("version", manifest.version)):
        try:
            msgspec.convert(value, Name)
        except msgspec.ValidationError:
            raise PackageInvalid(
                f"The package's {what} {value!r:.100} must be 1 to 128 letters, digits, '.', '_' "
                "or '-', and begin with a letter or digit."
            ) from None
    try:
        manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
        fields = msgspec.to_builtins(manifest)
        # Younger than the format: a package without keeps its address.
        if manifest.origin is None:
            del fields["origin"]
        if not manifest.data:
            del fields["data"]
        text = json.dumps(fields, sort_keys=True, indent=1, allow_nan=False)
    except msgspec.ValidationError as error:
        raise PackageInvalid(f"The package is not valid: {explain(error).message}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PackageInvalid(f"The package's defaults must be plain JSON: {error}") from None
    check_paths(manifest.files)
    _check_entry(manifest)
    return text.encode()


def _check_entry(manifest: Manifest) -> None:
    if manifest.entry not in manifest.files:
        raise PackageInvalid(
            f"The package has no file {manifest.entry!r:.100}: "
            "add it, or name another one as entry."
        )


def check_path(path: str) -> None:
    """Raises PackageInvalid unless `path` is relative, contained, and portable."""
    components = path.split("/")
    if any(component in ("", ".", "..") for component in components):
        problem = "it must be relative and stay inside the package"
    elif any(char in "\\:" or ord(char) < 32 or ord(char) == 127 for char in path):
        problem = "it has a backslash, a colon or a control character"
    elif any("\ud800" <= char <= "\udfff" for char in path):
        problem = "it is not valid UTF-8"
    elif len(path.encode()) > MAX_PATH or any(
        len(component.encode()) > MAX_COMPONENT for component in components
    ):
        problem = f"it is longer than {MAX_PATH} bytes, or a name in it than {MAX_COMPONENT}"
    elif len(components) > MAX_FOLDERS:
        problem = f"it is deeper than {MAX_FOLDERS} folders (does a link lead back to its folder?)"
    else:
        return
    raise PackageInvalid(f"The package has the path {path!r:.100}, which is refused: {problem}.")


def check_paths(paths: Iterable[str]) -> None:
    """Raises PackageInvalid unless all can lie side by side on any file system."""
    seen: dict[str, str] = {}
    for path in paths:
        check_path(path)
        # What differs in case or composition only is one file on macOS and Windows.
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        if folded in seen:
            raise PackageInvalid(
                f"The package has {seen[folded]!r:.100} and {path!r:.100}, "
                "which are one file on some machines: rename one of them."
            )
        seen[folded] = path
    for folded, path in seen.items():
        for folder in accumulate(folded.split("/")[:-1], "{}/{}".format):
            if folder in seen:
                raise PackageInvalid(
                    f"The package has {seen[folder]!r:.100} as a file "
                    f"and as the folder of {path!r:.100}: rename one of them."
                )
