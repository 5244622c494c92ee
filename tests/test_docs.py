"""What the texts say is what the code does; what they show is run."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.routing import Route

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import read_file
from reconciler.cli import console_options, parser
from reconciler.engine.http.app import build_app
from reconciler.engine.service import Service
from reconciler.mistakes import HELP, Mistake
from reconciler.model import ReasonCode, Spec
from tests import waiting
from tests.bash import Bash
from tests.package import clone, commit, lend_environment
from tools.reference.of_commands import commands

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DEMO = ROOT / "docs/demo.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
RULES = SecretRules()
DEMO_FOLDER = "/tmp/reconciler-demo"
# A pass of the demo takes 5 s on an idle machine of two processors.
LIMIT_S = 90.0
CONSOLE_PORT = int(console_options.DEFAULT.rpartition(":")[2])
eventually = partial(waiting.eventually, limit_s=LIMIT_S)

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def prose(*pages: Path) -> str:
    return "\n".join(page.read_text() for page in pages or (README, *DOCS))


# ---------------------------------------------------------------- commands and options


def options() -> list[str]:
    every = [parser.build(), *(found for _, found in commands(parser.build()))]
    return sorted(
        {
            text
            for each in every
            for action in each._actions
            if action.help is not argparse.SUPPRESS
            for text in action.option_strings
        }
    )


def test_every_command_is_told_of() -> None:
    """Each command of the command line is in the table of commands."""
    operating = prose(ROOT / "docs/operating.md")
    found = [name for name, _ in commands(parser.build())]
    assert len(found) >= 9
    assert [name for name in found if f"| `{name}" not in operating] == []


def test_every_option_says_what_it_is() -> None:
    """Each argument of each command says something, so that its row of the reference does."""
    silent = [
        f"{name}: {action.option_strings or action.dest}"
        for name, found in commands(parser.build())
        for action in found._actions
        if not action.help and not action.choices
    ]
    assert silent == []


def test_no_option_is_made_up() -> None:
    """What the README and the documents call an option of ours is one."""
    # Other programs' options that the texts show; reconciler has none of these names.
    others = {
        *("--system", "--now", "--header", "--data", "--silent", "--fail"),  # useradd, curl
        *("--yes", "--skip-preview", "--clear-pending-creates"),  # pulumi
        *("--in-place", "--encrypted-regex"),  # sops
        *("--preview-only", "--expect-no-changes", "--refresh"),  # pulumi too
        *("--no-install-recommends", "--quiet", "--directory"),  # apt-get, pip, install
        *("--initial-branch", "--no-pager", "--unit", "--lines"),  # git, systemctl, journalctl
        *("--tag", "--rm", "--volume", "--detach", "--network", "--secret"),  # podman
        *("--build-arg", "--security-opt", "--time", "--publish"),  # podman too
        *("--no-edit", "--message", "--date", "--utc"),  # git, date
        *("--create", "--extract", "--gzip", "--exclude", "--mode"),  # tar, sops, mkdir
        *("--all-namespaces", "--namespace", "--replicas", "--force"),  # kubectl, pipx
        *("--id", "--parameters", "--location", "--role", "--member"),  # az, gcloud
        *("--workload-identity-pool", "--issuer-uri", "--allowed-audiences"),  # gcloud too
        *("--attribute-mapping", "--attribute-condition"),
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![\w-])", prose()))
    assert sorted(named - set(options()) - others) == []


def test_every_environment_variable_is_told_of() -> None:
    """Each variable that the command line looks at is in docs/operating.md."""
    operating = prose(ROOT / "docs/operating.md")
    sources = [
        *(ROOT / "reconciler/cli").glob("*.py"),
        *(ROOT / "reconciler/adapters").glob("*.py"),
        ROOT / "reconciler/pulumi_cli.py",
    ]
    pattern = re.compile(r'\b(?:environ|environment)(?:\.get\(|\[)"([A-Z_]+)"(?!\] = )')
    names = {name for source in sources for name in pattern.findall(source.read_text())}
    assert {"RECONCILER_API_URL", "STATE_DIRECTORY"} <= names
    assert sorted(name for name in names if f"`{name}`" not in operating) == []


# ---------------------------------------------------------------- status, specs, routes


def test_each_reason_is_a_heading() -> None:
    """The headings of docs/status.md are the reason codes, each once, and no other."""
    found = re.findall(r"^### (.*)$", prose(ROOT / "docs/status.md"), re.MULTILINE)
    assert sorted(found) == sorted(ReasonCode)


def test_each_kind_of_mistake_is_a_row() -> None:
    """The kinds in docs/validating.md are those that there are, with the same words."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.*) \|$", prose(ROOT / "docs/validating.md"), re.MULTILINE
    )
    found = {
        kind: (wrong, mend.replace("`", "")) for kind, wrong, mend in rows if kind in {*Mistake}
    }
    assert found == {kind: (told.wrong, told.mend) for kind, told in HELP.items()}
    assert list(found) == list(Mistake)


def test_every_field_of_a_status_file_is_told_of() -> None:
    """Each key of the status file's JSON Schema is in docs/status.md."""
    text = prose(ROOT / "docs/status.md")
    schema = json.loads((ROOT / "schemas/status.schema.json").read_bytes())
    assert [key for key in schema["properties"] if f"`{key}`" not in text] == []


def test_each_row_of_the_semantics_has_a_test() -> None:
    """The rows of docs/semantics.md and the tests named after them have the same numbers."""
    rows = re.findall(r"^\| (\d+) \|", prose(ROOT / "docs/semantics.md"), re.MULTILINE)
    assert rows == [str(number) for number in range(1, len(rows) + 1)]
    tests = prose(*sorted((ROOT / "tests/semantics").glob("test_*.py")))
    tested = {int(n) for n in re.findall(r"^def test_row_(\d\d)_", tests, re.MULTILINE)}
    assert tested == {int(row) for row in rows}


def spec_keys(schema: Any, part: Any, at: str) -> Iterator[str]:
    """Yield the path of every key below a part of the schema; a secret's inside is one of all."""
    reference = part.get("$ref", "").removeprefix("#/$defs/")
    if reference in {"secretValue", "textOrSecret"}:
        return
    if reference == "secretReference":
        at = "secret"
    part = {**schema["$defs"].get(reference, {}), **part}
    for choice in part.get("anyOf", []):
        yield from spec_keys(schema, choice, at)
    if isinstance(part.get("items"), dict):
        yield from spec_keys(schema, part["items"], at + "[]")
    for key, below in part.get("properties", {}).items():
        path = f"{at}.{key}" if at else key
        yield path
        yield from spec_keys(schema, below, path)


def test_every_key_of_a_spec_is_told_of() -> None:
    """Each key of the specs' JSON Schema is in docs/specs.md, and no other is."""
    schema = json.loads((ROOT / "schemas/deployment.schema.json").read_bytes())
    keys = set(spec_keys(schema, schema, ""))
    keys |= set(spec_keys(schema, {"$ref": "#/$defs/secretReference"}, ""))
    told = set(re.findall(r"^\| `([\w.\[\]]+)` \|", prose(ROOT / "docs/specs.md"), re.MULTILINE))
    # An object that only holds others says nothing by itself.
    holders = {k for k in keys if any(other.startswith((f"{k}.", f"{k}[]")) for other in keys)}
    assert sorted(keys - holders - told) == []
    assert sorted(told - keys) == []


def test_data_is_what_the_command_uses() -> None:
    """`--data` of a command about the engine is told as the engine's, and of no other one."""
    page = (ROOT / "docs/reference/commands.md").read_text()
    rows = re.findall(r"^## reconciler (.+)$|^\| `--data DIR` \| (.+) \|$", page, re.MULTILINE)
    name, told = "", 0
    for heading, text in rows:
        name = heading or name
        if text:
            assert text.startswith("the engine's data;") is name.startswith("engine "), name
            told += 1
    assert told > 15  # a group that commands have in common is told once


def test_the_layers_are_those_that_are_checked() -> None:
    """The architecture's first list of layers has the modules of the contract, and no other."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contract["contracts"][0]["layers"]
    page = (ROOT / "docs/architecture.md").read_text().split("## Who may import whom")[1]
    shown = page.split("```text\n")[1].split("```")[0].splitlines()
    found = [set(line.split("  ")[0].split(" | ")) for line in shown]
    assert [set(layer.split(" | ")) for layer in layers] == found


def test_the_policies_for_clouds_are_whole() -> None:
    """What is to be given to AWS and Azure is JSON as they take it, for the same stack."""
    page = (ROOT / "docs/oidc.md").read_text()
    aws, azure = map(
        json.loads, re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    )
    assert aws.keys() == {"Version", "Statement"}
    (statement,) = aws["Statement"]
    pattern = statement["Condition"]["StringLike"]["engine.example.com/oidc:sub"]
    subject = "pulumi:deploy:org:acme:project:web:stack:prod:operation:update:scope:write"
    assert azure["subject"] == subject
    assert subject.startswith(pattern.removesuffix("*"))
    assert azure["audiences"] == ["acme"]


def test_every_route_is_told_of() -> None:
    """Each route of the engine is in docs/api.md with its method, and no other is."""
    routes = [r for r in build_app(cast("Service", None)).routes if isinstance(r, Route)]
    served = {f"{m} {r.path}" for r in routes for m in r.methods or () if m != "HEAD"}
    told = set(re.findall(r"`((?:GET|POST|PUT|DELETE|PATCH) /\S*)`", prose(ROOT / "docs/api.md")))
    assert told == served


# ---------------------------------------------------------------- examples


def whole_specs() -> list[object]:
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in (README, ROOT / "docs/specs.md", ROOT / "docs/oidc.md")
        for number, text in enumerate(blocks(page, "yaml"), start=1)
    ]


@pytest.mark.parametrize("text", whole_specs())
def test_a_shown_spec_is_valid(text: str, tmp_path: Path) -> None:
    """Each YAML block of the README and of docs/specs.md is a spec without a mistake."""
    path = tmp_path / "web.yaml"
    path.write_text(text)
    found = read_file(path, tmp_path, RULES)
    assert isinstance(found, Spec), "\n".join(map(str, found))


def bad_input() -> list[object]:
    section = prose(ROOT / "docs/specs.md").split("## Bad input")[1]
    rows = re.findall(r"^\| `(.*?)` \| `(.*?)` \|$", section, re.MULTILINE)
    assert len(rows) > 10
    return [pytest.param(written, said, id=written) for written, said in rows]


@pytest.mark.parametrize(("written", "said"), bad_input())
def test_a_shown_mistake_gives_the_shown_message(written: str, said: str, tmp_path: Path) -> None:
    """Each mistake that docs/specs.md shows is told in the words beside it."""
    lines = {"stack": "acme/web/prod", "sourceContext": "{git: {repoUrl: .., branch: main}}"}
    key, _, value = written.partition(": ")
    schedule = {"name": "nightly", "cron": '"H 3 * * *"'}
    match key:
        case "git":
            lines["sourceContext"] = f"{{{written}}}"
        case "cron" | "timeZone" | "at":
            given = {k: v for k, v in schedule.items() if (k, key) != ("cron", "at")}
            inside = ", ".join(f"{k}: {v}" for k, v in (given | {key: value}).items())
            lines["schedules"] = f"[{{{inside}}}]"
        case "{secret":
            lines["operationContext"] = f"{{environmentVariables: {{TOKEN: {written}}}}}"
        case _ if key.isupper():
            lines["operationContext"] = f"{{environmentVariables: {{{written}}}}}"
        case _:
            lines[key] = value
    path = tmp_path / "web.yaml"
    path.write_text("".join(f"{k}: {v}\n" for k, v in lines.items()))
    found = read_file(path, tmp_path, RULES)
    assert not isinstance(found, Spec)
    assert [problem.message for problem in found] == [said]


@pytest.mark.real
def test_the_examples_are_planned(tmp_path: Path) -> None:
    """Each spec of deployments.d is valid, and a plan from nothing would start it."""
    names = [path.stem for path in sorted((ROOT / "deployments.d").glob("*.yaml"))]
    where = ["--data", str(tmp_path / "state"), "--status-dir", str(tmp_path / "status")]
    secrets = ["--secrets-dir", "examples/secrets"]
    command = [sys.executable, "-m", "reconciler"]
    valid = [*command, "validate", *secrets]
    done = subprocess.run(valid, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{len(names)} specs are valid\n"), done.stderr
    try:
        done = subprocess.run(
            [*command, "plan", "-o", "json", *where, *secrets],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    finally:
        stop_engine(tmp_path / "state/engine")
    assert done.returncode == 0, done.stderr
    plans = {plan["name"]: plan for plan in json.loads(done.stdout)}
    assert list(plans) == names
    for name, plan in plans.items():
        assert plan["file"] == f"deployments.d/{name}.yaml"
        assert "never deployed" in plan["message"], plan
        assert plan["actions"] == ["start update"] or plan["state"] == "Waiting", plan


# ---------------------------------------------------------------- links and the README's blocks


def test_the_readme_is_read_in_a_minute() -> None:
    """The README is what it is, a picture, two commands, and where next."""
    text = README.read_text()
    assert len(text.splitlines()) < 150
    assert "](docs/console-overview.png)" in text
    assert len(blocks(README, "sh")) == 2
    assert "`make test`" in text


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_link_leads_somewhere() -> None:
    """Each link within the repository is to a file that is there, and to a heading of it."""
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if "://" in target:
                continue
            file, _, heading = target.partition("#")
            path = (page.parent / file).resolve() if file else page
            found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if heading else []
            if not path.exists() or (heading and heading not in map(anchor, found)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def environment() -> dict[str, str]:
    """Return what a person's shell has, and nothing that would change what is shown."""
    passed = ("HOME", "LANG", "XDG_CACHE_HOME", "TMPDIR")
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {name: os.environ[name] for name in passed if name in os.environ} | {"PATH": path}


def stop_engine(data: Path) -> None:
    """End the embedded engine of a state directory, and wait until it has gone."""
    with suppress(FileNotFoundError):
        pid = json.loads((data / "address.json").read_bytes())["pid"]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: not (data / "address.json").exists(), "the end of the engine")


def is_free(port: int) -> bool:
    """Return whether nobody listens at a port of this host, as a console by the README would."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Terminal:
    """A clone of the repository, and what a person runs in it, block by block."""

    def __init__(self, root: Path) -> None:
        self.clone = root / "clone"
        self.made = root / "made"
        self.definitions = ""
        self.bash = Bash(self.clone, environment(), root, LIMIT_S)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def make_clone(self) -> None:
        """Clone the work tree as it is, with files made below a folder of this test's own."""
        self.made.mkdir()
        clone(self.clone)
        for file in self.clone.rglob("*"):
            if not file.is_file() or file.is_symlink() or ".git" in file.parts:
                continue
            with suppress(UnicodeDecodeError):
                text = file.read_text()
                if DEMO_FOLDER in text:
                    file.write_text(text.replace(DEMO_FOLDER, str(self.made)))
        lend_environment(self.clone)
        commit(self.clone)

    def script(self, block: str) -> str:
        here = block.replace(DEMO_FOLDER, str(self.made))
        if not is_free(CONSOLE_PORT):
            here = here.replace("FLAGS=--console", "FLAGS='--console 127.0.0.1:0'")
        return self.definitions + here.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")

    def run(self, block: str) -> str:
        """Run a block to its end, as bash does, and return what it printed."""
        return self.bash.run(self.script(block))

    def start(self, block: str, expected: str) -> None:
        """Start a block that goes on until it is stopped, and wait for what it says first."""
        self.stop()
        self.bash.start(self.script(block), expected)

    def stop(self) -> None:
        """Press Ctrl-C, and wait for the end."""
        self.bash.stop()

    def status(self, name: str) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads(
                (self.clone / f"deployments.d/{name}.status.json").read_bytes()
            )
            return found
        return {}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path)
    yield found
    found.stop()
    stop_engine(found.clone / "build/demo-state/engine")


# The blocks that go on until Ctrl-C, and what they say when they are there.
GO_ON = {
    "make run": "  Ready: ",
    "demo run\n": "  Ready: ",
    "reconciler engine serve": "listening on http://127.0.0.1:",
}


def test_the_readme_has_no_other_kind_of_block() -> None:
    """A block of the README and of the demo's page is run, a checked spec, or what is printed."""
    kinds = {kind for page in (README, DEMO) for kind, _ in BLOCK.findall(page.read_text())}
    assert kinds == {"sh", "text", "yaml"}
    shown = "\n".join(blocks(README, "text") + blocks(DEMO, "text"))
    assert not re.search(r"^(\$ |make|demo|reconciler|git|curl)\b", shown, re.MULTILINE)


def test_the_readmes_console_is_a_command() -> None:
    """`make run FLAGS=--console` makes a command that shows the console of the demo's specs."""
    (flags,) = re.findall(r"^make run (FLAGS=\S+)$", README.read_text(), re.MULTILINE)
    # Not as a part of a `make` that runs these tests, which would say more.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    told = subprocess.run(
        ["make", "--dry-run", "run", flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    line = told.stdout.splitlines()[-1]
    words = line.partition("/reconciler ")[2].split()
    chosen = parser.build().parse_args(words)
    assert (str(chosen.directory), chosen.console) == ("deployments.d", console_options.DEFAULT)
    console_options.check(chosen)


@pytest.mark.real
def test_the_readme_is_run(terminal: Terminal) -> None:
    """The README's shell blocks, then the demo's, work in a clone and show what they show."""
    terminal.make_clone()
    # What a person takes seconds for: the daemon has to have seen what was done before.
    first = {
        "demo cancel slow": lambda: "run" in terminal.status("slow"),
        "rm deployments.d/slow.yaml": lambda: terminal.status("slow")["state"] == "Stalled",
    }
    printed = ""
    for block in blocks(README, "sh") + blocks(DEMO, "sh"):
        for text, condition in first.items():
            if text in block:
                eventually(condition, f"what {text!r} needs")
        expected = next((said for text, said in GO_ON.items() if block.startswith(text)), "")
        if expected:
            terminal.start(block, expected)
        elif block.startswith("export PATH="):
            terminal.stop()
            terminal.definitions = terminal.script(block) + "\n"
        else:
            printed += terminal.run(block)
    assert terminal.status("slow")["stalled"]["code"] == "Canceled"
    assert "us-west-2" in printed
    for shown in blocks(README, "text") + blocks(DEMO, "text"):
        for line in shown.splitlines():
            # Commits and times are others each time.
            words = re.sub(r"\b[0-9a-f]{12}\b|\b2\d{3}-\S+|\d\d:\d\dZ", "", line).split()
            assert " ".join(words) in " ".join(
                re.sub(r"\b[0-9a-f]{12}\b|\b2\d{3}-\S+|\d\d:\d\dZ", "", printed).split()
            ), line
