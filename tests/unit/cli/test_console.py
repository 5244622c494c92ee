from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.state_directory import StateDirectory
from reconciler.api.types import Operation
from reconciler.cli import console_options, parser
from reconciler.cli.console_gate import FAILED_LOGINS, StateGate
from reconciler.cli.console_orders import Known, acts, binding, told, waiting_approval
from reconciler.cli.console_specs import read_changes
from reconciler.clock import SystemClock
from reconciler.console.ports import Denied
from reconciler.console.values import Act, Change, Viewer
from reconciler.engine.service import AnswerError
from reconciler.errors import UsageError
from reconciler.model import Approval, Hold, Reason, ReasonCode, State
from tests.factories import NOW, run, spec, status

HERE = ("127.0.0.1", "")


@pytest.fixture
def gate(tmp_path: Path) -> StateGate:
    return StateGate(StateDirectory(tmp_path / "state"), tmp_path / "folder", SystemClock())


def record(tmp_path: Path) -> list[dict[str, str]]:
    text = (tmp_path / "folder/console-audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_each_token_has_its_role(gate: StateGate, tmp_path: Path) -> None:
    """The two tokens are made once, for their owner alone, and open what their names say."""
    roles = {}
    for name in ("console", "console-read"):
        path = tmp_path / f"state/{name}.token"
        assert path.stat().st_mode & 0o777 == 0o600
        viewer = gate.admit(path.read_text(), HERE, "GET /")
        assert isinstance(viewer, Viewer)
        gate.still(viewer)
        roles[viewer.name] = (viewer.role, viewer.may_act)
    assert roles == {"console": ("admin", True), "console-read": ("read", False)}


def test_a_changed_file_ends_the_old_token(gate: StateGate, tmp_path: Path) -> None:
    """Who is logged in by a token that was replaced is let out; one that is too short is none."""
    path = tmp_path / "state/console.token"
    old = path.read_text()
    viewer = gate.admit(old, HERE, "GET /")
    assert isinstance(viewer, Viewer)
    path.write_text("a-token-of-a-person-s-own\n")
    assert isinstance(gate.admit(old, HERE, "GET /"), Denied)
    assert isinstance(gate.admit("a-token-of-a-person-s-own", HERE, "GET /"), Viewer)
    with pytest.raises(AnswerError, match="no longer good"):
        gate.still(viewer)
    path.write_text("\n")
    with pytest.raises(UsageError, match="holds no token"):
        gate.admit("x", HERE, "GET /")


def test_guessing_has_an_end(gate: StateGate, tmp_path: Path) -> None:
    """After very many wrong tokens an address has to wait, and a good one still lets in."""
    found = [gate.admit(f"guess {n}", HERE, "POST /login") for n in range(FAILED_LOGINS + 5)]
    statuses = [denied.status for denied in found if isinstance(denied, Denied)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    token = (tmp_path / "state/console.token").read_text()
    assert isinstance(gate.admit(token, HERE, "GET /"), Viewer)
    lines = record(tmp_path)
    assert {line["result"] for line in lines} == {"refused 401"}
    assert "guess" not in json.dumps(lines)


def test_what_is_done_is_written_before_it_is_done(gate: StateGate, tmp_path: Path) -> None:
    """Each act is in the record with who, what and whether it was refused."""
    viewer = Viewer(name="console", role="admin", address="127.0.0.1")
    with gate.noting(viewer, "trigger", "web"):
        assert record(tmp_path)[-1]["result"] == "asked"
    with pytest.raises(AnswerError), gate.noting(viewer, "approve", "x" * 1000):
        raise AnswerError(409, "no")
    assert [(a["user"], a["action"], a["result"]) for a in record(tmp_path)] == [
        ("console", "trigger", "asked"),
        ("console", "approve", "asked"),
        ("console", "approve", "refused 409"),
    ]
    assert len(record(tmp_path)[1]["target"]) == 300
    assert (tmp_path / "folder/console-audit.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--console", "--once"], "leave out --once"),
        (["--console-insecure"], "go with --console"),
        (["--console", "--console-key", "k"], "belong together"),
        (["--console", "0.0.0.0:1"], "say --console-insecure"),
        (["--console", "localhost:1"], "no address and port such as 127.0.0.1:8090"),
        (["--console", "[::1]:x"], "no address and port"),
    ],
)
def test_options_that_do_not_go_together_are_told(arguments: list[str], message: str) -> None:
    """A mistake in the options is told before anything starts."""
    options = parser.build().parse_args(["run", "specs", *arguments])
    with pytest.raises(UsageError, match=message):
        console_options.check(options)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--console"], ["--console", "[::1]:0"], ["--console", "0.0.0.0:1", "--console-insecure"]],
)
def test_options_that_do_go_together_pass(arguments: list[str]) -> None:
    """Loopback needs nothing more; other addresses need a word."""
    console_options.check(parser.build().parse_args(["run", "specs", *arguments]))


PREVIEW = Approval(
    digest="d", source="s", operation=Operation.UPDATE, version=4, asked=NOW, summary="1 to create"
)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({}, [Act.TRIGGER, Act.SUSPEND]),
        ({"status": {"run": run()}}, [Act.CANCEL, Act.TRIGGER, Act.SUSPEND]),
        ({"status": {"approval": PREVIEW}}, [Act.APPROVE, Act.TRIGGER, Act.SUSPEND]),
        ({"hold": Hold(by="ada", at=NOW)}, [Act.RESUME]),
        ({"hold": Hold(by="ada", at=NOW, everything=True)}, []),
        ({"problem": "line 3"}, [Act.SUSPEND]),
        ({"spec": None}, [Act.SUSPEND]),
        ({"spec": spec(suspended=True)}, []),
        ({"spec": spec(suspended=True), "hold": Hold(by="ada", at=NOW)}, [Act.RESUME]),
        (
            {"status": {"reason": Reason(ReasonCode.HISTORY_UNKNOWN, "?"), "state": State.STALLED}},
            [Act.ADOPT, Act.TRIGGER, Act.SUSPEND],
        ),
    ],
)
def test_a_person_is_offered_what_makes_sense(
    about: dict[str, object], expected: list[Act]
) -> None:
    """The buttons are those whose press would do something."""
    given: dict[str, object] = {"spec": spec(), "problem": "", "hold": None, "held": {}}
    changes = about.pop("status", {})
    known = Known(status=status(**changes), **{**given, **about})  # type: ignore[arg-type]
    assert list(acts(known, NOW)) == expected


def test_an_approval_has_an_end() -> None:
    """What was asked a day ago, or is granted, is offered to nobody; what is, says what it is."""
    late = NOW + timedelta(hours=25)
    assert waiting_approval(status(approval=PREVIEW), late) is None
    assert told(waiting_approval(status(approval=PREVIEW), NOW)) == (
        "update, as #4 has shown it: 1 to create"
    )
    assert (binding(None), told(None)) == ("", "")
    assert binding(PREVIEW) != ""


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("a.b: x → y", Change(field="a.b", old="x", new="y")),
        ("a: x → y → z", Change(field="a", old="x", new="y → z")),
        ("source commit: 1f → 2e", Change(field="source commit", old="1f", new="2e")),
        ("a: added on", Change(field="a", new="on")),
        ("a: removed on", Change(field="a", old="on")),
        ("a: added (secret)", Change(field="a", new="(secret)")),
        ("a: removed (secret)", Change(field="a", old="(secret)")),
        ("a: changed (secret)", Change(field="a", old="(secret)", new="(another secret)")),
        ("a: something else", Change(field="a", note="something else")),
        ("something else", Change(field="", note="something else")),
    ],
)
def test_a_plan_s_sentences_become_a_table(sentence: str, change: Change) -> None:
    """Field, old and new are told apart; what is not of that form stands as it is."""
    assert list(read_changes([sentence])) == [change]
