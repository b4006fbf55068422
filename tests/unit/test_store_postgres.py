"""What is PostgreSQL's own: one leader, what its settings are, and plain words when it is away."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import exc, text

from aifarm.app.records import EventRecord, LogLines
from aifarm.core.task import RankKey
from aifarm.store import (
    DatabaseAway,
    DatabaseLed,
    DatabaseRefused,
    LeadershipLost,
    SqlStore,
    StoreConflict,
    StoreUnavailable,
    open_store,
    postgres,
)
from databases import Cluster


def event(number: int) -> EventRecord:
    return EventRecord(number, 1.0, "submitted", "…")


def add_event(store: SqlStore, number: int) -> None:
    with store.transaction() as tx:
        tx.add_event(event(number))


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster.shared()


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    url = cluster.empty()
    yield url
    cluster.drop(url)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LEADER_WAIT", 0.05)


# ---------------------------------------------------------------- a URL that leads nowhere


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://ann:secret@127.0.0.1:1/farm", "farm at 127.0.0.1 .*refused"),
        ("postgresql://ann:secret@127.0.0.1:1/farm", "farm at 127.0.0.1 .*refused"),
        ("postgresql+psycopg://ann:secret@/farm?host=/nowhere", "cannot be opened"),
    ],
)
def test_a_database_that_does_not_answer_is_named_and_the_password_is_not(
    url: str, words: str
) -> None:
    with pytest.raises(DatabaseAway, match=words) as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["postgresql://ann:secret@host:port/farm"])
def test_a_url_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DatabaseRefused, match="NAME:PASSWORD@HOST") as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


def test_a_missing_database_is_named(cluster: Cluster) -> None:
    with pytest.raises(DatabaseAway, match=r'"nowhere" does not exist\.$'):
        open_store(cluster.url("nowhere"))


def test_a_wrong_password_is_said_and_not_repeated(tmp_path: Path) -> None:
    own = Cluster()
    own.do("CREATE ROLE ann LOGIN PASSWORD 'right'")
    hba = Path(own.do("SHOW hba_file")[0][0])
    hba.write_text(f"local all ann scram-sha-256\n{hba.read_text()}")
    own.do("SELECT pg_reload_conf()")
    url = own.url("postgres").replace("postgres@", "ann:secret@")
    with pytest.raises(DatabaseAway, match="password authentication failed") as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


def test_without_psycopg_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None; from aifarm.store import open_store\n"
        "try: open_store('postgresql+psycopg://ann@host/farm')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'aifarm[postgres]'" in done.stdout, done.stderr


# ---------------------------------------------------------------- one leader


def test_a_second_server_waits_until_the_first_is_gone(store: SqlStore, url: str) -> None:
    add_event(store, 1)
    standby: list[SqlStore] = []
    waiting = threading.Thread(target=lambda: standby.append(taken_over(url)))
    waiting.start()
    add_event(store, 2)
    assert not standby
    store.close()
    waiting.join()
    add_event(standby[0], 3)
    assert standby[0].events() == [event(1), event(2), event(3)]
    standby[0].close()


def taken_over(url: str) -> SqlStore:
    while True:
        try:
            return open_store(url)
        except DatabaseLed:
            continue


def test_while_another_leads_that_is_said(store: SqlStore, url: str, impatient: None) -> None:
    with pytest.raises(DatabaseLed, match=r"Another server leads .* takes over when it is gone"):
        open_store(url)
    add_event(store, 1)


def test_a_lost_connection_ends_the_right_to_write_for_good(
    store: SqlStore, url: str, cluster: Cluster
) -> None:
    add_event(store, 1)
    cluster.disconnect(url)
    for _ in range(2):
        with pytest.raises(LeadershipLost, match="connection to the database"):
            add_event(store, 2)
    assert store.events() == [event(1)]
    again = open_store(url)
    add_event(again, 2)
    with pytest.raises(LeadershipLost):
        add_event(store, 3)
    assert again.events() == [event(1), event(2)]
    again.close()


def test_a_connection_lost_while_it_writes_ends_it_too(
    store: SqlStore, url: str, cluster: Cluster
) -> None:

    def cut() -> None:
        with store._database.writing() as connection:
            connection.execute(text("INSERT INTO leader VALUES (2, 1)"))
            cluster.disconnect(url)

    with pytest.raises(LeadershipLost, match="whether the last transaction was kept"):
        cut()
    with pytest.raises(LeadershipLost):
        add_event(store, 1)
    assert cluster.do("SELECT id FROM leader", cluster.name(url)) == [(1,)]


def test_who_led_before_an_epoch_can_write_nothing(
    store: SqlStore, url: str, cluster: Cluster
) -> None:
    """As behind a pool of connections that keeps locks of those who are gone."""
    cluster.do("UPDATE leader SET epoch = epoch + 1", cluster.name(url))
    with pytest.raises(LeadershipLost, match="Another server leads"):
        add_event(store, 1)
    assert store.events() == []


def test_a_refused_row_leaves_the_leader_what_it_is(store: SqlStore, url: str) -> None:
    add_event(store, 1)
    with pytest.raises(StoreConflict):
        add_event(store, 1)
    add_event(store, 2)
    assert store.events() == [event(1), event(2)]


# ---------------------------------------------------------------- settings


def test_commits_are_on_disk_when_told_and_readers_cannot_write(url: str, cluster: Cluster) -> None:
    cluster.do(f"ALTER DATABASE {cluster.name(url)} SET synchronous_commit = off")
    store = open_store(url)
    with store._database.writing() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    with store._database.reading() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "repeatable read"
        with pytest.raises(exc.InternalError, match="read-only transaction"):
            connection.execute(text("DELETE FROM events"))
    store.close()


def test_a_lock_of_another_program_is_said_and_passes(
    url: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_WAIT", 1)
    store = open_store(url)
    add_event(store, 1)
    with cluster.connect(cluster.name(url)) as connection:
        connection.execute("BEGIN; LOCK TABLE events")
        with pytest.raises(StoreUnavailable, match="another program has locked it") as refusal:
            add_event(store, 2)
        assert not isinstance(refusal.value, LeadershipLost)
    add_event(store, 2)
    assert store.events() == [event(1), event(2)]
    store.close()


def test_what_is_written_is_written_whole_or_not_at_all(store: SqlStore) -> None:
    key = RankKey("t", 1, 0)

    def contradiction() -> None:
        with store.transaction() as tx:
            tx.add_event(event(1))
            tx.add_log(LogLines(key, 0, ("a",)))
            tx.add_log(LogLines(key, 0, ("b",)))

    with pytest.raises(StoreConflict):
        contradiction()
    assert store.events() == []
    assert store.log("t", attempt=1, rank=0).lines == ()


def test_a_database_that_comes_back_is_read_again(
    store: SqlStore, url: str, cluster: Cluster
) -> None:
    add_event(store, 1)
    assert store.events() == [event(1)]
    cluster.disconnect(url)
    assert store.events() == [event(1)]


def test_a_number_that_is_none_is_kept_as_sqlite_keeps_it(
    store: SqlStore, url: str, cluster: Cluster
) -> None:
    with store.transaction() as tx:
        tx.add_points(RankKey("t", 1, 0), [(1, 1.0, {"loss": None})])
    assert cluster.do("SELECT last, min, max FROM series", cluster.name(url)) == [(None,) * 3]
