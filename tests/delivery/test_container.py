"""The Containerfile is built for real, and docs/container.md is followed with what comes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.pulumi_cli import VERSION
from tests.bash import Bash
from tests.package import ROOT, clone, lend_environment, pack_needed
from tests.runners.image import base_image, pulumi_image
from tests.waiting import eventually

pytestmark = pytest.mark.real

PAGE = (ROOT / "docs/container.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LIMIT_S = 240
# As the runners' tests have found: what a container may ask for below another one.
CONFIG = """\
[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""
SPEC = "stack: acme/{name}/dev\nsourceContext: {{git: {{repoUrl: file://{infra}, branch: main}}}}\n"
PROGRAM = "name: hello\nruntime: yaml\noutputs: {greeting: hello}\n"


class Shop:
    """A clone with what the page needs, and names that no other test has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = clone(root / "source")
        self.mark = uuid.uuid4().hex[:8]
        self.image = f"localhost/reconciler-{self.mark}"
        (root / "containers.conf").write_text(CONFIG)
        self.environment = {
            **{n: os.environ[n] for n in ("PATH", "HOME", "LANG") if n in os.environ},
            "CONTAINERS_CONF": str(root / "containers.conf"),
        }
        lend_environment(self.source)
        pack_needed(self.source / "build/dist")
        self.run = Bash(self.source, self.environment, root, LIMIT_S).run
        self._repository()

    def _repository(self) -> None:
        infra, specs = self.root / "srv/infra", self.root / "srv/deployments.d"
        infra.mkdir(parents=True)
        specs.mkdir()
        (infra / "Pulumi.yaml").write_text(PROGRAM)
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "x"]):
            subprocess.run(["git", *words], cwd=infra, check=True)
        (specs / "hello.yaml").write_text(SPEC.format(name="hello", infra=infra))
        os.utime(specs / "hello.yaml", (0, 0))
        # The container's user is nobody of this machine.
        for path in (infra.parent, *infra.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def here(self, block: str) -> str:
        """Return a block with this test's images, names and folders."""
        images = f"--build-arg BASE={base_image()} --build-arg PULUMI={pulumi_image()}"
        pip = "--build-arg PIP_NO_INDEX=1 --build-arg PIP_NO_COMPILE=1 --layers=false"
        block = block.replace("localhost/reconciler", self.image)
        block = block.replace("podman build", f"podman build --quiet {images} {pip}")
        block = block.replace("/srv/", f"{self.root}/srv/")
        return re.sub(r"\brc-", f"rc-{self.mark}-", block)

    def end(self) -> None:
        """Take away whatever is left."""
        mine = f"rc-{self.mark}-"
        force = ["rm", "--force", "--time", "5", "--ignore"]
        for words in (
            [*force, f"{mine}reconciler"],  # it depends on the other one's network
            [*force, f"{mine}engine"],
            ["volume", "rm", "--force", *(mine + name for name in ("state", "specs", "engine"))],
            ["secret", "rm", f"{mine}token"],
            ["rmi", "--force", self.image],
        ):
            subprocess.run(
                ["podman", *words], env=self.environment, capture_output=True, check=False
            )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path)
    yield found
    found.end()


def test_the_container_file_names_the_pulumi_that_is_tested() -> None:
    """Its default is Pulumi's own image, of the version that this project builds for itself."""
    text = (ROOT / "Containerfile").read_text()
    (image,) = re.findall(r"^ARG PULUMI=(.*)$", text, re.MULTILINE)
    assert image == f"docker.io/pulumi/pulumi-base:{VERSION.removeprefix('v')}"


@pytest.mark.timeout(600)
def test_the_page_is_followed(shop: Shop) -> None:
    """An image is built without a network; it deploys as user 10001, alone and with an engine."""
    build, once, both, look, away = (shop.here(block) for block in BLOCKS)
    said = shop.run(build)
    assert f"Pulumi {VERSION}, in /usr/local/bin" in said
    assert shop.run(f"podman run --rm {shop.image}").startswith("usage: reconciler")
    said = shop.run(once)
    assert "Ready" in said
    assert "version 1 is at" in said
    # What the second pass finds is in the volume, and nothing there is root's.
    assert "nothing to do: 1 of 1" in shop.run(once.split("\n", 1)[1])
    volume = f"--volume rc-{shop.mark}-state:/var/lib/reconciler"
    listing = f"podman run --rm {volume} --entrypoint find {shop.image} /var/lib/reconciler"
    files = shop.run(f"{listing} -name '*.json'")
    assert "engine/backends/acme/.pulumi/stacks/hello/dev.json" in files
    assert shop.run(f"{listing} ! -user 10001") == ""
    shop.run(both)
    eventually(lambda: "Ready" in shop.run(look), "a spec that is Ready", LIMIT_S)
    uid = f"podman exec rc-{shop.mark}-engine id -u"
    assert shop.run(uid) == "10001\n"
    began = time.monotonic()
    shop.run(away)
    assert time.monotonic() - began < 60
    left = json.loads(shop.run("podman ps --all --format json"))
    assert [c for c in left if shop.mark in str(c["Names"])] == []
