"""Many files are parsed by another process, which may only save time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.adapters import spec_ahead
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_ahead import parse_ahead
from reconciler.adapters.specs import SpecReader, scan
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


def test_what_was_only_touched_is_not_parsed(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very same specs are given of it, alone and together; what is other is read anew."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for many in (COUNT * 10, 2):
        monkeypatch.setattr(spec_ahead, "MANY", many)
        reader = SpecReader(specs, SecretRules())
        first = {spec.name: spec for spec in reader.scan().specs}
        for number in range(COUNT):
            path = specs / "a" / f"web-{number}.yaml"
            text = path.read_text()
            path.write_text(text.replace("]", f", w{many}]") if number < 2 else text)
        second = {spec.name: spec for spec in reader.scan().specs}
        others = {name for name, spec in second.items() if spec is not first[name]}
        assert others == {"a/web-0", "a/web-1"}
        assert second.keys() == first.keys()
        (specs / "a" / "_defaults.yaml").write_text(f"labels: {{team: t{many}}}\n")
        third = reader.scan().specs
        assert {spec.labels["team"] for spec in third} == {f"t{many}"}
        assert reader.scan().specs == third


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
    ahead = parse_ahead(
        os.path.realpath(specs), [(f"a/web-{n}.yaml", b"") for n in range(COUNT)], 1 << 20
    )
    first = next(ahead)
    assert first is not None
    assert first.plain is not None
    assert isinstance(first.plain.tree, dict)
    assert children() != before
    ahead.close()
    assert children() == before
