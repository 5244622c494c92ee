"""What only containers do: getting images, and what they are made with."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.engine.config import Containers, Limits
from reconciler.engine.runners.base import Image, Needs, Place, Surroundings
from reconciler.engine.runners.container import ContainerRunner
from reconciler.engine.runners.container_ways import Way, Ways
from tests.runners.image import container_engine, small_image
from tests.runners.processes import LIMIT_S, World, left
from tests.runners.registry import PASSWORD, USER, Registry, registry
from tests.waiting import eventually

pytestmark = pytest.mark.real


@pytest.fixture
def private() -> Iterator[Registry]:
    """A registry that wants credentials; its image is not here before nor after."""
    with registry() as found:
        yield found
        container_engine().call(["rmi", "-f", found.name])


def open_place(folder: Path, image: Image, settings: Containers | None = None) -> Place:
    workspace = folder / "workspace"
    workspace.mkdir(exist_ok=True)
    runner = ContainerRunner(container_engine(), settings or Containers())
    return runner.open(
        Needs(
            deployment_id=folder.name,
            surroundings=Surroundings(workspace=workspace),
            image=image,
        )
    )


def prepared(place: Place) -> tuple[int | None, str]:
    """Return how getting it ready ended, and what it said."""
    pieces: list[bytes] = []
    code = place.prepare(pieces.append).wait(LIMIT_S)
    return code, b"".join(pieces).decode()


def files_with(text: str, folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.is_file() and text in path.read_text("latin-1")
    ]


def test_an_image_is_fetched_with_its_credentials(private: Registry, tmp_path: Path) -> None:
    """The right ones get it, and are nowhere afterwards."""
    image = Image(reference=private.name, user_name=USER, password=PASSWORD)
    place = open_place(tmp_path, image)
    try:
        code, said = prepared(place)
        assert code == 0, said
        assert f"Pulling image {private.name}" in said
        assert place.inside is not None
        assert place.inside.version == "v3.0.0-fetched"
        assert PASSWORD not in said + repr(image) + repr(place)
        assert files_with(PASSWORD, tmp_path) == []
    finally:
        place.close()
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]


@pytest.mark.parametrize("password", ["", "wrong-canary"])
def test_wrong_credentials_fail_with_the_images_name(
    private: Registry, tmp_path: Path, password: str
) -> None:
    """Without the right ones there is no image, and the log says which one; not the password."""
    image = Image(reference=private.name, user_name=USER if password else "", password=password)
    place = open_place(tmp_path, image)
    code, said = prepared(place)
    place.close()
    assert code == 1
    assert f"the image {private.name} cannot be had" in said
    assert "wrong-canary" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]


def test_an_image_that_another_fetched_is_not_had_without_credentials(
    private: Registry, tmp_path: Path
) -> None:
    """By default the registry is asked each time."""
    for password, wanted in ((PASSWORD, 0), ("wrong-canary", 1), ("", 1)):
        image = Image(reference=private.name, user_name=USER, password=password)
        place = open_place(tmp_path, image)
        assert prepared(place)[0] == wanted
        place.close()


def test_the_credentials_are_in_no_command_line(private: Registry, tmp_path: Path) -> None:
    """While it is fetched, `ps` shows nothing; the file is for its owner alone."""
    private.slow.set()
    place = open_place(tmp_path, Image(reference=private.name, user_name=USER, password=PASSWORD))
    process = place.prepare(lambda _: None)
    eventually(lambda: private.authorizations != [], "the pull")
    assert left(private.name) != []
    assert left(PASSWORD) == []
    files = list(tmp_path.rglob("config.json"))
    assert [oct(path.stat().st_mode & 0o777) for path in files] == ["0o600"]
    process.kill()
    assert process.wait(LIMIT_S) == 137
    assert left(private.name) == []
    place.close()
    assert files_with(PASSWORD, tmp_path) == []


def test_fetching_has_a_time_limit(private: Registry, tmp_path: Path) -> None:
    """A registry that hangs holds no worker for ever."""
    private.slow.set()
    settings = Containers(pull_limit=timedelta(seconds=1))
    image = Image(reference=private.name, user_name=USER, password=PASSWORD)
    place = open_place(tmp_path, image, settings)
    code, said = prepared(place)
    place.close()
    assert code == 1
    assert "pull did not end within 1 s" in said


def test_a_busybox_is_enough(tmp_path: Path) -> None:
    """Its shell starts, interrupts and ends commands as any other."""
    runner = ContainerRunner(container_engine(), Containers(default_image=small_image()))
    world = World(runner, tmp_path)
    try:
        assert world.sh("setsid sleep 1000 & exit 3") == 3
        process = world.start("sh", "-c", "echo ready; sleep 1000; echo never")
        eventually(lambda: world.output == b"ready\n", "the shell is ready")
        process.interrupt()
        assert process.wait(LIMIT_S) == 130
    finally:
        world.close()


def test_a_container_has_no_privileges(tmp_path: Path) -> None:
    """Seven of root's privileges, no new ones by set-user-id programs."""
    runner = ContainerRunner(container_engine(), Containers(default_image=small_image()))
    world = World(runner, tmp_path)
    try:
        assert world.sh("grep -E 'NoNewPrivs|CapBnd|CapEff' /proc/self/status") == 0
        assert world.output.split()[1::2] == [b"00000000000000fb"] * 2 + [b"1"]
        for attempt in ("mount -t tmpfs x /tmp", "mknod d b 8 0", "hostname x", "umount /proc"):
            assert world.sh(f"{attempt} 2>/dev/null") != 0, attempt
    finally:
        world.close()


def test_a_container_that_was_ended_is_made_anew(tmp_path: Path) -> None:
    """After a kill the workspace is there for what frees a lock."""
    runner = ContainerRunner(container_engine(), Containers(default_image=small_image()))
    world = World(runner, tmp_path)
    try:
        process = world.start("sh", "-c", "echo kept >file; exec sleep 1000")
        eventually((world.workspace / "file").exists, "the file")
        process.kill()
        assert process.wait(LIMIT_S) == 137
        assert world.sh("cat file") == 0
        assert world.output == b"kept\n"
    finally:
        world.close()


REASONS = [
    ("error setting rlimits for ready process: error setting rlimit type 7", Way(files=1)),
    ("cannot set memory limit: container could not join or create cgroup", Way(bounds=1)),
    ("your kernel does not support swap limit capabilities", Way(bounds=1)),
]


@pytest.mark.parametrize(("reason", "way"), REASONS)
def test_what_a_host_cannot_limit_is_left_out(reason: str, way: Way) -> None:
    """One kind of option after the other, by what the error speaks of."""
    ways = Ways()
    assert ways.next(ways.current, reason)
    assert ways.current == way


def test_leaving_out_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Another error, or one that stays, is the deployment's."""
    ways = Ways()
    assert not ways.next(ways.current, "no such image")
    for _ in range(10):
        if not ways.next(ways.current, "cgroup"):
            break
    assert not ways.next(ways.current, "cgroup")
    assert ways.current == Way(bounds=3)
    assert "processes as many as the host has" in ways.current.described(Limits(), "")
    assert len(caplog.records) == 3
