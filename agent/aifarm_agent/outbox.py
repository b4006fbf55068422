"""What the server has not acknowledged yet, on disk.

Messages are numbered here, in the transaction that stores them together with how far the run
folder's files were read to make them: an agent killed at any instant finds either both or
neither. Nothing may be sent before its transaction is committed.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from aifarm.wire.agent import (
    GangEndpoint,
    TaskCheckpoint,
    TaskLog,
    TaskMeasured,
    TaskNote,
    TaskOutputs,
    TaskProgress,
    TaskResult,
    TaskState,
)
from aifarm.wire.codec import encode
from aifarm_agent.events import Mark, RankKey
from aifarm_agent.thinning import thin_next

logger = logging.getLogger(__name__)

LIMIT = 256 << 20
Message = (
    TaskState
    | TaskProgress
    | TaskLog
    | TaskCheckpoint
    | TaskOutputs
    | GangEndpoint
    | TaskMeasured
    | TaskNote
    | TaskResult
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS rank (
    id INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL, attempt INTEGER NOT NULL, rank INTEGER NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    sent_seq INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    memo BLOB NOT NULL DEFAULT '',
    UNIQUE (task_id, attempt, rank)
);
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    rank_id INTEGER NOT NULL, seq INTEGER NOT NULL, seq_to INTEGER NOT NULL,
    kind TEXT NOT NULL, level INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL, body BLOB NOT NULL,
    UNIQUE (rank_id, seq)
);
CREATE INDEX IF NOT EXISTS message_log ON message (rank_id) WHERE kind = 'TaskLog';
CREATE INDEX IF NOT EXISTS message_thinnable ON message (level, id) WHERE kind = 'TaskProgress';
CREATE TABLE IF NOT EXISTS mark (
    rank_id INTEGER NOT NULL, source TEXT NOT NULL,
    segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (rank_id, source)
) WITHOUT ROWID;
"""

_decode = msgspec.json.Decoder(Message).decode


class OutboxError(Exception):
    """The outbox cannot be written. What is in memory may differ from it: start over from disk."""


class Stored(NamedTuple):
    """A rank that the outbox knows. `memo`: what the session keeps about it."""

    key: RankKey
    memo: bytes


class Pending(NamedTuple):
    seq_to: int
    size: int
    message: Message


@dataclass(slots=True)
class _Row:
    id: int
    last_seq: int = 0
    sent_seq: int = 0
    dropped: int = 0


class Outbox:
    """`path` may be ":memory:". `limit`: bytes of messages beyond which progress is thinned.

    Only progress is thinned, and only what was never sent: what may have arrived keeps its form.
    """

    def __init__(self, path: Path | str, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._depth = 0
        self._durable = False
        self._broken = False
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(SCHEMA)
            self._rows = {
                RankKey(*row[:3]): _Row(*row[3:])
                for row in self._db.execute(
                    "SELECT task_id, attempt, rank, id, last_seq, sent_seq, dropped FROM rank"
                )
            }
            (self._size,) = self._db.execute(
                "SELECT coalesce(sum(size), 0) FROM message"
            ).fetchone()
        except sqlite3.Error as error:
            raise OutboxError(f"The outbox {path} cannot be opened: {error}.") from error

    def close(self) -> None:
        if not self._broken:
            self.settle()
        self._db.close()

    # ------------------------------------------------------------ transactions

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. May nest: the outermost commits.

        One that only forgets what was acknowledged is left open and committed with the next that
        must be durable: losing it costs a message sent twice. Raises OutboxError.
        """
        if self._broken:
            raise OutboxError(f"The outbox {self._path} failed before.")
        self._depth += 1
        try:
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            yield
            if self._depth == 1 and self._durable:
                self._db.execute("COMMIT")
                self._durable = False
        except BaseException as error:
            self._broken = True  # the half-made transaction must never be committed
            if isinstance(error, sqlite3.Error):
                text = f"The outbox {self._path} cannot be written: {error}."
                raise OutboxError(text) from error
            raise
        finally:
            self._depth -= 1

    def settle(self) -> None:
        """Commits what was left open."""
        if self._db.in_transaction:
            self._durable = True
            with self.transaction():
                pass

    # ------------------------------------------------------------ ranks

    def ranks(self) -> list[Stored]:
        """In the order in which they came to be known."""
        rows = self._db.execute("SELECT task_id, attempt, rank, memo FROM rank ORDER BY id")
        return [Stored(RankKey(*key), memo) for *key, memo in rows]

    def knows(self, key: RankKey) -> bool:
        return key in self._rows

    def save(self, key: RankKey, memo: bytes) -> None:
        """Keeps what the session must find again after a restart."""
        with self.transaction():
            self._durable = True
            self._db.execute("UPDATE rank SET memo = ? WHERE id = ?", (memo, self._row(key).id))

    def mark(self, key: RankKey, mark: Mark) -> None:
        with self.transaction():
            self._durable = True
            self._db.execute(
                "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?)", (self._row(key).id, *mark)
            )

    def marks(self, key: RankKey) -> dict[str, Mark]:
        """By source; a source that was never read is missing."""
        if key not in self._rows:
            return {}
        rows = self._db.execute(
            "SELECT source, segment, offset FROM mark WHERE rank_id = ?", (self._rows[key].id,)
        )
        return {source: Mark(source, segment, offset) for source, segment, offset in rows}

    def forget(self, key: RankKey) -> None:
        row = self._rows.pop(key, None)
        if row is None:
            return
        with self.transaction():
            self._delete(row, row.last_seq)
            self._db.execute("DELETE FROM mark WHERE rank_id = ?", (row.id,))
            self._db.execute("DELETE FROM rank WHERE id = ?", (row.id,))

    def _row(self, key: RankKey) -> _Row:
        """The rank's row, made on first use."""
        row = self._rows.get(key)
        if row is None:
            self._durable = True
            made = self._db.execute(
                "INSERT INTO rank (task_id, attempt, rank) VALUES (?, ?, ?)", key
            )
            row = self._rows[key] = _Row(made.lastrowid or 0)
        return row

    # ------------------------------------------------------------ messages

    def last_seq(self, key: RankKey) -> int:
        return self._rows[key].last_seq if key in self._rows else 0

    def append(self, key: RankKey, message: Message) -> None:
        """Gives the message its number and keeps it until it is acknowledged."""
        with self.transaction():
            self._durable = True
            row = self._row(key)
            row.last_seq += 1
            body = encode(replace(message, seq=row.last_seq))
            self._db.execute(
                "INSERT INTO message (rank_id, seq, seq_to, kind, size, body)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (row.id, row.last_seq, row.last_seq, type(message).__name__, len(body), body),
            )
            self._db.execute("UPDATE rank SET last_seq = ? WHERE id = ?", (row.last_seq, row.id))
            self._size += len(body)
            if self._size > self._limit:
                self._make_room()

    def pending(self, key: RankKey, after: int, count: int, size: int) -> list[Pending]:
        """The next messages beyond `after`: at most `count`, and `size` bytes unless it is one.

        They count as sent from now on.
        """
        row = self._rows.get(key)
        if row is None or row.last_seq <= after:
            return []
        found: list[Pending] = []
        with self.transaction():
            for seq_to, length, body in self._db.execute(
                "SELECT seq_to, size, body FROM message WHERE rank_id = ? AND seq > ?"
                " ORDER BY seq LIMIT ?",
                (row.id, after, count),
            ):
                size -= length
                if found and size < 0:
                    break
                found.append(Pending(seq_to, length, _decode(body)))
            if found and found[-1].seq_to > row.sent_seq:
                self._durable = True
                row.sent_seq = found[-1].seq_to
                self._db.execute(
                    "UPDATE rank SET sent_seq = ? WHERE id = ?", (row.sent_seq, row.id)
                )
        return found

    def ack(self, key: RankKey, seq: int) -> None:
        """All up to `seq` is durable at the server."""
        row = self._rows.get(key)
        if row is None:
            return
        with self.transaction():
            self._delete(row, seq)
            if seq > row.last_seq:  # an older outbox was lost: go on where the server is
                row.last_seq = seq
                self._db.execute("UPDATE rank SET last_seq = ? WHERE id = ?", (seq, row.id))

    def waiting_logs(self, key: RankKey) -> int:
        """Log messages of this rank that are not acknowledged."""
        if key not in self._rows:
            return 0
        (count,) = self._db.execute(
            "SELECT count(*) FROM message WHERE rank_id = ? AND kind = 'TaskLog'",
            (self._rows[key].id,),
        ).fetchone()
        return int(count)

    def _delete(self, row: _Row, seq: int) -> None:
        scope = (row.id, seq)
        (size,) = self._db.execute(
            "SELECT coalesce(sum(size), 0) FROM message WHERE rank_id = ? AND seq_to <= ?", scope
        ).fetchone()
        self._size -= size
        self._db.execute("DELETE FROM message WHERE rank_id = ? AND seq_to <= ?", scope)

    # ------------------------------------------------------------ a full outbox

    def drop(self, key: RankKey, points: int) -> None:
        """Counts points that will never be sent."""
        if points:
            with self.transaction():
                self._durable = True
                row = self._row(key)
                row.dropped += points
                self._db.execute("UPDATE rank SET dropped = ? WHERE id = ?", (row.dropped, row.id))

    def take_dropped(self, key: RankKey) -> int:
        """How many points were dropped since this was last asked: to be told to the server."""
        dropped = self._rows[key].dropped if key in self._rows else 0
        self.drop(key, -dropped)
        return dropped

    def _make_room(self) -> None:
        """Thins what was thinned least, the oldest of it first, until a tenth is free."""
        while self._size > self._limit * 9 // 10:
            thinned = thin_next(self._db)
            if thinned is None:
                logger.warning("The outbox %s is over its limit of bytes.", self._path)
                return
            self._size -= thinned.bytes
            key = next(key for key, row in self._rows.items() if row.id == thinned.rank_id)
            self.drop(key, thinned.points)
