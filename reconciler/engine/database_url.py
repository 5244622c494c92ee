"""Where a PostgreSQL database is, and its password, which nothing shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from reconciler.errors import UsageError

__all__ = ["DatabaseUrl"]

_SCHEMES = ("postgresql", "postgres")
_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """One PostgreSQL database; `str` gives its URL without the password.

    `parameters` are libpq's own (`sslmode`, `passfile`, …). Without a password here libpq
    looks for one where it always does: `PGPASSWORD`, `PGPASSFILE`, `~/.pgpass`.
    """

    user: str
    host: str
    port: int | None
    database: str
    parameters: tuple[tuple[str, str], ...] = ()
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, *, password: str = "", may_hold_password: bool) -> DatabaseUrl:
        """Read `postgresql://USER@HOST:PORT/DATABASE?PARAMETERS`; UsageError says what is wrong.

        A URL that everybody can see, such as one in the arguments of a process, may hold no
        password (`may_hold_password` False). `password` is one that came another way.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
            parameters = tuple(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        except ValueError:
            raise UsageError(_WRONG) from None
        if parts.scheme not in _SCHEMES or not parts.path.strip("/") or parts.fragment:
            raise UsageError(_WRONG)
        given = unquote(parts.password or "") or dict(parameters).get("password", "")
        secret = parts.password is not None or any(n in _SECRET_PARAMETERS for n, _ in parameters)
        if secret and not may_hold_password:
            raise UsageError(
                "the database's URL holds a password, which everybody on this host can see: "
                "leave it out, and give it by --database-password-file, PGPASSWORD or ~/.pgpass"
            )
        return cls(
            user=unquote(parts.username or ""),
            host=unquote(parts.hostname or ""),
            port=port,
            database=unquote(parts.path.strip("/")),
            parameters=tuple((n, v) for n, v in parameters if n not in _SECRET_PARAMETERS),
            password=password or given,
        )

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        query = f"?{urlencode(self.parameters)}" if self.parameters else ""
        return f"postgresql://{user}{host}{port}/{quote(self.database, safe='')}{query}"


_WRONG = (
    "the database's URL is not postgresql://USER@HOST:PORT/DATABASE, such as "
    "postgresql://engine@db.example.com/engine?sslmode=verify-full"
)
