"""Whatever is imported, what is written is a valid spec, and no secret of it shows anywhere."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import scan
from reconciler.cli.parser import run

# A word of every canary, which nothing else holds.
CANARY = "kanarienvogel"
URL = "https://api.pulumi.com/api/stacks/acme/web/prod/deployments"
SEEDS = 50
PLAIN = (
    *("x", "main", "1234567", "12e4567", "true", "a: b", "# x", "é", "$HOME", "${X}", "0123", ".."),
    *("line\nline", "\x07", "a" * 300, "https://example.com/a/b.git", "", "\ud800", "- a", "[b"),
)
NAMES = ("REGION", "A", "lower", "PULUMI_ACCESS_TOKEN", "PULUMI_CI_SYSTEM", "no name", "URN")
SECRET_NAMES = ("DB_PASSWORD", "API_TOKEN", "apiKey", "AWS_SECRET_ACCESS_KEY")


class Dice:
    """Throws bodies that are mostly right, with something odd here and there."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.oddness = self.random.choice((0.0, 0.01, 0.1))
        self.thrown = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def plain(self) -> str:
        return self.random.choice(PLAIN)

    def odd(self) -> Any:
        other = [None, True, 7, -1, 0.5, [], {}, [self.plain()], {"x": self.plain()}]
        return self.random.choice([*other, self.plain()])

    def canary(self) -> str:
        self.thrown += 1
        letters = "aZ09 $'\"\\{}:#é\n/+=@"
        before, after = ("".join(self.random.choices(letters, k=3)) for _ in "12")
        return f"{before}{CANARY}{self.thrown}{after}"

    def secret(self) -> Any:
        """Throw what stands where a secret belongs, in each form there is, and some others."""
        value = self.canary()
        forms: list[Any] = [
            *({"secret": value}, {"isSecret": True, "value": value}, {"ciphertext": value}),
            *({"secret": value, "plaintext": "x"}, {"secret": {"nested": [value]}}),
        ]
        return self.random.choice(forms)

    def bare(self) -> Any:
        return self.random.choice([self.secret(), self.canary(), [self.canary()]])

    def keys(self, given: dict[str, Callable[[], Any]], share: float = 0.6) -> dict[str, Any]:
        """Throw some keys of an object."""
        return {
            key: self.odd() if self.chance(self.oddness) else value()
            for key, value in given.items()
            if self.chance(share)
        }

    def all(self, given: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        return self.keys(given, share=1 - self.oddness / 2)

    def url(self) -> str:
        bad = (
            "ext::sh",
            f"https://{CANARY}-1@example.com/x",
            f"https://a:{CANARY}-2@e.com/x",
            f"https://e.com/x?t={CANARY}-3",
        )
        return self.random.choice(("https://example.com/acme/infra.git", "../", *bad))

    def variables(self) -> dict[str, Any]:
        plain = dict.fromkeys(NAMES, self.plain)
        hidden = dict.fromkeys(SECRET_NAMES, self.canary)
        marked = {f"S{number}": self.secret for number in range(2)}
        found = self.keys(plain | hidden | marked, 0.4)
        for value in list(found.values()):
            if isinstance(value, str) and CANARY in value and self.chance(0.2):
                found["AGAIN"] = f"see {value}"
        return found

    def auth(self) -> dict[str, Any]:
        ssh = {"sshPrivateKey": self.bare, "password": self.bare}
        basic = {"userName": self.plain, "password": self.bare}
        ways = {
            "accessToken": self.bare,
            "sshAuth": lambda: self.all(ssh),
            "basicAuth": lambda: self.all(basic),
        }
        return self.keys(ways, 0.4)

    def context(self) -> dict[str, Any]:
        role = {"roleArn": lambda: "arn:aws:iam::123456789012:role/x", "sessionName": self.plain}
        found = self.keys(
            {
                "preRunCommands": lambda: [self.plain()],
                "environmentVariables": self.variables,
                "options": lambda: self.keys(
                    {"skipInstallDependencies": lambda: True, "shell": self.plain}
                ),
                "oidc": lambda: {"aws": self.all(role)},
            }
        )
        variables, commands = found.get("environmentVariables"), found.get("preRunCommands")
        if isinstance(variables, dict) and isinstance(commands, list):
            texts = [v for v in variables.values() if isinstance(v, str) and CANARY in v]
            commands += [f"login --with={text}" for text in texts]
        return found

    def request(self) -> Any:
        git = {"repoUrl": self.url, "branch": lambda: self.random.choice(("main", "12e4567"))}
        more = {"repoDir": lambda: self.random.choice(("web", "/web/", "..")), "gitAuth": self.auth}
        credentials = {"username": self.plain, "password": self.bare}
        image = {"reference": lambda: "x:1", "credentials": lambda: self.all(credentials)}
        body = self.all(
            {
                "sourceContext": lambda: self.all({"git": lambda: self.all(git) | self.keys(more)}),
                "operationContext": self.context,
            }
        )
        operations = ("update", "refresh", "destroy", "preview")
        return body | self.keys(
            {
                "operation": lambda: self.random.choice(operations),
                "executorContext": lambda: {"executorImage": self.all(image)},
                "inheritSettings": lambda: True,
                "agentPoolID": self.plain,
                "gitHub": lambda: {"repository": "acme/infra", "paths": [self.plain()]},
                "unheard": self.odd,
            },
            0.3,
        )

    def reference(self) -> Any:
        kinds: list[Any] = [
            {"type": "Secret", "secret": {"name": "db", "key": self.random.choice(("a", "b.c"))}},
            {"type": "Literal", "literal": {"value": self.canary()}},
            {"type": "Env", "env": {"name": self.plain()}},
            {"type": "FS", "filesystem": {"path": self.plain()}},
        ]
        return self.random.choice(kinds)

    def stack(self, name: str) -> dict[str, Any]:
        needed = {
            "stack": lambda: f"acme/{name}/prod",
            "projectRepo": lambda: "https://example.com/acme/infra.git",
            "branch": lambda: "main",
        }
        optional = {
            "repoDir": lambda: self.random.choice(("/web", "web/")),
            "envRefs": lambda: {"DB_PASSWORD": self.reference(), "API_TOKEN": self.reference()},
            "gitAuth": lambda: {"accessToken": self.reference()},
            "gitAuthSecret": lambda: "git",
            "envSecrets": lambda: ["git", "absent"],
            "config": lambda: {"aws:region": self.odd()},
            "secrets": lambda: {"password": self.canary()},
            "targets": lambda: [self.plain()],
            "prerequisites": lambda: [{"name": self.random.choice(("a", "b", "c", "x"))}],
            "resyncFrequencySeconds": lambda: self.random.randint(-5, 10**12),
            "continueResyncOnCommitMatch": lambda: True,
            "retryMaxBackoffDurationSeconds": lambda: self.random.randint(0, 10**12),
            "destroyOnFinalize": lambda: True,
            "preview": lambda: True,
            "workspaceTemplate": lambda: {"spec": {"image": self.plain(), "x": self.odd()}},
        }
        return {
            "apiVersion": "pulumi.com/v1",
            "kind": "Stack",
            "metadata": self.all({"name": lambda: name}),
            "spec": self.all(needed) | self.keys(optional, 0.4),
        }

    def documents(self) -> list[Any]:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "git"},
            "stringData": {"accessToken": self.canary()},
        }
        names = self.random.sample(("a", "b", "c", "_defaults", "../x"), 2)
        return [secret, *(self.stack(name) for name in names)]


def check(name: str, text: str, *arguments: str) -> int:
    """Import a text, hold what came of it against the two rules, and return how much it was."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / name).write_text(text)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["import", "-d", str(root / "specs"), str(root / name), *arguments])
        written = list((root / "specs").rglob("*.yaml")) if (root / "specs").exists() else []
        said = out.getvalue() + err.getvalue()
        everything = said + "".join(path.read_text() for path in written)
        assert CANARY not in everything, everything
        assert code in {0, 1}
        assert written or err.getvalue().strip(), said
        if written:
            catalog = scan(root / "specs", SecretRules())
            assert catalog.problems == (), (text, everything)
            assert len(catalog.specs) == len(written)
        return len(written)


def as_json(dice: Dice) -> int:
    return check("create.json", json.dumps(dice.request()), "--stack", "acme/web/prod")


def as_curl(dice: Dice) -> int:
    body = json.dumps(dice.request()).replace("'", "\\u0027")
    token = f"-u 'ada:{CANARY}-x' -H 'Authorization: token {CANARY}'"
    return check("create.sh", f"curl {token} {URL} -d '{body}'")


def as_list(dice: Dice) -> int:
    items = {"apiVersion": "v1", "kind": "List", "items": dice.documents()}
    return check("list.json", json.dumps(items))


def as_yaml(dice: Dice) -> int:
    text = yaml.safe_dump_all(dice.documents(), allow_unicode=False)
    return check("stacks.yaml", text.encode("utf-8", "replace").decode())


@pytest.mark.parametrize("form", [as_json, as_curl, as_list, as_yaml])
def test_any_import_is_a_valid_spec_or_refused(form: Callable[[Dice], int]) -> None:
    """Requests and Stacks of any content are specs that validate, or reasons without secrets."""
    written = refused = 0
    for seed in range(SEEDS):
        count = form(Dice(seed))
        written += count > 0
        refused += count == 0
    # Dice that only ever throw one of the two would prove nothing.
    assert written >= SEEDS / 5
    assert refused >= SEEDS / 20


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.text("curl -d'\"\\{}[]:,&*!|>\n@$(aé", max_size=60))
def test_any_text_at_all_has_an_answer(text: str) -> None:
    """No text is too odd: it is refused with a reason, and nothing is raised."""
    check("any.txt", text.encode("utf-8", "replace").decode(), "--stack", "acme/web/prod")
