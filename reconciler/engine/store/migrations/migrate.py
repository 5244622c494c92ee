"""Brings a database of any form to the newest: by Alembic, within one transaction.

Alembic is imported only where there is something to do, since it takes a while.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

__all__ = ["HEAD", "StrangeFormError", "upgrade"]

# The newest revision; a test holds it to the scripts beside this module.
HEAD = "0005"

# Version 0.1.0 kept no revision: its files say so in SQLite's own version number.
_FIRST, _FIRST_USER_VERSION = "0001", 1


class StrangeFormError(Exception):
    """The database is of no form that this version knows: of a newer one, or not ours."""


def upgrade(connection: sa.Connection) -> None:
    """Bring the database to `HEAD`, within the caller's transaction; StrangeFormError."""
    from alembic import command  # noqa: PLC0415 - costs 150 ms, and is needed once in a release
    from alembic.config import Config  # noqa: PLC0415 - the same
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - the same
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - the same

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    found = MigrationContext.configure(connection).get_current_heads()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    strange = set(found) - known
    if strange:
        raise StrangeFormError(
            f"it has the form {', '.join(sorted(strange))}, and this engine knows {HEAD}: "
            "it was used by a newer engine"
        )
    if not found and _is_first(connection):
        command.stamp(config, _FIRST)
    command.upgrade(config, "head")


def _is_first(connection: sa.Connection) -> bool:
    """Whether this is a file of 0.1.0; StrangeFormError for one of something else."""
    if connection.dialect.name != "sqlite":
        return False
    number = connection.execute(sa.text("PRAGMA user_version")).scalar_one()
    if number not in {0, _FIRST_USER_VERSION}:
        raise StrangeFormError(f"it is a database of something else, whose version is {number}")
    return bool(number == _FIRST_USER_VERSION)
