"""Deployments in pods of a real cluster, by an account with exactly the documented role."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.config import Limits
from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.base import Command, Needs, Place, Process, Surroundings
from reconciler.engine.runners.kubernetes.runner import KubernetesRunner
from tests.kubernetes_cluster import BUSYBOX_IMAGE, Cluster
from tests.runners.kubernetes_role import engine_kubeconfig
from tests.runners.processes import LIMIT_S, left
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.real]

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def settings(settings: KubernetesSettings, cluster: Cluster, tmp_path: Path) -> KubernetesSettings:
    """The same settings, as the account that the documentation makes."""
    config = engine_kubeconfig(cluster, settings.namespace, tmp_path / "engine.kubeconfig")
    return replace(settings, config=str(config))


@dataclass
class Pods:
    """Places in a namespace, and what their commands print."""

    cluster: Cluster
    settings: KubernetesSettings
    workspace: Path
    places: list[Place]

    def open(self, limits: Limits | None = None, **changes: Any) -> Place:
        """Return a place that is ready."""
        place = self.place(limits, **changes)
        said: list[bytes] = []
        assert place.prepare(said.append).wait(LIMIT_S) == 0, b"".join(said).decode()
        return place

    def place(self, limits: Limits | None = None, **changes: Any) -> Place:
        """Return a place that is not ready yet."""
        needs = Needs(
            deployment_id=f"deployment-{len(self.places)}",
            surroundings=Surroundings(workspace=self.workspace),
            limits=limits or Limits(),
        )
        place = KubernetesRunner(replace(self.settings, **changes)).open(needs)
        self.places.append(place)
        return place

    def all(self) -> list[Any]:
        """Return the pods there are."""
        path = f"/api/v1/namespaces/{self.settings.namespace}/pods"
        return list(self.cluster.call("GET", path)["items"])


@pytest.fixture
def pods(cluster: Cluster, settings: KubernetesSettings, tmp_path: Path) -> Iterator[Pods]:
    """Places without a volume."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    made = Pods(cluster, settings, workspace, [])
    yield made
    for place in made.places:
        place.close()
    assert made.all() == []


class Output:
    """What a command prints."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self._pieces.append(data)

    def __str__(self) -> str:
        return b"".join(self._pieces).decode(errors="replace")


def start(place: Place, script: str, output: Output, cwd: Path, **variables: str) -> Process:
    command = Command(argv=("sh", "-c", script), cwd=cwd, environment=PATH | variables)
    return place.start(command, output)


def test_the_workspace_is_sent_and_files_come_back(pods: Pods) -> None:
    """Files, links, modes and names of any kind arrive; what a command writes is fetched."""
    source = pods.workspace / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "ä b\n").write_text("x\n")
    (source / "script").write_text("#!/bin/sh\necho ran\n")
    (source / "script").chmod(0o755)
    (source / "link").symlink_to("script")
    (source / ".hidden").write_text("h")
    place = pods.open()
    output = Output()
    script = "./script && readlink link && cat .hidden deep/er/* && echo A=b >PULUMI_ENV"
    assert start(place, script, output, source).wait(LIMIT_S) == 0
    assert str(output) == "ran\nscript\nhx\n"
    assert not (source / "PULUMI_ENV").exists()
    place.fetch(source / "PULUMI_ENV")
    assert (source / "PULUMI_ENV").read_text() == "A=b\n"
    (source / "PULUMI_ENV").write_text("")
    place.send(source / "PULUMI_ENV")
    assert start(place, "test -f PULUMI_ENV && ! test -s PULUMI_ENV", output, source).wait(60) == 0


def test_what_a_pod_sends_stays_in_its_place(pods: Pods, tmp_path: Path) -> None:
    """A link out of the workspace is fetched as nothing that the engine would follow."""
    (tmp_path / "victim").write_text("safe")
    place = pods.open()
    output = Output()
    script = f"ln -s {tmp_path}/victim out && mkdir d && ln -s / d/root"
    assert start(place, script, output, pods.workspace).wait(LIMIT_S) == 0
    for name in ("out", "d"):
        with contextlib.suppress(Exception):
            place.fetch(pods.workspace / name)
    assert (tmp_path / "victim").read_text() == "safe"
    assert not (pods.workspace / "out").is_symlink()
    assert not (pods.workspace / "d" / "root").exists()


def test_a_busybox_is_image_enough(pods: Pods) -> None:
    """The shell and the small programs may be busybox's."""
    place = pods.open(image=BUSYBOX_IMAGE)
    output = Output()
    code = start(place, 'echo "$A"; exit 7', output, pods.workspace, A="it's\n$x").wait(LIMIT_S)
    assert (code, str(output)) == (7, "it's\n$x\n")
    asleep = start(place, "exec sleep 1000", output, pods.workspace)
    asleep.interrupt()
    assert asleep.wait(LIMIT_S) == 130
    asleep = start(place, "setsid sleep 1000 & exec sleep 1000", output, pods.workspace)
    asleep.kill()
    assert asleep.wait(LIMIT_S) == 137


def test_the_pod_has_no_privileges_and_no_token(pods: Pods) -> None:
    """No capability, no way to get one, a seccomp filter, and nothing of the cluster's."""
    place = pods.open()
    output = Output()
    script = (
        "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; "
        "ls /var/run/secrets 2>&1; ls /dev/kmsg /dev/mem 2>&1; mount -t tmpfs x /mnt 2>&1; env"
    )
    start(place, script, output, pods.workspace).wait(LIMIT_S)
    lines = str(output).split()
    assert lines[:8] == [
        *("CapBnd:", "0000000000000000") * 0,
        *("CapEff:", "0000000000000000", "CapBnd:", "0000000000000000"),
        *("NoNewPrivs:", "1", "Seccomp:", "2"),
    ]
    assert "/var/run/secrets': No such file" in str(output)
    assert "KUBERNETES_SERVICE" not in str(output)


def test_a_secret_is_in_no_object_and_no_log_of_the_cluster(pods: Pods) -> None:
    """Neither the Job nor the pod nor what the pod writes to its own log holds it."""
    canary = "canary-0b9e55d1"
    place = pods.open()
    output = Output()
    process = start(place, 'echo "$S"; exec sleep 1000', output, pods.workspace, S=canary)
    eventually(lambda: canary in str(output), "the command")
    (pod,) = pods.all()
    jobs = pods.cluster.call("GET", f"/apis/batch/v1/namespaces/{pods.settings.namespace}/jobs")
    assert canary not in json.dumps([pod, jobs])
    assert left(canary) == []
    logs = list(Path("/var/log/pods").rglob("*.log"))
    assert [path for path in logs if canary in path.read_text(errors="replace")] == []
    process.kill()
    process.wait(LIMIT_S)


def test_memory_is_bounded_and_the_log_says_so(pods: Pods) -> None:
    """Who takes more than the limit is ended; the next command runs as if nothing were."""
    place = pods.open(Limits(memory_bytes=96 * 1024**2))
    output = Output()
    hungry = f"exec {sys.executable} -c 'x = bytearray(1024 ** 3)'"
    assert start(place, hungry, output, pods.workspace).wait(LIMIT_S) == 137
    assert "memory" in str(output)


def test_the_deadline_interrupts_and_then_ends(pods: Pods) -> None:
    """The cluster ends what takes too long; the program is told first, as by a cancel."""
    place = pods.open(deadline=timedelta(seconds=8), grace=timedelta(seconds=10))
    output = Output()
    script = "trap 'echo told; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    process = start(place, script, output, pods.workspace)
    assert process.wait(LIMIT_S) in {3, 137}
    assert "told" in str(output)


def test_a_program_that_does_not_hear_is_killed_at_the_deadline(pods: Pods) -> None:
    """The grace is bounded too, and the log says what ended it."""
    place = pods.open(deadline=timedelta(seconds=6), grace=timedelta(seconds=2))
    output = Output()
    script = "trap '' INT TERM; while :; do sleep 0.1; done"
    process = start(place, script, output, pods.workspace)
    assert process.wait(LIMIT_S) == 137
    assert "the pod of this deployment is gone" in str(output)


def test_an_image_that_is_not_there_fails_the_first_step(pods: Pods) -> None:
    """Within seconds, with what the node says of it."""
    said = Output()
    place = pods.place(image="localhost:1/none/such:1", pull="always")
    assert place.prepare(said).wait(LIMIT_S) == 1
    assert "the image cannot be pulled: ErrImagePull: " in str(said)
    assert "localhost:1/none/such:1" in str(said)


def test_an_image_without_pulumi_is_refused(pods: Pods, cluster: Cluster) -> None:
    """The first step says what the image lacks."""
    said = Output()
    place = pods.place(image="localhost/pause:1")
    assert place.prepare(said).wait(LIMIT_S) == 1
    assert cluster.directory.exists()
    assert "sh" in str(said)


class Line:
    """A line to the API server that can be cut: what goes through it is not looked at."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """End all connections, and return how many there were."""
        pairs, self._pairs = self._pairs, []
        for end in [end for pair in pairs for end in pair]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def close(self) -> None:
        self._ended = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    @staticmethod
    def _carry(near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with near, far, contextlib.suppress(OSError):
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)


def test_lost_connections_lose_nothing_and_repeat_nothing(pods: Pods, tmp_path: Path) -> None:
    """The line is cut again and again: each number comes once, the code is right, one run."""
    line = Line(pods.cluster.port)
    config = tmp_path / "through-the-line"
    text = Path(pods.settings.config).read_text()
    config.write_text(text.replace(f":{pods.cluster.port}", f":{line.port}"))
    try:
        place = pods.open(config=str(config))
        output = Output()
        script = (
            "echo run >>runs; i=0; while [ $i -lt 400 ]; do i=$((i + 1)); echo $i; sleep 0.01; "
            "done; cat runs; exit 9"
        )
        process = start(place, script, output, pods.workspace)
        cuts = 0
        while process.wait(1.0) is None:
            cuts += line.cut() > 0
        assert process.wait() == 9
        assert cuts >= 2
        expected = "".join(f"{number}\n" for number in range(1, 401)) + "run\n"
        assert str(output) == expected
    finally:
        pods.places.pop().close()
        line.close()


def test_a_deleted_pod_ends_its_command(pods: Pods) -> None:
    """Somebody deletes it: the program is interrupted, and the log says that it is gone."""
    place = pods.open(grace=timedelta(seconds=5))
    output = Output()
    script = "trap 'echo told; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    process = start(place, script, output, pods.workspace)
    eventually(lambda: "ready" in str(output), "the command")
    (pod,) = pods.all()
    path = f"/api/v1/namespaces/{pods.settings.namespace}/pods/{pod['metadata']['name']}"
    pods.cluster.call("DELETE", path)
    assert process.wait(LIMIT_S) in {3, 137}
    eventually(lambda: "told" in str(output), "it was interrupted")


ENGINE = """
import sys
from pathlib import Path
from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.base import *
from reconciler.engine.runners.kubernetes.runner import KubernetesRunner
config, namespace, image, workspace, name = sys.argv[1:]
runner = KubernetesRunner(KubernetesSettings(
    config=config, namespace=namespace, image=image, pull="never", request_disk="0",
))
around = Surroundings(workspace=Path(workspace))
place = runner.open(Needs(deployment_id=name, surroundings=around))
assert place.prepare(print).wait() == 0
argv = ("sh", "-c", "setsid sleep 1000 & echo begun; sleep 1000; : " + name)
environment = {"PATH": "/usr/bin:/bin"}
command = Command(argv=argv, cwd=Path(workspace), environment=environment)
place.start(command, lambda data: print(data.decode(), flush=True)).wait()
"""


def test_an_engine_that_died_finds_its_pods_and_ends_them(pods: Pods) -> None:
    """By the deployment's id; when that has returned, no process of it runs any more."""
    name = f"lost-{os.getpid()}"
    settings = pods.settings
    engine = subprocess.Popen(
        [
            *(sys.executable, "-c", ENGINE, settings.config, settings.namespace, settings.image),
            *(str(pods.workspace), name),
        ],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    assert engine.stdout.readline() == "begun\n"
    engine.kill()
    engine.communicate(timeout=LIMIT_S)
    assert left(f": {name}") != []
    assert KubernetesRunner(settings).end_strays(name) == 1
    assert left(f": {name}") == []
    assert pods.all() == []
