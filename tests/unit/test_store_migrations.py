"""The way from any earlier database to this version's tables, and the refusal of the way back."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec.structs import replace
from sqlalchemy import Engine, MetaData, Table, create_engine, inspect

from aifarm.app.records import About, EventRecord
from aifarm.app.search import Search, condition
from aifarm.store import DatabaseRefused, StoreConflict, migrate, open_store
from aifarm.store.tables import metadata
from databases import Cluster

EVENT = EventRecord(1, 1.0, "submitted", "…")

SCRIPTS = ScriptDirectory(str(migrate.SCRIPTS))
HEAD = SCRIPTS.get_current_head()

NEXT = '''
"""What the next version may bring."""
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"


def upgrade() -> None:
    op.create_table("extra", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("extra", sa.Integer))
    {more}
'''


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of this version with one event in it."""
    path = tmp_path / "farm.db"
    store = open_store(url(path))
    with store.transaction() as tx:
        tx.add_event(EVENT)
    store.close()
    return path


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the program one migration newer; gives a function that undoes that."""

    def install(more: str = "") -> None:
        scripts = tmp_path / "migrations"
        shutil.copytree(migrate.SCRIPTS, scripts)
        (scripts / "versions" / "next.py").write_text(NEXT.format(head=HEAD, more=more))
        monkeypatch.setattr(migrate, "SCRIPTS", scripts)

    return install


def shape(engine: Engine) -> dict[str, Any]:
    """Everything a database says of its tables."""
    found = inspect(engine)
    return {
        name: {
            "columns": [{**one, "type": str(one["type"])} for one in found.get_columns(name)],
            "key": found.get_pk_constraint(name),
            "foreign": found.get_foreign_keys(name),
            "unique": found.get_unique_constraints(name),
            "checks": found.get_check_constraints(name),
            "indexes": sorted(found.get_indexes(name), key=lambda one: str(one["name"])),
        }
        for name in found.get_table_names()
        if name != "alembic_version"
    }


def the_same(migrated: Engine, made: Engine) -> None:
    metadata.create_all(made)
    assert shape(migrated) == shape(made)
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    migrated.dispose()
    made.dispose()


def test_the_migrations_make_exactly_the_tables(path: Path) -> None:
    the_same(create_engine(url(path)), create_engine("sqlite://"))


def test_a_database_that_is_up_to_date_is_left_alone(path: Path) -> None:
    store = open_store(url(path))
    assert store.events() == [EVENT]
    store.close()
    assert not list(path.parent.glob("*.before-*"))


def test_an_older_database_is_copied_and_then_migrated(path: Path, next_version: Any) -> None:
    next_version()
    store = open_store(url(path))
    assert store.events() == [EVENT]
    store.close()
    copy = path.with_name("farm.db.before-next")
    with closing(sqlite3.connect(copy)) as old, closing(sqlite3.connect(path)) as new:
        tables = "SELECT name FROM sqlite_master WHERE name = 'extra'"
        assert old.execute(tables).fetchall() == []
        assert new.execute(tables).fetchall() == [("extra",)]
        assert old.execute("SELECT id FROM events").fetchall() == [(1,)]
        assert old.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_copy_serves_the_older_version(
    path: Path, next_version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_version()
    open_store(url(path)).close()
    monkeypatch.undo()
    with pytest.raises(DatabaseRefused, match=rf"newer AI Farm \(revision next; .* up to {HEAD}"):
        open_store(url(path))
    store = open_store(url(path.with_name("farm.db.before-next")))
    assert store.events() == [EVENT]
    store.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    path: Path, next_version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = create_engine(url(path))
    tables = shape(before)
    next_version(more='raise RuntimeError("the disk went away")')
    with pytest.raises(RuntimeError):
        open_store(url(path))
    assert shape(before) == tables
    before.dispose()
    monkeypatch.undo()
    store = open_store(url(path))
    assert store.events() == [EVENT]
    store.close()


def test_without_a_copy_nothing_is_migrated(path: Path, next_version: Any) -> None:
    next_version()
    path.with_name("farm.db.before-next.unfinished").mkdir()
    with pytest.raises(DatabaseRefused, match="not migrated, because no copy can be made"):
        open_store(url(path))
    migrated = create_engine(url(path))
    assert "extra" not in inspect(migrated).get_table_names()
    migrated.dispose()


def test_a_copy_cut_short_is_made_again(path: Path, next_version: Any) -> None:
    path.with_name("farm.db.before-next.unfinished").write_bytes(b"half of a")
    next_version()
    open_store(url(path)).close()
    assert [file.name for file in path.parent.glob("*.before-*")] == ["farm.db.before-next"]


def test_tasks_of_the_first_version_are_found_by_their_config(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    engine = create_engine(url(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        values = {
            **dict.fromkeys(("submitter", "type", "name", "state", "desired"), "x"),
            **dict.fromkeys(("world_size", "priority", "retries", "attempt"), 1),
            **dict.fromkeys(("distributed", "share_gpu", "packaged", "revocable"), False),
            **dict.fromkeys(("failures", "losses", "progress", "created_at", "updated_at"), 1),
            **{"ranks": "[]", "metrics": "{}", "needs": "{}", "state": "failed"},
            **{"desired": "running", "config": '{"lr": 0.1, "opt": {"name": "adam"}, "x": [1]}'},
        }
        tasks = Table("tasks", MetaData(), autoload_with=connection)
        for task_id, deleted in (("kept", False), ("gone", True)):
            connection.execute(tasks.insert().values(id=task_id, deleted=deleted, **values))
    engine.dispose()
    store = open_store(url(path))
    wanted = (condition("config.lr=0.1"), condition("config.opt.name=adam"))
    (found,) = store.tasks(Search(where=wanted)).items
    assert (found.task.id, found.about, found.spec.env) == ("kept", About(), {})
    assert [record.deleted_at for record in store.trash()] == [1.0]
    store.close()


# ---------------------------------------------------------------- PostgreSQL


@pytest.fixture
def place() -> Iterator[str]:
    """As `path`, in PostgreSQL."""
    cluster = Cluster.shared()
    place = cluster.empty()
    store = open_store(place)
    with store.transaction() as tx:
        tx.add_event(EVENT)
    store.close()
    yield place
    cluster.drop(place)


def test_the_migrations_make_exactly_the_tables_of_postgresql(place: str) -> None:
    made = Cluster.shared().empty()
    the_same(create_engine(place), create_engine(made))
    Cluster.shared().drop(made)


def test_an_older_postgresql_database_is_copied_and_then_migrated(
    place: str, next_version: Any
) -> None:
    next_version()
    store = open_store(place)
    assert store.events() == [EVENT]
    store.close()
    engine = create_engine(place)
    assert "extra" in inspect(engine).get_table_names()
    assert "extra" not in inspect(engine).get_table_names(schema="before-next")
    engine.dispose()


def test_the_copied_schema_serves_the_older_version(
    place: str, next_version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_version()
    open_store(place).close()
    monkeypatch.undo()
    with pytest.raises(DatabaseRefused, match="newer AI Farm"):
        open_store(place)
    cluster = Cluster.shared()
    cluster.do("DROP SCHEMA public CASCADE", cluster.name(place))
    cluster.do('ALTER SCHEMA "before-next" RENAME TO public', cluster.name(place))
    store = open_store(place)
    with store.transaction() as tx:
        tx.add_event(replace(EVENT, id=2))
    with pytest.raises(StoreConflict), store.transaction() as tx:
        tx.add_event(EVENT)
    assert [event.id for event in store.events()] == [1, 2]
    store.close()


def test_a_postgresql_migration_that_fails_leaves_the_database_as_it_was(
    place: str, next_version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = create_engine(place)
    tables = shape(before)
    next_version(more='raise RuntimeError("the disk went away")')
    with pytest.raises(RuntimeError):
        open_store(place)
    assert shape(before) == tables
    assert "before-next" not in inspect(before).get_schema_names()
    before.dispose()
    monkeypatch.undo()
    store = open_store(place)
    assert store.events() == [EVENT]
    store.close()


def test_without_the_right_to_make_a_copy_nothing_is_migrated(
    place: str, next_version: Any
) -> None:
    cluster = Cluster.shared()
    name = cluster.name(place)
    cluster.do("CREATE ROLE ben LOGIN")
    cluster.do("GRANT ALL ON ALL TABLES IN SCHEMA public TO ben", name)
    next_version()
    with pytest.raises(DatabaseRefused, match=r"not migrated, because no copy .*permission denied"):
        open_store(place.replace("postgres@", "ben@"))
    cluster.do("DROP OWNED BY ben", name)
    cluster.do("DROP ROLE ben")
