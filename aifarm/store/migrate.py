"""Brings a database to the tables of this version."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from aifarm.store.errors import DatabaseRefused

SCRIPTS = Path(__file__).parent / "migrations"


def migrate(connection: Connection, back_up: Callable[[str], None]) -> None:
    """All missing migrations in the connection's transaction, after a backup named for the last.

    Raises DatabaseRefused where the database is of a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    current = MigrationContext.configure(connection).get_current_revision()
    if current == newest:
        return
    if current is not None:
        if current not in {script.revision for script in scripts.walk_revisions()}:
            raise DatabaseRefused(
                f"The database was written by a newer AI Farm (revision {current}; this one knows "
                f"up to {newest}): start that version, or restore the backup beside the database."
            )
        back_up(f"before-{newest}")
    command.upgrade(config, "head")
