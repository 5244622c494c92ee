"""Many files are parsed by another process, which may only save time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.adapters import spec_ahead
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_ahead import parse_ahead
from reconciler.adapters.specs import scan
from reconciler.mistakes import Mistake
from reconciler.model import Catalog

COUNT = 120


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    directory = tmp_path / "specs"
    (directory / "a").mkdir(parents=True)
    (directory / "a" / "_defaults.yaml").write_text("labels: {team: web}\n")
    for number in range(COUNT):
        (directory / "a" / f"web-{number}.yaml").write_text(
            f"stack: acme/web/prod-{number}\n"
            "sourceContext: {git: {repoUrl: .., branch: main}}\n"
            "operationContext: {environmentVariables: {LEADING: 0123, ON: on}}\n"
            "reconcile: {dependsOn: [a/web-0], timeout: 1h}\n"
        )
    (directory / "a" / "bad.yaml").write_text("stack: acme/bad/prod\nlabels: [x]\n")
    (directory / "a" / "torn.yaml").write_text("stack: acme/torn/prod\nlabels: {\n")
    (tmp_path / "outside.yaml").write_text("stack: acme/outside/prod\n")
    (directory / "a" / "out.yaml").symlink_to(tmp_path / "outside.yaml")
    return directory


def both(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Catalog, Catalog]:
    alone = scan(directory, SecretRules())
    monkeypatch.setattr(spec_ahead, "MANY", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return alone, scan(directory, SecretRules())


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_the_outcome_is_the_same(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs, their lines and all mistakes are those of a process that does it alone."""
    before = children()
    alone, together = both(specs, monkeypatch)
    assert alone == together
    assert len(together.specs) == COUNT
    assert set(together.broken) == {"a/bad", "a/torn", "a/out"}
    assert all(a.places == b.places for a, b in zip(alone.specs, together.specs, strict=True))
    at = together.specs[5].problem("/reconcile/dependsOn/0", "x", Mistake.WRONG_VALUE)
    assert at.line == 4
    assert children() == before


@pytest.mark.parametrize(
    "program", ["raise SystemExit(1)", "print('no answer')", "import os; os.abort()"]
)
def test_a_process_that_fails_costs_only_time(
    program: str, specs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other process does not tell is read here."""
    monkeypatch.setattr(spec_ahead, "_PROGRAM", program)
    before = children()
    alone, together = both(specs, monkeypatch)
    assert alone == together
    assert children() == before


def test_it_can_be_ended_before_its_end(specs: Path) -> None:
    """A pass that is given up leaves no process behind."""
    before = children()
    ahead = parse_ahead(os.path.realpath(specs), [f"a/web-{n}.yaml" for n in range(COUNT)], 1 << 20)
    first = next(ahead)
    assert first is not None
    assert isinstance(first[0].tree, dict)
    assert children() != before
    ahead.close()
    assert children() == before
