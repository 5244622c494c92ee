from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.api.types import StackRef
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import AuditEntry, AuditNote, AuditQuery, ChainEnd, Store

NOW = datetime(2026, 11, 1, tzinfo=UTC)
WEB = StackRef("acme", "web", "prod")


def entry(number: int = 0, *, at: datetime = NOW, organization: str = "acme") -> AuditEntry:
    return AuditEntry(
        at=at,
        organization=organization,
        user="ann",
        token="t1",
        address="192.0.2.7",
        action="POST /x",
        target=f"/x/{number}",
        result="done",
    )


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A database with a chain of five entries."""
    path = tmp_path / "engine.db"
    store = Store(path)
    for number in range(1, 6):
        store.audit.append(entry(number))
    store.close()
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def verify(path: Path, noted: ChainEnd | None = None) -> tuple[str, ...]:
    store = Store(path)
    try:
        return store.audit.verify(noted)[1]
    finally:
        store.close()


def test_a_chain_that_nobody_touched_is_whole(chain: Path) -> None:
    """What was written is read again, the newest first, and nothing is wrong with it."""
    store = Store(chain)
    found = store.audit.entries(AuditQuery())
    assert [link.entry.target for link in found] == [f"/x/{n}" for n in (5, 4, 3, 2, 1)]
    assert found[0].entry == entry(5)
    assert store.audit.verify()[0] == ChainEnd(sequence=5, hash=found[0].hash)
    assert [link.sequence for link in store.audit.links()] == [1, 2, 3, 4, 5]
    store.close()
    assert verify(chain) == ()


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET result = 'refused 403' WHERE sequence = 3", "entry 3 was changed"),
        ("UPDATE audit SET at = at + 1 WHERE sequence = 1", "entry 1 was changed"),
        ("UPDATE audit SET target = user, user = target WHERE sequence = 5", "entry 5 was changed"),
        ("DELETE FROM audit WHERE sequence = 3", "entry 3 is missing"),
        ("DELETE FROM audit WHERE sequence IN (2, 3)", "entry 2 to 3 is missing"),
        ("DELETE FROM audit WHERE sequence = 1", "entry 1 is missing"),
        ("DELETE FROM audit WHERE sequence > 3", "ends at entry 3, and its end was 5"),
        ("DELETE FROM audit", "ends at entry 0, and its end was 5"),
        ("DELETE FROM audit_ends", "ends at entry 5, and its end was 0"),
    ],
)
def test_what_was_changed_is_found(chain: Path, statement: str, fault: str) -> None:
    """Entries changed, taken out or cut off are named."""
    change(chain, statement)
    assert fault in "; ".join(verify(chain))


def test_a_new_chain_does_not_hold_a_noted_end(chain: Path) -> None:
    """One who writes the whole chain anew is found by an end that was noted elsewhere."""
    store = Store(chain)
    noted = store.audit.verify()[0]
    store.close()
    change(chain, "DELETE FROM audit", "DELETE FROM audit_ends")
    store = Store(chain)
    for number in range(1, 8):
        store.audit.append(entry(number + 1))
    store.close()
    assert verify(chain) == ()
    assert verify(chain, noted) == ("entry 5 is not the one that was noted",)


def test_a_note_is_written_with_the_change(store: Store) -> None:
    """The first transaction that changes something takes the note along; one is enough."""
    note = AuditNote(entry())
    with store.audit.noting(note):
        assert store.tokens.revoke("nobody's") is False
        assert store.audit.entries(AuditQuery()) == ()
        store.audit.detail("more about it")
        store.stacks.make(WEB)
        store.stacks.mark_initialized(WEB)
    assert note.written
    found = store.audit.entries(AuditQuery())
    assert [link.entry.detail for link in found] == ["more about it"]
    assert store.audit.verify()[1] == ()


def test_a_change_that_fails_takes_its_note_back(store: Store) -> None:
    """Neither is there without the other."""
    with store.audit.noting(AuditNote(entry())), pytest.raises(ZeroDivisionError):
        store.deployments.create(WEB, "", lambda version: 1 // (version - 1))  # type: ignore[arg-type, return-value]
    assert store.audit.entries(AuditQuery()) == ()
    assert store.stacks.get(WEB) is None


def test_old_entries_go_and_the_rest_is_whole(tmp_path: Path) -> None:
    """What is older than it is kept goes, the chain begins after it, and nothing is wrong."""
    store = Store(tmp_path / "engine.db", timedelta(days=10))
    for day in range(20):
        store.audit.append(entry(day, at=NOW + timedelta(days=day)))
    assert [link.entry.target for link in store.audit.links()] == [f"/x/{n}" for n in range(9, 20)]
    assert store.audit.verify()[1] == ()
    assert store.audit.verify(ChainEnd(sequence=2, hash="f" * 64))[1] == ()
    store.close()
    change(tmp_path / "engine.db", "DELETE FROM audit WHERE sequence = 10")
    assert verify(tmp_path / "engine.db") == ("entry 10 is missing",)


def test_queries_say_which(store: Store) -> None:
    """Entries are found by organization, before a number, and older than a time."""
    for number in range(1, 5):
        organization = "acme" if number % 2 else "other"
        moment = NOW + timedelta(hours=number)
        store.audit.append(entry(number, at=moment, organization=organization))

    def found(query: AuditQuery) -> list[int]:
        return [link.sequence for link in store.audit.entries(query)]

    assert found(AuditQuery(organization="acme")) == [3, 1]
    assert found(AuditQuery(before=3)) == [2, 1]
    assert found(AuditQuery(older_than=NOW + timedelta(hours=2))) == [1]
    assert found(AuditQuery(user="bob")) == []
    assert found(AuditQuery(user="a\0b")) == []
    assert found(AuditQuery(count=2)) == [4, 3]


WRITER = """\
import sys
from datetime import UTC, datetime
from pathlib import Path
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import AuditEntry, Store
where = sys.argv[1]
shared = where.startswith("postgresql:")
store = Store(DatabaseUrl.parse(where, may_hold_password=True) if shared else Path(where))
for number in range(25):
    store.audit.append(AuditEntry(
        at=datetime(2026, 11, 1, tzinfo=UTC), organization="acme", user=sys.argv[2], token="",
        address="local", action="write", target=str(number), result="done",
    ))
store.close()
"""


@pytest.mark.real
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_processes_write_one_chain(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Processes that write at once leave one whole chain, with all that they wrote."""
    text = str(tmp_path / "engine.db")
    where: Path | DatabaseUrl = Path(text)
    if kind == "postgresql":
        text = request.getfixturevalue("postgres").make_database()
        where = DatabaseUrl.parse(text, may_hold_password=True)
    Store(where).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, text, f"writer{number}"])
        for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    store = Store(where)
    assert len(list(store.audit.links())) == 75
    assert store.audit.verify()[1] == ()
    store.close()
