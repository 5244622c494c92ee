"""Deployments in images, over the API, with real containers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import Containers, EngineConfig, Limits
from reconciler.engine.server import Engine
from tests.engine.harness import (
    NO_INSTALL,
    Api,
    EngineProcess,
    Gate,
    make_slow_repository,
    statuses,
)
from tests.runners.image import container_engine, image, small_image
from tests.runners.processes import left
from tests.waiting import eventually

pytestmark = pytest.mark.real


def start(data: Path, **settings: object) -> AbstractContextManager[Engine]:
    """Start an engine of one's own."""
    config = EngineConfig(
        data=data,
        port=0,
        workers=4,
        local_repositories=True,
        **settings,  # type: ignore[arg-type]
    )
    return server.running(config)


def caller(engine: Engine) -> Api:
    token = tokens.create(
        engine.layout.data,
        organization="acme",
        user="norm",
        email="norm@example.com",
        role="deploy",
        expires=None,
    )
    return Api(engine.url, token, "today")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Api]:
    """A caller of an engine whose usual runner is the default one."""
    # The slow provider of the tests is a program of this Python, wherever that is.
    write = (gate.directory, Path(sys.prefix))
    with start(tmp_path_factory.mktemp("engine"), allow_write=write) as engine:
        yield caller(engine)


def create(api: Api, stack: str, repository: Path, **how: object) -> str:
    """Create a deployment in an image, without installing anything."""
    reference = how.pop("image", image())
    source = {"repoUrl": f"file://{repository}", "branch": "main"}
    body = api.body(source, options=NO_INSTALL, **how)
    body["executorContext"] = {"executorImage": reference}
    answer = api.post(api.path(stack), body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_deployment_runs_in_its_image(api: Api, repository: Path, stack: str) -> None:
    """Where an image is asked for it is used, though the sandbox is this engine's default.

    One container does all the steps: what a command installs, and HOME, are there for the next.
    """
    commands = [
        'echo "$FROM_IMAGE $HOME" && test -f /bin/busybox && pwd && echo "$SECRET" | wc -c',
        "mkdir -p /usr/local/lib/x && echo tool >/usr/local/lib/x/t && echo here >$HOME/h",
        "cat /usr/local/lib/x/t $HOME/h && echo A_NAME=a-value >PULUMI_ENV",
        'echo "then $A_NAME"',
    ]
    environment = {"SECRET": {"secret": "canary-of-a-secret"}}
    deployment_id = create(
        api, stack, repository, preRunCommands=commands, environmentVariables=environment
    )
    ended = api.ended(stack, deployment_id)
    log = api.speaking("preview").log(stack, deployment_id)
    text = "".join(log)
    assert ended["status"] == "succeeded", text
    assert f"of the image {image()}" in text
    assert "with the container runner (" in text
    assert "yes " in text
    assert "tool\nhere\n" in text
    assert "then a-value\n" in text
    assert "us-west-2" in text
    assert "canary" not in text
    eventually(lambda: container_engine().of_deployment(deployment_id) == [], "no container")


def test_a_second_update_finds_the_state_of_the_first(
    api: Api, repository: Path, stack: str
) -> None:
    """The stack is made once, in a container, and there for the next one."""
    for _ in range(2):
        deployment_id = create(api, stack, repository)
        ended = api.ended(stack, deployment_id)
        assert ended["status"] == "succeeded", api.speaking("preview").log(stack, deployment_id)


@pytest.mark.parametrize("without", ["curl", "pulumi", "sh"])
def test_what_an_image_lacks_fails_the_first_step_by_its_name(
    api: Api, repository: Path, stack: str, without: str
) -> None:
    """Whoever made the image learns what to put into it."""
    deployment_id = create(api, stack, repository, image=small_image((without,)))
    ended = api.ended(stack, deployment_id)
    assert statuses(ended)[:2] == ["failed", "not-started"]
    text = "".join(api.speaking("preview").log(stack, deployment_id))
    assert f"has no {'shell' if without == 'sh' else without}" in text


def test_an_image_that_is_not_there_fails_the_first_step(
    api: Api, repository: Path, stack: str
) -> None:
    """The log says which one."""
    deployment_id = create(api, stack, repository, image="localhost/nothing:1")
    assert statuses(api.ended(stack, deployment_id))[0] == "failed"
    text = "".join(api.speaking("preview").log(stack, deployment_id))
    assert "there is no image localhost/nothing:1 on this host" in text


def test_a_cancel_in_the_operation_lets_pulumi_end(
    api: Api, gate: Gate, tmp_path: Path, stack: str
) -> None:
    """Pulumi inside is interrupted, ends what it has in hand, and leaves no lock."""
    repository = make_slow_repository(tmp_path / "slow", gate, "gentle")
    deployment_id = create(api, stack, repository)
    gate.begun("gentle")
    assert api.cancel(stack, deployment_id) == 200
    seen = api.speaking("preview")
    eventually(lambda: "^C received" in seen.so_far(stack, deployment_id), "the interrupt")
    gate.open("gentle")
    ended = api.ended(stack, deployment_id)
    text = "".join(api.speaking("preview").log(stack, deployment_id))
    assert ended["status"] == "failed"
    assert "the deployment was canceled" in text
    assert "pending operations" not in text
    again = create(api, stack, repository)
    assert api.ended(stack, again)["status"] == "succeeded"


def test_a_cancel_of_a_command_ends_the_container(
    api: Api, gate: Gate, repository: Path, stack: str
) -> None:
    """Nothing of it is left."""
    waits = f": {stack} marks it; setsid sleep 1000 & " + gate.waits("cut")
    deployment_id = create(api, stack, repository, preRunCommands=[waits])
    gate.begun("cut")
    assert api.cancel(stack, deployment_id) == 200
    assert api.ended(stack, deployment_id)["status"] == "failed"
    eventually(lambda: left(f"{stack} marks") == [], "the command has gone")
    eventually(lambda: container_engine().of_deployment(deployment_id) == [], "no container")


def test_a_lost_engine_leaves_no_container(tmp_path: Path, gate: Gate, repository: Path) -> None:
    """It ends with the engine; the next engine begins the deployment anew, and says why."""
    stack = "acme/web/lost"
    data = tmp_path / "data"
    engine = EngineProcess(data, gate.directory, "")
    token = tokens.create(
        data, organization="acme", user="n", email="", role="deploy", expires=None
    )
    api = Api(engine.url, token, "today")
    deployment_id = create(api, stack, repository, preRunCommands=[gate.waits("lost")])
    gate.begun("lost")
    assert len(container_engine().of_deployment(deployment_id)) == 1
    engine.kill()
    eventually(lambda: container_engine().of_deployment(deployment_id) == [], "no container")
    second = EngineProcess(data, gate.directory, "")
    try:
        api = Api(second.url, token, "today")
        gate.open("lost")
        ended = api.ended(stack, deployment_id)
        text = "".join(api.speaking("preview").log(stack, deployment_id))
        assert ended["status"] == "succeeded", text
        assert "the engine was lost before Pulumi ran: it goes back to the queue" in text
    finally:
        assert second.stop() == 0


def test_the_default_image_is_used_by_the_container_runner(
    tmp_path: Path, repository: Path
) -> None:
    """A request without an image runs in the one that the engine's host has chosen."""
    containers = Containers(default_image=image())
    limits = Limits(processes=200, memory_bytes=300 * 1024**2)
    with start(tmp_path, runner="container", containers=containers, limits=limits) as engine:
        api = caller(engine)
        made = api.create("acme/web/default", repository, options=NO_INSTALL)
        ended = api.ended("acme/web/default", made["id"])
        text = "".join(api.speaking("preview").log("acme/web/default", made["id"]))
    assert ended["status"] == "succeeded", text
    assert f"of the image {image()}" in text
    assert "processes at most 200, memory at most 300 MiB" in text


def test_images_are_ignored_where_the_host_says_so(tmp_path: Path, repository: Path) -> None:
    """`--images ignore` runs what asks for an image with the host's own pulumi."""
    with start(tmp_path, containers=Containers(images="ignore")) as engine:
        api = caller(engine)
        deployment_id = create(api, "acme/web/ignored", repository, image="example.com/x:1")
        ended = api.ended("acme/web/ignored", deployment_id)
        text = "".join(api.speaking("preview").log("acme/web/ignored", deployment_id))
    assert ended["status"] == "succeeded", text
    assert "of this host" in text


def refused(api: Api, reference: object) -> str:
    """Return the message of a create with that image, which must be a 400."""
    body = api.body({"repoUrl": "https://example.com/x.git", "branch": "main"})
    body["executorContext"] = {"executorImage": reference}
    answer = api.post(api.path("acme/web/refused"), body)
    assert answer.status_code == 400
    return str(answer.json()["message"])


@pytest.mark.parametrize(
    "reference",
    ["-v", "--privileged", "dir:/etc", "docker-archive:/x", "a b", "a\nb", "A/B", "x:y:z", "a//b"],
)
def test_what_is_no_images_name_is_refused(api: Api, reference: str) -> None:
    """Neither an option of podman's nor a way to read the host's files is a name."""
    assert "executorContext.executorImage: is not an image's name" in refused(api, reference)


def test_images_are_refused_where_the_host_says_so(tmp_path: Path) -> None:
    """`--images refuse` is a 400 at create."""
    with start(tmp_path, containers=Containers(images="refuse")) as engine:
        assert "this engine runs no images" in refused(caller(engine), "x")


def test_where_nothing_runs_images_the_refusal_names_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_path: Callable[[], str]
) -> None:
    """Install podman or docker, or have images ignored."""
    monkeypatch.setenv("PATH", make_path())
    with start(tmp_path / "data") as engine:
        message = refused(caller(engine), "pulumi/pulumi-nodejs:latest")
    assert "executorContext.executorImage: nothing here can run an image" in message
    assert "podman is not installed; docker is not installed" in message
    assert "install podman or docker" in message
    assert "`engine serve --images ignore`" in message


@pytest.fixture
def make_path(tmp_path: Path) -> Callable[[], str]:
    """Makes a directory that has what an engine needs, but neither podman nor docker."""

    def make() -> str:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("bwrap", "git", "sh", "bash", "true", "env"):
            found = subprocess.run(["which", name], capture_output=True, text=True, check=True)
            (folder / name).symlink_to(found.stdout.strip())
        return str(folder)

    return make
