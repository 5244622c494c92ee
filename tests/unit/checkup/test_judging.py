"""What is said of a machine, fact by fact: tables of what was found and what is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.checkup import (
    Clocks,
    Contact,
    Disk,
    Enclosed,
    Finding,
    Git,
    Kept,
    Level,
    Pulumi,
    Sandbox,
    Specs,
    Watching,
    count,
    judging,
    judging_api,
    worst,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
GIB = 1024**3


def told(found: Finding) -> tuple[str, str, str]:
    """Return what a finding says, and keep what every one has to keep."""
    assert found.message
    # What is not right has a next step, and what is right has none.
    assert bool(found.fix) == (found.level not in {Level.OK, Level.SKIPPED}), found
    return str(found.level), found.message, found.fix


PULUMIS = [
    (Pulumi(tested="v3.270.1", version="v3.270.1", directory="/opt"), "ok", "v3.270.1, in /opt"),
    (Pulumi(tested="v3.270.1", version="v3.300.0", directory="/opt"), "ok", "v3.300.0"),
    (Pulumi(tested="v3.270.1", version="v3.9.9", directory="/opt"), "warning", "older than v3.2"),
    (Pulumi(tested="v3.270.1", version="v4.0.0", directory="/opt"), "warning", "version 4 yet"),
    (Pulumi(tested="v3.270.1", trouble="no usable Pulumi. Do it"), "problem", "no usable Pulumi"),
    (Pulumi(tested="v3.270.1", trouble="nothing"), "problem", "nothing"),
]


@pytest.mark.parametrize(("fact", "level", "message"), PULUMIS)
def test_pulumi(fact: Pulumi, level: str, message: str) -> None:
    """A Pulumi is right where it is no older, and of no other kind, than what is tested."""
    found = told(judging.pulumi(fact))
    assert found[0] == level
    assert message in found[1]


GITS = [
    (Git(said="git version 2.39.5"), "ok", "2.39.5"),
    (Git(said="git version 2.31.0"), "ok", "2.31.0"),
    (Git(said="git version 3.0.1 (Apple Git-1)"), "ok", "3.0.1"),
    (Git(said="git version 2.30.2"), "problem", "is too old"),
    (Git(said="nonsense"), "problem", "is too old"),
    (Git(trouble="git: No such file"), "problem", "No such file"),
]


@pytest.mark.parametrize(("fact", "level", "message"), GITS)
def test_git(fact: Git, level: str, message: str) -> None:
    """A git has to be one that can be kept from the host's settings."""
    found = told(judging.git(fact))
    assert found[0] == level
    assert message in found[1]


SANDBOXES = [
    (Sandbox(works=True, groups=2, containers="podman"), "ok", "a sandbox, by bubblewrap", "ok"),
    (Sandbox(works=True, groups=0), "ok", "no podman or docker", "warning"),
    (Sandbox(works=False, groups=1), "warning", "no sandbox can be made here", "ok"),
    (Sandbox(asked="bubblewrap", works=False, groups=1), "problem", "no sandbox", "ok"),
    (Sandbox(asked="process", works=True, groups=1), "warning", "can read all", "ok"),
    (Sandbox(asked="container", containers="docker"), "ok", "containers, by docker", "ok"),
    (Sandbox(asked="container", containers_trouble="no daemon"), "problem", "no daemon", "ok"),
]


@pytest.mark.parametrize(("fact", "level", "message", "limits"), SANDBOXES)
def test_sandbox(fact: Sandbox, level: str, message: str, limits: str) -> None:
    """What deployments run in is told, and what bounds them."""
    runner, bounds = judging.sandbox(fact)
    assert (runner.check, bounds.check) == ("runner", "limits")
    assert told(runner)[0] == level
    assert message in runner.message
    assert told(bounds)[0] == limits


def test_pods_are_not_judged() -> None:
    """What a cluster bounds its pods by is not for this machine to say."""
    (found,) = judging.sandbox(Sandbox(asked="kubernetes"))
    assert told(found)[0] == "ok"


KEPT = Kept(
    what="state", path="/srv/state", exists=True, mode=0o700, owner=7, user=7, owner_name="ann"
)
FILE = replace(KEPT, what="key", path="/srv/key", folder=False, mode=0o600)
KEEPING = [
    (KEPT, "ok", "state, /srv/state", ""),
    (FILE, "ok", "key, /srv/key", ""),
    (replace(KEPT, exists=False), "ok", "is made when it is needed", ""),
    (replace(KEPT, exists=False, usable=False), "problem", "cannot be made", "install -d -m 0700"),
    (replace(KEPT, exists=False, needed=True), "problem", "is not there", "make /srv/state"),
    (replace(KEPT, mode=0o750), "problem", "by others (0750)", "chmod go= /srv/state"),
    (replace(FILE, mode=0o604), "problem", "by others (0604)", "chmod go= /srv/key"),
    (replace(FILE, mode=0o644, secret=False), "ok", "key", ""),
    (replace(FILE, mode=0o664, secret=False), "problem", "written by others", "chmod go-w"),
    (replace(KEPT, usable=False), "problem", "cannot be written to", "chmod u+rwx /srv/state"),
    (replace(FILE, usable=False), "problem", "cannot be read", "chmod u+r /srv/key"),
    (replace(KEPT, usable=False, user=8), "problem", "is ann's", "look again as ann"),
    (replace(KEPT, user=0), "warning", "you are root", "runuser -u ann"),
    (replace(KEPT, user=0, owner=0), "ok", "state", ""),
]


@pytest.mark.parametrize(("fact", "level", "message", "fix"), KEEPING)
def test_kept(fact: Kept, level: str, message: str, fix: str) -> None:
    """What must be kept is there, usable, and for nobody else."""
    (found,) = judging.kept([fact], "state")
    said = told(found)
    assert said[0] == level
    assert message in said[1]
    assert fix in said[2]


def test_what_is_kept_well_is_told_in_one_line() -> None:
    """Only what is wrong has a line of its own; that there is nothing yet is said too."""
    found = list(judging.kept([KEPT, replace(FILE, mode=0o666), FILE], "keys"))
    assert [f.level for f in found] == [Level.PROBLEM, Level.OK]
    assert found[1].message == "state, /srv/state; key, /srv/key"
    assert [f.message for f in judging.kept([], "keys")] == ["none is there yet"]


DISK = Disk(
    what="data", path="/d", kind="ext4", free_bytes=9 * GIB, free_files=500_000, all_files=1_000_000
)
DISKS = [
    (DISK, ["ok"], "9,216 MiB free"),
    (replace(DISK, free_bytes=GIB - 1), ["warning"], "may fill"),
    (replace(DISK, free_bytes=99 * 1024**2), ["problem"], "nothing can be kept"),
    (replace(DISK, free_files=0), ["problem"], "0 files free"),
    (replace(DISK, free_files=49_999), ["warning"], "49,999 more files"),
    (replace(DISK, free_files=0, all_files=0), ["ok"], "free"),
    (replace(DISK, kind="tmpfs"), ["ok", "warning"], "gone after a restart"),
    (replace(DISK, kind="nfs4"), ["ok", "warning"], "not certain"),
]


@pytest.mark.parametrize(("fact", "levels", "message"), DISKS)
def test_disk(fact: Disk, levels: list[str], message: str) -> None:
    """There is room, in bytes and in files, on something that lasts."""
    found = [told(finding) for finding in judging.disk([fact])]
    assert [said[0] for said in found] == levels
    assert message in found[-1][1]


WATCH = Watching(folders=10, most_watches=8192, instances=3, most_instances=128)
WATCHES = [
    (WATCH, "ok", "10 directories", ""),
    (replace(WATCH, folders=1), "ok", "1 directory", ""),
    (replace(WATCH, folders=9000), "warning", "9,000 directories", "max_user_watches=18000"),
    (replace(WATCH, instances=127), "warning", "127 of 128", "max_user_instances=512"),
    (replace(WATCH, instances=-1), "ok", "10 directories", ""),
]


@pytest.mark.parametrize(("fact", "level", "message", "fix"), WATCHES)
def test_watching(fact: Watching, level: str, message: str, fix: str) -> None:
    """Where inotify has too little, that changes come later is said, and how to get more."""
    said = told(judging.watching(fact))
    assert said[0] == level
    assert message in said[1]
    assert fix in said[2]


SPECS = Specs(directory="deployments.d", specs=2)
SPECIFIED = [
    (SPECS, "ok", "2 valid specs in deployments.d"),
    (replace(SPECS, specs=1), "ok", "1 valid spec in"),
    (replace(SPECS, mistakes=1, first_mistake="a.yaml:1:1: x"), "problem", "1 mistake, the first:"),
    (replace(SPECS, trouble="is no directory"), "problem", "deployments.d: is no directory"),
]


@pytest.mark.parametrize(("fact", "level", "message"), SPECIFIED)
def test_specs(fact: Specs, level: str, message: str) -> None:
    """Specs are counted, and the first mistake is shown."""
    said = told(judging.specs(fact))
    assert said[0] == level
    assert message in said[1]


def test_an_engine_within_a_service() -> None:
    """An embedded engine that goes with its service is named with the service."""
    (found,) = judging.enclosed([])
    assert told(found)[0] == "ok"
    running = Enclosed(service="web.service", process=12)
    would = Enclosed(service="web.service", file="/etc/systemd/system/web.service")
    both = [told(finding) for finding in judging.enclosed([running, would])]
    assert [said[0] for said in both] == ["problem", "problem"]
    assert "process 12" in both[0][1]
    assert "/etc/systemd/system/web.service" in both[1][1]
    assert "install-systemd" in both[0][2]


URL = "https://api.example.com"


def clocks(ahead_s: float, took_s: float = 0.1) -> Clocks:
    return Clocks(theirs=NOW, ours=NOW + timedelta(seconds=ahead_s), took_s=took_s)


GOOD = Contact(
    url=URL, user="ann", organizations=frozenset({"acme"}), role="deploy", clocks=clocks(1)
)
CONTACTS = [
    (GOOD, ["ok", "ok", "ok"], "ann's, for acme, role deploy"),
    (replace(GOOD, role=""), ["ok", "ok", "ok"], "ann's, for acme"),
    (replace(GOOD, role="admin"), ["ok", "ok", "ok"], "deploy would do"),
    (replace(GOOD, role="read"), ["ok", "problem", "ok"], "start nothing"),
    (replace(GOOD, organizations=frozenset()), ["ok", "problem", "ok"], "does not see acme"),
    (replace(GOOD, clocks=clocks(-60)), ["ok", "ok", "warning"], "60 s behind"),
    (replace(GOOD, clocks=clocks(10_800)), ["ok", "ok", "problem"], "3 h ahead of"),
    (replace(GOOD, clocks=clocks(9, 8.0)), ["ok", "ok", "ok"], "as the API's"),
    (replace(GOOD, clocks=clocks(0, 20.0)), ["ok", "ok", "skipped"], "in time"),
    (Contact(url=URL, status=401, clocks=clocks(0)), ["ok", "problem", "ok"], "was revoked"),
    (Contact(url=URL, status=403, words="no"), ["ok", "warning", "skipped"], "even ask"),
    (Contact(url=URL, status=418, words="tea"), ["ok", "unknown", "skipped"], "418: tea"),
    (Contact(url=URL, status=404, words="?"), ["problem", "skipped", "skipped"], "no API of"),
    (Contact(url=URL, status=429, words="?"), ["warning", "skipped", "skipped"], "left alone"),
    (Contact(url=URL, lost="x did not answer"), ["problem", "skipped", "skipped"], "x did not"),
    (Contact(url=URL, lost="bad CERTIFICATE"), ["problem", "skipped", "skipped"], "CERTIF"),
    (Contact(url=URL, refused_url="a; use b"), ["problem", "skipped", "skipped"], "a"),
    (Contact(url=URL, no_token="none given"), ["skipped", "problem", "skipped"], "none given"),
    (Contact(url="", embedded=True, running=False), ["ok", "ok", "skipped"], "of its own"),
    (Contact(url=URL, embedded=True), ["ok", "ok", "skipped"], "the embedded engine"),
    (Contact(url=URL, embedded=True, lost="no"), ["problem", "skipped", "skipped"], "no"),
]


@pytest.mark.parametrize(("fact", "levels", "message"), CONTACTS)
def test_contact(fact: Contact, levels: list[str], message: str) -> None:
    """The API, the token and the clocks are told of one call, each by itself."""
    found = list(judging_api.contact(fact, frozenset({"acme"})))
    assert [finding.check for finding in found] == ["api", "token", "clock"]
    said = [told(finding) for finding in found]
    assert [each[0] for each in said] == levels
    assert message in "\n".join(each[1] for each in said)


def test_a_token_with_two_faults_has_both_told() -> None:
    """A role that is too little and an organization that is not seen are two things to mend."""
    fact = replace(GOOD, role="read", organizations=frozenset({"other"}))
    found = [f for f in judging_api.contact(fact, frozenset({"acme"})) if f.check == "token"]
    assert [f.level for f in found] == [Level.PROBLEM, Level.PROBLEM]


def test_the_worst_counts() -> None:
    """A problem is worse than what nobody knows, and that is worse than a warning."""
    levels = list(Level)
    found = [Finding(check="x", level=level, message="m") for level in levels]
    assert worst([]) is Level.OK
    assert [worst(found[: n + 1]) for n in range(len(levels))] == levels
    assert count(found) == "1 problem, 1 unanswered check, 1 warning"
    assert count([*found, *found]) == "2 problems, 2 unanswered checks, 2 warnings"
    assert count(found[:2]) == "nothing is wrong"


SPANS = [(1, "1 s"), (-119, "119 s"), (120, "2 min"), (7200, "2 h"), (90000, "25 h")]


@pytest.mark.parametrize(("seconds", "words"), SPANS)
def test_a_span_is_said_in_words(seconds: int, words: str) -> None:
    """A time is told in the largest unit that still says something."""
    assert judging.span(timedelta(seconds=seconds)) == words
