"""What encrypts a stack's state, and what the engine keeps of secrets."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from reconciler.engine.config import Layout
from reconciler.engine.secrets_box import open_box
from tests.engine.harness import make_repository
from tests.engine.served import command, served

pytestmark = pytest.mark.real

PROGRAM = """\
name: web
runtime: yaml
outputs:
  hidden:
    fn::secret: {project}-3f9d7c1e
"""


def sealed(data: Path) -> dict[str, bytes]:
    """Return the facts of an engine that does not run."""
    with sqlite3.connect(Layout(data).database) as connection:
        return dict(connection.execute("SELECT name, value FROM facts"))


def test_each_stack_has_its_passphrase_and_old_ones_keep_theirs(tmp_path: Path) -> None:
    """A stack has a passphrase of its own; one of the first release, its organization's."""
    repository = make_repository(tmp_path / "repository", program=PROGRAM)
    data = tmp_path / "engine"
    deploys = ("acme/web/old", "acme/web/other")
    with served(data) as engine:
        for stack in deploys:
            made = engine.api().create(stack, repository)["id"]
            assert engine.api().ended(stack, made)["status"] == "succeeded"
    facts, box = sealed(data), open_box(Layout(data).key, create=False)
    found = {s: box.decrypt(facts[f"passphrase/{s}"], f"passphrase/{s}") for s in deploys}
    assert len(set(found.values())) == 2
    # As the first release kept it: one passphrase, by the organization's name.
    with sqlite3.connect(Layout(data).database) as connection:
        connection.execute("DELETE FROM facts WHERE name LIKE 'passphrase/%'")
        value = box.encrypt(found["acme/web/old"], "passphrase/acme")
        connection.execute("INSERT INTO facts VALUES ('passphrase/acme', ?)", (value,))
    connection.close()
    with served(data) as engine:
        api = engine.api()
        for stack in ("acme/web/old", "acme/web/new"):
            made = api.create(stack, repository)["id"]
            assert api.ended(stack, made)["status"] == "succeeded", api.log(stack, made)
        # This one had another: its state does not open, which says that the others' did.
        made = api.create("acme/web/other", repository)["id"]
        assert api.ended("acme/web/other", made)["status"] == "failed"
        assert "incorrect passphrase" in "".join(api.log("acme/web/other", made))
    names = {name for name in sealed(data) if name.startswith("passphrase/")}
    assert names == {"passphrase/acme", "passphrase/acme/web/new"}


def test_the_key_is_changed_while_no_engine_runs(tmp_path: Path) -> None:
    """A change is refused beside an engine; after it, queued secrets and state still open."""
    repository = make_repository(tmp_path / "repository", program=PROGRAM)
    data, kept = tmp_path / "engine", tmp_path / "old.key"
    stack = "acme/web/dev"
    with served(data, public=True) as engine:
        api = engine.api()
        made = api.create(stack, repository, environmentVariables={"S": {"secret": "x"}})["id"]
        assert api.ended(stack, made)["status"] == "succeeded"
        assert "another engine" in command("keys", "rotate-secrets", data=data, code=75)
    before = sealed(data)
    shutil.copy2(Layout(data).key, kept)
    assert "are encrypted with a new key" in command("keys", "rotate-secrets", data=data)
    after = sealed(data)
    assert before.keys() == after.keys() >= {"oidc keys", "key check", f"passphrase/{stack}"}
    assert not {name for name in before if before[name] == after[name]}
    with served(data, public=True) as engine:
        made = engine.api().create(stack, repository)["id"]
        assert engine.api().ended(stack, made)["status"] == "succeeded"
    assert "another engine's" in command("keys", "list", "--key-file", str(kept), data=data, code=1)
