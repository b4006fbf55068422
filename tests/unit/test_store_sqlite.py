"""What is SQLite's own: its lock, its settings, and plain words when it cannot go on."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from aifarm.app.records import EventRecord, LogLines
from aifarm.core.task import RankKey
from aifarm.store import DatabaseRefused, SqlStore, StoreUnavailable, open_store, sqlite
from aifarm.store.sqlite import filesystem

MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:26 / /home rw shared:12 master:3 - nfs4 server:/home rw,vers=4.2
31 30 0:27 / /home/ann/my\\040disk rw - xfs /dev/sdb rw
32 27 0:28 / /homes rw - btrfs /dev/sdc rw
33 27 0:29 / /data rw - xfs /dev/sdd rw
34 33 0:30 / /data rw - cifs //server/data rw
"""


def event(number: int) -> EventRecord:
    return EventRecord(number, 1.0, "submitted", "…")


def add_event(store: SqlStore, number: int) -> None:
    with store.transaction() as tx:
        tx.add_event(event(number))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "farm.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = open_store(f"sqlite:///{path}")
    yield store
    store.close()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home/ann", "nfs4"),
        ("/home/ann/my disk/farm", "xfs"),
        ("/homes/ann", "btrfs"),
        ("/data/farm", "cifs"),
    ],
)
def test_the_innermost_and_latest_mount_holds_a_path(folder: str, kind: str) -> None:
    assert filesystem(Path(folder), MOUNTS) == kind


def test_a_network_file_system_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"{MOUNTS}40 27 0:40 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(sqlite, "_MOUNTS", mounts)
    with pytest.raises(DatabaseRefused, match=r"network file system \(nfs4\).*local disk\.$"):
        open_store(f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:x",
        "farm.db",
        "mysql://ann:secret@host/f",
        "",
    ],
)
def test_a_url_that_names_no_file_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DatabaseRefused, match="sqlite:///PATH") as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


def test_a_missing_folder_and_a_folder_are_refused(path: Path) -> None:
    with pytest.raises(DatabaseRefused, match=r"The folder .*/missing of the database does not"):
        open_store(f"sqlite:///{path.parent}/missing/farm.db")
    path.mkdir()
    with pytest.raises(DatabaseRefused, match=r"farm\.db"):
        open_store(f"sqlite:///{path}")


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"my notes" * 1000)
    for _ in range(2):
        with pytest.raises(DatabaseRefused, match="damaged or no SQLite database"):
            open_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"my notes" * 1000


def test_a_path_may_hold_any_characters(tmp_path: Path) -> None:
    folder = tmp_path / "my farm %20 #ü @:?x=y"
    folder.mkdir()
    open_store(f"sqlite:///{folder}/farm.db").close()
    assert (folder / "farm.db").exists()


def test_a_second_server_in_this_process_is_refused(store: SqlStore, path: Path) -> None:
    with pytest.raises(DatabaseRefused, match=rf"Another server \(pid {os.getpid()}\) uses"):
        open_store(f"sqlite:///{path}")
    add_event(store, 1)
    store.close()
    again = open_store(f"sqlite:///{path}")
    assert again.load().last_event == 1
    again.close()


def test_a_second_server_elsewhere_is_refused_until_the_first_ends(path: Path) -> None:
    program = "import sys; from aifarm.store import open_store; store = open_store(sys.argv[1]);"
    program += "print('open', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", program, f"sqlite:///{path}"]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(DatabaseRefused, match=rf"Another server \(pid {other.pid}\) uses"):
            open_store(f"sqlite:///{path}")
        other.kill()
    open_store(f"sqlite:///{path}").close()


def test_commits_are_synced_and_only_the_writer_writes(store: SqlStore) -> None:
    with store._database._writer.connect() as connection:
        settings = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with store._database._reader.connect() as connection:
        assert connection.execute(text("PRAGMA wal_autocheckpoint")).scalar() == 0
        connection.execute(text("PRAGMA query_only = OFF"))
        with pytest.raises(Exception, match="readonly"):
            connection.execute(text("DELETE FROM events"))


def test_a_full_disk_is_said_and_passes(store: SqlStore) -> None:
    """`max_page_count` makes SQLite answer as it does when the disk is full."""
    add_event(store, 1)
    assert store._database._connection is not None
    store._database._connection.connection.driver_connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreUnavailable, match="disk is full"), store.transaction() as tx:
        tx.add_log(LogLines(RankKey("t", 1, 0), 0, ("x" * 100_000,)))
    assert store.events() == [event(1)]
    add_event(store, 2)
    assert store.load().last_event == 2


def test_a_lock_of_another_program_is_said_and_passes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCK_WAIT", 0.01)
    store = open_store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="Another program has locked"):
            add_event(store, 1)
        assert store.events() == []
        other.execute("ROLLBACK")
    add_event(store, 1)
    assert store.events() == [event(1)]
    store.close()


def test_a_damaged_file_is_said(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    for number in range(1, 300):
        add_event(store, number)
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(DatabaseRefused, match="damaged"):
        open_store(f"sqlite:///{path}")
