"""The tests' own PostgreSQL server is a real one, and leaves nothing behind."""

from __future__ import annotations

import psycopg
import pytest

from tests.postgres_server import PostgresServer, postgres_server

pytestmark = pytest.mark.real


def test_each_database_is_its_own(postgres: PostgresServer) -> None:
    """A table of one database is not in another."""
    first, second = postgres.make_database(), postgres.make_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE t (n int)")
    with psycopg.connect(second) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM t")


def test_it_comes_back_after_a_crash() -> None:
    """What was committed is there after the server was killed and started again."""
    with postgres_server() as server:
        url = server.make_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (n int)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert not server.directory.exists()


def test_nobody_enters_without_the_password(postgres: PostgresServer) -> None:
    """A wrong password is refused."""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.url().replace(postgres.password, "wrong"))
