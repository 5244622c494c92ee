"""Specs that sops has encrypted: read by us, decrypted and checked by the real sops."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from reconciler.adapters.credentials import SecretReader, SecretRules
from reconciler.adapters.spec_sops import ENCRYPTED
from reconciler.adapters.specs import read_file
from reconciler.api.types import map_secrets
from reconciler.cli import parser
from reconciler.errors import SecretUnavailableError
from reconciler.model import Problem, SecretReference, Spec
from tests.fakes.world import SimClock
from tools.build_sops import location

PLAIN = """\
stack: acme/web/prod
sourceContext:
  git: {repoUrl: .., branch: main, gitAuth: {accessToken: {secret: hunter2-token}}}
operationContext:
  environmentVariables:
    REGION: eu
    DB_PASSWORD: hunter2
    LEADING: "0123"
    NUMBER: 42
"""
# A key pair of this test alone.
RECIPIENT = "age1rkpcjtswca9rsyxsxs6sqv6hha2ggqj07svwzrlruadxega5zdtq6cglyh"
IDENTITY = "AGE-SECRET-KEY-1ESQEFNMZHR5R9EDLL5F66CVRZH6ZCQ64CEXKLXX7U6ZYRZ6NLA6QA9X0VH"
SECRETS = "^(secret|DB_PASSWORD|LEADING|NUMBER)$"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return what a daemon has that may decrypt."""
    program = location()
    assert program.exists(), "sops is not built; do `make sops`"
    key = tmp_path / "key.txt"
    key.write_text(IDENTITY + "\n")
    return {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SOPS_AGE_KEY_FILE": str(key),
    }


def encrypt(path: Path, environ: dict[str, str], regex: str = SECRETS, text: str = PLAIN) -> None:
    path.write_text(text)
    options = ["--age", RECIPIENT, "--encrypted-regex", regex]
    command = [str(location()), "encrypt", "--in-place", *options, str(path)]
    subprocess.run(command, env=environ, check=True, capture_output=True, timeout=60)


def read(path: Path) -> Spec | tuple[Problem, ...]:
    return read_file(path, path.parent, SecretRules())


def references(spec: object) -> list[SecretReference]:
    assert isinstance(spec, Spec), spec
    found: list[SecretReference] = []
    map_secrets(spec.request, found.append)
    return found


def reader(environ: dict[str, str]) -> SecretReader:
    return SecretReader(SecretRules(), environ, SimClock())


def test_an_encrypted_spec_is_read(tmp_path: Path, environ: dict[str, str]) -> None:
    """Its secrets are references that hold no value; sops tells the values, as they were."""
    encrypt(tmp_path / "web.yaml", environ)
    spec = read(tmp_path / "web.yaml")
    token, password, leading, number = references(spec)
    assert str(password) == "sops /operationContext/environmentVariables/DB_PASSWORD"
    assert "hunter2" not in f"{spec!r}"
    secrets = reader(environ)
    secrets.warm([token, password, leading])
    assert secrets.read(token).value == "hunter2-token"
    assert secrets.read(password).value == "hunter2"
    assert secrets.read(leading).value == "0123"
    with pytest.raises(SecretUnavailableError, match="NUMBER is no text in the decrypted file"):
        secrets.read(number)


def test_a_removed_spec_can_still_be_decrypted(tmp_path: Path, environ: dict[str, str]) -> None:
    """The reference carries the encrypted file, so that what was removed can be destroyed."""
    encrypt(tmp_path / "web.yaml", environ)
    _, password, *_ = references(read(tmp_path / "web.yaml"))
    (tmp_path / "web.yaml").unlink()
    assert reader(environ).read(password).value == "hunter2"


def test_an_edited_file_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    """The MAC is of the whole file: a plain value that was changed is seen by sops too."""
    path = tmp_path / "web.yaml"
    encrypt(path, environ)
    path.write_text(path.read_text().replace("REGION: eu", "REGION: us"))
    _, password, *_ = references(read(path))
    with pytest.raises(SecretUnavailableError, match="sops ended with 51: MAC mismatch"):
        reader(environ).read(password)


def test_without_the_key_or_the_program(tmp_path: Path, environ: dict[str, str]) -> None:
    """What is missing is told, and nothing of the file."""
    encrypt(tmp_path / "web.yaml", environ)
    _, password, *_ = references(read(tmp_path / "web.yaml"))
    with pytest.raises(SecretUnavailableError, match="sops ended with") as caught:
        reader(environ | {"SOPS_AGE_KEY_FILE": "/nonexistent"}).read(password)
    assert ENCRYPTED not in str(caught.value)
    with pytest.raises(SecretUnavailableError, match="no sops on the reconciler's PATH"):
        reader(environ | {"PATH": "/nonexistent"}).read(password)


def test_only_a_secret_may_be_encrypted(tmp_path: Path, environ: dict[str, str]) -> None:
    """What is encrypted elsewhere would be unknown until it is sent, so it is a mistake."""
    text = PLAIN.replace("{secret: hunter2-token}", "{secret: {fromFile: token}}")
    encrypt(tmp_path / "web.yaml", environ, "^(stack|branch|DB_PASSWORD)$", text)
    problems = read(tmp_path / "web.yaml")
    assert not isinstance(problems, Spec)
    wrong = {problem.pointer: problem.message for problem in problems}
    assert set(wrong) == {"/stack", "/sourceContext/git/branch"}
    expected = "is encrypted, and no secret may stand here"
    assert all(message.startswith(expected) for message in wrong.values())


def test_what_looks_encrypted_and_is_not(tmp_path: Path) -> None:
    """Without sops' own part such a text is a secret in the clear like any other."""
    path = tmp_path / "web.yaml"
    path.write_text(re.sub("hunter2$", "'ENC[AES256_GCM,data:x]'", PLAIN, flags=re.MULTILINE))
    problems = read(path)
    assert not isinstance(problems, Spec)
    assert any("secret in the clear" in problem.message for problem in problems)


def test_it_is_shown_without_its_secrets(
    tmp_path: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`show` says which values are encrypted, and from which line."""
    encrypt(tmp_path / "web.yaml", environ)
    data = str(tmp_path / "state")
    parser.run(["show", "web", "--directory", str(tmp_path), "--data", data])
    text = capsys.readouterr().out
    assert re.search(r"DB_PASSWORD: \(encrypted by sops\) +# web\.yaml:\d+\n", text)
    assert ENCRYPTED not in text
    assert "[secret: sops /operationContext/environmentVariables/DB_PASSWORD]" in text
