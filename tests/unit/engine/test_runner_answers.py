"""What programs of others answer is bounded, however much they write."""

from __future__ import annotations

import io
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.engine.runners.base import Command, Needs, PlaceError, Surroundings
from reconciler.engine.runners.container_engine import ContainerEngine
from reconciler.engine.runners.kubernetes import files
from reconciler.engine.runners.kubernetes.pod import Pod
from reconciler.engine.runners.kubernetes.process import LONGEST_LINE_BYTES, Said
from reconciler.engine.runners.process import ProcessRunner
from reconciler.engine.state import LARGEST_ANSWER_BYTES, ask

MIB = 1024 * 1024


def test_a_container_engine_that_never_ends_to_answer_is_ended() -> None:
    """Output without an end is cut off long before the time limit, and not kept."""
    endless = ContainerEngine(name="podman", program=shutil.which("yes") or "")
    tracemalloc.start()
    try:
        with pytest.raises(PlaceError, match="podman exec answers more than 4194304 bytes"):
            endless.call(["exec"])
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


def test_of_what_pulumi_answers_a_part_is_kept(tmp_path: Path) -> None:
    """A quick question to a program that writes a lot takes no more memory than its answer."""
    place = ProcessRunner().open(
        Needs(deployment_id="d", surroundings=Surroundings(workspace=tmp_path))
    )
    argv = ("head", "-c", str(64 * MIB), "/dev/zero")
    tracemalloc.start()
    try:
        command = Command(argv=argv, cwd=tmp_path, environment={"PATH": "/usr/bin:/bin"})
        code, output = ask(place, command)
        assert (code, len(output)) == (0, LARGEST_ANSWER_BYTES)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
        place.close()


class Writing:
    """A script in a pod that writes its parts and ends well."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def receive(self, on_stdout: Callable[[bytes], None], _: object) -> int:
        for part in self.parts:
            on_stdout(part)
        return 0

    def close(self) -> None:
        pass


class WritingPod(Pod):
    """A pod of which every script writes the same."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__(cast("Any", None), "job", cast("Any", None))
        self.parts = [*parts]

    def exec(self, *_: object, **__: object) -> Any:
        return Writing(self.parts)


def archive(mode: str, content: bytes) -> bytes:
    """Return an archive with the file PULUMI_ENV."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("PULUMI_ENV")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def test_what_is_fetched_from_a_pod_is_bounded(tmp_path: Path) -> None:
    """A file comes over whole; of one without an end nothing does."""
    path = tmp_path / "PULUMI_ENV"
    files.fetch(WritingPod(archive("w", b"A=1\n")), path)
    assert path.read_bytes() == b"A=1\n"
    with pytest.raises(PlaceError, match="it gives more than 4194304 bytes"):
        files.fetch(WritingPod(*[bytes(MIB)] * 100), path)
    assert path.read_bytes() == b"A=1\n"


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_what_is_fetched_from_a_pod_is_not_unpacked(tmp_path: Path, mode: str) -> None:
    """A pod's own tar may send a compressed archive, which could become larger than the disk."""
    with pytest.raises(PlaceError, match="cannot be fetched"):
        files.fetch(WritingPod(archive(mode, bytes(8 * MIB))), tmp_path / "PULUMI_ENV")
    assert list(tmp_path.iterdir()) == []


def test_an_agent_s_word_has_an_end() -> None:
    """What a deployment puts in the place of the agent's words is not gathered, nor a number."""
    said = Said()
    for _ in range(100):
        said.take(bytes(MIB // 10))
    assert len(said.rest) <= LONGEST_LINE_BYTES
    said.take(b"\nstarted " + b"9" * 900 + b"\n")
    assert said.pid == 0
    said.take(b"started 17\nend 3 10 0\n")
    assert (said.pid, said.code, said.size) == (17, 3, 10)
