"""No secret is anywhere where it does not have to be.

A canary of its own is in every field that can hold a secret; deployments succeed, fail in each
step, are canceled and lost. Then every byte that was written, answered or shown is searched for
every canary, in ten forms. `tests/engine/test_backends.py` does so for what opens a backend.
"""

from __future__ import annotations

import base64
import html
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from reconciler.engine.config import Layout
from tests.engine.harness import LIMIT_S, Api, Gate, make_repository
from tests.engine.served import Served, command, served
from tests.moto_server import ACCOUNT, MotoServer
from tests.waiting import eventually

pytestmark = pytest.mark.real

STACK = "acme/web"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/deploy"
EXIT = "exit 1"

# In each of its forms this text is another one.
ODD = 'é"&/+\\ %'


def forms(canary: str) -> dict[str, bytes]:
    """Return the ways in which a canary could be written."""
    data = canary.encode()
    in_base64 = {
        f"base64 at {shift}": base64.b64encode(b"\0" * shift + data)[4 if shift else 0 : -4]
        for shift in range(3)
    }
    return {
        "plain": data,
        "hex": data.hex().encode(),
        "HEX": data.hex().upper().encode(),
        "percent": quote(canary, safe="").encode(),
        "JSON": json.dumps(canary)[1:-1].encode(),
        "HTML": html.escape(canary).encode(),
        "UTF-16": canary.encode("utf-16-le"),
        **in_base64,
    }


@dataclass
class Canaries:
    """All canaries by the field they are in."""

    by_field: dict[str, str] = field(default_factory=dict)

    def make(self, name: str) -> str:
        """Return the canary of a field."""
        return self.by_field.setdefault(name, f"canary-{secrets.token_hex(12)}-{ODD}")

    def key(self, name: str) -> str:
        """Return one with several lines, in the form of a private key."""
        lines = [f"canary{secrets.token_hex(20)}" for _ in range(3)]
        for number, line in enumerate(lines):
            self.by_field[f"{name}, line {number}"] = line
        header = "OPENSSH PRIVATE KEY"
        return "\n".join([f"-----BEGIN {header}-----", *lines, f"-----END {header}-----", ""])

    def found_in(self, content: bytes) -> list[str]:
        """Return which canaries are in `content`, and how they are written there."""
        return [
            f"{name} as {form}"
            for name, canary in self.by_field.items()
            for form, text in forms(canary).items()
            if text in content
        ]


class Recorded(Api):
    """A caller that keeps every answer."""

    def __init__(self, url: str, token: str, answers: list[bytes]) -> None:
        super().__init__(url, token)
        self.answers = answers
        self.session.hooks["response"].append(self._keep)

    def _keep(self, answer: requests.Response, *_: object, **__: object) -> None:
        self.answers.append(answer.content + str(answer.headers).encode())

    def speaking(self, dialect: str) -> Api:
        found = Recorded(self.url, self.token, self.answers)
        found.dialect = dialect
        return found


class Arguments(threading.Thread):
    """Looks at the arguments of all processes, again and again, until it is told to end."""

    def __init__(self, canaries: Canaries) -> None:
        super().__init__(daemon=True)
        self.canaries, self.found, self.looks = canaries, set[str](), 0
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    content = path.read_bytes()
                except OSError:
                    continue
                plain = (c.encode() for c in self.canaries.by_field.copy().values())
                if any(text in content for text in plain):
                    self.found.add(content.decode(errors="replace"))
            self.looks += 1

    def end(self) -> None:
        self._end.set()
        self.join()


@dataclass
class Scene:
    """An engine, and everything that is said of it."""

    root: Path
    engine: Served
    api: Recorded
    gate: Gate
    repository: Path
    canaries: Canaries

    def deploy(self, name: str, **context: Any) -> str:
        """Deploy to a stack, wait for the end, and return how it ended."""
        stack = f"{STACK}/{name}"
        made = self.api.create(stack, self.repository, **context)["id"]
        ended = self.api.ended(stack, made)
        self.look(stack, made)
        return str(ended["status"])

    def look(self, stack: str, made: str) -> None:
        """Ask for all that is to be seen of a deployment, in both dialects."""
        for caller in (self.api, self.api.speaking("today")):
            path = caller.path(stack)
            for at in ("", f"/{made}", "/version/1", f"/{made}/logs"):
                caller.session.get(f"{caller.url}{path}{at}", timeout=LIMIT_S)
        for step in range(1, 8):
            at = f"{self.api.path(stack)}/{made}/logs"
            self.api.session.get(f"{self.api.url}{at}", params={"step": step}, timeout=LIMIT_S)

    def post(self, path: str, body: object) -> int:
        return self.api.post(path, body).status_code


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, moto: MotoServer) -> Iterator[Scene]:
    """An engine whose own environment holds secrets, and that gets credentials of clouds."""
    root, canaries = tmp_path_factory.mktemp("canaries"), Canaries()
    gate = Gate(root / "gate")
    gate.directory.mkdir()
    repository = make_repository(root / "repository")
    environment = {
        "AWS_SECRET_ACCESS_KEY": canaries.make("the engine's own environment"),
        "PULUMI_ACCESS_TOKEN": canaries.make("the engine's own token"),
    }
    options = ("--aws-sts-url", moto.url, "--allow-write", str(gate.directory))
    with served(root / "engine", *options, environment=environment, public=True) as engine:
        token = engine.api().token
        canaries.by_field["the caller's token"] = token
        api = Recorded(engine.url, token, [])
        yield Scene(root, engine, api, gate, repository, canaries)


def print_all(*names: str) -> str:
    """Return a shell command that prints variables in every way that a program might."""
    code = (
        "import base64,html,json,os,sys,urllib.parse as u\n"
        f"for n in {list(names)!r}:\n"
        " v=os.environ.get(n,''); b=v.encode(errors='surrogateescape')\n"
        " sys.stdout.buffer.write(b'<'+b+b'>\\n'); sys.stdout.buffer.flush()\n"
        " for i in range(len(b)): os.write(1,b[i:i+1])\n"
        " for s in range(3): print(base64.b64encode(b'x'*s+b).decode())\n"
        " print(b.hex(),b.hex().upper(),json.dumps(v),html.escape(v),u.quote(v,safe=''))\n"
        " print(v,file=sys.stderr)\n"
    )
    encoded = base64.b64encode(code.encode()).decode()
    return f"echo {encoded} | base64 -d | {sys.executable} -"


# ---------------------------------------------------------------- what happens


def git_credentials(scene: Scene) -> None:
    """Clones fail, with each kind of credential."""
    make = scene.canaries.make
    nobody = "https://127.0.0.1:9/r.git"
    sources: dict[str, dict[str, Any]] = {
        "token": {"gitAuth": {"accessToken": {"secret": make("accessToken")}}},
        "basic": {
            "gitAuth": {
                "basicAuth": {
                    "userName": {"secret": make("basicAuth.userName")},
                    "password": {"secret": make("basicAuth.password")},
                }
            }
        },
        "ssh": {
            "repoURL": "ssh://git@127.0.0.1:9/r.git",
            "gitAuth": {
                "sshAuth": {
                    "privateKey": {"secret": scene.canaries.key("sshAuth.privateKey")},
                    "password": {"secret": make("sshAuth.password")},
                }
            },
        },
    }
    for name, source in sources.items():
        body = scene.api.body({"repoURL": nobody, "branch": "main", **source})
        answer = scene.api.post(scene.api.path(f"{STACK}/{name}"), body)
        if answer.status_code == 202:
            made = answer.json()["id"]
            assert scene.api.ended(f"{STACK}/{name}", made)["status"] == "failed"
            scene.look(f"{STACK}/{name}", made)


def image_credentials(scene: Scene) -> None:
    """An image cannot be got, or is refused."""
    image = {
        "reference": "127.0.0.1:9/none:latest",
        "credentials": {
            "username": scene.canaries.make("credentials.username"),
            "password": {"secret": scene.canaries.make("credentials.password")},
        },
    }
    today = scene.api.speaking("today")
    source = {"repoUrl": f"file://{scene.repository}", "branch": "main"}
    body = today.body(source) | {"executorContext": {"executorImage": image}}
    stack = f"{STACK}/image"
    answer = today.post(today.path(stack), body)
    if answer.status_code == 202:
        scene.api.ended(stack, answer.json()["id"])
        scene.look(stack, answer.json()["id"])


def environment(scene: Scene) -> None:
    """Programs print what they have been given, and then succeed or fail in each way."""
    make = scene.canaries.make
    variables = {
        "MARKED": {"secret": make("a marked variable")},
        "NEW_FORM": {"isSecret": True, "value": make("a variable of the new form")},
        "DB_PASSWORD": make("a variable that looks secret"),
        "URL": f"postgres://ann:{quote(make('a password in a URL'), safe='')}@db/x",
        "PEM": {"secret": scene.canaries.key("a key of several lines")},
    }
    everything = print_all(
        *variables, "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_OIDC_TOKEN"
    )
    exported = make("PULUMI_ENV")
    code = f"print('LATER_SECRET=' + bytes.fromhex('{exported.encode().hex()}').decode())"
    export = f'{sys.executable} -c "{code}"'
    assert scene.deploy(
        "succeeds",
        preRunCommands=[everything, f"{export} >PULUMI_ENV", print_all("LATER_SECRET"), "env"],
        environmentVariables=variables,
    ) == "succeeded"  # fmt: skip
    for name, last in {
        "fails": f"{everything}; {EXIT}",
        "bad-line": f"{export} | sed 's/=/ = /' >PULUMI_ENV",
        "no-program": 'no-such-program "$MARKED" "$DB_PASSWORD"',
        "breaks-project": "printf 'name: %s: [' \"$MARKED\" >Pulumi.yaml",
    }.items():
        status = scene.deploy(name, preRunCommands=[last], environmentVariables=variables)
        assert status == "failed", name


def clouds(scene: Scene) -> None:
    """What clouds give is printed, and written where only the test looks."""
    kept = scene.gate.directory / "given.json"
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    names += ["PULUMI_OIDC_TOKEN", "ARM_OIDC_TOKEN", "PULUMI_CONFIG_PASSPHRASE"]
    code = f"import json,os; print(json.dumps({{n: os.environ[n] for n in {names!r}}}))"
    azure = {"clientId": "c-1", "tenantId": "t-1", "subscriptionId": "s-1"}
    assert scene.deploy(
        "clouds",
        oidc={"aws": {"roleArn": ROLE, "sessionName": "web"}, "azure": azure},
        preRunCommands=[f'{sys.executable} -c "{code}" >{kept}', print_all(*names)],
    ) == "succeeded"  # fmt: skip
    for name, value in json.loads(kept.read_text()).items():
        scene.canaries.by_field[f"{name} of a deployment"] = value


def settings_and_schedules(scene: Scene) -> None:
    """Settings and schedules keep secrets that deployments inherit."""
    make, today = scene.canaries.make, scene.api.speaking("today")
    source = {"repoUrl": f"file://{scene.repository}", "branch": "main"}
    source["gitAuth"] = {"accessToken": {"secret": make("settings' accessToken")}}  # type: ignore[assignment]
    context = {
        "environmentVariables": {"KEPT": {"secret": make("settings' variable")}},
        "preRunCommands": [f"{print_all('KEPT')}; {EXIT}"],
    }
    path = f"/api/stacks/{STACK}/settled/deployments"
    kept = {"sourceContext": {"git": source}, "operationContext": context}
    assert scene.post(f"{path}/settings", kept) == 200
    assert scene.post(f"{path}/settings/encrypt", {"secret": make("encrypt")}) == 200
    today.session.get(f"{today.url}{path}/settings", timeout=LIMIT_S)
    made = today.post(path, {"operation": "update"}).json()["id"]
    assert scene.api.ended(f"{STACK}/settled", made)["status"] == "failed"
    scene.look(f"{STACK}/settled", made)
    asked = {"operationContext": {"environmentVariables": {"S": {"secret": make("schedule")}}}}
    asked |= {"operation": "update"}  # type: ignore[dict-item]
    body = {"scheduleCron": "0 3 1 1 *", "request": asked}
    assert scene.post(f"{path}/schedules", body) == 200
    today.session.get(f"{today.url}{path}/schedules", timeout=LIMIT_S)


def refusals(scene: Scene) -> None:
    """Requests that cannot be hold secrets in all the wrong places."""
    make, path = scene.canaries.make, scene.api.path(f"{STACK}/refused")
    source = {"repoURL": "https://example.com/r.git", "branch": "main"}
    wrong: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("a URL with a password", {"repoURL": f"https://a:{make('URL')}@example.com/r"}, {}),
        ("a secret as a list", {"gitAuth": {"accessToken": [make("list")]}}, {}),
        ("a secret twice", {"gitAuth": {"accessToken": {"secret": {"secret": make("2")}}}}, {}),
        ("an unknown key", {"gitAuth": {"token": make("unknown")}}, {}),
        ("a variable as a list", {}, {"environmentVariables": {"X": [make("in a list")]}}),
        ("a NUL", {}, {"environmentVariables": {"X": {"secret": make("NUL") + "\0"}}}),
        ("a role", {}, {"oidc": {"aws": {"roleArn": {"secret": make("role")}}}}),
    ]
    for name, git, context in wrong:
        body = scene.api.body(source | git, **context)
        assert scene.post(path, body) == 400, name
    raw = f'{{"secret": "{make("broken JSON").encode().hex()}'.encode()
    answer = scene.api.session.post(scene.api.url + path, data=raw, timeout=LIMIT_S)
    assert answer.status_code == 400
    headers = {"Authorization": f"token {make('an unknown token').encode().hex()}"}
    assert requests.get(scene.api.url + path, headers=headers, timeout=LIMIT_S).status_code == 401


def stopped(scene: Scene) -> None:
    """Deployments are canceled while they run."""
    for name in ("canceled", "lost"):
        stack, secret = f"{STACK}/{name}", {"secret": scene.canaries.make(f"a {name} one's")}
        made = scene.api.create(
            stack,
            scene.repository,
            preRunCommands=[f"{print_all('MINE')}; {scene.gate.waits(name)}"],
            environmentVariables={"MINE": secret},
        )["id"]
        scene.gate.begun(name)
        scene.look(stack, made)
        others_cannot_look(scene)
        if name == "canceled":
            assert scene.api.cancel(stack, made) == 200
            scene.api.ended(stack, made)
        else:
            scene.engine.process.kill()
            scene.engine.process.wait()


def others_cannot_look(scene: Scene) -> None:
    """Another user of the host sees no environment of a deployment's processes."""
    if os.geteuid() != 0:
        return
    look = ["sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; true"]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    seen = subprocess.run([*nobody, *look], capture_output=True, check=True, timeout=LIMIT_S)
    assert len(seen.stdout) > 100
    assert scene.canaries.found_in(seen.stdout) == []


def reconciled(scene: Scene) -> None:
    """A spec with secrets is reconciled, and fails."""
    specs, state = scene.root / "specs", scene.root / "state"
    specs.mkdir()
    token = scene.root / "token"
    token.write_text(scene.api.token)
    token.chmod(0o600)
    secret = scene.canaries.make("a spec's secret")
    (specs / "web.yaml").write_text(
        f"stack: {STACK}/reconciled\n"
        f"sourceContext: {{git: {{repoUrl: 'file://{scene.repository}', branch: main}}}}\n"
        "operationContext:\n"
        f"  preRunCommands: ['echo \"$MINE\"; {EXIT}']\n"
        "  environmentVariables: {MINE: {secret: {fromEnv: RECONCILER_SECRET_MINE}}}\n"
        "reconcile: {retry: {limit: 0}}\n"
    )
    for verb in (["run", "--once"], ["plan"], ["status"], ["logs"]):
        shared = ["--data", str(state)]
        if verb[0] != "status":
            shared += ["--api-url", scene.engine.url, "--token-file", str(token)]
        where = [str(specs)] if verb[0] != "logs" else ["web", "--directory", str(specs)]
        ended = subprocess.run(
            [sys.executable, "-m", "reconciler", *verb, *shared, *where],
            capture_output=True,
            timeout=LIMIT_S * 2,
            check=False,
            env={**os.environ, "RECONCILER_SECRET_MINE": secret},
        )
        scene.api.answers.append(ended.stdout + ended.stderr)
    assert (specs / "web.status.json").exists()


HAPPENINGS: tuple[Callable[[Scene], None], ...] = (
    git_credentials,
    image_credentials,
    environment,
    clouds,
    settings_and_schedules,
    refusals,
    reconciled,
    stopped,  # the last: it ends the engine
)


# ---------------------------------------------------------------- what is found


def test_no_canary_is_found(scene: Scene) -> None:
    """After all that, no canary is in a file, an answer, an argument or a message."""
    arguments = Arguments(scene.canaries)
    arguments.start()
    try:
        for happens in HAPPENINGS:
            happens(scene)
    finally:
        arguments.end()
    assert arguments.looks > 10
    assert arguments.found == set()
    # The next engine settles what the lost one has left, and says so.
    with served(scene.engine.data, public=True) as engine:
        answer = eventually(
            lambda: requests.get(f"{engine.url}/healthz", timeout=LIMIT_S).ok, "it answers"
        )
        assert answer
    command("token", "list", "--organization", "acme", data=scene.engine.data)
    assert len(scene.canaries.by_field) > 35
    for answer_ in scene.api.answers:
        assert scene.canaries.found_in(answer_) == [], answer_[:2000]
    searched = [p for p in files(scene) if p != Layout(scene.engine.data).key]
    assert len(searched) > 50
    for path in searched:
        assert scene.canaries.found_in(path.read_bytes()) == [], path


def files(scene: Scene) -> list[Path]:
    """Return every file that was written, but for what the test itself put somewhere."""
    ours = {scene.root / "gate", scene.root / "repository", scene.root / "token"}
    return [
        path
        for path in scene.root.rglob("*")
        if path.is_file() and not path.is_symlink() and not ours & {path, *path.parents}
    ]


def test_the_search_finds_what_is_there() -> None:
    """Every form of a canary is found, wherever it lies: the search above is not blind."""
    canaries = Canaries()
    canary = canaries.make("field")
    for form, text in forms(canary).items():
        assert any(form in found for found in canaries.found_in(b"a" + text + b"z")), form
    assert canaries.found_in(b"nothing to see") == []
    assert len(set(forms(canary).values())) == len(forms(canary))
