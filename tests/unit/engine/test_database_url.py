from __future__ import annotations

import pytest

from reconciler.engine.database_url import DatabaseUrl
from reconciler.errors import UsageError


def test_a_url_is_shown_without_its_password() -> None:
    """Neither the text nor the repr of a database's URL holds the password."""
    url = DatabaseUrl.parse("postgres://ann:s3cr%40t@db:5433/engine", may_hold_password=True)
    assert url.password == "s3cr@t"
    assert str(url) == "postgresql://ann@db:5433/engine"
    assert "s3cr" not in repr(url)


def test_a_password_from_elsewhere_comes_first() -> None:
    """What was given by a file is used, and shown as little."""
    url = DatabaseUrl.parse("postgresql://db/engine", password="filed", may_hold_password=False)
    assert url.password == "filed"
    assert "filed" not in repr(url) + str(url)


@pytest.mark.parametrize(
    "text", ["postgresql://ann:pw@db/engine", "postgresql://db/engine?password=pw"]
)
def test_a_password_that_everybody_sees_is_refused(text: str) -> None:
    """A URL in a process's arguments must hold no password, and nor does the refusal."""
    with pytest.raises(UsageError, match="PGPASSWORD") as refused:
        DatabaseUrl.parse(text, may_hold_password=False)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "engine.db",
        "sqlite:///engine.db",
        "mysql://db/engine",
        "postgresql://db",
        "postgresql://db/",
        "postgresql://db:port/engine",
        "postgresql://db:99999/engine",
        "postgresql://db/engine?sslmode",
        "postgresql://db/engine#x",
    ],
)
def test_what_is_no_url_of_postgresql_is_refused(text: str) -> None:
    """The refusal says what the URL should look like."""
    with pytest.raises(UsageError, match="postgresql://USER@HOST"):
        DatabaseUrl.parse(text, may_hold_password=False)


def test_parameters_and_addresses_are_kept() -> None:
    """What libpq has to be told stays as it was, sockets and IPv6 included."""
    text = "postgresql://db.example.com/engine?sslmode=verify-full&target_session_attrs=read-write"
    assert str(DatabaseUrl.parse(text, may_hold_password=False)) == text
    six = DatabaseUrl.parse("postgresql://ann@[::1]:5432/engine", may_hold_password=False)
    assert six.host == "::1"
    assert str(six) == "postgresql://ann@[::1]:5432/engine"
    socket = DatabaseUrl.parse("postgresql:///engine?host=/run/pg", may_hold_password=False)
    assert (socket.host, socket.parameters) == ("", (("host", "/run/pg"),))
