"""Each block of commands in the documents is run by a test, or says why none can."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.shells import ROOT, Shell
from tests.docs.test_how_to import GIVEN, free_port, repository
from tests.engine.test_serving import write_certificate
from tests.postgres_server import PostgresServer
from tools.reference.pages import every

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PROGRAMS = "reconciler|curl|git|make|pulumi|kubectl|podman|docker|systemctl|ssh-keyscan|sops|pip"
# Five fields of a crontab; the user of one in /etc/cron.d belongs to its command.
CRON = re.compile(r"^(?:[\d*/,-]+ +){5}", re.MULTILINE)
COMMAND = re.compile(rf"^(\$ |({PROGRAMS}) \S)", re.MULTILINE)

# Pages that are followed from their first block to the last one, and by what.
FOLLOWED = {
    "README.md": "tests/test_docs.py",
    "docs/demo.md": "tests/test_docs.py",
    "docs/build-host.md": "tests/systemd/test_build_host.py",
    "docs/container.md": "tests/delivery/test_container.py",
    "docs/importing.md": "tests/test_docs_importing.py",
    "docs/tutorial.md": "tests/docs/test_tutorial.py",
    **{f"docs/how-to/{name}.md": "tests/docs/test_how_to.py" for name in GIVEN},
}
# Pages with single commands, which are run here.
RUN_HERE = (
    "access",
    "api",
    "console",
    "engine",
    "git",
    "metrics",
    "oidc",
    "operating",
    "scaling",
    "specs",
    "time",
)
# Blocks that no test runs, by page and beginning, each with its reason.
NOT_RUN = {
    ("CONTRIBUTING.md", "$ make setup"): "is what has run before a test can",
    ("CONTRIBUTING.md", "$ make check"): "would run these tests within themselves",
    (
        "docs/kubernetes.md",
        "kubectl create",
    ): "tests/runners makes it over the API, with no kubectl",
    ("docs/kubernetes.md", "reconciler engine serve"): "tests/runners starts it, with a cluster",
    ("docs/specs.md", "sops encrypt"): "docs/how-to/sops.md has one that is followed",
    ("docs/sources.md", "ssh-keyscan"): "asks a host that is elsewhere",
    ("docs/engine.md", "reconciler engine stack"): "tests/engine/test_adoption.py takes each way",
}
# What goes on until Ctrl-C, and what it says first.
GOES_ON = {
    "reconciler run --console": "console: http://",
    "reconciler run --webhook": "webhooks are heard at http",
    "reconciler run --metrics": "metrics are at http",
    "reconciler run --repo": "Suspended",
    "reconciler engine serve": "listening on http",
    "reconciler engine worker": "state is in a directory",
}


def blocks(page: Path) -> Iterator[str]:
    """Yield a page's blocks of commands; an output that looks like one is one, too."""
    for kind, block in FENCED.findall(page.read_text()):
        text = re.sub(r"^ +(?=\S)", "", block) if block.startswith(" ") else block
        looks = kind in {"", "text"} and (COMMAND.search(text) or CRON.search(text))
        if kind in {"sh", "bash", "console"} or looks:
            yield CRON.sub("", text)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def exception(page: Path, block: str) -> tuple[str, str] | None:
    return next((k for k in NOT_RUN if k[0] == name(page) and block.startswith(k[1])), None)


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    """A page with commands is followed by a test, or each of its blocks is an exception."""
    made, here = set(every()), {f"docs/{page}.md" for page in RUN_HERE}
    used = set()
    for page in PAGES:
        for block in blocks(page) if page not in made else ():
            if (found := exception(page, block)) is not None:
                used.add(found)
            else:
                assert name(page) in FOLLOWED or name(page) in here, f"{name(page)}: {block}"
    assert used == set(NOT_RUN)


def test_no_block_is_only_indented() -> None:
    """Each block has its fences, so that what is a command can be told."""
    for page in PAGES:
        text = FENCED.sub("", page.read_text())
        found = re.search(r"^(?!\s*[-*\d]).*\n\n {4,}(?![-*\d ]).*$", text, re.MULTILINE)
        shown = "" if found is None else found[0]
        assert page in set(every()) or not shown, f"{name(page)}: {shown}"


def test_the_tests_that_follow_pages_name_them() -> None:
    """Each page that is said to be followed is named by the test that follows it."""
    for page, test in FOLLOWED.items():
        assert Path(page).stem in (ROOT / test).read_text(), page
    for page in RUN_HERE:
        assert list(blocks(ROOT / f"docs/{page}.md")), page


class Host:
    """A machine on which the single commands of the pages are typed."""

    def __init__(self, folder: Path, postgres: PostgresServer) -> None:
        self.here = folder / "here"
        self.here.mkdir()
        (self.here / "shared").mkdir()
        write_certificate(self.here, "engine.example.com")
        self._database(postgres)
        self._specs(folder / "upstream")
        self.ports = {port: str(free_port()) for port in ("8080", "9464", "9465", "9000")}
        self.replaced = {
            # Ports that somebody else may have.
            "run --console": f"run --console 127.0.0.1:{free_port()}",
            "serve --metrics": "serve --listen 127.0.0.1:0 --metrics",
            "0.0.0.0:8080": "0.0.0.0:0",
            "s3://acme-state": f"file://{self.here}/shared",
            "/etc/reconciler/engine.key.pem": f"{self.here}/tls.key",
            "/etc/reconciler/engine.pem": f"{self.here}/tls.pem",
            **{f"127.0.0.1:{port}": f"127.0.0.1:{free}" for port, free in self.ports.items()},
            "--data DIR": f"--data {self.here}/engine",
            "--data NEW-DIR": f"--data {self.here}/new",
            "/var/lib/reconciler-engine": f"{self.here}/engine",
            "/var/lib/reconciler": f"{self.here}/state",
            "/backup/engine-2026-11-27.tgz": f"{self.here}/engine.tgz",
            "/etc/deployments.d": f"{self.here}/deployments.d",
            "/etc/reconciler/webhook.secret": f"{self.here}/webhook.secret",
            "https://example.com/acme/infra.git": f"file://{folder}/upstream",
            "/run/secrets/database-password": f"{self.here}/database-password",
            "postgresql://engine@db.example.com/engine?sslmode=verify-full": self.url,
        }
        self.shell = Shell(folder, self.here, self.replaced)
        self.shell.run(f"export PATH={ROOT}/.venv/bin:$PATH STATE_DIRECTORY={self.here}/state\n")

    def _database(self, postgres: PostgresServer) -> None:
        url = postgres.make_database()
        (self.here / "database-password").write_text(postgres.password)
        self.url = url.replace(f":{postgres.password}@", "@")

    def _specs(self, upstream: Path) -> None:
        repository(upstream)
        text = "stack: acme/web/prod\nsourceContext: {git: {repoUrl: .., branch: main}}\n"
        for folder in (upstream / "deployments.d", self.here / "deployments.d"):
            folder.mkdir()
            (folder / "web.yaml").write_text(text + "reconcile: {suspend: true}\n")
        (self.here / "web.new").write_text(text + "reconcile: {suspend: true}\n")
        (self.here / "webhook.secret").write_text("sixteen letters and more\n")
        (self.here / "webhook.secret").chmod(0o600)
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        for arguments in (["add", "--all"], [*who, "commit", "--quiet", "-m", "specs"]):
            subprocess.run(["git", *arguments], cwd=upstream, check=True)

    def type(self, block: str) -> str:
        """Type a block; what goes on is waited for until it says something, and goes on."""
        ends = [line for line in joined(block) if not goes_on(line)]
        printed = self.shell.run("\n".join(ends)) if ends else ""
        for line in joined(block):
            if said := goes_on(line):
                self.shell.start(line, self.here, said)
        return printed


def joined(block: str) -> list[str]:
    """Return a block's commands, each with its further lines; one with a text is one alone."""
    return [block] if "<<" in block else block.replace("\\\n", " ").splitlines()


def goes_on(line: str) -> str:
    return next((said for start, said in GOES_ON.items() if line.startswith(start)), "")


@pytest.fixture
def host(tmp_path: Path, postgres: PostgresServer) -> Iterator[Host]:
    found = Host(tmp_path, postgres)
    yield found
    found.shell.stop()


@pytest.mark.real
def test_the_single_commands_are_run(host: Host) -> None:
    """An engine is served, asked, listed, backed up and shared; a reconciler shows and hears."""
    found = {
        page: [b for b in blocks(p) if exception(p, b) is None]
        for page in RUN_HERE
        for p in (ROOT / f"docs/{page}.md",)
    }
    serve, backup = found.pop("engine")
    host.type(serve)
    token, audit = found.pop("access")
    host.shell.run(f"export TOKEN=$({host.shell.here(token).strip()})")
    create, stream = found.pop("api")
    made = json.loads(host.type(create))
    followed = host.type(stream.replace("/ID/", f"/{made['id']}/"))
    assert "event: end" in followed
    assert "token create" in host.type(audit)
    assert "1 stacks" in host.type(backup)
    host.shell.stop()
    pages = ("oidc", "metrics", "console", "git", "operating", "specs", "time", "scaling")
    for page in pages:
        for block in found.pop(page):
            host.type(block)
            host.shell.stop()
    assert found == {}
