from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.status_form import parse, render, status_from_json, status_to_json
from reconciler.adapters.statusfile import MAX_CORRUPT, StatusFiles
from reconciler.api.types import JobStatus, Operation
from reconciler.errors import NotDurableError, UnreadableError
from reconciler.model import (
    Attempt,
    Cause,
    CauseKind,
    Condition,
    Intent,
    Reason,
    ReasonCode,
    Run,
    RunEnd,
    State,
    Status,
)

NOW = datetime(2026, 3, 2, 12, 0, 0, 5, tzinfo=UTC)
ATTEMPT = Attempt(digest="d" * 64, commit="c" * 40, fields={"operation": "update"})
RUN = Run(
    run_id="r1",
    cause=Cause(kind=CauseKind.CHANGE, desired=True),
    operation=Operation.UPDATE,
    commit="c" * 40,
    id="id-1",
    version=7,
    url="https://example.com/7",
    submitted=NOW,
    status=JobStatus.RUNNING,
    started=NOW,
)
STATUS = Status(
    name="team/web",
    stack="acme/web/prod",
    state=State.PROGRESSING,
    reason=Reason(ReasonCode.RUNNING, "update 7 runs"),
    conditions=(
        Condition(type="Ready", status=False, reason="Running", message="x", last_transition=NOW),
    ),
    attempt=ATTEMPT,
    intent=Intent(
        run_id="r2",
        marker="RECONCILER_RUN_o_r2_dddddddd",
        cause=Cause(kind=CauseKind.SCHEDULE, desired=False, schedule="nightly", slot=NOW),
        operation=Operation.REFRESH,
        attempt=ATTEMPT,
        after_version=7,
        at=NOW,
    ),
    run=RUN,
    last=replace(RUN, end=RunEnd.SUCCEEDED, finished=NOW + timedelta(seconds=90)),
    latest=replace(RUN, end=RunEnd.SUCCEEDED, finished=NOW + timedelta(seconds=90)),
    failures=1,
)
SCHEMA = json.loads(Path("schemas/status.schema.json").read_text())

moments = st.integers(0, 7 * 10**15).map(lambda us: datetime.fromtimestamp(us / 10**6, UTC))
st.register_type_strategy(datetime, moments)
texts = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
attempts = st.builds(Attempt, fields=texts.map(MappingProxyType))
intents = st.builds(Intent, attempt=attempts)
statuses = st.builds(
    Status, attempt=st.none() | attempts, intent=st.none() | intents, generation=st.integers(0, 99)
)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    beside = tmp_path / "deployments.d"
    beside.mkdir()
    return beside, tmp_path / "state" / "copies"


@pytest.fixture
def files(place: tuple[Path, Path]) -> StatusFiles:
    return fresh(place)


def fresh(place: tuple[Path, Path]) -> StatusFiles:
    return StatusFiles(place[0], None, place[1])


@given(statuses)
@settings(max_examples=300, deadline=None)
def test_any_status_comes_back_exactly(status: Status) -> None:
    """What is written is valid against the schema and read back as the same value."""
    body = status_to_json(status)
    assert status_from_json(body) == status
    content = render(status)
    assert parse(content) == status
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(content))


def test_the_form_people_read() -> None:
    """The keys are those the documentation names, with the run in flight as `deployment`."""
    body = status_to_json(STATUS)
    assert body["observedDigest"] == "d" * 64
    assert body["observedCommit"] == "c" * 40
    assert body["lastApplied"] == {"operation": "update"}
    assert body["conditions"] == [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Running",
            "message": "x",
            "lastTransitionTime": "2026-03-02T12:00:00.000005Z",
        }
    ]
    assert body["deployment"] == {
        "id": "id-1",
        "version": 7,
        "operation": "update",
        "status": "running",
        "url": "https://example.com/7",
        "started": "2026-03-02T12:00:00.000005Z",
    }
    ended = status_to_json(replace(STATUS, run=None))["deployment"]
    assert (ended["status"], ended["finished"]) == ("succeeded", "2026-03-02T12:01:30.000005Z")


def test_every_field_is_in_the_schema() -> None:
    """The schema describes each key that a full status has, and no key is free."""
    assert set(status_to_json(STATUS)) <= set(SCHEMA["properties"])
    assert all("description" in SCHEMA["properties"][key] for key in SCHEMA["properties"])
    assert SCHEMA["additionalProperties"] is False


def test_a_write_is_found_in_both_places(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """The file and its copy are the same, private, and read again by another process."""
    written = files.write(STATUS)
    assert written == replace(STATUS, generation=1)
    paths = [folder / "team" / "web.status.json" for folder in place]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in paths)
    assert files.path("team/web") == paths[0]
    assert fresh(place).read("team/web") == written
    assert fresh(place).names() == ("team/web",)
    leftovers = [p for folder in place for p in folder.rglob("*.tmp")]
    assert leftovers == []


def test_no_status_yet(files: StatusFiles) -> None:
    """A spec without a status has an empty one."""
    assert files.read("web") == Status(name="web")
    assert files.names() == ()


def test_an_unchanged_status_is_not_written(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """Writing the same again leaves the file alone, also in another process; a change does not."""
    first = files.write(STATUS)
    inode = files.path("team/web").stat().st_ino
    assert files.write(first) == first
    assert files.write(STATUS) == first
    assert fresh(place).write(STATUS) == first
    assert files.path("team/web").stat().st_ino == inode
    assert files.write(replace(first, failures=2)).generation == 2


def test_a_wiped_checkout_is_mended(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """Where the file beside the spec is gone, the copy tells, and the next write restores it."""
    written = files.write(STATUS)
    files.path("team/web").unlink()
    assert fresh(place).read("team/web") == written
    assert fresh(place).names() == ("team/web",)
    assert files.write(written).generation == 2
    assert files.path("team/web").exists()


@pytest.mark.parametrize("older", [0, 1])
def test_the_newer_copy_is_believed(older: int, place: tuple[Path, Path]) -> None:
    """A crash between the two writes leaves an older one, which is not used."""
    files = fresh(place)
    files.write(STATUS)
    path = place[older] / "team" / "web.status.json"
    old = path.read_bytes()
    newer = files.write(replace(STATUS, failures=5))
    path.write_bytes(old)
    assert fresh(place).read("team/web") == newer


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"version": 2, "name": "team/web"}'],
    ids=["empty", "torn", "a list", "no text", "a bomb", "an empty object", "another release"],
)
@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_copy_is_set_aside(damage: bytes, damaged: int, place: tuple[Path, Path]) -> None:
    """A file that is none of ours is kept for people to look at, and the other one is used.

    To look alone moves nothing: who writes next sets it aside.
    """
    written = fresh(place).write(STATUS)
    path = place[damaged] / "team" / "web.status.json"
    path.write_bytes(damage)
    again = fresh(place)
    assert again.read("team/web") == written
    assert path.read_bytes() == damage
    assert not again.keeps("team/web")
    assert again.write(written).generation == 2
    assert path.with_name("web.status.json.corrupt-1").read_bytes() == damage
    assert parse(path.read_bytes()).generation == 2
    assert again.keeps("team/web")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)], ids=["beside", "copy", "both"])
def test_what_cannot_be_read_now_is_no_broken_one(
    number: int,
    which: tuple[int, ...],
    place: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that is there and cannot be read says nothing: it stays, and nobody begins anew."""
    written = fresh(place).write(STATUS)
    paths = [str(place[each] / "team" / "web.status.json") for each in which]
    before = {path: path.read_bytes() for folder in place for path in folder.rglob("*.json")}
    files = fresh(place)
    opens = os.open

    def fail(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path) in paths:
            raise OSError(number, os.strerror(number), str(path))
        return opens(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        for ask in (files.read, lambda _: files.write(written)):
            with pytest.raises(UnreadableError) as caught:
                ask("team/web")
            assert any(path in str(caught.value) for path in paths)
            assert os.strerror(number) in str(caught.value)
    assert {p: p.read_bytes() for f in place for p in f.rglob("*") if p.is_file()} == before
    assert files.read("team/web") == written


def test_an_edited_status_is_set_aside(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """A status that a person changed is not believed, however valid it looks."""
    written = files.write(STATUS)
    path = files.path("team/web")
    path.write_text(path.read_text().replace('"failures": 1', '"failures": 0'))
    assert fresh(place).read("team/web") == written


def test_a_copied_status_is_not_believed(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """`cp web.status.json api.status.json` must not tell that api was deployed."""
    files.write(STATUS)
    target = place[0] / "team" / "api.status.json"
    target.write_bytes(files.path("team/web").read_bytes())
    assert fresh(place).read("team/api") == Status(name="team/api")


def test_both_damaged(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """With both copies lost nothing is known, and what is set aside stays bounded."""
    for _ in range(MAX_CORRUPT + 3):
        files.write(replace(STATUS, failures=files.read("team/web").failures + 1))
        for folder in place:
            (folder / "team" / "web.status.json").write_bytes(b"{")
        assert files.read("team/web") == Status(name="team/web")
    assert len(list((place[0] / "team").glob("*.corrupt-*"))) == MAX_CORRUPT


def test_what_cannot_be_set_aside(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """A damaged file that cannot be moved is passed over all the same."""
    written = files.write(STATUS)
    path = files.path("team/web")
    path.write_bytes(b"{")
    for number in range(1, MAX_CORRUPT + 1):
        (path.parent / f"web.status.json.corrupt-{number}").mkdir()
    assert fresh(place).read("team/web") == written
    assert path.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"version": 2, "name": "x"},
        {"name": "x"},
        {"version": 1},
        {"version": 1, "name": "x", "a": 1},
        {"version": 1, "name": "x", "conditions": {}},
        {"version": 1, "name": "x", "conditions": [1]},
        {"version": 1, "name": "x", "observedDigest": "x"},
    ],
)
def test_another_form_is_refused(body: dict[str, object]) -> None:
    """What another release wrote, or says less or more than a status, is not read as one."""
    with pytest.raises(ValueError, match=r"."):
        status_from_json(body)


def test_planted_links_are_not_followed(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """A link in a status file's place is replaced, and what it points to stays as it was."""
    victim = place[0].parent / "victim"
    victim.write_text("precious")
    for folder in place:
        (folder / "team").mkdir(parents=True)
        (folder / "team" / "web.status.json").symlink_to(victim)
    files.write(STATUS)
    assert victim.read_text() == "precious"
    assert all(not (folder / "team" / "web.status.json").is_symlink() for folder in place)


def test_a_planted_status_is_not_read_through_a_link(
    files: StatusFiles, place: tuple[Path, Path]
) -> None:
    """A link to a valid status elsewhere is refused when read."""
    outside = place[0].parent / "outside.json"
    outside.write_bytes(render(replace(STATUS, generation=99)))
    (place[0] / "team").mkdir()
    (place[0] / "team" / "web.status.json").symlink_to(outside)
    assert files.read("team/web") == Status(name="team/web")


def test_a_linked_folder_is_refused(files: StatusFiles, place: tuple[Path, Path]) -> None:
    """A folder that leads out of the directory is written to by nobody."""
    outside = place[0].parent / "outside"
    outside.mkdir()
    (place[0] / "team").symlink_to(outside)
    with pytest.raises(NotDurableError, match="leads out of"):
        files.write(STATUS)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../web", "a//b", "/etc/x", "a/../b", "a\0b", "."])
def test_names_that_climb_are_refused(name: str, files: StatusFiles) -> None:
    """No name leads out of the directory."""
    with pytest.raises(ValueError, match="cannot be the name"):
        files.path(name)


def test_a_directory_that_cannot_be_written(place: tuple[Path, Path]) -> None:
    """Where a status cannot be made durable it says which file and why."""
    (place[0] / "team").write_text("a file where a folder belongs")
    with pytest.raises(NotDurableError, match=f"{place[0]}/team cannot be made: "):
        fresh(place).write(STATUS)


def test_a_full_disk(place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, or fails to sync, is told; the old file stays whole."""
    files = fresh(place)
    first = files.write(STATUS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NotDurableError, match="No space left on device"):
            files.write(replace(first, failures=9))
    assert fresh(place).read("team/web") == first
    assert files.write(replace(first, failures=9)).generation == 2
    assert list(place[0].rglob("*.tmp")) == []


def test_a_read_only_directory_with_its_own_place(tmp_path: Path) -> None:
    """With a status directory of its own nothing is written beside the specs."""
    specs = tmp_path / "specs"
    specs.mkdir()
    files = StatusFiles(specs, tmp_path / "statuses", tmp_path / "copies")
    files.write(STATUS)
    assert list(specs.iterdir()) == []
    assert files.path("team/web") == tmp_path / "statuses" / "team" / "web.status.json"
    assert stat.S_IMODE((tmp_path / "statuses").stat().st_mode) == 0o700


def test_a_directory_that_is_gone_is_not_made_again(place: tuple[Path, Path]) -> None:
    """Who removes the directory and makes another is not disturbed; the copy has it all."""
    directory, copies = place
    files = StatusFiles(directory, None, copies)
    first = files.write(STATUS)
    shutil.rmtree(directory)
    second = files.write(replace(first, failures=3))
    assert files.write(second) == second
    assert not directory.exists()
    assert StatusFiles(directory, None, copies).read("team/web") == second
    directory.mkdir()
    assert StatusFiles(directory, None, copies).write(second).failures == 3
    assert (directory / "team/web.status.json").exists()


@pytest.mark.parametrize("older", [0, 1])
def test_a_kill_between_the_two_writes_is_mended(place: tuple[Path, Path], older: int) -> None:
    """Where one of the two is older the next write makes both the same, though nothing is new."""
    files = fresh(place)
    first = files.write(STATUS)
    paths = [folder / "team/web.status.json" for folder in place]
    kept = paths[older].read_bytes()
    second = files.write(replace(first, failures=3))
    paths[older].write_bytes(kept)
    again = fresh(place)
    assert again.read("team/web") == second
    assert not again.keeps("team/web")
    assert again.write(second).failures == 3
    assert paths[0].read_bytes() == paths[1].read_bytes() != kept
    assert again.keeps("team/web")
