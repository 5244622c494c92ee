"""What may not be whole is left alone: real files, a clock of the test's own."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.spec_defaults import NO_DEFAULTS
from reconciler.adapters.spec_quiet import MAX_WORDS, TOLD_AFTER_S, Quiet
from reconciler.adapters.specs import SpecReader
from reconciler.planning.quiet import CLOSED_QUIET_S, QUIET_S, Word

HEAD = "stack: acme/web/{name}\nsourceContext: {{git: {{repoUrl: ., branch: main}}}}\n"
TAIL = "reconcile: {onDelete: destroy}\n"


class Scene:
    """A directory, its reader, and a clock by which files are written too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.time = datetime(2026, 11, 24, 12, tzinfo=UTC)
        self.quiet = Quiet(directory, lambda: self.time)
        self.reader = SpecReader(directory, SecretRules(), self.quiet)

    def write(self, name: str, text: str, ago_s: float = 0.0) -> Path:
        """Write a file in place, so many seconds ago."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written = self.time.timestamp() - ago_s
        os.utime(path, (written, written))
        return path

    def spec(self, name: str, more: str = "", ago_s: float = 0.0) -> Path:
        return self.write(f"{name}.yaml", HEAD.format(name=name.replace("/", "-")) + more, ago_s)

    def found(self) -> dict[str, str]:
        """Scan; return the specs that are in force, each with its `onDelete`."""
        return {spec.name: str(spec.on_delete) for spec in self.reader.scan().specs}

    def labels(self) -> dict[str, dict[str, str]]:
        return {spec.name: dict(spec.labels) for spec in self.reader.scan().specs}

    def later(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def it(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_cold_start_takes_what_is_long_past_at_once(it: Scene) -> None:
    """An old file is read by the first scan, one of this moment when it was left alone."""
    it.spec("old", ago_s=QUIET_S)
    it.spec("young", ago_s=QUIET_S - 1)
    assert it.found() == {"old": "keep"}
    assert it.reader.scan().writing.keys() == {"young"}
    assert list(it.reader.writing) == ["young.yaml"]
    it.later(1)
    assert it.found() == {"old": "keep", "young": "keep"}
    assert (dict(it.reader.writing), dict(it.reader.scan().writing)) == ({}, {})


def test_what_was_read_before_stays_in_force_meanwhile(it: Scene) -> None:
    """While a file is written piece by piece the old one holds; each piece begins the wait anew."""
    path = it.spec("web", TAIL, ago_s=60)
    assert it.found() == {"web": "destroy"}
    text = path.read_text()
    for size in range(0, len(text) + 1, 20):
        it.later(QUIET_S - 1)
        it.write("web.yaml", text[:size])
        assert it.found() == {"web": "destroy"}
        assert not it.reader.scan().broken
    it.write("web.yaml", HEAD.format(name="web"))
    it.later(QUIET_S - 0.1)
    assert it.found() == {"web": "destroy"}
    it.later(0.1)
    assert it.found() == {"web": "keep"}


def test_a_word_of_a_rename_is_enough(it: Scene) -> None:
    """What is renamed into place is read by a look and by a scan, without a wait."""
    assert it.found() == {}
    it.spec("one")
    it.quiet.heard(["one.yaml"], Word.RENAMED)
    looked = it.reader.look(["one.yaml"])
    assert [spec.name for spec in looked or ()] == ["one"]
    it.spec("two")
    it.quiet.heard(["two.yaml"], Word.RENAMED)
    assert it.found() == {"one": "keep", "two": "keep"}


def test_a_look_that_cannot_tell_leaves_the_word_to_the_scan(it: Scene) -> None:
    """A wrong file that was renamed into place is told by the scan that the look asks for."""
    assert it.found() == {}
    it.spec("web", "labels: [x]\n")
    it.quiet.heard(["web.yaml"], Word.RENAMED)
    assert it.reader.look(["web.yaml"]) is None
    assert list(it.reader.scan().broken) == ["web"]


def test_a_word_holds_for_the_file_it_was_said_of(it: Scene) -> None:
    """What is written in place after a rename is not taken for what was renamed."""
    assert it.found() == {}
    it.spec("web", TAIL)
    it.quiet.heard(["web.yaml"], Word.RENAMED)
    it.spec("web")
    assert it.reader.look(["web.yaml"]) == ()
    assert it.found() == {}
    it.quiet.heard(["web.yaml"], Word.CLOSED)
    assert it.reader.look(["web.yaml"]) == ()
    it.later(CLOSED_QUIET_S)
    looked = it.reader.look(["web.yaml"])
    assert [spec.name for spec in looked or ()] == ["web"]


def test_a_closed_file_that_goes_on_is_waited_for(it: Scene) -> None:
    """A script that appends piece by piece, closing each time, is heard to its end."""
    assert it.found() == {}
    for more in ("", "labels: {team: web}\n", "labels: {team: web}\n" + TAIL):
        it.spec("web", more)
        it.quiet.heard(["web.yaml"], Word.CLOSED)
        assert it.reader.look(["web.yaml"]) == ()
        it.later(CLOSED_QUIET_S / 2)
        assert it.found() == {}
    it.later(CLOSED_QUIET_S / 2)
    assert it.found() == {"web": "destroy"}


def test_a_time_of_writing_that_lies_ahead_wedges_nothing(it: Scene) -> None:
    """A file of the future is read when two looks, the quiet time apart, agree; also year 2500."""
    it.spec("web", ago_s=-3600)
    it.spec("far", ago_s=-500 * 365 * 86400)
    assert it.found() == {}
    it.later(QUIET_S - 0.1)
    assert it.found() == {}
    it.later(0.1)
    assert it.found() == {"web": "keep", "far": "keep"}


def test_a_clock_that_is_set_back_wedges_nothing(it: Scene) -> None:
    """The wait begins anew by the new clock, and ends."""
    it.spec("web")
    assert it.found() == {}
    it.later(-86400)
    assert it.found() == {}
    assert max(it.reader.writing.values()) == it.time + timedelta(seconds=QUIET_S)
    it.later(QUIET_S)
    assert it.found() == {"web": "keep"}


def test_what_is_gone_is_not_waited_for(it: Scene) -> None:
    """A file that goes away while it is waited for leaves nothing behind."""
    path = it.spec("web")
    assert it.found() == {}
    path.unlink()
    assert it.reader.look(["web.yaml"]) is None
    assert it.found() == {}
    assert not it.reader.writing


def test_defaults_are_waited_for_too(it: Scene) -> None:
    """Half of a `_defaults.yaml` changes no spec below it, be it edited, new or gone for a moment.

    A spec that is new meanwhile waits for the defaults that it is to be read with.
    """
    it.write("team/_defaults.yaml", "labels: {team: web, tier: one}\n", ago_s=60)
    it.spec("team/a", ago_s=60)
    it.spec("b", ago_s=60)
    whole = {"team/a": {"team": "web", "tier": "one"}, "b": {}}
    assert it.labels() == whole
    it.write("team/_defaults.yaml", "labels: {team: web}\n")
    it.spec("team/new", ago_s=60)
    it.spec("c", ago_s=60)
    assert it.labels() == whole | {"c": {}}
    assert it.reader.look(["c.yaml"]) is None
    (it.directory / "team/_defaults.yaml").unlink()
    assert it.labels() == whole | {"c": {}}
    it.later(QUIET_S - 1)
    it.write("team/_defaults.yaml", "labels: {team: api}\n")
    it.write("_defaults.yaml", "labels: {all: yes}\n")
    assert it.labels() == whole | {"c": {}}
    it.later(QUIET_S)
    team = {"team": "api", "all": "yes"}
    everywhere = {"all": "yes"}
    assert it.labels() == {"team/a": team, "team/new": team, "b": everywhere, "c": everywhere}
    assert not it.reader.writing


def test_defaults_that_are_renamed_into_place_or_gone_hold(it: Scene) -> None:
    """A rename is in force at once; defaults that stay away are gone after the quiet time."""
    it.spec("a", ago_s=60)
    assert it.labels() == {"a": {}}
    it.write("_defaults.yaml", "labels: {all: yes}\n")
    it.quiet.heard(["_defaults.yaml"], Word.RENAMED)
    assert it.labels() == {"a": {"all": "yes"}}
    (it.directory / "_defaults.yaml").unlink()
    assert it.labels() == {"a": {"all": "yes"}}
    it.later(QUIET_S)
    assert it.labels() == {"a": {}}


def test_a_cold_start_below_defaults_that_are_being_written(it: Scene) -> None:
    """No spec is read without its defaults; those elsewhere are."""
    it.write("team/_defaults.yaml", "labels: {team: w")
    it.spec("team/a", ago_s=60)
    it.spec("b", ago_s=60)
    found = it.reader.scan()
    assert ([s.name for s in found.specs], list(found.writing)) == (["b"], ["team/a"])
    assert not found.broken
    it.write("team/_defaults.yaml", "labels: {team: web}\n")
    it.later(QUIET_S)
    assert it.labels() == {"team/a": {"team": "web"}, "b": {}}


def test_what_is_written_while_it_is_read_is_left_alone(tmp_path: Path) -> None:
    """An old file that somebody begins to write between the look at it and the reading."""
    it = Scene(tmp_path)

    class Disturbed(SpecReader):
        def read(self, relative: str, stamp: int, defaults: object = NO_DEFAULTS) -> object:  # type: ignore[override]
            it.write("web.yaml", HEAD.format(name="web"))
            return super().read(relative, stamp, defaults)  # type: ignore[arg-type]

    it.reader = Disturbed(tmp_path, SecretRules(), it.quiet)
    it.spec("web", TAIL, ago_s=60)
    it.spec("web", TAIL, ago_s=60)
    assert it.found() == {}
    assert list(it.reader.writing) == ["web.yaml"]
    it.quiet.heard(["web.yaml"], Word.NONE)
    it.later(QUIET_S)
    assert it.reader.look(["web.yaml"]) == ()


def test_who_writes_for_long_is_named(it: Scene) -> None:
    """A file that is written again and again is told of, by a scan that the look asks for."""
    assert it.found() == {}
    for _ in range(int(TOLD_AFTER_S / 2)):
        it.spec("web")
        assert it.reader.look(["web.yaml"]) == ()
        it.later(2)
    it.spec("web", ago_s=1)
    assert it.reader.look(["web.yaml"]) is None
    (told,) = it.reader.scan().writing.values()
    assert told.since == it.time - timedelta(seconds=1)
    assert told.until == told.since + timedelta(seconds=QUIET_S)
    it.later(2)
    it.spec("web")
    assert it.reader.look(["web.yaml"]) == ()


def test_words_are_bounded(it: Scene) -> None:
    """A flood of events takes no more memory than the system's own queue."""
    path = it.spec("web")
    for number in range(300):
        os.link(path, it.directory / f"w{number}.yaml")
    paths = [f"w{number}.yaml" for number in range(300)]
    for _ in range(2 * MAX_WORDS // 300):
        it.quiet.heard(paths, Word.CLOSED)
    it.quiet.heard([f"missing-{number}.yaml" for number in range(10)], Word.CLOSED)
    assert len(it.quiet._words) <= MAX_WORDS + 300
