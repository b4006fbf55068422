"""The agent's folder on a local disk, and what identifies the machine that it is on."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import socket
import stat
import tempfile
from pathlib import Path

import platformdirs

from aifarm_agent.reserve import Reserve

NETWORK = re.compile(
    r"(nfs|nfs4|cifs|smb3|smbfs|afs|9p|ceph|lustre|beegfs|gpfs|pvfs2|orangefs|ncpfs|davfs"
    r"|(fuse\.)?glusterfs|fuse\.(sshfs|ceph|s3fs|rclone|davfs2?))"
)
SOCKET_PATH = 107
"""Bytes in the path of a unix socket."""


class Unusable(Exception):
    """This agent cannot run here; the message is one sentence."""


def default() -> Path:
    return platformdirs.user_state_path("aifarm") / "agent"


class WorkDir:
    """Holds the folder's lock while it lives. Raises Unusable.

    `sockets` is a folder with a short path, mode 0700, for this work dir alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = self.path.resolve()
            check_local(self.path, Path("/proc/self/mountinfo").read_text())
            self._lock = self._take_lock()
            for name in ("runs", "packages", "checkpoints", "kept", "data"):
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
            self.client_id = self._client_id()
        except OSError as error:
            raise Unusable(f"The work dir {self.path} cannot be used: {error}.") from error
        self.runs = self.path / "runs"
        self.packages = self.path / "packages"
        self.checkpoints = self.path / "checkpoints"
        self.kept = self.path / "kept"
        self.data = self.path / "data"
        self.outbox = self.path / "outbox.sqlite3"
        self.reserve = Reserve(self.path / "reserve")
        self.sockets = socket_folder(self.path)

    def close(self) -> None:
        """Leaves the folder for sockets only to those who still listen there."""
        with contextlib.suppress(OSError):
            self.sockets.rmdir()
        os.close(self._lock)

    def _take_lock(self) -> int:
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise Unusable(
                f"Another agent runs in {self.path}: end it, or name another --work-dir."
            ) from None
        return lock

    def _client_id(self) -> str:
        """A name for this work dir, kept in it."""
        file = self.path / "client-id"
        if not file.exists():
            host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())
            made = file.with_suffix(".new")
            made.write_text(f"{host[:60] or 'host'}-{secrets.token_hex(2)}\n")
            os.replace(made, file)
        return file.read_text().strip()


def check_local(path: Path, mountinfo: str) -> None:
    """Raises Unusable where `path` is on a network file system."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        if Path(point) in (path, *path.parents) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    if NETWORK.fullmatch(kind):
        raise Unusable(
            f"The work dir {path} is on a network file system ({kind}): "
            "name a folder on a local disk with --work-dir."
        )


def socket_folder(path: Path) -> Path:
    """The folder for the sockets of this work dir, made if need be. Raises Unusable."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not base.is_dir():
        base = Path(tempfile.gettempdir())
    folder = base / f"aifarm-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise Unusable(f"The folder for sockets {folder} cannot be made: {error}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Unusable(f"The folder for sockets {folder} is not this user's alone: remove it.")
    if len(os.fsencode(folder)) + len("/c0123456789ab") > SOCKET_PATH:
        raise Unusable(f"The path {folder} is too long for sockets: set TMPDIR to a shorter one.")
    return folder


def machine_id() -> str:
    """The same for all users of this machine, and no clue to its real id."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text:
            return hashlib.sha256(b"aifarm " + text.encode()).hexdigest()[:32]
    return hashlib.sha256(b"aifarm host " + socket.gethostname().encode()).hexdigest()[:32]


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
